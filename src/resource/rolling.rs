//! What is done to members of a group one after the other: restarts, a switchover, maintenance; and what is waited for between them.
//!
//! A keeper of 2.0 looks once a second. A restart of a standby that it does not see moves nobody; one that it sees makes the monitor have
//! that standby catch up, seconds later. A primary that it sees down is failed over at once, before it tries to start it: a primary is
//! restarted where it is only while nobody could be promoted. A keeper may be the faster one to start the server, and that is a restart, too.
//! Source: ReportPgIsRunning in keeper.c and the loop of service_keeper.c, 2.0.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, MonitorUri, Node, NodeName, Server};
use crate::op::{Address, Op, Switch, Wait};
use crate::resource::data::PG_CTL;
use crate::sql::{literal, local, on_monitor};
use crate::step::{Action, Step};

/// Seconds in which a group comes to rest after one of its members was disturbed.
const TO_REST: u64 = 300;

/// Seconds in which what is in memory is on disk; a busy server of many gigabytes takes minutes.
const TO_CHECKPOINT: u64 = 1800;

/// `$1` bin, `$2` PGDATA, `$3` start, `$4` the postmaster that is to end: where another runs by now, it has ended.
/// Not `pg_ctl restart`: where a keeper is faster to start the server, that one waits for the end of the new one, until its time is over.
const RESTART: &str = r#"runs() { read -r pid 2>/dev/null <"$1/postmaster.pid" && [ "$pid" != "$2" ] && kill -0 "$pid" 2>/dev/null; }
start() { PG_CTL }
if runs "$2" "$4"; then exit 0; fi
n=0
# Fast shutdown, of the server in this directory alone.
read -r pid 2>/dev/null <"$2/postmaster.pid" || pid=
if [ "$pid" = "$4" ]; then kill -INT "$4" 2>/dev/null || :; fi
while [ "$pid" = "$4" ] && kill -0 "$4" 2>/dev/null; do
  n=$((n + 1))
  if [ "$n" -gt 3000 ]; then echo "PostgreSQL did not stop within 300 s: who is connected, and what does it archive?" >&2; exit 1; fi
  sleep 0.1
done
said=$( (start "$1" "$2" "$3") 2>&1 ) && exit 0
if runs "$2" "$4"; then exit 0; fi
printf '%s\n' "$said" >&2
exit 1
"#;

/// So that stopping takes a moment.
pub fn checkpoint(server: &Server, bin: &str, user: &str) -> Step {
    let command = local(server, bin, user, "postgres", Stdin::Text("CHECKPOINT;\n".to_owned()));
    let because = "what is on disk before need not be written while it stops";
    Step::new(&server.name, Op::Checkpoint, because, Action::Run(command.timeout(TO_CHECKPOINT)))
}

/// Ends this postmaster and starts the server again.
pub fn restart(server: &Server, bin: &str, postmaster: u32, because: impl Into<String>) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), RESTART.replace("PG_CTL", PG_CTL));
    let command =
        command.args([bin.to_owned(), server.pgdata.clone(), "start".to_owned(), postmaster.to_string()]);
    Step::new(&server.name, Op::Restart, because, Action::Run(command.timeout(700)))
}

/// The monitor hears of a standby that was away for a moment some seconds later, has it catch up, and refuses whatever needs a standby
/// meanwhile. Waits a minute at most until a node and its primary rest; then it is the monitor's to say what is wrong.
fn once_it_rests(formation: &str, node: &str, sql: &str) -> String {
    format!(
        "select from set_config('muster.formation', {formation}, false);\nselect from set_config('muster.node', {node}, false);\n\
         do $$\nbegin\n  for i in 1..600 loop\n\
         \x20   exit when not exists (select from pgautofailover.node n join pgautofailover.node other using (formationid, groupid)\n\
         \x20     where n.formationid = current_setting('muster.formation') and n.nodename = current_setting('muster.node')\n\
         \x20     and (n.reportedstate <> n.goalstate or n.health <> 1 or other.reportedstate <> other.goalstate\n\
         \x20       and other.goalstate in ('single', 'wait_primary', 'primary', 'apply_settings', 'join_primary')));\n\
         \x20   perform pg_sleep(0.1);\n  end loop;\nend $$;\n{sql}"
    )
}

/// Asks the monitor to have `to` take over, unless it has already. The monitor refuses a node that is no healthy standby.
pub fn switchover(
    formation: &Formation,
    (from, to): (&NodeName, &Node),
    bin: &str,
    uri: &MonitorUri,
    because: impl Into<String>,
) -> Step {
    let (of, name) = (literal(&formation.name), literal(&to.name().0));
    let sql = format!(
        "select pgautofailover.perform_promotion({of}, {name}) where not exists (select from pgautofailover.node\n\
         where formationid = {of} and nodename = {name} and goalstate in ('single', 'wait_primary', 'primary', 'prepare_promotion',\n\
         'stop_replication', 'fast_forward'));\n"
    );
    let op = Op::Switchover { from: from.clone(), to: to.name().clone() };
    let command = on_monitor(to, bin, uri, once_it_rests(&of, &name, &sql)).timeout(120);
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
    let (of, name) = (literal(&formation.name), literal(&node.name().0));
    let (function, unless) = match turn {
        Switch::On => ("start_maintenance", "in ('prepare_maintenance', 'wait_maintenance', 'maintenance')"),
        Switch::Off => ("stop_maintenance", "<> 'maintenance'"),
    };
    let sql = format!(
        "select pgautofailover.{function}(nodeid) from pgautofailover.node\n\
         where formationid = {of} and nodename = {name} and not goalstate {unless};\n"
    );
    // Who comes back need not be healthy: its PostgreSQL may not have been started since a reboot.
    let sql = match turn {
        Switch::On => once_it_rests(&of, &name, &sql),
        Switch::Off => sql,
    };
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
        "select case when {is_so} then {} else format('it is %s, to become %s', reportedstate, goalstate) end\n\
         from pgautofailover.node where formationid = {} and nodename = {};\n",
        literal(answer),
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
