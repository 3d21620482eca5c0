//! What a run is for, and its planner.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::facts::Facts;
use crate::formation::{Formation, Node, NodeName};
use crate::plan::maintenance::{self, Maintenance};
use crate::plan::restart::{self, Restart};
use crate::plan::switchover::{self, Switchover};
use crate::plan::{Plan, World, rolling, within};
use crate::scope::Scope;

/// What the formation is to come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// What the inventory says.
    #[default]
    Rollout,
    /// Servers that were started anew.
    Restart(Restart),
    /// A group with another primary.
    Switchover(Switchover),
    /// Nodes that are out, or back.
    Maintenance(Maintenance),
}

impl Goal {
    /// The plan of this formation, these facts, this day. All but a rollout want facts of the whole formation.
    ///
    /// # Errors
    /// As [`within`].
    pub fn plan(
        &self,
        formation: &Formation,
        scope: &Scope,
        facts: &Facts,
        today: Date,
    ) -> Result<Plan, Problem> {
        let mut plan = Plan::default();
        let whole = Scope::whole();
        let chosen: BTreeSet<NodeName> = match self {
            Goal::Rollout => return within(formation, scope, facts, today),
            Goal::Restart(wanted) => wanted.nodes.clone(),
            Goal::Switchover(wanted) => {
                formation.group(wanted.group).map(|node| node.name().clone()).collect()
            }
            Goal::Maintenance(wanted) => wanted.nodes.clone(),
        };
        let world = World::new(formation, &whole, facts, today, &mut plan);
        let is_chosen = |node: &&Node| chosen.contains(node.name());
        let groups: BTreeSet<u32> =
            formation.nodes.values().filter(is_chosen).map(|node| node.group).collect();
        if !rolling::comes_to_rest(&world, groups.into_iter(), &mut plan) {
            match self {
                Goal::Rollout => (),
                Goal::Restart(wanted) => restart::plan(&world, wanted, &mut plan),
                Goal::Switchover(wanted) => switchover::plan(&world, wanted, &mut plan),
                Goal::Maintenance(wanted) => maintenance::plan(&world, wanted, &mut plan),
            }
        }
        plan.blocked.retain(|name, _| chosen.contains(name));
        plan.unreachable.retain(|name, _| chosen.contains(name));
        plan.notes.clear();
        Ok(plan)
    }
}
