//! Exit codes: the worst of what happened wins.

use std::collections::BTreeSet;

use super::{Purpose, unwritten};
use crate::command::Failure;
use crate::error::Exit;
use crate::event::NodeOutcome;
use crate::facts::{Facts, Sight};
use crate::formation::{Formation, NodeName};
use crate::op::{Op, Switch, Wait};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::report;
use crate::report::recap::Outcomes;
use crate::scope::Scope;

/// `first`, unless it is well; then `second`.
pub(super) fn or(first: Exit, second: Exit) -> Exit {
    if first == Exit::Ok { second } else { first }
}

/// What has failed of its own counts more than a host that is away, and all that is so because of it.
pub(super) fn of(outcomes: &Outcomes) -> Exit {
    let is_away = |outcome: &NodeOutcome| {
        outcome.unreachable.is_some() || outcome.blocked.as_ref().is_some_and(Reason::is_unreachable)
    };
    let has_failed = |outcome: &NodeOutcome| {
        outcome.failed.is_some()
            || !outcome.unwell.is_empty()
            || !outcome.unknown.is_empty()
            || outcome.blocked.as_ref().is_some_and(|why| !why.is_unreachable() && !why.is_wanted())
    };
    if outcomes.values().any(has_failed) {
        Exit::Failed
    } else if outcomes.values().any(is_away) {
        Exit::Unreachable
    } else if outcomes.values().any(|outcome| !outcome.is_ok() && !outcome.is_left_as_wanted()) {
        Exit::Failed
    } else {
        Exit::Ok
    }
}

/// Whether a run has to end here: a node that is not well keeps no other from what is still to do.
pub(super) fn ends_the_run(outcomes: &Outcomes) -> bool {
    let mut outcomes = outcomes.clone();
    outcomes.values_mut().for_each(|outcome| outcome.unwell.clear());
    of(&outcomes) == Exit::Failed
}

/// A run ends though its plan was only a part of what there is to do: of nodes that had no step in it nobody knows
/// what they lack.
pub(super) fn leave_unplanned(formation: &Formation, scope: &Scope, plan: &Plan, outcomes: &mut Outcomes) {
    let Some(why) = &plan.partial else { return };
    let planned: BTreeSet<&NodeName> = plan.steps().map(|(_, node, _)| node).collect();
    for name in formation.nodes.keys().filter(|name| scope.has(name) && !planned.contains(name)) {
        let outcome = outcomes.entry(name.clone()).or_default();
        if outcome.is_ok() {
            outcome.blocked = Some(Reason::Unplanned(Box::new(why.clone())));
        }
    }
}

/// What a run that has failed left on the monitor.
pub(super) fn tell_never_promoted(formation: &Formation, facts: &Facts, outcomes: &mut Outcomes) {
    let Some(monitor) = facts.monitor(formation) else { return };
    for node in formation.nodes.values() {
        let Some(why) = monitor.row(node.name()).and_then(|row| row.is_never_promoted(node)) else {
            continue;
        };
        let unwell = &mut outcomes.entry(node.name().clone()).or_default().unwell;
        if !unwell.contains(&why) {
            unwell.push(why);
        }
    }
}

/// How nodes stand before anything was done.
pub(super) fn outcomes(plan: &Plan) -> Outcomes {
    let blocked = plan.blocked.iter().map(|(name, why)| {
        (name.clone(), NodeOutcome { blocked: Some(why.clone()), ..NodeOutcome::default() })
    });
    let unreachable = plan.unreachable.iter().map(|(name, failure)| {
        (name.clone(), NodeOutcome { unreachable: Some(failure.cause()), ..NodeOutcome::default() })
    });
    let mut outcomes: Outcomes = blocked.chain(unreachable).collect();
    for (name, why) in &plan.unwell {
        outcomes.entry(name.clone()).or_default().unwell.clone_from(why);
    }
    outcomes
}

/// One round's outcomes after those of the rounds before: changes add up, for the rest the last word counts.
pub(super) fn add(so_far: &mut Outcomes, round: Outcomes) {
    let before = std::mem::take(so_far);
    *so_far = round;
    for (name, earlier) in before {
        so_far.entry(name).or_default().changed += earlier.changed;
    }
}

/// At the end of a command, when not all it had to say could be written. How hosts stand after a rollout is as true
/// when nobody can read it; and whoever has read enough (`| head`) misses nothing.
pub(super) fn of_output(purpose: Purpose, exit: Exit) -> Exit {
    let Some(lost) = report::lost_unread() else { return exit };
    report::log(&format!("{}\n", unwritten(lost)));
    match (exit, purpose) {
        (_, Purpose::Deeds) | (Exit::Usage | Exit::Failed | Exit::Interrupted, _) => exit,
        (Exit::Ok | Exit::Changes | Exit::Unreachable, Purpose::Words) => Exit::Usage,
        (Exit::Ok | Exit::Changes | Exit::Unreachable, Purpose::Answers) => Exit::Failed,
    }
}

/// For commands that only look; what is outside the scope was looked at by the way.
pub(super) fn of_sight(facts: &Facts, scope: &Scope) -> Exit {
    let any =
        |test: fn(&Sight) -> bool| facts.hosts.iter().any(|(name, sight)| scope.has(name) && test(sight));
    if any(|sight| matches!(sight, Sight::Unreachable(_))) {
        Exit::Unreachable
    } else if any(|sight| matches!(sight, Sight::Unreadable(_))) {
        Exit::Failed
    } else {
        Exit::Ok
    }
}

/// For a command that hosts were asked to run, by why it did not run to its end.
pub(super) fn of_failures<'a>(failures: impl IntoIterator<Item = &'a Failure>) -> Exit {
    failures.into_iter().fold(Exit::Ok, |so_far, failure| match (so_far, failure) {
        (Exit::Failed, _)
        | (_, Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. }) => Exit::Failed,
        (_, Failure::Unreachable { .. }) => Exit::Unreachable,
    })
}

/// What the executor says of nodes that had steps, and the plan of those that had none.
pub(super) fn completed(plan: &Plan, mut executed: Outcomes) -> Outcomes {
    for (name, outcome) in outcomes(plan) {
        let known: &mut NodeOutcome = executed.entry(name).or_default();
        known.blocked = known.blocked.take().or(outcome.blocked);
        known.unreachable = known.unreachable.take().or(outcome.unreachable);
        known.unwell = outcome.unwell;
    }
    for name in taken_out(plan) {
        executed.entry(name.clone()).or_default().out = true;
    }
    executed
}

/// The nodes that a plan takes out, and not back.
fn taken_out(plan: &Plan) -> BTreeSet<&NodeName> {
    let mut out = BTreeSet::new();
    for (_, node, step) in plan.steps() {
        if matches!(step.op, Op::Maintenance { turn: Switch::On } | Op::Wait(Wait::InMaintenance)) {
            out.insert(node);
        } else if matches!(step.op, Op::Maintenance { turn: Switch::Off }) {
            out.remove(node);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(change: impl Fn(&mut NodeOutcome)) -> NodeOutcome {
        let mut outcome = NodeOutcome::default();
        change(&mut outcome);
        outcome
    }

    #[test]
    fn a_host_that_is_away_is_worse_than_nothing_and_better_than_a_failure() {
        let away = outcome(|o| o.unreachable = Some("no route".into()));
        let orphan = outcome(|o| {
            let why = Box::new(Reason::Unreachable);
            o.blocked = Some(Reason::NoPrimary { group: 1, primary: "w1a".into(), why });
        });
        let blocked = outcome(|o| o.blocked = Some(Reason::Refused("port 5432 is taken".into())));
        let out = outcome(|o| o.blocked = Some(Reason::Maintenance { node: "w1a".into() }));
        let failed = outcome(|o| o.failed = Some("boom".into()));
        let unknown = outcome(|o| o.unknown = vec!["initdb".into()]);
        let skipped = outcome(|o| o.skipped = 2);
        let well = outcome(|o| o.changed = 3);
        let unwell = outcome(|o| o.unwell = vec![Reason::NotWaitedFor("no commit waits for it".into())]);
        for (outcomes, exit) in [
            (vec![], Exit::Ok),
            (vec![&well], Exit::Ok),
            (vec![&well, &away, &orphan], Exit::Unreachable),
            (vec![&away, &skipped], Exit::Unreachable),
            (vec![&orphan], Exit::Unreachable),
            (vec![&away, &blocked], Exit::Failed),
            (vec![&away, &failed], Exit::Failed),
            (vec![&unknown], Exit::Failed),
            (vec![&well, &unwell], Exit::Failed),
            (vec![&away, &unwell], Exit::Failed),
            (vec![&skipped], Exit::Failed),
            (vec![&well, &out], Exit::Ok),
            (vec![&away, &out], Exit::Unreachable),
        ] {
            let named = outcomes.iter().enumerate();
            let map = named.map(|(i, o)| (i.to_string().as_str().into(), (*o).clone())).collect();
            assert_eq!(of(&map), exit, "{outcomes:?}");
        }
    }

    #[test]
    fn a_group_is_not_complete_that_was_not_planned() {
        let text = include_str!("../../inventory/minimal.yml");
        let formation = crate::inventory::parse("m.yml", text, "".as_ref()).unwrap();
        let plan = Plan { partial: Some(Reason::MonitorStopped), ..Plan::default() };
        let mut outcomes = Outcomes::new();
        leave_unplanned(&formation, &Scope::whole(), &plan, &mut outcomes);
        let groups = report::recap::groups(&formation, &Scope::whole(), &outcomes);
        assert!(groups.iter().all(|group| !group.complete), "{groups:?}");
        assert_eq!(of(&outcomes), Exit::Failed);
    }

    #[test]
    fn who_is_taken_out_and_not_back_is_told() {
        use crate::plan::{Begins, Lane, Turn, Wave};
        use crate::step::{Action, Stage, Step};
        let turn = |node: &str, turn: Switch| {
            let command = crate::command::Command::new(crate::command::RunAs::Root, "");
            let step = Step::new(&node.into(), Op::Maintenance { turn }, "", Action::Run(command));
            Turn::new(&node.into(), vec![step])
        };
        let turns = [turn("a", Switch::On), turn("b", Switch::On), turn("b", Switch::Off)];
        let wave =
            Wave { stage: Stage::Maintenance, begins: Begins::default(), lanes: vec![Lane::of(turns)] };
        let plan = Plan { waves: vec![wave], ..Plan::default() };
        let done = |changed: usize| outcome(|o| o.changed = changed);
        let ended = completed(&plan, Outcomes::from([("a".into(), done(1)), ("b".into(), done(2))]));
        assert!(ended[&"a".into()].is_out() && !ended[&"b".into()].is_out(), "{ended:?}");
        assert_eq!(of(&ended), Exit::Ok);
    }

    #[test]
    fn rounds_add_up() {
        let mut whole = Outcomes::from([("a".into(), outcome(|o| o.changed = 2))]);
        add(&mut whole, Outcomes::from([("b".into(), outcome(|o| o.changed = 1))]));
        add(&mut whole, Outcomes::from([("a".into(), outcome(|o| (o.changed, o.skipped) = (1, 1)))]));
        assert_eq!(whole[&"a".into()], outcome(|o| (o.changed, o.skipped) = (3, 1)));
        assert_eq!(whole[&"b".into()].changed, 1);
    }
}
