//! An INI inventory: hosts with variables on their lines, `[group]`, `[group:vars]`, `[group:children]`.

use std::collections::BTreeMap;

use super::literal;
use super::range;
use super::source::{Source, Span, quote};
use super::store::{Loop, SourceName, Store, UNGROUPED, Vars};
use super::tree::{Entry, Style};
use super::words;
use super::yaml::{add_host, is_plain_name, set_group_variable};
use crate::error::Problem;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Hosts,
    Vars,
    Children,
}

/// What a group is still to be declared for.
struct Pending {
    span: Span,
    section: Section,
    parents: Vec<usize>,
}

/// Reads the text into the store.
pub(super) fn read(text: &str, file: usize, origin: &SourceName, store: &mut Store, source: &mut Source) {
    let mut reader = Reader {
        source,
        store,
        file: origin,
        number: file,
        group: UNGROUPED,
        section: Section::Hosts,
        pending: BTreeMap::new(),
    };
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line);
    }
    reader.finish();
}

/// Whether the first line that says something is the head of a section.
pub(super) fn looks_like(text: &str) -> bool {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines.next().is_some_and(|line| head(line).is_some())
}

struct Reader<'s> {
    source: &'s mut Source,
    store: &'s mut Store,
    file: &'s SourceName,
    number: usize,
    group: usize,
    section: Section,
    pending: BTreeMap<String, Pending>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, whole: &str) {
        let line = whole.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        let indent = whole.chars().take_while(|c| c.is_whitespace()).count();
        let file = self.number;
        let at = move |start: usize, end: usize| Span {
            file,
            line: number,
            column: indent + start + 1,
            width: end.saturating_sub(start).max(1),
        };
        let here = at(0, line.chars().count());
        if let Some((name, kind)) = head(line) {
            self.head(name, kind, here);
        } else if line.starts_with('[') && line.ends_with(']') {
            let problem = Problem::new(format!("{} is no head of a section", quote(line)));
            self.source.problem(here, problem.hint("write [GROUP], [GROUP:vars] or [GROUP:children]"));
        } else {
            match self.section {
                Section::Hosts => self.host(line, at),
                Section::Vars => self.variable(line, at),
                Section::Children => self.child(line, here),
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, at: Span) {
        self.section = match kind {
            "" | "hosts" => Section::Hosts,
            "vars" => Section::Vars,
            "children" => Section::Children,
            other => {
                let problem = Problem::new(format!("a section cannot be of {}", quote(other)));
                self.source.problem(at, problem.hint("write [GROUP], [GROUP:vars] or [GROUP:children]"));
                return;
            }
        };
        if !is_plain_name("group", name, at, self.source) {
            return;
        }
        let new = self.store.find_group(name).is_none();
        self.group = self.store.group(name);
        if new && self.section == Section::Vars && !self.pending.contains_key(name) {
            let pending = Pending { span: at, section: Section::Vars, parents: Vec::new() };
            self.pending.insert(name.to_owned(), pending);
        }
        if self.section != Section::Vars
            && let Some(pending) = self.pending.remove(name)
        {
            self.adopt(name, pending, at);
        }
    }

    /// A group that was named as a child before it was declared; its parents may have waited for it.
    fn adopt(&mut self, name: &str, pending: Pending, at: Span) {
        let child = self.store.group(name);
        for parent in pending.parents {
            self.add_child(parent, child, at);
            let parent = self.store.groups[parent].name.clone();
            if self.pending.get(&parent).is_some_and(|pending| pending.section == Section::Children)
                && let Some(pending) = self.pending.remove(&parent)
            {
                self.adopt(&parent, pending, at);
            }
        }
    }

    fn add_child(&mut self, parent: usize, child: usize, at: Span) {
        if let Err(Loop) = self.store.add_child(parent, child) {
            let name = quote(&self.store.groups[child].name);
            let problem = Problem::new(format!("group {name} is its own ancestor"));
            let above = &self.store.groups[parent].name;
            self.source.problem(at, problem.hint(format!("it is above {} already", quote(above))));
        }
    }

    fn host(&mut self, line: &str, at: impl Fn(usize, usize) -> Span) {
        let words = match words::split(line) {
            Ok(words) => words,
            Err(why) => {
                let problem = Problem::new(format!("cannot read this line: {why}"));
                return self.source.problem(at(0, line.chars().count()), problem);
            }
        };
        let Some((first, rest)) = words.split_first() else { return };
        let span = at(first.start, first.end);
        if first.text.ends_with(':') || first.text.trim() == "---" {
            let problem = Problem::new(format!("{} is no name of a host", quote(&first.text)));
            return self
                .source
                .problem(span, problem.hint("this looks like YAML; a file of it is named .yml"));
        }
        let mut vars = Vars::default();
        for word in rest {
            let Some((key, value)) = word.text.split_once('=') else {
                let problem = Problem::new(format!("{} is no KEY=VALUE", quote(&word.text)));
                self.source
                    .problem(at(word.start, word.end), problem.hint("quote a value that has spaces in it"));
                continue;
            };
            let start = (word.start + key.chars().count() + 1).min(word.end);
            match entry(key, value, at(word.start, start.saturating_sub(1)), at(start, word.end)) {
                Ok(entry) => vars.insert(entry),
                Err(problem) => self.source.problem(at(start, word.end), problem),
            }
        }
        if self.store.too_many().is_some() {
            return;
        }
        match range::expand(&first.text) {
            Ok((names, port)) => {
                for name in names {
                    if is_plain_name("host", &name, span, self.source) {
                        add_host(self.store, &name, span, self.file, port, Some(self.group), vars.clone());
                    }
                }
            }
            Err(problem) => self.source.problem(span, problem),
        }
    }

    fn variable(&mut self, line: &str, at: impl Fn(usize, usize) -> Span) {
        let length = line.chars().count();
        let Some((key, value)) = line.split_once('=') else {
            let problem = Problem::new("a variable is missing its `=`");
            return self.source.problem(at(0, length), problem.hint("write KEY=VALUE, one a line"));
        };
        let (key, value) = (key.trim(), value.trim());
        let start = length.saturating_sub(value.chars().count());
        match entry(key, value, at(0, key.chars().count()), at(start, length)) {
            Ok(entry) => set_group_variable(self.store, self.group, entry, self.source),
            Err(problem) => self.source.problem(at(start, length), problem),
        }
    }

    fn child(&mut self, line: &str, at: Span) {
        let name = line.split([' ', '\t', '#']).next().unwrap_or_default();
        let rest = line[name.len()..].trim_start();
        if name.is_empty() || name.contains([':', ']']) || !(rest.is_empty() || rest.starts_with('#')) {
            let problem = Problem::new(format!("{} is no name of a group", quote(line)));
            return self.source.problem(at, problem.hint("the groups below, one a line"));
        }
        match self.store.find_group(name) {
            Some(child) => self.add_child(self.group, child, at),
            None => {
                let new = Pending { span: at, section: Section::Children, parents: Vec::new() };
                self.pending.entry(name.to_owned()).or_insert(new).parents.push(self.group);
            }
        }
    }

    fn finish(self) {
        for (name, pending) in self.pending {
            let problem = Problem::new(format!("there is no group {}", quote(&name)));
            let hint = match pending.section {
                Section::Vars | Section::Hosts => "it has variables alone: declare it as [GROUP] too",
                Section::Children => "declare it as [GROUP], or remove it",
            };
            self.source.problem(pending.span, problem.hint(hint));
        }
    }
}

/// `[NAME]` or `[NAME:KIND]`, and a comment behind it.
fn head(line: &str) -> Option<(&str, &str)> {
    let (inner, rest) = line.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    let kind_is_word = kind.chars().all(|c| c.is_alphanumeric() || c == '_');
    let fits = !name.is_empty() && !name.contains(char::is_whitespace) && kind_is_word;
    let ended = !inner.ends_with(':') && (rest.is_empty() || rest.starts_with('#'));
    (fits && ended).then_some((name, kind))
}

fn entry(key: &str, value: &str, key_span: Span, span: Span) -> Result<Entry, Problem> {
    let value = literal::parse(value, span)?;
    Ok(Entry { key: key.to_owned(), key_style: Style::Exact, key_span, value })
}
