//! `muster status`: the formation as it is.

use super::{Options, exit, plan, today};
use crate::error::{Exit, Problem};
use crate::plan::Goal;
use crate::report;
use crate::report::status::Status;
use crate::report::status::rest::Rest;

pub(super) async fn run(options: &Options) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let scope = options.scope(&formation)?;
    let facts = plan::look(options, &formation, &scope.sight(&formation)).await;
    let planned = Goal::ROLLOUT.plan(&formation, &scope, &facts, today()).map_err(|problem| vec![problem])?;
    let status = Status::new(&formation, &scope, &facts, today()).with_plan(&planned);
    report::print(&match options.json {
        true => report::json::result("status", &status, &[]),
        false => status.text(options.paint()),
    });
    Ok(match status.rest {
        Rest::Unsettled => Exit::Failed,
        // Which of the two it is, is what a pipeline wants to know.
        Rest::Settled | Rest::Out | Rest::Unseen => exit::of_sight(&facts, &scope),
    })
}
