//! Registration and the state machine: a node without a keeper is carried to where it rests.

use crate::error::Problem;
use crate::formation::{Node, NodeName, Secret};
use crate::fsm::{self, Work};
use crate::op::{Op, Serving, Synchronous, Wait};
use crate::plan::drift::install_configuration;
use crate::plan::node::{Driver, driver, is_failing_over};
use crate::plan::peer::Peer;
use crate::plan::{Plan, World};
use crate::resource::data::Pgdata;
use crate::resource::{data, keeper, monitor, replication, settings};
use crate::state::State;
use crate::step::{Action, Content, File, Risk, Stage, Step};

/// Seconds a state may take that depends on this node alone.
pub(super) const OWN_WAIT: u64 = 300;
/// Seconds for what hangs on another node's base backup: a day, as a large database takes what it takes.
const PEER_WAIT: u64 = 86_400;

/// Registers a node and carries it to where it rests; gives the state it ends in.
pub(super) fn replicate(world: &World, node: &Node, plan: &mut Plan) -> Result<State, Problem> {
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let primary = world.primary(node.group).filter(|primary| !primary.is(node.name()));
    let mut steps = Vec::new();
    let row = world.row(node.name());
    let first = if primary.is_some() { State::WaitStandby } else { State::Single };
    let (mut current, mut assigned) = match row {
        Some(row) => (row.reported.unwrap_or(State::Unknown), row.assigned.unwrap_or(State::Unknown)),
        None => (State::Init, first),
    };
    if row.is_none() {
        steps.extend(monitor::formation_step(world.formation, node, bin, &world.uri, world.monitor_facts()));
        // A stranger is registered: it was seen on the monitor.
        if let Some(primary) = primary.and_then(Peer::ours) {
            steps.push(monitor::wait_for_primary(world.formation, node, bin, &world.uri, primary.name()));
        }
        if let Some(Peer::Theirs(_)) = primary {
            steps.extend(after_the_one_before(world, node));
        }
        let because = match primary {
            Some(_) => "it joins its group as a standby",
            None => "it is the first node of its group",
        };
        let step = monitor::register(world.formation, node, id, bin, &world.uri, because);
        steps.push(step.needs(world.monitor_node()));
    }
    if row.is_some() && (current.is_writable() || current == State::Secondary) && current != State::Single {
        steps.extend(missing_slots(world, node));
    }
    let end = match primary {
        Some(_) => State::Secondary,
        None => world.end_of_primary(node),
    };
    loop {
        if current == assigned {
            // A group's first standbys join before its primary is `primary`; only a later one changes its settings.
            let was_primary = row.is_some_and(|row| row.reported == Some(State::Primary));
            let joins = current == State::Primary
                && was_primary
                && end == current
                && settings_are_coming(world, node);
            let next = if joins { Some(State::ApplySettings) } else { fsm::next(current, end) };
            let Some(next) = next else { break };
            // Where all of them move only once keepers run, this one's keeper sees to the rest as well.
            let is_primary = primary.is_none() && next != State::Single;
            if is_primary && awaited(world, node, next).is_empty() {
                break;
            }
            steps.push(wait_for(world, node, current, next));
            assigned = next;
        }
        let Some(row) = fsm::row(current, assigned) else { break };
        for work in row.work {
            steps.extend(carry_out(world, node, *work, row.comment)?);
        }
        steps.push(report(world, node, assigned, row.comment));
        let joined = current == State::ApplySettings;
        current = assigned;
        if joined {
            break;
        }
    }
    if let (Some(Peer::Theirs(row)), true) = (primary, copies(&steps)) {
        plan.note(
            node.name(),
            format!(
                "it copies {}, which the inventory does not name: its data comes along, its settings and hba rules do not",
                row.name
            ),
        );
    }
    plan.add(Stage::Replicate, node.name(), steps);
    Ok(current)
}

/// A stranger's keeper takes one node at a time: this one registers when the one before has been let in.
fn after_the_one_before(world: &World, node: &Node) -> Option<Step> {
    let before = world.joins_before(node)?;
    let (bin, id) = (world.bin(before.name()), world.id(before.name()));
    let primary = world.primary(node.group)?.upstream();
    Some(replication::wait_for_the_one_before(before, bin, id, primary, &world.formation.dbname))
}

fn copies(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step.op, Op::BaseBackup { .. }))
}

/// Slots of peers that came, or got their id, after this node made its own: nobody else makes them later.
fn missing_slots(world: &World, node: &Node) -> Option<Step> {
    let has = |id: &u64| {
        let database = world.seen(node.name()).database.as_ref();
        database.is_some_and(|database| database.slots.contains(&replication::slot(*id)))
    };
    let missing: Vec<u64> = world.peers(node).into_iter().filter(|id| !has(id)).collect();
    replication::create_slots(node, world.bin(node.name()), &missing, "a node of the group has none yet")
}

/// Whether a standby that counts is about to join a primary that already has one.
fn settings_are_coming(world: &World, primary: &Node) -> bool {
    world.standbys(primary).iter().any(|standby| is_joining(world, standby))
}

fn is_joining(world: &World, standby: &Node) -> bool {
    standby.replication_quorum
        && world.row(standby.name()).is_none_or(|row| {
            row.reported == Some(State::Init)
                || (row.reported == Some(State::WaitStandby) && row.assigned == Some(State::WaitStandby))
        })
}

/// The standbys of which one at least has to get there before the monitor assigns `next` to their primary.
fn awaited(world: &World, primary: &Node, next: State) -> Vec<NodeName> {
    let standbys = world.standbys(primary);
    let counts = |node: &&Node| match world.row(node.name()) {
        Some(row) => row.replication_quorum,
        None => node.replication_quorum,
    };
    let any_counts = standbys.iter().any(counts) || world.is_confirmed_by_strangers(primary);
    let is_awaited = |node: &&&Node| match next {
        State::ApplySettings => is_joining(world, node),
        State::Primary => !any_counts || counts(node),
        _ => true,
    };
    let moves_now = |node: &&&Node| match driver(world, node) {
        Driver::Keeper => true,
        Driver::StoppedKeeper => false,
        Driver::Muster => !is_failing_over(world.row(node.name())),
    };
    standbys.iter().filter(is_awaited).filter(moves_now).map(|node| node.name().clone()).collect()
}

/// Reports the state a node has until the monitor assigns the next one.
fn wait_for(world: &World, node: &Node, current: State, next: State) -> Step {
    let command = report_command(world, node, current);
    let primary = world.primary(node.group).filter(|primary| !primary.is(node.name()));
    let (timeout, others) = match primary {
        Some(primary) => (OWN_WAIT, primary.needed().into_iter().collect()),
        None => (PEER_WAIT, awaited(world, node, next)),
    };
    let because = fsm::row(current, next).map_or("", |row| row.comment);
    let wait = Action::Wait { command, answers: vec![next.as_str().to_owned()], timeout };
    Step::new(node.name(), Op::Wait(Wait::Assigned { current, next }), because, wait).needs(others)
}

fn report(world: &World, node: &Node, state: State, because: &str) -> Step {
    let action = Action::Run(report_command(world, node, state));
    Step::new(node.name(), Op::Report { state }, because, action)
}

fn report_command(world: &World, node: &Node, state: State) -> crate::command::Command {
    let bin = world.bin(node.name());
    monitor::report(world.formation, node, world.id(node.name()), bin, &world.uri, state)
}

fn carry_out(world: &World, node: &Node, work: Work, because: &str) -> Result<Vec<Step>, Problem> {
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let synchronous = |which| {
        let (formation, how) = (&world.formation.name, (which, Serving::Nobody));
        replication::synchronous_standby_names(node, bin, formation, &world.uri, how, because)
    };
    Ok(match work {
        Work::TellSystemIdentifier => vec![monitor::set_system_identifier(node, id, bin, &world.uri)],
        Work::CopyPrimary => copy_primary(world, node, because)?,
        Work::Start => vec![data::start(&node.server, bin, because)],
        Work::Slots => {
            replication::create_slots(node, bin, &world.peers(node), because).into_iter().collect()
        }
        Work::Synchronous => vec![synchronous(Synchronous::AsMonitorSays)],
        Work::Asynchronous => vec![synchronous(Synchronous::Off)],
    })
}

/// The base backup and what makes it this standby; a copy that is already in place is only pointed right.
fn copy_primary(world: &World, node: &Node, because: &str) -> Result<Vec<Step>, Problem> {
    let server = &node.server;
    let seen = world.seen(node.name());
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let Some(peer) = world.primary(node.group) else { return Ok(Vec::new()) };
    let primary = peer.upstream();
    let standby_conf = settings::standby_conf(node, id, primary);
    let conf = |dir: &str, before: Option<String>| {
        let path = format!("{dir}/{}", data::STANDBY_CONF);
        let file = File::new(path, &server.os_user, Content::Text(standby_conf.clone())).before(before);
        Step::write(node.name(), file, Risk::Safe, format!("it follows {}", primary.name))
    };
    Ok(match &seen.pgdata {
        Pgdata::Present(found) => {
            let before = found.standby_conf.as_ref().map(Secret::reveal);
            if before == Some(&standby_conf) {
                Vec::new()
            } else {
                let is_hidden =
                    |text: &str| node.replication_password.is_some() || text.contains("password=");
                let shown = before.map(|text| if is_hidden(text) { String::new() } else { text.to_owned() });
                vec![conf(&server.pgdata, shown)]
            }
        }
        Pgdata::Empty | Pgdata::Foreign(_) => {
            let dir = data::new_dir(server);
            let copy = replication::basebackup(node, bin, id, primary, because).needs(peer.needed());
            let mut steps = vec![copy, conf(&dir, None)];
            match peer {
                Peer::Ours(_) => {
                    let own = settings::auto_failover_conf(
                        &keeper::as_written(server, &seen.keeper),
                        Some(node),
                        &seen.host,
                    );
                    let name = "postgresql-auto-failover.conf";
                    steps.push(settings::put(
                        server,
                        bin,
                        &dir,
                        name,
                        own,
                        None,
                        (Risk::Safe, "the copy is the primary's"),
                    ));
                }
                Peer::Theirs(_) => {
                    let dbname = &world.formation.dbname;
                    steps.insert(0, replication::wait_for_slot(node, bin, id, primary, dbname));
                    // By its first line muster knows the directory again.
                    steps.extend(install_configuration(world, server, Some(node))?);
                    steps.push(replication::fits_the_primary(node, bin, primary));
                }
            }
            steps.push(data::install(server));
            steps
        }
    })
}
