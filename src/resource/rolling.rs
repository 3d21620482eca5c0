//! What is done to members of a group one after the other: restarts, a switchover, maintenance, a reboot; and what is waited for between them.
//!
//! A keeper of 2.0 looks once a second. A restart of a standby that it does not see moves nobody; one that it sees makes the monitor have
//! that standby catch up, seconds later. A primary that it sees down is failed over at once, before it tries to start it: a primary is
//! restarted where it is only while nobody could be promoted. A keeper may be the faster one to start the server, and that is a restart, too.
//! Source: ReportPgIsRunning in keeper.c and the loop of service_keeper.c, 2.0.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, MonitorUri, Node, NodeName, Server};
use crate::op::{Address, Op, Switch, Wait};
use crate::resource::data::PG_CTL;
use crate::resource::down::WHY_DOWN;
use crate::resource::host::Boot;
use crate::resource::monitor::silence_of_a_row;
use crate::sql::{literal, local, on_monitor};
use crate::step::{Action, Step};
use crate::trial::{TRIAL, TRIED};

/// Seconds in which a group comes to rest after one of its members was disturbed.
const TO_REST: u64 = 300;

/// Seconds in which what is in memory is on disk; a busy server of many gigabytes takes minutes.
const TO_CHECKPOINT: u64 = 1800;

/// Seconds in which a host is back after a reboot: big machines test their memory for minutes.
const TO_BOOT: u64 = 1800;

/// Who starts a server that was ended for a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// We do, at once: a keeper of a node takes any server of its data for its own.
    We,
    /// The pg_autoctl of a monitor, which is this process, does: it ends a server that is not its child, and starts it once more.
    /// Source: ensure_postgres_status_running in service_postgres_ctl.c with what service_monitor.c asks of it, 2.0.
    PgAutoctl(u32),
}

/// `$1` bin, `$2` PGDATA, `$3` start, `$4` the postmaster that is to end: where another runs by now, it has ended. `$6` socket directory or empty. `$5` the
/// pg_autoctl that starts it again, as long as that one lives; empty where nobody has to.
/// A server that does not come up with what was written since it was started gets the files back that it was started with: a put
/// leaves them beside, and a reload keeps those that wait for a restart. Not `pg_ctl restart`: where a keeper is faster to start the server,
/// that one waits for the end of the new one, until its time is over.
const RESTART: &str = r#"runs() { read -r pid 2>/dev/null <"$1/postmaster.pid" && [ "$pid" != "$2" ] && kill -0 "$pid" 2>/dev/null; }
start() { PG_CTL }
# Another server than that one, which a keeper has started: it may be one that does not get far.
comes_up() {
  while runs "$2" "$4"; do
    # The postmaster's word in its pid file.
    if grep -qE '^(ready|standby) *$' "$2/postmaster.pid" 2>/dev/null; then return 0; fi
    sleep 0.1
  done
  return 1
}
# Whether the pg_autoctl that is to start it does so; the first word is "once" where its first attempt decides.
is_started() {
  attempt=$1
  shift
  n=0
  while [ -n "$5" ] && kill -0 "$5" 2>/dev/null && [ "$n" -lt 300 ]; do
    if comes_up "$@"; then return 0; fi
    if [ "$attempt" = once ] && [ -n "$(why_down "$2")" ]; then return 1; fi
    n=$((n + 1))
    sleep 0.1
  done
  return 1
}
up() { rm -f -- "$2"/.muster-started.* "$2"/.muster-old.*; exit 0; }
read -r pid 2>/dev/null <"$2/postmaster.pid" || pid=
if [ "$pid" != "$4" ] || ! kill -0 "$4" 2>/dev/null; then
  # Somebody else has ended it, and starts it: what is prepared meanwhile is not to be started too soon.
  n=0
  until comes_up "$@"; do
    n=$((n + 1))
    if [ "$n" -gt 600 ]; then echo "PostgreSQL does not run any more, and its keeper has not started it within 60 s" >&2; exit 1; fi
    sleep 0.1
  done
  # One that was started with what is there now: postmaster.opts is as old as its start.
  if ! [ "$2/postgresql.conf" -nt "$2/postmaster.opts" ]; then up "$@"; fi
  read -r pid <"$2/postmaster.pid"
  set -- "$1" "$2" "$3" "$pid" "$5" "$6"
fi
kind() { if [ -e "$1/standby.signal" ]; then echo standby; else echo primary; fi; }
was=$(kind "$2")
back=
for f in postgresql.conf postgresql-auto-failover.conf; do
  started=$2/.muster-started.$f
  if ! [ -e "$started" ] && [ -f "$2/.muster-old.$f" ]; then mv -fT -- "$2/.muster-old.$f" "$started"; fi
  if [ -f "$started" ] && [ "$2/$f" -nt "$2/postmaster.opts" ]; then back="$back $f"; fi
done
# What is new is tried before anything stops.
for f in postgresql.conf postgresql-auto-failover.conf postgresql.auto.conf; do
  if [ "$2/$f" -nt "$2/postmaster.opts" ]; then
    status=0
    said=$(bin=$1 d=$2 socket=$6; tried) || status=$?
    if [ "$status" = 3 ]; then
      printf 'ERROR: PostgreSQL would not start with what is new, so it was not restarted: %s\n' "$said" >&2
      exit 1
    fi
    break
  fi
done
n=0
# Fast shutdown, of the server in this directory alone.
read -r pid 2>/dev/null <"$2/postmaster.pid" || pid=
if [ "$pid" = "$4" ]; then kill -INT "$4" 2>/dev/null || :; fi
while [ "$pid" = "$4" ] && kill -0 "$4" 2>/dev/null; do
  n=$((n + 1))
  if [ "$n" -gt 3000 ]; then echo "PostgreSQL did not stop within 300 s: who is connected, and what does it archive?" >&2; exit 1; fi
  sleep 0.1
done
# A keeper that has seen it down may be about to have it follow somebody anew, without standby.signal for a moment: who starts it then
# starts a second primary. After a long stop it is the keeper's to start, and nobody starts another kind of server than was stopped.
said=
if [ -n "$5" ]; then
  if is_started once "$@"; then up "$@"; fi
  # Not while it is at it: two that start one server are in each other's way.
  said=$(why_down "$2")
  if [ -n "$said" ] && kill -0 "$5" 2>/dev/null; then said="FATAL:  $said"; else said=; fi
elif [ "$n" -gt 10 ] || [ "$(kind "$2")" != "$was" ]; then
  n=0
  until comes_up "$@" && up "$@"; do
    n=$((n + 1))
    if [ "$n" -gt 300 ]; then break; fi
    sleep 0.1
  done
  if [ "$(kind "$2")" != "$was" ]; then echo "its keeper has prepared it for something else, and has not started it within 30 s" >&2; exit 1; fi
fi
if [ -z "$said" ]; then said=$( (start "$1" "$2" "$3") 2>&1 ) && up "$@"; fi
if comes_up "$@"; then up "$@"; fi
if [ -n "$back" ]; then
  for f in $back; do mv -fT -- "$2/.muster-started.$f" "$2/$f"; done
  if is_started again "$@"; then :; fi
  n=0
  # Its keeper may be at it as well, with what was there before.
  again=
  while n=$((n + 1)) && [ "$n" -le 5 ]; do
    if again=$( (start "$1" "$2" "$3") 2>&1 ) || comes_up "$@"; then
      why=$(printf '%s\n' "$said" | sed -n 's/.*\(FATAL: .*\)/\1/p' | head -n 1)
      printf 'ERROR: PostgreSQL did not start with what was new, so what was there before is back (%s): %s\n%s\n' "${back# }" "$why" "$said" >&2
      exit 65
    fi
    sleep 1
  done
  printf '%s\n' "$again" >&2
fi
printf '%s\n' "$said" >&2
exit 1
"#;

/// So that stopping takes a moment.
pub fn checkpoint(server: &Server, bin: &str, user: &str) -> Step {
    let command = local(server, bin, user, "postgres", Stdin::Text("CHECKPOINT;\n".to_owned()));
    let because = "what is on disk before need not be written while it stops";
    Step::new(&server.name, Op::Checkpoint, because, Action::Run(command.timeout(TO_CHECKPOINT)))
}

/// `$1` bin, `$2` PGDATA, `$3` socket directory or empty, `$4` port, `$5` user. A server that is just being started needs no call.
/// A WAL receiver whose primary went away without a word while it connected hears nothing of a reload, and waits as long as TCP does: it is
/// ended, and another one begins.
const LOOK_AGAIN: &str = r#"if ! "$1/pg_ctl" reload -s -D "$2" 2>/dev/null; then echo "it was not running"; exit 0; fi
export PGCONNECT_TIMEOUT=5
n=0
while [ "$n" -lt 20 ]; do
  said=$("$1/psql" -XAtqw ${3:+-h "$3"} -p "$4" -U "$5" -d postgres 2>/dev/null <<'SQL'
select case when exists (select from pg_stat_wal_receiver) then 'it has a connection' else (select pid::text from pg_stat_activity
where backend_type = 'walreceiver' and backend_start < clock_timestamp() - interval '3 s' limit 1) end;
SQL
) || said=
  case $said in
  'it has a connection') exit 0 ;;
  ''|*[!0-9]*) ;;
  *) kill -TERM "$said" 2>/dev/null || : ;;
  esac
  n=$((n + 1))
  sleep 0.25
done
"#;

/// A standby whose primary is back would look for it every five seconds only (`wal_retrieve_retry_interval`), and no commit returns while
/// none streams. What has its configuration read again ends that wait.
pub fn look_again(node: &Node, bin: &str, because: &str) -> Step {
    let server = &node.server;
    let socket = server.pghost.clone().unwrap_or_default();
    let command = Command::new(RunAs::User(server.os_user.clone()), LOOK_AGAIN).args([
        bin,
        &server.pgdata,
        &socket,
        &server.pgport.to_string(),
        &node.username,
    ]);
    Step::new(&server.name, Op::LookAgain, because, Action::Run(command.timeout(60)))
}

/// Ends this postmaster and starts the server again.
pub fn restart(
    server: &Server,
    bin: &str,
    postmaster: u32,
    starts: Starts,
    because: impl Into<String>,
) -> Step {
    let pg_autoctl = match starts {
        Starts::We => String::new(),
        Starts::PgAutoctl(pid) => pid.to_string(),
    };
    let command = Command::new(
        RunAs::User(server.os_user.clone()),
        format!("{WHY_DOWN}{TRIAL}{TRIED}{}", RESTART.replace("PG_CTL", PG_CTL)),
    );
    let (bin, pgdata, start) = (bin.to_owned(), server.pgdata.clone(), "start".to_owned());
    let socket = server.pghost.clone().unwrap_or_default();
    let command = command.args([bin, pgdata, start, postmaster.to_string(), pg_autoctl, socket]);
    Step::new(&server.name, Op::Restart, because, Action::Run(command.timeout(700)))
}

/// What follows is about this node: `current_setting('muster.formation')` and `('muster.node')`.
fn about(formation: &str, node: &NodeName) -> String {
    format!(
        "select from set_config('muster.formation', {}, false);\nselect from set_config('muster.node', {}, false);\n",
        literal(formation),
        literal(&node.0)
    )
}

/// The monitor hears of a standby that was away for a moment some seconds later, has it catch up, and refuses whatever needs a standby
/// meanwhile. Waits a minute at most until a node and its primary rest; then it is the monitor's to say what is wrong.
const ONCE_IT_RESTS: &str = "\
do $$
begin
  for i in 1..600 loop
    exit when not exists (select from pgautofailover.node n join pgautofailover.node other using (formationid, groupid)
      where n.formationid = current_setting('muster.formation') and n.nodename = current_setting('muster.node')
      and (n.reportedstate <> n.goalstate or n.health <> 1 or other.reportedstate <> other.goalstate
        and other.goalstate in ('single', 'wait_primary', 'primary', 'apply_settings', 'join_primary')));
    perform pg_sleep(0.1);
  end loop;
end $$;
";

/// Waits for two reports of a node, ten seconds at most. What the first one tells its keeper may have seen before, the second one not.
const ONCE_HEARD: &str = "\
do $$
declare
  since timestamptz := clock_timestamp();
  heard timestamptz;
  reports int := 0;
begin
  for i in 1..100 loop
    select reporttime into heard from pgautofailover.node
      where formationid = current_setting('muster.formation') and nodename = current_setting('muster.node');
    if heard > since then
      since := heard;
      reports := reports + 1;
    end if;
    exit when reports >= 2;
    perform pg_sleep(0.1);
  end loop;
end $$;
";

/// `CALL`, once more where it met a keeper's report: 2.0 locks in another order then, and PostgreSQL ends one of the two.
const AGAIN_AFTER_A_DEADLOCK: &str = "\
do $$
begin
  for i in 1..10 loop
    begin
      CALL;
      exit;
    exception when deadlock_detected then
      if i = 10 then raise; end if;
      perform pg_sleep(0.2);
    end;
  end loop;
end $$;
";

/// Before what is asked of the monitor of a node: it has heard anew of it.
pub fn once_heard(formation: &str, node: &NodeName) -> String {
    about(formation, node) + ONCE_HEARD
}

/// A call of the monitor's function for a node, whose names are settings of the session.
pub fn call(formation: &str, node: &NodeName, call: &str) -> String {
    about(formation, node) + &again_after_a_deadlock(call)
}

fn again_after_a_deadlock(call: &str) -> String {
    AGAIN_AFTER_A_DEADLOCK.replace("CALL", call)
}

/// Asks the monitor to have `to` take over, unless it has already. The monitor refuses a node that is no healthy standby.
pub fn switchover(
    formation: &Formation,
    (from, to): (&NodeName, &Node),
    bin: &str,
    uri: &MonitorUri,
    because: impl Into<String>,
) -> Step {
    const PROMOTE: &str = "\
perform pgautofailover.perform_promotion(formationid, nodename) from pgautofailover.node
        where formationid = current_setting('muster.formation') and nodename = current_setting('muster.node')
        and goalstate not in ('single', 'wait_primary', 'primary', 'prepare_promotion', 'stop_replication', 'fast_forward')";
    let op = Op::Switchover { from: from.clone(), to: to.name().clone() };
    let sql = about(&formation.name, to.name()) + ONCE_IT_RESTS + &again_after_a_deadlock(PROMOTE);
    let command = on_monitor(to, bin, uri, sql).timeout(120);
    Step::new(to.name(), op, because, Action::Run(command))
}

/// Takes a node out, or back.
pub fn maintenance(
    formation: &Formation,
    node: &Node,
    (bin, uri): (&str, &MonitorUri),
    turn: Switch,
    because: &str,
) -> Step {
    let (function, unless) = match turn {
        Switch::On => ("start_maintenance", "in ('prepare_maintenance', 'wait_maintenance', 'maintenance')"),
        Switch::Off => ("stop_maintenance", "<> 'maintenance'"),
    };
    let sql = format!(
        "perform pgautofailover.{function}(nodeid) from pgautofailover.node\n\
         \x20       where formationid = current_setting('muster.formation') and nodename = current_setting('muster.node')\n\
         \x20       and not goalstate {unless}"
    );
    // Who comes back need not be healthy: its PostgreSQL may not have been started since a reboot.
    let before = match turn {
        Switch::On => ONCE_IT_RESTS,
        Switch::Off => "",
    };
    let sql = about(&formation.name, node.name()) + before + &again_after_a_deadlock(&sql);
    let command = on_monitor(node, bin, uri, sql).timeout(120);
    Step::new(node.name(), Op::Maintenance { turn }, because, Action::Run(command))
}

/// Waits until a node is its group's primary.
pub fn takes_writes(formation: &Formation, node: &Node, bin: &str, uri: &MonitorUri) -> Step {
    let is_so = "goalstate in ('single', 'wait_primary', 'primary') and reportedstate = goalstate";
    state(formation, node, (bin, uri), Wait::TakesWrites, (is_so, "it takes writes"), "the monitor decides")
}

/// Waits until a node is out.
pub fn in_maintenance(formation: &Formation, node: &Node, bin: &str, uri: &MonitorUri) -> Step {
    let is_so = "goalstate = 'maintenance' and reportedstate = goalstate";
    state(formation, node, (bin, uri), Wait::InMaintenance, (is_so, "it is out"), "its keeper carries it out")
}

fn state(
    formation: &Formation,
    node: &Node,
    (bin, uri): (&str, &MonitorUri),
    wait: Wait,
    (is_so, answer): (&str, &str),
    because: &str,
) -> Step {
    let sql = format!(
        "select case when {is_so} then {} else format('it is %s, to become %s', reportedstate, goalstate) || {} end\n\
         from pgautofailover.node where formationid = {} and nodename = {};\n",
        literal(answer),
        silence_of_a_row(),
        literal(&formation.name),
        literal(&node.name().0)
    );
    let command = on_monitor(node, bin, uri, sql);
    let action = Action::Wait { command, answers: vec![answer.to_owned()], timeout: TO_REST };
    Step::new(node.name(), Op::Wait(wait), because, action)
}

/// Waits until `pg_dist_node` of this coordinator has the primary of a group where it is now.
pub fn in_metadata(dbname: &str, coordinator: &Node, bin: &str, of: &Node) -> Step {
    let (host, port) = (&of.server.hostname, of.server.pgport);
    let sql = format!(
        "select coalesce((select case when nodename = {} and nodeport = {port} then 'there' else format('it is at %s:%s', nodename, nodeport)\n\
         end from pg_dist_node where groupid = {} and noderole = 'primary' limit 1), 'there is no row');\n",
        literal(host),
        of.group
    );
    let command = local(&coordinator.server, bin, &coordinator.username, dbname, Stdin::Text(sql));
    let wait = Action::Wait { command, answers: vec!["there".to_owned()], timeout: TO_REST };
    let at = Address { host: host.clone(), port };
    let op = Op::Wait(Wait::InMetadata { group: of.group, at });
    Step::new(coordinator.name(), op, "the new primary's keeper tells Citus", wait)
}

/// Waits until a server answers that was restarted in place.
pub fn answers(server: &Server, bin: &str, user: &str) -> Step {
    let command = local(server, bin, user, "postgres", Stdin::Text("select 'answers';\n".to_owned()));
    let wait = Action::Wait { command, answers: vec!["answers".to_owned()], timeout: TO_REST };
    Step::new(&server.name, Op::Wait(Wait::Answers), "nothing goes on without it", wait)
}

/// `$@` the program that reboots. Where all of it is root's, root may.
const MAY_REBOOT: &str = r#"[ "$(id -u)" = 0 ] || sudo -n -l -- "$@" >/dev/null || {
  echo "sudo does not allow it: $*" >&2
  exit 1
}
"#;

/// The connection ends with the host, and what became of the command need not be heard: [`booted`] knows.
const REBOOT: &str = "root systemctl reboot\n";

/// `$1` the boot that is to be over.
const BOOTED: &str = r#"read -r now </proc/sys/kernel/random/boot_id
if [ "$now" = "$1" ]; then echo "it has not gone down yet"; else echo booted; fi
"#;

/// Whether a reboot would be refused, before anybody is taken out for it.
pub fn may_reboot(server: &Server) -> Step {
    let command = Command::new(RunAs::Root, MAY_REBOOT).args(["systemctl", "reboot"]).timeout(60);
    Step::new(&server.name, Op::MayReboot, "nobody is taken out in vain", Action::Run(command))
}

pub fn reboot(server: &Server, because: impl Into<String>) -> Step {
    let command = Command::new(RunAs::Root, REBOOT).timeout(60);
    Step::new(&server.name, Op::Reboot, because, Action::Run(command))
}

/// Waits until a host is another boot's than this one.
pub fn booted(server: &Server, boot: &Boot) -> Step {
    // A connection of before hangs rather than ends where the network goes down first.
    let command =
        Command::new(RunAs::User(server.os_user.clone()), BOOTED).args([boot.id.as_str()]).timeout(15);
    let wait = Action::Wait { command, answers: vec!["booted".to_owned()], timeout: TO_BOOT };
    Step::new(&server.name, Op::Wait(Wait::Booted), "it is asked on a new connection", wait)
}
