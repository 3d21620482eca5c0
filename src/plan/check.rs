//! What forbids planning anything for a server: found before a single step is made.

use crate::facts::Seen;
use crate::formation::{Formation, Monitor, Node, Server};
use crate::plan::{MonitorView, World, adopted, agreement};
use crate::resource::data::{self, Pgdata, Software};
use crate::resource::{database, keeper, neighbours, versions};
use crate::state::State;

/// The first reason to leave a server alone.
pub(super) fn refusal(world: &World, server: &Server) -> Option<String> {
    let seen = world.facts.seen(&server.name)?;
    let node = world.formation.nodes.get(&server.name);
    let Some(software) = &seen.software else {
        return Some("no PostgreSQL is installed: no pg_ctl was found; install it, or set pgctl".to_owned());
    };
    if server.adopted
        && let Some(why) = adopted::refusal(world, server, seen)
    {
        return Some(why);
    }
    None.or_else(|| versions::refusal(server, node, software))
        .or_else(|| keeper::refusal(server, node.map(|node| node.kind), &seen.host, software))
        .or_else(|| agreement::refusal(world, server, software))
        .or_else(|| extensions(world.formation, server, node, software))
        .or_else(|| certificates(seen))
        .or_else(|| match server.adopted {
            true => None,
            false => neighbours::refusal(server, &seen.pgdata, &seen.around)
                .or_else(|| data::refusal(server, &seen.pgdata, &world.whose(&server.name), software)),
        })
        .or_else(|| port(server, seen))
        .or_else(|| match world.monitor {
            // What the monitor knows of it is not known.
            MonitorView::Unknown(_) => None,
            MonitorView::Fresh | MonitorView::Known(_) => {
                node.and_then(|node| registration(world, node, seen))
            }
        })
}

fn extensions(
    formation: &Formation,
    server: &Server,
    node: Option<&Node>,
    software: &Software,
) -> Option<String> {
    let needed: &[&str] = match (node, &formation.monitor) {
        (Some(node), _) => database::wanted_extensions(node),
        (None, Monitor::Managed(_) | Monitor::External(_)) => &["pgautofailover", "btree_gist"],
    };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|name| !software.extensions.contains_key(*name)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "the extension {} is not installed for PostgreSQL {} on {}: install its package",
        missing.join(" and "),
        software.major,
        server.host.address
    ))
}

fn certificates(seen: &Seen) -> Option<String> {
    let missing = &seen.tls.unreadable;
    (!missing.is_empty())
        .then(|| format!("cannot read {}: put the file there, readable for its server", missing.join(", ")))
}

fn port(server: &Server, seen: &Seen) -> Option<String> {
    let runs = matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_some());
    (!runs && seen.host.listening.contains(&server.pgport))
        .then(|| format!("port {} is taken by another process", server.pgport))
}

/// Where the monitor's row, the inventory and the data directory contradict one another.
fn registration(world: &World, node: &Node, seen: &Seen) -> Option<String> {
    let server = &node.server;
    let is_here = |host: &str, port: u16| host == server.hostname && port == server.pgport;
    let Some(row) = world.row(node.name()) else {
        if let Some(other) = world.rows().iter().find(|row| is_here(&row.host, row.port)) {
            return Some(format!(
                "the monitor knows {}:{} as {}; set name",
                other.host, other.port, other.name
            ));
        }
        if seen.keeper.alive.is_some() {
            return Some("a keeper runs here, but the monitor does not know the node".to_owned());
        }
        let is_primary = world.primary(node.group).is_some_and(|primary| primary.name() == node.name());
        return match &seen.pgdata {
            Pgdata::Present(_) if !is_primary => Some(format!(
                "{} holds data, but the monitor does not know the node: it was dropped, or the monitor is another; \
                 move the directory away to join it anew",
                server.pgdata
            )),
            Pgdata::Present(found) if found.standby => {
                Some(format!("{} is a standby's, and the monitor does not know the node", server.pgdata))
            }
            Pgdata::Present(_) | Pgdata::Empty { .. } | Pgdata::Foreign(_) => None,
        };
    };
    if !is_here(&row.host, row.port) {
        return Some(format!(
            "the monitor knows it at {}:{}, the inventory says {}:{}",
            row.host, row.port, server.hostname, server.pgport
        ));
    }
    if row.group != node.group {
        return Some(format!(
            "the monitor has it in group {}, the inventory in group {}",
            row.group, node.group
        ));
    }
    if row.reported == Some(State::Dropped) || row.assigned == Some(State::Dropped) {
        return Some("it is being dropped from the monitor".to_owned());
    }
    let begins = matches!(row.reported, Some(State::Init | State::WaitStandby));
    match &seen.pgdata {
        Pgdata::Empty { .. } if !begins => Some(format!(
            "the monitor says it is {}, but {} is empty: drop the node from the monitor to join it anew",
            row.reported.map_or("in an unknown state", State::as_str),
            server.pgdata
        )),
        Pgdata::Present(found)
            if row
                .system_identifier
                .as_ref()
                .is_some_and(|id| *id != found.system_identifier.to_string()) =>
        {
            Some(format!("{} holds other data than the monitor knows (system identifier)", server.pgdata))
        }
        Pgdata::Empty { .. } | Pgdata::Present(_) | Pgdata::Foreign(_) => None,
    }
}
