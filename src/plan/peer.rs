//! A member of a group: a node of the inventory, or one that only the monitor knows.
//!
//! Whom the inventory does not name was made by another run of muster, or by pg_autoctl. Such a stranger has its own
//! keeper and its own operator: it is counted, followed and connected to, never driven and never touched.

use crate::formation::{Formation, Node, NodeName, Server};
use crate::plan::{Plan, Stranger, World};
use crate::reason::{NotSeen, Place, Reason, Standing};
use crate::resource::citus::Remote;
use crate::resource::monitor::NodeRow;
use crate::resource::replication::Upstream;
use crate::state::State;

#[derive(Clone, Copy, Debug)]
pub(super) enum Peer<'a> {
    Ours(&'a Node),
    /// A stranger, as the monitor has it.
    Theirs(&'a NodeRow),
}

impl<'a> Peer<'a> {
    pub(super) fn ours(self) -> Option<&'a Node> {
        match self {
            Peer::Ours(node) => Some(node),
            Peer::Theirs(_) => None,
        }
    }

    pub(super) fn is(self, name: &NodeName) -> bool {
        self.upstream().name == name.0
    }

    /// Where its PostgreSQL is reached.
    pub(super) fn upstream(self) -> Upstream<'a> {
        match self {
            Peer::Ours(node) => Upstream::from(node),
            Peer::Theirs(row) => Upstream { name: &row.name, host: &row.host, port: row.port },
        }
    }

    /// Whose steps a step waits for: a stranger has none.
    pub(super) fn needed(self) -> Option<NodeName> {
        self.ours().map(|node| node.name().clone())
    }
}

/// Why a stranger cannot be followed now; `None` if it can.
pub(super) fn unfit(row: &NodeRow) -> Option<String> {
    if let Some(why) = row.silence() {
        Some(why)
    } else if !row.running {
        Some("PostgreSQL does not run there, says its last report".to_owned())
    } else if row.health == 0 {
        Some("the monitor cannot connect to it".to_owned())
    } else {
        None
    }
}

impl From<&NodeRow> for Place {
    fn from(row: &NodeRow) -> Self {
        Place { name: row.name.clone(), host: row.host.clone(), port: row.port }
    }
}

impl<'a> World<'a> {
    /// Rows of the formation that no node of the inventory has.
    pub(super) fn strangers(&self) -> Vec<&'a NodeRow> {
        let dropped = Some(State::Dropped);
        let is_there = |row: &&NodeRow| row.reported != dropped && row.assigned != dropped;
        self.rows().iter().filter(is_there).filter(|row| self.ours(row).is_none()).collect()
    }

    pub(super) fn strangers_of(&self, group: u32) -> Vec<&'a NodeRow> {
        self.strangers().into_iter().filter(|row| row.group == group).collect()
    }

    /// Those whom the operator may have forgotten; who is at a place of the inventory is blocked under its other name.
    pub(super) fn unnamed(&self) -> Vec<Stranger> {
        let is_at = |server: &Server, row: &NodeRow| server.hostname == row.host && server.pgport == row.port;
        let is_named = |row: &NodeRow| self.formation.nodes.values().any(|node| is_at(&node.server, row));
        let strangers = self.strangers().into_iter().filter(|row| !is_named(row));
        strangers.map(|row| Stranger { name: row.name.clone(), group: row.group }).collect()
    }

    pub(super) fn why_no_primary(&self, group: u32) -> Reason {
        let rows = self.rows_of(group).into_iter();
        let rows = rows.map(|row| Standing {
            name: row.name.clone(),
            reported: row.reported,
            assigned: row.assigned,
        });
        Reason::NobodyToFollow { group, rows: rows.collect() }
    }

    /// A node whose row of `pg_dist_node` is written at a coordinator that cannot be looked at is left alone.
    pub(super) fn look_at_coordinator(&mut self, plan: &mut Plan) {
        if !self.formation.is_citus() {
            return;
        }
        let coordinator = match self.primary(0) {
            Some(Peer::Ours(_)) => return,
            Some(Peer::Theirs(row)) => Some(row),
            // Its own coordinators fail over: their keepers tell Citus.
            None if self.formation.group(0).any(|node| !node.is_reader()) => return,
            None => None,
        };
        let formation: &'a Formation = self.formation;
        let has_row = |node: &&Node| node.group > 0 && self.is_primary(node) || node.is_reader();
        let nodes: Vec<&Node> =
            formation.nodes.values().filter(has_row).filter(|node| !self.is_excluded(node.name())).collect();
        for node in nodes {
            let Some(row) = coordinator else {
                let why = match self.rows_of(0).is_empty() {
                    true => Reason::NoCoordinator { formation: formation.name.clone() },
                    false => self.why_no_primary(0),
                };
                self.block(plan, node.name(), why);
                continue;
            };
            let why = match self.remote(node.name()) {
                Some(Remote::Seen { at, .. }) if *at == format!("{} {}", row.host, row.port) => continue,
                Some(Remote::Seen { at, .. }) => NotSeen::Another(at.clone()),
                Some(Remote::Unseen { why, .. }) => NotSeen::Cannot(why.clone()),
                Some(Remote::Absent) | None => NotSeen::NotAsked,
            };
            let coordinator = Place::from(row);
            self.block(plan, node.name(), Reason::CoordinatorUnseen { coordinator, why });
        }
    }

    /// The coordinator as a node's own host sees it.
    pub(super) fn remote(&self, node: &NodeName) -> Option<&'a Remote> {
        self.facts.seen(node)?.coordinator.as_ref()
    }

    /// The node of the same group that joins it in this run just before this one.
    pub(super) fn joins_before(&self, node: &Node) -> Option<&'a Node> {
        let formation: &'a Formation = self.formation;
        let joins = |other: &&Node| {
            self.row(other.name())
                .is_none_or(|row| matches!(row.reported, Some(State::Init | State::WaitStandby)))
        };
        let others = formation.group(node.group).filter(|other| !self.is_excluded(other.name()));
        let before = others.filter(joins).filter(|other| self.id(other.name()) < self.id(node.name()));
        before.max_by_key(|other| self.id(other.name()))
    }

    /// Whether a stranger counts among those that confirm the commits of a group.
    pub(super) fn is_confirmed_by_strangers(&self, primary: &Node) -> bool {
        self.strangers_of(primary.group).iter().any(|row| row.replication_quorum)
    }
}
