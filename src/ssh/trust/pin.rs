//! Keys that the inventory names itself (`host_key`).

use russh::keys::{HashAlg, PublicKey};

use super::known_hosts::parse_key;

/// One key that a host may show.
#[derive(Debug)]
pub(super) enum Pin {
    Key(PublicKey),
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    Fingerprint(String),
}

impl Pin {
    /// `TYPE BASE64 [comment]` or `SHA256:… [comment]`.
    pub(super) fn parse(text: &str) -> Option<Pin> {
        let text = text.trim();
        match text.split_whitespace().next()? {
            word if word.starts_with("SHA256:") => Some(Pin::Fingerprint(word.to_owned())),
            _ => parse_key(text).map(Pin::Key),
        }
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        match self {
            Pin::Key(pinned) => pinned.key_data() == key.key_data(),
            Pin::Fingerprint(text) => *text == key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Pin::Key(key) => super::describe(key),
            Pin::Fingerprint(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_keys_or_fingerprints() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let key: PublicKey = KEY.parse().unwrap();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        for text in [KEY.to_owned(), format!("{KEY} root@db1\n"), fingerprint.clone(), fingerprint + " (db1)"]
        {
            assert!(Pin::parse(&text).is_some_and(|pin| pin.is(&key)), "{text}");
        }
        assert!(Pin::parse("SHA256:x").is_some_and(|pin| !pin.is(&key)));
        for text in ["", "db1", "ssh-rsa AAAA", &format!("db1 {KEY}"), "MD5:00:11"] {
            assert!(Pin::parse(text).is_none(), "{text}");
        }
    }
}
