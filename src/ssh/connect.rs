//! From an address to a connection that has shown the right host key; nobody is logged in yet.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Config, Handle};
use tokio::time::{Instant, sleep, timeout_at};

use super::algorithms;
use super::dial::{Dialled, Miss, ProxyProcess, dial};
use super::host_key::{Doorman, Trust, Word, explain};
use super::link::Link;
use super::settings::Settings;
use crate::command::Failure;

/// The longest pause before a busy sshd is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Nobody but a busy sshd turns away this often; a guess that has held for 200 hosts at once.
const TRIES: u32 = 30;

/// A connection that has shown the right key, and what it needs to live on.
pub(super) struct Connected {
    pub(super) handle: Handle<Doorman>,
    pub(super) word: Word,
    pub(super) proxy: Option<ProxyProcess>,
}

/// Connects within the deadline, over TCP to every address the name stands for, or as the settings say.
///
/// A busy sshd turns connections away at random before it asks who it is (`MaxStartups`): it is asked again, with
/// pauses that grow, until the deadline.
pub(super) async fn connect(
    settings: &Settings,
    trust: &Trust,
    through: Option<&Link>,
    deadline: Instant,
) -> Result<Connected, Failure> {
    let config = Arc::new(config(settings, trust)?);
    let mut reason = String::new();
    for number in 0..TRIES {
        if number > 0 {
            // Doubling from 100 ms, with jitter: 60 hosts behind one sshd would else come back all at once.
            let most = LONGEST_PAUSE.min(Duration::from_millis(100 << number.min(10)));
            let pause = most.mul_f64(rand::random_range(0.5..1.0));
            if Instant::now() + pause >= deadline {
                break;
            }
            tracing::debug!(address = settings.hostname, reason, "connecting again");
            sleep(pause).await;
        }
        let dialled = match dial(settings, through, deadline).await {
            Ok(dialled) => dialled,
            Err(Miss::TurnedAway(why)) => {
                reason = why;
                continue;
            }
            Err(Miss::Final(failure)) => return Err(failure),
        };
        match shake_hands(settings, trust, config.clone(), dialled, deadline).await {
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

/// Banner, key exchange and host key, over any stream: the library's own timers cover none of them.
async fn shake_hands(
    settings: &Settings,
    trust: &Trust,
    config: Arc<Config>,
    dialled: Dialled,
    deadline: Instant,
) -> Result<Connected, Miss> {
    let Dialled { stream, proxy } = dialled;
    let (doorman, word) = trust.doorman(settings);
    let result = timeout_at(deadline, client::connect_stream(config, stream, doorman)).await;
    if let Some(refusal) = word.refusal() {
        return Err(Miss::Final(refusal));
    }
    let error = match result {
        Ok(Ok(handle)) => return Ok(Connected { handle, word, proxy }),
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
        let Some(proxy) = proxy else { return Err(Miss::TurnedAway(said)) };
        return Err(Miss::Final(Failure::Unreachable {
            reason: format!("no SSH session with {}: {}", settings.place(), proxy.last_words().await),
            hint: "try ssh to the same host: it runs the same ProxyCommand".to_owned(),
        }));
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

fn config(settings: &Settings, trust: &Trust) -> Result<Config, Failure> {
    Ok(Config {
        preferred: trust.prefer(settings, algorithms::preferred(&settings.algorithms)?)?,
        gex: algorithms::groups(),
        // There is no inactivity timeout on purpose: it would end commands that are silent for long, such as a base
        // backup.
        keepalive_interval: Some(Duration::from_secs(settings.alive_interval))
            .filter(|every| !every.is_zero()),
        keepalive_max: usize::try_from(settings.alive_count_max).unwrap_or(usize::MAX),
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    })
}
