//! What Ansible makes of a value: Python's types by way of YAML 1.1, INI's literals or JSON; as JSON.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Number, Value, json};

use super::literal;
use super::tree::{Node, Style, Tree};

/// The value of a node in `--list`, and to a template.
pub(super) fn value(node: &Node) -> Value {
    match (&node.tree, node.style) {
        (Tree::Null, _) => Value::Null,
        (Tree::Flag { spelling, .. } | Tree::Number(spelling) | Tree::Text(spelling), Style::Plain) => {
            plain(spelling)
        }
        (Tree::Flag { value, .. }, _) => Value::Bool(*value),
        (Tree::Number(text), Style::Literal) => literal::value(text),
        (Tree::Number(text), _) => number(text),
        (Tree::Text(text), Style::Unsafe) => json!({ "__ansible_unsafe": text }),
        (Tree::Text(text), _) => Value::String(text.clone()),
        (Tree::Vault(text), _) => json!({ "__ansible_vault": text }),
        (Tree::List(items), _) => Value::Array(items.iter().map(value).collect()),
        (Tree::Map(entries), _) => {
            let key = |key: &str, style| match (style, plain(key)) {
                (Style::Exact | Style::Literal | Style::Unsafe, _) => key.to_owned(),
                (Style::Plain, Value::String(text)) => text,
                (Style::Plain, other) => other.to_string(),
            };
            let entries = entries.iter().map(|entry| (key(&entry.key, entry.key_style), value(&entry.value)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
    }
}

/// A scalar without quotes as a tree.
pub(super) fn tree(text: &str) -> Tree {
    match plain(text) {
        Value::Null => Tree::Null,
        Value::Bool(value) => Tree::Flag { value, spelling: text.to_owned() },
        Value::Number(number) => Tree::Number(number.to_string()),
        Value::String(text) => Tree::Text(text),
        Value::Array(_) | Value::Object(_) => Tree::Text(text.to_owned()),
    }
}

/// Whether a number has no point and no exponent.
pub(super) fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number as JSON has it; one too large for that is near enough.
pub(super) fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    let real = text.parse::<f64>().ok().and_then(Number::from_f64);
    real.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// The implicit types of YAML 1.1 as PyYAML knows them, in its order; what matches none is text.
static INT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
    )
});
static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
    )
});
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"([0-9]{4})-([0-9][0-9]?)-([0-9][0-9]?)(?:[Tt]|[ \t]+)([0-9][0-9]?):([0-9][0-9]):([0-9][0-9])(?:\.([0-9]*))?(?:[ \t]*(Z|([-+])([0-9][0-9]?)(?::([0-9][0-9]))?))?",
    )
});

fn regex(text: &str) -> Regex {
    Regex::new(&format!("^(?:{text})$")).expect("a fixed expression")
}

pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Value::String(text.to_owned());
    }
    if let Some(endless) = endless(text) {
        return Value::String(endless.to_owned());
    }
    if FLOAT.is_match(text) {
        return float(&text.replace('_', ""));
    }
    if INT.is_match(text) {
        return int(&text.replace('_', "")).unwrap_or_else(|| Value::String(text.to_owned()));
    }
    Value::String(time(text).unwrap_or_else(|| text.to_owned()))
}

/// What JSON has no number for, in one spelling.
fn endless(text: &str) -> Option<&'static str> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(".inf"),
        "-.inf" | "-.Inf" | "-.INF" => Some("-.inf"),
        ".nan" | ".NaN" | ".NAN" => Some(".nan"),
        _ => None,
    }
}

/// What `!!int` makes of a text.
pub(super) fn whole(text: &str) -> Option<String> {
    match plain(text.trim()) {
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        // `08` has no implicit type, and `int` reads no octal in it either.
        _ => {
            text.trim().parse::<i128>().ok().filter(|_| !text.trim().starts_with('0')).map(|n| n.to_string())
        }
    }
}

/// What `!!float` makes of a text.
pub(super) fn real(text: &str) -> Option<String> {
    let plain = text.trim().replace('_', "").to_ascii_lowercase();
    if endless(&plain).is_some() {
        return Some(plain);
    }
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | ':');
    if plain.is_empty() || !plain.chars().all(digits) {
        return None;
    }
    let parts = plain.trim_start_matches(['-', '+']).split(':');
    parts.map(|part| part.parse::<f64>().ok()).collect::<Option<Vec<f64>>>()?;
    match float(&plain) {
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn int(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |digits: &str, radix| i128::from_str_radix(digits, radix).ok();
    let whole = match digits.as_bytes() {
        [b'0', b'b', ..] => radix(&digits[2..], 2)?,
        [b'0', b'x', ..] => radix(&digits[2..], 16)?,
        [b'0', _, ..] => radix(&digits[1..], 8)?,
        _ if digits.contains(':') => {
            let part = |sum: i128, part: &str| sum.checked_mul(60)?.checked_add(part.parse().ok()?);
            digits.split(':').try_fold(0, part)?
        }
        _ => match digits.parse() {
            Ok(whole) => whole,
            Err(_) => return Some(number(text)),
        },
    };
    Some(number(&(sign * whole).to_string()))
}

fn float(text: &str) -> Value {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts = digits.split(':').map(|part| part.parse::<f64>().unwrap_or_default());
    let real = parts.fold(0.0, |sum, part| sum * 60.0 + part);
    Number::from_f64(sign * real).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// A moment as Python's `isoformat` writes it.
fn time(text: &str) -> Option<String> {
    let found = TIME.captures(text)?;
    let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
    let mut moment =
        format!("{}-{:0>2}-{:0>2}T{:0>2}:{}:{}", part(1), part(2), part(3), part(4), part(5), part(6));
    let fraction: String = part(7).chars().chain("000000".chars()).take(6).collect();
    if fraction != "000000" {
        moment = format!("{moment}.{fraction}");
    }
    match (part(8), part(9)) {
        ("", _) => {}
        ("Z", _) => moment.push_str("+00:00"),
        (_, sign) => moment = format!("{moment}{sign}{:0>2}:{:0>2}", part(10), part(11)),
    }
    Some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_pyyaml_says() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("y", json!("y")),
            ("0644", json!(420)),
            ("0o17", json!("0o17")),
            ("1:30", json!(90)),
            ("1_000", json!(1000)),
            ("1e3", json!("1e3")),
            ("1.0e+3", json!(1000.0)),
            ("-.5", json!("-.5")),
            (".5", json!(0.5)),
            ("089", json!("089")),
            ("-0x1F", json!(-31)),
            ("10.0.0.1", json!("10.0.0.1")),
            ("2024-01-02", json!("2024-01-02")),
            ("2024-1-2 3:04:05.5 Z", json!("2024-01-02T03:04:05.500000+00:00")),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
