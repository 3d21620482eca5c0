//! `muster ca`: the formation's own certificate authority.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::{Options, apply, plan, today};
use crate::authority;
use crate::error::{Exit, Problem};
use crate::formation::{Authority, Formation, NodeName, Server, Tls};
use crate::plan::{Certificates, Goal};
use crate::report;
use crate::resource::managed::Renew;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Replace the authority: every host trusts both, every certificate is signed anew, then the old one is trusted no more.
    Rotate {
        #[command(flatten)]
        run: apply::Verb,
    },
}

impl Arguments {
    pub(super) fn changes(&self) -> bool {
        let What::Rotate { run } = &self.what;
        run.changes()
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let What::Rotate { run } = &arguments.what;
    options.not_limited("everybody trusts one authority: it is replaced everywhere or nowhere")?;
    let mut formation = options.load()?;
    let Some(authority) = formation.authority.take() else {
        let problem = Problem::new("the formation has no certificate authority of its own");
        return Err(vec![problem.hint("`ssl: managed` in the inventory makes one with the next apply")]);
    };
    if formation.ca.command.is_some() {
        let problem = Problem::new("`ca_command` asks an authority of yours, which muster cannot replace");
        let hint = format!(
            "put its new certificate first in {}/ca.crt, leave the old one behind it, and run `muster apply`: both are trusted, then all certificates are signed anew; then take the old one out and run it again",
            authority.dir
        );
        return Err(vec![problem.hint(hint)]);
    }
    let managed: Vec<&Server> =
        formation.servers().filter(|server| matches!(server.tls, Tls::Managed { .. })).collect();
    let nodes: BTreeSet<NodeName> = managed.iter().map(|server| server.name.clone()).collect();
    let (trusted, lists) = match trusted(options, &formation, &managed).await {
        Ok(found) => found,
        Err(away) => {
            report::log(&format!("{away}\n"));
            return Ok(Exit::Unreachable);
        }
    };
    let goal = || Goal::Certificates(Certificates { nodes: nodes.clone(), renew: Renew::WhereNeeded });
    let signer = authority.certificates.first().cloned().unwrap_or_default();
    if trusted.is_empty() {
        let problem = Problem::new("no host trusts a certificate authority of the formation's yet");
        return Err(vec![problem.hint("`muster apply` makes the first one")]);
    }
    let phase = match (authority.certificates.len(), trusted.contains(&signer), trusted.len()) {
        // What was cut off goes on: a third authority would be one too many.
        (2.., _, _) => Phase::Sign(authority),
        (_, true, 2..) => Phase::Forget(authority),
        (_, _, _) => {
            let found = (trusted.as_slice(), lists.as_slice());
            Phase::Sign(authority::successor(&authority, &formation, found, today()))
        }
    };
    let with = |authority: Authority| formation.clone().with_authority(Some(authority));
    let alone = match phase {
        Phase::Sign(both) => {
            let ended = run.carry_out(options, &with(both.clone()), &goal).await?.exit;
            if ended != Exit::Ok || !run.changes() {
                return Ok(ended);
            }
            report::log(
                "every certificate is signed by the new authority; now the old one is trusted no more\n",
            );
            // It is kept by now, and read as the next run will read it.
            let kept = authority::find(&formation, today()).map_err(|problem| vec![problem])?;
            authority::forget_others(&kept.unwrap_or(both)).map_err(|problem| vec![problem])?
        }
        Phase::Forget(authority) => authority,
    };
    let ended = run.carry_out(options, &with(alone.clone()), &goal).await?.exit;
    if ended == Exit::Ok && run.changes() {
        authority::end_rotation(&alone).map_err(|problem| vec![problem])?;
    }
    Ok(ended)
}

/// How far a rotation has come.
enum Phase {
    /// Everybody is to trust both, and then to have a certificate of the new one.
    Sign(Authority),
    /// Everybody has, and is to trust the old one no more.
    Forget(Authority),
}

/// The authorities that the hosts trust now, and their lists of revoked certificates.
async fn trusted(
    options: &Options,
    formation: &Formation,
    managed: &[&Server],
) -> Result<(Vec<String>, Vec<String>), Problem> {
    let facts = plan::look(options, formation, managed).await;
    let (mut found, mut lists): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for server in managed {
        let Some(seen) = facts.seen(&server.name) else {
            let problem = Problem::new(format!("{} could not be looked at", server.name));
            let hint = "an authority is replaced once every host can be told; `muster ping` shows what is in the way";
            return Err(problem.hint(hint));
        };
        for pem in seen.tls.authority.iter().flatten() {
            if !found.contains(pem) {
                found.push(pem.clone());
            }
        }
        lists.extend(seen.tls.revoked.iter().flatten().cloned());
    }
    Ok((found, lists))
}
