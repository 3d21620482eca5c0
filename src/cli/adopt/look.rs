//! Looking around: the monitor, the hosts of its nodes, and what every plan begins with.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::Arguments;
use crate::adopt::draft;
use crate::adopt::look::{self, Asked, Configs, Told};
use crate::cli::Options;
use crate::command::{Failure, Output};
use crate::error::{Exit, Problem};
use crate::facts::{Facts, Sight};
use crate::fleet::{Events, Fleet};
use crate::formation::{Connection, Formation, Host, Monitor, Node, NodeName, Server};
use crate::inventory;
use crate::resource::adopted::{AdoptedFacts, STOPPED};
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::refused;

/// What was found, and whom it was not found of.
pub(super) struct Found {
    pub(super) formation: Formation,
    pub(super) facts: Facts,
    pub(super) rows: Option<MonitorFacts>,
    pub(super) left_out: BTreeMap<NodeName, String>,
    /// Whether nothing worse happened than hosts that do not answer.
    pub(super) is_away: bool,
}

/// Why the monitor could not be asked, and how that ends.
pub(super) struct Miss {
    pub(super) problem: Box<Problem>,
    pub(super) exit: Exit,
}

/// What the operator has to say otherwise.
fn usage(problem: Problem) -> Miss {
    Miss { problem: Box::new(problem), exit: Exit::Usage }
}

fn failed(problem: Problem) -> Miss {
    Miss { problem: Box::new(problem), exit: Exit::Failed }
}

pub(super) async fn around(options: &Options, arguments: &Arguments, events: &Events) -> Result<Found, Miss> {
    let fleet = Fleet::empty(options.transport(), options.forks());
    let is_uri = arguments.monitor.contains("://");
    let (fleet, monitor, told, name) = match is_uri {
        true => external(fleet, arguments, events).await,
        false => at_home(fleet, arguments, events).await,
    }?;
    let rows = told.facts.nodes.clone();
    let hosts: Vec<(NodeName, Host)> =
        rows.iter().map(|row| (NodeName(row.name.clone()), host(arguments, &row.host))).collect();
    let fleet = fleet.and(hosts.clone(), events).await;
    let command = look::configs(&arguments.become_user);
    let answers = join_all(hosts.iter().map(|(name, _)| fleet.run(name, &command))).await;
    let (mut nodes, mut left_out, mut is_away) = (Vec::new(), BTreeMap::new(), true);
    for ((row, (node, host)), answer) in rows.iter().zip(hosts).zip(answers) {
        match drafted(arguments, &name, row, host, answer) {
            Ok(drafted) => nodes.push(drafted),
            Err((why, away)) => {
                is_away &= away;
                left_out.insert(node, why);
            }
        }
    }
    let mut formation = draft::together(&name, monitor, &told.facts, nodes);
    let servers: Vec<&Server> = formation.servers().collect();
    let facts = fleet.gather(&formation, &servers).await;
    fleet.close().await;
    for (name, sight) in &facts.hosts {
        let (why, away) = match sight {
            Sight::Seen(seen) => match seen.adopted.as_ref().map_or(Some(STOPPED), AdoptedFacts::not_seen) {
                Some(why) => (why.to_owned(), false),
                None => continue,
            },
            Sight::Unreachable(failure) => (failure.cause(), true),
            Sight::Unreadable(why) => (why.clone(), false),
        };
        is_away &= away;
        left_out.insert(name.clone(), why);
        formation.nodes.remove(name);
    }
    Ok(Found { formation, facts, rows: Some(told.facts), left_out, is_away })
}

type Reached = (Fleet, Monitor, Told, String);

/// A monitor that muster is to look after: logged in on its host, asked over its socket.
async fn at_home(fleet: Fleet, arguments: &Arguments, events: &Events) -> Result<Reached, Miss> {
    let jump = crate::ssh::config::jump(&arguments.monitor)
        .map_err(|problem| usage(problem.hint("--monitor takes [USER@]HOST[:PORT] or postgres://…")))?;
    let host = Host { port: jump.port, ..host(arguments, &jump.host) };
    let name = NodeName(jump.host.clone());
    let fleet = fleet.and([(name.clone(), host.clone())], events).await;
    let user = arguments.become_user.as_str();
    let of_host = |why: String| failed(Problem::new(format!("{}: {why}", jump.host)));
    let stdout = answered(fleet.run(&name, &look::configs(user)).await)?;
    let configs = look::parse_configs(&stdout).map_err(of_host)?;
    let config = draft::monitor_config(&configs).map_err(of_host)?;
    let server = draft::server(name.clone(), host, user, config, configs.bin.as_deref()).map_err(of_host)?;
    let asked =
        Asked::AtHome { user, socket: server.pghost.as_deref().unwrap_or_default(), port: server.pgport };
    let (told, formation) = ask(&fleet, &name, &asked, arguments).await?;
    Ok((fleet, Monitor::Managed(server), told, formation))
}

/// A monitor by its URI: asked by psql on this machine, else on the host that it names.
async fn external(fleet: Fleet, arguments: &Arguments, events: &Events) -> Result<Reached, Miss> {
    let mut uri = inventory::monitor_uri(&arguments.monitor)
        .map_err(|why| usage(Problem::new(format!("--monitor: {why}"))))?;
    uri.given_as = "--monitor";
    let here = NodeName::from("this machine");
    let there = NodeName(format!("the monitor's host {}", uri.host));
    let local = Host { connection: Connection::Local, ..Host::named("localhost") };
    let fleet = fleet.and([(here.clone(), local)], events).await;
    let asked = Asked::By(&uri);
    let (fleet, told) = match ask(&fleet, &here, &asked, arguments).await {
        Ok(told) => (fleet, told),
        Err(miss) if miss.exit == Exit::Usage => return Err(miss),
        // Without psql here, or where this machine does not reach it.
        Err(here) => {
            let fleet = fleet.and([(there.clone(), host(arguments, &uri.host))], events).await;
            let told = ask(&fleet, &there, &asked, arguments).await;
            (
                fleet,
                told.map_err(|there| {
                    let hints = there.problem.hint.iter().chain([&here.problem.message]);
                    let hint = hints.map(String::as_str).collect::<Vec<_>>().join("; ");
                    Miss { problem: Box::new(there.problem.hint(hint)), exit: there.exit }
                })?,
            )
        }
    };
    let (told, formation) = told;
    Ok((fleet, Monitor::External(uri), told, formation))
}

/// The formation's rows; asked twice where it is not the one that a monitor has from the start.
async fn ask(
    fleet: &Fleet,
    on: &NodeName,
    asked: &Asked<'_>,
    arguments: &Arguments,
) -> Result<(Told, String), Miss> {
    let first = arguments.formation.as_deref().unwrap_or("default");
    let of_monitor = |why: String| {
        let refused = match asked {
            Asked::By(uri) => refused::by_monitor(uri, &why),
            Asked::AtHome { .. } => None,
        };
        failed(match refused {
            Some((why, look)) => Problem::new(format!("asked on {on}: {why}")).hint(look),
            None => Problem::new(format!("the monitor, asked on {on}: {why}")),
        })
    };
    let stdout = answered(fleet.run(on, &look::monitor(asked, first)).await)?;
    let told = look::parse_monitor(&stdout).map_err(of_monitor)?;
    let name = draft::formation(arguments.formation.as_deref(), &told.formations).map_err(usage)?.to_owned();
    if name == first {
        return Ok((told, name));
    }
    let stdout = answered(fleet.run(on, &look::monitor(asked, &name)).await)?;
    Ok((look::parse_monitor(&stdout).map_err(of_monitor)?, name))
}

fn answered(answer: Result<Output, Failure>) -> Result<String, Miss> {
    let is_away = matches!(answer, Err(Failure::Unreachable { .. }));
    let miss = |failure| Miss {
        problem: Box::new(crate::cli::problem(failure)),
        exit: if is_away { Exit::Unreachable } else { Exit::Failed },
    };
    answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).map_err(miss)
}

/// A node from its host's answer; else why not, and whether its host just does not answer.
fn drafted(
    arguments: &Arguments,
    formation: &str,
    row: &NodeRow,
    host: Host,
    answer: Result<Output, Failure>,
) -> Result<Node, (String, bool)> {
    let output =
        answer.map_err(|failure| (failure.cause(), matches!(failure, Failure::Unreachable { .. })))?;
    let wrong = |why: String| (why, false);
    let configs: Configs = look::parse_configs(&String::from_utf8_lossy(&output.stdout)).map_err(wrong)?;
    let config = draft::node_config(&configs, formation, row).map_err(wrong)?;
    let name = NodeName(row.name.clone());
    let bin = configs.bin.as_deref();
    let server = draft::server(name, host, &arguments.become_user, config, bin).map_err(wrong)?;
    let order = u32::try_from(row.id).unwrap_or(u32::MAX);
    draft::node(server, row, order, config).map_err(wrong)
}

/// Who logs in on the monitor's host does on all of them.
fn host(arguments: &Arguments, address: &str) -> Host {
    Host { user: user(arguments), ..Host::named(address) }
}

pub(super) fn user(arguments: &Arguments) -> Option<String> {
    let is_host = !arguments.monitor.contains("://");
    let jump = is_host.then(|| crate::ssh::config::jump(&arguments.monitor).ok()).flatten();
    jump.and_then(|jump| jump.user)
}
