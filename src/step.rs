//! A step: one thing that is done to one host, with its reason and its risk.

use std::collections::BTreeSet;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::command::Command;
use crate::formation::NodeName;
use crate::op::Op;

pub use crate::file::{Check, Content, File, Running, Undo};
pub use crate::issue::Issue;
pub use crate::op::Risk;

/// Kinds of work in their order; a stage begins when the one before has ended on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// What the monitor is told of a node that it has, and what may be done only once every keeper has been told.
    Adjust,
    /// Roles and those who come with them get other passwords.
    Rotate,
    /// Waiting until all is quiet.
    Settle,
    /// Servers end and start again, one of a group after the other.
    Restart,
    /// Other nodes take over.
    Switchover,
    /// Nodes are taken out, or taken back.
    Maintenance,
    /// Hosts are rebooted, one of a group after the other.
    Reboot,
}

impl Stage {
    pub const ALL: [Stage; 11] = [
        Stage::Prepare,
        Stage::Replicate,
        Stage::Metadata,
        Stage::Keeper,
        Stage::Adjust,
        Stage::Rotate,
        Stage::Settle,
        Stage::Restart,
        Stage::Switchover,
        Stage::Maintenance,
        Stage::Reboot,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Prepare => "prepare",
            Stage::Replicate => "replicate",
            Stage::Metadata => "metadata",
            Stage::Keeper => "keeper",
            Stage::Adjust => "adjust",
            Stage::Rotate => "rotate",
            Stage::Settle => "settle",
            Stage::Restart => "restart",
            Stage::Switchover => "switchover",
            Stage::Maintenance => "maintenance",
            Stage::Reboot => "reboot",
        }
    }
}

/// How a wait's command ends where what it waits for does not come any more; sysexits' EX_UNAVAILABLE.
pub const IN_VAIN: u32 = 69;

/// One decided action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// What is done.
    pub op: Op,
    /// Why, in words an operator understands: `the data directory is empty`.
    pub because: String,
    /// The host it runs on: a worker is added on the coordinator, yet the step is the worker's own.
    pub on: NodeName,
    /// How it is carried out.
    pub action: Action,
    /// If all of these nodes have failed there is nothing to wait for: the step is skipped.
    pub needs: Vec<NodeName>,
    /// If any of these nodes has failed in an earlier stage the step is skipped: somebody would be shut out.
    #[serde(default)]
    pub needs_all: Vec<NodeName>,
}

/// Everything that may happen to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Whole content, owner, mode; written beside, fsynced, moved into place.
    Put(File),
    Run(Command),
    Try(Box<Trial>),
    /// The host makes a key, the formation's authority signs, and the certificate goes back.
    Issue(Issue),
    /// `command` again and again until its trimmed output is one of `answers`.
    Wait {
        command: Command,
        answers: Vec<String>,
        timeout: u64,
    },
}

/// What may lock out: whoever came in before has to come in after it, by a new connection, or it is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub command: Command,
    /// Asked before it, and after.
    pub asks: Vec<Ask>,
    /// What is new stays.
    pub confirm: Command,
    pub undo: Command,
    /// Seconds after which the host undoes it by itself.
    pub within: u64,
}

/// Connections that are tried from one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub on: NodeName,
    /// It prints a line a connection: `in`, or why not.
    pub command: Command,
    /// Who comes to what, in words, a connection each.
    pub who: Vec<String>,
}

/// With what follows from the operation: title and risk.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Step { op, because, on, action, needs, needs_all } = self;
        let mut fields = serializer.serialize_struct("Step", 8)?;
        fields.serialize_field("title", &self.title())?;
        fields.serialize_field("because", because)?;
        fields.serialize_field("risk", &self.risk())?;
        fields.serialize_field("on", on)?;
        fields.serialize_field("op", op)?;
        fields.serialize_field("action", action)?;
        fields.serialize_field("needs", needs)?;
        fields.serialize_field("needs_all", needs_all)?;
        fields.end()
    }
}

impl Step {
    /// Puts a file there.
    pub fn write(on: &NodeName, file: File, risk: Risk, because: impl Into<String>) -> Self {
        Step::new(on, Op::Write { path: file.path.clone(), risk }, because, Action::Put(file))
    }

    pub fn new(on: &NodeName, op: Op, because: impl Into<String>, action: Action) -> Self {
        Step { op, because: because.into(), on: on.clone(), action, needs: Vec::new(), needs_all: Vec::new() }
    }

    /// Whether the other does the same for the same reason; key pairs, which every plan makes anew, count as one.
    pub fn is_like(&self, other: &Step) -> bool {
        match (&self.action, &other.action) {
            (Action::Put(this), Action::Put(that)) if this.content.is_like(&that.content) => {
                let content = this.content.clone();
                let that = Action::Put(File { content, ..that.clone() });
                *self == Step { action: that, ..other.clone() }
            }
            (
                Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_) | Action::Wait { .. },
                _,
            ) => self == other,
        }
    }

    /// For people, see [`Op::title`].
    pub fn title(&self) -> String {
        self.op.title()
    }

    pub fn risk(&self) -> Risk {
        self.op.risk()
    }

    pub fn needs(mut self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        self.needs.extend(nodes);
        self
    }

    pub fn needs_all(mut self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        self.needs_all.extend(nodes);
        self
    }

    /// Whom it would shut out after these nodes have failed in earlier stages.
    pub fn shuts_out(&self, failed: &BTreeSet<NodeName>) -> Option<String> {
        let untold = self.needs_all.iter().find(|needed| failed.contains(needed))?;
        Some(format!("it would shut somebody out: {untold} did not get as far"))
    }

    /// Why it cannot begin, or wait any longer, after these nodes have failed.
    pub fn lost(&self, failed: &BTreeSet<NodeName>) -> Option<String> {
        let lost = !self.needs.is_empty() && self.needs.iter().all(|needed| failed.contains(needed));
        lost.then(|| {
            let names: Vec<&str> = self.needs.iter().map(|needed| needed.0.as_str()).collect();
            format!("it needs {}, which did not get there", names.join(" or "))
        })
    }
}
