//! Roles that keepers, standbys and clients come with, as the server that takes writes has them: standbys have the same.

use crate::facts::Seen;
use crate::formation::{Formation, Secret, Server};
use crate::resource::{database, monitor};

/// Why nobody comes in anew with one of them, or not with what the inventory says. Whoever is connected stays so, so that nothing else
/// shows it.
pub fn trouble(formation: &Formation, server: &Server, seen: &Seen) -> Vec<String> {
    let Some(database) = seen.database.as_ref().filter(|database| !database.in_recovery) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    let way = if server.adopted { "repair it there by ALTER ROLE" } else { "apply repairs it" };
    said.extend(database.barred().map(|why| format!("{why}, and nobody comes in with it anew: {way}")));
    if server.adopted {
        return said;
    }
    let passwords: Vec<(&str, &Secret)> = match formation.nodes.get(&server.name) {
        Some(node) => database::passwords(node).collect(),
        None => formation.monitor_password().map(|password| (monitor::USER, password)).into_iter().collect(),
    };
    let differs = |(role, password): &(&str, &Secret)| {
        database::wants_password(server, role, password, Some(database)).is_some()
    };
    let differing = passwords.into_iter().filter(differs);
    said.extend(
        differing
            .map(|(role, _)| format!("its role {role} has not the password that is wanted: apply sets it")),
    );
    said
}
