//! Logging in: which keys are offered, in which order, and what is said when none was right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::PrivateKey;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;

use super::credentials::{Credentials, KeyFile};
use super::host_key::{Doorman, describe};
use super::settings::{IdentityFile, Origin, Settings};
use crate::command::Failure;

/// sshd disconnects at the sixth wrong key (`MaxAuthTries`), before it says that the keys were wrong.
const MAX_OFFERS: usize = 5;

/// The key files the inventory names, read before anything is sent.
pub(super) struct Named(Vec<(PathBuf, KeyFile)>);

impl Named {
    /// A named file that is missing or no key is a mistake, even if another key would do.
    pub(super) fn read(settings: &Settings, credentials: &Credentials) -> Result<Named, Failure> {
        let named = |file: &&IdentityFile| file.origin == Origin::Inventory;
        let files = settings.identity_files.iter().filter(named).map(|IdentityFile { path, .. }| {
            match credentials.key_file(path) {
                Ok(key) => Ok((path.clone(), key)),
                Err(error) => Err(Failure::Unreachable {
                    reason: format!("cannot use the private key file {}: {error}", path.display()),
                    hint: "name an existing key file, or leave it out to use the agent and the default keys"
                        .into(),
                }),
            }
        });
        Ok(Named(files.collect::<Result<_, _>>()?))
    }
}

/// A key to try, and what to call it.
struct Offer {
    label: String,
    key: OfferedKey,
}

enum OfferedKey {
    File(Arc<PrivateKey>),
    /// The agent signs: it may be a certificate.
    Agent(Box<AgentIdentity>),
}

/// Logs in, or says what was tried. Never again after a refusal: sshd counts, and locks out whoever keeps trying.
pub(super) async fn log_in(
    handle: &mut Handle<Doorman>,
    settings: &Settings,
    named: &Named,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let user = settings.user.as_str();
    let mut agent = Agent::connect(handle, settings.identity_agent.as_deref()).await;
    let (offers, notes) = offers(named, &agent, settings, credentials)?;
    let mut tried = Vec::new();
    let mut remaining = None;
    for offer in offers.iter().take(MAX_OFFERS) {
        tracing::debug!(user, key = offer.label, "offering a key");
        let result = match try_key(handle, user, offer, &mut agent).await {
            Ok(result) => result,
            Err(error) => {
                tried.push(format!("{}: {error}", offer.label));
                continue;
            }
        };
        tried.push(offer.label.clone());
        match result {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { remaining_methods, partial_success } => {
                let go_on = remaining_methods.contains(&MethodKind::PublicKey) && !partial_success;
                remaining = Some((remaining_methods, partial_success));
                if !go_on {
                    break;
                }
            }
        }
    }
    if let Some(left) = offers.len().checked_sub(MAX_OFFERS).filter(|left| *left > 0) {
        tried.push(format!("{left} more not tried"));
    }
    tried.extend(notes);
    Err(refused(user, &tried, remaining, offers.is_empty()))
}

async fn try_key(
    handle: &mut Handle<Doorman>,
    user: &str,
    offer: &Offer,
    agent: &mut Agent,
) -> Result<AuthResult, String> {
    match (&offer.key, &mut agent.client) {
        (OfferedKey::File(key), _) => {
            let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
            let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
            handle.authenticate_publickey(user, key).await.map_err(|error| error.to_string())
        }
        (OfferedKey::Agent(identity), Some(client)) => match identity.as_ref() {
            AgentIdentity::PublicKey { key, .. } => {
                let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
                let result = handle.authenticate_publickey_with(user, key.clone(), hash, client).await;
                result.map_err(|error| format!("the agent does not sign: {error}"))
            }
            AgentIdentity::Certificate { certificate, .. } => {
                let hash = rsa_hash(handle, certificate.algorithm().is_rsa()).await?;
                let result =
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, client).await;
                result.map_err(|error| format!("the agent does not sign: {error}"))
            }
        },
        (OfferedKey::Agent(_), None) => Err("the agent is gone".to_owned()),
    }
}

/// SHA-2 for RSA keys: which one the host can, or the one every host of this decade can.
async fn rsa_hash(handle: &Handle<Doorman>, is_rsa: bool) -> Result<Option<HashAlg>, String> {
    if !is_rsa {
        return Ok(None);
    }
    match handle.best_supported_rsa_hash().await {
        Ok(Some(Some(hash))) => Ok(Some(hash)),
        Ok(Some(None)) => Err("the host takes RSA keys with SHA-1 only".to_owned()),
        Ok(None) => Ok(Some(HashAlg::Sha256)),
        Err(error) => Err(error.to_string()),
    }
}

/// The agent of the operator, if there is one, and what it holds.
struct Agent {
    client: Option<AgentClient<UnixStream>>,
    identities: Vec<AgentIdentity>,
    /// Why there is no agent although its socket is named.
    trouble: Option<String>,
}

impl Agent {
    async fn connect(handle: &Handle<Doorman>, path: Option<&Path>) -> Agent {
        let Some(path) = path else {
            return Agent { client: None, identities: Vec::new(), trouble: None };
        };
        match Agent::identities(handle, path).await {
            Ok((client, identities)) => Agent { client: Some(client), identities, trouble: None },
            Err(error) => {
                let trouble = Some(format!("the agent at {}: {error}", path.display()));
                Agent { client: None, identities: Vec::new(), trouble }
            }
        }
    }

    async fn identities(
        handle: &Handle<Doorman>,
        path: &Path,
    ) -> Result<(AgentClient<UnixStream>, Vec<AgentIdentity>), russh::keys::Error> {
        let mut client = AgentClient::connect_uds(path).await?;
        if let Some(binding) = handle.agent_session_binding() {
            // Shows keys that are limited to certain hosts. Other agents than OpenSSH's do not know the request.
            let _ = client.bind_session(binding, false).await;
        }
        let identities = client.request_identities().await?;
        Ok((client, identities))
    }

    fn find(&self, public: &PublicKey) -> Option<&AgentIdentity> {
        self.identities.iter().find(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => key.key_data() == public.key_data(),
            AgentIdentity::Certificate { .. } => false,
        })
    }
}

/// Named files, then the agent's keys, then the default files; each key once. And what is worth telling beside.
fn offers(
    named: &Named,
    agent: &Agent,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<(Vec<Offer>, Vec<String>), Failure> {
    let mut list = List::default();
    for (path, file) in &named.0 {
        if !list.add_file(path, file, agent) {
            return Err(locked(path, agent));
        }
    }
    for identity in &agent.identities {
        list.add_identity(identity, "agent");
    }
    let mut notes: Vec<String> = agent.trouble.iter().cloned().collect();
    let others = settings.identity_files.iter().filter(|file| file.origin != Origin::Inventory);
    for IdentityFile { path, .. } in others.filter(|file| file.path.exists()) {
        match credentials.key_file(path) {
            Ok(file) if list.add_file(path, &file, agent) => (),
            Ok(_) => notes.push(format!("{} needs a passphrase and is not in the agent", path.display())),
            Err(error) => notes.push(format!("{}: {error}", path.display())),
        }
    }
    Ok((list.offers, notes))
}

#[derive(Default)]
struct List {
    offers: Vec<Offer>,
    /// By fingerprint: the same key in a file and in the agent is offered once.
    seen: BTreeMap<String, ()>,
}

impl List {
    /// Whether there is someone to sign with the file's key.
    fn add_file(&mut self, path: &Path, file: &KeyFile, agent: &Agent) -> bool {
        match file {
            KeyFile::Ready(key) => {
                let shown = describe(key.public_key());
                if self.seen.insert(shown.clone(), ()).is_none() {
                    let label = format!("{} ({shown})", path.display());
                    self.offers.push(Offer { label, key: OfferedKey::File(key.clone()) });
                }
                true
            }
            KeyFile::Locked(public) => match public.as_ref().and_then(|public| agent.find(public)) {
                Some(identity) => {
                    self.add_identity(identity, &path.display().to_string());
                    true
                }
                None => false,
            },
        }
    }

    fn add_identity(&mut self, identity: &AgentIdentity, origin: &str) {
        let shown = match identity {
            AgentIdentity::PublicKey { key, .. } => describe(key),
            AgentIdentity::Certificate { certificate, .. } => format!("certificate {}", certificate.key_id()),
        };
        if self.seen.insert(shown.clone(), ()).is_none() {
            let label = format!("{origin} ({shown})");
            self.offers.push(Offer { label, key: OfferedKey::Agent(Box::new(identity.clone())) });
        }
    }
}

fn locked(path: &Path, agent: &Agent) -> Failure {
    let why = match (&agent.trouble, &agent.client) {
        (Some(trouble), _) => trouble.as_str(),
        (None, Some(_)) => "the agent does not hold it",
        (None, None) => "no agent is running (SSH_AUTH_SOCK is not set)",
    };
    Failure::Unreachable {
        reason: format!("the private key {} needs a passphrase, and {why}", path.display()),
        hint: format!("run ssh-add {}, or name a key without a passphrase", path.display()),
    }
}

fn refused(user: &str, tried: &[String], remaining: Option<(MethodSet, bool)>, nothing: bool) -> Failure {
    let tried = match tried {
        [] => "nothing".to_owned(),
        tried => tried.join("; "),
    };
    let names = |methods: &MethodSet| {
        methods.iter().map(|method| <&str>::from(method).to_owned()).collect::<Vec<_>>().join(", ")
    };
    let (reason, hint) = match remaining {
        None if nothing => (
            format!("there is no key to log in as {user}; tried {tried}"),
            "load a key with ssh-add, or name a private key file in the inventory".to_owned(),
        ),
        Some((methods, true)) => (
            format!("the host wants more than a key from {user}: {}", names(&methods)),
            "muster logs in with one key; allow publickey alone for this user".to_owned(),
        ),
        Some((methods, false)) if methods.is_empty() => (
            format!("the host hung up on {user} while logging in; tried {tried}"),
            "it counts wrong keys (MaxAuthTries, PerSourcePenalties); name the right key file, wait a minute, run again"
                .to_owned(),
        ),
        Some((methods, false)) if !methods.contains(&MethodKind::PublicKey) => (
            format!("the host takes no keys from {user}, only {}", names(&methods)),
            "allow PubkeyAuthentication for this user".to_owned(),
        ),
        None | Some((_, false)) => (
            format!("the host refuses {user} (permission denied); tried {tried}"),
            format!("check the user name, and that one of these keys is in ~{user}/.ssh/authorized_keys on the host"),
        ),
    };
    Failure::Unreachable { reason, hint }
}
