//! The texts of an inventory: where things are in them, and which of their lines may not be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::variables::VARIABLES;
use crate::error::{Place, Problem};
use crate::formation::{Origin, Reference};
use crate::secrets::{Closed, Found, Keyring};

/// A stretch of one line; lines and columns count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Which of the files, in the order in which they were read.
    pub(super) file: usize,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// A longer line wraps, and its caret stands nowhere: it is better not shown.
const LONGEST_LINE: usize = 300;
/// The lint of a name that is nearly a variable's.
pub(super) const NEAR_MISS: &str = "near-miss";
/// Nobody reads more; a file that is no inventory is wrong in every line.
const MOST_PROBLEMS: usize = 500;

/// Every file, and everything found wrong in them so far.
pub(super) struct Source {
    keyring: Arc<Keyring>,
    files: Vec<File>,
    problems: Vec<(Span, Problem)>,
    warnings: Vec<Finding>,
    near_misses: BTreeMap<&'static str, (String, Span)>,
    /// Those that a hint has named.
    hinted: BTreeSet<Span>,
    /// Whether a file stayed encrypted, so that nobody knows what is missing.
    has_closed_file: bool,
}

/// What a lint found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The lint's name.
    pub(super) lint: &'static str,
    pub(super) span: Option<Span>,
    pub(super) message: String,
}

struct File {
    name: String,
    /// Where relative paths in it start.
    base: PathBuf,
    lines: Vec<String>,
    secret: BTreeSet<usize>,
    seal: Seal,
}

/// Whether a file is encrypted as a whole, so that nothing of it may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    None,
    Vault,
}

/// The first line of all.
pub(super) const START: Span = Span { file: 0, line: 1, column: 1, width: 1 };

/// Behind every file: for what no line is to blame for.
const NOWHERE: Span = Span { file: usize::MAX, line: 0, column: 0, width: 0 };

impl Source {
    /// Nothing read; `keyring` has what encrypted values are decrypted with, and finds the others.
    pub(super) fn new(keyring: Arc<Keyring>) -> Source {
        Source {
            keyring,
            files: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            near_misses: BTreeMap::new(),
            hinted: BTreeSet::new(),
            has_closed_file: false,
        }
    }

    /// Takes a file in; its number is what spans in it carry.
    pub(super) fn add(&mut self, name: &str, text: &str, base: &Path) -> usize {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let secret = (1..=lines.len()).filter(|line| has_password(&lines[line - 1])).collect();
        self.files.push(File {
            name: name.to_owned(),
            base: base.to_owned(),
            lines,
            secret,
            seal: Seal::None,
        });
        self.files.len() - 1
    }

    /// As [`add`](Source::add), for a file that may be encrypted.
    pub(super) fn add_as(&mut self, seal: Seal, name: &str, text: &str, base: &Path) -> usize {
        let file = self.add(name, if seal == Seal::None { text } else { "" }, base);
        self.files[file].seal = seal;
        file
    }

    fn is_sealed(&self, span: Span) -> bool {
        self.files.get(span.file).is_some_and(|file| file.seal == Seal::Vault)
    }

    /// The files that are encrypted as a whole.
    pub(super) fn sealed(&self) -> BTreeSet<usize> {
        (0..self.files.len()).filter(|file| self.files[*file].seal == Seal::Vault).collect()
    }

    /// Where a text came from that stands in one of the files.
    pub(super) fn origin(&self, span: Span) -> Origin {
        if self.is_sealed(span) { Origin::Vault } else { Origin::Clear }
    }

    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.clone()
    }

    /// What is encrypted at a place; where it cannot be read that is reported.
    pub(super) fn decrypted(&mut self, text: &str, at: Span) -> Option<Zeroizing<String>> {
        self.keyring.decrypt(text).map_err(|why| self.closed(at, why)).ok()
    }

    /// A whole file that is encrypted.
    pub(super) fn decrypted_file(
        &mut self,
        name: &str,
        text: &str,
        base: &Path,
    ) -> Option<Zeroizing<String>> {
        let decrypted = self.keyring.decrypt(text);
        decrypted
            .map_err(|why| {
                let file = self.add(name, text.lines().next().unwrap_or_default(), base);
                self.closed(Span { file, ..START }, why);
                self.has_closed_file = true;
            })
            .ok()
    }

    pub(super) fn has_closed_file(&self) -> bool {
        self.has_closed_file
    }

    /// Reports what stays encrypted; what is the matter with all of it once.
    pub(super) fn closed(&mut self, at: Span, why: Closed) {
        match why {
            Closed::This(problem) => self.problem(at, problem),
            Closed::All(problem) => {
                if !self.problems.iter().any(|(_, known)| known.message == problem.message) {
                    self.problem(at, problem);
                }
            }
        }
    }

    /// The password that a value of the inventory refers to.
    pub(super) fn find(&self, reference: &Reference, at: Span) -> Result<Found, Problem> {
        self.keyring.find(reference, self.base(at))
    }

    /// Keeps a line, and the rest of a value that goes on below it, out of every message.
    pub(super) fn hide(&mut self, at: Span) {
        if let Some(file) = self.files.get_mut(at.file) {
            file.secret.extend(with_deeper_lines(&file.lines, at.line));
        }
    }

    /// Does so for what merely looks like a password: all there is to go by in a file that cannot be parsed.
    pub(super) fn hide_all_suspects(&mut self, file: usize) {
        let suspects = self.files.get(file).map(|file| file.secret.clone()).unwrap_or_default();
        for line in suspects {
            self.hide(Span { file, line, column: 1, width: 1 });
        }
    }

    /// Adds a problem at a place. One mistake in an outer level reaches many hosts and is told once.
    pub(super) fn problem(&mut self, span: Span, problem: Problem) {
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let problem = if self.is_sealed(span) { veiled(&problem) } else { problem };
        let problem = problem.at(self.place(span));
        if !self.problems.iter().any(|(_, known)| *known == problem) {
            self.problems.push((span, problem));
        }
    }

    /// Adds a problem that no line is to blame for.
    pub(super) fn problem_of_file(&mut self, problem: Problem) {
        self.problems.push((NOWHERE, problem));
    }

    /// Adds what a lint has found; what many hosts share is told once.
    pub(super) fn warning(
        &mut self,
        lint: &'static str,
        span: Option<Span>,
        message: impl std::fmt::Display,
    ) {
        let message = match span {
            Some(span) if self.is_sealed(span) => {
                "there is something to say about what is encrypted here, and it is not shown".to_owned()
            }
            Some(_) | None => message.to_string(),
        };
        let warning = Finding { lint, span, message };
        if self.warnings.len() < MOST_PROBLEMS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Remembers a name that is nearly that of a variable, for whoever misses the variable.
    pub(super) fn near_miss(&mut self, variable: &'static str, name: &str, at: Span) {
        if self.is_sealed(at) {
            return;
        }
        self.near_misses.entry(variable).or_insert_with(|| (name.to_owned(), at));
    }

    /// For a hint.
    pub(super) fn nearly(&mut self, variable: &str) -> Option<(String, Span)> {
        let found = self.near_misses.get(variable).cloned()?;
        self.hinted.insert(found.1);
        Some(found)
    }

    /// Where names stand that were told already.
    pub(super) fn near_misses(&self) -> BTreeSet<Span> {
        let told = self.warnings.iter().filter(|found| found.lint == NEAR_MISS);
        told.filter_map(|found| found.span).collect()
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// How many problems there are, to go back to.
    pub(super) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Forgets the problems since a mark, and hands them out.
    pub(super) fn take_since(&mut self, mark: usize) -> Vec<(Span, Problem)> {
        self.problems.split_off(mark)
    }

    pub(super) fn put_back(&mut self, problems: Vec<(Span, Problem)>) {
        self.problems.extend(problems);
    }

    /// The warnings, or every problem in the order of the files; then the names that are nearly a variable's, as one of
    /// them may be why something is missing or wrong.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Vec<Problem>> {
        if self.problems.is_empty() {
            let line = |found: &Finding| match found.span {
                Some(span) => format!("{}: {}", self.at(span), found.message),
                None => found.message.clone(),
            };
            return Ok(self.warnings.iter().map(line).collect());
        }
        for (span, problem) in &mut self.problems {
            let secret = self.files.get(span.file).is_some_and(|file| file.secret.contains(&span.line));
            if let Some(place) = &mut problem.place
                && secret
            {
                place.text.clear();
            }
        }
        self.problems.sort_by_key(|(span, _)| (span.file, span.line, span.column));
        let warnings = self.sorted_warnings().into_iter();
        let hinted = |found: &Finding| found.span.is_some_and(|span| self.hinted.contains(&span));
        let near_misses = warnings.filter(|found| found.lint == NEAR_MISS && !hinted(found));
        let near_misses: Vec<Problem> = near_misses.map(|found| self.with_place(found)).collect();
        let problems = self.problems.into_iter().map(|(_, problem)| problem);
        Err(problems.chain(near_misses).collect())
    }

    /// The findings of the lints in the order of the files, each a problem with its place; and the problems.
    pub(super) fn findings(mut self) -> (Vec<(&'static str, Problem)>, Vec<Problem>) {
        let found = self.sorted_warnings().into_iter();
        let found = found.map(|found| (found.lint, self.with_place(found))).collect();
        (found, self.finish().err().unwrap_or_default())
    }

    fn sorted_warnings(&mut self) -> Vec<Finding> {
        let mut found = std::mem::take(&mut self.warnings);
        found.sort_by_key(|found| (found.span.unwrap_or(NOWHERE), found.lint));
        found
    }

    fn with_place(&self, found: Finding) -> Problem {
        let problem = Problem::warning(found.message);
        let Some(span) = found.span else { return problem };
        let mut place = self.place(span);
        let secret = self.files.get(span.file).is_some_and(|file| file.secret.contains(&span.line));
        if secret || place.text.len() > LONGEST_LINE {
            place.text.clear();
        }
        problem.at(place)
    }

    /// `line 12`, for a hint that points at a second place; with its file where there are several.
    pub(super) fn line(&self, span: Span) -> String {
        match self.files.len() {
            0 | 1 => format!("line {}", span.line),
            _ => format!("{}:{}", self.name(span), span.line),
        }
    }

    /// As an operator names it beside the inventory: `db.yml:13`.
    pub(super) fn at(&self, span: Span) -> String {
        format!("{}:{}", self.name(span), span.line)
    }

    /// The name of a span's file.
    pub(super) fn name(&self, span: Span) -> &str {
        self.files.get(span.file).map_or("", |file| &file.name)
    }

    /// Where relative paths of a span's file start: beside the inventory, also in its `group_vars`.
    pub(super) fn base(&self, span: Span) -> &Path {
        self.files.get(span.file).map_or(Path::new(""), |file| &file.base)
    }

    fn place(&self, span: Span) -> Place {
        let text = self.files.get(span.file).and_then(|file| file.lines.get(span.line.checked_sub(1)?));
        // It is not shown, and hundreds of problems may be on it.
        let Some(text) = text.filter(|text| text.len() <= LONGEST_LINE) else {
            let (file, text) = (self.name(span).to_owned(), String::new());
            return Place {
                file,
                line: span.line,
                column: span.column.max(1),
                width: span.width.max(1),
                text,
            };
        };
        // A control character would move the caret, or the operator's terminal.
        let text: String = text.chars().map(printable).collect();
        let rest = (text.chars().count() + 1).saturating_sub(span.column);
        Place {
            file: self.name(span).to_owned(),
            line: span.line,
            column: span.column.max(1),
            width: span.width.clamp(1, rest.max(1)),
            text,
        }
    }
}

/// A problem of an encrypted file without what stands in it; muster's own names are not from there.
fn veiled(problem: &Problem) -> Problem {
    let named = |row: &&super::variables::Variable| problem.message.starts_with(&format!("`{}`", row.name));
    let message = match VARIABLES.iter().find(named) {
        Some(row) => format!("`{}` cannot be what it is in this encrypted file", row.name),
        None => "this line of an encrypted file is wrong".to_owned(),
    };
    Problem::new(message).hint("nothing of the file is shown here; `ansible-vault view` shows it")
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
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
fn with_deeper_lines(lines: &[String], line: usize) -> std::ops::Range<usize> {
    let indent = |text: &str| text.len() - text.trim_start().len();
    let own = lines.get(line.saturating_sub(1)).map_or(0, |text| indent(text));
    let more =
        lines.iter().skip(line).take_while(|text| text.trim().is_empty() || indent(text) > own).count();
    line..line + more + 1
}
