//! `muster reboot`: hosts of a group go down and come back one after the other; what is on one is out meanwhile, behind a switchover where
//! it has a primary.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Seen};
use crate::formation::{Connection, Monitor, Node, NodeName, Server};
use crate::plan::maintenance::{out, taken_back};
use crate::plan::monitor::wait_for_answer;
use crate::plan::node::wait_until_settled;
use crate::plan::restart::Downtime;
use crate::plan::rolling::{Group, batches, is_among};
use crate::plan::wave::{Lane, Turn};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::host::Boot;
use crate::resource::monitor::NodeRow;
use crate::resource::{keeper, rolling};
use crate::step::{Action, Stage, Step};

/// Which hosts are rebooted, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    pub nodes: BTreeSet<NodeName>,
    /// Only hosts that have been up for longer than this many seconds.
    pub up_for: u64,
    pub left_out: LeftOut,
    pub downtime: Downtime,
    /// How many groups go side by side; `None` for all.
    pub serial: Option<usize>,
    /// A group that goes before all others.
    pub canary: Option<u32>,
    /// The boot of the machine that muster runs on: that one is not rebooted.
    pub here: Option<String>,
}

/// What becomes of nodes that are in maintenance before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// An operator has taken them out.
    Stay,
    /// A run that was cut off has: their hosts are rebooted if they have not been, and they are taken back.
    ComeBack,
}

/// A host with all that is on it.
struct Unit<'a> {
    boot: &'a Boot,
    monitor: Option<&'a Server>,
    nodes: Vec<&'a Node>,
}

/// The servers of these hosts, and of the same hosts: all of them are away while one is.
pub(super) fn with_neighbours(facts: &Facts, nodes: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
    let boot = |name: &NodeName| Some(&facts.seen(name)?.host.boot.as_ref()?.id);
    let boots: BTreeSet<&String> = nodes.iter().filter_map(boot).collect();
    let is_there = |name: &&NodeName| boot(name).is_some_and(|boot| boots.contains(boot));
    nodes.iter().chain(facts.hosts.keys().filter(is_there)).cloned().collect()
}

pub(super) fn plan(world: &World, wanted: &Reboot, plan: &mut Plan) {
    let mut groups = BTreeMap::new();
    for id in world.formation.groups() {
        groups.insert(id, Group::find(world, id, &[]));
    }
    let units = units(world, wanted, plan);
    let (first, others): (Vec<Unit>, Vec<Unit>) = units.into_iter().partition(|unit| unit.monitor.is_some());
    let mut moved = BTreeSet::new();
    let mut first_lanes = Vec::new();
    for unit in &first {
        first_lanes.extend(lane(world, wanted, &[unit], &mut groups, &mut moved, plan));
    }
    let mut lanes = Vec::new();
    for (ids, mut units) in together(&others) {
        units.sort_by_key(|unit| rank(unit, &groups));
        lanes.extend(lane(world, wanted, &units, &mut groups, &mut moved, plan).map(|lane| (ids, lane)));
    }
    let batches = batches(world, lanes, wanted.serial, wanted.canary);
    std::iter::once(first_lanes).chain(batches).for_each(|lanes| plan.then(Stage::Reboot, lanes));
    // Who was out is looked at for that reason alone.
    let planned: BTreeSet<NodeName> = plan.turns().map(|(_, turn)| turn.node.clone()).collect();
    plan.blocked.retain(|name, why| !(why.is_wanted() && planned.contains(name)));
}

/// The hosts that something is to be done about.
fn units<'a>(world: &World<'a>, wanted: &Reboot, plan: &mut Plan) -> Vec<Unit<'a>> {
    let mut units: BTreeMap<&str, Unit> = BTreeMap::new();
    let mut order = Vec::new();
    let facts: &'a Facts = world.facts;
    for server in world.formation.servers() {
        let Some(seen) = facts.seen(&server.name) else { continue };
        let Some(boot) = &seen.host.boot else {
            if wanted.nodes.contains(&server.name) {
                plan.blocked.entry(server.name.clone()).or_insert(Reason::BootUnknown);
            }
            continue;
        };
        if !units.contains_key(boot.id.as_str()) {
            order.push(boot.id.as_str());
        }
        let unit = units.entry(&boot.id).or_insert(Unit { boot, monitor: None, nodes: Vec::new() });
        match world.formation.nodes.get(&server.name) {
            Some(node) => unit.nodes.push(node),
            None => unit.monitor = Some(server),
        }
    }
    let mut units: Vec<Unit> = order.into_iter().filter_map(|boot| units.remove(boot)).collect();
    units.retain(|unit| {
        let is_wanted = unit.servers().any(|server| wanted.nodes.contains(&server.name));
        is_wanted && (unit.boot.up > wanted.up_for || comes_back(world, wanted, unit))
    });
    units
}

impl<'a> Unit<'a> {
    /// Everything on it, the monitor first.
    fn servers(&self) -> impl Iterator<Item = &'a Server> {
        self.monitor.into_iter().chain(self.nodes.iter().map(|node| &node.server))
    }
}

fn is_out(world: &World, node: &Node) -> bool {
    world.is_out(node.name()) && world.row(node.name()).is_some_and(NodeRow::is_in_maintenance)
}

/// Whether a run that was cut off has left one of its nodes out.
fn comes_back(world: &World, wanted: &Reboot, unit: &Unit) -> bool {
    wanted.left_out == LeftOut::ComeBack && unit.nodes.iter().any(|node| is_out(world, node))
}

/// Hosts that have a group in common go one after the other; others side by side.
fn together<'u, 'a>(units: &'u [Unit<'a>]) -> Vec<(BTreeSet<u32>, Vec<&'u Unit<'a>>)> {
    let mut all: Vec<(BTreeSet<u32>, Vec<&Unit>)> = Vec::new();
    for unit in units {
        let mut groups: BTreeSet<u32> = unit.nodes.iter().map(|node| node.group).collect();
        let mut members = Vec::new();
        all.retain_mut(|(others, units)| {
            let is_apart = groups.is_disjoint(others);
            if !is_apart {
                groups.append(others);
                members.append(units);
            }
            is_apart
        });
        members.push(unit);
        all.push((groups, members));
    }
    all.sort_by_key(|(groups, _)| groups.first().copied());
    all
}

/// Those without a primary first, and of these whoever lags the most.
fn rank(unit: &Unit, groups: &BTreeMap<u32, Result<Group, Reason>>) -> (bool, usize) {
    let group = |node: &Node| groups.get(&node.group).and_then(|group| group.as_ref().ok());
    let has_primary =
        unit.nodes.iter().any(|node| group(node).is_some_and(|group| group.primary.name() == node.name()));
    let place = |node: &&Node| group(node)?.standbys.iter().position(|other| other.name() == node.name());
    (has_primary, unit.nodes.iter().filter_map(place).min().unwrap_or_default())
}

/// The turns of hosts that have groups in common.
fn lane<'a>(
    world: &World<'a>,
    wanted: &Reboot,
    units: &[&Unit<'a>],
    groups: &mut BTreeMap<u32, Result<Group<'a>, Reason>>,
    moved: &mut BTreeSet<u32>,
    plan: &mut Plan,
) -> Option<Lane> {
    // Who was out may take over afterwards, and nobody knows now how far it is behind by then.
    let back = units.iter().find(|unit| comes_back(world, wanted, unit));
    let back = back.and_then(|unit| unit.nodes.iter().find(|node| is_out(world, node)));
    let mut turns = Vec::new();
    for unit in units {
        if let Some(back) = back.filter(|_| !comes_back(world, wanted, unit)) {
            plan.partial.get_or_insert(Reason::BackFirst(back.name().clone()));
            continue;
        }
        match of_unit(world, wanted, unit, groups, moved) {
            Ok(Some(of_unit)) => turns.extend(of_unit),
            Ok(None) => {
                let moves = unit.nodes.iter().find(|node| moved.contains(&node.group));
                let why = moves.map(|node| Reason::MovesFirst { group: node.group });
                plan.partial = plan.partial.take().or(why);
            }
            Err(why) => unit.servers().for_each(|server| {
                let is_told = plan.blocked.get(&server.name).is_some_and(|told| !told.is_wanted());
                if !is_told && !plan.unreachable.contains_key(&server.name) {
                    plan.blocked.insert(server.name.clone(), why.clone());
                }
            }),
        }
    }
    (!turns.is_empty()).then(|| Lane::of(turns))
}

/// Everything that is done to one host and what is on it; `None` where it has to wait for another look.
fn of_unit<'a>(
    world: &World<'a>,
    wanted: &Reboot,
    unit: &Unit<'a>,
    groups: &mut BTreeMap<u32, Result<Group<'a>, Reason>>,
    moved: &mut BTreeSet<u32>,
) -> Result<Option<Vec<Turn>>, Reason> {
    let is_rebooted = unit.boot.up > wanted.up_for;
    fits(world, wanted, unit)?;
    let mut away = Vec::new();
    let mut turns = Vec::new();
    let ids: BTreeSet<u32> = unit.nodes.iter().map(|node| node.group).collect();
    let mut after = BTreeMap::new();
    for id in ids {
        let group = match groups.get(&id) {
            Some(Ok(group)) => group,
            Some(Err(why)) => return Err(why.clone()),
            None => continue,
        };
        let members: Vec<&Node> = unit.nodes.iter().copied().filter(|node| node.group == id).collect();
        let already: Vec<&Node> = members.iter().copied().filter(|node| is_out(world, node)).collect();
        let goes: Vec<&Node> = members.into_iter().filter(|node| !is_among(node, &already)).collect();
        for node in &already {
            let with = (world.bin(node.name()), &world.uri);
            let still = rolling::in_maintenance(world.formation, node, with.0, with.1);
            turns.extend(is_rebooted.then(|| Turn::new(node.name(), vec![still])));
            away.push((*node, Away::Out));
        }
        if goes.is_empty() || !is_rebooted {
            continue;
        }
        let has_primary = is_among(group.primary, &goes);
        if has_primary && moved.contains(&id) {
            return Ok(None);
        }
        match (out(world, group, &goes), wanted.downtime) {
            (Ok(of_group), _) => {
                turns.extend(of_group);
                away.extend(goes.iter().map(|node| (*node, Away::Out)));
                if has_primary {
                    after.insert(id, with_heir(world, group, &goes)?);
                }
            }
            (Err(Reason::NoCandidate { .. }), Downtime::Allowed) => {
                away.extend(goes.iter().map(|node| (*node, Away::InPlace)));
            }
            (Err(none @ Reason::NoCandidate { .. }), Downtime::Refused) => {
                return Err(Reason::NeedsDowntime(Box::new(none)));
            }
            (Err(why), _) => return Err(why),
        }
    }
    for (id, group) in after {
        moved.insert(id);
        groups.insert(id, Ok(group));
    }
    if is_rebooted {
        let first = unit.servers().next().into_iter();
        let checks = first.map(|server| Turn::new(&server.name, vec![rolling::may_reboot(server)]));
        turns = checks.chain(turns).chain(down_and_up(world, unit, &away)).collect();
    }
    turns.extend(unit.monitor.filter(|_| is_rebooted).map(|server| {
        let gate = until_it_answers(server, world.bin(&server.name));
        Turn::new(&server.name, Vec::new()).gate([gate])
    }));
    for (node, how) in away {
        let Some(Ok(group)) = groups.get(&node.group) else { continue };
        turns.push(match how {
            Away::Out => taken_back(world, node, group.primary),
            Away::InPlace => {
                let answers = rolling::answers(&node.server, world.bin(node.name()), &node.username);
                Turn::new(node.name(), Vec::new()).gate([answers, wait_until_settled(world, node)])
            }
        });
    }
    Ok(Some(turns))
}

/// How a node is away while its host is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Out,
    /// Nobody could take over from it: its group takes no writes.
    InPlace,
}

/// The group once another one has taken over from its primary, as [`out`] plans it.
fn with_heir<'a>(world: &World<'a>, group: &Group<'a>, goes: &[&Node]) -> Result<Group<'a>, Reason> {
    let heir = group.candidate(world, goes)?;
    let stay = group.standbys.iter().copied().filter(|node| node.name() != heir.name());
    Ok(Group { primary: heir, standbys: std::iter::once(group.primary).chain(stay).collect() })
}

/// The reboot itself, and the wait for every server's own connection.
fn down_and_up(world: &World, unit: &Unit, away: &[(&Node, Away)]) -> Vec<Turn> {
    let in_place = away.iter().filter(|(_, how)| *how == Away::InPlace).map(|(node, _)| *node);
    let of_nodes = in_place.map(|node| (&node.server, node.username.as_str()));
    let of_monitor = unit.monitor.into_iter().map(|server| (server, server.os_user.as_str()));
    let mut turns: Vec<Turn> = of_monitor
        .chain(of_nodes)
        .map(|(server, user)| {
            let step = rolling::checkpoint(server, world.bin(&server.name), user);
            Turn::new(&server.name, vec![step])
        })
        .collect();
    let stops = away.iter().any(|(_, how)| *how == Away::InPlace);
    let because = match stops {
        true => "it was asked for; its group takes no writes until it is back",
        false => "it was asked for",
    };
    for (index, server) in unit.servers().enumerate() {
        let steps: Vec<Step> = (index == 0).then(|| rolling::reboot(server, because)).into_iter().collect();
        turns.push(Turn::new(&server.name, steps).gate([rolling::booted(server, unit.boot)]));
    }
    turns
}

/// A monitor that has just booted takes a while longer than one that was restarted.
fn until_it_answers(server: &Server, bin: &str) -> Step {
    const TO_ANSWER: u64 = 300;
    let mut step = wait_for_answer(server, bin, "nothing goes on without it");
    if let Action::Wait { timeout, .. } = &mut step.action {
        *timeout = TO_ANSWER;
    }
    step
}

/// Why a host is left alone for what is so of itself.
fn fits(world: &World, wanted: &Reboot, unit: &Unit) -> Result<(), Reason> {
    let stays = |node: &&&Node| wanted.left_out == LeftOut::Stay && is_out(world, node);
    if let Some(node) = unit.nodes.iter().find(stays) {
        return Err(Reason::NotRebooted { node: node.name().clone() });
    }
    for server in unit.servers() {
        let name = &server.name;
        if let Some(why) = world.excluded.get(name).filter(|why| !why.is_wanted()) {
            return Err(why.clone());
        }
        let is_here = server.host.connection == Connection::Local
            || wanted.here.as_ref().is_some_and(|here| *here == unit.boot.id);
        if is_here {
            return Err(Reason::IsHere);
        }
        let Some(seen) = world.facts.seen(name) else { return Err(Reason::Unseen) };
        starts_at_boot(server, seen)?;
        if let Some(why) = seen.spoiled() {
            return Err(why);
        }
        let at_host = |row: &&NodeRow| row.host == server.hostname;
        if let Some(row) = world.strangers().into_iter().find(at_host) {
            return Err(Reason::StrangerThere(row.name.clone()));
        }
        if world.is_monitor(name) && seen.database.is_none() {
            return Err(Reason::NotRunning);
        }
        if !world.is_monitor(name) && world.row(name).is_none() {
            return Err(Reason::NotRegistered);
        }
    }
    Ok(())
}

fn starts_at_boot(server: &Server, seen: &Seen) -> Result<(), Reason> {
    let starts = keeper::starts_at_boot(server, &seen.host, &seen.keeper, seen.adopted.as_ref());
    starts.map_err(|unit| Reason::NotStartedAtBoot { server: server.name.clone(), unit })
}

impl World<'_> {
    fn is_monitor(&self, name: &NodeName) -> bool {
        matches!(&self.formation.monitor, Monitor::Managed(server) if server.name == *name)
    }
}
