//! `muster facts`: what is seen of each host.

use super::{Options, exit, plan};
use crate::error::{Exit, Problem};
use crate::report;

pub(super) async fn run(options: &Options) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let facts = plan::look(options, &formation).await;
    report::print(&match options.json {
        true => report::json::result("facts", &facts.hosts, &[]),
        false => report::facts::text(&facts),
    });
    Ok(exit::of_sight(&facts))
}
