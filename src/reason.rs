//! Why a node is left alone, waits, or is not well: a thing, so that what follows from it is a match and not a search in a text.

mod words;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::formation::NodeName;
use crate::state::State;

/// Why nothing is done about a node now, or what is wrong with it though nothing can be done.
///
/// Its words are for people. What follows from a reason is decided by matching on it, never by its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host did not answer.
    Unreachable,
    /// The host answered, and something on it could not be looked at, in these words.
    Unreadable(String),
    /// Nobody looked, though somebody should have.
    Unseen,
    /// What is on the host, or what the inventory wants there, forbids it: the words of whoever knows that kind of thing.
    Refused(String),
    /// The operator has taken it out.
    Maintenance {
        node: NodeName,
    },
    /// Somebody lets systemd not start its keeper.
    Masked {
        unit: String,
    },
    /// Nobody could move it on: it has no keeper, and is to have none.
    OnlyAKeeper {
        reported: Option<State>,
        assigned: Option<State>,
    },
    /// Another run has the turn there, or none can be taken, in these words.
    NoTurn(String),
    /// It had no step in a plan that was only a part of what there is to do.
    Unplanned(Box<Reason>),

    /// Nobody looked, because of `--limit`.
    NotLookedAt,
    /// Outside `--limit`, and in need of steps of its own.
    HasSteps,
    /// Somebody outside `--limit` has to be ready first.
    WaitsFor {
        whom: Whom,
        node: NodeName,
        why: Box<Reason>,
    },
    /// The coordinators are outside `--limit`, and none of them takes writes.
    NoWriterOutside,

    /// Nobody could ask the monitor of the inventory.
    MonitorUnasked {
        monitor: NodeName,
        why: Option<Box<Reason>>,
    },
    MonitorElsewhere(NodeName),
    /// It is adopted, so it is not muster's to start.
    AdoptedMonitorStopped(NodeName),
    /// This run starts it, and looks again.
    MonitorStopped,
    /// It is to be made, though these nodes had one.
    MonitorLost {
        monitor: NodeName,
        kept: Vec<NodeName>,
    },
    NoMonitorThere {
        host: String,
        port: u16,
        given_as: String,
    },
    /// Those who asked were told different things.
    MonitorDiffers(String),
    /// A password of the monitor's user that cannot be changed now, with the cause.
    MonitorPassword {
        user: String,
        why: String,
    },
    /// Passwords that this machine does not have are not made anew, with the cause.
    PasswordElsewhere {
        why: String,
        folder: String,
    },
    /// The monitor and the inventory have a node in different groups.
    OtherGroup {
        node: NodeName,
        of_monitor: u32,
        of_inventory: u32,
    },

    /// The primary is known, and nothing is done about it either.
    NoPrimary {
        group: u32,
        primary: NodeName,
        why: Box<Reason>,
    },
    /// No node of the group takes writes; no rows where it has no node yet.
    NobodyToFollow {
        group: u32,
        rows: Vec<Standing>,
    },
    /// The primary is not muster's, and cannot be copied now.
    NobodyToCopy {
        group: u32,
        primary: Place,
        why: String,
    },
    /// Settings of the primary that no standby may join before.
    PrimaryWaitsForRestart {
        primary: NodeName,
        settings: Vec<String>,
    },

    /// The monitor knows no coordinator of this formation, and the inventory has none.
    NoCoordinator {
        formation: String,
    },
    /// A coordinator that is not muster's, and what was seen of it from the node's host.
    CoordinatorUnseen {
        coordinator: Place,
        why: NotSeen,
    },
    /// Its rows are looked at once it runs.
    CoordinatorStopped(NodeName),
    /// A node's row is written once it runs.
    RowFollows(NodeName),
    /// Its group gets another writer.
    Promotion {
        group: u32,
        node: NodeName,
    },

    /// Its keeper reports no more.
    Silent {
        why: String,
        log: String,
    },
    /// A standby that somebody has promoted.
    TakesWrites(String),
    /// A server whose peers come with TLS alone.
    WithoutTls(String),
    NotStreaming {
        why: String,
        pgdata: String,
    },
    /// It streams, and no commit waits for it.
    NotWaitedFor(String),

    /// Members of a group go one after the other only where all are well.
    GroupUnwell {
        group: u32,
        node: NodeName,
        why: Box<Reason>,
    },
    Unsettled {
        reported: Option<State>,
        assigned: Option<State>,
    },
    /// The monitor cannot connect to it.
    Unhealthy,
    NoKeeper,
    NotRunning,
    /// A server that its keeper does not get started, with the words of its log.
    DoesNotStart(String),
    /// Nobody can take over from a primary; for each of the others, why not.
    NoCandidate {
        primary: NodeName,
        others: Vec<(NodeName, String)>,
    },
    /// A standby must not have less than its primary, which is not restarted.
    PrimaryFirst {
        primary: NodeName,
        settings: Vec<String>,
    },
    /// muster runs on that very host.
    IsHere,
    /// What tells one boot of a host from the next is not known.
    BootUnknown,
    /// Nobody would start its keeper after a reboot.
    NotStartedAtBoot {
        server: NodeName,
        unit: Option<String>,
    },
    /// The monitor does not know it.
    NotRegistered,
    /// A node that the inventory does not name is on the same host.
    StrangerThere(String),
    /// A node of the group is taken back first; there is another look then.
    BackFirst(NodeName),
    /// The group has another primary by then, who could hand over only to somebody that nobody has looked at since.
    MovesFirst {
        group: u32,
    },
    /// It can be restarted only in place.
    NeedsDowntime(Box<Reason>),
    /// `restart_policy: never`.
    NeverRestarted,
    /// Settings that a rollout would restart a group for.
    RestartWaits {
        settings: String,
        why: Box<Reason>,
    },
    /// Whether what is written takes a restart is looked at once it is there.
    RestartFollows,
    /// PostgreSQL would not start with what its files say.
    WouldNotStart(String),
    /// What of another kind of certificates comes next.
    ChangesOver(Once),
    /// What an interrupted run has placed there is taken back first.
    Unconfirmed(NodeName),
    /// An operator has taken it out; a reboot is theirs, too.
    NotRebooted {
        node: NodeName,
    },
    /// A role that its peers come with, and that may not come in.
    Barred(String),
    /// A file of its data is not its server's.
    Spoiled(String),
    /// The monitor has a priority of 0 for a node that the inventory has another for, as a run that was cut off leaves it.
    NeverPromoted {
        wanted: u8,
    },
    /// A standby that this plan makes.
    Joins(NodeName),
    /// What a standby must not have lower than its primary goes both ways.
    RaisedAndLowered {
        raised: Vec<String>,
        lowered: Vec<String>,
    },
    /// Too few of its group would be left to confirm writes.
    WritesWouldStop {
        number_sync_standbys: u32,
        left: usize,
    },

    /// The monitor keeps what its number_sync_standbys takes: it refuses that a standby counts no more.
    QuorumTooSmall {
        number_sync_standbys: u32,
        left: usize,
    },

    /// What a saved plan tells; nothing is decided by it, because nothing of such a plan is run.
    Saved(String),
}

/// What has to be so before everybody has another kind of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    EverybodyTrustsBoth,
    NobodyVerifies,
    EverybodyShowsTheNew,
}

/// Who it is that a node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Monitor,
    Primary,
    Coordinator,
}

/// A node as the monitor has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: String,
    pub reported: Option<State>,
    pub assigned: Option<State>,
}

/// Where a node is that the inventory does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// Why a coordinator elsewhere is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSeen {
    /// Another was looked at, there.
    Another(String),
    Cannot(String),
    NotAsked,
}

impl Reason {
    /// Whether it is so for no other reason than a host that does not answer, be it another's.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Reason::Unreachable => true,
            Reason::Unplanned(why)
            | Reason::NeedsDowntime(why)
            | Reason::RestartWaits { why, .. }
            | Reason::GroupUnwell { why, .. }
            | Reason::WaitsFor { why, .. }
            | Reason::NoPrimary { why, .. } => why.is_unreachable(),
            Reason::MonitorUnasked { why, .. } => why.as_ref().is_some_and(|why| why.is_unreachable()),
            Reason::Unreadable(_)
            | Reason::Unseen
            | Reason::Refused(_)
            | Reason::Maintenance { .. }
            | Reason::Masked { .. }
            | Reason::OnlyAKeeper { .. }
            | Reason::NoTurn(_)
            | Reason::NotLookedAt
            | Reason::HasSteps
            | Reason::NoWriterOutside
            | Reason::MonitorElsewhere(_)
            | Reason::AdoptedMonitorStopped(_)
            | Reason::MonitorStopped
            | Reason::MonitorLost { .. }
            | Reason::NoMonitorThere { .. }
            | Reason::MonitorDiffers(_)
            | Reason::MonitorPassword { .. }
            | Reason::PasswordElsewhere { .. }
            | Reason::OtherGroup { .. }
            | Reason::NobodyToFollow { .. }
            | Reason::NobodyToCopy { .. }
            | Reason::PrimaryWaitsForRestart { .. }
            | Reason::NoCoordinator { .. }
            | Reason::CoordinatorUnseen { .. }
            | Reason::CoordinatorStopped(_)
            | Reason::RowFollows(_)
            | Reason::Promotion { .. }
            | Reason::Silent { .. }
            | Reason::TakesWrites(_)
            | Reason::WithoutTls(_)
            | Reason::NotStreaming { .. }
            | Reason::NotWaitedFor(_)
            | Reason::Unsettled { .. }
            | Reason::Unhealthy
            | Reason::NoKeeper
            | Reason::NotRunning
            | Reason::DoesNotStart(_)
            | Reason::NoCandidate { .. }
            | Reason::PrimaryFirst { .. }
            | Reason::NeverRestarted
            | Reason::RestartFollows
            | Reason::ChangesOver(_)
            | Reason::WouldNotStart(_)
            | Reason::Unconfirmed(_)
            | Reason::Barred(_)
            | Reason::Spoiled(_)
            | Reason::NeverPromoted { .. }
            | Reason::NotRebooted { .. }
            | Reason::Joins(_)
            | Reason::RaisedAndLowered { .. }
            | Reason::IsHere
            | Reason::BootUnknown
            | Reason::NotStartedAtBoot { .. }
            | Reason::NotRegistered
            | Reason::StrangerThere(_)
            | Reason::BackFirst(_)
            | Reason::MovesFirst { .. }
            | Reason::WritesWouldStop { .. }
            | Reason::QuorumTooSmall { .. }
            | Reason::Saved(_) => false,
        }
    }

    /// Whether an operator wants it so: it is told, and nothing has failed.
    pub fn is_wanted(&self) -> bool {
        matches!(self, Reason::Maintenance { .. })
    }

    /// The same of somebody outside `--limit`, behind that one's name.
    pub fn outside(&self) -> String {
        match self {
            Reason::HasSteps => self.to_string(),
            other => format!("is outside --limit: {other}"),
        }
    }
}

/// Its words, as the screen has them.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// [`Reason::Saved`], to be shown: what is done about a plan is decided anew.
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Reason::Saved)
    }
}
