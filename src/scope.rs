//! Which hosts a run is about: all of the formation, or those of `--limit`.

use std::collections::BTreeSet;

use crate::formation::{Formation, NodeName, Server};

/// The whole formation, or some of its servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Option<BTreeSet<NodeName>>);

impl Scope {
    pub fn whole() -> Scope {
        Scope(None)
    }

    /// These servers; where they are all that there are, the whole.
    pub fn of(formation: &Formation, names: impl IntoIterator<Item = NodeName>) -> Scope {
        let names: BTreeSet<NodeName> = names.into_iter().collect();
        match formation.servers().all(|server| names.contains(&server.name)) {
            true => Scope(None),
            false => Scope(Some(names)),
        }
    }

    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    /// The names, where there is a limit.
    pub fn limit(&self) -> Option<&BTreeSet<NodeName>> {
        self.0.as_ref()
    }

    pub fn has(&self, node: &NodeName) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(node))
    }

    /// Its servers alone.
    pub fn servers<'f>(&self, formation: &'f Formation) -> Vec<&'f Server> {
        formation.servers().filter(|server| self.has(&server.name)).collect()
    }

    /// Its servers, and those outside that a plan for a node hangs on: the monitor, the node's group, and the
    /// coordinator's group where the node is one of Citus.
    pub fn sight<'f>(&self, formation: &'f Formation) -> Vec<&'f Server> {
        let groups: BTreeSet<u32> =
            formation.nodes.values().filter(|node| self.has(node.name())).map(|node| node.group).collect();
        let is_needed = |server: &&Server| match formation.nodes.get(&server.name) {
            _ if self.has(&server.name) => true,
            None => !groups.is_empty(),
            Some(node) => groups.contains(&node.group) || node.group == 0 && !groups.is_empty(),
        };
        formation.servers().filter(is_needed).collect()
    }
}
