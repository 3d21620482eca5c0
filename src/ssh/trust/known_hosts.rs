//! Which host keys are known: `known_hosts` files, matched as OpenSSH matches them.
//!
//! A line that cannot be read vouches for nothing and does not disturb the others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, PublicKey};

use super::pattern::matches;

/// The lines of all files that speak of one host.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
    /// `FILE:LINE` of lines that speak of the host and cannot be read.
    unreadable: Vec<String>,
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
    /// `@cert-authority`: its key is no host's, it signs certificates of hosts.
    Authority,
    /// `@revoked`
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

/// The names a host may have in `known_hosts`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// `host`, `[host]:port`, or its alias.
    pub(super) full: String,
    /// `host`, where the port is not 22 and there is no alias.
    pub(super) without_port: Option<String>,
}

/// What the files say about an offered key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Trusted,
    /// No line has a key of the host.
    Unknown,
    /// The host is known by keys of other types only.
    OtherType(&'a Entry),
    /// The host is known by another key of this type.
    Changed(&'a Entry),
    Revoked(&'a Entry),
}

impl KnownHosts {
    /// Reads `(file name, text)` pairs for the lines about one host.
    pub(super) fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>, names: &Names) -> Self {
        let mut known = KnownHosts::default();
        for (file, text) in files {
            for (number, line) in (1..).zip(text.lines()) {
                let Some((patterns, standing, rest)) = parse_line(line) else { continue };
                let place = format!("{file}:{number}");
                let matched = if matches(patterns, &names.full) {
                    Matched::Name
                } else if names.without_port.as_ref().is_some_and(|plain| matches(patterns, plain)) {
                    Matched::WithoutPort
                } else {
                    continue;
                };
                match (standing, parse_key(rest)) {
                    (Some(standing), Some(key)) => {
                        known.entries.push(Entry { place, key, standing, matched });
                    }
                    (None, _) | (_, None) => known.unreadable.push(place),
                }
            }
        }
        known
    }

    /// A key that was accepted in this run and stands in no file.
    pub(super) fn remember(&mut self, key: PublicKey) {
        let place = "the first answer in this run".to_owned();
        self.entries.push(Entry { place, key, standing: Standing::Known, matched: Matched::Name });
    }

    /// Judges a key by its data: a comment is no part of it.
    pub(super) fn judge(&self, offered: &KeyData) -> Verdict<'_> {
        if let Some(entry) = self.revoked(offered) {
            return Verdict::Revoked(entry);
        }
        let known: Vec<&Entry> = self.of(Standing::Known).collect();
        if known.iter().any(|entry| entry.key.key_data() == offered) {
            return Verdict::Trusted;
        }
        let by_name = || known.iter().filter(|entry| entry.matched == Matched::Name);
        match by_name().find(|entry| entry.key.algorithm() == offered.algorithm()).or(by_name().next()) {
            Some(entry) if entry.key.algorithm() == offered.algorithm() => Verdict::Changed(entry),
            Some(entry) => Verdict::OtherType(entry),
            None => Verdict::Unknown,
        }
    }

    /// The line that revokes a key, a host's or an authority's.
    ///
    /// A revoked key stays revoked under whichever name of the host it is listed.
    pub(super) fn revoked(&self, key: &KeyData) -> Option<&Entry> {
        let mut revoked = self.entries.iter().filter(|entry| entry.standing == Standing::Revoked);
        revoked.find(|entry| entry.key.key_data() == key)
    }

    /// The authorities that may vouch for the host.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.standing == Standing::Authority)
    }

    /// The types of the recorded keys: asked for first, so that the host shows a key that can be checked.
    ///
    /// OpenSSH does so for the full name only: it then refuses the key of another type that it is shown by a host whose
    /// line has no port. The lines that are believed are the same.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.of(Standing::Known).map(|entry| entry.key.algorithm())
    }

    /// The line that says enough of a host not to take its first answer: `FILE:LINE`, and what it says.
    ///
    /// OpenSSH would take it: a host whose authority is known, and that shows no certificate of it, is not new.
    pub(super) fn bars_first_answer(&self) -> Option<(&str, &'static str)> {
        let authority = self.authorities().map(|entry| (entry.place.as_str(), "names an authority for it"));
        let unreadable =
            self.unreadable.iter().map(|place| (place.as_str(), "speaks of it and cannot be read"));
        authority.chain(unreadable).next()
    }

    /// The lines that count: those without a port only where none has the full name, as in OpenSSH.
    fn of(&self, standing: Standing) -> impl Iterator<Item = &Entry> {
        let lines = move || self.entries.iter().filter(move |entry| entry.standing == standing);
        let matched = match lines().any(|entry| entry.matched == Matched::Name) {
            true => Matched::Name,
            false => Matched::WithoutPort,
        };
        lines().filter(move |entry| entry.matched == matched)
    }
}

/// Patterns, what a key there stands for (`None`: nobody knows) and the rest of the line.
fn parse_line(line: &str) -> Option<(&str, Option<Standing>, &str)> {
    let line = line.trim_start_matches(BLANK);
    let (first, rest) = line.split_once(BLANK).filter(|_| !line.starts_with('#'))?;
    if !first.starts_with('@') {
        return Some((first, Some(Standing::Known), rest));
    }
    let standing = match first {
        "@revoked" => Some(Standing::Revoked),
        // A tab behind the marker hides it from OpenSSH: such a line must not grant what ssh would not.
        "@cert-authority" if line[first.len()..].starts_with(' ') => Some(Standing::Authority),
        // Whatever is invented later must not pass for a host's own key.
        _ => None,
    };
    let (patterns, rest) = rest.trim_start_matches(BLANK).split_once(BLANK)?;
    Some((patterns, standing, rest))
}

/// `TYPE BASE64 [comment]`
pub(super) fn parse_key(text: &str) -> Option<PublicKey> {
    let mut words = text.split(BLANK).filter(|word| !word.is_empty());
    let kind = words.next()?;
    // As OpenSSH: a carriage return and the like are no part of the key.
    let blob: String = words.next()?.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let key = PublicKey::from_bytes(&BASE64.decode(blob).ok()?).ok()?;
    let is_kind = match key.algorithm() {
        // The names of its signatures stand for the key.
        Algorithm::Rsa { .. } => ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"].contains(&kind),
        algorithm => algorithm.as_str() == kind,
    };
    is_kind.then_some(key)
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const EC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGEh3t0ALZ2/2rJyat\
        1wcL4lvQ0rXbivqWj7g+PfiP/MGl8++7KuqnbcAMRtmIEm58Y+aNZbkrhfN8AxIds7siQ=";

    fn names(address: &str, port: u16) -> Names {
        match port {
            22 => Names { full: address.to_owned(), without_port: None },
            port => Names { full: format!("[{address}]:{port}"), without_port: Some(address.to_owned()) },
        }
    }

    /// What `text` says about key A of the host.
    fn judge(text: &str, address: &str, port: u16) -> String {
        let offered: PublicKey = A.parse().unwrap();
        let hosts = KnownHosts::parse([("f", text)], &names(address, port));
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
        }
    }

    #[test]
    fn recorded_types_are_asked_for_first() {
        let text = format!("db1 {EC}\n@revoked db1 {B}\ndb2 {A}");
        let hosts = KnownHosts::parse([("f", text.as_str())], &names("db1", 22));
        let types: Vec<String> = hosts.algorithms().map(|algorithm| algorithm.to_string()).collect();
        assert_eq!(types, ["ecdsa-sha2-nistp256"]);
    }

    #[test]
    fn what_bars_a_first_answer() {
        for (line, bars) in [
            (format!("@cert-authority db? {A}"), Some("f:1")),
            (format!("@cert-authority db2 {A}"), None),
            (format!("@cert-authority\tdb1 {A}"), Some("f:1")),
            ("db1 ssh-ed25519 AAAA".to_owned(), Some("f:1")),
            ("db1".to_owned(), None),
            (format!("@revoked * {B}"), None),
        ] {
            let hosts = KnownHosts::parse([("f", line.as_str())], &names("db1", 22));
            assert_eq!(hosts.bars_first_answer().map(|(place, _)| place), bars, "{line}");
        }
    }

    #[test]
    fn authorities_are_no_hosts() {
        let text = format!("@cert-authority *.org {A}\n@cert-authority\ta.org {B}\na.org {EC}");
        let hosts = KnownHosts::parse([("f", text.as_str())], &names("a.org", 2222));
        let places: Vec<&str> = hosts.authorities().map(|entry| entry.place.as_str()).collect();
        assert_eq!(places, ["f:1"]);
    }
}
