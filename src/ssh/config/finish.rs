//! What counts in the end becomes [`Settings`]: defaults, tokens, and what muster refuses to do.

use std::env;
use std::path::{Path, PathBuf};

use super::algorithms::{self, Family};
use super::jump;
use super::keywords::{Key, REFUSED};
use super::pass::{Chosen, Value};
use super::tokens::{self, Connection, Tokens};
use crate::error::Problem;
use crate::ssh::credentials::Credentials;
use crate::ssh::settings::{
    AddressFamily, Algorithms, Checking, HostKeys, IdentityFile, Jump, Method, Origin, Part, Proxy, Settings,
};

/// Seconds; ssh has no limit.
const CONNECT_TIMEOUT: u64 = 10;
/// Seconds; ssh never asks.
const ALIVE_INTERVAL: u64 = 15;
const AGENT: &str = "SSH_AUTH_SOCK";

/// How the host is reached.
pub(super) fn settings(
    chosen: &Chosen,
    original: &str,
    host: &str,
    credentials: &Credentials,
) -> Result<Settings, Problem> {
    refuse(chosen)?;
    let Some(user) = chosen.word(Key::User).or(credentials.user()) else {
        let problem =
            Problem::new("it is not known who logs in: neither the inventory, ssh_config nor USER says");
        return Err(problem.hint("set ansible_user"));
    };
    let port = number(chosen, Key::Port).unwrap_or(22);
    let alias = chosen.word(Key::HostKeyAlias).map(str::to_ascii_lowercase);
    let connection = Connection {
        host,
        original,
        port,
        user,
        key_alias: alias.as_deref().unwrap_or(original),
        jump: &last_jump(chosen),
    };
    let files = Files { chosen, credentials, tokens: Tokens::new(&connection, credentials) };
    Ok(Settings {
        part: Part::Target,
        original: original.to_owned(),
        hostname: host.to_owned(),
        port,
        user: user.to_owned(),
        address_family: address_family(chosen),
        bind_address: chosen.word(Key::BindAddress).map(str::to_owned),
        // 0 is no limit, and no limit is muster's own.
        connect_timeout: number(chosen, Key::ConnectTimeout).filter(|n| *n > 0).unwrap_or(CONNECT_TIMEOUT),
        alive_interval: number(chosen, Key::ServerAliveInterval).unwrap_or(ALIVE_INTERVAL),
        alive_count_max: number(chosen, Key::ServerAliveCountMax).unwrap_or(3),
        proxy: proxy(chosen, &connection, &files.tokens)?,
        identity_files: files.identity_files()?,
        certificate_files: files.certificate_files()?,
        identities_only: is_on(chosen, Key::IdentitiesOnly),
        identity_agent: files.agent()?,
        host_keys: files.host_keys()?,
        methods: methods(chosen)?,
        batch: is_on(chosen, Key::BatchMode),
        prompts: number(chosen, Key::NumberOfPasswordPrompts).unwrap_or(3),
        password: None,
        algorithms: algorithms(chosen)?,
        host_key_alias: alias,
    })
}

pub(super) fn address_family(chosen: &Chosen) -> AddressFamily {
    match chosen.word(Key::AddressFamily) {
        Some("inet") => AddressFamily::Inet,
        Some("inet6") => AddressFamily::Inet6,
        Some(_) | None => AddressFamily::Any,
    }
}

fn refuse(chosen: &Chosen) -> Result<(), Problem> {
    for (key, harmless, hint) in REFUSED {
        let Some(word) = chosen.word(*key) else { continue };
        if !harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(word)) {
            let problem =
                Problem::new(format!("muster does not do what {key:?} {word} asks for")).hint(*hint);
            return Err(chosen.blame(*key, problem));
        }
    }
    Ok(())
}

fn is_on(chosen: &Chosen, key: Key) -> bool {
    chosen.word(key) == Some("yes")
}

fn number<N: std::str::FromStr>(chosen: &Chosen, key: Key) -> Option<N> {
    chosen.word(key)?.parse().ok()
}

/// The host that the connection comes from, or nothing.
pub(super) fn last_jump(chosen: &Chosen) -> String {
    let hops = chosen.word(Key::ProxyJump).and_then(|text| jump::list(text).ok().flatten());
    hops.and_then(|mut hops| hops.pop()).map(|hop| hop.host).unwrap_or_default()
}

fn proxy(chosen: &Chosen, connection: &Connection<'_>, tokens: &Tokens) -> Result<Proxy, Problem> {
    let wrong = |key, why: &str, hint: &str| chosen.blame(key, Problem::new(why).hint(hint));
    if let Some(text) = chosen.word(Key::ProxyJump) {
        let hops =
            jump::list(text).map_err(|why| wrong(Key::ProxyJump, &why, "see ProxyJump in ssh_config(5)"))?;
        if let Some(hops) = hops {
            if hops.last().is_some_and(|hop| is_itself(hop, connection)) {
                let hint = "say ProxyJump none for the bastion itself, before the line for all hosts";
                return Err(wrong(
                    Key::ProxyJump,
                    &format!("{} is to be reached through itself", connection.host),
                    hint,
                ));
            }
            return Ok(Proxy::Jump(hops));
        }
    }
    let Some(command) = chosen.word(Key::ProxyCommand).filter(|text| !text.eq_ignore_ascii_case("none"))
    else {
        return Ok(Proxy::Direct);
    };
    if is_on(chosen, Key::ProxyUseFdpass) {
        let hint = "use a ProxyCommand whose input and output are the connection, and ProxyUseFdpass no";
        return Err(wrong(
            Key::ProxyUseFdpass,
            "muster takes no connection from a ProxyCommand that passes one",
            hint,
        ));
    }
    if command.is_empty() || command == "-" {
        return Err(wrong(Key::ProxyCommand, "the ProxyCommand is no command", "name a program, or none"));
    }
    let command = tokens.only("hknpr").expand(command);
    command.map(Proxy::Command).map_err(|why| {
        wrong(Key::ProxyCommand, &format!("proxycommand: {why}"), "write %% for the character")
    })
}

fn is_itself(hop: &Jump, connection: &Connection<'_>) -> bool {
    hop.host == connection.host
        && hop.port.unwrap_or(22) == connection.port
        && hop.user.as_deref().unwrap_or(connection.user) == connection.user
}

fn methods(chosen: &Chosen) -> Result<Vec<Method>, Problem> {
    const KNOWN: [(&str, Method, Key); 3] = [
        ("publickey", Method::PublicKey, Key::PubkeyAuthentication),
        ("keyboard-interactive", Method::KeyboardInteractive, Key::KbdInteractiveAuthentication),
        ("password", Method::Password, Key::PasswordAuthentication),
    ];
    let preferred = chosen.word(Key::PreferredAuthentications);
    let preferred = preferred.unwrap_or("publickey,keyboard-interactive,password");
    let mut methods = Vec::new();
    for name in preferred.split(',') {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let usable = known.filter(|(.., key)| chosen.word(*key) != Some("no"));
        methods.extend(usable.map(|(_, method, _)| *method).filter(|method| !methods.contains(method)));
    }
    if methods.is_empty() {
        let hint = "muster logs in with publickey, keyboard-interactive or password: leave one of them on";
        let keys = [Key::PreferredAuthentications].into_iter().chain(KNOWN.map(|(.., key)| key));
        let problem = Problem::new("there is no way to log in that muster has").hint(hint);
        return Err(match keys.into_iter().find(|key| chosen.get(*key).is_some()) {
            Some(key) => chosen.blame(key, problem),
            None => problem,
        });
    }
    Ok(methods)
}

fn algorithms(chosen: &Chosen) -> Result<Algorithms, Problem> {
    let names = |key, family| match chosen.word(key) {
        None => Ok(None),
        Some(list) => algorithms::expand(family, list).map(Some).map_err(|why| {
            chosen
                .blame(key, Problem::new(format!("{list}: {why}")).hint("name algorithms: ssh -Q shows them"))
        }),
    };
    Ok(Algorithms {
        kex: names(Key::KexAlgorithms, Family::Kex)?,
        ciphers: names(Key::Ciphers, Family::Ciphers)?,
        macs: names(Key::Macs, Family::Macs)?,
        host_keys: names(Key::HostKeyAlgorithms, Family::Keys)?,
        public_keys: names(Key::PubkeyAcceptedAlgorithms, Family::Keys)?,
        ca_signatures: names(Key::CaSignatureAlgorithms, Family::CaSignatures)?,
        rsa_bits: number(chosen, Key::RequiredRsaSize),
    })
}

/// Values that name files.
struct Files<'a> {
    chosen: &'a Chosen,
    credentials: &'a Credentials,
    tokens: Tokens,
}

impl Files<'_> {
    fn expand(&self, value: &Value, text: &str) -> Result<PathBuf, Problem> {
        let path = self.tokens.expand_file(text, self.credentials);
        path.map(PathBuf::from).map_err(|why| cannot_expand(value, text, &why))
    }

    fn identity_files(&self) -> Result<Vec<IdentityFile>, Problem> {
        if self.chosen.identity_files.is_empty() {
            let keys = self.credentials.default_keys();
            return Ok(keys.map(|path| IdentityFile { path, origin: Origin::Default }).collect());
        }
        let named = named(&self.chosen.identity_files);
        named
            .map(|(value, text)| Ok(IdentityFile { path: self.expand(value, text)?, origin: value.origin }))
            .collect()
    }

    fn certificate_files(&self) -> Result<Vec<PathBuf>, Problem> {
        named(&self.chosen.certificate_files).map(|(value, text)| self.expand(value, text)).collect()
    }

    fn agent(&self) -> Result<Option<PathBuf>, Problem> {
        let from_environment = || self.credentials.agent().map(Path::to_owned);
        let Some(value) = self.chosen.get(Key::IdentityAgent) else { return Ok(from_environment()) };
        let Some(text) = value.words.first() else { return Ok(from_environment()) };
        let path = self.expand(value, text)?;
        Ok(match path.to_str() {
            Some("none") => None,
            Some(AGENT) => from_environment(),
            Some(text) => match text.strip_prefix('$') {
                Some(AGENT) => from_environment(),
                Some(name) if !name.starts_with('{') => env::var_os(name).map(PathBuf::from),
                Some(_) | None => Some(path),
            },
            None => Some(path),
        })
    }

    fn host_keys(&self) -> Result<HostKeys, Problem> {
        let user = self.chosen.get(Key::UserKnownHostsFile);
        Ok(HostKeys {
            origin: user.map_or(Origin::Default, |value| value.origin),
            user_files: self.list(Key::UserKnownHostsFile)?.unwrap_or_else(|| self.credentials.known_hosts()),
            global_files: self.global_files()?,
            pinned: Vec::new(),
            checking: match self.chosen.word(Key::StrictHostKeyChecking) {
                Some("accept-new") => Checking::AcceptNew,
                Some("no") => Checking::Off,
                Some(_) | None => Checking::Strict,
            },
            hash: is_on(self.chosen, Key::HashKnownHosts),
            revoked: self.list(Key::RevokedHostKeys)?.unwrap_or_default(),
        })
    }

    /// Files of one value; `none` is none.
    fn list(&self, key: Key) -> Result<Option<Vec<PathBuf>>, Problem> {
        let Some(value) = self.chosen.get(key) else { return Ok(None) };
        let named = named(std::slice::from_ref(value));
        named.map(|(value, text)| self.expand(value, text)).collect::<Result<_, _>>().map(Some)
    }

    /// For these ssh knows `~`, and no tokens.
    fn global_files(&self) -> Result<Vec<PathBuf>, Problem> {
        let Some(value) = self.chosen.get(Key::GlobalKnownHostsFile) else {
            return Ok(["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from).to_vec());
        };
        let path = |text: &str| tokens::home(text, self.credentials).map(PathBuf::from);
        let named = named(std::slice::from_ref(value));
        named.map(|(value, text)| path(text).map_err(|why| cannot_expand(value, text, &why))).collect()
    }
}

fn named(values: &[Value]) -> impl Iterator<Item = (&Value, &str)> {
    let all = values.iter().flat_map(|value| value.words.iter().map(move |word| (value, word.as_str())));
    all.filter(|(_, word)| !word.eq_ignore_ascii_case("none"))
}

fn cannot_expand(value: &Value, text: &str, why: &str) -> Problem {
    let problem = Problem::new(format!("{text}: {why}")).hint("write the path out, or %% for the character");
    match &value.place {
        Some(place) => problem.at(place.clone()),
        None => problem,
    }
}
