//! `RevokedHostKeys`: files of keys that no host may show.

use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::known_hosts::parse_key;
use crate::bounded;
use crate::command::Failure;

/// The first bytes of a key revocation list, OpenSSH's binary format.
const KRL: &[u8] = b"SSHKRL\n\0";

/// The keys of all files, each with its `FILE:LINE`.
#[derive(Debug, Default)]
pub(super) struct Revoked(Vec<(String, PublicKey)>);

impl Revoked {
    /// Every file has to be there and every line has to be read: what is passed over might be the key that counts.
    pub(super) fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Revoked, Failure> {
        let mut keys = Vec::new();
        for path in paths {
            let bytes =
                bounded::read(path, super::LARGEST).map_err(|error| unusable(path, &error.to_string()))?;
            if bytes.starts_with(KRL) {
                return Err(unusable(path, "it is a KRL, which muster does not read"));
            }
            for (number, line) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let Some(key) = parse_key(line) else {
                    return Err(unusable(path, &format!("line {number} is no public key")));
                };
                keys.push((format!("{}:{number}", path.display()), key));
            }
        }
        Ok(Revoked(keys))
    }

    /// The line that revokes a key, a host's or an authority's.
    pub(super) fn place(&self, key: &KeyData) -> Option<&str> {
        let found = self.0.iter().find(|(_, revoked)| revoked.key_data() == key);
        found.map(|(place, _)| place.as_str())
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::Unreachable {
        reason: format!("cannot tell revoked host keys by {}: {why}", path.display()),
        hint: "RevokedHostKeys takes a file of public keys, one a line".to_owned(),
    }
}
