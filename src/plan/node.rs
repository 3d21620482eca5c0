//! One data node: prepared, driven through the state machine, handed to its keeper, put right on a rerun.

use std::collections::BTreeMap;

use crate::error::Problem;
use crate::facts::Seen;
use crate::formation::{HbaEdit, Keeper, Node, NodeName, Secret, Server};
use crate::fsm::{self, Work};
use crate::plan::{Plan, World};
use crate::resource::data::{DataDirectory, Pgdata};
use crate::resource::keeper::{self, Whose};
use crate::resource::monitor::NodeRow;
use crate::resource::replication::Synchronous;
use crate::resource::{data, database, hba, monitor, replication, settings, tls};
use crate::state::State;
use crate::step::{Action, Check, Content, File, Risk, Stage, Step};

/// Seconds a state may take that depends on this node alone.
const OWN_WAIT: u64 = 300;
/// Seconds for what hangs on another node's base backup: a day, as a large database takes what it takes.
const PEER_WAIT: u64 = 86_400;

/// Who carries out what the monitor assigns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    /// A keeper lives: muster only waits.
    Keeper,
    /// A keeper was installed and does not run: it is started.
    StoppedKeeper,
    /// There has been none yet.
    Muster,
}

pub(super) fn plan(world: &World, node: &Node, plan: &mut Plan) -> Result<(), Problem> {
    let seen = world.seen(node.name());
    let software = seen.software.as_ref().expect("a server without PostgreSQL is refused");
    let row = world.row(node.name());
    let id = world.id(node.name());
    let driver = driver(world, node);
    prepare(world, node, driver, plan)?;

    let (reported, assigned) = (row.and_then(|row| row.reported), row.and_then(|row| row.assigned));
    // In the middle of a failover: the transitions are the keeper's, so it gets the node as it is.
    let failing_over = is_failing_over(row);
    let mut end = reported;
    if driver == Driver::Muster && !failing_over {
        end = Some(replicate(world, node, plan));
    } else if driver == Driver::Muster && node.server.keeper == Keeper::None {
        let word = |state: Option<State>| state.map_or("unknown", State::as_str);
        plan.blocked.insert(
            node.name().clone(),
            format!(
                "it is {}, to become {}: only a keeper can do that, and keeper is none",
                word(reported),
                word(assigned)
            ),
        );
        return Ok(());
    }

    let whose = Whose::Node {
        formation: world.formation,
        node,
        id,
        uri: &world.uri,
        current: end.unwrap_or(State::Init),
        assigned: if failing_over { assigned.unwrap_or(State::Init) } else { end.unwrap_or(State::Init) },
    };
    let steps = keeper::steps(&world.templates, &node.server, &whose, &seen.host, software, &seen.keeper)?;
    plan.add(Stage::Keeper, node.name(), steps);

    if let Some(row) = row {
        let steps = monitor::property_steps(world.formation, node, &software.bin, &world.uri, row);
        plan.add(Stage::Settle, node.name(), steps);
    }
    let busy = |stage: Stage| plan.stages.get(&stage).is_some_and(|nodes| nodes.contains_key(node.name()));
    let unsettled = row.is_none_or(|row| !row.is_settled());
    let waits = node.server.keeper != Keeper::None;
    if waits && (busy(Stage::Replicate) || busy(Stage::Settle) || driver != Driver::Keeper || unsettled) {
        plan.add(Stage::Settle, node.name(), [wait_until_settled(world, node, &software.bin)]);
    }
    notes(seen, node, plan);
    Ok(())
}

fn driver(world: &World, node: &Node) -> Driver {
    let keeper = &world.seen(node.name()).keeper;
    let id = world.id(node.name());
    let fits = keeper.state.is_some_and(|state| state.node_id == id && state.group == node.group);
    match (keeper.alive, world.row(node.name())) {
        (Some(_), _) => Driver::Keeper,
        (None, Some(_)) if fits && node.server.keeper != Keeper::None => Driver::StoppedKeeper,
        (None, _) => Driver::Muster,
    }
}

/// Whether what the monitor wants of it next is a keeper's to carry out.
fn is_failing_over(row: Option<&NodeRow>) -> bool {
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
fn prepare(world: &World, node: &Node, driver: Driver, plan: &mut Plan) -> Result<(), Problem> {
    let seen = world.seen(node.name());
    let server = &node.server;
    let bin = world.bin(node.name());
    let is_primary = world.primary(node.group).is_some_and(|primary| primary.name() == node.name());
    let mut steps = tls::steps(server, &seen.tls, world.today);
    match &seen.pgdata {
        Pgdata::Empty { .. } | Pgdata::Foreign(_) => {
            steps.extend(node_conf(server, node, &seen.node_conf));
            if is_primary {
                steps.push(data::initdb(
                    server,
                    bin,
                    &node.username,
                    "the data directory is empty".to_owned(),
                ));
                steps.extend(install_configuration(world, server, Some(node))?);
                steps.push(data::install(server));
                steps.push(data::start(server, bin, "it is the first node of its group"));
                steps.extend(database::steps(world.formation, node, bin, None));
            }
        }
        Pgdata::Present(found) => {
            let running = found.postmaster.is_some();
            let drift = Drift::new(server, found, &seen.node_conf);
            let changes = drifted(world, server, Some(node), &drift)?;
            let changed = !changes.is_empty() || !steps.is_empty();
            steps.extend(changes);
            if running {
                steps.extend(reload(server, bin, changed, seen));
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
    plan.add(Stage::Prepare, node.name(), steps);
    Ok(())
}

/// One reload for what this run changes, or for what an interrupted one did.
pub(super) fn reload(server: &Server, bin: &str, changed: bool, seen: &Seen) -> Option<Step> {
    let unread = seen.database.as_ref().map(|database| &database.unread).filter(|unread| !unread.is_empty());
    match unread {
        _ if changed => Some(settings::reload(server, bin, "its configuration changed")),
        Some(unread) => {
            let names: Vec<&str> = unread.iter().map(String::as_str).collect();
            let because = format!("it has not read {} since the last change", names.join(", "));
            Some(settings::reload(server, bin, &because))
        }
        None => None,
    }
}

/// States whose PostgreSQL runs.
fn serves(state: State) -> bool {
    state.is_writable() || matches!(state, State::Init | State::Secondary | State::Catchingup)
}

/// Registers a node and carries it to where it rests; gives the state it ends in.
fn replicate(world: &World, node: &Node, plan: &mut Plan) -> State {
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let primary = world.primary(node.group).filter(|primary| primary.name() != node.name());
    let mut steps = Vec::new();
    let row = world.row(node.name());
    let first = if primary.is_some() { State::WaitStandby } else { State::Single };
    let (mut current, mut assigned) = match row {
        Some(row) => (row.reported.unwrap_or(State::Unknown), row.assigned.unwrap_or(State::Unknown)),
        None => (State::Init, first),
    };
    if row.is_none() {
        steps.extend(monitor::formation_step(world.formation, node, bin, &world.uri, world.monitor_facts()));
        if let Some(primary) = primary {
            steps.push(monitor::wait_for_primary(world.formation, node, bin, &world.uri, primary.name()));
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
            steps.extend(carry_out(world, node, *work, row.comment));
        }
        steps.push(report(world, node, assigned, row.comment));
        let joined = current == State::ApplySettings;
        current = assigned;
        if joined {
            break;
        }
    }
    plan.add(Stage::Replicate, node.name(), steps);
    current
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
    let any_counts = standbys.iter().any(counts);
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
    let primary = world.primary(node.group).filter(|primary| primary.name() != node.name());
    let (timeout, others) = match primary {
        Some(primary) => (OWN_WAIT, vec![primary.name().clone()]),
        None => (PEER_WAIT, awaited(world, node, next)),
    };
    let because = fsm::row(current, next).map_or("", |row| row.comment);
    let wait = Action::Wait { command, answers: vec![next.as_str().to_owned()], timeout };
    Step::new(node.name(), format!("report {current} until {next} is assigned"), because, wait).needs(others)
}

fn report(world: &World, node: &Node, state: State, because: &str) -> Step {
    let action = Action::Run(report_command(world, node, state));
    Step::new(node.name(), format!("report {state}"), because, action)
}

fn report_command(world: &World, node: &Node, state: State) -> crate::command::Command {
    let bin = world.bin(node.name());
    monitor::report(world.formation, node, world.id(node.name()), bin, &world.uri, state)
}

fn carry_out(world: &World, node: &Node, work: Work, because: &str) -> Vec<Step> {
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let synchronous = |which| {
        replication::synchronous_standby_names(node, bin, &world.formation.name, &world.uri, which, because)
    };
    match work {
        Work::TellSystemIdentifier => vec![monitor::set_system_identifier(node, id, bin, &world.uri)],
        Work::CopyPrimary => copy_primary(world, node, because),
        Work::Start => vec![data::start(&node.server, bin, because)],
        Work::Slots => {
            replication::create_slots(node, bin, &world.peers(node), because).into_iter().collect()
        }
        Work::Synchronous => vec![synchronous(Synchronous::AsMonitorSays)],
        Work::Asynchronous => vec![synchronous(Synchronous::Off)],
    }
}

/// The base backup and what makes it this standby; a copy that is already in place is only pointed right.
fn copy_primary(world: &World, node: &Node, because: &str) -> Vec<Step> {
    let server = &node.server;
    let seen = world.seen(node.name());
    let bin = world.bin(node.name());
    let id = world.id(node.name());
    let Some(primary) = world.primary(node.group) else { return Vec::new() };
    let standby_conf = settings::standby_conf(node, id, primary);
    let conf = |dir: &str, before: Option<String>| {
        let file = File {
            path: format!("{dir}/{}", data::STANDBY_CONF),
            owner: server.os_user.clone(),
            mode: 0o600,
            content: match node.replication_password {
                Some(_) => Content::Hidden(Secret::new(standby_conf.clone())),
                None => Content::Text(standby_conf.clone()),
            },
            before,
            check: Check::Nothing,
        };
        let title = format!("write {}", file.path);
        let why = format!("it follows {}", primary.name());
        Step::new(node.name(), title, why, Action::Put(file))
    };
    match &seen.pgdata {
        Pgdata::Present(found) => {
            let before = found.standby_conf.as_ref().map(Secret::reveal);
            if before == Some(&standby_conf) {
                Vec::new()
            } else {
                let shown = before.filter(|text| !text.contains("password=")).map(str::to_owned);
                vec![conf(&server.pgdata, shown.filter(|_| node.replication_password.is_none()))]
            }
        }
        Pgdata::Empty { .. } | Pgdata::Foreign(_) => {
            let dir = data::new_dir(server);
            let own = settings::auto_failover_conf(server, Some(node), &seen.host);
            let name = "postgresql-auto-failover.conf";
            vec![
                replication::basebackup(node, bin, id, primary, because),
                conf(&dir, None),
                settings::put(server, bin, &dir, name, own, None, "the copy is the primary's"),
                data::install(server),
            ]
        }
    }
}

fn wait_until_settled(world: &World, node: &Node, bin: &str) -> Step {
    let sql = format!(
        "select case when reportedstate = goalstate and health = 1 and goalstate in ('single', 'primary', 'secondary', 'wait_primary')\n\
         then 'settled' else format('%s, to become %s, health %s', reportedstate, goalstate, health) end\n\
         from pgautofailover.node where formationid = {} and nodename = {};\n",
        crate::sql::literal(&world.formation.name),
        crate::sql::literal(&node.name().0)
    );
    let command = crate::sql::on_monitor(node, bin, &world.uri, sql);
    let wait = Action::Wait { command, answers: vec!["settled".to_owned()], timeout: OWN_WAIT };
    Step::new(node.name(), "wait until it is settled and healthy", "the monitor has the last word", wait)
}

/// The files of a data directory that is still beside PGDATA.
pub(super) fn install_configuration(
    world: &World,
    server: &Server,
    node: Option<&Node>,
) -> Result<Vec<Step>, Problem> {
    let dir = data::new_dir(server);
    let bin = world.bin(&server.name);
    let host = &world.seen(&server.name).host;
    let because = "rendered from the template";
    let put =
        |name: &str, text: String, because: &str| settings::put(server, bin, &dir, name, text, None, because);
    // What postgresql.conf includes goes first: it is tried with them.
    Ok(vec![
        put(
            "postgresql-auto-failover.conf",
            settings::auto_failover_conf(server, node, host),
            "as its keeper writes it",
        ),
        put("pg_hba.conf", hba(world, server, node)?, because),
        put("postgresql.conf", conf(world, server, node)?, because),
    ])
}

fn conf(world: &World, server: &Server, node: Option<&Node>) -> Result<String, Problem> {
    let whose = world.whose(&server.name);
    settings::postgresql_conf(&world.templates, &world.formation.name, &whose, server, node)
}

fn hba(world: &World, server: &Server, node: Option<&Node>) -> Result<String, Problem> {
    match node {
        Some(node) => {
            let monitor = hba::monitor_host(&world.formation.monitor);
            hba::for_node(&world.templates, world.formation, monitor, node, &world.names)
        }
        None => hba::for_monitor(&world.templates, world.formation, server, &world.names),
    }
}

/// A data directory in place, to be compared.
pub(super) struct Drift<'a> {
    pub(super) dir: &'a str,
    pub(super) files: &'a BTreeMap<String, Option<String>>,
    pub(super) has_standby_conf: bool,
    pub(super) node_conf: &'a Option<String>,
    pub(super) running: bool,
}

impl<'a> Drift<'a> {
    pub(super) fn new(
        server: &'a Server,
        found: &'a DataDirectory,
        node_conf: &'a Option<String>,
    ) -> Drift<'a> {
        Drift {
            dir: &server.pgdata,
            files: &found.files,
            has_standby_conf: found.standby_conf.is_some(),
            node_conf,
            running: found.postmaster.is_some(),
        }
    }
}

/// Files that do not say what they should.
pub(super) fn drifted(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    drift: &Drift,
) -> Result<Vec<Step>, Problem> {
    let bin = world.bin(&server.name);
    let mut steps = Vec::new();
    let found = |name: &str| drift.files.get(name).and_then(Option::as_deref);
    let mut put = |name: &str, text: String, because: &str| {
        let before = found(name).map(str::to_owned);
        steps.push(settings::put(server, bin, drift.dir, name, text, before, because).risk(Risk::Reload));
    };
    if !drift.has_standby_conf {
        put(data::STANDBY_CONF, String::new(), "postgresql.conf includes it");
    }
    let name = "postgresql-auto-failover.conf";
    // After pg_rewind a node has its peer's until its keeper next starts: that is no drift.
    let peers = node.map_or(Vec::new(), |node| world.formation.group(node.group).collect());
    let of_peer = |peer: &&Node| {
        let host = world.facts.seen(peer.name()).map(|seen| &seen.host);
        host.is_some_and(|host| {
            found(name) == Some(&settings::auto_failover_conf(&peer.server, Some(peer), host))
        })
    };
    let own = settings::auto_failover_conf(server, node, &world.seen(&server.name).host);
    if found(name) != Some(&own) && !peers.iter().any(of_peer) {
        put(name, own, "it is not what its keeper writes");
    }
    let name = "postgresql.conf";
    let wanted = conf(world, server, node)?;
    if found(name) != Some(&wanted) {
        let changed = settings::changed(found(name).unwrap_or_default(), &wanted);
        let because = match changed.into_iter().collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => "it differs from the template".to_owned(),
            names => format!("it differs in {names}"),
        };
        put(name, wanted, &because);
    }
    let rules = hba::drift(found("pg_hba.conf"), &hba(world, server, node)?);
    if let Some(rules) = rules.filter(|_| may_edit_hba(server, found("pg_hba.conf"))) {
        put("pg_hba.conf", rules, "its rules differ from the inventory's");
        if let (Some(step), true) = (steps.last_mut(), drift.running)
            && let Action::Put(file) = &mut step.action
        {
            file.check = Check::Rules {
                bin: bin.to_owned(),
                socket: server.pghost.clone().unwrap_or_default(),
                port: server.pgport,
                user: node.map_or_else(|| server.os_user.clone(), |node| node.username.clone()),
            };
        }
    }
    if let Some(node) = node {
        steps.extend(node_conf(server, node, drift.node_conf));
    }
    Ok(steps)
}

/// With `skip_pg_hba` a file that is there is the user's own.
fn may_edit_hba(server: &Server, found: Option<&str>) -> bool {
    server.hba_edit != HbaEdit::Skip || found.is_none()
}

fn node_conf(server: &Server, node: &Node, found: &Option<String>) -> Option<Step> {
    let wanted = settings::node_conf(node)?;
    if found.as_deref() == Some(&wanted) {
        return None;
    }
    let file = File {
        path: format!("{}/node.conf", data::node_dir(server)),
        owner: server.os_user.clone(),
        mode: 0o644,
        content: Content::Text(wanted),
        before: found.clone(),
        check: Check::Nothing,
    };
    let title = format!("write {}", file.path);
    let risk = if found.is_some() { Risk::Reload } else { Risk::Safe };
    Some(
        Step::new(&server.name, title, "what is this node's alone lies outside PGDATA", Action::Put(file))
            .risk(risk),
    )
}

fn notes(seen: &Seen, node: &Node, plan: &mut Plan) {
    let Some(database) = &seen.database else { return };
    if !database.pending_restart.is_empty() {
        let names: Vec<&str> = database.pending_restart.iter().map(String::as_str).collect();
        plan.note(node.name(), format!("takes effect after a restart of PostgreSQL: {}", names.join(", ")));
    }
    for error in &database.hba_errors {
        plan.note(node.name(), format!("pg_hba.conf, {error}"));
    }
}
