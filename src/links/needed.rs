//! The connections that a server of a formation has to let in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::formation::{Formation, Monitor, Node, NodeKind, Server, Tls};
use crate::hba::{By, Connection, Database, Seal};
use crate::resource::hba::monitor_host;
use crate::resource::monitor::{self, NodeRow};
use crate::resource::names::Names;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// muster and pg_autoctl on the host itself.
    OwnHost,
    /// pg_autoctl of each node tells the monitor how it is.
    Report,
    /// The monitor looks whether a node answers.
    HealthCheck,
    /// A standby streams from its primary.
    Replication,
    /// A standby takes over, and an old primary is rewound.
    Rewind,
    /// Members of a group look at one another as the superuser.
    Peer,
    /// Coordinator and workers.
    Citus,
}

impl Purpose {
    /// As people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::OwnHost => "own host",
            Purpose::Report => "reports to the monitor",
            Purpose::HealthCheck => "health check",
            Purpose::Replication => "replication",
            Purpose::Rewind => "pg_rewind",
            Purpose::Peer => "group",
            Purpose::Citus => "Citus",
        }
    }
}

/// What has to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub purpose: Purpose,
    /// The name of who comes; its own host's is the server's.
    pub peer: String,
    pub user: String,
    pub database: Database,
    /// One for each address by which it comes; none where nobody knows one.
    pub ways: Vec<By>,
}

impl Link {
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        let Link { user, database, .. } = self;
        self.ways.iter().map(|by| Connection { user: user.clone(), database: database.clone(), by: *by })
    }
}

/// The addresses by which a host of the formation comes, or another one that is named by its address.
pub fn addresses(formation: &Formation, names: &Names, name: &str) -> BTreeSet<IpAddr> {
    let server = formation.servers().find(|server| server.name.0 == name);
    names.addresses(server.map_or(name, |server| &server.hostname))
}

/// Everything that a server has to let in. `strangers`: who is in the formation and not in the inventory.
pub fn needed(formation: &Formation, names: &Names, strangers: &[&NodeRow], server: &Server) -> Vec<Link> {
    let needed = Needed { formation, names, strangers, seal: seal(server) };
    match formation.nodes.get(&server.name) {
        Some(node) => needed.by_node(node),
        None => needed.by_monitor(server),
    }
}

fn seal(server: &Server) -> Seal {
    if server.tls == Tls::Off { Seal::Plain } else { Seal::Tls }
}

struct Needed<'a> {
    formation: &'a Formation,
    names: &'a Names,
    strangers: &'a [&'a NodeRow],
    seal: Seal,
}

/// The user of the monitor's health checks. Source: `health_check_worker.c` of the monitor, 2.0.
pub(super) const HEALTH_CHECK: &str = "pgautofailover_monitor";
/// The user of standbys.
const REPLICATOR: &str = "pgautofailover_replicator";

impl Needed<'_> {
    fn local(&self, server: &Server, user: &str, database: &str) -> Link {
        let database = Database::Named(database.to_owned());
        let peer = server.name.0.clone();
        Link { purpose: Purpose::OwnHost, peer, user: user.to_owned(), database, ways: vec![By::Socket] }
    }

    fn remote(&self, purpose: Purpose, peer: &str, host: &str, user: &str, database: Database) -> Link {
        let ways = self.names.addresses(host).into_iter();
        let ways = ways.map(|from| By::Network { from, seal: self.seal }).collect();
        Link { purpose, peer: peer.to_owned(), user: user.to_owned(), database, ways }
    }

    /// Name and host of everybody else, those of the group first; the second is whether it is of the group.
    fn others(&self, node: &Node) -> Vec<(&str, &str, bool)> {
        let ours = self.formation.nodes.values().filter(|other| other.name() != node.name());
        let ours = ours.map(|other| (other.name().0.as_str(), other.server.hostname.as_str(), other.group));
        let strangers = self.strangers.iter().map(|row| (row.name.as_str(), row.host.as_str(), row.group));
        let mut all: Vec<(&str, &str, bool)> =
            ours.chain(strangers).map(|(name, host, group)| (name, host, group == node.group)).collect();
        all.sort_by_key(|(_, _, is_of_group)| !is_of_group);
        all
    }

    fn by_node(&self, node: &Node) -> Vec<Link> {
        let dbname = &self.formation.dbname;
        let named = |name: &str| Database::Named(name.to_owned());
        let mut links = vec![
            self.local(&node.server, &node.username, "postgres"),
            self.local(&node.server, &node.username, dbname),
        ];
        let monitor = match &self.formation.monitor {
            Monitor::Managed(server) => server.name.0.as_str(),
            Monitor::External(uri) => uri.host.as_str(),
        };
        let host = monitor_host(&self.formation.monitor);
        links.push(self.remote(Purpose::HealthCheck, monitor, host, HEALTH_CHECK, named("postgres")));
        for (name, host, is_of_group) in self.others(node) {
            if is_of_group {
                let stream = Database::Replication;
                links.push(self.remote(Purpose::Replication, name, host, REPLICATOR, stream));
                for database in BTreeSet::from(["postgres", dbname]) {
                    links.push(self.remote(Purpose::Rewind, name, host, REPLICATOR, named(database)));
                }
                links.push(self.remote(Purpose::Peer, name, host, &node.username, named(dbname)));
            } else if node.kind != NodeKind::Standalone {
                links.push(self.remote(Purpose::Citus, name, host, &node.username, named(dbname)));
            }
        }
        links
    }

    fn by_monitor(&self, server: &Server) -> Vec<Link> {
        let mut links = vec![
            self.local(server, &server.os_user, monitor::DBNAME),
            self.local(server, monitor::USER, monitor::DBNAME),
        ];
        let ours = self.formation.nodes.values();
        let ours = ours.map(|node| (node.name().0.as_str(), node.server.hostname.as_str()));
        let strangers = self.strangers.iter().map(|row| (row.name.as_str(), row.host.as_str()));
        for (name, host) in ours.chain(strangers) {
            let database = Database::Named(monitor::DBNAME.to_owned());
            links.push(self.remote(Purpose::Report, name, host, monitor::USER, database));
        }
        links
    }
}
