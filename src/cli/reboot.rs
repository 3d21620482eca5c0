//! `muster reboot`: hosts, one of a group after the other.

use std::fs;

use clap::Args;
use jiff::Timestamp;

use super::restart::{Order, chosen};
use super::{Options, apply};
use crate::error::{Exit, Problem};
use crate::plan::{Downtime, Goal, LeftOut, Reboot};
use crate::report;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts that are rebooted, the monitor's included; all, where none are given.
    pattern: Option<String>,
    /// Only hosts that have been up since before this moment: `2026-11-28T03:10:00Z`; nodes in maintenance are taken back. So a run that was cut off goes on.
    #[arg(long, value_name = "TIME")]
    booted_before: Option<Timestamp>,
    /// Reboot the host of a primary as it is, if no standby can take over: its group takes no writes until it is back.
    #[arg(long)]
    allow_downtime: bool,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    pub(super) run: apply::Verb,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let nodes = chosen(options, &formation, arguments.pattern.as_deref())?;
    let (serial, canary) = arguments.order.of(options, &formation)?;
    let here = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    // What this run has rebooted itself is done when it looks again.
    let before = arguments.booted_before.unwrap_or_else(Timestamp::now);
    let goal = || {
        let ago = Timestamp::now().as_second() - before.as_second();
        Goal::Reboot(Reboot {
            nodes: nodes.clone(),
            up_for: u64::try_from(ago).unwrap_or_default(),
            left_out: match arguments.booted_before {
                Some(_) => LeftOut::ComeBack,
                None => LeftOut::Stay,
            },
            downtime: if arguments.allow_downtime { Downtime::Allowed } else { Downtime::Refused },
            serial,
            canary,
            here: here.as_ref().map(|id| id.trim().to_owned()),
        })
    };
    let exit = arguments.run.carry_out(options, &formation, &goal).await?.exit;
    if arguments.run.changes() && exit != Exit::Ok && !options.json {
        let whom = arguments.pattern.as_ref().map(|pattern| format!("{pattern} ")).unwrap_or_default();
        let downtime = if arguments.allow_downtime { " --allow-downtime" } else { "" };
        report::log(&format!(
            "hint: what is not rebooted yet is rebooted, and what is still out taken back, by `muster reboot \
             {whom}--booted-before {before:.0}{downtime}`\n"
        ));
    }
    Ok(exit)
}
