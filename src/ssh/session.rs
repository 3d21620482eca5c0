//! One connection to one host, and the one thing it can do.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, Disconnect};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::auth::{Entry, Login};
use super::clock::Clock;
use super::connect::connect;
use super::credentials::Credentials;
use super::exchange::{End, Exchange, GRACE, Said};
use super::frame::Frame;
use super::host_key::{Doorman, Trust, explain};
use super::output::MAX_STDOUT;
use super::settings::Settings;
use crate::command::{Command, Failure, Output};
use crate::formation::{Host, NodeName};

/// sshd allows ten sessions on a connection (`MaxSessions`) and frees one a moment after it ended.
const CHANNELS: usize = 8;

/// How long a host may take to free a session before it counts as refusing them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stands where there is no status of a command, as it does with ssh.
const NO_STATUS: u32 = 255;

/// A connection somebody is logged in on; share it by reference or `Arc`.
pub struct Session {
    handle: Arc<Handle<Doorman>>,
    name: NodeName,
    /// `ADDRESS port PORT`.
    place: String,
    user: String,
    command_timeout: u64,
    channels: Semaphore,
    /// Why the connection ended, once it has.
    ended: watch::Receiver<Option<String>>,
}

impl Session {
    /// Connects, checks the host's key and logs in, within `settings.connect_timeout` seconds in all.
    ///
    /// Every failure is [`Failure::Unreachable`]. Connections that are turned away before authentication are tried
    /// again; refused keys never are.
    pub async fn connect(
        name: &NodeName,
        host: &Host,
        credentials: &Credentials,
    ) -> Result<Session, Failure> {
        let settings = Settings::of(host, credentials)?;
        Session::reach(name, &settings, credentials, host.command_timeout).await
    }

    /// As [`Session::connect`], with everything decided; a command without a limit of its own may take
    /// `command_timeout` seconds.
    pub async fn reach(
        name: &NodeName,
        settings: &Settings,
        credentials: &Credentials,
        command_timeout: u64,
    ) -> Result<Session, Failure> {
        let clock = Clock::start(Duration::from_secs(settings.connect_timeout));
        let mut login = Login::new(settings, credentials, &clock)?;
        let trust = Trust::read(settings)?;
        let user = settings.user.clone();
        let (handle, word) = loop {
            let (mut handle, word) = connect(settings, &trust, clock.deadline()).await?;
            tracing::debug!(%name, address = settings.hostname, port = settings.port, "connected, host key is known");
            let entry = login.go_on(&mut handle).await;
            if entry == Ok(Entry::LoggedIn) {
                break (handle, word);
            }
            let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
            // Several connections only where the host lets each try a few keys.
            entry?;
        };
        tracing::debug!(%name, user, "logged in");
        Ok(Session {
            handle: Arc::new(handle),
            name: name.clone(),
            place: settings.place(),
            user,
            command_timeout,
            channels: Semaphore::new(CHANNELS),
            ended: word.ended,
        })
    }

    /// Runs a command to its end.
    ///
    /// [`Failure::Unreachable`]: the connection was gone before, nothing ran. [`Failure::Refused`]: it ended with
    /// another status than 0, or the host did not run it; `stderr` says which. Dropping the future closes the channel
    /// but does not end the command.
    pub async fn run(&self, command: &Command) -> Result<Output, Failure> {
        let frame = Frame::new(command, &self.user).map_err(|error| refusal(NO_STATUS, error))?;
        // Waiting for one's turn is no part of the time a command may take.
        let turn = self.channels.acquire().await;
        let _turn = turn.map_err(|_| self.unreachable("it was closed".to_owned()))?;
        let started = Instant::now();
        let result = self.exchange(command, &frame).await;
        let outcome = match &result {
            Ok(_) => "ok".to_owned(),
            Err(Failure::Refused { status, .. }) => format!("status {status}"),
            Err(Failure::Lost { .. }) => "lost".to_owned(),
            Err(Failure::TimedOut { .. }) => "timed out".to_owned(),
            Err(Failure::Unreachable { .. }) => "unreachable".to_owned(),
        };
        let milliseconds = started.elapsed().as_millis();
        tracing::debug!(name = %self.name, run_as = ?command.run_as, args = ?command.args, milliseconds, outcome, "ran");
        result
    }

    /// Says goodbye; commands in flight are lost.
    pub async fn close(&self) {
        // A connection that is gone already needs no goodbye.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }

    async fn exchange(&self, command: &Command, frame: &Frame) -> Result<Output, Failure> {
        let seconds = command.timeout.unwrap_or(self.command_timeout);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let timed_out = || Failure::TimedOut { seconds };
        let channel = timeout_at(deadline, self.open()).await.map_err(|_| timed_out())??;
        let mut exchange = match Exchange::start(channel, &frame.exec).await {
            Ok(exchange) => exchange,
            Err(error) => return Err(self.unreachable(self.cause().await.unwrap_or_else(|| explain(&error)))),
        };
        let end = match timeout_at(deadline, exchange.finish(frame.input.clone(), &self.handle)).await {
            Ok(end) => end,
            Err(_) => {
                self.end(command, frame, &mut exchange).await;
                return Err(timed_out());
            }
        };
        match end {
            End::Gone => Err(Failure::Lost { reason: self.lost().await }),
            End::Closed => Err(Failure::Lost {
                reason: "the host closed the channel and did not say how the command ended".to_owned(),
            }),
            End::TooMuch => {
                self.end(command, frame, &mut exchange).await;
                let text = format!("the command printed more than {} MiB", MAX_STDOUT / 1024 / 1024);
                Err(refusal(NO_STATUS, text))
            }
            End::ExecRefused => Err(refusal(NO_STATUS, format!("{} refuses to run commands", self.place))),
            End::Status(status) => self.judge(frame, exchange.into_said(), status, None),
            End::Signal(name, number) => self.judge(frame, exchange.into_said(), 128 + number, Some(name)),
        }
    }

    /// Tries to end a command nobody waits for any more. What happens to it stays unknown.
    async fn end(&self, command: &Command, frame: &Frame, exchange: &mut Exchange) {
        if exchange.terminate().await {
            return;
        }
        // sshd passes signals on only to what other users than root run ("requires privilege separation").
        let Some(group) = frame.group(exchange.stdout()) else { return };
        let kill = Command::new(command.run_as.clone(), "kill -s TERM -- \"-$1\"").args([group.to_string()]);
        let kill = async {
            let frame = Frame::new(&kill, &self.user).ok()?;
            let mut exchange = Exchange::start(self.open().await.ok()?, &frame.exec).await.ok()?;
            Some(exchange.finish(frame.input, &self.handle).await)
        };
        let sent = timeout(2 * GRACE, kill).await;
        tracing::debug!(name = %self.name, group, ?sent, "ended a command by its process group");
        exchange.ends().await;
    }

    /// A channel for one command. A host may allow fewer than [`CHANNELS`], and frees one only when its process has
    /// ended: it is asked again while others are in use, and for a moment after.
    async fn open(&self) -> Result<Channel<Msg>, Failure> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let error = match self.open_once().await {
                Ok(channel) => return Ok(channel),
                Err(error) => error,
            };
            let alone = self.channels.available_permits() + 1 >= CHANNELS;
            match error {
                error if self.handle.is_closed() => {
                    return Err(self.unreachable(self.cause().await.unwrap_or_else(|| explain(&error))));
                }
                russh::Error::ChannelOpenFailure(_) if !alone || Instant::now() < patience => {
                    sleep(Duration::from_millis(rand::random_range(50..150))).await;
                }
                russh::Error::ChannelOpenFailure(why) => {
                    return Err(Failure::Unreachable {
                        reason: format!("{} opens no session for commands ({why:?})", self.place),
                        hint: "check MaxSessions in its sshd_config, and what else limits this user"
                            .to_owned(),
                    });
                }
                error => return Err(self.unreachable(explain(&error))),
            }
        }
    }

    /// In a task of its own: a channel that opens after its caller has left is closed, not forgotten.
    async fn open_once(&self) -> Result<Channel<Msg>, russh::Error> {
        let (sender, receiver) = oneshot::channel();
        let handle = self.handle.clone();
        tokio::spawn(async move {
            if let Err(Ok(channel)) = sender.send(handle.channel_open_session().await) {
                let _ = channel.close().await;
            }
        });
        receiver.await.map_err(|_| russh::Error::RecvError)?
    }

    fn judge(
        &self,
        frame: &Frame,
        said: Said,
        status: u32,
        signal: Option<String>,
    ) -> Result<Output, Failure> {
        let stderr = said.stderr.into_bytes();
        let Some(stdout) = frame.after_marker(&said.stdout) else {
            return Err(self.not_started(status, &said.stdout, &stderr));
        };
        let stderr = frame.after_marker(&stderr).unwrap_or(&stderr);
        let mut stderr = String::from_utf8_lossy(stderr).into_owned();
        if let Some(signal) = signal {
            if !stderr.is_empty() && !stderr.ends_with('\n') {
                stderr.push('\n');
            }
            stderr.push_str(&format!("the command was ended by {signal}"));
        }
        match status {
            0 => Ok(Output { stdout: stdout.to_vec(), stderr }),
            status => Err(refusal(status, stderr)),
        }
    }

    /// The mark is missing: something else than the script ended the command, and said why.
    fn not_started(&self, status: u32, stdout: &[u8], stderr: &[u8]) -> Failure {
        /// What is said, and what to do about it; the first row that fits.
        const KNOWN: [(&str, &str); 7] = [
            ("password is required", "allow this user sudo without a password (NOPASSWD)"),
            ("not in the sudoers", "allow this user sudo without a password (NOPASSWD)"),
            ("not allowed to execute", "allow this user sudo without a password (NOPASSWD)"),
            ("sudo: not found", "install sudo there, or log in as root"),
            ("sudo: command not found", "install sudo there, or log in as root"),
            ("assword change required", "the user's password has expired: log in by hand and change it"),
            (
                "not available",
                "the user's login shell runs no commands: give it one, or log in as another user",
            ),
        ];
        // Its end is the part that says why; a noisy profile comes first.
        let tail = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]);
            text.lines().filter(|line| *line != "\u{fffd}").collect::<Vec<_>>().join("\n").trim().to_owned()
        };
        let said =
            [tail(stderr), tail(stdout)].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        let said = if said.is_empty() { "nothing was said".to_owned() } else { said.join("\n") };
        let hint = KNOWN.iter().find(|(words, _)| said.contains(words)).map(|(_, hint)| *hint);
        let hint =
            hint.unwrap_or("try it by hand: does ssh with this user run a plain command, such as true?");
        let status = if status == 0 { NO_STATUS } else { status };
        refusal(status, format!("the command did not start for {}: {said}\nhint: {hint}", self.user))
    }

    async fn lost(&self) -> String {
        self.cause().await.unwrap_or_else(|| "the connection ended".to_owned())
    }

    /// Why the connection ended. It is known a moment after its channels fall silent.
    async fn cause(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        let cause = timeout(Duration::from_millis(500), ended.wait_for(Option::is_some)).await;
        cause.ok()?.ok()?.clone()
    }

    fn unreachable(&self, why: String) -> Failure {
        Failure::Unreachable {
            reason: format!("the connection to {} is gone: {why}", self.place),
            hint: "the command was not sent; run again".to_owned(),
        }
    }
}

fn refusal(status: u32, stderr: String) -> Failure {
    Failure::Refused { status, stderr }
}
