//! Nodes that the monitor's states show as settled, and that are not well all the same.
//!
//! A keeper that does not report, or a standby that does not stream, leaves its last state on the monitor: nothing
//! fails over, and no commit may return, while every state looks as it should. What steps of this plan may mend is
//! waited for; what they do not touch is told, and the run ends as one that has something left to do.

use crate::facts::{self, Seen};
use crate::formation::{Keeper, Node, NodeName, Server};
use crate::op::{Op, Wait};
use crate::plan::{Plan, World, way_out};
use crate::reason::Reason;
use crate::resource::monitor::{self, NodeRow, SILENT};
use crate::resource::overruled::Plain;
use crate::resource::streaming::{self, Trouble};
use crate::resource::{keeper, pgpass};
use crate::resource::{replication, rolling};
use crate::state::State;
use crate::step::{Action, Stage, Step};

/// Seconds in which what a plan has mended shows: a keeper reports every second, a standby tries to connect every
/// five (wal_retrieve_retry_interval).
const MENDED_WITHIN: u64 = 60;

pub(super) fn plan(world: &World, plan: &mut Plan) {
    for name in world.formation.nodes.keys().filter(|name| plan.unreachable.contains_key(name)) {
        if world.row(name).is_some_and(|row| row.silence().is_some()) {
            let drop = way_out::drop_from_monitor(world.formation, name);
            let note = format!("where its host is lost for good, take it from the monitor: {drop}");
            plan.notes.entry(name.clone()).or_default().push(note);
        }
    }
    // Who is away gets no step that would set it.
    let away = |node: &&Node| plan.unreachable.contains_key(node.name());
    for node in world.formation.nodes.values().filter(away).collect::<Vec<_>>() {
        if let Some(why) = world.row(node.name()).and_then(|row| row.is_never_promoted(node)) {
            plan.unwell(node.name(), why);
        }
    }
    for name in plan.blocked.keys().cloned().collect::<Vec<_>>() {
        if let Some(why) = writes_unregistered(world, &name) {
            plan.note(&name, why);
        }
    }
    for server in world.formation.servers().filter(|server| world.scope.has(&server.name)) {
        let is_left = world.is_excluded(&server.name) || plan.blocked.contains_key(&server.name);
        if let Some(why) = without_tls(world, server).filter(|_| !is_left) {
            plan.unwell(&server.name, Reason::WithoutTls(why));
        }
        if let Some(why) = world.facts.seen(&server.name).filter(|_| !is_left).and_then(Seen::spoiled) {
            plan.unwell(&server.name, why);
        }
    }
    let nodes = world.formation.nodes.values().filter(|node| world.scope.has(node.name()));
    let there = |node: &&Node| !world.is_excluded(node.name()) && !plan.blocked.contains_key(node.name());
    let nodes: Vec<&Node> = nodes.filter(there).collect();
    for node in nodes {
        silent(world, node, plan);
        not_streaming(world, node, plan);
    }
}

/// A server that answers without TLS for what no step takes back.
fn without_tls(world: &World, server: &Server) -> Option<String> {
    let seen = world.facts.seen(&server.name)?;
    let plain = Plain::of(server, &seen.pgdata, &seen.tls.shown)?;
    let is_left = match plain {
        Plain::BySystem => true,
        Plain::ByFile(_) => server.adopted,
        // A reload of the plan says whether it still cannot.
        Plain::Pair => false,
    };
    is_left.then(|| plain.why())
}

/// A node that the monitor does not know, whose server takes writes beside its group's primary.
fn writes_unregistered(world: &World, name: &NodeName) -> Option<String> {
    let node = world.formation.nodes.get(name)?;
    let primary = &facts::writes_beside(world.formation, world.facts, node)?.name;
    Some(format!(
        "its PostgreSQL takes writes beside {primary}, the primary of its group: what is written there is nowhere else"
    ))
}

impl World<'_> {
    /// What an operator has taken out is that operator's: it gets no step, and nobody waits for it.
    pub(super) fn leave_maintenance(&mut self, plan: &mut Plan) {
        for node in self.formation.nodes.values() {
            // On its way there, and without a keeper that goes it: that one is silent.
            let goes = |row: &NodeRow| row.is_out() || row.silence().is_none();
            let is_out = self.row(node.name()).is_some_and(|row| row.is_in_maintenance() && goes(row));
            if is_out && !self.is_excluded(node.name()) {
                self.block(plan, node.name(), Reason::Maintenance { node: node.name().clone() });
            }
        }
    }

    /// Whether nothing is to be waited for: a primary rests in wait_primary while no standby could confirm what it writes.
    pub(super) fn rests(&self, row: &NodeRow) -> bool {
        let follows = |reported: State| reported.has_way_to(State::Secondary);
        let confirms = |other: &&NodeRow| {
            let will = other.assigned == Some(State::Secondary) && other.reported.is_some_and(follows);
            will && other.health == 1 && other.replication_quorum
        };
        let is_waiting = row.reported == Some(State::WaitPrimary) && row.is_resting_writer();
        row.is_settled() || is_waiting && row.health == 1 && !self.rows_of(row.group).iter().any(confirms)
    }
}

fn silent(world: &World, node: &Node, plan: &mut Plan) {
    let Some(row) = world.row(node.name()).filter(|_| node.server.keeper != Keeper::None) else { return };
    let Some(why) = row.silence() else { return };
    let mends = |stage, name: &NodeName, step: &Step| {
        let own = stage == Stage::Keeper || pgpass::is_written_by(step);
        own && name == node.name() || world.monitor_node().as_ref() == Some(name)
    };
    if changes(plan, mends) {
        let bin = world.bin(node.name());
        let command = monitor::has_reported(world.formation, node, bin, &world.uri, SILENT);
        let wait = Action::Wait { command, answers: vec!["reported".to_owned()], timeout: MENDED_WITHIN };
        let because = "the monitor has heard nothing of it for a while";
        let step = Step::new(node.name(), Op::Wait(Wait::KeeperReports), because, wait);
        plan.add(Stage::Settle, node.name(), [step]);
        return;
    }
    plan.unwell(node.name(), is_silent(world, node, why));
}

/// A silent keeper, with where to look.
pub(super) fn is_silent(world: &World, node: &Node, why: String) -> Reason {
    let seen = world.seen(node.name());
    let unit = seen.adopted.as_ref().and_then(|adopted| adopted.unit.as_deref());
    Reason::Silent { why, log: keeper::log(&node.server, &seen.host, unit) }
}

fn not_streaming(world: &World, node: &Node, plan: &mut Plan) {
    let (Some(row), Some(primary)) = (world.row(node.name()), world.primary(node.group)) else { return };
    let name = NodeName::from(primary.upstream().name);
    let Some(of_primary) = world.row(&name) else { return };
    let own = world.database(node.name());
    let there = world.streaming(&name);
    let mends = changes(plan, |_, other, _| other == node.name() || *other == name);
    let not_streaming = |why| Reason::NotStreaming { why, pgdata: node.server.pgdata.clone() };
    let why = match streaming::trouble(row, of_primary, there, own) {
        None => return,
        // No step of a plan takes back what it wrote.
        Some(Trouble::TakesWrites(why)) => {
            let anew = way_out::drop_and_copy_anew(world, node);
            let why = format!("{why}; it cannot follow again as it is; {anew}");
            return plan.unwell(node.name(), Reason::TakesWrites(why));
        }
        Some(Trouble::NotStreaming(why)) => world.seen(node.name()).with_cause(why),
        // Whom commits wait for follows from what is set in this run.
        Some(Trouble::NotWaitedFor(_)) if mends => return,
        Some(Trouble::NotWaitedFor(why)) => return plan.unwell(node.name(), Reason::NotWaitedFor(why)),
    };
    let hangs = own.and_then(|own| own.streaming.as_ref()?.hanging()).filter(|_| !node.server.adopted);
    if hangs.is_some() {
        let step = rolling::look_again(node, world.bin(node.name()), &why);
        plan.add(Stage::Prepare, node.name(), [step]);
    }
    if mends || hangs.is_some() {
        let step = match primary.ours() {
            Some(primary) if !world.is_excluded(primary.name()) => {
                replication::wait_until_it_streams(row.id, primary, world.bin(primary.name()))
            }
            Some(_) | None => return plan.unwell(node.name(), not_streaming(why)),
        };
        plan.add(Stage::Settle, node.name(), [step]);
        return;
    }
    plan.unwell(node.name(), not_streaming(why));
}

/// Whether the plan has a step that changes something of those nodes.
fn changes(plan: &Plan, of: impl Fn(Stage, &NodeName, &Step) -> bool) -> bool {
    plan.steps()
        .any(|(stage, name, step)| of(stage, name, step) && !matches!(step.action, Action::Wait { .. }))
}
