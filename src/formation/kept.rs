//! Passwords that muster makes and the operator's machine keeps, where the inventory gives none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Formation, Monitor, Secret, Server};

/// One for the whole formation, by the variable that would give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Password {
    /// Of `username`.
    #[serde(rename = "password")]
    User,
    /// Of `pgautofailover_replicator`.
    #[serde(rename = "replication_password")]
    Replication,
    /// Of `autoctl_node`, on a monitor of the inventory.
    #[serde(rename = "monitor_password")]
    Monitor,
}

impl Password {
    pub const ALL: [Password; 3] = [Password::User, Password::Replication, Password::Monitor];

    /// The variable of the inventory; the file that it is kept in has the same name.
    pub fn as_str(self) -> &'static str {
        match self {
            Password::User => "password",
            Password::Replication => "replication_password",
            Password::Monitor => "monitor_password",
        }
    }
}

/// What a formation has of such passwords.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// `secrets_dir`, a path on this machine; `None` is the folder of the user's data.
    pub given: Option<String>,
    /// The folder that was looked into, for messages; empty where no password is left to muster.
    pub folder: String,
    /// Those that this run makes, and writes before its first step. A role has none yet, but of a rotation.
    pub made: BTreeMap<Password, Secret>,
    /// Those that take the place of others: both are kept until the rotation is complete.
    pub rotating: BTreeSet<Password>,
}

impl Formation {
    /// Which passwords are needed and not given.
    pub fn lacking(&self) -> BTreeSet<Password> {
        let wants = |server: &Server| !server.adopted && server.auth.is_password();
        let lacks = |password: Password| match (password, &self.monitor) {
            (Password::Monitor, Monitor::External(_)) => false,
            (Password::Monitor, Monitor::Managed(server)) => {
                !server.adopted && self.servers().any(wants) && self.monitor_password().is_none()
            }
            (Password::User, _) => {
                self.nodes.values().any(|node| wants(&node.server) && node.password.is_none())
            }
            (Password::Replication, _) => {
                self.nodes.values().any(|node| wants(&node.server) && node.replication_password.is_none())
            }
        };
        Password::ALL.into_iter().filter(|password| lacks(*password)).collect()
    }

    /// The same with these where none is given; an adopted server has its own.
    pub fn with_passwords(mut self, passwords: &BTreeMap<Password, Secret>) -> Formation {
        let of = |password: Password| passwords.get(&password).cloned();
        for node in self.nodes.values_mut().filter(|node| !node.server.adopted) {
            node.password = node.password.take().or_else(|| of(Password::User));
            node.replication_password =
                node.replication_password.take().or_else(|| of(Password::Replication));
        }
        if self.monitor_password().is_none() {
            self.lone_monitor_password = of(Password::Monitor);
        }
        self
    }

    /// Whether the formation logs in with such a password that can be changed from here.
    pub fn uses(&self, password: Password) -> bool {
        match (password, &self.monitor) {
            (Password::User, _) => self.nodes.values().any(|node| node.password.is_some()),
            (Password::Replication, _) => self.nodes.values().any(|node| node.replication_password.is_some()),
            (Password::Monitor, Monitor::Managed(_)) => self.monitor_password().is_some(),
            (Password::Monitor, Monitor::External(_)) => false,
        }
    }

    /// The same with passwords that this run makes.
    pub fn making(self, passwords: BTreeMap<Password, Secret>) -> Formation {
        let mut formation = self.with_passwords(&passwords);
        formation.kept.made = passwords;
        formation
    }
}
