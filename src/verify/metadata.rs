//! Citus' metadata, as the coordinator that takes writes has it.

use super::{Check, View, Wrong, coordinator, is_stranger, unseen};
use crate::facts::{Facts, Told};
use crate::formation::{Formation, Node, NodeName};
use crate::resource::citus::{self, CitusFacts, CitusNode, Remote};
use crate::resource::monitor::MonitorFacts;
use crate::sql::conninfo_value;

/// `pg_dist_node`, from the coordinator's own host, or by all nodes that asked a coordinator elsewhere.
fn pg_dist_node<'a>(
    formation: &'a Formation,
    facts: &'a Facts,
    monitor: &MonitorFacts,
) -> Result<&'a CitusFacts, String> {
    if let Some(row) = monitor.primary(0).filter(|row| is_stranger(formation, &row.name)) {
        match facts.told_by_coordinator() {
            Told::This(rows) => return Ok(rows),
            Told::Differs(why) => return Err(format!("{}: {why}", row.name)),
            Told::Nothing => {}
        }
        let asked = facts.hosts.keys().filter_map(|name| facts.seen(name)?.coordinator.as_ref());
        let mut why = format!("the inventory does not name {}, and no node asked it", row.name);
        for remote in asked {
            match remote {
                Remote::Unseen { at, why: reason } => why = format!("{at}: {reason}"),
                Remote::Seen { .. } | Remote::Absent => {}
            }
        }
        return Err(why);
    }
    let (coordinator, seen) = coordinator(formation, facts, monitor)?;
    seen.citus.as_ref().ok_or_else(|| format!("{} has no Citus", coordinator.name()))
}

/// What the coordinator has of every node, and of nobody else.
pub(super) fn check(formation: &Formation, facts: &Facts, monitor: &MonitorFacts, checks: &mut Vec<Check>) {
    let mut say = |subject: String, result: Result<String, Wrong>| {
        checks.push(Check::new(View::Coordinator, subject, result));
    };
    let blind = |what: &str| {
        let why = format!("could not look: {what}");
        match monitor.primary(0) {
            Some(row) => Err(unseen(facts, &NodeName(row.name.clone()), why)),
            None => Err(Wrong::Found(why)),
        }
    };
    let primary = |group| {
        let row = monitor.primary(group)?;
        formation.nodes.get(&NodeName(row.name.clone()))
    };
    let wanted = citus::wanted(formation, primary);
    let is_elsewhere = monitor.primary(0).is_some_and(|row| is_stranger(formation, &row.name));
    // Standbys of others' primaries have no row that would be this inventory's matter.
    if is_elsewhere && wanted.is_empty() {
        return;
    }
    let rows = match pg_dist_node(formation, facts, monitor) {
        Ok(rows) => rows,
        Err(why) => return say("pg_dist_node".to_owned(), blind(&why)),
    };
    let mut known = Vec::new();
    for wanted in &wanted {
        let (node, at) = (wanted.node, address(wanted.node));
        let found = rows.nodes.iter().find(|row| row.is_at(&node.server.hostname, node.server.pgport));
        let what = format!("{} of group {}, cluster {}", wanted.role, node.group, node.cluster());
        let result = match found {
            None => Err("it is not there".to_owned()),
            Some(row) => {
                known.push(row.id);
                let is = format!("{} of group {}, cluster {}", row.role, row.group, row.cluster);
                match (is == what, row.active) {
                    (true, true) => Ok(format!("active {is}")),
                    (true, false) => Err("it is not active".to_owned()),
                    (false, _) => Err(format!("it is {is}, it should be {what}")),
                }
            }
        };
        say(format!("pg_dist_node: {at}"), result.map_err(Wrong::Found));
        if let Some(port) = node.proxyport {
            say(
                format!("pg_dist_poolinfo: {at}"),
                pool(rows, found.map(|row| row.id), node, port).map_err(Wrong::Found),
            );
        }
    }
    let theirs = |row: &&CitusNode| {
        let mut others = monitor.nodes.iter().filter(|other| is_stranger(formation, &other.name));
        others.any(|other| row.is_at(&other.host, other.port))
    };
    for row in rows.nodes.iter().filter(|row| !known.contains(&row.id) && !theirs(row)) {
        let says = format!("{} of group {} is in pg_dist_node, and should not be", row.role, row.group);
        say(format!("pg_dist_node: {}:{}", row.name, row.port), Err(Wrong::Found(says)));
    }
}

fn pool(rows: &CitusFacts, id: Option<i64>, node: &Node, port: u16) -> Result<String, String> {
    let wants = format!("host={} port={port}", conninfo_value(&node.server.hostname));
    match id.and_then(|id| rows.pools.get(&id)) {
        Some(pool) if *pool == wants => Ok(wants),
        Some(pool) => Err(format!("it is {pool}, it should be {wants}")),
        None => Err(format!("it is not there, it should be {wants}")),
    }
}

fn address(node: &Node) -> String {
    format!("{}:{}", node.server.hostname, node.server.pgport)
}
