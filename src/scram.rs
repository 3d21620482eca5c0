//! What PostgreSQL keeps of a password, made and checked here: the password itself never goes to a server.
//!
//! `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER` as of RFC 5803, from RFC 7677, the way `\password` of psql does it. Whoever
//! finds it in `pg_stat_activity` or in the log of a backend that died has what every superuser can read in `pg_authid`.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::formation::{Secret, Seed};

/// Source: SCRAM_SHA_256_DEFAULT_ITERATIONS in scram-common.h, and RFC 7677, section 4.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not zero");

/// More than that is not computed for a host that says so: a second of this machine's time.
const MOST_ITERATIONS: u32 = 1_000_000;

/// How a server keeps a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the wanted one, as a SCRAM verifier.
    Scram,
    /// It is the wanted one, as an md5 hash: good for the method md5 alone.
    Md5,
    /// It is another one, or none that could be read here.
    Other,
}

/// A salt for one role of one server, the same for as long as the seed is.
pub fn salt(seed: &Seed, server: &str, role: &str) -> [u8; 16] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&seed.0).expect("an HMAC takes keys of any length");
    mac.update(format!("{server}\n{role}").as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    std::array::from_fn(|index| bytes[index])
}

/// The verifier of a password, to be given to `ALTER ROLE … PASSWORD`.
pub fn verifier(password: &Secret, salt: &[u8]) -> Secret {
    let keys = Keys::new(password, salt, ITERATIONS);
    Secret::new(format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(keys.stored),
        BASE64.encode(keys.server)
    ))
}

/// Whether what `pg_authid` has of a role is the wanted password.
pub fn kept(found: &Secret, role: &str, password: &Secret) -> Kept {
    if let Some(hash) = found.reveal().strip_prefix("md5") {
        let digest = Md5::new().chain_update(password.reveal()).chain_update(role).finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        return if hash == digest { Kept::Md5 } else { Kept::Other };
    }
    let fits = read(found.reveal())
        .is_some_and(|(iterations, salt, keys)| keys == Keys::new(password, &salt, iterations));
    if fits { Kept::Scram } else { Kept::Other }
}

fn read(found: &str) -> Option<(NonZeroU32, Vec<u8>, Keys)> {
    let (first, second) = found.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = first.split_once(':')?;
    let (stored, server) = second.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|count: &NonZeroU32| count.get() <= MOST_ITERATIONS)?;
    let bytes = |text: &str| BASE64.decode(text).ok();
    let key = |text: &str| bytes(text)?.try_into().ok();
    Some((iterations, bytes(salt)?, Keys { stored: key(stored)?, server: key(server)? }))
}

#[derive(PartialEq, Eq)]
struct Keys {
    stored: [u8; 32],
    server: [u8; 32],
}

impl Keys {
    fn new(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Keys {
        let prepared = Secret::new(prepared(password.reveal()));
        let mut salted = zeroize::Zeroizing::new([0; 32]);
        // Each plan compares all passwords: ring's takes a tenth of the time, and no less in a debug build.
        let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA256;
        ring::pbkdf2::derive(algorithm, iterations, salt, prepared.reveal().as_bytes(), salted.as_mut());
        let key = |name: &str| -> [u8; 32] {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(salted.as_ref()).expect("an HMAC takes keys of any length");
            mac.update(name.as_bytes());
            mac.finalize().into_bytes().into()
        };
        Keys { stored: Sha256::digest(key("Client Key")).into(), server: key("Server Key") }
    }
}

/// SASLprep, where a password can be prepared; else it goes as it is. Source: pg_saslprep in saslprep.c.
fn prepared(password: &str) -> String {
    match password.is_ascii() {
        true => password.to_owned(),
        false => {
            stringprep::saslprep(password).map_or_else(|_| password.to_owned(), |text| text.into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_of(found: &str, password: &str) -> Kept {
        kept(&Secret::new(found), "autoctl_node", &Secret::new(password))
    }

    /// RFC 7677, section 3: its salt, and the server's signature made with the key.
    #[test]
    fn the_keys_are_those_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::new(&Secret::new("pencil"), &salt, ITERATIONS);
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let mut mac = Hmac::<Sha256>::new_from_slice(&keys.server).unwrap();
        mac.update(said.as_bytes());
        assert_eq!(
            BASE64.encode(mac.finalize().into_bytes()),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn what_a_server_keeps_is_known_again() {
        // Of PostgreSQL 15: `select rolpassword from pg_authid`, after `password_encryption` of each kind.
        for (found, kept) in [
            (SCRAM, Kept::Scram),
            (MD5, Kept::Md5),
            ("SCRAM-SHA-256$4000000000:AAAA$AAAA:AAAA", Kept::Other),
            ("SCRAM-SHA-256$4096:AAAA", Kept::Other),
            ("", Kept::Other),
        ] {
            assert_eq!(kept_of(found, "arsenic-mon"), kept, "{found}");
            assert_eq!(kept_of(found, "arsenic"), Kept::Other, "{found}");
        }
        assert_eq!(kept_of(NOT_ASCII, "pa\u{308}ss wo\u{308}rd"), Kept::Scram);
        let made = verifier(&Secret::new("p\u{e4}ss\u{a0}w\u{f6}rd"), &[7; 16]);
        // U+00A0 is a blank, and letters are composed.
        assert_eq!(kept(&made, "x", &Secret::new("pa\u{308}ss wo\u{308}rd")), Kept::Scram);
        assert!(made.reveal().starts_with("SCRAM-SHA-256$4096:BwcHBwcHBwcHBwcHBwcHBw==$"));
    }

    const SCRAM: &str = "SCRAM-SHA-256$4096:Sh2qWuPOIHuzEFxq11C0Xg==$ERktIYs2UiY1pmrm5+UkA3RreYSpZZLU36WtgUbqV4k=:+8RFHVX4r4DJDQaW6QI4XuYVdk7ypiidi5mR2uHz+9E=";
    const NOT_ASCII: &str = "SCRAM-SHA-256$4096:4gwuAd3D9cceVvUyIayxdQ==$sqjZRhftFsWvNrsult+/DEqZgwbDe/KglimITwxl/FE=:JSRPiPE4VohIQjLSh31W4F90NimeyJiDV4EBQOtJqSE=";
    const MD5: &str = "md546639dd419b113092480e488cb60079d";
}
