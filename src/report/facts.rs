//! What was seen of each host, in a few lines.

use crate::facts::{Facts, Seen, Sight};
use crate::report::text::{indented, plain};
use crate::resource::data::Pgdata;
use crate::resource::neighbours::{Neighbour, Whose};
use crate::resource::place::{Access, Is};

/// All facts, for a person to read and to compare between two days.
pub fn yaml(facts: &Facts) -> String {
    let masked = super::json::value_of(&facts.hosts);
    serde_yaml::to_string(&masked).expect("what is JSON is YAML")
}

/// The facts an operator asks for; all of them are in the JSON and the YAML.
pub fn text(facts: &Facts) -> String {
    let mut text = String::new();
    for (name, sight) in &facts.hosts {
        let lines = match sight {
            Sight::Seen(seen) => seen_lines(seen).join("\n"),
            Sight::Unreachable(failure) => format!("unreachable: {}", failure.cause()),
            Sight::Unreadable(why) => format!("could not look: {why}"),
        };
        text += &format!("{name}\n{}", indented(&plain(&lines), 2));
    }
    text
}

fn seen_lines(seen: &Seen) -> Vec<String> {
    let host = &seen.host;
    let init = if host.systemd { "systemd" } else { "no systemd" };
    let mut lines = vec![format!("host: {} MiB, {} CPUs, {init}", host.memory >> 20, host.cpus)];
    lines.push(match &seen.software {
        None => "software: no PostgreSQL".to_owned(),
        Some(software) => {
            let autoctl = match &software.pg_autoctl {
                Some((_, version)) => format!("pg_autoctl {version}"),
                None => "no pg_autoctl".to_owned(),
            };
            let named = |(name, version): (&String, &String)| format!("{name} {version}");
            let extensions: Vec<String> = software.extensions.iter().map(named).collect();
            format!(
                "software: PostgreSQL {} in {}; {autoctl}; {}",
                software.major,
                software.bin,
                extensions.join(", ")
            )
        }
    });
    lines.extend(seen.around.neighbours.iter().map(neighbour));
    lines.push(match &seen.pgdata {
        Pgdata::Empty => {
            let room = seen.place.room_kb >> 10;
            let word = match seen.place.access {
                Access::Writable => "writable",
                Access::ReadOnly => "read-only",
                Access::Denied(_) => "not writable",
            };
            let is = match &seen.place.is {
                Is::Plain => String::new(),
                Is::Mount => ", a mount point".to_owned(),
                Is::Link(target) => format!(", a link to {target}"),
            };
            format!("pgdata: empty, {room} MiB free, {word}{is}")
        }
        Pgdata::Foreign(what) => format!("pgdata: no data directory, but not empty: {what}"),
        Pgdata::Present(found) => {
            let runs = found.postmaster.map_or("stopped".to_owned(), |pid| format!("running, pid {pid}"));
            let standby = if found.standby { ", standby" } else { "" };
            let (major, system) = (found.major, found.system_identifier);
            format!("pgdata: PostgreSQL {major}, system identifier {system}, {runs}{standby}")
        }
    });
    if let Some(database) = &seen.database {
        let word = if database.in_recovery { "in recovery" } else { "takes writes" };
        let names: Vec<&str> = database.databases.iter().map(String::as_str).collect();
        lines.push(format!("server: {word}; databases {}", names.join(", ")));
    }
    if let Some(certificate) = seen.tls.served.as_ref().or(seen.tls.certificate.as_ref()) {
        let names = certificate.names.join(", ");
        lines.push(format!("certificate: for {names}, until {}", certificate.not_after));
    }
    lines.push(match (seen.keeper.alive, &seen.keeper.config) {
        (Some(pid), _) => format!("keeper: running, pid {pid}"),
        (None, Some(_)) => "keeper: configured, not running".to_owned(),
        (None, None) => "keeper: none".to_owned(),
    });
    if let Some(monitor) = &seen.monitor {
        let version = monitor.extension.as_deref().unwrap_or("not created");
        lines.push(format!("monitor: pgautofailover {version}, {} nodes", monitor.nodes.len()));
    }
    if let Some(citus) = &seen.citus {
        lines.push(format!("citus: {} rows in pg_dist_node", citus.nodes.len()));
    }
    lines
}

fn neighbour(neighbour: &Neighbour) -> String {
    let whose = match &neighbour.whose {
        Whose::Cluster(version, name) => format!("cluster {version}/{name}"),
        Whose::Unit(unit) => unit.clone(),
    };
    let port = neighbour.port.map_or("port unknown".to_owned(), |port| format!("port {port}"));
    let runs = if neighbour.running { "running" } else { "stopped" };
    let starts = if neighbour.starts { "starts at boot" } else { "does not start at boot" };
    format!("also here: {whose} in {}, {port}, {runs}, {starts}", neighbour.data)
}
