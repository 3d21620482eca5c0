//! The variables of each server that say more than the defaults.

use std::collections::BTreeMap;

use crate::formation::{Formation, HbaEdit, Node, Server, SslMode, Tls};

/// What is said with one or more lines, but always as a whole: nobody's `server_cert` goes with another's key.
pub(super) type Lines = Vec<(&'static str, String)>;

/// Variables by what they are about, in the order in which they are written.
pub(super) type Vars = BTreeMap<(usize, &'static str), Lines>;

/// Variables up to this number say nothing about a monitor.
pub(super) const NODES_OWN: usize = 10;

/// Of a server; `node` is `None` for the monitor. What is not there holds by default.
pub(super) fn of(formation: &Formation, server: &Server, node: Option<&Node>) -> Vars {
    let mut vars = Vars::new();
    let mut number = 0;
    let mut say = |name: &'static str, value: Option<String>| {
        number += 1;
        if let Some(value) = value {
            vars.insert((number, name), vec![(name, value)]);
        }
    };
    let unless = |value: &str, default: &str| (value != default).then(|| value.to_owned());
    let flag = |is: bool, default: bool| (is != default).then(|| is.to_string());
    if let Some(node) = node {
        say("formation", unless(&formation.name, "default"));
        let usual = if formation.is_citus() { "citus" } else { "postgres" };
        say("dbname", unless(&formation.dbname, usual));
        say("number_sync_standbys", formation.number_sync_standbys.map(|number| number.to_string()));
        say("username", unless(&node.username, "postgres"));
        say("maximum_backup_rate", unless(&node.maximum_backup_rate, "100M"));
        say("proxyport", node.proxyport.map(|port| port.to_string()));
        say(
            "candidate_priority",
            match (node.is_reader(), node.candidate_priority) {
                (true, _) | (false, 50) => None,
                (false, priority) => Some(priority.to_string()),
            },
        );
        say("replication_quorum", flag(node.replication_quorum, !node.is_reader()));
        say("citus_secondary", flag(node.is_reader(), false));
        say("citus_cluster", node.citus_cluster.clone());
    }
    let mut number = NODES_OWN;
    let mut say = |name: &'static str, value: Option<String>| {
        number += 1;
        if let Some(value) = value {
            vars.insert((number, name), vec![(name, value)]);
        }
    };
    say("pgdata", Some(server.pgdata.clone()));
    say("pgport", unless(&server.pgport.to_string(), "5432"));
    say("pgctl", server.pgctl.clone());
    say("pghost", server.pghost.clone());
    say("listen", unless(&server.listen, "*"));
    say("become_user", unless(&server.os_user, "postgres"));
    say("auth", unless(server.auth.as_str(), "trust"));
    say("skip_pg_hba", flag(server.hba_edit == HbaEdit::Skip, false));
    say("pg_hba_lan", flag(server.hba_edit == HbaEdit::Lan, false));
    say("data_checksums", flag(server.initdb.data_checksums, true));
    say("encoding", unless(&server.initdb.encoding, "UTF8"));
    say("locale", unless(&server.initdb.locale, "C.UTF-8"));
    vars.insert((50, "tls"), tls(server));
    vars
}

/// Always said: an inner level's choice stands alone.
fn tls(server: &Server) -> Lines {
    match &server.tls {
        Tls::Off => vec![("no_ssl", "true".to_owned())],
        Tls::SelfSigned { mode } => self_signed(*mode),
        // Nothing that pg_autoctl made is.
        Tls::Managed { .. } => vec![("ssl", "managed".to_owned())],
        Tls::Files { cert, key, ca: None, crl: None, mode }
            if *cert == format!("{}/server.crt", server.pgdata)
                && *key == format!("{}/server.key", server.pgdata) =>
        {
            self_signed(*mode)
        }
        Tls::Files { cert, key, ca, crl, mode } => {
            let mut lines = vec![("server_cert", cert.clone()), ("server_key", key.clone())];
            lines.extend(ca.iter().map(|path| ("ssl_ca_file", path.clone())));
            lines.extend(crl.iter().map(|path| ("ssl_crl_file", path.clone())));
            let usual = if ca.is_some() { SslMode::VerifyFull } else { SslMode::Require };
            lines.extend((*mode != usual).then(|| ("ssl_mode", mode.as_str().to_owned())));
            lines
        }
    }
}

fn self_signed(mode: SslMode) -> Lines {
    let mut lines = vec![("ssl_self_signed", "true".to_owned())];
    lines.extend((mode != SslMode::Require).then(|| ("ssl_mode", mode.as_str().to_owned())));
    lines
}
