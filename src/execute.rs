//! Carries out a plan: waves in order, lanes side by side, the turns of a lane and their steps one by one.
//!
//! Nothing is decided here but what a failure means for what comes after it. No step is tried twice: the
//! rerun is the retry, because it looks first. Only `Wait` asks again.

mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::authority::Signer;
use crate::command::{Command, Failure, RunAs};
use crate::event::{Event, NodeOutcome};
use crate::fleet::{Events, Fleet};
use crate::formation::NodeName;
use crate::op::{Op, Wait};
use crate::plan::{Begins, Lane, Plan, Turn};
use crate::resource::lock::{self, Holder, Over};
use crate::step::{Action, Check, IN_VAIN, Issue, Stage, Step};

/// Pauses between two questions of a `Wait`: short at first, as most answers change at once.
const PAUSES: [u64; 5] = [150, 250, 400, 600, 800];
/// A `Wait` whose question fails for so long is given up: what it waits for may never come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the operator asked for by Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Go,
    /// No new step starts, running ones finish.
    Finish,
    /// Running steps are given up; their outcome is unknown.
    Drop,
}

/// Runs the plan to its end and tells how each node fared; of each node that has a step the holder has the turn.
/// What is to be signed the signer signs.
pub async fn execute(
    plan: &Plan,
    fleet: &Fleet,
    events: &Events,
    stop: watch::Receiver<Stop>,
    (holder, signer): (&Holder, &Signer),
) -> BTreeMap<NodeName, NodeOutcome> {
    let mut outcomes: BTreeMap<NodeName, NodeOutcome> = BTreeMap::new();
    for (node, why) in &plan.blocked {
        outcomes.entry(node.clone()).or_default().blocked = Some(why.clone());
    }
    for (node, failure) in &plan.unreachable {
        outcomes.entry(node.clone()).or_default().unreachable = Some(failure.cause());
    }
    let (failed, _) = watch::channel::<BTreeSet<NodeName>>(outcomes.keys().cloned().collect());
    let run = Run { plan, fleet, events, stop, failed, holder, signer };
    let mut lost = None;
    for wave in &plan.waves {
        run.send(Event::StageStarted { stage: wave.stage, seconds: fleet.seconds() });
        let before = Before {
            failed: run.failed.borrow().clone(),
            lost: lost.clone().filter(|_| wave.begins == Begins::AfterSuccess),
        };
        let lanes = wave.lanes.iter().map(|lane| run.lane(wave.stage, lane, &before));
        for (node, outcome) in join_all(lanes).await.into_iter().flatten() {
            if !outcome.is_ok() {
                lost.get_or_insert_with(|| {
                    format!("{node} did not get as far, and nothing else is disturbed")
                });
            }
            outcomes.entry(node).or_default().add(outcome);
        }
    }
    run.send(Event::Finished { seconds: fleet.seconds() });
    outcomes
}

impl NodeOutcome {
    /// Counts another stage in; the first failure is the one that is told.
    fn add(&mut self, other: NodeOutcome) {
        self.changed += other.changed;
        self.skipped += other.skipped;
        self.blocked = self.blocked.take().or(other.blocked);
        self.unreachable = self.unreachable.take().or(other.unreachable);
        self.failed = self.failed.take().or(other.failed);
        self.unknown.extend(other.unknown);
        self.unwell.extend(other.unwell);
    }
}

struct Run<'a> {
    plan: &'a Plan,
    fleet: &'a Fleet,
    events: &'a Events,
    stop: watch::Receiver<Stop>,
    holder: &'a Holder,
    signer: &'a Signer,
    /// Nodes that will not get any further in this run.
    failed: watch::Sender<BTreeSet<NodeName>>,
}

/// How things stood when a wave began.
struct Before {
    failed: BTreeSet<NodeName>,
    /// Why the wave does not begin at all.
    lost: Option<String>,
}

/// How a step ended.
enum End {
    Done,
    Failed(Failure),
    /// What it hangs on has failed, or the operator stopped the run.
    Skipped(String),
    /// Given up while it ran.
    Unknown,
}

impl Run<'_> {
    fn send(&self, event: Event) {
        // Nobody may listen any more: the run goes on to its safe end all the same.
        let _ = self.events.send(event);
    }

    /// One turn after the other. Who comes after one that failed is left as it is.
    async fn lane(&self, stage: Stage, lane: &Lane, before: &Before) -> Vec<(NodeName, NodeOutcome)> {
        let mut lost = before.lost.clone();
        let mut ended = Vec::new();
        for turn in &lane.turns {
            let outcome = self.turn(stage, turn, &before.failed, lost.as_deref()).await;
            if !outcome.is_ok() {
                lost.get_or_insert_with(|| format!("{} did not get as far, and it comes first", turn.node));
            }
            ended.push((turn.node.clone(), outcome));
        }
        ended
    }

    /// `before`: who had failed when the wave began. `lost`: why nothing of it is to start.
    async fn turn(
        &self,
        stage: Stage,
        turn: &Turn,
        before: &BTreeSet<NodeName>,
        lost: Option<&str>,
    ) -> NodeOutcome {
        let (mut outcome, node, steps) = (NodeOutcome::default(), &turn.node, turn.all().count());
        for (index, step) in turn.all().enumerate() {
            let end = match self.obstacle(node, step, before).or_else(|| lost.map(str::to_owned)) {
                Some(because) => End::Skipped(because),
                None => self.step(stage, node, step).await,
            };
            let title = step.title();
            match end {
                End::Done => {
                    outcome.changed += usize::from(!matches!(step.action, Action::Wait { .. }));
                    continue;
                }
                End::Failed(failure) => {
                    let failure = self.pointing(step, failure);
                    outcome.failed = Some(format!("{title}: {}", failure.cause()));
                    if matches!(failure, Failure::Lost { .. } | Failure::TimedOut { .. }) {
                        outcome.unknown.push(title.clone());
                    }
                    let seconds = self.fleet.seconds();
                    self.send(Event::StepFailed { node: node.clone(), stage, title, failure, seconds });
                }
                End::Unknown => outcome.unknown.push(title),
                End::Skipped(because) => {
                    outcome.skipped += 1;
                    self.send(Event::StepSkipped { node: node.clone(), stage, title, because });
                }
            }
            outcome.skipped += steps - index - 1;
            self.failed.send_modify(|failed| {
                failed.insert(node.clone());
            });
            break;
        }
        outcome
    }

    /// What a server does not take of its configuration is told with its place in the inventory.
    fn pointing(&self, step: &Step, failure: Failure) -> Failure {
        let is_about_settings = match &step.action {
            Action::Put(file) => matches!(file.check, Check::Configuration { .. }),
            Action::Run(_) | Action::Try(_) => step.op == Op::Reload,
            Action::Issue(_) | Action::Wait { .. } => false,
        };
        match self.plan.given.get(&step.on).filter(|_| is_about_settings) {
            Some(given) => failure.pointing(|said| given.told(said)),
            None => failure,
        }
    }

    /// Why a step is not to start.
    fn obstacle(&self, node: &NodeName, step: &Step, before: &BTreeSet<NodeName>) -> Option<String> {
        let failed = self.failed.borrow();
        if *self.stop.borrow() != Stop::Go {
            return Some("stopped by the operator".to_owned());
        }
        if failed.contains(node) {
            return Some("an earlier step failed".to_owned());
        }
        step.shuts_out(before).or_else(|| step.lost(&failed))
    }

    async fn step(&self, stage: Stage, node: &NodeName, step: &Step) -> End {
        let (title, started) = (step.title(), Instant::now());
        let seconds = self.fleet.seconds();
        self.send(Event::StepStarted { node: node.clone(), stage, title: title.clone(), seconds });
        let mut stop = self.stop.clone();
        let dropped = async {
            // An ended channel means that nobody can stop the run any more.
            if stop.wait_for(|stop| *stop == Stop::Drop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // On another node's host the turn may be anybody's.
        let guarded = |command: &Command| match step.on == *node && !outlives_its_connection(step) {
            true => lock::guarded(command, self.holder),
            false => command.clone(),
        };
        let work = async {
            match &step.action {
                Action::Put(file) => self.once(&step.on, &guarded(&file.command())).await,
                Action::Run(command) => match (&step.op, self.once(&step.on, &guarded(command)).await) {
                    // It took the connection with it; whether the host goes down is what is waited for next.
                    (Op::Reboot, End::Failed(Failure::Lost { .. } | Failure::TimedOut { .. })) => End::Done,
                    (_, end) => end,
                },
                Action::Issue(issue) => self.issue(&step.on, issue, &guarded).await,
                Action::Try(trial) => self.on_trial(step, trial, guarded).await,
                Action::Wait { command, answers, timeout } => {
                    self.wait(step, &guarded(command), answers, Duration::from_secs(*timeout)).await
                }
            }
        };
        let end = tokio::select! {
            end = work => end,
            () = dropped => End::Unknown,
        };
        if let End::Done = end {
            let (seconds, took) = (self.fleet.seconds(), started.elapsed().as_secs_f64());
            self.send(Event::StepDone { node: node.clone(), stage, title, risk: step.risk(), seconds, took });
        }
        end
    }

    async fn once(&self, on: &NodeName, command: &Command) -> End {
        match self.fleet.run(on, command).await {
            Ok(_) => End::Done,
            Err(failure) => End::Failed(failure),
        }
    }

    /// Two commands, and a signature between them.
    async fn issue(&self, on: &NodeName, issue: &Issue, guarded: &impl Fn(&Command) -> Command) -> End {
        let request = match self.fleet.run(on, &guarded(&issue.request())).await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(failure) => return End::Failed(failure),
        };
        match self.signer.signed(on, issue, &request).await {
            Ok(issued) => self.once(on, &guarded(&issue.place(&issued))).await,
            Err(why) => End::Failed(Failure::Refused { status: 65, stderr: why }),
        }
    }

    /// Asks until the answer is there. No permit is held between two questions.
    async fn wait(&self, step: &Step, command: &Command, answers: &[String], timeout: Duration) -> End {
        let started = Instant::now();
        let mut answered = Instant::now();
        let anew = outlives_its_connection(step);
        let mut last;
        for pause in PAUSES.iter().chain(std::iter::repeat(&PAUSES[PAUSES.len() - 1])) {
            match self.fleet.run(&step.on, command).await {
                Ok(output) => {
                    last = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    if answers.contains(&last) {
                        return if anew { self.turn_anew(step, command).await } else { End::Done };
                    }
                    answered = Instant::now();
                }
                Err(failure @ Failure::Refused { status: lock::TAKEN_OVER | IN_VAIN, .. }) => {
                    return End::Failed(failure);
                }
                // Who comes too early is refused, too.
                Err(failure) if anew => {
                    let again = self.fleet.reconnect(&step.on).await;
                    last = again.err().unwrap_or(failure).cause();
                }
                Err(failure @ Failure::Refused { .. }) if answered.elapsed() > PATIENCE => {
                    return End::Failed(failure);
                }
                Err(Failure::Refused { stderr, .. }) => last = stderr.trim().to_owned(),
                Err(failure) => return End::Failed(failure),
            }
            if let Some(because) = self.lost(step) {
                return End::Skipped(because);
            }
            if started.elapsed() > timeout {
                let stderr = format!(
                    "waited {} s for {}, the last answer was: {last}",
                    timeout.as_secs(),
                    answers.join(" or ")
                );
                return End::Failed(Failure::Refused { status: 124, stderr });
            }
            sleep(Duration::from_millis(*pause)).await;
        }
        End::Unknown
    }

    /// The lock on a host ended with the connection: from then until now anybody could have the turn.
    async fn turn_anew(&self, step: &Step, command: &Command) -> End {
        let RunAs::User(user) = &command.run_as else { return End::Done };
        match self.fleet.run(&step.on, &lock::take(user, self.holder, &Over::Nobody)).await {
            Ok(output) => match lock::parse(&output) {
                lock::Turn::Ours => End::Done,
                lock::Turn::Theirs(holder) => {
                    End::Failed(Failure::Refused { status: lock::TAKEN_OVER, stderr: holder.describe() })
                }
            },
            Err(failure) => End::Failed(failure),
        }
    }

    /// Whether everybody a wait is for has failed meanwhile, or the run is to end.
    fn lost(&self, step: &Step) -> Option<String> {
        if *self.stop.borrow() != Stop::Go {
            return Some("stopped by the operator".to_owned());
        }
        step.lost(&self.failed.borrow())
    }
}

/// Whether a wait goes on over new connections: its host is rebooted meanwhile.
fn outlives_its_connection(step: &Step) -> bool {
    step.op == Op::Wait(Wait::Booted)
}
