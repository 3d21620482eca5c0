//! Signing for the host, with a file or by the agent; a passphrase is asked for only here, when the host takes the key.

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{PrivateKey, Signature};
use russh::keys::{Algorithm, HashAlg};
use russh::{SendError, Signer};

use super::agent::Agent;
use super::clock::Clock;
use super::offers::By;
use crate::ssh::credentials::Credentials;
use crate::ssh::settings::{Algorithms, Settings};

/// Signs for one attempt.
pub(super) struct Pen<'a> {
    pub(super) by: &'a By,
    pub(super) agent: &'a mut Agent,
    pub(super) settings: &'a Settings,
    pub(super) credentials: &'a Credentials,
    pub(super) clock: &'a Clock,
}

/// Why there is no signature.
pub(super) struct Unsigned(pub(super) String);

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Unsigned("the connection is closed".to_owned())
    }
}

impl Signer for Pen<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        _shown: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        match self.by {
            By::Agent(identity) => {
                let signed = self.agent.sign(identity, hash, data);
                self.clock.stopped(signed).await.map_err(Unsigned)
            }
            By::File(path, file) => {
                let key = file.unlock(path, self.credentials.asker(), self.settings.prompts);
                let key = self.clock.stopped(key).await.map_err(Unsigned)?;
                match sign(&key, hash, &data) {
                    Some(signature) => {
                        data.extend(signature);
                        Ok(data)
                    }
                    None => Err(Unsigned("muster cannot sign with it".to_owned())),
                }
            }
        }
    }
}

/// How to sign with a key of this kind, by `PubkeyAcceptedAlgorithms`; `None`: not at all. The hash is for RSA, where
/// the host takes `best` at most; SHA-1 is never used.
pub(super) fn hash(
    wanted: &Algorithms,
    key: &Algorithm,
    certificate: bool,
    best: Option<HashAlg>,
) -> Option<Option<HashAlg>> {
    let accepted = |algorithm: &Algorithm| match &wanted.public_keys {
        None => true,
        Some(names) => {
            let name = match certificate {
                true => algorithm.to_certificate_type(),
                false => algorithm.as_str().to_owned(),
            };
            names.contains(&name)
        }
    };
    if !matches!(key, Algorithm::Rsa { .. }) {
        return accepted(key).then_some(None);
    }
    let hashes = [HashAlg::Sha512, HashAlg::Sha256].into_iter();
    let mut possible = hashes.filter(|hash| best == Some(HashAlg::Sha512) || *hash == HashAlg::Sha256);
    possible.find(|hash| accepted(&Algorithm::Rsa { hash: Some(*hash) })).map(Some)
}

fn sign(key: &PrivateKey, hash: Option<HashAlg>, data: &[u8]) -> Option<Vec<u8>> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(rsa) => (rsa, hash).try_sign(data).ok()?,
        _ => key.try_sign(data).ok()?,
    };
    let (mut blob, mut framed) = (Vec::new(), Vec::new());
    signature.encode(&mut blob).ok()?;
    blob.encode(&mut framed).ok()?;
    Some(framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_signs_with_sha2_or_not_at_all() {
        let rsa = Algorithm::Rsa { hash: None };
        let any = Algorithms::default();
        let only = |names: &[&str]| Algorithms {
            public_keys: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Algorithms::default()
        };
        let (big, small) = (Some(HashAlg::Sha512), Some(HashAlg::Sha256));
        assert_eq!(hash(&any, &rsa, false, big), Some(big));
        assert_eq!(hash(&any, &rsa, false, small), Some(small));
        assert_eq!(hash(&only(&["rsa-sha2-256"]), &rsa, false, big), Some(small));
        assert_eq!(hash(&only(&["rsa-sha2-512"]), &rsa, false, small), None);
        assert_eq!(hash(&only(&["ssh-rsa", "ssh-ed25519"]), &rsa, false, big), None);
        assert_eq!(hash(&only(&["ssh-ed25519"]), &Algorithm::Ed25519, false, None), Some(None));
        assert_eq!(hash(&only(&["ssh-ed25519"]), &Algorithm::Ed25519, true, None), None);
        let certificates = only(&["rsa-sha2-512-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com"]);
        assert_eq!(hash(&certificates, &rsa, true, big), Some(big));
        assert_eq!(hash(&certificates, &Algorithm::Ed25519, true, None), Some(None));
    }
}
