//! A host and the levels of variables that reach it: the innermost value given, else the table's default.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Need;
use super::source::{Source, Span};
use super::value::Value;
use super::variables::{Fallback, VARIABLES, Variable, variable};
use crate::formation::{Origin, Secret, Sought};

/// One variable as it stands in the file.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) variable: &'static Variable,
    pub(super) key_span: Span,
    pub(super) span: Span,
    pub(super) value: Value,
    /// Where its text came from.
    pub(super) origin: Origin,
    pub(super) spelling: Spelling,
}

/// Which of its names a variable is given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// One that other roles may have, too.
    Plain,
    /// `muster_…`, which wins.
    Own,
}

pub(super) type Level = BTreeMap<&'static str, Given>;

/// A host with all that is said about it.
pub(super) struct Host {
    pub(super) name: String,
    /// Where it is first named.
    pub(super) span: Span,
    /// Its place among the hosts as the inventory names them.
    pub(super) order: usize,
    /// Every group it is in, directly or through their children.
    pub(super) groups: BTreeSet<String>,
    /// Outer to inner.
    pub(super) levels: Vec<Rc<Level>>,
}

impl Host {
    /// The innermost value, and how far in it stands.
    pub(super) fn found(&self, name: &str) -> Option<(usize, &Given)> {
        debug_assert!(variable(name).is_some_and(|variable| variable.name == name), "no variable {name}");
        let found = self.levels.iter().enumerate().rev();
        let innermost = found.into_iter().find_map(|(level, given)| Some((level, given.get(name)?)));
        innermost.filter(|(_, given)| !matches!(given.value, Value::Unset))
    }

    pub(super) fn given(&self, name: &str) -> Option<&Given> {
        self.found(name).map(|(_, given)| given)
    }

    /// The plugins of Ansible's that it is reached by, and muster has nothing for.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Given, &str)> {
        ["ansible_connection", "ansible_become_method"].into_iter().filter_map(|name| {
            let given = self.given(name)?;
            match &given.value {
                Value::Foreign(found) => Some((given, found.as_str())),
                _ => None,
            }
        })
    }

    /// Every value, outer to inner.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Given> {
        self.levels.iter().filter_map(move |level| level.get(name))
    }

    /// Where to point at for a variable: its value, or the host where there is none.
    pub(super) fn span_of(&self, name: &str) -> Span {
        self.given(name).map_or(self.span, |given| given.span)
    }

    /// Whether anything that counts for this host was already reported.
    pub(super) fn is_broken(&self) -> bool {
        self.levels.iter().any(|level| level.values().any(|given| matches!(given.value, Value::Bad)))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.given(name).map(|given| &given.value) {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(_) => None,
            None => default(name).map(str::to_owned),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.given(name).map(|given| &given.value) {
            Some(Value::Flag(flag)) => *flag,
            Some(_) => false,
            None => default(name) == Some("true"),
        }
    }

    /// The number, where it fits the wanted type; the table's limits see to that.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let number = match self.given(name).map(|given| &given.value) {
            Some(Value::Number(number)) => Some(*number),
            Some(_) => None,
            None => default(name).and_then(|text| text.parse().ok()),
        };
        number.and_then(|number| T::try_from(number).ok())
    }

    /// Looks for the passwords of this host that a command needs.
    pub(super) fn find_secrets(&self, need: Need, source: &mut Source) {
        for row in VARIABLES.iter().filter(|row| need.includes(row)) {
            if let Some(given) = self.given(row.name)
                && let Value::Secret(hidden) = &given.value
            {
                tracing::debug!("{}: `{}` is {}", self.name, row.name, given.origin);
                hidden.find(row, given.span, source);
            }
        }
    }

    /// What is looked for later, if at all.
    pub(super) fn sought(&self, name: &str, source: &Source) -> Option<Sought> {
        let given = self.given(name)?;
        let base = source.base(given.span).to_string_lossy().into_owned();
        match &given.value {
            Value::Secret(hidden) => Some(Sought { held: hidden.held().clone(), base }),
            _ => None,
        }
    }

    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        match self.given(name).map(|given| &given.value) {
            Some(Value::Secret(hidden)) => hidden.secret(),
            _ => None,
        }
    }
}

fn default(name: &str) -> Option<&'static str> {
    match variable(name).map(|variable| variable.default) {
        Some(Fallback::Is(text)) => Some(text),
        Some(Fallback::From(_) | Fallback::Required) | None => None,
    }
}
