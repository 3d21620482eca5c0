//! A mistake in the inventory that was made of a command line, told in the words of that command line.

use std::collections::BTreeMap;

use crate::create::inventory::{Given, Origin};
use crate::create::options::of;
use crate::create::{Kind, Means, Row};
use crate::error::Problem;
use crate::formation::MONITOR_VARIABLE;

/// The option of [`MONITOR_VARIABLE`].
const MONITOR: &str = "--monitor";

/// What the operator calls each variable that has an option, and what is responsible for each line.
#[derive(Debug)]
pub struct Words {
    variables: BTreeMap<&'static str, Name>,
    /// Line number to what is responsible for it.
    pub(super) origins: BTreeMap<usize, String>,
}

#[derive(Debug)]
struct Name {
    spelled: String,
    origin: Origin,
    row: &'static Row,
}

impl Words {
    pub(super) fn new(kind: Kind, given: &[Given], origins: BTreeMap<usize, String>) -> Words {
        let name = |row: &'static Row| {
            let given = given.iter().find(|given| given.row.name == row.name);
            let spelled = given.map_or_else(|| format!("--{}", row.name), Given::spelled);
            let origin = given.map_or(Origin::CommandLine, |given| given.origin);
            Some((row.means.variable()?, Name { spelled, origin, row }))
        };
        Words { variables: of(kind).filter_map(name).collect(), origins }
    }

    /// A mistake, told of the option that its line is from; variables that have an option are named by it.
    pub fn blame(&self, problem: Problem) -> Problem {
        // Behind it is what was given, which may look like a variable.
        let (says, value) = match problem.message.find(", not `") {
            Some(at) => problem.message.split_at(at),
            None => (problem.message.as_str(), ""),
        };
        let says = self.quoted(says);
        let origin = problem.place.as_ref().and_then(|place| self.origins.get(&place.line));
        let message = match origin.filter(|origin| !names(&says, origin)) {
            Some(origin) => format!("{origin}: {says}{value}"),
            None => format!("{says}{value}"),
        };
        let hint = problem.hint.map(|hint| self.bare(&self.quoted(&self.without_lines(hint, &message))));
        Problem { message, hint, place: None, severity: problem.severity }
    }

    /// What the URI of the monitor was given as.
    pub fn monitor(&self) -> &'static str {
        match self.variables.get(MONITOR_VARIABLE) {
            Some(Name { origin: Origin::Environment, row, .. }) => row.env.unwrap_or(MONITOR),
            Some(_) | None => MONITOR,
        }
    }

    /// Hints name lines of a file that the operator has never seen.
    fn without_lines(&self, hint: String, message: &str) -> String {
        self.origins.iter().rev().fold(hint, |hint, (line, origin)| {
            let other = format!("the other is on line {line}; ");
            let hint = if names(message, origin) { hint.replace(&other, "") } else { hint };
            hint.replace(&format!("on line {line};"), &format!("by {origin};"))
                .replace(&format!("on line {line}"), &format!("by {origin}"))
        })
    }

    /// Between backticks: a variable, or `variable: value`.
    fn quoted(&self, text: &str) -> String {
        let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
            0 => part.to_owned(),
            _ => self.option(part).unwrap_or_else(|| part.to_owned()),
        });
        parts.collect::<Vec<_>>().join("`")
    }

    fn option(&self, text: &str) -> Option<String> {
        let (variable, value) =
            text.split_once(": ").map_or((text, None), |(name, value)| (name, Some(value)));
        let Name { spelled, origin, row } = self.variables.get(variable)?;
        Some(match (value, row.means, origin) {
            (None, ..) | (Some("true"), Means::Flag(_), Origin::CommandLine) => spelled.clone(),
            (Some(value), _, Origin::CommandLine) => format!("{spelled} {value}"),
            (Some(value), _, Origin::Environment) => format!("{spelled}={value}"),
        })
    }

    /// Variables in the midst of a sentence: those that cannot be an English word.
    fn bare(&self, text: &str) -> String {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut rest = text;
        let mut told = String::new();
        while let Some(start) = rest.find(is_of_name) {
            let end = rest[start..].find(|c| !is_of_name(c)).map_or(rest.len(), |length| start + length);
            let word = &rest[start..end];
            told += &rest[..start];
            told += &match word.contains('_') {
                true => self.option(word).unwrap_or_else(|| word.to_owned()),
                false => word.to_owned(),
            };
            rest = &rest[end..];
        }
        told + rest
    }
}

/// Whether a message has an option in backticks, perhaps with a value.
fn names(message: &str, spelled: &str) -> bool {
    [format!("`{spelled}`"), format!("`{spelled} "), format!("`{spelled}=")]
        .iter()
        .any(|name| message.contains(name))
}
