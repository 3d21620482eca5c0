//! Every variable, changed to another value on a settled formation: one run, and it is so; or the plan says why not.

use std::path::Path;

use muster::formation::{Formation, HbaEdit, NodeName};
use muster::inventory::parse;
use muster::inventory::variables::VARIABLES;
use muster::resource::data::STANDBY_CONF;

use crate::keeper::entries;
use crate::oracle::complaints;
use crate::run::{Dice, Trouble, converge, execute, plan_for};
use crate::world::{Seeing, World, config_path, with_what_is_made};

/// What becomes of a change.
#[derive(Clone, Copy)]
enum Outcome {
    /// One run brings it about.
    Converges,
    /// `initdb` or the registration has fixed it: the plan leaves the node alone and says this of it.
    Refused(&'static str),
    /// It says how a host is reached, or who makes what anew: nothing of what is there.
    ChangesNothing,
    /// The simulation has nothing of the kind; who has.
    Elsewhere(&'static str),
}

use Outcome::{ChangesNothing, Converges, Elsewhere, Refused};

/// Where the two values stand in the inventory.
#[derive(Clone, Copy)]
enum At {
    /// Of a monitor and three nodes, one group.
    All,
    /// Of its host `b`, a standby.
    Standby,
    /// Of its host `m`, the monitor.
    Monitor,
    /// Of a Citus formation.
    Citus,
    /// Of its reader `r`.
    Reader,
    /// Of its host `w`, a worker.
    Worker,
    /// Of its host `y`, a worker's standby.
    WorkersStandby,
    /// Of two nodes with somebody else's monitor.
    Outside,
}

use At::{All, Citus, Monitor, Outside, Reader, Standby, Worker, WorkersStandby};

/// Plans of one run at most, as the command makes them.
const ROUNDS: usize = 3;

struct Sample {
    variable: &'static str,
    at: At,
    /// Both as they stand in a flow mapping; each becomes the other.
    values: [&'static str; 2],
    outcome: Outcome,
}

const fn row(variable: &'static str, at: At, values: [&'static str; 2], outcome: Outcome) -> Sample {
    Sample { variable, at, values, outcome }
}

const SCRAM: &str = "auth: scram-sha-256, password: p, replication_password: q, monitor_password: m";
const SCRAM_2: &str = "auth: scram-sha-256, password: other, replication_password: q, monitor_password: m";
const SCRAM_3: &str = "auth: scram-sha-256, password: p, replication_password: other, monitor_password: m";
const MANAGED_SCRAM: &str =
    "ssl: managed, auth: scram-sha-256, password: p, replication_password: q, monitor_password: m";
const MD5: &str = "auth: md5, password: p, replication_password: q, monitor_password: m";
const FILES: &str = "server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key";
const FILES_2: &str = "server_cert: /etc/ssl/b.crt, server_key: /etc/ssl/b.key";
const WITH_CA: &str = "server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key, ssl_ca_file: /etc/ssl/ca.crt";
const WITH_CA_2: &str =
    "server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key, ssl_ca_file: /etc/ssl/ca2.crt";
const WITH_CA_TRUST: &str =
    "auth: trust, server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key, ssl_ca_file: /etc/ssl/ca.crt";
const CA_MODE: &str = "server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key, ssl_ca_file: /etc/ssl/ca.crt, ssl_mode: verify-ca";
const WITH_CRL: &str = "server_cert: /etc/ssl/a.crt, server_key: /etc/ssl/a.key, ssl_ca_file: /etc/ssl/ca.crt, ssl_crl_file: /etc/ssl/crl";

const FOR_AGE: &str = "ssl: managed, ca_key_protection: age, ca_key_recipients: age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const FOR_AGE_2: &str = "ssl: managed, ca_key_protection: age, ca_key_recipients: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj, age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa]";

/// At least one for each variable; where one is missing the test fails.
const SAMPLES: &[Sample] = &[
    row(
        "role",
        WorkersStandby,
        [SECOND, "role: coordinator, secondary: true"],
        Refused("formation default, group"),
    ),
    row("group", WorkersStandby, [SECOND, "group: 1, secondary: true"], Refused("formation default, group")),
    row("secondary", Standby, ["secondary: true", "secondary: false"], ChangesNothing),
    row("formation", All, ["formation: default", "formation: shop"], Refused("")),
    row("dbname", All, ["dbname: postgres", "dbname: shop"], Refused("dbname")),
    row("dbname", Citus, ["dbname: citus", "dbname: shop"], Refused("dbname")),
    row("monitor", Outside, [URI, URI_PREFER], Converges),
    row("number_sync_standbys", All, ["number_sync_standbys: 0", "number_sync_standbys: 1"], Converges),
    row("secrets_dir", All, ["", "secrets_dir: kept"], ChangesNothing),
    row("templates_dir", All, ["", "templates_dir: TEMPLATES"], Converges),
    row("pgdata", All, ["pgdata: /srv/pg", "pgdata: /srv/other"], Refused("")),
    row("pgport", Standby, ["secondary: true", "secondary: true, pgport: 5433"], Refused("5433")),
    row("pgport", Monitor, ["", "pgport: 5433"], Refused("pgport")),
    row("hostname", Standby, ["secondary: true", "secondary: true, hostname: other"], Refused("other")),
    row("hostname", Monitor, ["", "hostname: other"], Converges),
    row("name", Standby, ["secondary: true", "secondary: true, name: other"], Refused("set name")),
    row("listen", All, ["listen: '*'", "listen: 0.0.0.0"], Converges),
    row("pg_version", All, ["", "pg_version: 15"], ChangesNothing),
    row("pgctl", All, ["", "pgctl: /usr/lib/postgresql/15/bin/pg_ctl"], ChangesNothing),
    row("pghost", All, ["pghost: /tmp", "pghost: /var/run/postgresql"], Converges),
    row("username", All, ["username: postgres", "username: admin"], Refused("username")),
    row("settings", All, ["settings: {work_mem: 8MB}", "settings: {work_mem: 9MB, jit: off}"], Converges),
    row("settings", All, ["", "settings: {max_connections: 200}"], Converges),
    row("restart_policy", All, ["", "restart_policy: manual"], ChangesNothing),
    row("confirm_timeout", All, ["", "confirm_timeout: 30"], ChangesNothing),
    row("hba", All, ["", "hba: ['host all all 192.0.2.0/24 reject']"], Converges),
    row(
        "hba",
        All,
        [
            "hba: ['host a a all reject', 'host b b all reject']",
            "hba: ['host b b all reject', 'host a a all reject']",
        ],
        Converges,
    ),
    row("data_checksums", All, ["data_checksums: true", "data_checksums: false"], Refused("data_checksums")),
    row("encoding", All, ["encoding: UTF8", "encoding: LATIN1"], Refused("encoding")),
    row("locale", All, ["locale: C.UTF-8", "locale: C"], Refused("locale")),
    row("become_user", All, ["", "become_user: pgsql, username: postgres"], Refused("cannot read")),
    row("auth", All, ["auth: trust", SCRAM], Converges),
    row("auth", All, ["auth: trust", MD5], Converges),
    row("auth", All, [MD5, SCRAM], Converges),
    row("auth", Citus, ["auth: trust", SCRAM], Converges),
    row("auth", All, ["ssl: managed, auth: trust", "ssl: managed, auth: cert"], Converges),
    row("auth", Citus, [MANAGED_SCRAM, "ssl: managed, auth: cert"], Converges),
    row("auth", All, [WITH_CA_TRUST, "ssl: managed, auth: cert"], Refused("first")),
    row("skip_pg_hba", All, [RULES, SKIP], Converges),
    row("pg_hba_lan", All, ["pg_hba_lan: false", "pg_hba_lan: true"], Converges),
    row("password", All, [SCRAM, SCRAM_2], Converges),
    row("replication_password", All, [SCRAM, SCRAM_3], Converges),
    row("monitor_password", All, ["", ""], Elsewhere("tests/sim/changes.rs")),
    row("ssl", All, ["ssl: managed", "ssl_self_signed: true"], Converges),
    row("ssl", All, ["ssl: managed", "no_ssl: true"], Converges),
    row("ssl", All, ["ssl: managed", FILES], Converges),
    row("ssl", Citus, ["ssl: managed", "ssl_self_signed: true"], Converges),
    row("sans", All, ["ssl: managed", "ssl: managed, sans: [pg.example, 10.7.7.7]"], Converges),
    row("ca_dir", All, ["ssl: managed", "ssl: managed, ca_dir: /nowhere/other"], ChangesNothing),
    row("ca_command", All, ["ssl: managed", "ssl: managed, ca_command: ./sign"], ChangesNothing),
    row(
        "ca_key_protection",
        All,
        ["ssl: managed", "ssl: managed, ca_key_protection: passphrase"],
        ChangesNothing,
    ),
    row(
        "ca_key_passphrase",
        All,
        ["ssl: managed", "ssl: managed, ca_key_passphrase: env:CA"],
        ChangesNothing,
    ),
    row("ca_key_recipients", All, [FOR_AGE, FOR_AGE_2], ChangesNothing),
    row("ssl_self_signed", All, ["ssl_self_signed: true", FILES], Converges),
    row("no_ssl", All, ["no_ssl: true", "no_ssl: false"], Converges),
    row("no_ssl", All, ["no_ssl: true", FILES], Converges),
    row("no_ssl", Citus, ["no_ssl: true", "no_ssl: false"], Converges),
    row("server_cert", All, [FILES, FILES_2], Converges),
    row("server_key", All, [FILES, FILES_2], Converges),
    row("ssl_ca_file", All, [FILES, WITH_CA], Converges),
    row("ssl_ca_file", All, [WITH_CA, WITH_CA_2], Converges),
    row("ssl_crl_file", All, [WITH_CA, WITH_CRL], Converges),
    row("ssl_mode", All, ["ssl_mode: require", "ssl_mode: prefer"], Converges),
    row("ssl_mode", All, [WITH_CA, CA_MODE], Converges),
    row("ssl_mode", All, ["ssl: managed", "ssl: managed, ssl_mode: require"], Converges),
    row("citus_secondary", Reader, [READER, "secondary: true, group: 1"], Refused("")),
    row(
        "citus_cluster",
        Reader,
        [READER, "citus_secondary: true, citus_cluster: other, group: 1"],
        Refused("citus_cluster"),
    ),
    row(
        "candidate_priority",
        Standby,
        ["secondary: true", "secondary: true, candidate_priority: 7"],
        Converges,
    ),
    row("replication_quorum", Standby, [LEFT_OUT, "secondary: true, replication_quorum: false"], Converges),
    row("maximum_backup_rate", All, ["", "maximum_backup_rate: 50M"], Converges),
    row("proxyport", Worker, ["group: 1, proxyport: 6432", "group: 1, proxyport: 6433"], Converges),
    row("proxyport", Worker, ["group: 1", "group: 1, proxyport: 6432"], Converges),
    row("keeper", All, ["keeper: auto", "keeper: systemd"], ChangesNothing),
    row("adopted", All, ["", ""], Elsewhere("tests/lab/adopt.rs")),
    row(
        "ansible_host",
        All,
        ["", "ansible_host: 192.0.2.7"],
        Elsewhere("an address is a host's own: see hostname"),
    ),
    row("ansible_port", All, ["", "ansible_port: 2222"], ChangesNothing),
    row("ansible_user", All, ["", "ansible_user: other"], ChangesNothing),
    row("ansible_ssh_private_key_file", All, ["", "ansible_ssh_private_key_file: /k"], ChangesNothing),
    row("known_hosts", All, ["", "known_hosts: /k"], ChangesNothing),
    row("host_key", All, ["", ""], Elsewhere("tests/ssh")),
    row("ansible_ssh_common_args", All, ["", "ansible_ssh_common_args: -o Compression=yes"], ChangesNothing),
    row("ansible_ssh_args", All, ["", "ansible_ssh_args: -o Compression=yes"], ChangesNothing),
    row("ansible_ssh_extra_args", All, ["", "ansible_ssh_extra_args: -o Compression=yes"], ChangesNothing),
    row("ansible_password", All, ["", "ansible_password: p"], ChangesNothing),
    row("ansible_become_method", All, ["", "ansible_become_method: su"], ChangesNothing),
    row("ansible_become_password", All, ["", "ansible_become_password: p"], ChangesNothing),
    row("ansible_connection", All, ["", "ansible_connection: ssh"], ChangesNothing),
    row("connect_timeout", All, ["", "connect_timeout: 7"], ChangesNothing),
    row("command_timeout", All, ["", "command_timeout: 700"], ChangesNothing),
];

/// What the formation needs, in the user's own words.
const RULES: &str = "hba: ['hostssl all all 10.88.0.0/24 trust', 'hostssl \"pg_auto_failover\" \"autoctl_node\" 10.88.0.0/24 trust', \
    'hostssl replication \"pgautofailover_replicator\" a trust', 'hostssl replication \"pgautofailover_replicator\" b trust', \
    'hostssl replication \"pgautofailover_replicator\" c trust']";
const SKIP: &str = "skip_pg_hba: true, hba: ['hostssl all all 10.88.0.0/24 trust', \
    'hostssl \"pg_auto_failover\" \"autoctl_node\" 10.88.0.0/24 trust', \
    'hostssl replication \"pgautofailover_replicator\" a trust', 'hostssl replication \"pgautofailover_replicator\" b trust', \
    'hostssl replication \"pgautofailover_replicator\" c trust']";
const URI: &str = "monitor: 'postgres://autoctl_node@elsewhere:5432/pg_auto_failover?sslmode=require'";
const URI_PREFER: &str = "monitor: 'postgres://autoctl_node@elsewhere:5432/pg_auto_failover?sslmode=prefer'";
const SECOND: &str = "group: 2, secondary: true";
const READER: &str = "citus_secondary: true, citus_cluster: reports, group: 1";
/// A number that is the monitor's own choice would be changed with the quorum.
const LEFT_OUT: &str = "secondary: true, replication_quorum: true";

fn inventory(at: At, value: &str) -> Result<Formation, String> {
    let templates = tempfile::tempdir().unwrap();
    let template = std::fs::read_to_string("templates/postgresql.conf.j2").unwrap() + "jit = off\n";
    std::fs::write(templates.path().join("postgresql.conf.j2"), template).unwrap();
    let value = value.replace("TEMPLATES", &templates.path().display().to_string());
    let at_host = |host: At| match (host, at) {
        (Standby, Standby) | (Monitor, Monitor) | (Reader, Reader) | (Worker, Worker) => value.clone(),
        (WorkersStandby, WorkersStandby) => value.clone(),
        (WorkersStandby, _) => SECOND.to_owned(),
        (Standby, _) => "secondary: true".to_owned(),
        (Reader, _) => READER.to_owned(),
        (Worker, _) => "group: 1".to_owned(),
        _ => String::new(),
    };
    let all = match at {
        All | Citus | Outside => value.clone(),
        Standby | Monitor | Reader | Worker | WorkersStandby => String::new(),
    };
    let pgdata = if all.contains("pgdata:") { "" } else { "pgdata: /srv/pg, " };
    let number = if value.contains("replication_quorum") { "number_sync_standbys: 0, " } else { "" };
    let vars = format!("all:\n  vars: {{{pgdata}{number}{all}}}\n  children:\n");
    let monitor = format!("    monitor: {{hosts: {{m: {{{}}}}}}}\n", at_host(Monitor));
    let hosts = match at {
        All | Standby | Monitor => {
            format!(
                "{monitor}    postgres: {{hosts: {{a: {{}}, b: {{{}}}, c: {{secondary: true}}}}}}\n",
                at_host(Standby)
            )
        }
        Citus | Reader | Worker | WorkersStandby => format!(
            "{monitor}    coordinator: {{hosts: {{k: {{}}}}}}\n    workers: {{hosts: {{w: {{{}}}, x: {{group: 2}}, y: {{{}}}, r: {{{}}}}}}}\n",
            at_host(Worker),
            at_host(WorkersStandby),
            at_host(Reader)
        ),
        Outside => "    postgres: {hosts: {a: {}, b: {secondary: true}}}\n".to_owned(),
    };
    let text = vars + &hosts;
    let formation = parse("inventory.yml", &text, Path::new(""));
    formation.map(with_what_is_made).map_err(|problems| format!("{text}{problems:?}"))
}

/// The files that an operator brings along are there.
fn settled(formation: &Formation) -> World {
    let mut world = World::bare(formation);
    converge(formation, &mut world, &mut Dice(1));
    let complaints = complaints(formation, &mut world);
    assert!(complaints.is_empty(), "{complaints:#?}");
    world
}

/// The inventory is another one; whose host is whose stays.
fn changed(world: &World, formation: &Formation) -> World {
    let mut world = world.clone();
    let before = world.formation.clone();
    for server in formation.servers() {
        let old = before.servers().find(|old| old.host.address == server.host.address).unwrap();
        let mut host = world.hosts.remove(&old.name).unwrap();
        if old.os_user != server.os_user {
            host.sight = Seeing::Unreadable(format!("cannot read the directory {}", server.pgdata));
        }
        if old.pgdata != server.pgdata {
            host.pgdata = crate::world::Place::Empty;
        }
        world.hosts.insert(server.name.clone(), host);
    }
    world.formation = formation.clone();
    world
}

#[test]
fn every_variable_has_a_sample() {
    for variable in VARIABLES {
        let has = SAMPLES.iter().any(|sample| sample.variable == variable.name);
        assert!(has, "{} has no sample: add one, with its other value", variable.name);
    }
    assert!(SAMPLES.iter().all(|sample| VARIABLES.iter().any(|known| known.name == sample.variable)));
}

#[test]
fn every_change_of_one_variable_is_brought_about_by_one_run_or_refused() {
    let mut wrong = Vec::new();
    for sample in SAMPLES {
        if let Elsewhere(whose) = sample.outcome {
            assert!(!whose.is_empty());
            continue;
        }
        let (a, b) = match sample.values.map(|value| inventory(sample.at, value)) {
            [Ok(a), Ok(b)] => (a, b),
            [Err(why), _] | [_, Err(why)] => {
                wrong.push(format!("{}: {why}", sample.variable));
                continue;
            }
        };
        let worlds = std::panic::catch_unwind(|| [settled(&a), settled(&b)]);
        let Ok([in_a, in_b]) = worlds else {
            wrong.push(format!("{}: one of its values never settles", sample.variable));
            continue;
        };
        for ((from, to), values) in [((&in_a, &in_b), [0, 1]), ((&in_b, &in_a), [1, 0])] {
            let [old, new] = values.map(|index| sample.values[index]);
            let name = format!("{}: {{{old}}} -> {{{new}}}", sample.variable);
            let result = std::panic::catch_unwind(|| change(sample, from, to));
            match result {
                Ok(found) => wrong.extend(found.map(|why| format!("{name}: {why}"))),
                Err(_) => wrong.push(format!("{name}: it panics")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), SAMPLES.len() * 2, wrong.join("\n"));
}

/// What is wrong with how it goes.
fn change(sample: &Sample, from: &World, fresh: &World) -> Option<String> {
    let to = &fresh.formation;
    let mut world = changed(from, to);
    let plan = plan_for(to, &mut world);
    match sample.outcome {
        Elsewhere(_) => return None,
        Refused(why) => {
            let told: Vec<String> = plan.blocked.iter().map(|(node, why)| format!("{node}: {why}")).collect();
            let is_told = told.iter().any(|told| told.contains(why));
            return (!is_told).then(|| {
                format!("it is not refused with `{why}`: {told:?}, {} steps", plan.steps().count())
            });
        }
        ChangesNothing if !plan.is_empty() => return Some(format!("there are steps: {:?}", titles(&plan))),
        ChangesNothing | Converges => {}
    }
    if let (Converges, true) = (sample.outcome, plan.is_empty()) {
        return Some(format!("nothing is planned: {:?}", plan.blocked));
    }
    if !plan.blocked.is_empty() {
        return Some(format!("blocked: {:?}", plan.blocked));
    }
    let mut again = plan;
    for _ in 0..ROUNDS {
        let run = execute(&again, &mut world, Trouble::Nothing, &mut Dice(1));
        if !run.failed.is_empty() {
            return Some(format!("failed: {:?}", run.failed));
        }
        world.rest();
        // Of a plan that says that more will follow there is another look in the same run.
        let is_whole = again.partial.is_none();
        again = plan_for(to, &mut world);
        if is_whole {
            break;
        }
    }
    if !again.is_empty() || !again.blocked.is_empty() {
        return Some(format!("the second plan has {:?}, {:?}", titles(&again), again.blocked));
    }
    let mut complaints = complaints(to, &mut world);
    complaints.extend(differs_from(fresh, &world));
    (!complaints.is_empty()).then(|| format!("{complaints:#?}"))
}

fn titles(plan: &muster::plan::Plan) -> Vec<String> {
    plan.steps().map(|(_, node, step)| format!("{node}: {}", step.title())).collect()
}

/// A change ends where a rollout of the same inventory would have: what its files say is an oracle that asks no planner.
fn differs_from(fresh: &World, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for server in fresh.formation.servers() {
        let (is, should) = (&world.hosts[&server.name], &fresh.hosts[&server.name]);
        let name: &NodeName = &server.name;
        let (Some(is_data), Some(should_data)) = (is.data(), should.data()) else { continue };
        // With skip_pg_hba a file that is there is the user's own.
        let skips = server.hba_edit == HbaEdit::Skip;
        // After a switchover other nodes follow, and others than before.
        let has_moved = world.formation.nodes.get(name).is_some_and(|node| {
            let mut worlds = [world.clone(), fresh.clone()];
            let [now, before] = worlds.each_mut().map(|world| world.writer(node.group));
            now != before
        });
        let is_compared = |file: &String| {
            file != "postgresql.auto.conf"
                && !(skips && file == "pg_hba.conf")
                && !(has_moved && file == STANDBY_CONF)
        };
        for (file, text) in should_data.files.iter().filter(|(file, _)| is_compared(file)) {
            let mut found_text = is_data.files.get(file).map_or(Vec::new(), |text| lines(text));
            // What looks like a keeper's own is left to it, where muster has nothing to say of the same.
            found_text.retain(|line| !is_keepers(line) || lines(text).contains(line) || replaces(line, text));
            if found_text != lines(text) {
                let what =
                    if file == STANDBY_CONF { String::new() } else { diff(&is_data.files[file], text) };
                found.push(format!("{name}: {file} differs: {what}"));
            }
        }
        let path = config_path(server);
        let [is, should] = [is, should].map(|host| {
            let mut entries = host.files.get(&path).map(|text| entries(text)).unwrap_or_default();
            // A keeper that starts beside a running server says where the socket is.
            if server.pghost.is_none() {
                entries.remove(&("postgresql", "host"));
            }
            entries
        });
        if is != should {
            let more = is.iter().filter(|(key, value)| should.get(*key) != Some(*value));
            let less = should.iter().filter(|(key, value)| is.get(*key) != Some(*value));
            let (more, less): (Vec<_>, Vec<_>) = (more.collect(), less.collect());
            found.push(format!("{name}: pg_autoctl.cfg differs: has {more:?}, should have {less:?}"));
        }
    }
    let pools = |world: &World| -> Vec<String> {
        let data = world.hosts.values().filter_map(|host| host.data()).filter(|data| !data.standby);
        data.flat_map(|data| data.pools.values().cloned()).collect()
    };
    if pools(world) != pools(fresh) {
        found.push(format!("poolers are {:?}, not {:?}", pools(world), pools(fresh)));
    }
    found
}

fn is_keepers(line: &str) -> bool {
    line.ends_with("# Auto-generated by pg_auto_failover") && line.starts_with("host")
}

/// Whether the wanted rules have one for the same database, user and address.
fn replaces(line: &str, wanted: &str) -> bool {
    let who = |line: &str| line.split(' ').skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
    wanted.lines().filter(|line| is_keepers(line)).any(|other| who(other) == who(line))
}

/// Without order: a keeper adds its rules at the end.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn diff(is: &str, should: &str) -> String {
    let (is, should) = (lines(is), lines(should));
    let more = is.iter().filter(|line| !should.contains(line)).map(|line| format!("+{line}"));
    let less = should.iter().filter(|line| !is.contains(line)).map(|line| format!("-{line}"));
    more.chain(less).collect::<Vec<_>>().join(" | ")
}
