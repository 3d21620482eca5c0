//! How one hop is reached: everything ssh decides from its command line, its configuration and its defaults.

use std::path::PathBuf;

use russh::keys::ssh_key::public::KeyData;

use super::config;
use super::credentials::Credentials;
use crate::command::Failure;
use crate::error::Problem;
use crate::formation::{Host, Secret};

/// One hop, fully decided. Tokens are expanded, `~` is the home directory, nothing is left to look up but DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub part: Part,
    /// The name that was asked for: what `Host` lines match.
    pub original: String,
    /// `HostName`: where the connection goes, and the name the host's key is looked up by.
    pub hostname: String,
    /// `Port`.
    pub port: u16,
    /// `User`.
    pub user: String,
    /// `HostKeyAlias`: the name the key is looked up by instead, without a port.
    pub host_key_alias: Option<String>,
    /// `AddressFamily`.
    pub address_family: AddressFamily,
    /// `BindAddress`.
    pub bind_address: Option<String>,
    /// `ConnectTimeout`: seconds for TCP, key exchange and authentication together.
    pub connect_timeout: u64,
    /// `ServerAliveInterval`: seconds of silence until the host is asked for a sign of life; 0 is never.
    pub alive_interval: u64,
    /// `ServerAliveCountMax`: that many questions without an answer are a dead host.
    pub alive_count_max: u32,
    /// `ProxyJump` or `ProxyCommand`.
    pub proxy: Proxy,
    /// `IdentityFile`, in the order they are tried.
    pub identity_files: Vec<IdentityFile>,
    /// `CertificateFile`; what lies beside a key as `KEY-cert.pub` is found without it.
    pub certificate_files: Vec<PathBuf>,
    /// `IdentitiesOnly`: of the agent's keys only those of `identity_files` and `certificate_files`.
    pub identities_only: bool,
    /// `IdentityAgent`: the agent's socket; `None` is no agent.
    pub identity_agent: Option<PathBuf>,
    /// Where the keys of hosts are recorded.
    pub host_keys: HostKeys,
    /// `PreferredAuthentications` less what is turned off, in the order they are tried.
    pub methods: Vec<Method>,
    /// `BatchMode`: nobody is asked for anything.
    pub batch: bool,
    /// `NumberOfPasswordPrompts`: how often somebody is asked for one passphrase or password.
    pub prompts: u32,
    /// `ansible_password`; for the target alone, never for a bastion.
    pub password: Option<Secret>,
    pub algorithms: Algorithms,
}

/// `AddressFamily`.
/// What a host is on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The host that is to be reached.
    Target,
    /// One that others are reached through.
    Bastion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    Any,
    Inet,
    Inet6,
}

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    Direct,
    /// `ProxyJump`: through these hosts, the first one first.
    Jump(Vec<Jump>),
    /// `ProxyCommand`, for a shell: its standard input and output are the connection.
    Command(String),
}

/// One `[user@]host[:port]` of a `ProxyJump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

/// The value of a `ProxyJump`: hosts with commas between them, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jumps(pub Vec<Jump>);

impl std::str::FromStr for Jumps {
    type Err = String;

    /// `none` is no jump at all.
    fn from_str(text: &str) -> Result<Jumps, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Jumps(Vec::new()));
        }
        let jumps = text.split(',').map(|jump| config::jump(jump).map_err(|problem| problem.message));
        jumps.collect::<Result<_, _>>().map(Jumps)
    }
}

/// A private key's file, or its public half's: then the agent signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFile {
    pub path: PathBuf,
    pub origin: Origin,
}

/// Who named a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The inventory: a file that is missing is a mistake.
    Inventory,
    /// ssh_config or a command line: ssh goes on without one that is missing, and so does muster.
    Config,
    /// Nobody: ssh tries it by itself.
    Default,
}

/// Which keys a host may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeys {
    /// `UserKnownHostsFile`: a new key is recorded in the first.
    pub user_files: Vec<PathBuf>,
    /// `GlobalKnownHostsFile`.
    pub global_files: Vec<PathBuf>,
    /// Who named the user's files: of the inventory's, one that is missing is a mistake.
    pub origin: Origin,
    /// `host_key` of the inventory, as in a `.pub` file: if there is any, one of these it must be.
    pub pinned: Vec<String>,
    /// `StrictHostKeyChecking`.
    pub checking: Checking,
    /// `HashKnownHosts`: names are recorded hashed.
    pub hash: bool,
    /// `RevokedHostKeys`: keys no host may show.
    pub revoked: Vec<PathBuf>,
}

/// What becomes of a host that no line speaks of. A key that has changed is refused in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// `yes`, and `ask`: there may be nobody to ask.
    Strict,
    /// `accept-new`: its key is recorded and trusted from then on.
    AcceptNew,
    /// `no`: muster does not trust the first answer; it is as `yes`, with another hint.
    Off,
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    PublicKey,
    KeyboardInteractive,
    Password,
}

/// `KexAlgorithms`, `Ciphers`, `MACs`, `HostKeyAlgorithms`, `PubkeyAcceptedAlgorithms`: OpenSSH's names in order of
/// preference; `None` is muster's own choice. Names may be among them that muster does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    pub kex: Option<Vec<String>>,
    pub ciphers: Option<Vec<String>>,
    pub macs: Option<Vec<String>>,
    pub host_keys: Option<Vec<String>>,
    pub public_keys: Option<Vec<String>>,
    /// `CASignatureAlgorithms`: how a host's certificate may be signed.
    pub ca_signatures: Option<Vec<String>>,
    /// `RequiredRSASize`: shorter RSA keys, of hosts and of users, are not used; `None` is 1024.
    pub rsa_bits: Option<u32>,
}

/// `RequiredRSASize` where nobody says: OpenSSH's `SSH_RSA_MINIMUM_MODULUS_SIZE`.
pub(super) const RSA_BITS: u32 = 1024;

impl Algorithms {
    /// Whether a key is not an RSA key, or one that is long enough; the error has its bits and those it needs.
    pub(super) fn is_long_enough(&self, key: &KeyData) -> Result<(), (u32, u32)> {
        let least = self.rsa_bits.unwrap_or(RSA_BITS);
        match key.rsa() {
            Some(rsa) if rsa.key_size() < least => Err((rsa.key_size(), least)),
            Some(_) | None => Ok(()),
        }
    }
}

impl Settings {
    /// What the inventory says, then its options of ssh, then ssh_config, then the defaults; see [`config`].
    ///
    /// # Errors
    ///
    /// `Unreachable` with the place: a configuration that is wrong leads nowhere.
    pub fn of(host: &Host, credentials: &Credentials) -> Result<Settings, Failure> {
        config::of_host(host, credentials).map_err(unreachable)
    }

    /// A bastion, as `ProxyJump` names it; `config` is the `-F` of the host behind it.
    ///
    /// # Errors
    ///
    /// As [`Settings::of`].
    pub fn of_jump(
        jump: &Jump,
        config: Option<&str>,
        credentials: &Credentials,
    ) -> Result<Settings, Failure> {
        config::of_jump(jump, config, credentials).map_err(unreachable)
    }

    /// The name the host has in `known_hosts`: `host`, `[host]:port`, or its alias.
    pub fn key_name(&self) -> String {
        match (&self.host_key_alias, self.port) {
            (Some(alias), _) => alias.to_lowercase(),
            (None, 22) => self.hostname.to_lowercase(),
            (None, port) => format!("[{}]:{port}", self.hostname.to_lowercase()),
        }
    }

    /// `ADDRESS port PORT`, as sshd's own messages have it.
    pub fn place(&self) -> String {
        format!("{} port {}", self.hostname, self.port)
    }
}

fn unreachable(problem: Problem) -> Failure {
    let reason = match &problem.place {
        Some(place) => format!("{}:{}: {}", place.file, place.line, problem.message),
        None => problem.message,
    };
    let hint = problem.hint.unwrap_or_else(|| "see ssh_config(5)".to_owned());
    Failure::Unreachable { reason, hint }
}
