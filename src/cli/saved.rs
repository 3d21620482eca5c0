//! A plan in a file: `plan --out` writes it, `apply FILE` holds to it.
//!
//! It is what `plan --json` prints, without secrets. What is run is never read from it: `apply` looks and plans as always, and
//! compares. Nobody who may write the file can make muster run anything but what the inventory wants.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::private;
use crate::error::Problem;
use crate::plan::Plan;
use crate::report::json;

/// A formation of thousands of nodes makes some dozens of megabytes.
const MOST: u64 = 512 << 20;

#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    plan: Value,
}

pub(super) fn write(path: &Path, plan: &Plan) -> Result<(), Vec<Problem>> {
    let text = json::result("plan", &json::plan(plan), &[]);
    private::write(path, text.as_bytes())
        .map_err(|error| vec![Problem::new(format!("cannot write {}: {error}", path.display()))])
}

impl Saved {
    pub(super) fn read(path: &Path) -> Result<Saved, Vec<Problem>> {
        let wrong = |why: String| {
            let problem = Problem::new(format!("{}: {why}", path.display()));
            vec![problem.hint("save one with `muster plan --out FILE`")]
        };
        let bytes = crate::bounded::read(path, MOST).map_err(|error| wrong(error.to_string()))?;
        let mut file: Value =
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("it is no saved plan: {error}")))?;
        match (file["schema"].as_u64(), file.get_mut("plan").map(Value::take).unwrap_or_default()) {
            (Some(json::SCHEMA), mut plan @ Value::Object(_)) => {
                without_chance(&mut plan);
                Ok(Saved { path: path.to_owned(), plan })
            }
            _ => Err(wrong("it is no plan that this muster has saved".to_owned())),
        }
    }

    /// Why the plan that was made is another one; `None` where it is the same but for notes and key pairs.
    pub(super) fn differs(&self, plan: &Plan) -> Option<Problem> {
        let mut now = json::plan(plan);
        without_chance(&mut now);
        let (saved, none) = (&self.plan, Map::new());
        let object = |value: &'_ Value| value.as_object().cloned().unwrap_or_else(|| none.clone());
        let mut names = BTreeSet::new();
        let mut compare =
            |one: Map<String, Value>, other: Map<String, Value>, same: fn(&Value, &Value) -> bool| {
                let all = one.keys().chain(other.keys());
                let differs = |name: &&String| match (one.get(*name), other.get(*name)) {
                    (Some(one), Some(other)) => !same(one, other),
                    _ => true,
                };
                names.extend(all.filter(differs).cloned());
            };
        let (before, after) = (object(&saved["stages"]), object(&now["stages"]));
        for stage in before.keys().chain(after.keys()) {
            let of = |stages: &Map<String, Value>| stages.get(stage).map(object).unwrap_or_default();
            compare(of(&before), of(&after), |one, other| one == other);
        }
        // Why nodes are left alone may be told in other words each time.
        for key in ["blocked", "unreachable"] {
            compare(object(&saved[key]), object(&now[key]), |_, _| true);
        }
        let path = self.path.display();
        let why = match names.into_iter().collect::<Vec<_>>().join(", ") {
            _ if saved["limit"] != now["limit"] => "it was made with another --limit".to_owned(),
            names if !names.is_empty() => format!("it differs for {names}"),
            _ if saved["partial"] != now["partial"] => "what is to follow it differs".to_owned(),
            _ => return None,
        };
        let problem = Problem::new(format!("{path} is not what there is to do: {why}"));
        Some(
            problem
                .hint("nothing of it was done; look at the plan above, and save it with `muster plan --out`"),
        )
    }
}

/// Key pairs are made anew by every plan.
fn without_chance(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_chance),
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "certificate" | "private_key" if value.is_string() => *value = Value::Null,
                    _ => without_chance(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
