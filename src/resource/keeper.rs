//! The keeper: `pg_autoctl run`, its two files, and what keeps it running.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::error::Problem;
use crate::formation::{Formation, HbaEdit, Keeper, MonitorUri, Node, NodeKind, Secret, Server, Tls};
use crate::probe::{Answer, Answers};
use crate::resource::data::{Software, node_dir};
use crate::resource::host::HostFacts;
use crate::resource::{monitor, tls};
use crate::state::State;
use crate::step::{Action, Check, Content, File, Risk, Step};
use crate::template::Templates;

/// What was found of a keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeeperFacts {
    /// Pid of a `pg_autoctl` that lives.
    pub alive: Option<u32>,
    /// `pg_autoctl.cfg`; it may hold passwords.
    pub config: Option<Secret>,
    pub state: Option<KeeperState>,
    pub unit: Option<String>,
    pub enabled: bool,
    pub guard: Option<String>,
}

/// `pg_autoctl.state`, as far as muster has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeeperState {
    pub node_id: u64,
    pub group: u32,
    pub current: State,
    pub assigned: State,
}

/// `$pgdata`, `$unit`. The pid file must name a pg_autoctl: pids are used again.
pub const PROBE: &str = r#"
k=$(head -n 1 "/tmp/pg_autoctl$pgdata/pg_autoctl.pid" 2>/dev/null) || k=
if [ -n "$k" ] && tr '\0' ' ' <"/proc/$k/cmdline" 2>/dev/null | grep -q pg_autoctl; then say keeper.alive "$k"; else none keeper.alive; fi
file keeper.config "$HOME/.config/pg_autoctl$pgdata/pg_autoctl.cfg"
s=$HOME/.local/share/pg_autoctl$pgdata/pg_autoctl.state
if [ -r "$s" ]; then say keeper.state "$(od -An -v -tx1 -N88 "$s" | tr -d ' \n')"
elif [ -e "$s" ]; then blind keeper.state "cannot read $s"
elif sees "$s"; then none keeper.state
else blind keeper.state "cannot look into $d"; fi
file keeper.unit "/etc/systemd/system/$unit"
if [ -L "/etc/systemd/system/multi-user.target.wants/$unit" ]; then say keeper.enabled 1; else say keeper.enabled 0; fi
file keeper.guard "$pgdata.node/run-keeper"
"#;

pub fn parse(answers: &Answers) -> Result<KeeperFacts, String> {
    Ok(KeeperFacts {
        alive: match answers.get("keeper.alive") {
            Answer::Absent => None,
            Answer::Text(_) | Answer::Blind(_) => Some(answers.number("keeper.alive")?),
        },
        config: answers.text("keeper.config")?.map(Secret::new),
        state: answers.text("keeper.state")?.map(|hex| read_state(&hex)).transpose()?,
        unit: answers.text("keeper.unit")?,
        enabled: answers.flag("keeper.enabled")?,
        guard: answers.text("keeper.guard")?,
    })
}

/// Source: KeeperStateData in state.h, 2.0 to 2.2, on x86_64 and arm64: 88 bytes, little endian.
fn read_state(hex: &str) -> Result<KeeperState, String> {
    let word = |at: usize| -> Result<u32, String> {
        let digits = hex.get(at * 2..at * 2 + 8).ok_or("pg_autoctl.state is cut short")?;
        u32::from_str_radix(digits, 16)
            .map(u32::swap_bytes)
            .map_err(|_| "pg_autoctl.state is no binary".to_owned())
    };
    let state = |at: usize| -> Result<State, String> {
        let number = word(at)?;
        let found = State::ALL.iter().copied().find(|state| *state as u32 == number);
        found.ok_or_else(|| format!("pg_autoctl.state holds the unknown state {number}"))
    };
    if word(0)? != 1 {
        return Err(format!("pg_autoctl.state is of version {}, muster knows 1", word(0)?));
    }
    Ok(KeeperState {
        node_id: u64::from(word(24)?),
        group: word(28)?,
        assigned: state(32)?,
        current: state(56)?,
    })
}

/// The file a keeper starts from. What PostgreSQL itself knows may be 0: a keeper asks the running server.
fn write_state(state: KeeperState) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &1u32.to_le_bytes());
    put(24, &u32::try_from(state.node_id).expect("the monitor counts nodes from 1").to_le_bytes());
    put(28, &state.group.to_le_bytes());
    put(32, &(state.assigned as u32).to_le_bytes());
    put(56, &(state.current as u32).to_le_bytes());
    put(72, &(-1i64).to_le_bytes()); // xlog_lag: unknown
    bytes
}

/// The unit that runs this server's `pg_autoctl`; one a node, as a host may have several.
pub fn unit(server: &Server) -> String {
    format!("pgautofailover-{}.service", server.name)
}

/// Whether systemd is to run it here; `None` where there is to be no keeper at all.
pub fn under_systemd(server: &Server, host: &HostFacts) -> Option<bool> {
    match server.keeper {
        Keeper::None => None,
        Keeper::Systemd => Some(true),
        Keeper::Detached => Some(false),
        Keeper::Auto => Some(host.systemd),
    }
}

type Ini = BTreeMap<String, BTreeMap<String, String>>;

fn parse_ini(text: &str) -> Ini {
    let mut ini = Ini::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let entries = ini.entry(section.clone()).or_default();
            entries.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    ini
}

/// Whether every key that muster writes is there with its value; keys a keeper adds are its own.
fn is_config_current(found: &str, wanted: &str) -> bool {
    let found = parse_ini(found);
    let holds = |section: &String, key: &String, value: &String| {
        found.get(section).and_then(|s| s.get(key)) == Some(value)
    };
    parse_ini(wanted).iter().all(|(section, keys)| keys.iter().all(|(key, value)| holds(section, key, value)))
}

/// `pg_autoctl.cfg` of a data node; the order of sections and keys is pg_autoctl's.
fn node_config(formation: &Formation, node: &Node, id: u64, uri: &MonitorUri, software: &Software) -> Secret {
    let server = &node.server;
    let mut text = String::new();
    let mut section = |name: &str, pairs: &[(&str, String)]| {
        text.push_str(&format!("[{name}]\n"));
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text.push('\n');
    };
    let s = |value: &str| value.to_owned();
    section(
        "pg_autoctl",
        &[
            ("role", s("keeper")),
            ("monitor", s(uri.text().reveal())),
            ("formation", formation.name.clone()),
            ("group", node.group.to_string()),
            ("name", node.name().0.clone()),
            ("hostname", server.hostname.clone()),
            ("nodekind", s(node.kind.as_str())),
        ],
    );
    let level = match server.hba_edit {
        HbaEdit::Minimal => "minimal",
        HbaEdit::Lan => "lan",
        HbaEdit::Skip => "skip",
    };
    section(
        "postgresql",
        &[
            ("pgdata", server.pgdata.clone()),
            ("pg_ctl", format!("{}/pg_ctl", software.bin)),
            ("username", node.username.clone()),
            ("dbname", formation.dbname.clone()),
            ("host", server.pghost.clone().unwrap_or_default()),
            ("port", server.pgport.to_string()),
            ("proxyport", node.proxyport.unwrap_or(0).to_string()),
            ("listen_addresses", server.listen.clone()),
            ("auth_method", s(server.auth.as_str())),
            ("hba_level", s(level)),
        ],
    );
    section("ssl", &ssl(server));
    let parent = server.pgdata.rsplit_once('/').map_or("", |(parent, _)| parent);
    section(
        "replication",
        &[
            ("maximum_backup_rate", node.maximum_backup_rate.clone()),
            ("backup_directory", format!("{parent}/backup/node_{id}")),
            ("password", node.replication_password.as_ref().map(|p| s(p.reveal())).unwrap_or_default()),
        ],
    );
    // The defaults that defaults.h gives; `pg_autoctl create` writes the last four as 0.
    let timeouts = [
        ("network_partition_timeout", 20),
        ("prepare_promotion_catchup", 30),
        ("prepare_promotion_walreceiver", 5),
        ("postgresql_restart_failure_timeout", 20),
        ("postgresql_restart_failure_max_retries", 3),
        ("listen_notifications_timeout", 60),
        ("citus_master_update_node_lock_cooldown", 10_000),
        ("citus_coordinator_wait_max_retries", 100),
        ("citus_coordinator_wait_timeout", 300),
    ];
    section("timeout", &timeouts.map(|(key, value): (&str, u32)| (key, value.to_string())));
    let role = if node.is_reader() { "secondary" } else { "primary" };
    section("citus", &[("role", s(role)), ("cluster_name", node.citus_cluster.clone().unwrap_or_default())]);
    Secret::new(text.trim_end().to_owned() + "\n")
}

fn monitor_config(server: &Server, software: &Software) -> Secret {
    let ssl: String =
        ssl(server).iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k} = {v}\n")).collect();
    Secret::new(format!(
        "[pg_autoctl]\nrole = monitor\nhostname = {}\n\n[postgresql]\npgdata = {}\npg_ctl = {}/pg_ctl\nusername = {}\n\
         dbname = {}\nport = {}\nlisten_addresses = {}\nauth_method = {}\n\n[ssl]\n{ssl}",
        server.hostname,
        server.pgdata,
        software.bin,
        monitor::USER,
        monitor::DBNAME,
        server.pgport,
        server.listen,
        server.auth.as_str()
    ))
}

fn ssl(server: &Server) -> Vec<(&'static str, String)> {
    let active = if server.tls == Tls::Off { "0" } else { "1" };
    let (certificate, key) = tls::paths(server).unwrap_or_default();
    let (ca, crl) = match &server.tls {
        Tls::Files { ca, crl, .. } => (ca.clone().unwrap_or_default(), crl.clone().unwrap_or_default()),
        Tls::Off | Tls::SelfSigned { .. } => Default::default(),
    };
    vec![
        ("active", active.to_owned()),
        ("sslmode", server.tls.mode().as_str().to_owned()),
        ("ca_file", ca),
        ("crl_file", crl),
        ("cert_file", certificate),
        ("key_file", key),
    ]
}

/// Starts PostgreSQL, where the monitor wants it running, before pg_autoctl reports for the first time.
/// A node that is to be demoted is left stopped, and where the monitor does not answer the keeper decides.
const GUARD: &str = r#"#!/bin/sh
# Rendered by muster. $1 pg_autoctl, $2 pg_ctl, $3 PGDATA, $4 node id
# A keeper that starts beside a stopped primary reports it dead and the monitor fails over, so PostgreSQL
# goes first: but only if the monitor still wants this node to serve.
n=0 seen=
while [ "$n" -lt 10 ]; do
  if seen=$(timeout 5 "$1" show state --pgdata "$3" --json 2>/dev/null) && [ -n "$seen" ]; then break; fi
  seen=; n=$((n + 1)); sleep 1
done
goal=$(printf '%s' "$seen" | tr -d '\n' | tr '{' '\n' | grep "\"node_id\": *$4[,}]" | sed -n 's/.*"assigned_group_state": *"\([a-z_]*\)".*/\1/p')
case $goal in
single | primary | wait_primary | apply_settings | join_primary | secondary | catchingup)
  "$2" -D "$3" status >/dev/null 2>&1 || "$2" -D "$3" -w -t 60 -l "$3/startup.log" start >/dev/null 2>&1 </dev/null
  ;;
esac
exec "$1" run --pgdata "$3"
"#;

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    role: &'a str,
    user: &'a str,
    home: &'a str,
    pgdata: &'a str,
    pg_autoctl: &'a str,
    pg_ctl: String,
    guard: String,
    node_id: u64,
}

/// Which `pg_autoctl` it is about: the monitor's, or a data node's with what its files are to say.
pub enum Whose<'a> {
    Monitor,
    Node {
        formation: &'a Formation,
        node: &'a Node,
        id: u64,
        uri: &'a MonitorUri,
        current: State,
        assigned: State,
    },
}

/// Everything a keeper needs, where it is not there yet; it is started if it does not run.
///
/// `serves`: whether PostgreSQL may be running now; a monitor's must be stopped first, by the caller.
pub fn steps(
    templates: &Templates,
    server: &Server,
    whose: &Whose,
    host: &HostFacts,
    software: &Software,
    facts: &KeeperFacts,
) -> Result<Vec<Step>, Problem> {
    let (Some(systemd), Some((pg_autoctl, _))) = (under_systemd(server, host), &software.pg_autoctl) else {
        return Ok(Vec::new());
    };
    let mut steps = Vec::new();
    let pgdata = &server.pgdata;
    let config_path = format!("{}/.config/pg_autoctl{pgdata}/pg_autoctl.cfg", host.home);
    let (config, hidden) = match whose {
        Whose::Monitor => (monitor_config(server, software), false),
        Whose::Node { formation, node, id, uri, .. } => (
            node_config(formation, node, *id, uri, software),
            uri.password.is_some() || node.replication_password.is_some(),
        ),
    };
    let is_current =
        facts.config.as_ref().is_some_and(|found| is_config_current(found.reveal(), config.reveal()));
    if !is_current {
        let because = if facts.config.is_some() {
            "it differs from the inventory"
        } else {
            "the keeper starts from it"
        };
        let content = match hidden {
            true => Content::Hidden(config),
            false => Content::Text(config.reveal().to_owned()),
        };
        let before = facts.config.as_ref().filter(|_| !hidden).map(|found| found.reveal().to_owned());
        steps.push(put(server, &config_path, 0o600, content, before, because));
    }
    if let Whose::Node { node, id, current, assigned, .. } = whose {
        let fits = facts.state.is_some_and(|found| found.node_id == *id && found.group == node.group);
        if facts.alive.is_none() && !fits {
            let path = format!("{}/.local/share/pg_autoctl{pgdata}/pg_autoctl.state", host.home);
            let bytes = write_state(KeeperState {
                node_id: *id,
                group: node.group,
                current: *current,
                assigned: *assigned,
            });
            let because = format!("the keeper takes over a node that is {current}");
            steps.push(put(server, &path, 0o600, Content::Binary(bytes), None, &because));
        }
        if facts.guard.as_deref() != Some(GUARD) {
            let path = format!("{}/run-keeper", node_dir(server));
            let because = "PostgreSQL is to run before its keeper reports";
            steps.push(put(
                server,
                &path,
                0o755,
                Content::Text(GUARD.to_owned()),
                facts.guard.clone(),
                because,
            ));
        }
    }
    let is_node_reload = !is_current && facts.alive.is_some();
    if systemd {
        steps.extend(systemd_steps(templates, server, whose, host, software, pg_autoctl, facts)?);
    } else if facts.alive.is_none() {
        steps.push(start_detached(server, whose, software, pg_autoctl));
    }
    if is_node_reload {
        let command = Command::new(
            RunAs::User(server.os_user.clone()),
            "exec \"$1\" reload --pgdata \"$2\" >/dev/null 2>&1\n",
        )
        .args([pg_autoctl, pgdata]);
        let because = "its configuration changed";
        steps.push(
            Step::new(&server.name, "reload the keeper", because, Action::Run(command)).risk(Risk::Reload),
        );
    }
    if facts.alive.is_none() {
        steps.push(wait_alive(server));
    }
    Ok(steps)
}

fn put(
    server: &Server,
    path: &str,
    mode: u32,
    content: Content,
    before: Option<String>,
    because: &str,
) -> Step {
    let file = File {
        path: path.to_owned(),
        owner: server.os_user.clone(),
        mode,
        content,
        before,
        check: Check::Nothing,
    };
    Step::new(&server.name, format!("write {path}"), because, Action::Put(file))
}

fn systemd_steps(
    templates: &Templates,
    server: &Server,
    whose: &Whose,
    host: &HostFacts,
    software: &Software,
    pg_autoctl: &str,
    facts: &KeeperFacts,
) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    let (role, node_id) = match whose {
        Whose::Monitor => ("monitor", 0),
        Whose::Node { id, .. } => ("keeper", *id),
    };
    let unit = unit(server);
    let text = templates.render(
        "pgautofailover.service.j2",
        &Context {
            name: &server.name.0,
            role,
            user: &server.os_user,
            home: &host.home,
            pgdata: &server.pgdata,
            pg_autoctl,
            pg_ctl: format!("{}/pg_ctl", software.bin),
            guard: format!("{}/run-keeper", node_dir(server)),
            node_id,
        },
    )?;
    let is_new = facts.unit.as_deref() != Some(&text);
    if is_new {
        let file = File {
            path: format!("/etc/systemd/system/{unit}"),
            owner: "root".to_owned(),
            mode: 0o644,
            content: Content::Text(text),
            before: facts.unit.clone(),
            check: Check::Nothing,
        };
        let because = match facts.unit {
            Some(_) => "it differs; the keeper that runs is not restarted",
            None => "systemd is to keep pg_autoctl running",
        };
        let title = format!("write /etc/systemd/system/{unit}");
        steps.push(Step::new(&server.name, title, because, Action::Put(file)));
    }
    // `start` of a unit that runs does nothing: a keeper that lives is not touched.
    let script = "systemctl daemon-reload\nsystemctl enable -q \"$1\" 2>/dev/null\nsystemctl start \"$1\"\n";
    if is_new || !facts.enabled || facts.alive.is_none() {
        let because =
            if facts.alive.is_some() { "systemd is to know the unit as it is" } else { "no keeper runs" };
        let command = Command::new(RunAs::Root, script).args([&unit]);
        steps.push(Step::new(
            &server.name,
            format!("enable and start {unit}"),
            because,
            Action::Run(command),
        ));
    }
    Ok(steps)
}

/// `$1` log, then the command line. Nothing keeps it running: the log and the plan say so.
const DETACHED: &str = r#"log=$1; shift
setsid "$@" >>"$log" 2>&1 </dev/null &
"#;

fn start_detached(server: &Server, whose: &Whose, software: &Software, pg_autoctl: &str) -> Step {
    let dir = node_dir(server);
    let command =
        Command::new(RunAs::User(server.os_user.clone()), format!("mkdir -p \"${{1%/*}}\"\n{DETACHED}"))
            .args([format!("{dir}/keeper.log")]);
    let command = match whose {
        Whose::Monitor => command.args([pg_autoctl, "run", "--pgdata", &server.pgdata]),
        Whose::Node { id, .. } => command.args([
            "/bin/sh".to_owned(),
            format!("{dir}/run-keeper"),
            pg_autoctl.to_owned(),
            format!("{}/pg_ctl", software.bin),
            server.pgdata.clone(),
            id.to_string(),
        ]),
    };
    let because = "no keeper runs, and no systemd is to run it: nothing will start it again after a reboot";
    Step::new(&server.name, "start pg_autoctl detached", because, Action::Run(command))
}

/// `$1` PGDATA. pg_autoctl writes its pid file, then its services' pids as they start.
const ALIVE: &str = r#"k=$(head -n 1 "/tmp/pg_autoctl$1/pg_autoctl.pid" 2>/dev/null) || k=
if [ -n "$k" ] && kill -0 "$k" 2>/dev/null && [ "$(wc -l <"/tmp/pg_autoctl$1/pg_autoctl.pid")" -ge 6 ]; then echo alive; else echo no; fi
"#;

fn wait_alive(server: &Server) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), ALIVE).args([&server.pgdata]);
    let wait = Action::Wait { command, answers: vec!["alive".to_owned()], timeout: 60 };
    Step::new(&server.name, "wait for pg_autoctl to run", "it has just been started", wait)
}

/// Whether a node of this kind needs `pg_autoctl` on its host.
pub fn refusal(
    server: &Server,
    kind: Option<NodeKind>,
    host: &HostFacts,
    software: &Software,
) -> Option<String> {
    let wants = under_systemd(server, host).is_some();
    let what = kind.map_or("monitor", NodeKind::as_str);
    match (&software.pg_autoctl, wants) {
        (None, true) => Some(format!(
            "there is no pg_autoctl for this {what}: install pg-auto-failover-cli, or set keeper: none"
        )),
        (Some(_), true) if server.keeper == Keeper::Systemd && !host.systemd => {
            Some("keeper is systemd, but systemd does not run here".to_owned())
        }
        (Some(_) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_file_is_what_pg_autoctl_writes() {
        // c0a of a formation made by pg_autoctl 2.0: node 1, group 0, primary.
        let written = "01000000000000001405000025770d0c8d1cbaeab04b036b0100000000000000030000000000000000000000000000001d4c036b0000000003000000000000000000000000000000ffffffffffffffff0000000000000000";
        let state = KeeperState { node_id: 1, group: 0, current: State::Primary, assigned: State::Primary };
        assert_eq!(read_state(written), Ok(state));
        let hex: String = write_state(state)[..88].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(read_state(&hex), Ok(state));
        assert_eq!(hex[144..160], written[144..160]);
    }

    #[test]
    fn keys_that_a_keeper_adds_are_no_drift() {
        assert!(is_config_current("[a]\nx = 1\ny=2\n", "[a]\nx = 1\n"));
        assert!(!is_config_current("[a]\nx = 2\n", "[a]\nx = 1\n"));
        assert!(!is_config_current("[b]\nx = 1\n", "[a]\nx = 1\n"));
    }
}
