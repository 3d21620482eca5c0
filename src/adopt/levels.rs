//! Which variable stands at which level of an inventory: at the outermost where all servers below it have the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::adopt::vars::{self, NODES_OWN, Vars};
use crate::formation::{Formation, Node, NodeKind, Server};
use crate::resource::monitor::MonitorFacts;

/// A host of the inventory.
pub(super) struct Entry<'a> {
    pub(super) key: String,
    pub(super) server: &'a Server,
    pub(super) group: String,
    vars: Vars,
}

/// Every server, groups and primaries first.
pub(super) fn entries<'a>(formation: &'a Formation, facts: Option<&MonitorFacts>) -> Vec<Entry<'a>> {
    let servers: Vec<(&Server, Option<&Node>)> =
        formation.servers().map(|server| (server, formation.nodes.get(&server.name))).collect();
    let is_alone = |server: &Server| {
        servers.iter().filter(|(other, _)| other.host.address == server.host.address).count() == 1
    };
    let groups: BTreeSet<String> =
        servers.iter().filter_map(|(_, node)| *node).map(|node| format!("worker{}", node.group)).collect();
    let mut entries: Vec<(_, Entry)> = Vec::new();
    for (server, node) in &servers {
        // The name by which ssh knows it, unless several servers share it.
        let key = if is_alone(server) { &server.host.address } else { &server.name.0 };
        let group = match node {
            None => "monitor".to_owned(),
            Some(node) => match node.kind {
                NodeKind::Coordinator => "coordinator".to_owned(),
                NodeKind::Standalone => "postgres".to_owned(),
                NodeKind::Worker => {
                    // A host may have the name that the group would have.
                    let taken = servers.iter().any(|(other, _)| {
                        groups.contains(&other.host.address) || groups.contains(&other.name.0)
                    });
                    format!("{}{}", if taken { "citus_group_" } else { "worker" }, node.group)
                }
            },
        };
        let is_first = facts.is_some_and(|facts| {
            node.is_some_and(|node| facts.primary(node.group).is_some_and(|row| row.name == node.name().0))
        });
        let order = (node.map(|node| node.group), !is_first, node.map(|node| node.order));
        let vars = vars::of(formation, server, *node);
        entries.push((order, Entry { key: key.clone(), server, group, vars }));
    }
    entries.sort_by_key(|(order, _)| *order);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

impl Entry<'_> {
    pub(super) fn parent(&self) -> &str {
        match self.group.as_str() {
            top @ ("monitor" | "coordinator" | "postgres") => top,
            _ => "workers",
        }
    }

    /// The levels above the host, outermost first.
    fn levels(&self) -> Vec<&str> {
        match self.parent() {
            "workers" => vec!["all", "workers", &self.group],
            top => vec!["all", top],
        }
    }
}

/// What stands at which level: at the outermost where all servers below it have the same.
pub(super) struct Shared {
    pub(super) vars: BTreeMap<String, Vars>,
    pub(super) settings: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) rules: BTreeMap<String, Vec<String>>,
}

impl Shared {
    pub(super) fn new(entries: &[Entry]) -> Shared {
        let mut shared = Shared { vars: BTreeMap::new(), settings: BTreeMap::new(), rules: BTreeMap::new() };
        for entry in entries {
            let place = |is_same: &dyn Fn(&Entry) -> bool| {
                let levels = entry.levels();
                let is_shared = |level: &&&str| {
                    entries.iter().filter(|other| other.levels().contains(level)).all(is_same)
                };
                let found = levels.iter().find(is_shared);
                found.map_or_else(|| format!("host {}", entry.key), |level| (*level).to_owned())
            };
            for (name, lines) in &entry.vars {
                // A node's variable says nothing about a monitor; of others it may have one of its own.
                let is_node_only = name.0 <= NODES_OWN;
                let is_free = |other: &Entry| {
                    other.group == "monitor"
                        && entry.group != "monitor"
                        && (is_node_only || other.vars.contains_key(name))
                };
                let at = place(&|other| is_free(other) || other.vars.get(name) == Some(lines));
                shared.vars.entry(at).or_default().insert(*name, lines.clone());
            }
            for (name, value) in &entry.server.settings {
                let at = place(&|other| other.server.settings.get(name) == Some(value));
                shared.settings.entry(at).or_default().insert(name.clone(), value.clone());
            }
            // Rules of levels follow each other, outer ones first: each has what those below it begin with alike.
            let mut above = 0;
            for level in entry.levels() {
                let below = entries.iter().filter(|other| other.levels().contains(&level));
                let alike = |other: &Entry| {
                    let pairs = entry.server.hba.iter().zip(&other.server.hba).skip(above);
                    pairs.take_while(|(one, two)| one == two).count()
                };
                let length = below.map(alike).min().unwrap_or(0);
                let rules = entry.server.hba[above..above + length].to_vec();
                shared.rules.insert(level.to_owned(), rules);
                above += length;
            }
            shared.rules.insert(format!("host {}", entry.key), entry.server.hba[above..].to_vec());
        }
        shared
    }
}
