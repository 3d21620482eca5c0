//! Python's side of a template: the methods of texts and mappings, and what a value looks like where it is printed.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::{LONGEST, error};

/// The methods that inventories use; minijinja has filters in their place.
pub(super) fn method(value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("the method `{method}` is not known here"));
    let word = |at: usize| arguments.get(at).and_then(Value::as_str);
    let Some(text) = value.as_str() else {
        let keys = || Ok::<Vec<Value>, Error>(value.try_iter()?.collect());
        return match (method, arguments) {
            ("get", [key]) => Ok(defined(value.get_item(key)?, &Value::from(()))),
            ("get", [key, default]) => Ok(defined(value.get_item(key)?, default)),
            _ if value.kind() != ValueKind::Map => Err(unknown()),
            ("keys", []) => Ok(Value::from(keys()?)),
            ("values", []) => {
                let values: Result<Vec<Value>, Error> =
                    keys()?.iter().map(|key| value.get_item(key)).collect();
                Ok(Value::from(values?))
            }
            ("items", []) => {
                let pair = |key: Value| Ok(Value::from(vec![key.clone(), value.get_item(&key)?]));
                Ok(Value::from(keys()?.into_iter().map(pair).collect::<Result<Vec<Value>, Error>>()?))
            }
            _ => Err(unknown()),
        };
    };
    let texts = |parts: Vec<&str>| Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>());
    Ok(match (method, arguments) {
        ("upper", []) => text.to_uppercase().into(),
        ("lower", []) => text.to_lowercase().into(),
        ("capitalize", []) => {
            let mut letters = text.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            (first + &letters.as_str().to_lowercase()).into()
        }
        ("strip", []) => text.trim().into(),
        ("lstrip", []) => text.trim_start().into(),
        ("rstrip", []) => text.trim_end().into(),
        ("strip", [_]) => text.trim_matches(letters(word(0).ok_or_else(unknown)?)).into(),
        ("lstrip", [_]) => text.trim_start_matches(letters(word(0).ok_or_else(unknown)?)).into(),
        ("rstrip", [_]) => text.trim_end_matches(letters(word(0).ok_or_else(unknown)?)).into(),
        ("split", []) => texts(text.split_whitespace().collect()),
        ("split", [_] | [_, _]) => {
            let separator = word(0).filter(|separator| !separator.is_empty()).ok_or_else(unknown)?;
            match arguments.get(1).map(Value::as_usize) {
                None => texts(text.split(separator).collect()),
                Some(Some(most)) => texts(text.splitn(most.saturating_add(1), separator).collect()),
                Some(None) => return Err(unknown()),
            }
        }
        ("splitlines", []) => texts(text.lines().collect()),
        ("replace", [_, _]) => {
            let (from, to) = word(0).zip(word(1)).ok_or_else(unknown)?;
            if text.len().saturating_mul(to.len() + 1) > LONGEST {
                return Err(error("what `replace` gives is too long"));
            }
            text.replace(from, to).into()
        }
        ("startswith", [_]) => text.starts_with(word(0).ok_or_else(unknown)?).into(),
        ("endswith", [_]) => text.ends_with(word(0).ok_or_else(unknown)?).into(),
        ("isdigit", []) => (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())).into(),
        ("find", [_]) => {
            let found = text.find(word(0).ok_or_else(unknown)?);
            found.map_or(Value::from(-1), |at| Value::from(text[..at].chars().count()))
        }
        ("count", [_]) => text.matches(word(0).ok_or_else(unknown)?).count().into(),
        _ => return Err(unknown()),
    })
}

fn letters(set: &str) -> impl Fn(char) -> bool + Copy {
    move |c| set.contains(c)
}

fn defined(value: Value, default: &Value) -> Value {
    if value.is_undefined() { default.clone() } else { value }
}

/// What stands in a text for a value: nothing for null, Python's words for the others.
pub(super) fn printed(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => repr(value),
    }
}

/// The value as Python writes it within a list.
fn repr(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::String => super::super::listing::quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<String>, Error> = value.try_iter()?.map(|item| repr(&item)).collect();
            format!("[{}]", items?.join(", "))
        }
        ValueKind::Map => {
            let pair = |key: Value| Ok(format!("{}: {}", repr(&key)?, repr(&value.get_item(&key)?)?));
            let pairs: Result<Vec<String>, Error> = value.try_iter()?.map(pair).collect();
            format!("{{{}}}", pairs?.join(", "))
        }
        // Rust has another spelling for what is no number.
        ValueKind::Number => value.to_string().replace("NaN", "nan"),
        _ => return Err(error(format!("a {} is no text", value.kind()))),
    })
}
