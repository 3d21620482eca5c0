//! One data node: prepared, driven through the state machine, handed to its keeper, put right on a rerun.

use crate::error::Problem;
use crate::facts::Seen;
use crate::formation::{Keeper, Node, NodeName, RestartPolicy, Server};
use crate::fsm;
use crate::op::{Op, Serving, Synchronous, Wait};
use crate::plan::drift::{Changed, Drift, drifted, install_configuration, node_conf, reload, why_paused};
use crate::plan::held;
use crate::plan::replicate::{OWN_WAIT, replicate};
use crate::plan::rolling::{self, Share};
use crate::plan::{Plan, World, adopted, follow, lockout};
use crate::reason::Reason;
use crate::resource::data::Pgdata;
use crate::resource::keeper::{self, Whose};
use crate::resource::managed::Renew;
use crate::resource::monitor::{NodeRow, silence_of_a_row};
use crate::resource::replication;
use crate::resource::rolling::{Starts, once_heard, restart};
use crate::resource::{citus, data, database, overruled as system, pgpass, properties, streaming};
use crate::state::State;
use crate::step::{Action, Stage, Step};

/// Who carries out what the monitor assigns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// A keeper lives: muster only waits.
    Keeper,
    /// A keeper was installed and does not run: it is started.
    StoppedKeeper,
    /// There has been none yet.
    Muster,
}

pub(super) fn plan(world: &World, node: &Node, plan: &mut Plan) -> Result<(), Problem> {
    if node.server.adopted {
        adopted::node(world, node, plan);
        return Ok(());
    }
    let seen = world.seen(node.name());
    let software = seen.software.as_ref().expect("a server without PostgreSQL is refused");
    let row = world.row(node.name());
    let id = world.id(node.name());
    let driver = driver(world, node);
    let mut last = prepare(world, node, driver, plan)?;

    let (reported, assigned) = (row.and_then(|row| row.reported), row.and_then(|row| row.assigned));
    // In the middle of a failover: the transitions are the keeper's, so it gets the node as it is.
    let failing_over = is_failing_over(row);
    let mut end = reported;
    if driver == Driver::Muster && !failing_over {
        end = Some(replicate(world, node, plan)?);
    } else if driver == Driver::Muster && node.server.keeper == Keeper::None {
        plan.blocked.insert(node.name().clone(), Reason::OnlyAKeeper { reported, assigned });
        return Ok(());
    }

    let is_lost = seen.keeper.state.is_none();
    let begins = match (driver, failing_over) {
        // Without it a keeper that lives reads, once a second, and reports nothing.
        (Driver::Keeper, _) if is_lost => reported.zip(assigned),
        (Driver::Keeper | Driver::StoppedKeeper, _) => None,
        (Driver::Muster, true) => Some((end.unwrap_or(State::Init), assigned.unwrap_or(State::Init))),
        (Driver::Muster, false) => Some((end.unwrap_or(State::Init), end.unwrap_or(State::Init))),
    };
    let whose = Whose::Node { formation: world.formation, node, id, uri: &world.uri, begins };
    let kept = (&seen.keeper, seen.pgdata.postmaster());
    let steps = keeper::steps(&world.templates, &node.server, &whose, &seen.host, software, kept)?;
    follow::add(world, node, steps.now, plan);
    plan.add(Stage::Keeper, node.name(), begins_anew(world, node, plan));

    last.extend(steps.last);
    world.add_last(node.name(), last, plan);
    adjust(world, node, plan);
    let busy = |stage: Stage| plan.is_busy(stage, node.name());
    let unsettled = row.is_none_or(|row| !world.rests(row));
    let waits = node.server.keeper != Keeper::None;
    // A standby that restarts is missed by its primary.
    let restarts = world.formation.group(node.group).any(|other| follow::connects_otherwise(world, other));
    // What is waited for in vain, as this run changes nothing for it.
    let nothing_is_done = driver == Driver::Keeper && !Stage::ALL.iter().any(|stage| busy(*stage));
    if let Some(why) = seen.why_down().filter(|_| nothing_is_done) {
        plan.blocked.insert(node.name().clone(), Reason::DoesNotStart(why.to_owned()));
        overruled(seen, &node.server, Some(node), plan);
        return Ok(());
    }
    if waits
        && (restarts
            || busy(Stage::Replicate)
            || busy(Stage::Adjust)
            || driver != Driver::Keeper
            || unsettled)
    {
        // What the monitor has of one that was silent is old.
        let is_silent = row.is_some_and(|row| row.silence().is_some());
        let wait =
            if is_silent { wait_until_settled_anew(world, node) } else { wait_until_settled(world, node) };
        plan.add(Stage::Settle, node.name(), [wait]);
    }
    notes(world, &node.server, plan);
    overruled(seen, &node.server, Some(node), plan);
    Ok(())
}

/// What a keeper needs that will not report again by itself, where no other step has it begin anew.
fn begins_anew(world: &World, node: &Node, plan: &Plan) -> Option<Step> {
    let seen = world.seen(node.name());
    let silence = world.row(node.name())?.silence()?;
    let is_down = matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_none());
    let is_told =
        plan.steps().any(|(_, name, step)| name == node.name() && matches!(step.op, Op::Renew { .. }));
    let is_left = node.server.keeper == Keeper::None || is_told || !is_down;
    let software = seen.software.as_ref().filter(|_| !is_left)?;
    keeper::begin_anew(&node.server, &seen.host, software, &seen.keeper, &silence)
}

/// What the monitor keeps of a node that it has, and what follows from it on the node itself.
pub(super) fn adjust(world: &World, node: &Node, plan: &mut Plan) {
    let Some(row) = world.row(node.name()) else { return };
    let bin = world.bin(node.name());
    let database = world.seen(node.name()).database.as_ref();
    let found = database.map(|database| database.synchronous_standby_names.as_str());
    if let Some(why) = found.and_then(|found| replication::waits_wrongly(found, row, world.rows())) {
        let (formation, how) = (&world.formation.name, (Synchronous::AsMonitorSays, Serving::Somebody));
        let step = replication::synchronous_standby_names(node, bin, formation, &world.uri, how, &why);
        plan.add(Stage::Adjust, node.name(), [step]);
    }
    if row.priority().is_none() {
        plan.note(
            node.name(),
            format!(
                "the monitor has candidate_priority {} for it, as it does during a failover: it is not compared now",
                row.candidate_priority
            ),
        );
    }
    let mut steps = properties::property_steps(world.formation, node, bin, &world.uri, row);
    if let Some(why) = quorum_too_small(world, node) {
        steps.retain(|step| !matches!(step.op, Op::SetQuorum { .. }));
        plan.unwell(node.name(), why);
    }
    plan.add(Stage::Adjust, node.name(), steps);
}

/// Why the monitor would not let a node cease to count. Where the inventory gives number_sync_standbys, it is checked there, and lowered first.
/// Source: set_node_replication_quorum in node_active_protocol.c of the monitor, 2.0.
fn quorum_too_small(world: &World, node: &Node) -> Option<Reason> {
    let monitor = world.monitor_facts()?;
    let number = monitor.formation.as_ref()?.number_sync_standbys;
    let ceases = !node.replication_quorum && world.row(node.name())?.replication_quorum;
    if !ceases || number == 0 || world.formation.number_sync_standbys.is_some() {
        return None;
    }
    let primary = monitor.primary(node.group)?;
    let counts = |row: &&&NodeRow| {
        let ours = world.formation.nodes.get(&NodeName(row.name.clone()));
        row.name != primary.name && ours.map_or(row.replication_quorum, |node| node.replication_quorum)
    };
    let left = world.rows_of(node.group).iter().filter(counts).count();
    (left <= number as usize).then_some(Reason::QuorumTooSmall { number_sync_standbys: number, left })
}

pub(super) fn driver(world: &World, node: &Node) -> Driver {
    let keeper = &world.seen(node.name()).keeper;
    let is_its_own = |row: &NodeRow| keeper.state.is_some_and(|state| state.is_of(row));
    match (keeper.alive, world.row(node.name())) {
        (Some(_), _) => Driver::Keeper,
        (None, Some(row)) if is_its_own(row) && node.server.keeper != Keeper::None => Driver::StoppedKeeper,
        (None, _) => Driver::Muster,
    }
}

/// Whether what the monitor wants of it next is a keeper's to carry out.
pub(super) fn is_failing_over(row: Option<&NodeRow>) -> bool {
    let Some(row) = row else { return false };
    match (row.reported, row.assigned) {
        (Some(reported), Some(assigned)) => {
            reported != assigned && fsm::row(reported, assigned).is_none()
                || !(reported.is_settled() || fsm::TABLE.iter().any(|row| row.current == reported))
        }
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}

/// Whether a node is stopped, and this run starts it no sooner than its keeper.
pub(super) fn starts_with_its_keeper(world: &World, node: &Node) -> bool {
    let seen = world.seen(node.name());
    let stopped = matches!(&seen.pgdata, Pgdata::Present(_)) && seen.database.is_none();
    stopped && driver(world, node) == Driver::StoppedKeeper
}

/// What the host needs by itself: certificate, data directory, configuration, roles, a running server.
/// Gives what has to be the last: nobody may be shut out who has not been told yet.
fn prepare(world: &World, node: &Node, driver: Driver, plan: &mut Plan) -> Result<Vec<Step>, Problem> {
    let seen = world.seen(node.name());
    let server = &node.server;
    let bin = world.bin(node.name());
    let is_primary = world.is_primary(node);
    plan.add(Stage::Prepare, node.name(), citus::hook_steps(node, bin, &world.formation.dbname, &seen.hook));
    let (mut steps, signed_later) = world.certificate(server, seen, Renew::WhereNeeded, plan);
    let mut last = Vec::new();
    match &seen.pgdata {
        Pgdata::Empty | Pgdata::Foreign(_) => {
            steps.extend(signed_later);
            steps.extend(node_conf(server, node, &seen.node_conf));
            if is_primary {
                let software = seen.software.as_ref().expect("a server without PostgreSQL is refused");
                let because = "the data directory is empty".to_owned();
                steps.push(data::initdb(server, software, &node.username, because));
                steps.extend(install_configuration(world, server, Some(node))?);
                steps.push(data::install(server));
                steps.push(data::start(server, bin, "it is the first node of its group"));
                steps.extend(database::steps(world.formation, node, bin, None));
            }
        }
        Pgdata::Present(found) => {
            steps.extend(found.stale.map(|pid| data::remove_stale(server, pid)));
            let running = found.postmaster.is_some();
            let drift = Drift::new(server, found, &seen.node_conf);
            let mut changes = drifted(world, server, Some(node), &drift)?;
            let pair_on_trial = running && lockout::guard(world, server, &mut steps);
            let changed =
                Changed::of(!changes.now.is_empty() || !steps.is_empty(), changes.on_trial || pair_on_trial);
            changes.last.splice(0..0, signed_later);
            steps.append(&mut changes.now);
            plan.held.extend(changes.held.take().map(|held| (node.name().clone(), held)));
            if !changes.kept.is_empty() {
                plan.note(node.name(), held::told_of_kept(server, &changes.kept));
            }
            last = changes.last(world, server, Some(node));
            if running {
                steps.extend(reload(world, server, Some(node), changed, seen));
                steps.extend(replays_again(server, bin, seen));
            }
            // The keeper's guard starts PostgreSQL; without one, only what the monitor wants to serve is started.
            let serves = world.row(node.name()).is_none_or(|row| row.reported.is_some_and(serves));
            if !running && driver == Driver::Muster && serves {
                steps.push(data::start(server, bin, "it is not running, and no keeper would start it"));
            }
            let in_recovery = seen.database.as_ref().map_or(found.standby, |database| database.in_recovery);
            if is_primary && !in_recovery && (running || driver == Driver::Muster) {
                steps.extend(database::steps(world.formation, node, bin, seen.database.as_ref()));
            }
        }
    }
    steps.extend(pgpass::step(node, &world.uri, &seen.host, seen.pgpass.as_ref(), seen.pgpass_mode));
    plan.add(Stage::Prepare, node.name(), steps);
    Ok(last)
}

/// A standby that replays no further, as it runs with less than its primary: nothing but a restart lets it go on, and nobody misses it.
fn replays_again(server: &Server, bin: &str, seen: &Seen) -> Option<Step> {
    let because = why_paused(seen)?;
    let may_restart = server.restart_policy != RestartPolicy::Never;
    let postmaster = seen.pgdata.postmaster().filter(|_| may_restart)?;
    Some(restart(server, bin, postmaster, Starts::We, because))
}

/// States whose PostgreSQL runs.
fn serves(state: State) -> bool {
    state.is_writable() || matches!(state, State::Init | State::Secondary | State::Catchingup)
}

pub(super) fn wait_until_settled(world: &World, node: &Node) -> Step {
    settled(world, node, "")
}

/// The same once the monitor has heard of it anew: what a keeper saw while its server was away may be told a moment later.
pub(super) fn wait_until_settled_anew(world: &World, node: &Node) -> Step {
    settled(world, node, &once_heard(&world.formation.name, node.name()))
}

fn settled(world: &World, node: &Node, before: &str) -> Step {
    let follow = State::ALL.iter().filter(|state| state.has_way_to(State::Secondary));
    let follow: Vec<String> = follow.map(|state| crate::sql::literal(state.as_str())).collect();
    let sql = format!(
        "{before}select case when reportedstate = goalstate and health = 1 and reportedpgisrunning and goalstate in ('single', 'primary', 'secondary', 'wait_primary')\n\
         and not (goalstate = 'wait_primary' and exists (select from pgautofailover.node s where s.formationid = n.formationid\n\
         and s.groupid = n.groupid and s.goalstate = 'secondary' and s.health = 1 and s.replicationquorum\n\
         and s.reportedstate in ({})))\n\
         then 'settled' else format('%s, to become %s, health %s', reportedstate, goalstate, health) || {} end\n\
         from pgautofailover.node n where formationid = {} and nodename = {};\n",
        follow.join(", "),
        silence_of_a_row(),
        crate::sql::literal(&world.formation.name),
        crate::sql::literal(&node.name().0)
    );
    let command = crate::sql::on_monitor(node, world.bin(node.name()), &world.uri, sql);
    let wait = Action::Wait { command, answers: vec!["settled".to_owned()], timeout: OWN_WAIT };
    Step::new(node.name(), Op::Wait(Wait::Settled), "the monitor has the last word", wait)
}

/// What `ALTER SYSTEM` keeps from taking effect.
pub(super) fn overruled(seen: &Seen, server: &Server, node: Option<&Node>, plan: &mut Plan) {
    let notes = system::notes(server, node, &seen.pgdata, seen.database.as_ref());
    notes.into_iter().for_each(|note| plan.note(&server.name, note));
}

/// Why a node that is waited for does not get anywhere.
fn stuck(world: &World, node: &NodeName) -> Option<String> {
    let row = world.row(node)?;
    let primary = world.monitor_facts()?.primary(row.group)?;
    streaming::stuck(row, primary, world.streaming(&NodeName(primary.name.clone())), world.database(node))
}

pub(super) fn notes(world: &World, server: &Server, plan: &mut Plan) {
    let node = &server.name;
    if let Some(why) = keeper::overlaid(server, &world.seen(node).keeper) {
        plan.note(node, why);
    }
    if let Some(why) = world.seen(node).why_down() {
        plan.note(node, Reason::DoesNotStart(why.to_owned()).to_string());
    }
    let Some(database) = world.database(node) else { return };
    if let Some(why) = stuck(world, node) {
        plan.note(node, Reason::NotStreaming { why, pgdata: server.pgdata.clone() }.to_string());
    }
    let mut names = database.pending();
    let unasked = world.not_asked_for(server);
    names.retain(|name| !unasked.iter().any(|unasked| unasked.name == *name));
    // Of the others the restart is planned, or it is told what they wait for.
    if !names.is_empty() && rolling::share(world, server, world.formation.nodes.get(node)) == Share::Turn {
        names.retain(|name| database.by_command_line.contains(*name));
    }
    if !names.is_empty() {
        plan.note(node, format!("takes effect after a restart of PostgreSQL: {}", names.join(", ")));
    }
    for error in &database.setting_errors {
        let given = plan.given.get(node).cloned().unwrap_or_default();
        let error = given.with_place(error, world.seen(node).pgdata.conf());
        plan.note(node, format!("PostgreSQL does not take what its configuration says: {error}"));
    }
    for error in &database.hba_errors {
        plan.note(node, format!("pg_hba.conf, {error}"));
    }
    for note in &database.hba_notes {
        plan.note(node, format!("pg_hba.conf is in force, but for {note}"));
    }
}
