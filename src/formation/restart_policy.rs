//! Who restarts a server.

use serde::{Deserialize, Serialize};

/// `restart_policy`: what becomes of a setting that takes a restart of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartPolicy {
    /// A rollout restarts the members of a group one after the other; the default.
    Rolling,
    /// A rollout writes it, and the operator restarts; the default of an adopted server.
    Manual,
    /// As [`RestartPolicy::Manual`], and no command of muster's restarts the server.
    Never,
}

impl RestartPolicy {
    /// The words in an inventory, in the order of the table of variables.
    pub const WORDS: &'static [&'static str] = &["rolling", "manual", "never"];

    /// `None` for any other word.
    pub fn parse(word: &str) -> Option<RestartPolicy> {
        match word {
            "rolling" => Some(RestartPolicy::Rolling),
            "manual" => Some(RestartPolicy::Manual),
            "never" => Some(RestartPolicy::Never),
            _ => None,
        }
    }
}
