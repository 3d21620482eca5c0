//! Which hosts are meant: Ansible's patterns of names, groups, globs and regular expressions.
//!
//! ```text
//! w1a             a host, or a group; `all` and `*` are every host
//! workers:mon     both; a comma does the same
//! all:!readers    without those
//! workers:&readers  only those that are in both
//! w?a*, [wc]*     globs, ~^w\d  a regular expression: of hosts' names and of groups' names
//! workers[0], [-1], [0:2]  of what the name means, in the order of the inventory; the last one is counted in
//! @rerun          the patterns of a file, one a line
//! ```
//!
//! The order of the terms does not matter: first everything is put together, then `&`, then `!`. Where nothing is put
//! together, `all` is meant.

use std::collections::BTreeSet;

use regex_lite::Regex;

use crate::error::{Place, Problem};
use crate::formation::{Listed, NodeName, Roster};

#[cfg(test)]
mod tests;

/// Gives the text of the file of an `@FILE`, or why it cannot be read.
pub type Read<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// The hosts in the order of the inventory, each once.
///
/// # Errors
/// A name that nobody has, a pattern that cannot be read, and one that selects nobody.
pub fn select(roster: &Roster, pattern: &str, read: Read) -> Result<Vec<NodeName>, Problem> {
    let terms = with_files(roster, pattern, read)?;
    if terms.is_empty() {
        return Err(Problem::new("the pattern is empty").hint("`all` is every host"));
    }
    let mut chosen = BTreeSet::new();
    if terms.iter().all(|term| term.sign != Sign::Add) {
        chosen.extend(0..roster.hosts.len());
    }
    for round in [Sign::Add, Sign::Keep, Sign::Drop] {
        for term in terms.iter().filter(|term| term.sign == round) {
            let found = meant(roster, &term.text).map_err(|problem| match &term.place {
                Some(place) => problem.at(place.clone()),
                None => problem,
            });
            let meant: BTreeSet<usize> = found?.into_iter().collect();
            match round {
                Sign::Add => chosen.extend(meant),
                Sign::Keep => chosen.retain(|host| meant.contains(host)),
                Sign::Drop => chosen.retain(|host| !meant.contains(host)),
            }
        }
    }
    if chosen.is_empty() {
        return Err(Problem::new(format!("`{pattern}` selects no host")).hint(groups_hint(roster)));
    }
    let chosen = chosen.into_iter().filter_map(|host| roster.hosts.get(host));
    Ok(chosen.map(|host| host.node.clone()).collect())
}

/// What a term does with the hosts it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Add,
    Keep,
    Drop,
}

/// One part of a pattern, and where it stands if that is in a file.
struct Term {
    sign: Sign,
    text: String,
    place: Option<Place>,
}

/// The terms of a pattern, those of its files in their place.
fn with_files(roster: &Roster, pattern: &str, read: Read) -> Result<Vec<Term>, Problem> {
    let mut all = Vec::new();
    for (sign, text) in of_line(roster, pattern) {
        match (text.strip_prefix('@'), sign) {
            (None, _) => all.push(Term { sign, text: text.to_owned(), place: None }),
            (Some(file), Sign::Add) => all.extend(of_file(roster, file, read)?),
            (Some(_), Sign::Keep | Sign::Drop) => {
                let problem =
                    Problem::new(format!("`{text}` is a file of patterns: it cannot be turned round"));
                return Err(problem.hint("write `!` or `&` in front of the names in the file"));
            }
        }
    }
    Ok(all)
}

/// A name may hold a colon: an IPv6 address.
fn of_line<'p>(roster: &Roster, line: &'p str) -> Vec<(Sign, &'p str)> {
    if is_known(roster, line) { vec![(Sign::Add, line)] } else { terms(line) }
}

/// The patterns of a file, one a line; those that are empty or begin with `#` are none.
fn of_file(roster: &Roster, file: &str, read: Read) -> Result<Vec<Term>, Problem> {
    let text = read(file).map_err(|why| {
        let problem = Problem::new(format!("cannot read the patterns of `{file}`: {why}"));
        problem.hint("the name behind `@` is relative to the current folder")
    })?;
    let mut found = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = whole.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let before = whole.len() - whole.trim_start().len();
        let place = Place {
            file: file.to_owned(),
            line: index + 1,
            column: whole[..before].chars().count() + 1,
            width: line.chars().count(),
            text: whole.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        };
        if line.starts_with('@') {
            let problem = Problem::new("a file of patterns names no other file");
            return Err(problem.hint("give both: @one:@other").at(place));
        }
        let terms = of_line(roster, line).into_iter();
        found.extend(terms.map(|(sign, text)| Term {
            sign,
            text: text.to_owned(),
            place: Some(place.clone()),
        }));
    }
    // Nothing put together would mean everybody.
    match found.is_empty() {
        true => Err(Problem::new(format!("the file `{file}` holds no pattern"))
            .hint("one a line; `all` is every host")),
        false => Ok(found),
    }
}

/// The parts between colons and commas; those within brackets part nothing.
fn terms(pattern: &str) -> Vec<(Sign, &str)> {
    let (mut depth, mut escaped, mut start) = (0_u32, false, 0);
    let mut parts = Vec::new();
    for (at, c) in pattern.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = true,
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            ':' | ',' if depth == 0 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[start..]);
    let signed = |part: &'_ str| match part.split_at_checked(1) {
        Some(("&", _)) => Sign::Keep,
        Some(("!", _)) => Sign::Drop,
        Some(_) | None => Sign::Add,
    };
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match signed(part) {
            Sign::Add => (Sign::Add, part),
            sign => (sign, part[1..].trim()),
        })
        .collect()
}

/// The hosts of one term, in the order of the inventory.
fn meant(roster: &Roster, term: &str) -> Result<Vec<usize>, Problem> {
    if let Some(text) = term.strip_prefix('~') {
        let regex = Regex::new(&format!("^(?:{text})")).map_err(|error| {
            let problem = Problem::new(format!("`{text}` is no regular expression: {error}"));
            problem.hint("without `~` it is a name or a glob")
        })?;
        return Ok(matching(roster, &regex));
    }
    let Some((base, subscript)) = subscript(term) else { return named(roster, term) };
    let hosts = named(roster, base)?;
    let count = i64::try_from(hosts.len()).unwrap_or(i64::MAX);
    let range = match subscript {
        // Of nobody there is no first one either.
        _ if hosts.is_empty() => return Ok(hosts),
        Subscript::One(index) if (-count..count).contains(&index) => {
            let index = if index < 0 { index + count } else { index };
            index..index + 1
        }
        Subscript::One(_) => {
            let problem = Problem::new(format!("there is no `{term}`: `{base}` is {count} hosts"));
            return Err(problem.hint("they are counted from 0; [-1] is the last one"));
        }
        Subscript::From(first, last) => first..last.map_or(count, |last| last.saturating_add(1)),
    };
    Ok(hosts.into_iter().zip(0..).filter(|(_, index)| range.contains(index)).map(|(host, _)| host).collect())
}

/// A name of a host or group, or a glob of names.
fn named(roster: &Roster, name: &str) -> Result<Vec<usize>, Problem> {
    if name == "all" || name == "*" {
        return Ok((0..roster.hosts.len()).collect());
    }
    if name.contains(['*', '?', '[']) {
        let regex = Regex::new(&glob(name)).map_err(|_| {
            Problem::new(format!("`{name}` is no pattern")).hint("`[` needs its `]`, as in `w[12]a`")
        })?;
        return Ok(matching(roster, &regex));
    }
    if let Some(host) = roster.hosts.iter().position(|host| is_called(host, name)) {
        return Ok(vec![host]);
    }
    if is_known(roster, name) {
        return Ok(positions(roster, |host| is_in(host, name)));
    }
    let hosts = roster.hosts.iter().flat_map(|host| [host.name.as_str(), &host.node.0]);
    let known = hosts.chain(roster.groups.iter().map(String::as_str));
    let near = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let near = near.filter(|(alike, _)| *alike >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = near.map_or_else(|| groups_hint(roster), |(_, near)| format!("did you mean `{near}`?"));
    Err(Problem::new(format!("there is no host and no group `{name}` in the inventory")).hint(hint))
}

/// Below this, words share letters by chance.
const ALIKE: f64 = 0.5;

enum Subscript {
    One(i64),
    /// The last one is counted in.
    From(i64, Option<i64>),
}

/// As in `w[1]`, `w[-1]`, `w[0:2]`, `w[0-2]`, `w[1:]`; other brackets belong to a glob. With Ansible `w[2:0]` is `w[2]`.
fn subscript(term: &str) -> Option<(&str, Subscript)> {
    let (base, inner) = term.strip_suffix(']')?.rsplit_once('[')?;
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| Some(text).filter(is_number).map(|text| text.parse().unwrap_or(i64::MAX));
    let subscript = match inner.find([':', '-']) {
        None => Subscript::One(number(inner)?),
        Some(0) => Subscript::One(-number(inner.strip_prefix('-')?)?),
        Some(at) => {
            let last = &inner[at + 1..];
            let last = if last.is_empty() { None } else { Some(number(last)?) };
            let first = number(&inner[..at])?;
            if last == Some(0) { Subscript::One(first) } else { Subscript::From(first, last) }
        }
    };
    (!base.is_empty()).then_some((base, subscript))
}

/// A glob as a regular expression of the whole name.
fn glob(glob: &str) -> String {
    let mut regex = String::from("^(?s:");
    let mut rest = glob;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        // As in a shell: a bracket that comes first in a set is one of the set.
        let not = usize::from(after.starts_with('!'));
        let first = not + usize::from(after[not..].starts_with(']'));
        let end = after[first..].find(']').map(|at| first + at);
        rest = after;
        match (c, end) {
            ('*', _) => regex.push_str(".*"),
            ('?', _) => regex.push('.'),
            ('[', Some(end)) => {
                let set = after[not..end].replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
                let set = set.replace('^', "\\^");
                regex.push_str(&format!("[{}{set}]", if not > 0 { "^" } else { "" }));
                rest = &after[end + 1..];
            }
            (c, _) => regex.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex + ")$"
}

fn matching(roster: &Roster, regex: &Regex) -> Vec<usize> {
    let groups: Vec<&String> = roster.groups.iter().filter(|group| regex.is_match(group)).collect();
    positions(roster, |host| {
        regex.is_match(&host.name)
            || regex.is_match(&host.node.0)
            || groups.iter().any(|group| is_in(host, group))
    })
}

fn positions(roster: &Roster, test: impl Fn(&Listed) -> bool) -> Vec<usize> {
    roster.hosts.iter().enumerate().filter(|(_, host)| test(host)).map(|(at, _)| at).collect()
}

fn is_known(roster: &Roster, name: &str) -> bool {
    name == UNGROUPED || roster.groups.contains(name) || roster.hosts.iter().any(|host| is_called(host, name))
}

/// The inventory's name, or the monitor's where that is another.
fn is_called(host: &Listed, name: &str) -> bool {
    host.name == name || host.node.0 == name
}

/// Every host that is in no group but `all`.
const UNGROUPED: &str = "ungrouped";

fn is_in(host: &Listed, group: &str) -> bool {
    host.groups.contains(group) || group == UNGROUPED && host.groups.iter().all(|of| of == "all")
}

fn groups_hint(roster: &Roster) -> String {
    const MOST: usize = 12;
    let names: Vec<&str> = roster.groups.iter().take(MOST).map(String::as_str).collect();
    let more = if roster.groups.len() > MOST { ", …" } else { "" };
    format!("the groups are {}{more}; `muster ping` names every host", names.join(", "))
}
