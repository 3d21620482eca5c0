//! Groups and hosts in Ansible's shape, and the levels of variables that reach each host.
//!
//! Outer to inner: `all`, then groups by depth and, at one depth, by name, then the host itself. Another
//! source of variables for a group or host is one more level behind the last one of that group or host.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::host::{Given, Host, Level};
use super::source::{Source, Span, quote};
use super::tree::{Entry, Node, Tree};
use super::value::{self, Value};
use super::variables::{Kind, VARIABLES, nearest, variable};
use crate::error::Problem;

/// All hosts, in the order of their names.
pub(super) struct Hosts {
    pub(super) hosts: Vec<Host>,
    /// Every group, `all` among them.
    pub(super) groups: BTreeSet<String>,
    /// Whether a part could not be read, so that more hosts or variables may be meant than are here.
    pub(super) partial: bool,
}

pub(super) fn read(root: &Node, source: &mut Source) -> Hosts {
    hide_secrets(root, source);
    let mut reader = Reader { source, groups: BTreeMap::new(), hosts: BTreeMap::new(), partial: false };
    reader.root(root);
    let Reader { groups, hosts, partial, .. } = reader;
    let depths = depths(&groups);
    let hosts = hosts.into_iter().map(|(name, host)| layered(name, host, &groups, &depths)).collect();
    Hosts { hosts, groups: groups.into_keys().collect(), partial }
}

#[derive(Default)]
struct Group {
    hosts: BTreeSet<String>,
    children: BTreeSet<String>,
    levels: Vec<Rc<Level>>,
}

struct HostEntry {
    span: Span,
    levels: Vec<Rc<Level>>,
}

struct Reader<'s, 't> {
    source: &'s mut Source<'t>,
    groups: BTreeMap<String, Group>,
    hosts: BTreeMap<String, HostEntry>,
    partial: bool,
}

impl Reader<'_, '_> {
    /// Like Ansible, takes groups beside `all` as children of it.
    fn root(&mut self, root: &Node) {
        let Some(entries) = self.mapping(root, "the inventory", "a mapping that starts with `all:`") else {
            return;
        };
        self.groups.entry("all".to_owned()).or_default();
        for entry in entries {
            self.group(entry, if entry.key == "all" { &[] } else { &["all"] });
        }
        if self.hosts.is_empty() && !self.source.has_problems() {
            let problem = Problem::new("the inventory has no hosts");
            self.source.problem(root.span, problem.hint("write them under `hosts:` of a group"));
        }
    }

    fn group(&mut self, entry: &Entry, ancestors: &[&str]) {
        let name = entry.key.as_str();
        if ancestors.contains(&name) {
            let problem = Problem::new(format!("group {} is its own ancestor", quote(name)));
            self.source.problem(entry.key_span, problem.hint(format!("above it: {}", ancestors.join(" > "))));
            return;
        }
        if !self.is_plain_name("group", entry) {
            return;
        }
        if let Some(parent) = ancestors.last() {
            self.groups.entry((*parent).to_owned()).or_default().children.insert(name.to_owned());
        }
        self.groups.entry(name.to_owned()).or_default();
        let Some(parts) =
            self.mapping(&entry.value, &quote(name), "a mapping of `hosts`, `vars` and `children`")
        else {
            return;
        };
        for part in parts {
            match part.key.as_str() {
                "vars" => {
                    if let Some(level) = self.level(&part.value, "`vars`") {
                        self.groups.entry(name.to_owned()).or_default().levels.push(level);
                    }
                }
                "hosts" => {
                    for host in
                        self.mapping(&part.value, "`hosts`", "a mapping of host names").unwrap_or_default()
                    {
                        self.host(host, name);
                    }
                }
                "children" => {
                    let below: Vec<&str> = ancestors.iter().copied().chain([name]).collect();
                    for child in self
                        .mapping(&part.value, "`children`", "a mapping of group names")
                        .unwrap_or_default()
                    {
                        self.group(child, &below);
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
                    self.partial = true;
                }
            }
        }
    }

    fn host(&mut self, entry: &Entry, group: &str) {
        if !self.is_plain_name("host", entry) {
            return;
        }
        let level = self.level(&entry.value, &quote(&entry.key));
        self.groups.entry(group.to_owned()).or_default().hosts.insert(entry.key.clone());
        let host = self
            .hosts
            .entry(entry.key.clone())
            .or_insert_with(|| HostEntry { span: entry.key_span, levels: Vec::new() });
        host.levels.extend(level);
    }

    fn level(&mut self, node: &Node, what: &str) -> Option<Rc<Level>> {
        let entries = self.mapping(node, what, "a mapping of variables")?;
        let mut level = Level::new();
        for entry in entries {
            let Some(given) = known(entry, self.source) else { continue };
            let (name, misspelt) = (given.variable.name, matches!(given.value, Value::Bad));
            if let Some(first) = level.insert(name, given)
                && !misspelt
            {
                let problem = Problem::new(format!("`{name}` is given under two of its names"));
                let hint = format!("the other is on {}; keep one", Source::line(first.key_span));
                self.source.problem(entry.key_span, problem.hint(hint));
            }
        }
        Some(Rc::new(level))
    }

    fn is_plain_name(&mut self, what: &str, entry: &Entry) -> bool {
        let name = entry.key.as_str();
        let plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        if plain && !name.contains(['[', ']', '{', '}']) {
            return true;
        }
        let problem = Problem::new(format!("{} is no name of a {what}", quote(name)));
        let hint = if plain && name.contains("[") {
            "ranges are not read here: write each name"
        } else {
            "one word"
        };
        self.source.problem(entry.key_span, problem.hint(hint));
        self.partial = true;
        false
    }

    /// The entries of a mapping; nothing at all is an empty one.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, expected: &str) -> Option<&'n [Entry]> {
        match &node.tree {
            Tree::Map(entries) => Some(entries),
            Tree::Null => Some(&[]),
            other => {
                self.partial = true;
                let problem = Problem::new(format!("{what} must be {expected}, not {}", other.noun()));
                self.source.problem(
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
}

/// Looks a key up in the table; what is Ansible's alone is none of our business.
fn known(entry: &Entry, source: &mut Source) -> Option<Given> {
    let name = entry.key.as_str();
    let given = |variable, value| Given { variable, key_span: entry.key_span, span: entry.value.span, value };
    if let Some(variable) = variable(name) {
        return Some(given(variable, value::read(variable, &entry.value, source)));
    }
    match name {
        // Python is not needed, and muster becomes whom it must.
        "ansible_python_interpreter" | "ansible_become" => None,
        "ansible_group_priority" => {
            let problem = Problem::new("`ansible_group_priority` is not read here");
            source.problem(entry.key_span, problem.hint("nest the groups: the inner one wins"));
            None
        }
        _ if name.starts_with("ansible_") => {
            source.warning(Some(entry.key_span), format!("{} is not read here", quote(name)));
            None
        }
        _ => {
            let names = VARIABLES.iter().flat_map(|v| v.other_names.iter().copied().chain([v.name]));
            let near = nearest(name, names);
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "PostgreSQL's own settings go under `settings:`".to_owned(),
            };
            let problem = Problem::new(format!("unknown variable {}", quote(name)));
            source.problem(entry.key_span, problem.hint(hint));
            // The misspelt one counts as given, so that nobody calls it missing on top.
            near.and_then(variable).map(|variable| given(variable, Value::Bad))
        }
    }
}

/// Keeps the lines of every password out of messages, also where an alias takes it from elsewhere.
fn hide_secrets(node: &Node, source: &mut Source) {
    match &node.tree {
        Tree::Map(entries) => {
            for Entry { key, key_span, value } in entries {
                let secret = match variable(key).map(|variable| variable.kind) {
                    Some(Kind::Secret) => true,
                    // A group may have this name too.
                    Some(Kind::MonitorUri) => matches!(value.tree, Tree::Text(_)),
                    _ => false,
                };
                if secret {
                    source.hide(key_span.line);
                    source.hide(value.span.line);
                }
                hide_secrets(value, source);
            }
        }
        Tree::List(items) => items.iter().for_each(|item| hide_secrets(item, source)),
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) | Tree::Text(_) => {}
    }
}

/// How deep each group is: the longest way down from `all`, as Ansible counts.
fn depths(groups: &BTreeMap<String, Group>) -> BTreeMap<&str, usize> {
    let mut depths: BTreeMap<&str, usize> = groups.keys().map(|name| (name.as_str(), 0)).collect();
    // The longest way has fewer steps than there are groups, also where two branches make a circle.
    for _ in 0..groups.len() {
        let mut moved = false;
        for (name, group) in groups {
            let below = depths.get(name.as_str()).copied().unwrap_or_default() + 1;
            for child in &group.children {
                if let Some(depth) = depths.get_mut(child.as_str()).filter(|depth| **depth < below) {
                    *depth = below;
                    moved = true;
                }
            }
        }
        if !moved {
            break;
        }
    }
    depths
}

fn layered(
    name: String,
    host: HostEntry,
    groups: &BTreeMap<String, Group>,
    depths: &BTreeMap<&str, usize>,
) -> Host {
    let mut of: BTreeSet<&str> = BTreeSet::from(["all"]);
    of.extend(
        groups.iter().filter(|(_, group)| group.hosts.contains(&name)).map(|(group, _)| group.as_str()),
    );
    loop {
        let known = of.len();
        let parents =
            groups.iter().filter(|(_, group)| group.children.iter().any(|c| of.contains(c.as_str())));
        let parents: Vec<&str> = parents.map(|(group, _)| group.as_str()).collect();
        of.extend(parents);
        if of.len() == known {
            break;
        }
    }
    let mut order: Vec<&str> = of.iter().copied().collect();
    order.sort_by_key(|group| (depths.get(group).copied().unwrap_or_default(), *group));
    let levels = order
        .iter()
        .filter_map(|group| groups.get(*group))
        .flat_map(|group| group.levels.iter().cloned())
        .chain(host.levels)
        .collect();
    Host { name, span: host.span, groups: of.into_iter().map(str::to_owned).collect(), levels }
}
