//! A group whose writer changes while muster looks: what only a writer can be given, e.g. passwords of roles, is seen once
//! the next one takes writes. The old one may need just that to follow, so it is not waited for before.

use crate::formation::Node;
use crate::op::{Op, Wait};
use crate::plan::node::{Driver, driver};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::monitor::NodeRow;
use crate::step::{Stage, Step};

/// Waits for those that are being promoted; then there is another look.
pub(super) fn plan(world: &World, plan: &mut Plan) {
    let is_next = |node: &&Node| {
        let may_go_on = |row: &NodeRow| row.is_being_promoted() && row.silence().is_none();
        let has_keeper = || driver(world, node) == Driver::Keeper;
        !world.is_excluded(node.name())
            && world.scope.has(node.name())
            && world.row(node.name()).is_some_and(may_go_on)
            && has_keeper()
    };
    for next in world.formation.nodes.values().filter(is_next) {
        let others = world.formation.group(next.group).filter(|node| node.name() != next.name());
        for node in others {
            let stays = |step: &Step| !matches!(step.op, Op::Wait(Wait::Settled | Wait::Streams { .. }));
            plan.retain(Stage::Settle, node.name(), stays);
        }
        plan.partial
            .get_or_insert_with(|| Reason::Promotion { group: next.group, node: next.name().clone() });
    }
}
