//! `muster ssh-check`: the way to one host, hop by hop.

use std::time::Instant;

use super::Options;
use crate::command::{Command, RunAs};
use crate::error::{Exit, Problem};
use crate::formation::{Connection, Host, Keeper, NodeName, Server};
use crate::report;
use crate::report::ssh_check::{Became, Hop, Way};
use crate::ssh::Session;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// A host of the inventory, or any name that ssh knows.
    host: String,
    /// Become this user there too; may be given more than once. A host of the inventory has its own.
    #[arg(long, value_name = "USER")]
    become_user: Vec<String>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let (name, host, users) = wanted(options, arguments)?;
    let started = Instant::now();
    let way = match options.transport().check(&name, &host).await {
        Err(failure) => Way { hops: Vec::new(), became: Vec::new(), failure: Some(failure) },
        Ok(check) => {
            let hops = check.hops.into_iter().map(gone).collect();
            let mut became = Vec::new();
            if let Some(session) = &check.session {
                for user in users {
                    became.push(becomes(session, user).await);
                }
                session.close().await;
            }
            Way { hops, became, failure: None }
        }
    };
    let took = started.elapsed();
    report::print(&match options.json {
        true => report::json::result("ssh_check", &report::ssh_check::json(&way), &[]),
        false => report::ssh_check::text(
            &name.0,
            host.connection == Connection::Local,
            &way,
            took,
            options.paint(),
        ),
    });
    let all = way.became.iter().all(|became| became.failure.is_none());
    Ok(match way.is_reached() {
        true if all => Exit::Ok,
        true => Exit::Failed,
        false => Exit::Unreachable,
    })
}

/// The host, and whom muster becomes there.
fn wanted(options: &Options, arguments: &Arguments) -> Result<(NodeName, Host, Vec<String>), Vec<Problem>> {
    let name = NodeName(arguments.host.clone());
    let given = arguments.become_user.clone();
    if !options.inventory.is_empty() {
        let formation = options.load()?;
        let found = formation.servers().find(|server| server.name == name).cloned();
        if let Some(server) = found {
            let users = if given.is_empty() { users_of(&server) } else { given };
            return Ok((name, server.host, users));
        }
    }
    Ok((name, Host::named(&arguments.host), given))
}

fn users_of(server: &Server) -> Vec<String> {
    let root = match server.keeper {
        Keeper::Auto | Keeper::Systemd => Some("root".to_owned()),
        Keeper::Detached | Keeper::None => None,
    };
    std::iter::once(server.os_user.clone()).chain(root).collect()
}

async fn becomes(session: &Session, user: String) -> Became {
    let run_as = if user == "root" { RunAs::Root } else { RunAs::User(user.clone()) };
    let started = Instant::now();
    let result = session.run(&Command::new(run_as, "id -un")).await;
    Became { user, took: started.elapsed(), failure: result.err() }
}

fn gone(hop: crate::ssh::Hop) -> Hop {
    let crate::ssh::Hop { settings, outcome } = hop;
    let place = settings.place();
    Hop { name: settings.original, user: settings.user, place, outcome: outcome.map(seen) }
}

fn seen(seen: crate::ssh::Seen) -> report::ssh_check::Seen {
    let crate::ssh::Seen { key, connected, entered, logged_in } = seen;
    report::ssh_check::Seen { key, connected, entered, logged_in }
}
