//! `muster switchover`: another node of a group takes writes.

use clap::Args;

use super::restart::group;
use super::{Options, apply};
use crate::error::{Exit, Problem};
use crate::formation::{Formation, NodeName};
use crate::plan::{Goal, Switchover};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The group, by its number or by a host in it; may be left out where `--to` tells it, or where there is one group.
    group: Option<String>,
    /// Who is to take writes; the best standby, where it is not given.
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    #[command(flatten)]
    pub(super) run: apply::Verb,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("name a group, or --to NODE")?;
    let formation = options.load()?;
    let wanted = wanted(options, arguments, &formation)?;
    Ok(arguments.run.carry_out(options, &formation, &|| Goal::Switchover(wanted.clone())).await?.exit)
}

fn wanted(
    options: &Options,
    arguments: &Arguments,
    formation: &Formation,
) -> Result<Switchover, Vec<Problem>> {
    let to = arguments.to.as_deref().map(NodeName::from);
    let of_node = match &to {
        None => None,
        Some(name) => match formation.nodes.get(name) {
            Some(node) => Some(node.group),
            None => {
                let problem = Problem::new(format!("{name} is no node of the formation"));
                return Err(vec![problem.hint("`muster status` shows them")]);
            }
        },
    };
    let named = arguments.group.as_ref().map(|word| group(options, formation, word)).transpose()?;
    let groups: Vec<u32> = formation.groups().into_iter().collect();
    let group = match (named, of_node, &groups[..]) {
        (Some(named), Some(of_node), _) if named != of_node => {
            let to = arguments.to.as_deref().unwrap_or_default();
            let problem = Problem::new(format!("{to} is of group {of_node}, not of group {named}"));
            return Err(vec![problem.hint("leave the group out: --to tells it")]);
        }
        (Some(group), _, _) | (None, Some(group), _) | (None, None, &[group]) => group,
        (None, None, _) => {
            let problem = Problem::new("the formation has several groups");
            return Err(vec![problem.hint("name one, by its number or by a host in it, or say --to NODE")]);
        }
    };
    Ok(Switchover { group, to })
}
