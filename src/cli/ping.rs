//! `muster ping`: who answers.

use clap::Args;

use super::answers::Question;
use super::{Options, answers, exit};
use crate::command::{Command, Failure, RunAs};
use crate::error::{Exit, Problem};
use crate::report;
use crate::report::ping::Pinged;

/// Seconds that a command which does nothing may take: a profile may do much.
const PATIENCE: u64 = 15;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns.
    #[arg(default_value = "all")]
    pattern: String,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let hosts = options.reach(&arguments.pattern)?;
    let nothing = || Command::new(RunAs::Login, ":").timeout(PATIENCE);
    let questions =
        hosts.iter().map(|listed| Question { name: &listed.node, host: &listed.host, command: nothing() });
    let (connected, answers) = answers::of_each(options, questions.collect()).await;
    let hosts: Vec<Pinged> = answers
        .into_iter()
        .zip(connected)
        .map(|(answer, connect)| Pinged {
            node: answer.node,
            connect,
            command: match answer.ended {
                Ok(captured) if captured.status == 0 => Ok(answer.took),
                Ok(captured) => Err(Failure::Refused { status: captured.status, stderr: captured.stderr }),
                Err(failure) => Err(failure),
            },
        })
        .collect();
    report::print(&match options.json {
        true => report::json::result("ping", &report::ping::json(&hosts), &[]),
        false => report::ping::text(&hosts, options.paint()),
    });
    Ok(exit::of_failures(hosts.iter().filter_map(|host| host.command.as_ref().err())))
}
