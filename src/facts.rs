//! What is there, host by host: the one probe script, and how its answer becomes facts.

pub mod logins;
pub mod quorum;
pub mod roles;
pub mod start;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::command::{Command, Failure, RunAs};
use crate::formation::{
    Formation, Monitor, MonitorUri, Node, NodeKind, NodeName, Secret, Server, SslMode, Tls,
};
use crate::probe::{self, Answers};
use crate::reason::Reason;
use crate::resource::adopted::AdoptedFacts;
use crate::resource::citus::{CitusFacts, HookFacts, Remote};
use crate::resource::client::ClientFacts;
use crate::resource::data::{Pgdata, Software};
use crate::resource::database::DatabaseFacts;
use crate::resource::host::HostFacts;
use crate::resource::keeper::KeeperFacts;
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::neighbours::Surroundings;
use crate::resource::place::Place;
use crate::resource::tls::TlsFacts;
use crate::resource::{
    adopted, citus, client, data, database, down, host, keeper, meant, monitor, neighbours, next_start, pair,
    pgpass, place, refused, settings, tls, unconfirmed,
};
use crate::{session, sql, trial};

pub use told::Told;

/// Everything that was seen in one look at the fleet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    pub hosts: BTreeMap<NodeName, Sight>,
}

/// A host that was seen, or why it was not.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    Seen(Box<Seen>),
    /// No connection.
    Unreachable(Failure),
    /// Connected, but something could not be looked at: no step is planned on a guess.
    Unreadable(String),
}

/// The facts of one server and its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub host: HostFacts,
    /// `None` where no PostgreSQL is installed.
    pub software: Option<Software>,
    /// Servers of the distribution's packages on the same host.
    pub around: Surroundings,
    /// Where PGDATA is, or is to be.
    pub place: Place,
    pub pgdata: Pgdata,
    /// What libpq takes in there by itself.
    pub client: ClientFacts,
    pub tls: TlsFacts,
    /// Names of files that an interrupted run has changed and not confirmed; `None` where there is no such change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Vec<String>>,
    /// `node.conf` beside PGDATA.
    pub node_conf: Option<String>,
    /// `~/.pgpass` of the server's user.
    pub pgpass: Option<Secret>,
    /// The mode of `~/.pgpass`; `None` where there is none.
    pub pgpass_mode: Option<u32>,
    /// What servers warned of when they were asked, in their words.
    pub warnings: Vec<String>,
    /// `None` where PostgreSQL does not run.
    pub database: Option<DatabaseFacts>,
    pub keeper: KeeperFacts,
    /// `None` where this host was not to ask, or the monitor has no database yet.
    pub monitor: Option<MonitorFacts>,
    pub citus: Option<CitusFacts>,
    /// The coordinator over the network; `None` where this host was not to ask it.
    pub coordinator: Option<Remote>,
    pub hook: HookFacts,
    /// `None` where the server is not adopted.
    pub adopted: Option<AdoptedFacts>,
}

impl Facts {
    pub fn seen(&self, name: &NodeName) -> Option<&Seen> {
        match self.hosts.get(name)? {
            Sight::Seen(seen) => Some(seen),
            Sight::Unreachable(_) | Sight::Unreadable(_) => None,
        }
    }
}

impl Seen {
    /// What of PGDATA is not its server's: the first of it.
    pub fn spoiled(&self) -> Option<Reason> {
        match &self.pgdata {
            Pgdata::Present(found) => found.spoiled.first().cloned().map(Reason::Spoiled),
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }
    }

    /// That it does not stream, with the likely cause where that is told of it: a full disk ends a WAL receiver first.
    pub fn with_cause(&self, why: String) -> String {
        match self.spoiled() {
            Some(_) => format!("{why}, most likely for what is said of its data"),
            None => why,
        }
    }

    /// Why its PostgreSQL does not run, in the words of its log.
    pub fn why_down(&self) -> Option<&str> {
        match &self.pgdata {
            Pgdata::Present(found) => found.why_down.as_deref(),
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }
    }
}

/// The monitor of the inventory, where it is there and stopped: it has rows, and nobody could ask for them.
pub fn stopped_monitor<'a>(formation: &'a Formation, facts: &Facts) -> Option<&'a Server> {
    let Monitor::Managed(server) = &formation.monitor else { return None };
    let seen = facts.seen(&server.name)?;
    let is_there = matches!(&seen.pgdata, Pgdata::Present(_));
    (is_there && seen.database.is_none() && seen.monitor.is_none()).then_some(server)
}

/// The primary of a node's group, where the monitor does not know the node and its server takes writes all the same.
pub fn writes_beside<'a>(formation: &Formation, facts: &'a Facts, node: &Node) -> Option<&'a NodeRow> {
    let database = facts.seen(node.name())?.database.as_ref()?;
    let monitor = facts.monitor(formation)?;
    let is_unknown = !database.in_recovery && !monitor.knows(&node.server);
    monitor.primary(node.group).filter(|_| is_unknown)
}

/// The monitor's rows of the formation that no node of the inventory has: made by others, and theirs.
pub fn strangers<'a>(formation: &Formation, facts: &'a Facts) -> Vec<&'a NodeRow> {
    let rows = facts.monitor(formation).map_or(&[][..], |monitor| &monitor.nodes);
    rows.iter().filter(|row| !formation.nodes.values().any(|node| node.name().0 == row.name)).collect()
}

/// The connection that nodes use to reach the monitor.
pub fn monitor_uri(formation: &Formation) -> MonitorUri {
    match &formation.monitor {
        Monitor::External(uri) => uri.clone(),
        Monitor::Managed(server) => monitor::uri(server, formation.monitor_password()),
    }
}

/// Names that a host resolves for the rules of `pg_hba.conf`: its group's, its Citus peers' and the monitor's.
fn names(formation: &Formation, node: Option<&Node>) -> BTreeSet<String> {
    let mut names = BTreeSet::from([monitor_host(formation).to_owned()]);
    let concerns = |other: &&Node| match node {
        None => true,
        Some(node) => node.group == other.group || node.kind != NodeKind::Standalone,
    };
    names.extend(formation.nodes.values().filter(concerns).map(|other| other.server.hostname.clone()));
    names.retain(|name| name.parse::<std::net::IpAddr>().is_err());
    names
}

fn monitor_host(formation: &Formation) -> &str {
    crate::resource::hba::monitor_host(&formation.monitor)
}

/// The script's parameters, in the order of `$1`…
const PARAMETERS: [&str; 16] = [
    "pgdata",
    "pgctl",
    "pgversion",
    "pghost",
    "pgport",
    "username",
    "dbname",
    "formation",
    "role",
    "kind",
    "unit",
    "files",
    "remote",
    "adopted",
    "locale",
    "tlsat",
];

/// What a host is asked of the monitor.
fn role(formation: &Formation, node: Option<&Node>) -> &'static str {
    match (&formation.monitor, node) {
        (_, None) => "monitor",
        (Monitor::External(_), Some(_)) => "asks",
        (Monitor::Managed(_), Some(_)) => "node",
    }
}

/// With a monitor of its own a formation has its coordinator in the inventory, and that one is asked itself.
fn asks_coordinator(formation: &Formation, node: Option<&Node>) -> bool {
    let needs_it = |node: &Node| node.kind == NodeKind::Worker || node.is_reader();
    role(formation, node) == "asks" && node.is_some_and(needs_it)
}

/// The whole probe of one host: one script, one round trip, read-only.
pub fn probe(formation: &Formation, server: &Server) -> Command {
    let node = formation.nodes.get(&server.name);
    let names = names(formation, node);
    let role = role(formation, node);
    let asks_coordinator = asks_coordinator(formation, node);
    let files: Vec<&str> = match &server.tls {
        Tls::Files { cert, key, ca, crl, .. } => [Some(cert), Some(key), ca.as_ref(), crl.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect(),
        Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } => Vec::new(),
    };
    let verified_with = match &server.tls {
        Tls::Files { ca: Some(ca), mode, .. } if *mode >= SslMode::VerifyCa => ca,
        Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. } => "",
    };
    let mut script = String::from("set +e\n");
    for (index, name) in PARAMETERS.iter().enumerate() {
        script.push_str(&format!("{name}=${{{}}}\n", index + 1));
    }
    script.push_str(&format!(
        "names=${{{}}}\ntlsfiles=${{{}}}\ntlsca=${{{}}}\n",
        PARAMETERS.len() + 1,
        PARAMETERS.len() + 2,
        PARAMETERS.len() + 3
    ));
    for part in [
        probe::FUNCTIONS,
        host::PROBE,
        data::FIND,
        data::EXTENSIONS,
        place::PROBE,
        data::POSTMASTER,
        down::WHY_DOWN,
        data::PROBE,
        trial::TRIAL,
        trial::TRIED,
        next_start::PROBE,
        client::PROBE,
        neighbours::PROBE,
        tls::CERTIFICATE,
        tls::PROBE,
        pair::PROBE,
        settings::PROBE,
        unconfirmed::PROBE,
        pgpass::PROBE,
        &keeper::probe(),
        citus::HOOK_PROBE,
    ] {
        script.push_str(part);
    }
    script.push_str(session::PSQL);
    script.push_str(sql::ASKING);
    script.push_str(&database::probe());
    script.push_str(tls::PROBE_SERVED);
    script.push_str(tls::SHOWN);
    script.push_str(tls::PROBE_SHOWN);
    script.push_str(&citus::probe());
    script.push_str(&monitor::probe());
    script.push_str(&citus::remote_probe());
    script.push_str(&adopted::probe());
    script.push_str(sql::WARNED);
    script.push_str("\nsay end ''\n");
    let names: Vec<String> = names.into_iter().collect();
    let args = [
        server.pgdata.clone(),
        server.pgctl.clone().unwrap_or_default(),
        server.pg_version.map(|major| major.to_string()).unwrap_or_default(),
        server.pghost.clone().unwrap_or_default(),
        server.pgport.to_string(),
        node.map_or_else(|| server.os_user.clone(), |node| node.username.clone()),
        formation.dbname.clone(),
        formation.name.clone(),
        role.to_owned(),
        node.map_or("monitor", |node| node.kind.as_str()).to_owned(),
        keeper::unit(server),
        settings::FILES.join(" "),
        if asks_coordinator { "1" } else { "0" }.to_owned(),
        u8::from(server.adopted).to_string(),
        server.initdb.locale.clone(),
        tls::at(server),
        names.join(" "),
        files.join("\n"),
        verified_with.to_owned(),
    ];
    let command = Command::new(RunAs::User(server.os_user.clone()), script).args(args).timeout(60);
    match role {
        "asks" => peer_env(sql::monitor_env(command, &monitor_uri(formation)), server, node),
        _ => command,
    }
}

/// Why the monitor did not answer, in words that say what to look at where it is others'.
fn not_asked(formation: &Formation, said: String) -> String {
    let refused = match &formation.monitor {
        Monitor::External(uri) => refused::by_monitor(uri, &said),
        Monitor::Managed(_) => None,
    };
    refused.map_or(said, |(why, look)| format!("{why}; {look}"))
}

/// How a host logs in to other servers of the formation.
fn peer_env(command: Command, server: &Server, node: Option<&Node>) -> Command {
    let (root, crl) = sql::ssl_files(&server.tls);
    let password = node.and_then(|node| node.password.clone());
    command
        .env("MUSTER_PEER_PASSWORD", &password.unwrap_or(Secret::new("")))
        .env("MUSTER_PEER_SSLMODE", &Secret::new(server.tls.mode().as_str()))
        .env("MUSTER_PEER_SSLROOTCERT", &Secret::new(root))
        .env("MUSTER_PEER_SSLCRL", &Secret::new(crl))
}

/// Reads a host's answer. Whatever could not be looked at makes the whole host unreadable.
pub fn parse(formation: &Formation, server: &Server, stdout: &str) -> Result<Seen, String> {
    let answers = Answers::parse(stdout)?;
    let node = formation.nodes.get(&server.name);
    let names = names(formation, node);
    // What it was not asked it may not answer: a node that speaks for the monitor is no monitor.
    let asks_monitor = role(formation, node) != "node";
    let is_coordinator = node.is_some_and(|node| node.kind == NodeKind::Coordinator);
    let asks_coordinator = asks_coordinator(formation, node);
    let mut pgdata = data::parse(&answers, &settings::FILES)?;
    next_start::parse(&answers, &server.name, &mut pgdata);
    let keeper = keeper::parse(&answers)?;
    // A login that was refused is one of somebody who is not there.
    let database = database::parse(&answers).map_err(|said| {
        let config = keeper.config.as_ref().map(|text| keeper::adopted::Config::parse(text.reveal()));
        let of_keeper = config.as_ref().and_then(|config| config.get("postgresql", "username"));
        meant::superuser(server, node, &pgdata, of_keeper)
            .map_or(said.clone(), |why| format!("{why} ({said})"))
    })?;
    Ok(Seen {
        host: host::parse(&answers, &names)?,
        software: data::parse_software(&answers)?,
        around: neighbours::parse(&answers)?,
        place: place::parse(&answers)?,
        pgdata,
        client: client::parse(&answers)?,
        tls: tls::parse(&answers)?,
        unconfirmed: unconfirmed::parse(&answers),
        node_conf: answers.text("node.conf")?,
        pgpass: pgpass::parse(&answers)?,
        pgpass_mode: pgpass::parse_mode(&answers)?,
        warnings: answers.need("warnings")?.lines().map(|line| line.trim().to_owned()).collect(),
        database,
        keeper,
        monitor: monitor::parse(&answers)
            .map_err(|said| not_asked(formation, said))?
            .filter(|_| asks_monitor),
        citus: citus::parse(&answers)?.filter(|_| is_coordinator),
        coordinator: citus::parse_remote(&answers)?.filter(|_| asks_coordinator),
        hook: citus::parse_hook(&answers)?,
        adopted: if server.adopted { adopted::parse(&answers)? } else { None },
    })
}
