//! What is wanted: one formation, its monitor and its nodes, every option decided.
//!
//! Loading an inventory parses straight into these types, so a [`Formation`] that exists is one that
//! makes sense: one dbname, a primary-capable node in every group, no two servers at one host:port.
//! Option names and meanings are those of `pg_autoctl create coordinator`; where a default differs
//! from pg_autoctl's the field says why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

mod auth;
mod authority;
mod keeper;
mod kept;
mod reference;
mod restart_policy;
mod tls;
pub use auth::{Auth, MAP};
pub use authority::{Authority, Ca, CaCommand, Protection, SigningKey};
pub use keeper::Keeper;
pub use kept::{Kept, Password};
pub use reference::{Held, Origin, Reference, Sought};
pub use restart_policy::RestartPolicy;
pub use tls::{SslMode, Tls};

/// The name of a node, or of the monitor's host: unique in a formation, the key of every map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        NodeName(name.to_owned())
    }
}

/// A password or a private key: its text can be asked for by [`Secret::reveal`] only, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Option<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Some(text.into()))
    }

    /// Stands for a password that is given and that the command at hand has no use for.
    pub fn not_looked_for() -> Self {
        Secret(None)
    }

    /// The text itself, for the one place that sends it on a channel made for it.
    pub fn reveal(&self) -> &str {
        self.0.as_deref().expect("a command says before which passwords it needs")
    }

    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(String::is_empty)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// What was written is `***`: nobody can look for the text there.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Secret::not_looked_for())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// What salts are made of: chance, which the core has none of, drawn once where the formation is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

/// What a run brings about.
#[derive(Clone, Debug, Serialize)]
pub struct Formation {
    /// `--formation`, default `default`.
    pub name: String,
    /// `--dbname`, the same on every node. `citus` where the formation has a coordinator, else `postgres`.
    pub dbname: String,
    pub monitor: Monitor,
    /// `monitor_password` of a monitor that has no nodes yet, or one that muster keeps; else theirs is the one.
    pub lone_monitor_password: Option<Secret>,
    /// What muster keeps where no password is given.
    #[serde(skip)]
    pub kept: Kept,
    /// Coordinator, workers and standalone nodes; the monitor is not among them. None at all: a monitor alone.
    pub nodes: BTreeMap<NodeName, Node>,
    /// `number_sync_standbys`; `None` leaves the monitor's own choice alone.
    pub number_sync_standbys: Option<u32>,
    /// Name (`postgresql.conf.j2`) and text of the templates that replace muster's own.
    pub templates: BTreeMap<String, String>,
    pub ca: Ca,
    /// What signs where `ssl` is `managed`; it is found once a command begins.
    pub authority: Option<Authority>,
    /// Whom the inventory names, for patterns that select hosts.
    #[serde(skip)]
    pub roster: Roster,
    #[serde(skip)]
    pub seed: Seed,
    /// Hosts of the inventory that are no part of the formation, though nothing says so: no `role: none`.
    pub outside: Vec<String>,
    /// Where warnings about the inventory itself are kept until they are shown.
    pub warnings: Vec<String>,
}

impl Formation {
    /// Every host muster connects to: the managed monitor's and each node's.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        let monitor = match &self.monitor {
            Monitor::Managed(server) => Some(server),
            Monitor::External(_) => None,
        };
        monitor.into_iter().chain(self.nodes.values().map(|node| &node.server))
    }

    /// The same with another `restart_policy` for every server.
    pub fn with_restart_policy(mut self, policy: RestartPolicy) -> Formation {
        if let Monitor::Managed(server) = &mut self.monitor {
            server.restart_policy = policy;
        }
        self.nodes.values_mut().for_each(|node| node.server.restart_policy = policy);
        self
    }

    /// The members of a Citus group (0 is the coordinator's, and the only one of standalone nodes).
    pub fn group(&self, group: u32) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |node| node.group == group)
    }

    /// The groups that have a node, in their order.
    pub fn groups(&self) -> BTreeSet<u32> {
        self.nodes.values().map(|node| node.group).collect()
    }

    /// The password of `autoctl_node` on a managed monitor.
    pub fn monitor_password(&self) -> Option<&Secret> {
        let of_nodes = self.nodes.values().find_map(|node| node.monitor_password.as_ref());
        of_nodes.or(self.lone_monitor_password.as_ref())
    }

    /// Whether any node is a coordinator or a worker.
    pub fn is_citus(&self) -> bool {
        self.nodes.values().any(|node| node.kind != NodeKind::Standalone)
    }
}

/// The inventory's hosts and groups by their names there, whether they are of the formation or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// In the order of the inventory.
    pub hosts: Vec<Listed>,
    /// Every group, with hosts or without, `all` and `ungrouped` among them, in the order of their first mention.
    pub groups: Vec<ListedGroup>,
}

/// A group by its name in the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub name: String,
    /// The names of its hosts and of those of the groups below it, in Ansible's order: outer groups first.
    pub hosts: Vec<String>,
}

/// A host as the inventory names it, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// `name:` where it is given, else the same.
    pub node: NodeName,
    /// Every group it is in, directly or through their children, `all` among them.
    pub groups: BTreeSet<String>,
    pub host: Host,
    /// `become_user`.
    pub os_user: String,
}

/// The pg_auto_failover monitor: one that muster creates, or one that is there.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one in a run")]
pub enum Monitor {
    Managed(Server),
    External(MonitorUri),
}

/// `postgres://autoctl_node[:password]@host:port/pg_auto_failover?sslmode=…`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MonitorUri {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub dbname: String,
    /// The query part as (key, value) pairs in their order, e.g. `sslmode`, `sslrootcert`.
    pub parameters: Vec<(String, String)>,
    /// What an operator gave it as, for hints: [`MONITOR_VARIABLE`], or an option.
    #[serde(skip)]
    pub given_as: &'static str,
    /// Whether the formation's own monitor is there: then each host verifies it with its own files.
    #[serde(skip)]
    pub is_own: bool,
}

/// The inventory's variable for the URI of a monitor.
pub const MONITOR_VARIABLE: &str = "monitor";

/// How a host is reached and what muster becomes there: what the inventory says of it. It goes before ssh_config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    pub connection: Connection,
    /// `ansible_host`, default the inventory's host name: the name ssh is given.
    pub address: String,
    /// `ansible_port`; `None` is what ssh_config says, else 22.
    pub port: Option<u16>,
    /// `ansible_user`; `None` is what ssh_config says, else the local user's name.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`: tried before the agent's keys and the default files.
    pub identity_files: Vec<String>,
    /// `ansible_ssh_known_hosts` (a path); `None` is `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.
    pub known_hosts: Option<String>,
    /// `host_key`: public keys as in a `.pub` file. Where there are any, the host must show one of them.
    pub host_keys: Vec<String>,
    /// `ansible_ssh_args`, `ansible_ssh_common_args` and `ansible_ssh_extra_args` as (keyword, value) of ssh_config, in
    /// their order: the first value of a keyword counts, and what has a variable of its own goes before.
    pub ssh_options: Vec<(String, String)>,
    /// `-F` in `ansible_ssh_common_args`: the only configuration that is read; `none` is none at all.
    pub ssh_config: Option<String>,
    /// `ansible_password`: for the host itself, never for a bastion.
    pub password: Option<Secret>,
    /// Seconds for TCP, key exchange and authentication together; `connect_timeout`; `None` is what ssh_config says,
    /// else 10.
    pub connect_timeout: Option<u64>,
    /// Seconds a single command may take; `command_timeout`, default 600.
    pub command_timeout: u64,
    pub becoming: Become,
    /// What muster does not speak of the way to the host, e.g. "`ansible_connection` is `winrm`"; such a host is never
    /// of the formation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unspoken: Option<String>,
}

impl Host {
    /// A host of which nothing is said but its name: ssh_config and ssh's defaults say the rest.
    pub fn named(address: impl Into<String>) -> Host {
        Host {
            connection: Connection::Ssh,
            address: address.into(),
            port: None,
            user: None,
            identity_files: Vec::new(),
            known_hosts: None,
            host_keys: Vec::new(),
            ssh_options: Vec::new(),
            ssh_config: None,
            password: None,
            connect_timeout: None,
            command_timeout: 600,
            becoming: Become { method: BecomeMethod::Sudo, password: None },
            unspoken: None,
        }
    }
}

/// `ansible_connection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    Ssh,
    /// This machine itself: no SSH at all.
    Local,
}

/// How another user is become: `ansible_become_method` and `ansible_become_password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Become {
    pub method: BecomeMethod,
    pub password: Option<Secret>,
}

/// The program that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BecomeMethod {
    Sudo,
    Su,
    Doas,
}

/// One PostgreSQL server on one host: what the monitor and the nodes have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// `--name`: the node's name on the monitor. Default: the inventory's host name.
    pub name: NodeName,
    pub host: Host,
    /// `--hostname`: the name by which other nodes reach PostgreSQL here. Default: the host's address.
    pub hostname: String,
    /// `--pgctl`: path to `pg_ctl`; `None` takes that of `pg_version`, else the newest found on the host.
    pub pgctl: Option<String>,
    /// `pg_version`: the major version to use where several are installed; `None` is that of the data directory.
    pub pg_version: Option<u32>,
    /// `--pgdata`: an absolute path.
    pub pgdata: String,
    /// `--pghost`: the socket directory or address for local connections; `None` is the server's default.
    pub pghost: Option<String>,
    /// `--pgport`, default 5432.
    pub pgport: u16,
    /// `--listen`: `listen_addresses`, default `*`.
    pub listen: String,
    /// `--auth`: the method of the HBA rules that muster and keepers write, default `trust` as in the manual.
    pub auth: Auth,
    /// `--skip-pg-hba` and `--pg-hba-lan`: whose rules go into `pg_hba.conf`.
    pub hba_edit: HbaEdit,
    pub tls: Tls,
    /// `sans`: names and addresses for its certificate, beside those by which the formation knows it.
    pub sans: Vec<String>,
    /// `settings:`: any GUC the user sets, name to value as text (unquoted).
    pub settings: BTreeMap<String, String>,
    /// Where those stand in the inventory that has them in a file: `db.yml:13`. For people alone.
    #[serde(skip)]
    pub settings_at: BTreeMap<String, String>,
    /// `hba:`: the user's rules, in order, each one line of `pg_hba.conf`.
    pub hba: Vec<String>,
    pub initdb: Initdb,
    /// `become_user`: the operating system user that owns PGDATA, default `postgres`.
    pub os_user: String,
    pub keeper: Keeper,
    pub restart_policy: RestartPolicy,
    /// Seconds after which a host takes back what may have locked somebody out and was not confirmed; 0 where it is not to.
    pub confirm_timeout: u64,
    /// `adopted`: pg_autoctl made it, and its files stay the host's own: settings and rules are edited, nothing is
    /// rendered. `keeper` is [`Keeper::AsFound`] then.
    pub adopted: bool,
}

/// A member of the formation that the monitor orchestrates.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    pub server: Server,
    /// The host's position in the inventory, from 0: the first candidate of a new group is its primary.
    pub order: u32,
    pub kind: NodeKind,
    /// `group:`: 0 for a coordinator or standalone node, 1 and up for a worker.
    pub group: u32,
    /// Never the initial primary: `secondary: true`, a group `secondary`, or a read replica.
    pub standing: Standing,
    /// `--username`: the superuser that pg_auto_failover and Citus connect as, default `postgres`.
    pub username: String,
    /// `--citus-secondary` with `--citus-cluster NAME`: the read-replica cluster this node belongs to.
    pub citus_cluster: Option<String>,
    /// `candidate_priority`, 0 to 100, default 50; 0 for a read replica.
    pub candidate_priority: u8,
    /// `replication_quorum`, default true. Default false for a read replica: pg_autoctl says true, which
    /// makes `number_sync_standbys` jump to 1 for groups that have one standby.
    pub replication_quorum: bool,
    /// `maximum_backup_rate`: for `pg_basebackup --max-rate`, default `100M`.
    pub maximum_backup_rate: String,
    /// `proxyport`: a pooler's port on this host, kept in `pg_dist_poolinfo`.
    pub proxyport: Option<u16>,
    /// `password` of `username`; needed where `auth` is a password method.
    pub password: Option<Secret>,
    /// `replication_password` of `pgautofailover_replicator`.
    pub replication_password: Option<Secret>,
    /// `monitor_password` of `autoctl_node`, for a managed monitor.
    pub monitor_password: Option<Secret>,
}

impl Node {
    pub fn name(&self) -> &NodeName {
        &self.server.name
    }

    /// Whether the node serves a read-replica cluster.
    pub fn is_reader(&self) -> bool {
        self.citus_cluster.is_some()
    }

    /// The Citus cluster it is registered under; the main one is called `default`.
    pub fn cluster(&self) -> &str {
        self.citus_cluster.as_deref().unwrap_or("default")
    }
}

/// pg_auto_failover's node kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    Standalone,
    Coordinator,
    Worker,
}

impl NodeKind {
    /// The word the monitor and `pg_autoctl.cfg` use.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Standalone => "standalone",
            NodeKind::Coordinator => "coordinator",
            NodeKind::Worker => "worker",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which part in a new group a node may take. On a rerun the monitor's word wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// May be the initial primary: the first such node of a group is.
    Candidate,
    /// Never the initial primary.
    Secondary,
}

/// Whose rules go into `pg_hba.conf`; the words are `hba_level`'s in `pg_autoctl.cfg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HbaEdit {
    /// The formation's rules and the user's. Citus kinds and the monitor open the local network as well.
    Minimal,
    /// `--pg-hba-lan`: the local network too, for every kind.
    Lan,
    /// `--skip-pg-hba`: only the user's rules; neither muster nor a keeper adds any.
    Skip,
}

/// Options of `initdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Initdb {
    /// `data_checksums`, default true: pg_rewind needs them or `wal_log_hints`.
    pub data_checksums: bool,
    /// `encoding`, default `UTF8`.
    pub encoding: String,
    /// `locale`, default `C.UTF-8`: there on every host, and sorts alike on all of them.
    pub locale: String,
}
