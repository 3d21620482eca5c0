//! `muster facts`: what is seen of each host.

use super::{Options, exit, plan};
use crate::error::{Exit, Problem};
use crate::report;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Everything that was seen, as YAML.
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let scope = options.scope(&formation)?;
    let facts = plan::look(options, &formation, &scope.servers(&formation)).await;
    report::print(&match (options.json, arguments.yaml) {
        (true, _) => report::json::result("facts", &facts.hosts, &[]),
        (false, true) => report::facts::yaml(&facts),
        (false, false) => report::facts::text(&facts),
    });
    Ok(exit::of_sight(&facts, &scope))
}
