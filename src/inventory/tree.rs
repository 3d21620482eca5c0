//! YAML and JSON as a small tree in which every key and value knows its place and its own spelling.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned, Tagged};

use super::source::{Source, Span};
use crate::error::Problem;
use crate::formation::Origin;

/// Deepest nesting of an inventory; each generation of groups takes two levels.
const DEEPEST: usize = 32;
/// Most keys and values, aliases expanded: thousands of hosts fit, a file made to explode does not.
const MOST_NODES: usize = 100_000;
/// Bytes of a line: of YAML's signs, one after the other, the parser keeps five hundred times as much before it counts them.
const LONGEST_LINE: usize = 128 << 10;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) tree: Tree,
    pub(super) style: Style,
}

/// What a scalar means to Ansible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes in YAML: YAML 1.1 says what it is, so `yes` is a boolean and `0644` is 420.
    Plain,
    /// What the tree says.
    Exact,
    /// A number of an INI inventory, as it is spelt there: Python says what it is.
    Literal,
    /// `!unsafe`: braces in it are no template.
    Unsafe,
}

/// Numbers and booleans keep the spelling of the file: `0.90` and `0644` mean what they look like.
#[derive(Clone)]
pub(super) enum Tree {
    Null,
    Flag {
        value: bool,
        spelling: String,
    },
    Number(String),
    Text(String),
    /// What is encrypted by ansible-vault: a header and hexadecimal digits.
    Vault(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_style: Style,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

impl Tree {
    /// What a value is, for messages: "a number", "a list".
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Tree::Null => "nothing",
            Tree::Flag { .. } => "a boolean",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "text",
            Tree::Vault(_) => "an encrypted value",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }
}

/// Reads one document; a syntax error ends it, a key given twice is reported and the first one kept.
pub(super) fn read(text: &str, file: usize, source: &mut Source) -> Option<Node> {
    let options = serde_saphyr::options! {
        strict_booleans: false, // so that `!!bool yes` is one; the others are told by their spelling below
        // As PyYAML: brackets and what is in them may stand at the left of their key.
        strict_indentation: false,
        with_snippet: false, // it shows neighbouring lines, which may hold a password
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_NODES,
            enforce_alias_anchor_ratio: false, // `<<: *defaults` in hundreds of hosts is ordinary
        },
    };
    // YAML knows more of numbers than JSON does; and it minds tabs, which JSON has between tokens alone.
    let json = text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let untabbed = if json { text.replace('\t', " ") } else { String::new() };
    let text = if json { &untabbed } else { text };
    let plain = if json { Style::Exact } else { Style::Plain };
    if !json && let Some(number) = text.lines().position(|line| line.len() > LONGEST_LINE) {
        let at = Span { file, line: number + 1, column: 1, width: 1 };
        let problem = Problem::new(format!("the line is longer than {} KiB", LONGEST_LINE >> 10));
        source.problem(at, problem.hint("YAML takes a value in several lines, e.g. behind `|`"));
        return None;
    }
    match serde_saphyr::from_str_with_options::<Spanned<Tagged<Raw>>>(text, options) {
        Ok(raw) => Some(Reader { text, file, plain, source }.node(raw)),
        Err(error) => {
            syntax(&error, text, file, source);
            None
        }
    }
}

fn syntax(error: &Error, text: &str, file: usize, source: &mut Source) {
    let start = Span { file, ..super::source::START };
    source.hide_all_suspects(file);
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let message = message.lines().next().unwrap_or_default();
    // The place is shown by ours; theirs stands before or after the message.
    let message = match message.split_once(" at line ") {
        Some((message, _)) => message,
        None => message,
    };
    let mut problem = Problem::new(format!("cannot read this as YAML: {message}"));
    match error {
        // The limit can be met below an alias, and is then told in text alone.
        _ if message.contains("limits breached") || message.contains("limit exceeded") => {
            problem = Problem::new("the inventory is nested too deep or grows too large");
            problem = problem.hint(format!(
                "at most {DEEPEST} levels, and {MOST_NODES} keys and values with all aliases filled in"
            ));
        }
        Error::MultipleDocuments { .. } => {
            problem = Problem::new("a second YAML document starts here")
                .hint("an inventory is one document: remove the `---`");
        }
        _ => {}
    }
    match error.location() {
        Some(location) if location.line() > 0 => {
            let at = span(location, file);
            // It is found where the value before it goes on.
            match tab_before_a_key(text, at).filter(|_| message.contains("tab")) {
                Some(tab) => source.problem(tab, problem.hint("write blanks before a key, no tab")),
                None => source.problem(at, problem),
            }
        }
        // With a place what is said of an encrypted file is veiled.
        _ if source.origin(start) == Origin::Vault => source.problem(start, problem),
        _ => source.problem_of_file(problem),
    }
}

/// The first tab that a line begins with, there or behind.
fn tab_before_a_key(text: &str, at: Span) -> Option<Span> {
    text.lines().enumerate().skip(at.line - 1).find_map(|(index, line)| {
        let column = line.find('\t').filter(|column| line[..*column].trim().is_empty())? + 1;
        Some(Span { line: index + 1, column, width: 1, ..at })
    })
}

/// What the parser hands over; the spelling of plain scalars is taken from the text afterwards.
enum Raw {
    Null,
    Flag(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Tagged<Raw>>>),
    Map(Vec<(Spanned<Raw>, Spanned<Tagged<Raw>>)>),
}

struct Reader<'a, 's> {
    text: &'a str,
    file: usize,
    /// What a scalar without quotes is.
    plain: Style,
    source: &'s mut Source,
}

/// YAML's own tags, as far as they make what an inventory can hold.
const TAGS: [&str; 7] = ["str", "int", "float", "bool", "null", "seq", "map"];

impl Reader<'_, '_> {
    fn node(&mut self, raw: Spanned<Tagged<Raw>>) -> Node {
        // Where a value is defined, not where an alias names it: that is the text to correct.
        let at = raw.defined;
        let Tagged(value, tag) = raw.value;
        let mut style = self.style(at);
        let mut tree = match value {
            Raw::Null => Tree::Null,
            Raw::Flag(value) => match self.spelling(at) {
                spelling if tag.is_some() || is_boolean(&spelling) => Tree::Flag { value, spelling },
                // What it means hangs on who reads it: `yes` is one for a flag, and a text for others.
                spelling => Tree::Text(spelling),
            },
            Raw::Number => Tree::Number(self.spelling(at)),
            Raw::Text(text) => Tree::Text(text),
            Raw::List(items) => Tree::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => vault_of_json(self.entries(entries), self.plain),
        };
        let span = span(at, self.file);
        match tag.as_deref() {
            None => {}
            Some("!unsafe") => {
                tree = exact(tree, style);
                style = Style::Unsafe;
            }
            Some("!vault" | "!vault-encrypted") => {
                style = Style::Exact;
                match tree {
                    Tree::Text(text) => tree = Tree::Vault(text),
                    _ => self.source.problem(span, Problem::new("`!vault` is for text")),
                }
            }
            Some("!") => {}
            Some(tag) if own_tag(tag).is_some() => {
                let name = own_tag(tag).unwrap_or_default();
                match tagged(name, tree, self.spelling(at)) {
                    Ok(made) => (tree, style) = made,
                    Err(kept) => {
                        let problem = Problem::new(format!("this is no value for `!!{name}`"));
                        self.source.problem(span, problem.hint("remove the tag, or correct the value"));
                        tree = kept;
                    }
                }
            }
            Some(tag) => {
                let name = super::source::quote(tag);
                self.source.problem(
                    span,
                    Problem::new(format!("cannot read this as YAML: unsupported tag {name}"))
                        .hint("remove the tag; `!vault` and `!unsafe` are known here"),
                );
            }
        }
        Node { span, tree, style }
    }

    /// Quotes and block scalars leave nothing to guess.
    fn style(&self, at: Location) -> Style {
        match self.spelling(at).starts_with(['"', '\'', '|', '>']) || self.is_block(at) {
            true => Style::Exact,
            false => self.plain,
        }
    }

    /// The place of a block scalar is that of its text; the `|` or `>` stands at the end of the line above.
    fn is_block(&self, at: Location) -> bool {
        let start = at.span().byte_offset().and_then(|start| usize::try_from(start).ok());
        let before = start.and_then(|start| self.text.get(..start)).unwrap_or_default();
        let above = before.trim_end();
        let mark = above.rsplit([' ', '\t', '\n']).next().unwrap_or_default();
        let marked = mark.starts_with(['|', '>']) && mark.len() < 4;
        marked && before[above.len()..].contains('\n') && !mark.ends_with(':')
    }

    /// A key as it is spelled; Python has no mapping with a list or a mapping for a key.
    fn key(&mut self, key: Spanned<Raw>) -> Option<String> {
        match key.value {
            Raw::Text(text) => Some(text),
            Raw::Null | Raw::Flag(_) | Raw::Number => Some(self.spelling(key.defined)),
            Raw::List(_) | Raw::Map(_) => {
                let problem = Problem::new("a list or a mapping cannot be a key");
                let hint = "a template is written in quotes: \"{{ … }}\"";
                self.source.problem(span(key.defined, self.file), problem.hint(hint));
                None
            }
        }
    }

    fn entries(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Tagged<Raw>>)>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut seen = std::collections::BTreeMap::new();
        for (key, value) in raw {
            let key_span = span(key.defined, self.file);
            let key_style = self.style(key.defined);
            let Some(key) = self.key(key) else { continue };
            if let Some(first) = seen.insert(key.clone(), key_span) {
                let name = super::source::quote(&key);
                self.source.problem(
                    key_span,
                    Problem::new(format!("{name} is given twice in one mapping"))
                        .hint(format!("it is also on {}; keep one", self.source.line(first))),
                );
                seen.insert(key, first);
                continue;
            }
            entries.push(Entry { key, key_style, key_span, value: self.node(value) });
        }
        entries
    }

    fn spelling(&self, at: Location) -> String {
        let span = at.span();
        let slice = span.byte_offset().zip(span.byte_len()).and_then(|(start, len)| {
            let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
            self.text.get(start..start + len)
        });
        slice.unwrap_or_default().trim().to_owned()
    }
}

/// In JSON, which has no tags, Ansible writes `{"__ansible_vault": …}`.
fn vault_of_json(mut entries: Vec<Entry>, plain: Style) -> Tree {
    match entries.as_mut_slice() {
        [Entry { key, value: Node { tree: Tree::Text(text), .. }, .. }]
            if plain == Style::Exact && key == "__ansible_vault" =>
        {
            Tree::Vault(std::mem::take(text))
        }
        _ => Tree::Map(entries),
    }
}

/// Whether YAML 1.2 takes it for a boolean.
fn is_boolean(spelling: &str) -> bool {
    ["true", "True", "TRUE", "false", "False", "FALSE"].contains(&spelling)
}

/// The name of one of YAML's own tags.
fn own_tag(tag: &str) -> Option<&'static str> {
    let name = tag.strip_prefix("!!").or_else(|| tag.strip_prefix("tag:yaml.org,2002:"))?;
    TAGS.into_iter().find(|known| *known == name)
}

/// What stands between quotes; a number in them needs no escapes.
fn unquoted(spelling: &str) -> &str {
    let between = |quote: char| spelling.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).unwrap_or(spelling)
}

/// What a value becomes by a tag, with or without quotes; where it cannot, the value itself.
fn tagged(name: &str, tree: Tree, spelling: String) -> Result<(Tree, Style), Tree> {
    let text = match &tree {
        Tree::Text(text) => text.clone(),
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) => unquoted(&spelling).to_owned(),
        Tree::Vault(_) | Tree::List(_) | Tree::Map(_) => {
            let fits = matches!((name, &tree), ("seq", Tree::List(_)) | ("map", Tree::Map(_)));
            return if fits { Ok((tree, Style::Exact)) } else { Err(tree) };
        }
    };
    let made = match name {
        "str" => Some(Tree::Text(text)),
        "null" => Some(Tree::Null),
        "bool" => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Some(Tree::Flag { value: true, spelling: text }),
            "no" | "false" | "off" => Some(Tree::Flag { value: false, spelling: text }),
            _ => None,
        },
        "int" => super::scalar::whole(&text).map(Tree::Number),
        "float" => super::scalar::real(&text).map(Tree::Number),
        _ => None,
    };
    made.map(|tree| (tree, Style::Exact)).ok_or(tree)
}

/// A scalar as it is spelt: `!unsafe` keeps what YAML makes of it.
fn exact(tree: Tree, style: Style) -> Tree {
    match tree {
        Tree::Text(text) if style == Style::Plain => super::scalar::tree(&text),
        other => other,
    }
}

fn span(at: Location, file: usize) -> Span {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Span { file, line: number(at.line()), column: number(at.column()), width: number(at.span().len()) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
