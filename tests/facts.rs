//! What ten real hosts of a settled formation answered to the probe, and what a damaged answer reads as.
//!
//! The files are whole answers on Debian 12, after a failover there and back in group 1. `tests/facts/inventory.yml` is
//! `inventory/lab.yml` as it was then.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "facts/looks.rs"]
mod looks;

use std::path::Path;

use muster::facts::{Facts, Seen, Sight, parse};
use muster::formation::{Formation, NodeName, Server};
use muster::inventory::{load, parse as parse_inventory};
use muster::plan::plan;
use muster::resource::data::{DataDirectory, Pgdata};
use muster::resource::neighbours::{Neighbour, Whose};
use muster::state::State;

/// Records that are yes or no.
const FLAGS: [&str; 5] = ["systemd", "pgdata.standby", "keeper.enabled", "tls.key", "selinux"];

fn lab() -> Formation {
    load(Path::new("tests/facts/inventory.yml")).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The same at a monitor that the inventory does not name.
fn external() -> Formation {
    let text = std::fs::read_to_string("tests/facts/inventory.yml").unwrap();
    let own = text.find("    monitor:\n").unwrap()..text.find("    coordinator:\n").unwrap();
    let mut text = text.replacen(&text[own], "", 1);
    text =
        text.replacen("  vars:\n", "  vars:\n    monitor: postgres://autoctl_node@mon/pg_auto_failover\n", 1);
    parse_inventory("external.yml", &text, Path::new("inventory"))
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn server<'f>(formation: &'f Formation, name: &str) -> &'f Server {
    formation.servers().find(|server| server.name.0 == name).unwrap()
}

fn answer(name: &str) -> String {
    std::fs::read_to_string(format!("tests/facts/{name}.txt")).unwrap()
}

fn seen(formation: &Formation, name: &str) -> Seen {
    parse(formation, server(formation, name), &answer(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn data(seen: &Seen) -> &DataDirectory {
    match &seen.pgdata {
        Pgdata::Present(data) => data,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_superuser_that_is_not_there_is_told_with_the_one_that_is() {
    let text = std::fs::read_to_string("tests/facts/inventory.yml").unwrap();
    let text = text.replacen("  vars:\n", "  vars:\n    username: admin\n", 1);
    let formation = parse_inventory("inventory.yml", &text, Path::new("inventory")).unwrap();
    let refused = "psql: FATAL:  role \"admin\" does not exist";
    let line = |line: &str| match line.starts_with("sql:") {
        true => format!("sql!{refused}\n"),
        false => format!("{line}\n"),
    };
    let answer: String = answer("w1a").lines().map(line).collect();
    assert_eq!(
        parse(&formation, server(&formation, "w1a"), &answer).unwrap_err(),
        format!(
            "the superuser of PostgreSQL in /var/lib/postgresql/15/citus is postgres, and the inventory says admin: \
             set username to postgres ({refused})"
        )
    );
    // Where it is the right one nobody knows better than psql.
    assert_eq!(parse(&lab(), server(&lab(), "w1a"), &answer).unwrap_err(), refused);
}

#[test]
fn a_standby_as_it_really_is() {
    let formation = lab();
    let seen = seen(&formation, "w1a");
    let software = seen.software.as_ref().unwrap();
    assert_eq!((software.bin.as_str(), software.major), ("/usr/lib/postgresql/15/bin", 15));
    assert_eq!(software.pg_autoctl, Some(("/usr/bin/pg_autoctl".to_owned(), "2.0".to_owned())));
    assert_eq!(data(&seen).mark(), Some("formation default, group 1"));
    assert!(data(&seen).standby && data(&seen).postmaster.is_some());
    let conf = data(&seen).standby_conf.as_ref().unwrap();
    assert!(conf.reveal().contains("host=w1b port=5432"), "{}", conf.reveal());
    let database = seen.database.as_ref().unwrap();
    assert!(database.in_recovery);
    assert!(database.roles["pgautofailover_monitor"] && !database.roles["pgautofailover_replicator"]);
    assert!(database.databases.contains("app") && database.slots.contains("pgautofailover_standby_6"));
    assert_eq!(database.extensions.as_ref().unwrap()["citus"], "13.2-1");
    let state = seen.keeper.state.unwrap();
    assert_eq!((state.node_id, state.group, state.current), (2, 1, State::Secondary));
    assert!(seen.keeper.alive.is_some() && seen.keeper.enabled && seen.keeper.guard.is_some());
    assert_eq!(seen.tls.certificate.as_ref().unwrap().names, ["w1a", "10.88.0.14"]);
    assert!(seen.tls.key);
    assert!(seen.host.systemd && seen.host.listening.contains(&5432));
    assert!(seen.host.addresses.contains(&"10.88.0.14".parse().unwrap()));
    assert_eq!(seen.host.names["w1b"].address, "10.88.0.15".parse().ok());
    assert!(seen.host.names["w1b"].reverse);
    assert_eq!((seen.monitor, seen.citus), (None, None));
}

#[test]
fn a_monitor_as_it_really_is() {
    let formation = lab();
    let seen = seen(&formation, "mon");
    let monitor = seen.monitor.unwrap();
    assert_eq!(monitor.extension.as_deref(), Some("2.0"));
    assert_eq!(monitor.formation.as_ref().unwrap().kind, "citus");
    assert_eq!((monitor.nodes.len(), monitor.last_id), (9, 9));
    assert!(monitor.nodes.iter().all(|row| row.is_settled() && row.health == 1));
    let primaries: Vec<&str> = monitor
        .nodes
        .iter()
        .filter(|row| row.reported == Some(State::Primary))
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(primaries, ["coord2", "w1b", "w2b"]);
}

#[test]
fn a_coordinator_as_it_really_is() {
    let formation = lab();
    let citus = seen(&formation, "coord2").citus.unwrap();
    assert_eq!(citus.nodes.len(), 6);
    assert!(citus.nodes.iter().all(|row| row.active));
    assert_eq!(citus.nodes.iter().filter(|row| row.role == "primary").count(), 3);
    assert_eq!(citus.pools.len(), 0);
}

/// What a host was not asked it may not answer: a node that speaks for the monitor, or for Citus, is not heard.
#[test]
fn a_host_that_speaks_for_another_is_not_heard() {
    let formation = lab();
    let of =
        |name: &str, key: &str| answer(name).lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let (rows, citus) = (of("mon", "monitor:"), of("coord2", "citus:"));
    let forged: String = answer("w1a")
        .lines()
        .map(|line| match line {
            line if line.starts_with("monitor~") => format!("{rows}\n"),
            line if line.starts_with("citus~") => format!("{citus}\n"),
            line if line.starts_with("coordinator.at~") => "coordinator.at=w1a 5432\n".to_owned(),
            line if line.starts_with("coordinator~") => format!("coordinator:{}\n", &citus["citus:".len()..]),
            line => format!("{line}\n"),
        })
        .collect();
    assert!(forged.contains(&rows) && forged.contains("coordinator.at=w1a"));
    let seen = parse(&formation, server(&formation, "w1a"), &forged).unwrap();
    assert_eq!((seen.monitor, seen.citus, seen.coordinator), (None, None, None));
}

/// Part of an answer is no answer: nothing is taken to be absent because its line did not arrive.
#[test]
fn an_answer_that_is_cut_anywhere_is_an_error() {
    let formation = lab();
    for name in ["mon", "coord2", "w1a"] {
        let whole = answer(name);
        let mut at = 0;
        for line in whole.lines() {
            assert!(
                parse(&formation, server(&formation, name), &whole[..at]).is_err(),
                "{name} cut at {line:.40}"
            );
            let middle = at + line.len() / 2;
            assert!(
                parse(&formation, server(&formation, name), &whole[..middle]).is_err(),
                "{name} in {line:.40}"
            );
            at += line.len() + 1;
        }
    }
}

/// A record that says it could not look, or that is missing, or is no text of its kind: never "not there".
#[test]
fn a_record_that_is_damaged_is_never_read_as_absent() {
    let formation = lab();
    for name in ["mon", "coord2", "w1a"] {
        let whole = answer(name);
        let healthy = seen(&formation, name);
        let lines: Vec<&str> = whole.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let key = line.split(['=', ':', '~', '!']).next().unwrap();
            if key == "end" {
                continue;
            }
            for (damage, new) in [
                ("blind", Some(format!("{key}!permission denied"))),
                ("missing", None),
                ("no base64", Some(format!("{key}:%%%"))),
                ("noise", Some("bash: warning: setlocale".to_owned())),
                ("garbage", Some(format!("{key}=\u{fffd}-1e99"))),
                ("empty", Some(format!("{key}="))),
                ("absent", Some(format!("{key}~"))),
            ] {
                let mut damaged = lines.clone();
                match &new {
                    Some(new) => damaged[index] = new,
                    None => {
                        damaged.remove(index);
                    }
                }
                let text = damaged.join("\n") + "\n";
                // Nothing panics; what may still be read must not have lost what was there.
                let read = parse(&formation, server(&formation, name), &text);
                if matches!(damage, "blind" | "missing" | "no base64") && !line.ends_with('~') {
                    let unused = read.as_ref().is_ok_and(|read| *read == healthy);
                    assert!(read.is_err() || unused, "{name}: {key} {damage}: {read:?}");
                }
                if matches!(damage, "garbage" | "empty") && FLAGS.contains(&key) {
                    assert!(read.is_err(), "{name}: {key} {damage} is read as no");
                }
                if let (Ok(read), "garbage" | "empty") = (&read, damage) {
                    assert!(
                        matches!(read.pgdata, Pgdata::Present(_)),
                        "{name}: {key} {damage} hides the data"
                    );
                    assert_eq!(read.monitor.is_some(), healthy.monitor.is_some(), "{name}: {key} {damage}");
                    assert_eq!(read.database.is_some(), healthy.database.is_some(), "{name}: {key} {damage}");
                }
            }
        }
    }
}

/// A host whose answer cannot be read gets no step, whatever else is planned.
#[test]
fn a_host_that_could_not_be_read_gets_no_step() {
    let formation = lab();
    let mut facts = Facts::default();
    for server in formation.servers() {
        let whole = answer(&server.name.0);
        let half = whole.replace("end=", "");
        let text = if server.name.0 == "w1a" { &half } else { &whole };
        let sight = match parse(&formation, server, text) {
            Ok(seen) => Sight::Seen(Box::new(seen)),
            Err(why) => Sight::Unreadable(why),
        };
        facts.hosts.insert(server.name.clone(), sight);
    }
    let plan = plan(&formation, &facts, jiff::civil::date(2026, 11, 23)).unwrap();
    let name = NodeName::from("w1a");
    assert!(plan.blocked.contains_key(&name));
    assert!(plan.steps().all(|(_, node, step)| *node != name && step.on != name), "{:#?}", plan.waves);
}

/// `tests/facts/layouts`: hosts that are laid out otherwise, each with an inventory of its kind.
fn of_layout(inventory: &str, answer: &str, host: &str) -> Seen {
    let formation = load(Path::new(&format!("tests/facts/layouts/{inventory}.yml")))
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    let answer = std::fs::read_to_string(format!("tests/facts/layouts/{answer}.txt")).unwrap();
    parse(&formation, server(&formation, host), &answer).unwrap_or_else(|why| panic!("{host}: {why}"))
}

/// Debian's `main` runs on 5432, as after installing PostgreSQL there.
#[test]
fn a_cluster_of_debian() {
    let seen = of_layout("debian", "debian", "coord1");
    let main = Neighbour {
        whose: Whose::Cluster("15".to_owned(), "main".to_owned()),
        port: Some(5432),
        running: true,
        starts: true,
        data: "/var/lib/postgresql/15/main".to_owned(),
    };
    assert_eq!(seen.around.neighbours, [main]);
    assert!(matches!(seen.pgdata, Pgdata::Empty) && seen.host.listening.contains(&5432));
}

/// A stopped `main` on another port, its line with a comment behind it, and a unit as the RHEL family has it.
#[test]
fn a_unit_of_the_rhel_family() {
    let seen = of_layout("debian", "unit", "w1b");
    let [main, unit] = &seen.around.neighbours[..] else { panic!("{:?}", seen.around) };
    assert_eq!((main.port, main.running, main.starts), (Some(5433), false, true));
    assert_eq!(unit.whose, Whose::Unit("postgresql-15.service".to_owned()));
    assert_eq!((unit.data.as_str(), unit.port, unit.starts), ("/var/lib/pgsql/15/data", None, true));
}

/// A keeper's host laid out as in the RHEL family, with PostgreSQL 13 and pg_auto_failover 2.1: nothing is in PATH.
#[test]
fn a_host_of_the_rhel_family() {
    let seen = of_layout("rhel", "rhel", "coord1");
    let software = seen.software.as_ref().unwrap();
    assert_eq!((software.bin.as_str(), software.major), ("/usr/pgsql-13/bin", 13));
    assert_eq!(software.pg_autoctl, Some(("/usr/pgsql-13/bin/pg_autoctl".to_owned(), "2.1".to_owned())));
    assert_eq!(software.extensions["pgautofailover"], "2.1");
    assert_eq!(software.extensions.get("citus"), None);
    assert_eq!((seen.host.home.as_str(), data(&seen).major), ("/var/lib/pgsql", 13));
    let [unit] = &seen.around.neighbours[..] else { panic!("{:?}", seen.around) };
    assert_eq!((unit.data.as_str(), unit.starts), ("/var/lib/pgsql/13/data", true));
    assert!(seen.keeper.alive.is_some() && seen.keeper.enabled && seen.keeper.state.is_some());
    assert!(seen.database.unwrap().in_recovery);
}

/// PostgreSQL 18, pg_auto_failover 2.2 and no systemd.
#[test]
fn the_newest_postgresql() {
    let seen = of_layout("newest", "newest", "coord1");
    let software = seen.software.as_ref().unwrap();
    assert_eq!((software.major, software.extensions["pgautofailover"].as_str()), (18, "2.2"));
    // Its version is 2.2-4; what counts is the extension that it works with.
    assert_eq!(software.pg_autoctl, Some(("/usr/bin/pg_autoctl".to_owned(), "2.2".to_owned())));
    assert_eq!((data(&seen).major, data(&seen).control_version), (18, 1800));
    assert_eq!(seen.keeper.state.unwrap().current, State::Secondary);
    assert!(!seen.host.systemd && seen.keeper.alive.is_some() && seen.around.neighbours.is_empty());
    assert!(seen.database.unwrap().hba_errors.is_empty());
}

/// `coordinator` is asked of hosts whose coordinator may be elsewhere: with `monitor: postgres://…`.
#[test]
fn a_coordinator_elsewhere_is_seen_or_it_is_said_why_not() {
    use base64::Engine as _;
    use muster::resource::citus::Remote;
    let formation = external();
    let rows = answer("mon").lines().find(|line| line.starts_with("monitor:")).unwrap().to_owned();
    let read = |records: &str| {
        let answer =
            answer("w1a").replace("coordinator.at~\ncoordinator~\n", records).replace("monitor~", &rows);
        parse(&formation, server(&formation, "w1a"), &answer).map(|seen| seen.coordinator)
    };
    let seen = r#"{"nodes": [{"id": 1, "group": 0, "name": "c", "port": 5432, "active": true, "role": "primary",
        "cluster": "default", "metadata_synced": true}], "pools": {}}"#;
    let seen = base64::engine::general_purpose::STANDARD.encode(seen);
    match read(&format!("coordinator.at=c 5432\ncoordinator:{seen}\n")).unwrap() {
        Some(Remote::Seen { at, facts }) => {
            assert_eq!((at.as_str(), facts.nodes[0].name.as_str()), ("c 5432", "c"))
        }
        other => panic!("{other:?}"),
    }
    let unseen = Remote::Unseen { at: "c 5432".into(), why: "psql: no route".into() };
    assert_eq!(read("coordinator.at=c 5432\ncoordinator!psql: no route \n"), Ok(Some(unseen)));
    assert_eq!(read("coordinator.at=\ncoordinator~\n"), Ok(Some(Remote::Absent)));
    assert_eq!(read("coordinator.at~\ncoordinator~\n"), Ok(None));
    assert!(read("").is_err(), "what was not answered was not looked at");
}
