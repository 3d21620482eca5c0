//! `muster password`: the passwords of the formation's roles.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::{Options, apply};
use crate::error::{Exit, Problem};
use crate::formation::{Formation, Password};
use crate::plan::{Goal, Rotation};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take new passwords: those that the inventory gives by now, and new ones of muster's own where it gives none.
    Rotate {
        /// Which ones: password, replication_password, monitor_password, or the roles that have them; all, where none are named.
        #[arg(value_name = "ROLE")]
        roles: Vec<String>,
        #[command(flatten)]
        run: apply::Verb,
    },
}

impl Arguments {
    pub(super) fn changes(&self) -> bool {
        let What::Rotate { run, .. } = &self.what;
        run.changes()
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let What::Rotate { roles, run } = &arguments.what;
    options.not_limited("a password is one for the whole formation")?;
    let (formation, passwords) = options.load_to_rotate(|formation| wanted(formation, roles))?;
    let goal = Goal::Rotation(Rotation { passwords });
    Ok(run.carry_out(options, &formation, &|| goal.clone()).await?.exit)
}

/// Which passwords are meant, and a rotation that was cut off.
fn wanted(formation: &Formation, roles: &[String]) -> Result<BTreeSet<Password>, Vec<Problem>> {
    let lacking = formation.lacking();
    let is_used = |password: &Password| formation.uses(*password) || lacking.contains(password);
    let mut passwords = BTreeSet::new();
    for role in roles {
        let Some(password) = named(formation, role) else {
            let problem =
                Problem::new(format!("`{}` is no role that muster sets a password for", role.escape_debug()));
            return Err(vec![
                problem
                    .hint("name password, replication_password or monitor_password, or leave it out for all"),
            ]);
        };
        if !is_used(&password) {
            let problem = Problem::new(format!(
                "the formation uses no `{}` that muster could change",
                password.as_str()
            ));
            return Err(vec![
                problem.hint("`auth` asks for no password there, or the monitor is not in the inventory"),
            ]);
        }
        passwords.insert(password);
    }
    if roles.is_empty() {
        passwords.extend(Password::ALL.iter().filter(|password| is_used(password)));
    }
    if passwords.is_empty() {
        let problem = Problem::new("the formation uses no password");
        return Err(vec![problem.hint("`auth: scram-sha-256` asks for passwords, and muster makes them")]);
    }
    passwords.extend(&formation.kept.rotating);
    Ok(passwords)
}

fn named(formation: &Formation, role: &str) -> Option<Password> {
    let is_user = formation.nodes.values().any(|node| node.username == role);
    match role {
        "pgautofailover_replicator" => Some(Password::Replication),
        crate::resource::monitor::USER => Some(Password::Monitor),
        _ if is_user => Some(Password::User),
        _ => Password::ALL.into_iter().find(|password| password.as_str() == role),
    }
}
