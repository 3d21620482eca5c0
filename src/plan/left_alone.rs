//! Nodes that are left alone for what is so elsewhere: at the monitor, in another group, at their primary.

use std::collections::BTreeMap;

use crate::formation::{Monitor, NodeName};
use crate::plan::peer::{Peer, unfit};
use crate::plan::{MonitorView, Plan, World};
use crate::reason::{Place, Reason};
use crate::resource::data::Pgdata;
use crate::state::State;

impl World<'_> {
    pub(super) fn block(&mut self, plan: &mut Plan, node: &NodeName, why: Reason) {
        self.excluded.insert(node.clone(), why.clone());
        if self.scope.has(node) {
            plan.blocked.insert(node.clone(), why);
        }
    }

    /// Where the monitor has a node in another group than the inventory, nobody new begins in either: a group whose
    /// primary is written down elsewhere would seem to have none.
    fn leave_torn_groups(&mut self, plan: &mut Plan) {
        let mut torn: BTreeMap<u32, Reason> = BTreeMap::new();
        for node in self.formation.nodes.values() {
            let Some(row) = self.row(node.name()).filter(|row| row.group != node.group) else { continue };
            for group in [row.group, node.group] {
                torn.entry(group).or_insert_with(|| Reason::OtherGroup {
                    node: node.name().clone(),
                    of_monitor: row.group,
                    of_inventory: node.group,
                });
            }
        }
        for node in self.formation.nodes.values() {
            let is_new = self.row(node.name()).is_none() && !self.is_excluded(node.name());
            if let Some(why) = torn.get(&node.group).filter(|_| is_new) {
                self.block(plan, node.name(), why.clone());
            }
        }
    }

    /// A monitor that is to be made, though nodes have keepers: the one that they had is lost, and what it knew of them
    /// nobody else knows.
    pub(super) fn look_for_a_lost_monitor(&mut self, plan: &mut Plan) {
        let (MonitorView::Fresh, Monitor::Managed(server)) = (&self.monitor, &self.formation.monitor) else {
            return;
        };
        let has_keeper = |name: &&NodeName| {
            self.facts.seen(name).is_some_and(|seen| {
                let has_data = matches!(seen.pgdata, Pgdata::Present(_));
                has_data && (seen.keeper.alive.is_some() || seen.keeper.state.is_some())
            })
        };
        let kept: Vec<NodeName> = self.formation.nodes.keys().filter(has_keeper).cloned().collect();
        if kept.is_empty() {
            return;
        }
        let why = Reason::MonitorLost { monitor: server.name.clone(), kept };
        if self.facts.seen(&server.name).is_some() {
            self.block(plan, &server.name, why.clone());
        }
        self.monitor = MonitorView::Unknown(why);
    }

    /// A group without its primary is blocked, as its standbys have nobody to follow.
    pub(super) fn look_at_groups(&mut self, plan: &mut Plan) {
        if let MonitorView::Unknown(why) = &self.monitor {
            let why = why.clone();
            for name in self.formation.nodes.keys().filter(|name| self.facts.seen(name).is_some()) {
                if !self.excluded.contains_key(name) {
                    self.block(plan, name, why.clone());
                }
            }
            return;
        }
        self.leave_torn_groups(plan);
        self.leave_maintenance(plan);
        for node in self.formation.nodes.values().filter(|node| self.scope.has(node.name())) {
            if let Some(why) = self.waits_for_outside(node)
                && !self.is_excluded(node.name())
            {
                self.block(plan, node.name(), why);
            }
        }
        for node in self.formation.nodes.values() {
            if self.excluded.contains_key(node.name()) {
                continue;
            }
            let row = self.row(node.name());
            let primary = match self.primary(node.group) {
                Some(Peer::Ours(primary)) => primary,
                Some(Peer::Theirs(primary)) => {
                    let joins =
                        row.is_none_or(|row| matches!(row.reported, Some(State::Init | State::WaitStandby)));
                    if let Some(why) = unfit(primary).filter(|_| joins) {
                        let primary = Place::from(primary);
                        let why = Reason::NobodyToCopy { group: node.group, primary, why };
                        self.block(plan, node.name(), why);
                    }
                    continue;
                }
                None => {
                    if row.is_none() {
                        let why = self.why_no_primary(node.group);
                        self.block(plan, node.name(), why);
                    }
                    continue;
                }
            };
            let joins = row.is_none_or(|row| !row.is_settled());
            if primary.name() == node.name() || !joins {
                continue;
            }
            let database = self.facts.seen(primary.name()).and_then(|seen| seen.database.as_ref());
            let pending = database.map_or(Vec::new(), |database| database.bars_standbys());
            if !pending.is_empty() && self.row(node.name()).is_none() {
                let settings = vec![self.list(&primary.server, pending)];
                let why = Reason::PrimaryWaitsForRestart { primary: primary.name().clone(), settings };
                self.block(plan, node.name(), why);
                continue;
            }
            if let Some(why) = self.excluded.get(primary.name()) {
                let (primary, why) = (primary.name().clone(), Box::new(why.clone()));
                let why = Reason::NoPrimary { group: node.group, primary, why };
                self.block(plan, node.name(), why);
            }
        }
    }
}
