//! `muster show`: a plan that was saved, as `plan` showed it. No host is asked, and no inventory.

use std::path::PathBuf;

use clap::Args;

use super::{Options, plan, saved};
use crate::error::{Exit, Problem};
use crate::report;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// What `muster plan --out FILE` has saved.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    show: plan::Show,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("a plan is shown as it was saved")?;
    let (json, plan) = saved::shown(&arguments.file)?;
    report::print(&match options.json {
        true => report::json::result("plan", &json, &[]),
        false => report::plan::text(&plan, arguments.show.contents(), options.paint()),
    });
    Ok(Exit::Ok)
}
