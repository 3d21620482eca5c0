//! A variable that changes on a formation that runs: one run brings it about, and where it is cut off the next one does.

use std::path::Path;

use muster::formation::Formation;
use muster::inventory::parse;
use muster::plan::Plan;

use crate::converge::{assert_serves, settled};
use crate::run::{Dice, Trouble, converge, execute, plan_for};

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
    ("listen", &[("'*'", "'10.88.0.11'")]),
    ("password", &[("password: p,", "password: p2,")]),
    ("replication_password", &[("password: q", "password: q2")]),
    ("monitor_password", &[("password: m", "password: m2")]),
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
    parse("db.yml", text, Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn titles(plan: &Plan) -> String {
    plan.steps().map(|(_, node, step)| format!("{node}: {}\n", step.title)).collect()
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
