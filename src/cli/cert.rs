//! `muster cert`: the certificates of the servers.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Options, apply, exit, plan, today};
use crate::authority::{Means, revocation};
use crate::error::{Exit, Problem};
use crate::formation::{NodeName, Server, Tls};
use crate::plan::{Certificates, Goal};
use crate::report;
use crate::report::cert::{Line, State};
use crate::resource::managed::Renew;
use crate::resource::tls::RENEW_DAYS;
use crate::scope::Scope;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show each server's certificate: who signed it, for which names, until when, and whether it is the one that clients are shown.
    Status {
        /// Hosts and groups, as Ansible's patterns.
        #[arg(default_value = "all")]
        pattern: String,
        /// The exit code is 3 if a certificate ends within so many days.
        #[arg(long, value_name = "DAYS", default_value_t = RENEW_DAYS)]
        within: i32,
    },
    /// Have new keys and certificates made, though the ones that are there are good. Servers are reloaded, sessions live on.
    Renew {
        /// Hosts and groups, as Ansible's patterns.
        #[arg(default_value = "all")]
        pattern: String,
        #[command(flatten)]
        run: apply::Verb,
    },
    /// Have every server and every client refuse what was signed for NAME. A server of the inventory gets a new key and a new certificate first.
    Revoke {
        /// A server of the inventory, or any other name that certificates were signed for.
        name: String,
        #[command(flatten)]
        run: apply::Verb,
    },
}

impl Arguments {
    pub(super) fn changes(&self) -> bool {
        match &self.what {
            What::Status { .. } => false,
            What::Renew { run, .. } | What::Revoke { run, .. } => run.changes(),
        }
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    match &arguments.what {
        What::Status { pattern, within } => status(options, pattern, *within).await,
        What::Renew { pattern, run } => renew(options, pattern, run).await,
        What::Revoke { name, run } => revoke(options, name, run).await,
    }
}

async fn revoke(options: &Options, name: &str, run: &apply::Verb) -> Result<Exit, Vec<Problem>> {
    options.not_limited("a certificate is refused by everybody, or it is not revoked")?;
    let formation = options.load()?;
    let Some(authority) = formation.authority.clone() else {
        let problem = Problem::new("the formation has no certificate authority of its own");
        return Err(vec![
            problem.hint("whoever signed the certificate revokes it: `ssl_crl_file` names their list"),
        ]);
    };
    let is_managed = |server: &&Server| matches!(server.tls, Tls::Managed { .. });
    let managed: Vec<&Server> = formation.servers().filter(is_managed).collect();
    let one = |problem| vec![problem];
    let mut serials = revocation::issued(&authority, name, today()).map_err(one)?;
    if let Some(server) = managed.iter().find(|server| server.name.0 == name) {
        serials.extend(revocation::issued(&authority, &server.hostname, today()).map_err(one)?);
        // Of one that was signed before that was written down only its host knows.
        let facts = plan::look(options, &formation, &[server]).await;
        let found = facts.seen(&server.name).and_then(|seen| seen.tls.certificate.as_ref());
        serials.extend(found.map(|found| found.serial.clone()));
    }
    if name == "localhost" || serials.is_empty() {
        let problem = Problem::new(format!("no certificate of {name} is known that could be revoked"));
        let hint =
            format!("{}/issued has the names for which one was signed; give one of them", authority.dir);
        return Err(vec![problem.hint(hint)]);
    }
    let had_list = !authority.revoked.is_empty();
    let means = Means { ca: &formation.ca, keyring: options.keys.keyring() };
    let authority = revocation::revoke(&authority, &serials, today(), means).map_err(one)?;
    let nodes: BTreeSet<NodeName> = managed.iter().map(|server| server.name.clone()).collect();
    // Where nobody looks at a list yet, settings and keepers are told of it as well.
    let goal = || match had_list {
        true => Goal::Certificates(Certificates { nodes: nodes.clone(), renew: Renew::WhereNeeded }),
        false => Goal::ROLLOUT,
    };
    let formation = options.load_for_goal(&goal())?.with_authority(Some(authority));
    Ok(run.carry_out(options, &formation, &goal).await?.exit)
}

async fn renew(options: &Options, pattern: &str, run: &apply::Verb) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let servers = options.select(&formation, pattern)?;
    let is_made = |server: &&&Server| match server.tls {
        Tls::SelfSigned { .. } | Tls::Managed { .. } => true,
        Tls::Off | Tls::Files { .. } => false,
    };
    let nodes: BTreeSet<NodeName> =
        servers.iter().filter(is_made).map(|server| server.name.clone()).collect();
    if nodes.is_empty() {
        let problem = Problem::new(format!("`{pattern}` selects no server whose certificate muster makes"));
        let hint = "where server_cert is given, put a new file there: `muster apply` has the server read it";
        return Err(vec![problem.hint(hint)]);
    }
    let goal = || Goal::Certificates(Certificates { nodes: nodes.clone(), renew: Renew::Always });
    Ok(run.carry_out(options, &formation, &goal).await?.exit)
}

async fn status(options: &Options, pattern: &str, within: i32) -> Result<Exit, Vec<Problem>> {
    let formation = options.load()?;
    let servers = options.select(&formation, pattern)?;
    let scope = Scope::of(&formation, servers.iter().map(|server| server.name.clone()));
    let facts = plan::look(options, &formation, &servers).await;
    let lines: Vec<Line> = servers
        .iter()
        .map(|server| Line::new(&formation, server, facts.seen(&server.name), today(), within))
        .collect();
    report::print(&match options.json {
        true => report::json::result("certificates", &lines, &[("within_days", json!(within))]),
        false => report::cert::text(&lines, within, options.paint()),
    });
    let worst = lines.iter().map(|line| line.state).max();
    let exit = match worst {
        Some(State::Wrong) => Exit::Failed,
        Some(State::EndsSoon) => Exit::Changes,
        Some(State::Unknown | State::Ok | State::Off) | None => Exit::Ok,
    };
    Ok(match (exit, exit::of_sight(&facts, &scope)) {
        (Exit::Failed, _) => Exit::Failed,
        (own, Exit::Ok) => own,
        (_, sight) => sight,
    })
}
