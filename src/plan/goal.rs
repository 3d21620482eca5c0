//! What a run is for, and its planner.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::facts::Facts;
use crate::formation::{Formation, Node, NodeName, RestartPolicy};
use crate::plan::maintenance::{self, Maintenance};
use crate::plan::reboot::{self, Reboot};
use crate::plan::renew::{self, Certificates};
use crate::plan::restart::{self, Restart};
use crate::plan::rotation::{self, Rotation};
use crate::plan::switchover::{self, Switchover};
use crate::plan::{Plan, World, lockout, rolling, within};
use crate::scope::Scope;

/// What the formation is to come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// What the inventory says, but for this `restart_policy` of every server, where there is one.
    Rollout { restart_policy: Option<RestartPolicy> },
    /// Servers that were started anew.
    Restart(Restart),
    /// A group with another primary.
    Switchover(Switchover),
    /// Nodes that are out, or back.
    Maintenance(Maintenance),
    /// Hosts that have booted anew.
    Reboot(Reboot),
    /// Servers with other certificates.
    Certificates(Certificates),
    /// Roles with other passwords.
    Rotation(Rotation),
}

impl Goal {
    /// What the inventory says.
    pub const ROLLOUT: Goal = Goal::Rollout { restart_policy: None };

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
        let in_turns = |chosen: &BTreeSet<NodeName>, make: &dyn Fn(&World, &mut Plan)| {
            Ok(in_turns_of(formation, facts, today, (chosen, &|_, _| true), make))
        };
        match self {
            Goal::Rollout { restart_policy: None } => within(formation, scope, facts, today),
            Goal::Rollout { restart_policy: Some(policy) } => {
                within(&formation.clone().with_restart_policy(*policy), scope, facts, today)
            }
            Goal::Restart(wanted) => {
                let make = |world: &World, plan: &mut Plan| restart::plan(world, wanted, plan);
                let may_be_due = |world: &World, node: &Node| restart::may_be_due(world, node, wanted);
                Ok(in_turns_of(formation, facts, today, (&wanted.nodes, &may_be_due), &make))
            }
            Goal::Switchover(wanted) => {
                let chosen = formation.group(wanted.group).map(|node| node.name().clone()).collect();
                in_turns(&chosen, &|world, plan| switchover::plan(world, wanted, plan))
            }
            Goal::Maintenance(wanted) => {
                in_turns(&wanted.nodes, &|world, plan| maintenance::plan(world, wanted, plan))
            }
            Goal::Rotation(wanted) => {
                Ok(of_whole(formation, facts, today, &|world, plan| rotation::plan(world, wanted, plan)))
            }
            Goal::Reboot(wanted) => {
                let chosen = reboot::with_neighbours(facts, &wanted.nodes);
                in_turns(&chosen, &|world, plan| reboot::plan(world, wanted, plan))
            }
            Goal::Certificates(wanted) => {
                let mut plan =
                    of_whole(formation, facts, today, &|world, plan| renew::plan(world, wanted, plan));
                plan.blocked.retain(|name, _| wanted.nodes.contains(name));
                plan.unreachable.retain(|name, _| wanted.nodes.contains(name));
                plan.notes.retain(|name, _| wanted.nodes.contains(name));
                Ok(plan)
            }
        }
    }
}

/// Whether a node may have a part in it: only for such a one its group has to rest.
type Concerned<'a> = &'a dyn Fn(&World, &Node) -> bool;

/// A plan that is about these nodes, made once their groups rest.
fn in_turns_of(
    formation: &Formation,
    facts: &Facts,
    today: Date,
    (chosen, is_concerned): (&BTreeSet<NodeName>, Concerned),
    make: &dyn Fn(&World, &mut Plan),
) -> Plan {
    let mut plan = of_whole(formation, facts, today, &|world, plan| {
        let of =
            formation.nodes.values().filter(|node| chosen.contains(node.name()) && is_concerned(world, node));
        let groups: BTreeSet<u32> = of.map(|node| node.group).collect();
        if !rolling::comes_to_rest(world, groups.into_iter(), plan) {
            make(world, plan);
        }
    });
    plan.blocked.retain(|name, _| chosen.contains(name));
    plan.unreachable.retain(|name, _| chosen.contains(name));
    plan.notes.clear();
    plan
}

/// A plan of the whole formation, made once nothing is left of a change that nobody has confirmed.
fn of_whole(formation: &Formation, facts: &Facts, today: Date, make: &dyn Fn(&World, &mut Plan)) -> Plan {
    let (mut plan, whole) = (Plan::default(), Scope::whole());
    let world = World::new(formation, None, &whole, (facts, today), &mut plan);
    if !lockout::take_back(&world, &mut plan) {
        make(&world, &mut plan);
    }
    plan
}
