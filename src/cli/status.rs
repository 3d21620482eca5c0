//! `muster status`: the formation as it is.

use super::{Options, exit, plan, today};
use crate::error::{Exit, Problem};
use crate::report;
use crate::report::status::Status;

pub(super) async fn run(options: &Options) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let scope = options.scope(&formation)?;
    let facts = plan::look(options, &formation, &scope.sight(&formation)).await;
    let status = Status::new(&formation, &scope, &facts, today());
    report::print(&match options.json {
        true => report::json::result("status", &status, &[]),
        false => status.text(options.paint()),
    });
    // A formation that misses a host is seldom settled: which of the two it is, is what a pipeline wants to know.
    let settled = if status.settled { Exit::Ok } else { Exit::Failed };
    Ok(exit::or(exit::of_sight(&facts, &scope), settled))
}
