//! Why a node is left alone, in words.

use std::fmt;

use super::{NotSeen, Once, Place, Reason, Standing, Whom};
use crate::state::State;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable => f.write_str("its host cannot be reached"),
            Reason::Unseen => f.write_str("nothing was seen of it"),
            Reason::Unreadable(why)
            | Reason::Refused(why)
            | Reason::NoTurn(why)
            | Reason::MonitorDiffers(why)
            | Reason::TakesWrites(why)
            | Reason::WithoutTls(why)
            | Reason::NotWaitedFor(why)
            | Reason::Barred(why)
            | Reason::Spoiled(why)
            | Reason::Saved(why) => f.write_str(why),
            Reason::Maintenance { node } => {
                write!(f, "it is in maintenance: `muster maintenance off {node}` takes it back")
            }
            Reason::NotRebooted { node } => write!(
                f,
                "it is in maintenance, so its host is yours: reboot it yourself, or `muster maintenance off {node}` first; with \
                 --booted-before a run goes on that was cut off"
            ),
            Reason::Masked { unit } => write!(f, "its unit is masked: systemctl unmask {unit} on its host"),
            Reason::OnlyAKeeper { reported, assigned } => write!(
                f,
                "it is {}, to become {}: only a keeper can do that, and keeper is none",
                word(*reported),
                word(*assigned)
            ),
            Reason::Unplanned(why) => write!(f, "there may be more to do: {why}"),
            Reason::NotLookedAt => f.write_str("it is outside --limit"),
            Reason::HasSteps => f.write_str("is outside --limit and has steps of its own: take it in"),
            Reason::WaitsFor { whom, node, why } => write!(f, "its {whom} {node} {}", why.outside()),
            Reason::NoWriterOutside => {
                f.write_str("no coordinator takes writes, and they are outside --limit")
            }
            Reason::MonitorUnasked { monitor, why } => {
                write!(f, "the monitor {monitor} cannot be asked")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Reason::MonitorElsewhere(monitor) => {
                write!(f, "the monitor {monitor} is not at the port of the inventory")
            }
            Reason::AdoptedMonitorStopped(monitor) => {
                write!(f, "the monitor {monitor} does not answer, and muster does not start an adopted one")
            }
            Reason::MonitorStopped => f.write_str("the monitor is stopped; it is started first"),
            Reason::MonitorLost { monitor, kept } => write!(
                f,
                "the monitor {monitor} is not there yet, but {} had one: it is lost, or another, and muster does not \
                 replace it",
                kept.iter().map(|name| name.0.as_str()).collect::<Vec<_>>().join(", ")
            ),
            Reason::NoMonitorThere { host, port, given_as } => write!(
                f,
                "the monitor at {host}:{port} has no pgautofailover: is the database of `{given_as}` the monitor's?"
            ),
            Reason::MonitorPassword { user, why } => {
                write!(f, "{user} has another password on the monitor than monitor_password says, and {why}")
            }
            Reason::PasswordElsewhere { why, folder } => write!(
                f,
                "no password is made in place of one: {why}. Copy {folder} from the machine that made it, give the password in the \
                 inventory, or take new ones with `muster password rotate`"
            ),
            Reason::OtherGroup { node, of_monitor, of_inventory } => write!(
                f,
                "the monitor has {node} in group {of_monitor}, the inventory in group {of_inventory}: correct that first"
            ),
            Reason::NoPrimary { group, primary, why } => {
                write!(f, "group {group} has no primary: {primary}: {why}")
            }
            Reason::NobodyToFollow { group, rows } if rows.is_empty() => write!(
                f,
                "group {group} has no node yet, and this one cannot be its first: the first one is no secondary, no \
                 read replica, and of candidate_priority above 0"
            ),
            Reason::NobodyToFollow { group, rows } => {
                let is = |row: &Standing| {
                    format!("{} is {}, to become {}", row.name, word(row.reported), word(row.assigned))
                };
                let rows: Vec<String> = rows.iter().map(is).collect();
                write!(f, "group {group} has no primary to follow now: {}", rows.join(", "))
            }
            Reason::NobodyToCopy { group, primary, why } => write!(
                f,
                "group {group} has no primary to copy now: {primary}, which the inventory does not name: {why}"
            ),
            Reason::PrimaryWaitsForRestart { primary, settings } => write!(
                f,
                "{} of {primary} waits for a restart, and a standby joins only after it",
                settings.join(", ")
            ),
            Reason::NoCoordinator { formation } => write!(
                f,
                "formation {formation} has no coordinator yet: make it first, with muster create coordinator"
            ),
            Reason::CoordinatorUnseen { coordinator, why } => {
                write!(f, "the coordinator {coordinator} ")?;
                match why {
                    NotSeen::Another(at) => {
                        write!(f, "was not looked at from here, but the one at {at}: run again")
                    }
                    NotSeen::Cannot(why) => write!(f, "cannot be looked at from here: {why}"),
                    NotSeen::NotAsked => {
                        f.write_str("is not in the inventory, and was not looked at: name it there")
                    }
                }
            }
            Reason::CoordinatorStopped(coordinator) => write!(
                f,
                "the coordinator {coordinator} is stopped; its pg_dist_node is looked at once it runs"
            ),
            Reason::RowFollows(node) => {
                write!(f, "{node} is stopped; its row of pg_dist_node follows once it runs")
            }
            Reason::Promotion { group, node } => write!(
                f,
                "group {group} is about to take writes on {node}; what only its writer can be given is looked at then"
            ),
            Reason::Silent { why, log } => {
                write!(f, "{why}, so it follows no order of the monitor: look at {log} on its host")
            }
            Reason::GroupUnwell { group, node, why } => {
                write!(f, "not all of group {group} are well: {node}: {why}")
            }
            Reason::Unsettled { reported, assigned } if reported == assigned => {
                write!(f, "it is {}", word(*reported))
            }
            Reason::Unsettled { reported, assigned } => {
                write!(f, "it is {}, to become {}", word(*reported), word(*assigned))
            }
            Reason::Unhealthy => f.write_str("the monitor cannot connect to it"),
            Reason::NoKeeper => f.write_str("its keeper does not run"),
            Reason::NeverPromoted { wanted } => write!(
                f,
                "the monitor has candidate_priority 0 for it, and the inventory {wanted}: nothing fails over to it until apply sets that"
            ),
            Reason::NotRunning => f.write_str("its PostgreSQL does not run"),
            Reason::DoesNotStart(why) => write!(f, "its PostgreSQL does not start: {why}"),
            Reason::NoCandidate { primary, others } if others.is_empty() => {
                write!(f, "{primary} has no standby that could take over")
            }
            Reason::NoCandidate { primary, others } => {
                let others: Vec<String> = others.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                write!(f, "no standby can take over from {primary}: {}", others.join("; "))
            }
            Reason::PrimaryFirst { primary, settings } => write!(
                f,
                "{} is lowered, and a standby that has less than its primary does not start: {primary} has to be restarted first",
                settings.join(", ")
            ),
            Reason::NeedsDowntime(why) => {
                write!(
                    f,
                    "{why}; with --allow-downtime it is restarted in place, and the group takes no writes meanwhile"
                )
            }
            Reason::NeverRestarted => f.write_str("its restart_policy is never: restart it yourself"),
            Reason::RestartWaits { settings, why } => {
                write!(f, "no restart of PostgreSQL yet, though {settings}: {why}")
            }
            Reason::RestartFollows => f.write_str("its configuration is written first"),
            Reason::ChangesOver(once) => f.write_str(match once {
                Once::EverybodyTrustsBoth => "once everybody trusts both authorities each server shows its new certificate",
                Once::NobodyVerifies => "once nobody verifies any more each server shows its new certificate",
                Once::EverybodyShowsTheNew => {
                    "once each server shows its new certificate everybody trusts what the inventory says, and nothing else"
                }
            }),
            Reason::Unconfirmed(node) => {
                write!(f, "a change of {node} that nobody has confirmed is taken back first")
            }
            Reason::WouldNotStart(why) => {
                write!(f, "PostgreSQL would not start with what its files say: {why}")
            }
            Reason::Joins(node) => write!(f, "{node} joins first"),
            Reason::RaisedAndLowered { raised, lowered } => write!(
                f,
                "{} is raised, which standbys have to be the first to do, and {} is lowered, which the primary has to be: let the \
                 inventory change one of the two, apply that, then the other",
                raised.join(", "),
                lowered.join(", ")
            ),
            Reason::IsHere => f.write_str("muster itself runs on its host: reboot it from another one"),
            Reason::BootUnknown => {
                f.write_str("its host does not tell one boot from the next: /proc/sys/kernel/random/boot_id cannot be read there")
            }
            Reason::NotStartedAtBoot { server, unit: Some(unit) } => write!(
                f,
                "nothing would start the keeper of {server} after a reboot: systemctl enable {unit} on its host"
            ),
            Reason::NotStartedAtBoot { server, unit: None } => write!(
                f,
                "nothing would start the keeper of {server} after a reboot: systemd does not run it; take the host out and back \
                 with `muster maintenance`"
            ),
            Reason::NotRegistered => f.write_str("the monitor does not have it: `muster apply` comes first"),
            Reason::StrangerThere(name) => {
                write!(f, "{name}, which the inventory does not name, is on the same host")
            }
            Reason::BackFirst(node) => write!(f, "{node} is in maintenance, and is taken back first"),
            Reason::MovesFirst { group } => {
                write!(f, "group {group} has another primary by then, and there is another look")
            }
            Reason::WritesWouldStop { number_sync_standbys, left } => write!(
                f,
                "writes of its group would stop: number_sync_standbys is {number_sync_standbys}, and {left} standbys that count \
                 would be left; lower it first"
            ),
            Reason::QuorumTooSmall { number_sync_standbys, left } => write!(
                f,
                "replication_quorum cannot be false for it: number_sync_standbys is {number_sync_standbys} on the monitor, which takes {} standbys \
                 with replication_quorum, and its group would have {left}; give `number_sync_standbys: 0` in the inventory beside it",
                number_sync_standbys + 1
            ),
            Reason::NotStreaming { why, pgdata } => {
                write!(f, "{why}: look at the log of PostgreSQL, {pgdata}/log")
            }
        }
    }
}

fn word(state: Option<State>) -> &'static str {
    state.map_or("unknown", State::as_str)
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Whom::Monitor => "monitor",
            Whom::Primary => "primary",
            Whom::Coordinator => "coordinator",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.name, self.host, self.port)
    }
}
