//! Who the operator is: name, home, agent and keys, looked up once for all hosts.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::config::Config;
use russh::keys::ssh_key::PrivateKey;
use russh::keys::{PublicKey, decode_secret_key, load_public_key};

/// The key files ssh tries by itself, in its order; for FIDO keys (`_sk`) the agent signs.
const DEFAULT_KEYS: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/// What connections to all hosts have in common.
pub struct Credentials {
    user: String,
    home: Option<PathBuf>,
    agent: Option<PathBuf>,
    /// Files already read, for sixty hosts with one key.
    files: Mutex<BTreeMap<PathBuf, KeyFile>>,
    /// What was read of ssh_config.
    config: Config,
}

/// What is in a key file.
#[derive(Clone)]
pub(super) enum KeyFile {
    /// A key that can sign.
    Ready(Arc<PrivateKey>),
    /// A key under a passphrase, or the public half alone: only the agent can sign. `None` where the file's format
    /// hides even the public half and there is no `.pub` beside it.
    Locked(Option<PublicKey>),
}

impl Credentials {
    /// From `USER` or `LOGNAME`, `HOME` and `SSH_AUTH_SOCK`; key files are read when they are needed.
    ///
    /// A pipeline may set none of them: the user is looked up in `/etc/passwd` then, and never guessed.
    pub fn from_environment() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let user =
            text("USER").or_else(|| text("LOGNAME")).or_else(owner_of_this_process).unwrap_or_default();
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Credentials::new(user, path("HOME"), path("SSH_AUTH_SOCK"))
    }

    /// For a named user; without a home there are no default keys, without a socket there is no agent.
    pub fn new(user: impl Into<String>, home: Option<PathBuf>, agent: Option<PathBuf>) -> Self {
        Credentials { user: user.into(), home, agent, files: Mutex::default(), config: Config::default() }
    }

    /// Who logs in where the inventory does not say.
    pub(super) fn user(&self) -> Option<&str> {
        Some(self.user.as_str()).filter(|user| !user.is_empty())
    }

    /// The agent's socket.
    pub(super) fn agent(&self) -> Option<&Path> {
        self.agent.as_deref()
    }

    /// What `~` is.
    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The user's own files of host keys, when nothing else is said; a new key belongs into the first.
    pub(super) fn known_hosts(&self) -> Vec<PathBuf> {
        let home = self.home.iter();
        home.flat_map(|home| [".ssh/known_hosts", ".ssh/known_hosts2"].map(|file| home.join(file))).collect()
    }

    /// The default key files.
    pub(super) fn default_keys(&self) -> impl Iterator<Item = PathBuf> {
        self.home.iter().flat_map(|home| DEFAULT_KEYS.map(|file| home.join(".ssh").join(file)))
    }

    /// Reads a key file, or remembers it; the error is the reason without the path.
    pub(super) fn key_file(&self, path: &Path) -> Result<KeyFile, String> {
        if let Some(known) = self.files.lock().ok().and_then(|files| files.get(path).cloned()) {
            return Ok(known);
        }
        let read = read_key_file(path)?;
        if let Ok(mut files) = self.files.lock() {
            files.insert(path.to_owned(), read.clone());
        }
        Ok(read)
    }
}

fn owner_of_this_process() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    fields.find_map(|mut line| line.next().filter(|_| line.nth(1) == Some(uid.as_str())).map(str::to_owned))
}

fn read_key_file(path: &Path) -> Result<KeyFile, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string().to_lowercase())?;
    let text = zeroize::Zeroizing::new(text);
    if !text.contains("PRIVATE KEY") {
        // As in ssh_config: a public key names one that the agent holds.
        return match load_public_key(path) {
            Ok(key) => Ok(KeyFile::Locked(Some(key))),
            Err(_) => Err("it holds no SSH key".to_owned()),
        };
    }
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(KeyFile::Ready(Arc::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => Ok(KeyFile::Locked(public_half(path, &text))),
        // The library's own words may quote the file.
        Err(_) if text.contains("ENCRYPTED") => Ok(KeyFile::Locked(public_half(path, &text))),
        Err(_) => Err("it holds no key that can be read".to_owned()),
    }
}

/// OpenSSH's own format shows the public half, older ones have it in the file beside.
fn public_half(path: &Path, text: &str) -> Option<PublicKey> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        return Some(key.public_key().clone());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    load_public_key(beside).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_ssh_uses() {
        let credentials = Credentials::new("ana", Some("/home/ana".into()), None);
        assert_eq!(credentials.known_hosts()[0], Path::new("/home/ana/.ssh/known_hosts"));
        assert_eq!(credentials.known_hosts().len(), 2);
        assert!(Credentials::new("ana", None, None).known_hosts().is_empty());
        assert!(owner_of_this_process().is_some_and(|user| !user.is_empty()));
    }
}
