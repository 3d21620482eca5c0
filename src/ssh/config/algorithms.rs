//! Lists of algorithms: `+`, `-` and `^` change what OpenSSH would choose, wildcards stand for what it knows.

use super::matching::{Verdict, matches_list};

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Kex,
    Ciphers,
    Macs,
    /// Of hosts and of users: both have the same names.
    Keys,
    CaSignatures,
}

/// OpenSSH 9.9's names: what it knows, and with `*` what it chooses, in the order of its preference.
///
/// Older ones choose the same but for `mlkem768x25519-sha256`.
const KEX: &[&str] = &[
    "*sntrup761x25519-sha512",
    "*sntrup761x25519-sha512@openssh.com",
    "*mlkem768x25519-sha256",
    "*curve25519-sha256",
    "*curve25519-sha256@libssh.org",
    "*ecdh-sha2-nistp256",
    "*ecdh-sha2-nistp384",
    "*ecdh-sha2-nistp521",
    "*diffie-hellman-group-exchange-sha256",
    "*diffie-hellman-group16-sha512",
    "*diffie-hellman-group18-sha512",
    "*diffie-hellman-group14-sha256",
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group-exchange-sha1",
];
const CIPHERS: &[&str] = &[
    "*chacha20-poly1305@openssh.com",
    "*aes128-ctr",
    "*aes192-ctr",
    "*aes256-ctr",
    "*aes128-gcm@openssh.com",
    "*aes256-gcm@openssh.com",
    "3des-cbc",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
];
const MACS: &[&str] = &[
    "*umac-64-etm@openssh.com",
    "*umac-128-etm@openssh.com",
    "*hmac-sha2-256-etm@openssh.com",
    "*hmac-sha2-512-etm@openssh.com",
    "*hmac-sha1-etm@openssh.com",
    "*umac-64@openssh.com",
    "*umac-128@openssh.com",
    "*hmac-sha2-256",
    "*hmac-sha2-512",
    "*hmac-sha1",
    "hmac-sha1-96",
    "hmac-md5",
    "hmac-md5-96",
    "hmac-sha1-96-etm@openssh.com",
    "hmac-md5-etm@openssh.com",
    "hmac-md5-96-etm@openssh.com",
];
/// In the order in which a wildcard finds them.
const KEYS: &[&str] = &[
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
    "ssh-dss-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-512-cert-v01@openssh.com",
];
/// The order of preference; plain ones follow certificates.
const CHOSEN_KEYS: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519",
    "sk-ecdsa-sha2-nistp256",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
/// Accepted as names, though they stand for no algorithm.
const SHORT_KEYS: [&str; 6] = ["ED25519", "ED25519-SK", "ECDSA", "ECDSA-SK", "DSA", "RSA"];

impl Family {
    fn known(self) -> Vec<&'static str> {
        match self {
            Family::Kex | Family::Ciphers | Family::Macs => {
                self.table().iter().map(|name| name.trim_start_matches('*')).collect()
            }
            Family::Keys => KEYS.to_vec(),
            Family::CaSignatures => KEYS.iter().filter(|name| !is_certificate(name)).copied().collect(),
        }
    }

    fn chosen(self) -> Vec<&'static str> {
        match self {
            Family::Kex | Family::Ciphers | Family::Macs => {
                self.table().iter().filter_map(|name| name.strip_prefix('*')).collect()
            }
            Family::Keys => {
                let certificates = preferred().filter(|name| is_certificate(name));
                certificates.chain(preferred().filter(|name| !is_certificate(name))).collect()
            }
            Family::CaSignatures => preferred().filter(|name| !is_certificate(name)).collect(),
        }
    }

    fn table(self) -> &'static [&'static str] {
        match self {
            Family::Kex => KEX,
            Family::Ciphers => CIPHERS,
            Family::Macs => MACS,
            Family::Keys | Family::CaSignatures => KEYS,
        }
    }

    fn knows(self, name: &str) -> bool {
        match self {
            Family::Kex | Family::Ciphers | Family::Macs => self.known().contains(&name),
            Family::Keys | Family::CaSignatures => {
                KEYS.iter().any(|known| matches_list(known, name) != Verdict::Nothing)
                    || SHORT_KEYS.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

fn is_certificate(name: &str) -> bool {
    name.contains("-cert-v01@")
}

fn preferred() -> impl Iterator<Item = &'static str> {
    let of = |wanted: &'static str| {
        let base = |name: &str| name.split("@openssh").next().map(|name| name.replace("-cert-v01", ""));
        KEYS.iter().copied().filter(move |name| base(name).as_deref() == Some(wanted))
    };
    CHOSEN_KEYS.into_iter().flat_map(of)
}

/// What is wrong with a list wherever it stands.
pub(super) fn check(family: Family, list: &str) -> Result<(), String> {
    let Some(names) = list.strip_prefix(['+', '^']).or((!list.starts_with('-')).then_some(list)) else {
        return Ok(());
    };
    if names.is_empty() {
        return Err("no algorithm is named".to_owned());
    }
    // Nothing after an empty name is looked at.
    match names.split(',').take_while(|name| !name.is_empty()).find(|name| !family.knows(name)) {
        Some(name) => Err(format!("there is no algorithm {name:?}")),
        None => Ok(()),
    }
}

/// The algorithms a list stands for.
///
/// # Errors
///
/// A name with `!`, or none that is left.
pub(super) fn expand(family: Family, list: &str) -> Result<Vec<String>, String> {
    let chosen = family.chosen();
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let mut patterns: Vec<&str> = Vec::new();
    match list.split_at_checked(1) {
        Some(("-", names)) => {
            let stays = |name: &&str| matches_list(name, names) != Verdict::Matches;
            return Ok(owned(chosen.into_iter().filter(stays).collect()));
        }
        Some(("+", names)) => {
            patterns.extend(&chosen);
            patterns.extend(names.split(','));
        }
        Some(("^", names)) => {
            patterns.extend(names.split(','));
            patterns.extend(&chosen);
        }
        Some(_) | None => patterns.extend(list.split(',')),
    }
    let known = family.known();
    let mut found: Vec<&str> = Vec::new();
    for pattern in patterns {
        if pattern.starts_with('!') {
            return Err(format!("{pattern}: only - takes algorithms away"));
        }
        let fits = known.iter().filter(|name| matches_list(name, pattern) == Verdict::Matches);
        for name in fits {
            if !found.contains(name) {
                found.push(name);
            }
        }
    }
    if found.is_empty() { Err("no algorithm is left".to_owned()) } else { Ok(owned(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_change_what_openssh_chooses() {
        let ciphers = |list: &str| expand(Family::Ciphers, list).map(|names| names.join(","));
        assert_eq!(ciphers("aes128-ctr,3des-cbc"), Ok("aes128-ctr,3des-cbc".into()));
        assert_eq!(ciphers("-aes*"), Ok("chacha20-poly1305@openssh.com".into()));
        assert_eq!(ciphers("-*"), Ok(String::new()));
        assert!(ciphers("+3des-cbc").unwrap().ends_with("gcm@openssh.com,3des-cbc"));
        assert!(ciphers("^3des-cbc,aes256-ctr").unwrap().starts_with("3des-cbc,aes256-ctr,chacha20"));
        assert!(check(Family::Ciphers, "+rot13").is_err() && check(Family::Ciphers, "-rot13").is_ok());
        assert!(check(Family::Kex, "curve25519-*").is_err() && check(Family::Keys, "ssh-*,RSA").is_ok());
        assert!(expand(Family::Keys, "RSA").is_err() && expand(Family::Keys, "+!ssh-rsa").is_err());
        assert_eq!(Family::Keys.chosen().len(), 16);
        assert_eq!(Family::CaSignatures.chosen().len(), 8);
        assert_eq!(Family::Kex.chosen().first(), Some(&"sntrup761x25519-sha512"));
    }
}
