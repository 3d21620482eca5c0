//! Settings in a `postgresql.conf` that is not muster's: one block at its end, and every other byte stays.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::template::guc;

/// The lines around the block.
const BEGIN: &str =
    "# BEGIN muster: settings of the inventory. This block is rewritten; what stands above it is left alone.";
const END: &str = "# END muster";

/// Written by `ALTER SYSTEM`; it is read last, so it wins.
const AUTO: &str = "/postgresql.auto.conf";

/// A setting in one of the server's files, as the server reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub name: String,
    pub value: String,
}

impl Line {
    /// Whether `ALTER SYSTEM` has set it.
    pub fn is_system(&self) -> bool {
        self.file.ends_with(AUTO)
    }
}

/// Settings' types and units, by name.
pub type Types = BTreeMap<String, (String, Option<String>)>;

/// What is to be done about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The new text, where the file does not say what it should.
    pub text: Option<String>,
    /// Settings that change with it.
    pub changed: Vec<String>,
    /// Settings of the inventory, and the other value that `ALTER SYSTEM` has given them.
    pub overruled: Vec<(String, String)>,
}

/// Compares what a server reads with what is wanted; `path` and `text` are its main file's.
///
/// # Errors
/// A block that was begun and has no end.
pub fn decide(
    path: &str,
    text: &str,
    lines: &[Line],
    types: &Types,
    wanted: &BTreeMap<String, String>,
) -> Result<Decision, String> {
    let block = find(text)?;
    let numbers = block.as_ref().map(|block| block.lines.clone()).unwrap_or(0..0);
    let in_block = |line: &&Line| line.file == path && numbers.contains(&line.line);
    let last = |name: &str, test: &dyn Fn(&&Line) -> bool| {
        lines.iter().rfind(|line| line.name == name && test(line)).map(|line| line.value.as_str())
    };
    let mut decision = Decision::default();
    let mut kept = BTreeMap::new();
    let gone = lines.iter().filter(in_block).filter(|line| !wanted.contains_key(&line.name));
    decision.changed.extend(gone.map(|line| line.name.clone()));
    for (name, value) in wanted {
        let is = |found: Option<&str>| found.is_some_and(|found| same(name, found, value, types));
        let system = last(name, &|line| line.is_system());
        let now = last(name, &|line| !line.is_system());
        let without = last(name, &|line| !line.is_system() && !in_block(line));
        if !is(now) && !is(system) {
            decision.changed.push(name.clone());
        }
        if let Some(system) = system.filter(|system| !is(Some(system))) {
            decision.overruled.push((name.clone(), system.to_owned()));
        }
        if !(is(without) || is(system)) {
            kept.insert(name.clone(), value.clone());
        }
    }
    decision.changed.sort();
    decision.changed.dedup();
    if !decision.changed.is_empty() {
        decision.text = Some(edit(text, &kept)?);
    }
    Ok(decision)
}

struct Block {
    bytes: Range<usize>,
    /// Numbers of its lines, from 1.
    lines: Range<usize>,
}

fn find(text: &str) -> Result<Option<Block>, String> {
    let (mut at, mut begun) = (0, None);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (start, number) = (at, index + 1);
        at += line.len();
        match (line.trim_end(), begun) {
            (BEGIN, None) => begun = Some((start, number)),
            (END, Some((start, first))) => {
                return Ok(Some(Block { bytes: start..at, lines: first..number + 1 }));
            }
            _ => {}
        }
    }
    match begun {
        Some((_, number)) => Err(format!("the block of muster that begins on line {number} has no `{END}`")),
        None => Ok(None),
    }
}

/// The text with these settings in the block, which is last; without any there is no block.
///
/// # Errors
/// A block that was begun and has no end.
pub fn edit(text: &str, settings: &BTreeMap<String, String>) -> Result<String, String> {
    let mut kept = text.to_owned();
    while let Some(block) = find(&kept)? {
        kept.replace_range(block.bytes, "");
    }
    if settings.is_empty() {
        return Ok(kept);
    }
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    kept.push_str(&format!("{BEGIN}\n"));
    for (name, value) in settings {
        kept.push_str(&format!("{name} = {}\n", guc(value)));
    }
    kept.push_str(&format!("{END}\n"));
    Ok(kept)
}

/// Settings that are lists of names: spaces between them mean nothing.
const LISTS: [&str; 8] = [
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "search_path",
    "temp_tablespaces",
    "datestyle",
    "log_destination",
    "unix_socket_directories",
];

/// Whether PostgreSQL takes two texts for one value of a setting.
pub fn same(name: &str, one: &str, other: &str, types: &Types) -> bool {
    if one == other {
        return true;
    }
    let list = |text: &str| text.split(',').map(|part| part.trim().to_lowercase()).collect::<Vec<_>>();
    let Some((kind, unit)) = types.get(name) else {
        return LISTS.contains(&name) && list(one) == list(other);
    };
    let unit = unit.as_deref().unwrap_or_default();
    match kind.as_str() {
        "bool" => flag(one).is_some() && flag(one) == flag(other),
        // Most of those with `on` and `off` take every spelling of the two.
        "enum" => one.eq_ignore_ascii_case(other) || (flag(one).is_some() && flag(one) == flag(other)),
        "integer" => {
            let whole = |text| number(text, unit).map(f64::round_ties_even);
            whole(one).is_some() && whole(one) == whole(other)
        }
        "real" => number(one, unit).is_some() && number(one, unit) == number(other, unit),
        _ => false,
    }
}

/// Source: parse_bool_with_len in bool.c: beginnings of the words count, where they are one word's.
fn flag(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// Units of guc.c in bytes and microseconds.
const UNITS: [(&str, f64); 11] = [
    ("B", 1.0),
    ("kB", 1024.0),
    ("MB", 1_048_576.0),
    ("GB", 1_073_741_824.0),
    ("TB", 1_099_511_627_776.0),
    ("us", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("min", 6e7),
    ("h", 3.6e9),
    ("d", 8.64e10),
];

/// A number in the unit `base`, e.g. `8kB` or `ms`; without a unit of its own it is in that one.
fn number(text: &str, base: &str) -> Option<f64> {
    let text = text.trim();
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(digits) = hexadecimal {
        return i64::from_str_radix(digits, 16).ok().map(|number| number as f64);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(text.len());
    // `1e3` and `1e-3`, but not the unit of `1 E`.
    let end = match text[end..].strip_prefix(['e', 'E']) {
        Some(rest) if rest.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit()) => {
            let digits = rest.trim_start_matches(['+', '-']);
            let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            text.len() - digits.len() + length
        }
        _ => end,
    };
    let (digits, unit) = (&text[..end], text[end..].trim());
    let is_octal = digits.len() > 1 && digits.starts_with('0') && digits.chars().all(|c| c.is_ascii_digit());
    let value: f64 = match is_octal {
        true => i64::from_str_radix(digits, 8).ok()? as f64,
        false => digits.parse().ok()?,
    };
    if unit.is_empty() {
        return Some(value);
    }
    let factor = |name: &str| UNITS.iter().find(|(known, _)| *known == name).map(|(_, factor)| *factor);
    let count = base.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let times: f64 = if count == 0 { 1.0 } else { base[..count].parse().ok()? };
    Some(value * factor(unit)? / (times * factor(&base[count..])?))
}

#[cfg(test)]
mod tests;
