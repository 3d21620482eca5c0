//! Streaming replication as the servers see it: who follows, how far behind, and what slots hold back.
//!
//! Nobody else looks. A standby whose WAL receiver hangs goes on reporting `secondary`, its health check goes on
//! passing, and no commit of a primary that waits for it returns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resource::database::DatabaseFacts;
use crate::resource::monitor::NodeRow;
use crate::resource::replication::slot;
use crate::state::State;

/// Bytes of WAL that a standby may lack and be promoted all the same.
/// Source: pgautofailover.promote_wal_log_threshold, 16 MB by default (2.0 to 2.2).
const PROMOTED_BEHIND: i64 = 16 << 20;

/// Seconds without an answer after which a standby is taken not to follow: it answers every ten
/// (wal_receiver_status_interval), and its primary gives it up after thirty (wal_sender_timeout, as keepers write it).
const UNHEARD: i64 = 20;

/// Seconds after its start in which a standby may not have found its primary yet.
const TO_CONNECT: u64 = 30;

/// What one server says of its replication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaming {
    /// Rows of `pg_stat_replication`.
    pub senders: Vec<Sender>,
    pub slots: Vec<Slot>,
    /// `status` of its own WAL receiver; `None` where there is none.
    pub receiver: Option<String>,
    /// Seconds for which its WAL receiver has waited for a connection: one that is refused ends at once, and a new one is tried.
    #[serde(default)]
    pub hangs: Option<u64>,
    /// Whether somebody has paused the replay of a standby.
    pub paused: bool,
}

/// Somebody who takes WAL from this server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// `application_name`: of a standby the name of its slot.
    pub name: String,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`.
    pub state: String,
    /// `async`, `potential`, `sync`, `quorum`.
    pub sync: String,
    /// Bytes of WAL that are not on its disk; `None` before it has said so.
    pub behind: Option<i64>,
    /// Bytes of WAL that its readers do not see yet.
    pub unread: Option<i64>,
    /// Milliseconds from a commit here to what its readers see; `None` while nothing is written.
    pub delay_ms: Option<i64>,
    /// Seconds since it last answered.
    pub unheard: Option<i64>,
}

/// Seconds in which a connection comes about, over any network.
const HANGS: u64 = 20;

/// A replication slot, physical or logical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub name: String,
    pub active: bool,
    /// `reserved`, `extended`, `unreserved`, `lost`; `None` while it reserves nothing.
    pub wal_status: Option<String>,
    /// Bytes of WAL that are kept for it.
    pub holds: Option<i64>,
    /// A standby's copy of a slot of its primary: nobody reads it there (PostgreSQL 17 and later).
    pub synced: bool,
}

/// One JSON object. Whether a server is in recovery decides which functions may be asked at all.
pub const SQL: &str = "(select json_build_object(
  'senders', coalesce((select json_agg(json_build_object('name', application_name, 'state', state, 'sync', sync_state,
    'behind', greatest(0, pg_wal_lsn_diff(here, flush_lsn))::bigint,
    'unread', greatest(0, pg_wal_lsn_diff(here, replay_lsn))::bigint,
    'delay_ms', (extract(epoch from replay_lag) * 1000)::bigint,
    'unheard', greatest(0, extract(epoch from now() - reply_time))::bigint) order by application_name, pid)
    from pg_stat_replication), '[]'),
  'slots', coalesce((select json_agg(json_build_object('name', slot_name, 'active', active, 'wal_status', wal_status,
    'holds', greatest(0, pg_wal_lsn_diff(here, restart_lsn))::bigint,
    'synced', coalesce((to_jsonb(pg_replication_slots) ->> 'synced')::bool, false)) order by slot_name)
    from pg_replication_slots), '[]'),
  'receiver', (select status from pg_stat_wal_receiver),
  'hangs', (select greatest(0, extract(epoch from now() - backend_start))::bigint from pg_stat_activity
    where backend_type = 'walreceiver' and not exists (select from pg_stat_wal_receiver) limit 1),
  'paused', case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end)
  from (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end) as now_at (here))";

impl Streaming {
    /// For how long its WAL receiver has hung on a connection that its primary has not, or has no more: TCP may take two hours to tell.
    pub fn hanging(&self) -> Option<u64> {
        self.hangs.filter(|seconds| *seconds > HANGS)
    }

    /// The connection of a node's standby, the one that streams if there are several: a base backup has the same name.
    pub fn sender(&self, node_id: u64) -> Option<&Sender> {
        let name = slot(node_id);
        let of_node = || self.senders.iter().filter(|sender| sender.name == name);
        of_node().find(|sender| sender.state == "streaming").or_else(|| of_node().next())
    }

    /// Slots that nobody reads and no node of the group owns: WAL is kept for them until the disk is full.
    pub fn forgotten<'a>(&'a self, group: &'a [&NodeRow]) -> impl Iterator<Item = &'a Slot> {
        let is_owned = |found: &Slot| group.iter().any(|row| slot(row.id) == found.name);
        self.slots.iter().filter(move |found| !found.active && !found.synced && !is_owned(found))
    }
}

/// What is wrong with a standby that rests, and the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody has promoted it: it follows nobody, and cannot again.
    TakesWrites(String),
    NotStreaming(String),
    /// It streams, and no commit waits for it though it counts.
    NotWaitedFor(String),
}

impl Trouble {
    pub fn why(&self) -> &str {
        match self {
            Trouble::TakesWrites(why) | Trouble::NotStreaming(why) | Trouble::NotWaitedFor(why) => why,
        }
    }
}

/// Why a node that rests as `secondary` does not follow its primary, or does not do for it what it is there for.
/// `None` if it does, or is in no state to be asked.
///
/// `at_primary` and `own` are what the two servers say, where they were seen.
pub fn trouble(
    standby: &NodeRow,
    primary: &NodeRow,
    at_primary: Option<&Streaming>,
    own: Option<&DatabaseFacts>,
) -> Option<Trouble> {
    if let Some(why) = takes_writes(standby, primary, own) {
        return Some(Trouble::TakesWrites(why));
    }
    let own = own.and_then(|own| own.streaming.as_ref());
    if let Some(why) = not_streaming(standby, primary, at_primary, own) {
        return Some(Trouble::NotStreaming(why));
    }
    let sender = at_primary?.sender(standby.id)?;
    // In wait_primary nobody is waited for.
    let waits = rests(standby, State::Secondary) && rests(primary, State::Primary);
    (waits && standby.replication_quorum && sender.sync == "async").then(|| {
        let of = &primary.name;
        Trouble::NotWaitedFor(format!(
            "commits on {of} do not wait for it (sync_state is async), and it counts"
        ))
    })
}

fn rests(row: &NodeRow, state: State) -> bool {
    row.reported == Some(state) && row.assigned == Some(state)
}

/// A keeper of a standby does not look whether its server still is one, and goes on reporting `secondary`.
fn takes_writes(standby: &NodeRow, primary: &NodeRow, own: Option<&DatabaseFacts>) -> Option<String> {
    let follows = |state: Option<State>| {
        matches!(state, Some(State::Secondary | State::Catchingup | State::Maintenance))
    };
    let is_standby = standby.id != primary.id && follows(standby.reported) && follows(standby.assigned);
    own.filter(|own| is_standby && !own.in_recovery).map(|_| {
        let of = &primary.name;
        format!("it is not in recovery: it takes writes on a timeline of its own, and does not follow {of}")
    })
}

fn not_streaming(
    standby: &NodeRow,
    primary: &NodeRow,
    at_primary: Option<&Streaming>,
    own: Option<&Streaming>,
) -> Option<String> {
    // What is changed on a primary waits for its standbys.
    let takes_writes = |state: Option<State>| state.is_some_and(State::is_writable);
    let is_writer = takes_writes(primary.reported) && takes_writes(primary.assigned);
    if !rests(standby, State::Secondary) || !is_writer {
        return None;
    }
    disconnected(standby, primary, at_primary, own)
}

/// Why a node that is to catch up does not, though its server has run for a while: it would be waited for in vain. `None` while nothing
/// says so.
pub fn stuck(
    standby: &NodeRow,
    primary: &NodeRow,
    at_primary: Option<&Streaming>,
    own: Option<&DatabaseFacts>,
) -> Option<String> {
    let own = own.filter(|own| own.in_recovery && own.uptime.is_some_and(|seconds| seconds > TO_CONNECT))?;
    if standby.reported != Some(State::Catchingup) || standby.id == primary.id {
        return None;
    }
    disconnected(standby, primary, at_primary, own.streaming.as_ref())
}

fn disconnected(
    standby: &NodeRow,
    primary: &NodeRow,
    at_primary: Option<&Streaming>,
    own: Option<&Streaming>,
) -> Option<String> {
    let of = &primary.name;
    if let Some(seconds) = own.and_then(Streaming::hanging) {
        return Some(format!(
            "it does not stream from {of}: its WAL receiver has waited for {seconds} s for a connection that is none any more"
        ));
    }
    let Some(there) = at_primary else {
        let own = own?;
        return match own.receiver.as_deref() {
            Some("streaming") => None,
            Some(status) => Some(format!("it does not stream from {of}: its WAL receiver is {status}")),
            None => Some(format!("it does not stream from {of}: its WAL receiver does not run")),
        };
    };
    let Some(sender) = there.sender(standby.id) else {
        let lost = there.slots.iter().find(|found| found.name == slot(standby.id));
        return Some(match lost.and_then(|slot| slot.wal_status.as_deref()) {
            Some("lost") => format!(
                "it does not stream from {of}: the WAL that it needs is gone there, and it has to be copied anew"
            ),
            _ => format!("it does not stream from {of}: it has no connection there"),
        });
    };
    if sender.state != "streaming" {
        return Some(format!("it does not stream from {of}: its connection is in state {}", sender.state));
    }
    let unheard = sender.unheard.filter(|seconds| *seconds > UNHEARD);
    unheard.map(|seconds| format!("it does not stream from {of}: it has not answered there for {seconds} s"))
}

/// Why a standby that streams would not be promoted, or serves what is old; `None` if it is well.
/// `needs`: what its data needs.
pub fn lagging(
    standby: &NodeRow,
    at_primary: Option<&Streaming>,
    own: Option<&DatabaseFacts>,
    needs: Option<&BTreeMap<String, u64>>,
) -> Option<String> {
    if let Some(why) = own.and_then(|own| own.why_paused(needs)) {
        return Some(why);
    }
    if own.and_then(|own| own.streaming.as_ref()).is_some_and(|own| own.paused) {
        return Some("its replay is paused: select pg_wal_replay_resume() there lets it go on".to_owned());
    }
    let behind = at_primary?.sender(standby.id)?.behind?;
    (behind > PROMOTED_BEHIND).then(|| {
        format!(
            "it is {} behind, and the monitor promotes no standby above {}",
            bytes(behind),
            bytes(PROMOTED_BEHIND)
        )
    })
}

/// Bytes as PostgreSQL writes them, rounded down: `16 MB`.
pub fn bytes(count: i64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut count = count;
    let mut unit = 0;
    while count >= 10 * 1024 && unit + 1 < units.len() {
        count /= 1024;
        unit += 1;
    }
    format!("{count} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::monitor::MonitorFacts;

    /// Rows as the monitor's JSON has them, with a priority that it uses during a failover only.
    fn rows() -> MonitorFacts {
        let row = |id: u32, state: &str, priority: i32| {
            format!(
                r#"{{"id": {id}, "name": "n{id}", "host": "n{id}", "port": 5432, "group": 0, "system_identifier": null,
                "reported": "{state}", "assigned": "{state}", "running": true, "timeline": 1, "lsn": "0/0", "health": 1,
                "candidate_priority": {priority}, "replication_quorum": true, "cluster": "default", "silent": 0}}"#
            )
        };
        let rows = [row(1, "primary", 151), row(2, "secondary", -51)].join(", ");
        let text = format!(r#"{{"extension": "2.0", "formation": null, "nodes": [{rows}]}}"#);
        serde_json::from_str(&text).expect("priorities of a failover are read")
    }

    #[test]
    fn priorities_of_a_failover_are_read_and_are_nobodys() {
        let monitor = rows();
        assert_eq!(monitor.nodes.iter().map(|row| row.candidate_priority).collect::<Vec<_>>(), [151, -51]);
        assert!(monitor.nodes.iter().all(|row| row.priority().is_none()));
    }

    fn server(in_recovery: bool) -> DatabaseFacts {
        let text = format!(
            r#"{{"in_recovery": {in_recovery}, "roles": {{}}, "databases": [], "slots": [],
            "synchronous_standby_names": "", "pending_restart": [], "hba_errors": []}}"#
        );
        serde_json::from_str(&text).expect("a server that says little is read")
    }

    #[test]
    fn a_standby_that_was_promoted_by_hand_takes_writes() {
        let mut monitor = rows();
        for (state, is_told) in [
            (State::Secondary, true),
            (State::Catchingup, true),
            (State::Maintenance, true),
            (State::PreparePromotion, false),
            (State::Demoted, false),
        ] {
            (monitor.nodes[1].reported, monitor.nodes[1].assigned) = (Some(state), Some(state));
            let [primary, standby] = &monitor.nodes[..] else { panic!("two rows") };
            let found = trouble(standby, primary, None, Some(&server(false)));
            assert_eq!(matches!(found, Some(Trouble::TakesWrites(_))), is_told, "{state:?}: {found:?}");
            assert_eq!(trouble(standby, primary, None, Some(&server(true))), None, "{state:?}");
        }
    }

    #[test]
    fn without_the_primary_the_standby_s_own_word_counts() {
        let monitor = rows();
        let [primary, standby] = &monitor.nodes[..] else { panic!("two rows") };
        let own = |receiver: Option<&str>| DatabaseFacts {
            streaming: Some(Streaming { receiver: receiver.map(str::to_owned), ..Streaming::default() }),
            ..server(true)
        };
        let says = |own: &DatabaseFacts| trouble(standby, primary, None, Some(own));
        assert_eq!(says(&own(Some("streaming"))), None);
        assert!(matches!(says(&own(Some("waiting"))), Some(Trouble::NotStreaming(_))));
        assert!(matches!(says(&own(None)), Some(Trouble::NotStreaming(_))));
        assert_eq!(trouble(standby, primary, None, None), None, "nobody could look");
    }

    #[test]
    fn a_node_that_does_not_catch_up_is_told_once_it_has_had_its_time() {
        let mut monitor = rows();
        (monitor.nodes[1].reported, monitor.nodes[1].assigned) =
            (Some(State::Catchingup), Some(State::Secondary));
        let [primary, standby] = &monitor.nodes[..] else { panic!("two rows") };
        let own = |seconds: u64| DatabaseFacts {
            streaming: Some(Streaming::default()),
            uptime: Some(seconds),
            ..server(true)
        };
        let there = Streaming::default();
        let says = |seconds: u64| stuck(standby, primary, Some(&there), Some(&own(seconds)));
        assert_eq!(says(5), None);
        assert_eq!(says(60).as_deref(), Some("it does not stream from n1: it has no connection there"));
        assert_eq!(stuck(&rows().nodes[1], primary, Some(&there), Some(&own(60))), None, "it has caught up");
    }

    #[test]
    fn a_slot_that_nobody_reads_is_forgotten() {
        let monitor = rows();
        let slot = |name: &str, active, synced| Slot {
            name: name.to_owned(),
            active,
            wal_status: Some("reserved".to_owned()),
            holds: Some(377 << 20),
            synced,
        };
        let streaming = Streaming {
            slots: vec![
                slot("citus_shard_move_slot_16_2_10", false, false),
                slot("pgautofailover_standby_2", false, false),
                slot("reader", true, false),
                slot("copied", false, true),
            ],
            ..Streaming::default()
        };
        let group: Vec<&NodeRow> = monitor.nodes.iter().collect();
        let found: Vec<&str> = streaming.forgotten(&group).map(|slot| slot.name.as_str()).collect();
        assert_eq!(found, ["citus_shard_move_slot_16_2_10"]);
    }

    #[test]
    fn bytes_are_read_as_postgresql_writes_them() {
        for (count, text) in [(0, "0 bytes"), (10_239, "10239 bytes"), (99_328, "97 kB"), (16 << 20, "16 MB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
