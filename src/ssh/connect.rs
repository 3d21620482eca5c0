//! From an address to a connection that has shown the right host key; nobody is logged in yet.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::Preferred;
use russh::client::{self, Config, Handle};
use russh::keys::Algorithm;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use super::algorithms;
use super::host_key::{Doorman, Trust, Word, explain};
use super::settings::Settings;
use crate::command::Failure;

/// A busy sshd turns connections away at random before it asks who it is (`MaxStartups`): try again, a few times.
const TRIES: u32 = 5;

/// Why one try failed.
enum Miss {
    /// Turned away before authentication: worth another try.
    TurnedAway(String),
    Final(Failure),
}

/// Connects within the deadline; every address the name stands for is tried.
pub(super) async fn connect(
    settings: &Settings,
    trust: &Trust,
    deadline: Instant,
) -> Result<(Handle<Doorman>, Word), Failure> {
    let addresses = resolve(settings, deadline).await?;
    let config = Arc::new(config(settings, trust.algorithms(), algorithms::preferred(&settings.algorithms)?));
    let mut reason = String::new();
    for number in 0..TRIES {
        if number > 0 {
            // Doubling from 100 ms, with jitter: 60 hosts behind one sshd would else come back all at once.
            let pause = Duration::from_millis(rand::random_range(50..=100) << number);
            if Instant::now() + pause >= deadline {
                break;
            }
            tracing::debug!(address = settings.hostname, reason, "connecting again");
            sleep(pause).await;
        }
        let stream = match dial(settings, &addresses, deadline).await {
            Ok(stream) => stream,
            Err(Miss::TurnedAway(why)) => {
                reason = why;
                continue;
            }
            Err(Miss::Final(failure)) => return Err(failure),
        };
        match shake_hands(settings, trust, config.clone(), stream, deadline).await {
            Ok(connected) => return Ok(connected),
            Err(Miss::TurnedAway(why)) => reason = why,
            Err(Miss::Final(failure)) => return Err(failure),
        }
    }
    Err(Failure::Unreachable {
        reason: format!("{} turns connections away: {reason}", settings.place()),
        hint:
            "sshd may be overloaded (MaxStartups) or lock this address out for a while (PerSourcePenalties); \
               see its log"
                .to_owned(),
    })
}

async fn resolve(settings: &Settings, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let unresolved = |why: String| Failure::Unreachable {
        reason: format!("cannot resolve {}: {why}", settings.hostname),
        hint: "check the host's address in the inventory, and DNS".to_owned(),
    };
    match timeout_at(deadline, lookup_host((settings.hostname.as_str(), settings.port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() { Err(unresolved("it has no address".to_owned())) } else { Ok(addresses) }
        }
        Ok(Err(error)) => Err(unresolved(error.to_string())),
        Err(_) => Err(unresolved(format!("no answer within {} s", settings.connect_timeout))),
    }
}

/// The first address that answers. The remaining time is shared: one that is silent must not use up all of it.
async fn dial(settings: &Settings, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Miss> {
    let mut errors = Vec::new();
    let mut refused = false;
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
        let error = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small packets wait for acknowledgements otherwise: 40 ms and more for every command.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%address, %error, "TCP_NODELAY was not set");
                }
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(Miss::TurnedAway(error.to_string().to_lowercase()));
            }
            Ok(Err(error)) => {
                refused |= error.kind() == std::io::ErrorKind::ConnectionRefused;
                error.to_string().to_lowercase()
            }
            Err(_) => format!("no answer within {} s", settings.connect_timeout),
        };
        errors.push(if addresses.len() == 1 { error } else { format!("{address}: {error}") });
    }
    let hint = match refused {
        true => format!("is sshd running there, on port {}?", settings.port),
        false => "is the host up, and does a firewall let this machine in?".to_owned(),
    };
    let reason = format!("cannot connect to {}: {}", settings.place(), errors.join("; "));
    Err(Miss::Final(Failure::Unreachable { reason, hint }))
}

/// Banner, key exchange and host key, over any stream: the library's own timers cover none of them.
async fn shake_hands<S>(
    settings: &Settings,
    trust: &Trust,
    config: Arc<Config>,
    stream: S,
    deadline: Instant,
) -> Result<(Handle<Doorman>, Word), Miss>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (doorman, word) = trust.doorman(settings);
    let result = timeout_at(deadline, client::connect_stream(config, stream, doorman)).await;
    if let Some(refusal) = word.refusal() {
        return Err(Miss::Final(refusal));
    }
    let error = match result {
        Ok(Ok(handle)) => return Ok((handle, word)),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(Miss::Final(Failure::Unreachable {
                reason: format!(
                    "{} took the connection and then fell silent: no session within {} s",
                    settings.place(),
                    settings.connect_timeout
                ),
                hint: "is it an SSH server? one under load may need a longer connect_timeout".to_owned(),
            }));
        }
    };
    // The host's own word, where it took leave with one.
    let said = word.ended.borrow().clone().unwrap_or_else(|| explain(&error));
    if is_turned_away(&error) {
        return Err(Miss::TurnedAway(said));
    }
    let hint = match error {
        russh::Error::Version => "what answers there is not an SSH server",
        russh::Error::NoCommonAlgo { .. } => "update sshd there, or allow a current algorithm",
        _ => "try ssh -v to the same address",
    };
    let reason = format!("no SSH session with {}: {said}", settings.place());
    Err(Miss::Final(Failure::Unreachable { reason, hint: hint.to_owned() }))
}

fn is_turned_away(error: &russh::Error) -> bool {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => true,
        russh::Error::IO(error) => matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

fn config(settings: &Settings, recorded: impl Iterator<Item = Algorithm>, own: Preferred) -> Config {
    Config {
        preferred: Preferred { key: Cow::Owned(host_key_types(recorded)), ..own },
        gex: algorithms::groups(),
        // There is no inactivity timeout on purpose: it would end commands that are silent for long, such as a base
        // backup.
        keepalive_interval: Some(Duration::from_secs(settings.alive_interval))
            .filter(|every| !every.is_zero()),
        keepalive_max: usize::try_from(settings.alive_count_max).unwrap_or(usize::MAX),
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

/// Recorded types first, so that a host with several keys shows one that can be checked; never SHA-1.
fn host_key_types(recorded: impl Iterator<Item = Algorithm>) -> Vec<Algorithm> {
    let recorded: Vec<Algorithm> = recorded.collect();
    let is_recorded = |wanted: &Algorithm| match wanted {
        Algorithm::Rsa { .. } => recorded.iter().any(|kind| matches!(kind, Algorithm::Rsa { .. })),
        other => recorded.contains(other),
    };
    let all = Preferred::DEFAULT.key;
    let usable = || all.iter().filter(|kind| !matches!(kind, Algorithm::Rsa { hash: None })).cloned();
    usable().filter(|kind| is_recorded(kind)).chain(usable().filter(|kind| !is_recorded(kind))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_types_come_first_and_sha1_never() {
        let names = |recorded: Vec<Algorithm>| -> Vec<String> {
            host_key_types(recorded.into_iter()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(vec![])[0], "ssh-ed25519");
        let rsa = names(vec![Algorithm::Rsa { hash: None }]);
        assert_eq!(rsa[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
        assert!(!rsa.contains(&"ssh-rsa".to_owned()));
        assert_eq!(rsa.len(), 6);
    }
}
