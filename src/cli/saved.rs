//! A plan in a file: `plan --out` writes it, `apply FILE` holds to it.
//!
//! It is what `plan --json` prints, without secrets, and digests of the hosts and secrets that it was made for. What is run is never
//! read from it: `apply` looks and plans as always, and compares. Nobody who may write the file can make muster run anything but what
//! the inventory wants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::Options;
use super::bound::{Bound, Keys};
use crate::error::Problem;
use crate::formation::{Formation, Server};
use crate::plan::{Goal, Plan};
use crate::private;
use crate::report::json;
use crate::report::text::plain;

/// A formation of thousands of nodes makes some dozens of megabytes.
const MOST: u64 = 512 << 20;

#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    plan: Value,
    bound: Bound,
    goal: Goal,
}

pub(super) fn write(path: &Path, plan: &Plan, bound: &Bound, goal: &Goal) -> Result<(), Vec<Problem>> {
    let bound = serde_json::to_value(bound).expect("digests are text");
    let goal = serde_json::to_value(goal).expect("names are text");
    let text = json::result("plan", &json::plan(plan), &[("bound", bound), ("goal", goal)]);
    private::write(path, text.as_bytes())
        .map_err(|error| vec![Problem::new(format!("cannot write {}: {error}", path.display()))])
}

/// The plan as `plan --json` has it, and the whole file without it.
fn open(path: &Path) -> Result<(Value, Value), Vec<Problem>> {
    let bytes = crate::bounded::read(path, MOST).map_err(|error| wrong(path, &error.to_string()))?;
    let mut file: Value = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(path, &format!("it is no saved plan: {error}")))?;
    match (file["schema"].as_u64(), file.get_mut("plan").map(Value::take).unwrap_or_default()) {
        (Some(json::SCHEMA), plan @ Value::Object(_)) => Ok((plan, file)),
        _ => Err(wrong(path, "it is no plan that this muster has saved")),
    }
}

/// What is in a file, to be shown: as JSON, and as a plan without its secrets, which are not there.
pub(super) fn shown(path: &Path) -> Result<(Value, Plan), Vec<Problem>> {
    let (mut json, _) = open(path)?;
    tame(&mut json);
    let plan = Plan::deserialize(&json)
        .map_err(|error| wrong(path, &format!("it is no plan that this muster has saved: {error}")))?;
    Ok((json, plan))
}

/// Whoever wrote the file may have written what steers a terminal.
fn tame(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain(text),
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                tame(&mut value);
                fields.insert(plain(&name), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn wrong(path: &Path, why: &str) -> Vec<Problem> {
    let problem = Problem::new(format!("{}: {why}", path.display()));
    vec![problem.hint("save one with `muster plan --out FILE`")]
}

impl Saved {
    pub(super) fn read(path: &Path) -> Result<Saved, Vec<Problem>> {
        let (mut plan, mut file) = open(path)?;
        without_chance(&mut plan);
        let bound = serde_json::from_value(file["bound"].take())
            .map_err(|_| wrong(path, "it does not say which hosts and secrets it was made for"))?;
        let goal = serde_json::from_value(file["goal"].take())
            .map_err(|_| wrong(path, "it does not say what it is for"))?;
        Ok(Saved { path: path.to_owned(), plan, bound, goal })
    }

    /// What the plan is for.
    pub(super) fn goal(&self) -> &Goal {
        &self.goal
    }

    /// Whether the hosts are reached in the way, and the secrets are those, that the plan was made with. No host is asked.
    pub(super) fn fits(
        &self,
        options: &Options,
        formation: &Formation,
        servers: &[&Server],
    ) -> Result<(), Vec<Problem>> {
        self.made_for(self.bound.differs(options, formation, servers)?)
    }

    /// Whether the hosts that answered are those that the plan was made for.
    pub(super) fn knows(&self, keys: &Keys) -> Result<(), Vec<Problem>> {
        self.made_for(self.bound.differs_in_keys(keys))
    }

    fn made_for(&self, differences: Vec<String>) -> Result<(), Vec<Problem>> {
        if differences.is_empty() {
            return Ok(());
        }
        let (path, what) = (self.path.display(), differences.join("; "));
        let problem =
            Problem::new(format!("{path} was made for other hosts or secrets. These differ: {what}"));
        let hint = "nothing was done; if the change is meant, save a new plan with `muster plan --out FILE`";
        Err(vec![problem.hint(hint)])
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
        compare(by_node(&saved["waves"]), by_node(&now["waves"]), |one, other| one == other);
        // Why nodes are left alone may be told in other words each time.
        for key in ["blocked", "unreachable"] {
            compare(object(&saved[key]), object(&now[key]), |_, _| true);
        }
        let path = self.path.display();
        let why = match names.into_iter().collect::<Vec<_>>().join(", ") {
            _ if saved["limit"] != now["limit"] => "it was made with another --limit".to_owned(),
            names if !names.is_empty() => format!("it differs for {names}"),
            _ if saved["waves"] != now["waves"] => "the order differs".to_owned(),
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

/// What is to be done to each node, by its name, of the waves of a plan.
fn by_node(waves: &Value) -> Map<String, Value> {
    let mut nodes: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for wave in items(waves) {
        for turn in items(&wave["lanes"]).flat_map(|lane| items(&lane["turns"])) {
            let name = turn["node"].as_str().unwrap_or_default();
            nodes.entry(name).or_default().push(json!([wave["stage"], turn]));
        }
    }
    nodes.into_iter().map(|(name, turns)| (name.to_owned(), Value::Array(turns))).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
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
