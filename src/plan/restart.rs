//! `muster restart`: PostgreSQL ends and starts again on one member of a group after the other: standbys, then, behind a switchover, the
//! old primary.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::formation::{Node, NodeName, Server};
use crate::plan::maintenance;
use crate::plan::monitor::wait_for_answer;
use crate::plan::node::wait_until_settled;
use crate::plan::rolling::{Group, gate};
use crate::plan::switchover::taking_over;
use crate::plan::wave::{Lane, Turn};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::data::Pgdata;
use crate::resource::{replication, rolling};
use crate::step::{Stage, Step};

/// What is to be restarted, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    pub nodes: BTreeSet<NodeName>,
    pub which: Which,
    pub downtime: Downtime,
    /// How many groups go side by side; `None` for all.
    pub serial: Option<usize>,
    /// A group that goes before all others.
    pub canary: Option<u32>,
}

/// Which of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    All,
    /// Those with a setting that waits for a restart.
    Pending,
    /// Those that have run for longer than this many seconds.
    RunningFor(u64),
}

/// Whether a primary that nobody could take over from is restarted all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downtime {
    Allowed,
    Refused,
}

pub(super) fn plan(world: &World, wanted: &Restart, plan: &mut Plan) {
    let mut batches: Vec<Vec<Lane>> = Vec::new();
    batches.extend(monitor(world, wanted, plan).map(|lane| vec![lane]));
    let (mut others, mut last) = (Vec::new(), Vec::new());
    for id in world.formation.groups() {
        let Some(lane) = group(world, id, wanted, plan) else { continue };
        if wanted.canary == Some(id) {
            batches.push(vec![lane]);
        } else if id == 0 && world.formation.is_citus() {
            // A worker's new primary is told to the coordinator: one of the two changes at a time.
            last.push(lane);
        } else {
            others.push(lane);
        }
    }
    let most = wanted.serial.unwrap_or(usize::MAX).max(1);
    while !others.is_empty() {
        let rest = others.split_off(others.len().min(most));
        batches.push(std::mem::replace(&mut others, rest));
    }
    batches.push(last);
    batches.into_iter().for_each(|lanes| plan.then(Stage::Restart, lanes));
}

/// Why this server is restarted; `None` where it is not.
fn because(world: &World, server: &Server, wanted: &Restart) -> Option<String> {
    if !wanted.nodes.contains(&server.name) {
        return None;
    }
    let database = world.facts.seen(&server.name)?.database.as_ref();
    let pending = database.map(|database| database.pending()).unwrap_or_default();
    let waits = || format!("{} waits for it", pending.join(", "));
    match wanted.which {
        Which::All if pending.is_empty() => Some("it was asked for".to_owned()),
        Which::All => Some(waits()),
        Which::Pending => (!pending.is_empty()).then(waits),
        Which::RunningFor(seconds) => {
            let uptime = database.and_then(|database| database.uptime)?;
            (uptime > seconds).then(|| "it has run since before then".to_owned())
        }
    }
}

fn postmaster(world: &World, server: &Server) -> Option<u32> {
    match &world.facts.seen(&server.name)?.pgdata {
        Pgdata::Present(found) => found.postmaster,
        Pgdata::Empty | Pgdata::Foreign(_) => None,
    }
}

fn monitor(world: &World, wanted: &Restart, plan: &mut Plan) -> Option<Lane> {
    let name = world.monitor_node()?;
    let server = world.formation.servers().find(|server| server.name == name)?;
    let because = because(world, server, wanted).filter(|_| !world.is_excluded(&name))?;
    let Some(postmaster) = postmaster(world, server) else {
        plan.blocked.insert(name, Reason::NotRunning);
        return None;
    };
    let bin = world.bin(&name);
    let steps = vec![
        rolling::checkpoint(server, bin, &server.os_user),
        rolling::restart(server, bin, postmaster, because),
    ];
    let gate = wait_for_answer(server, bin, "nothing goes on without it");
    Some(Lane::of([Turn::new(&name, steps).gate([gate])]))
}

/// The turns of a group; `None` where there are none.
fn group(world: &World, id: u32, wanted: &Restart, plan: &mut Plan) -> Option<Lane> {
    let chosen: Vec<(&Node, String)> = world
        .formation
        .group(id)
        .filter(|node| !world.is_out(node.name()))
        .filter_map(|node| Some((node, because(world, &node.server, wanted)?)))
        .collect();
    if chosen.is_empty() {
        return None;
    }
    let group = match Group::find(world, id, &[]) {
        Ok(group) => group,
        Err(why) => {
            // Who is left alone for a reason of its own is told that.
            let nodes = chosen.iter().map(|(node, _)| *node);
            let left: Vec<&Node> = nodes.filter(|node| !plan.blocked.contains_key(node.name())).collect();
            plan.leave(left, &why);
            return None;
        }
    };
    let reason =
        |node: &Node| chosen.iter().find(|(found, _)| found.name() == node.name()).map(|(_, why)| why);
    let of_primary = reason(group.primary);
    let lowered = world.database(group.primary.name()).map(|database| &database.lowered);
    let lowered = lowered.filter(|names| !names.is_empty());
    let mut turns = Vec::new();
    if let (Some(names), Some(_)) = (lowered, of_primary) {
        match lower(world, &group, names) {
            Ok(first) => turns = first,
            Err(why) => {
                plan.leave(chosen.iter().map(|(node, _)| *node), &why);
                return None;
            }
        }
    }
    for standby in &group.standbys {
        let Some(why) = reason(standby) else { continue };
        let too_low = world.database(standby.name()).is_some_and(|database| !database.lowered.is_empty());
        if let (Some(names), None, true) = (lowered, of_primary, too_low) {
            let settings = names.iter().cloned().collect();
            let why = Reason::PrimaryFirst { primary: group.primary.name().clone(), settings };
            plan.leave([*standby], &why);
            continue;
        }
        let mut turn = turn(world, standby, why, true)?;
        if too_low {
            let (bin, primary) = (world.bin(standby.name()), group.primary.name());
            turn.steps.insert(0, replication::wait_until_it_fits(standby, bin, primary));
        }
        turns.push(turn.gate(gate(world, standby, group.primary)));
    }
    if let (None, Some(why)) = (lowered, of_primary) {
        turns.extend(primary(world, &group, why, wanted.downtime, plan));
    }
    (!turns.is_empty()).then(|| Lane::of(turns))
}

/// The primary first, in its place. Of a keeper of 2.0 that looks while its primary is away the monitor hears that it is down, and fails
/// over at once: who could be promoted is out meanwhile.
fn lower(world: &World, group: &Group, names: &BTreeSet<String>) -> Result<Vec<Turn>, Reason> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let because = format!("{} is lowered, which a primary has to be the first to do", names.join(", "));
    let heirs = group.standbys.iter().copied().filter(|node| may_be_promoted(world, node));
    let heirs: Vec<&Node> = heirs.collect();
    let mut turns = maintenance::out(world, group, &heirs)?;
    turns.extend(in_place(world, group.primary, &because));
    turns.extend(heirs.into_iter().map(|node| maintenance::taken_back(world, node, group.primary)));
    Ok(turns)
}

fn may_be_promoted(world: &World, node: &Node) -> bool {
    world.row(node.name()).is_some_and(|row| row.candidate_priority > 0)
}

/// A primary that stays one, as nobody could be promoted: no commit returns until it is back.
fn in_place(world: &World, node: &Node, because: &str) -> Option<Turn> {
    let because = format!("{because}; its group takes no writes until it is back");
    let bin = world.bin(node.name());
    let gate = [rolling::answers(&node.server, bin, &node.username), wait_until_settled(world, node)];
    Some(turn(world, node, &because, true)?.gate(gate))
}

fn turn(world: &World, node: &Node, why: &str, checkpoints: bool) -> Option<Turn> {
    let (bin, postmaster) = (world.bin(node.name()), postmaster(world, &node.server)?);
    let mut steps: Vec<Step> = Vec::new();
    if checkpoints {
        steps.push(rolling::checkpoint(&node.server, bin, &node.username));
    }
    steps.push(rolling::restart(&node.server, bin, postmaster, why));
    Some(Turn::new(node.name(), steps))
}

/// A standby takes over, and the old primary is restarted as a standby; or it is restarted where it is.
fn primary(world: &World, group: &Group, why: &str, downtime: Downtime, plan: &mut Plan) -> Vec<Turn> {
    let old = group.primary;
    match (group.candidate(world, &[]), downtime) {
        (Ok(to), _) => {
            let because = format!("{} is to be restarted: {why}", old.name());
            let first = taking_over(world, group, to, &because);
            let after =
                format!("{why}; nothing is done where its keeper has restarted it as it stepped down");
            let last = turn(world, old, &after, false).map(|turn| turn.gate(gate(world, old, to)));
            [first].into_iter().chain(last).collect()
        }
        (Err(_), Downtime::Allowed) => in_place(world, old, why).into_iter().collect(),
        (Err(none), Downtime::Refused) => {
            plan.blocked.insert(old.name().clone(), Reason::NeedsDowntime(Box::new(none)));
            Vec::new()
        }
    }
}
