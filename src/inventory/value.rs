//! One value of one variable: read by the variable's kind, or told what was expected and what was found.

use std::collections::BTreeMap;

use super::alike::nearest;
use super::hidden::Hidden;
use super::monitor_uri;
use super::settings;
use super::source::{Source, Span, quote};
use super::ssh_args;
use super::text::{is_host_key, is_san};
use super::tree::{Node, Style, Tree};
use super::variables::{Kind, Variable};
use crate::error::Problem;
use crate::formation::MonitorUri;
use crate::secrets::is_recipient;

/// A value that fits its variable.
#[derive(Clone)]
pub(super) enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
    Secret(Hidden),
    Monitor(MonitorUri),
    Settings(BTreeMap<String, Setting>),
    Rules(Vec<String>),
    /// (keyword, value) of ssh_config, and the file of `-F`.
    SshArgs {
        options: Vec<(String, String)>,
        config: Option<String>,
    },
    HostKeys(Vec<String>),
    Names(Vec<String>),
    Recipients(Vec<String>),
    /// A plugin of Ansible's that muster has nothing for: a mistake where muster has to reach the host.
    Foreign(String),
    /// Given, and as if it were not: empty, or `omit`.
    Unset,
    /// Already reported: whoever needs the value stays quiet about it.
    Bad,
}

/// One PostgreSQL setting, and where it stands.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) span: Span,
}

impl PartialEq for Value {
    /// Whether two levels say the same; a value already reported differs from nothing.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Flag(a), Value::Flag(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Secret(a), Value::Secret(b)) => a == b,
            (Value::Monitor(a), Value::Monitor(b)) => a == b,
            (Value::HostKeys(a), Value::HostKeys(b)) | (Value::Names(a), Value::Names(b)) => a == b,
            (Value::Recipients(a), Value::Recipients(b)) => a == b,
            (Value::Bad, _) | (_, Value::Bad) => true,
            _ => false,
        }
    }
}

/// Reads a value, reporting what is wrong with it.
pub(super) fn read(variable: &Variable, node: &Node, source: &mut Source) -> Value {
    let read = match variable.kind {
        Kind::Flag => flag(variable, node),
        Kind::Number { least, most } => number(variable, node, least, most),
        Kind::Choice(words) => choice(variable, node, words),
        Kind::Plugin(words) => plugin(variable, node, words),
        Kind::Text { expected, check } => text(variable, node, expected, check),
        Kind::Secret => Hidden::read(variable, node).map(Value::Secret),
        Kind::MonitorUri => monitor(variable, node),
        Kind::SshArgs => ssh_arguments(variable, node),
        Kind::HostKeys => host_keys(variable, node),
        Kind::Names => names(variable, node),
        Kind::Recipients => recipients(variable, node),
        Kind::Settings => return settings::read(node, source),
        Kind::Rules => return super::hba::read(node, source),
    };
    read.unwrap_or_else(|problem| {
        source.problem(node.span, problem);
        Value::Bad
    })
}

/// "`pgport` must be a number, not a list".
pub(super) fn mismatch(name: &str, expected: &str, found: &Tree) -> Problem {
    let found = match found {
        Tree::Null => {
            return Problem::new(format!("`{name}` has no value")).hint(format!("give {expected}"));
        }
        Tree::Flag { spelling: text, .. } | Tree::Number(text) | Tree::Text(text) => quote(text),
        other => other.noun().to_owned(),
    };
    Problem::new(format!("`{name}` must be {expected}, not {found}"))
}

/// What would change the lines of a generated file.
pub(super) fn unclean(name: &str, text: &str) -> Option<Problem> {
    if text.contains(['\n', '\r']) {
        let problem = Problem::new(format!("`{name}` holds a line break"));
        return Some(problem.hint("write the value on one line"));
    }
    if text.contains('\0') {
        return Some(Problem::new(format!("`{name}` holds a NUL character")));
    }
    None
}

/// As [`unclean`], of what is shown: a plan must look like what it is, on any terminal.
pub(super) fn unshowable(name: &str, text: &str) -> Option<Problem> {
    // Characters that turn the direction of those behind them.
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let found = text.chars().find(|c| (c.is_control() && *c != '\t') || turns(*c));
    unclean(name, text).or_else(|| {
        let code = u32::from(found?);
        let problem = Problem::new(format!("`{name}` holds the control character U+{code:04X}"));
        Some(problem.hint("remove it: nobody sees it, or it changes what is seen"))
    })
}

fn flag(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let word = match &node.tree {
        Tree::Flag { value, .. } => return Ok(Value::Flag(*value)),
        Tree::Text(text) => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    // Ansible's words; a quoted "true" is one of them too.
    match word.as_str() {
        "true" | "yes" | "on" => Ok(Value::Flag(true)),
        "false" | "no" | "off" => Ok(Value::Flag(false)),
        _ => Err(mismatch(variable.name, "true or false", &node.tree)),
    }
}

fn number(variable: &Variable, node: &Node, least: i64, most: i64) -> Result<Value, Problem> {
    let expected = format!("a number from {least} to {most}");
    let number = match &node.tree {
        Tree::Number(text) if node.style == Style::Literal => super::literal::whole(text),
        Tree::Number(text) | Tree::Text(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
        _ => Err(mismatch(variable.name, &expected, &node.tree)),
    }
}

fn choice(variable: &Variable, node: &Node, words: &[&str]) -> Result<Value, Problem> {
    let found = match &node.tree {
        Tree::Text(text) => text.as_str(),
        // `keeper: off` and the like: the spelling is what was meant.
        Tree::Flag { spelling, .. } => spelling,
        _ => "",
    };
    if words.contains(&found) {
        return Ok(Value::Text(found.to_owned()));
    }
    let expected = match words {
        [only] => format!("`{only}`"),
        _ => format!("one of {}", words.join(", ")),
    };
    let problem = mismatch(variable.name, &expected, &node.tree);
    Err(match nearest(found, words.iter().copied()) {
        Some(near) if words.len() > 1 => problem.hint(format!("did you mean `{near}`?")),
        _ => problem,
    })
}

/// Where Ansible keeps the plugins that muster has something for.
const COLLECTIONS: [&str; 3] = ["ansible.builtin.", "ansible.legacy.", "community.general."];

fn plugin(variable: &Variable, node: &Node, words: &[&str]) -> Result<Value, Problem> {
    let Tree::Text(found) = &node.tree else {
        return choice(variable, node, words);
    };
    let short = COLLECTIONS.iter().find_map(|collection| found.strip_prefix(collection)).unwrap_or(found);
    let short = if short == "paramiko_ssh" { "paramiko" } else { short };
    if words.contains(&short) {
        return Ok(Value::Text(short.to_owned()));
    }
    match unshowable(variable.name, found) {
        Some(problem) => Err(problem),
        None => Ok(Value::Foreign(found.clone())),
    }
}

/// What to say where muster itself has to speak it.
pub(super) fn foreign(variable: &Variable, found: &str) -> Problem {
    let Kind::Plugin(words) = variable.kind else { return Problem::new(format!("`{}`", variable.name)) };
    let problem = Problem::new(format!(
        "`{}` must be one of {}, not {}",
        variable.name,
        words.join(", "),
        quote(found)
    ));
    match nearest(found.rsplit('.').next().unwrap_or(found), words.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(
            "muster reaches hosts by ssh; give the host another value, or leave it out with `role: none`",
        ),
    }
}

fn text(variable: &Variable, node: &Node, expected: &str, check: fn(&str) -> bool) -> Result<Value, Problem> {
    let found = match &node.tree {
        Tree::Text(text) | Tree::Number(text) => text,
        Tree::Flag { .. } => {
            let problem = mismatch(variable.name, "text", &node.tree);
            return Err(problem.hint("put it in quotes if it is meant as text"));
        }
        _ => return Err(mismatch(variable.name, expected, &node.tree)),
    };
    if let Some(problem) = unshowable(variable.name, found) {
        return Err(problem);
    }
    if !check(found) {
        return Err(mismatch(variable.name, expected, &node.tree));
    }
    Ok(Value::Text(found.clone()))
}

fn ssh_arguments(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let Tree::Text(found) = &node.tree else {
        return Err(mismatch(variable.name, "options of ssh, e.g. -J bastion", &node.tree));
    };
    match unshowable(variable.name, found) {
        Some(problem) => Err(problem),
        None => ssh_args::parse(variable, found),
    }
}

/// The items of a list, or the one that stands in its place.
fn each(node: &Node, one: impl Fn(&Node) -> Result<String, Problem>) -> Result<Vec<String>, Problem> {
    match &node.tree {
        Tree::List(list) => list.iter().map(one).collect(),
        _ => one(node).map(|item| vec![item]),
    }
}

fn host_keys(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let one = |node: &Node| match &node.tree {
        Tree::Text(text) if is_host_key(text) => Ok(text.clone()),
        other => {
            let problem = mismatch(variable.name, "a public key, e.g. ssh-ed25519 AAAA…", other);
            Err(problem.hint("copy it from /etc/ssh/ssh_host_ed25519_key.pub of the host"))
        }
    };
    each(node, one).map(Value::HostKeys)
}

fn names(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let one = |node: &Node| match &node.tree {
        Tree::Text(text) if is_san(text) => Ok(text.clone()),
        other => Err(mismatch(variable.name, "host names or addresses", other)),
    };
    each(node, one).map(Value::Names)
}

fn recipients(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let one = |node: &Node| match &node.tree {
        Tree::Text(text) if is_recipient(text) => Ok(text.clone()),
        other => {
            let problem = mismatch(variable.name, "recipients of age: age1… or public keys of ssh", other);
            Err(problem.hint("`age-keygen -y` prints that of a key; of ssh's keys ssh-ed25519 and ssh-rsa"))
        }
    };
    match &node.tree {
        // A key for nobody is lost.
        Tree::List(list) if list.is_empty() => one(node).map(|recipient| vec![recipient]),
        _ => each(node, one),
    }
    .map(Value::Recipients)
}

fn monitor(variable: &Variable, node: &Node) -> Result<Value, Problem> {
    let shape = "postgres://autoctl_node@HOST:PORT/pg_auto_failover?sslmode=require";
    let Tree::Text(found) = &node.tree else {
        let noun = node.tree.noun();
        let problem = Problem::new(format!("`{}` must be a postgres:// URI, not {noun}", variable.name));
        return Err(problem.hint(format!("e.g. {shape}")));
    };
    if let Some(problem) = unclean(variable.name, found) {
        return Err(problem);
    }
    monitor_uri::parse(found)
        .map(Value::Monitor)
        .map_err(|why| Problem::new(format!("`{}`: {why}", variable.name)).hint(format!("e.g. {shape}")))
}
