//! Formations that the real `pg_autoctl create` made, as their hosts answered: the inventory that is written of them, and
//! what a plan makes of it once somebody changes a line.
//!
//! `tests/facts/adopted` is a Citus formation after a failover in each group, with an earlier change of settings by
//! muster; `tests/facts/adopted-scram` a standalone one with passwords. HOST.configs.txt and HOST.monitor.txt answered
//! the scripts of `muster adopt`, HOST.probe.txt is the answer that every plan begins with; the comments that initdb
//! writes into `postgresql.conf` are left out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};
use muster::adopt::complete::complete;
use muster::adopt::draft;
use muster::adopt::look::{Listed, parse_configs, parse_monitor};
use muster::adopt::write::{About, Written, inventory};
use muster::command::Failure;
use muster::facts::{Facts, Sight, parse};
use muster::formation::{Formation, Host, Monitor, NodeName};
use muster::inventory;
use muster::plan::{Plan, plan};
use muster::resource::data::Pgdata;
use muster::resource::monitor::MonitorFacts;

const TODAY: Date = date(2026, 11, 23);

fn answer(folder: &str, name: &str) -> String {
    std::fs::read_to_string(format!("tests/facts/{folder}/{name}.txt")).unwrap()
}

/// What `muster adopt` makes of the answers of a folder, before the servers' own facts.
fn drafted(folder: &str, monitor: &str) -> (Formation, MonitorFacts) {
    let told = parse_monitor(&answer(folder, &format!("{monitor}.monitor"))).unwrap();
    assert_eq!(draft::formation(None, &told.formations), Ok("default"));
    let configs = |host: &str| parse_configs(&answer(folder, &format!("{host}.configs"))).unwrap();
    let of_monitor = configs(monitor);
    let config = draft::monitor_config(&of_monitor).unwrap();
    let name = NodeName::from(monitor);
    let bin = of_monitor.bin.as_deref();
    let server = draft::server(name, Host::named(monitor), "postgres", config, bin).unwrap();
    let nodes = told.facts.nodes.iter().map(|row| {
        let configs = configs(&row.host);
        let config = draft::node_config(&configs, "default", row).unwrap();
        let (name, host) = (NodeName(row.name.clone()), Host::named(&row.host));
        let server = draft::server(name, host, "postgres", config, configs.bin.as_deref()).unwrap();
        draft::node(server, row, u32::try_from(row.id).unwrap(), config).unwrap()
    });
    let nodes = nodes.collect();
    (draft::together("default", Monitor::Managed(server), &told.facts, nodes), told.facts)
}

fn facts(folder: &str, formation: &Formation) -> Facts {
    let sight = |server: &muster::formation::Server| {
        let text = answer(folder, &format!("{}.probe", server.host.address));
        let seen = parse(formation, server, &text).unwrap_or_else(|why| panic!("{}: {why}", server.name));
        (server.name.clone(), Sight::Seen(Box::new(seen)))
    };
    Facts { hosts: formation.servers().map(sight).collect() }
}

fn adopted(folder: &str, monitor: &str) -> Written {
    let (mut formation, rows) = drafted(folder, monitor);
    let facts = facts(folder, &formation);
    let notes = complete(&mut formation, &facts);
    let about = About {
        monitor: monitor.to_owned(),
        today: TODAY,
        connection: vec![("ansible_user", "deploy".to_owned())],
        left_out: BTreeMap::new(),
    };
    inventory(&formation, Some(&rows), &notes, &about)
}

/// The plan of an inventory over the answers of a folder, changed by `edit`.
fn planned(folder: &str, text: &str, edit: impl FnOnce(&mut Facts)) -> Plan {
    let formation = inventory::parse("adopted.yml", text, Path::new(".")).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
    });
    let mut facts = facts(folder, &formation);
    edit(&mut facts);
    plan(&formation, &facts, TODAY).unwrap()
}

fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.steps().map(|(_, node, step)| format!("{node}: {} - {}", step.title(), step.because));
    steps.chain(plan.blocked.iter().map(|(node, why)| format!("{node} blocked: {why}"))).collect()
}

/// The text that is kept beside the facts; what is new is left where the message says.
fn assert_kept(folder: &str, text: &str) {
    let path = PathBuf::from(format!("tests/facts/{folder}/inventory.yml"));
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != text {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{folder}.yml"));
        std::fs::write(&new, text).unwrap();
        let diff = similar::TextDiff::from_lines(kept.as_str(), text).unified_diff().to_string();
        panic!("{}: as it would be: {}\n{diff}", path.display(), new.display());
    }
}

#[test]
fn a_citus_formation_is_written_as_it_is_and_plans_nothing() {
    let written = adopted("adopted", "mon");
    assert_kept("adopted", &written.text);
    assert!(written.secrets.is_empty());
    let plan = planned("adopted", &written.text, |_| {});
    assert_eq!(steps(&plan), Vec::<String>::new(), "{:#?}", plan.waves);
}

#[test]
fn passwords_are_in_files_of_their_own() {
    let written = adopted("adopted-scram", "w2a");
    assert_kept("adopted-scram", &written.text);
    let secrets: Vec<(&str, &str)> =
        written.secrets.iter().map(|(path, secret)| (path.as_str(), secret.reveal())).collect();
    assert_eq!(
        secrets,
        [("secrets/monitor_password", "mon p@ss"), ("secrets/replication_password", "repl-pass")]
    );
    assert!(!written.text.contains("repl-pass") && !format!("{written:?}").contains("p@ss"));
    // As far as files are named that are not there, the text stands for itself.
    let text = written.text.replace("file:secrets/", "");
    assert_eq!(steps(&planned("adopted-scram", &text, |_| {})), Vec::<String>::new());
}

#[test]
fn what_is_changed_is_exactly_what_is_planned() {
    let text = adopted("adopted", "mon").text;
    for (old, new, expected) in [
        ("work_mem: 48MB", "work_mem: 49152", &[][..]),
        (
            "work_mem: 48MB",
            "work_mem: 64MB",
            &[
                "coord1: write /var/lib/postgresql/node/postgresql.conf - it differs in work_mem",
                "coord1: reload PostgreSQL - its configuration changed",
                "coord2: write /var/lib/postgresql/node/postgresql.conf - it differs in work_mem",
                "coord2: reload PostgreSQL - its configuration changed",
            ],
        ),
        // It goes from the block, and what pg_autoctl has holds again.
        (
            "          work_mem: 48MB\n",
            "",
            &[
                "coord1: write /var/lib/postgresql/node/postgresql.conf - it differs in work_mem",
                "coord1: reload PostgreSQL - its configuration changed",
                "coord2: write /var/lib/postgresql/node/postgresql.conf - it differs in work_mem",
                "coord2: reload PostgreSQL - its configuration changed",
            ],
        ),
        (
            "          - hostssl shop reporting 10.88.44.0/24 scram-sha-256\n",
            "",
            &[
                "coord1: write /var/lib/postgresql/node/pg_hba.conf - its rules differ from the inventory's",
                "coord1: reload PostgreSQL - its configuration changed",
                "coord2: write /var/lib/postgresql/node/pg_hba.conf - its rules differ from the inventory's",
                "coord2: reload PostgreSQL - its configuration changed",
            ],
        ),
        (
            "maximum_backup_rate: 60M",
            "maximum_backup_rate: 70M",
            &[
                "worker2: write /var/lib/postgresql/.config/pg_autoctl/var/lib/postgresql/node/pg_autoctl.cfg - it \
                 differs from the inventory in maximum_backup_rate",
                "worker2: reload the keeper - its configuration changed in maximum_backup_rate",
            ],
        ),
        (
            "candidate_priority: 45",
            "candidate_priority: 50",
            &[
                "coord2: set candidate_priority to 50 - candidate_priority is 45, the inventory says 50",
                "coord2: wait until it is settled and healthy - the monitor has the last word",
            ],
        ),
    ] {
        assert!(text.contains(old), "{old} is not in\n{text}");
        assert_eq!(steps(&planned("adopted", &text.replace(old, new), |_| {})), expected, "{old} -> {new}");
    }
}

#[test]
fn what_alter_system_says_wins_and_is_told() {
    let text =
        adopted("adopted", "mon").text.replace("maintenance_work_mem: 64MB", "maintenance_work_mem: 96MB");
    let plan = planned("adopted", &text, |_| {});
    let notes = plan.notes[&NodeName::from("worker1")].join("\n");
    assert!(notes.contains("maintenance_work_mem is 64MB by ALTER SYSTEM, which wins over"), "{notes}");
}

#[test]
fn what_cannot_be_explained_is_left_alone() {
    let text = adopted("adopted", "mon").text;
    let worker2 = NodeName::from("worker2");
    let seen = |facts: &mut Facts, edit: fn(&mut muster::facts::Seen)| {
        let Some(Sight::Seen(seen)) = facts.hosts.get_mut(&NodeName::from("worker2")) else {
            panic!("not seen")
        };
        edit(seen);
    };
    for (edit, why) in [
        (
            (|seen| seen.keeper.alive = None) as fn(&mut muster::facts::Seen),
            "its keeper does not run, and muster does not start that of an adopted server",
        ),
        (|seen| seen.keeper.config = None, "there is no pg_autoctl.cfg for /var/lib/postgresql/node"),
        (
            |seen| seen.pgdata = Pgdata::Empty,
            "is empty, and muster makes no data directory for an adopted server",
        ),
        (|seen| seen.pgdata = Pgdata::Foreign("photos".into()), "holds foreign content (photos)"),
        (
            |seen| {
                let Pgdata::Present(data) = &mut seen.pgdata else { panic!("no data") };
                data.system_identifier += 1;
            },
            "holds other data than the monitor knows",
        ),
        (
            |seen| {
                let Pgdata::Present(data) = &mut seen.pgdata else { panic!("no data") };
                let conf = data.files.get_mut("postgresql.conf").unwrap().as_mut().unwrap();
                conf.insert_str(0, "# muster: formation default, group 1\n");
            },
            "was made by muster (for formation default, group 1): remove `adopted`",
        ),
    ] {
        let plan = planned("adopted", &text, |facts| seen(facts, edit));
        let said = plan.blocked.get(&worker2).unwrap_or_else(|| panic!("not blocked: {why}"));
        assert!(said.to_string().contains(why), "{said}");
        assert_eq!(plan.steps().count(), 0, "{why}: {:?}", steps(&plan));
    }
}

/// Without the rule that muster and the keeper come by, nobody could put the rules back.
#[test]
fn nobody_is_locked_out() {
    let text = adopted("adopted", "mon").text;
    let rule = "local all all trust";
    assert!(text.contains(rule), "{text}");
    let without: String =
        text.lines().filter(|line| !line.contains(rule)).map(|line| format!("{line}\n")).collect();
    let plan = planned("adopted", &without, |_| ());
    assert_eq!(plan.steps().count(), 0, "{:?}", steps(&plan));
    assert!(
        plan.blocked.values().all(|why| why.to_string().contains("would be locked out")),
        "{:?}",
        plan.blocked
    );
    assert!(plan.blocked.contains_key(&NodeName::from("coord1")), "{:?}", plan.blocked);
    // Another one that does is as good.
    let other = planned("adopted", &text.replace(rule, "local all postgres peer"), |_| ());
    assert!(other.blocked.is_empty() && !other.is_empty(), "{:?}", other.blocked);
}

/// Whatever cannot be seen of an adopted server, nothing is made in its place.
#[test]
fn a_server_that_is_away_or_stopped_gets_no_step() {
    let text = adopted("adopted", "mon").text;
    let names = ["mon", "coord1", "coord2", "worker1", "worker2"].map(NodeName::from);
    for name in &names {
        let away = planned("adopted", &text, |facts| {
            let failure = Failure::Unreachable { reason: "no route".into(), hint: String::new() };
            facts.hosts.insert(name.clone(), Sight::Unreachable(failure));
        });
        assert_eq!(away.steps().count(), 0, "{name}: {:?}", steps(&away));
        let stopped = planned("adopted", &text, |facts| {
            let Some(Sight::Seen(seen)) = facts.hosts.get_mut(name) else { panic!("not seen") };
            let Pgdata::Present(data) = &mut seen.pgdata else { panic!("no data") };
            (data.postmaster, seen.database, seen.monitor, seen.citus) = (None, None, None, None);
            let adopted = seen.adopted.as_mut().unwrap();
            (adopted.server, adopted.rules, adopted.conf) = (None, None, None);
        });
        assert_eq!(stopped.steps().count(), 0, "{name}: {:?}", steps(&stopped));
        let told = !stopped.notes.is_empty() || !stopped.blocked.is_empty() || stopped.partial.is_some();
        assert!(told, "{name} is stopped, and nobody says so");
    }
}

/// Every record that is damaged makes the host unreadable, or changes nothing that is planned.
#[test]
fn a_damaged_answer_is_never_a_reason_to_write() {
    let text = adopted("adopted", "mon").text;
    let formation = inventory::parse("adopted.yml", &text, Path::new(".")).unwrap();
    let server = formation.servers().find(|server| server.name.0 == "coord1").unwrap();
    let whole = answer("adopted", "coord1.probe");
    let lines: Vec<&str> = whole.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let key = line.split(['=', ':', '~', '!']).next().unwrap();
        if !key.starts_with("adopted.") {
            continue;
        }
        for new in [Some(format!("{key}!permission denied")), None, Some(format!("{key}:%%%"))] {
            let mut damaged = lines.clone();
            match &new {
                Some(new) => damaged[index] = new,
                None => drop(damaged.remove(index)),
            }
            assert!(parse(&formation, server, &damaged.join("\n")).is_err(), "{key} {new:?}");
        }
    }
}

#[test]
fn several_formations_are_told_apart() {
    let listed = |name: &str, nodes| Listed { name: name.to_owned(), nodes };
    let two = [listed("default", 2), listed("other", 3)];
    assert!(draft::formation(None, &two).unwrap_err().message.contains("default, other"));
    assert_eq!(draft::formation(Some("other"), &two), Ok("other"));
    assert!(draft::formation(Some("third"), &two).is_err());
    assert_eq!(draft::formation(None, &[listed("default", 0), listed("other", 3)]), Ok("other"));
    assert!(draft::formation(None, &[listed("default", 0)]).is_err());
}

/// A formation as it is compared: without what the inventory's own place in the world decides.
fn compared(formation: &Formation) -> serde_json::Value {
    let mut json = serde_json::to_value(formation).unwrap();
    let mut servers = vec![json["monitor"]["managed"].take()];
    for node in json["nodes"].as_object_mut().unwrap().values_mut() {
        let node = node.as_object_mut().unwrap();
        // The order of the file puts primaries first; whether a node was ever to be one is the past.
        node.remove("order");
        node.remove("standing");
        servers.push(serde_json::Value::Object(node.clone()));
    }
    for server in &mut servers {
        let server = server.as_object_mut().unwrap();
        server.remove("host");
        if let Some(server) = server.get_mut("server").and_then(serde_json::Value::as_object_mut) {
            server.remove("host");
        }
    }
    serde_json::json!([formation.name, formation.dbname, formation.number_sync_standbys, servers])
}

/// Formations made by chance, with all that differs between servers: what is written reads back as what was found.
#[test]
fn what_is_written_reads_back() {
    use muster::formation::{Auth, HbaEdit, Server, SslMode, Tls};
    let (mut base, rows) = drafted("adopted", "mon");
    let seen = facts("adopted", &base);
    complete(&mut base, &seen);
    let mut chance: u64 = 11;
    let mut next = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chance >> 33).unwrap() % below
    };
    let values = [
        "on",
        "off",
        "yes",
        "5min",
        "it's {{ ours }}",
        "%m [%p] ",
        "a: b #c",
        "",
        "\"q\"",
        "ä, ö",
        "-1",
        "0.90",
    ];
    let names = ["cluster_name", "log_line_prefix", "archive_command", "application_name"];
    let rules = [
        "local all all trust",
        "host all all 127.0.0.1/32 trust",
        "hostssl shop \"App  User\" 10.0.0.0/24 scram-sha-256 # {{ x }}",
        "host all all ::1/128 md5",
    ];
    for turn in 0..150 {
        let mut formation = base.clone();
        let vary = |server: &mut Server, next: &mut dyn FnMut(usize) -> usize| {
            server.pgport = [5432, 5432, 5433][next(3)];
            server.listen = ["*", "10.0.0.1, 127.0.0.1"][next(2)].to_owned();
            server.auth = [Auth::Trust, Auth::Trust, Auth::Md5, Auth::Other("cert".into())][next(4)].clone();
            server.hba_edit = [HbaEdit::Minimal, HbaEdit::Minimal, HbaEdit::Lan, HbaEdit::Skip][next(4)];
            server.pgctl = [None, Some("/opt/pg/bin/pg_ctl".to_owned())][next(2)].clone();
            server.pghost = [None, Some("/run/pg".to_owned())][next(2)].clone();
            server.initdb.data_checksums = next(2) == 0;
            let own = |name: &str| format!("{}/server.{name}", server.pgdata);
            let (ca, mode) = [
                (None, SslMode::Require),
                (None, SslMode::Prefer),
                (Some("/ca".to_owned()), SslMode::VerifyFull),
                (Some("/ca".to_owned()), SslMode::VerifyCa),
            ][next(4)]
            .clone();
            server.tls = match next(4) {
                0 => Tls::Off,
                1 | 2 => Tls::Files {
                    cert: own("crt"),
                    key: own("key"),
                    ca: None,
                    crl: None,
                    mode: SslMode::Require,
                },
                _ => Tls::Files { cert: "/c.crt".into(), key: "/c.key".into(), ca, crl: None, mode },
            };
            server.settings = names[..next(5)]
                .iter()
                .map(|name| ((*name).to_owned(), values[next(values.len())].to_owned()))
                .collect();
            server.hba = (0..next(5)).map(|_| rules[next(rules.len())].to_owned()).collect();
        };
        if turn % 3 == 0 {
            // Half of what there is to share is shared.
            let mut first = formation.nodes.values().next().unwrap().server.clone();
            vary(&mut first, &mut next);
            for node in formation.nodes.values_mut() {
                (node.server.settings, node.server.hba) = (first.settings.clone(), first.hba.clone());
                (node.server.tls, node.server.auth) = (first.tls.clone(), first.auth.clone());
            }
        } else {
            if let Monitor::Managed(server) = &mut formation.monitor {
                vary(server, &mut next);
            }
            for node in formation.nodes.values_mut() {
                vary(&mut node.server, &mut next);
                node.candidate_priority = [50, 50, 7][next(3)];
                node.replication_quorum = next(3) > 0;
                node.proxyport = [None, Some(6432)][next(2)];
            }
        }
        let about = About {
            monitor: "mon".to_owned(),
            today: TODAY,
            connection: Vec::new(),
            left_out: BTreeMap::new(),
        };
        let written = inventory(&formation, Some(&rows), &Default::default(), &about);
        let back =
            inventory::parse("adopted.yml", &written.text, Path::new(".")).unwrap_or_else(|problems| {
                panic!("{}\n{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>(), written.text)
            });
        assert_eq!(compared(&back), compared(&formation), "{}", written.text);
    }
}
