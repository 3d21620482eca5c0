//! `muster switchover`: another node of a group takes writes, and the old primary is back as its standby.

use serde::{Deserialize, Serialize};

use crate::formation::{Node, NodeName};
use crate::plan::rolling::{Group, gate, taken_over, unfit};
use crate::plan::wave::{Lane, Turn};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::rolling;
use crate::step::Stage;

/// Which group, and who is to take writes there; `None` for the best standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switchover {
    pub group: u32,
    pub to: Option<NodeName>,
}

pub(super) fn plan(world: &World, wanted: &Switchover, plan: &mut Plan) {
    match find(world, wanted) {
        // It takes writes already.
        Ok((group, to)) if to.name() == group.primary.name() => (),
        Ok((group, to)) => {
            plan.then(Stage::Switchover, vec![Lane::of(turns(world, &group, to, "it was asked for"))]);
        }
        Err(why) => {
            let is_meant = |node: &&Node| wanted.to.as_ref().is_none_or(|to| to == node.name());
            plan.leave(world.formation.group(wanted.group).find(is_meant), &why);
        }
    }
}

fn find<'a>(world: &World<'a>, wanted: &Switchover) -> Result<(Group<'a>, &'a Node), Reason> {
    let group = Group::find(world, wanted.group, &[])?;
    let Some(to) = &wanted.to else {
        let to = group.candidate(world, &[])?;
        return Ok((group, to));
    };
    if to == group.primary.name() {
        let to = group.primary;
        return Ok((group, to));
    }
    let Some(to) = group.standbys.iter().find(|node| node.name() == to).copied() else {
        return Err(world.excluded.get(to).cloned().unwrap_or(Reason::Unseen));
    };
    match unfit(world, to, group.primary) {
        None => Ok((group, to)),
        Some(why) => {
            let others = vec![(to.name().clone(), why)];
            Err(Reason::NoCandidate { primary: group.primary.name().clone(), others })
        }
    }
}

/// The new primary's turn, and the wait for the old one.
pub(super) fn turns(world: &World, group: &Group, to: &Node, because: &str) -> [Turn; 2] {
    let old = group.primary;
    [taking_over(world, group, to, because), Turn::new(old.name(), Vec::new()).gate(gate(world, old, to))]
}

/// The turn in which a standby becomes the primary, until it takes writes and Citus knows.
fn taking_over(world: &World, group: &Group, to: &Node, because: &str) -> Turn {
    let old = group.primary;
    let steps = vec![
        rolling::checkpoint(&old.server, world.bin(old.name()), &old.username),
        rolling::switchover(world.formation, (old.name(), to), world.bin(to.name()), &world.uri, because),
    ];
    Turn::new(to.name(), steps).gate(taken_over(world, to))
}
