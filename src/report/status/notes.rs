//! What is to be known of nodes beside their row.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::facts::{self, Facts, Sight};
use crate::formation::{Formation, Keeper, NodeName};
use crate::reason::Reason;
use crate::resource::database::DatabaseFacts;
use crate::resource::given::Given;
use crate::resource::monitor::NodeRow;
use crate::resource::streaming::{self, bytes};
use crate::resource::{keeper, meant, overruled};

/// What is to be known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub node: NodeName,
    pub text: String,
}

pub(super) fn notes(
    formation: &Formation,
    facts: &Facts,
    troubles: &BTreeMap<NodeName, Vec<String>>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |node: &NodeName, text: String| notes.push(Note { node: node.clone(), text });
    let rows = facts.monitor(formation).map_or(&[][..], |monitor| &monitor.nodes);
    for row in rows.iter().filter(|row| row.is_in_maintenance()) {
        let node = NodeName::from(row.name.as_str());
        match row.is_out() {
            true => note(&node, Reason::Maintenance { node: node.clone() }.to_string()),
            false => note(&node, "it is on its way into maintenance, and not out yet".to_owned()),
        }
    }
    facts::quorum::waits_for_all(formation, facts).into_iter().for_each(|(name, text)| note(&name, text));
    for (name, sight) in &facts.hosts {
        match sight {
            Sight::Unreachable(failure) => note(name, format!("unreachable: {}", failure.cause())),
            Sight::Unreadable(why) => note(name, format!("could not look: {why}")),
            Sight::Seen(seen) => {
                let server = formation.servers().find(|server| server.name == *name);
                let wants = server.is_some_and(|server| server.keeper != Keeper::None);
                if facts::stopped_monitor(formation, facts).is_some_and(|monitor| monitor.name == *name) {
                    let way_out = match server.is_some_and(|server| server.adopted) {
                        true => "start it there, as it is adopted",
                        false => "apply starts it",
                    };
                    note(name, format!("the monitor is stopped, so nothing fails over: {way_out}"));
                } else if wants && seen.keeper.config.is_some() && seen.keeper.alive.is_none() {
                    let follows = match formation.nodes.contains_key(name) {
                        true => "its keeper does not run, so it follows no order of the monitor",
                        false => "its pg_autoctl does not run, so nobody starts its PostgreSQL again",
                    };
                    let waits = server.and_then(|server| keeper::waiting(server, &seen.keeper));
                    note(name, waits.unwrap_or(follows.to_owned()));
                }
                if let Some(unit) = server.and_then(|server| keeper::masked(server, &seen.host, &seen.keeper))
                {
                    note(name, Reason::Masked { unit }.to_string());
                }
                if let Some(why) = server.and_then(|server| keeper::overlaid(server, &seen.keeper)) {
                    note(name, why);
                }
                server
                    .and_then(|server| meant::port(server, &seen.pgdata))
                    .into_iter()
                    .for_each(|why| note(name, why));
                if let Some(server) = server.filter(|server| !server.adopted) {
                    let notes = overruled::notes(
                        server,
                        formation.nodes.get(name),
                        &seen.pgdata,
                        seen.database.as_ref(),
                    );
                    notes.into_iter().for_each(|text| note(name, text));
                }
                let Some(database) = &seen.database else { continue };
                streaming((formation, facts), name, database, &mut note);
                let mut names = database.pending();
                // Those are told above.
                if let Some(server) = server.filter(|server| !server.adopted) {
                    let unasked =
                        overruled::unasked(server, formation.nodes.get(name), &seen.pgdata, database);
                    names.retain(|name| !unasked.iter().any(|unasked| unasked.name == *name));
                }
                // It is not in its file yet, so that the server says nothing of it.
                let lowered = server.map(|server| database.lowered_by(&server.settings)).unwrap_or_default();
                names.extend(lowered.iter().map(String::as_str));
                names.sort_unstable();
                names.dedup();
                if !names.is_empty() {
                    note(name, format!("takes effect after a restart: {}", names.join(", ")));
                }
                let given = server.map(Given::of).unwrap_or_default();
                for error in &database.setting_errors {
                    let error = given.with_place(error, seen.pgdata.conf());
                    note(name, format!("PostgreSQL does not take what its configuration says: {error}"));
                }
                for error in &database.hba_errors {
                    note(name, format!("pg_hba.conf, {error}"));
                }
            }
        }
    }
    for (name, why) in troubles.iter().flat_map(|(name, all)| all.iter().map(move |why| (name, why))) {
        note(name, why.clone());
    }
    for row in facts::strangers(formation, facts) {
        note(&row.name.as_str().into(), "the monitor knows it, the inventory does not".to_owned());
    }
    notes
}

/// What is no trouble yet: a standby far behind, and slots that nobody reads.
fn streaming(
    (formation, facts): (&Formation, &Facts),
    name: &NodeName,
    database: &DatabaseFacts,
    note: &mut impl FnMut(&NodeName, String),
) {
    let (Some(monitor), Some(own)) = (facts.monitor(formation), &database.streaming) else { return };
    let Some(row) = monitor.row(name) else { return };
    let primary = monitor.primary(row.group).filter(|primary| primary.id != row.id);
    let there = primary.and_then(|primary| {
        let seen = facts.seen(&NodeName::from(primary.name.as_str()))?;
        seen.database.as_ref()?.streaming.as_ref()
    });
    let stuck = primary.and_then(|primary| streaming::stuck(row, primary, there, Some(database)));
    let pgdata = formation.nodes.get(name).map(|node| node.server.pgdata.clone());
    if let (Some(why), Some(pgdata)) = (stuck, pgdata) {
        note(name, Reason::NotStreaming { why, pgdata }.to_string());
    }
    let needs = facts.seen(name).and_then(|seen| seen.pgdata.needs());
    if let Some(why) = primary.and_then(|_| streaming::lagging(row, there, Some(database), needs)) {
        note(name, why);
    }
    let group: Vec<&NodeRow> = monitor.nodes.iter().filter(|other| other.group == row.group).collect();
    for slot in own.forgotten(&group) {
        let holds = slot.holds.map_or_else(|| "no WAL".to_owned(), bytes);
        note(
            name,
            format!("nobody reads its replication slot {}, which holds {holds} of WAL back", slot.name),
        );
    }
}
