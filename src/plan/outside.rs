//! Nodes outside `--limit`: they get no step, so a node within that waits for a step of theirs must not begin.

use crate::formation::{HbaEdit, Monitor, Node, NodeKind, NodeName, Server};
use crate::plan::{MonitorView, Plan, World};
use crate::reason::{Reason, Whom};
use crate::resource::citus::{self, Wanted};
use crate::resource::data::Pgdata;
use crate::resource::{database, hba, monitor};

impl<'a> World<'a> {
    /// A monitor outside that is not ready: nothing within can be planned but the monitor.
    pub(super) fn look_at_outside_monitor(&mut self) {
        let Monitor::Managed(server) = &self.formation.monitor else { return };
        let waits = match &self.monitor {
            MonitorView::Fresh => true,
            MonitorView::Known(_) => false,
            // Stopped, or away, or blocked: then that is the reason.
            MonitorView::Unknown(_) => self.facts.seen(&server.name).is_some(),
        };
        if waits && !self.scope.has(&server.name) {
            let why = match self.excluded.get(&server.name) {
                Some(_) => self.unasked(&server.name),
                None => waits_for(Whom::Monitor, &server.name, Reason::HasSteps),
            };
            self.monitor = MonitorView::Unknown(why);
        }
    }

    /// That nobody could ask the monitor.
    pub(super) fn unasked(&self, monitor: &NodeName) -> Reason {
        let why = self.excluded.get(monitor).cloned().map(Box::new);
        Reason::MonitorUnasked { monitor: monitor.clone(), why }
    }

    /// Of the nodes outside those count as there that need no step of muster's to stay or to go on.
    pub(super) fn leave_outside(&mut self) {
        let outside = self.formation.nodes.values().filter(|node| !self.scope.has(node.name()));
        let away: Vec<NodeName> = outside
            .filter(|node| !self.is_excluded(node.name()) && !self.goes_on(node))
            .map(|node| node.name().clone())
            .collect();
        for name in away {
            self.excluded.insert(name, Reason::HasSteps);
        }
    }

    /// Whether it runs, and rests or has somebody to move it.
    fn goes_on(&self, node: &Node) -> bool {
        let seen = self.seen(node.name());
        let rests = self.row(node.name()).is_some_and(|row| row.is_settled() || seen.keeper.alive.is_some());
        rests && seen.database.is_some()
    }

    /// Why a node within cannot begin, though its own host is well.
    pub(super) fn waits_for_outside(&self, node: &Node) -> Option<Reason> {
        if self.scope.is_whole() || self.row(node.name()).is_some_and(|row| row.is_settled()) {
            return None;
        }
        self.waits_for_monitor(node)
            .or_else(|| self.waits_for_primary(node))
            .or_else(|| self.waits_for_coordinator(node))
    }

    /// The monitor's rules name nodes that are not of its network: a new one would not be let in.
    fn waits_for_monitor(&self, node: &Node) -> Option<Reason> {
        let Monitor::Managed(server) = &self.formation.monitor else { return None };
        let unknown = self.row(node.name()).is_none() && !self.scope.has(&server.name);
        (unknown && !self.lets_nodes_in(server))
            .then(|| waits_for(Whom::Monitor, &server.name, Reason::HasSteps))
    }

    fn lets_nodes_in(&self, server: &Server) -> bool {
        let Some(Pgdata::Present(found)) = self.facts.seen(&server.name).map(|seen| &seen.pgdata) else {
            return true;
        };
        let found = found.files.get("pg_hba.conf").and_then(Option::as_deref).unwrap_or_default();
        let wanted = hba::for_monitor(&self.templates, self.formation, server, &self.names);
        server.hba_edit == HbaEdit::Skip
            || hba::has_rules_for(monitor::USER, found, &wanted.unwrap_or_default())
    }

    /// A primary lets a standby in, and gives it a slot: its keeper does, or muster in steps of the primary.
    fn waits_for_primary(&self, node: &Node) -> Option<Reason> {
        // A stranger is looked at elsewhere: it is in nobody's limit.
        let primary = self.primary(node.group)?.ours()?;
        let name = primary.name();
        if name == node.name() || self.scope.has(name) {
            return None;
        }
        let ready = !self.is_excluded(name)
            && self.seen(name).keeper.alive.is_some()
            && self.has_what_others_need(primary);
        (!ready).then(|| self.outside(Whom::Primary, name))
    }

    /// A worker is nothing before the coordinator has its row.
    fn waits_for_coordinator(&self, node: &Node) -> Option<Reason> {
        if node.kind != NodeKind::Worker {
            return None;
        }
        let Some(coordinator) = self.coordinator() else {
            let whole = self.formation.group(0).any(|other| self.scope.has(other.name()));
            return (!whole).then_some(Reason::NoWriterOutside);
        };
        let coordinator = coordinator.ours()?;
        let name = coordinator.name();
        if self.scope.has(name) {
            return None;
        }
        let own = Wanted { node: coordinator, role: "primary" };
        let has_row =
            || self.seen(name).citus.as_ref().is_some_and(|facts| citus::row(facts, &own).is_some());
        let ready = !self.is_excluded(name) && has_row() && self.has_what_others_need(coordinator);
        (!ready).then(|| self.outside(Whom::Coordinator, name))
    }

    /// Roles, databases, extensions.
    fn has_what_others_need(&self, node: &Node) -> bool {
        let seen = self.seen(node.name());
        let found = seen.database.as_ref();
        database::steps(self.formation, node, self.bin(node.name()), found).is_empty()
    }

    /// Who it is that a node waits for, and why.
    fn outside(&self, whom: Whom, name: &NodeName) -> Reason {
        waits_for(whom, name, self.excluded.get(name).cloned().unwrap_or(Reason::HasSteps))
    }

    /// Whether what is the coordinator's alone cannot be told of the nodes within; then it is said of them.
    pub(super) fn notes_on_coordinator(&self, coordinator: &Node, plan: &mut Plan) {
        let why = match self.excluded.get(coordinator.name()) {
            Some(why) => why.outside(),
            None => "is outside --limit: it is stopped".to_owned(),
        };
        let wanted = citus::wanted(self.formation, |group| self.primary(group)?.ours());
        let within = wanted.iter().map(|wanted| wanted.node.name());
        for name in within.filter(|name| self.scope.has(name) && !self.is_excluded(name)) {
            let coordinator = coordinator.name();
            plan.note(name, format!("its row of pg_dist_node was not looked at: {coordinator} {why}"));
        }
    }
}

fn waits_for(whom: Whom, node: &NodeName, why: Reason) -> Reason {
    Reason::WaitsFor { whom, node: node.clone(), why: Box::new(why) }
}
