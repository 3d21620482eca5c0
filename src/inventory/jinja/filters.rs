//! The filters and tests of Ansible that inventories use, by its rules; minijinja has those of Jinja itself.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::{error, tree, undefined};

pub(super) type Found = Result<Value, Error>;

/// Adds each by its short name, and as `ansible.builtin.NAME`.
macro_rules! both {
    ($environment:ident.$add:ident: $($name:literal => $function:expr),* $(,)?) => {$(
        $environment.$add($name, $function);
        $environment.$add(concat!("ansible.builtin.", $name), $function);
    )*};
}
pub(super) use both;

pub(super) fn add(environment: &mut Environment<'static>) {
    both!(environment.add_filter:
        "bool" => bool,
        "ternary" => ternary,
        "mandatory" => mandatory,
        "int" => int,
        "float" => float,
        "combine" => combine,
        "dict2items" => dict2items,
        "items2dict" => items2dict,
        "flatten" => flatten,
        "union" => union,
        "difference" => difference,
        "intersect" => intersect,
        "b64encode" => b64encode,
        "b64decode" => b64decode,
        "to_json" => to_json,
        "from_json" => from_json,
        "basename" => basename,
        "dirname" => dirname,
        "splitext" => splitext,
        "split" => split,
        "quote" => quote,
        "extract" => extract,
    );
    both!(environment.add_test:
        "contains" => contains,
        "truthy" => truthy,
        "falsy" => falsy,
    );
    // minijinja's own, by their full names.
    use minijinja::filters as own;
    environment.add_filter("ansible.builtin.default", own::default);
    environment.add_filter("ansible.builtin.d", own::default);
    environment.add_filter("ansible.builtin.unique", own::unique);
    environment.add_filter("ansible.builtin.map", own::map);
    environment.add_filter("ansible.builtin.select", own::select);
    environment.add_filter("ansible.builtin.reject", own::reject);
    environment.add_filter("ansible.builtin.selectattr", own::selectattr);
    environment.add_filter("ansible.builtin.rejectattr", own::rejectattr);
}

/// What is undefined goes through a filter that takes any value.
pub(super) fn given(value: Value) -> Found {
    if value.is_undefined() { Err(undefined("a value".to_owned())) } else { Ok(value) }
}

/// Ansible's words; of another one its next releases make an error, and nobody can mean it.
fn bool(value: Value) -> Found {
    let text = match given(value.clone())?.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_lowercase(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        _ => String::new(),
    };
    match text.as_str() {
        "yes" | "on" | "true" | "1" => Ok(true.into()),
        "no" | "off" | "false" | "0" => Ok(false.into()),
        _ => Err(error("`bool` is for yes, no, true, false, on, off, 1 and 0, and got something else")),
    }
}

fn ternary(value: Value, yes: Value, no: Value, none: Option<Value>) -> Found {
    match none {
        Some(none) if value.is_none() && !none.is_none() => Ok(none),
        _ => Ok(if given(value)?.is_true() { yes } else { no }),
    }
}

fn mandatory(value: Value, message: Option<String>) -> Found {
    match message {
        Some(message) if value.is_undefined() => Err(error(message)),
        _ => given(value),
    }
}

/// As Jinja: what is no number is the default, 0.
fn int(state: &State, value: Value, default: Option<Value>, base: Option<u32>, named: Kwargs) -> Found {
    let value = given(value)?;
    let default = default.or(named.get("default")?).unwrap_or(0.into());
    let base = base.or(named.get("base")?).unwrap_or(10);
    named.assert_all_used()?;
    let empty = || std::iter::empty::<(&str, Value)>().collect::<Kwargs>();
    let found = minijinja::filters::int(state, &value, Some(default.clone()), Some(base), empty());
    Ok(found.unwrap_or(default))
}

fn float(state: &State, value: Value, default: Option<Value>, named: Kwargs) -> Found {
    let value = given(value)?;
    let default = default.or(named.get("default")?).unwrap_or(0.0.into());
    named.assert_all_used()?;
    let empty = || std::iter::empty::<(&str, Value)>().collect::<Kwargs>();
    Ok(minijinja::filters::float(state, &value, Some(default.clone()), empty()).unwrap_or(default))
}

pub(super) fn text(value: &Value) -> Result<String, Error> {
    super::python::printed(value)
}

/// The keys of a mapping with their values.
fn pairs(value: &Value, filter: &str) -> Result<Vec<(Value, Value)>, Error> {
    if value.kind() != ValueKind::Map {
        return Err(error(format!("`{filter}` is for mappings")));
    }
    value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect()
}

fn items(value: &Value, filter: &str) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(value.try_iter()?.collect()),
        _ => Err(error(format!("`{filter}` is for lists"))),
    }
}

fn combine(first: Value, others: Rest<Value>, named: Kwargs) -> Found {
    let recursive = named.get::<Option<bool>>("recursive")?.unwrap_or_default();
    let lists = named.get::<Option<String>>("list_merge")?.unwrap_or_else(|| "replace".to_owned());
    named.assert_all_used()?;
    if !["replace", "keep", "append", "prepend"].contains(&lists.as_str()) {
        return Err(error("`combine` here has the `list_merge` replace, keep, append and prepend"));
    }
    let mut all: Vec<Value> = Vec::new();
    for value in std::iter::once(first).chain(others.iter().cloned()) {
        match given(value.clone())?.kind() {
            ValueKind::Seq | ValueKind::Iterable => all.extend(value.try_iter()?),
            _ => all.push(value),
        }
    }
    let mut merged = tree::Pairs::new();
    for value in all {
        merge(&mut merged, pairs(&value, "combine")?, recursive, &lists)?;
    }
    Ok(merged.value())
}

fn merge(
    into: &mut tree::Pairs,
    patch: Vec<(Value, Value)>,
    recursive: bool,
    lists: &str,
) -> Result<(), Error> {
    for (key, value) in patch {
        let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
        let value = match into.get(&key) {
            Some(old) if recursive && old.kind() == ValueKind::Map && value.kind() == ValueKind::Map => {
                let mut inner: tree::Pairs = pairs(old, "combine")?.into_iter().collect();
                merge(&mut inner, pairs(&value, "combine")?, recursive, lists)?;
                inner.value()
            }
            Some(old) if is_list(old) && is_list(&value) => {
                let (old, new) = (items(old, "combine")?, items(&value, "combine")?);
                match lists {
                    "keep" => old.into(),
                    "append" => [old, new].concat().into(),
                    "prepend" => [new, old].concat().into(),
                    _ => new.into(),
                }
            }
            Some(_) | None => value,
        };
        into.insert(key, value);
    }
    Ok(())
}

fn dict2items(value: Value, named: Kwargs) -> Found {
    let name = |name: &str, default: &str| -> Result<Value, Error> {
        Ok(named.get::<Option<String>>(name)?.unwrap_or_else(|| default.to_owned()).into())
    };
    let (key_name, value_name) = (name("key_name", "key")?, name("value_name", "value")?);
    named.assert_all_used()?;
    let pair = |(key, value)| {
        [(key_name.clone(), key), (value_name.clone(), value)].into_iter().collect::<tree::Pairs>().value()
    };
    Ok(Value::from(pairs(&given(value)?, "dict2items")?.into_iter().map(pair).collect::<Vec<Value>>()))
}

fn items2dict(value: Value, named: Kwargs) -> Found {
    let name = |name: &str, default: &str| -> Result<Value, Error> {
        Ok(named.get::<Option<String>>(name)?.unwrap_or_else(|| default.to_owned()).into())
    };
    let (key_name, value_name) = (name("key_name", "key")?, name("value_name", "value")?);
    named.assert_all_used()?;
    let pair = |item: Value| Ok((given(item.get_item(&key_name)?)?, given(item.get_item(&value_name)?)?));
    let pairs: Result<tree::Pairs, Error> =
        items(&given(value)?, "items2dict")?.into_iter().map(pair).collect();
    Ok(pairs?.value())
}

fn flatten(value: Value, levels: Option<usize>, named: Kwargs) -> Found {
    let levels = levels.or(named.get("levels")?);
    named.assert_all_used()?;
    let mut flat = Vec::new();
    flatten_into(&given(value)?, levels, &mut flat)?;
    Ok(flat.into())
}

fn flatten_into(value: &Value, levels: Option<usize>, flat: &mut Vec<Value>) -> Result<(), Error> {
    for item in items(value, "flatten")? {
        let is_list = matches!(item.kind(), ValueKind::Seq | ValueKind::Iterable);
        match levels {
            _ if item.is_none() || matches!(item.as_str(), Some("None" | "null")) => {}
            None if is_list => flatten_into(&item, None, flat)?,
            Some(more @ 1..) if is_list => flatten_into(&item, Some(more - 1), flat)?,
            Some(_) | None => flat.push(item),
        }
    }
    Ok(())
}

fn once(all: impl IntoIterator<Item = Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    all.into_iter().for_each(|item| {
        if !kept.contains(&item) {
            kept.push(item)
        }
    });
    kept.into()
}

fn union(one: Value, other: Value) -> Found {
    Ok(once([items(&given(one)?, "union")?, items(&given(other)?, "union")?].concat()))
}

fn difference(one: Value, other: Value) -> Found {
    let other = items(&given(other)?, "difference")?;
    Ok(once(items(&given(one)?, "difference")?.into_iter().filter(|item| !other.contains(item))))
}

fn intersect(one: Value, other: Value) -> Found {
    let other = items(&given(other)?, "intersect")?;
    Ok(once(items(&given(one)?, "intersect")?.into_iter().filter(|item| other.contains(item))))
}

fn b64encode(value: Value) -> Found {
    Ok(STANDARD.encode(text(&given(value)?)?).into())
}

fn b64decode(value: Value) -> Found {
    let bytes = STANDARD.decode(text(&given(value)?)?.trim()).ok();
    let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Value::from).ok_or_else(|| error("`b64decode` got no text in base64"))
}

fn to_json(value: Value) -> Found {
    let json = serde_json::to_string(&given(value)?).map_err(|_| error("this cannot be written as JSON"))?;
    // Python puts a blank behind its signs.
    let mut spaced = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        spaced.push(c);
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ':' if !quoted => spaced.push(' '),
            _ => {}
        }
    }
    Ok(spaced.into())
}

fn from_json(value: Value) -> Found {
    let text = text(&given(value)?)?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|_| error("`from_json` got no JSON"))?;
    Ok(Value::from(minijinja::value::Serde(json)))
}

fn basename(value: Value) -> Found {
    let path = text(&given(value)?)?;
    Ok(path.rsplit('/').next().unwrap_or_default().into())
}

fn dirname(value: Value) -> Found {
    let path = text(&given(value)?)?;
    let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    let bare = folder.trim_end_matches('/');
    Ok(if bare.is_empty() { folder } else { bare }.into())
}

fn splitext(value: Value) -> Found {
    let path = text(&given(value)?)?;
    let ending = Path::new(&path).extension().map_or(0, |ending| ending.len() + 1);
    let (stem, ending) = path.split_at(path.len() - ending);
    Ok(vec![Value::from(stem), Value::from(ending)].into())
}

fn split(value: Value, separator: Option<String>) -> Found {
    let value = text(&given(value)?)?;
    let arguments: Vec<Value> = separator.into_iter().map(Value::from).collect();
    super::python::method(&value.into(), "split", &arguments)
}

fn quote(value: Value) -> Found {
    let value = text(&given(value)?)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    match !value.is_empty() && value.chars().all(plain) {
        true => Ok(value.into()),
        false => Ok(format!("'{}'", value.replace('\'', "'\"'\"'")).into()),
    }
}

fn extract(key: Value, container: Value, more: Option<Value>) -> Found {
    let mut found = given(given(container)?.get_item(&key)?)?;
    let more = match more {
        Some(more) if matches!(more.kind(), ValueKind::Seq) => more.try_iter()?.collect(),
        Some(more) => vec![more],
        None => Vec::new(),
    };
    for key in more {
        found = given(found.get_item(&key)?)?;
    }
    Ok(found)
}

fn contains(value: Value, part: Value) -> Result<bool, Error> {
    match (given(value.clone())?.as_str(), part.as_str()) {
        (Some(text), Some(part)) => Ok(text.contains(part)),
        _ => Ok(value.try_iter()?.any(|item| item == part)),
    }
}

fn truthy(value: Value) -> Result<bool, Error> {
    Ok(given(value)?.is_true())
}

fn falsy(value: Value) -> Result<bool, Error> {
    Ok(!given(value)?.is_true())
}
