//! Names in `known_hosts`: lists of patterns, or one name hashed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};

/// Whether a line's first word speaks of the name, which is in lower case.
pub(super) fn matches(patterns: &str, name: &str) -> bool {
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

/// A name as `HashKnownHosts` records it.
pub(super) fn hashed(name: &str) -> String {
    let salt: [u8; 20] = rand::random();
    format!("|1|{}|{}", BASE64.encode(salt), BASE64.encode(hash(&salt, name).finalize().into_bytes()))
}

/// `SALT|HASH`, where HASH is HMAC-SHA1 of the name: the format is OpenSSH's, and no secret hangs on it.
fn matches_hash(hashed: &str, name: &str) -> Option<bool> {
    let (salt, expected) = hashed.split_once('|')?;
    let salt = BASE64.decode(salt).ok()?;
    Some(hash(&salt, name).verify_slice(&BASE64.decode(expected).ok()?).is_ok())
}

fn hash(salt: &[u8], name: &str) -> Hmac<sha1::Sha1> {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(name.as_bytes());
    mac
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

    #[test]
    fn hashed_names_match() {
        let entry = hashed("[db1]:2222");
        assert!(matches(&entry, "[db1]:2222") && !matches(&entry, "db1"));
        // As `ssh-keygen -H` wrote it.
        let theirs = "|1|J7jzezaa5KFTb7a9xE5szjocsus=|Vc3/ob/pvzpVBolkVITWR1hCyJg=";
        assert!(matches(theirs, "db1"));
        assert!(!matches(theirs, "db2"));
        for broken in ["|1|AAAA|not base64", "|1|", "|1|AAAA", "|2|AAAA|AAAA"] {
            assert!(!matches(broken, "db1"), "{broken}");
        }
    }
}
