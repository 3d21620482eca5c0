//! Files that age has encrypted: for keys of age, for ssh keys, or with a passphrase.

use std::io::{BufReader, Cursor, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{Callbacks, DecryptError, Decryptor, Encryptor, Identity, IdentityFile, Recipient};
use zeroize::Zeroizing;

use super::Keyring;
use crate::bounded;
use crate::console::{Asker, Echo};
use crate::error::Problem;
use crate::program;

/// Tried where no identity is named; age knows no others of ssh's.
const SSH_KEYS: [&str; 2] = [".ssh/id_ed25519", ".ssh/id_rsa"];
/// Most that is read; a password is shorter.
const MOST_BYTES: u64 = 1 << 20;

/// Decrypts a file.
pub(super) fn read(path: &Path, keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let name = path.display();
    let bytes = bounded::read(path, program::MOST_BYTES)
        .map_err(|error| Problem::new(format!("cannot read the age file `{name}`: {error}")))?;
    open(path, &bytes, keyring)
}

/// Decrypts what a file holds.
pub(super) fn open(path: &Path, bytes: &[u8], keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let name = path.display();
    let refused = |why: DecryptError| problem(&why, path);
    let decryptor =
        Decryptor::new_buffered(BufReader::new(ArmoredReader::new(Cursor::new(bytes)))).map_err(refused)?;
    let identities = match decryptor.is_scrypt() {
        true => {
            let asked = keyring.asker.ask_and_wait(&format!("Passphrase of {name}: "), Echo::Hidden);
            let passphrase = asked.map_err(|why| {
                Problem::new(format!("the age file `{name}` wants a passphrase: {why}"))
                    .hint("run muster in a terminal, or encrypt the file for a key")
            })?;
            vec![Box::new(age::scrypt::Identity::new(passphrase.as_str().into())) as Box<dyn Identity>]
        }
        false => identities(keyring)?,
    };
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    let reader = decryptor.decrypt(identities.iter().map(AsRef::as_ref)).map_err(refused)?;
    reader
        .take(MOST_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| Problem::new(format!("the age file `{name}` is damaged: {error}")))?;
    Ok(text)
}

/// Encrypts for recipients, as text.
pub(super) fn seal(recipients: &[String], text: &[u8]) -> Result<String, Problem> {
    let recipients: Vec<Box<dyn Recipient>> = recipients.iter().filter_map(|text| recipient(text)).collect();
    let encryptor = Encryptor::with_recipients(recipients.iter().map(AsRef::as_ref))
        .map_err(|why| Problem::new(format!("age cannot encrypt for these recipients: {why}")))?;
    let written = || {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(text)?;
        writer.finish()?.finish()
    };
    let sealed = written().map_err(|why| Problem::new(format!("age cannot encrypt: {why}")))?;
    Ok(String::from_utf8(sealed).expect("armor is ASCII"))
}

/// Whether age can encrypt for it: `age1…`, or a public key of ssh.
pub fn is_recipient(text: &str) -> bool {
    recipient(text).is_some()
}

fn recipient(text: &str) -> Option<Box<dyn Recipient>> {
    let own = text.parse::<age::x25519::Recipient>().ok().map(|own| Box::new(own) as Box<dyn Recipient>);
    own.or_else(|| Some(Box::new(text.parse::<age::ssh::Recipient>().ok()?)))
}

/// Whether age has made it, armored or not.
pub fn is_age(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") || bytes.starts_with(b"age-encryption.org/")
}

fn identities(keyring: &Keyring) -> Result<Vec<Box<dyn Identity>>, Problem> {
    let mut found: Vec<Box<dyn Identity>> = Vec::new();
    for path in &keyring.identities {
        found.extend(identity(path, &keyring.asker)?);
    }
    if keyring.identities.is_empty() {
        let home = std::env::home_dir();
        let keys = home.iter().flat_map(|home| SSH_KEYS.map(|key| home.join(key)));
        for path in keys.filter(|path| path.exists()) {
            found.extend(identity(&path, &keyring.asker)?);
        }
    }
    if found.is_empty() {
        let problem = Problem::new("there is no key to decrypt age files with");
        return Err(problem.hint("give --age-identity FILE, or set MUSTER_AGE_IDENTITY"));
    }
    Ok(found)
}

/// The keys in a file: age's own, or one of ssh.
fn identity(path: &Path, asker: &Arc<Asker>) -> Result<Vec<Box<dyn Identity>>, Problem> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Problem::new(format!("cannot read the age identity `{name}`: {error}"))
            .hint("it holds AGE-SECRET-KEY-1…, or is a private key of ssh")
    };
    let bytes = bounded::read(path, MOST_BYTES).map(Zeroizing::new).map_err(unreadable)?;
    if bytes.starts_with(b"-----BEGIN") {
        let key =
            age::ssh::Identity::from_buffer(bytes.as_slice(), Some(name.clone())).map_err(unreadable)?;
        return Ok(vec![Box::new(key.with_callbacks(Questions(asker.clone())))]);
    }
    let file = IdentityFile::from_buffer(bytes.as_slice()).map_err(unreadable)?;
    let keys =
        file.into_identities().map_err(|_| unreadable(std::io::Error::other("its keys cannot be used")))?;
    Ok(keys.into_iter().map(|key| key as Box<dyn Identity>).collect())
}

fn problem(why: &DecryptError, path: &Path) -> Problem {
    let name = path.display();
    match why {
        DecryptError::NoMatchingKeys => {
            Problem::new(format!("the age file `{name}` is encrypted for other keys"))
                .hint("give the key that opens it as --age-identity FILE")
        }
        DecryptError::KeyDecryptionFailed => {
            Problem::new(format!("the key for the age file `{name}` was not unlocked"))
                .hint("its passphrase was wrong, or nobody could be asked")
        }
        DecryptError::DecryptionFailed => {
            Problem::new(format!("the age file `{name}` cannot be decrypted")).hint("the passphrase is wrong")
        }
        DecryptError::ExcessiveWork { .. } => {
            Problem::new(format!("the passphrase of the age file `{name}` takes too long to check"))
        }
        // The bytes come from memory: what cannot be read ends too early.
        DecryptError::Io(_)
        | DecryptError::InvalidHeader
        | DecryptError::InvalidMac
        | DecryptError::UnknownFormat => Problem::new(format!("`{name}` is no age file, or a damaged one"))
            .hint(format!("make it with `age -r RECIPIENT -o {name}`")),
    }
}

/// Passphrases of ssh keys.
#[derive(Clone)]
struct Questions(Arc<Asker>);

impl Callbacks for Questions {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let answer = self.0.ask_and_wait(&format!("{description}: "), Echo::Hidden).ok()?;
        Some(answer.as_str().into())
    }
}
