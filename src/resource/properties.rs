//! What the monitor keeps of nodes and of their formation: priorities, quorum, how many standbys commits wait for.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, MonitorUri, Node};
use crate::op::Op;
use crate::resource::monitor::NodeRow;
use crate::resource::rolling::call;
use crate::sql::{MONITOR, literal, monitor_env};
use crate::step::{Action, Step};

/// `$1` bin, `$2` formation, `$3` how many nodes have to have replication_quorum first, or empty. The monitor refuses each of
/// these while a primary applies the one before, and a number of standbys that too few nodes count for: sessions of muster
/// take turns here, and wait for that, half a minute at most.
const IN_TURN: &str = r#"{ cat <<'SQL'
select from pg_advisory_lock(hashtext('muster: properties'));
select from set_config('muster.formation', :'formation', false);
select from set_config('muster.voters', :'voters', false);
do $$
declare
  voters int := nullif(current_setting('muster.voters'), '');
begin
  for i in 1..300 loop
    exit when not exists (select from pgautofailover.node where formationid = current_setting('muster.formation')
      and (goalstate = 'apply_settings' or reportedstate = 'apply_settings'))
    and coalesce(voters <= (select count(*) from pgautofailover.node
      where formationid = current_setting('muster.formation') and replicationquorum), true);
    perform pg_sleep(0.1);
  end loop;
end $$;
SQL
cat; } | monitor -v formation="$2" -v voters="$3"
"#;

fn in_turn(
    formation: &Formation,
    node: &Node,
    bin: &str,
    uri: &MonitorUri,
    voters: Option<usize>,
    sql: String,
) -> Command {
    let command =
        Command::new(RunAs::User(node.server.os_user.clone()), format!("bin=$1\n{MONITOR}{IN_TURN}"));
    let voters = voters.map_or(String::new(), |voters| voters.to_string());
    let command = command.args([bin.to_owned(), formation.name.clone(), voters]);
    monitor_env(command, &uri.seen_from(&node.server.tls)).stdin(Stdin::Text(sql)).timeout(60)
}

fn set(formation: &Formation, node: &Node, function: &str, to: &str) -> String {
    let of = "current_setting('muster.formation'), current_setting('muster.node')";
    call(&formation.name, node.name(), &format!("perform pgautofailover.{function}({of}, {to})"))
}

/// Tells the monitor another priority of a node.
pub fn candidate_priority(
    formation: &Formation,
    node: &Node,
    (bin, uri): (&str, &MonitorUri),
    to: u8,
    because: &str,
) -> Step {
    let sql = set(formation, node, "set_node_candidate_priority", &to.to_string());
    let command = in_turn(formation, node, bin, uri, None, sql);
    Step::new(node.name(), Op::SetPriority { to }, because, Action::Run(command))
}

/// Settings that the monitor keeps of a node, where they differ from the inventory.
pub fn property_steps(
    formation: &Formation,
    node: &Node,
    bin: &str,
    uri: &MonitorUri,
    row: &NodeRow,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let differs = |what: &str, was: String, wanted: String| {
        (was != wanted).then(|| format!("{what} is {was}, the inventory says {wanted}"))
    };
    let to = node.candidate_priority;
    let priority = row.priority().map(|priority| priority.to_string());
    if let Some(because) = priority.and_then(|was| differs("candidate_priority", was, to.to_string())) {
        steps.push(candidate_priority(formation, node, (bin, uri), to, &because));
    }
    let to = node.replication_quorum;
    if let Some(because) = differs("replication_quorum", row.replication_quorum.to_string(), to.to_string()) {
        let sql = set(formation, node, "set_node_replication_quorum", &to.to_string());
        let command = in_turn(formation, node, bin, uri, None, sql);
        steps.push(Step::new(node.name(), Op::SetQuorum { to }, because, Action::Run(command)));
    }
    steps
}

/// `number_sync_standbys` of the formation; nodes must be registered. `voters`: how many nodes are to have
/// replication_quorum in the end.
pub fn number_sync_standbys(
    formation: &Formation,
    on: &Node,
    bin: &str,
    uri: &MonitorUri,
    (was, wanted): (u32, u32),
    voters: usize,
) -> Step {
    let sql = format!(
        "select pgautofailover.set_formation_number_sync_standbys({}, {wanted});\n",
        literal(&formation.name)
    );
    let because = format!("it is {was}, the inventory says {wanted}");
    let op = Op::SetNumberSyncStandbys { to: wanted };
    let voters = Some(voters).filter(|_| wanted > was);
    Step::new(on.name(), op, because, Action::Run(in_turn(formation, on, bin, uri, voters, sql)))
}
