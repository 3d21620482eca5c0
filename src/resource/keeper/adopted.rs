//! `pg_autoctl.cfg` of an adopted server: compared by its meaning, and edited key by key where that differs.

use crate::formation::{Secret, Server};
use crate::op::Service;
use crate::resource::adopted::AdoptedFacts;
use crate::resource::data::Software;
use crate::resource::keeper::files::{Ini, has_password, monitor_config, node_config, parse_ini};
use crate::resource::keeper::renew::{self, Living};
use crate::resource::keeper::{KeeperFacts, Whose};
use crate::step::{Content, File, Risk, Step};

/// The keys that the inventory decides, in pg_autoctl's order; what a file says that lacks one. Timeouts, paths of
/// backups and passwords are the host's own.
const KEYS: &[(&str, &str, &str)] = &[
    ("pg_autoctl", "monitor", ""),
    ("pg_autoctl", "formation", "default"),
    ("postgresql", "pg_ctl", ""),
    ("postgresql", "username", "postgres"),
    ("postgresql", "dbname", "postgres"),
    ("postgresql", "host", ""),
    ("postgresql", "proxyport", "0"),
    ("postgresql", "listen_addresses", "*"),
    ("postgresql", "auth_method", "trust"),
    ("postgresql", "hba_level", "minimal"),
    ("ssl", "active", "0"),
    ("ssl", "sslmode", "prefer"),
    ("ssl", "ca_file", ""),
    ("ssl", "crl_file", ""),
    ("ssl", "cert_file", ""),
    ("ssl", "key_file", ""),
    ("replication", "maximum_backup_rate", "100M"),
    ("citus", "cluster_name", ""),
];

/// The steps that bring the meaning of `pg_autoctl.cfg` to the inventory's. A keeper that lives reads it again;
/// nothing else is ever done to it. `is_one_host` tells whether two names are of one host.
pub fn steps(
    server: &Server,
    whose: &Whose,
    software: &Software,
    found: (&KeeperFacts, &AdoptedFacts, Option<u32>),
    is_one_host: impl Fn(&str, &str) -> bool,
) -> Vec<Step> {
    let (facts, adopted, postmaster) = found;
    let Some(config) = &facts.config else { return Vec::new() };
    let wanted = match whose {
        Whose::Monitor => monitor_config(server, software),
        Whose::Node { formation, node, id, uri, .. } => node_config(formation, node, *id, uri, software),
    };
    let service = match whose {
        Whose::Monitor => Service::Listener,
        Whose::Node { .. } => Service::NodeActive,
    };
    let changes = changes(server, config.reveal(), wanted.reveal(), is_one_host);
    let mut steps = Vec::new();
    let before = config.reveal();
    if !changes.is_empty() {
        let names: Vec<&str> = changes.iter().map(|change| change.key).collect();
        let because = format!("it differs from the inventory in {}", names.join(", "));
        let edited = edited(before, &changes);
        let text = match facts.alive {
            Some(_) if !facts.unread => format!("{}\n{edited}", renew::UNREAD),
            Some(_) | None => edited,
        };
        // Both of its passwords are for nobody's eyes.
        let file = match has_password(before) || has_password(&text) {
            true => File::new(&adopted.config_path, &server.os_user, Content::Hidden(Secret::new(text)))
                .before(Some(String::new())),
            false => File::new(&adopted.config_path, &server.os_user, Content::Text(text))
                .before(Some(before.to_owned())),
        };
        steps.push(Step::write(&server.name, file.mode(0o600), Risk::Reload, because));
    }
    let keys = changes.iter().map(|change| (change.section.to_owned(), change.key.to_owned())).collect();
    let keys = Some(&keys).filter(|_| !changes.is_empty() && !facts.unread);
    if let Some(pid) = facts.alive.filter(|_| keys.is_some() || facts.unread) {
        let texts = (before, wanted.reveal());
        let living = Living { pid, software, serves: postmaster.is_some() };
        steps.push(renew::step(server, &living, service, &adopted.config_path, keys, texts));
    }
    steps
}

/// A `pg_autoctl.cfg`, read.
pub struct Config(Ini);

impl Config {
    pub fn parse(text: &str) -> Config {
        Config(parse_ini(text))
    }

    /// A value, where there is one.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.0.get(section)?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

struct Change {
    section: &'static str,
    key: &'static str,
    value: String,
}

fn changes(
    server: &Server,
    found: &str,
    wanted: &str,
    is_one_host: impl Fn(&str, &str) -> bool,
) -> Vec<Change> {
    let (found, wanted) = (parse_ini(found), parse_ini(wanted));
    let mut changes = Vec::new();
    for (section, key, default) in KEYS {
        // What muster writes nothing of for this kind of server is not compared.
        let wants = match wanted.get(*section) {
            Some(keys) => keys.get(*key).map(String::as_str).unwrap_or_default(),
            None => continue,
        };
        let has = found.get(*section).and_then(|keys| keys.get(*key));
        let is = has.map_or(*default, String::as_str);
        let same = match *key {
            "monitor" => wants.is_empty() || is_one_monitor(is, wants, &is_one_host),
            // Where the inventory leaves the choice to muster, the host's own holds.
            "pg_ctl" => server.pgctl.is_none() || is == wants || server.pgctl.as_deref() == Some(is),
            // A keeper that starts beside a running server writes down where its socket is.
            "host" => wants.is_empty() || is == wants,
            // Without encryption it means nothing.
            "sslmode" => is == wants || wanted[*section].get("active").is_some_and(|active| active == "0"),
            // pg_autoctl 2.0 writes the dbname there with --pg-hba-lan: that is no level.
            "hba_level" => wants.is_empty() || !["minimal", "lan", "skip"].contains(&is) || is == wants,
            "username" | "proxyport" | "formation" | "dbname" | "maximum_backup_rate" => {
                wants.is_empty() || has.is_none() || is == wants
            }
            _ => is == wants,
        };
        if !same {
            changes.push(Change { section, key, value: wants.to_owned() });
        }
    }
    changes
}

/// Whether two URIs lead to one monitor, as one user: passwords, parameters and spellings are the host's own.
fn is_one_monitor(one: &str, other: &str, is_one_host: impl Fn(&str, &str) -> bool) -> bool {
    let (one, other) = (parts(one), parts(other));
    one.user == other.user
        && one.port == other.port
        && one.dbname == other.dbname
        && (one.host == other.host || is_one_host(one.host, other.host))
}

struct Parts<'a> {
    user: &'a str,
    host: &'a str,
    port: &'a str,
    dbname: &'a str,
}

fn parts(uri: &str) -> Parts<'_> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((host, port)) => (host, port.trim_start_matches(':')),
        None => address.split_once(':').unwrap_or((address, "")),
    };
    Parts {
        user: default(login.split(':').next().unwrap_or_default(), "autoctl_node"),
        host,
        port: default(port, "5432"),
        dbname: default(dbname, "pg_auto_failover"),
    }
}

fn default<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// The text with other values; every other line, unknown keys and comments stay.
fn edited(text: &str, changes: &[Change]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for change in changes {
        let header = format!("[{}]", change.section);
        let start = lines.iter().position(|line| line.trim() == header).unwrap_or_else(|| {
            lines.extend([String::new(), header.clone()]);
            lines.len() - 1
        });
        let end = lines[start + 1..].iter().position(|line| line.trim().starts_with('['));
        let end = end.map_or(lines.len(), |length| start + 1 + length);
        let is_key = |line: &String| line.split_once('=').is_some_and(|(key, _)| key.trim() == change.key);
        let line = format!("{} = {}", change.key, change.value);
        match lines[start..end].iter().position(is_key) {
            Some(at) if change.value.is_empty() => drop(lines.remove(start + at)),
            Some(at) => lines[start + at] = line,
            None => {
                // Before the empty line that parts two sections.
                let after = lines[start..end].iter().rposition(|line| !line.trim().is_empty());
                lines.insert(start + after.unwrap_or(0) + 1, line);
            }
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[pg_autoctl]\nrole = keeper\nmonitor = postgres://autoctl_node:a%20b@10.0.0.1/pg_auto_failover?sslmode=require\n\n\
        [ssl]\nactive = 1\nca_file = /old\n\n[timeout]\nlisten_notifications_timeout = 0\n";

    #[test]
    fn a_monitor_is_one_however_it_is_written() {
        let one = "postgres://autoctl_node:a%20b@10.0.0.1/pg_auto_failover?sslmode=require";
        let alias = |a: &str, b: &str| (a, b) == ("10.0.0.1", "mon");
        assert!(is_one_monitor(one, "postgresql://mon:5432?sslmode=prefer", alias));
        assert!(!is_one_monitor(one, "postgresql://mon:5433", alias));
        assert!(!is_one_monitor(one, "postgresql://other", alias));
        assert!(!is_one_monitor(one, "postgres://me@mon", alias));
        let with = |uri: &str| format!("[pg_autoctl]\nmonitor = {uri}\n");
        assert!(has_password(&with(one)) && !has_password(&with("postgres://autoctl_node@mon:5432/x")));
    }

    #[test]
    fn an_edit_leaves_what_it_is_not_about() {
        let change = |section, key, value: &str| Change { section, key, value: value.to_owned() };
        let text = edited(
            CONFIG,
            &[
                change("ssl", "ca_file", ""),
                change("ssl", "cert_file", "/new"),
                change("ssl", "active", "0"),
                change("replication", "maximum_backup_rate", "50M"),
            ],
        );
        let expected = CONFIG.replace("active = 1\nca_file = /old\n", "active = 0\ncert_file = /new\n")
            + "\n[replication]\nmaximum_backup_rate = 50M\n";
        assert_eq!(text, expected);
    }
}
