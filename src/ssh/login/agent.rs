//! The operator's agent: what it holds, and its signatures.

use std::path::Path;
use std::time::Duration;

use russh::client::Handle;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::list;
use crate::ssh::host_key::Doorman;

/// An agent may want a confirmation, or a touch of the token; sshd gives up after as long (`LoginGraceTime`).
const PATIENCE: Duration = Duration::from_secs(120);

/// The agent, for one connection, and what it holds.
pub(super) struct Agent {
    client: Option<AgentClient<UnixStream>>,
    pub(super) identities: Vec<AgentIdentity>,
    /// Why there is no agent although its socket is named.
    pub(super) trouble: Option<String>,
}

impl Agent {
    /// Its owner may have to unlock it before it lists its keys: the caller stops the host's clock meanwhile.
    pub(super) async fn connect(handle: &Handle<Doorman>, path: Option<&Path>) -> Agent {
        let Some(path) = path else {
            return Agent { client: None, identities: Vec::new(), trouble: None };
        };
        let listed = timeout(PATIENCE, Agent::identities(handle, path)).await;
        let error = match listed {
            Ok(Ok((client, identities))) => return Agent { client: Some(client), identities, trouble: None },
            Ok(Err(error)) => error,
            Err(_) => format!("it has not listed its keys within {} s", PATIENCE.as_secs()),
        };
        let trouble = Some(format!("the agent at {}: {error}", path.display()));
        Agent { client: None, identities: Vec::new(), trouble }
    }

    async fn identities(
        handle: &Handle<Doorman>,
        path: &Path,
    ) -> Result<(AgentClient<UnixStream>, Vec<AgentIdentity>), String> {
        let mut stream = UnixStream::connect(path).await.map_err(|error| error.to_string().to_lowercase())?;
        if let Some(binding) = handle.agent_session_binding() {
            // Shows keys that are limited to certain hosts. Other agents than OpenSSH's do not know the request.
            let _ = AgentClient::connect(&mut stream).bind_session(binding, false).await;
        }
        let identities = list::identities(&mut stream).await?;
        Ok((AgentClient::connect(stream), identities))
    }

    pub(super) fn is_there(&self) -> bool {
        self.client.is_some()
    }

    pub(super) fn find(&self, public: &KeyData) -> Option<&AgentIdentity> {
        self.identities.iter().find(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => key.key_data() == public,
            AgentIdentity::Certificate { .. } => false,
        })
    }

    pub(super) fn find_certificate(&self, wanted: &Certificate) -> Option<&AgentIdentity> {
        let wanted = wanted.to_bytes().ok()?;
        self.identities.iter().find(|identity| match identity {
            AgentIdentity::PublicKey { .. } => false,
            AgentIdentity::Certificate { certificate, .. } => {
                certificate.to_bytes().is_ok_and(|bytes| bytes == wanted)
            }
        })
    }

    /// `data` with the signature behind it, as the library wants it.
    pub(super) async fn sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        let Some(client) = &mut self.client else { return Err("the agent is gone".to_owned()) };
        match timeout(PATIENCE, client.sign_request(identity, hash, data)).await {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(russh::keys::Error::AgentFailure)) => Err("the agent does not sign".to_owned()),
            Ok(Err(error)) => Err(format!("the agent does not sign: {error}")),
            Err(_) => {
                // Its answer may still come, and must not be taken for another's.
                self.client = None;
                Err(format!("the agent has not signed within {} s", PATIENCE.as_secs()))
            }
        }
    }
}
