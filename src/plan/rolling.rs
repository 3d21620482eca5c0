//! A group whose members take turns: whether all are well enough for one to be away, and who could take over.

use std::collections::BTreeSet;

use crate::facts;
use crate::formation::{Keeper, Node, RestartPolicy, Server};
use crate::plan::node::{wait_until_settled, wait_until_settled_anew};
use crate::plan::wave::Lane;
use crate::plan::well::is_silent;
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::database::DatabaseFacts;
use crate::resource::monitor::NodeRow;
use crate::resource::moved::Moved;
use crate::resource::replication::wait_until_it_streams;
use crate::resource::streaming::{self, Trouble};
use crate::resource::{citus, rolling};
use crate::state::State;
use crate::step::{Stage, Step};

/// Bytes of WAL that a standby may lack and be asked to take over: what it lacks is replayed while nobody takes writes.
const CLOSE_BEHIND: i64 = 16 << 20;

/// The members of a group that are there: all of them well.
pub(super) struct Group<'a> {
    pub(super) primary: &'a Node,
    /// The most lagged one first.
    pub(super) standbys: Vec<&'a Node>,
}

impl<'a> Group<'a> {
    /// A group with no member that somebody would miss. Nodes in maintenance, and those that are not registered yet, are none.
    /// Nor is anything expected of standbys in `but`.
    pub(super) fn find(world: &World<'a>, id: u32, but: &[&Node]) -> Result<Group<'a>, Reason> {
        let primary = world.primary(id).and_then(super::peer::Peer::ours);
        let primary = primary.ok_or_else(|| world.why_no_primary(id))?;
        let mut standbys = Vec::new();
        for node in world.formation.group(id).filter(|node| is_member(world, node)) {
            let is_expected = node.name() == primary.name() || !is_among(node, but);
            if let Some(why) = unwell(world, node, primary).filter(|_| is_expected) {
                return Err(Reason::GroupUnwell { group: id, node: node.name().clone(), why: Box::new(why) });
            }
            if node.name() != primary.name() {
                standbys.push(node);
            }
        }
        standbys.sort_by_key(|node| std::cmp::Reverse(behind(world, node, primary)));
        Ok(Group { primary, standbys })
    }

    /// The best of those that may take over: one that counts, of the highest priority, the least behind.
    /// None of `but`.
    pub(super) fn candidate(&self, world: &World<'a>, but: &[&Node]) -> Result<&'a Node, Reason> {
        let (out, stay): (Vec<&Node>, Vec<&Node>) =
            self.standbys.iter().partition(|node| is_among(node, but));
        let out =
            out.into_iter().map(|node| (node.name().clone(), "it is to be taken out as well".to_owned()));
        let (mut others, mut fit) = (out.collect::<Vec<_>>(), Vec::new());
        for node in stay {
            match unfit(world, node, self.primary) {
                Some(why) => others.push((node.name().clone(), why)),
                None => fit.push(node),
            }
        }
        let rank = |node: &&Node| {
            let row = world.row(node.name());
            let counts = row.is_some_and(|row| row.replication_quorum);
            let priority = row.map_or(0, |row| row.candidate_priority);
            (counts, priority, -behind(world, node, self.primary))
        };
        // Of equals the first by name.
        fit.sort_by(|one, other| one.name().cmp(other.name()));
        let best = fit.into_iter().rev().max_by_key(rank);
        best.ok_or_else(|| {
            // Who is out is no member, and the one who could be taken back.
            let is_out = |node: &&Node| {
                world.row(node.name()).is_some_and(NodeRow::is_in_maintenance)
                    && node.name() != self.primary.name()
            };
            others.extend(world.formation.group(self.primary.group).filter(is_out).map(|node| {
                let name = node.name();
                (
                    name.clone(),
                    format!("it is in maintenance (`muster maintenance off {name}` takes it back)"),
                )
            }));
            Reason::NoCandidate { primary: self.primary.name().clone(), others }
        })
    }
}

/// Lanes, each with the groups that it is about, in the order in which they have their turns: the canary, so many side by side, and the
/// coordinators last.
pub(super) fn batches(
    world: &World,
    lanes: Vec<(BTreeSet<u32>, Lane)>,
    serial: Option<usize>,
    canary: Option<u32>,
) -> Vec<Vec<Lane>> {
    let (mut batches, mut others, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for (groups, lane) in lanes {
        if canary.is_some_and(|canary| groups.contains(&canary)) {
            batches.push(vec![lane]);
        } else if groups.contains(&0) && world.formation.is_citus() {
            // A worker's new primary is told to the coordinator: one of the two changes at a time.
            last.push(lane);
        } else {
            others.push(lane);
        }
    }
    let most = serial.unwrap_or(usize::MAX).max(1);
    while !others.is_empty() {
        let rest = others.split_off(others.len().min(most));
        batches.push(std::mem::replace(&mut others, rest));
    }
    batches.push(last);
    batches
}

/// What is waited for once a standby was disturbed.
pub(super) fn gate(world: &World, standby: &Node, primary: &Node) -> Vec<Step> {
    let mut gate = vec![wait_until_it_streams(world.id(standby.name()), primary, world.bin(primary.name()))];
    gate.extend([wait_until_settled_anew(world, standby), wait_until_settled(world, primary)]);
    gate.iter_mut().for_each(|step| step.because = "no two of a group are away at once".to_owned());
    gate
}

/// What is waited for once another one takes over.
pub(super) fn taken_over(world: &World, to: &Node) -> Vec<Step> {
    let mut gate = vec![rolling::takes_writes(world.formation, to, world.bin(to.name()), &world.uri)];
    gate.extend(in_metadata(world, to));
    gate
}

/// What a rollout does about a setting of a server's that takes a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Whose turn comes in its group, gets its file and is restarted.
    Turn,
    /// Nobody could take over from it: it gets its file after others have started with theirs.
    Write,
    /// It is written at once, and the restart is the operator's.
    AtOnce,
}

pub(super) fn share(world: &World, server: &Server, node: Option<&Node>) -> Share {
    if server.restart_policy != RestartPolicy::Rolling || server.keeper == Keeper::None {
        return Share::AtOnce;
    }
    let Some(node) = node else { return Share::Turn };
    // Whom the inventory does not name is never touched: of such a group nobody knows whose turn it is.
    let has_strangers = !world.strangers_of(node.group).is_empty();
    if world.row(node.name()).is_none() || world.is_out(node.name()) || has_strangers {
        return Share::AtOnce;
    }
    // Where the group is not well its turn comes later.
    let Ok(group) = Group::find(world, node.group, &[]) else { return Share::Turn };
    let will_be = |node: &&Node| is_to_be_promoted_again(world, node) && world.scope.has(node.name());
    if group.primary.name() != node.name() || group.standbys.iter().any(will_be) {
        return Share::Turn;
    }
    match group.candidate(world, &[]) {
        Ok(heir) if world.scope.has(heir.name()) => Share::Turn,
        Ok(_) => Share::AtOnce,
        Err(_) => Share::Write,
    }
}

/// Whether the monitor has a standby as one that is never promoted, against the inventory.
pub(super) fn is_to_be_promoted_again(world: &World, node: &Node) -> bool {
    world.row(node.name()).is_some_and(|row| row.is_to_be_promoted_again(node))
}

/// Whether a change of what a standby must not have lower than its primary is one that a rollout of this scope can make by turns.
pub(super) fn may_move(world: &World, node: Option<&Node>, moved: &Moved) -> bool {
    let is_within =
        |node: &Node| world.formation.group(node.group).all(|other| world.scope.has(other.name()));
    moved.lowered.is_empty() || node.is_none_or(is_within)
}

pub(super) fn is_among(node: &Node, others: &[&Node]) -> bool {
    others.iter().any(|other| other.name() == node.name())
}

/// Seconds after its start in which a standby may not have found its primary yet.
const JUST_STARTED: u64 = 60;

/// Where something is going on that keepers bring to an end by themselves, a run of before that was cut off or a failover, it is waited
/// for; then there is another look. Whether there is such a group among these.
pub(super) fn comes_to_rest(world: &World, groups: impl Iterator<Item = u32>, plan: &mut Plan) -> bool {
    for id in groups {
        let Some(why) = Group::find(world, id, &[]).err().filter(may_pass) else { continue };
        let members: Vec<&Node> = world.formation.group(id).filter(|node| is_member(world, node)).collect();
        let has_keeper = |node: &&Node| {
            let is_seen = !world.excluded.contains_key(node.name());
            let row = world.row(node.name());
            let may_go_on = row.is_some_and(|row| row.silence().is_none() && row.stuck().is_none());
            is_seen && may_go_on && world.seen(node.name()).keeper.alive.is_some()
        };
        let moves = |node: &&Node| {
            let row = world.row(node.name());
            let is_new =
                |database: &DatabaseFacts| database.uptime.is_some_and(|seconds| seconds < JUST_STARTED);
            row.is_some_and(|row| !world.rests(row) || row.health != 1)
                || world.database(node.name()).is_none_or(is_new)
        };
        if members.iter().all(has_keeper) && members.iter().any(moves) {
            for node in members.into_iter().filter(moves) {
                let bin = world.bin(node.name());
                let steps =
                    [rolling::answers(&node.server, bin, &node.username), wait_until_settled(world, node)];
                plan.add(Stage::Settle, node.name(), steps);
            }
            plan.partial = Some(why);
        }
    }
    plan.partial.is_some()
}

/// Whether time may mend it.
fn may_pass(why: &Reason) -> bool {
    match why {
        Reason::GroupUnwell { why, .. } => !matches!(
            **why,
            Reason::Barred(_)
                | Reason::Spoiled(_)
                | Reason::WouldNotStart(_)
                | Reason::DoesNotStart(_)
                | Reason::TakesWrites(_)
        ),
        _ => true,
    }
}

fn is_member(world: &World, node: &Node) -> bool {
    !world.is_out(node.name()) && world.row(node.name()).is_some()
}

/// Why a member of a group is one that nothing can be said of while another is away.
fn unwell(world: &World, node: &Node, primary: &Node) -> Option<Reason> {
    if let Some(why) = world.excluded.get(node.name()) {
        return Some(why.clone());
    }
    let (row, seen) = (world.row(node.name())?, world.seen(node.name()));
    if !world.rests(row) {
        return Some(Reason::Unsettled { reported: row.reported, assigned: row.assigned });
    }
    if let Some(why) = row.silence() {
        return Some(is_silent(world, node, why));
    }
    if seen.keeper.alive.is_none() {
        return Some(Reason::NoKeeper);
    }
    let Some(database) = &seen.database else {
        return Some(seen.why_down().map_or(Reason::NotRunning, |why| Reason::DoesNotStart(why.to_owned())));
    };
    if let Some(why) = seen.spoiled() {
        return Some(why);
    }
    if let Some(why) = database.keeps_it_down() {
        return Some(Reason::WouldNotStart(why));
    }
    let barred = facts::roles::trouble(world.formation, &node.server, seen);
    if !barred.is_empty() && node.name() == primary.name() {
        return Some(Reason::Barred(barred.join("; ")));
    }
    if row.health != 1 {
        return Some(Reason::Unhealthy);
    }
    trouble(world, row, node, primary)
}

fn trouble(world: &World, row: &NodeRow, node: &Node, primary: &Node) -> Option<Reason> {
    let (there, own) = (world.streaming(primary.name()), world.database(node.name()));
    let trouble = streaming::trouble(row, world.row(primary.name())?, there, own);
    Some(match trouble? {
        Trouble::TakesWrites(why) => Reason::TakesWrites(why),
        Trouble::NotStreaming(why) => Reason::NotStreaming { why, pgdata: node.server.pgdata.clone() },
        Trouble::NotWaitedFor(why) => Reason::NotWaitedFor(why),
    })
}

/// Bytes of WAL that a standby lacks, as its primary says; who has not said so yet is the furthest behind.
fn behind(world: &World, node: &Node, primary: &Node) -> i64 {
    let streaming = world.streaming(primary.name());
    let sender = streaming.and_then(|streaming| streaming.sender(world.id(node.name())));
    sender.and_then(|sender| sender.behind).unwrap_or(i64::MAX)
}

/// Why a standby could not take over, in few words.
pub(super) fn unfit(world: &World, node: &Node, primary: &Node) -> Option<String> {
    let row = world.row(node.name())?;
    if row.candidate_priority == 0 {
        return Some("its candidate_priority is 0".to_owned());
    }
    if row.reported != Some(State::Secondary) {
        return Some(format!("it is {}", row.reported.map_or("unknown", State::as_str)));
    }
    if row.cluster != "default" {
        return Some(format!("it is of the read-replica cluster {}", row.cluster));
    }
    match behind(world, node, primary) {
        i64::MAX => Some("nobody knows how far it is behind".to_owned()),
        bytes if bytes > CLOSE_BEHIND => Some(format!("it is {bytes} bytes of WAL behind")),
        _ => None,
    }
}

/// Citus sends the group's queries to the new primary.
fn in_metadata(world: &World, to: &Node) -> Option<Step> {
    let coordinator = if to.group == 0 { to } else { world.coordinator()?.ours()? };
    // A row that was never there would be waited for in vain.
    let now = world.coordinator()?.ours()?;
    let facts = world.facts.seen(now.name())?.citus.as_ref()?;
    let has_row = |row: &citus::CitusNode| row.group == i64::from(to.group) && row.role == "primary";
    let bin = world.bin(coordinator.name());
    facts
        .nodes
        .iter()
        .any(has_row)
        .then(|| rolling::in_metadata(&world.formation.dbname, coordinator, bin, to))
}
