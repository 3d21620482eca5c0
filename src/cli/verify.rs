//! `muster verify`: does the formation serve.

use super::{Options, exit, plan};
use crate::error::{Exit, Problem};
use crate::report;
use crate::scope::Scope;
use crate::verify::{self, Wrong};

pub(super) async fn run(options: &Options) -> Result<Exit, Vec<Problem>> {
    options.not_limited("verify asks whether the whole formation serves")?;
    let formation = options.load()?;
    let whole = Scope::whole();
    let servers = whole.sight(&formation);
    let (fleet, facts) = plan::connect(options, options.reading(), &formation, &servers).await;
    let mut checks = verify::from_facts(&formation, &facts);
    for probe in verify::probes(&formation, &facts) {
        checks.push(verify::judge(&probe, fleet.run(&probe.on, &probe.command).await));
    }
    fleet.close().await;
    report::print(&match options.json {
        true => report::json::result("checks", &report::verify::json(&checks), &[]),
        false => report::verify::text(&checks, options.paint()),
    });
    // A check that fails for want of a host is what 4 says; any other counts more.
    let found = |check: &verify::Check| matches!(check.result, Err(Wrong::Found(_)));
    let failed = if checks.iter().any(found) { Exit::Failed } else { Exit::Ok };
    Ok(exit::or(failed, exit::of_sight(&facts, &whole)))
}
