//! Which host keys are known: `known_hosts` files, matched as OpenSSH matches them.
//!
//! Of the format only this is left out: `@cert-authority` lines are read over, so a host whose key is known by its
//! authority alone is unknown. A line that cannot be read vouches for nothing and does not disturb the others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, PublicKey, parse_public_key_base64};

/// The lines of all files that speak of one host.
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

/// One line that matches the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `FILE:LINE`.
    pub(super) place: String,
    pub(super) key: PublicKey,
    standing: Standing,
    matched: Matched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Known,
    Revoked,
}

/// By which name of the host a line matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    /// `host`, or `[host]:port` where the port is not 22.
    Name,
    /// `host` where the port is not 22: asked only if no line has the full name.
    WithoutPort,
}

/// What the files say about an offered key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Trusted,
    /// No line speaks of the host.
    Unknown,
    /// The host is known by keys of other types only.
    OtherType(&'a Entry),
    /// The host is known by another key of this type.
    Changed(&'a Entry),
    Revoked(&'a Entry),
}

impl KnownHosts {
    /// Reads `(file name, text)` pairs for the lines about one host.
    pub(super) fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        address: &str,
        port: u16,
    ) -> Self {
        let plain = address.to_lowercase();
        let full = full_name(&plain, port);
        let mut entries = Vec::new();
        for (file, text) in files {
            for (number, line) in (1..).zip(text.lines()) {
                let Some((patterns, standing, key)) = parse_line(line) else { continue };
                let matched = if matches(patterns, &full) {
                    Matched::Name
                } else if matches(patterns, &plain) {
                    Matched::WithoutPort
                } else {
                    continue;
                };
                entries.push(Entry { place: format!("{file}:{number}"), key, standing, matched });
            }
        }
        KnownHosts { entries }
    }

    /// Judges a key by its data: a comment is no part of it.
    pub(super) fn judge(&self, offered: &KeyData) -> Verdict<'_> {
        let same = |entry: &&Entry| entry.key.key_data() == offered;
        // A revoked key stays revoked under whichever name of the host it is listed.
        if let Some(entry) =
            self.entries.iter().filter(same).find(|entry| entry.standing == Standing::Revoked)
        {
            return Verdict::Revoked(entry);
        }
        let known: Vec<&Entry> = self.known().collect();
        if known.iter().any(same) {
            return Verdict::Trusted;
        }
        let by_name = || known.iter().filter(|entry| entry.matched == Matched::Name);
        match by_name().find(|entry| entry.key.algorithm() == offered.algorithm()).or(by_name().next()) {
            Some(entry) if entry.key.algorithm() == offered.algorithm() => Verdict::Changed(entry),
            Some(entry) => Verdict::OtherType(entry),
            None => Verdict::Unknown,
        }
    }

    /// The types of the recorded keys: asked for first, so that the host shows a key that can be checked.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.known().map(|entry| entry.key.algorithm())
    }

    /// The lines that count: those without a port only where none has the full name, as in OpenSSH.
    fn known(&self) -> impl Iterator<Item = &Entry> {
        let known = || self.entries.iter().filter(|entry| entry.standing == Standing::Known);
        let matched = match known().any(|entry| entry.matched == Matched::Name) {
            true => Matched::Name,
            false => Matched::WithoutPort,
        };
        known().filter(move |entry| entry.matched == matched)
    }
}

/// The name a host has in `known_hosts`.
pub(super) fn full_name(address: &str, port: u16) -> String {
    match port {
        22 => address.to_owned(),
        port => format!("[{address}]:{port}"),
    }
}

fn parse_line(line: &str) -> Option<(&str, Standing, PublicKey)> {
    let mut words = line.split_ascii_whitespace();
    let mut first = words.next().filter(|word| !word.starts_with('#'))?;
    let mut standing = Standing::Known;
    if first.starts_with('@') {
        // `@cert-authority`, and whatever is invented later, must not pass for a host's own key.
        standing = (first == "@revoked").then_some(Standing::Revoked)?;
        first = words.next()?;
    }
    let kind = words.next()?;
    let key = parse_public_key_base64(words.next()?).ok()?;
    let named = key.algorithm();
    (named.as_str() == kind).then_some((first, standing, key))
}

fn matches(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return matches_hash(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            // One negation that matches decides against the whole line.
            Some(negated) if glob(&negated.to_lowercase(), name) => return false,
            Some(_) => (),
            None => found |= glob(&pattern.to_lowercase(), name),
        }
    }
    found
}

/// `SALT|HASH`, where HASH is HMAC-SHA1 of the name: the format is OpenSSH's, and no secret hangs on it.
fn matches_hash(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&BASE64.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&BASE64.decode(hash).ok()?).is_ok())
}

/// `*` is any text, `?` any one letter.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and how much of the name it has taken.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == b'?' || letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&letter| letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const EC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGEh3t0ALZ2/2rJyat\
        1wcL4lvQ0rXbivqWj7g+PfiP/MGl8++7KuqnbcAMRtmIEm58Y+aNZbkrhfN8AxIds7siQ=";

    /// What `text` says about key A of the host.
    fn judge(text: &str, address: &str, port: u16) -> String {
        let offered: PublicKey = A.parse().unwrap();
        let hosts = KnownHosts::parse([("f", text)], address, port);
        match hosts.judge(offered.key_data()) {
            Verdict::Trusted => "trusted".into(),
            Verdict::Unknown => "unknown".into(),
            Verdict::OtherType(entry) => format!("other {}", entry.place),
            Verdict::Changed(entry) => format!("changed {}", entry.place),
            Verdict::Revoked(entry) => format!("revoked {}", entry.place),
        }
    }

    #[test]
    fn lines_match_as_in_openssh() {
        // SALT and HASH as `ssh-keygen -H` writes them for `db1` and `[db1]:2222`.
        for (text, port, verdict) in [
            (format!("db1 {A}"), 22, "trusted"),
            (format!("DB1 {A} a comment"), 22, "trusted"),
            (format!("  db1\t{A}\r\n"), 22, "trusted"),
            (format!("web,db1,10.0.0.1 {A}"), 22, "trusted"),
            (format!("db2 {A}"), 22, "unknown"),
            (format!("# db1 {A}"), 22, "unknown"),
            (String::new(), 22, "unknown"),
            (format!("[db1]:2222 {A}"), 2222, "trusted"),
            (format!("[db1]:2222 {A}"), 22, "unknown"),
            (format!("db1 {A}"), 2222, "trusted"),
            (format!("db1 {B}"), 2222, "unknown"),
            (format!("db1 {A}\n[db1]:2222 {B}"), 2222, "changed f:2"),
            (format!("db? {A}"), 22, "trusted"),
            (format!("* {A}"), 2222, "trusted"),
            (format!("d*1 {A}"), 22, "trusted"),
            (format!("*,!db1 {A}"), 22, "unknown"),
            (format!("!db2,d* {A}"), 22, "trusted"),
            (format!("db1 {B}"), 22, "changed f:1"),
            (format!("# old\ndb1 {EC}"), 22, "other f:2"),
            (format!("db1 {EC}\ndb1 {B}"), 22, "changed f:2"),
            (format!("db1 {B}\ndb1 {A}"), 22, "trusted"),
            (format!("db1 {A}\n@revoked * {A}"), 22, "revoked f:2"),
            (format!("[db1]:2222 {A}\n@revoked db1 {A}"), 2222, "revoked f:2"),
            (format!("@revoked db1 {A}"), 22, "revoked f:1"),
            (format!("@revoked db1 {B}"), 22, "unknown"),
            (format!("@cert-authority db1 {A}"), 22, "unknown"),
            (format!("@later db1 {A}"), 22, "unknown"),
            (format!("db1 ssh-ed25519 AAAA\ndb1 ssh-none AAAA\ndb1\ndb1 {A}"), 22, "trusted"),
            (format!("db1 {}", A.replace("ed25519 ", "rsa ")), 22, "unknown"),
            (format!("|1|AAAA|not base64 {A}\n|1| {A}"), 22, "unknown"),
        ] {
            assert_eq!(judge(&text, "db1", port), verdict, "{text}");
            assert_eq!(judge(&text, "dB1", port), verdict, "{text}");
        }
    }

    #[test]
    fn hashed_names_match() {
        for (name, port, verdict) in
            [("db1", 22, "trusted"), ("[db1]:2222", 2222, "trusted"), ("db2", 22, "unknown")]
        {
            let salt = [7; 20];
            let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&salt).unwrap();
            mac.update(name.as_bytes());
            let hash = BASE64.encode(mac.finalize().into_bytes());
            assert_eq!(judge(&format!("|1|{}|{hash} {A}", BASE64.encode(salt)), "db1", port), verdict);
        }
    }

    #[test]
    fn recorded_types_are_asked_for_first() {
        let text = format!("db1 {EC}\n@revoked db1 {B}\ndb2 {A}");
        let hosts = KnownHosts::parse([("f", text.as_str())], "db1", 22);
        let types: Vec<String> = hosts.algorithms().map(|algorithm| algorithm.to_string()).collect();
        assert_eq!(types, ["ecdsa-sha2-nistp256"]);
    }

    #[test]
    fn patterns_are_globs() {
        for (pattern, name, is) in [
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "example.org", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("??", "ab", true),
            ("??", "abc", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, name), is, "{pattern} {name}");
        }
    }
}
