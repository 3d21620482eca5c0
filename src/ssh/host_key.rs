//! Whether the host that answered is the one that was meant. Never a question, never a write.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use russh::client::{DisconnectReason, Handler};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::sync::watch;

use super::known_hosts::{KnownHosts, Verdict};
use super::settings::{Origin, Settings};
use crate::command::Failure;

/// Checks the host's key, and remembers why the connection ended.
pub(super) struct Doorman {
    settings: Settings,
    /// What to name in the hint: the file a new line goes into.
    file: String,
    known: Arc<KnownHosts>,
    /// Set where the key was refused: the library itself says no more than "unknown key".
    refusal: Arc<Mutex<Option<Failure>>>,
    /// Set when the connection ends: the library's channels only fall silent then.
    ended: watch::Sender<Option<String>>,
}

/// What a [`Doorman`] has to say, for those outside the connection.
#[derive(Clone)]
pub(super) struct Word {
    refusal: Arc<Mutex<Option<Failure>>>,
    pub(super) ended: watch::Receiver<Option<String>>,
}

impl Word {
    pub(super) fn refusal(&self) -> Option<Failure> {
        self.refusal.lock().map(|refusal| refusal.clone()).unwrap_or_default()
    }
}

/// Where the host's lines are, and what they say.
pub(super) struct Trust {
    file: String,
    known: Arc<KnownHosts>,
}

impl Trust {
    /// Reads the host's `known_hosts`. A default file that is not there says nothing; one that cannot be read might
    /// hold a revocation, so it is an error.
    pub(super) fn read(settings: &Settings) -> Result<Trust, Failure> {
        let keys = &settings.host_keys;
        let paths: Vec<PathBuf> = keys.user_files.iter().chain(&keys.global_files).cloned().collect();
        let may_be_missing = keys.origin != Origin::Inventory;
        let mut files = Vec::new();
        for path in &paths {
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) if may_be_missing && error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(path, &error)),
            };
            files.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        let texts = files.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        let known = Arc::new(KnownHosts::parse(texts, &settings.hostname, settings.port));
        let file = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        Ok(Trust { file, known })
    }

    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.known.algorithms()
    }

    /// A doorman for one try to connect.
    pub(super) fn doorman(&self, settings: &Settings) -> (Doorman, Word) {
        let refusal = Arc::new(Mutex::new(None));
        let (ended, receiver) = watch::channel(None);
        let word = Word { refusal: refusal.clone(), ended: receiver };
        (
            Doorman {
                settings: settings.clone(),
                file: self.file.clone(),
                known: self.known.clone(),
                refusal,
                ended,
            },
            word,
        )
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unreachable {
        reason: format!("cannot read {}: {error}", path.display()),
        hint: "host keys are checked against this file; make it readable, or name another as known hosts"
            .to_owned(),
    }
}

impl Handler for Doorman {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let refusal = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge(key),
            // None was asked for: certificates are not in the list of algorithms.
            PublicKeyOrCertificate::Certificate(_) => Some(Failure::Unreachable {
                reason: "the host shows a certificate instead of a key".to_owned(),
                hint: "record the host's own key in known_hosts".to_owned(),
            }),
        };
        let trusted = refusal.is_none();
        if let Ok(mut kept) = self.refusal.lock() {
            *kept = refusal;
        }
        Ok(trusted)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (format!("the host says: {}", info.message), Ok(()))
            }
            DisconnectReason::Error(error) => (explain(&error), Err(error)),
        };
        self.ended.send_replace(Some(text));
        result
    }
}

/// A library's error in the operator's words.
pub(super) fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => "the host closed the connection".to_owned(),
        russh::Error::KeepaliveTimeout => "the host has not answered for a minute".to_owned(),
        russh::Error::SendError | russh::Error::RecvError => "the connection is closed".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            format!("the host and muster share no {kind:?} algorithm; the host offers {}", theirs.join(", "))
        }
        russh::Error::IO(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "the host closed the connection".to_owned()
        }
        russh::Error::IO(error) => error.to_string().to_lowercase(),
        error => error.to_string(),
    }
}

impl Doorman {
    fn judge(&self, key: &PublicKey) -> Option<Failure> {
        let name = self.settings.key_name();
        let shown = describe(key);
        let port = self.settings.port;
        let (address, kind) = (&self.settings.hostname, scan_type(&key.algorithm()));
        let verify =
            "compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the host itself";
        let scan = format!("ssh-keyscan -t {kind} -p {port} {address} >> {}", self.file);
        let forget = |place: &str| {
            let file = place.rsplit_once(':').map_or(place, |(file, _)| file);
            format!("ssh-keygen -R '{name}' -f {file}")
        };
        let (reason, hint) = match self.known.judge(key.key_data()) {
            Verdict::Trusted => return None,
            Verdict::Unknown => (
                format!("the host key of {name} is not known: it shows {shown}"),
                format!("{verify}; if it is the same, record it: {scan}"),
            ),
            Verdict::OtherType(entry) => (
                format!(
                    "the host key of {name} is not known: it shows {shown}, {} records {}",
                    entry.place,
                    describe(&entry.key)
                ),
                format!("{verify}; if it is the same, record it: {scan}"),
            ),
            Verdict::Changed(entry) => (
                format!(
                    "the host key of {name} has changed: it shows {shown}, {} records {}",
                    entry.place,
                    describe(&entry.key)
                ),
                format!(
                    "another machine may be answering; if the host was reinstalled, {verify}, then remove the old \
                     line: {} and record the new one: {scan}",
                    forget(&entry.place)
                ),
            ),
            Verdict::Revoked(entry) => (
                format!("the host key of {name} is revoked: {shown}, by {}", entry.place),
                "whoever holds this key may pose as the host; give the host a new key before it is used"
                    .to_owned(),
            ),
        };
        Some(Failure::Unreachable { reason, hint })
    }
}

/// `ssh-ed25519 SHA256:…`, as ssh itself shows a key.
pub(super) fn describe(key: &PublicKey) -> String {
    let algorithm = key.algorithm();
    format!("{} {}", algorithm.as_str(), key.fingerprint(HashAlg::Sha256))
}

/// The word `ssh-keyscan -t` has for a type.
fn scan_type(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ecdsa { .. } => "ecdsa",
        Algorithm::Rsa { .. } => "rsa",
        _ => "ed25519",
    }
}
