//! Everything that muster does: one arm a thing, and what follows from it. A new arm does not compile until its words and its
//! risk are told here, and what it does to a world of facts in `tests/sim/apply.rs`.

use serde::{Deserialize, Serialize};

use crate::formation::{NodeKind, NodeName};
use crate::state::State;

/// How much a step disturbs a node that is serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    Safe,
    Reload,
    Restart,
    Destroy,
}

/// One thing that is done; who does it, and where, is the step's to say.
///
/// | Made by | Arms |
/// |---|---|
/// | `resource::{settings, tls, pgpass, citus, keeper}`, `plan::{drift, follow, replicate, adopted}` | `Write` |
/// | `resource::managed` | `Issue` |
/// | `resource::pair` | `ShowCertificate`, `ShowNoCertificate` |
/// | `resource::data` | `Initdb`, `Install`, `RemoveStalePid`, `Start`, `Stop` |
/// | `resource::settings` | `Reload` |
/// | `resource::unconfirmed` | `TakeBack` |
/// | `resource::{database, monitor}` | `CreateRole`, `RepairRole`, `SetPassword`, `CreateDatabase`, `CreateExtension` |
/// | `resource::monitor` | `CreateFormation`, `Register`, `TellSystemIdentifier` |
/// | `resource::rotation` | `Rotate` |
/// | `plan::replicate` | `Report` |
/// | `resource::replication` | `BaseBackup`, `CompareSettings`, `CreateSlots`, `Synchronous` |
/// | `resource::properties` | `SetPriority`, `SetQuorum`, `SetNumberSyncStandbys` |
/// | `resource::citus` | `Metadata` |
/// | `resource::keeper` | `EnableUnit`, `StartDetached`, `Renew` |
/// | `resource::rolling` | `Checkpoint`, `Restart`, `LookAgain`, `Switchover`, `Maintenance`, `MayReboot`, `Reboot` |
/// | all of these, and `plan::{monitor, node, well}` | `Wait` |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Write {
        path: String,
        risk: Risk,
    },

    /// A new key, and a certificate that the formation's own authority signs.
    Issue {
        names: Vec<String>,
        risk: Risk,
    },

    /// Whatever connects from its host shows the server's own certificate.
    ShowCertificate,
    /// It shows none any more.
    ShowNoCertificate,

    /// Makes a data directory beside `pgdata`.
    Initdb {
        pgdata: String,
    },
    /// Copies that of another node to one beside PGDATA.
    BaseBackup {
        from: String,
    },
    /// Whether a server could start with its own settings on the copy of this node.
    CompareSettings {
        of: String,
    },
    /// Moves the finished data directory into place.
    Install {
        pgdata: String,
    },
    RemoveStalePid,
    Start,
    Stop {
        serving: Serving,
    },
    Reload,
    /// What an interrupted run has placed, and has not proved.
    TakeBack,

    CreateRole {
        name: String,
    },
    /// A role may do again what it is there for.
    RepairRole {
        name: String,
    },
    SetPassword {
        role: String,
    },
    /// Roles and the file in which a server and its keeper find passwords get new ones, at one moment.
    Rotate {
        roles: Vec<String>,
        path: Option<String>,
    },
    CreateDatabase {
        name: String,
    },
    CreateExtension {
        name: String,
        dbname: Option<String>,
    },
    CreateSlots {
        nodes: Vec<u64>,
    },
    Synchronous {
        which: Synchronous,
        serving: Serving,
    },

    CreateFormation {
        name: String,
    },
    Register {
        id: u64,
        group: u32,
        kind: NodeKind,
    },
    TellSystemIdentifier,
    /// Reports for a node that has no keeper.
    Report {
        state: State,
    },
    SetPriority {
        to: u8,
    },
    SetQuorum {
        to: bool,
    },
    SetNumberSyncStandbys {
        to: u32,
    },

    /// Rows of the coordinator; `elsewhere` where it is asked over the network.
    Metadata {
        change: Metadata,
        elsewhere: Option<Address>,
    },

    EnableUnit {
        unit: String,
    },
    /// A keeper that nothing keeps running.
    StartDetached,
    /// A keeper that lives takes in another configuration.
    Renew {
        way: Way,
        service: Service,
    },

    /// Writes to disk what is in memory, so that the server stops in a moment.
    Checkpoint,
    /// A standby that has lost its primary tries to reach it again.
    LookAgain,
    /// A server ends and starts again; its keeper lives meanwhile.
    Restart,
    /// Another node of the group is to take writes.
    Switchover {
        from: NodeName,
        to: NodeName,
    },
    /// The monitor counts on a node no more, or again.
    Maintenance {
        turn: Switch,
    },
    /// Whether sudo would let the host be rebooted.
    MayReboot,
    /// The host goes down, and comes back by itself.
    Reboot,

    Wait(Wait),
}

/// What is asked again and again until it is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The monitor assigns `next` to a node without a keeper, which reports `current` meanwhile.
    Assigned {
        current: State,
        next: State,
    },
    /// The monitor has the primary of the group.
    Registered {
        primary: NodeName,
    },
    /// A primary that is not muster's has made this slot, and lets its standby in.
    Slot {
        slot: String,
        on: String,
    },
    /// The same for another node, on whose host it is asked.
    LetIn {
        node: NodeName,
        by: String,
    },
    Streams {
        from: NodeName,
    },
    /// It has been restarted by its keeper, and follows its primary in another way.
    StreamsWith {
        sslmode: String,
    },
    KeeperRuns,
    KeeperLogsIn,
    KeeperReports,
    MonitorAnswers,
    Settled,
    /// A standby has heard what its primary runs with by now, and has no less.
    Fits {
        primary: NodeName,
    },
    /// Its server is back.
    Answers,
    /// It is its group's primary, and takes writes.
    TakesWrites,
    /// The coordinator sends a group's queries there.
    InMetadata {
        group: u32,
        at: Address,
    },
    InMaintenance,
    /// Its host is another boot's, and answers on a new connection.
    Booted,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    On,
    Off,
}

/// Who may be connected to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// This run has made it.
    Nobody,
    Somebody,
}

/// Which standbys a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// What the monitor computes for the group.
    AsMonitorSays,
    /// None: there is no standby that could confirm.
    Off,
}

/// What changes in `pg_dist_node` or `pg_dist_poolinfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    SetCoordinator { to: Address },
    Add { node: Address, role: String, group: u32 },
    Point { id: i64, to: Address },
    Activate { node: Address },
    SetPooler { of: Address },
    ForgetPooler { of: Address },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Which of pg_autoctl's services is to read its file: a data node's or a monitor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    NodeActive,
    Listener,
}

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    Hangup,
    Restart,
}

impl Op {
    /// What is done, in words: `initdb /var/lib/postgresql/15/coord`.
    pub fn title(&self) -> String {
        match self {
            Op::Write { path, .. } => format!("write {path}"),
            Op::Issue { names, .. } => format!("issue a certificate for {}", names.join(", ")),
            Op::ShowCertificate => "show its certificate to other servers".to_owned(),
            Op::ShowNoCertificate => "show no certificate to other servers".to_owned(),
            Op::Initdb { pgdata } => format!("initdb {pgdata}"),
            Op::BaseBackup { from } => format!("pg_basebackup from {from}"),
            Op::CompareSettings { of } => format!("compare its settings with those of {of}"),
            Op::Install { pgdata } => format!("move it to {pgdata}"),
            Op::RemoveStalePid => "remove the stale postmaster.pid".to_owned(),
            Op::Start => "start PostgreSQL".to_owned(),
            Op::Stop { .. } => "stop PostgreSQL".to_owned(),
            Op::Reload => "reload PostgreSQL".to_owned(),
            Op::TakeBack => "take back an unconfirmed change".to_owned(),
            Op::CreateRole { name } => format!("create role {name}"),
            Op::RepairRole { name } => format!("repair role {name}"),
            Op::SetPassword { role } => format!("set the password of {role}"),
            Op::Rotate { roles, path } => {
                let roles = (!roles.is_empty()).then(|| format!("set the password of {}", roles.join(", ")));
                let path = path.as_ref().map(|path| format!("write {path}"));
                roles.into_iter().chain(path).collect::<Vec<_>>().join(" and ")
            }
            Op::CreateDatabase { name } => format!("create database {name}"),
            Op::CreateExtension { name, dbname: Some(dbname) } => {
                format!("create extension {name} in {dbname}")
            }
            Op::CreateExtension { name, dbname: None } => format!("create extension {name}"),
            Op::CreateSlots { nodes } => {
                let ids: Vec<String> = nodes.iter().map(u64::to_string).collect();
                format!("create replication slots for node {}", ids.join(", "))
            }
            Op::Synchronous { which: Synchronous::AsMonitorSays, .. } => {
                "set synchronous_standby_names as the monitor says".to_owned()
            }
            Op::Synchronous { which: Synchronous::Off, .. } => "clear synchronous_standby_names".to_owned(),
            Op::CreateFormation { name } => format!("create formation {name}"),
            Op::Register { id, group, kind } => format!("register as node {id}, group {group}, {kind}"),
            Op::TellSystemIdentifier => "tell the monitor the system identifier".to_owned(),
            Op::Report { state } => format!("report {state}"),
            Op::SetPriority { to } => format!("set candidate_priority to {to}"),
            Op::SetQuorum { to } => format!("set replication_quorum to {to}"),
            Op::SetNumberSyncStandbys { to } => format!("set number_sync_standbys to {to}"),
            Op::Metadata { change, elsewhere: Some(at) } => format!("{}, at {at}", change.title()),
            Op::Metadata { change, elsewhere: None } => change.title(),
            Op::EnableUnit { unit } => format!("enable and start {unit}"),
            Op::StartDetached => "start pg_autoctl detached".to_owned(),
            Op::Renew { way: Way::Hangup, .. } => "reload the keeper".to_owned(),
            Op::Renew { way: Way::Restart, service } => {
                format!("restart the keeper's service {}", service.as_str())
            }
            Op::Checkpoint => "checkpoint".to_owned(),
            Op::LookAgain => "look for its primary again".to_owned(),
            Op::Restart => "restart PostgreSQL".to_owned(),
            Op::Switchover { from, .. } => format!("take over from {from}"),
            Op::Maintenance { turn: Switch::On } => "enable maintenance".to_owned(),
            Op::Maintenance { turn: Switch::Off } => "disable maintenance".to_owned(),
            Op::MayReboot => "check that the host may be rebooted".to_owned(),
            Op::Reboot => "reboot the host".to_owned(),
            Op::Wait(wait) => wait.title(),
        }
    }

    pub fn risk(&self) -> Risk {
        match self {
            Op::Write { risk, .. } | Op::Issue { risk, .. } => *risk,
            Op::Stop { serving: Serving::Somebody } | Op::Restart | Op::Switchover { .. } => Risk::Restart,
            Op::Maintenance { turn: Switch::On } | Op::Reboot => Risk::Restart,
            Op::Reload
            | Op::TakeBack
            | Op::Renew { .. }
            | Op::Synchronous { serving: Serving::Somebody, .. } => Risk::Reload,
            Op::ShowCertificate
            | Op::ShowNoCertificate
            | Op::Initdb { .. }
            | Op::BaseBackup { .. }
            | Op::CompareSettings { .. }
            | Op::Install { .. }
            | Op::RemoveStalePid
            | Op::Start
            | Op::Stop { serving: Serving::Nobody }
            | Op::CreateRole { .. }
            | Op::RepairRole { .. }
            | Op::SetPassword { .. }
            | Op::Rotate { .. }
            | Op::CreateDatabase { .. }
            | Op::CreateExtension { .. }
            | Op::CreateSlots { .. }
            | Op::Synchronous { serving: Serving::Nobody, .. }
            | Op::CreateFormation { .. }
            | Op::Register { .. }
            | Op::TellSystemIdentifier
            | Op::Report { .. }
            | Op::SetPriority { .. }
            | Op::SetQuorum { .. }
            | Op::SetNumberSyncStandbys { .. }
            | Op::Metadata { .. }
            | Op::EnableUnit { .. }
            | Op::StartDetached
            | Op::Checkpoint
            | Op::LookAgain
            | Op::Maintenance { turn: Switch::Off }
            | Op::MayReboot
            | Op::Wait(_) => Risk::Safe,
        }
    }
}

impl Wait {
    fn title(&self) -> String {
        match self {
            Wait::Assigned { current, next } => format!("report {current} until {next} is assigned"),
            Wait::Registered { primary } => format!("wait for {primary} to be registered"),
            Wait::Slot { slot, on } => format!("wait for {slot} on {on}"),
            Wait::LetIn { node, by } => format!("wait for {node} to be let in by {by}"),
            Wait::Streams { from } => format!("wait until it streams from {from}"),
            Wait::StreamsWith { sslmode } => format!("wait until it streams with sslmode={sslmode}"),
            Wait::KeeperRuns => "wait for pg_autoctl to run".to_owned(),
            Wait::KeeperLogsIn => "wait until its keeper logs in".to_owned(),
            Wait::KeeperReports => "wait until its keeper reports".to_owned(),
            Wait::MonitorAnswers => "wait for the monitor to answer".to_owned(),
            Wait::Settled => "wait until it is settled and healthy".to_owned(),
            Wait::Fits { primary } => format!("wait until it has no less than {primary} runs with"),
            Wait::Answers => "wait until it answers".to_owned(),
            Wait::TakesWrites => "wait until it takes writes".to_owned(),
            Wait::InMetadata { group, at } => format!("wait until Citus has group {group} at {at}"),
            Wait::InMaintenance => "wait until it is in maintenance".to_owned(),
            Wait::Booted => "wait until its host has booted anew".to_owned(),
        }
    }
}

impl Metadata {
    fn title(&self) -> String {
        match self {
            Metadata::SetCoordinator { to } => format!("set the coordinator's host to {to}"),
            Metadata::Add { node, role, group } => format!("add {node} to Citus as {role} of group {group}"),
            Metadata::Point { id, to } => format!("point Citus node {id} to {to}"),
            Metadata::Activate { node } => format!("activate {node} in Citus"),
            Metadata::SetPooler { of } => format!("set the pooler of {of}"),
            Metadata::ForgetPooler { of } => format!("forget the pooler of {of}"),
        }
    }
}

impl Service {
    /// As pg_autoctl calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::NodeActive => "node-active",
            Service::Listener => "listener",
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
