//! Logging in: the methods the host takes, in the operator's order, over as many connections as sshd's patience allows.

mod agent;
mod clock;
mod key_file;
mod list;
mod offers;
mod password;
mod pen;
mod refusal;

use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::{Algorithm, HashAlg};
use russh::{MethodKind, MethodSet};

use self::agent::Agent;
use self::offers::{By, Files, Offer, Shown, State, blob, offers};
use self::password::Answers;
use self::pen::{Pen, Unsigned};
use self::refusal::Refusal;
use super::credentials::Credentials;
use super::host_key::{Doorman, explain};
use super::settings::{Method, Settings};
use crate::command::Failure;

pub(super) use self::clock::Clock;
pub(super) use self::key_file::KeyFile;

/// sshd disconnects at the sixth failure (`MaxAuthTries`), before it says that it was one.
const ATTEMPTS: usize = 5;

/// sshd locks an address out after a few connections that nobody logged in on (`PerSourcePenalties`).
const CONNECTIONS: usize = 3;

/// Nobody reads a question and answers it faster.
const SLOW: Duration = Duration::from_secs(1);

/// How a connection ended that nobody was refused on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ssh) enum Entry {
    LoggedIn,
    /// The host's patience with this connection is used up, or nearly: go on with another.
    Again,
}

/// What has been tried to log in on one host; it goes on from connection to connection.
pub(in crate::ssh) struct Login<'a> {
    settings: &'a Settings,
    credentials: &'a Credentials,
    clock: &'a Clock,
    files: Files,
    /// Known once the first connection stands: an agent shows some keys to certain hosts only.
    offers: Option<Vec<Offer>>,
    answers: Answers<'a>,
    refusal: Refusal,
    connections: usize,
    /// What the host has accepted on this connection.
    entered: Vec<String>,
}

/// One connection.
struct Line<'a> {
    handle: &'a mut Handle<Doorman>,
    agent: Agent,
    failures: usize,
    /// The best RSA hash the host takes, once it was asked for: without an answer that takes a second.
    rsa: Option<Result<HashAlg, String>>,
    /// What the host takes; `None` before it has said so.
    open: Option<MethodSet>,
}

/// What to try next.
enum Next {
    Key(usize),
    Method(Method),
    /// Nothing, to hear what the host takes.
    Question,
}

impl<'a> Login<'a> {
    /// Reads the key files that are named; a mistake in them is told before anything is sent.
    pub(in crate::ssh) fn new(
        settings: &'a Settings,
        credentials: &'a Credentials,
        clock: &'a Clock,
    ) -> Result<Login<'a>, Failure> {
        Ok(Login {
            settings,
            credentials,
            clock,
            files: Files::read(settings, credentials)?,
            offers: None,
            answers: Answers::new(settings, credentials, clock),
            refusal: Refusal::new(settings),
            connections: 0,
            entered: Vec::new(),
        })
    }

    /// What the host has accepted, in its order.
    pub(in crate::ssh) fn entered(&self) -> &[String] {
        &self.entered
    }

    /// Goes on over a new connection. After a refusal never again: sshd counts, and locks out whoever keeps trying.
    pub(in crate::ssh) async fn go_on(&mut self, handle: &mut Handle<Doorman>) -> Result<Entry, Failure> {
        let clock = self.clock;
        clock.limit(self.attempt(handle)).await.unwrap_or_else(|| {
            let (user, seconds) = (&self.settings.user, self.settings.connect_timeout);
            Err(Failure::Unreachable {
                reason: format!("logging in as {user} took longer than {seconds} s"),
                hint: "is the host overloaded? else raise connect_timeout".to_owned(),
            })
        })
    }

    async fn attempt(&mut self, handle: &mut Handle<Doorman>) -> Result<Entry, Failure> {
        let agent = Agent::connect(handle, self.settings.identity_agent.as_deref());
        let agent = self.clock.stopped(agent).await;
        let mut line = Line { handle, agent, failures: 0, rsa: None, open: None };
        self.connections += 1;
        let stood = self.clock.stood();
        if self.offers.is_none() {
            let (offers, notes) = offers(&self.files, &line.agent, self.settings, self.credentials)?;
            self.refusal.notes = notes;
            self.offers = Some(offers);
        }
        // What counted on the last connection does not on this one.
        self.entered.clear();
        self.each_offer(|offer| {
            if offer.state == State::Used {
                offer.state = State::Waiting;
            }
        });
        while let Some(next) = self.next(&line) {
            if line.failures >= ATTEMPTS {
                return self.again();
            }
            let result = match &next {
                Next::Key(index) => self.key(*index, &mut line).await,
                Next::Method(method) => self.method(*method, &mut line).await,
                Next::Question => {
                    let answer = line.handle.authenticate_none(&self.settings.user).await;
                    answer.map_err(|error| Trouble::Here(explain(&error)))
                }
            };
            let label = self.label(&next);
            let (remaining, partial) = match result {
                Ok(AuthResult::Success) => {
                    self.remember(&next);
                    self.entered.extend(label);
                    return Ok(Entry::LoggedIn);
                }
                Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                    (remaining_methods, partial_success)
                }
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Here(why)) => {
                    self.refusal.tried(label.map(|label| format!("{label}: {why}")));
                    self.mark(&next, State::Refused);
                    if line.handle.is_closed() || matches!(next, Next::Question) {
                        return self.cut_off(&line);
                    }
                    continue;
                }
            };
            tracing::debug!(
                user = self.settings.user,
                tried = label,
                ?remaining,
                partial,
                "not logged in yet"
            );
            if remaining.is_empty() && !partial {
                // The library's word for a connection that ended: sshd says so instead of refusing the last key.
                if self.clock.stood() > stood + SLOW && self.connections < CONNECTIONS {
                    // The answer came too late for this connection (`LoginGraceTime`), but not for another.
                    self.mark(&next, State::Waiting);
                    return Ok(Entry::Again);
                }
                line.failures += usize::from(label.is_some());
                self.refusal.tried(label);
                self.mark(&next, State::Refused);
                return self.cut_off(&line);
            }
            self.judge(&next, label, &remaining, partial, &mut line);
            self.refusal.remaining = Some((remaining.clone(), partial));
            line.open = Some(remaining);
        }
        Err(self.refused())
    }

    /// What the host's answer means for the next attempts.
    fn judge(
        &mut self,
        next: &Next,
        label: Option<String>,
        remaining: &MethodSet,
        partial: bool,
        line: &mut Line<'_>,
    ) {
        if partial {
            self.entered.extend(label.clone());
            self.refusal.accepted(label);
            self.mark(next, State::Used);
            return;
        }
        match next {
            // It was not looked at: another method has to come first.
            Next::Key(_) if !remaining.contains(&MethodKind::PublicKey) => {}
            Next::Key(_) | Next::Method(_) => {
                line.failures += 1;
                self.mark(next, State::Refused);
                self.refusal.tried(label);
            }
            Next::Question => {}
        }
    }

    fn next(&self, line: &Line<'_>) -> Option<Next> {
        let takes = |kind| line.open.as_ref().is_none_or(|open| open.contains(&kind));
        for method in &self.settings.methods {
            match method {
                Method::PublicKey => {
                    let mut offers = self.offers.iter().flatten();
                    let waiting = offers.position(|offer| offer.state == State::Waiting);
                    if let Some(index) = waiting.filter(|_| takes(MethodKind::PublicKey)) {
                        return Some(Next::Key(index));
                    }
                }
                Method::KeyboardInteractive | Method::Password => {
                    let kind = kind(*method);
                    if self.answers.may_try(*method) && takes(kind) {
                        // Before a password is sent, and before somebody is asked for one in vain.
                        let known = line.open.is_some();
                        return Some(if known { Next::Method(*method) } else { Next::Question });
                    }
                }
            }
        }
        None
    }

    async fn key(&self, index: usize, line: &mut Line<'_>) -> Result<AuthResult, Trouble> {
        let Some(offer) = self.offers.iter().flatten().nth(index) else {
            return Err(Trouble::Here("it is gone".to_owned()));
        };
        let (settings, credentials, clock) = (self.settings, self.credentials, self.clock);
        let user = settings.user.as_str();
        tracing::debug!(user, key = offer.label, "offering a key");
        let hidden;
        let shown = match (&offer.shown, &offer.by) {
            (Shown::Hidden, By::File(path, file)) => {
                let key = clock.stopped(file.unlock(path, credentials.asker(), settings.prompts)).await;
                hidden = Shown::Key(key.map_err(Trouble::Here)?.public_key().clone());
                &hidden
            }
            (shown, By::File(..) | By::Agent(_)) => shown,
        };
        let (algorithm, is_certificate) = match shown {
            Shown::Key(key) => (key.algorithm(), false),
            Shown::Certificate(certificate) => (certificate.algorithm(), true),
            Shown::Hidden => return Err(Trouble::Here("nobody knows its public half".to_owned())),
        };
        let hash = self.hash(&algorithm, is_certificate, line).await.map_err(Trouble::Here)?;
        let mut pen = Pen { by: &offer.by, agent: &mut line.agent, settings, credentials, clock };
        let result = match shown {
            Shown::Key(key) => {
                line.handle.authenticate_publickey_with(user, key.clone(), hash, &mut pen).await
            }
            Shown::Certificate(certificate) => {
                let certificate = certificate.as_ref().clone();
                line.handle.authenticate_certificate_with(user, certificate, hash, &mut pen).await
            }
            Shown::Hidden => return Err(Trouble::Here("nobody knows its public half".to_owned())),
        };
        result.map_err(|Unsigned(why)| Trouble::Here(why))
    }

    /// SHA-2 for RSA keys: which one the host can, or the one every host of this decade can.
    async fn hash(
        &self,
        algorithm: &Algorithm,
        is_certificate: bool,
        line: &mut Line<'_>,
    ) -> Result<Option<HashAlg>, String> {
        let best = match (matches!(algorithm, Algorithm::Rsa { .. }), &line.rsa) {
            (false, _) => None,
            (true, Some(known)) => Some(known.clone()?),
            (true, None) => {
                let best = match line.handle.best_supported_rsa_hash().await {
                    Ok(Some(Some(hash))) => Ok(hash),
                    Ok(Some(None)) => Err("the host takes RSA keys with SHA-1 only".to_owned()),
                    Ok(None) => Ok(HashAlg::Sha256),
                    Err(error) => Err(explain(&error)),
                };
                line.rsa = Some(best.clone());
                Some(best?)
            }
        };
        let hash = pen::hash(&self.settings.algorithms, algorithm, is_certificate, best);
        hash.ok_or_else(|| "PubkeyAcceptedAlgorithms leaves no hash that the host takes".to_owned())
    }

    async fn method(&mut self, method: Method, line: &mut Line<'_>) -> Result<AuthResult, Trouble> {
        match method {
            Method::Password => self.answers.password(line.handle).await,
            Method::KeyboardInteractive => self.answers.keyboard_interactive(line.handle).await,
            Method::PublicKey => Err(Trouble::Here("there is no key left".to_owned())),
        }
    }

    /// The host has ended the connection. If that was for too many failures, another connection may go on.
    fn cut_off(&mut self, line: &Line<'_>) -> Result<Entry, Failure> {
        self.refusal.remaining = Some((MethodSet::empty(), false));
        // One failure is no reason to hang up: the host does not want to talk at all.
        if line.failures > 1 { self.again() } else { Err(self.refused()) }
    }

    fn again(&mut self) -> Result<Entry, Failure> {
        let left = self.offers.iter().flatten().filter(|offer| offer.state == State::Waiting).count();
        let more = left > 0 || self.answers.may_try_any();
        if more && self.connections < CONNECTIONS {
            return Ok(Entry::Again);
        }
        self.refusal.left = left;
        Err(self.refused())
    }

    fn refused(&self) -> Failure {
        self.refusal.explain(self.offers.as_ref().is_none_or(Vec::is_empty), &self.answers)
    }

    fn label(&self, next: &Next) -> Option<String> {
        match next {
            Next::Key(index) => self.offers.iter().flatten().nth(*index).map(|offer| offer.label.clone()),
            Next::Method(method) => Some(<&str>::from(&kind(*method)).to_owned()),
            Next::Question => None,
        }
    }

    fn mark(&mut self, next: &Next, state: State) {
        if let Next::Key(index) = next
            && let Some(offer) = self.offers.iter_mut().flatten().nth(*index)
        {
            offer.state = state;
        }
    }

    fn each_offer(&mut self, change: impl Fn(&mut Offer)) {
        self.offers.iter_mut().flatten().for_each(change);
    }

    fn remember(&self, next: &Next) {
        if let Next::Key(index) = next
            && let Some(By::Agent(identity)) = self.offers.iter().flatten().nth(*index).map(|offer| &offer.by)
        {
            self.credentials.has_worked(&blob(identity));
        }
    }
}

/// Why an attempt gave no answer of the host's.
pub(super) enum Trouble {
    /// Others may still do.
    Here(String),
    /// Nothing will.
    Final(Failure),
}

pub(in crate::ssh) fn kind(method: Method) -> MethodKind {
    match method {
        Method::PublicKey => MethodKind::PublicKey,
        Method::KeyboardInteractive => MethodKind::KeyboardInteractive,
        Method::Password => MethodKind::Password,
    }
}
