//! `muster cert`: the certificates of the servers.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Options, exit, plan, today};
use crate::error::{Exit, Problem};
use crate::report;
use crate::report::cert::{Line, State};
use crate::resource::tls::RENEW_DAYS;
use crate::scope::Scope;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show each server's certificate: who signed it, for which names, until when, and whether it is the one that clients are shown.
    Status {
        /// Hosts and groups, as Ansible's patterns.
        #[arg(default_value = "all")]
        pattern: String,
        /// The exit code is 3 if a certificate ends within so many days.
        #[arg(long, value_name = "DAYS", default_value_t = RENEW_DAYS)]
        within: i32,
    },
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let What::Status { pattern, within } = &arguments.what;
    let formation = options.load()?;
    let servers = options.select(&formation, pattern)?;
    let scope = Scope::of(&formation, servers.iter().map(|server| server.name.clone()));
    let facts = plan::look(options, &formation, &servers).await;
    let lines: Vec<Line> = servers
        .iter()
        .map(|server| Line::new(&formation, server, facts.seen(&server.name), today(), *within))
        .collect();
    report::print(&match options.json {
        true => report::json::result("certificates", &lines, &[("within_days", json!(within))]),
        false => report::cert::text(&lines, *within, options.paint()),
    });
    let worst = lines.iter().map(|line| line.state).max();
    let exit = match worst {
        Some(State::Wrong) => Exit::Failed,
        Some(State::EndsSoon) => Exit::Changes,
        Some(State::Unknown | State::Ok | State::Off) | None => Exit::Ok,
    };
    Ok(match (exit, exit::of_sight(&facts, &scope)) {
        (Exit::Failed, _) => Exit::Failed,
        (own, Exit::Ok) => own,
        (_, sight) => sight,
    })
}
