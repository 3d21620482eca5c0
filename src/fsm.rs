//! The state machine of a rollout, as a table: what muster does for a node that has no keeper yet.
//!
//! The monitor assigns, a node carries out and reports. A row is one such transition in pg_auto_failover's
//! own words (`src/bin/pg_autoctl/fsm.c`). Transitions of a failover are not here: they are the keepers'.

use crate::state::State;

/// One thing that a transition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Tell the monitor which data this is; it takes no report other than `init` before.
    TellSystemIdentifier,
    /// A base backup of the primary, made a standby of it.
    CopyPrimary,
    Start,
    /// Replication slots for the other nodes of the group.
    Slots,
    /// `synchronous_standby_names` as the monitor says.
    Synchronous,
    /// No synchronous standby: there is none that could confirm.
    Asynchronous,
}

/// A transition: from the reported to the assigned state.
#[derive(Debug)]
pub struct Row {
    pub number: u32,
    pub current: State,
    pub assigned: State,
    pub work: &'static [Work],
    /// The reason the operator reads.
    pub comment: &'static str,
}

macro_rules! table {
    ($($number:literal $current:ident => $assigned:ident [$($work:ident),*] $comment:literal)+) => {
        /// All transitions muster drives, for every node kind alike. No pair is there twice.
        pub const TABLE: &[Row] = &[$(Row {
            number: $number,
            current: State::$current,
            assigned: State::$assigned,
            work: &[$(Work::$work),*],
            comment: $comment,
        }),+];
    };
}

table! {
     1 Init => Single              [TellSystemIdentifier] "the first node of its group starts alone"
     2 Init => WaitStandby         [] "the group has a primary: wait until it is ready for a standby"
     3 Single => WaitPrimary       [Slots] "a standby joins: it needs a slot and the rules to connect"
     4 WaitStandby => Catchingup   [CopyPrimary, Start, TellSystemIdentifier] "the primary is ready: copy its data and follow it"
     5 Catchingup => Secondary     [Start, Slots] "it has caught up and is healthy"
     6 WaitPrimary => Primary      [Synchronous] "a standby can confirm writes from now on"
     7 Primary => ApplySettings    [Slots, Synchronous] "another standby counts, or a replication setting changed"
     8 ApplySettings => Primary    [Synchronous] "the replication settings are applied"
     9 Primary => WaitPrimary      [Asynchronous] "no standby is healthy: writes must not wait for one"
    10 ApplySettings => WaitPrimary [Asynchronous] "no standby is healthy: writes must not wait for one"
    11 Primary => Single           [Asynchronous] "it is the only node that is left"
    12 WaitPrimary => Single       [Asynchronous] "it is the only node that is left"
    13 Secondary => Catchingup     [Start] "it was not healthy for a while: catch up again"
    14 JoinPrimary => Primary      [Synchronous] "the standbys have joined"
    15 ApplySettings => Single    [Asynchronous] "it is the only node that is left"
}

/// The row of a pair; a pair without one is not muster's to carry out.
pub fn row(current: State, assigned: State) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.current == current && row.assigned == assigned)
}

/// What the monitor is expected to assign next to a node that has reached `current`, on its way to `end`.
pub fn next(current: State, end: State) -> Option<State> {
    match (current, end) {
        (State::Single, State::Primary | State::WaitPrimary) => Some(State::WaitPrimary),
        (State::WaitPrimary | State::ApplySettings, State::Primary) => Some(State::Primary),
        (State::WaitPrimary | State::Primary | State::ApplySettings, State::Single) => Some(State::Single),
        (State::WaitStandby, State::Secondary) => Some(State::Catchingup),
        (State::Catchingup, State::Secondary) => Some(State::Secondary),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pair_has_two_rows() {
        for (index, row) in TABLE.iter().enumerate() {
            let twin =
                TABLE.iter().position(|other| (other.current, other.assigned) == (row.current, row.assigned));
            assert_eq!(twin, Some(index), "{} -> {}", row.current, row.assigned);
            assert_eq!(row.number as usize, index + 1);
        }
    }

    /// What muster does for a node without a keeper a keeper would have done; of its own it has only the way on after a report.
    #[test]
    fn keepers_know_every_row() {
        for Row { current, assigned, .. } in TABLE {
            assert!(current.has_way_to(*assigned), "{current} -> {assigned}");
        }
    }

    #[test]
    fn every_expected_step_of_the_way_has_a_row() {
        for end in [State::Single, State::Primary, State::WaitPrimary, State::Secondary] {
            for &start in State::ALL {
                let mut current = start;
                let mut seen = 0;
                while let Some(assigned) = next(current, end) {
                    assert!(row(current, assigned).is_some(), "{current} -> {assigned}");
                    current = assigned;
                    seen += 1;
                    assert!(seen < 5, "{start} never arrives at {end}");
                }
            }
        }
    }
}
