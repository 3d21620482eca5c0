//! One connection with somebody logged in: to a host, or to a bastion on the way to others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, Disconnect};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::connect::{Connected, connect};
use super::credentials::Credentials;
use super::dial::ProxyProcess;
use super::host_key::{Doorman, Trust, explain};
use super::login::{Clock, Entry, Login};
use super::settings::Settings;
use crate::command::Failure;

/// What was seen while a connection came about.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The host's key: type and fingerprint.
    pub key: Option<String>,
    /// From the beginning to a connection whose key is trusted.
    pub connected: Duration,
    /// What the host took for a proof, in its order: a key, a password.
    pub entered: Vec<String>,
    /// From there to somebody logged in.
    pub logged_in: Duration,
}

/// A connection that has shown the right key and let the user in.
pub(super) struct Link {
    handle: Arc<Handle<Doorman>>,
    settings: Settings,
    seen: Seen,
    /// What the operator should know of how it came about.
    note: Mutex<Option<String>>,
    /// Why the connection ended, once it has.
    ended: watch::Receiver<Option<String>>,
    /// What it runs through; it lives as long as this.
    through: Option<Arc<Link>>,
    _proxy: Option<ProxyProcess>,
}

impl Link {
    /// Connects, checks the host's key and logs in, within `settings.connect_timeout` seconds in all.
    ///
    /// Every failure is [`Failure::Unreachable`]. Connections that are turned away before authentication are tried
    /// again; refused keys never are.
    pub(super) async fn open(
        settings: &Settings,
        credentials: &Credentials,
        through: Option<Arc<Link>>,
    ) -> Result<Link, Failure> {
        let started = Instant::now();
        let clock = Clock::start(Duration::from_secs(settings.connect_timeout));
        let mut login = Login::new(settings, credentials, &clock)?;
        let trust = Trust::read(settings)?;
        let (address, port, user) = (&settings.hostname, settings.port, &settings.user);
        let mut note = None;
        let (Connected { handle, word, proxy }, connected) = loop {
            let mut connected = connect(settings, &trust, through.as_deref(), clock.deadline()).await?;
            let after = started.elapsed();
            tracing::debug!(address, port, "connected, host key is trusted");
            note = note.or(connected.word.note());
            let entry = login.go_on(&mut connected.handle).await;
            if entry == Ok(Entry::LoggedIn) {
                break (connected, after);
            }
            let _ = connected.handle.disconnect(Disconnect::ByApplication, "", "").await;
            // Several connections only where the host lets each try a few keys.
            entry.map_err(|failure| connected.word.with_note(failure))?;
        };
        let (key, by) = (word.shown().unwrap_or_default(), login.entered().to_vec());
        tracing::info!(address, port, user, key, by = by.join(", then "), "logged in");
        let logged_in = started.elapsed() - connected;
        let seen = Seen { key: word.shown(), connected, entered: by, logged_in };
        Ok(Link {
            handle: Arc::new(handle),
            settings: settings.clone(),
            seen,
            note: Mutex::new(note),
            ended: word.ended,
            through,
            _proxy: proxy,
        })
    }

    pub(super) fn handle(&self) -> &Handle<Doorman> {
        &self.handle
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What there is to say of this connection and those it runs through, each once.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.through.as_ref().map(|bastion| bastion.notes()).unwrap_or_default();
        notes.extend(self.note.lock().ok().and_then(|mut note| note.take()));
        notes
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A channel for one command.
    pub(super) async fn session_channel(&self) -> Result<Channel<Msg>, russh::Error> {
        let handle = self.handle.clone();
        owned(async move { handle.channel_open_session().await }).await
    }

    /// A channel that the host connects to `hostname`, as `ssh -W` has it.
    pub(super) async fn tunnel(&self, hostname: &str, port: u16) -> Result<Channel<Msg>, russh::Error> {
        let (handle, hostname) = (self.handle.clone(), hostname.to_owned());
        owned(
            async move { handle.channel_open_direct_tcpip(hostname, u32::from(port), "127.0.0.1", 0).await },
        )
        .await
    }

    /// sshd sends small packets at once only after a command was run on the connection: without one, every command
    /// behind this bastion takes 40 ms longer. A bastion that runs no commands is no worse a bastion.
    pub(super) async fn warm(&self) {
        let Ok(mut channel) = self.session_channel().await else { return };
        let run = async {
            let _ = channel.exec(true, "true").await;
            while channel.wait().await.is_some() {}
        };
        let _ = timeout(Duration::from_secs(2), run).await;
        let _ = channel.close().await;
    }

    /// Why the connection ended. It is known a moment after its channels fall silent.
    pub(super) async fn cause(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        let cause = timeout(Duration::from_millis(500), ended.wait_for(Option::is_some)).await;
        let cause = cause.ok().and_then(|cause| cause.ok()?.clone());
        // The bastion's end is the end of everything behind it, and the better reason.
        self.ended_bastion().or(cause)
    }

    /// The first bastion of the way whose connection has ended.
    fn ended_bastion(&self) -> Option<String> {
        let bastion = self.through.as_ref()?;
        let itself = || {
            let why = bastion.ended.borrow().clone();
            let why = why.unwrap_or_else(|| "the host closed the connection".to_owned());
            Some(format!("bastion {}: {why}", bastion.settings.original))
                .filter(|_| bastion.handle.is_closed())
        };
        bastion.ended_bastion().or_else(itself)
    }

    /// As [`Link::cause`], in any case.
    pub(super) async fn why(&self, error: &russh::Error) -> String {
        self.cause().await.unwrap_or_else(|| explain(error))
    }

    /// Says goodbye; commands in flight are lost.
    pub(super) async fn close(&self) {
        // A connection that is gone already needs no goodbye.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }
}

/// Opens in a task of its own: a channel that opens after its caller has left is closed, not forgotten.
async fn owned(
    open: impl Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
) -> Result<Channel<Msg>, russh::Error> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(Ok(channel)) = sender.send(open.await) {
            let _ = channel.close().await;
        }
    });
    receiver.await.map_err(|_| russh::Error::RecvError)?
}
