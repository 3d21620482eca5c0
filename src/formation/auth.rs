//! How those prove who they are that come in over the network.

use serde::Serialize;

/// HBA authentication methods that `--auth` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Auth {
    Trust,
    Md5,
    ScramSha256,
    /// Each node by its certificate, and `pg_ident.conf` says which roles it may be.
    Cert,
    /// `peer`, `ldap …`: written into the rules as it is.
    Other(String),
}

/// The map of `pg_ident.conf` that muster writes.
pub const MAP: &str = "muster";

impl Auth {
    /// The word of the inventory.
    pub fn as_str(&self) -> &str {
        match self {
            Auth::Trust => "trust",
            Auth::Md5 => "md5",
            Auth::ScramSha256 => "scram-sha-256",
            Auth::Cert => "cert",
            Auth::Other(method) => method,
        }
    }

    /// What stands at the end of a rule, and in `auth_method` of `pg_autoctl.cfg`: keepers write that behind theirs as it is.
    pub fn rule(&self) -> String {
        match self {
            Auth::Cert => format!("cert map={MAP}"),
            Auth::Trust | Auth::Md5 | Auth::ScramSha256 | Auth::Other(_) => self.as_str().to_owned(),
        }
    }

    /// Whether whoever comes in has to know a password that the server keeps.
    pub fn is_password(&self) -> bool {
        match self {
            Auth::Md5 | Auth::ScramSha256 => true,
            Auth::Other(method) => method == "password",
            Auth::Trust | Auth::Cert => false,
        }
    }
}
