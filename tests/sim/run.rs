//! A run in the simulation: plan, then carry out as the executor does, with whatever is to go wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::civil::{Date, date};
use muster::formation::{Formation, NodeName};
use muster::plan::{Begins, Plan, Turn, plan};
use muster::scope::Scope;
use muster::step::{Action, Stage, Step};

use crate::apply::End;
use crate::world::World;

pub(crate) const TODAY: Date = date(2026, 11, 22);

/// Seconds above which a wait is one that nobody sits through.
const A_WHILE: u64 = 3600;

/// A small generator of numbers that are as good as random, the same at every run. Constants: Knuth's MMIX.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// What goes wrong in a run. Steps are counted as they begin, from 0; waits count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Nothing,
    /// The operator's laptop is gone before this step.
    Cut(usize),
    /// This step does not happen and fails; the other nodes go on.
    Fails(usize),
    /// This step happens, but nobody hears of it; the other nodes go on.
    Unheard(usize),
}

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: usize,
    pub(crate) failed: BTreeMap<NodeName, String>,
    pub(crate) cut: bool,
}

pub(crate) fn plan_for(formation: &Formation, world: &mut World) -> Plan {
    let facts = world.facts_of(formation, &Scope::whole());
    plan(formation, &facts, TODAY).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A lane of a wave: what is left of its turns.
struct Track<'p> {
    steps: VecDeque<(&'p NodeName, &'p Step)>,
    begun: bool,
}

impl Track<'_> {
    /// Nobody of the lane gets any further.
    fn end(&mut self, failed: &mut BTreeSet<NodeName>) {
        failed.extend(self.steps.drain(..).map(|(node, _)| node.clone()));
    }
}

/// Carries a plan out. A wait that could never end, or not before tomorrow, fails the test.
pub(crate) fn execute(plan: &Plan, world: &mut World, trouble: Trouble, dice: &mut Dice) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failed: BTreeSet<NodeName> =
        plan.blocked.keys().chain(plan.unreachable.keys()).cloned().collect();
    for wave in &plan.waves {
        if wave.begins == Begins::AfterSuccess && !outcome.failed.is_empty() {
            break;
        }
        let tracks = wave
            .lanes
            .iter()
            .map(|lane| Track { steps: lane.turns.iter().flat_map(Turn::all_of).collect(), begun: false });
        run_stage(wave.stage, tracks.collect(), world, trouble, dice, &mut failed, &mut outcome);
        if outcome.cut {
            break;
        }
    }
    outcome
}

fn run_stage(
    stage: Stage,
    mut tracks: Vec<Track>,
    world: &mut World,
    trouble: Trouble,
    dice: &mut Dice,
    failed: &mut BTreeSet<NodeName>,
    outcome: &mut Outcome,
) {
    let (mut idle, before) = (0, failed.clone());
    while !tracks.is_empty() {
        // Nodes go side by side: in every round each of them makes a step, in any order.
        let mut moved = false;
        for index in (1..tracks.len()).rev() {
            tracks.swap(index, dice.below(index + 1));
        }
        for track in &mut tracks {
            let (node, step) = track.steps[0];
            if failed.contains(node) || step.shuts_out(&before).or_else(|| step.lost(failed)).is_some() {
                track.end(failed);
                moved = true;
                continue;
            }
            let (mut fails, mut unheard) = (false, false);
            if !track.begun {
                if trouble == Trouble::Cut(outcome.steps) {
                    outcome.cut = true;
                    return;
                }
                fails = trouble == Trouble::Fails(outcome.steps);
                unheard = trouble == Trouble::Unheard(outcome.steps);
                track.begun = true;
                outcome.steps += 1;
            }
            let end = match (fails, unheard) {
                (true, _) => End::Failed("it was made to fail".to_owned()),
                (false, true) => world.apply_unheard(step),
                (false, false) => world.apply(step),
            };
            let end = match end {
                End::Done if unheard => End::Failed("the connection was lost".to_owned()),
                other => other,
            };
            match end {
                End::Done => {
                    track.steps.pop_front();
                    (track.begun, moved) = (false, true);
                }
                End::NotYet(answer) if idle > 3 => {
                    let Action::Wait { timeout, .. } = &step.action else { panic!("only a wait takes time") };
                    assert!(
                        *timeout <= A_WHILE,
                        "{stage:?}: {node} would wait a day: {} ({answer})\n{:#?}",
                        step.title(),
                        world.monitor
                    );
                    let why = format!("{}: timed out: {answer}", step.title());
                    outcome.failed.insert(node.clone(), why);
                    track.end(failed);
                    moved = true;
                }
                End::NotYet(_) => {}
                End::Failed(why) => {
                    outcome.failed.insert(node.clone(), format!("{}: {why}", step.title()));
                    track.end(failed);
                    moved = true;
                }
            }
        }
        tracks.retain(|track| !track.steps.is_empty());
        moved |= world.tick();
        idle = if moved { 0 } else { idle + 1 };
    }
}

/// Plans and carries out, again and again as an operator would, until there is nothing to do.
///
/// Gives the number of runs that did something.
pub(crate) fn converge(formation: &Formation, world: &mut World, dice: &mut Dice) -> usize {
    let mut story = Vec::new();
    for round in 0..6 {
        let plan = plan_for(formation, world);
        if plan.is_empty() && plan.partial.is_none() {
            assert!(plan.blocked.is_empty(), "blocked: {:#?}\n{story:#?}", plan.blocked);
            return round;
        }
        let outcome = execute(&plan, world, Trouble::Nothing, dice);
        let titles: Vec<String> =
            plan.steps().map(|(_, node, step)| format!("{node}: {}", step.title())).collect();
        story.push((titles, outcome.failed, plan.blocked, plan.partial));
        world.rest();
    }
    panic!("it does not converge: {story:#?}\n{:#?}", world.monitor);
}
