//! Rotations: everywhere in one run; cut anywhere, the next one, or an apply, ends where the first would have.

use std::collections::BTreeSet;

use muster::formation::{Formation, Password};
use muster::plan::{Goal, Plan, Rotation};
use muster::reason::Reason;
use muster::scope::Scope;
use muster::step::Stage;

use crate::converge::{assert_serves, inventory, settled};
use crate::run::{Dice, TODAY, Trouble, converge, execute};
use crate::world::World;

const PLAIN: &str = "
all:
  vars: {pgdata: /srv/pg, auth: scram-sha-256, password: p, replication_password: q, monitor_password: m}
  children:
    monitor: {hosts: {m: {}}}
    postgres: {hosts: {a: {}, b: {secondary: true}}}
";

const CITUS: &str = "
all:
  vars: {pgdata: /srv/pg, auth: scram-sha-256, password: p, replication_password: q, monitor_password: m}
  children:
    monitor: {hosts: {m: {}}}
    coordinator: {hosts: {a: {}, b: {secondary: true}}}
    workers: {hosts: {w: {group: 1}, x: {group: 1, secondary: true}}}
";

fn rotation(passwords: &[Password]) -> Goal {
    Goal::Rotation(Rotation { passwords: passwords.iter().copied().collect() })
}

fn plan(formation: &Formation, world: &mut World, goal: &Goal) -> Plan {
    let facts = world.facts_of(formation, &Scope::whole());
    goal.plan(formation, &Scope::whole(), &facts, TODAY).unwrap_or_else(|problem| panic!("{problem}"))
}

/// As one run does it, to its end.
fn rotate(formation: &Formation, world: &mut World) {
    let made = plan(formation, world, &rotation(&Password::ALL));
    assert!(made.blocked.is_empty(), "{:#?}", made.blocked);
    let outcome = execute(&made, world, Trouble::Nothing, &mut Dice(1));
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    world.rest();
}

fn apply(formation: &Formation, world: &mut World) {
    converge(formation, world, &mut Dice(1));
}

#[test]
fn a_rotation_cut_at_any_step_is_finished_by_the_next_run() {
    for text in [PLAIN, CITUS] {
        let other = text
            .replace("password: p,", "password: p2,")
            .replace(": q,", ": q2,")
            .replace(": m}\n  ch", ": m2}\n  ch");
        let (before, after) = (inventory(text), inventory(&other));
        let begin = settled(&before);
        let made = plan(&after, &mut begin.clone(), &rotation(&Password::ALL));
        let steps: Vec<_> = made.steps().collect();
        let stages: BTreeSet<Stage> = steps.iter().map(|(stage, _, _)| *stage).collect();
        assert_eq!(stages.into_iter().collect::<Vec<_>>(), [Stage::Rotate, Stage::Settle]);
        assert_eq!(
            steps.iter().filter(|(stage, _, _)| *stage == Stage::Rotate).count(),
            after.servers().count(),
            "each host has one step"
        );
        for at in 0..steps.len() {
            for trouble in [Trouble::Cut(at), Trouble::Fails(at), Trouble::Unheard(at)] {
                for goes_on in [rotate, apply] {
                    let mut world = begin.clone();
                    let first = plan(&after, &mut world, &rotation(&Password::ALL));
                    execute(&first, &mut world, trouble, &mut Dice(at as u64));
                    goes_on(&after, &mut world);
                    assert_serves(&after, &mut world, &format!("{trouble:?}"));
                    assert!(plan(&after, &mut world, &rotation(&Password::ALL)).is_empty(), "{trouble:?}");
                }
            }
        }
    }
}

#[test]
fn a_rotation_leaves_nobody_behind_who_lives() {
    let (before, after) = (inventory(PLAIN), inventory(&PLAIN.replace("password: p,", "password: p2,")));
    let begin = settled(&before);
    let only = |password| rotation(&[password]);
    // Another one that is not named would be in every ~/.pgpass.
    let made = plan(&after, &mut begin.clone(), &only(Password::Replication));
    assert!(made.is_empty() && made.blocked.len() == 3, "{:#?}", made.blocked);
    assert_eq!(plan(&after, &mut begin.clone(), &only(Password::User)).steps().count(), 2);
    // A host that is away, and whose keeper reports.
    let mut world = begin.clone();
    world.host("b").sight = crate::world::Seeing::Unreachable;
    let made = plan(&after, &mut world, &only(Password::User));
    assert!(made.is_empty(), "{made:#?}");
    assert!(made.blocked.values().all(|why| matches!(why, Reason::Refused(_))), "{:#?}", made.blocked);
}
