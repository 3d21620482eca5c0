//! The formation's own certificate authority, as far as planning has to know it: what it does not hold is the key.

use serde::Serialize;

use super::{Formation, Monitor, Secret};

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
}

/// Whether the authority is in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningKey {
    /// It is, and signs.
    Here,
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
