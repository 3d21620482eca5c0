//! What the text of a variable may look like.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::variables::Kind::{self, Number, Text};

pub(super) const PORT: Kind = Number { least: 1, most: 65535 };
pub(super) const SECONDS: Kind = Number { least: 1, most: 86400 };
pub(super) const PATH: Kind =
    Text { expected: "an absolute path without `..`, quotes or backslashes", check: is_path };
pub(super) const FOLDER: Kind =
    Text { expected: "an absolute path below `/`, without `..`, quotes or backslashes", check: is_folder };
pub(super) const LOCAL_FILE: Kind = Text { expected: "a path", check: is_given };
pub(super) const HOSTNAME: Kind = Text { expected: "a host name or an address", check: is_hostname };
pub(super) const SOCKET: Kind = Text { expected: "a folder, a host name or an address", check: is_socket };
pub(super) const ADDRESSES: Kind =
    Text { expected: "`*` or addresses with commas between them", check: is_listen };
pub(super) const IDENTIFIER: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without ; # and spaces at its ends",
    check: is_identifier,
};
pub(super) const USERNAME: Kind = Text {
    expected: "a name of 1 to 63 printable ASCII characters without any of ; # \" $ ' \\",
    check: is_username,
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

fn is_path(text: &str) -> bool {
    // A keeper writes paths into postgresql-auto-failover.conf as they are, between single quotes.
    !text.contains(['\'', '\\']) && text.starts_with('/') && !text.split('/').any(|part| part == "..")
}

fn is_folder(text: &str) -> bool {
    is_path(text) && text.split('/').any(|part| !matches!(part, "" | "."))
}

fn is_hostname(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    // `host:22` is neither: the port has a variable of its own.
    let has_port = text.matches(':').count() == 1;
    (1..=255).contains(&text.len()) && !text.starts_with('-') && !has_port && text.chars().all(plain)
}

fn is_socket(text: &str) -> bool {
    is_path(text) || is_hostname(text)
}

fn is_listen(text: &str) -> bool {
    text.split(',').map(str::trim).all(|part| part == "*" || is_hostname(part))
}

fn is_identifier(text: &str) -> bool {
    // PostgreSQL's NAMEDATALEN is 64 with its final NUL. pg_autoctl loses the rest of pg_autoctl.cfg's value when it
    // reads it, and takes the node for one that was dropped.
    let kept = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, ';' | '#');
    (1..=63).contains(&text.len()) && text.trim() == text && text.chars().all(kept)
}

/// initdb fails with the others: its superuser owns extensions. Source: `execute_extension_script` in extension.c.
fn is_username(text: &str) -> bool {
    is_identifier(text) && !text.contains(['"', '$', '\'', '\\'])
}

fn is_node_name(text: &str) -> bool {
    is_identifier(text) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn is_method(text: &str) -> bool {
    text.split(' ').next().is_some_and(|word| METHODS.contains(&word))
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
    fn usernames() {
        assert!(is_username("app owner"));
        for name in ["", "a\"b", "a$b", "a'b", "a\\b", "é", " a", "a;b"] {
            assert!(!is_username(name), "{name}");
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
