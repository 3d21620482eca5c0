//! Replication between the nodes of a group: slots, the base backup, synchronous standbys.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{MonitorUri, Node, NodeKind, NodeName};
use crate::op::{Op, Serving, Synchronous, Wait};
use crate::resource::data::{LOCK, STANDBY_CONF, new_dir};
use crate::resource::monitor::NodeRow;
use crate::resource::moved::Lowered;
use crate::session::PSQL;
use crate::sql::{self, MONITOR, conninfo_value, local, monitor_env, ssl_conninfo};
use crate::state::State;
use crate::step::{Action, Step};

/// The server that a standby follows.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub port: u16,
}

impl<'a> From<&'a Node> for Upstream<'a> {
    fn from(node: &'a Node) -> Self {
        let server = &node.server;
        Upstream { name: &server.name.0, host: &server.hostname, port: server.pgport }
    }
}

/// The slot and application name of a standby; keepers know it by this name.
pub fn slot(node_id: u64) -> String {
    format!("pgautofailover_standby_{node_id}")
}

/// Slots for the other nodes of the group, on every node of it, so that any of them can take over.
pub fn create_slots(node: &Node, bin: &str, peers: &[u64], because: &str) -> Option<Step> {
    if peers.is_empty() {
        return None;
    }
    let names: Vec<String> = peers.iter().map(|id| format!("({})", sql::literal(&slot(*id)))).collect();
    let statement = format!(
        "select pg_create_physical_replication_slot(name, true) from (values {}) as wanted (name)\n\
         where not exists (select from pg_replication_slots where slot_name = name);\n",
        names.join(", ")
    );
    let command = local(&node.server, bin, &node.username, "postgres", Stdin::Text(statement));
    let op = Op::CreateSlots { nodes: peers.to_vec() };
    Some(Step::new(node.name(), op, because, Action::Run(command)))
}

/// `$1` bin, `$2` target, `$3` connection string, `$4` slot, `$5` rate. Synced once, before it becomes PGDATA.
/// The primary's log is not this node's story, and may hold what is nobody else's business.
/// `--checkpoint=fast`: pg_autoctl's spread checkpoint takes up to two minutes on a fresh primary.
const BASEBACKUP: &str = r#"lock "$2.lock"
rm -rf -- "$2"
"$1/pg_basebackup" -w -d "$3" -D "$2" --checkpoint=fast --wal-method=stream --slot "$4" --max-rate "$5" --no-sync </dev/null
rm -rf -- "$2/log" "$2/startup.log"
: >"$2/standby.signal"
"#;

/// Copies the primary to a directory beside PGDATA.
pub fn basebackup(node: &Node, bin: &str, node_id: u64, primary: Upstream, because: &str) -> Step {
    let conninfo = format!(
        "application_name={} host={} port={} user=pgautofailover_replicator {}",
        slot(node_id),
        conninfo_value(primary.host),
        primary.port,
        ssl_conninfo(&node.server.tls)
    );
    // A day: what a large database takes is not ours to bound.
    let command = Command::new(RunAs::User(node.server.os_user.clone()), format!("{LOCK}{BASEBACKUP}"))
        .args([bin, &new_dir(&node.server), &conninfo, &slot(node_id), &node.maximum_backup_rate])
        .timeout(86_400);
    Step::new(node.name(), Op::BaseBackup { from: primary.name.to_owned() }, because, Action::Run(command))
}

/// Waits until a primary that another keeper drives lets this node in and has its slot.
pub fn wait_for_slot(node: &Node, bin: &str, node_id: u64, primary: Upstream, dbname: &str) -> Step {
    let op = Op::Wait(Wait::Slot { slot: slot(node_id), on: primary.name.to_owned() });
    let because = format!(
        "the keeper of {} lets it in and makes its slot; if it does not: pg_autoctl reload there",
        primary.name
    );
    let sql = format!("select case when {} then 't' else 'f' end;\n", has_slot(node_id));
    Step::new(node.name(), op, because, ask_primary(node, bin, primary, dbname, sql))
}

/// Waits, on the host of a node that joins as well, until that one is let in.
///
/// A keeper lets in one new node at a look, and forgets those that came with it (diff_nodesArray in keeper.c, 2.0 to 2.2);
/// each of the group looks every second.
pub fn wait_for_the_one_before(
    before: &Node,
    bin: &str,
    node_id: u64,
    primary: Upstream,
    dbname: &str,
) -> Step {
    let op = Op::Wait(Wait::LetIn { node: before.name().clone(), by: primary.name.to_owned() });
    let because = "keepers take one new node at a time";
    let sql =
        format!("select case when {} then (select 't' from pg_sleep(5)) else 'f' end;\n", has_slot(node_id));
    Step::new(before.name(), op, because, ask_primary(before, bin, primary, dbname, sql))
        .needs([before.name().clone()])
}

/// Waits, on the primary's host, until a standby of its group follows it again.
pub fn wait_until_it_streams(id: u64, primary: &Node, bin: &str) -> Step {
    let sql = format!(
        "select coalesce((select 'streaming' from pg_stat_replication where application_name = {} and state = 'streaming'\n\
         and coalesce(now() - reply_time, '0') < interval '20 s' limit 1), 'it does not stream');\n",
        sql::literal(&slot(id))
    );
    let command = local(&primary.server, bin, &primary.username, "postgres", Stdin::Text(sql));
    let wait = Action::Wait { command, answers: vec!["streaming".to_owned()], timeout: 60 };
    let op = Op::Wait(Wait::Streams { from: primary.name().clone() });
    Step::new(primary.name(), op, "it did not when muster looked", wait).needs([primary.name().clone()])
}

/// `$1` bin, `$2` socket directory or empty, `$3` port, `$4` user, `$5` formation, `$6` name. Standard input asks the standby
/// for how many seconds it has run. The monitor takes a standby that was stopped for unhealthy, has it catch up, by one
/// restart more, and takes it for a standby again once its keeper has reported that it runs.
const FOLLOWS: &str = r#"since=$(psql ${2:+-h "$2"} -p "$3" -U "$4" -d postgres -f -)
case $since in
promoted) echo follows ;;
'') echo "it does not stream yet as it shall" ;;
*) monitor -v since="$since" -v formation="$5" -v name="$6" <<'SQL'
select case when reportedpgisrunning and now() - reporttime < least(:since, 3) * interval '1 s'
and reportedstate = goalstate and health = 1 then 'follows' when reportedstate <> goalstate
then format('%s, to become %s', reportedstate, goalstate) else 'its keeper has not reported yet that it runs' end
from pgautofailover.node where formationid = :'formation' and nodename = :'name';
SQL
;;
esac
"#;

/// Asks whether a standby's keeper has written how it connects to its primary, with each of these words, and has brought
/// that about: `follows`, or what is still to come.
///
/// A keeper writes the file, has it read by a reload, and restarts PostgreSQL after that: who streams by then is about to be
/// shut down. Times of files are whole seconds. Source: keeper_ensure_configuration, 2.0 to 2.2.
pub fn follows(node: &Node, bin: &str, formation: &str, uri: &MonitorUri, words: &[&str]) -> Command {
    let words: Vec<String> = words.iter().map(|word| sql::literal(word)).collect();
    let query = format!(
        "select case when not pg_is_in_recovery() then 'promoted'\n\
         when regexp_split_to_array(current_setting('primary_conninfo'), '[ '']+') @> array[{words}]\n\
         and exists (select from pg_stat_wal_receiver where status = 'streaming')\n\
         and (pg_postmaster_start_time() >= file.modification or file.modification < now() - interval '60 s')\n\
         then extract(epoch from now() - pg_postmaster_start_time())::text end from pg_stat_file({file}) file;\n",
        words = words.join(", "),
        file = sql::literal(STANDBY_CONF),
    );
    let command = own_server_and_monitor(node, bin, uri, formation, FOLLOWS);
    command.args([&node.name().0]).stdin(Stdin::Text(query))
}

/// A script that asks the node's own server and the monitor: `$1` bin directory, `$2` socket directory or empty, `$3` port,
/// `$4` user, `$5` formation.
fn own_server_and_monitor(
    node: &Node,
    bin: &str,
    uri: &MonitorUri,
    formation: &str,
    script: &str,
) -> Command {
    let server = &node.server;
    let script = format!("bin=$1\n{PSQL}{MONITOR}{script}");
    let command = Command::new(RunAs::User(server.os_user.clone()), script)
        .args([bin, server.pghost.as_deref().unwrap_or_default(), &server.pgport.to_string()])
        .args([node.username.as_str(), formation]);
    monitor_env(command, &uri.seen_from(&node.server.tls))
}

fn has_slot(node_id: u64) -> String {
    format!("exists (select from pg_replication_slots where slot_name = {})", sql::literal(&slot(node_id)))
}

fn ask_primary(from: &Node, bin: &str, primary: Upstream, dbname: &str, sql: String) -> Action {
    let who = sql::Login { user: "pgautofailover_replicator", password: from.replication_password.as_ref() };
    let command = sql::remote(&from.server, bin, primary.host, primary.port, who, dbname, sql);
    Action::Wait { command, answers: vec!["t".to_owned()], timeout: 300 }
}

/// `$1` bin, `$2` data directory, `$3` the primary's name, `$4` citus or empty, then `-c NAME=VALUE` of what is not in its files yet. What a
/// standby needs at least is in pg_control; Citus doubles max_connections where prepared transactions are not configured (shared_library_init.c).
const FITS: &str = r#"control=$("$1/pg_controldata" "$2")
would_have() { "$bin/postgres" -D "$dir" "$@"; }
least() {
  wants=$(printf '%s\n' "$control" | sed -n "s/^$1 setting: *//p")
  what=$2 citus=$3
  shift 3
  has=$(would_have "$@" -C "$what")
  if [ "$citus" = citus ] && [ "$has" = 0 ]; then has=$(($(would_have "$@" -C max_connections) * 2)); fi
  if [ "${wants:-0}" -gt "$has" ]; then
    echo "ERROR: the primary $name runs with $what $wants, this node would with $has: give it settings with $what: $wants" >&2
    exit 1
  fi
}
bin=$1 dir=$2 name=$3 kind=$4
shift 4
least max_connections max_connections '' "$@"
least max_worker_processes max_worker_processes '' "$@"
least max_wal_senders max_wal_senders '' "$@"
least max_prepared_xacts max_prepared_transactions "$kind" "$@"
least max_locks_per_xact max_locks_per_transaction '' "$@"
echo fits
"#;

/// Fails where the copy of a stranger's data could not start with this node's own settings.
pub fn fits_the_primary(node: &Node, bin: &str, primary: Upstream) -> Step {
    let command = fits(node, bin, &new_dir(&node.server), primary.name, &BTreeMap::new());
    let op = Op::CompareSettings { of: primary.name.to_owned() };
    let because = "a standby does not start with less than its primary";
    Step::new(node.name(), op, because, Action::Run(command))
}

fn fits(node: &Node, bin: &str, dir: &str, primary: &str, with: &BTreeMap<String, Lowered>) -> Command {
    let citus = if node.kind == NodeKind::Standalone { "" } else { "citus" };
    let with = with.iter().flat_map(|(name, lowered)| ["-c".to_owned(), format!("{name}={}", lowered.to)]);
    Command::new(RunAs::User(node.server.os_user.clone()), FITS).args([bin, dir, primary, citus]).args(with)
}

/// Waits until a standby that runs could start again with its own settings and these: what its primary has lowered it hears of by the WAL.
pub fn wait_until_it_fits(
    node: &Node,
    bin: &str,
    primary: &NodeName,
    with: &BTreeMap<String, Lowered>,
) -> Step {
    let command = fits(node, bin, &node.server.pgdata, &primary.0, with);
    let wait = Action::Wait { command, answers: vec!["fits".to_owned()], timeout: 120 };
    let op = Op::Wait(Wait::Fits { primary: primary.clone() });
    Step::new(node.name(), op, "a standby does not start with less than its primary", wait)
}

/// `$1` bin, `$2` socket or empty, `$3` port, `$4` user, `$5` formation, `$6` group, `$7` the names or `ask`.
/// `ALTER SYSTEM` is where keepers keep it; waits until a standby confirms, as their transition does.
const SYNCHRONOUS: &str = r#"
if [ "$7" = ask ]; then
  names=$(monitor -v formation="$5" -v group="$6" <<'SQL'
select pgautofailover.synchronous_standby_names(:'formation', :'group'::int);
SQL
)
else names=; fi
psql ${2:+-h "$2"} -p "$3" -U "$4" -d postgres -v names="$names" -f - <<'SQL'
alter system set synchronous_standby_names to :'names';
select pg_reload_conf();
select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep' and :'names' = '';
SQL
if [ -n "$names" ]; then
  n=0
  until [ "$(psql ${2:+-h "$2"} -p "$3" -U "$4" -d postgres -c "select count(*) > 0 from pg_stat_replication where sync_state in ('sync', 'quorum')")" = t ]; do
    n=$((n + 1))
    if [ "$n" -gt 150 ]; then echo "no standby of $names confirms writes" >&2; exit 1; fi
    sleep 0.2
  done
fi
"#;

/// Why `synchronous_standby_names` is not what a settled primary needs; `None` if it is.
///
/// Nobody else looks: a keeper sets it in transitions only, and writes hang on a name that no standby has.
pub fn waits_wrongly(found: &str, primary: &NodeRow, rows: &[NodeRow]) -> Option<String> {
    let group = || rows.iter().filter(|row| row.group == primary.group);
    if primary.assigned != Some(State::Primary) || !group().all(NodeRow::is_settled) {
        return None;
    }
    let counted = group().filter(|row| row.id != primary.id && row.replication_quorum);
    let wanted: BTreeSet<String> = counted.map(|row| slot(row.id)).collect();
    let list = found.split_once('(').map_or(found, |(_, list)| list).trim_end_matches(')');
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    let found_names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    let names: Vec<String> = wanted.iter().cloned().collect();
    (found_names != wanted)
        .then(|| format!("it is '{found}', the standbys that count are {}", names.join(", ")))
}

pub fn synchronous_standby_names(
    node: &Node,
    bin: &str,
    formation: &str,
    uri: &MonitorUri,
    (which, serving): (Synchronous, Serving),
    because: &str,
) -> Step {
    let word = match which {
        Synchronous::AsMonitorSays => "ask",
        Synchronous::Off => "",
    };
    let command = own_server_and_monitor(node, bin, uri, formation, SYNCHRONOUS);
    let command = command.args([&node.group.to_string(), word]);
    Step::new(node.name(), Op::Synchronous { which, serving }, because, Action::Run(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, state: State, replication_quorum: bool) -> NodeRow {
        let state = Some(state);
        let text = String::new;
        NodeRow {
            id,
            name: text(),
            host: text(),
            port: 5432,
            group: 0,
            system_identifier: None,
            reported: state,
            assigned: state,
            running: true,
            timeline: 1,
            lsn: text(),
            health: 1,
            candidate_priority: 50,
            replication_quorum,
            cluster: text(),
            silent: 0,
        }
    }

    #[test]
    fn a_name_that_no_standby_has_is_seen() {
        let rows =
            [row(1, State::Primary, true), row(2, State::Secondary, true), row(3, State::Secondary, false)];
        let wrong = |found| waits_wrongly(found, &rows[0], &rows);
        assert_eq!(wrong("ANY 1 (pgautofailover_standby_2)"), None);
        assert_eq!(wrong("pgautofailover_standby_2"), None);
        assert!(wrong("").is_some());
        assert!(wrong("nobody").is_some());
        assert!(wrong("ANY 1 (pgautofailover_standby_2, pgautofailover_standby_3)").is_some());
        let busy = [row(1, State::Primary, true), row(2, State::Catchingup, true)];
        assert_eq!(waits_wrongly("", &busy[0], &busy), None);
    }
}
