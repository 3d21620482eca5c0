//! A host as inventories write it: `NAME`, `NAME:PORT`, `[ADDRESS]:PORT`, and ranges as in `db[01:12:2].example`.

use std::net::Ipv6Addr;

use super::source::quote;
use super::store::MOST_HOSTS;
use crate::error::Problem;

/// The names that a pattern stands for, and the port of all of them.
pub(super) fn expand(pattern: &str) -> Result<(Vec<String>, Option<u16>), Problem> {
    let (name, port) = split_port(pattern)?;
    if !name.contains('[') {
        return Ok((vec![name.to_owned()], port));
    }
    let mut names = Vec::new();
    ranges(name, &mut names).map_err(|why| {
        let problem = Problem::new(format!("{} is no name of a host: {why}", quote(pattern)));
        problem.hint("a range is [FIRST:LAST] or [FIRST:LAST:STEP], e.g. db[01:12], [a:f]")
    })?;
    Ok((names, port))
}

/// The port counts only behind what is a host's name; the rest is a name with colons in it.
pub(super) fn split_port(pattern: &str) -> Result<(&str, Option<u16>), Problem> {
    let parts = match pattern.rsplit_once(':') {
        Some((host, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(inner) if !inner.is_empty() => Some((inner, digits)),
                Some(_) | None => Some((host, digits)).filter(|(host, _)| colons_are_bracketed(host)),
            }
        }
        Some(_) | None => None,
    };
    let Some((host, digits)) = parts.filter(|(host, _)| is_ipv6(host) || is_hostname(host)) else {
        return Ok((pattern, None));
    };
    match digits.parse() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        Ok(_) | Err(_) => {
            Err(Problem::new(format!("{} is no port", quote(digits))).hint("a number from 1 to 65535"))
        }
    }
}

/// Every colon stands within `[]`.
fn colons_are_bracketed(host: &str) -> bool {
    let mut inside = false;
    host.chars().all(|c| match (c, inside) {
        ('[', false) | (']', true) => {
            inside = !inside;
            true
        }
        (']' | ':', false) => false,
        _ => true,
    }) && !inside
}

pub(super) fn is_ipv6(host: &str) -> bool {
    let mut plain = String::new();
    let mut rest = host;
    // A range is a number of an address too.
    while let Some((before, range)) = rest.split_once('[') {
        let Some((range, after)) = range.split_once(']') else { return false };
        if !is_range(range, |text| text.chars().all(|c| c.is_ascii_hexdigit())) {
            return false;
        }
        plain = plain + before + "1";
        rest = after;
    }
    (plain + rest).parse::<Ipv6Addr>().is_ok()
}

/// Labels with dots between them; a label starts with a letter, a digit, `_` or a range, and ends with no `_` or `-`.
fn is_hostname(host: &str) -> bool {
    let mut rest = host;
    let (mut last, mut count) = ('.', 0);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '.' if count > 0 && !matches!(last, '_' | '-') => count = 0,
            '[' => {
                let Some((range, after)) = rest.split_once(']') else { return false };
                if !is_range(range, |text| text.len() == 1 && text.chars().all(|c| c.is_ascii_alphabetic())) {
                    return false;
                }
                (rest, count) = (after, count + 1);
            }
            '-' if count > 0 => count += 1,
            _ if c.is_alphanumeric() || c == '_' => count += 1,
            _ => return false,
        }
        last = c;
    }
    count > 0 && !matches!(last, '_' | '-')
}

fn is_range(range: &str, letters: fn(&str) -> bool) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match parts.as_slice() {
        [first, last] => (*first, *last, "1"),
        [first, last, step] => (*first, *last, *step),
        _ => return false,
    };
    let ends = digits(first) && digits(last) || !first.is_empty() && letters(first) && letters(last);
    ends && !last.is_empty() && digits(step)
}

/// Fills the first range in, then the others.
fn ranges(text: &str, names: &mut Vec<String>) -> Result<(), String> {
    const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let parts = text.split_once('[').and_then(|(head, rest)| Some((head, rest.split_once(']')?)));
    let Some((head, (range, tail))) = parts.filter(|_| !text.contains('|')) else {
        return Err("`[` needs its `]`".to_owned());
    };
    let bounds: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match bounds.as_slice() {
        [first, last] => (*first, *last, "1"),
        [first, last, step] => (*first, *last, *step),
        _ => return Err(format!("{} is not FIRST:LAST", quote(range))),
    };
    let first = if first.is_empty() { "0" } else { first };
    if last.is_empty() {
        return Err("the range has no end".to_owned());
    }
    let padded = first.len() > 1 && first.starts_with('0');
    if padded && first.len() != last.len() {
        return Err("with leading zeros both ends have as many digits".to_owned());
    }
    let width = if padded { first.len() } else { 0 };
    let step = match step.parse::<i64>() {
        Ok(step) if step > 0 => step,
        Ok(_) | Err(_) => return Err(format!("{} is no step", quote(step))),
    };
    let mut fill = |middle: &str| {
        if names.len() >= MOST_HOSTS {
            return Err(format!("more than {MOST_HOSTS} hosts"));
        }
        let name = format!("{head}{middle}{tail}");
        if name.contains('[') {
            return ranges(&name, names);
        }
        names.push(name);
        Ok(())
    };
    let (from, to, letter) = match (LETTERS.find(first), LETTERS.find(last)) {
        (Some(from), Some(to)) => (i64::try_from(from).unwrap_or(0), i64::try_from(to).unwrap_or(0), true),
        _ => match (first.parse::<i64>(), last.parse::<i64>()) {
            (Ok(from), Ok(to)) => (from, to, false),
            _ => return Err(format!("{} is neither of numbers nor of letters", quote(range))),
        },
    };
    if from > to {
        return Err("the first is behind the last".to_owned());
    }
    let mut at = from;
    while at <= to {
        match (letter, usize::try_from(at)) {
            (true, Ok(index)) => fill(&LETTERS[index..=index])?,
            _ => fill(&format!("{at:0>width$}"))?,
        }
        let Some(next) = at.checked_add(step) else { break };
        at = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, names, port) in [
            ("db1:2222", "db1", Some(2222)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:22", "2001:db8::1", Some(22)),
            ("db[01:03]", "db01 db02 db03", None),
            ("[a:c]x", "ax bx cx", None),
            ("[1:10:4].z:22", "1.z 5.z 9.z", Some(22)),
            ("[:2]", "0 1 2", None),
            ("a[1:2]b[x:y]", "a1bx a1by a2bx a2by", None),
            ("a_:22", "a_:22", None),
        ] {
            assert_eq!(
                expand(pattern).map(|(names, port)| (names.join(" "), port)),
                Ok((names.into(), port))
            );
        }
    }

    #[test]
    fn wrong_ones() {
        for pattern in
            ["a[1:3", "a[1]", "a[3:1]", "a[01:003]", "a[1:9:0]", "a[1:]", "a[0:999999999]", "a[1:b]"]
        {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }
}
