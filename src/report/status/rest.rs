//! Whether a formation rests, and what keeps it from that.

use std::collections::BTreeMap;

use crate::facts::{self, Facts, Sight};
use crate::formation::{Formation, Keeper, NodeName, Server};
use crate::report::status::{Line, Look};
use crate::resource::data::Pgdata;
use crate::resource::database::DatabaseFacts;
use crate::resource::monitor::NodeRow;
use crate::resource::overruled::Plain;
use crate::resource::streaming::{self, Sender};
use crate::scope::Scope;

/// What is to be said of a formation as a whole; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rest {
    Settled,
    /// The others rest, and nodes are in maintenance.
    Out,
    /// What could be seen rests, and a host could not be reached.
    Unseen,
    Unsettled,
}

impl Rest {
    pub(super) fn of(
        formation: &Formation,
        scope: &Scope,
        facts: &Facts,
        servers: &[Line],
        troubles: &BTreeMap<NodeName, Vec<String>>,
    ) -> Rest {
        let of_line = |line: &Line| {
            let server = formation.servers().find(|server| server.name == line.name);
            by_row(formation, facts, line).max(server.map_or(Rest::Settled, |server| by_host(facts, server)))
        };
        let in_trouble = scope.servers(formation).iter().any(|server| troubles.contains_key(&server.name))
            || servers.iter().any(|line| troubles.contains_key(&line.name));
        let worst = servers.iter().map(of_line).max().unwrap_or(Rest::Settled);
        if in_trouble { Rest::Unsettled } else { worst }
    }
}

/// By the monitor's word.
fn by_row(formation: &Formation, facts: &Facts, line: &Line) -> Rest {
    let monitor = facts.monitor(formation);
    let misses = |row: &NodeRow| monitor.is_some_and(|monitor| monitor.misses_one_that_is_out(row));
    match (&line.row, line.group) {
        (Look::Is(row), _) if row.is_settled() && row.running && row.health != 0 => Rest::Settled,
        (Look::Is(row), _) if row.is_out() || misses(row) && row.running && row.health != 0 => Rest::Out,
        (Look::Is(_), _) | (Look::Absent, Some(_)) => Rest::Unsettled,
        // Nobody could ask the monitor.
        (Look::Unknown, _) if is_any_away(facts) => Rest::Unseen,
        (Look::Unknown, _) => Rest::Unsettled,
        (Look::Absent, None) => match line.postgres {
            Look::Is(_) => Rest::Settled,
            Look::Absent => Rest::Unsettled,
            Look::Unknown if is_away(facts, &line.name) => Rest::Unseen,
            Look::Unknown => Rest::Unsettled,
        },
    }
}

/// By what its own host shows.
fn by_host(facts: &Facts, server: &Server) -> Rest {
    match facts.hosts.get(&server.name) {
        Some(Sight::Seen(seen)) if seen.keeper.alive.is_some() || server.keeper == Keeper::None => {
            Rest::Settled
        }
        Some(Sight::Seen(_) | Sight::Unreadable(_)) | None => Rest::Unsettled,
        Some(Sight::Unreachable(_)) => Rest::Unseen,
    }
}

fn is_away(facts: &Facts, name: &NodeName) -> bool {
    matches!(facts.hosts.get(name), Some(Sight::Unreachable(_)))
}

fn is_any_away(facts: &Facts) -> bool {
    facts.hosts.keys().any(|name| is_away(facts, name))
}

/// What is wrong with servers though the monitor shows its nodes as settled, of those that are shown.
pub(super) fn troubles(
    formation: &Formation,
    facts: &Facts,
    servers: &[Line],
) -> BTreeMap<NodeName, Vec<String>> {
    let mut troubles: BTreeMap<NodeName, Vec<String>> = BTreeMap::new();
    for line in servers {
        let Look::Is(row) = &line.row else {
            let unknown = unregistered(formation, facts, line).map(|why| vec![why]);
            troubles.extend(unknown.map(|why| (line.name.clone(), why)));
            continue;
        };
        let node = formation.nodes.get(&line.name);
        // Without a keeper nobody reports, which is said elsewhere.
        let reports = node.is_none_or(|node| node.server.keeper != Keeper::None);
        let silent = row.silence().filter(|_| reports);
        let streams = upstream(formation, facts, row).and_then(|primary| {
            let there = database(facts, &primary.name).and_then(|there| there.streaming.as_ref());
            let why = streaming::trouble(row, primary, there, database(facts, &row.name))?.why().to_owned();
            Some(facts.seen(&line.name).map_or(why.clone(), |seen| seen.with_cause(why)))
        });
        let found: Vec<String> = silent
            .into_iter()
            .chain(row.stuck())
            .chain(node.and_then(|node| row.is_never_promoted(node)).map(|why| why.to_string()))
            .chain(streams)
            .collect();
        if !found.is_empty() {
            troubles.insert(line.name.clone(), found);
        }
    }
    for server in formation.servers().filter(|server| servers.iter().any(|line| line.name == server.name)) {
        let Some(seen) = facts.seen(&server.name) else { continue };
        let mut lacks = facts::start::lacks(formation, facts, server, seen);
        lacks.extend(facts::roles::trouble(formation, server, seen));
        let node = formation.nodes.get(&server.name);
        lacks.extend(node.into_iter().flat_map(|node| facts::logins::refused(formation, facts, node)));
        lacks.extend(Plain::of(server, &seen.pgdata, &seen.tls.shown).map(Plain::why));
        if !lacks.is_empty() {
            troubles.entry(server.name.clone()).or_default().push(lacks.join("; "));
        }
    }
    troubles
}

/// A node that is there, and that the monitor has no row of: it was dropped, or not registered yet.
fn unregistered(formation: &Formation, facts: &Facts, line: &Line) -> Option<String> {
    let node = formation.nodes.get(&line.name)?;
    facts.monitor(formation).filter(|monitor| !monitor.knows(&node.server))?;
    let Pgdata::Present(_) = facts.seen(&line.name)?.pgdata else { return None };
    let why = "the monitor does not know it";
    Some(match facts::writes_beside(formation, facts, node) {
        Some(NodeRow { name, .. }) => {
            format!("{why}, and its PostgreSQL takes writes beside {name}, the primary of its group")
        }
        None => why.to_owned(),
    })
}

/// The connection of a node to its primary; `Absent` where there is none.
pub(super) fn streaming(formation: &Formation, facts: &Facts, name: &NodeName) -> Look<Sender> {
    let Some(row) = facts.monitor(formation).and_then(|monitor| monitor.row(name)) else {
        return Look::Unknown;
    };
    match upstream(formation, facts, row) {
        Some(primary) if primary.id == row.id => Look::Absent,
        Some(primary) => {
            let there = database(facts, &primary.name).and_then(|there| there.streaming.as_ref());
            there.map_or(Look::Unknown, |there| Look::of(there.sender(row.id).cloned()))
        }
        None => Look::Unknown,
    }
}

fn upstream<'a>(formation: &Formation, facts: &'a Facts, row: &NodeRow) -> Option<&'a NodeRow> {
    facts.monitor(formation)?.primary(row.group)
}

fn database<'a>(facts: &'a Facts, name: &str) -> Option<&'a DatabaseFacts> {
    facts.seen(&NodeName::from(name))?.database.as_ref()
}
