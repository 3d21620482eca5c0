//! The two files a keeper starts from: `pg_autoctl.cfg` and `pg_autoctl.state`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::formation::{Formation, HbaEdit, MonitorUri, Node, Secret, Server, Tls};
use crate::resource::data::Software;
use crate::resource::monitor::NodeRow;
use crate::resource::{monitor, tls};
use crate::state::State;

/// `pg_autoctl.state`, as far as muster has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeeperState {
    pub node_id: u64,
    pub group: u32,
    pub current: State,
    pub assigned: State,
}

impl KeeperState {
    /// Whether the row's node wrote it. A node that was dropped and joined anew gets its number again, and its host may
    /// still have the file of the one before. A keeper reports what it has written within a second.
    pub fn is_of(&self, row: &NodeRow) -> bool {
        let last = [row.reported, row.assigned].contains(&Some(self.current));
        self.node_id == row.id && self.group == row.group && last
    }
}

/// Source: KeeperStateData in state.h, 2.0 to 2.2, on x86_64 and arm64: 88 bytes, little endian.
pub(super) fn read_state(hex: &str) -> Result<KeeperState, String> {
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
pub(super) fn write_state(state: KeeperState) -> Vec<u8> {
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

pub(super) type Ini = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn parse_ini(text: &str) -> Ini {
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

/// Whether a configuration holds one: for a standby's connection, or in the monitor's URI.
pub(super) fn has_password(config: &str) -> bool {
    let ini = parse_ini(config);
    let value = |section: &str, key: &str| ini.get(section).and_then(|keys| keys.get(key));
    value("replication", "password").is_some()
        || value("pg_autoctl", "monitor").is_some_and(|uri| is_uri_with_password(uri))
}

pub(super) fn is_uri_with_password(uri: &str) -> bool {
    let login = uri.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(login, _)| login);
    login.is_some_and(|login| login.contains(':')) || uri.contains("password=")
}

/// `pg_autoctl.cfg` of a data node; the order of sections and keys is pg_autoctl's.
pub(super) fn node_config(
    formation: &Formation,
    node: &Node,
    id: u64,
    uri: &MonitorUri,
    software: &Software,
) -> Secret {
    let server = &node.server;
    // The password is in `~/.pgpass`: a keeper writes its URIs to the log. An adopted one has it where it had it.
    let uri = uri.seen_from(&server.tls);
    let uri = match server.adopted {
        true => uri.text().reveal().to_owned(),
        false => uri.shown(),
    };
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
            ("monitor", uri.clone()),
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
            ("auth_method", server.auth.rule()),
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

pub(super) fn monitor_config(server: &Server, software: &Software) -> Secret {
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
        server.auth.rule()
    ))
}

fn ssl(server: &Server) -> Vec<(&'static str, String)> {
    let active = if server.tls == Tls::Off { "0" } else { "1" };
    let (certificate, key) = tls::paths(server).unwrap_or_default();
    let file = |path: Option<&str>| path.unwrap_or_default().to_owned();
    vec![
        ("active", active.to_owned()),
        ("sslmode", server.tls.mode().as_str().to_owned()),
        ("ca_file", file(server.tls.ca())),
        ("crl_file", file(server.tls.crl())),
        ("cert_file", certificate),
        ("key_file", key),
    ]
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
}
