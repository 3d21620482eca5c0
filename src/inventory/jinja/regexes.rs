//! Ansible's filters and tests of regular expressions.

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error};
use regex_lite::{Regex, RegexBuilder};

use super::filters::{Found, both, given, text};
use super::{LONGEST, error};

pub(super) fn add(environment: &mut Environment<'static>) {
    both!(environment.add_filter:
        "regex_replace" => regex_replace,
        "regex_search" => regex_search,
        "regex_findall" => regex_findall,
        "regex_escape" => regex_escape,
    );
    both!(environment.add_test:
        "match" => is_match,
        "search" => is_search,
        "regex" => is_search,
    );
}

/// A regular expression of Python's, as far as this one reads the same.
fn regex(pattern: &str, named: &Kwargs) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.case_insensitive(named.get::<Option<bool>>("ignorecase")?.unwrap_or_default());
    builder.multi_line(named.get::<Option<bool>>("multiline")?.unwrap_or_default());
    builder.build().map_err(|why| error(format!("the regular expression cannot be read here: {why}")))
}

fn regex_replace(value: Value, rest: Rest<Value>, named: Kwargs) -> Found {
    let value = text(&given(value)?)?;
    let word = |at: usize, name: &str| -> Result<String, Error> {
        match rest.get(at) {
            Some(word) => text(word),
            None => Ok(named.get::<Option<String>>(name)?.unwrap_or_default()),
        }
    };
    let (pattern, to) = (word(0, "pattern")?, word(1, "replacement")?);
    let regex = regex(&pattern, &named)?;
    let most = named.get::<Option<usize>>("count")?.unwrap_or_default();
    named.assert_all_used()?;
    let to = replacement(&to)?;
    let mut made = String::new();
    let mut last = 0;
    for (count, found) in regex.captures_iter(&value).enumerate() {
        if most > 0 && count >= most {
            break;
        }
        let Some(whole) = found.get(0) else { break };
        made.push_str(&value[last..whole.start()]);
        found.expand(&to, &mut made);
        last = whole.end();
        if made.len() > LONGEST {
            return Err(error("what `regex_replace` gives is too long"));
        }
    }
    Ok(Value::from(made + &value[last..]))
}

/// `\1` and `\g<name>` of Python's as `${1}` and `${name}`.
fn replacement(text: &str) -> Result<String, Error> {
    let mut made = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '$' => made.push_str("$$"),
            '\\' => {
                let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
                if let Some((name, after)) = rest.strip_prefix("g<").and_then(|rest| rest.split_once('>')) {
                    made.push_str(&format!("${{{name}}}"));
                    rest = after;
                } else if digits > 0 {
                    made.push_str(&format!("${{{}}}", &rest[..digits]));
                    rest = &rest[digits..];
                } else {
                    let (is, after) = match rest.chars().next() {
                        Some('n') => ('\n', &rest[1..]),
                        Some('t') => ('\t', &rest[1..]),
                        Some('\\') => ('\\', &rest[1..]),
                        _ => return Err(error("a backslash of the replacement means nothing here")),
                    };
                    made.push(is);
                    rest = after;
                }
            }
            c => made.push(c),
        }
    }
    Ok(made)
}

fn regex_search(value: Value, pattern: String, groups: Rest<Value>, named: Kwargs) -> Found {
    let value = text(&given(value)?)?;
    let regex = regex(&pattern, &named)?;
    named.assert_all_used()?;
    let Some(found) = regex.captures(&value) else { return Ok(().into()) };
    if groups.is_empty() {
        return Ok(found.get(0).map_or("", |whole| whole.as_str()).into());
    }
    let group = |group: &Value| {
        let name = text(group)?;
        let name = name.strip_prefix("\\g<").and_then(|name| name.strip_suffix('>')).unwrap_or(&name);
        let name = name.strip_prefix('\\').unwrap_or(name);
        let part = name.parse().map_or_else(|_| found.name(name), |number| found.get(number));
        Ok(part.map_or(().into(), |part| Value::from(part.as_str())))
    };
    Ok(Value::from(groups.iter().map(group).collect::<Result<Vec<Value>, Error>>()?))
}

fn regex_findall(value: Value, pattern: String, named: Kwargs) -> Found {
    let value = text(&given(value)?)?;
    let regex = regex(&pattern, &named)?;
    named.assert_all_used()?;
    let of = |found: regex_lite::Captures| {
        let parts: Vec<Value> =
            found.iter().skip(1).map(|part| Value::from(part.map_or("", |part| part.as_str()))).collect();
        match parts.as_slice() {
            [] => Value::from(found.get(0).map_or("", |whole| whole.as_str())),
            [one] => one.clone(),
            _ => Value::from(parts),
        }
    };
    Ok(Value::from(regex.captures_iter(&value).map(of).collect::<Vec<Value>>()))
}

fn regex_escape(value: Value) -> Found {
    let special = |c: char| "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c);
    let value = text(&given(value)?)?;
    let escaped = value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    Ok(Value::from(escaped.collect::<String>()))
}

fn is_match(value: Value, pattern: String, named: Kwargs) -> Result<bool, Error> {
    let value = text(&given(value)?)?;
    let found = regex(&format!("\\A(?:{pattern})"), &named)?;
    named.assert_all_used()?;
    Ok(found.is_match(&value))
}

fn is_search(value: Value, pattern: String, named: Kwargs) -> Result<bool, Error> {
    let value = text(&given(value)?)?;
    let found = regex(&pattern, &named)?;
    named.assert_all_used()?;
    Ok(found.is_match(&value))
}
