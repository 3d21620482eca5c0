//! Which keys are offered to a host, in which order, and who signs for each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, load_openssh_certificate};

use super::agent::Agent;
use super::key_file::{Content, KeyFile};
use super::pen;
use crate::command::Failure;
use crate::ssh::credentials::Credentials;
use crate::ssh::host_key::describe;
use crate::ssh::settings::{Origin, Settings};

/// A key to try, and what to call it.
pub(super) struct Offer {
    pub(super) label: String,
    pub(super) shown: Shown,
    pub(super) by: By,
    pub(super) state: State,
}

/// What the host is shown.
pub(super) enum Shown {
    Key(PublicKey),
    Certificate(Box<Certificate>),
    /// The file tells only when it is unlocked.
    Hidden,
}

/// Who signs.
pub(super) enum By {
    /// What the agent calls the key: it may be the key of a certificate that it does not know.
    Agent(Box<AgentIdentity>),
    File(PathBuf, Arc<KeyFile>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Refused,
    /// It was right, and the host wants more: no host takes a key twice.
    Used,
}

/// The files of a host's settings, read before anything is sent.
pub(super) struct Files {
    keys: Vec<(PathBuf, Origin, Arc<KeyFile>)>,
    certificates: Vec<(PathBuf, Certificate)>,
    notes: Vec<Note>,
}

/// What is worth telling of a key that is not tried.
#[derive(Clone)]
pub(super) enum Note {
    /// Its file wants a passphrase that nobody can be asked for.
    Locked(String),
    Other(String),
}

impl Note {
    pub(super) fn text(&self) -> &str {
        match self {
            Note::Locked(text) | Note::Other(text) => text,
        }
    }
}

impl Files {
    /// A file the inventory names that is missing or no key is a mistake, even if another key would do; of others it is
    /// worth a note at most.
    pub(super) fn read(settings: &Settings, credentials: &Credentials) -> Result<Files, Failure> {
        let (mut keys, mut certificates, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for file in &settings.identity_files {
            let error = match credentials.key_file(&file.path) {
                Ok(Some(key)) => {
                    keys.push((file.path.clone(), file.origin, key));
                    continue;
                }
                Ok(None) if file.origin != Origin::Inventory => continue,
                Ok(None) => "no such file or directory".to_owned(),
                Err(error) => error,
            };
            match file.origin {
                Origin::Inventory => return Err(unusable(&file.path, &error)),
                Origin::Config | Origin::Default => {
                    notes.push(Note::Other(format!("{}: {error}", file.path.display())));
                }
            }
        }
        for path in &settings.certificate_files {
            match load_openssh_certificate(path) {
                Ok(certificate) => certificates.push((path.clone(), certificate)),
                Err(_) if !path.exists() => {}
                Err(_) => notes.push(Note::Other(format!("{}: it holds no certificate", path.display()))),
            }
        }
        let own = keys.iter().filter_map(|(path, _, file)| Some((path.clone(), file.certificate.clone()?)));
        certificates.extend(own);
        Ok(Files { keys, certificates, notes })
    }

    fn find(&self, public: &KeyData) -> Option<&(PathBuf, Origin, Arc<KeyFile>)> {
        self.keys.iter().find(|(_, _, file)| file.public().is_some_and(|key| key.key_data() == public))
    }
}

/// As OpenSSH has it: certificates, then configured keys that the agent holds, then the agent's other keys, then files;
/// but a file that the inventory names goes before keys that nobody named. Each key once. And what is worth telling.
pub(super) fn offers(
    files: &Files,
    agent: &Agent,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<(Vec<Offer>, Vec<Note>), Failure> {
    let can_ask = credentials.can_ask(settings);
    let mut list = List { offers: Vec::new(), seen: BTreeSet::new(), notes: files.notes.clone(), settings };
    list.notes.extend(agent.trouble.iter().cloned().map(Note::Other));
    for (path, certificate) in &files.certificates {
        let held = agent.find_certificate(certificate).or_else(|| agent.find(certificate.public_key()));
        let by = match (held, files.find(certificate.public_key())) {
            (Some(identity), _) => By::Agent(Box::new(identity.clone())),
            (None, Some((path, _, file))) if lacks(file, agent, can_ask).is_none() => {
                By::File(path.clone(), file.clone())
            }
            (None, Some(_) | None) => {
                let path = path.display();
                list.note(format!("the certificate for {path}: nobody holds its private key"));
                continue;
            }
        };
        list.add_certificate(&path.display().to_string(), certificate, by);
    }
    for (path, origin, file) in &files.keys {
        let held = file.public().and_then(|public| agent.find(public.key_data()));
        match (held, origin) {
            (Some(identity), _) => {
                list.add_identity(&path.display().to_string(), identity);
            }
            (None, Origin::Inventory) => {
                if let Some(why) = lacks(file, agent, can_ask) {
                    return Err(locked(path, file, &why));
                }
                list.add_file(path, file);
            }
            (None, Origin::Config | Origin::Default) => {}
        }
    }
    let mut others: Vec<&AgentIdentity> = agent.identities.iter().collect();
    if settings.identities_only {
        others.retain(|identity| match identity {
            AgentIdentity::PublicKey { .. } => false,
            AgentIdentity::Certificate { certificate, .. } => files.find(certificate.public_key()).is_some(),
        });
    }
    others.sort_by_key(|identity| credentials.worked(&blob(identity)));
    for identity in others {
        list.add_identity("agent", identity);
    }
    for (path, _, file) in &files.keys {
        match lacks(file, agent, can_ask) {
            None => list.add_file(path, file),
            Some(why) if !list.has(file) => {
                let text = format!("{}: {why}", path.display());
                list.notes.push(match &file.content {
                    Content::Locked { .. } => Note::Locked(text),
                    Content::Ready(_) | Content::Public(_) | Content::Hardware(_) => Note::Other(text),
                });
            }
            Some(_) => {}
        }
    }
    Ok((list.offers, list.notes))
}

/// An agent's key as it is sent: what tells it from others.
pub(super) fn blob(identity: &AgentIdentity) -> Vec<u8> {
    let bytes = match identity {
        AgentIdentity::PublicKey { key, .. } => key.to_bytes(),
        AgentIdentity::Certificate { certificate, .. } => certificate.to_bytes(),
    };
    bytes.unwrap_or_default()
}

struct List<'a> {
    offers: Vec<Offer>,
    /// By their blobs: the same key in a file and in the agent is offered once.
    seen: BTreeSet<Vec<u8>>,
    notes: Vec<Note>,
    settings: &'a Settings,
}

impl List<'_> {
    fn note(&mut self, text: String) {
        self.notes.push(Note::Other(text));
    }

    fn has(&self, file: &KeyFile) -> bool {
        file.public().and_then(|key| key.to_bytes().ok()).is_some_and(|blob| self.seen.contains(&blob))
    }

    fn add_file(&mut self, path: &Path, file: &Arc<KeyFile>) {
        let by = By::File(path.to_owned(), file.clone());
        match file.public() {
            Some(key) => self.add_key(&path.display().to_string(), key, by),
            // Only once, although there is nothing to tell it by yet.
            None if self.seen.insert(path.as_os_str().as_encoded_bytes().to_vec()) => {
                self.add(path.display().to_string(), Shown::Hidden, by);
            }
            None => {}
        }
    }

    fn add_identity(&mut self, origin: &str, identity: &AgentIdentity) {
        let by = By::Agent(Box::new(identity.clone()));
        match identity {
            AgentIdentity::PublicKey { key, .. } => self.add_key(origin, key, by),
            AgentIdentity::Certificate { certificate, .. } => self.add_certificate(origin, certificate, by),
        }
    }

    fn add_key(&mut self, origin: &str, key: &PublicKey, by: By) {
        if !self.seen.insert(key.to_bytes().unwrap_or_default()) {
            return;
        }
        let label = format!("{origin} ({})", describe(key));
        if let Err((bits, least)) = self.settings.algorithms.is_long_enough(key.key_data()) {
            self.note(format!("{label}: it has {bits} bits, RequiredRSASize wants {least}"));
            return;
        }
        if self.is_accepted(&label, &key.algorithm(), false) {
            self.add(label, Shown::Key(key.clone()), by);
        }
    }

    fn add_certificate(&mut self, origin: &str, certificate: &Certificate, by: By) {
        if !self.seen.insert(certificate.to_bytes().unwrap_or_default()) {
            return;
        }
        let label = format!("{origin} (certificate {})", certified(certificate, &self.settings.user, now()));
        if self.is_accepted(&label, &certificate.algorithm(), true) {
            self.add(label, Shown::Certificate(Box::new(certificate.clone())), by);
        }
    }

    fn is_accepted(&mut self, label: &str, algorithm: &Algorithm, certificate: bool) -> bool {
        let best = Some(HashAlg::Sha512);
        let accepted = pen::hash(&self.settings.algorithms, algorithm, certificate, best).is_some();
        if !accepted {
            self.note(format!("{label}: left out by PubkeyAcceptedAlgorithms"));
        }
        accepted
    }

    fn add(&mut self, label: String, shown: Shown, by: By) {
        self.offers.push(Offer { label, shown, by, state: State::Waiting });
    }
}

/// Why nobody can sign with the file's key, which the agent does not hold; `None`: somebody can.
fn lacks(file: &KeyFile, agent: &Agent, can_ask: bool) -> Option<String> {
    let what = match &file.content {
        Content::Ready(_) => return None,
        Content::Locked { .. } if can_ask => return None,
        Content::Locked { .. } => "needs a passphrase",
        Content::Public(_) => "is a public key",
        Content::Hardware(_) => "is a hardware key, for which the agent signs",
    };
    let why = match (&agent.trouble, agent.is_there()) {
        (Some(trouble), _) => trouble.as_str(),
        (None, true) => "the agent does not hold it",
        (None, false) => "no agent is running (SSH_AUTH_SOCK is not set)",
    };
    Some(format!("it {what}, and {why}"))
}

/// `ID for ana, bob`, and what speaks against it at first sight. It is offered all the same: the host's clock and
/// its `AuthorizedPrincipalsFile` decide.
fn certified(certificate: &Certificate, user: &str, now: u64) -> String {
    let principals = certificate.valid_principals();
    let mut text = certificate.key_id().to_owned();
    if !principals.is_empty() {
        text.push_str(&format!(" for {}", principals.join(", ")));
    }
    if certificate.valid_before() <= now {
        text.push_str(&format!("; it expired at {}", time(certificate.valid_before())));
    } else if certificate.valid_after() > now {
        text.push_str(&format!("; it is not valid before {}", time(certificate.valid_after())));
    }
    if !principals.is_empty() && !principals.iter().any(|principal| principal == user) {
        text.push_str(&format!("; not for {user}"));
    }
    text
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

fn unusable(path: &Path, error: &str) -> Failure {
    Failure::Unreachable {
        reason: format!("cannot use the private key file {}: {error}", path.display()),
        hint: "name an existing key file, or leave it out to use the agent and the default keys".into(),
    }
}

fn locked(path: &Path, file: &KeyFile, why: &str) -> Failure {
    let path = path.display();
    let hint = match &file.content {
        Content::Hardware(_) | Content::Public(_) => format!("load it into an agent: ssh-add {path}"),
        Content::Ready(_) | Content::Locked { .. } => {
            format!("run ssh-add {path}, or run muster on a terminal, or name a key without a passphrase")
        }
    };
    Failure::Unreachable { reason: format!("cannot use the private key {path}: {why}"), hint }
}
