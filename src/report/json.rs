//! JSON for programs: one object, or one a line while a run goes on.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::plan::Plan;
use crate::report::text::mask;
use crate::step::{Action, Content};

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u64 = 2;

/// A result: `{"schema": 2, KIND: …}` and more fields, on one line.
pub fn result(kind: &str, value: &impl Serialize, more: &[(&str, Value)]) -> String {
    let mut object = Map::from_iter([("schema".to_owned(), json!(SCHEMA))]);
    object.insert(kind.to_owned(), value_of(value));
    object.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    format!("{}\n", Value::Object(object))
}

/// The beginning of a [`result`] whose value is an object too big to hold; then a [`member`] each, then [`close`].
pub fn open(kind: &str) -> String {
    format!("{{\"schema\":{SCHEMA},{}:{{", json!(kind))
}

/// A field of that object; nothing in it is hidden: it is what was asked for.
pub fn member(index: usize, name: &str, value: &Value) -> String {
    format!("{}{}:{value}", if index > 0 { "," } else { "" }, json!(name))
}

pub fn close(more: &[(&str, Value)]) -> String {
    let more: String = more.iter().map(|(key, value)| format!(",{}:{value}", json!(key))).collect();
    format!("}}{more}}}\n")
}

/// An event of a run, on one line.
pub fn event(event: &Event) -> String {
    format!("{}\n", value_of(event))
}

/// A plan without the old contents of files that may not be shown.
pub fn plan(plan: &Plan) -> Value {
    let mut plan = plan.clone();
    let turns = plan.waves.iter_mut().flat_map(|wave| &mut wave.lanes).flat_map(|lane| &mut lane.turns);
    for step in turns.flat_map(|turn| turn.steps.iter_mut().chain(&mut turn.gate)) {
        if let Action::Put(file) = &mut step.action
            && let Content::Hidden(_) | Content::PrivateKey(_) = file.content
        {
            file.before = file.before.as_ref().map(|_| "***".to_owned());
        }
    }
    value_of(&plan)
}

/// Any of our values; passwords in texts that hosts keep are hidden as on the screen.
pub(super) fn value_of(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).expect("our types have string keys and finite numbers");
    hide(&mut value);
    value
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
