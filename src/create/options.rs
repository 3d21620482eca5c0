//! The table of options: what `pg_autoctl create` takes, and what becomes of it.
//!
//! Source: the getopts of src/bin/pg_autoctl/cli_create_node.c and cli_common.c, the same from 2.0 to 2.2; the texts are
//! its help's.

use Kind::{Coordinator, Monitor, Postgres, Worker};
use Means::{Accepted, Bool, Flag, Number, Refused, Text};

/// What is created: the subcommands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Monitor,
    Postgres,
    Coordinator,
    Worker,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Monitor, Postgres, Coordinator, Worker];

    /// The subcommand.
    pub fn as_str(self) -> &'static str {
        match self {
            Monitor => "monitor",
            Postgres => "postgres",
            Coordinator => "coordinator",
            Worker => "worker",
        }
    }

    /// The inventory's group.
    pub fn group(self) -> &'static str {
        match self {
            Worker => "workers",
            Monitor | Postgres | Coordinator => self.as_str(),
        }
    }

    /// One line of help.
    pub fn about(self) -> &'static str {
        match self {
            Monitor => "Initialize a pg_auto_failover monitor",
            Postgres => {
                "Initialize standalone PostgreSQL nodes: the first HOST of a new group is its primary"
            }
            Coordinator => "Initialize Citus coordinator nodes: the first HOST of a new group is its primary",
            Worker => {
                "Initialize Citus worker nodes of one group: the first HOST of a new group is its primary"
            }
        }
    }
}

/// What an option comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A variable of the inventory with its text.
    Text(&'static str),
    Number(&'static str),
    /// `true` or `false`, in any of PostgreSQL's words.
    Bool(&'static str),
    /// An option without a value: the variable is true.
    Flag(&'static str),
    /// What muster does anyway, and says so.
    Accepted(&'static str),
    /// What muster cannot do: the reason, and what to do instead.
    Refused {
        takes_value: bool,
        why: &'static str,
        remedy: &'static str,
    },
}

impl Means {
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Text(name) | Number(name) | Bool(name) | Flag(name) => Some(name),
            Accepted(_) | Refused { .. } => None,
        }
    }

    pub fn takes_value(self) -> bool {
        match self {
            Text(_) | Number(_) | Bool(_) => true,
            Flag(_) | Accepted(_) => false,
            Refused { takes_value, .. } => takes_value,
        }
    }
}

/// An option.
#[derive(Debug)]
pub struct Row {
    /// Without the dashes.
    pub name: &'static str,
    /// pg_autoctl's short option, where muster's own options leave it free.
    pub short: Option<char>,
    pub means: Means,
    /// The environment variable that stands for it.
    pub env: Option<&'static str>,
    pub of: &'static [Kind],
    /// What holds without it.
    pub default: &'static str,
    pub doc: &'static str,
    /// Whether it is of one host, and has no meaning for several.
    pub of_one_host: bool,
}

const fn row(
    name: &'static str,
    means: Means,
    of: &'static [Kind],
    default: &'static str,
    doc: &'static str,
) -> Row {
    Row { name, short: None, means, env: None, of, default, doc, of_one_host: false }
}

impl Row {
    const fn short(mut self, short: char) -> Row {
        self.short = Some(short);
        self
    }

    const fn env(mut self, name: &'static str) -> Row {
        self.env = Some(name);
        self
    }

    const fn of_one_host(mut self) -> Row {
        self.of_one_host = true;
        self
    }
}

const ALL: &[Kind] = &Kind::ALL;
const NODES: &[Kind] = &[Postgres, Coordinator, Worker];
const CITUS: &[Kind] = &[Coordinator, Worker];

const NO_DISABLED_MONITOR: Means = Refused {
    takes_value: false,
    why: "muster makes nodes that a monitor orchestrates",
    remedy: "make a monitor with `muster create monitor`, or use pg_autoctl itself for nodes without one",
};

/// Every option, in the order of the man page.
pub const OPTIONS: &[Row] = &[
    row("pgctl", Text("pgctl"), ALL, "the newest on the host", "path to pg_ctl"),
    row("pgdata", Text("pgdata"), ALL, "**required**", "path to data directory").short('D').env("PGDATA"),
    row("pghost", Text("pghost"), NODES, "the server's default", "PostgreSQL's hostname")
        .short('H')
        .env("PGHOST"),
    row("pgport", Number("pgport"), ALL, "`5432`", "PostgreSQL's port number").short('p').env("PGPORT"),
    row("hostname", Text("hostname"), ALL, "HOST", "hostname by which postgres is reachable")
        .short('n')
        .of_one_host(),
    row("listen", Text("listen"), ALL, "`*`", "PostgreSQL's listen_addresses"),
    row("proxyport", Number("proxyport"), &[Worker], "none", "Proxy's port number"),
    row("username", Text("username"), NODES, "`postgres`", "PostgreSQL's username").short('U').env("PGUSER"),
    row(
        "dbname",
        Text("dbname"),
        NODES,
        "`citus` for coordinators and workers, else `postgres`; pg_autoctl: `postgres`",
        "PostgreSQL's database name",
    )
    .short('d')
    .env("PGDATABASE"),
    row("name", Text("name"), NODES, "HOST", "pg_auto_failover node name")
        .short('a')
        .env("PG_AUTOCTL_NODE_NAME")
        .of_one_host(),
    row("formation", Text("formation"), NODES, "`default`", "pg_auto_failover formation"),
    row(
        "group",
        Number("group"),
        &[Worker],
        "**required**; pg_autoctl: a new one",
        "pg_auto_failover group Id",
    )
    .short('g'),
    row("monitor", Text("monitor"), NODES, "**required**", "pg_auto_failover Monitor Postgres URL")
        .short('m')
        .env("PG_AUTOCTL_MONITOR"),
    row("disable-monitor", NO_DISABLED_MONITOR, NODES, "refused", "pg_autoctl: without a monitor").short('M'),
    row(
        "node-id",
        Refused {
            takes_value: true,
            why: "it is for nodes without a monitor, and muster makes none",
            remedy: "leave it out: the monitor numbers its nodes",
        },
        &[Postgres],
        "refused",
        "pg_autoctl: the id of a node without a monitor",
    )
    .short('I'),
    row(
        "auth",
        Text("auth"),
        ALL,
        "`trust`; pg_autoctl: required",
        "authentication method for connections between nodes and from the monitor",
    )
    .short('A')
    .env("PG_AUTOCTL_AUTH_METHOD"),
    row("skip-pg-hba", Flag("skip_pg_hba"), ALL, "rules are written", "skip editing pg_hba.conf rules")
        .short('S'),
    row(
        "pg-hba-lan",
        Flag("pg_hba_lan"),
        NODES,
        "Citus nodes only",
        "edit pg_hba.conf rules for --dbname in detected LAN",
    )
    .short('L')
    .env("PG_AUTOCTL_PG_HBA_LAN"),
    row(
        "citus-secondary",
        Flag("citus_secondary"),
        CITUS,
        "no read replica",
        "when used, this node is a citus secondary",
    )
    .short('z'),
    row("citus-cluster", Text("citus_cluster"), CITUS, "none", "name of the Citus Cluster for read-replicas")
        .short('Z'),
    row(
        "ssl-self-signed",
        Flag("ssl_self_signed"),
        ALL,
        "it is the default; pg_autoctl: a choice is required",
        "setup network encryption using self signed certificates (does NOT protect against MITM)",
    )
    .short('s')
    .env("PG_AUTOCTL_SSL_SELF_SIGNED"),
    row(
        "ssl-mode",
        Text("ssl_mode"),
        ALL,
        "`verify-full` with --ssl-ca-file, else `require`",
        "use that sslmode in connection strings",
    ),
    row("ssl-ca-file", Text("ssl_ca_file"), ALL, "none", "set the Postgres ssl_ca_file to that file path"),
    row("ssl-crl-file", Text("ssl_crl_file"), ALL, "none", "set the Postgres ssl_crl_file to that file path"),
    row(
        "no-ssl",
        Flag("no_ssl"),
        ALL,
        "encryption",
        "don't enable network encryption (NOT recommended, prefer --ssl-self-signed)",
    )
    .short('N'),
    row("server-key", Text("server_key"), ALL, "none", "set the Postgres ssl_key_file to that file path"),
    row("server-cert", Text("server_cert"), ALL, "none", "set the Postgres ssl_cert_file to that file path"),
    row(
        "candidate-priority",
        Number("candidate_priority"),
        NODES,
        "`50`, `0` for a citus secondary",
        "priority of the node to be promoted to become primary",
    )
    .short('P')
    .env("PG_AUTOCTL_CANDIDATE_PRIORITY"),
    row(
        "replication-quorum",
        Bool("replication_quorum"),
        NODES,
        "`true`, `false` for a citus secondary; pg_autoctl: `true`",
        "true if node participates in write quorum",
    )
    .short('r')
    .env("PG_AUTOCTL_REPLICATION_QUORUM"),
    row(
        "maximum-backup-rate",
        Text("maximum_backup_rate"),
        &[Postgres],
        "`100M`",
        "maximum transfer rate of data transferred from the server during initial sync",
    )
    .short('R'),
    row(
        "run",
        Accepted("the node is created and its keeper is started, with --run or without"),
        ALL,
        "it always is",
        "create node then run pg_autoctl service",
    )
    .short('x'),
    row(
        "quiet",
        Refused {
            takes_value: false,
            why: "muster says what it does, and no more unless asked by --verbose",
            remedy: "send its output elsewhere, e.g. >/dev/null",
        },
        ALL,
        "refused",
        "pg_autoctl: log errors only",
    )
    .short('q'),
];

/// The rows of a subcommand.
pub fn of(kind: Kind) -> impl Iterator<Item = &'static Row> {
    OPTIONS.iter().filter(move |row| row.of.contains(&kind))
}
