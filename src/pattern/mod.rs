//! Which hosts are meant: Ansible's patterns of names, groups, globs and regular expressions.
//!
//! ```text
//! w1a             a host, or a group; `all` and `*` are every host
//! workers:mon     both; a comma does the same
//! all:!readers    without those
//! workers:&readers  only those that are in both
//! w?a*, [wc]*     globs, ~^w\d  a regular expression: of hosts' names and of groups' names
//! workers[0], [-1], [0:2]  of what the name means, in Ansible's order; the last one is counted in
//! @rerun          the patterns of a file, one a line
//! ```
//!
//! A pattern with a comma is taken apart at commas alone, so that `fd00::1,fd00::2` are two hosts; one that is mixed is refused.
//! Ansible's order is that of a group's own hosts, then of those of the groups below it.
//!
//! The order of the terms does not matter: first everything is put together, then `&`, then `!`. Where nothing is put
//! together, `all` is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use regex_lite::Regex;

use crate::error::{Place, Problem};
use crate::formation::{Listed, ListedGroup, NodeName, Roster};

#[cfg(test)]
mod tests;

/// Gives the text of the file of an `@FILE`, or why it cannot be read.
pub type Read<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// The hosts in the order in which Ansible has `all` of them, each once.
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
    // Of all hosts none is without a place; the others would follow.
    let everybody = group(roster, "all").map_or_else(Vec::new, |all| of_group(roster, all));
    let rest = chosen.iter().copied().filter(|host| !everybody.contains(host));
    let in_order = everybody.iter().copied().filter(|host| chosen.contains(host)).chain(rest);
    let chosen = in_order.filter_map(|host| roster.hosts.get(host));
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
    for (sign, text) in of_line(roster, pattern)? {
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

/// The terms of a line; a name may hold a colon, as an IPv6 address does.
fn of_line<'p>(roster: &Roster, line: &'p str) -> Result<Vec<(Sign, &'p str)>, Problem> {
    let with_commas = parts(line, ',');
    if with_commas.len() == 1 {
        let (_, name) = signed(line.trim());
        let whole = is_known(roster, name) || name.parse::<Ipv6Addr>().is_ok();
        return Ok(if whole { vec![signed(line.trim())] } else { terms(parts(line, ':')) });
    }
    let is_one = |part: &str| {
        let (_, name) = signed(part);
        let is_name = is_known(roster, name) || name.parse::<Ipv6Addr>().is_ok();
        is_name || name.starts_with(['~', '@']) || parts(name, ':').len() < 2
    };
    match with_commas.iter().map(|part| part.trim()).find(|part| !is_one(part)) {
        None => Ok(terms(with_commas)),
        Some(mixed) => {
            let problem = Problem::new(format!("`{line}` mixes commas and colons"));
            let commas = parts(line, ',').into_iter().flat_map(|part| parts(part, ':'));
            let commas: Vec<&str> = commas.map(str::trim).filter(|part| !part.is_empty()).collect();
            Err(problem.hint(format!(
                "for Ansible `{mixed}` is one name then; if it is several, write `{}`",
                commas.join(",")
            )))
        }
    }
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
        let terms = of_line(roster, line).map_err(|problem| problem.at(place.clone()))?.into_iter();
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

/// The parts between the separators; those within brackets part nothing.
fn parts(pattern: &str, separator: char) -> Vec<&str> {
    let (mut depth, mut escaped, mut start) = (0_u32, false, 0);
    let mut parts = Vec::new();
    for (at, c) in pattern.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = true,
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[start..]);
    parts
}

/// What a part does, and what it is about.
fn signed(part: &str) -> (Sign, &str) {
    match part.split_at_checked(1) {
        Some(("&", rest)) => (Sign::Keep, rest.trim()),
        Some(("!", rest)) => (Sign::Drop, rest.trim()),
        Some(_) | None => (Sign::Add, part),
    }
}

fn terms(parts: Vec<&str>) -> Vec<(Sign, &str)> {
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(signed).collect()
}

/// The hosts of one term in Ansible's order; of several names that a glob means, one may come twice.
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
    if name.contains(['*', '?', '[']) {
        let regex = Regex::new(&glob(name)).map_err(|_| {
            Problem::new(format!("`{name}` is no pattern")).hint("`[` needs its `]`, as in `w[12]a`")
        })?;
        return Ok(matching(roster, &regex));
    }
    if let Some(host) = roster.hosts.iter().position(|host| is_called(host, name)) {
        return Ok(vec![host]);
    }
    if let Some(group) = group(roster, name) {
        return Ok(of_group(roster, group));
    }
    let hosts = roster.hosts.iter().flat_map(|host| [host.name.as_str(), &host.node.0]);
    let known = hosts.chain(roster.groups.iter().map(|group| group.name.as_str()));
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

/// The hosts of the groups that are called so, then the hosts that are.
fn matching(roster: &Roster, regex: &Regex) -> Vec<usize> {
    let groups = roster.groups.iter().filter(|group| regex.is_match(&group.name));
    let hosts = roster.hosts.iter().enumerate();
    let called = hosts.filter(|(_, host)| regex.is_match(&host.name) || regex.is_match(&host.node.0));
    groups.flat_map(|group| of_group(roster, group)).chain(called.map(|(at, _)| at)).collect()
}

fn group<'r>(roster: &'r Roster, name: &str) -> Option<&'r ListedGroup> {
    roster.groups.iter().find(|group| group.name == name)
}

fn of_group(roster: &Roster, group: &ListedGroup) -> Vec<usize> {
    let place: BTreeMap<&str, usize> =
        roster.hosts.iter().enumerate().map(|(at, host)| (host.name.as_str(), at)).collect();
    group.hosts.iter().filter_map(|name| place.get(name.as_str()).copied()).collect()
}

fn is_known(roster: &Roster, name: &str) -> bool {
    group(roster, name).is_some() || roster.hosts.iter().any(|host| is_called(host, name))
}

/// The inventory's name, or the monitor's where that is another.
fn is_called(host: &Listed, name: &str) -> bool {
    host.name == name || host.node.0 == name
}

/// Every host that is in no group but `all`.
const UNGROUPED: &str = "ungrouped";

fn groups_hint(roster: &Roster) -> String {
    const MOST: usize = 12;
    let mut names: Vec<&str> =
        roster.groups.iter().map(|group| group.name.as_str()).filter(|name| *name != UNGROUPED).collect();
    names.sort_unstable();
    let more = if names.len() > MOST { ", …" } else { "" };
    names.truncate(MOST);
    format!("the groups are {}{more}; `muster ping` names every host", names.join(", "))
}
