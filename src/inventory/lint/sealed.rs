//! Encrypted values that no password would open: their form tells, and nobody is asked for one.

use crate::inventory::Draft;
use crate::inventory::source::{Source, Span};
use crate::inventory::tree::{Node, Tree};
use crate::secrets;

/// Everybody's variables: what is damaged is so for playbooks, too.
pub(super) fn look(draft: &Draft, source: &mut Source) {
    let mut found = Vec::new();
    for host in 0..draft.levels.store.hosts.len() {
        for vars in draft.levels.world.levels(host) {
            let entries = vars.earlier.iter().chain(vars.now.values());
            entries.for_each(|entry| sealed(&entry.value, &mut found));
        }
    }
    found.sort_unstable();
    found.dedup();
    for (span, text) in found {
        if let Some(problem) = secrets::damage(text) {
            // It may be a password that was never encrypted.
            source.hide(span);
            source.problem(span, problem);
        }
    }
}

fn sealed<'n>(node: &'n Node, found: &mut Vec<(Span, &'n str)>) {
    match &node.tree {
        Tree::Vault(text) => found.push((node.span, text)),
        Tree::List(items) => items.iter().for_each(|item| sealed(item, found)),
        Tree::Map(entries) => entries.iter().for_each(|entry| sealed(&entry.value, found)),
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) | Tree::Text(_) => {}
    }
}
