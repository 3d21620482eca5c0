//! The authority's key as a file holds it: in clear, under a passphrase, encrypted by ansible-vault or for age.
//!
//! What is in the file says which of them it is. What the inventory says decides how the next one is written.

use std::fmt;
use std::path::Path;

use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5;
use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument};
use rand::RngExt as _;
use zeroize::Zeroizing;

use crate::error::Problem;
use crate::formation::{Ca, Protection, Secret, Sought};
use crate::secrets::{self, Keyring};

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// Of scrypt: log2 of N, r, p. Source: OWASP's cheat sheet on password storage, of whose choices openssl reads those of
/// 32 MiB at most.
const COST: (u8, u32, u32) = (14, 8, 5);
const SALT_BYTES: usize = 16;

/// How a file holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Clear,
    /// PKCS #8, encrypted.
    Passphrase,
    Vault,
    Age,
}

impl Form {
    pub(super) fn of(bytes: &[u8]) -> Form {
        let mark = format!("-----BEGIN {ENCRYPTED}-----");
        match bytes {
            _ if secrets::is_encrypted(bytes) => Form::Vault,
            _ if secrets::is_age(bytes) => Form::Age,
            _ if bytes.windows(mark.len()).any(|words| words == mark.as_bytes()) => Form::Passphrase,
            _ => Form::Clear,
        }
    }

    pub(super) fn wanted(protection: &Protection) -> Form {
        match protection {
            Protection::Clear => Form::Clear,
            Protection::Passphrase => Form::Passphrase,
            Protection::Vault => Form::Vault,
            Protection::Age { .. } => Form::Age,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Clear => "in clear",
            Form::Passphrase => "under a passphrase",
            Form::Vault => "encrypted by ansible-vault",
            Form::Age => "encrypted by age",
        })
    }
}

/// What opens such files, and how they are to be.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    pub ca: &'a Ca,
    pub keyring: &'a Keyring,
}

impl Means<'_> {
    /// The key as PEM.
    ///
    /// # Errors
    /// What nobody here can open, or what is damaged.
    pub(super) fn open(&self, path: &Path, bytes: &[u8]) -> Result<Secret, Problem> {
        let text = || {
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| Problem::new(format!("{} is not text", path.display())))
        };
        match Form::of(bytes) {
            Form::Clear => Ok(Secret::new(text()?)),
            Form::Vault => self.keyring.open_vault(path, text()?).map(|pem| Secret::new(pem.as_str())),
            Form::Age => {
                let pem = self.keyring.open_age(path, bytes)?;
                let pem = std::str::from_utf8(&pem);
                pem.map(Secret::new).map_err(|_| Problem::new(format!("{} holds no text", path.display())))
            }
            Form::Passphrase => {
                let sealed = Sealed::parse(path, text()?)?;
                self.keyring.unlock(path, self.passphrase(), |passphrase| sealed.open(path, passphrase))
            }
        }
    }

    /// The same as the inventory wants it in its file; what could not be opened again is not written.
    ///
    /// # Errors
    /// No passphrase, no password, or nobody here is among the recipients.
    pub(super) fn seal(&self, path: &Path, pem: &Secret) -> Result<Zeroizing<String>, Problem> {
        let text = pem.reveal().as_bytes();
        let sealed = Zeroizing::new(match self.ca.protection.as_ref() {
            None | Some(Protection::Clear) => return Ok(Zeroizing::new(pem.reveal().to_owned())),
            Some(Protection::Passphrase) => {
                let passphrase = self.keyring.new_passphrase(path, self.passphrase())?;
                return Ok(Zeroizing::new(under_passphrase(path, pem, &passphrase)?));
            }
            Some(Protection::Vault) => self.keyring.seal_vault(path, text)?,
            Some(Protection::Age { recipients }) => self.keyring.seal_age(recipients, text)?,
        });
        match self.open(path, sealed.as_bytes()) {
            Ok(opened) if opened == *pem => Ok(sealed),
            Ok(_) => Err(Problem::new(format!("what would stand in {} is damaged", path.display()))),
            Err(why) => {
                let problem = format!(
                    "{} is not written, as nobody here could open it: {}",
                    path.display(),
                    why.message
                );
                let hint = "whoever runs muster has to be among ca_key_recipients, with the key for it as --age-identity FILE";
                Err(Problem::new(problem).hint(hint))
            }
        }
    }

    fn passphrase(&self) -> (Option<&Sought>, &'static str) {
        (self.ca.passphrase.as_ref(), "ca_key_passphrase")
    }
}

/// An encrypted PKCS #8 file, taken apart.
struct Sealed(Vec<u8>);

impl Sealed {
    fn parse(path: &Path, text: &str) -> Result<Sealed, Problem> {
        match x509_parser::pem::parse_x509_pem(text.as_bytes()) {
            Ok((_, block)) if block.label == ENCRYPTED => Ok(Sealed(block.contents)),
            Ok(_) | Err(_) => {
                Err(Problem::new(format!("{} is damaged: it is no encrypted PKCS #8", path.display()))
                    .hint("put a copy of it there that `openssl pkey -in FILE -noout` takes"))
            }
        }
    }

    /// `None`: another passphrase.
    fn open(&self, path: &Path, passphrase: &Secret) -> Result<Option<Secret>, Problem> {
        let other = |why: &dyn fmt::Display| {
            Problem::new(format!("{} is encrypted in a way that muster does not read: {why}", path.display()))
                .hint("`openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256` writes one that it does")
        };
        let info = EncryptedPrivateKeyInfoRef::try_from(self.0.as_slice()).map_err(|why| other(&why))?;
        let key = match info.encryption_algorithm.decrypt(passphrase.reveal(), info.encrypted_data.as_bytes())
        {
            Ok(key) => Zeroizing::new(key),
            Err(pkcs5::Error::DecryptFailed) => return Ok(None),
            Err(why) => return Err(other(&why)),
        };
        // With another passphrase the padding may be right by chance.
        let Ok(document) = SecretDocument::try_from(key.as_slice()) else { return Ok(None) };
        let pem = document.to_pem(PLAIN, LineEnding::LF).map_err(|why| other(&why))?;
        Ok(rcgen::KeyPair::from_pem(&pem).is_ok().then(|| Secret::new(pem.as_str())))
    }
}

/// PBES2 as openssl writes it.
fn under_passphrase(path: &Path, pem: &Secret, passphrase: &Secret) -> Result<String, Problem> {
    let failed = |why: &dyn fmt::Display| {
        Problem::new(format!("the key for {} cannot be encrypted: {why}", path.display()))
    };
    let key = rcgen::KeyPair::from_pem(pem.reveal()).map_err(|why| failed(&why))?;
    let key = Zeroizing::new(key.serialize_der());
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; 16]);
    rand::rng().fill(&mut salt);
    rand::rng().fill(&mut iv);
    let (log_n, r, p) = COST;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|why| failed(&why))?;
    let parameters = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|why| failed(&why))?;
    let sealed = parameters.encrypt(passphrase.reveal(), key.as_slice()).map_err(|why| failed(&why))?;
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&sealed).map_err(|why| failed(&why))?,
    };
    let document = SecretDocument::try_from(info).map_err(|why| failed(&why))?;
    document.to_pem(ENCRYPTED, LineEnding::LF).map(|pem| pem.as_str().to_owned()).map_err(|why| failed(&why))
}

#[cfg(test)]
mod tests;
