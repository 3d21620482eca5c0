//! `muster verify`: does the formation serve.

use super::{Options, exit, plan};
use crate::error::{Exit, Problem};
use crate::report;
use crate::scope::Scope;
use crate::verify;

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
    let failed = checks.iter().any(|check| check.result.is_err());
    Ok(exit::or(exit::of_sight(&facts, &whole), if failed { Exit::Failed } else { Exit::Ok }))
}
