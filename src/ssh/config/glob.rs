//! The files an `Include` names: `~`, `*`, `?` and `[…]` as glob(3), in the order of their bytes.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of one pattern; more is a mistake, or meant to keep us busy.
const MOST: usize = 4_096;

/// What is there of a pattern; a pattern without wildcards names itself, if it is there.
///
/// # Errors
///
/// Too many files.
pub(super) fn files(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if has_wildcard(part) {
                next.extend(matching(folder, part));
            } else {
                let path = folder.join(unescape(part));
                // Also what is a link to nothing: opening it says so.
                next.extend(path.symlink_metadata().is_ok().then_some(path));
            }
            if next.len() > MOST {
                return Err(format!("{pattern} stands for more than {MOST} files"));
            }
        }
        found = next;
    }
    Ok(found)
}

fn has_wildcard(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// What a folder has under names that match, sorted; a folder that cannot be read has nothing, as for glob(3).
fn matching(folder: &Path, part: &str) -> Vec<PathBuf> {
    let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(folder_or_here) else { return Vec::new() };
    let pattern: Vec<char> = part.chars().collect();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| part.starts_with('.') || !name.starts_with('.'))
        .filter(|name| matches(&pattern, &name.chars().collect::<Vec<_>>()))
        .collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn unescape(part: &str) -> String {
    let mut text = String::new();
    let mut characters = part.chars();
    while let Some(c) = characters.next() {
        text.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    text
}

/// Goes back to the last `*` only, so that no pattern takes longer than its length times the name's.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = one(pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on after it has taken `c`.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match class(pattern, at + 1, c) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            // A bracket that is not closed stands for itself.
            None => (c == '[').then_some(at + 1),
        },
        '\\' if at + 1 < pattern.len() => (pattern[at + 1] == c).then_some(at + 2),
        other => (other == c).then_some(at + 1),
    }
}

/// Whether `[…]` holds `c`, and where it ends.
fn class(pattern: &[char], start: usize, c: char) -> Option<(bool, usize)> {
    let is_negated = matches!(pattern.get(start), Some('!' | '^'));
    let first = start + usize::from(is_negated);
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|c| *c == ']')?;
    let mut at = first;
    let mut holds = false;
    while at < end {
        let (low, high, next) = match (pattern[at], pattern.get(at + 1), pattern.get(at + 2)) {
            (low, Some('-'), Some(high)) if at + 2 < end => (low, *high, at + 3),
            (low, _, _) => (low, low, at + 1),
        };
        holds |= (low..=high).contains(&c);
        at = next;
    }
    Some((holds != is_negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        let is = |pattern: &str, name: &str| {
            matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
        };
        for (pattern, name) in [
            ("*", "a"),
            ("*.conf", "10-a.conf"),
            ("?-[a-c]*", "1-bx"),
            ("[!a]", "b"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("a\\*", "a*"),
            ("[", "["),
            ("*a*b*", "xxayyb"),
        ] {
            assert!(is(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.conf", "a.conf~"),
            ("[!a]", "a"),
            ("a\\*", "ab"),
            ("?", ""),
            ("[a-c]", "d"),
            ("*a*b*", "xxbyya"),
        ] {
            assert!(!is(pattern, name), "{pattern} {name}");
        }
        assert!(!is(&"*a".repeat(200), &"a".repeat(150)));
    }

    #[test]
    fn files_come_in_order_and_hidden_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.conf", "a.conf", ".c.conf", "d"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let found = |pattern: &str| files(&format!("{}/{pattern}", dir.path().display())).unwrap();
        assert_eq!(found("*.conf"), ["a.conf", "b.conf"].map(|file| dir.path().join(file)));
        assert_eq!(found("d"), [dir.path().join("d")]);
        assert!(found("e").is_empty() && found("e/*").is_empty());
    }
}
