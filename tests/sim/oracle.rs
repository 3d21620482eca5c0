//! Whether a world serves, in words of its own: nothing here asks the planner.

use std::collections::BTreeSet;

use muster::formation::{Auth, Formation, Keeper, Monitor, NodeKind, NodeName, Secret, Server};
use muster::resource::data::node_dir;
use muster::scram::{self, Kept};
use muster::state::State;

use crate::world::{Data, Host, SHOWN, World, config_path, is_self_signed, read_state, unit_path};

/// Everything that is not as it should be.
pub(crate) fn complaints(formation: &Formation, world: &mut World) -> Vec<String> {
    world.replicate();
    world.check_health();
    let mut found = world.sins.clone();
    let Some(monitor) = world.monitor.clone() else { return vec!["there is no monitor".to_owned()] };
    if !world.monitor_is_up() {
        found.push("the monitor is down".to_owned());
    }
    let nodes = formation.nodes.len();
    if monitor.rows.len() != nodes {
        found.push(format!("{} nodes are registered, not {nodes}", monitor.rows.len()));
    }
    let mut groups = BTreeSet::new();
    for node in formation.nodes.values() {
        groups.insert(node.group);
        let server = &node.server;
        let is_here = |row: &&muster::resource::monitor::NodeRow| {
            row.name == server.name.0
                && row.group == node.group
                && row.host == server.hostname
                && row.port == server.pgport
                && row.cluster == node.cluster()
                && row.candidate_priority == i64::from(node.candidate_priority)
                && row.replication_quorum == node.replication_quorum
        };
        let rows = monitor.rows.iter().filter(is_here).count();
        if rows != 1 {
            found.push(format!("{} is registered {rows} times as the inventory says", server.name));
        }
    }
    for group in groups {
        check_group(formation, world, group, &mut found);
    }
    if let Some(wanted) = formation.number_sync_standbys
        && monitor.formation.as_ref().is_none_or(|(_, row)| row.number_sync_standbys != wanted)
    {
        found.push(format!("number_sync_standbys is not {wanted}"));
    }
    check_hosts(formation, world, &mut found);
    check_citus(formation, world, &mut found);
    found
}

fn check_group(formation: &Formation, world: &World, group: u32, found: &mut Vec<String>) {
    let monitor = world.monitor.as_ref().expect("looked at before");
    let rows: Vec<_> = monitor.rows.iter().filter(|row| row.group == group).collect();
    let writers: Vec<_> = rows.iter().filter(|row| row.reported.is_some_and(State::is_writable)).collect();
    let [writer] = writers[..] else {
        return found.push(format!("group {group} has {} primaries: {rows:#?}", writers.len()));
    };
    for row in &rows {
        if row.reported != row.assigned || row.health != 1 || !row.running {
            found.push(format!("{} is not settled: {row:?}", row.name));
        }
    }
    let quorum: BTreeSet<String> = rows
        .iter()
        .filter(|row| row.id != writer.id && row.replication_quorum)
        .map(|row| format!("pgautofailover_standby_{}", row.id))
        .collect();
    let name = NodeName(writer.name.clone());
    let data = |name: &NodeName| world.hosts[name].data().cloned().expect("a registered node has data");
    let primary = data(&name);
    if !primary.runs() || primary.standby {
        found.push(format!("{name} is the primary and takes no writes"));
    }
    let named: BTreeSet<String> = match primary.synchronous.split_once('(') {
        Some((_, names)) => names.trim_end_matches(')').split(", ").map(str::to_owned).collect(),
        None => BTreeSet::new(),
    };
    if named != quorum {
        found.push(format!("{name} waits for {named:?}, not for {quorum:?}"));
    }
    for node in formation.group(group).filter(|node| *node.name() != name) {
        if world.upstream(node.name()).as_ref() != Some(&name) {
            found.push(format!("{} does not follow {name}", node.name()));
        }
        if data(node.name()).system_identifier != primary.system_identifier {
            found.push(format!("{} holds other data than {name}", node.name()));
        }
    }
    let node = &formation.nodes[&name];
    for role in ["pgautofailover_monitor", "pgautofailover_replicator"] {
        if !primary.roles.contains_key(role) {
            found.push(format!("{name} has no role {role}"));
        }
        if let Some(lacks) = primary.lacks.get(role) {
            found.push(format!("{name}: {role} lacks {lacks:?}"));
        }
    }
    for (role, password) in
        [(node.username.as_str(), &node.password), ("pgautofailover_replicator", &node.replication_password)]
    {
        let Some(password) = password else { continue };
        if !primary.verifiers.get(role).is_some_and(|kept| scram::kept(kept, role, password) == Kept::Scram) {
            found.push(format!("{name}: {role} has not the password of the inventory"));
        }
        for member in formation.group(group) {
            let line = format!("*:*:*:{role}:{}", password.reveal());
            if !pgpass(world, member.name()).lines().any(|found| found == line) {
                found.push(format!("{} does not know the password of {role}", member.name()));
            }
        }
    }
    if !primary.databases.contains(&formation.dbname) {
        found.push(format!("{name} has no database {}", formation.dbname));
    }
    if node.kind != NodeKind::Standalone && !primary.extensions.contains_key("citus") {
        found.push(format!("{name} has no Citus"));
    }
}

fn pgpass<'a>(world: &'a World, name: &NodeName) -> &'a str {
    world.hosts[name].files.get("/var/lib/postgresql/.pgpass").map_or("", String::as_str)
}

/// Whether the monitor lets in who comes with what a node's files say.
pub(crate) fn keeper_logs_in(formation: &Formation, world: &World, name: &NodeName) -> bool {
    let Monitor::Managed(monitor) = &formation.monitor else { return true };
    let data = world.hosts[&monitor.name].data();
    let Some(kept) = data.and_then(|data| data.verifiers.get("autoctl_node")) else { return true };
    let start = format!("{}:{}:pg_auto_failover:autoctl_node:", monitor.hostname, monitor.pgport);
    let password = pgpass(world, name).lines().find_map(|line| line.strip_prefix(&start));
    password.is_some_and(|it| scram::kept(kept, "autoctl_node", &Secret::new(it)) == Kept::Scram)
}

fn check_hosts(formation: &Formation, world: &World, found: &mut Vec<String>) {
    let (mut keys, mut systems) = (BTreeSet::new(), BTreeSet::new());
    let mut servers = 0;
    for server in formation.servers() {
        let (name, host) = (&server.name, &world.hosts[&server.name]);
        let Some(data) = host.data() else {
            found.push(format!("{name} has no data directory"));
            continue;
        };
        check_loaded(name, data, found);
        check_certificates(formation, server, host, found);
        if host.building.is_some() {
            found.push(format!("a half-built data directory lies on {name}"));
        }
        if is_self_signed(server) {
            servers += 1;
            let key = host.files.get(&format!("{}/server.key", node_dir(server)));
            keys.insert(key.cloned());
            for (path, text) in host.files.iter().filter(|(path, _)| path.contains("/server.")) {
                if data.loaded.get(path) != Some(text) {
                    found.push(format!("{name} does not show its {path}"));
                }
            }
        }
        let group = formation.nodes.get(name).map(|node| node.group);
        systems.insert((data.system_identifier, group));
        let alive = host.keeper.is_some();
        if alive != (server.keeper != Keeper::None) {
            found.push(format!("{name}: keeper alive: {alive}"));
        }
        if alive && host.files.get(&config_path(server)) != Some(&host.remembers) {
            found.push(format!("{name}: its keeper runs with another pg_autoctl.cfg"));
        }
        if alive && !keeper_logs_in(formation, world, name) && formation.nodes.contains_key(name) {
            found.push(format!("{name}: its keeper cannot log in to the monitor"));
        }
        if alive && host.systemd && server.keeper != Keeper::Detached {
            let unit = host.files.contains_key(&unit_path(server));
            if !unit || !host.enabled {
                found.push(format!("{name}: systemd would not start its keeper"));
            }
        }
        let row = world.monitor.iter().flat_map(|m| &m.rows).find(|row| row.name == name.0);
        if let (Some(row), true) = (row, alive) {
            let state = read_state(host.state.as_deref().expect("a keeper has its state"));
            if (state.node_id, state.group, Some(state.current)) != (row.id, row.group, row.reported) {
                found.push(format!("the keeper of {name} believes {state:?}, the monitor {row:?}"));
            }
        }
    }
    if keys.len() != servers || keys.contains(&None) {
        found.push(format!("{servers} servers have {} keys", keys.len()));
    }
    let identifiers: BTreeSet<u64> = systems.iter().map(|(identifier, _)| *identifier).collect();
    if identifiers.len() != systems.len() {
        found.push(format!("groups share data: {systems:?}"));
    }
}

/// Where hosts are known by their certificates, each shows its own, and nobody comes in otherwise.
fn check_certificates(formation: &Formation, server: &Server, host: &Host, found: &mut Vec<String>) {
    let name = &server.name;
    if formation.servers().any(|server| server.auth == Auth::Cert) {
        let own = host.files.get(&format!("{}/server.crt", node_dir(server)));
        if own.is_none() || host.files.get(SHOWN) != own {
            found.push(format!("{name} does not show its certificate"));
        }
    }
    let rules = host.data().map_or("", Data::rules);
    let others = |line: &&str| line.ends_with(" # Written by muster") && !line.contains(" cert map=muster #");
    if server.auth == Auth::Cert && rules.lines().any(|line| others(&line)) {
        found.push(format!("{name} lets in who shows no certificate: {rules}"));
    }
}

/// A server runs with the files that lie there.
fn check_loaded(name: &NodeName, data: &Data, found: &mut Vec<String>) {
    for (file, text) in data.files.iter().filter(|_| data.runs()) {
        if data.loaded.get(file) != Some(text) {
            found.push(format!("{name} runs with an older {file}"));
        }
    }
}

fn check_citus(formation: &Formation, world: &World, found: &mut Vec<String>) {
    if !formation.is_citus() {
        return;
    }
    let Some(coordinator) = world.writer(0) else {
        return found.push("no coordinator takes writes".to_owned());
    };
    let data = world.hosts[&coordinator].data().expect("it takes writes");
    let mut wanted = BTreeSet::new();
    for node in formation.nodes.values() {
        let server = &node.server;
        let role = match world.writer(node.group) {
            Some(writer) if writer == server.name => "primary",
            _ if node.citus_cluster.is_some() => "secondary",
            _ => continue,
        };
        wanted.insert((
            i64::from(node.group),
            server.hostname.clone(),
            i64::from(server.pgport),
            role.to_owned(),
            node.cluster().to_owned(),
        ));
        if let Some(proxy) = node.proxyport {
            let id = data.citus.iter().find(|row| row.name == server.hostname).map(|row| row.id);
            let pool = id.and_then(|id| data.pools.get(&id));
            if pool != Some(&format!("host={} port={proxy}", server.hostname)) {
                found.push(format!("the pooler of {} is {pool:?}", server.name));
            }
        }
    }
    let rows: BTreeSet<_> = data
        .citus
        .iter()
        .filter(|row| row.active)
        .map(|row| (row.group, row.name.clone(), row.port, row.role.clone(), row.cluster.clone()))
        .collect();
    if rows != wanted || rows.len() != data.citus.len() {
        found.push(format!("pg_dist_node is {rows:?}, not {wanted:?}"));
    }
}
