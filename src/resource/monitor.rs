//! The monitor: its database, the rows it keeps of the formation, registering and reporting to it.

use serde::{Deserialize, Serialize};

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, MONITOR_VARIABLE, MonitorUri, Node, NodeName, Secret, Seed, Server};
use crate::op::{Op, Wait};
use crate::probe::Answers;
use crate::reason::Reason;
use crate::resource::database::{DatabaseFacts, repairs, set_password, wants_password};
use crate::scram;
use crate::session::PSQL;
use crate::sql::{MONITOR, literal, local, monitor_env, on_monitor};
use crate::state::State;
use crate::step::{Action, Step};

pub const DBNAME: &str = "pg_auto_failover";
/// The role that nodes connect with; the extension's script creates it.
pub const USER: &str = "autoctl_node";
/// Seconds without a report after which the monitor takes a node for unhealthy, if it cannot connect to it either.
/// A keeper reports every second. Source: pgautofailover.node_considered_unhealthy_timeout, by default the same from
/// 2.0 to 2.2.
pub const SILENT: u64 = 20;

/// An expression for a row of `pgautofailover.node`: what to say beside its states where its keeper reports no more.
pub fn silence_of_a_row() -> String {
    format!(
        "case when now() - reporttime > interval '{SILENT} s' then format(', and its keeper has not reported for %s s', \
         extract(epoch from now() - reporttime)::int) else '' end"
    )
}

/// What the monitor's database says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorFacts {
    /// Version of the extension `pgautofailover`; `None` before it is created.
    pub extension: Option<String>,
    /// The formation's row, once the monitor has it.
    pub formation: Option<FormationRow>,
    /// The highest node id of any formation: ids are the monitor's, not a formation's.
    #[serde(default)]
    pub last_id: u64,
    /// Nodes of other formations: they log in as the same role.
    #[serde(default)]
    pub others: u64,
    pub nodes: Vec<NodeRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormationRow {
    pub kind: String,
    pub dbname: String,
    pub number_sync_standbys: u32,
}

/// A row of `pgautofailover.node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    pub id: u64,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub group: u32,
    /// Text, as JSON numbers lose digits; `None` until the node has one.
    pub system_identifier: Option<String>,
    #[serde(deserialize_with = "state", serialize_with = "word")]
    pub reported: Option<State>,
    #[serde(deserialize_with = "state", serialize_with = "word")]
    pub assigned: Option<State>,
    pub running: bool,
    pub timeline: u32,
    pub lsn: String,
    /// 1 good, 0 bad, -1 unknown.
    pub health: i32,
    /// 0 to 100, and other values for a while: see [`NodeRow::priority`].
    pub candidate_priority: i64,
    pub replication_quorum: bool,
    pub cluster: String,
    /// Seconds since its last report.
    pub silent: u64,
}

/// A word that no release up to 2.2 uses is no state; a node in it is never driven.
fn state<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<State>, D::Error> {
    Ok(State::parse(&String::deserialize(deserializer)?))
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn word<S: serde::Serializer>(state: &Option<State>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.map_or("unknown", State::as_str))
}

impl NodeRow {
    /// Nothing is going on: it is where the monitor wants it, and may stay there.
    pub fn is_settled(&self) -> bool {
        self.reported == self.assigned && self.assigned.is_some_and(State::is_settled)
    }

    /// The monitor keeps it out, as an operator has said, or takes it out.
    pub fn is_in_maintenance(&self) -> bool {
        self.assigned.is_some_and(State::is_maintenance)
    }

    /// It is in maintenance, and nothing is going on.
    pub fn is_out(&self) -> bool {
        self.reported == self.assigned && self.assigned == Some(State::Maintenance)
    }

    /// The priority that somebody has set; `None` for the values that the monitor uses during a failover: a demoted
    /// primary's less 101, and 101 more for a node that was chosen. Source: perform_failover and perform_promotion in
    /// node_active_protocol.c, CANDIDATE_PRIORITY_INCREMENT in node_metadata.h, 2.0 to 2.2.
    pub fn priority(&self) -> Option<u8> {
        u8::try_from(self.candidate_priority).ok().filter(|priority| *priority <= 100)
    }

    /// Whether nothing fails over to it, though the inventory has a priority for it.
    pub fn is_to_be_promoted_again(&self, node: &Node) -> bool {
        node.candidate_priority > 0 && self.priority() == Some(0)
    }

    /// That nothing fails over to it, against the inventory; a run that was cut off may have left it so.
    pub fn is_never_promoted(&self, node: &Node) -> Option<Reason> {
        let is_so = !node.server.adopted && self.is_to_be_promoted_again(node);
        is_so.then_some(Reason::NeverPromoted { wanted: node.candidate_priority })
    }

    /// It takes writes, and nothing is going on: with a standby, without one, or as the only node.
    pub fn is_resting_writer(&self) -> bool {
        self.reported == self.assigned && self.assigned.is_some_and(State::is_writable)
    }

    /// It is a standby that the monitor is making the writer of its group.
    pub fn is_being_promoted(&self) -> bool {
        use State::{FastForward, PreparePromotion, ReportLsn, Secondary, StopReplication};
        let was = [Secondary, ReportLsn, FastForward, PreparePromotion, StopReplication];
        let will = |state: State| {
            [FastForward, PreparePromotion, StopReplication].contains(&state) || state.is_writable()
        };
        self.reported.is_some_and(|state| was.contains(&state)) && self.assigned.is_some_and(will)
    }

    /// That its keeper knows no way on from where it is to where the monitor wants it.
    pub fn stuck(&self) -> Option<String> {
        let (reported, assigned) = (self.reported?, self.assigned?);
        (!reported.has_way_to(assigned)).then(|| {
            format!(
                "its keeper is {reported} and knows no way to {assigned}, which the monitor wants: it goes on from what another \
                 node of this name left"
            )
        })
    }

    /// That its keeper reports no more, whatever its last report said; a node without a keeper is always silent.
    pub fn silence(&self) -> Option<String> {
        (self.silent > SILENT)
            .then(|| format!("its keeper has not reported to the monitor for {} s", self.silent))
    }
}

impl MonitorFacts {
    /// The row of a node, by the name it is registered under.
    pub fn row(&self, name: &NodeName) -> Option<&NodeRow> {
        self.nodes.iter().find(|row| row.name == name.0)
    }

    /// Whether a primary takes writes that no standby confirms, while another of its group is in maintenance.
    pub fn misses_one_that_is_out(&self, row: &NodeRow) -> bool {
        let is_out = |other: &NodeRow| other.group == row.group && other.is_out();
        row.reported == row.assigned
            && row.assigned == Some(State::WaitPrimary)
            && self.nodes.iter().any(is_out)
    }

    /// Whether it has a row of this node, be it under another name.
    pub fn knows(&self, server: &Server) -> bool {
        let is_it = |row: &NodeRow| {
            row.name == server.name.0 || (row.host == server.hostname && row.port == server.pgport)
        };
        self.nodes.iter().any(is_it)
    }

    /// The one node of a group that the monitor wants to take writes.
    pub fn primary(&self, group: u32) -> Option<&NodeRow> {
        let mut writable = self
            .nodes
            .iter()
            .filter(|row| row.group == group && row.assigned.is_some_and(State::is_writable));
        writable.next().filter(|_| writable.next().is_none())
    }
}

const ROWS: &str = "select json_build_object(
 'extension', (select extversion from pg_extension where extname = 'pgautofailover'),
 'formation', (select json_build_object('kind', kind, 'dbname', dbname, 'number_sync_standbys', number_sync_standbys)
               from pgautofailover.formation where formationid = :'formation'),
 'last_id', (select coalesce(max(nodeid), 0) from pgautofailover.node),
 'others', (select count(*) from pgautofailover.node where formationid <> :'formation'),
 'nodes', coalesce((select json_agg(json_build_object('id', nodeid, 'name', nodename, 'host', nodehost, 'port', nodeport,
   'group', groupid, 'system_identifier', sysidentifier::text, 'reported', reportedstate, 'assigned', goalstate,
   'running', coalesce(reportedpgisrunning, false), 'timeline', reportedtli, 'lsn', reportedlsn, 'health', health,
   'candidate_priority', candidatepriority, 'replication_quorum', replicationquorum, 'cluster', nodecluster,
   'silent', greatest(0, extract(epoch from now() - reporttime))::bigint) order by nodeid)
   from pgautofailover.node where formationid = :'formation'), '[]'))";

/// What there is to ask of a monitor, where it has its tables: those are asked of the catalog.
pub fn where_it_is(sql: &str) -> String {
    format!(
        "select to_regclass('pgautofailover.node') is not null as there \\gset\n\\if :there\n{sql};\n\\else\n\\echo ~\n\\endif\n"
    )
}

/// The same on its own host, from another database of that server: its own may not be there yet.
pub fn at_home(sql: &str) -> String {
    format!(
        "select exists (select from pg_database where datname = '{DBNAME}') as there \\gset\n\\if :there\n\\connect {DBNAME}\n{}\
         \\else\n\\echo ~\n\\endif\n",
        where_it_is(sql)
    )
}

/// After [`crate::sql::ASKING`]. `$role` is `monitor`, `node`, or `asks`: a node that asks an external monitor.
pub fn probe() -> String {
    format!(
        r#"
{MONITOR}
case $role in
monitor)
  question <<'SQL'
{}
SQL
  if [ -n "$pid" ]; then ask postgres -v formation="$formation"; fi
  if [ -n "$pid" ]; then answered monitor; else none monitor; fi ;;
asks)
  question <<'SQL'
{}
SQL
  if [ -n "$bin" ]; then ask_monitor -v formation="$formation"; answered monitor; else none monitor; fi ;;
*) none monitor ;;
esac
"#,
        at_home(ROWS),
        where_it_is(ROWS)
    )
}

/// `None` where there is no monitor yet, or it is not this host's to know.
pub fn parse(answers: &Answers) -> Result<Option<MonitorFacts>, String> {
    match answers.text("monitor")? {
        Some(_) => answers.json("monitor").map(Some),
        None => Ok(None),
    }
}

/// Role, database and extension of a monitor; PostgreSQL must run.
pub fn steps(
    server: &Server,
    bin: &str,
    database: Option<&DatabaseFacts>,
    monitor: Option<&MonitorFacts>,
    (password, seed): (Option<&Secret>, &Seed),
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut run = |op: Op, because: &str, dbname: &str, sql: Stdin| {
        let command = local(server, bin, &server.os_user, dbname, sql);
        steps.push(Step::new(&server.name, op, because, Action::Run(command)));
    };
    if !database.is_some_and(|facts| facts.databases.contains(DBNAME)) {
        let sql = format!(
            "select 'CREATE ROLE autoctl WITH LOGIN' where not exists (select from pg_roles where rolname = 'autoctl') \\gexec\n\
             select {} where not exists (select from pg_database where datname = '{DBNAME}') \\gexec\n",
            literal(&format!("CREATE DATABASE {DBNAME} WITH OWNER autoctl"))
        );
        run(
            Op::CreateDatabase { name: DBNAME.to_owned() },
            "the monitor keeps its state in it",
            "postgres",
            Stdin::Text(sql),
        );
    }
    if monitor.and_then(|facts| facts.extension.as_ref()).is_none() {
        let sql = "CREATE EXTENSION IF NOT EXISTS pgautofailover CASCADE;\n".to_owned();
        let op = Op::CreateExtension { name: "pgautofailover".to_owned(), dbname: None };
        run(op, "it is the monitor", DBNAME, Stdin::Text(sql));
    }
    for (op, because, sql) in repairs(database) {
        run(op, &because, "postgres", sql);
    }
    let why = |password| wants_password(server, USER, password, database);
    if let Some((password, because)) = password.and_then(|password| Some((password, why(password)?))) {
        let salt = scram::salt(seed, &server.name.0, USER);
        run(
            Op::SetPassword { role: USER.to_owned() },
            &because,
            "postgres",
            set_password(USER, password, &salt),
        );
    }
    steps
}

/// The monitor's word for the kind of a formation.
pub fn kind(formation: &Formation) -> &'static str {
    if formation.is_citus() { "citus" } else { "pgsql" }
}

/// The formation's row, typed before the first node could make one of another kind or database.
pub fn formation_step(
    formation: &Formation,
    on: &Node,
    bin: &str,
    uri: &MonitorUri,
    facts: Option<&MonitorFacts>,
) -> Option<Step> {
    let row = facts.and_then(|facts| facts.formation.as_ref());
    let kind = kind(formation);
    let fits = |row: &FormationRow| row.kind == kind && row.dbname == formation.dbname;
    let (name, dbname) = (literal(&formation.name), literal(&formation.dbname));
    // `default` is there from the start; its first node gives it kind and database.
    if row.is_some_and(fits)
        || (formation.name == "default" && facts.is_none_or(|facts| facts.nodes.is_empty()))
    {
        return None;
    }
    let sql = format!(
        // Every node has this step, at one moment: who comes second waits, and then sees that it is there.
        "begin;\nselect pg_advisory_xact_lock(hashtext('muster: create formation'));\n\
         select pgautofailover.create_formation({name}, '{kind}', {dbname}, true, 0)\n\
         where not exists (select from pgautofailover.formation where formationid = {name});\ncommit;\n"
    );
    let op = Op::CreateFormation { name: formation.name.clone() };
    Some(Step::new(on.name(), op, "the monitor does not know it", Action::Run(on_monitor(on, bin, uri, sql))))
}

/// `$1` bin, then formation, host, port, dbname, name, id, group, kind, priority, quorum, cluster.
/// Registering is not repeatable, so it asks first.
const REGISTER: &str = r#"monitor -v formation="$2" -v host="$3" -v port="$4" -v dbname="$5" -v name="$6" -v id="$7" -v group="$8" \
  -v kind="$9" -v priority="${10}" -v quorum="${11}" -v cluster="${12}" <<'SQL'
select exists (select from pgautofailover.node where formationid = :'formation' and nodename = :'name' and nodehost = :'host' and nodeport = :'port'::int) as there \gset
\if :there
\else
select assigned_group_state from pgautofailover.register_node(:'formation', :'host', :'port'::int, :'dbname', :'name', 0, :'id'::bigint,
 :'group'::int, 'init', :'kind', :'priority'::int, :'quorum'::bool, :'cluster');
\endif
SQL
"#;

pub fn register(
    formation: &Formation,
    node: &Node,
    id: u64,
    bin: &str,
    uri: &MonitorUri,
    because: &str,
) -> Step {
    let script = format!("bin=$1\n{MONITOR}{REGISTER}");
    let command = Command::new(RunAs::User(node.server.os_user.clone()), script).args([
        bin.to_owned(),
        formation.name.clone(),
        node.server.hostname.clone(),
        node.server.pgport.to_string(),
        formation.dbname.clone(),
        node.name().0.clone(),
        id.to_string(),
        node.group.to_string(),
        node.kind.as_str().to_owned(),
        node.candidate_priority.to_string(),
        node.replication_quorum.to_string(),
        node.cluster().to_owned(),
    ]);
    let op = Op::Register { id, group: node.group, kind: node.kind };
    Step::new(node.name(), op, because, Action::Run(monitor_env(command, &uri.seen_from(&node.server.tls))))
}

/// `$1` bin, `$2` PGDATA, `$3` node id.
const SET_SYSTEM_IDENTIFIER: &str = r#"id=$("$bin/pg_controldata" "$2" | sed -n 's/^Database system identifier: *//p')
monitor -v id="$3" -v system="$id" <<'SQL'
select from pgautofailover.set_node_system_identifier(:'id'::bigint, :'system'::bigint);
SQL
"#;

/// The monitor takes no other report than `init` before it knows the system identifier.
pub fn set_system_identifier(node: &Node, id: u64, bin: &str, uri: &MonitorUri) -> Step {
    let script = format!("bin=$1\n{MONITOR}{SET_SYSTEM_IDENTIFIER}");
    let command = Command::new(RunAs::User(node.server.os_user.clone()), script).args([
        bin,
        &node.server.pgdata,
        &id.to_string(),
    ]);
    let because = "the monitor knows a group by the system identifier of its data";
    Step::new(
        node.name(),
        Op::TellSystemIdentifier,
        because,
        Action::Run(monitor_env(command, &uri.seen_from(&node.server.tls))),
    )
}

/// `$1` bin, `$2` PGDATA, `$3` socket or empty, `$4` port, `$5` user, `$6` formation, `$7` id, `$8` group, `$9` state.
/// The same that a keeper reports, and the monitor's answer: the state it assigns.
const REPORT: &str = r#"running=f; tli=1; lsn=0/0; sync=
if "$bin/pg_ctl" -D "$2" status >/dev/null 2>&1; then
  seen=$(psql -F ' ' ${3:+-h "$3"} -p "$4" -U "$5" -d postgres -c "select case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_flush_lsn() end, coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint())), coalesce((select sync_state from pg_stat_replication where application_name ~ '^pgautofailover_standby_' order by sync_state = 'quorum' desc limit 1), '')")
  running=t; lsn=${seen%% *}; tli=${seen#* }; sync=${tli#* }; tli=${tli%% *}
fi
monitor -v formation="$6" -v id="$7" -v group="$8" -v state="$9" -v running="$running" -v tli="$tli" -v lsn="$lsn" -v sync="$sync" <<'SQL'
select assigned_group_state from pgautofailover.node_active(:'formation', :'id'::bigint, :'group'::int,
 :'state'::pgautofailover.replication_state, :'running'::bool, :'tli'::int, :'lsn'::pg_lsn, :'sync');
SQL
"#;

/// A report of `state` for a node without a keeper.
pub fn report(
    formation: &Formation,
    node: &Node,
    id: u64,
    bin: &str,
    uri: &MonitorUri,
    state: State,
) -> Command {
    let socket = node.server.pghost.clone().unwrap_or_default();
    let script = format!("bin=$1\n{PSQL}{MONITOR}{REPORT}");
    let command = Command::new(RunAs::User(node.server.os_user.clone()), script).args([
        bin,
        &node.server.pgdata,
        &socket,
        &node.server.pgport.to_string(),
        &node.username,
        &formation.name,
        &id.to_string(),
        &node.group.to_string(),
        state.as_str(),
    ]);
    monitor_env(command, &uri.seen_from(&node.server.tls))
}

/// Asks whether the keeper of a node reports: `reported`, or for how long it has not.
pub fn has_reported(formation: &Formation, node: &Node, bin: &str, uri: &MonitorUri, within: u64) -> Command {
    let sql = format!(
        "select case when now() - reporttime <= interval '{within} s' then 'reported'\n\
         else format('silent for %s', date_trunc('second', now() - reporttime)) end\n\
         from pgautofailover.node where formationid = {} and nodename = {};\n",
        literal(&formation.name),
        literal(&node.name().0)
    );
    on_monitor(node, bin, uri, sql)
}

/// Waits until a node's keeper has logged in to the monitor once more: it does so every second.
pub fn wait_for_report(formation: &Formation, node: &Node, bin: &str, uri: &MonitorUri) -> Step {
    let sql = format!(
        "do 'begin perform pg_sleep(3); end';\n\
         select case when clock_timestamp() - reporttime < interval '3 s' then 'reports' else 'silent' end\n\
         from pgautofailover.node where formationid = {} and nodename = {};\n",
        literal(&formation.name),
        literal(&node.name().0)
    );
    let command = on_monitor(node, bin, uri, sql);
    let wait = Action::Wait { command, answers: vec!["reports".to_owned()], timeout: 60 };
    let because = "the password that it logs in with has changed";
    Step::new(node.name(), Op::Wait(Wait::KeeperLogsIn), because, wait)
}

/// Waits until the monitor has the group's primary, so that a standby may register.
pub fn wait_for_primary(
    formation: &Formation,
    node: &Node,
    bin: &str,
    uri: &MonitorUri,
    primary: &NodeName,
) -> Step {
    let sql = format!(
        "select count(*) > 0 from pgautofailover.node where formationid = {} and groupid = {} and goalstate in \
         ('single', 'primary', 'wait_primary', 'apply_settings', 'join_primary');\n",
        literal(&formation.name),
        node.group
    );
    let wait = Action::Wait {
        command: on_monitor(node, bin, uri, sql),
        answers: vec!["t".to_owned()],
        timeout: 900,
    };
    let op = Op::Wait(Wait::Registered { primary: primary.clone() });
    Step::new(node.name(), op, "a standby joins a group that has its primary", wait).needs([primary.clone()])
}

/// The connection that nodes use: what `--monitor` is to pg_autoctl.
pub fn uri(server: &Server, password: Option<&Secret>) -> MonitorUri {
    let mode = std::iter::once(("sslmode", server.tls.mode().as_str()));
    let parameters = mode.chain(server.tls.verified_with());
    MonitorUri {
        host: server.hostname.clone(),
        port: server.pgport,
        user: USER.to_owned(),
        password: password.cloned(),
        dbname: DBNAME.to_owned(),
        parameters: parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        given_as: MONITOR_VARIABLE,
        is_own: true,
    }
}
