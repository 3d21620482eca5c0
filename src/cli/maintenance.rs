//! `muster maintenance`: hosts are taken out, and back.

use clap::{Args, ValueEnum};

use super::restart::chosen;
use super::{Options, apply};
use crate::error::{Exit, Problem};
use crate::op::Switch;
use crate::plan::{Goal, Maintenance};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Out, or back.
    #[arg(value_enum)]
    turn: Turn,
    /// The hosts.
    pattern: String,
    #[command(flatten)]
    pub(super) run: apply::Verb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Turn {
    On,
    Off,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let nodes = chosen(options, &formation, Some(&arguments.pattern))?;
    if !nodes.iter().any(|name| formation.nodes.contains_key(name)) {
        let problem = Problem::new(format!("`{}` is the monitor alone", arguments.pattern));
        let hint =
            "a monitor has no maintenance: nodes go on to serve without it, and nothing fails over meanwhile";
        return Err(vec![problem.hint(hint)]);
    }
    let turn = match arguments.turn {
        Turn::On => Switch::On,
        Turn::Off => Switch::Off,
    };
    let goal = || Goal::Maintenance(Maintenance { nodes: nodes.clone(), turn });
    Ok(arguments.run.carry_out(options, &formation, &goal).await?.exit)
}
