//! The choice of network encryption: an inner level's choice replaces an outer one's as a whole.

use super::host::{Given, Host, Level};
use super::source::{Source, quote};
use super::text::is_word_path;
use super::value::Value;
use crate::error::Problem;
use crate::formation::{SslMode, Tls};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Managed,
    SelfSigned,
    Off,
    Files,
}

/// What is so of servers of which nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual {
    /// Everybody verifies everybody; else nobody does.
    managed: bool,
    /// Whoever comes in over the network has a password; else nobody needs one.
    pub(super) passwords: bool,
}

impl Usual {
    /// A formation that may be there already, with adopted servers or under a monitor elsewhere, has what it has: of others muster knows
    /// neither the certificates nor the passwords. Where some hosts have another choice of encryption the rest would not verify them.
    pub(super) fn of<'a>(hosts: impl Iterator<Item = &'a Host> + Clone) -> Usual {
        let is_other =
            |level: &std::rc::Rc<Level>| choices(level).any(|(choice, _)| choice != Choice::Managed);
        let is_new = !hosts.clone().any(|host| host.flag("adopted") || host.given("monitor").is_some());
        // Keepers write the path of ca.crt, which is beside PGDATA, into connection strings as it is.
        let is_plain = |host: &Host| host.text("pgdata").is_none_or(|pgdata| is_word_path(&pgdata));
        let is_managed = hosts.clone().all(is_plain) && !hosts.flat_map(|host| &host.levels).any(is_other);
        Usual { managed: is_new && is_managed, passwords: is_new }
    }
}

/// An adopted server's own pair is where pg_autoctl makes it.
pub(super) fn as_found(tls: Tls, pgdata: Option<&str>) -> Tls {
    match (tls, pgdata) {
        (Tls::SelfSigned { mode }, Some(pgdata)) => Tls::Files {
            cert: format!("{pgdata}/server.crt"),
            key: format!("{pgdata}/server.key"),
            ca: None,
            crl: None,
            mode,
        },
        (tls @ (Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. }), _) => tls,
    }
}

/// The variables that make a choice.
const CHOICES: &[(&str, Choice)] = &[
    ("ssl", Choice::Managed),
    ("ssl_self_signed", Choice::SelfSigned),
    ("no_ssl", Choice::Off),
    ("server_cert", Choice::Files),
    ("server_key", Choice::Files),
    ("ssl_ca_file", Choice::Files),
    ("ssl_crl_file", Choice::Files),
];

/// Reads the choice; `None` where a problem was reported.
///
/// `pgdata`: the data directory beside which muster's own files lie.
pub(super) fn read(host: &Host, pgdata: Option<&str>, usual: Usual, source: &mut Source) -> Option<Tls> {
    let (choice, from) = decide(host, usual, source)?;
    let levels = &host.levels[from..];
    let given = |name: &str| levels.iter().rev().find_map(|level| level.get(name));
    let text = |name: &str| match given(name).map(|given| &given.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let mode = match text("ssl_mode") {
        Some(word) => Some(SslMode::parse(&word)?),
        None => None,
    };
    if let (Some(mode), Some(at)) = (mode, given("ssl_mode"))
        && let Some(problem) = unfit(choice, mode, given("ssl_ca_file"))
    {
        source.problem(at.span, problem);
        return None;
    }
    match choice {
        Choice::Off => Some(Tls::Off),
        Choice::SelfSigned => Some(Tls::SelfSigned { mode: mode.unwrap_or(SslMode::Require) }),
        Choice::Managed => {
            if let (true, Some(given)) = (host.flag("adopted"), given("ssl")) {
                let problem = Problem::new("`ssl: managed` cannot be with `adopted`");
                let hint = "an adopted server keeps its own files: say ssl_self_signed, no_ssl, or server_cert with server_key";
                source.problem(given.key_span, problem.hint(hint));
                return None;
            }
            let pgdata = pgdata?;
            if let (false, Some(given)) = (is_word_path(pgdata), given("ssl")) {
                let what = format!("`ssl: managed` cannot be with the `pgdata` {}", quote(pgdata));
                let hint = "keepers write the path of ca.crt, which is beside it, into connection strings as it is: give a path of the characters A-Z a-z 0-9 . _ - : /";
                source.problem(given.key_span, Problem::new(what).hint(hint));
                return None;
            }
            Some(Tls::managed(format!("{pgdata}.node"), mode.unwrap_or(SslMode::VerifyFull)))
        }
        Choice::Files => {
            let there = CHOICES.iter().filter(|(_, choice)| *choice == Choice::Files);
            let there: Vec<&Given> = there.filter_map(|(name, _)| given(name)).collect();
            for missing in ["server_cert", "server_key"].into_iter().filter(|name| given(name).is_none()) {
                let Some(other) = there.first() else { continue };
                let problem = Problem::new(format!("`{}` is there without `{missing}`", other.variable.name));
                let hint = "own certificates take `server_cert` and `server_key`";
                source.problem(other.key_span, problem.hint(hint));
            }
            let (ca, crl) = (text("ssl_ca_file"), text("ssl_crl_file"));
            let usual = if ca.is_some() { SslMode::VerifyFull } else { SslMode::Require };
            let (cert, key) = (text("server_cert")?, text("server_key")?);
            Some(Tls::Files { cert, key, ca, crl, mode: mode.unwrap_or(usual) })
        }
    }
}

/// Why a choice cannot be with an `ssl_mode`.
fn unfit(choice: Choice, mode: SslMode, ca: Option<&Given>) -> Option<Problem> {
    let verifies = mode >= SslMode::VerifyCa;
    let word = mode.as_str();
    match choice {
        Choice::Off if mode > SslMode::Prefer => {
            let problem = Problem::new(format!("`ssl_mode: {word}` cannot be with `no_ssl`"));
            Some(problem.hint("remove one of the two"))
        }
        Choice::SelfSigned if verifies => {
            let problem =
                Problem::new(format!("`ssl_mode: {word}` cannot be with a self-signed certificate"));
            Some(problem.hint("nothing vouches for it: give `server_cert`, `server_key` and `ssl_ca_file`"))
        }
        Choice::Files if verifies && ca.is_none() => {
            let problem = Problem::new(format!("`ssl_mode: {word}` needs `ssl_ca_file`"));
            Some(problem.hint("give the certificate authority's file, or `ssl_mode: require`"))
        }
        Choice::Off | Choice::Managed | Choice::SelfSigned | Choice::Files => None,
    }
}

/// The innermost choice, and the outermost level that no other choice stands inside of.
fn decide(host: &Host, usual: Usual, source: &mut Source) -> Option<(Choice, usize)> {
    let mut decided: Option<Choice> = None;
    for (index, level) in host.levels.iter().enumerate().rev() {
        let choices = choices(level);
        let mut made: Option<(Choice, &Given)> = None;
        for (choice, given) in choices {
            match made {
                Some((first, other)) if first != choice => {
                    conflict(other, given, source);
                    return None;
                }
                _ => made = Some((choice, given)),
            }
        }
        match (decided, made) {
            (Some(inner), Some((outer, _))) if inner != outer => return Some((inner, index + 1)),
            (None, Some((choice, _))) => decided = Some(choice),
            _ => {}
        }
    }
    if decided.is_none()
        && !usual.managed
        && let Some(given) =
            host.given("ssl_self_signed").filter(|given| matches!(given.value, Value::Flag(false)))
    {
        let problem = Problem::new("`ssl_self_signed: false` leaves no choice of encryption");
        source.problem(given.span, problem.hint("give `server_cert` and `server_key`, or `no_ssl: true`"));
        return None;
    }
    let usual = if usual.managed { Choice::Managed } else { Choice::SelfSigned };
    Some((decided.unwrap_or(usual), 0))
}

/// What a level chooses; a flag that is false chooses nothing.
fn choices(level: &Level) -> impl Iterator<Item = (Choice, &Given)> {
    CHOICES.iter().filter_map(|(name, choice)| {
        let given = level.get(name)?;
        let chosen = match given.value {
            Value::Flag(flag) => flag,
            // A wrong path still says which choice was meant; a wrong flag does not.
            _ => matches!(choice, Choice::Files | Choice::Managed),
        };
        chosen.then_some((*choice, given))
    })
}

fn conflict(one: &Given, other: &Given, source: &mut Source) {
    let (first, second) = if one.key_span < other.key_span { (one, other) } else { (other, one) };
    let problem =
        Problem::new(format!("`{}` cannot be with `{}`", second.variable.name, first.variable.name));
    // `create` has no option for it.
    let managed =
        if [one, other].iter().any(|given| given.variable.name == "ssl") { "ssl: managed, " } else { "" };
    let hint = format!(
        "the other is on {}; choose one: {managed}ssl_self_signed, no_ssl, or server_cert with server_key",
        source.line(first.key_span)
    );
    source.problem(second.key_span, problem.hint(hint));
}
