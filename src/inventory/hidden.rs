//! A password as the inventory has it: looked for on this machine once a host is known to need it.

use std::cell::OnceCell;
use std::rc::Rc;

use super::source::{Source, Span};
use super::tree::{Entry, Node, Tree};
use super::value::unclean;
use super::variables::Variable;
use crate::error::Problem;
use crate::formation::{Held, Origin, Reference, Secret};
use crate::sql::percent;

/// A value of a variable that is a password.
#[derive(Clone)]
pub(super) struct Hidden {
    held: Held,
    /// For every host that has the value from the same place; `None` where it was looked for in vain.
    found: Rc<OnceCell<Option<Secret>>>,
}

impl PartialEq for Hidden {
    /// What was not looked for may be the same.
    fn eq(&self, other: &Self) -> bool {
        match (self.found.get(), other.found.get()) {
            (Some(Some(one)), Some(Some(other))) => one == other,
            _ => true,
        }
    }
}

impl Hidden {
    /// Without a word of the value in any message.
    pub(super) fn read(variable: &Variable, node: &Node) -> Result<Hidden, Problem> {
        let held = match &node.tree {
            Tree::Text(text) | Tree::Number(text) => Held::Reference(parse(variable, text)?),
            Tree::Vault(text) => Held::Vault(text.clone()),
            Tree::Map(entries) => Held::Reference(command(variable, entries)?),
            other => {
                let problem = Problem::new(format!("`{}` must be text, not {}", variable.name, other.noun()));
                return Err(problem);
            }
        };
        let found = match &held {
            Held::Reference(Reference::Text(secret)) => OnceCell::from(Some(secret.clone())),
            Held::Reference(_) | Held::Vault(_) => OnceCell::new(),
        };
        Ok(Hidden { held, found: Rc::new(found) })
    }

    pub(super) fn origin(&self) -> Origin {
        match &self.held {
            Held::Reference(reference) => reference.origin(),
            Held::Vault(_) => Origin::Vault,
        }
    }

    /// For who looks for it later.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Looks for it, unless somebody has.
    pub(super) fn find(&self, variable: &Variable, at: Span, source: &mut Source) {
        self.found.get_or_init(|| match &self.held {
            Held::Reference(reference) => find(variable, reference, at, source),
            Held::Vault(text) => {
                let text = source.decrypted(text, at)?;
                let reference = parse(variable, &text).map_err(|problem| source.problem(at, problem)).ok()?;
                find(variable, &reference, at, source)
            }
        });
    }

    /// What was found; where nobody looked, something that stands for it.
    pub(super) fn secret(&self) -> Option<Secret> {
        self.found.get().cloned().unwrap_or_else(|| Some(Secret::not_looked_for()))
    }
}

fn find(variable: &Variable, reference: &Reference, at: Span, source: &mut Source) -> Option<Secret> {
    match source.find(reference, at) {
        Ok(found) => {
            if let Some(warning) = found.warning {
                source.warning("clear-secret", Some(at), format!("`{}`: {warning}", variable.name));
            }
            too_long(variable, &found.secret)
                .map(|problem| source.problem(at, problem))
                .map_or(Some(found.secret), |()| None)
        }
        Err(problem) => {
            let message = format!("`{}`: {}", variable.name, problem.message);
            source.problem(at, Problem { message, ..problem });
            None
        }
    }
}

fn parse(variable: &Variable, text: &str) -> Result<Reference, Problem> {
    if let Some(problem) = unclean(variable.name, text) {
        return Err(problem);
    }
    let named = |why: String| Problem::new(format!("`{}`: {why}", variable.name));
    let reference = Reference::parse(text)
        .map_err(|why| named(why).hint("a password that begins like this is written `text:PASSWORD`"))?;
    match &reference {
        Reference::Text(secret) if secret.is_empty() => {
            Err(Problem::new(format!("`{}` is empty", variable.name)))
        }
        Reference::Text(secret) => too_long(variable, secret).map_or(Ok(reference), Err),
        _ => Ok(reference),
    }
}

/// What clients of PostgreSQL 13 do not take; of pg_autoctl's URI the rest is `%XX`, the host and the files of TLS.
fn too_long(variable: &Variable, secret: &Secret) -> Option<Problem> {
    let text = secret.reveal();
    let (longest, length, hint) = match variable.name {
        "monitor_password" => {
            let hint = "512 characters at most, of which all but letters and digits count three";
            (512, percent(text).len(), hint)
        }
        _ => (1023, text.len(), "1023 bytes at most"),
    };
    (length > longest).then(|| Problem::new(format!("`{}` is too long", variable.name)).hint(hint))
}

/// `{cmd: [PROGRAM, ARGUMENT…]}`: no shell reads it.
fn command(variable: &Variable, entries: &[Entry]) -> Result<Reference, Problem> {
    let wrong = || {
        let problem = Problem::new(format!("`{}` is a mapping that is no command", variable.name));
        problem.hint("give text, or a program with its arguments: {cmd: [PROGRAM, ARGUMENT…]}")
    };
    let [Entry { key, value, .. }] = entries else { return Err(wrong()) };
    match (key.as_str(), &value.tree) {
        ("cmd", Tree::List(words)) if !words.is_empty() => {
            let word = |node: &Node| match &node.tree {
                Tree::Text(word) | Tree::Number(word) if !word.contains('\0') => Ok(word.clone()),
                Tree::Flag { spelling, .. } => Ok(spelling.clone()),
                _ => Err(wrong()),
            };
            words.iter().map(word).collect::<Result<_, _>>().map(Reference::Program)
        }
        ("cmd", Tree::Text(line)) => parse(variable, &format!("cmd:{line}")),
        _ => Err(wrong()),
    }
}
