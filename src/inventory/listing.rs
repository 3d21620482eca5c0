//! The inventory in Ansible's words: as `ansible-inventory --list`, `--host` and `--graph` show it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::jinja::Refused;
use super::levels::Levels;
use super::scalar;
use super::store::{ALL, Vars};
use crate::error::Problem;
use crate::formation::{Host, Listed, NodeName, Roster};
use crate::pattern;

/// What Ansible keeps for itself; an inventory's own variable of such a name is not shown. Source: INTERNAL_STATIC_VARS.
const INTERNAL: &[&str] = &[
    "ansible_async_path",
    "ansible_collection_name",
    "ansible_config_file",
    "ansible_dependent_role_names",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_inventory_sources",
    "ansible_limit",
    "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_role_names",
    "ansible_playbook_python",
    "ansible_role_name",
    "ansible_role_names",
    "ansible_run_tags",
    "ansible_skip_tags",
    "ansible_verbosity",
    "ansible_version",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_names",
    "role_path",
    "role_uuid",
];

/// An inventory that can be read, with every variable that anybody gave.
pub struct Listing(Levels);

/// A group is shown below each of its parents: a few dozens of groups can be made to fill every disk.
const MOST_LINES: usize = 100_000;

/// Whether a graph shows variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Names,
    Variables,
}

impl Listing {
    pub(super) fn new(levels: Levels) -> Self {
        Listing(levels)
    }

    /// The whole inventory, in the shape of an inventory program's answer.
    pub fn list(&self) -> Value {
        let mut groups = Map::new();
        self.group(ALL, &mut BTreeSet::new(), &mut groups);
        let store = &self.0.store;
        let mut hostvars = Map::new();
        for host in store.hosts_below(ALL) {
            let vars = self.vars_of(host);
            if !vars.is_empty() {
                hostvars.insert(store.hosts[host].name.clone(), Value::Object(vars));
            }
        }
        groups.insert("_meta".to_owned(), json!({ "hostvars": hostvars, "profile": "inventory_legacy" }));
        Value::Object(groups)
    }

    /// The variables of a host; nothing where there is no such host.
    pub fn host(&self, name: &str) -> Option<Value> {
        self.0.store.find_host(name).map(|host| Value::Object(self.vars_of(host)))
    }

    /// What a variable is to a host once its templates are filled in; nothing where the host has no such variable, or
    /// it is left out by `omit`.
    ///
    /// # Errors
    /// Why there is no value.
    pub fn evaluated(&self, host: &str, name: &str) -> Result<Option<Value>, Vec<Problem>> {
        let Some(host) = self.0.store.find_host(host) else { return Ok(None) };
        let level = self.0.world.levels(host).iter().rev().find_map(|level| level.now.get(name));
        let Some(entry) = level else { return Ok(None) };
        match self.0.world.evaluate(host, &entry.value) {
            Ok(evaluated) => Ok(evaluated.node.map(|node| scalar::value(&node))),
            Err(Refused::Template(problem)) => Err(vec![problem]),
            Err(Refused::Closed(_)) => Err(vec![Problem::new("it is encrypted")]),
        }
    }

    /// The hosts that Ansible would run on, in its order.
    ///
    /// # Errors
    /// As [`pattern::select`].
    pub fn selected(&self, pattern: &str) -> Result<Vec<String>, Problem> {
        let store = &self.0.store;
        let listed = store.hosts.iter().zip(store.memberships()).map(|(host, groups)| Listed {
            name: host.name.clone(),
            node: NodeName(host.name.clone()),
            groups: groups.into_iter().map(|group| store.groups[group].name.clone()).collect(),
            host: Host::named(&host.name),
            os_user: String::new(),
        });
        let roster = Roster { hosts: listed.collect(), groups: super::groups(&self.0) };
        let selected = pattern::select(&roster, pattern, &|_| Err("no files are read here".to_owned()))?;
        Ok(selected.into_iter().map(|node| node.0).collect())
    }

    /// Every name of a host.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.store.hosts.iter().map(|host| host.name.as_str())
    }

    /// Every name of a group.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.store.groups.iter().map(|group| group.name.as_str())
    }

    /// The groups below one as a tree of lines; nothing where there is no such group.
    pub fn graph(&self, group: &str, detail: Detail) -> Option<String> {
        let mut lines = Vec::new();
        self.branch(self.0.store.find_group(group)?, 0, detail, &mut lines);
        Some(lines.join("\n") + "\n")
    }

    fn group(&self, index: usize, seen: &mut BTreeSet<usize>, found: &mut Map<String, Value>) {
        let store = &self.0.store;
        let group = &store.groups[index];
        for child in &group.children {
            if seen.insert(*child) {
                self.group(*child, seen, found);
            }
        }
        let mut parts = Map::new();
        let hosts: Vec<&str> = group.hosts.iter().map(|host| store.hosts[*host].name.as_str()).collect();
        if index != ALL && !hosts.is_empty() {
            parts.insert("hosts".to_owned(), json!(hosts));
        }
        let children: Vec<&str> =
            group.children.iter().map(|group| store.groups[*group].name.as_str()).collect();
        if !children.is_empty() {
            parts.insert("children".to_owned(), json!(children));
        }
        if !parts.is_empty() {
            found.insert(group.name.clone(), Value::Object(parts));
        }
    }

    fn vars_of(&self, host: usize) -> Map<String, Value> {
        values(self.0.world.levels(host))
    }

    fn branch(&self, index: usize, depth: usize, detail: Detail, lines: &mut Vec<String>) {
        let store = &self.0.store;
        let group = &store.groups[index];
        if lines.len() > MOST_LINES {
            return;
        }
        lines.push(line(depth, &format!("@{}:", group.name)));
        for child in &group.children {
            self.branch(*child, depth + 1, detail, lines);
        }
        for host in group.hosts.iter().filter(|_| index != ALL) {
            lines.push(line(depth + 1, &store.hosts[*host].name));
            if detail == Detail::Variables {
                lines.extend(variables(&self.vars_of(*host), depth + 2));
            }
        }
        if detail == Detail::Variables {
            let mut vars = values(&self.0.of_groups[index]);
            if let Some(priority) = group.priority.filter(|priority| *priority != 1) {
                vars.insert("ansible_group_priority".to_owned(), priority.into());
            }
            lines.extend(variables(&vars, depth + 1));
        }
    }
}

/// The last level that has a name gives its value.
fn values(levels: &[Arc<Vars>]) -> Map<String, Value> {
    let entries = levels.iter().flat_map(|level| level.now.values());
    let last: BTreeMap<&str, _> = entries.map(|entry| (entry.key.as_str(), &entry.value)).collect();
    let shown = last.into_iter().filter(|(name, _)| !INTERNAL.contains(name));
    shown.map(|(name, node)| (name.to_owned(), scalar::value(node))).collect()
}

fn variables(vars: &Map<String, Value>, depth: usize) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => python(other),
    };
    vars.iter().map(|(name, value)| line(depth, &format!("{{{name} = {}}}", shown(value)))).collect()
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(pairs) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", python(&json!(key)), python(value));
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text between Python's quotes.
pub(super) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut written = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            '\\' => written.push_str("\\\\"),
            _ if c == quote => written.extend(['\\', c]),
            _ if c.is_control() => written.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => written.push(c),
        }
    }
    written.push(quote);
    written
}

fn line(depth: usize, text: &str) -> String {
    match depth {
        0 => text.to_owned(),
        _ => format!("{}--{text}", "  |".repeat(depth)),
    }
}
