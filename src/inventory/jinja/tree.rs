//! Values of templates from trees of the inventory, and back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::Error;
use minijinja::value::{Enumerator, Object, Value, ValueKind};
use serde_json::Value as Json;

use super::super::scalar;
use super::super::tree::{Entry, Node, Style, Tree};
use super::error;

/// A mapping that keeps the order in which it was made, as Python's do.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: Vec<(Value, Value)>,
    index: BTreeMap<Value, usize>,
}

impl Pairs {
    pub(super) fn new() -> Pairs {
        Pairs::default()
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        self.index.get(key).map(|at| &self.pairs[*at].1)
    }

    /// The value of a key that is there is replaced where it stands.
    pub(super) fn insert(&mut self, key: Value, value: Value) {
        match self.index.get(&key) {
            Some(at) => self.pairs[*at].1 = value,
            None => {
                self.index.insert(key.clone(), self.pairs.len());
                self.pairs.push((key, value));
            }
        }
    }

    pub(super) fn value(self) -> Value {
        Value::from_object(self)
    }
}

impl FromIterator<(Value, Value)> for Pairs {
    fn from_iter<T: IntoIterator<Item = (Value, Value)>>(pairs: T) -> Pairs {
        let mut made = Pairs::new();
        pairs.into_iter().for_each(|(key, value)| made.insert(key, value));
        made
    }
}

impl Object for Pairs {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.pairs.iter().map(|(key, _)| key.clone()).collect())
    }
}

/// `omit`: as if the variable had not been given.
pub(super) struct Omit;

impl fmt::Debug for Omit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("omit")
    }
}

impl Object for Omit {
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// The value of a scalar without templates.
pub(super) fn scalar(node: &Node) -> Value {
    if let (Tree::Text(text), Style::Plain) = (&node.tree, node.style)
        && let Json::String(spelled) = scalar::plain(text)
    {
        match spelled.as_str() {
            ".inf" => return f64::INFINITY.into(),
            "-.inf" => return f64::NEG_INFINITY.into(),
            ".nan" => return f64::NAN.into(),
            _ => {}
        }
    }
    of_json(&scalar::value(node), &node.tree)
}

/// The key as YAML reads it: `1: …` has a number.
pub(super) fn key(entry: &Entry) -> Value {
    match entry.key_style {
        Style::Plain => of_json(&scalar::plain(&entry.key), &Tree::Text(entry.key.clone())),
        Style::Exact | Style::Literal | Style::Unsafe => Value::from(entry.key.as_str()),
    }
}

fn of_json(json: &Json, tree: &Tree) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), tree) {
            (Some(whole), ..) => Value::from(whole),
            (None, Some(whole), _) => Value::from(whole),
            // JSON's numbers end where Python's whole ones do not.
            (None, None, Tree::Number(text)) if scalar::is_whole(text) => {
                text.parse::<i128>().map_or_else(|_| Value::from(text.as_str()), Value::from)
            }
            (None, None, _) => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(_) | Json::Object(_) => Value::UNDEFINED,
    }
}

/// The value as a tree again; `None` is `omit`.
pub(super) fn tree(value: &Value, at: &Node) -> Result<Option<Tree>, Error> {
    if is_omit(value) {
        return Ok(None);
    }
    let node = |value: &Value| -> Result<Option<Node>, Error> {
        let tree = tree(value, at)?;
        Ok(tree.map(|tree| Node { span: at.span, tree, style: Style::Exact }))
    };
    Ok(Some(match value.kind() {
        ValueKind::None => Tree::Null,
        ValueKind::Bool => Tree::Flag { value: value.is_true(), spelling: value.to_string() },
        ValueKind::Number => Tree::Number(value.to_string()),
        ValueKind::String => Tree::Text(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                items.extend(node(&item)?);
            }
            Tree::List(items)
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                let Some(value) = node(&value.get_item(&key)?)? else { continue };
                let key = match key.as_str() {
                    Some(key) => key.to_owned(),
                    None if key.is_none() => "null".to_owned(),
                    None => key.to_string(),
                };
                entries.push(Entry { key, key_style: Style::Exact, key_span: at.span, value });
            }
            Tree::Map(entries)
        }
        _ => return Err(error("what the template gives is no value")),
    }))
}
