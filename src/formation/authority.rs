//! The formation's own certificate authority, as far as planning has to know it: what it does not hold is the key.

use serde::Serialize;

use super::{Formation, Monitor, Secret, Sought};

/// What the inventory says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ca {
    /// `ca_dir`: where it is on this machine; `None` is the usual place.
    pub dir: Option<String>,
    /// `ca_key_protection`; `None` leaves a key as it is found, and keeps a new one in clear.
    pub protection: Option<Protection>,
    /// `ca_key_passphrase`; `None` is asked for.
    #[serde(skip)]
    pub passphrase: Option<Sought>,
    /// `ca_command`: what signs in the place of a key.
    pub command: Option<CaCommand>,
}

/// A command that has requests signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaCommand {
    /// For `sh -c`.
    pub line: String,
    /// The folder that it runs in.
    pub base: String,
}

/// How the authority's key is kept on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Whoever may read the file has it.
    Clear,
    /// Encrypted PKCS #8.
    Passphrase,
    /// By ansible-vault.
    Vault,
    Age {
        /// `age1…` and public keys of ssh.
        recipients: Vec<String>,
    },
}

/// Whose signature every certificate of `ssl: managed` has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authority {
    /// The folder on the operator's machine that holds it.
    pub dir: String,
    /// Its certificates as PEM, one text each: the first one signs, the others are trusted beside it while they are
    /// replaced.
    pub certificates: Vec<String>,
    /// Its lists of revoked certificates (CRL) as PEM, one of each certificate; none at all where nobody looks at such a list.
    pub revoked: Vec<String>,
    pub key: SigningKey,
    /// What is not as the inventory asks, and is put right by the next run that signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether the authority is in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningKey {
    /// It is, and signs; one that is encrypted is opened, and compared with the certificate, no sooner than that.
    Here,
    /// `ca_command` has requests signed: there is no key here.
    Elsewhere,
    /// Its certificate is, and its key is not: it signs nothing on this machine.
    Missing,
    /// What is there signs nothing, and why.
    Unusable(String),
    /// The folder is empty: this one was made in memory, and is kept once it is needed.
    Made { key: Secret },
}

impl Formation {
    /// The same with the authority that signs, and what every server is to look at of it.
    pub fn with_authority(mut self, authority: Option<Authority>) -> Formation {
        let has_list = authority.as_ref().is_some_and(|authority| !authority.revoked.is_empty());
        if let Monitor::Managed(server) = &mut self.monitor {
            server.tls.with_list(has_list);
        }
        self.nodes.values_mut().for_each(|node| node.server.tls.with_list(has_list));
        Formation { authority, ..self }
    }
}
