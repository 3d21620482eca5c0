//! What happened, as it happens: the executor sends events, one reporter receives and writes.

use serde::Serialize;

use crate::command::Failure;
use crate::formation::NodeName;
use crate::reason::Reason;
use crate::step::{Risk, Stage};

/// One occurrence of a run. `seconds` count from the start of the run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A host answered, or why it did not.
    Connected {
        node: NodeName,
        seconds: f64,
        failure: Option<Failure>,
    },
    /// Something to know of a host that answered: its key was taken for being the first answer.
    Noted {
        node: NodeName,
        text: String,
    },
    /// The operator's own command ended, or could not be run.
    Answered {
        node: NodeName,
        seconds: f64,
        took: f64,
    },
    StageStarted {
        stage: Stage,
        seconds: f64,
    },
    StepStarted {
        node: NodeName,
        stage: Stage,
        title: String,
        seconds: f64,
    },
    StepDone {
        node: NodeName,
        stage: Stage,
        title: String,
        risk: Risk,
        seconds: f64,
        took: f64,
    },
    StepFailed {
        node: NodeName,
        stage: Stage,
        title: String,
        failure: Failure,
        seconds: f64,
    },
    /// Not started, because of an earlier failure here or on the node it hangs on.
    StepSkipped {
        node: NodeName,
        stage: Stage,
        title: String,
        because: String,
    },
    /// Ctrl-C: running steps finish, no new one starts.
    Stopping,
    Finished {
        seconds: f64,
    },
}

/// How one node ended; what recap, JSON and exit code are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeOutcome {
    pub changed: usize,
    pub skipped: usize,
    /// Why nothing could be planned for it.
    pub blocked: Option<Reason>,
    pub unreachable: Option<String>,
    pub failed: Option<String>,
    /// What is wrong with it though nothing could be done about it.
    pub unwell: Vec<Reason>,
    /// Titles of steps that may or may not have happened.
    pub unknown: Vec<String>,
    /// This run has taken it out, and not back: it is in maintenance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub out: bool,
}

impl NodeOutcome {
    /// Whether an operator has it in maintenance, be it since this run or since before.
    pub fn is_out(&self) -> bool {
        self.out && self.is_ok() || self.is_left_as_wanted()
    }

    /// Whether nothing is to be said of it but that an operator has taken it out.
    pub fn is_left_as_wanted(&self) -> bool {
        let rest = NodeOutcome { blocked: None, ..self.clone() };
        rest.is_ok() && self.blocked.as_ref().is_some_and(Reason::is_wanted)
    }

    /// Whether the node needs nothing more.
    pub fn is_ok(&self) -> bool {
        self.unwell.is_empty()
            && self.blocked.is_none()
            && self.unreachable.is_none()
            && self.failed.is_none()
            && self.unknown.is_empty()
            && self.skipped == 0
    }
}
