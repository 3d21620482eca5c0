//! `muster apply`: do what is still to do, after showing it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::lock::{self, Locks, No, Taken};
use super::saved::Saved;
use super::screen::Screen;
use super::{Options, exit, plan, signals, today};
use crate::authority::{Means, Signer, revocation};
use crate::error::{Exit, Problem};
use crate::execute::{Stop, execute};
use crate::facts::{self, Facts};
use crate::fleet::Fleet;
use crate::formation::{Authority, Formation, NodeName, SigningKey};
use crate::op::Op;
use crate::plan::{Goal, Plan};
use crate::report;
use crate::report::recap::{self, Outcomes};
use crate::report::text::count;
use crate::resource::lock::Over;
use crate::scope::Scope;
use crate::secrets::kept;
use crate::uri::{self, Known, Uri};

/// Plans in a run: one, and those that can only be made once the one before is done. More would be a circle.
/// A run that goes on where another one was cut off waits for what moves, which may move others; takes back who is out; goes on.
const ROUNDS: usize = 5;

#[derive(Args, Debug)]
pub(super) struct Consent {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Change hosts where another run of muster is at work, or was and is not over for its host.
    #[arg(long)]
    break_lock: bool,
    /// Change nothing: the same as plan.
    #[arg(short = 'C', long)]
    check: bool,
    #[command(flatten)]
    show: plan::Show,
}

impl Consent {
    pub(super) fn changes(&self) -> bool {
        !self.check
    }
}

/// Of `apply` itself; `create` has no plan that could have been saved.
#[derive(Args, Debug)]
pub(super) struct Whole {
    /// A plan that `muster plan --out` has saved: do that, without asking, or nothing.
    #[arg(value_name = "FILE", conflicts_with = "check")]
    saved: Option<PathBuf>,
    #[command(flatten)]
    policy: plan::Policy,
    #[command(flatten)]
    arguments: Consent,
}

impl Whole {
    pub(super) fn changes(&self) -> bool {
        self.arguments.changes()
    }
}

pub(super) async fn run(options: &Options, whole: &Whole) -> Result<Exit, Vec<Problem>> {
    let saved = whole.saved.as_deref().map(Saved::read).transpose()?;
    let goal = whole.policy.goal(saved.as_ref().map(Saved::goal));
    let formation = options.load_for_goal(&goal)?;
    Ok(carry_out(options, &whole.arguments, &formation, saved, &|| goal.clone()).await?.exit)
}

/// How a run has ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) outcomes: Outcomes,
}

/// Of a verb of its own: its plan can be saved as a rollout's by `plan --out`.
#[derive(Args, Debug)]
pub(super) struct Verb {
    /// With --check: save the plan, too; `muster apply FILE` does it, or refuses if there is something else to do by then.
    #[arg(short, long, value_name = "FILE", requires = "check")]
    out: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

impl Verb {
    pub(super) fn changes(&self) -> bool {
        self.consent.changes()
    }

    pub(super) async fn carry_out(
        &self,
        options: &Options,
        formation: &Formation,
        goal: &dyn Fn() -> Goal,
    ) -> Result<Ended, Vec<Problem>> {
        match self.consent.check {
            true => check(options, &self.consent, formation, &goal(), self.out.as_deref()).await,
            false => carry_out(options, &self.consent, formation, None, goal).await,
        }
    }
}

/// What `--check` does with a formation; the plan may be saved, too.
pub(super) async fn check(
    options: &Options,
    arguments: &Consent,
    formation: &Formation,
    goal: &Goal,
    out: Option<&Path>,
) -> Result<Ended, Vec<Problem>> {
    let shown = plan::show(options, &arguments.show, formation, goal, out).await?;
    let outcomes = exit::outcomes(&shown);
    Ok(Ended { exit: exit::of(&outcomes), outcomes })
}

/// Everything between a formation and how the run ended. The goal is asked for at every look: it may count from now.
pub(super) async fn carry_out(
    options: &Options,
    arguments: &Consent,
    formation: &Formation,
    saved: Option<Saved>,
    goal: &dyn Fn() -> Goal,
) -> Result<Ended, Vec<Problem>> {
    if arguments.check {
        return check(options, arguments, formation, &goal(), None).await;
    }
    let scope = options.scope_of(formation, &goal())?;
    let sight = scope.sight(formation);
    match &saved {
        None => can_ask(options, arguments)?,
        Some(saved) => saved.fits(options, formation, &sight)?,
    }
    let (fleet, facts) = plan::connect(options, options.running(), formation, &sight).await;
    if let Some(Err(problems)) = saved.as_ref().map(|saved| saved.knows(&fleet.host_keys())) {
        fleet.close().await;
        return Err(problems);
    }
    let strangers: Vec<_> = facts::strangers(formation, &facts).into_iter().cloned().collect();
    let ended = rounds(options, (arguments, saved), (formation, &scope, goal), &fleet, facts).await;
    fleet.close().await;
    let (outcomes, exit) = ended?;
    let changes_passwords = matches!(goal(), Goal::Rollout { .. } | Goal::Rotation(_));
    if exit == Exit::Ok && scope.is_whole() && changes_passwords {
        kept::settle(formation).map_err(|problem| vec![problem])?;
    }
    // After a no nothing was done that could be summed up.
    if exit != Exit::Interrupted || !outcomes.is_empty() || options.json {
        // A run that did all of it has registered every node.
        let known = Known { strangers: strangers.iter().collect(), ..Known::default() };
        let is_rollout = matches!(goal(), Goal::Rollout { .. });
        let uris = match exit {
            // What is outside the limit may not be there yet.
            Exit::Ok if is_rollout && scope.is_whole() => uri::uris(formation, &known),
            Exit::Ok | Exit::Usage | Exit::Failed | Exit::Changes | Exit::Unreachable | Exit::Interrupted => {
                Vec::new()
            }
        };
        // Of a goal that is about some nodes these are told.
        let about = Scope::of(formation, outcomes.keys().cloned());
        say(options, (formation, if is_rollout { &scope } else { &about }), &outcomes, &uris, exit);
    }
    Ok(Ended { exit, outcomes })
}

/// What a run of several plans has come to.
struct Rounds<'a> {
    options: &'a Options,
    arguments: &'a Consent,
    /// Who has agreed to this plan is not asked, and gets no other.
    saved: Option<Saved>,
    formation: &'a Formation,
    /// The same, once the passwords that it makes are on this machine's disk.
    kept: Option<Formation>,
    scope: &'a Scope,
    goal: &'a dyn Fn() -> Goal,
    fleet: &'a Fleet,
    stop: watch::Receiver<Stop>,
    /// Signals end the process until this is taken.
    sender: Option<watch::Sender<Stop>>,
    locks: Locks<'a>,
    /// Once a plan has something to sign.
    signer: Option<Signer>,
}

/// Plan, show, ask, execute; again while a plan says that more will follow.
async fn rounds(
    options: &Options,
    (arguments, saved): (&Consent, Option<Saved>),
    (formation, scope, goal): (&Formation, &Scope, &dyn Fn() -> Goal),
    fleet: &Fleet,
    facts: Facts,
) -> Result<(Outcomes, Exit), Vec<Problem>> {
    let (sender, stop) = watch::channel(Stop::Go);
    let over = if arguments.break_lock { Over::Anybody } else { Over::Nobody };
    let locks = Locks::new(fleet, formation, over);
    let sender = Some(sender);
    let (kept, signer) = (None, None);
    let mut run = Rounds {
        options,
        arguments,
        saved,
        formation,
        kept,
        scope,
        goal,
        fleet,
        stop,
        sender,
        locks,
        signer,
    };
    let ended = run.all(facts).await;
    run.locks.release().await;
    ended
}

/// What becomes of a plan.
enum Agreed {
    /// It was shown, and every host it is about is this run's.
    Run,
    /// The hosts are not as they were when it was made.
    Stale(Facts),
    Refused(Vec<(NodeName, No)>),
    Stopped,
}

impl Rounds<'_> {
    async fn all(&mut self, mut facts: Facts) -> Result<(Outcomes, Exit), Vec<Problem>> {
        let mut outcomes = Outcomes::new();
        let mut round = 1;
        loop {
            let plan = self.plan(&facts)?;
            show(self.options, self.arguments, &plan);
            if let Some(problem) = self.saved.as_ref().and_then(|saved| saved.differs(&plan)) {
                return Err(vec![problem]);
            }
            let mut executed = Outcomes::new();
            if !plan.is_empty() {
                match self.agree(&plan).await? {
                    Agreed::Run => {
                        self.keep()?;
                        executed = self.execute(&plan).await?;
                    }
                    Agreed::Stale(now) => {
                        report::log("the hosts have changed since they were looked at; the plan is now:\n");
                        facts = now;
                        continue;
                    }
                    Agreed::Refused(nodes) => executed = lock::refused(&plan, &nodes),
                    Agreed::Stopped => return Ok((outcomes, Exit::Interrupted)),
                }
            }
            let ended = exit::completed(&plan, executed);
            let has_failed = exit::ends_the_run(&ended);
            exit::add(&mut outcomes, ended);
            if self.is_stopped() {
                exit::leave_unplanned(self.formation, self.scope, &plan, &mut outcomes);
                return Ok((outcomes, Exit::Interrupted));
            }
            if has_failed {
                exit::leave_unplanned(self.formation, self.scope, &plan, &mut outcomes);
                // Who is never promoted for the time of a step may be left so by its failure.
                let may_be_left = plan.steps().any(|(_, _, step)| step.op == Op::SetPriority { to: 0 });
                if let (true, Some(found)) = (may_be_left, self.look().await) {
                    exit::tell_never_promoted(self.formation, &found, &mut outcomes);
                }
                break;
            }
            let Some(why) = &plan.partial else { break };
            if round == ROUNDS || plan.waves.is_empty() || self.saved.is_some() {
                let hint =
                    if self.saved.is_some() { "save another plan" } else { "run the same command again" };
                report::log(&format!("there is more to do: {why}\nhint: {hint}\n"));
                exit::leave_unplanned(self.formation, self.scope, &plan, &mut outcomes);
                return Ok((outcomes, Exit::Failed));
            }
            round += 1;
            match self.look().await {
                Some(found) => facts = found,
                None => return Ok((outcomes, Exit::Interrupted)),
            }
        }
        let exit = exit::of(&outcomes);
        Ok((outcomes, exit))
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Vec<Problem>> {
        (self.goal)().plan(self.formation(), self.scope, facts, today()).map_err(|problem| vec![problem])
    }

    /// What was shown is what runs: whoever may have changed something since the look, another run or anybody while
    /// the question stood open, there is another look before the first step.
    async fn agree(&mut self, plan: &Plan) -> Result<Agreed, Vec<Problem>> {
        if let (true, Some(problem)) = (self.asks(), unseen()) {
            // Before the first yes nothing was changed.
            if self.sender.is_some() {
                return Err(vec![problem]);
            }
            report::log(&format!("{problem}\n"));
            return Ok(Agreed::Stopped);
        }
        // Until the answer Ctrl-C ends the process: nothing has been changed that would have to finish.
        let mut stop = self.stop.clone();
        let stopped = stop.wait_for(|stop| !matches!(stop, Stop::Go));
        if self.asks() && !tokio::select! { yes = ask(plan) => yes, _ = stopped => false } {
            return Ok(Agreed::Stopped);
        }
        // It may ask, and nobody is kept waiting by that.
        self.open_key(plan)?;
        if let Some(sender) = self.sender.take() {
            signals::listen(sender)?;
        }
        match self.locks.take(plan).await {
            Taken::No(nodes) => return Ok(Agreed::Refused(nodes)),
            Taken::Already if !self.asks() => return Ok(Agreed::Run),
            Taken::Already | Taken::Newly => {}
        }
        let Some(facts) = self.look().await else { return Ok(Agreed::Stopped) };
        if plan.is_like(&self.plan(&facts)?) {
            return Ok(Agreed::Run);
        }
        // Nobody is kept waiting by an open question.
        if self.asks() {
            self.locks.release().await;
        }
        Ok(Agreed::Stale(facts))
    }

    fn formation(&self) -> &Formation {
        self.kept.as_ref().unwrap_or(self.formation)
    }

    /// Passwords are on this machine's disk before any host gets one.
    fn keep(&mut self) -> Result<(), Vec<Problem>> {
        if self.kept.is_none() && !self.formation.kept.made.is_empty() {
            kept::write(self.formation).map_err(|problem| vec![problem])?;
            self.kept = Some(self.formation.clone().making(BTreeMap::new()));
        }
        Ok(())
    }

    /// What signs, where the plan has something to sign, or has hosts trust an authority that was just made.
    fn open_key(&mut self, plan: &Plan) -> Result<(), Vec<Problem>> {
        let is_made = |authority: &Authority| matches!(authority.key, SigningKey::Made { .. });
        let is_new = self.formation.authority.as_ref().is_some_and(is_made);
        let is_needed = plan.is_to_sign() || (is_new && plan.is_to_trust());
        if let (None, true, Some(authority)) = (&self.signer, is_needed, &self.formation.authority) {
            let means = Means { ca: &self.formation.ca, keyring: self.options.keys.keyring() };
            self.signer = Some(Signer::of(authority, means).map_err(|problem| vec![problem])?);
        }
        Ok(())
    }

    async fn execute(&self, plan: &Plan) -> Result<Outcomes, Vec<Problem>> {
        let stop = self.stop.clone();
        // What signs is kept on this machine before any host trusts it.
        let signer = self.signer.as_ref().unwrap_or(&Signer::Nobody);
        signer.keep().map_err(|problem| vec![problem])?;
        if let Some(authority) = &self.formation.authority {
            revocation::keep_lists(authority).map_err(|problem| vec![problem])?;
        }
        let screen = Screen::open(self.options.running(), plan.steps().count(), "starting", stop.clone());
        let by = (self.locks.holder(), signer);
        let executed = execute(plan, self.fleet, screen.events(), stop, by).await;
        screen.close().await;
        Ok(executed)
    }

    /// `None` where the operator has said stop: nothing is under way that would have to finish.
    async fn look(&self) -> Option<Facts> {
        let (mut stopped, sight) = (self.stop.clone(), self.scope.sight(self.formation()));
        tokio::select! {
            facts = self.fleet.gather(self.formation(), &sight) => Some(facts),
            _ = stopped.wait_for(|stop| !matches!(stop, Stop::Go)) => None,
        }
    }

    fn asks(&self) -> bool {
        !self.arguments.yes && self.saved.is_none()
    }

    fn is_stopped(&self) -> bool {
        !matches!(*self.stop.borrow(), Stop::Go)
    }
}

fn show(options: &Options, arguments: &Consent, plan: &Plan) {
    report::print(&match options.json {
        true => report::json::result("plan", &report::json::plan(plan), &[("event", json!("plan"))]),
        false => report::plan::text(plan, arguments.show.contents(), options.paint()),
    });
}

fn say(
    options: &Options,
    (formation, scope): (&Formation, &Scope),
    outcomes: &Outcomes,
    uris: &[Uri],
    exit: Exit,
) {
    report::print(&match options.json {
        true => {
            let more = [
                ("event", json!("result")),
                ("groups", json!(recap::groups(formation, scope, outcomes))),
                ("uris", json!(uris)),
                ("exit", json!(exit as u8)),
            ];
            report::json::result("nodes", outcomes, &more)
        }
        false => recap::text(formation, scope, outcomes, options.paint()) + &recap::uris(uris),
    });
}

/// Whether there is somebody to ask, before anything is looked at.
fn can_ask(options: &Options, arguments: &Consent) -> Result<(), Vec<Problem>> {
    if arguments.yes || (std::io::stdin().is_terminal() && !options.json) {
        return Ok(());
    }
    let hint = "look at the plan with --check, then say --yes";
    Err(vec![Problem::new("muster asks before it changes anything, and nobody can answer here").hint(hint)])
}

/// Nobody can say yes to a plan that did not reach the screen.
fn unseen() -> Option<Problem> {
    let lost = report::lost()?.to_string().to_lowercase();
    let problem = Problem::new(format!("the plan could not be shown: {lost}"));
    Some(problem.hint("nothing of it was done; with --yes nobody has to read it"))
}

async fn ask(plan: &Plan) -> bool {
    report::log(&format!("apply {}? [y/N] ", question(plan)));
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    let yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
    if !yes {
        report::log("nothing of it was done\n");
    }
    yes
}

fn question(plan: &Plan) -> String {
    match plan.steps().count() {
        1 => "this step".to_owned(),
        many => format!("these {}", count(many, "step")),
    }
}
