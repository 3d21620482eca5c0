//! Text from hosts made fit for a screen, and text laid out in columns.

use crate::formation::NodeName;

/// What a host said, without anything that would steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// As [`plain`], of bytes that need not be text nor whole characters. A C1 control, which some terminals obey, is two
/// bytes in UTF-8; the first, 0xc2, is let through, and what follows it is judged without it.
pub fn plain_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut before = 0xc2;
    for byte in bytes.iter().copied() {
        let is_control = (byte < 0x20 && byte != b'\n' && byte != b'\t')
            || byte == 0x7f
            || (before == 0xc2 && (0x80..=0x9f).contains(&byte));
        match is_control {
            true => plain.extend_from_slice("\u{fffd}".as_bytes()),
            false => plain.push(byte),
        }
        before = byte;
    }
    plain
}

/// Hides the passwords of connection strings and of `pg_hba.conf`: `password=…` up to the end of the value, `://user:…@`.
/// Configuration files of hosts may hold them where muster has no say.
pub fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(mask_line).collect()
}

/// What stands before a password: in a connection string, and in the options of `pg_hba.conf`.
const BEFORE: [&str; 3] = ["password=", "ldapbindpasswd=", "radiussecrets="];

fn mask_line(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    let next = |rest: &str| {
        let found = BEFORE.iter().filter_map(|key| Some((rest.find(key)?, key.len())));
        found.min().map(|(at, length)| (at, at + length))
    };
    while let Some((at, end)) = next(rest) {
        // In `pg_hba.conf` the quote may stand before the name of an option, and its value goes on to the next one.
        let is_quoted = rest[..at].ends_with('"');
        let (before, value) = rest.split_at(end);
        masked.push_str(before);
        masked.push_str("***");
        // A quoted value may hold anything, in more than one way of quoting: nothing after it is worth a leak.
        let end = match value.starts_with(['\'', '"', '\\']) || is_quoted {
            true => value.trim_end_matches('\n').len(),
            false => value.find([' ', '\t', '\n', '\'', '"', '&']).unwrap_or(value.len()),
        };
        rest = &value[end..];
    }
    masked.push_str(rest);
    mask_uri(&masked)
}

fn mask_uri(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        masked.push_str(before);
        let authority = &after[..after.find(['/', ' ', '\n', '\'', '"', '?']).unwrap_or(after.len())];
        rest = after;
        if let Some((credentials, _)) = authority.rsplit_once('@')
            && let Some((user, _)) = credentials.split_once(':')
        {
            masked.push_str(&format!("{user}:***"));
            rest = &after[credentials.len()..];
        }
    }
    masked.push_str(rest);
    masked
}

/// Every line of `text` after `indent` spaces.
pub fn indented(text: &str, indent: usize) -> String {
    text.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Rows in columns, two spaces between them; the first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What is said of several by the same words, once: their names in order, at the place of the first.
pub(super) fn alike<'n>(said: impl IntoIterator<Item = (&'n NodeName, String)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, words) in said {
        match all.iter_mut().find(|(_, known)| *known == words) {
            Some((names, _)) => *names += &format!(", {name}"),
            None => all.push((name.to_string(), words)),
        }
    }
    all
}

/// The first names of a list, and how many more there are.
pub fn first(names: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let mut first: Vec<String> = names.take(most).collect();
    first.extend((more > 0).then(|| format!("{more} more")));
    first.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once() {
        let names = ["a", "b", "c", "d"].map(NodeName::from);
        let said = names.iter().zip(["away", "slow", "away", "away"].map(str::to_owned));
        let expected = [("a, c, d", "away"), ("b", "slow")];
        assert_eq!(alike(said), expected.map(|(names, words)| (names.to_owned(), words.to_owned())));
    }

    #[test]
    fn passwords_of_connection_strings_are_hidden() {
        for (text, masked) in [
            ("host=a password=x y=1\n", "host=a password=*** y=1\n"),
            ("primary_conninfo = 'password=x sslmode=off'", "primary_conninfo = 'password=*** sslmode=off'"),
            ("a = 'password=''x y'' z'\nnext", "a = 'password=***\nnext"),
            ("postgres://u:p%40@h:1/d?x=1", "postgres://u:***@h:1/d?x=1"),
            ("postgres://u@h:1/d, http://h:1/", "postgres://u@h:1/d, http://h:1/"),
            ("password_encryption = md5", "password_encryption = md5"),
            ("host a b c ldap ldapbindpasswd=x ldapport=1", "host a b c ldap ldapbindpasswd=*** ldapport=1"),
            ("host a b c ldap \"ldapbindpasswd=x y\" z\n", "host a b c ldap \"ldapbindpasswd=***\n"),
            ("host a b c radius radiussecrets=\"x\" y", "host a b c radius radiussecrets=***"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn a_host_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\n\tc"), "a\u{fffd}[2Jb\u{fffd}\n\tc");
        let bytes = |text: &[u8]| String::from_utf8_lossy(&plain_bytes(text)).into_owned();
        assert_eq!(
            bytes("ä\x1b[2J\u{9b}2Jb\r\n\tc€".as_bytes()),
            "ä\u{fffd}[2J\u{fffd}\u{fffd}2Jb\u{fffd}\n\tc€"
        );
        assert_eq!(plain_bytes(b"\xff\xe4"), b"\xff\xe4");
        // The second half of a character, or of a control: nobody knows what the chunk before ended with.
        assert_eq!(bytes(b"\x9b2J"), "\u{fffd}2J");
    }
}
