//! A `monitor_password` that changes. The monitor's role takes one at a time, and every keeper logs in with it: so it is
//! changed for all of them in one run, in the stage in which each of them finds the new one in `~/.pgpass`, or not at all.
//!
//! A keeper that is refused meanwhile tries again every second; the monitor counts a node as lost after 20 seconds, and only
//! if its PostgreSQL does not answer either.

use std::collections::BTreeSet;

use crate::formation::{Keeper, Monitor, Node, NodeName, Server};
use crate::op::Op;
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::monitor;
use crate::scram::{self, Kept};
use crate::step::Stage;

/// Seconds after which a keeper that does not report is taken for one that does not log in at all.
pub(super) const SILENT: u64 = 30;

impl World<'_> {
    /// Whether the monitor's role has another password than the inventory.
    pub(super) fn monitor_password_changes(&self) -> bool {
        let Monitor::Managed(server) = &self.formation.monitor else { return false };
        let database = self.facts.seen(&server.name).and_then(|seen| seen.database.as_ref());
        let found = database.and_then(|database| database.verifiers.get(monitor::USER));
        let (Some(found), Some(wanted)) = (found, self.formation.monitor_password()) else { return false };
        scram::kept(found, monitor::USER, wanted) == Kept::Other
    }

    /// Leaves the whole formation alone where somebody would be locked out; muster itself could not log in either.
    pub(super) fn hold_monitor_password(&mut self, plan: &mut Plan) {
        let Monitor::Managed(server) = &self.formation.monitor else { return };
        if !self.monitor_password_changes() {
            return;
        }
        let Some(why) = self.who_would_be_locked_out(server) else { return };
        let why = Reason::MonitorPassword { user: monitor::USER.to_owned(), why };
        for server in self.formation.servers() {
            if !self.is_excluded(&server.name) {
                self.block(plan, &server.name, why.clone());
            }
        }
    }

    fn who_would_be_locked_out(&self, server: &Server) -> Option<String> {
        let by_hand = "set it by hand there (ALTER ROLE, pg_autoctl.cfg), or give the one that it has";
        if server.adopted {
            return Some(format!("{} is adopted, where muster sets none: {by_hand}", server.name));
        }
        if !self.scope.is_whole() {
            return Some("it is changed for all nodes at once: run without --limit first".to_owned());
        }
        if let Some(node) = self.formation.nodes.values().find(|node| node.server.adopted) {
            return Some(format!("{} is adopted, and has it in its pg_autoctl.cfg: {by_hand}", node.name()));
        }
        let facts = self.monitor_facts()?;
        if facts.others > 0 {
            return Some(format!(
                "{} nodes of other formations log in with it, too: {by_hand}",
                facts.others
            ));
        }
        let ours =
            |row: &&monitor::NodeRow| self.ours(row).is_some_and(|node| !self.is_excluded(node.name()));
        let row = facts.nodes.iter().filter(|row| row.silent < SILENT).find(|row| !ours(row))?;
        Some(match self.ours(row) {
            Some(node) => format!(
                "the keeper of {} logs in with it and cannot be given the new one now: put that right first, or give the \
                 password that it has",
                node.name()
            ),
            None => format!(
                "{} logs in with it, which the inventory does not name: name it there, or {by_hand}",
                row.name
            ),
        })
    }

    /// Waits until every keeper has logged in with the new one.
    pub(super) fn monitor_password(&self, plan: &mut Plan) {
        if !self.monitor_password_changes() {
            return;
        }
        let nodes = self.formation.nodes.values().filter(|node| !self.is_excluded(node.name()));
        for node in nodes.filter(|node| self.scope.has(node.name()) && self.row(node.name()).is_some()) {
            if self.seen(node.name()).keeper.alive.is_some() {
                let bin = self.bin(node.name());
                let step = monitor::wait_for_report(self.formation, node, bin, &self.uri);
                plan.add(Stage::Settle, node.name(), [step]);
            }
        }
    }

    /// Tells of every node that a role's new password does not reach in this run.
    pub(super) fn note_who_keeps_an_old_one(&self, plan: &mut Plan) {
        let mut kept = BTreeSet::new();
        for (_, server, step) in plan.steps() {
            let roles = match &step.op {
                Op::SetPassword { role } => std::slice::from_ref(role),
                Op::Rotate { roles, .. } => roles.as_slice(),
                _ => continue,
            };
            for role in roles {
                let holds = |node: &&Node| self.holds(node, server, role);
                let left = self.formation.nodes.values().filter(|node| self.is_excluded(node.name()));
                kept.extend(left.filter(holds).map(|node| (node.name().clone(), role.clone())));
            }
        }
        for (node, role) in kept {
            let what = match role == monitor::USER {
                true => "the monitor refuses its keeper, and its PostgreSQL does not start",
                false => "its peers refuse it",
            };
            plan.note(
                &node,
                format!(
                    "it is not given the new password of {role}: with the old one {what}, until an apply reaches it"
                ),
            );
        }
    }

    /// Whether a node that the monitor knows logs in to this server with the password of this role.
    fn holds(&self, node: &Node, server: &NodeName, role: &str) -> bool {
        let group = self.formation.nodes.get(server).map(|primary| primary.group);
        self.row(node.name()).is_some()
            && match group {
                None => role == monitor::USER && node.server.keeper != Keeper::None,
                Some(group) => role == node.username || group == node.group,
            }
    }
}
