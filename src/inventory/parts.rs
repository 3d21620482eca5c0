//! Which hosts are of the formation, and which are there for others and can be reached, no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::alike::alike_group;
use super::known::Known;
use super::levels::Levels;
use super::nodes::{SECONDARY_GROUPS, role_groups};
use super::source::{Source, Span, quote};
use super::store::{ALL, Store};
use super::value::Value;
use crate::error::Problem;

/// What a host is to the formation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Of the formation, or meant to be.
    Ours,
    /// Nothing says what it is.
    Outside,
    /// `role: none` says that it is nothing.
    Dismissed,
}

/// What only hosts of a formation are given: a host that has one of these is not left out for want of a role.
const OURS: [&str; 9] = [
    "pgdata",
    "group",
    "secondary",
    "citus_secondary",
    "citus_cluster",
    "candidate_priority",
    "replication_quorum",
    "maximum_backup_rate",
    "proxyport",
];

/// Decides for every host, in the order of the inventory.
///
/// A host that is left out by mistake is one that nobody rolls out: what looks like a mistake is reported.
pub(super) fn decide(levels: &Levels, source: &mut Source) -> Vec<Part> {
    let mut known = Known::new(levels.world.clone(), |variable| variable.name == "role");
    let memberships = levels.store.memberships();
    let of_host = |(index, groups): (usize, &BTreeSet<usize>)| {
        let roles = known.levels(index, source);
        let given = roles.iter().rev().find_map(|level| level.get("role"));
        match given.map(|given| &given.value) {
            Some(Value::Text(role)) if role == "none" => return Part::Dismissed,
            Some(_) => return Part::Ours,
            None => {}
        }
        let names: Vec<&str> = groups.iter().map(|group| levels.store.groups[*group].name.as_str()).collect();
        if names.iter().any(|name| role_groups().any(|group| group == *name)) {
            return Part::Ours;
        }
        match mistake(&names).or_else(|| revealing(levels, index).map(|(name, at)| told_by(name, at, source)))
        {
            None => Part::Outside,
            Some(hint) => {
                let host = &levels.store.hosts[index];
                let problem = Problem::new(format!("host {} has no role", quote(&host.name)));
                source.problem(host.span, problem.hint(hint));
                Part::Ours
            }
        }
    };
    memberships.iter().enumerate().map(of_host).collect()
}

/// Whether a group has hosts below it, and all of them are outside.
pub(super) fn is_of_others(group: usize, store: &Store, parts: &[Part]) -> bool {
    let hosts = store.hosts_below(group);
    !hosts.is_empty() && hosts.iter().all(|host| parts.get(*host).is_some_and(|part| *part != Part::Ours))
}

/// A group that is nearly one that gives a role, or one that only means something beside it.
fn mistake(groups: &[&str]) -> Option<String> {
    let mut names = groups.iter();
    let near = names.find_map(|name| Some((quote(name), alike_group(name, role_groups())?)));
    let near = near.map(|(name, near)| {
        format!("is its group {name} meant to be `{near}`? rename it, or give the host `role:`; `role: none` leaves it out")
    });
    let second = || groups.iter().find(|name| SECONDARY_GROUPS.contains(name));
    near.or_else(|| {
        let name = quote(second()?);
        Some(format!("{name} alone says no role: {REMEDY}; `role: none` leaves it out"))
    })
}

const REMEDY: &str = "put it into the group monitor, coordinator, workers or postgres, or give it `role:`";

fn told_by(name: &str, at: Span, source: &Source) -> String {
    let line = source.line(at);
    format!("{REMEDY}; because of its `{name}` on {line} it is not left out, `role: none` does that")
}

/// A variable of [`OURS`] that is given to less than everybody.
fn revealing(levels: &Levels, host: usize) -> Option<(&'static str, Span)> {
    let for_all = &levels.of_groups[ALL];
    let own =
        levels.world.levels(host).iter().filter(|vars| !for_all.iter().any(|all| Arc::ptr_eq(all, vars)));
    own.flat_map(|vars| vars.now.values()).find_map(|entry| {
        let name = levels.world.meant(&entry.key)?.name;
        OURS.contains(&name).then_some((name, entry.key_span))
    })
}
