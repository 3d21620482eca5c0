//! `muster ssh-check`: the way to one host, hop by hop.

use std::time::Instant;

use super::Options;
use crate::command::{Command, Failure, RunAs};
use crate::error::{Exit, Problem};
use crate::formation::{Connection, Formation, Host, NodeName};
use crate::inventory::Need;
use crate::report;
use crate::report::ssh_check::{Became, Hop, Way};
use crate::resource::keeper::{AsRoot, as_root};
use crate::ssh::Session;

/// Seconds that a command which does nothing may take; PAM may ask servers of its own.
const PATIENCE: u64 = 30;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// A host of the inventory, or any name that ssh knows.
    host: String,
    /// Become this user there too; may be given more than once. A host of the inventory has its own.
    #[arg(long, value_name = "USER")]
    become_user: Vec<String>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("ssh-check is for one host")?;
    let Wanted { name, host, users, root } = wanted(options, arguments)?;
    let started = Instant::now();
    let way = match options.transport().check(&name, &host).await {
        // No host had a part in it.
        Err(failure) => return Err(vec![super::problem(failure)]),
        Ok(check) => {
            let hops = check.hops.into_iter().map(gone).collect();
            let mut became = Vec::new();
            if let Some(session) = &check.session {
                for user in users {
                    became.push(becomes(session, user).await);
                }
                for (what, programs) in root {
                    became.push(may_run(session, what, programs).await);
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

/// A host, and what muster has to be able to do there.
struct Wanted {
    name: NodeName,
    host: Host,
    users: Vec<String>,
    /// What for, and the programs that root has to run.
    root: Vec<(&'static str, Vec<Vec<String>>)>,
}

fn wanted(options: &Options, arguments: &Arguments) -> Result<Wanted, Vec<Problem>> {
    let name = NodeName(arguments.host.clone());
    let users = arguments.become_user.clone();
    if !options.inventory.is_empty() {
        // The way to a host is any host's; what muster becomes there is a server's.
        let formation = options.load_for(Need::Login);
        let roster = match &formation {
            Ok(formation) => formation.roster.clone(),
            Err(_) => options.roster(Need::Login)?,
        };
        let mut listed = roster.hosts.into_iter();
        if let Some(listed) = listed.find(|listed| listed.node == name || listed.name == name.0) {
            let (name, host) = (listed.node, listed.host);
            if formation.is_err() {
                report::log(
                    "note: the inventory makes no formation; the way to the host is checked all the same\n",
                );
            }
            let mut servers = formation.iter().flat_map(Formation::servers);
            let Some(server) = servers.find(|server| server.name == name && users.is_empty()) else {
                return Ok(Wanted { name, host, users, root: Vec::new() });
            };
            let root = as_root(server).map(|AsRoot { write, systemctl }| {
                vec![("root for systemctl", systemctl), ("root to write the unit", write)]
            });
            let users = vec![server.os_user.clone()];
            return Ok(Wanted { name, host, users, root: root.unwrap_or_default() });
        }
        report::log(&format!("note: {name} is no host of the inventory; it is tried as a name for ssh\n"));
    }
    Ok(Wanted { name, host: Host::named(&arguments.host), users, root: Vec::new() })
}

async fn becomes(session: &Session, user: String) -> Became {
    let started = Instant::now();
    let result = session.run(&Command::new(RunAs::User(user.clone()), "id -un").timeout(PATIENCE)).await;
    Became { user, took: started.elapsed(), failure: result.err() }
}

/// Whether sudo would let these programs run, and nothing is run; where a whole script is root's, that it is.
async fn may_run(session: &Session, what: &str, programs: Vec<Vec<String>>) -> Became {
    const ASK: &str = "[ \"$(id -u)\" = 0 ] || sudo -n -l -- \"$@\" >/dev/null";
    let started = Instant::now();
    let mut failure = None;
    for program in programs {
        let shown = program.join(" ");
        let result = session.run(&Command::new(RunAs::Root, ASK).args(program).timeout(PATIENCE)).await;
        failure = match result {
            Err(Failure::Refused { status, stderr }) => {
                let why = match stderr.trim() {
                    "" => "sudo does not allow it".to_owned(),
                    why => why.to_owned(),
                };
                let hint = "hint: muster sudoers prints what is needed";
                Some(Failure::Refused { status, stderr: format!("{why}: {shown}\n{hint}") })
            }
            other => other.err(),
        };
        if failure.is_some() {
            break;
        }
    }
    Became { user: what.to_owned(), took: started.elapsed(), failure }
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
