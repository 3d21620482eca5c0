//! One host, and the one thing it can do: run a command.

use std::sync::Arc;
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::credentials::Credentials;
use super::exchange::{End, Exchange, GRACE, Said};
use super::frame::Frame;
use super::link::Link;
use super::local;
use super::output::{Full, MAX_SPOOL, MAX_STDOUT, Spool};
use super::settings::Settings;
use crate::command::{Command, Failure, Output, RunAs};
use crate::formation::{Become, BecomeMethod, Host, NodeName};

/// sshd allows ten sessions on a connection (`MaxSessions`) and frees one a moment after it ended.
const CHANNELS: usize = 8;

/// How long a host may take to free a session before it counts as refusing them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stands where there is no status of a command, as it does with ssh.
const NO_STATUS: u32 = 255;

/// A host somebody is logged in on; share it by reference or `Arc`.
pub struct Session {
    pub(super) line: Line,
    name: NodeName,
    pub(super) user: String,
    pub(super) becoming: Become,
    command_timeout: u64,
    channels: Semaphore,
}

pub(super) enum Line {
    Ssh(Arc<Link>),
    /// This machine.
    Local,
}

/// What a command that ended left behind, whatever its status.
pub struct Captured {
    /// As a shell has it: 128 and the signal's number where it was killed.
    pub status: u32,
    pub stdout: Spool,
    pub stderr: String,
}

impl Session {
    /// Connects to one host directly, with everything decided; a command without a limit of its own may take
    /// `command_timeout` seconds. [`super::Transport`] knows the way through bastions.
    ///
    /// Every failure is [`Failure::Unreachable`].
    pub async fn reach(
        name: &NodeName,
        settings: &Settings,
        credentials: &Credentials,
        command_timeout: u64,
    ) -> Result<Session, Failure> {
        let link = Arc::new(Link::open(settings, credentials, None).await?);
        let becoming = Become { method: BecomeMethod::Sudo, password: None };
        Ok(Session::new(Line::Ssh(link), name, settings.user.clone(), becoming, command_timeout))
    }

    /// On a connection that is there.
    pub(super) fn over(link: Arc<Link>, name: &NodeName, host: &Host) -> Session {
        let user = link.settings().user.clone();
        Session::new(Line::Ssh(link), name, user, host.becoming.clone(), host.command_timeout)
    }

    /// On this machine.
    pub(super) fn local(name: &NodeName, host: &Host, credentials: &Credentials) -> Result<Session, Failure> {
        let user = credentials.runner()?;
        Ok(Session::new(Line::Local, name, user, host.becoming.clone(), host.command_timeout))
    }

    fn new(line: Line, name: &NodeName, user: String, becoming: Become, command_timeout: u64) -> Session {
        let channels = Semaphore::new(CHANNELS);
        Session { line, name: name.clone(), user, becoming, command_timeout, channels }
    }

    /// What the operator should know of how the connection came about, said once: a host's key was a first answer.
    pub fn notes(&self) -> Vec<String> {
        match &self.line {
            Line::Ssh(link) => link.notes(),
            Line::Local => Vec::new(),
        }
    }

    /// The key that the host has shown: type and fingerprint.
    pub fn host_key(&self) -> Option<&str> {
        match &self.line {
            Line::Ssh(link) => link.seen().key.as_deref(),
            Line::Local => None,
        }
    }

    /// Runs a command to its end; its output is not worth having unless it ends well.
    ///
    /// [`Failure::Unreachable`]: the connection was gone before, nothing ran. [`Failure::Refused`]: it ended with
    /// another status than 0, or the host did not run it; `stderr` says which. Dropping the future closes the channel
    /// but does not end the command.
    pub async fn run(&self, command: &Command) -> Result<Output, Failure> {
        let Captured { status, stdout, stderr } = self.timed(command, MAX_STDOUT).await?;
        match status {
            0 => {
                let stdout = stdout.into_bytes();
                let stdout = stdout.map_err(|error| refusal(NO_STATUS, cannot_keep(&error.to_string())))?;
                Ok(Output { stdout, stderr })
            }
            status => Err(refusal(status, refused_root(&command.run_as, stderr))),
        }
    }

    /// As [`Session::run`], with any amount of output and whatever the status: [`Failure::Refused`] is only for a
    /// command that did not start, or said too much.
    pub async fn capture(&self, command: &Command) -> Result<Captured, Failure> {
        self.timed(command, MAX_SPOOL).await
    }

    async fn timed(&self, command: &Command, most: u64) -> Result<Captured, Failure> {
        let frame = Frame::new(command, &self.user, &self.becoming);
        let frame = frame.map_err(|error| refusal(NO_STATUS, error))?;
        // Waiting for one's turn is no part of the time a command may take.
        let turn = self.channels.acquire().await;
        let _turn = turn.map_err(|_| self.unreachable("it was closed".to_owned()))?;
        let started = Instant::now();
        let result = self.exchange(command, &frame, most).await;
        let outcome = match &result {
            Ok(Captured { status, .. }) | Err(Failure::Refused { status, .. }) => format!("status {status}"),
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
        match &self.line {
            Line::Ssh(link) => link.close().await,
            Line::Local => (),
        }
    }

    async fn exchange(&self, command: &Command, frame: &Frame, most: u64) -> Result<Captured, Failure> {
        let seconds = command.timeout.unwrap_or(self.command_timeout);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let ended = match &self.line {
            Line::Ssh(link) => self.over_ssh(link, command, frame, most, deadline).await?,
            Line::Local => self.here(command, frame, most, deadline).await.map_err(|error| {
                refusal(NO_STATUS, format!("cannot run a command here: {}", error.to_string().to_lowercase()))
            })?,
        };
        let Some((end, said)) = ended else { return Err(Failure::TimedOut { seconds }) };
        match end {
            End::Gone => Err(Failure::Lost { reason: self.lost().await }),
            End::Closed => Err(Failure::Lost {
                reason: "the host closed the channel and did not say how the command ended".to_owned(),
            }),
            End::Full(Full::Limit(bytes)) => {
                let text = match bytes / 1024 / 1024 {
                    0 => format!("the host printed {} KiB before the command started", bytes / 1024),
                    megabytes => format!("the command printed more than {megabytes} MiB"),
                };
                Err(refusal(NO_STATUS, text))
            }
            End::Full(Full::Disk(error)) => Err(refusal(NO_STATUS, cannot_keep(&error))),
            End::NobodyAsked => {
                let text = "the command did not start: neither was a password asked for, nor did a shell start\n\
                            hint: does sudo or su ask in words of its own, or for more than a password?";
                Err(refusal(NO_STATUS, text.to_owned()))
            }
            End::ExecRefused => Err(refusal(NO_STATUS, format!("{} refuses to run commands", self.place()))),
            End::Status(status) => self.judge(frame, said, status, None),
            End::Signal(name, number) => self.judge(frame, said, 128 + number, Some(name)),
        }
    }

    /// `None` where the deadline came first: what runs as another user is told to end as that user.
    async fn here(
        &self,
        command: &Command,
        frame: &Frame,
        most: u64,
        deadline: Instant,
    ) -> std::io::Result<Option<(End, Said)>> {
        let (end, said) = local::run(frame, most, deadline).await?;
        if let (None, Some(group)) = (&end, said.stdout.group()) {
            for signal in ["TERM", "KILL"] {
                self.kill(command, group, signal).await;
                sleep(GRACE / 2).await;
            }
        }
        Ok(end.map(|end| (end, said)))
    }

    /// `None` where the deadline came first.
    async fn over_ssh(
        &self,
        link: &Link,
        command: &Command,
        frame: &Frame,
        most: u64,
        deadline: Instant,
    ) -> Result<Option<(End, Said)>, Failure> {
        let Ok(channel) = timeout_at(deadline, self.open(link)).await else { return Ok(None) };
        let mut exchange = match Exchange::start(channel?, frame, most).await {
            Ok(exchange) => exchange,
            Err(error) => return Err(self.unreachable(link.why(&error).await)),
        };
        match timeout_at(deadline, exchange.finish(frame, link.handle())).await {
            Ok(end) => {
                if matches!(end, End::Full(_) | End::NobodyAsked) {
                    self.end(command, frame, &mut exchange).await;
                }
                Ok(Some((end, exchange.into_said())))
            }
            Err(_) => {
                self.end(command, frame, &mut exchange).await;
                Ok(None)
            }
        }
    }

    /// Tries to end a command nobody waits for any more. What happens to it stays unknown.
    async fn end(&self, command: &Command, frame: &Frame, exchange: &mut Exchange) {
        if exchange.terminate(frame).await {
            return;
        }
        // sshd passes signals on only to what other users than root run ("requires privilege separation").
        let Some(group) = exchange.group() else { return };
        self.kill(command, group, "TERM").await;
        if !exchange.ends(frame).await {
            self.kill(command, group, "KILL").await;
            exchange.ends(frame).await;
        }
    }

    /// A signal to a group of processes, sent as whoever runs them.
    async fn kill(&self, command: &Command, group: u32, signal: &str) {
        let script = "kill -s \"$2\" -- \"-$1\" 2>/dev/null || :";
        let kill = Command::new(command.run_as.clone(), script).args([group.to_string(), signal.to_owned()]);
        let deadline = Instant::now() + 2 * GRACE;
        let kill = async {
            let frame = Frame::new(&kill, &self.user, &self.becoming).ok()?;
            match &self.line {
                Line::Ssh(link) => {
                    let channel = self.open(link).await.ok()?;
                    let mut exchange = Exchange::start(channel, &frame, MAX_STDOUT).await.ok()?;
                    Some(exchange.finish(&frame, link.handle()).await)
                }
                Line::Local => local::run(&frame, MAX_STDOUT, deadline).await.ok()?.0,
            }
        };
        let sent = timeout_at(deadline, kill).await;
        tracing::debug!(name = %self.name, group, signal, ?sent, "ended a command by its process group");
    }

    /// A channel for one command. A host may allow fewer than [`CHANNELS`], and frees one only when its process has
    /// ended: it is asked again while others are in use, and for a moment after.
    pub(super) async fn open(&self, link: &Link) -> Result<Channel<Msg>, Failure> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let error = match link.session_channel().await {
                Ok(channel) => return Ok(channel),
                Err(error) => error,
            };
            let alone = self.channels.available_permits() + 1 >= CHANNELS;
            match error {
                error if link.handle().is_closed() => return Err(self.unreachable(link.why(&error).await)),
                russh::Error::ChannelOpenFailure(_) if !alone || Instant::now() < patience => {
                    sleep(Duration::from_millis(rand::random_range(50..150))).await;
                }
                russh::Error::ChannelOpenFailure(why) => {
                    return Err(Failure::Unreachable {
                        reason: format!("{} opens no session for commands ({why:?})", self.place()),
                        hint: "check MaxSessions in its sshd_config, and what else limits this user"
                            .to_owned(),
                    });
                }
                error => return Err(self.unreachable(link.why(&error).await)),
            }
        }
    }

    fn judge(
        &self,
        frame: &Frame,
        said: Said,
        status: u32,
        signal: Option<String>,
    ) -> Result<Captured, Failure> {
        let stderr = said.stderr.into_bytes();
        let stdout = match said.stdout.finish() {
            Ok(stdout) => stdout,
            Err(noise) => return Err(self.not_started(frame, status, &noise, &stderr)),
        };
        let stderr = frame.after_marker(&stderr).unwrap_or(&stderr);
        let mut stderr = String::from_utf8_lossy(stderr).into_owned();
        if let Some(signal) = signal {
            if !stderr.is_empty() && !stderr.ends_with('\n') {
                stderr.push('\n');
            }
            stderr.push_str(&format!("the command was ended by {signal}"));
        }
        Ok(Captured { status, stdout, stderr })
    }

    /// The mark is missing: something else than the script ended the command, and said why.
    fn not_started(&self, frame: &Frame, status: u32, stdout: &[u8], stderr: &[u8]) -> Failure {
        // Its end is the part that says why; a noisy profile comes first.
        let tail = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]);
            text.lines()
                .map(|line| frame.without_ours(line))
                .filter(|line| !line.is_empty() && *line != "\u{fffd}")
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .to_owned()
        };
        let said =
            [tail(stderr), tail(stdout)].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        let said = if said.is_empty() { "nothing was said".to_owned() } else { said.join("\n") };
        let hint = known_hint(&said)
            .unwrap_or("try it by hand: does ssh with this user run a plain command, such as true?");
        let status = if status == 0 { NO_STATUS } else { status };
        refusal(status, format!("the command did not start for {}: {said}\nhint: {hint}", self.user))
    }

    /// `ADDRESS port PORT`, as sshd's own messages have it.
    fn place(&self) -> String {
        match &self.line {
            Line::Ssh(link) => link.settings().place(),
            Line::Local => "this machine".to_owned(),
        }
    }

    pub(super) async fn lost(&self) -> String {
        let cause = match &self.line {
            Line::Ssh(link) => link.cause().await,
            Line::Local => None,
        };
        cause.unwrap_or_else(|| "the connection ended".to_owned())
    }

    pub(super) fn unreachable(&self, why: String) -> Failure {
        Failure::Unreachable {
            reason: format!("the connection to {} is gone: {why}", self.place()),
            hint: "the command was not sent; run again".to_owned(),
        }
    }
}

/// What is said, and what to do about it; the first row that fits.
const KNOWN: [(&str, &str); 14] = [
    ("unknown user", "check become_user: there is no such user on the host"),
    ("incorrect password attempt", "check ansible_become_password"),
    ("Authentication failure", "check ansible_become_password, and that this user may use su"),
    (
        "password is required",
        "allow this user sudo without a password (NOPASSWD; muster sudoers prints it), or give ansible_become_password",
    ),
    ("not in the sudoers", "allow it in sudoers: muster sudoers prints what is needed"),
    ("not allowed to execute", "allow it in sudoers: muster sudoers prints what is needed"),
    ("no password was provided", "the password is wrong: check ansible_become_password, or what you typed"),
    ("sudo: not found", "install sudo there, or log in as root"),
    ("sudo: command not found", "install sudo there, or log in as root"),
    ("doas: Authentication required", "allow it without a password: permit nopass in doas.conf"),
    ("doas: command not found", "install doas there, or set ansible_become_method"),
    ("doas: not found", "install doas there, or set ansible_become_method"),
    ("assword change required", "the user's password has expired: log in by hand and change it"),
    ("not available", "the user's login shell runs no commands: give it one, or log in as another user"),
];

fn known_hint(said: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(words, _)| said.contains(words)).map(|(_, hint)| *hint)
}

/// Words of a script that began as the login user and was then refused to become root for one program.
fn refused_root(run_as: &RunAs, stderr: String) -> String {
    let refused = match run_as {
        RunAs::Root => {
            stderr.lines().any(|line| line.starts_with("sudo: ")) || stderr.contains("not allowed to execute")
        }
        RunAs::Login | RunAs::User(_) => false,
    };
    match known_hint(&stderr).filter(|_| refused) {
        Some(hint) => format!("{}\nhint: {hint}", stderr.trim_end()),
        None => stderr,
    }
}

pub(super) fn refusal(status: u32, stderr: String) -> Failure {
    Failure::Refused { status, stderr }
}

fn cannot_keep(error: &str) -> String {
    format!("the output cannot be kept on this machine: {error}\nhint: TMPDIR names a folder with more room")
}
