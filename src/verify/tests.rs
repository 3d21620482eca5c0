use std::collections::BTreeMap;

use super::*;
use crate::facts::Sight;
use crate::formation::Monitor;
use crate::resource::citus::{CitusFacts, CitusNode, Remote};
use crate::resource::data::{Pgdata, Software};
use crate::resource::database::DatabaseFacts;
use crate::resource::host::HostFacts;
use crate::resource::keeper::KeeperFacts;
use crate::resource::monitor::NodeRow;
use crate::resource::place::{Access, Is, Place};
use crate::resource::streaming::{Sender, Slot, Streaming};
use crate::resource::tls::{Shown, TlsFacts};

fn lab() -> Formation {
    crate::inventory::parse("lab.yml", include_str!("../../inventory/lab.yml"), "inventory".as_ref()).unwrap()
}

fn row(id: u64, node: &Node) -> NodeRow {
    let standby = node.standing == crate::formation::Standing::Secondary || node.is_reader();
    let state = if standby { State::Secondary } else { State::Primary };
    NodeRow {
        id,
        name: node.name().0.clone(),
        host: node.server.hostname.clone(),
        port: node.server.pgport,
        group: node.group,
        system_identifier: None,
        reported: Some(state),
        assigned: Some(state),
        running: true,
        timeline: 1,
        lsn: "0/3000000".into(),
        health: 1,
        candidate_priority: node.candidate_priority.into(),
        replication_quorum: node.replication_quorum,
        cluster: node.cluster().into(),
        silent: 0,
    }
}

fn citus_row(id: u32, node: &Node) -> CitusNode {
    CitusNode {
        id: id.into(),
        group: node.group.into(),
        name: node.server.hostname.clone(),
        port: node.server.pgport.into(),
        active: true,
        role: if node.is_reader() { "secondary" } else { "primary" }.into(),
        cluster: node.cluster().into(),
        metadata_synced: true,
    }
}

/// A formation that serves, as its hosts tell it; `change` spoils something.
fn facts(
    formation: &Formation,
    change: impl Fn(&mut MonitorFacts, &mut CitusFacts, &mut BTreeMap<NodeName, Sight>),
) -> Facts {
    let nodes: Vec<NodeRow> = formation.nodes.values().zip(1..).map(|(node, id)| row(id, node)).collect();
    let mut monitor = MonitorFacts { nodes, ..MonitorFacts::default() };
    let standby = |node: &&Node| node.standing == crate::formation::Standing::Secondary && !node.is_reader();
    let listed = formation.nodes.values().filter(|node| !standby(node));
    let rows = listed.zip(1..).map(|(node, id)| citus_row(id, node)).collect();
    let mut citus = CitusFacts { nodes: rows, pools: BTreeMap::new() };
    let mut hosts = BTreeMap::new();
    change(&mut monitor, &mut citus, &mut hosts);
    let Monitor::Managed(server) = &formation.monitor else { panic!("the lab's monitor is managed") };
    for name in formation.servers().map(|server| server.name.clone()) {
        let seen = Seen {
            host: HostFacts {
                memory: 1 << 30,
                cpus: 1,
                systemd: true,
                home: "/".into(),
                networks: Default::default(),
                addresses: Default::default(),
                names: BTreeMap::new(),
                listening: Default::default(),
                lacks_locale: false,
                boot: None,
            },
            around: crate::resource::neighbours::Surroundings::default(),
            software: Some(Software {
                bin: "/pg/bin".into(),
                major: 15,
                pg_autoctl: None,
                extensions: Default::default(),
            }),
            unconfirmed: None,
            tls: TlsFacts {
                certificate: None,
                file: false,
                key: false,
                unreadable: Vec::new(),
                served: None,
                given: None,
                authority: None,
                revoked: None,
                trusted: Vec::new(),
                given_authority: None,
                unusable: Vec::new(),
                unvouched: false,
                ed25519: false,
                shown: Shown::Unknown,
            },
            pgdata: Pgdata::Empty,
            place: Place {
                near: "/var/lib/postgresql".to_owned(),
                room_kb: 1,
                inodes: None,
                access: Access::Writable,
                is: Is::Plain,
                tmp_kb: 1,
                tmp_inodes: None,
            },
            client: Default::default(),
            node_conf: None,
            pgpass: None,
            pgpass_mode: None,
            warnings: Vec::new(),
            adopted: None,
            hook: Default::default(),
            database: Some(database(formation, &monitor, &name)),
            keeper: KeeperFacts::default(),
            monitor: (name == server.name).then(|| monitor.clone()),
            citus: (name.0 == "coord1").then(|| citus.clone()),
            coordinator: None,
        };
        hosts.entry(name).or_insert(Sight::Seen(Box::new(seen)));
    }
    Facts { hosts }
}

/// What a server says that waits for the standbys that count.
fn database(formation: &Formation, monitor: &MonitorFacts, name: &NodeName) -> DatabaseFacts {
    let group = formation.nodes.get(name).map(|node| node.group);
    let counted = monitor
        .nodes
        .iter()
        .filter(|row| Some(row.group) == group && row.name != name.0 && row.replication_quorum);
    let names: Vec<String> = counted.map(|row| format!("pgautofailover_standby_{}", row.id)).collect();
    let others = monitor.nodes.iter().filter(|row| Some(row.group) == group && row.name != name.0);
    let followers: Vec<String> = others.map(|row| format!("pgautofailover_standby_{}", row.id)).collect();
    let is_primary =
        monitor.nodes.iter().any(|row| row.name == name.0 && row.reported == Some(State::Primary));
    DatabaseFacts {
        in_recovery: !is_primary,
        streaming: Some(streaming(&followers, &names, is_primary)),
        roles: BTreeMap::new(),
        verifiers: BTreeMap::new(),
        lacks: BTreeMap::new(),
        databases: Default::default(),
        uptime: None,
        slots: Default::default(),
        synchronous_standby_names: format!("ANY 1 ({})", names.join(", ")),
        pending_restart: Default::default(),
        lowered: Default::default(),
        runs_with: Default::default(),
        by_command_line: Default::default(),
        hba_errors: Vec::new(),
        hba_notes: Vec::new(),
        needs_restart: Default::default(),
        made_by: None,
        setting_errors: Vec::new(),
        unread: Default::default(),
        extensions: None,
    }
}

fn streaming(standbys: &[String], counted: &[String], is_primary: bool) -> Streaming {
    let sender = |name: &String| Sender {
        name: name.clone(),
        state: "streaming".into(),
        sync: if counted.contains(name) { "quorum" } else { "async" }.into(),
        behind: Some(0),
        unread: Some(0),
        delay_ms: None,
        unheard: Some(1),
    };
    let slot = |name: &String| Slot {
        name: name.clone(),
        active: true,
        wal_status: Some("reserved".into()),
        holds: Some(0),
        synced: false,
    };
    match is_primary {
        true => Streaming {
            senders: standbys.iter().map(sender).collect(),
            slots: standbys.iter().map(slot).collect(),
            ..Streaming::default()
        },
        false => Streaming { receiver: Some("streaming".into()), ..Streaming::default() },
    }
}

fn wrong(facts: &Facts) -> Vec<String> {
    let checks = from_facts(&lab(), facts);
    checks
        .into_iter()
        .filter_map(|check| Some(format!("{}: {}", check.subject, check.result.err()?.why())))
        .collect()
}

#[test]
fn a_formation_that_serves_passes() {
    let facts = facts(&lab(), |_, _, _| {});
    assert_eq!(wrong(&facts), Vec::<String>::new());
    // Nine nodes, three groups, six standbys, three primaries and three readers in pg_dist_node.
    assert_eq!(from_facts(&lab(), &facts).len(), 9 + 3 + 6 + 6);
}

#[test]
fn every_spoiled_fact_is_found() {
    let find = |monitor: &mut MonitorFacts, name: &str| monitor.nodes.iter().position(|r| r.name == name);
    let spoil = |change: &dyn Fn(&mut NodeRow)| {
        wrong(&facts(&lab(), |monitor, _, _| {
            let at = find(monitor, "w1b").unwrap();
            change(&mut monitor.nodes[at]);
        }))
    };
    assert_eq!(
        spoil(&|row| row.assigned = Some(State::Catchingup)),
        ["w1b: it is secondary, to become catchingup"]
    );
    assert_eq!(spoil(&|row| row.health = 0), ["w1b: the monitor cannot connect to it"]);
    assert_eq!(spoil(&|row| row.health = -1), ["w1b: the monitor has not checked its health yet"]);
    assert_eq!(spoil(&|row| row.running = false), ["w1b: PostgreSQL does not run, says its last report"]);
    assert_eq!(spoil(&|row| row.timeline = 2), ["group 1: w1b is on timeline 2, its primary w1a on 1"]);
    assert_eq!(spoil(&|row| row.name = "x".into()), ["w1b: the monitor does not know it"]);
    assert_eq!(
        spoil(&|row| (row.reported, row.assigned) = (Some(State::Primary), Some(State::Primary))),
        ["group 1: more than one node is to take writes: w1a, w1b"]
            .map(String::from)
            .into_iter()
            .chain(std::iter::once(
                "pg_dist_node: w1a:5432: primary of group 1 is in pg_dist_node, and should not be".into()
            ))
            .collect::<Vec<_>>()
    );
}

#[test]
fn every_row_of_citus_is_compared() {
    let spoil = |change: &dyn Fn(&mut CitusFacts)| wrong(&facts(&lab(), |_, citus, _| change(citus)));
    let at = |citus: &CitusFacts, name: &str| citus.nodes.iter().position(|row| row.name == name).unwrap();
    let one = |change: fn(&mut CitusNode)| {
        spoil(&|citus| {
            let at = at(citus, "w2a");
            change(&mut citus.nodes[at]);
        })
    };
    assert_eq!(one(|row| row.active = false), ["pg_dist_node: w2a:5432: it is not active"]);
    assert_eq!(
        one(|row| row.group = 7),
        [
            "pg_dist_node: w2a:5432: it is primary of group 7, cluster default, it should be primary of group 2, \
             cluster default"
        ]
    );
    assert_eq!(
        one(|row| row.port = 1),
        [
            "pg_dist_node: w2a:5432: it is not there",
            "pg_dist_node: w2a:1: primary of group 2 is in pg_dist_node, and should not be"
        ]
    );
}

#[test]
fn what_was_not_seen_does_not_pass() {
    let away = || Sight::Unreadable("cut short".into());
    let facts_without = |name: &str| {
        facts(&lab(), |_, _, hosts| {
            hosts.insert(name.into(), away());
        })
    };
    let blind = "formation: could not look: the monitor did not answer";
    assert_eq!(
        wrong(&facts_without("mon")),
        [blind, blind, blind, blind, "mon: could not look: cut short"],
        "why, too"
    );
    // Nothing else hangs on it.
    assert_eq!(wrong(&facts_without("coord2")), ["coord2: could not look: cut short"]);
    assert_eq!(
        wrong(&facts_without("coord1")),
        [
            "group 0: could not look: PostgreSQL of coord1 was not seen",
            "coord1r: could not look: PostgreSQL of coord1 was not seen",
            "coord2: could not look: PostgreSQL of coord1 was not seen",
            "coord1: could not look: cut short",
            "pg_dist_node: could not look: coord1 could not be seen"
        ]
    );
    assert!(probes(&lab(), &Facts::default()).is_empty());
    assert_eq!(wrong(&Facts::default()), [blind; 4]);
}

#[test]
fn a_client_connects_as_the_printed_uri_says_and_no_password_is_an_argument() {
    let mut formation = lab();
    for node in formation.nodes.values_mut() {
        node.password = Some(Secret::new("s3cret"));
    }
    let probes = probes(&formation, &facts(&formation, |_, _, _| {}));
    let subjects: Vec<&str> = probes.iter().map(|probe| probe.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "every Citus node reaches every other",
            "a commit on coord1",
            "a commit on w1a",
            "a commit on w2a",
            "formation default",
            "read-replica reports"
        ]
    );
    let env: Vec<String> =
        probes[4].command.env.iter().map(|(key, value)| format!("{key}={}", value.reveal())).collect();
    assert_eq!(
        env,
        [
            "PGHOST=coord1,coord2",
            "PGPORT=5432,5432",
            "PGDATABASE=app",
            "PGCONNECT_TIMEOUT=5",
            "PGTARGETSESSIONATTRS=read-write",
            "PGUSER=postgres",
            "PGSSLMODE=require",
            "PGPASSWORD=s3cret",
        ]
    );
    assert!(!format!("{probes:?}").contains("s3cret"));
}

#[test]
fn answers_are_judged() {
    for (expects, said, ok) in [
        (Expects::AllReached, "9|", true),
        (Expects::AllReached, "0|", false),
        (Expects::AllReached, "9|a:1 does not reach b:2", false),
        (Expects::ReadWrite, "f|10.0.0.1", true),
        (Expects::ReadWrite, "t|10.0.0.1", false),
        (Expects::OneOfWriters, "f|10.0.0.1", false),
        (Expects::ReadOnly, "t|10.0.0.1", true),
        (Expects::ReadOnly, "f|10.0.0.1", false),
        (Expects::ReadOnly, "", false),
        (Expects::ReadWrite, "x|", false),
        (Expects::Written, "3|ANY 1 (pgautofailover_standby_2)", true),
        (Expects::Written, "9999|", true),
        (Expects::Written, "10000|ANY 1 (pgautofailover_standby_2)", false),
        (Expects::Written, "|", false),
        (Expects::Written, "", false),
    ] {
        assert_eq!(read(expects, said).is_ok(), ok, "{expects:?} {said}");
    }
}

/// A node that the coordinator could not log in to was asked nothing.
#[test]
fn pairs_that_were_not_asked_are_no_failed_ones() {
    let read = |said: &str| read(Expects::AllReached, said);
    let unknown = "whom these reach is unknown, as the coordinator could not ask them: w1:1, w2:1";
    let failed = "c:1 does not reach w1:1, c:1 does not reach w2:1";
    assert_eq!(read(&format!("9|{failed}|w1:1, w2:1")), Err(format!("{failed}; {unknown}")));
    assert_eq!(read("9||w1:1, w2:1"), Err(unknown.to_owned()), "what nobody knows is not passed");
    assert_eq!(read("9|a:1 does not reach b:2|"), Err("a:1 does not reach b:2".to_owned()));
    assert_eq!(read("9||"), Ok("9 pairs checked".to_owned()));
    assert!(HEALTH.contains("(where not result)") && HEALTH.contains("(where result is null)"));
}

/// The inventory names a part of the formation: the rest is somebody else's to verify.
#[test]
fn strangers_are_taken_at_the_monitors_word() {
    let part = |names: &[&str]| {
        let mut formation = lab();
        formation.nodes.retain(|name, _| names.contains(&name.0.as_str()));
        formation
    };
    let said = |formation: &Formation, facts: &Facts| -> Vec<(String, Result<String, Wrong>)> {
        let mut facts = facts.clone();
        // A stranger's host is not looked at.
        let is_ours = |name: &NodeName| formation.servers().any(|server| server.name == *name);
        facts.hosts.retain(|name, _| is_ours(name));
        from_facts(formation, &facts).into_iter().map(|check| (check.subject, check.result)).collect()
    };
    // A standby of a stranger: no row of pg_dist_node is its matter.
    let checks = said(&part(&["w1b"]), &facts(&lab(), |_, _, _| {}));
    assert_eq!(checks.len(), 3, "{checks:?}");
    let group = &checks[1];
    assert_eq!(group.1, Ok("w1a takes writes, timeline 1; the inventory does not name it".to_owned()));

    // A primary whose coordinator is elsewhere: what its host has seen there, or that it has not.
    let own = part(&["w1a"]);
    let of = |remote: Option<Remote>| {
        let mut all = facts(&lab(), |_, _, _| {});
        let rows = all.seen(&"coord1".into()).and_then(|seen| seen.citus.clone()).unwrap();
        let Some(Sight::Seen(seen)) = all.hosts.get_mut(&"w1a".into()) else { panic!("it was seen") };
        seen.coordinator = match remote {
            Some(Remote::Seen { at, .. }) => Some(Remote::Seen { at, facts: rows }),
            other => other,
        };
        said(&own, &all)
            .into_iter()
            .filter(|(subject, _)| subject.starts_with("pg_dist_node"))
            .collect::<Vec<_>>()
    };
    let row = "pg_dist_node: w1a:5432".to_owned();
    let found = of(Some(Remote::Seen { at: "coord1 5432".into(), facts: CitusFacts::default() }));
    assert_eq!(found, [(row, Ok("active primary of group 1, cluster default".to_owned()))]);
    for remote in [None, Some(Remote::Absent), Some(Remote::Unseen { at: "c 5432".into(), why: "no".into() })]
    {
        let checks = of(remote);
        assert!(
            matches!(&checks[..], [(_, Err(wrong))] if wrong.why().starts_with("could not look: ")),
            "{checks:?}"
        );
    }
}

/// The failed checks after `change`, with what a server of the group says of itself.
fn spoiled(
    change: impl Fn(&mut MonitorFacts, &mut BTreeMap<NodeName, Sight>),
    server: impl Fn(&str, &mut DatabaseFacts),
) -> Vec<(String, Wrong)> {
    let formation = lab();
    let mut facts = facts(&formation, |monitor, _, hosts| change(monitor, hosts));
    for (name, sight) in &mut facts.hosts {
        if let Sight::Seen(seen) = sight {
            seen.database.as_mut().into_iter().for_each(|database| server(&name.0, database));
        }
    }
    let checks = from_facts(&formation, &facts).into_iter();
    checks.filter_map(|check| Some((check.subject, check.result.err()?))).collect()
}

fn says(found: &[(String, Wrong)]) -> Vec<String> {
    found.iter().map(|(subject, wrong)| format!("{subject}: {}", wrong.why())).collect()
}

#[test]
fn a_dead_old_primary_is_no_second_one() {
    let dies = |monitor: &mut MonitorFacts, hosts: &mut BTreeMap<NodeName, Sight>| {
        let failure = Failure::Unreachable { reason: "no route to host".into(), hint: String::new() };
        hosts.insert("w1a".into(), Sight::Unreachable(failure));
        for row in monitor.nodes.iter_mut().filter(|row| row.group == 1) {
            match row.name.as_str() {
                "w1a" => (row.assigned, row.health, row.silent) = (Some(State::Demoted), 0, 95),
                "w1b" => {
                    (row.reported, row.assigned) = (Some(State::WaitPrimary), Some(State::WaitPrimary));
                    row.timeline = 2;
                }
                _ => row.timeline = 2,
            }
        }
    };
    let is_promoted = |name: &str, database: &mut DatabaseFacts| {
        database.in_recovery &= name != "w1b";
        if name == "w1b" {
            database.streaming = Some(streaming(&["pgautofailover_standby_7".into()], &[], true));
        }
    };
    let found = spoiled(dies, is_promoted);
    assert!(found.iter().all(|(subject, _)| subject != "group 1"), "{found:?}");
    assert!(
        says(&found).iter().any(|line| line.starts_with("w1a: its keeper has not reported")),
        "{found:?}"
    );

    // Two servers that take writes are two, whatever the monitor has heard.
    let found = spoiled(|_, _| {}, |name, database| database.in_recovery &= name != "w1b");
    assert!(
        says(&found).contains(&"group 1: more than one node takes writes: w1a, w1b".to_owned()),
        "{found:?}"
    );
}

#[test]
fn a_host_that_is_away_is_told_from_what_is_wrong() {
    let failure = || Failure::Unreachable { reason: "no route to host".into(), hint: String::new() };
    let found = spoiled(
        |_, hosts| {
            hosts.insert("w1a".into(), Sight::Unreachable(failure()));
        },
        |_, _| {},
    );
    assert!(!found.is_empty());
    assert!(found.iter().all(|(_, wrong)| matches!(wrong, Wrong::Away(_))), "{found:?}");
    let found = spoiled(
        |monitor, hosts| {
            hosts.insert("w1a".into(), Sight::Unreachable(failure()));
            monitor.nodes.iter_mut().for_each(|row| row.health = i32::from(row.name != "w1a"));
        },
        |_, _| {},
    );
    assert!(found.iter().any(|(_, wrong)| matches!(wrong, Wrong::Found(_))), "{found:?}");
}

#[test]
fn who_only_seems_to_follow_fails() {
    let row = |change: &dyn Fn(&mut NodeRow)| {
        says(&spoiled(
            |monitor, _| monitor.nodes.iter_mut().filter(|row| row.name == "w1b").for_each(change),
            |_, _| {},
        ))
    };
    assert_eq!(
        row(&|row| row.silent = 21),
        [
            "w1b: its keeper has not reported to the monitor for 21 s, so it follows no order of the monitor; its last report was secondary"
        ]
    );
    assert_eq!(row(&|row| row.silent = 20), Vec::<String>::new());
    for (state, says) in [
        (State::Maintenance, "it is in maintenance: nothing fails over to it"),
        (State::PrepareMaintenance, "it is on its way into maintenance"),
        (State::WaitMaintenance, "it is on its way into maintenance"),
    ] {
        let found = row(&|row| (row.reported, row.assigned) = (Some(state), Some(state)));
        assert_eq!(found[0], format!("w1b: {says}"));
    }
    let sender = |change: &dyn Fn(&mut Sender)| {
        let of_w1a = |name: &str, database: &mut DatabaseFacts| {
            let senders = &mut database.streaming.as_mut().unwrap().senders;
            let w1b = senders.iter_mut().filter(|_| name == "w1a").find(|sender| sender.sync == "quorum");
            w1b.into_iter().for_each(change);
        };
        says(&spoiled(|_, _| {}, of_w1a))
    };
    for (change, wrong) in [
        (&(|s: &mut Sender| s.name = "psql".into()) as &dyn Fn(&mut Sender), "it has no connection there"),
        (&|s: &mut Sender| s.state = "catchup".into(), "its connection is in state catchup"),
        (&|s: &mut Sender| s.unheard = Some(21), "it has not answered there for 21 s"),
        (&|s: &mut Sender| s.sync = "async".into(), "do not wait for it (sync_state is async)"),
        (
            &|s: &mut Sender| s.behind = Some(5 << 30),
            "5120 MB behind, and the monitor promotes no standby above 16 MB",
        ),
    ] {
        let found = sender(change);
        assert!(
            found.len() == 1 && found[0].starts_with("w1b: ") && found[0].contains(wrong),
            "{wrong}: {found:?}"
        );
    }
    let paused = |name: &str, database: &mut DatabaseFacts| {
        database.streaming.as_mut().unwrap().paused = name == "w1b";
    };
    assert!(says(&spoiled(|_, _| {}, paused))[0].starts_with("w1b: its replay is paused"));
}

/// A row that nobody can mean hides no other.
#[test]
fn odd_numbers_of_citus_are_read() {
    let text = r#"{"nodes": [{"id": 7, "group": -1, "name": "x", "port": 70000, "active": false, "role": "primary",
        "cluster": "default", "metadata_synced": false}], "pools": {"-3": "host=x"}}"#;
    let citus: CitusFacts = serde_json::from_str(text).expect("it is read");
    let found = wrong(&facts(&lab(), |_, found, _| found.nodes.extend(citus.nodes.clone())));
    assert_eq!(found, ["pg_dist_node: x:70000: primary of group -1 is in pg_dist_node, and should not be"]);
}

/// The monitor raises the number by itself, for all groups, where one gets its third node.
#[test]
fn a_group_that_bears_no_loss_is_told() {
    let formation = lab();
    let with = |number: u32, lone: &str| {
        facts(&formation, |monitor, _, _| {
            monitor.formation = Some(crate::resource::monitor::FormationRow {
                kind: "citus".into(),
                dbname: "app".into(),
                number_sync_standbys: number,
            });
            let counts = monitor.nodes.iter_mut().filter(|row| row.name.ends_with('r') && row.group != 1);
            counts.for_each(|row| row.replication_quorum = row.name != lone);
        })
    };
    let told = |facts: &Facts| {
        let all = facts::quorum::waits_for_all(&formation, facts);
        all.into_iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>()
    };
    assert_eq!(told(&with(0, "")), [""; 0]);
    let found = told(&with(1, "coord1r"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("coord1: no commit of group 0 returns while coord2 is away"), "{found:?}");
    assert!(found[1].starts_with("w1a: no commit of group 1 returns while w1b is away"), "{found:?}");
}

#[test]
fn a_certificate_for_another_name_is_told_where_somebody_verifies_it() {
    let tls = |mode: &str| {
        let text = format!(
            "all:\n  vars: {{pgdata: /d, server_cert: /c.crt, server_key: /c.key, ssl_ca_file: /ca.crt, ssl_mode: {mode}}}\n  \
               children: {{monitor: {{hosts: {{mon: {{}}}}}}, postgres: {{hosts: {{a: {{}}, b: {{secondary: true}}}}}}}}\n"
        );
        crate::inventory::parse("t.yml", &text, "".as_ref()).unwrap()
    };
    let day = jiff::civil::date(2026, 1, 1);
    let given = |names: &[&str]| crate::resource::certificate::Certificate {
        not_before: day,
        not_after: day,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        subject: String::new(),
        issuer: String::new(),
        key: String::new(),
        serial: String::new(),
        signed_with: None,
        own_key: None,
    };
    let told = |mode: &str, names: &[&str]| {
        let formation = tls(mode);
        let all = facts(&formation, |_, _, _| {});
        let Some(Sight::Seen(seen)) = all.hosts.get(&NodeName::from("a")) else { panic!("it is seen") };
        let mut seen = seen.clone();
        seen.tls.given = Some(given(names));
        facts::start::is_for_another(&formation, &formation.nodes[&NodeName::from("a")].server, &seen)
    };
    assert_eq!(told("verify-full", &["b", "a"]), None);
    assert_eq!(told("verify-ca", &["elsewhere"]), None);
    let why = told("verify-full", &["elsewhere"]).unwrap();
    assert!(why.starts_with("the certificate /c.crt is for elsewhere, and not for a: "), "{why}");
}
