//! What `ALTER SYSTEM` has set on a server beside the inventory: a rollout restarts nobody for it, and where a restart would bring it in
//! force, that is said.

use crate::formation::Server;
use crate::plan::World;
use crate::resource::overruled::{self, Unasked};

impl World<'_> {
    /// What waits for a restart of a server, and neither the inventory nor a file of muster's or a keeper's asks for.
    pub(super) fn not_asked_for(&self, server: &Server) -> Vec<Unasked> {
        let Some(seen) = self.facts.seen(&server.name) else { return Vec::new() };
        let Some(database) = &seen.database else { return Vec::new() };
        overruled::unasked(server, self.formation.nodes.get(&server.name), &seen.pgdata, database)
    }

    /// Whether the files beside have no say in a setting.
    pub(super) fn is_altered(&self, server: &Server, name: &str) -> bool {
        self.facts.seen(&server.name).is_some_and(|seen| overruled::is_set(&seen.pgdata, name))
    }

    /// Settings that wait for a restart of a server, in a list; with its value where nobody asked for it.
    pub(super) fn list<'n>(&self, server: &Server, names: impl IntoIterator<Item = &'n str>) -> String {
        let unasked = self.not_asked_for(server);
        let told = |name: &str| {
            let found = unasked.iter().find(|unasked| unasked.name == name);
            found.map_or_else(|| name.to_owned(), Unasked::with_value)
        };
        names.into_iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// What a restart brings in force though nobody asked for it.
pub(super) fn with_it(unasked: &[Unasked]) -> String {
    match unasked.iter().map(Unasked::with_value).collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => names,
        names => format!("; it brings {names} in force, too"),
    }
}
