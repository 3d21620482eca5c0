//! What an agent holds. One key that nobody knows never hides the others, and a comment is bytes.
//!
//! Source: the agent's protocol, draft-ietf-sshm-ssh-agent, section 3.5.

use russh::keys::Certificate;
use russh::keys::agent::AgentIdentity;
use russh::keys::key::parse_public_key;
use russh::keys::ssh_encoding::{Decode as _, Reader as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

/// Bytes of an answer; OpenSSH's own limit (`AGENT_MAX_LEN`).
const LARGEST: u32 = 256 * 1024;

const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// Asks the agent behind `stream`. Keys of types that the library does not know are left out, as ssh does.
pub(super) async fn identities<S>(stream: &mut S) -> Result<Vec<AgentIdentity>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: std::io::Error| format!("it does not answer: {}", error.to_string().to_lowercase());
    stream.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).await.map_err(broken)?;
    let length = stream.read_u32().await.map_err(broken)?;
    if length > LARGEST {
        return Err(format!("its answer has {length} bytes, at most {LARGEST} are read"));
    }
    let mut answer = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    match answer.split_first() {
        Some((&IDENTITIES_ANSWER, rest)) => parse(rest).map_err(|_| "its list of keys is cut off".to_owned()),
        Some(_) | None => Err("it does not list its keys; it may be locked".to_owned()),
    }
}

fn parse(mut rest: &[u8]) -> Result<Vec<AgentIdentity>, russh::keys::ssh_encoding::Error> {
    let count = u32::decode(&mut rest)?;
    let mut identities = Vec::new();
    for _ in 0..count {
        let blob = Vec::decode(&mut rest)?;
        let comment = Vec::decode(&mut rest)?;
        match identity(&blob, String::from_utf8_lossy(&comment).into_owned()) {
            Some(identity) => identities.push(identity),
            None => tracing::debug!(bytes = blob.len(), "the agent holds a key of a type that is not known"),
        }
    }
    rest.finish(identities)
}

fn identity(mut blob: &[u8], comment: String) -> Option<AgentIdentity> {
    // A certificate is signed by a key; one signed by a certificate, and so on, is nobody's.
    if blob.windows(CERTIFICATE.len()).filter(|window| *window == CERTIFICATE).count() > 1 {
        return None;
    }
    let whole = blob;
    let name = Vec::decode(&mut blob).ok()?;
    if name.ends_with(CERTIFICATE) {
        let certificate = Certificate::from_bytes(whole).ok()?;
        return Some(AgentIdentity::Certificate { certificate, comment });
    }
    let key = parse_public_key(whole).ok()?;
    Some(AgentIdentity::PublicKey { key, comment })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes()[..], bytes].concat()
    }

    /// A public key of Ed25519 as it is sent.
    fn ed25519() -> Vec<u8> {
        // The base point: a key that every library takes.
        let mut point = [0x66; 32];
        point[0] = 0x58;
        [string(b"ssh-ed25519"), string(&point)].concat()
    }

    async fn listed(keys: &[(Vec<u8>, &[u8])]) -> Result<Vec<AgentIdentity>, String> {
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend(u32::try_from(keys.len()).unwrap().to_be_bytes());
        for (blob, comment) in keys {
            answer.extend(string(blob));
            answer.extend(string(comment));
        }
        answered(answer).await
    }

    async fn answered(answer: Vec<u8>) -> Result<Vec<AgentIdentity>, String> {
        let (mut here, mut agent) = tokio::io::duplex(1 << 12);
        agent.write_all(&string(&answer)).await.unwrap();
        identities(&mut here).await
    }

    #[tokio::test]
    async fn one_bad_key_hides_no_other() {
        let unknown = [string(b"ssh-ed448"), string(&[7; 57])].concat();
        let x509 = [string(b"x509v3-ssh-rsa"), string(b"whatever")].concat();
        let broken = b"\xff\xff".to_vec();
        let keys = [
            (unknown, &b"a"[..]),
            (ed25519(), b"caf\xe9"),
            (x509, b""),
            (broken, b""),
            (ed25519(), b"second"),
        ];
        let found = listed(&keys).await.unwrap();
        let comments: Vec<&str> = found
            .iter()
            .map(|identity| match identity {
                AgentIdentity::PublicKey { comment, .. } | AgentIdentity::Certificate { comment, .. } => {
                    comment.as_str()
                }
            })
            .collect();
        assert_eq!(comments, ["caf\u{fffd}", "second"]);
    }

    #[tokio::test]
    async fn an_agent_that_does_not_list_says_so() {
        let locked = "it does not list its keys; it may be locked";
        assert_eq!(answered(vec![5]).await.unwrap_err(), locked);
        assert_eq!(answered(Vec::new()).await.unwrap_err(), locked);
        let cut_off = [&[IDENTITIES_ANSWER][..], &5u32.to_be_bytes()].concat();
        assert_eq!(answered(cut_off).await.unwrap_err(), "its list of keys is cut off");
    }
}
