//! Where the hosts of one formation contradict one another, and what of a host gets in its own way.

use crate::facts::Seen;
use crate::formation::{Keeper, Monitor, Node, NodeKind, Server};
use crate::plan::World;
use crate::resource::data::{Pgdata, Software};
use crate::resource::versions::release;
use crate::resource::{client, neighbours, place, tls, versions};

/// Why a server cannot be of this formation as its host is; the one to be measured by is let through.
pub(super) fn refusal(world: &World, server: &Server, software: &Software) -> Option<String> {
    match world.formation.nodes.get(&server.name) {
        Some(node) => None
            .or_else(|| with_group(world, node, software))
            .or_else(|| with_coordinator(world, node, software))
            .or_else(|| with_monitor(world, node, software)),
        None => of_monitor(server, software),
    }
}

/// The programs of a node that others are measured by; nobody is told to follow one that is refused itself.
fn usable<'a>(world: &'a World, node: &Node) -> Option<&'a Software> {
    let software = world.facts.seen(node.name())?.software.as_ref()?;
    versions::refusal(&node.server, Some(node), software).is_none().then_some(software)
}

/// A standby copies its primary's files: byte by byte, for one major version alone.
fn with_group(world: &World, node: &Node, software: &Software) -> Option<String> {
    let primary = world.primary(node.group)?.ours().filter(|primary| primary.name() != node.name())?;
    let theirs = usable(world, primary)?.major;
    let (ours, name, group) = (software.major, primary.name(), node.group);
    (ours != theirs).then(|| {
        format!(
            "PostgreSQL is {ours} here and {theirs} on {name}, the primary of group {group}: a standby needs its primary's \
             version; install PostgreSQL {theirs}, or set pg_version: {theirs} if it is there"
        )
    })
}

fn with_coordinator(world: &World, node: &Node, software: &Software) -> Option<String> {
    if node.kind == NodeKind::Standalone {
        return None;
    }
    let coordinator = world.coordinator()?.ours().filter(|coordinator| coordinator.name() != node.name())?;
    let theirs = release(usable(world, coordinator)?.extensions.get("citus")?)?;
    let ours = release(software.extensions.get("citus")?)?;
    let name = coordinator.name();
    (ours != theirs).then(|| {
        format!(
            "Citus is {ours} here and {theirs} on the coordinator {name}: all nodes of a formation need one release; \
             install Citus {theirs}"
        )
    })
}

/// Source: keeper_check_monitor_extension_version in keeper.c, 2.0 to 2.2: equal, or the keeper does not start.
fn with_monitor(world: &World, node: &Node, software: &Software) -> Option<String> {
    let ours = autoctl(&node.server, software)?;
    let installed = world.monitor_facts().and_then(|facts| facts.extension.as_ref());
    let to_be = match &world.formation.monitor {
        Monitor::Managed(server) => {
            let software = world.facts.seen(&server.name).and_then(|seen| seen.software.as_ref());
            software.and_then(|software| software.extensions.get("pgautofailover"))
        }
        Monitor::External(_) => None,
    };
    let theirs = release(installed.or(to_be)?)?;
    (ours != theirs).then(|| {
        format!(
            "pg_autoctl is of {ours} here and the monitor's extension pgautofailover of {theirs}: they must be equal; \
             install pg_auto_failover {theirs} here, or {ours} on the monitor's host and restart its pg_autoctl"
        )
    })
}

/// The monitor's `pg_autoctl` updates the extension to its own version, so its script must be there.
fn of_monitor(server: &Server, software: &Software) -> Option<String> {
    let ours = autoctl(server, software)?;
    let files = release(software.extensions.get("pgautofailover")?)?;
    (ours != files).then(|| {
        format!(
            "pg_autoctl is of {ours} and the extension pgautofailover of {files} for PostgreSQL {}: \
             install both of one release",
            software.major
        )
    })
}

/// The release of `pg_autoctl`, where one is to run.
fn autoctl(server: &Server, software: &Software) -> Option<String> {
    let (_, version) = software.pg_autoctl.as_ref().filter(|_| server.keeper != Keeper::None)?;
    release(version)
}

/// What an operator should know of a host that is used.
pub(super) fn notes(world: &World, server: &Server, seen: &Seen) -> Vec<String> {
    let Some(software) = &seen.software else { return Vec::new() };
    let node = world.formation.nodes.get(&server.name);
    let mut notes = versions::notes(server, node, software);
    notes.extend(neighbours::notes(server, &seen.pgdata, &seen.around));
    notes.extend(place::note(node, server, &seen.place, &seen.pgdata));
    notes.extend(seen.keeper.alive.and_then(|_| place::no_tmp(server, &seen.place)));
    notes.extend(client::notes(server, &seen.host.home, &seen.client));
    notes.extend(tls::note(server, &seen.tls, world.today));
    if let (true, Pgdata::Present(found)) = (server.adopted, &seen.pgdata)
        && let Some(pid) = found.stale
    {
        let pgdata = &server.pgdata;
        notes.push(format!(
            "{pgdata}/postmaster.pid names process {pid}, which is not its server: PostgreSQL does not start before you \
             remove that file"
        ));
    }
    notes.extend(node.and_then(|node| majors(world, node, software)));
    let installed = seen.database.as_ref().and_then(|database| database.extensions.as_ref()?.get("citus"));
    if let (Some(installed), Some(files)) = (installed, software.extensions.get("citus"))
        && installed != files
    {
        notes.push(format!(
            "the extension citus is {installed} in the database, and its files are of {files}: once every node has them \
             and was restarted, ALTER EXTENSION citus UPDATE"
        ));
    }
    notes
}

/// Groups of one Citus formation may differ, for the time of an upgrade.
fn majors(world: &World, node: &Node, software: &Software) -> Option<String> {
    let coordinator = world.coordinator()?.ours().filter(|coordinator| coordinator.group != node.group)?;
    let theirs = world.facts.seen(coordinator.name())?.software.as_ref()?.major;
    let (ours, name) = (software.major, coordinator.name());
    (ours != theirs).then(|| format!("PostgreSQL is {ours} here and {theirs} on the coordinator {name}"))
}
