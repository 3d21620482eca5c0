//! `~/.pgpass`: how a server and its keeper know the passwords of their peers.
//!
//! Citus connects to other nodes as the superuser and takes no password in `citus.node_conninfo`; a worker's
//! keeper connects to the coordinator without one. libpq looks here for both.

use crate::formation::{Node, Secret};
use crate::probe::Answers;
use crate::resource::host::HostFacts;
use crate::step::{Content, File, Step};

pub const PROBE: &str = r#"
file pgpass "$HOME/.pgpass"
"#;

pub fn parse(answers: &Answers) -> Result<Option<Secret>, String> {
    Ok(answers.text("pgpass")?.map(Secret::new))
}

/// The file with muster's lines in it; lines of the user stay, after ours as the first match counts.
pub fn step(node: &Node, host: &HostFacts, found: Option<&Secret>) -> Option<Step> {
    let users = [("pgautofailover_replicator", &node.replication_password), (&node.username, &node.password)];
    let lines: Vec<(String, String)> = users
        .iter()
        .filter_map(|(user, password)| {
            let start = format!("*:*:*:{}:", escape(user));
            let line = format!("{start}{}", escape(password.as_ref()?.reveal()));
            Some((start, line))
        })
        .collect();
    let there = found.map_or("", Secret::reveal);
    if lines.iter().all(|(_, line)| there.lines().any(|found| found == line)) {
        return None;
    }
    let is_ours = |line: &&str| lines.iter().any(|(start, _)| line.starts_with(start.as_str()));
    let kept = there.lines().filter(|line| !is_ours(line));
    let all: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).chain(kept).collect();
    let content = Content::Hidden(Secret::new(all.join("\n") + "\n"));
    let file = File::new(format!("{}/.pgpass", host.home), &node.server.os_user, content).mode(0o600);
    let because = format!(
        "auth is {}: servers and keepers find their peers' passwords there",
        node.server.auth.as_str()
    );
    Some(Step::write(node.name(), file, because))
}

/// Whether muster has set another password for this user before: the role's is to be changed with it.
pub fn is_changed(user: &str, password: &Secret, found: Option<&Secret>) -> bool {
    let start = format!("*:*:*:{}:", escape(user));
    let there = found.map_or("", Secret::reveal).lines().find_map(|line| line.strip_prefix(start.as_str()));
    there.is_some_and(|there| there != escape(password.reveal()))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}
