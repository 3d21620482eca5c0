//! Connection strings to give to people and programs, as `pg_autoctl show uri` prints them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::facts::monitor_uri;
use crate::formation::{Formation, Monitor, Node, NodeName, Tls};
use crate::resource::monitor::NodeRow;
use crate::sql::{percent, percent_value, uri_host};

/// One line of `pg_autoctl show uri`; it never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uri {
    /// `monitor`, `formation`, `group` or `read-replica`.
    pub kind: &'static str,
    /// Of the formation, or of the read-replica cluster; a group's number.
    pub name: String,
    pub uri: String,
}

/// Who serves beside, or not, what the inventory says.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// Clients connect to them as well.
    pub strangers: Vec<&'a NodeRow>,
    /// Nodes of the inventory that the monitor was asked for and does not know: nobody keeps them from serving what is old.
    pub dropped: BTreeSet<NodeName>,
}

/// The monitor's, the formation's and each read-replica cluster's.
pub fn uris(formation: &Formation, known: &Known) -> Vec<Uri> {
    let clusters = clusters(formation).into_iter().map(|cluster| {
        let (kind, name) = match cluster {
            MAIN => ("formation", formation.name.clone()),
            reader => ("read-replica", reader.to_owned()),
        };
        Uri { kind, name, uri: group_uri(formation, known, 0, cluster) }
    });
    std::iter::once(monitor(formation)).chain(clusters).collect()
}

pub fn monitor(formation: &Formation) -> Uri {
    let uri = monitor_uri(formation);
    let own = match &formation.monitor {
        Monitor::Managed(server) => own_authority(formation, &server.tls),
        Monitor::External(_) => None,
    };
    let uri = own.map_or(uri.clone(), |ca| uri.verified_with(Some(&ca), None));
    Uri { kind: "monitor", name: "monitor".to_owned(), uri: uri.shown() }
}

/// The file by which clients on this machine verify a server whose certificate the formation's own authority has signed.
fn own_authority(formation: &Formation, tls: &Tls) -> Option<String> {
    matches!(tls, Tls::Managed { .. }).then_some(())?;
    Some(format!("{}/ca.crt", formation.authority.as_ref()?.dir))
}

/// Whoever takes writes in one group; `None` where the inventory has no such group.
pub fn group(formation: &Formation, known: &Known, group: u32) -> Option<Uri> {
    formation.group(group).find(|node| node.cluster() == MAIN)?;
    let uri = group_uri(formation, known, group, MAIN);
    Some(Uri { kind: "group", name: group.to_string(), uri })
}

/// pg_auto_failover's name for the Citus cluster that takes writes.
pub const MAIN: &str = "default";

/// Clusters that clients connect to: the main one first, then the read-replica clusters by name.
pub fn clusters(formation: &Formation) -> Vec<&str> {
    let mut names: Vec<&str> = formation.group(0).map(Node::cluster).collect();
    names.sort_unstable_by_key(|name| (*name != MAIN, *name));
    names.dedup();
    names
}

/// The nodes that clients of a cluster connect to: group 0, in the order of the inventory.
pub fn entries<'a>(formation: &'a Formation, cluster: &str) -> Vec<&'a Node> {
    members(formation, 0, cluster)
}

/// Those of a group that are of the cluster, in the order of the inventory.
fn members<'a>(formation: &'a Formation, group: u32, cluster: &str) -> Vec<&'a Node> {
    let mut nodes: Vec<&Node> = formation.group(group).filter(|node| node.cluster() == cluster).collect();
    nodes.sort_by_key(|node| node.order);
    nodes
}

/// Host and port of all that serve a cluster in a group: the inventory's first, then strangers. Where the monitor knows
/// nobody there, they are those to come.
fn addresses<'a>(ours: &[&'a Node], known: &Known<'a>, group: u32, cluster: &str) -> Vec<(&'a str, u16)> {
    let theirs = known.strangers.iter().filter(|row| row.group == group && row.cluster == cluster);
    let theirs: Vec<(&str, u16)> = theirs.map(|row| (row.host.as_str(), row.port)).collect();
    let address = |node: &&'a Node| (node.server.hostname.as_str(), node.server.pgport);
    let serving = ours.iter().filter(|node| !known.dropped.contains(node.name()));
    let serving: Vec<(&str, u16)> = serving.map(address).chain(theirs).collect();
    if serving.is_empty() { ours.iter().map(address).collect() } else { serving }
}

fn group_uri(formation: &Formation, known: &Known, group: u32, cluster: &str) -> String {
    let nodes = members(formation, group, cluster);
    let hosts: Vec<String> = addresses(&nodes, known, group, cluster)
        .into_iter()
        .map(|(host, port)| format!("{}:{port}", uri_host(host)))
        .collect();
    let mut parameters = Vec::new();
    // Readers are never read-write: a client of theirs takes any.
    if cluster == MAIN {
        parameters.push("target_session_attrs=read-write".to_owned());
    }
    if let Some(tls) = nodes.first().map(|node| &node.server.tls) {
        parameters.push(format!("sslmode={}", tls.mode().as_str()));
        let own = own_authority(formation, tls);
        for (key, path) in tls.verified_with() {
            let path = own.as_deref().filter(|_| key == "sslrootcert").unwrap_or(path);
            parameters.push(format!("{key}={}", percent_value(path)));
        }
    }
    format!("postgres://{}/{}?{}", hosts.join(","), percent(&formation.dbname), parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::inventory::parse;

    #[test]
    fn uris_are_those_of_pg_autoctl() {
        let text = include_str!("../inventory/lab.yml");
        let formation = parse("lab.yml", text, "inventory".as_ref()).unwrap();
        let shown: Vec<String> = super::uris(&formation, &Known::default())
            .iter()
            .map(|u| format!("{} {} {}", u.kind, u.name, u.uri))
            .collect();
        assert_eq!(
            shown,
            [
                "monitor monitor postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require",
                "formation default postgres://coord1:5432,coord2:5432/app?target_session_attrs=read-write&sslmode=require",
                "read-replica reports postgres://coord1r:5432/app?sslmode=require",
            ]
        );
        let group = super::group(&formation, &Known::default(), 1).map(|group| group.uri);
        let expected = "postgres://w1a:5432,w1b:5432/app?target_session_attrs=read-write&sslmode=require";
        assert_eq!(group.as_deref(), Some(expected), "a reader takes no writes");
        assert_eq!(super::group(&formation, &Known::default(), 7), None);
    }

    #[test]
    fn who_was_dropped_is_left_out() {
        let text = include_str!("../inventory/lab.yml");
        let formation = parse("lab.yml", text, "inventory".as_ref()).unwrap();
        let without = |names: &[&str]| {
            let dropped = names.iter().map(|name| (*name).into()).collect();
            super::group(&formation, &Known { dropped, ..Known::default() }, 1).unwrap().uri
        };
        let rest = "/app?target_session_attrs=read-write&sslmode=require";
        assert_eq!(without(&["w1b", "coord1"]), format!("postgres://w1a:5432{rest}"));
        assert_eq!(without(&["w1a"]), format!("postgres://w1b:5432{rest}"));
        assert_eq!(
            without(&["w1a", "w1b"]),
            format!("postgres://w1a:5432,w1b:5432{rest}"),
            "none is there yet"
        );
    }
}
