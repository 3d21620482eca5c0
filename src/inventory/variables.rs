//! The one table of the variables an inventory may give: reading, "did you mean" and documentation use it.

/// A variable and how its value is read.
pub struct Variable {
    pub name: &'static str,
    /// Ansible's spellings of the same thing.
    pub other_names: &'static [&'static str],
    pub scope: Scope,
    pub kind: Kind,
    pub default: Fallback,
    /// One line for the operator.
    pub doc: &'static str,
}

/// For what a variable has one value; it may be given at any level all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Formation,
    /// The nodes of one group: what standbys copy from their primary.
    Group,
    /// A node; it says nothing about a monitor.
    Node,
    /// A node or the managed monitor.
    Server,
}

/// How a value is read.
#[derive(Clone, Copy)]
pub enum Kind {
    Flag,
    Number {
        least: i64,
        most: i64,
    },
    Choice(&'static [&'static str]),
    /// A plugin of Ansible's, by its short name or its full one; others are spoken by others.
    Plugin(&'static [&'static str]),
    Text {
        expected: &'static str,
        check: fn(&str) -> bool,
    },
    Secret,
    /// A `postgres://` URI.
    MonitorUri,
    /// A mapping of PostgreSQL settings; merges by key across levels, the inner one wins.
    Settings,
    /// ssh's command line.
    SshArgs,
    /// A public key, or a list of them.
    HostKeys,
    /// Host names and addresses: a list, or one.
    Names,
    /// Whom age encrypts for, or a list of them.
    Recipients,
    /// A list of `pg_hba.conf` lines; the levels follow each other, outer first.
    Rules,
}

/// What holds where nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This text, read like a given one.
    Is(&'static str),
    /// Decided otherwise; the text says how.
    From(&'static str),
    Required,
}

/// Looks a variable up by its name, one of its other names, or its own spelling.
pub fn variable(name: &str) -> Option<&'static Variable> {
    match name.strip_prefix(OWN) {
        Some(plain) => VARIABLES.iter().find(|variable| variable.name == plain),
        None => {
            VARIABLES.iter().find(|variable| variable.name == name || variable.other_names.contains(&name))
        }
    }
}

/// In front of a variable's name it makes a name that no other role has.
pub const OWN: &str = "muster_";

impl Variable {
    /// Whether it says how a host is reached, be it of the formation or not.
    pub(super) fn reaches(&self) -> bool {
        self.name.starts_with("ansible_")
            || ["become_user", "known_hosts", "host_key", "connect_timeout", "command_timeout"]
                .contains(&self.name)
    }

    const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.other_names = names;
        self
    }
}

const fn row(name: &'static str, scope: Scope, kind: Kind, default: Fallback, doc: &'static str) -> Variable {
    Variable { name, other_names: &[], scope, kind, default, doc }
}

use super::text::*;
use crate::formation::RestartPolicy;
use Fallback::{From, Is, Required};
use Kind::{Choice, Flag, HostKeys, Names, Number, Plugin, Recipients, Rules, Secret, Settings, SshArgs};
use Scope::{Formation, Group, Node, Server};

/// Every variable, in the order of the documentation.
pub static VARIABLES: &[Variable] = &[
    // What a host is.
    row(
        "role",
        Server,
        Choice(&["monitor", "coordinator", "worker", "postgres", "none"]),
        From("the groups monitor, coordinator, workers, postgres"),
        "What the host is; wins over its groups. With none it is outside the formation.",
    ),
    row(
        "group",
        Node,
        Number { least: 0, most: i32::MAX as i64 },
        From("0, required for a worker"),
        "The Citus group: 0 for the coordinator, 1 and up for workers.",
    ),
    row(
        "secondary",
        Node,
        Flag,
        From("membership of a group secondary or secondaries"),
        "Never the initial primary of its group.",
    ),
    // The formation.
    row("formation", Formation, IDENTIFIER, Is("default"), "The formation's name on the monitor."),
    row(
        "dbname",
        Formation,
        DBNAME,
        From("citus with a coordinator or workers, else postgres"),
        "The database, the same on every node.",
    ),
    row(
        "monitor",
        Formation,
        Kind::MonitorUri,
        From("the host of the group monitor"),
        "An existing monitor: postgres://autoctl_node@HOST:PORT/pg_auto_failover?sslmode=require",
    ),
    row(
        "number_sync_standbys",
        Formation,
        Number { least: 0, most: 100 },
        From("the monitor's own choice"),
        "How many standbys confirm a commit; every group needs one standby more than that.",
    ),
    row(
        "templates_dir",
        Formation,
        LOCAL_FILE,
        From("muster's own templates"),
        "A folder of templates that replace muster's, e.g. postgresql.conf.j2; relative to the inventory.",
    ),
    // The PostgreSQL server.
    row("pgdata", Group, FOLDER, Required, "The data directory."),
    row("pgport", Server, PORT, Is("5432"), "PostgreSQL's port."),
    row(
        "hostname",
        Server,
        HOSTNAME,
        From("the host's address"),
        "The name by which the other nodes reach PostgreSQL here.",
    ),
    row(
        "name",
        Server,
        NODE_NAME,
        From("the host's name in the inventory"),
        "The node's name on the monitor.",
    ),
    row("listen", Server, ADDRESSES, Is("*"), "listen_addresses."),
    row(
        "pg_version",
        Server,
        Number { least: 13, most: 99 },
        From("that of pgdata, else the newest on the host"),
        "The major version of PostgreSQL to use, where several are installed.",
    ),
    row(
        "pgctl",
        Server,
        PATH,
        From("by pg_version"),
        "The path of pg_ctl, where the installation is elsewhere.",
    ),
    row(
        "pghost",
        Server,
        SOCKET,
        From("the server's default"),
        "The socket folder or address for local connections.",
    ),
    row(
        "username",
        Node,
        USERNAME,
        Is("postgres"),
        "The superuser that pg_auto_failover and Citus connect as.",
    ),
    row(
        "settings",
        Server,
        Settings,
        From("none"),
        "PostgreSQL settings by name; levels merge by name, the inner one wins.",
    ),
    row(
        "hba",
        Server,
        Rules,
        From("none"),
        "Lines for pg_hba.conf in their order, also as mappings or as one text; the rules of outer levels come first.",
    ),
    row("data_checksums", Server, Flag, Is("true"), "initdb --data-checksums."),
    row("encoding", Server, WORD, Is("UTF8"), "initdb --encoding."),
    row("locale", Server, WORD, Is("C.UTF-8"), "initdb --locale."),
    row(
        "become_user",
        Server,
        OS_USER,
        Is("postgres"),
        "The operating system user that owns the data directory.",
    )
    .also(&["ansible_become_user"]),
    // Who may connect.
    row(
        "auth",
        Server,
        METHOD,
        From("scram-sha-256; trust with monitor, adopted or skip_pg_hba"),
        "The method of the pg_hba.conf rules that muster and the keepers write. With cert each host is known by its certificate of ssl: managed.",
    ),
    row("skip_pg_hba", Server, Flag, Is("false"), "Only the rules of hba go into pg_hba.conf."),
    row("pg_hba_lan", Server, Flag, Is("false"), "Open the local network in pg_hba.conf."),
    row("password", Group, Secret, From("none"), "The password of username; for a password method in auth."),
    row(
        "replication_password",
        Group,
        Secret,
        From("none"),
        "The password of pgautofailover_replicator; for a password method in auth.",
    ),
    row(
        "monitor_password",
        Formation,
        Secret,
        From("none"),
        "The password of autoctl_node on the monitor; for a password method in auth.",
    ),
    row(
        "secrets_dir",
        Formation,
        LOCAL_FILE,
        From("~/.local/share/muster/MONITORHOST-FORMATION"),
        "The folder in which muster keeps the passwords that it makes; relative to the inventory.",
    ),
    // Network encryption. One choice; where nothing is said, encryption without own certificates.
    row(
        "ssl",
        Server,
        Choice(&["managed"]),
        From("managed; none with monitor, adopted or another choice on any host, or blanks in pgdata"),
        "managed: the formation has a certificate authority of its own. Each host makes its key, the authority signs, and everybody verifies everybody.",
    ),
    row(
        "ssl_self_signed",
        Server,
        Flag,
        From("true, where ssl is not managed and neither no_ssl nor a certificate is given"),
        "Each server gets a key pair of its own, which nobody can verify.",
    ),
    row("no_ssl", Server, Flag, Is("false"), "No network encryption."),
    row("server_cert", Server, PATH, From("none"), "The server's certificate: a file on the host."),
    row("server_key", Server, PATH, From("none"), "The server's private key: a file on the host."),
    row(
        "ssl_ca_file",
        Server,
        WORD_PATH,
        From("none"),
        "The certificate authority that clients' and servers' certificates are checked with.",
    ),
    row("ssl_crl_file", Server, WORD_PATH, From("none"), "The list of revoked certificates."),
    row(
        "ssl_mode",
        Server,
        Choice(SSL_MODES),
        From("verify-full with ssl_ca_file, else require"),
        "sslmode of the connection strings.",
    ),
    row(
        "sans",
        Server,
        Names,
        From("none"),
        "More host names and addresses for the certificate that muster makes, by which clients know the server, e.g. pg.example or a virtual address; a list. `*.db.example` is any name with one word more.",
    ),
    row(
        "ca_dir",
        Formation,
        LOCAL_FILE,
        From("a folder of the formation's below $XDG_DATA_HOME/muster"),
        "Where ssl: managed keeps its certificate authority, ca.crt and ca.key, on the machine that muster runs on; relative to the inventory.",
    ),
    row(
        "ca_command",
        Formation,
        COMMAND,
        From("ca.key signs"),
        "A command for sh -c on the machine that muster runs on: it is given a certificate request and prints the certificate. Its authority is ca.crt in ca_dir.",
    ),
    row(
        "ca_key_protection",
        Formation,
        Choice(&["none", "passphrase", "vault", "age"]),
        From("none for a new key; one that is there stays as it is"),
        "How ca.key is kept: in clear with mode 0600, or encrypted: under a passphrase, by ansible-vault, or for age recipients.",
    ),
    row(
        "ca_key_passphrase",
        Formation,
        Secret,
        From("asked for where something is signed"),
        "The passphrase of ca.key, best as env:NAME, file:PATH or cmd:COMMAND; looked for only where something is signed.",
    ),
    row(
        "ca_key_recipients",
        Formation,
        Recipients,
        From("none"),
        "For ca_key_protection: age: who can open ca.key, a recipient or a list: age1… or a public key of ssh.",
    ),
    // Citus and failover.
    row(
        "citus_secondary",
        Node,
        Flag,
        Is("false"),
        "A read replica: candidate_priority 0, and it serves citus_cluster.",
    ),
    row("citus_cluster", Node, CLUSTER, From("none"), "The read-replica cluster of a citus_secondary."),
    row(
        "candidate_priority",
        Node,
        Number { least: 0, most: 100 },
        From("50, 0 for a citus_secondary"),
        "Which standby is promoted first; 0 is never promoted by the monitor itself, nor the initial primary. pg_autoctl perform switchover promotes it.",
    ),
    row(
        "replication_quorum",
        Node,
        Flag,
        From("true, false for a citus_secondary"),
        "Whether it counts among the standbys that confirm a commit.",
    ),
    row("maximum_backup_rate", Node, RATE, Is("100M"), "pg_basebackup --max-rate."),
    row("proxyport", Node, PORT, From("none"), "The port of a pooler on the host, kept in pg_dist_poolinfo."),
    row(
        "keeper",
        Server,
        Choice(&["auto", "systemd", "detached", "none"]),
        Is("auto"),
        "How pg_autoctl run is kept running; with none, nothing fails over.",
    ),
    row(
        "restart_policy",
        Server,
        Choice(RestartPolicy::WORDS),
        From("rolling, manual where adopted"),
        "What becomes of a setting that takes a restart: apply restarts one of a group after the other, or leaves that to you; with never, no command restarts the server.",
    ),
    row(
        "confirm_timeout",
        Server,
        Number { least: 0, most: 3600 },
        Is("60"),
        "Seconds after which a host takes back a change of TLS or of pg_hba.conf that nobody has confirmed; 0 never does.",
    ),
    row(
        "adopted",
        Group,
        Flag,
        Is("false"),
        "pg_autoctl made it: its files and its keeper stay the host's own, settings and hba are edited in place.",
    ),
    // How the host is reached.
    row(
        "ansible_host",
        Server,
        ADDRESS,
        From("the host's name in the inventory"),
        "The address ssh connects to.",
    )
    .also(&["ansible_ssh_host"]),
    row("ansible_port", Server, PORT, From("ssh_config, else 22"), "The port of sshd.")
        .also(&["ansible_ssh_port"]),
    row("ansible_user", Server, LOGIN, From("ssh_config, else the local user"), "The user ssh logs in as.")
        .also(&["ansible_ssh_user"]),
    row(
        "ansible_ssh_private_key_file",
        Server,
        LOCAL_FILE,
        From("the agent's keys and ~/.ssh"),
        "A private key, relative to the inventory.",
    )
    .also(&["ansible_private_key_file"]),
    row(
        "known_hosts",
        Server,
        LOCAL_FILE,
        From("~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts"),
        "The host keys that are trusted, relative to the inventory.",
    )
    .also(&["ansible_ssh_known_hosts"]),
    row(
        "host_key",
        Server,
        HostKeys,
        From("known_hosts"),
        "The host's public key as in a .pub file, or a list: it must show one of them, whatever known_hosts says.",
    ),
    row(
        "ansible_ssh_common_args",
        Server,
        SshArgs,
        From("none"),
        "Options of ssh: -o, -J, -F, -i, -p, -l, -b and more, -L, -R, -D without effect; variables go before them, ssh_config comes after.",
    ),
    row(
        "ansible_ssh_args",
        Server,
        SshArgs,
        From("none"),
        "More of them, ahead of the others: User, Port and IdentityFile in them go before the variables.",
    ),
    row("ansible_ssh_extra_args", Server, SshArgs, From("none"), "More of them, behind the others."),
    row(
        "ansible_password",
        Server,
        Secret,
        From("none"),
        "For hosts that want a password; it goes to the host alone, never to a bastion.",
    )
    .also(&["ansible_ssh_pass", "ansible_ssh_password"]),
    row(
        "ansible_become_method",
        Server,
        Plugin(&["sudo", "su", "doas"]),
        Is("sudo"),
        "How another user is become on the host; doas needs `permit nopass`.",
    ),
    row(
        "ansible_become_password",
        Server,
        Secret,
        From("none"),
        "The password that sudo or su asks for; without it they must not ask.",
    )
    .also(&["ansible_become_pass", "ansible_sudo_pass", "ansible_su_pass"]),
    row(
        "ansible_connection",
        Server,
        Plugin(&["ssh", "smart", "paramiko", "local"]),
        Is("ssh"),
        "With local, commands run on this machine itself; the others are ssh.",
    ),
    row(
        "connect_timeout",
        Server,
        SECONDS,
        From("ssh_config, else 10"),
        "Seconds to connect and log in, through bastions too.",
    ),
    row("command_timeout", Server, SECONDS, Is("600"), "Seconds one command may take."),
];

/// libpq's words, weakest first.
pub(super) const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let mut names: Vec<&str> = VARIABLES
            .iter()
            .flat_map(|v| std::iter::once(v.name).chain(v.other_names.iter().copied()))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
