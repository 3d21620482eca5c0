//! `muster maintenance`: a node is taken out, so that its host can be patched, and taken back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::formation::{Node, NodeName};
use crate::op::Switch;
use crate::plan::node::wait_until_settled;
use crate::plan::rolling::{Group, is_among};
use crate::plan::switchover::turns as switchover;
use crate::plan::wave::{Lane, Turn};
use crate::plan::well::is_silent;
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::monitor::NodeRow;
use crate::resource::rolling;
use crate::step::Stage;

/// Whom to take out, or back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    pub nodes: BTreeSet<NodeName>,
    pub turn: Switch,
}

pub(super) fn plan(world: &World, wanted: &Maintenance, plan: &mut Plan) {
    let mut lanes = Vec::new();
    for id in world.formation.groups() {
        let row = |node: &Node| world.row(node.name());
        let wants = |node: &&Node| {
            wanted.nodes.contains(node.name())
                && match wanted.turn {
                    // Who is only on the way is waited for.
                    Switch::On => !row(node).is_some_and(NodeRow::is_out),
                    Switch::Off => row(node).is_some_and(NodeRow::is_in_maintenance),
                }
        };
        let chosen: Vec<&Node> = world.formation.group(id).filter(wants).collect();
        if chosen.is_empty() {
            continue;
        }
        let turns = match wanted.turn {
            Switch::On => Group::find(world, id, &chosen).and_then(|group| out(world, &group, &chosen)),
            Switch::Off => back(world, id, &chosen),
        };
        match turns {
            Ok(turns) => lanes.push(Lane::of(turns)),
            Err(why) => plan.leave(chosen, &why),
        }
    }
    // Who was out is looked at for that reason alone.
    let planned: BTreeSet<&NodeName> =
        lanes.iter().flat_map(|lane| &lane.turns).map(|turn| &turn.node).collect();
    let is_done = |name: &NodeName, why: &Reason| {
        why.is_wanted() && (wanted.turn == Switch::On || planned.contains(name))
    };
    plan.blocked.retain(|name, why| !is_done(name, why));
    plan.then(Stage::Maintenance, lanes);
}

/// Standbys first; a primary behind a switchover to one that stays.
pub(super) fn out(world: &World, group: &Group, chosen: &[&Node]) -> Result<Vec<Turn>, Reason> {
    let is_chosen = |node: &Node| is_among(node, chosen);
    let heir = if is_chosen(group.primary) { Some(group.candidate(world, chosen)?) } else { None };
    let counts = |node: &&Node| world.row(node.name()).is_some_and(|row| row.replication_quorum);
    // The heir confirms nothing any more, and the old primary is out.
    let stays = |node: &&&Node| !is_chosen(node) && heir.is_none_or(|heir| heir.name() != node.name());
    let left = group.standbys.iter().filter(stays).filter(|node| counts(node)).count();
    let number = world.monitor_facts().and_then(|facts| facts.formation.as_ref());
    let number = number.map_or(0, |formation| formation.number_sync_standbys);
    if left < number as usize {
        return Err(Reason::WritesWouldStop { number_sync_standbys: number, left });
    }
    for node in chosen {
        carries_out(world, node)?;
    }
    let take_out = |node: &Node, primary: &Node| {
        let with = (world.bin(node.name()), &world.uri);
        let step = rolling::maintenance(
            world.formation,
            node,
            with,
            Switch::On,
            "nothing fails over to it meanwhile",
        );
        let gate = [
            rolling::in_maintenance(world.formation, node, with.0, with.1),
            wait_until_settled(world, primary),
        ];
        Turn::new(node.name(), vec![step]).gate(gate)
    };
    let standbys = group.standbys.iter().filter(|node| is_chosen(node));
    let mut turns: Vec<Turn> = standbys.map(|node| take_out(node, group.primary)).collect();
    if let Some(heir) = heir {
        let because = format!("{} is to be taken out", group.primary.name());
        turns.extend(switchover(world, group, heir, &because));
        turns.push(take_out(group.primary, heir));
    }
    Ok(turns)
}

fn back(world: &World, id: u32, chosen: &[&Node]) -> Result<Vec<Turn>, Reason> {
    let primary = world.primary(id).and_then(super::peer::Peer::ours);
    let primary = primary.ok_or_else(|| world.why_no_primary(id))?;
    let mut turns = Vec::new();
    for node in chosen {
        carries_out(world, node)?;
        // The monitor takes nobody back who has not arrived.
        if world.row(node.name()).is_some_and(|row| !row.is_out()) {
            let gate = rolling::in_maintenance(world.formation, node, world.bin(node.name()), &world.uri);
            turns.push(Turn::new(node.name(), Vec::new()).gate([gate]));
        }
        turns.push(taken_back(world, node, primary));
    }
    Ok(turns)
}

/// Only a node's own keeper does what the monitor assigns, and the group waits for it meanwhile.
fn carries_out(world: &World, node: &Node) -> Result<(), Reason> {
    let Some(seen) = world.facts.seen(node.name()) else {
        return Err(world.excluded.get(node.name()).cloned().unwrap_or(Reason::Unseen));
    };
    if let Some(why) = world.row(node.name()).and_then(NodeRow::silence) {
        return Err(is_silent(world, node, why));
    }
    seen.keeper.alive.map(drop).ok_or(Reason::NoKeeper)
}

pub(super) fn taken_back(world: &World, node: &Node, primary: &Node) -> Turn {
    let with = (world.bin(node.name()), &world.uri);
    let step =
        rolling::maintenance(world.formation, node, with, Switch::Off, "nothing keeps it out any more");
    let gate = [node, primary].map(|node| wait_until_settled(world, node));
    Turn::new(node.name(), vec![step]).gate(gate)
}
