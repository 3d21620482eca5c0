//! One exec on one channel: writes the input while it reads what is said, until the channel ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Handle, Handler, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::becoming::{Gate, Reply};
use super::frame::Frame;
use super::output::{Full, HeadAndTail, Stdout};

/// A command that has ended may leave a child behind that holds its output open (`pg_ctl start` without `-l`): the
/// channel stays open then, silent. That a stalled network is silent too is why the host is asked for a sign of life
/// before the output is taken to be complete: its answer comes behind everything it sent before.
const SILENCE_AFTER_END: Duration = Duration::from_secs(2);

/// How long a program that becomes another user may take to ask, or to start a shell: PAM may ask servers of its own.
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// How long a command may take to end after SIGTERM, before nobody listens any more.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A command on its way.
pub(super) struct Exchange {
    read: ChannelReadHalf,
    line: Line,
    said: Said,
}

/// Everything heard so far.
pub(super) struct Said {
    pub(super) stdout: Stdout,
    pub(super) stderr: HeadAndTail,
    end: Option<End>,
    /// Nothing more will be said: all output has arrived.
    complete: bool,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Status(u32),
    /// Killed: the signal's name, and its number or 0.
    Signal(String, u32),
    /// The host did not start it.
    ExecRefused,
    /// Standard output is not taken in any more; it may still be running.
    Full(Full),
    /// Neither sudo or su asked for its password, nor did a shell start.
    NobodyAsked,
    /// The host closed the channel and did not say how the command ended.
    Closed,
    /// The connection ended first.
    Gone,
}

impl Exchange {
    /// Asks for the exec. The host's consent is not waited for: the input follows at once.
    pub(super) async fn start(
        channel: Channel<Msg>,
        frame: &Frame,
        most: u64,
    ) -> Result<Exchange, russh::Error> {
        let (read, write) = channel.split();
        let exchange = Exchange { read, line: Line::of(write), said: Said::new(most) };
        exchange.line.0.exec(true, frame.exec.as_str()).await?;
        Ok(exchange)
    }

    /// Writes and reads until the end; may be given up at any time.
    pub(super) async fn finish<H: Handler>(&mut self, frame: &Frame, handle: &Handle<H>) -> End {
        let Exchange { read, line, said } = self;
        let (mut input, mut to_write) = Input::new(frame);
        let write = async {
            while let Some(bytes) = to_write.recv().await {
                // An error here is a channel or a connection that ended: the reading side learns how.
                if line.0.data_bytes(bytes).await.is_err() {
                    return;
                }
            }
            let _ = line.0.eof().await;
        };
        tokio::pin!(write);
        let patience = sleep(ASKED_WITHIN);
        tokio::pin!(patience);
        let mut written = false;
        loop {
            let silence = async {
                match said.end {
                    Some(_) => sleep(SILENCE_AFTER_END).await,
                    None => pending().await,
                }
                if handle.send_ping().await.is_err() {
                    // The reading side learns it as well.
                    pending().await
                }
            };
            // A command that does not read its input never lets the writer finish: dropping it here ends it.
            tokio::select! {
                biased;
                message = read.wait() => {
                    if let Some(ChannelMsg::ExtendedData { data, .. }) = &message {
                        input.hear(data);
                    }
                    if let Some(end) = said.hear(frame, message) { return end }
                }
                () = &mut write, if !written => written = true,
                () = &mut patience, if input.is_waiting() => return End::NobodyAsked,
                () = silence => return said.end.clone().unwrap_or(End::Closed),
            }
        }
    }

    /// Asks sshd to end the command; whether it ended.
    pub(super) async fn terminate(&mut self, frame: &Frame) -> bool {
        self.line.0.signal(Sig::TERM).await.is_ok() && self.ends(frame).await
    }

    /// Whether the command ends within the grace.
    pub(super) async fn ends(&mut self, frame: &Frame) -> bool {
        let ended = async {
            while self.said.hear(frame, self.read.wait().await).is_none_or(|end| matches!(end, End::Full(_)))
            {
            }
        };
        timeout(GRACE, ended).await.is_ok()
    }

    /// The command's process group, where it has told it.
    pub(super) fn group(&self) -> Option<u32> {
        self.said.stdout.group()
    }

    pub(super) fn into_said(self) -> Said {
        self.said
    }
}

/// What is still to be written: all at once, or after somebody was satisfied.
pub(super) struct Input {
    /// Gone once nothing more is to be written.
    sender: Option<UnboundedSender<Vec<u8>>>,
    gate: Option<Gate>,
    script: Vec<u8>,
}

impl Input {
    /// What the receiver yields is written; its end is the end of the input.
    pub(super) fn new(frame: &Frame) -> (Input, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
        let (sender, receiver) = unbounded_channel();
        let mut input = Input { sender: Some(sender), gate: frame.gate(), script: frame.input.clone() };
        if !frame.launch.is_empty() {
            input.send(frame.launch.clone());
        }
        if input.gate.is_none() {
            input.open();
        }
        (input, receiver)
    }

    /// Whether somebody was to ask, or the shell to be ready, and neither has been heard yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.gate.is_some()
    }

    /// Takes in what came on standard error.
    pub(super) fn hear(&mut self, stderr: &[u8]) {
        let Some(gate) = &mut self.gate else { return };
        match gate.hear(stderr) {
            Reply::Wait => (),
            Reply::Say(password) => self.send(format!("{}\n", password.reveal()).into_bytes()),
            Reply::Open => self.open(),
            Reply::HangUp => {
                self.gate = None;
                self.sender = None;
            }
        }
    }

    fn open(&mut self) {
        self.gate = None;
        let script = std::mem::take(&mut self.script);
        self.send(script);
        self.sender = None;
    }

    fn send(&self, bytes: Vec<u8>) {
        if let Some(sender) = &self.sender {
            // Whoever does not write any more has no use for it.
            let _ = sender.send(bytes);
        }
    }
}

impl Said {
    pub(super) fn new(most: u64) -> Said {
        Said { stdout: Stdout::new(most), stderr: HeadAndTail::default(), end: None, complete: false }
    }

    /// Takes a message in; the end, where it was the last.
    fn hear(&mut self, frame: &Frame, message: Option<ChannelMsg>) -> Option<End> {
        match message {
            Some(ChannelMsg::Data { data }) => {
                if let Err(full) = self.stdout.push(frame, &data) {
                    return Some(End::Full(full));
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => self.stderr.push(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => self.end = Some(End::Status(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                let (name, number) = signal(&signal_name);
                self.end = Some(End::Signal(name, number));
            }
            Some(ChannelMsg::Failure) => return Some(End::ExecRefused),
            Some(ChannelMsg::Close) => return Some(self.end.clone().unwrap_or(End::Closed)),
            // A connection that ends between the status and the rest of the output: success would be half a truth.
            None => {
                let end = self.end.clone().filter(|end| self.complete || *end != End::Status(0));
                return Some(end.unwrap_or(End::Gone));
            }
            Some(ChannelMsg::Eof) => self.complete = true,
            Some(_) => (),
        }
        None
    }
}

/// The writing half, closed in any case: a channel that is only dropped stays open on the host, and ten of them
/// (`MaxSessions`) are all there are.
pub(super) struct Line(pub(super) Arc<ChannelWriteHalf<Msg>>);

impl Line {
    pub(super) fn of(write: ChannelWriteHalf<Msg>) -> Line {
        Line(Arc::new(write))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let write = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Without a connection there is nothing left to close.
                let _ = write.close().await;
            });
        }
    }
}

/// Name and Linux number of a signal, 0 for one that SSH has no name for.
pub(super) fn signal(signal: &Sig) -> (String, u32) {
    let number = match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 0,
    };
    let name = match signal {
        Sig::Custom(name) => name.clone(),
        other => format!("{other:?}"),
    };
    (format!("SIG{name}"), number)
}
