//! Groups, hosts and their variables as all sources together make them: Ansible's own rules of who is where.

use std::collections::{BTreeMap, BTreeSet};

use super::scalar;
use super::source::Span;
use super::tree::Entry;
use super::variables::OWN;

/// Variables of one level, by name; the last one of a name counts.
#[derive(Clone, Default)]
pub(super) struct Vars {
    pub(super) now: BTreeMap<String, Entry>,
    /// What was given before at the same level, of what muster puts together.
    pub(super) earlier: Vec<Entry>,
}

impl Vars {
    pub(super) fn insert(&mut self, entry: Entry) {
        let said = scalar::value(&entry.value);
        if let Some(earlier) = self.now.insert(entry.key.clone(), entry)
            && scalar::value(&earlier.value) != said
            && MERGED.contains(&earlier.key.strip_prefix(OWN).unwrap_or(&earlier.key))
        {
            self.earlier.push(earlier);
        }
    }
}

impl Extend<Entry> for Vars {
    fn extend<T: IntoIterator<Item = Entry>>(&mut self, entries: T) {
        entries.into_iter().for_each(|entry| self.insert(entry));
    }
}

impl FromIterator<Entry> for Vars {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let mut vars = Vars::default();
        vars.extend(entries);
        vars
    }
}

/// What the levels put together, where Ansible would let the last one replace the others.
pub(super) const MERGED: [&str; 2] = ["settings", "hba"];

/// Most hosts of an inventory: no formation comes near, and a range can be written by mistake.
pub(super) const MOST_HOSTS: usize = 10_000;

/// Most groups.
const MOST_GROUPS: usize = 3_000;

pub(super) const ALL: usize = 0;
pub(super) const UNGROUPED: usize = 1;

/// Groups and hosts refer to each other by their place, which is the order of their first mention.
pub(super) struct Store {
    pub(super) groups: Vec<Group>,
    pub(super) hosts: Vec<HostEntry>,
    group_of: BTreeMap<String, usize>,
    host_of: BTreeMap<String, usize>,
    /// What there is more of than can be.
    too_many: Option<String>,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) hosts: Vec<usize>,
    /// The same, to look them up.
    members: BTreeSet<usize>,
    pub(super) children: Vec<usize>,
    pub(super) parents: BTreeSet<usize>,
    pub(super) vars: Vars,
    pub(super) priority: Option<i64>,
    pub(super) depth: usize,
}

pub(super) struct HostEntry {
    pub(super) name: String,
    /// Where it is first named.
    pub(super) span: Span,
    pub(super) vars: Vars,
    /// The source that named it first, and the folder of that.
    pub(super) file: String,
    pub(super) folder: String,
}

/// A source, as `inventory_file` and `inventory_dir` tell of it: absolute, but for a list of hosts.
pub(super) struct SourceName {
    pub(super) path: String,
    pub(super) folder: String,
}

/// Why a group cannot be the child of another.
pub(super) struct Loop;

impl Store {
    pub(super) fn new() -> Self {
        let mut store = Store {
            groups: Vec::new(),
            hosts: Vec::new(),
            group_of: BTreeMap::new(),
            host_of: BTreeMap::new(),
            too_many: None,
        };
        store.group("all");
        store.group("ungrouped");
        store.groups[ALL].children.push(UNGROUPED);
        store.groups[UNGROUPED].parents.insert(ALL);
        store
    }

    /// The group of that name, made where it is new.
    pub(super) fn group(&mut self, name: &str) -> usize {
        if let Some(group) = self.group_of.get(name) {
            return *group;
        }
        if self.groups.len() >= MOST_GROUPS {
            self.too_many = Some(format!("more than {MOST_GROUPS} groups"));
            return UNGROUPED;
        }
        self.groups.push(Group { name: name.to_owned(), ..Group::default() });
        self.group_of.insert(name.to_owned(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    pub(super) fn find_group(&self, name: &str) -> Option<usize> {
        self.group_of.get(name).copied()
    }

    pub(super) fn find_host(&self, name: &str) -> Option<usize> {
        self.host_of.get(name).copied()
    }

    /// The host of that name; whether it is new.
    pub(super) fn host(&mut self, name: &str, span: Span, file: &SourceName) -> (usize, Mention) {
        if let Some(host) = self.host_of.get(name) {
            return (*host, Mention::Again);
        }
        if self.hosts.len() >= MOST_HOSTS {
            self.too_many = Some(format!("more than {MOST_HOSTS} hosts"));
            return (0, Mention::Again);
        }
        let entry = HostEntry {
            name: name.to_owned(),
            span,
            vars: Vars::default(),
            file: file.path.clone(),
            folder: file.folder.clone(),
        };
        self.hosts.push(entry);
        self.host_of.insert(name.to_owned(), self.hosts.len() - 1);
        (self.hosts.len() - 1, Mention::First)
    }

    pub(super) fn put(&mut self, host: usize, group: usize) {
        if self.groups[group].members.insert(host) {
            self.groups[group].hosts.push(host);
        }
    }

    /// What there is more of than can be; what came after that is left out.
    pub(super) fn too_many(&self) -> Option<&str> {
        self.too_many.as_deref()
    }

    /// The variables of a name: like Ansible, of the group where a group and a host share it.
    pub(super) fn vars_of(&mut self, name: &str) -> Option<&mut Vars> {
        match (self.group_of.get(name), self.host_of.get(name)) {
            (Some(group), _) => Some(&mut self.groups[*group].vars),
            (None, Some(host)) => Some(&mut self.hosts[*host].vars),
            (None, None) => None,
        }
    }

    pub(super) fn add_child(&mut self, parent: usize, child: usize) -> Result<(), Loop> {
        if self.is_above(child, parent) {
            return Err(Loop);
        }
        if !self.groups[parent].children.contains(&child) {
            self.groups[parent].children.push(child);
            self.groups[child].parents.insert(parent);
        }
        Ok(())
    }

    /// Whether one group is the other, or above it.
    fn is_above(&self, group: usize, other: usize) -> bool {
        // Most often the one below is new.
        let (mut seen, mut next) = (vec![false; self.groups.len()], vec![group]);
        while let Some(at) = next.pop() {
            if at == other {
                return true;
            }
            for child in &self.groups[at].children {
                if !std::mem::replace(&mut seen[*child], true) {
                    next.push(*child);
                }
            }
        }
        false
    }

    /// The groups above a group.
    pub(super) fn ancestors(&self, group: usize) -> BTreeSet<usize> {
        let (mut seen, mut next) = (vec![false; self.groups.len()], vec![group]);
        while let Some(group) = next.pop() {
            for parent in &self.groups[group].parents {
                if !std::mem::replace(&mut seen[*parent], true) {
                    next.push(*parent);
                }
            }
        }
        (0..seen.len()).filter(|group| seen[*group]).collect()
    }

    /// Every group of each host, directly or through children.
    pub(super) fn memberships(&self) -> Vec<BTreeSet<usize>> {
        let mut of: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.hosts.len()];
        for (index, group) in self.groups.iter().enumerate().filter(|(_, group)| !group.hosts.is_empty()) {
            let above = self.ancestors(index);
            for host in &group.hosts {
                of[*host].insert(index);
                of[*host].extend(&above);
            }
        }
        of
    }

    /// Once every source is read: all groups below `all`, hosts of no group in `ungrouped`, and how deep groups are.
    ///
    /// # Errors
    /// The group that stands above `all`.
    pub(super) fn reconcile(&mut self) -> Result<(), usize> {
        for group in 1..self.groups.len() {
            if self.groups[group].parents.is_empty() {
                self.add_child(ALL, group).map_err(|Loop| group)?;
            }
        }
        let outer = BTreeSet::from([ALL, UNGROUPED]);
        for (host, groups) in self.memberships().into_iter().enumerate() {
            let alone = groups.is_subset(&outer);
            match (alone, groups.contains(&UNGROUPED)) {
                (false, true) => {
                    self.groups[UNGROUPED].members.remove(&host);
                }
                (true, false) => self.put(host, UNGROUPED),
                (false, false) | (true, true) => {}
            }
        }
        let ungrouped = &mut self.groups[UNGROUPED];
        ungrouped.hosts.retain(|host| ungrouped.members.contains(host));
        self.deepen();
        Ok(())
    }

    /// The longest way down from `all`.
    fn deepen(&mut self) {
        // There are no circles: a group's own depth is known once it is known of all its parents.
        let mut unknown: Vec<usize> = self.groups.iter().map(|group| group.parents.len()).collect();
        let mut next = vec![ALL];
        while let Some(group) = next.pop() {
            let below = self.groups[group].depth + 1;
            for child in self.groups[group].children.clone() {
                self.groups[child].depth = self.groups[child].depth.max(below);
                unknown[child] -= 1;
                if unknown[child] == 0 {
                    next.push(child);
                }
            }
        }
    }

    /// The groups of a host but `all`, outer to inner.
    pub(super) fn in_order(&self, groups: &BTreeSet<usize>) -> Vec<usize> {
        let mut order: Vec<usize> = groups.iter().copied().filter(|group| *group != ALL).collect();
        order.sort_by(|a, b| {
            let key = |group: usize| {
                let group = &self.groups[group];
                (group.depth, group.priority.unwrap_or(1), group.name.clone())
            };
            key(*a).cmp(&key(*b))
        });
        order
    }

    /// The hosts of a group and of those below it, outer ones first.
    pub(super) fn hosts_below(&self, group: usize) -> Vec<usize> {
        let (mut order, mut seen) = (vec![group], vec![false; self.groups.len()]);
        let mut at = 0;
        while let Some(group) = order.get(at).copied() {
            for child in &self.groups[group].children {
                if !std::mem::replace(&mut seen[*child], true) {
                    order.push(*child);
                }
            }
            at += 1;
        }
        let mut told = BTreeSet::new();
        let hosts = order.iter().flat_map(|group| self.groups[*group].hosts.iter().copied());
        hosts.filter(|host| told.insert(*host)).collect()
    }
}

/// Whether a host was named before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention {
    First,
    Again,
}
