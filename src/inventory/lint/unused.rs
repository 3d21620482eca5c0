//! Variables that nothing uses, as far as an inventory can tell.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::Draft;
use crate::inventory::source::{Source, Span, quote};
use crate::inventory::tree::{Entry, Node, Tree};
use crate::inventory::variables::variable;

/// Ansible's own, and what muster reads from levels of its own.
const ANSIBLE: &str = "ansible_";

/// A name that reaches others' hosts is others'; one that a template mentions has its use.
pub(super) fn look(draft: &Draft, source: &mut Source) {
    let strangers: BTreeSet<usize> = draft.strangers.iter().map(|host| host.order).collect();
    let told = source.near_misses();
    let mut places: BTreeMap<String, BTreeSet<Span>> = BTreeMap::new();
    let (mut others, mut texts) = (BTreeSet::new(), String::new());
    for host in 0..draft.levels.store.hosts.len() {
        for entry in draft.levels.world.levels(host).iter().flat_map(|vars| vars.now.values()) {
            templates(&entry.value, &mut texts);
            if strangers.contains(&host) {
                others.insert(entry.key.clone());
            } else if is_unknown(entry) {
                places.entry(entry.key.clone()).or_default().insert(entry.key_span);
            }
        }
    }
    let words: BTreeSet<&str> = texts
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    for (name, places) in places {
        let is_told = places.iter().any(|place| told.contains(place));
        if is_told || others.contains(&name) || words.contains(name.as_str()) {
            continue;
        }
        let more = match places.len() {
            0 | 1 => String::new(),
            many => format!(", nor in {} other places", many - 1),
        };
        let what = format!("{} is not muster's, and nothing mentions it{more}", quote(&name));
        source.warning("unused-variable", places.first().copied(), what);
    }
}

fn is_unknown(entry: &Entry) -> bool {
    variable(&entry.key).is_none() && !entry.key.starts_with(ANSIBLE)
}

/// Texts that hold braces.
fn templates(node: &Node, texts: &mut String) {
    match &node.tree {
        Tree::Text(text) if text.contains("{{") || text.contains("{%") => {
            texts.push_str(text);
            texts.push(' ');
        }
        Tree::List(items) => items.iter().for_each(|item| templates(item, texts)),
        Tree::Map(entries) => entries.iter().for_each(|entry| templates(&entry.value, texts)),
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) | Tree::Text(_) | Tree::Vault(_) => {}
    }
}
