//! A group: who takes writes, by the monitor's word and the servers' own, and whether its standbys follow.

use super::{Check, View, Wrong, is_stranger, unseen};
use crate::facts::Facts;
use crate::formation::{Formation, NodeName};
use crate::resource::database::DatabaseFacts;
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::{replication, streaming};
use crate::state::State;

/// Who takes writes beside the primary of its group.
pub(super) fn second_writers<'a>(
    formation: &'a Formation,
    facts: &Facts,
    monitor: &'a MonitorFacts,
    primary: &NodeRow,
) -> Vec<&'a str> {
    // What the last report of an old primary says is no proof of anything: it may be dead. Its server's own word is.
    let takes_writes = |name: &&str| {
        let seen = facts.seen(&NodeName::from(*name));
        seen.and_then(|seen| seen.database.as_ref()).is_some_and(|database| !database.in_recovery)
    };
    let rows = monitor.nodes.iter().filter(|row| row.group == primary.group && row.name != primary.name);
    // One that was dropped has no row, and may serve all the same.
    let dropped = formation.group(primary.group).filter(|node| !monitor.knows(&node.server));
    let names = rows.map(|row| row.name.as_str()).chain(dropped.map(|node| node.name().0.as_str()));
    names.filter(takes_writes).collect()
}

/// One node takes writes, it is the one that the monitor means, and all are on its timeline.
pub(super) fn whole(
    formation: &Formation,
    facts: &Facts,
    monitor: &MonitorFacts,
    group: u32,
) -> Result<String, Wrong> {
    let rows: Vec<&NodeRow> = monitor.nodes.iter().filter(|row| row.group == group).collect();
    let primary = writer(&rows)?;
    let others = second_writers(formation, facts, monitor, primary);
    if !others.is_empty() {
        let names = others.join(", ");
        return Err(Wrong::Found(format!("more than one node takes writes: {}, {names}", primary.name)));
    }
    // A node that is out, or on its way, joins the timeline later: that it is so, is said of the node.
    let rests = |row: &&&NodeRow| row.is_settled();
    if let Some(row) = rows.iter().filter(rests).find(|row| row.timeline != primary.timeline) {
        return Err(Wrong::Found(format!(
            "{} is on timeline {}, its primary {} on {}",
            row.name, row.timeline, primary.name, primary.timeline
        )));
    }
    let says = format!("{} takes writes, timeline {}", primary.name, primary.timeline);
    match database(facts, primary) {
        Some(database) if database.in_recovery => Err(Wrong::Found(format!(
            "{} is to take writes, and its PostgreSQL is in recovery",
            primary.name
        ))),
        Some(database) => {
            let names = &database.synchronous_standby_names;
            match replication::waits_wrongly(names, primary, &monitor.nodes) {
                Some(why) => {
                    Err(Wrong::Found(format!("synchronous_standby_names of {}: {why}", primary.name)))
                }
                None => Ok(says),
            }
        }
        None if is_stranger(formation, &primary.name) => {
            Ok(format!("{says}; the inventory does not name it"))
        }
        None => {
            let why = format!("could not look: PostgreSQL of {} was not seen", primary.name);
            Err(unseen(facts, &NodeName(primary.name.clone()), why))
        }
    }
}

/// The node that the monitor means to take writes, and that says it does.
fn writer<'a>(rows: &[&'a NodeRow]) -> Result<&'a NodeRow, Wrong> {
    let names = |rows: &[&NodeRow]| rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
    let meant: Vec<&NodeRow> =
        rows.iter().copied().filter(|row| row.assigned.is_some_and(State::is_writable)).collect();
    match meant.as_slice() {
        [one] if one.reported.is_some_and(State::is_writable) => Ok(one),
        [one] => Err(Wrong::Found(format!("no node takes writes: {} is to become its primary", one.name))),
        [] => Err(Wrong::Found("no node takes writes".to_owned())),
        many => Err(Wrong::Found(format!("more than one node is to take writes: {}", names(many)))),
    }
}

/// Each standby of the inventory, as its primary and it itself see it.
pub(super) fn standbys(
    formation: &Formation,
    facts: &Facts,
    monitor: &MonitorFacts,
    checks: &mut Vec<Check>,
) {
    let rests = |row: &&NodeRow| row.is_settled() && row.assigned == Some(State::Secondary);
    for row in monitor.nodes.iter().filter(rests).filter(|row| !is_stranger(formation, &row.name)) {
        let Some(primary) = monitor.primary(row.group) else { continue };
        let result = follows(formation, facts, row, primary);
        checks.push(Check::new(View::Servers, row.name.clone(), result));
    }
}

fn follows(formation: &Formation, facts: &Facts, row: &NodeRow, primary: &NodeRow) -> Result<String, Wrong> {
    let of = |row: &NodeRow| database(facts, row).and_then(|database| database.streaming.as_ref());
    let (there, own) = (of(primary), of(row));
    if let Some(trouble) = streaming::trouble(row, primary, there, database(facts, row)) {
        return Err(Wrong::Found(trouble.why().to_owned()));
    }
    let needs = facts.seen(&NodeName::from(row.name.as_str())).and_then(|seen| seen.pgdata.needs());
    if let Some(why) = streaming::lagging(row, there, database(facts, row), needs) {
        return Err(Wrong::Found(why));
    }
    let Some(sender) = there.and_then(|there| there.sender(row.id)) else {
        if is_stranger(formation, &primary.name) && own.is_some() {
            return Ok(format!("it streams from {}, which the inventory does not name", primary.name));
        }
        let unseen_one = if there.is_none() { primary } else { row };
        let why = format!("could not look: PostgreSQL of {} was not seen", unseen_one.name);
        return Err(unseen(facts, &NodeName(unseen_one.name.clone()), why));
    };
    let behind = sender.behind.map_or_else(|| "an unknown way".to_owned(), streaming::bytes);
    Ok(format!("it streams from {}, {}, {behind} behind", primary.name, sender.sync))
}

fn database<'a>(facts: &'a Facts, row: &NodeRow) -> Option<&'a DatabaseFacts> {
    facts.seen(&NodeName(row.name.clone()))?.database.as_ref()
}
