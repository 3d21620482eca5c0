//! What the text of a variable may look like.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::variables::Kind::{self, Number, Text};

pub(super) const PORT: Kind = Number { least: 1, most: 65535 };
pub(super) const SECONDS: Kind = Number { least: 1, most: 86400 };
pub(super) const PATH: Kind = Text {
    expected: "an absolute path of 512 bytes at most, without `..` and any of ' \" \\ $ ` ; #, no space at its end",
    check: is_path,
};
pub(super) const FOLDER: Kind = Text {
    expected: "an absolute path below `/` of 512 bytes at most, without `..` and any of ' \" \\ $ ` ; #, no space at its end",
    check: is_folder,
};
pub(super) const WORD_PATH: Kind = Text {
    expected: "an absolute path of the characters A-Z a-z 0-9 . _ - : /, without `..`",
    check: is_word_path,
};
pub(super) const LOCAL_FILE: Kind = Text { expected: "a path", check: is_given };
pub(super) const COMMAND: Kind = Text { expected: "a command", check: is_given };
pub(super) const HOSTNAME: Kind = Text { expected: "a host name or an address", check: is_hostname };
pub(super) const ADDRESS: Kind = Text { expected: "a host name or an address", check: is_address };
pub(super) const SOCKET: Kind = Text {
    expected: "a folder of the characters A-Z a-z 0-9 . _ - : /, a host name or an address",
    check: is_socket,
};
pub(super) const ADDRESSES: Kind =
    Text { expected: "`*` or addresses with commas between them", check: is_listen };
pub(super) const IDENTIFIER: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without ; # and spaces at its ends",
    check: is_identifier,
};
pub(super) const DBNAME: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without spaces and any of ; # ' \" \\ =",
    check: is_dbname,
};
pub(super) const USERNAME: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without spaces and any of ; # \" $ ' \\",
    check: is_username,
};
pub(super) const CLUSTER: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without any of ; # ' \\ and spaces at its ends",
    check: is_cluster,
};
pub(super) const OS_USER: Kind = Text {
    expected: "the name of a user: 1 to 63 printable ASCII characters without any of : / ; #, none of % + ! - first, no \\ last",
    check: is_os_user,
};
pub(super) const LOGIN: Kind = Text {
    expected: "the name of a user: 1 to 63 printable ASCII characters without any of ' ` \" ; & < > | ( ) { } #, no - first",
    check: is_login,
};
pub(super) const NODE_NAME: Kind =
    Text { expected: "1 to 63 of the characters A-Z a-z 0-9 . _ -", check: is_node_name };
pub(super) const METHOD: Kind =
    Text { expected: "an authentication method of pg_hba.conf, e.g. scram-sha-256", check: is_method };
pub(super) const RATE: Kind =
    Text { expected: "a rate as pg_basebackup takes it, e.g. 100M", check: is_rate };
pub(super) const WORD: Kind = Text { expected: "one word of A-Z a-z 0-9 . _ @ -", check: is_word };

/// The methods of pg_hba.conf that let anybody in.
const METHODS: &[&str] = &[
    "trust",
    "md5",
    "scram-sha-256",
    "cert",
    "peer",
    "ident",
    "gss",
    "sspi",
    "pam",
    "ldap",
    "radius",
    "bsd",
    "password",
];

fn is_given(text: &str) -> bool {
    !text.is_empty()
}

/// A keeper writes paths between single quotes into postgresql-auto-failover.conf as they are, and reads no more of a value in
/// pg_autoctl.cfg than what stands before `;` or `#`. `pg_ctl` pastes them between double quotes into a line for `sh`:
/// see `start_postmaster` in pg_ctl.c. Linux has 255 bytes for a name; muster puts its own endings behind it.
fn is_path(text: &str) -> bool {
    let part_fits = |part: &str| part != ".." && part.len() <= 200;
    text.starts_with('/')
        && text.len() <= 512
        && text.trim_end() == text
        && !text.contains(|c: char| c.is_control() || "'\"\\$`;#".contains(c))
        && text.split('/').all(part_fits)
}

fn is_folder(text: &str) -> bool {
    is_path(text) && text.split('/').any(|part| !matches!(part, "" | "."))
}

/// A keeper puts it into connection strings as it is, and those between single quotes.
pub(super) fn is_word_path(text: &str) -> bool {
    is_path(text)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/'))
}

/// A name that PostgreSQL, its `pg_hba.conf` and a resolver take for the name of one host.
pub(super) fn is_hostname(text: &str) -> bool {
    // These and what starts with a dot mean more than one host there.
    const MANY: [&str; 3] = ["all", "samehost", "samenet"];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // `host:22` is neither: the port has a variable of its own.
    let is_name = text.chars().all(plain)
        && text.contains(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !text.starts_with(['-', '.'])
        && !MANY.iter().any(|many| text.eq_ignore_ascii_case(many));
    (1..=255).contains(&text.len()) && (is_name || text.parse::<IpAddr>().is_ok())
}

/// A name for a certificate: a host's, or `*.` before one for any name with one word more.
pub(super) fn is_san(text: &str) -> bool {
    let is_name = |rest: &str| is_hostname(rest) && rest.parse::<IpAddr>().is_err();
    text.strip_prefix("*.").map_or_else(|| is_hostname(text), is_name)
}

/// What ssh connects to: the zone of an IPv6 address is its matter alone.
fn is_address(text: &str) -> bool {
    let zone = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.split_once('%') {
        Some((address, name)) => {
            address.parse::<Ipv6Addr>().is_ok() && !name.is_empty() && name.chars().all(zone)
        }
        None => is_hostname(text),
    }
}

fn is_socket(text: &str) -> bool {
    is_word_path(text) || is_hostname(text)
}

/// pg_autoctl has room for so much.
fn is_listen(text: &str) -> bool {
    text.len() < 1024
        && text.trim() == text
        && text.split(',').map(str::trim).all(|part| part == "*" || is_hostname(part))
}

fn is_identifier(text: &str) -> bool {
    // PostgreSQL's NAMEDATALEN is 64 with its final NUL. pg_autoctl loses the rest of pg_autoctl.cfg's value when it
    // reads it, and takes the node for one that was dropped.
    let kept = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, ';' | '#');
    (1..=63).contains(&text.len()) && text.trim() == text && text.chars().all(kept)
}

/// A keeper writes `dbname=` and the name into a connection string as it is; psql takes a name with `=` in it, or a URI,
/// for one; PostgreSQL 16 takes what starts with `/` in `pg_hba.conf` for a regular expression.
fn is_dbname(text: &str) -> bool {
    let is_uri = text.contains("://");
    is_identifier(text) && !text.contains([' ', '\'', '"', '\\', '=']) && !text.starts_with('/') && !is_uri
}

/// As [`is_dbname`]; and initdb fails with `$`: its superuser owns extensions. Source: `execute_extension_script` in
/// extension.c.
fn is_username(text: &str) -> bool {
    is_identifier(text) && !text.contains([' ', '"', '$', '\'', '\\']) && !text.starts_with('/')
}

/// A keeper writes it between single quotes as it is.
fn is_cluster(text: &str) -> bool {
    is_identifier(text) && !text.contains(['\'', '\\'])
}

/// sudo takes some first characters for groups, netgroups and options; `/etc/passwd` has colons between its fields; in a unit
/// a line goes on behind a backslash at its end.
fn is_os_user(text: &str) -> bool {
    is_identifier(text)
        && !text.starts_with(['%', '+', '!', '-'])
        && !text.contains([':', '/'])
        && !text.ends_with('\\')
}

/// What ssh takes for a user on its command line, because a `ProxyCommand` may hand it to a shell.
fn is_login(text: &str) -> bool {
    let is_bad = |c: char| "'`\"&<>|(){}".contains(c);
    let is_option = text.split(' ').any(|word| word.starts_with('-'));
    is_identifier(text) && !text.contains(is_bad) && !is_option && !text.ends_with('\\')
}

fn is_node_name(text: &str) -> bool {
    is_identifier(text) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// pg_autoctl has room for so much, and reads `;` and `#` as the start of a comment, as PostgreSQL does `#`.
fn is_method(text: &str) -> bool {
    let kept = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, ';' | '#' | '\\' | '\'');
    let is_closed = text.matches('"').count().is_multiple_of(2);
    let is_clean = text.len() <= 63 && text.trim() == text && text.chars().all(kept) && is_closed;
    is_clean && text.split(' ').next().is_some_and(|word| METHODS.contains(&word))
}

/// pg_basebackup takes 32 kilobytes to 1024 megabytes a second.
fn is_rate(text: &str) -> bool {
    let (digits, unit) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('M') { 1024 } else { 1 }),
        None => (text, 1),
    };
    digits.parse::<u32>().is_ok_and(|n| (32..=1_048_576).contains(&n.saturating_mul(unit)))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
}

/// A host's key as in a `.pub` file, `TYPE BASE64 [comment]`, or its fingerprint, `SHA256:…`.
///
/// The types are those that a host can prove to have; `ssh-rsa` is the type of every RSA key, whatever it signs with.
pub(super) fn is_host_key(text: &str) -> bool {
    const TYPES: [&str; 5] =
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        // 32 bytes are 43 letters, without the `=` at the end.
        (Some(word), _) if word.starts_with("SHA256:") => {
            STANDARD_NO_PAD.decode(&word["SHA256:".len()..]).is_ok_and(|hash| hash.len() == 32)
        }
        (Some(kind), Some(blob)) => {
            // The first field of the blob is the type again: its length in four bytes, then its letters.
            let named =
                [&u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes()[..], kind.as_bytes()].concat();
            TYPES.contains(&kind)
                && STANDARD
                    .decode(blob)
                    .is_ok_and(|blob| blob.starts_with(&named) && blob.len() > named.len() + 4)
        }
        (Some(_) | None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys() {
        const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        const FINGERPRINT: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        for text in [
            &format!("ssh-ed25519 {KEY}"),
            &format!("ssh-ed25519 {KEY} root@db1"),
            FINGERPRINT,
            &format!("{FINGERPRINT} root@db1"),
        ] {
            assert!(is_host_key(text), "{text}");
        }
        for text in [
            "",
            KEY,
            "SHA256:short",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            &format!("ssh-rsa {KEY}"),
            &format!("db1 ssh-ed25519 {KEY}"),
            &format!("{FINGERPRINT}="),
        ] {
            assert!(!is_host_key(text), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(is_username("app-owner=1%s") && is_dbname("app-1%s") && is_identifier("it's \"a\" = $b"));
        for name in ["", "a\"b", "a$b", "a'b", "a\\b", "é", " a", "a;b", "a b", "/^a"] {
            assert!(!is_username(name), "{name}");
        }
        for name in ["a=b", "postgres://a", "a b", "a'b", "a\\b", "/a", "host=b"] {
            assert!(!is_dbname(name), "{name}");
        }
        assert!(is_login("Eve L") && is_login("dom\\eve") && is_os_user("dom\\eve"));
        for name in ["-a", "a -b", "$(a)", "a|b", "a`", "a\\"] {
            assert!(!is_login(name), "{name}");
        }
        for name in ["-a", "%a", "+a", "!a", "#0", "a:b", "a/b"] {
            assert!(!is_os_user(name), "{name}");
        }
    }

    #[test]
    fn paths() {
        assert!(is_path("/a b/é (x) %s & | > * ~ [a] = : !/.c"));
        let long = format!("/{}", "a".repeat(201));
        for path in
            ["a", "/a/../b", "/a'b", "/a\"b", "/a\\b", "/$(b)", "/`b`", "/a;b", "/a#b", "/a ", "/a\tb", &long]
        {
            assert!(!is_path(path), "{path}");
        }
        assert!(!is_word_path("/a b") && !is_socket("/a b") && is_socket("/run/a") && is_socket("localhost"));
    }

    #[test]
    fn hosts() {
        for name in ["db1", "db_1.example.", "10.0.0.1", "2001:db8::1", "_a", "9a"] {
            assert!(is_hostname(name) && is_address(name), "{name}");
        }
        assert!(is_address("fe80::1%eth0") && !is_hostname("fe80::1%eth0"));
        for name in
            ["", "-a", "all", "SAMENET", ".example", "10.0.0.256", "a:22", "a%b", "é", "a b", "a*", "$(a)"]
        {
            assert!(!is_hostname(name) && !is_address(name), "{name}");
        }
    }

    #[test]
    fn methods() {
        for method in ["trust", "ldap ldapserver=a ldapprefix=\"cn=a b\"", "cert clientcert=verify-full"] {
            assert!(is_method(method), "{method}");
        }
        for method in [
            "trust # a",
            "trust;",
            "ldap \"a",
            "trust\\",
            "Trust",
            "trust ",
            "",
            "ldap\ta",
            &"ldap ".repeat(20),
        ] {
            assert!(!is_method(method), "{method}");
        }
    }

    #[test]
    fn rates() {
        for rate in ["32", "32k", "1M", "1024M"] {
            assert!(is_rate(rate), "{rate}");
        }
        for rate in ["31", "1025M", "M", "10G", "-5M", ""] {
            assert!(!is_rate(rate), "{rate}");
        }
    }
}
