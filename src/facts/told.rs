//! What hosts tell of what is none of them: it counts where it is asked of itself, or where all who asked say the same.

use crate::facts::Facts;
use crate::formation::{Formation, Monitor, NodeName};
use crate::resource::citus::{CitusFacts, Remote};
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::names::some_of;
use crate::state::State;

/// What those who asked were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a, T> {
    /// Nobody was told anything.
    Nothing,
    This(&'a T),
    /// Not all were told the same, in words: nothing may be concluded.
    Differs(String),
}

impl<'a, T> Told<'a, T> {
    pub fn this(self) -> Option<&'a T> {
        match self {
            Told::This(told) => Some(told),
            Told::Nothing | Told::Differs(_) => None,
        }
    }
}

/// Seconds by which two answers about the age of a report may differ: looks are not at one moment.
const APART: u64 = 30;

impl Facts {
    /// What the monitor says; nothing where not all who asked it were told the same.
    pub fn monitor(&self, formation: &Formation) -> Option<&MonitorFacts> {
        self.told_by_monitor(formation).this()
    }

    /// The monitor's answer: from its own host, or from every node that asked one elsewhere.
    pub fn told_by_monitor(&self, formation: &Formation) -> Told<'_, MonitorFacts> {
        if let Monitor::Managed(server) = &formation.monitor {
            let facts = self.seen(&server.name).and_then(|seen| seen.monitor.as_ref());
            return facts.map_or(Told::Nothing, Told::This);
        }
        // Who has no psql has not asked.
        let asked = self.hosts.keys().filter_map(|name| {
            let seen = self.seen(name)?;
            seen.software.is_some().then_some((name, seen.monitor.as_ref()))
        });
        let asked: Vec<_> = asked.collect();
        let Some(first) = asked.iter().find_map(|(_, told)| *told) else { return Told::Nothing };
        let differs = |told: &Option<&MonitorFacts>| match told {
            Some(told) => difference(first, told),
            None => {
                Some(("the extension pgautofailover".to_owned(), "there".to_owned(), "not there".to_owned()))
            }
        };
        let (others, same): (Vec<_>, Vec<_>) = asked.iter().partition(|(_, told)| differs(told).is_some());
        let Some((what, here, there)) = others.iter().find_map(|(_, told)| differs(told)) else {
            return Told::This(first);
        };
        Told::Differs(format!(
            "the monitor's answers differ: asked on {}, {what} is {here}; on {}, {there}. Nothing is concluded from them: see \
             that these hosts reach one and the same monitor (its name in /etc/hosts and DNS), and run again if a node was \
             just moving",
            some_of(same.iter().map(|(name, _)| *name)),
            some_of(others.iter().map(|(name, _)| *name)),
        ))
    }

    /// What a coordinator elsewhere says, from all who asked it.
    pub fn told_by_coordinator(&self) -> Told<'_, CitusFacts> {
        let asked = self.hosts.keys().filter_map(|name| match self.seen(name)?.coordinator.as_ref()? {
            Remote::Seen { facts, .. } => Some((name, facts)),
            Remote::Absent | Remote::Unseen { .. } => None,
        });
        let asked: Vec<(&NodeName, &CitusFacts)> = asked.collect();
        let Some((_, first)) = asked.first().copied() else { return Told::Nothing };
        let (same, others): (Vec<_>, Vec<_>) = asked.iter().partition(|(_, facts)| *facts == first);
        if others.is_empty() {
            return Told::This(first);
        }
        let names = |of: &[&(&NodeName, &CitusFacts)]| some_of(of.iter().map(|(name, _)| *name));
        Told::Differs(format!(
            "its pg_dist_node, asked on {}, differs from that on {}",
            names(&others),
            names(&same)
        ))
    }
}

/// The first thing that two answers of one monitor cannot both say: what, and how either has it.
fn difference(one: &MonitorFacts, other: &MonitorFacts) -> Option<(String, String, String)> {
    let version = |facts: &MonitorFacts| facts.extension.clone().unwrap_or_else(|| "not there".to_owned());
    let row = |facts: &MonitorFacts| match &facts.formation {
        Some(row) => format!(
            "of kind {}, dbname {}, number_sync_standbys {}",
            row.kind, row.dbname, row.number_sync_standbys
        ),
        None => "not there".to_owned(),
    };
    let names = |facts: &MonitorFacts| {
        let names: Vec<String> = facts.nodes.iter().map(|row| format!("{} ({})", row.id, row.name)).collect();
        if names.is_empty() { "none".to_owned() } else { some_of(names.iter()) }
    };
    let last = |facts: &MonitorFacts| facts.last_id.to_string();
    let whole = [
        ("the extension pgautofailover", version(one), version(other)),
        ("the formation's row", row(one), row(other)),
        ("the list of nodes", names(one), names(other)),
        ("the highest node id", last(one), last(other)),
    ];
    if let Some((what, here, there)) = whole.into_iter().find(|(_, here, there)| here != there) {
        return Some((what.to_owned(), here, there));
    }
    if one.nodes.len() != other.nodes.len() {
        let count = |facts: &MonitorFacts| facts.nodes.len().to_string();
        return Some(("the number of nodes".to_owned(), count(one), count(other)));
    }
    one.nodes.iter().zip(&other.nodes).find_map(|(one, other)| {
        let (of, here, there) = of_node(one, other)?;
        Some((format!("{} of {}", of, one.name), here, there))
    })
}

/// The same of a node's row. Where its WAL ends is another place at every moment.
fn of_node(one: &NodeRow, other: &NodeRow) -> Option<(&'static str, String, String)> {
    type Field = (&'static str, fn(&NodeRow) -> String);
    let word = |state: Option<State>| state.map_or("unknown", State::as_str);
    let states = |row: &NodeRow| format!("{}, to become {}", word(row.reported), word(row.assigned));
    if states(one) != states(other) {
        return Some(("the state", states(one), states(other)));
    }
    let fields: [Field; 10] = [
        ("the id", |row| row.id.to_string()),
        ("the name", |row| row.name.clone()),
        ("the place", |row| format!("{}:{}", row.host, row.port)),
        ("the group", |row| row.group.to_string()),
        ("the system identifier", |row| row.system_identifier.clone().unwrap_or_else(|| "none".to_owned())),
        ("the last report of PostgreSQL", |row| if row.running { "running" } else { "stopped" }.to_owned()),
        ("the timeline", |row| row.timeline.to_string()),
        ("the health", |row| row.health.to_string()),
        ("the cluster", |row| row.cluster.clone()),
        ("what it counts for", |row| {
            format!(
                "candidate_priority {}, replication_quorum {}",
                row.candidate_priority, row.replication_quorum
            )
        }),
    ];
    let differs = fields.into_iter().find(|(_, of)| of(one) != of(other));
    if let Some((what, of)) = differs {
        return Some((what, of(one), of(other)));
    }
    let silent = |row: &NodeRow| format!("{} s ago", row.silent);
    (one.silent.abs_diff(other.silent) > APART).then(|| ("the last report", silent(one), silent(other)))
}
