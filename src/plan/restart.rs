//! `muster restart`: PostgreSQL ends and starts again on one member of a group after the other: standbys, then, behind a switchover, the
//! old primary.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::formation::{Node, NodeName, RestartPolicy, Server};
use crate::op::Op;
use crate::plan::altered::with_it;
use crate::plan::drift::{running, takes_restart};
use crate::plan::held::{Held, kept_back};
use crate::plan::monitor::wait_for_answer;
use crate::plan::node::{wait_until_settled, wait_until_settled_anew};
use crate::plan::rolling::{Group, Share, batches, gate, is_to_be_promoted_again, share};
use crate::plan::switchover;
use crate::plan::wave::{Lane, Turn};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::rolling::Starts;
use crate::resource::{properties, replication, rolling, settings};
use crate::step::{Action, Check, Content, File, Stage, Step};

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

/// A server that is to be restarted.
struct Due {
    why: String,
    /// What it gets right before.
    held: Option<Held>,
    /// Else it only gets that.
    restarts: bool,
}

impl Due {
    /// What waits for the restart, with what is written in one file with it.
    fn with_what_waits(&self) -> String {
        match self.held.as_ref().map(|held| held.others.join(", ")) {
            Some(others) if !others.is_empty() => {
                format!("{}, and {others} with it (they are one file)", self.why)
            }
            _ => self.why.clone(),
        }
    }
}

type Dues = BTreeMap<NodeName, Due>;

pub(super) fn plan(world: &World, wanted: &Restart, plan: &mut Plan) {
    let mut dues = Dues::new();
    for server in world.formation.servers() {
        let Some(due) = asked_for(world, server, wanted) else { continue };
        if server.restart_policy == RestartPolicy::Never {
            plan.blocked.entry(server.name.clone()).or_insert(Reason::NeverRestarted);
            continue;
        }
        dues.insert(server.name.clone(), due);
    }
    let mut lanes = lanes(world, &dues, wanted.downtime, plan);
    left_behind(world, wanted, &mut lanes);
    in_order(world, lanes, wanted.serial, wanted.canary)
        .into_iter()
        .for_each(|lanes| plan.then(Stage::Restart, lanes));
}

/// What a run left that was cut off while a primary was restarted in its place: standbys that are never promoted, against the inventory.
fn left_behind(world: &World, wanted: &Restart, lanes: &mut Lanes) {
    let ids = world.formation.groups().into_iter();
    for id in ids.filter(|id| world.formation.group(*id).any(|node| wanted.nodes.contains(node.name()))) {
        let Ok(group) = Group::find(world, id, &[]) else { continue };
        let left = group.standbys.iter().filter(|node| is_to_be_promoted_again(world, node));
        let turns: Vec<Turn> = left.map(|node| may_take_over_again(world, &group, node)).collect();
        if turns.is_empty() {
            continue;
        }
        let is_set = |step: &Step| matches!(step.op, Op::SetPriority { .. });
        match lanes.groups.iter_mut().find(|of| of.id == id) {
            // One that restarts its primary in its place ends with that.
            Some(of) if of.lane.turns.iter().flat_map(|turn| &turn.steps).any(is_set) => (),
            Some(of) => of.lane.turns.extend(turns),
            None => lanes.groups.push(OfGroup { id, lane: Lane::of(turns) }),
        }
    }
}

/// What a rollout has to restart, where that is left to it.
pub(super) fn of_rollout(world: &World, plan: &mut Plan) {
    let (mut dues, mut later) = (Dues::new(), BTreeMap::new());
    for server in world.formation.servers().filter(|server| world.scope.has(&server.name)) {
        let node = world.formation.nodes.get(&server.name);
        let Some(due) = due_in_rollout(world, server, node, plan) else { continue };
        // Of what this plan writes the server says only then whether it waits for a restart.
        if !restarts_for_what_is_written(world, server, plan).is_empty() {
            later.insert(node.map(|node| node.group), Reason::RestartFollows);
        }
        dues.insert(server.name.clone(), due);
    }
    for id in world.formation.groups() {
        if let Some(why) = not_yet(world, id, &dues, plan) {
            later.entry(Some(id)).or_insert(why);
        }
    }
    for (group, why) in later {
        let is_of = |name: &NodeName| world.formation.nodes.get(name).map(|node| node.group) == group;
        let (put_off, rest): (Dues, Dues) = dues.into_iter().partition(|(name, _)| is_of(name));
        dues = rest;
        let settings: BTreeSet<String> = put_off.values().map(Due::with_what_waits).collect();
        let settings = settings.into_iter().collect::<Vec<_>>().join("; ");
        // No step mends an inventory.
        let takes_another = matches!(why, Reason::RaisedAndLowered { .. });
        let why = Reason::RestartWaits { settings, why: Box::new(why) };
        // What this plan does for the group may be what it takes.
        let has_steps = plan.turns().any(|(_, turn)| is_of(&turn.node));
        match has_steps {
            true if takes_another => put_off.keys().for_each(|name| plan.unwell(name, why.clone())),
            true => plan.partial = Some(why),
            false => plan.leave(put_off.keys().filter_map(|name| world.formation.nodes.get(name)), &why),
        }
    }
    let is_new = dues.values().any(|due| due.held.is_some());
    let mut lanes = lanes(world, &dues, Downtime::Refused, plan);
    if is_new {
        plan.then(Stage::Restart, lanes.monitor.take().into_iter().collect());
        plan.then(Stage::Restart, trial(&mut lanes.groups).into_iter().collect());
    }
    in_order(world, lanes, None, None).into_iter().for_each(|lanes| plan.then(Stage::Restart, lanes));
}

/// What keeps a server from starting shows on one standby before anybody else gets it; where no standby may be the first, in one group.
fn trial(groups: &mut Vec<OfGroup>) -> Option<Lane> {
    let restarts = |turn: &Turn| turn.steps.iter().any(|step| step.op == Op::Restart);
    let begins = |of: &&mut OfGroup| of.lane.turns.first().is_some_and(restarts);
    let Some(first) = groups.iter_mut().find(begins) else {
        let at = groups.iter().position(|of| of.lane.turns.iter().any(restarts))?;
        return Some(groups.remove(at).lane);
    };
    let trial = Lane::of([first.lane.turns.remove(0)]);
    groups.retain(|of| !of.lane.turns.is_empty());
    Some(trial)
}

fn due_in_rollout(world: &World, server: &Server, node: Option<&Node>, plan: &mut Plan) -> Option<Due> {
    if server.restart_policy != RestartPolicy::Rolling || world.is_excluded(&server.name) {
        return None;
    }
    let database = world.database(&server.name)?;
    let held = plan.held.remove(&server.name);
    let anew: Vec<String> = written(server, plan)
        .flat_map(|(before, text)| {
            settings::changed(before, text).into_iter().map(|name| name.to_ascii_lowercase())
        })
        .collect();
    let unasked = world.not_asked_for(server);
    let is_unasked = |name: &&str| unasked.iter().any(|unasked| unasked.name == *name);
    let mut names: BTreeSet<&str> = database.restartable().into_iter().collect();
    names.retain(|name| {
        !is_unasked(name) && (!anew.iter().any(|anew| anew == name) || world.is_altered(server, name))
    });
    names.extend(held.iter().flat_map(|held| &held.settings).map(String::as_str));
    let at_once = restarts_for_what_is_written(world, server, plan);
    names.extend(at_once.iter().map(String::as_str));
    if names.is_empty() {
        return None;
    }
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let share = share(world, server, node);
    // Who joins in this run may be its heir.
    let is_joined = node.is_some_and(|node| joins(world, node.group, plan).is_some());
    if share == Share::Write
        && !is_joined
        && let Some(why) = node.and_then(|node| without_heir(world, node))
    {
        let how = format!("`muster restart {} --pending --allow-downtime`", server.name);
        plan.note(&server.name, format!("apply does not restart it, as {why}; {how} does"));
    }
    let is_due = share == Share::Turn || share == Share::Write && held.is_some();
    let why = || format!("{names} waits for it{}", with_it(&unasked));
    is_due.then(|| Due { why: why(), held, restarts: share == Share::Turn })
}

/// Why a primary is not restarted by a rollout.
fn without_heir(world: &World, node: &Node) -> Option<Reason> {
    let group = Group::find(world, node.group, &[]).ok()?;
    if group.primary.name() == node.name() { group.candidate(world, &[]).err() } else { None }
}

/// What this plan writes at once of a server's configuration: what is there, and what is to be.
fn written<'p>(server: &'p Server, plan: &'p Plan) -> impl Iterator<Item = (&'p str, &'p str)> {
    plan.steps().filter_map(|(_, _, step)| match &step.action {
        Action::Put(File {
            check: Check::Configuration { .. },
            before: Some(before),
            content: Content::Text(text),
            ..
        }) if step.on == server.name => Some((before.as_str(), text.as_str())),
        Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_) | Action::Wait { .. } => None,
    })
}

/// What of that takes a restart.
fn restarts_for_what_is_written(world: &World, server: &Server, plan: &Plan) -> Vec<String> {
    let Some(seen) = world.facts.seen(&server.name) else { return Vec::new() };
    written(server, plan).flat_map(|(before, text)| takes_restart(seen, before, text)).collect()
}

/// Why the members of a group that are due are not restarted by this plan; `None` where they are, or none is.
fn not_yet(world: &World, id: u32, dues: &Dues, plan: &Plan) -> Option<Reason> {
    world.formation.group(id).find(|node| dues.contains_key(node.name()))?;
    if let Some(new) = joins(world, id, plan) {
        return Some(Reason::Joins(new.name().clone()));
    }
    let group = match Group::find(world, id, &[]) {
        Ok(group) => group,
        Err(why) => return Some(why),
    };
    let due = dues.get(group.primary.name()).filter(|due| due.restarts)?;
    if let Err(why) = group.candidate(world, &[]) {
        return Some(why);
    }
    let moved = &due.held.as_ref()?.moved;
    let (raised, lowered) = (&moved.raised, &moved.lowered);
    let is_both = !raised.is_empty() && !lowered.is_empty() && !group.standbys.is_empty();
    is_both.then(|| Reason::RaisedAndLowered {
        raised: raised.iter().cloned().collect(),
        lowered: lowered.keys().cloned().collect(),
    })
}

/// A member that a group gets in this run.
fn joins<'a>(world: &World<'a>, id: u32, plan: &Plan) -> Option<&'a Node> {
    world.formation.group(id).find(|node| plan.is_busy(Stage::Replicate, node.name()))
}

/// Whose turns go side by side with others.
struct Lanes {
    monitor: Option<Lane>,
    groups: Vec<OfGroup>,
}

struct OfGroup {
    id: u32,
    lane: Lane,
}

fn lanes(world: &World, dues: &Dues, downtime: Downtime, plan: &mut Plan) -> Lanes {
    let monitor = monitor(world, dues, plan);
    let mut groups = Vec::new();
    for id in world.formation.groups() {
        let Some(lane) = group(world, id, dues, downtime, plan) else { continue };
        groups.push(OfGroup { id, lane });
    }
    Lanes { monitor, groups }
}

/// The monitor, then the groups in their order.
fn in_order(world: &World, lanes: Lanes, serial: Option<usize>, canary: Option<u32>) -> Vec<Vec<Lane>> {
    let groups = lanes.groups.into_iter().map(|of| (BTreeSet::from([of.id]), of.lane)).collect();
    let monitor = lanes.monitor.into_iter().map(|lane| vec![lane]);
    monitor.chain(batches(world, groups, serial, canary)).collect()
}

/// Whether a node is to be restarted, or nobody knows: it does not run.
pub(super) fn may_be_due(world: &World, node: &Node, wanted: &Restart) -> bool {
    world.database(node.name()).is_none()
        || asked_for(world, &node.server, wanted).is_some()
        || is_to_be_promoted_again(world, node)
}

/// Whether this server is restarted, and what it gets right before.
fn asked_for(world: &World, server: &Server, wanted: &Restart) -> Option<Due> {
    if !wanted.nodes.contains(&server.name) {
        return None;
    }
    let database = world.facts.seen(&server.name)?.database.as_ref();
    let held = kept_back(world, server);
    let mut pending = database.map(|database| database.restartable()).unwrap_or_default();
    pending.extend(held.iter().flat_map(|held| &held.settings).map(String::as_str));
    let waits = || format!("{} waits for it", world.list(server, pending.iter().copied()));
    let why = match wanted.which {
        Which::All if pending.is_empty() => "it was asked for".to_owned(),
        Which::All => waits(),
        Which::Pending if pending.is_empty() => return None,
        Which::Pending => waits(),
        Which::RunningFor(seconds) if database?.uptime? <= seconds => return None,
        Which::RunningFor(_) => "it has run since before then".to_owned(),
    };
    Some(Due { why, held, restarts: true })
}

fn postmaster(world: &World, server: &Server) -> Option<u32> {
    world.facts.seen(&server.name)?.pgdata.postmaster()
}

fn monitor(world: &World, dues: &Dues, plan: &mut Plan) -> Option<Lane> {
    let name = world.monitor_node()?;
    let server = world.formation.servers().find(|server| server.name == name)?;
    let due = dues.get(&name).filter(|_| !world.is_excluded(&name))?;
    let Some(postmaster) = postmaster(world, server) else {
        plan.blocked.insert(name, Reason::NotRunning);
        return None;
    };
    if let Some(why) = world.seen(&name).spoiled() {
        plan.blocked.insert(name, why);
        return None;
    }
    let bin = world.bin(&name);
    let mut steps = vec![rolling::checkpoint(server, bin, &server.os_user)];
    steps.extend(due.held.iter().map(|held| held.write.clone()));
    let starts = world.seen(&name).keeper.alive.map_or(Starts::We, Starts::PgAutoctl);
    steps.push(rolling::restart(server, bin, postmaster, starts, due.why.clone()));
    let gate = wait_for_answer(server, bin, "nothing goes on without it");
    Some(Lane::of([Turn::new(&name, steps).gate([gate])]))
}

/// The turns of a group; `None` where there are none.
fn group(world: &World, id: u32, dues: &Dues, downtime: Downtime, plan: &mut Plan) -> Option<Lane> {
    let is_due = |node: &&Node| !world.is_out(node.name()) && dues.contains_key(node.name());
    let chosen: Vec<&Node> = world.formation.group(id).filter(is_due).collect();
    if chosen.is_empty() {
        return None;
    }
    let group = match Group::find(world, id, &[]) {
        Ok(group) => group,
        Err(why) => {
            // Who is left alone for a reason of its own is told that.
            let left: Vec<&Node> =
                chosen.into_iter().filter(|node| !plan.blocked.contains_key(node.name())).collect();
            plan.leave(left, &why);
            return None;
        }
    };
    let due = |node: &Node| dues.get(node.name());
    let of_primary = due(group.primary).filter(|due| due.restarts);
    let lowered = |node: &Node| -> BTreeSet<String> {
        match (due(node).and_then(|due| due.held.as_ref()), world.database(node.name())) {
            // What it does not change is as its files have it.
            (Some(held), Some(database)) => {
                let is_changed =
                    |name: &&String| held.settings.iter().any(|one| one.eq_ignore_ascii_case(name));
                let as_before = database.lowered.iter().filter(|name| !is_changed(name));
                held.moved.lowered.keys().chain(as_before).cloned().collect()
            }
            (Some(held), None) => held.moved.lowered.keys().cloned().collect(),
            (None, Some(database)) => database.lowered.clone(),
            (None, None) => BTreeSet::new(),
        }
    };
    // Nobody has to have as much as a primary without standbys.
    let names = if group.standbys.is_empty() { BTreeSet::new() } else { lowered(group.primary) };
    let first = of_primary.filter(|_| !names.is_empty());
    let mut turns = first.map(|due| lower(world, &group, &names, due)).unwrap_or_default();
    for standby in &group.standbys {
        let Some(due) = due(standby) else { continue };
        let too_low = !names.is_empty() && !lowered(standby).is_empty();
        if let (None, true) = (of_primary, too_low) {
            let settings = names.iter().cloned().collect();
            let why = Reason::PrimaryFirst { primary: group.primary.name().clone(), settings };
            plan.leave([*standby], &why);
            continue;
        }
        let mut turn = turn(world, standby, due, &due.why)?;
        if too_low {
            let (bin, primary) = (world.bin(standby.name()), group.primary.name());
            let with = due.held.as_ref().map(|held| held.moved.lowered.clone()).unwrap_or_default();
            turn.steps.insert(0, replication::wait_until_it_fits(standby, bin, primary, &with));
        }
        turns.push(turn.gate(gate(world, standby, group.primary)));
    }
    if let (true, Some(due)) = (names.is_empty(), of_primary) {
        turns.extend(primary(world, &group, due, downtime, plan));
    }
    if of_primary.is_none() {
        turns.extend(due(group.primary).and_then(|due| gets_file(world, group.primary, due)));
    }
    (!turns.is_empty()).then(|| Lane::of(turns))
}

/// The file alone, and a reload.
fn gets_file(world: &World, node: &Node, due: &Due) -> Option<Turn> {
    let held = due.held.as_ref()?;
    let asked = running(&node.server, Some(node));
    let reload = settings::reload(&node.server, world.bin(node.name()), &asked, "its configuration changed");
    Some(Turn::new(node.name(), vec![held.write.clone(), reload]))
}

/// The primary first, in its place. Of a keeper of 2.0 that looks while its primary is away the monitor hears that it is down, and fails
/// over at once: nobody is to be promoted meanwhile.
fn lower(world: &World, group: &Group, names: &BTreeSet<String>, due: &Due) -> Vec<Turn> {
    let unasked = world.not_asked_for(&group.primary.server);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = format!("{} is lowered, which a primary has to be the first to do", names.join(", "));
    let because = match unasked.iter().any(|unasked| names.contains(&unasked.name.as_str())) {
        true => format!("{}; {first}", due.why),
        false => first,
    };
    let may_be_promoted = |node: &&Node| world.row(node.name()).is_some_and(|row| row.candidate_priority > 0);
    let heirs = || group.standbys.iter().copied().filter(may_be_promoted);
    let why = format!("nothing is to fail over while {} is restarted in its place", group.primary.name());
    // A file that is refused is refused before anything is set on the monitor.
    let mut turns: Vec<Turn> = gets_file(world, group.primary, due).into_iter().collect();
    turns.extend(heirs().map(|node| told(world, group, node, 0, &why)));
    let restarts = Due { why: due.why.clone(), held: None, restarts: true };
    turns.extend(in_place(world, group, &restarts, &because));
    let again = group.standbys.iter().filter(|node| node.candidate_priority > 0);
    turns.extend(again.map(|node| may_take_over_again(world, group, node)));
    turns
}

fn told(world: &World, group: &Group, node: &Node, to: u8, because: &str) -> Turn {
    let with = (world.bin(node.name()), &world.uri);
    let step = properties::candidate_priority(world.formation, node, with, to, because);
    Turn::new(node.name(), vec![step]).gate([wait_until_settled(world, group.primary)])
}

fn may_take_over_again(world: &World, group: &Group, node: &Node) -> Turn {
    told(world, group, node, node.candidate_priority, "it may take over again")
}

/// A primary that stays one, as nobody could be promoted: no commit returns until it is back. Where its keeper has told the monitor, that
/// has the standbys of a group of three report how far they are, which they do by a restart.
fn in_place(world: &World, group: &Group, due: &Due, because: &str) -> Vec<Turn> {
    let node = group.primary;
    let because = format!("{because}; its group takes no writes until it is back");
    let Some(restarted) = turn(world, node, due, &because) else { return Vec::new() };
    let answers = rolling::answers(&node.server, world.bin(node.name()), &node.username);
    let mut turns = vec![restarted.gate([answers])];
    turns.extend(group.standbys.iter().map(|standby| {
        let step = rolling::look_again(standby, world.bin(standby.name()), "commits wait for it");
        Turn::new(standby.name(), vec![step])
    }));
    let standbys = group.standbys.iter().map(|standby| wait_until_settled(world, standby));
    let gate = std::iter::once(wait_until_settled_anew(world, node)).chain(standbys);
    turns.push(Turn::new(node.name(), Vec::new()).gate(gate));
    turns
}

fn turn(world: &World, node: &Node, due: &Due, because: &str) -> Option<Turn> {
    let mut steps = vec![rolling::checkpoint(&node.server, world.bin(node.name()), &node.username)];
    steps.extend(due.held.iter().map(|held| held.write.clone()));
    steps.push(restarted(world, node, because)?);
    Some(Turn::new(node.name(), steps))
}

fn restarted(world: &World, node: &Node, because: &str) -> Option<Step> {
    let postmaster = postmaster(world, &node.server)?;
    Some(rolling::restart(&node.server, world.bin(node.name()), postmaster, Starts::We, because))
}

/// A standby takes over, and the old primary is restarted as a standby; or it is restarted where it is.
fn primary(world: &World, group: &Group, due: &Due, downtime: Downtime, plan: &mut Plan) -> Vec<Turn> {
    let (old, why) = (group.primary, &due.why);
    match (group.candidate(world, &[]), downtime) {
        (Ok(to), _) => {
            let because = format!("{} is to be restarted: {why}", old.name());
            let after =
                format!("{why}; nothing is done where its keeper has restarted it as it stepped down");
            let last = restarted(world, old, &after)
                .map(|restart| Turn::new(old.name(), vec![restart]).gate(gate(world, old, to)));
            // Its keeper restarts it as it steps down: by then the file is there. Until it follows it is its keeper's: a server that is
            // started while that one prepares it would follow nobody.
            let first = gets_file(world, old, due);
            let handover = switchover::turns(world, group, to, &because);
            first.into_iter().chain(handover).chain(last).collect()
        }
        (Err(_), Downtime::Allowed) => in_place(world, group, due, why),
        (Err(none), Downtime::Refused) => {
            plan.blocked.insert(old.name().clone(), Reason::NeedsDowntime(Box::new(none)));
            Vec::new()
        }
    }
}
