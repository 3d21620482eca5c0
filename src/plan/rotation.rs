//! Passwords that change: of roles, and of whoever logs in with them, everywhere in one run or nowhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::formation::{Monitor, Node, NodeName, Password, Secret};
use crate::plan::passwords::SILENT;
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::{database, monitor, pgpass, rotation};
use crate::scram;
use crate::step::Stage;

/// Which passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub passwords: BTreeSet<Password>,
}

pub(super) fn plan(world: &World, wanted: &Rotation, plan: &mut Plan) {
    let formation = world.formation;
    plan.notes.clear();
    if let Some(why) = world.who_would_be_shut_out(wanted) {
        for server in formation.servers().filter(|server| !world.is_excluded(&server.name)) {
            plan.blocked.insert(server.name.clone(), Reason::Refused(why.clone()));
        }
        return;
    }
    world.rotate(wanted, plan);
    world.note_who_keeps_an_old_one(plan);
    if !plan.is_empty() {
        world.monitor_password(plan);
    }
    let nowhere: Vec<&str> = wanted
        .passwords
        .iter()
        .filter(|password| !formation.kept.rotating.contains(password))
        .map(|password| password.as_str())
        .collect();
    if let (false, true, Some(server)) = (nowhere.is_empty(), plan.is_empty(), formation.servers().next()) {
        plan.note(
            &server.name,
            format!(
                "the roles have the {} that the inventory gives: give another one there",
                nowhere.join(", ")
            ),
        );
    }
}

impl World<'_> {
    /// Why no password is changed now: nobody who lives may be left with the old one.
    fn who_would_be_shut_out(&self, wanted: &Rotation) -> Option<String> {
        let formation = self.formation;
        if let Some(server) = formation.servers().find(|server| server.adopted) {
            return Some(format!(
                "{} is adopted, where muster sets no password: change it by hand",
                server.name
            ));
        }
        let not_now = |what: String| format!("no password is changed while {what}");
        if let (Monitor::Managed(server), true) =
            (&formation.monitor, wanted.passwords.contains(&Password::Monitor))
            && let Some(why) = self.excluded.get(&server.name)
        {
            return Some(not_now(format!("{}: {why}", server.name)));
        }
        for (name, why) in &self.excluded {
            // A keeper that is dead keeps nobody waiting: an apply gives it the new one once its host is back.
            if self.row(name).is_some_and(|row| row.silent < SILENT) {
                return Some(not_now(format!(
                    "{name} has a keeper that lives, and cannot be given the new one: {why}"
                )));
            }
        }
        for group in formation.groups() {
            let Some(primary) = self.primary(group) else {
                return Some(not_now(format!("group {group} has no primary")));
            };
            let Some(node) = primary.ours() else {
                return Some(not_now(format!(
                    "group {group} has the primary {}, which the inventory does not name",
                    primary.upstream().name
                )));
            };
            if let Some(why) = self.excluded.get(node.name()) {
                return Some(not_now(format!("the primary of group {group}, {}: {why}", node.name())));
            }
            if self.database(node.name()).is_none_or(|database| database.in_recovery) {
                return Some(not_now(format!(
                    "the primary of group {group}, {}, does not answer",
                    node.name()
                )));
            }
        }
        let strangers: Vec<&str> =
            self.rows().iter().filter(|row| self.ours(row).is_none()).map(|row| row.name.as_str()).collect();
        if !strangers.is_empty() {
            return Some(not_now(format!(
                "the monitor knows {}, which the inventory does not name: name it there",
                strangers.join(", ")
            )));
        }
        self.changed_beside(wanted).map(|password| {
            let name = password.as_str();
            format!(
                "the inventory gives another `{name}` than the role has, too: name it as well, or none at all"
            )
        })
    }

    /// Another password that is not to be changed, and would be in every `~/.pgpass`.
    fn changed_beside(&self, wanted: &Rotation) -> Option<Password> {
        let others: BTreeSet<Password> =
            Password::ALL.into_iter().filter(|password| !wanted.passwords.contains(password)).collect();
        if others.contains(&Password::Monitor) && self.monitor_password_changes() {
            return Some(Password::Monitor);
        }
        let others = Rotation { passwords: others };
        let mut nodes = self.formation.nodes.values();
        nodes.find_map(|node| self.roles_to_change(node, &others).next().map(|(password, _, _)| password))
    }

    fn rotate(&self, wanted: &Rotation, plan: &mut Plan) {
        let formation = self.formation;
        let salted = |server: &NodeName, role: &str| scram::salt(&formation.seed, &server.0, role);
        if let Monitor::Managed(server) = &formation.monitor
            && let Some(password) = formation.monitor_password()
            && wanted.passwords.contains(&Password::Monitor)
            && !self.is_excluded(&server.name)
            && database::wants_password(server, monitor::USER, password, self.database(&server.name))
                .is_some()
        {
            let roles = [(monitor::USER, password, salted(&server.name, monitor::USER))];
            let step = rotation::step(server, self.bin(&server.name), &server.os_user, &roles, None);
            plan.add(Stage::Rotate, &server.name, step);
        }
        for node in formation.nodes.values().filter(|node| !self.is_excluded(node.name())) {
            let roles: Vec<(&str, &Secret, [u8; 16])> = self
                .roles_to_change(node, wanted)
                .map(|(_, role, secret)| (role, secret, salted(node.name(), role)))
                .collect();
            let seen = self.seen(node.name());
            let differs = !pgpass::holds(node, &self.uri, seen.pgpass.as_ref());
            let file = pgpass::wanted(node, &self.uri, &seen.host, seen.pgpass.as_ref()).filter(|_| differs);
            let bin = self.bin(node.name());
            let step = rotation::step(&node.server, bin, &node.username, &roles, file.as_ref());
            plan.add(Stage::Rotate, node.name(), step);
        }
    }

    /// The roles of a group, where its primary has them otherwise.
    fn roles_to_change<'n>(
        &'n self,
        node: &'n Node,
        wanted: &'n Rotation,
    ) -> impl Iterator<Item = (Password, &'n str, &'n Secret)> {
        let is_primary = self.is_primary(node);
        let all = [
            (Password::Replication, "pgautofailover_replicator", &node.replication_password),
            (Password::User, node.username.as_str(), &node.password),
        ];
        all.into_iter().filter_map(move |(password, role, secret)| {
            let secret = secret.as_ref()?;
            let differs =
                database::wants_password(&node.server, role, secret, self.database(node.name())).is_some();
            (is_primary && wanted.passwords.contains(&password) && differs)
                .then_some((password, role, secret))
        })
    }
}
