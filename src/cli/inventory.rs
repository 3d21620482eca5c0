//! `muster inventory`: what the inventories say, in the words of `ansible-inventory`.

use clap::Args;
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::Options;
use crate::error::{Exit, Problem};
use crate::inventory;
use crate::inventory::Detail;
use crate::report;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["list", "host", "graph"]))]
pub(super) struct Arguments {
    /// Every host with its variables, and every group, as JSON.
    #[arg(long)]
    list: bool,
    /// The variables of one host, as JSON.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The groups and hosts as a tree.
    #[arg(long)]
    graph: bool,
    /// The group that a graph starts at.
    #[arg(requires = "graph", default_value = "all", value_name = "GROUP")]
    group: String,
    /// Variables in the graph, too.
    #[arg(long, requires = "graph")]
    vars: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("inventory shows what the files say; --host is for one host")?;
    let listing = inventory::list(options.inventories()?, options.keys.keyring())?;
    let missing = |what: &str, name: &str, known: Vec<&str>| {
        let problem = Problem::new(format!("there is no {what} `{name}` in the inventory"));
        vec![match inventory::nearest(name, known) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("`muster inventory --graph` shows every group and host"),
        }]
    };
    let text = match &arguments.host {
        Some(name) => {
            json(&listing.host(name).ok_or_else(|| missing("host", name, listing.hosts().collect()))?)
        }
        None if arguments.graph => {
            let detail = if arguments.vars { Detail::Variables } else { Detail::Names };
            let name = &arguments.group;
            listing.graph(name, detail).ok_or_else(|| missing("group", name, listing.groups().collect()))?
        }
        None => json(&listing.list()),
    };
    report::print(&text);
    Ok(Exit::Ok)
}

/// With four spaces, as Ansible has it.
fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).expect("memory takes whatever is written");
    String::from_utf8_lossy(&bytes).into_owned() + "\n"
}
