//! Who the operator is: name, home, agent and keys, looked up once for all hosts.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::config::Config;
use super::login::KeyFile;
use super::settings::Settings;
use crate::command::Failure;
use crate::console::Asker;

/// The key files ssh tries by itself, in its order; for hardware keys (`_sk`) the agent signs.
const DEFAULT_KEYS: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/// What connections to all hosts have in common.
pub struct Credentials {
    user: String,
    home: Option<PathBuf>,
    agent: Option<PathBuf>,
    asker: Asker,
    /// Files already read, for sixty hosts with one key: a passphrase is asked for once.
    files: Mutex<BTreeMap<PathBuf, Arc<KeyFile>>>,
    /// Keys of the agent that have logged in somewhere, as their blobs; the last one first.
    worked: Mutex<Vec<Vec<u8>>>,
    /// What was read of ssh_config.
    config: Config,
}

impl Credentials {
    /// Who this process belongs to, as ssh has it; `HOME` and `SSH_AUTH_SOCK`; key files are read when they are needed.
    ///
    /// `USER` is asked only where `/etc/passwd` does not know the process's user: it is whatever somebody has set, and
    /// stands for who runs commands on this machine, too.
    pub fn from_environment() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let plain = |name: &String| {
            name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '$'))
        };
        let set = || text("USER").or_else(|| text("LOGNAME")).filter(plain);
        let user = owner_of_this_process().or_else(set).unwrap_or_default();
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Credentials::new(user, path("HOME"), path("SSH_AUTH_SOCK")).asking(Asker::from_environment())
    }

    /// For a named user; without a home there are no default keys, without a socket there is no agent. Nobody is asked
    /// for anything.
    pub fn new(user: impl Into<String>, home: Option<PathBuf>, agent: Option<PathBuf>) -> Self {
        let asker = Asker::nobody();
        Credentials {
            user: user.into(),
            home,
            agent,
            asker,
            files: Mutex::default(),
            worked: Mutex::default(),
            config: Config::default(),
        }
    }

    /// Whom to ask for passphrases, passwords and codes.
    pub fn asking(self, asker: Asker) -> Self {
        Credentials { asker, ..self }
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Whether a host's settings let somebody be asked who is there.
    pub(super) fn can_ask(&self, settings: &Settings) -> bool {
        !settings.batch && settings.prompts > 0 && self.asker.is_there()
    }

    /// Who logs in where the inventory does not say.
    pub(super) fn user(&self) -> Option<&str> {
        Some(self.user.as_str()).filter(|user| !user.is_empty())
    }

    /// Who runs commands on this machine itself.
    pub(super) fn runner(&self) -> Result<String, Failure> {
        self.user().map(str::to_owned).ok_or_else(|| Failure::Unreachable {
            reason: "it is not known who runs muster: USER names nobody".to_owned(),
            hint: "set USER".to_owned(),
        })
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

    /// Reads a key file, or remembers it; `None` where there is none. The error is the reason without the path.
    pub(super) fn key_file(&self, path: &Path) -> Result<Option<Arc<KeyFile>>, String> {
        if let Some(known) = self.files.lock().ok().and_then(|files| files.get(path).cloned()) {
            return Ok(Some(known));
        }
        let Some(read) = KeyFile::read(path)? else { return Ok(None) };
        let read = Arc::new(read);
        match self.files.lock() {
            // Another connection may have read it meanwhile: there must be one, or it is asked for twice.
            Ok(mut files) => Ok(Some(files.entry(path.to_owned()).or_insert(read).clone())),
            Err(_) => Ok(Some(read)),
        }
    }

    /// A key of the agent has logged in: the next hosts may take it as well.
    pub(super) fn has_worked(&self, blob: &[u8]) {
        if let Ok(mut worked) = self.worked.lock()
            && worked.first().is_none_or(|first| first != blob)
        {
            worked.retain(|known| known != blob);
            worked.insert(0, blob.to_vec());
        }
    }

    /// The place among the keys that have logged in somewhere; `usize::MAX` for the others.
    pub(super) fn worked(&self, blob: &[u8]) -> usize {
        let place = self.worked.lock().ok().and_then(|worked| worked.iter().position(|known| known == blob));
        place.unwrap_or(usize::MAX)
    }
}

fn owner_of_this_process() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    fields.find_map(|mut line| line.next().filter(|_| line.nth(1) == Some(uid.as_str())).map(str::to_owned))
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
