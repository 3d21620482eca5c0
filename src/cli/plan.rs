//! `muster plan`: what apply would do.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::sync::watch;

use super::bound;
use super::screen::Screen;
use super::{Options, exit, saved, today};
use crate::error::{Exit, Problem};
use crate::execute::Stop;
use crate::facts::Facts;
use crate::fleet::Fleet;
use crate::formation::{Formation, RestartPolicy, Server};
use crate::plan::{Goal, Plan};
use crate::report;
use crate::report::diff::Contents;
use crate::report::progress::Mode;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Exit with 3 if there are changes to make.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, too: `muster apply FILE` does it, or refuses if there is something else to do by then.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    pub(super) show: Show,
}

/// What stands in the inventory, and may be said otherwise for one run.
#[derive(Args, Debug)]
pub(super) struct Policy {
    /// In place of restart_policy in the inventory: `rolling` restarts for a setting that takes a restart, one of a group after the other.
    #[arg(long, value_name = "POLICY", value_parser = restart_policy())]
    restart_policy: Option<RestartPolicy>,
}

fn restart_policy() -> impl TypedValueParser<Value = RestartPolicy> {
    let parse = |word: String| RestartPolicy::parse(&word).expect("clap has looked");
    PossibleValuesParser::new(RestartPolicy::WORDS).map(parse)
}

impl Policy {
    /// A rollout, or what a saved plan is for; what is given now wins.
    pub(super) fn goal(&self, saved: Option<&Goal>) -> Goal {
        match (saved, self.restart_policy) {
            (None | Some(Goal::Rollout { .. }), Some(policy)) => {
                Goal::Rollout { restart_policy: Some(policy) }
            }
            (Some(goal), _) => goal.clone(),
            (None, None) => Goal::ROLLOUT,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Show the whole contents of new files too.
    #[arg(short = 'D', long)]
    diff: bool,
}

impl Show {
    pub(super) fn contents(&self) -> Contents {
        if self.diff { Contents::All } else { Contents::Changes }
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let goal = arguments.policy.goal(None);
    let formation = options.load_for_goal(&goal)?;
    let plan = show(options, &arguments.show, &formation, &goal, arguments.out.as_deref()).await?;
    let changes = if arguments.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Ok };
    Ok(exit::or(exit::of(&exit::outcomes(&plan)), changes))
}

/// The plan of a formation, shown; saved, too, where that is wanted, tied to the hosts and secrets that it was made with.
pub(super) async fn show(
    options: &Options,
    show: &Show,
    formation: &Formation,
    goal: &Goal,
    out: Option<&Path>,
) -> Result<Plan, Vec<Problem>> {
    let scope = options.scope_of(formation, goal)?;
    let sight = scope.sight(formation);
    let (fleet, facts) = connect(options, options.reading(), formation, &sight).await;
    let keys = fleet.host_keys();
    fleet.close().await;
    let plan = goal.plan(formation, &scope, &facts, today()).map_err(|problem| vec![problem])?;
    report::print(&match options.json {
        true => report::json::result("plan", &report::json::plan(&plan), &[]),
        false => report::plan::text(&plan, show.contents(), options.paint()),
    });
    if let Some(path) = out {
        saved::write(path, &plan, &bound::bound(options, formation, &sight, &keys)?, goal)?;
    }
    Ok(plan)
}

/// Connects, looks and leaves.
pub(super) async fn look(options: &Options, formation: &Formation, servers: &[&Server]) -> Facts {
    let (fleet, facts) = connect(options, options.reading(), formation, servers).await;
    fleet.close().await;
    facts
}

/// Connects and looks.
pub(super) async fn connect(
    options: &Options,
    mode: Mode,
    formation: &Formation,
    servers: &[&Server],
) -> (Fleet, Facts) {
    let (_stop, never) = watch::channel(Stop::Go);
    let screen = Screen::open(mode, servers.len(), "connecting", never);
    let hosts = servers.iter().map(|server| (&server.name, &server.host));
    let fleet = Fleet::connect(hosts, options.transport(), options.forks(), screen.events()).await;
    let facts = fleet.gather(formation, servers).await;
    screen.close().await;
    (fleet, facts)
}
