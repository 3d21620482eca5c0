//! ssh_config, as OpenSSH reads it, without asking an `ssh` for it.
//!
//! What counts for a keyword is what is said first: by the inventory, by the options of a command line, by the
//! destination, by `~/.ssh/config`, by `/etc/ssh/ssh_config`; a file that is named replaces the last two. Files are read
//! once for all hosts ([`Config`]). One reading of them is `pass`; where a `Match final` stands, a second one follows
//! with the name the first one has led to. What then counts becomes [`Settings`] in `finish`.
//!
//! Every keyword has its row in `keywords`: it is used, or it does not matter here, or it is refused for the host it
//! is said for, because muster would connect to another place or in another way than ssh. A value that is wrong is
//! refused wherever it stands.
//!
//! Two defaults are muster's own: `ConnectTimeout` 10 and `ServerAliveInterval` 15. ssh has neither, and would wait
//! for a host that is gone until somebody stops it.
//!
//! `tests/ssh_config.rs` compares all this with `ssh -G`.

use std::path::Path;

use self::files::Trust;
use self::keywords::Key;
use self::pass::{Chosen, Owner, Pass, said};
use self::tokens::Tokens;
use super::credentials::Credentials;
use super::settings::{Jump, Origin, Part, Settings};
use crate::error::Problem;
use crate::formation::Host;

mod address;
mod algorithms;
mod files;
mod finish;
mod glob;
mod jump;
mod keywords;
mod lines;
mod matching;
mod pass;
mod show;
mod tokens;
mod values;

pub use files::Config;

/// What ssh is told on its command line.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `[user@]host` or `ssh://[user@]host[:port]`.
    pub destination: &'a str,
    /// `-o`, as keyword and value, in their order.
    pub options: &'a [(String, String)],
    /// `-F`: the only file that is read; `none` is none at all.
    pub file: Option<&'a str>,
}

/// How ssh would reach a destination.
///
/// # Errors
///
/// What is wrong in a file, with its line; what is wrong on the command line; what muster does not do.
pub fn resolve(request: &Request<'_>, credentials: &Credentials) -> Result<Settings, Problem> {
    let mut chosen = Chosen::default();
    take_options(request.options, &mut chosen)?;
    let destination = jump::destination(request.destination).map_err(Problem::new)?;
    prefer(&destination, Origin::Config, &mut chosen)?;
    follow(&destination.host, request.file, chosen, credentials)
}

/// How muster reaches a host of the inventory: its variables go before its options of ssh, as with Ansible.
///
/// # Errors
///
/// As [`resolve`].
pub fn of_host(host: &Host, credentials: &Credentials) -> Result<Settings, Problem> {
    let mut chosen = Chosen::default();
    let given = Jump { user: host.user.clone(), host: host.address.clone(), port: host.port };
    jump::check(&given).map_err(Problem::new)?;
    prefer(&given, Origin::Inventory, &mut chosen)?;
    let mut say = |key, word: &str| chosen.add(key, said(&[word], Origin::Inventory)).map_err(Problem::new);
    for file in &host.identity_files {
        say(Key::IdentityFile, file)?;
    }
    if let Some(file) = &host.known_hosts {
        say(Key::UserKnownHostsFile, file)?;
        // Whoever names the file means it alone.
        say(Key::GlobalKnownHostsFile, "none")?;
    }
    if let Some(seconds) = host.connect_timeout {
        say(Key::ConnectTimeout, &seconds.to_string())?;
    }
    take_options(&host.ssh_options, &mut chosen)?;
    let mut settings = follow(&host.address, host.ssh_config.as_deref(), chosen, credentials)?;
    settings.host_keys.pinned.clone_from(&host.host_keys);
    settings.password.clone_from(&host.password);
    Ok(settings)
}

/// How a bastion is reached: its own lines of the configuration, and the user and port that the jump says.
///
/// Options of the command line are the target's alone, as with ssh; `file` is the target's `-F`.
///
/// # Errors
///
/// As [`resolve`].
pub fn of_jump(jump: &Jump, file: Option<&str>, credentials: &Credentials) -> Result<Settings, Problem> {
    jump::check(jump).map_err(Problem::new)?;
    let mut chosen = Chosen::default();
    prefer(jump, Origin::Config, &mut chosen)?;
    let settings = follow(&jump.host, file, chosen, credentials)?;
    Ok(Settings { part: Part::Bastion, ..settings })
}

/// One `[user@]host[:port]`, IPv6 in brackets, or `ssh://` URI.
///
/// # Errors
///
/// What is none.
pub fn jump(text: &str) -> Result<Jump, Problem> {
    jump::one(text).map_err(Problem::new)
}

/// A host that a command line names: as [`jump()`], and an IPv6 address needs no brackets.
///
/// # Errors
///
/// What is none.
pub fn host_of_line(text: &str) -> Result<Jump, Problem> {
    jump::host_of_line(text).map_err(Problem::new)
}

/// One `-o`: `Keyword=value` or `Keyword value`.
///
/// # Errors
///
/// What is neither.
pub fn option(text: &str) -> Result<(String, String), Problem> {
    match lines::line(text)? {
        Some(line) => Ok((line.keyword, line.rest)),
        None => Err(Problem::new(format!("-o {text:?} says nothing")).hint("say -o KEYWORD=VALUE")),
    }
}

fn take_options(options: &[(String, String)], chosen: &mut Chosen) -> Result<(), Problem> {
    for (keyword, value) in options {
        let about = |problem: Problem| Problem {
            message: format!("-o {keyword}={value}: {}", problem.message),
            ..problem
        };
        let line = files::option(keyword, value).map_err(about)?;
        if let Some(line) = line {
            check_jump(&line).map_err(|why| about(Problem::new(why)))?;
            pass::take(&line, Origin::Config, pass::Meant::Yes, chosen).map_err(about)?;
        }
    }
    Ok(())
}

/// On a command line ssh wants names of a jump that a shell may see; of a file it takes any.
fn check_jump(line: &lines::Line) -> Result<(), String> {
    match line.keyword.as_str() {
        "proxyjump" => jump::list(&line.rest)?.into_iter().flatten().try_for_each(|hop| jump::check(&hop)),
        _ => Ok(()),
    }
}

/// User and port that somebody says go before what the configuration says.
fn prefer(given: &Jump, origin: Origin, chosen: &mut Chosen) -> Result<(), Problem> {
    let mut say = |key, word: &str| chosen.add(key, said(&[word], origin)).map_err(Problem::new);
    if let Some(user) = &given.user {
        say(Key::User, user)?;
    }
    if let Some(port) = given.port {
        say(Key::Port, &port.to_string())?;
    }
    Ok(())
}

/// Reads the files for a host, twice where `Match final` asks for it.
fn follow(
    original: &str,
    file: Option<&str>,
    mut chosen: Chosen,
    credentials: &Credentials,
) -> Result<Settings, Problem> {
    let mut pass =
        Pass { credentials, original, host: original, is_final: false, wants_final: false, lines: 0 };
    read_files(&mut pass, file, &mut chosen)?;
    let wants_final = pass.wants_final;
    let host = host(original, &chosen)?;
    if wants_final {
        let mut pass =
            Pass { credentials, original, host: &host, is_final: true, wants_final: false, lines: 0 };
        read_files(&mut pass, file, &mut chosen)?;
    }
    finish::settings(&chosen, original, &host, credentials)
}

fn read_files(pass: &mut Pass<'_>, file: Option<&str>, chosen: &mut Chosen) -> Result<(), Problem> {
    let credentials = pass.credentials;
    if let Some(file) = file {
        if file.eq_ignore_ascii_case("none") {
            return Ok(());
        }
        let path = tokens::home(file, credentials).map_err(Problem::new)?;
        return match pass.read(Path::new(&path), Owner::User, Trust::Given, chosen)? {
            true => Ok(()),
            false => {
                Err(Problem::new(format!("there is no file {path}")).hint("name one that is there with -F"))
            }
        };
    }
    if let Some(home) = credentials.home() {
        pass.read(&home.join(".ssh/config"), Owner::User, Trust::Check, chosen)?;
    }
    pass.read(&credentials.config().system, Owner::System, Trust::Given, chosen)?;
    Ok(())
}

/// Where the first reading leads to: addresses in their usual form, names in lower case.
fn host(original: &str, chosen: &Chosen) -> Result<String, Problem> {
    let name = match chosen.word(Key::HostName) {
        Some(name) => Tokens::of_host_name(original).expand(name).map_err(|why| {
            let problem = Problem::new(format!("hostname: {why}")).hint("write %% for the character");
            chosen.blame(Key::HostName, problem)
        })?,
        None => original.to_owned(),
    };
    let address = address::usual(&name, finish::address_family(chosen));
    Ok(address.unwrap_or_else(|| name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
