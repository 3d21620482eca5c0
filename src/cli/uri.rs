//! `muster uri`: the connection strings to give to people and programs.

use std::collections::BTreeSet;

use clap::Args;

use super::{Options, exit, plan, writable};
use crate::error::{Exit, Problem};
use crate::facts;
use crate::formation::{Authority, NodeName, SigningKey};
use crate::inventory::Need;
use crate::report::{self, json, recap};
use crate::scope::Scope;
use crate::uri::{self, Known};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The monitor's alone.
    #[arg(long, conflicts_with = "group")]
    monitor: bool,
    /// That of one group alone; group 0 is the coordinator's, and that of a formation without Citus.
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// Ask no host: what the inventory says is printed, whatever nodes the monitor knows.
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("--group N prints the one of a group")?;
    let formation = match arguments.offline || arguments.monitor {
        true => options.load_for(Need::Login)?,
        false => options.load_to_ask()?,
    };
    if let Some(group) =
        arguments.group.filter(|group| uri::group(&formation, &Known::default(), *group).is_none())
    {
        let problem = Problem::new(format!("the inventory has no node of group {group} that takes writes"));
        return Err(vec![problem.hint("`muster status` shows the group of each node")]);
    }
    let (facts, exit) = match arguments.offline || arguments.monitor {
        true => (facts::Facts::default(), Exit::Ok),
        false => {
            let facts = plan::look(options, &formation, &writable::asked(&formation)).await;
            // One answer is enough.
            let exit = match facts.monitor(&formation) {
                Some(_) => Exit::Ok,
                None => exit::or(exit::of_sight(&facts, &Scope::whole()), Exit::Failed),
            };
            (facts, exit)
        }
    };
    if exit != Exit::Ok {
        report::log(
            "warning: the monitor could not be asked; nodes that the inventory does not name are left out\n\
             hint: `muster status` says why; --offline does not ask\n",
        );
    }
    if let Some(Authority { dir, key: SigningKey::Made { .. }, .. }) = &formation.authority {
        report::log(&format!(
            "warning: {dir}/ca.crt, by which clients verify the servers, is not on this machine\n\
             hint: copy that folder from the machine that has it; where nothing is rolled out yet, `muster apply` makes it\n"
        ));
    }
    let dropped: BTreeSet<NodeName> = match facts.monitor(&formation) {
        Some(monitor) => {
            let nodes = formation.nodes.values().filter(|node| !monitor.knows(&node.server));
            nodes.map(|node| node.name().clone()).collect()
        }
        None => BTreeSet::new(),
    };
    for name in &dropped {
        report::log(&format!("note: the monitor does not know {name}\n"));
    }
    let known = Known { strangers: facts::strangers(&formation, &facts), dropped };
    let only = match arguments.group {
        Some(group) => uri::group(&formation, &known, group),
        None => arguments.monitor.then(|| uri::monitor(&formation)),
    };
    report::print(&match (options.json, only) {
        (true, Some(only)) => json::result("uris", &[only], &[]),
        (true, None) => json::result("uris", &uri::uris(&formation, &known), &[]),
        // Fit for psql "$(muster uri --group 1)".
        (false, Some(only)) => format!("{}\n", only.uri),
        (false, None) => recap::uris(&uri::uris(&formation, &known)),
    });
    Ok(exit)
}
