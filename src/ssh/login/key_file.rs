//! What is in a private key's file, and how it is unlocked: once for all hosts.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::PrivateKey;
use russh::keys::{
    Algorithm, Certificate, PublicKey, decode_secret_key, load_openssh_certificate, load_public_key,
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::bounded;
use crate::console::{Asker, Echo};

/// Bytes of a key's file; the longest keys have some thousand.
const LARGEST: u64 = 1 << 20;

/// A key file that has been read.
pub(in crate::ssh) struct KeyFile {
    pub(in crate::ssh) content: Content,
    /// `KEY-cert.pub`, which ssh finds by itself.
    pub(in crate::ssh) certificate: Option<Certificate>,
    /// What came of the question; whoever else needs the key waits here.
    unlocked: Mutex<Option<Result<Arc<PrivateKey>, String>>>,
}

/// Who can sign with it.
pub(in crate::ssh) enum Content {
    /// The file alone.
    Ready(Arc<PrivateKey>),
    /// Whoever knows the passphrase. The public half is missing where the format hides it and there is no `.pub`
    /// beside.
    Locked { text: Arc<Zeroizing<String>>, public: Option<PublicKey> },
    /// Only an agent: the file is the public half.
    Public(PublicKey),
    /// Only an agent: the rest of the key is in a FIDO token.
    Hardware(PublicKey),
}

impl KeyFile {
    /// `None`: there is neither the file nor its public half.
    pub(in crate::ssh) fn read(path: &Path) -> Result<Option<KeyFile>, String> {
        let text = match bounded::read(path, LARGEST) {
            Ok(bytes) => Zeroizing::new(String::from_utf8_lossy(&Zeroizing::new(bytes)).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // As with ssh: the private half may be in the agent alone.
                let Ok(public) = load_public_key(beside(path, ".pub")) else { return Ok(None) };
                return Ok(Some(KeyFile::new(path, Content::Public(public))));
            }
            Err(error) => return Err(error.to_string().to_lowercase()),
        };
        if text.contains("PRIVATE KEY") && is_open_to_others(path) {
            return Err(
                "others may read or write it, and ssh does not take such a key: chmod 600 it".to_owned()
            );
        }
        Ok(Some(KeyFile::new(path, content(path, text)?)))
    }

    fn new(path: &Path, content: Content) -> KeyFile {
        // Beside `key.pub` it is `key-cert.pub` as well.
        let key =
            path.to_str().and_then(|path| path.strip_suffix(".pub")).map_or(path.to_owned(), PathBuf::from);
        let certificate = load_openssh_certificate(beside(&key, "-cert.pub")).ok();
        KeyFile { content, certificate, unlocked: Mutex::default() }
    }

    /// `None`: it is hidden until the passphrase is known.
    pub(in crate::ssh) fn public(&self) -> Option<&PublicKey> {
        match &self.content {
            Content::Ready(key) => Some(key.public_key()),
            Content::Locked { public, .. } => public.as_ref(),
            Content::Public(key) | Content::Hardware(key) => Some(key),
        }
    }

    /// The key, asked for once in a run at most: later callers wait for the answer, or are told that there was none.
    pub(in crate::ssh) async fn unlock(
        &self,
        path: &Path,
        asker: &Asker,
        tries: u32,
    ) -> Result<Arc<PrivateKey>, String> {
        let text = match &self.content {
            Content::Ready(key) => return Ok(key.clone()),
            Content::Locked { text, .. } => text,
            Content::Public(_) => {
                return Err("it is a public key, and the agent does not hold the other half".into());
            }
            Content::Hardware(_) => return Err("it is a hardware key, and the agent does not hold it".into()),
        };
        let mut unlocked = self.unlocked.lock().await;
        if let Some(known) = unlocked.as_ref() {
            return known.clone();
        }
        let result = ask_and_decode(path, text, asker, tries).await;
        *unlocked = Some(result.clone());
        result
    }
}

async fn ask_and_decode(
    path: &Path,
    text: &Arc<Zeroizing<String>>,
    asker: &Asker,
    tries: u32,
) -> Result<Arc<PrivateKey>, String> {
    let question = format!("Enter passphrase for key '{}': ", path.display());
    for _ in 0..tries {
        let passphrase = asker
            .ask(&question, Echo::Hidden)
            .await
            .map_err(|why| format!("its passphrase is not known: {why}"))?;
        if passphrase.is_empty() {
            return Err("its passphrase is not known: it was not given".to_owned());
        }
        let text = text.clone();
        // Made slow on purpose: a tenth of a second and more.
        let decode = tokio::task::spawn_blocking(move || decode_secret_key(&text, Some(&passphrase)));
        match decode.await {
            Ok(Ok(key)) => return Ok(Arc::new(key)),
            // The library's own words may quote the file.
            Ok(Err(_)) => tracing::debug!(path = %path.display(), "the passphrase does not fit"),
            Err(_) => break,
        }
    }
    Err("the passphrase was wrong".to_owned())
}

fn content(path: &Path, text: Zeroizing<String>) -> Result<Content, String> {
    if !text.contains("PRIVATE KEY") {
        // As in ssh_config: a public key names one that the agent holds.
        return match load_public_key(path) {
            Ok(key) => Ok(Content::Public(key)),
            Err(_) => Err("it holds no SSH key".to_owned()),
        };
    }
    let public = public_half(path, &text);
    if let Some(public) = &public
        && is_hardware(&public.algorithm())
    {
        return Ok(Content::Hardware(public.clone()));
    }
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(Content::Ready(Arc::new(key))),
        Err(_) if !can_be_unlocked(&text) => {
            Err("its format is old; convert it with ssh-keygen -p -f, which changes the passphrase too"
                .to_owned())
        }
        Err(russh::keys::Error::KeyIsEncrypted) => Ok(Content::Locked { text: Arc::new(text), public }),
        // The library's own words may quote the file.
        Err(_) if text.contains("ENCRYPTED") => Ok(Content::Locked { text: Arc::new(text), public }),
        Err(_) => Err("it holds no key that can be read".to_owned()),
    }
}

/// Of the old format the library decrypts only what ssh-keygen wrote: RSA, and one cipher.
fn can_be_unlocked(text: &str) -> bool {
    match text.lines().find(|line| line.starts_with("DEK-Info:")) {
        Some(cipher) => cipher.contains("AES-128-CBC") && text.contains("BEGIN RSA PRIVATE KEY"),
        None => true,
    }
}

/// OpenSSH's own format shows the public half, older ones have it in the file beside.
fn public_half(path: &Path, text: &str) -> Option<PublicKey> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        return Some(key.public_key().clone());
    }
    load_public_key(beside(path, ".pub")).ok()
}

fn is_hardware(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

/// As OpenSSH: only a file of one's own is looked at, somebody else's rights are somebody else's care.
fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.uid() == rustix::process::getuid().as_raw() && file.mode() & 0o077 != 0)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
