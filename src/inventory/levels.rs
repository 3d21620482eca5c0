//! The variables of each host in Ansible's order of precedence.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::jinja::{World, WorldHost};
use super::source::{Source, quote};
use super::sources::Sources;
use super::store::{ALL, Store, Vars};
use crate::error::Problem;

/// Everything read, in order.
pub(super) struct Levels {
    pub(super) store: Store,
    pub(super) world: Arc<World>,
    /// The levels of each group's own, outer to inner.
    pub(super) of_groups: Vec<Vec<Arc<Vars>>>,
}

impl Levels {
    /// Outer to inner: `all`, the groups by depth, priority and name; the files of `all` and of the groups; the host, its
    /// files. So a file of `all` wins over what a group has in the inventory itself.
    pub(super) fn new(mut sources: Sources, source: &mut Source) -> Self {
        if let Err(group) = sources.store.reconcile() {
            let name = quote(&sources.store.groups[group].name);
            source.problem_of_file(
                Problem::new(format!("group {name} is above `all`")).hint("turn them around"),
            );
        }
        if let Some(what) = sources.store.too_many() {
            source.problem_of_file(
                Problem::new(format!("the inventory has {what}")).hint("is a range too long?"),
            );
        }
        let own = |vars: &mut Vars| Arc::new(std::mem::take(vars));
        let groups: Vec<Arc<Vars>> =
            sources.store.groups.iter_mut().map(|group| own(&mut group.vars)).collect();
        let of_hosts: Vec<Arc<Vars>> =
            sources.store.hosts.iter_mut().map(|host| own(&mut host.vars)).collect();
        let all_files = sources.group_files(&[ALL], source);
        let of_groups = (0..groups.len()).map(|group| {
            let mut levels = vec![groups[group].clone()];
            levels.extend(sources.group_files(&[group], source));
            levels
        });
        let of_groups = of_groups.collect();
        // Hosts of the same groups have the same files.
        let mut files: BTreeMap<Vec<usize>, Vec<Arc<Vars>>> = BTreeMap::new();
        let mut hosts = Vec::new();
        for (index, memberships) in sources.store.memberships().into_iter().enumerate() {
            let order = sources.store.in_order(&memberships);
            let mut levels = vec![groups[ALL].clone()];
            levels.extend(order.iter().map(|group| groups[*group].clone()));
            levels.extend(all_files.iter().cloned());
            if !files.contains_key(&order) {
                files.insert(order.clone(), sources.group_files(&order, source));
            }
            levels.extend(files.get(&order).into_iter().flatten().cloned());
            levels.push(of_hosts[index].clone());
            let host = &sources.store.hosts[index];
            let (name, file, folder) = (host.name.clone(), host.file.clone(), host.folder.clone());
            levels.extend(sources.host_files(&name, source));
            levels.retain(|level| !level.now.is_empty());
            let mut names: Vec<String> =
                order.iter().map(|group| sources.store.groups[*group].name.clone()).collect();
            names.sort_unstable();
            hosts.push(WorldHost { name, levels, groups: names, file, folder });
        }
        let store = sources.store;
        let names = |group: usize| {
            let hosts = store.hosts_below(group).into_iter();
            hosts.map(|host| store.hosts[host].name.clone()).collect::<Vec<String>>()
        };
        let by_name =
            store.groups.iter().enumerate().map(|(index, group)| (group.name.clone(), names(index)));
        let world = World::new(hosts, by_name.collect(), source.keyring(), source.sealed());
        Levels { store, world, of_groups }
    }
}
