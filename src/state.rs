//! pg_auto_failover's replication states, in its own words and numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($($variant:ident = $number:literal $word:literal),+ $(,)?) => {
        /// A reported or assigned state; the number is the one in `pg_autoctl.state`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum State { $($variant = $number),+ }

        impl State {
            pub const ALL: &'static [State] = &[$(State::$variant),+];

            /// The monitor's word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(State::$variant => $word),+ }
            }

            /// `None` for a word that no release up to 2.2 uses.
            pub fn parse(word: &str) -> Option<State> {
                State::ALL.iter().copied().find(|state| state.as_str() == word)
            }
        }
    };
}

// Source: NodeState in src/bin/pg_autoctl/state.h, the same from 2.0 to 2.2.
states! {
    Unknown = 0 "unknown",
    Init = 1 "init",
    Single = 2 "single",
    Primary = 3 "primary",
    WaitPrimary = 4 "wait_primary",
    WaitStandby = 5 "wait_standby",
    Demoted = 6 "demoted",
    DemoteTimeout = 7 "demote_timeout",
    Draining = 8 "draining",
    Secondary = 9 "secondary",
    Catchingup = 10 "catchingup",
    PreparePromotion = 11 "prepare_promotion",
    StopReplication = 12 "stop_replication",
    Maintenance = 13 "maintenance",
    JoinPrimary = 14 "join_primary",
    ApplySettings = 15 "apply_settings",
    PrepareMaintenance = 16 "prepare_maintenance",
    WaitMaintenance = 17 "wait_maintenance",
    ReportLsn = 18 "report_lsn",
    FastForward = 19 "fast_forward",
    JoinSecondary = 20 "join_secondary",
    Dropped = 21 "dropped",
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl State {
    /// States in which a node takes writes, or is about to.
    pub fn is_writable(self) -> bool {
        matches!(
            self,
            State::Single | State::Primary | State::WaitPrimary | State::JoinPrimary | State::ApplySettings
        )
    }

    /// Taken out by an operator, or on the way there: no failover, and no keeper's work, until it is taken back.
    pub fn is_maintenance(self) -> bool {
        matches!(self, State::Maintenance | State::PrepareMaintenance | State::WaitMaintenance)
    }

    /// Whether a keeper that is in this state knows a way to the other. One that knows none says so every second, for ever: its
    /// state is not this node's, but that of one before it.
    /// Source: KeeperFSM in `src/bin/pg_autoctl/fsm.c`, the same pairs from 2.0 to 2.2.
    pub fn has_way_to(self, assigned: State) -> bool {
        use State as S;
        let from: &[State] = match assigned {
            S::Unknown | S::Init => &[],
            S::Dropped => return true,
            S::Single => &[
                S::Init,
                S::Dropped,
                S::Primary,
                S::WaitPrimary,
                S::JoinPrimary,
                S::ApplySettings,
                S::Secondary,
                S::Catchingup,
                S::ReportLsn,
                S::PreparePromotion,
                S::StopReplication,
                S::Draining,
                S::DemoteTimeout,
                S::Demoted,
            ],
            S::Primary => &[S::WaitPrimary, S::JoinPrimary, S::ApplySettings, S::DemoteTimeout],
            S::WaitPrimary => &[
                S::Single,
                S::Primary,
                S::JoinPrimary,
                S::ApplySettings,
                S::PreparePromotion,
                S::StopReplication,
            ],
            S::JoinPrimary | S::ApplySettings => &[S::WaitPrimary, S::Primary],
            S::WaitStandby => &[S::Init, S::Dropped, S::Secondary],
            S::Catchingup => {
                &[S::WaitStandby, S::Secondary, S::Demoted, S::Maintenance, S::PrepareMaintenance]
            }
            S::Secondary => &[S::Catchingup, S::ReportLsn, S::JoinSecondary],
            S::PreparePromotion => &[S::Secondary, S::Catchingup, S::ReportLsn, S::FastForward],
            S::StopReplication => &[S::PreparePromotion],
            S::Draining => &[S::Primary, S::JoinPrimary, S::ApplySettings],
            S::DemoteTimeout => &[S::Primary, S::JoinPrimary, S::ApplySettings, S::Draining],
            S::Demoted => {
                &[S::Primary, S::WaitPrimary, S::JoinPrimary, S::ApplySettings, S::Draining, S::DemoteTimeout]
            }
            S::Maintenance => {
                &[S::WaitMaintenance, S::PrepareMaintenance, S::Secondary, S::Catchingup, S::Primary]
            }
            S::WaitMaintenance => &[S::Secondary, S::Catchingup],
            S::PrepareMaintenance => &[S::Primary],
            S::ReportLsn => &[
                S::Init,
                S::Dropped,
                S::Secondary,
                S::Catchingup,
                S::Draining,
                S::Demoted,
                S::Maintenance,
                S::PrepareMaintenance,
            ],
            S::FastForward | S::JoinSecondary => &[S::ReportLsn],
        };
        self == assigned || from.contains(&self)
    }

    /// Where a node rests when nothing is going on.
    pub fn is_settled(self) -> bool {
        matches!(self, State::Single | State::Primary | State::Secondary)
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_state_of_another_life_has_no_way_on() {
        for state in [State::DemoteTimeout, State::Dropped, State::Primary] {
            assert!(!state.has_way_to(State::Secondary), "{state}");
        }
        assert!(
            State::Demoted.has_way_to(State::Catchingup) && State::Catchingup.has_way_to(State::Secondary)
        );
    }
}
