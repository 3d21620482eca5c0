//! `muster sudoers`: what sudo has to allow.

use clap::Args;

use super::Options;
use crate::command::Failure;
use crate::error::{Exit, Problem};
use crate::inventory::Need;
use crate::report;
use crate::sudoers::{Logins, sudoers};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns; for one host alone the file names no host.
    #[arg(default_value = "all")]
    pattern: String,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load_for(Need::Nothing)?;
    let servers = options.select(&formation, &arguments.pattern)?;
    let transport = options.transport();
    let (mut logins, mut problems) = (Logins::new(), Vec::new());
    for server in &servers {
        match transport.login(&server.host) {
            Ok(login) => {
                logins.insert(server.name.clone(), login);
            }
            Err(Failure::Unreachable { reason, hint }) => {
                problems.push(Problem::new(format!("{}: {reason}", server.name)).hint(hint));
            }
            Err(other) => problems.push(Problem::new(format!("{}: {}", server.name, other.cause()))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let text = sudoers(&servers, &logins);
    report::print(&match options.json {
        true => report::json::result("sudoers", &text, &[]),
        false => text,
    });
    Ok(Exit::Ok)
}
