//! What the operator sees when something is wrong: message, place, hint, exit code.

use std::fmt;

/// Exit codes; the table of the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, or nothing to do.
    Ok = 0,
    /// Wrong command line, inventory or template, or the output could not be written; no host was changed.
    Usage = 1,
    /// A host failed, was refused or a check of `verify` did not pass; or an answer of hosts could not be written.
    Failed = 2,
    /// `plan --detailed-exitcode`: there are changes to make; `cert status`: a certificate ends soon.
    Changes = 3,
    /// A host could not be reached.
    Unreachable = 4,
    /// Stopped by the operator.
    Interrupted = 130,
}

/// A mistake in a file, or one that no file is to blame for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Lower case, no full stop, names the thing.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    pub place: Option<Box<Place>>,
    pub severity: Severity,
}

/// What a problem keeps from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Mistake,
    /// Nothing by itself: it is told beside mistakes, which it may explain.
    Warning,
}

/// Where in a file: shown as `FILE:LINE:COLUMN` with the line and a caret under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters under the caret, at least 1.
    pub width: usize,
    /// The text of that line; empty where it may hold a secret.
    pub text: String,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Problem { message: message.into(), hint: None, place: None, severity: Severity::Mistake }
    }

    /// What is no mistake by itself.
    pub fn warning(message: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Problem::new(message) }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Mistake => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {}", self.message)?;
        if let Some(place) = &self.place {
            let gutter = place.line.to_string().len();
            write!(f, "\n{:gutter$}--> {}:{}:{}", "", place.file, place.line, place.column)?;
            if !place.text.is_empty() {
                let caret = "^".repeat(place.width.max(1));
                write!(f, "\n{:gutter$} |\n{} | {}", "", place.line, place.text)?;
                write!(f, "\n{:gutter$} | {:indent$}{caret}", "", "", indent = place.column - 1)?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
