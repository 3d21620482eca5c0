//! The connection's own view of host keys: asked once, and its answer carried outside.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Channel, ChannelOpenFailure, Preferred};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::settings::Settings;
use super::trust::Evidence;
pub(super) use super::trust::describe;
use crate::command::Failure;

/// Checks the host's key, and remembers why the connection ended.
pub(super) struct Doorman {
    settings: Settings,
    evidence: Arc<Evidence>,
    /// The library itself says no more than "unknown key".
    verdict: Verdict,
    /// The key, for those who want to see it.
    shown: Arc<Mutex<Option<String>>>,
    /// Set when the connection ends: the library's channels only fall silent then.
    ended: watch::Sender<Option<String>>,
}

/// What the operator should know of a key that was accepted, or why it was refused.
type Verdict = Arc<Mutex<Result<Option<String>, Failure>>>;

/// What a [`Doorman`] has to say, for those outside the connection.
#[derive(Clone)]
pub(super) struct Word {
    verdict: Verdict,
    shown: Arc<Mutex<Option<String>>>,
    pub(super) ended: watch::Receiver<Option<String>>,
}

impl Word {
    pub(super) fn refusal(&self) -> Option<Failure> {
        self.verdict.lock().ok().and_then(|verdict| verdict.clone().err())
    }

    /// What the operator should know of the accepted key: that it was the first answer.
    pub(super) fn note(&self) -> Option<String> {
        self.verdict.lock().ok().and_then(|verdict| verdict.clone().ok().flatten())
    }

    /// The key the host has shown, as ssh has it: type and fingerprint.
    pub(super) fn shown(&self) -> Option<String> {
        self.shown.lock().ok().and_then(|shown| shown.clone())
    }

    /// A later failure, with the note: nobody asks a session for it that never came about.
    pub(super) fn with_note(&self, failure: Failure) -> Failure {
        match (failure, self.note()) {
            (Failure::Unreachable { reason, hint }, Some(note)) => {
                Failure::Unreachable { reason: format!("{reason}; {note}"), hint }
            }
            (failure, _) => failure,
        }
    }
}

/// What a host's key is judged by.
pub(super) struct Trust {
    evidence: Arc<Evidence>,
}

impl Trust {
    /// Reads what the host's key is judged by; see [`Evidence::read`].
    pub(super) fn read(settings: &Settings) -> Result<Trust, Failure> {
        Ok(Trust { evidence: Arc::new(Evidence::read(settings)?) })
    }

    /// What to ask the host for, in the place of what `preferred` has for host keys.
    pub(super) fn prefer(&self, settings: &Settings, preferred: Preferred) -> Result<Preferred, Failure> {
        self.evidence.prefer(settings, preferred)
    }

    /// A doorman for one try to connect.
    pub(super) fn doorman(&self, settings: &Settings) -> (Doorman, Word) {
        let verdict = Arc::new(Mutex::new(Ok(None)));
        let (ended, receiver) = watch::channel(None);
        let shown = Arc::new(Mutex::new(None));
        let word = Word { verdict: verdict.clone(), shown: shown.clone(), ended: receiver };
        let (settings, evidence) = (settings.clone(), self.evidence.clone());
        (Doorman { settings, evidence, verdict, shown, ended }, word)
    }
}

impl Handler for Doorman {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let (evidence, settings) = (self.evidence.clone(), self.settings.clone());
        let offered = match offered {
            PublicKeyOrCertificate::PublicKey { key, hash_alg } => {
                PublicKeyOrCertificate::PublicKey { key: key.clone(), hash_alg: *hash_alg }
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                PublicKeyOrCertificate::Certificate(certificate.clone())
            }
        };
        let name = match &offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => describe(key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
                format!("{} by {signer}", certificate.algorithm().to_certificate_type())
            }
        };
        // A new key is written, and whoever writes at the same time is waited for.
        let judged = spawn_blocking(move || evidence.admit(&settings, &offered)).await;
        let Ok(verdict) = judged else { return Ok(false) };
        let trusted = verdict.is_ok();
        if let Ok(mut shown) = self.shown.lock() {
            *shown = Some(name);
        }
        match self.verdict.lock() {
            Ok(mut kept) => *kept = verdict,
            Err(_) => return Ok(false),
        }
        Ok(trusted)
    }

    // Whatever channels a host opens of its own accord, nobody here asked for any; the library would take them.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (format!("the host says: {}", one_line(&info.message)), Ok(()))
            }
            DisconnectReason::Error(error) => (explain(&error), Err(error)),
        };
        self.ended.send_replace(Some(text));
        result
    }
}

/// Anybody may say it before a key is exchanged: it must not pass for lines of muster's own.
fn one_line(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

/// A library's error in the operator's words.
pub(super) fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => "the host closed the connection".to_owned(),
        russh::Error::KeepaliveTimeout => "the host has not answered (ServerAliveInterval)".to_owned(),
        russh::Error::SendError | russh::Error::RecvError => "the connection is closed".to_owned(),
        russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, ours, theirs } => format!(
            "the host and muster share no host key algorithm: allowed are {}, the host offers {}{}",
            ours.join(", "),
            theirs.join(", "),
            // Old servers have an RSA key and know only how to sign with SHA-1.
            if theirs.iter().any(|name| name == "ssh-rsa") {
                ", where ssh-rsa is a signature by SHA-1"
            } else {
                ""
            }
        ),
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
