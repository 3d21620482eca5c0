//! A YAML inventory: groups of `hosts`, `vars` and `children`, put into the store in the order of the file.

use super::alike::nearest;
use super::range;
use super::source::{Source, Span, quote};
use super::store::{ALL, Loop, Mention, SourceName, Store, Vars};
use super::tree::{Entry, Node, Style, Tree};
use crate::error::Problem;

/// Reads a document into the store; whether everything in it could be read.
pub(super) fn read(root: &Node, file: &SourceName, store: &mut Store, source: &mut Source) -> Whole {
    let mut reader = Reader { source, store, file, whole: Whole::Yes };
    reader.root(root);
    reader.whole
}

/// The plugin of Ansible's that a file is the configuration of, and where it says so.
pub(super) fn plugin(root: &Node) -> Option<(String, Span)> {
    let Tree::Map(entries) = &root.tree else { return None };
    entries.iter().find_map(|entry| match (entry.key.as_str(), &entry.value.tree) {
        ("plugin", Tree::Text(name)) => Some((name.clone(), entry.key_span)),
        _ => None,
    })
}

/// Whether a part could not be read, so that more hosts or variables may be meant than are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
}

struct Reader<'s> {
    source: &'s mut Source,
    store: &'s mut Store,
    file: &'s SourceName,
    whole: Whole,
}

impl Reader<'_> {
    /// Like Ansible, takes groups beside `all` as children of it.
    fn root(&mut self, root: &Node) {
        let Some(entries) = self.mapping(root, "the inventory", "a mapping that starts with `all:`") else {
            return;
        };
        for entry in entries {
            self.group(entry, &[]);
        }
    }

    fn group(&mut self, entry: &Entry, ancestors: &[&str]) -> Option<usize> {
        let name = entry.key.as_str();
        if ancestors.contains(&name) {
            self.own_ancestor(entry, &ancestors.join(" > "));
            return None;
        }
        if !self.is_plain_name("group", entry) {
            return None;
        }
        let group = self.store.group(name);
        let parts =
            self.mapping(&entry.value, &quote(name), "a mapping of `hosts`, `vars` and `children`")?;
        for part in parts {
            match part.key.as_str() {
                "vars" => self.vars(group, &part.value),
                "hosts" => self.hosts(group, &part.value),
                "children" => {
                    let below: Vec<&str> = ancestors.iter().copied().chain([name]).collect();
                    for child in self.names(&part.value, "`children`", "a mapping of group names") {
                        let Some(index) = self.group(&child, &below) else { continue };
                        if let Err(Loop) = self.store.add_child(group, index) {
                            self.own_ancestor(&child, &below.join(" > "));
                        }
                    }
                }
                other => {
                    let problem = Problem::new(format!("{} is no part of a group", quote(other)));
                    let hint = match nearest(other, ["vars", "hosts", "children"]) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            "a group has `hosts`, `vars` and `children`; variables go under `vars`".to_owned()
                        }
                    };
                    self.source.problem(part.key_span, problem.hint(hint));
                    self.whole = Whole::No;
                }
            }
        }
        Some(group)
    }

    fn own_ancestor(&mut self, entry: &Entry, above: &str) {
        let problem = Problem::new(format!("group {} is its own ancestor", quote(&entry.key)));
        self.source.problem(entry.key_span, problem.hint(format!("above it: {above}")));
    }

    fn vars(&mut self, group: usize, node: &Node) {
        for entry in self.mapping(node, "`vars`", "a mapping of variables").unwrap_or_default() {
            set_group_variable(self.store, group, entry.clone(), self.source);
        }
    }

    fn hosts(&mut self, group: usize, node: &Node) {
        for entry in self.names(node, "`hosts`", "a mapping of host names") {
            if self.store.too_many().is_some() {
                return;
            }
            let (names, port) = match range::expand(&entry.key) {
                Ok(found) => found,
                Err(problem) => {
                    self.source.problem(entry.key_span, problem);
                    self.whole = Whole::No;
                    continue;
                }
            };
            let Some(vars) = self.mapping(&entry.value, &quote(&entry.key), "a mapping of variables") else {
                continue;
            };
            for name in names {
                let named = Entry { key: name, ..entry.clone() };
                if self.is_plain_name("host", &named) {
                    let vars = vars.iter().cloned().collect();
                    add_host(self.store, &named.key, named.key_span, self.file, port, Some(group), vars);
                }
            }
        }
    }

    fn is_plain_name(&mut self, what: &str, entry: &Entry) -> bool {
        let fine = is_plain_name(what, &entry.key, entry.key_span, self.source);
        if !fine {
            self.whole = Whole::No;
        }
        fine
    }

    /// The entries of a mapping of names; like Ansible, takes one word alone for a name without anything.
    fn names(&mut self, node: &Node, what: &str, expected: &str) -> Vec<Entry> {
        match &node.tree {
            Tree::Text(word) if !word.contains(char::is_whitespace) && !word.is_empty() => {
                let value = Node { span: node.span, tree: Tree::Null, style: Style::Exact };
                let (key, key_style) = (word.clone(), Style::Exact);
                vec![Entry { key, key_style, key_span: node.span, value }]
            }
            _ => self.mapping(node, what, expected).unwrap_or_default().to_vec(),
        }
    }

    /// The entries of a mapping; nothing at all is an empty one.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, expected: &str) -> Option<&'n [Entry]> {
        let found = mapping(node, what, expected, self.source);
        if found.is_none() {
            self.whole = Whole::No;
        }
        found
    }
}

/// The entries of a mapping; nothing at all is an empty one.
pub(super) fn mapping<'n>(
    node: &'n Node,
    what: &str,
    expected: &str,
    source: &mut Source,
) -> Option<&'n [Entry]> {
    match &node.tree {
        Tree::Map(entries) => Some(entries),
        Tree::Null => Some(&[]),
        other => {
            let problem = Problem::new(format!("{what} must be {expected}, not {}", other.noun()));
            source.problem(
                node.span,
                match other {
                    Tree::List(_) => problem.hint("no dashes: a name and a colon on each line"),
                    Tree::Text(_) => problem.hint("a colon after each name"),
                    _ => problem,
                },
            );
            None
        }
    }
}

/// Names that would break a line of the screen, or that no pattern could be told from, are refused.
pub(super) fn is_plain_name(what: &str, name: &str, at: Span, source: &mut Source) -> bool {
    let plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain && !name.contains(['[', ']', '{', '}']) {
        return true;
    }
    let problem = Problem::new(format!("{} is no name of a {what}", quote(name)));
    source.problem(at, problem.hint("one word, without brackets and braces"));
    false
}

/// A host with the port of its first mention, and its variables over those it has.
pub(super) fn add_host(
    store: &mut Store,
    name: &str,
    span: Span,
    file: &SourceName,
    port: Option<u16>,
    group: Option<usize>,
    vars: Vars,
) {
    let (host, mention) = store.host(name, span, file);
    if let Some(group) = group {
        store.put(host, group);
    }
    if let (Some(port), Mention::First) = (port, mention) {
        let value = Node { span, tree: Tree::Number(port.to_string()), style: Style::Exact };
        let entry = Entry { key: "ansible_port".to_owned(), key_style: Style::Exact, key_span: span, value };
        store.hosts[host].vars.insert(entry);
    }
    if let Some(known) = store.vars_of(name) {
        known.extend(vars.now.into_values());
    }
}

/// A variable of a group; its priority is one that orders groups, and none of its hosts'.
pub(super) fn set_group_variable(store: &mut Store, group: usize, entry: Entry, source: &mut Source) {
    if entry.key != "ansible_group_priority" {
        store.groups[group].vars.insert(entry);
        return;
    }
    match &entry.value.tree {
        Tree::Number(text) | Tree::Text(text) if text.trim().parse::<i64>().is_ok() => {
            store.groups[group].priority = text.trim().parse().ok().filter(|_| group != ALL);
        }
        other => {
            let problem = super::value::mismatch("ansible_group_priority", "a whole number", other);
            source.problem(entry.value.span, problem.hint("the higher one wins among groups of one depth"));
        }
    }
}
