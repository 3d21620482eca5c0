//! A variable that changes on a formation that runs: one run brings it about, and where it is cut off the next one does.

use std::path::Path;

use muster::formation::{Formation, NodeName};
use muster::inventory::parse;
use muster::plan::{Plan, plan};
use muster::resource::data::STANDBY_CONF;
use muster::scope::Scope;
use muster::step::Stage;

use crate::converge::{assert_serves, settled};
use crate::run::{Dice, TODAY, Trouble, converge, execute, plan_for};
use crate::world::{Data, World, config_path, with_what_is_made};

const PGPASS: &str = "/var/lib/postgresql/.pgpass";

const BEFORE: &str = "
all:
  vars: {pgdata: /srv/pg, auth: scram-sha-256, password: p, replication_password: q, monitor_password: m, listen: '*'}
  children:
    monitor: {hosts: {m: {}}}
    postgres:
      vars: {maximum_backup_rate: 100M, proxyport: 6432}
      hosts: {a: {}, b: {secondary: true}}
";

/// What a keeper takes in at a hangup, what it reads at its start only, and what it finds in `~/.pgpass`.
const CHANGES: &[(&str, &[(&str, &str)])] = &[
    ("maximum_backup_rate", &[("100M", "1M")]),
    ("proxyport", &[("6432", "6433")]),
    ("listen", &[("'*'", "'0.0.0.0'")]),
    ("password", &[("password: p,", "password: p2,")]),
    ("replication_password", &[("password: q", "password: q2")]),
    ("monitor_password", &[("password: m", "password: m2")]),
    (
        "auth and TLS at once",
        &[(
            "scram-sha-256, password: p, replication_password: q, monitor_password: m",
            "trust, no_ssl: true",
        )],
    ),
    (
        "certificates in place of passwords",
        &[("scram-sha-256, password: p, replication_password: q, monitor_password: m", "cert")],
    ),
    (
        "all",
        &[
            ("100M", "1M"),
            ("6432", "6433"),
            ("password: p,", "password: p2,"),
            ("password: q", "password: q2"),
            ("password: m", "password: m2"),
        ],
    ),
];

fn formation(text: &str) -> Formation {
    let formation = parse("db.yml", text, Path::new(""));
    with_what_is_made(formation.unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn titles(plan: &Plan) -> String {
    plan.steps().map(|(_, node, step)| format!("{node}: {}\n", step.title())).collect()
}

#[test]
fn a_change_cut_at_any_step_is_finished_by_the_next() {
    let before = settled(&formation(BEFORE));
    for (what, edits) in CHANGES {
        let text = edits.iter().fold(BEFORE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let after = formation(&text);
        for at in 0.. {
            let mut world = before.clone();
            world.formation = after.clone();
            let plan = plan_for(&after, &mut world);
            assert!(!plan.is_empty() && plan.blocked.is_empty(), "{what}: {:#?}", plan.blocked);
            let outcome = execute(&plan, &mut world, Trouble::Cut(at), &mut Dice(at as u64));
            assert!(outcome.failed.is_empty(), "{what} cut at {at}: {:#?}", outcome.failed);
            if !outcome.cut {
                assert_serves(&after, &mut world, what);
                let more = plan_for(&after, &mut world);
                assert!(more.is_empty(), "{what}: there is more to do: {}", titles(&more));
                break;
            }
            converge(&after, &mut world, &mut Dice(1));
            assert_serves(&after, &mut world, &format!("{what} cut at {at}"));
        }
    }
}

/// What shuts out who has not been told is done last, and not where somebody could not be told.
#[test]
fn nobody_is_shut_out_who_could_not_be_told() {
    let before = "all:\n  vars: {pgdata: /srv/pg, VARS}\n  children:\n    monitor: {hosts: {m: {}}}\n    postgres:\n      \
        hosts: {a: {}, b: {secondary: true}}\n";
    let of = |vars: &str| formation(&before.replace("VARS", vars));
    const SCRAM: &str = "auth: scram-sha-256, password: p, replication_password: q, monitor_password: m";
    for (was, now) in [
        ("no_ssl: false", "no_ssl: true"),
        ("no_ssl: true", "no_ssl: false"),
        ("auth: trust", "auth: cert"),
        ("auth: trust, ssl_self_signed: true", "auth: cert"),
        (SCRAM, "auth: cert"),
        ("auth: cert", SCRAM),
    ] {
        let (settled, after) = (settled(&of(was)), of(now));
        let changed = || {
            let mut world = settled.clone();
            world.formation = after.clone();
            world
        };
        for name in ["b", "m"] {
            let mut world = changed();
            world.host(name).sight = crate::world::Seeing::Unreachable;
            let plan = plan_for(&after, &mut world);
            let steps = titles(&plan);
            assert!(
                plan.steps().all(|(stage, _, _)| stage != Stage::Adjust),
                "{now}, without {name}: {steps}"
            );
            execute(&plan, &mut world, Trouble::Nothing, &mut Dice(1));
            assert_nobody_is_shut_out(&mut world, &format!("{now}, without {name}"));
        }
        for at in 0.. {
            let mut world = changed();
            let plan = plan_for(&after, &mut world);
            if at >= plan.steps().count() {
                break;
            }
            execute(&plan, &mut world, Trouble::Fails(at), &mut Dice(at as u64));
            assert_nobody_is_shut_out(&mut world, &format!("{now}, step {at} failed"));
            converge(&after, &mut world, &mut Dice(1));
            assert_serves(&after, &mut world, &format!("{now}, step {at} failed"));
        }
    }
}

fn assert_nobody_is_shut_out(world: &mut World, when: &str) {
    for name in ["a", "b"].map(NodeName::from) {
        let config = &world.hosts[&name].files[&config_path(world.server(&name))];
        let mode =
            config.lines().find_map(|line| line.strip_prefix("sslmode = ")).expect("it has one").to_owned();
        let monitor = world.hosts[&NodeName::from("m")].data().expect("the monitor has data");
        let is_its = |rule: &&str| rule.contains("\"autoctl_node\"") && rule.starts_with("host");
        let comes_in = monitor.rules().lines().filter(is_its).any(|rule| monitor.takes(&mode, rule));
        assert!(comes_in, "{when}: the monitor shuts out {name} with sslmode={mode}");
        let is_known = |rule: &str, data: &Data, role: &str| match rule {
            rule if rule.contains(" trust") => true,
            rule if rule.contains(" cert ") => world.is_known(&name, data, rule, role),
            _ => world.hosts[&name].files[PGPASS].contains(&format!(":{role}:")),
        };
        let rule = monitor.rules().lines().find(is_its).expect("it has one");
        assert!(is_known(rule, monitor, "autoctl_node"), "{when}: the monitor does not know {name}: {rule}");
        let data = world.hosts[&name].data().expect("it has data");
        let mode = data
            .loaded
            .get(STANDBY_CONF)
            .and_then(|conf| conf.split([' ', '\'']).find_map(|word| word.strip_prefix("sslmode=")));
        if let Some(mode) = mode.filter(|_| data.standby) {
            let primary = world.hosts[&NodeName::from("a")].data().expect("it has data");
            let rule = primary.rule_of_streams(&world.server(&name).hostname).expect("it has one");
            assert!(primary.takes(mode, rule), "{when}: a shuts out {name} with {mode}");
            let role = "pgautofailover_replicator";
            assert!(is_known(rule, primary, role), "{when}: a does not know {name}: {rule}");
        }
    }
}

/// One node with a wrong word: it is left alone with the reason, and so is everything that its peers have of it.
#[test]
fn an_inventory_that_contradicts_the_monitor_changes_nothing() {
    let right = "all:\n  vars: {pgdata: /srv/pg, pg_hba_lan: false}\n  children:\n    monitor: {hosts: {m: {}}}\n    \
        coordinator: {hosts: {c1: {hostname: c1.x}, c2: {secondary: true, hostname: c2.x}}}\n    workers: {hosts: {\
        w1: {group: 1, hostname: w1.x}, w2: {group: 1, secondary: true, hostname: w2.x}, w3: {group: 2, hostname: w3.x}}}\n";
    let settled = settled(&formation(right));
    for (who, from, to) in [
        ("w2", "hostname: w2.x", "hostname: w9.x"),
        ("w1", "hostname: w1.x", "hostname: w9.x"),
        ("c2", "hostname: c2.x", "hostname: c9.x"),
        ("c1", "hostname: c1.x", "hostname: c9.x"),
        ("w2", "group: 1, secondary", "group: 2, secondary"),
        ("w3", "group: 2, hostname", "group: 3, hostname"),
    ] {
        let after = formation(&right.replace(from, to));
        let mut world = settled.clone();
        world.formation = after.clone();
        let plan = plan_for(&after, &mut world);
        assert!(plan.blocked.contains_key(&NodeName::from(who)), "{to}: {:?}", plan.blocked);
        assert!(plan.is_empty(), "{to}: {}", titles(&plan));
    }
}

/// A template of rules that keeps out what the formation needs is refused before any host has it; one that only adds to them is not.
#[test]
fn rules_that_keep_the_formation_out_are_placed_nowhere() {
    let mut formation = formation(BEFORE);
    let mut world = settled(&formation);
    let built_in = muster::template::BUILT_IN.iter().find(|(name, _)| *name == "pg_hba.conf.j2").unwrap().1;
    let mut problem = |text: String| {
        formation.templates.insert("pg_hba.conf.j2".to_owned(), text);
        let facts = world.facts_of(&formation, &Scope::whole());
        plan(&formation, &facts, TODAY).err().map(|problem| problem.to_string())
    };
    for (before, why) in [
        ("local all all reject", "over the local socket: its line 1 rejects it: local all all reject"),
        (
            "hostssl all autoctl_node all reject",
            "TLS: its line 1 rejects it: hostssl all autoctl_node all reject",
        ),
        ("host other,@list all all reject", ""),
        ("host all +somebody all reject", ""),
        ("hostnossl all all all reject", ""),
    ] {
        let said = problem(format!("{before}\n{built_in}"));
        match why {
            "" => assert_eq!(said, None, "{before}"),
            _ => assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{before}: {said:?}"),
        }
    }
    let without = built_in.replace("{{ rule }} # Written by muster", "");
    let said = problem(without).expect("it has none of the formation's rules");
    assert!(said.contains("no line is for it") && said.contains("`templates_dir` is yours"), "{said}");
}
