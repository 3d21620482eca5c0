//! `muster restart`: PostgreSQL on one member of a group after the other.

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;

use super::{Options, apply};
use crate::error::{Exit, Problem};
use crate::formation::{Formation, NodeName};
use crate::plan::{Downtime, Goal, Restart, Which};
use crate::reason::Reason;
use crate::report;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts whose PostgreSQL is restarted, the monitor's included; all, where none are given.
    pattern: Option<String>,
    /// Only where a setting waits for a restart.
    #[arg(long)]
    pending: bool,
    /// Only where PostgreSQL has run since before this moment: `2026-11-28T03:10:00Z`. So a restart that was cut off goes on.
    #[arg(long, value_name = "TIME", conflicts_with = "pending")]
    started_before: Option<Timestamp>,
    /// Restart a primary where it is, if no standby can take over: its group takes no writes until it is back.
    #[arg(long)]
    allow_downtime: bool,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    pub(super) run: apply::Verb,
}

/// In which order groups have their turns.
#[derive(Args, Debug)]
pub(super) struct Order {
    /// How many groups go side by side; all, where it is not given.
    #[arg(long, value_name = "GROUPS", value_parser = clap::value_parser!(u16).range(1..))]
    serial: Option<u16>,
    /// A group, by its number or by a host in it, that goes before all others.
    #[arg(long, value_name = "GROUP")]
    canary: Option<String>,
}

impl Order {
    /// How many groups go side by side, and which one goes first.
    pub(super) fn of(
        &self,
        options: &Options,
        formation: &Formation,
    ) -> Result<(Option<usize>, Option<u32>), Vec<Problem>> {
        let canary = self.canary.as_ref().map(|word| group(options, formation, word)).transpose()?;
        Ok((self.serial.map(usize::from), canary))
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let nodes = chosen(options, &formation, arguments.pattern.as_deref())?;
    let (serial, canary) = arguments.order.of(options, &formation)?;
    let began = Timestamp::now();
    let goal = || {
        let which = match (arguments.pending, arguments.started_before) {
            (true, _) => Which::Pending,
            (false, Some(before)) => {
                let ago = Timestamp::now().as_second() - before.as_second();
                Which::RunningFor(u64::try_from(ago).unwrap_or_default())
            }
            (false, None) => Which::All,
        };
        Goal::Restart(Restart {
            nodes: nodes.clone(),
            which,
            downtime: if arguments.allow_downtime { Downtime::Allowed } else { Downtime::Refused },
            serial,
            canary,
        })
    };
    let apply::Ended { exit, outcomes } = arguments.run.carry_out(options, &formation, &goal).await?;
    if arguments.run.changes() && exit != Exit::Ok && !options.json {
        let rest = match arguments.pending {
            true => "--pending".to_owned(),
            false => format!("--started-before {:.0}", arguments.started_before.unwrap_or(began)),
        };
        let whom = arguments.pattern.as_ref().map(|pattern| format!("{pattern} ")).unwrap_or_default();
        let needs = |why: &Reason| matches!(why, Reason::NeedsDowntime(_));
        let refused = outcomes.values().any(|outcome| outcome.blocked.as_ref().is_some_and(needs));
        let downtime = if arguments.allow_downtime || refused { " --allow-downtime" } else { "" };
        report::log(&format!(
            "hint: what is not restarted yet is restarted by `muster restart {whom}{rest}{downtime}`\n"
        ));
    }
    Ok(exit)
}

/// The servers of a pattern within `--limit`; all of them without a pattern.
pub(super) fn chosen(
    options: &Options,
    formation: &Formation,
    pattern: Option<&str>,
) -> Result<BTreeSet<NodeName>, Vec<Problem>> {
    let servers = options.select(formation, pattern.unwrap_or("all"))?;
    Ok(servers.into_iter().map(|server| server.name.clone()).collect())
}

/// A group by its number, or by hosts that are all of it.
pub(super) fn group(options: &Options, formation: &Formation, word: &str) -> Result<u32, Vec<Problem>> {
    let groups = formation.groups();
    if let Ok(number) = word.parse::<u32>()
        && groups.contains(&number)
    {
        return Ok(number);
    }
    let numbers: Vec<String> = groups.iter().map(u32::to_string).collect();
    let hint = format!("the groups are {}; a host stands for the group that it is in", numbers.join(", "));
    if word.parse::<u32>().is_ok() {
        return Err(vec![Problem::new(format!("there is no group {word}")).hint(hint)]);
    }
    let nodes = options.select(formation, word)?;
    let of = |name: &NodeName| formation.nodes.get(name).map(|node| node.group);
    let groups: BTreeSet<u32> = nodes.iter().filter_map(|server| of(&server.name)).collect();
    match groups.into_iter().collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        [] => Err(vec![Problem::new(format!("`{word}` is in no group")).hint(hint)]),
        [..] => Err(vec![Problem::new(format!("`{word}` is of several groups")).hint(hint)]),
    }
}
