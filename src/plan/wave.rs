//! The order of a plan: waves one after the other, lanes side by side, the turns of a lane one by one, and a gate that has to open before
//! the next turn.

use serde::{Deserialize, Serialize};

use crate::formation::{Node, NodeName};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::step::{Stage, Step};

/// One kind of work. It begins when all lanes of the wave before have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub stage: Stage,
    #[serde(default)]
    pub begins: Begins,
    pub lanes: Vec<Lane>,
}

/// What has to be so before a wave begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begins {
    /// Nodes that have failed get no further; the others go on.
    #[default]
    WithTheRest,
    /// After a failure nothing else is disturbed.
    AfterSuccess,
}

/// What goes side by side with others: a node, or a group whose members take turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// One after the other; the first failure ends the lane.
    pub turns: Vec<Turn>,
}

/// One node's part of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub node: NodeName,
    pub steps: Vec<Step>,
    /// What is waited for before anybody else of the lane is disturbed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<Step>,
}

impl Wave {
    /// Of all lanes.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.lanes.iter().flat_map(|lane| &lane.turns)
    }
}

impl Lane {
    pub fn of(turns: impl IntoIterator<Item = Turn>) -> Lane {
        Lane { turns: turns.into_iter().collect() }
    }

    /// Whose turn is the first one.
    fn first(&self) -> Option<&NodeName> {
        self.turns.first().map(|turn| &turn.node)
    }
}

impl Turn {
    pub fn new(node: &NodeName, steps: Vec<Step>) -> Turn {
        Turn { node: node.clone(), steps, gate: Vec::new() }
    }

    pub fn gate(mut self, gate: impl IntoIterator<Item = Step>) -> Turn {
        self.gate.extend(gate);
        self
    }

    /// All that is done and waited for, in order.
    pub fn all(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.gate)
    }

    /// The same, each with the node that it is about.
    pub fn all_of(&self) -> impl Iterator<Item = (&NodeName, &Step)> {
        self.all().map(|step| (&self.node, step))
    }
}

impl Plan {
    /// All turns with their stage, in order.
    pub fn turns(&self) -> impl Iterator<Item = (Stage, &Turn)> {
        self.waves.iter().flat_map(|wave| wave.turns().map(|turn| (wave.stage, turn)))
    }

    /// All steps with their stage and the node they are about, in order; gates count as steps.
    pub fn steps(&self) -> impl Iterator<Item = (Stage, &NodeName, &Step)> {
        self.turns().flat_map(|(stage, turn)| turn.all_of().map(move |(node, step)| (stage, node, step)))
    }

    /// Whether a node has steps of this stage.
    pub fn is_busy(&self, stage: Stage, node: &NodeName) -> bool {
        self.turns().any(|(of, turn)| of == stage && turn.node == *node)
    }

    /// More for a node, in a lane of its own.
    pub(super) fn add(&mut self, stage: Stage, node: &NodeName, steps: impl IntoIterator<Item = Step>) {
        let mut steps = steps.into_iter().peekable();
        if steps.peek().is_none() {
            return;
        }
        let at = self.waves.partition_point(|wave| wave.stage < stage);
        if self.waves.get(at).is_none_or(|wave| wave.stage != stage) {
            self.waves.insert(at, Wave { stage, begins: Begins::WithTheRest, lanes: Vec::new() });
        }
        let lanes = &mut self.waves[at].lanes;
        let at = lanes.partition_point(|lane| lane.first() < Some(node));
        if lanes.get(at).is_none_or(|lane| lane.first() != Some(node)) {
            lanes.insert(at, Lane::of([Turn::new(node, Vec::new())]));
        }
        lanes[at].turns[0].steps.extend(steps);
    }

    /// A wave more, where there is anything in it: after a failure it does not begin.
    pub(super) fn then(&mut self, stage: Stage, lanes: Vec<Lane>) {
        if !lanes.is_empty() {
            self.waves.push(Wave { stage, begins: Begins::AfterSuccess, lanes });
        }
    }

    /// These nodes get no step for this reason; those that are away are told as that.
    pub(super) fn leave<'n>(&mut self, nodes: impl IntoIterator<Item = &'n Node>, why: &Reason) {
        for name in nodes.into_iter().map(Node::name) {
            if !self.unreachable.contains_key(name) {
                self.blocked.insert(name.clone(), why.clone());
            }
        }
    }

    /// Takes steps of a node out again.
    pub(super) fn retain(&mut self, stage: Stage, node: &NodeName, stays: impl Fn(&Step) -> bool) {
        for wave in self.waves.iter_mut().filter(|wave| wave.stage == stage) {
            for lane in &mut wave.lanes {
                for turn in lane.turns.iter_mut().filter(|turn| turn.node == *node) {
                    turn.steps.retain(&stays);
                }
                lane.turns.retain(|turn| turn.all().next().is_some());
            }
            wave.lanes.retain(|lane| !lane.turns.is_empty());
        }
        self.waves.retain(|wave| !wave.lanes.is_empty());
    }
}
