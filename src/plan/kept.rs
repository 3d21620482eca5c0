//! Passwords that this run makes: only where the formation has none yet. What the roles have is on another machine then, and
//! nothing may be made in its place.

use std::collections::BTreeSet;

use crate::formation::{Monitor, NodeName, Password, Secret, Server};
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::data::Pgdata;
use crate::resource::monitor;
use crate::scram::{self, Kept};

/// What is known of a role's password where it is kept.
enum Known {
    /// The role has none, or there is no role yet.
    None,
    Another(String),
    Unknown(String),
}

impl World<'_> {
    /// Leaves the whole formation alone where a password is not this run's to make.
    pub(super) fn hold_made_passwords(&mut self, plan: &mut Plan) {
        let kept = &self.formation.kept;
        let made = kept.made.iter().filter(|(password, _)| !kept.rotating.contains(password));
        let why = made.into_iter().find_map(|(password, made)| self.not_to_be_made(*password, made));
        let Some(why) = why else { return };
        let why = Reason::PasswordElsewhere { why, folder: kept.folder.clone() };
        for server in self.formation.servers() {
            if !self.is_excluded(&server.name) {
                self.block(plan, &server.name, why.clone());
            }
        }
    }

    fn not_to_be_made(&self, password: Password, made: &Secret) -> Option<String> {
        let name = password.as_str();
        let known: Vec<Known> = match (password, &self.formation.monitor) {
            (Password::Monitor, Monitor::Managed(server)) => vec![self.of_monitor(server, made)],
            (Password::Monitor, Monitor::External(_)) => Vec::new(),
            (Password::User | Password::Replication, _) => {
                let rows = self.rows().iter().map(|row| row.group);
                let groups: BTreeSet<u32> = self.formation.groups().into_iter().chain(rows).collect();
                groups.into_iter().map(|group| self.of_group(group, password, made)).collect()
            }
        };
        // What is known for certain is told first.
        let sure = known.iter().find_map(|known| match known {
            Known::Another(role) => {
                Some(format!("{role} has a `{name}` already that this machine does not know"))
            }
            Known::None | Known::Unknown(_) => None,
        });
        sure.or_else(|| {
            known.iter().find_map(|known| match known {
                Known::Unknown(why) => {
                    Some(format!("whether there is a `{name}` already cannot be seen: {why}"))
                }
                Known::None | Known::Another(_) => None,
            })
        })
    }

    fn of_monitor(&self, server: &Server, made: &Secret) -> Known {
        let Some(seen) = self.facts.seen(&server.name) else {
            return Known::Unknown(format!("{} was not seen", server.name));
        };
        match (&seen.pgdata, &seen.database) {
            (Pgdata::Present(_), None) => {
                Known::Unknown(format!("the PostgreSQL of {} does not answer", server.name))
            }
            (Pgdata::Empty | Pgdata::Foreign(_), None) => Known::None,
            (_, Some(_)) => self.of_role(&server.name, monitor::USER, made),
        }
    }

    /// Members of a group have the same roles: one that answers is enough, where it has none.
    fn of_group(&self, group: u32, password: Password, made: &Secret) -> Known {
        let members: Vec<_> = self.formation.group(group).collect();
        let answers = members.iter().filter(|node| self.database(node.name()).is_some());
        let mut answered = false;
        for node in answers {
            answered = true;
            let role = match password {
                Password::User => node.username.as_str(),
                Password::Replication | Password::Monitor => "pgautofailover_replicator",
            };
            match self.of_role(node.name(), role, made) {
                Known::None => {}
                found @ (Known::Another(_) | Known::Unknown(_)) => return found,
            }
        }
        let is_there = |name: &NodeName| {
            let seen = self.facts.seen(name);
            seen.is_some_and(|seen| matches!(seen.pgdata, Pgdata::Present(_)))
        };
        match answered {
            true => Known::None,
            false if !self.rows_of(group).is_empty() || members.iter().any(|node| is_there(node.name())) => {
                Known::Unknown(format!("no PostgreSQL of group {group} answers"))
            }
            false => Known::None,
        }
    }

    fn of_role(&self, server: &NodeName, role: &str, made: &Secret) -> Known {
        let found = self.database(server).and_then(|database| database.verifiers.get(role));
        match found {
            Some(found) if scram::kept(found, role, made) == Kept::Other => {
                Known::Another(format!("the role {role} of {server}"))
            }
            Some(_) | None => Known::None,
        }
    }

    /// That this run makes some, and where they are kept then.
    pub(super) fn note_made_passwords(&self, plan: &mut Plan) {
        let kept = &self.formation.kept;
        let Some(server) = self.formation.servers().next() else { return };
        if self.is_excluded(&server.name) {
            return;
        }
        let rotating: Vec<&str> = kept.rotating.iter().map(|password| password.as_str()).collect();
        if !rotating.is_empty() {
            let what = rotating.join(", ");
            plan.note(&server.name, format!("a rotation of {what} was cut off: this run completes it"));
        }
        if kept.made.is_empty() {
            return;
        }
        let names: Vec<&str> = kept.made.keys().map(|password| password.as_str()).collect();
        plan.note(
            &server.name,
            format!(
                "{}: made by this run before its first step, and kept in {} on this machine, for every later run: keep that folder",
                names.join(", "),
                kept.folder
            ),
        );
    }
}
