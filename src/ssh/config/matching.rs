//! Patterns, `Host` and `Match`: for whom the lines that follow are meant.

use super::lines::next_word;
use super::tokens::Tokens;

/// A part of a list that is as long or longer matches nothing, as in `match.c`.
const LONGEST_PART: usize = 1_023;

/// What a list of patterns says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Matches,
    /// A pattern with `!` matches, which outweighs all others.
    Excluded,
    Nothing,
}

/// `*` is anything, `?` one byte.
///
/// Goes back to the last `*` only, so that no pattern takes longer than its length times the name's.
pub(super) fn matches(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut n, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                n += 1;
                p += 1;
            }
            Some(_) | None => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Patterns with commas between them, each of which `!` may negate.
pub(super) fn matches_list(name: &str, list: &str) -> Verdict {
    let mut verdict = Verdict::Nothing;
    let list = list.strip_suffix(',').unwrap_or(list);
    for part in list.split(',') {
        let (is_negated, pattern) = match part.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, part),
        };
        if pattern.len() >= LONGEST_PART {
            return Verdict::Nothing;
        }
        match (matches(name, pattern), is_negated) {
            (true, true) => return Verdict::Excluded,
            (true, false) => verdict = Verdict::Matches,
            (false, _) => {}
        }
    }
    if list.is_empty() { Verdict::Nothing } else { verdict }
}

/// As [`matches_list`], whatever the case.
pub(super) fn matches_host(host: &str, list: &str) -> Verdict {
    matches_list(&host.to_ascii_lowercase(), &list.to_ascii_lowercase())
}

/// Whether a `Host` line means a host.
///
/// # Errors
///
/// An empty pattern.
pub(super) fn host(words: &[String], host: &str) -> Result<bool, String> {
    let mut is_meant = false;
    for word in words {
        if word.is_empty() {
            return Err("a pattern is empty".to_owned());
        }
        match word.strip_prefix('!') {
            Some(pattern) if matches(host, pattern) => return Ok(false),
            Some(_) => {}
            None => is_meant |= matches(host, word),
        }
    }
    Ok(is_meant)
}

/// What `Match` looks at, as far as it is known when its line is read.
pub(super) struct Subject<'a> {
    pub(super) host: &'a str,
    pub(super) original: &'a str,
    pub(super) user: &'a str,
    pub(super) local_user: &'a str,
    pub(super) tag: &'a str,
    /// Whether this is the second reading.
    pub(super) is_final: bool,
    /// For the command of `exec`, which few have.
    pub(super) tokens: &'a dyn Fn() -> Tokens,
}

/// What a `Match` line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) is_meant: bool,
    /// It has `final`: the configuration is to be read once more.
    pub(super) wants_final: bool,
}

/// Whether a `Match` line means the subject; `exec` runs a command, and is asked only where all before it holds.
pub(super) fn criteria(
    text: &str,
    subject: &Subject<'_>,
    exec: &dyn Fn(&str) -> Result<bool, String>,
) -> Result<Matched, String> {
    let mut rest = Some(text);
    let mut matched = Matched { is_meant: true, wants_final: false };
    let mut count = 0;
    while let Some(word) = next_word(&mut rest).filter(|word| !word.is_empty()) {
        if word.starts_with('#') {
            rest = None;
            break;
        }
        let (is_negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name.to_ascii_lowercase()),
            None => (false, word.to_ascii_lowercase()),
        };
        if name == "all" {
            let more = next_word(&mut rest).filter(|word| !word.is_empty());
            if count > 1 || more.as_ref().is_some_and(|word| !word.starts_with('#')) {
                return Err("all stands alone".to_owned());
            }
            matched.is_meant &= !is_negated;
            if more.is_some() {
                rest = None;
            }
            count += 1;
            break;
        }
        count += 1;
        if name == "final" || name == "canonical" {
            matched.wants_final |= name == "final";
            matched.is_meant &= subject.is_final != is_negated;
            continue;
        }
        let argument = next_word(&mut rest).filter(|argument| !argument.starts_with('#'));
        let Some(argument) = argument.filter(|argument| !argument.is_empty() || name == "tagged") else {
            return Err(format!("{name} has no value"));
        };
        let holds = criterion(&name, &argument, subject, matched.is_meant, exec)?;
        matched.is_meant &= holds != is_negated;
    }
    match rest.is_none_or(str::is_empty) {
        _ if count == 0 => Err("there is nothing to match".to_owned()),
        false => Err("there is more after it".to_owned()),
        true => Ok(matched),
    }
}

fn criterion(
    name: &str,
    argument: &str,
    subject: &Subject<'_>,
    so_far: bool,
    exec: &dyn Fn(&str) -> Result<bool, String>,
) -> Result<bool, String> {
    let verdict = match name {
        "host" => matches_host(subject.host, argument),
        "originalhost" => matches_host(subject.original, argument),
        "user" => matches_list(subject.user, argument),
        "localuser" => matches_list(subject.local_user, argument),
        "tagged" if argument.is_empty() => return Ok(subject.tag.is_empty()),
        "tagged" => matches_list(subject.tag, argument),
        "exec" => {
            let command = (subject.tokens)().expand(argument)?;
            // What is negated does not matter where something else does not hold.
            return if so_far { exec(&command) } else { Ok(false) };
        }
        other => return Err(format!("Match {other} is not known to muster")),
    };
    Ok(verdict == Verdict::Matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::credentials::Credentials;

    #[test]
    fn patterns_are_those_of_ssh() {
        for (name, pattern) in
            [("a", "*"), ("db1", "db?"), ("", "*"), ("abc", "a*c"), ("a*", "a*"), ("aXbXc", "*X?*")]
        {
            assert!(matches(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in [("db", "db?"), ("abcd", "a*c"), ("", "?"), ("A", "a")] {
            assert!(!matches(name, pattern), "{name} {pattern}");
        }
        assert!(!matches(&"a".repeat(5_000), &"*a".repeat(2_000).replace("*a*a*a", "*aab")));
        assert_eq!(matches_list("db1", "db*,!db1"), Verdict::Excluded);
        assert_eq!(matches_list("db1", "!db2"), Verdict::Nothing);
        assert_eq!(matches_list("db1", "a,,db1,"), Verdict::Matches);
        assert_eq!(matches_list("", ""), Verdict::Nothing);
        assert_eq!(matches_host("DB1", "dB*"), Verdict::Matches);
        assert_eq!(matches_list("a", &format!("{},a", "x".repeat(LONGEST_PART))), Verdict::Nothing);
    }

    #[test]
    fn a_command_is_asked_only_where_it_matters() {
        let credentials = Credentials::new("ana", None, None);
        let subject = Subject {
            host: "db1",
            original: "db",
            user: "root",
            local_user: credentials.user().unwrap(),
            tag: "",
            is_final: false,
            tokens: &|| Tokens::of_host_name("db1"),
        };
        let asked = std::cell::Cell::new(0);
        let exec = |command: &str| {
            asked.set(asked.get() + 1);
            Ok(command == "is db1")
        };
        let matched = |text: &str| criteria(text, &subject, &exec).map(|matched| matched.is_meant);
        assert_eq!(matched("host db1 exec \"is %h\""), Ok(true));
        assert_eq!(matched("host db2 exec \"is %h\""), Ok(false));
        assert_eq!(asked.get(), 1);
        assert_eq!(matched("!exec=false !localuser bob user root # all"), Ok(true));
        assert_eq!(matched("all # c"), Ok(true));
        assert_eq!(matched("!all"), Ok(false));
        assert_eq!(matched("final all"), Ok(false));
        assert_eq!(matched("!final tagged \"\""), Ok(true));
        for wrong in ["host", "all host a", "host a user b all", "# a", "nonsense a", "exec %z", "host #"] {
            assert!(matched(wrong).is_err(), "{wrong}");
        }
        assert!(criteria("host x final", &subject, &exec).unwrap().wants_final);
    }
}
