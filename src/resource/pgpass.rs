//! `~/.pgpass`: how a server and its keeper know the passwords of their peers.
//!
//! Citus connects to other nodes as the superuser and takes no password in `citus.node_conninfo`; a worker's
//! keeper connects to the coordinator without one. A keeper writes the monitor's URI to its log, so that has none either.
//! libpq looks here for each of them, at every connection.

use crate::formation::{Keeper, MonitorUri, Node, Secret};
use crate::op::Op;
use crate::probe::Answers;
use crate::resource::host::HostFacts;
use crate::step::{Content, File, Risk, Step};

pub const PROBE: &str = r#"
file pgpass "$HOME/.pgpass"
if [ -f "$HOME/.pgpass" ]; then say pgpass.mode "$(stat -L -c %a "$HOME/.pgpass")"; else none pgpass.mode; fi
"#;

pub fn parse(answers: &Answers) -> Result<Option<Secret>, String> {
    Ok(answers.text("pgpass")?.map(Secret::new))
}

/// The permission bits.
pub fn parse_mode(answers: &Answers) -> Result<Option<u32>, String> {
    let Some(text) = answers.text("pgpass.mode")? else { return Ok(None) };
    u32::from_str_radix(&text, 8).map(Some).map_err(|_| format!("pgpass.mode is no mode: {text:.40}"))
}

/// The file with muster's lines in it; lines of the user stay, after ours as the first match counts.
pub fn step(
    node: &Node,
    uri: &MonitorUri,
    host: &HostFacts,
    found: Option<&Secret>,
    mode: Option<u32>,
) -> Option<Step> {
    let (path, text) = wanted(node, uri, host, found)?;
    let because = match open(mode) {
        _ if !holds(node, uri, found) => {
            "servers and keepers find the passwords of their peers and of the monitor there".to_owned()
        }
        Some(mode) => format!("its mode is {mode:04o}: libpq reads none that others may read"),
        None => return None,
    };
    let file = File::new(path, &node.server.os_user, Content::Hidden(text)).mode(0o600);
    let file = file.before(found.map(|_| String::new()));
    Some(Step::write(node.name(), file, Risk::Safe, because))
}

/// Whether every line that the node needs is there.
pub fn holds(node: &Node, uri: &MonitorUri, found: Option<&Secret>) -> bool {
    let there = found.map_or("", Secret::reveal);
    lines(node, uri).iter().all(|(_, line)| there.lines().any(|found| found == line))
}

/// Where it is, and all that is to be in it; `None` where the node needs none.
pub fn wanted(
    node: &Node,
    uri: &MonitorUri,
    host: &HostFacts,
    found: Option<&Secret>,
) -> Option<(String, Secret)> {
    let lines = lines(node, uri);
    if lines.is_empty() {
        return None;
    }
    let there = found.map_or("", Secret::reveal);
    let is_ours = |line: &&str| lines.iter().any(|(start, _)| line.starts_with(start.as_str()));
    let kept = there.lines().filter(|line| !is_ours(line));
    let all: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).chain(kept).collect();
    Some((format!("{}/.pgpass", host.home), Secret::new(all.join("\n") + "\n")))
}

/// The mode of a file that others may read, too.
fn open(mode: Option<u32>) -> Option<u32> {
    mode.filter(|mode| mode & 0o077 != 0)
}

/// The lines that a node needs, each with what it begins with.
fn lines(node: &Node, uri: &MonitorUri) -> Vec<(String, String)> {
    let peers = |user: &str| format!("*:*:*:{}:", escape(user));
    let monitor =
        [&uri.host, &uri.port.to_string(), &uri.dbname, &uri.user].map(|part| escape(part)).join(":");
    let monitors = uri.password.as_ref().filter(|_| node.server.keeper != Keeper::None);
    let users = [
        (format!("{monitor}:"), monitors),
        (peers("pgautofailover_replicator"), node.replication_password.as_ref()),
        (peers(&node.username), node.password.as_ref()),
    ];
    users
        .into_iter()
        .filter_map(|(start, password)| {
            let line = format!("{start}{}", escape(password?.reveal()));
            Some((start, line))
        })
        .collect()
}

/// What keeps libpq from any password that this node needs, if anything: not that it is another than the inventory's.
pub fn lacks(node: &Node, uri: &MonitorUri, found: Option<&Secret>, mode: Option<u32>) -> Option<String> {
    let starts: Vec<String> = lines(node, uri).into_iter().map(|(start, _)| start).collect();
    if starts.is_empty() {
        return None;
    }
    let has =
        |text: &str| starts.iter().all(|start| text.lines().any(|line| line.starts_with(start.as_str())));
    let why = match (found.map(Secret::reveal), open(mode)) {
        (None, _) => "is gone".to_owned(),
        (Some(_), Some(mode)) => {
            format!("has mode {mode:04o}, and libpq reads none that others may read")
        }
        (Some(text), _) if !has(text) => "lacks lines".to_owned(),
        (Some(_), _) => return None,
    };
    Some(format!(
        "~/.pgpass {why}: its server and its keeper have the passwords for the others from it; apply puts it right"
    ))
}

/// The passwords that libpq finds in it for the roles that a node needs: each where it is for the monitor, or for the node's peers.
pub fn held(node: &Node, uri: &MonitorUri, found: &Secret) -> Vec<(Whom, String, Secret)> {
    let wanted = lines(node, uri).into_iter().map(|(start, _)| start);
    let text = found.reveal();
    wanted
        .filter_map(|start| {
            let password = text.lines().find_map(|line| line.strip_prefix(start.as_str()))?;
            let user = start.trim_end_matches(':').rsplit(':').next().unwrap_or_default();
            let whom = if start.starts_with("*:") { Whom::Peers } else { Whom::Monitor };
            Some((whom, unescape(user), Secret::new(unescape(password))))
        })
        .collect()
}

/// Where a password is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Monitor,
    Peers,
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    plain
}

/// Whether the step writes the file.
pub fn is_written_by(step: &Step) -> bool {
    matches!(&step.op, Op::Write { path, .. } if path.ends_with("/.pgpass"))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Action;

    #[test]
    fn a_file_that_is_there_is_changed_and_not_made() {
        let text = "all:\n  vars: {pgdata: /d/1, auth: scram-sha-256, password: a, replication_password: b, monitor_password: c}\n  \
            children:\n    monitor: {hosts: {mon: {pgdata: /d/2}}}\n    postgres: {hosts: {pg1: }}\n";
        let formation = crate::inventory::parse("x.yml", text, "".as_ref()).unwrap();
        let node = formation.nodes.values().next().unwrap();
        let host = HostFacts {
            memory: 1,
            cpus: 1,
            systemd: true,
            home: "/h".to_owned(),
            networks: Default::default(),
            names: Default::default(),
            addresses: Default::default(),
            listening: Default::default(),
            lacks_locale: Default::default(),
            boot: Default::default(),
        };
        let uri = crate::facts::monitor_uri(&formation);
        let before = |found: Option<&Secret>| match step(node, &uri, &host, found, None).unwrap().action {
            Action::Put(file) => file.before,
            other => panic!("{other:?}"),
        };
        assert_eq!(before(None), None);
        // What it says is not shown.
        assert_eq!(before(Some(&Secret::new("*:*:*:postgres:old\n"))).as_deref(), Some(""));
    }
}
