//! The passwords that nodes come with, beside those that the servers have: who is connected stays so with an old one.

use crate::facts::{Facts, monitor_uri};
use crate::formation::{Auth, Formation, Monitor, Node, NodeName, Server};
use crate::resource::database::{self, DatabaseFacts};
use crate::resource::pgpass::{self, Whom};

/// The passwords in `~/.pgpass` of a node that a server refuses: the monitor's, or that of the primary of its group, whose roles its
/// peers have, too.
pub fn refused(formation: &Formation, facts: &Facts, node: &Node) -> Vec<String> {
    let Some(found) = facts.seen(node.name()).and_then(|seen| seen.pgpass.as_ref()) else {
        return Vec::new();
    };
    let told = pgpass::held(node, &monitor_uri(formation), found).into_iter().filter_map(
        |(whom, role, password)| {
            let (server, database) = match whom {
                Whom::Monitor => monitor(formation, facts)?,
                Whom::Peers => primary(formation, facts, node)?,
            };
            let asks = !matches!(server.auth, Auth::Trust | Auth::Cert);
            let is_asked = asks && database.verifiers.contains_key(&role);
            let is_refused =
                is_asked && database::wants_password(server, &role, &password, Some(database)).is_some();
            let by = match whom {
                Whom::Monitor => format!("the monitor {}", server.name),
                Whom::Peers if server.name == *node.name() => "its own server".to_owned(),
                Whom::Peers => server.name.to_string(),
            };
            is_refused.then(|| {
                let way = if node.server.adopted { "put it right there" } else { "apply puts it right" };
                format!("{by} refuses the password of {role} in its ~/.pgpass: {way}")
            })
        },
    );
    told.collect()
}

fn monitor<'a>(formation: &'a Formation, facts: &'a Facts) -> Option<(&'a Server, &'a DatabaseFacts)> {
    let Monitor::Managed(server) = &formation.monitor else { return None };
    Some((server, facts.seen(&server.name)?.database.as_ref()?))
}

fn primary<'a>(
    formation: &'a Formation,
    facts: &'a Facts,
    node: &Node,
) -> Option<(&'a Server, &'a DatabaseFacts)> {
    let row = facts.monitor(formation)?.primary(node.group)?;
    let primary = formation.nodes.get(&NodeName::from(row.name.as_str()))?;
    Some((&primary.server, facts.seen(primary.name())?.database.as_ref()?))
}
