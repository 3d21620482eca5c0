//! PostgreSQL's own settings as real servers know them: name, kind, unit, range and words, by major version.
//!
//! `guc.tsv` is what `tests/guc/table.sh` printed of 13 to 18. What depends on how a server was built (`io_method`) is text there:
//! only the host can judge it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// A row of the table.
struct Row {
    name: &'static str,
    majors: RangeInclusive<u32>,
    kind: Kind,
}

enum Kind {
    Flag,
    Text,
    Words(Vec<&'static str>),
    Number { whole: bool, unit: &'static str, range: RangeInclusive<f64> },
}

/// Why a server of a version would not take a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No version that muster knows has it; what was probably meant.
    Unknown(Option<&'static str>),
    /// Other versions have it: the first and the last.
    Elsewhere(u32, u32),
    /// What it must be, e.g. `a whole number from 1 to 262143`.
    Value(String),
}

/// Units by the number of base units of their kind, the smallest first. Source: `memory_unit_conversion_table` and
/// `time_unit_conversion_table` in guc.c; upper and lower case are told apart.
const MEMORY: &[(&str, f64)] =
    &[("B", 1.0), ("kB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("TB", 1_099_511_627_776.0)];
const TIME: &[(&str, f64)] =
    &[("us", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 60e6), ("h", 3600e6), ("d", 86_400e6)];

/// The newest version in the table.
const LAST: u32 = 18;

/// How like a known name an unknown one must be to be a slip of the finger.
const ALIKE: f64 = 0.8;

/// By name in lower case.
static TABLE: LazyLock<BTreeMap<String, Vec<Row>>> = LazyLock::new(|| {
    let mut table: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in include_str!("guc.tsv").lines().filter_map(row) {
        table.entry(row.name.to_ascii_lowercase()).or_default().push(row);
    }
    table
});

fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let (name, first, last, kind) = (next()?, next()?.parse().ok()?, next()?.parse().ok()?, next()?);
    let (unit, least, most, words) = (next()?, next()?, next()?, next()?);
    let kind = match kind {
        "bool" => Kind::Flag,
        "enum" => Kind::Words(words.split(',').collect()),
        "integer" | "real" => {
            let range = least.parse().ok()?..=most.parse().ok()?;
            Kind::Number { whole: kind == "integer", unit, range }
        }
        _ => Kind::Text,
    };
    Some(Row { name, majors: first..=last, kind })
}

fn rows(name: &str) -> impl Iterator<Item = &'static Row> {
    TABLE.get(&name.to_ascii_lowercase()).into_iter().flatten()
}

/// What PostgreSQL of that major version would not take; of any that muster knows where none is given. Settings of extensions,
/// whose names have a dot, and of versions newer than the table are the host's to judge.
pub fn wrong(name: &str, value: &str, major: Option<u32>) -> Option<Wrong> {
    if name.contains('.') || major.is_some_and(|major| major > LAST) {
        return None;
    }
    let first = rows(name).map(|row| *row.majors.start()).min();
    let end = rows(name).map(|row| *row.majors.end()).max();
    let (Some(first), Some(end)) = (first, end) else { return Some(Wrong::Unknown(nearest(name))) };
    let has = |row: &&Row| major.is_none_or(|major| row.majors.contains(&major));
    if rows(name).filter(has).count() == 0 {
        return Some(Wrong::Elsewhere(first, end));
    }
    let mut why = None;
    for row in rows(name).filter(has) {
        why = Some(Wrong::Value(unfit(&row.kind, value)?));
    }
    why
}

fn nearest(name: &str) -> Option<&'static str> {
    let known = TABLE
        .values()
        .flatten()
        .map(|row| (strsim::normalized_damerau_levenshtein(name, row.name), row.name));
    known.filter(|(like, _)| *like >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// A setting of time in milliseconds; `None` for what is no time.
pub fn milliseconds(name: &str, value: &str) -> Option<f64> {
    rows(name).find_map(|row| match &row.kind {
        Kind::Number { unit, .. } => Some(number(value, unit)? * base(unit, TIME)? / 1e3),
        Kind::Flag | Kind::Text | Kind::Words(_) => None,
    })
}

/// Whether a server reads both as the same.
pub fn is_same(name: &str, one: &str, other: &str) -> bool {
    let same = |kind: &Kind| match kind {
        Kind::Text => one == other,
        Kind::Words(_) => one.eq_ignore_ascii_case(other),
        Kind::Flag => flag(one).is_some() && flag(one) == flag(other),
        Kind::Number { unit, .. } => {
            let [one, other] = [one, other].map(|value| number(value, unit).map(f64::round_ties_even));
            one.is_some() && one == other
        }
    };
    one == other || rows(name).any(|row| same(&row.kind))
}

/// Whether it takes any text, e.g. names of libraries or folders; of an extension's that is not known.
pub fn is_text(name: &str) -> bool {
    rows(name).any(|row| matches!(row.kind, Kind::Text))
}

/// The number that a setting is read as, in its own unit.
pub fn count(name: &str, value: &str) -> Option<f64> {
    rows(name).find_map(|row| match &row.kind {
        Kind::Number { unit, .. } => number(value, unit),
        Kind::Flag | Kind::Text | Kind::Words(_) => None,
    })
}

/// What a yes or no is read as; any beginning of a word will do. Source: `parse_bool_with_len` in bool.c.
pub fn flag(value: &str) -> Option<bool> {
    let word = value.to_ascii_lowercase();
    let begins = |of: &str| !word.is_empty() && of.starts_with(&word);
    match word.as_str() {
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        _ if begins("true") || begins("yes") => Some(true),
        _ if begins("false") || begins("no") => Some(false),
        _ => None,
    }
}

/// What it would have to be; `None` where it fits.
fn unfit(kind: &Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Text => None,
        Kind::Flag => flag(value).is_none().then(|| "on or off".to_owned()),
        Kind::Words(words) => {
            let fits = words.iter().any(|word| word.eq_ignore_ascii_case(value));
            let shown: Vec<&str> = words.iter().copied().filter(|word| !OTHER_WORDS.contains(word)).collect();
            (!fits).then(|| format!("one of {}", shown.join(", ")))
        }
        Kind::Number { whole, unit, range } => {
            let fits = number(value, unit).is_some_and(|number| {
                let number = if *whole { number.round_ties_even() } else { number };
                range.contains(&number)
            });
            (!fits).then(|| expected(*whole, unit, range))
        }
    }
}

/// Spellings that nobody needs to be told of.
const OTHER_WORDS: [&str; 7] = ["", "0", "1", "true", "false", "yes", "no"];

fn expected(whole: bool, unit: &str, range: &RangeInclusive<f64>) -> String {
    let (least, most) = (*range.start(), *range.end());
    let units = [MEMORY, TIME].into_iter().find_map(|units| Some((units, base(unit, units)?)));
    let bound = |number: f64| match units {
        None => number.to_string(),
        Some((units, factor)) => {
            let whole = |of: &&(&str, f64)| number >= 0.0 && (number * factor) % of.1 == 0.0;
            let largest = units.iter().rev().find(whole).filter(|_| number != 0.0);
            largest.map_or(number.to_string(), |(name, of)| format!("{}{name}", number * factor / of))
        }
    };
    // A bound that is only what the machine can hold is nobody's business.
    let range = match most {
        most if most < 1e9 => format!("from {} to {}", bound(least), bound(most)),
        _ => format!("of at least {}", bound(least)),
    };
    match units {
        None => format!("a {}number {range}", if whole { "whole " } else { "" }),
        Some((units, _)) => {
            let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            let example = if units == MEMORY { "64MB" } else { "30s" };
            format!("a number with a unit ({}), e.g. {example}, {range}", names.join(", "))
        }
    }
}

/// How many of the smallest unit a unit of the table is, e.g. `8kB`.
fn base(unit: &str, units: &[(&str, f64)]) -> Option<f64> {
    let at = unit.find(|c: char| !c.is_ascii_digit())?;
    let (count, name) = unit.split_at(at);
    let (_, factor) = units.iter().find(|(known, _)| *known == name)?;
    Some(factor * if count.is_empty() { 1.0 } else { count.parse().ok()? })
}

/// The number in units of `unit`. Source: `parse_int` and `parse_real` in guc.c.
fn number(value: &str, unit: &str) -> Option<f64> {
    let text = value.trim_ascii();
    let (number, rest) = leading_number(text)?;
    let given = rest.trim_ascii();
    if given.is_empty() {
        return Some(number);
    }
    [MEMORY, TIME].into_iter().find_map(|units| {
        let (_, factor) = units.iter().find(|(name, _)| *name == given)?;
        Some(number * factor / base(unit, units)?)
    })
}

/// As strtol and strtod read it: `0x10`, `010` in octal, `1.5`, `1e3`.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let run = |text: &str, is: fn(char) -> bool| text.find(|c| !is(c)).unwrap_or(text.len());
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let end = run(hex, |c| c.is_ascii_hexdigit());
        let number = u32::from_str_radix(&hex[..end], 16).ok()?;
        return Some((sign * f64::from(number), &hex[end..]));
    }
    let mut end = run(digits, |c| c.is_ascii_digit());
    if end > 1 && digits.starts_with('0') && !digits[end..].starts_with('.') {
        let end = run(digits, |c| matches!(c, '0'..='7'));
        let number = u32::from_str_radix(&digits[..end], 8).ok()?;
        return Some((sign * f64::from(number), &digits[end..]));
    }
    if let Some(rest) = digits[end..].strip_prefix('.') {
        end += 1 + run(rest, |c| c.is_ascii_digit());
    }
    if let Some(rest) = digits[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let exponent = run(&rest[sign..], |c| c.is_ascii_digit());
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number: f64 = digits[..end].parse().ok()?;
    Some((sign * number, &digits[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_read() {
        let rows = || TABLE.values().flatten();
        assert_eq!(rows().count(), include_str!("guc.tsv").lines().count());
        assert_eq!(rows().map(|row| *row.majors.end()).max(), Some(LAST));
    }

    #[test]
    fn what_servers_take_is_taken() {
        for (name, value) in [
            ("work_mem", "64MB"),
            ("work_mem", "65536"),
            ("work_mem", "0.5 GB"),
            ("shared_buffers", "16384"),
            ("checkpoint_timeout", "30min"),
            ("checkpoint_timeout", "0x40"),
            ("unix_socket_permissions", "0700"),
            ("random_page_cost", "1.1"),
            ("vacuum_cost_delay", "2ms"),
            ("jit", "OFF"),
            ("jit", "tr"),
            ("TimeZone", "UTC"),
            ("timezone", "UTC"),
            ("log_statement", "DDL"),
            ("client_min_messages", "debug"),
            ("wal_level", "hot_standby"),
            ("ssl_max_protocol_version", ""),
            ("default_transaction_isolation", "repeatable read"),
            ("huge_pages", "try"),
            ("citus.shard_count", "many"),
            ("idle_session_timeout", "1d"),
            ("statement_timeout", "1e3"),
        ] {
            assert_eq!(wrong(name, value, None), None, "{name} = {value}");
        }
    }

    #[test]
    fn what_servers_refuse_is_refused() {
        for (name, value) in [
            ("shared_buffers", "25%"),
            ("work_mem", "64mb"),
            ("work_mem", "64 M"),
            ("work_mem", "1kB"),
            ("max_connections", "lots"),
            ("max_connections", "0"),
            ("max_connections", "10MB"),
            ("checkpoint_timeout", "1MB"),
            ("unix_socket_permissions", "700"),
            ("jit", "maybe"),
            ("jit", "o"),
            ("log_statement", "some"),
            ("random_page_cost", ""),
            ("statement_timeout", "08"),
        ] {
            assert!(matches!(wrong(name, value, None), Some(Wrong::Value(_))), "{name} = {value}");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(wrong("max_conections", "1", None), Some(Wrong::Unknown(Some("max_connections"))));
        assert_eq!(wrong("bananas", "1", Some(15)), Some(Wrong::Unknown(None)));
        assert_eq!(wrong("bananas", "1", Some(19)), None);
        assert_eq!(wrong("transaction_timeout", "1s", None), None);
        assert_eq!(wrong("transaction_timeout", "1s", Some(15)), Some(Wrong::Elsewhere(17, 18)));
        assert_eq!(wrong("password_encryption", "on", Some(13)), None);
        assert!(matches!(wrong("password_encryption", "on", Some(14)), Some(Wrong::Value(_))));
    }

    #[test]
    fn times_and_counts_are_read() {
        assert_eq!(milliseconds("statement_timeout", "2s"), Some(2000.0));
        assert_eq!(milliseconds("statement_timeout", "7"), Some(7.0));
        assert_eq!(milliseconds("jit", "on"), None);
        assert_eq!(count("max_wal_senders", "010"), Some(8.0));
        assert!(is_same("shared_buffers", "16384", "128MB") && is_same("hot_standby", "on", "true"));
        assert!(!is_same("shared_buffers", "16384", "129MB") && !is_same("nobody_knows", "1", "01"));
    }
}
