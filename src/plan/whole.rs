//! What is the whole formation's: a setting of all its groups, and steps that everybody has to be told of before.

use crate::formation::{Node, NodeKind, NodeName};
use crate::op::Op;
use crate::plan::node::wait_until_settled;
use crate::plan::wave::{Begins, Lane, Turn, Wave};
use crate::plan::world::MonitorView;
use crate::plan::{Plan, World};
use crate::resource::properties;
use crate::step::{Stage, Step};

/// What a coordinator creates it creates on the workers, too, and logs in there. What they lack for that, and what they create themselves,
/// comes before, in a wave of its own: two that create one extension at once are in each other's way.
pub(super) fn workers_first(world: &World, plan: &mut Plan) {
    let is = |kind: NodeKind, name: &NodeName| {
        world.formation.nodes.get(name).is_some_and(|node| node.kind == kind)
    };
    let creates = |step: &Step| matches!(step.op, Op::CreateExtension { .. });
    let is_it = |wave: &Wave| {
        let mut of_coordinator = wave.turns().filter(|turn| is(NodeKind::Coordinator, &turn.node));
        wave.stage == Stage::Prepare && of_coordinator.any(|turn| turn.steps.iter().any(creates))
    };
    let Some(at) = plan.waves.iter().position(is_it) else { return };
    let mut lanes = Vec::new();
    for lane in &mut plan.waves[at].lanes {
        for turn in lane.turns.iter_mut().filter(|turn| is(NodeKind::Worker, &turn.node)) {
            // Else it waits for its database, which Citus does not know yet.
            let has_database = world.database(&turn.node).is_some_and(|found| found.extensions.is_some());
            let goes_before =
                |step: &mut Step| matches!(step.op, Op::RepairRole { .. }) || has_database && creates(step);
            let before: Vec<Step> = turn.steps.extract_if(.., goes_before).collect();
            lanes.extend((!before.is_empty()).then(|| Lane::of([Turn::new(&turn.node, before)])));
        }
        lane.turns.retain(|turn| turn.all().next().is_some());
    }
    plan.waves[at].lanes.retain(|lane| !lane.turns.is_empty());
    if !lanes.is_empty() {
        plan.waves.insert(at, Wave { stage: Stage::Prepare, begins: Begins::WithTheRest, lanes });
    }
}

impl World<'_> {
    /// What shuts out who has not been told yet is done once everybody has: in a run of the whole formation.
    pub(super) fn add_last(&self, node: &NodeName, steps: Vec<Step>, plan: &mut Plan) {
        if steps.is_empty() {
            return;
        }
        let what = "what could shut others out (stricter rules, another certificate or authority, no TLS any more) waits for";
        if !self.scope.is_whole() {
            plan.note(
                node,
                format!("{what} a run without --limit: nodes that have not been told yet would be refused"),
            );
            return;
        }
        let others = || self.formation.servers().map(|server| &server.name).filter(|name| *name != node);
        if let Some(untold) = others().find(|name| self.is_excluded(name)) {
            plan.note(node, format!("{what} {untold}, which cannot be told now and would be refused"));
            return;
        }
        let steps = steps.into_iter().map(|step| step.needs_all(others().cloned()));
        plan.add(Stage::Adjust, node, steps);
    }

    /// `number_sync_standbys`, once every node is registered. It is the whole formation's; whether it changes.
    pub(super) fn settings(&self, plan: &mut Plan) -> bool {
        let Some(wanted) = self.formation.number_sync_standbys.filter(|_| self.scope.is_whole()) else {
            return false;
        };
        let known = match self.monitor {
            MonitorView::Known(facts) => facts.formation.as_ref(),
            MonitorView::Fresh | MonitorView::Unknown(_) => None,
        };
        let all_there = self.formation.nodes.keys().all(|name| self.row(name).is_some());
        // The monitor sets it to 1 by itself when a group gets its second standby that counts.
        let counts = |group: u32| {
            self.formation
                .group(group)
                .filter(|node| node.replication_quorum && !self.is_excluded(node.name()))
                .count()
                + self.strangers_of(group).iter().filter(|row| row.replication_quorum).count()
        };
        let jumps = self.formation.nodes.values().any(|node| counts(node.group) >= 3);
        let was = match known {
            Some(row) if all_there => row.number_sync_standbys,
            Some(row) => row.number_sync_standbys.max(u32::from(jumps)),
            None => u32::from(jumps),
        };
        let Some(on) = self.formation.nodes.values().find(|node| !self.is_excluded(node.name())) else {
            return false;
        };
        if was != wanted {
            let bin = self.bin(on.name());
            let step = properties::number_sync_standbys(
                self.formation,
                on,
                bin,
                &self.uri,
                (was, wanted),
                self.voters(),
            );
            // Fewer are waited for before a node ceases to count, more once it does.
            let stage = if wanted < was && all_there { Stage::Keeper } else { Stage::Adjust };
            plan.add(stage, on.name(), [step]);
        }
        was != wanted
    }

    /// How many nodes count for `number_sync_standbys` in the end.
    fn voters(&self) -> usize {
        let counts = |node: &&Node| match self.row(node.name()).filter(|_| self.is_excluded(node.name())) {
            Some(row) => row.replication_quorum,
            None => node.replication_quorum,
        };
        let strangers = self.strangers();
        self.formation.nodes.values().filter(counts).count()
            + strangers.iter().filter(|row| row.replication_quorum).count()
    }
}

/// What the monitor is told of one node is its primary's to carry out: each primary of such a group is waited for.
pub(super) fn wait_for_primaries(world: &World, of_formation: bool, plan: &mut Plan) {
    let is_adjusted = |group: u32| {
        let mut members = world.formation.group(group);
        of_formation || members.any(|node| plan.is_busy(Stage::Adjust, node.name()))
    };
    let groups: Vec<u32> = world.formation.groups().into_iter().filter(|group| is_adjusted(*group)).collect();
    for primary in groups.into_iter().filter_map(|group| world.primary(group)?.ours()) {
        let name = primary.name();
        if !world.scope.has(name) || world.is_excluded(name) || world.seen(name).keeper.alive.is_none() {
            continue;
        }
        let wait = wait_until_settled(world, primary);
        if !plan.steps().any(|found| found == (Stage::Settle, name, &wait)) {
            plan.add(Stage::Settle, name, [wait]);
        }
    }
}
