//! `muster lint`: every mistake of an inventory, and what is allowed and seldom meant. No host is asked.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::Options;
use crate::error::{Exit, Problem};
use crate::inventory::lint::LINTS;
use crate::report;
use crate::report::lint::{Found, Warning};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Say nothing of this kind of warning; may be repeated.
    #[arg(long, value_name = "NAME", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(LINTS.iter().map(|lint| lint.name)))]
    allow: Vec<String>,
    /// End with 1 if there is a warning, too.
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("lint reads the whole inventory")?;
    let linted = crate::inventory::lint(options.inventories()?, options.keys.keyring());
    let warnings = linted.warnings.into_iter();
    let warnings = warnings.filter(|(lint, _)| !arguments.allow.iter().any(|name| name == lint.name));
    let found = Found {
        mistakes: linted.mistakes,
        warnings: warnings.map(|(lint, problem)| Warning { name: lint.name, problem }).collect(),
    };
    let exit = match found.mistakes.is_empty() && (found.warnings.is_empty() || !arguments.deny_warnings) {
        true => Exit::Ok,
        false => Exit::Usage,
    };
    report::print(&match options.json {
        true => report::json::result("lint", &report::lint::json(&found), &[("exit", json!(exit as u8))]),
        false => report::lint::text(&found, options.paint()),
    });
    Ok(exit)
}
