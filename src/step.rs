//! A step: one thing that is done to one host, with its reason and its risk.

use serde::Serialize;

use crate::command::Command;
use crate::formation::{NodeName, Secret};

/// How much a step disturbs a node that is serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    Safe,
    Reload,
    Restart,
    Destroy,
}

/// Kinds of work in their order; a stage begins when the one before has ended on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Each host by itself: directories, certificates, initdb, configuration, roles; the monitor's keeper.
    Prepare,
    /// Registration and the state machine, until every node is in its goal state.
    Replicate,
    /// Rows of `pg_dist_node` and `pg_dist_poolinfo`.
    Metadata,
    /// Handing over to the keepers.
    Keeper,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Prepare => "prepare",
            Stage::Replicate => "replicate",
            Stage::Metadata => "metadata",
            Stage::Keeper => "keeper",
        }
    }
}

/// One decided action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done: `initdb /var/lib/postgresql/15/coord`.
    pub title: String,
    /// Why, in words an operator understands: `the data directory is empty`.
    pub because: String,
    pub risk: Risk,
    /// The host it runs on: a worker is added on the coordinator, yet the step is the worker's own.
    pub on: NodeName,
    pub action: Action,
    /// If all of these nodes have failed there is nothing to wait for: the step is skipped.
    pub needs: Vec<NodeName>,
}

/// Everything that may happen to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Whole content, owner, mode; written beside, fsynced, moved into place.
    Put(File),
    Run(Command),
    /// `command` again and again until its trimmed output is one of `answers`.
    Wait {
        command: Command,
        answers: Vec<String>,
        timeout: u64,
    },
}

/// A managed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// Absolute.
    pub path: String,
    /// `root` or the server's operating system user.
    pub owner: String,
    pub mode: u32,
    pub content: Content,
    /// What is there now, for the diff; `None` where there is no file.
    pub before: Option<String>,
}

/// The text of a file, or one that is not to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Content {
    Text(String),
    Hidden(Secret),
    /// Bytes that are no text, e.g. `pg_autoctl.state`.
    Binary(Vec<u8>),
}

impl Content {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Content::Text(text) => text.as_bytes(),
            Content::Hidden(secret) => secret.reveal().as_bytes(),
            Content::Binary(bytes) => bytes,
        }
    }
}

impl Step {
    pub fn new(on: &NodeName, title: impl Into<String>, because: impl Into<String>, action: Action) -> Self {
        Step {
            title: title.into(),
            because: because.into(),
            risk: Risk::Safe,
            on: on.clone(),
            action,
            needs: Vec::new(),
        }
    }

    pub fn risk(mut self, risk: Risk) -> Self {
        self.risk = risk;
        self
    }

    pub fn needs(mut self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        self.needs.extend(nodes);
        self
    }
}
