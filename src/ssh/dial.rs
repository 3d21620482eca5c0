//! A stream of bytes to a host's sshd: over TCP, through a bastion, or from a `ProxyCommand`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::ChannelOpenFailure;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout_at};

use super::link::Link;
use super::settings::{AddressFamily, Proxy, Settings};
use crate::command::Failure;

/// Of a `ProxyCommand`'s standard error, the end that says why it ended.
const LAST_WORDS: usize = 2000;

/// What a connection runs over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A stream, and what else there is to know of it.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Duplex>,
    pub(super) proxy: Option<ProxyProcess>,
}

/// Why there is no stream.
pub(super) enum Miss {
    /// Turned away before authentication: worth another try.
    TurnedAway(String),
    Final(Failure),
}

/// Goes the way the settings say.
pub(super) async fn dial(
    settings: &Settings,
    through: Option<&Link>,
    deadline: Instant,
) -> Result<Dialled, Miss> {
    let plain = |stream| Dialled { stream, proxy: None };
    match (through, &settings.proxy) {
        (Some(bastion), _) => tunnel(settings, bastion, deadline).await.map(plain),
        (None, Proxy::Command(command)) => proxy_command(settings, command),
        (None, Proxy::Direct | Proxy::Jump(_)) => {
            let addresses = resolve(settings, deadline).await.map_err(Miss::Final)?;
            tcp(settings, &addresses, deadline).await.map(|stream| plain(Box::new(stream)))
        }
    }
}

async fn resolve(settings: &Settings, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let unresolved = |why: String| Failure::Unreachable {
        reason: format!("cannot resolve {}: {why}", settings.hostname),
        hint: "check the host's address in the inventory and in ssh_config, and DNS".to_owned(),
    };
    let wanted = |address: &SocketAddr| match settings.address_family {
        AddressFamily::Any => true,
        AddressFamily::Inet => address.is_ipv4(),
        AddressFamily::Inet6 => address.is_ipv6(),
    };
    match timeout_at(deadline, lookup_host((settings.hostname.as_str(), settings.port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.filter(wanted).collect();
            if addresses.is_empty() {
                Err(unresolved("it has no address of this family".to_owned()))
            } else {
                Ok(addresses)
            }
        }
        Ok(Err(error)) => Err(unresolved(error.to_string())),
        Err(_) => Err(unresolved(format!("no answer within {} s", settings.connect_timeout))),
    }
}

/// The first address that answers. The remaining time is shared: one that is silent must not use up all of it.
async fn tcp(settings: &Settings, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Miss> {
    let mut errors = Vec::new();
    let mut refused = false;
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
        let error = match timeout_at(until, tcp_to(*address, settings.bind_address.as_deref())).await {
            Ok(Ok(stream)) => {
                // Small packets wait for acknowledgements otherwise: 40 ms and more for every command.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%address, %error, "TCP_NODELAY was not set");
                }
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(Miss::TurnedAway(error.to_string().to_lowercase()));
            }
            Ok(Err(error)) => {
                refused |= error.kind() == ErrorKind::ConnectionRefused;
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

async fn tcp_to(address: SocketAddr, from: Option<&str>) -> std::io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address).await };
    let mut own = lookup_host((from, 0)).await?.filter(|own| own.is_ipv4() == address.is_ipv4());
    let own = own.next().ok_or_else(|| {
        std::io::Error::new(ErrorKind::AddrNotAvailable, format!("BindAddress {from} is of another family"))
    })?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(own)?;
    socket.connect(address).await
}

/// The bastion connects to the host: it resolves the name, too.
async fn tunnel(settings: &Settings, bastion: &Link, deadline: Instant) -> Result<Box<dyn Duplex>, Miss> {
    let via = &bastion.settings().original;
    let failed = |reason: String, hint: &str| {
        let reason = format!("bastion {via} cannot connect to {}: {reason}", settings.place());
        Miss::Final(Failure::Unreachable { reason, hint: hint.to_owned() })
    };
    let opened = timeout_at(deadline, bastion.tunnel(&settings.hostname, settings.port)).await;
    let error = match opened {
        Ok(Ok(channel)) => return Ok(Box::new(channel.into_stream())),
        Ok(Err(error)) => error,
        Err(_) => {
            let reason = format!("no answer within {} s", settings.connect_timeout);
            return Err(failed(reason, "is the host up, and does a firewall let the bastion in?"));
        }
    };
    match error {
        russh::Error::ChannelOpenFailure(why) => match why {
            ChannelOpenFailure::ResourceShortage => Err(Miss::TurnedAway(format!("bastion {via} is busy"))),
            ChannelOpenFailure::ConnectFailed => Err(failed(
                "connection refused, or the name is not known there".to_owned(),
                "is the host up, and does the bastion reach it by this name and port?",
            )),
            ChannelOpenFailure::AdministrativelyProhibited => Err(failed(
                "it does not forward connections".to_owned(),
                "allow it there: AllowTcpForwarding and PermitOpen in sshd_config, permitopen in authorized_keys",
            )),
            ChannelOpenFailure::UnknownChannelType => {
                Err(failed("it forwards no connections".to_owned(), "name a bastion with AllowTcpForwarding"))
            }
            ChannelOpenFailure::Other { code, reason } => {
                Err(failed(format!("{reason} ({code})"), "see the log of sshd on the bastion"))
            }
        },
        error => {
            let why = bastion.why(&error).await;
            Err(failed(why, "the connection to the bastion is gone; run again"))
        }
    }
}

/// A running `ProxyCommand`; it ends with this.
pub(super) struct ProxyProcess {
    command: String,
    _child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl ProxyProcess {
    /// What it said on standard error, for a connection that has ended.
    pub(super) async fn last_words(&self) -> String {
        // It says why and ends; both arrive at about the same time.
        sleep(Duration::from_millis(50)).await;
        let said = self.said.lock().map(|said| said.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        match text.trim() {
            "" => format!("ProxyCommand {} ended without a word", self.command),
            words => format!("ProxyCommand {}: {words}", self.command),
        }
    }
}

/// Starts it as ssh does: by the user's shell, in place of that shell.
fn proxy_command(settings: &Settings, command: &str) -> Result<Dialled, Miss> {
    let shell =
        std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    let started = Command::new(&shell)
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C on the terminal is for muster, which lets steps finish: they need their connections.
        .process_group(0)
        .spawn();
    let failed = |why: String| {
        Miss::Final(Failure::Unreachable {
            reason: format!("cannot start the ProxyCommand of {}: {why}", settings.original),
            hint: format!("try it by hand: {command}"),
        })
    };
    let mut child = started.map_err(|error| failed(error.to_string().to_lowercase()))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed("it has no input and output".to_owned()));
    };
    let said = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(listen(stderr, said.clone()));
    Ok(Dialled {
        stream: Box::new(tokio::io::join(stdout, stdin)),
        proxy: Some(ProxyProcess { command: command.to_owned(), _child: child, said }),
    })
}

async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let Ok(mut said) = said.lock() else { return };
        said.extend_from_slice(&buffer[..length]);
        let over = said.len().saturating_sub(LAST_WORDS);
        said.drain(..over);
    }
}
