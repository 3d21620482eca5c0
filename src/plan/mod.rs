//! Decides: this formation, these facts, this day: these steps. Pure; every decision of a run is here.

mod adopted;
mod agreement;
mod altered;
mod changeover;
mod check;
mod drift;
mod fixed;
mod follow;
mod goal;
mod held;
mod kept;
mod left_alone;
mod lockout;
mod maintenance;
mod monitor;
mod node;
mod outside;
mod passwords;
mod peer;
mod promotion;
mod reboot;
mod renew;
mod replicate;
mod restart;
mod rolling;
mod rotation;
mod switchover;
mod told;
mod trust;
mod wave;
mod way_out;
mod well;
mod whole;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::command::Failure;
use crate::error::Problem;
use crate::facts::Facts;
use crate::formation::{Formation, NodeName};
use crate::reason::Reason;
use crate::resource::citus::{self, CitusFacts, CitusNode, Confirms, Coordinator, Remote, Wanted};
use crate::resource::data::Pgdata;
use crate::resource::given::Given;
use crate::scope::Scope;
use crate::step::{Risk, Stage, Step};

pub use goal::Goal;
pub use maintenance::Maintenance;
pub use reboot::{LeftOut, Reboot};
pub use renew::Certificates;
pub use restart::{Downtime, Restart, Which};
pub use rotation::Rotation;
pub use switchover::Switchover;
pub use wave::{Begins, Lane, Turn, Wave};

use changeover::Changeover;
use held::Held;
use peer::Peer;
use world::{MonitorView, World};

/// Every step still to do, fully decided.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    pub waves: Vec<Wave>,
    /// Nodes that are left alone, and why.
    pub blocked: BTreeMap<NodeName, Reason>,
    /// Nodes that are not well though the monitor shows them as settled, and that no step here could mend.
    pub unwell: BTreeMap<NodeName, Vec<Reason>>,
    /// Nodes whose host did not answer.
    pub unreachable: BTreeMap<NodeName, Failure>,
    /// What an operator should know, though nothing is to be done about it now.
    pub notes: BTreeMap<NodeName, Vec<String>>,
    /// Hosts of the inventory that are no part of the formation, though nothing says that they are not.
    pub outside: Vec<String>,
    /// Nodes of the formation that only the monitor knows.
    pub strangers: Vec<Stranger>,
    /// The servers that it is limited to.
    pub limit: Option<BTreeSet<NodeName>>,
    /// Why there will be more to plan once this plan is done.
    pub partial: Option<Reason>,
    /// What is held back until a server's turn, while the plan is made.
    #[serde(skip)]
    pub(crate) held: BTreeMap<NodeName, Held>,
    /// Where the inventory has the settings that a server may refuse: for what is told then alone.
    #[serde(skip)]
    pub given: BTreeMap<NodeName, Given>,
}

/// A node of the formation that the inventory does not name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stranger {
    pub name: String,
    pub group: u32,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }

    /// The highest risk of all steps.
    pub fn risk(&self) -> Risk {
        self.steps().map(|(_, _, step)| step.risk()).max().unwrap_or(Risk::Safe)
    }

    /// Whether another look has shown what this plan was made of: the same steps for the same reasons, and the same
    /// nodes left alone.
    pub fn is_like(&self, later: &Plan) -> bool {
        let blocked = |plan: &Plan| plan.blocked.keys().cloned().collect::<Vec<_>>();
        let away = |plan: &Plan| plan.unreachable.keys().cloned().collect::<Vec<_>>();
        let like = |((stage, node, step), (other, name, later)): ((_, _, &Step), (_, _, &Step))| {
            (stage, node) == (other, name) && step.is_like(later)
        };
        self.steps().count() == later.steps().count()
            && self.steps().zip(later.steps()).all(like)
            && self.partial == later.partial
            && blocked(self) == blocked(later)
            && away(self) == away(later)
    }

    fn unwell(&mut self, node: &NodeName, why: Reason) {
        self.unwell.entry(node.clone()).or_default().push(why);
    }

    fn note(&mut self, node: &NodeName, text: impl Into<String>) {
        self.notes.entry(node.clone()).or_default().push(text.into());
    }
}

/// The plan. An error is a template's: facts and formations cannot be wrong here.
pub fn plan(formation: &Formation, facts: &Facts, today: Date) -> Result<Plan, Problem> {
    within(formation, &Scope::whole(), facts, today)
}

/// The plan for a part of the formation: the steps that are about its nodes, wherever they run. What needs a step of
/// a node outside is blocked, with the name to take in. The facts are those of [`Scope::sight`].
///
/// # Errors
/// As [`plan`].
pub fn within(formation: &Formation, scope: &Scope, facts: &Facts, today: Date) -> Result<Plan, Problem> {
    match Changeover::of(formation, facts) {
        Some(over) => over.plan(scope, facts, today),
        None => toward(formation, scope, facts, today, None),
    }
}

/// The plan for a formation as it is given, be it the inventory's or one on the way to that.
fn toward(
    formation: &Formation,
    scope: &Scope,
    facts: &Facts,
    today: Date,
    over: Option<&Changeover>,
) -> Result<Plan, Problem> {
    let (outside, limit) = (formation.outside.clone(), scope.limit().cloned());
    let given = formation.servers().map(|server| (server.name.clone(), Given::of(server))).collect();
    let mut plan = Plan { outside, limit, given, ..Plan::default() };
    let world = World::new(formation, over, scope, (facts, today), &mut plan);
    if scope.is_whole() {
        plan.strangers = world.unnamed();
    }
    for node in world.contradicted() {
        plan.note(
            node.name(),
            "no rule of any pg_hba.conf is changed until the inventory and the monitor agree on it",
        );
    }
    if lockout::take_back(&world, &mut plan) {
        return Ok(plan);
    }
    monitor::plan(&world, &mut plan)?;
    if plan.partial.is_some() {
        return Ok(plan);
    }
    let nodes = formation.nodes.values().filter(|node| scope.has(node.name()));
    for node in nodes.filter(|node| !world.is_excluded(node.name())) {
        node::plan(&world, node, &mut plan)?;
    }
    metadata(&world, &mut plan);
    let of_formation = world.settings(&mut plan);
    whole::wait_for_primaries(&world, of_formation, &mut plan);
    world.monitor_password(&mut plan);
    world.note_who_keeps_an_old_one(&mut plan);
    world.note_made_passwords(&mut plan);
    well::plan(&world, &mut plan);
    promotion::plan(&world, &mut plan);
    whole::workers_first(&world, &mut plan);
    if plan.partial.is_none() {
        restart::of_rollout(&world, &mut plan);
    }
    Ok(plan)
}

/// Rows of `pg_dist_node`: a step belongs to the node the row is about, and runs on the coordinator.
fn metadata(world: &World, plan: &mut Plan) {
    let coordinator = match world.coordinator() {
        Some(Peer::Ours(coordinator)) => coordinator,
        Some(Peer::Theirs(_)) => return metadata_elsewhere(world, plan),
        None => return,
    };
    // Nothing runs on a host that nothing is planned for; the workers' own steps go on without it.
    if world.is_excluded(coordinator.name()) {
        if !world.scope.has(coordinator.name()) {
            world.notes_on_coordinator(coordinator, plan);
        }
        return;
    }
    let seen = world.seen(coordinator.name());
    let facts = seen.citus.as_ref();
    // Rows that could not be looked at are not missing: they are compared once the coordinator runs again.
    if let (Pgdata::Present(_), None) = (&seen.pgdata, &seen.database) {
        // Nobody would start it in this run.
        if !world.scope.has(coordinator.name()) {
            return world.notes_on_coordinator(coordinator, plan);
        }
        plan.partial = Some(Reason::CoordinatorStopped(coordinator.name().clone()));
        return;
    }
    let wanted = wanted(world);
    let within = wanted.iter().filter(|wanted| world.scope.has(wanted.node.name()));
    for wanted in within.filter(|wanted| !world.is_excluded(wanted.node.name())) {
        let bin = world.bin(coordinator.name());
        row_of_citus(world, Coordinator::Ours(coordinator), bin, wanted, facts, plan);
    }
    if let Some(facts) = facts.filter(|_| world.scope.has(coordinator.name())) {
        let on_monitor = world.strangers();
        let is_known = |row: &&CitusNode| on_monitor.iter().any(|known| row.is_at(&known.host, known.port));
        for row in citus::strangers(facts, &wanted).into_iter().filter(|row| !is_known(row)) {
            let what = format!(
                "{}:{} ({} of group {}, cluster {})",
                row.name, row.port, row.role, row.group, row.cluster
            );
            plan.note(
                coordinator.name(),
                format!("pg_dist_node has {what}, the inventory has not; it is left alone"),
            );
        }
    }
}

fn wanted<'a>(world: &World<'a>) -> Vec<Wanted<'a>> {
    citus::wanted(world.formation, |group| world.primary(group)?.ours())
}

fn row_of_citus(
    world: &World,
    coordinator: Coordinator,
    bin: &str,
    wanted: &Wanted,
    facts: Option<&CitusFacts>,
    plan: &mut Plan,
) {
    let name = wanted.node.name();
    let confirms = match coordinator {
        Coordinator::Ours(coordinator) => {
            let mut standbys = world.formation.group(0).filter(|node| node.name() != coordinator.name());
            match standbys.any(|node| node.replication_quorum) {
                true => Confirms::Standby,
                false => Confirms::Nobody,
            }
        }
        Coordinator::Theirs { .. } => Confirms::Nobody,
    };
    let steps = citus::steps(coordinator, bin, &world.formation.dbname, wanted, facts, confirms);
    // A step that must fail would keep the node from its keeper, at every run anew.
    if !steps.is_empty() && node::starts_with_its_keeper(world, wanted.node) {
        plan.partial = Some(Reason::RowFollows(name.clone()));
        return;
    }
    plan.add(Stage::Metadata, name, steps);
}

/// The same where the coordinator is a stranger: each node asks it from its own host, for itself alone.
fn metadata_elsewhere(world: &World, plan: &mut Plan) {
    let wanted = wanted(world);
    let within = wanted.iter().filter(|wanted| world.scope.has(wanted.node.name()));
    for wanted in within.filter(|wanted| !world.is_excluded(wanted.node.name())) {
        let name = wanted.node.name();
        let (Some(Peer::Theirs(row)), Some(Remote::Seen { facts, .. })) =
            (world.coordinator(), world.remote(name))
        else {
            continue;
        };
        let coordinator = Coordinator::Theirs { host: &row.host, port: row.port };
        row_of_citus(world, coordinator, world.bin(name), wanted, Some(facts), plan);
    }
}
