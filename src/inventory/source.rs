//! The text of an inventory file: where things are in it, and which of its lines may not be shown.

use std::collections::BTreeSet;

use crate::error::{Place, Problem};

/// A stretch of one line; lines and columns count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// A longer line wraps, and its caret stands nowhere: it is better not shown.
const LONGEST_LINE: usize = 300;

/// One file and everything found wrong in it so far.
pub(super) struct Source<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    secret: BTreeSet<usize>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let secret = (1..=lines.len()).filter(|line| has_password(lines[line - 1])).collect();
        Source { file, lines, secret, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Keeps a line, and the rest of a value that goes on below it, out of every message.
    pub(super) fn hide(&mut self, line: usize) {
        self.secret.extend(with_deeper_lines(&self.lines, line));
    }

    /// Does so for what merely looks like a password: all there is to go by in a file that cannot be parsed.
    pub(super) fn hide_all_suspects(&mut self) {
        for line in self.secret.clone() {
            self.hide(line);
        }
    }

    /// Adds a problem at a place. One mistake in an outer level reaches many hosts and is told once.
    pub(super) fn problem(&mut self, span: Span, problem: Problem) {
        let problem = problem.at(self.place(span));
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Adds a problem that no line is to blame for.
    pub(super) fn problem_of_file(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn warning(&mut self, span: Option<Span>, message: impl std::fmt::Display) {
        let warning = match span {
            Some(span) => format!("{}:{}: {message}", self.file, span.line),
            None => message.to_string(),
        };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The warnings, or every problem in the order of the file.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.warnings);
        }
        for place in self.problems.iter_mut().filter_map(|problem| problem.place.as_mut()) {
            if self.secret.contains(&place.line) || place.text.len() > LONGEST_LINE {
                place.text.clear();
            }
        }
        self.problems.sort_by_key(|problem| {
            problem.place.as_ref().map_or((usize::MAX, 0), |place| (place.line, place.column))
        });
        Err(self.problems)
    }

    /// `line 12`, for a hint that points at a second place.
    pub(super) fn line(span: Span) -> String {
        format!("line {}", span.line)
    }

    fn place(&self, span: Span) -> Place {
        // A control character would move the caret, or the operator's terminal.
        let text: String =
            self.text(span.line).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let rest = (text.chars().count() + 1).saturating_sub(span.column);
        Place {
            file: self.file.to_owned(),
            line: span.line,
            column: span.column.max(1),
            width: span.width.clamp(1, rest.max(1)),
            text,
        }
    }

    fn text(&self, line: usize) -> &'a str {
        line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default()
    }
}

/// A value as it may stand in a message: short, on one line, without control characters.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn has_password(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let login = lower.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    lower.contains("pass") || lower.contains("secret") || login.is_some_and(|(user, _)| user.contains(':'))
}

/// The line and those below it that are blank or indented deeper.
fn with_deeper_lines(lines: &[&str], line: usize) -> std::ops::Range<usize> {
    let indent = |text: &str| text.len() - text.trim_start().len();
    let own = lines.get(line - 1).map_or(0, |text| indent(text));
    let more =
        lines.iter().skip(line).take_while(|text| text.trim().is_empty() || indent(text) > own).count();
    line..line + more + 1
}
