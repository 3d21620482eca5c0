//! Whether the host that answered is the one that was meant: at least as strict as OpenSSH, and never a question.
//!
//! In this order: a revoked key is refused; where the inventory pins keys, one of them it must be; a certificate holds
//! by an authority's line; a plain key, the one inside a certificate included, by a line of its own. Only a host that
//! no line speaks of can be new, and only `accept-new` takes it.

mod algorithms;
mod certificate;
mod known_hosts;
mod pattern;
mod pin;
mod record;
mod refusal;
mod revoked;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::Preferred;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use self::known_hosts::{KnownHosts, Names, Verdict};
use self::pin::Pin;
use self::revoked::Revoked;
use super::settings::{Checking, Origin, Settings};
use crate::bounded;
use crate::command::Failure;

/// Bytes of a file of host keys: some hundred thousand hosts.
const LARGEST: u64 = 64 << 20;

/// Everything that speaks for or against keys of one host, read once for a connection.
#[derive(Debug)]
pub(super) struct Evidence {
    known: KnownHosts,
    pins: Vec<Pin>,
    revoked: Revoked,
}

/// What becomes of an offered key.
enum Decision {
    Trusted,
    /// No line speaks of the host, and `accept-new` is set.
    New(PublicKey),
    Refused(Failure),
}

impl Evidence {
    /// Reads the host's `known_hosts` and `RevokedHostKeys`.
    ///
    /// A default file that is not there says nothing; one that cannot be read might hold a revocation, so it is an
    /// error. OpenSSH goes on without it.
    pub(super) fn read(settings: &Settings) -> Result<Evidence, Failure> {
        let keys = &settings.host_keys;
        let pins = keys.pinned.iter().map(|text| Pin::parse(text).ok_or_else(|| no_key(text)));
        let pins = pins.collect::<Result<Vec<Pin>, Failure>>()?;
        // A new key makes the file.
        let must_exist = keys.origin == Origin::Inventory && keys.checking != Checking::AcceptNew;
        let user = keys.user_files.iter().map(|path| (path, must_exist));
        let mut files = Vec::new();
        for (path, must_exist) in user.chain(keys.global_files.iter().map(|path| (path, false))) {
            match bounded::read(path, LARGEST) {
                Ok(bytes) => {
                    files.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
                }
                Err(error) if !must_exist && is_missing(&error) => (),
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
        let texts = files.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        let mut known = KnownHosts::parse(texts, &names(settings));
        for key in record::unwritten(settings) {
            known.remember(key);
        }
        let revoked = Revoked::read(keys.revoked.iter().map(PathBuf::as_path))?;
        Ok(Evidence { known, pins, revoked })
    }

    /// What to ask the host for, in the place of what `preferred` has for host keys.
    pub(super) fn prefer(&self, settings: &Settings, preferred: Preferred) -> Result<Preferred, Failure> {
        algorithms::prefer(self, settings, preferred)
    }

    /// Decides on what the host shows, and records a new key. The text, if any, is for the operator to know.
    ///
    /// Reads and writes files, and may wait for others that do.
    pub(super) fn admit(
        &self,
        settings: &Settings,
        offered: &PublicKeyOrCertificate,
    ) -> Result<Option<String>, Failure> {
        let decision = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge_key(settings, key),
            PublicKeyOrCertificate::Certificate(certificate) => self.judge_certificate(settings, certificate),
        };
        match decision {
            Decision::Trusted => Ok(None),
            Decision::New(key) => record::record(settings, &key),
            Decision::Refused(failure) => Err(failure),
        }
    }

    fn judge_key(&self, settings: &Settings, key: &PublicKey) -> Decision {
        if let Err((bits, least)) = settings.algorithms.is_long_enough(key.key_data()) {
            return Decision::Refused(refusal::too_short(settings, key, bits, least));
        }
        if let Some(place) = self.revocation(key) {
            return Decision::Refused(refusal::revoked(settings, "the host key", key, place));
        }
        if !self.pins.is_empty() {
            return match self.pins.iter().any(|pin| pin.is(key)) {
                true => Decision::Trusted,
                false => Decision::Refused(refusal::not_pinned(settings, key, &self.pins)),
            };
        }
        Decision::Refused(match self.known.judge(key.key_data()) {
            Verdict::Trusted => return Decision::Trusted,
            Verdict::Unknown => match (settings.host_keys.checking, self.known.bars_first_answer()) {
                (Checking::AcceptNew, None) => return Decision::New(key.clone()),
                (Checking::AcceptNew, Some((place, says))) => refusal::not_new(settings, key, place, says),
                (Checking::Strict | Checking::Off, _) => refusal::unknown(settings, key),
            },
            Verdict::OtherType(entry) => refusal::other_type(settings, key, entry),
            Verdict::Changed(entry) => refusal::changed(settings, key, entry),
            Verdict::Revoked(entry) => refusal::revoked(settings, "the host key", key, &entry.place),
        })
    }

    fn judge_certificate(&self, settings: &Settings, certificate: &Certificate) -> Decision {
        let authority = PublicKey::new(certificate.signature_key().clone(), "");
        let key = PublicKey::new(certificate.public_key().clone(), "");
        if let Some(place) = self.revocation(&authority) {
            return Decision::Refused(refusal::revoked(settings, "the authority", &authority, place));
        }
        if let Some(place) = self.revocation(&key) {
            return Decision::Refused(refusal::revoked(settings, "the host key", &key, place));
        }
        let is_known = self.known.authorities().any(|entry| entry.key.key_data() == authority.key_data());
        let signatures = settings.algorithms.ca_signatures.as_deref();
        let long_enough = settings.algorithms.is_long_enough(key.key_data()).is_ok();
        let why = match is_known && self.pins.is_empty() {
            true => {
                match certificate::flaw(certificate, &refusal::certified_name(settings), now(), signatures) {
                    None if long_enough => return Decision::Trusted,
                    None => "its key is shorter than RequiredRSASize".to_owned(),
                    Some(flaw) => flaw,
                }
            }
            false => format!("its authority is not known: {}", describe(&authority)),
        };
        // As OpenSSH: what the certificate does not prove, the key inside it may.
        if !algorithms::allows(settings, &key.algorithm()) {
            let failure = refusal::not_allowed(settings, &key);
            return Decision::Refused(refusal::uncertified(settings, &why, failure));
        }
        match self.judge_key(settings, &key) {
            Decision::Refused(failure) => Decision::Refused(refusal::uncertified(settings, &why, failure)),
            decision @ (Decision::Trusted | Decision::New(_)) => decision,
        }
    }

    fn revocation(&self, key: &PublicKey) -> Option<&str> {
        let by_host = || self.known.revoked(key.key_data()).map(|entry| entry.place.as_str());
        self.revoked.place(key.key_data()).or_else(by_host)
    }

    /// The types of the keys that would be trusted.
    fn types(&self) -> Vec<Algorithm> {
        let pinned = self.pins.iter().filter_map(|pin| match pin {
            Pin::Key(key) => Some(key.algorithm()),
            Pin::Fingerprint(_) => None,
        });
        match self.pins.is_empty() {
            true => self.known.algorithms().collect(),
            false => pinned.collect(),
        }
    }
}

/// `ssh-ed25519 SHA256:…`, as ssh itself shows a key.
pub(super) fn describe(key: &PublicKey) -> String {
    let algorithm = key.algorithm();
    format!("{} {}", algorithm.as_str(), key.fingerprint(HashAlg::Sha256))
}

fn names(settings: &Settings) -> Names {
    let has_port = settings.host_key_alias.is_none() && settings.port != 22;
    Names { full: settings.key_name(), without_port: has_port.then(|| settings.hostname.to_lowercase()) }
}

/// A clock before 1970 makes certificates invalid, not eternal.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_missing(error: &std::io::Error) -> bool {
    // `NotADirectory`: a part of the path is a file, so there can be none of this name.
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unreachable {
        reason: format!("cannot read {}: {error}", path.display()),
        hint: "host keys are checked against this file; make it readable, or name another as known hosts"
            .to_owned(),
    }
}

fn no_key(text: &str) -> Failure {
    Failure::Unreachable {
        reason: format!("a key pinned in the inventory cannot be read: {text}"),
        hint: "host_key is `TYPE BASE64`, as in a .pub file, or `SHA256:…`, as ssh-keygen -l prints it"
            .to_owned(),
    }
}
