//! Citus metadata: `pg_dist_node` and `pg_dist_poolinfo`, compared as rows and repaired as steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::formation::{Formation, Node, NodeKind};
use crate::op::{Address, Metadata, Op};
use crate::probe::{Answer, Answers};
use crate::resource::data::node_dir;
use crate::sql::{Login, conninfo_value, literal, local_within, remote, remote_within};
use crate::step::{Action, Content, File, Risk, Step};

/// What a coordinator says of its formation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitusFacts {
    pub nodes: Vec<CitusNode>,
    /// Node id to the pooler's connection string.
    pub pools: BTreeMap<i64, String>,
}

/// A row of `pg_dist_node`. Its numbers are read as wide as anybody may have written them there: Citus checks neither a
/// group nor a port of a node that is added inactive, and one odd row is to hide no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitusNode {
    pub id: i64,
    pub group: i64,
    pub name: String,
    pub port: i64,
    pub active: bool,
    /// `primary` or `secondary`.
    pub role: String,
    pub cluster: String,
    pub metadata_synced: bool,
}

impl CitusNode {
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.name == host && self.port == i64::from(port)
    }
}

const ROWS: &str = "select json_build_object(
 'nodes', coalesce((select json_agg(json_build_object('id', nodeid, 'group', groupid, 'name', nodename, 'port', nodeport,
   'active', isactive, 'role', noderole, 'cluster', nodecluster, 'metadata_synced', coalesce(metadatasynced, false)) order by nodeid)
   from pg_dist_node), '[]'),
 'pools', coalesce((select json_object_agg(nodeid, poolinfo) from pg_dist_poolinfo), '{}'))";

/// [`ROWS`] where there are such tables: a missing one is asked of the catalog.
fn rows() -> String {
    format!(
        "select to_regclass('pg_catalog.pg_dist_node') is not null as there \\gset\n\\if :there\n{ROWS};\n\\else\n\\echo ~\n\\endif"
    )
}

/// `$kind`; uses `json` and `$there` of the database's probe.
pub fn probe() -> String {
    format!(
        r#"
if [ "$there" = '+' ] && [ "$kind" = coordinator ]; then
  json citus "$dbname" <<'SQL'
{}
SQL
else none citus; fi
"#,
        rows()
    )
}

/// `None` where the server does not run, or has no extension citus yet.
pub fn parse(answers: &Answers) -> Result<Option<CitusFacts>, String> {
    match answers.text("citus")? {
        Some(_) => answers.json("citus").map(Some),
        None => Ok(None),
    }
}

/// The formation's coordinator, as a node's own host sees it by the monitor's word and over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Remote {
    /// The monitor has none that takes writes.
    Absent,
    Seen {
        at: String,
        facts: CitusFacts,
    },
    /// It could not be looked at.
    Unseen {
        at: String,
        why: String,
    },
}

/// `$remote` is 1 on hosts whose rows of `pg_dist_node` a coordinator elsewhere may have to get. A password comes as
/// environment, under a name that psql on the local socket does not pick up.
pub fn remote_probe() -> String {
    format!(
        r#"
peer() {{
  PGPASSWORD=$MUSTER_PEER_PASSWORD PGSSLMODE=$MUSTER_PEER_SSLMODE PGSSLROOTCERT=$MUSTER_PEER_SSLROOTCERT \
  PGSSLCRL=$MUSTER_PEER_SSLCRL PGCONNECT_TIMEOUT=5 PGOPTIONS=$MUSTER_OPTIONS "$bin/psql" -XAtqw -v ON_ERROR_STOP=1 -h "${{at%% *}}" -p "${{at##* }}" \
  -U "$username" -d "$dbname" -f -
}}
at=
if [ "$remote" = 1 ] && [ -n "$bin" ]; then
  question <<'SQL'
select nodehost || ' ' || nodeport from pgautofailover.node where formationid = :'formation' and groupid = 0
 and goalstate in ('single', 'primary', 'wait_primary', 'apply_settings', 'join_primary') order by nodeid limit 1;
SQL
  hear monitor -v formation="$formation"
  at=$out
  if [ "$rc" = 0 ]; then say coordinator.at "$at"; else none coordinator.at; fi
else none coordinator.at; fi
if [ -n "$at" ]; then
  question <<'SQL'
{}
SQL
  hear peer
  if [ "$rc:$out" = '0:~' ]; then blind coordinator "it has no Citus in the database $dbname"; else answered coordinator; fi
else none coordinator; fi
"#,
        rows()
    )
}

/// `None` where this host was not to ask, or could not ask the monitor.
pub fn parse_remote(answers: &Answers) -> Result<Option<Remote>, String> {
    let Some(at) = answers.text("coordinator.at")? else { return Ok(None) };
    Ok(Some(match answers.get("coordinator") {
        Answer::Absent => Remote::Absent,
        Answer::Text(_) => Remote::Seen { at, facts: answers.json("coordinator")? },
        Answer::Blind(why) => Remote::Unseen { at, why: why.trim().to_owned() },
    }))
}

/// What a coordinator does of its own when it is promoted: it points its own row of `pg_dist_node` to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HookFacts {
    pub script: Option<String>,
    pub values: Option<String>,
}

pub const HOOK_PROBE: &str = r#"
file citus.hook "$pgdata.node/on-promotion"
file citus.values "$pgdata.node/on-promotion.values"
"#;

pub fn parse_hook(answers: &Answers) -> Result<HookFacts, String> {
    Ok(HookFacts { script: answers.text("citus.hook")?, values: answers.text("citus.values")? })
}

/// `recovery_end_command` of a coordinator. PostgreSQL runs it in PGDATA; it holds no value of anybody's.
pub const RECOVERY_END_COMMAND: &str = r#"setsid sh "$(pwd).node/on-promotion" >/dev/null 2>&1 </dev/null &"#;

/// Points the coordinator's own row to the node that was promoted.
///
/// Keepers of 2.0 do so in groups of two; with more standbys the monitor takes them from prepare_promotion to
/// wait_primary without it, and workers go on asking the old coordinator.
/// Sources: group_state_machine.c (the primary is not there), fsm_transition_citus.c.
const HOOK: &str = r#"#!/bin/sh
# Rendered by muster. PostgreSQL runs it, by recovery_end_command, when this coordinator is promoted.
# Keepers do not always tell Citus where its coordinator went; where they did, nothing is left to do here.
{ read -r bin; read -r socket; read -r port; read -r user; read -r dbname; read -r host; } <"$(pwd).node/on-promotion.values"
ask() { "$bin/psql" -XAtqw -v ON_ERROR_STOP=1 ${socket:+-h "$socket"} -p "$port" -U "$user" -d "$dbname" -v host="$host" -v port="$port" -f -; }
n=0
while [ "$n" -lt 300 ]; do
  sleep 1
  n=$((n + 1))
  if [ "$(echo 'select pg_is_in_recovery() or current_setting($$default_transaction_read_only$$)::bool' | ask)" = f ]; then
    ask <<'SQL' && exit 0
select citus_update_node(nodeid, :'host', :'port'::int) from pg_dist_node
where groupid = 0 and noderole = 'primary' and (nodename, nodeport) <> (:'host', :'port'::int);
SQL
  fi
done
"#;

/// The two files of the hook, where they differ.
pub fn hook_steps(node: &Node, bin: &str, dbname: &str, facts: &HookFacts) -> Vec<Step> {
    if node.kind != NodeKind::Coordinator || node.is_reader() {
        return Vec::new();
    }
    let server = &node.server;
    let socket = server.pghost.as_deref().unwrap_or_default();
    let values =
        format!("{bin}\n{socket}\n{}\n{}\n{dbname}\n{}\n", server.pgport, node.username, server.hostname);
    let files =
        [("on-promotion", HOOK.to_owned(), &facts.script), ("on-promotion.values", values, &facts.values)];
    let put = |(name, text, found): (&str, String, &Option<String>)| {
        if found.as_ref() == Some(&text) {
            return None;
        }
        let path = format!("{}/{name}", node_dir(server));
        let file = File::new(path, &server.os_user, Content::Text(text)).before(found.clone());
        Some(Step::write(node.name(), file, Risk::Safe, "a promoted coordinator tells Citus where it is"))
    };
    files.into_iter().filter_map(put).collect()
}

/// A row that should be there, and the node it is about.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub node: &'a Node,
    pub role: &'static str,
}

/// One row a group, for its primary, and one for each read replica.
/// `primary` tells which node of a group that is: the monitor's word, or the inventory's before it has one.
pub fn wanted<'a>(formation: &'a Formation, primary: impl Fn(u32) -> Option<&'a Node>) -> Vec<Wanted<'a>> {
    let citus = || formation.nodes.values().filter(|node| node.kind != NodeKind::Standalone);
    let mut groups: Vec<u32> = citus().map(|node| node.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let primaries = groups.into_iter().filter_map(primary).map(|node| Wanted { node, role: "primary" });
    let mut readers: Vec<&Node> = citus().filter(|node| node.is_reader()).collect();
    readers.sort_by_key(|node| (node.group, node.name().clone()));
    primaries.chain(readers.into_iter().map(|node| Wanted { node, role: "secondary" })).collect()
}

/// The row that stands for a wanted one: a primary's by group, a replica's by name and port.
pub fn row<'a>(facts: &'a CitusFacts, wanted: &Wanted) -> Option<&'a CitusNode> {
    let server = &wanted.node.server;
    facts.nodes.iter().find(|row| {
        row.role == wanted.role
            && row.cluster == wanted.node.cluster()
            && row.group == i64::from(wanted.node.group)
            && (wanted.role == "primary" || row.is_at(&server.hostname, server.pgport))
    })
}

/// Rows that nothing in the inventory stands for; muster reports them and leaves them.
pub fn strangers<'a>(facts: &'a CitusFacts, wanted: &[Wanted]) -> Vec<&'a CitusNode> {
    let known: Vec<i64> = wanted.iter().filter_map(|wanted| row(facts, wanted)).map(|row| row.id).collect();
    facts.nodes.iter().filter(|row| !known.contains(&row.id)).collect()
}

/// Whose `pg_dist_node` it is.
#[derive(Clone, Copy, Debug)]
pub enum Coordinator<'a> {
    /// A node of the inventory: statements run on its host.
    Ours(&'a Node),
    /// Another's: statements go there from the host of the node they are about.
    Theirs { host: &'a str, port: u16 },
}

/// What is said of a statement that does not end.
const WAITS: &str = "its commit waits for a synchronous standby that does not confirm it, or the statement for the node itself; \
    muster status tells who streams, apply again once it does";

/// Who confirms the coordinator's commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    Nobody,
    Standby,
}

/// Statements for one wanted row, run on the coordinator. `bin`: of the host they are sent from. `confirms`: whether the
/// coordinator has standbys that its commits may wait for.
pub fn steps(
    coordinator: Coordinator,
    bin: &str,
    dbname: &str,
    wanted: &Wanted,
    facts: Option<&CitusFacts>,
    confirms: Confirms,
) -> Vec<Step> {
    let Wanted { node, role } = wanted;
    let (host, port) = (literal(&node.server.hostname), node.server.pgport);
    let at = || Address { host: node.server.hostname.clone(), port };
    let mut steps = Vec::new();
    let mut run = |change: Metadata, because: String, sql: String| {
        steps.push(match coordinator {
            Coordinator::Ours(coordinator) => {
                let name = coordinator.name();
                let server = &coordinator.server;
                let command = local_within(server, bin, &coordinator.username, dbname, sql, WAITS);
                let because = match confirms {
                    Confirms::Standby => format!("{because}; the commit waits for a standby of {name}"),
                    Confirms::Nobody => because,
                };
                Step::new(name, Op::Metadata { change, elsewhere: None }, because, Action::Run(command))
                    .needs([name.clone()])
            }
            Coordinator::Theirs { host, port } => {
                let who = Login { user: &node.username, password: node.password.as_ref() };
                let command = remote(&node.server, bin, host, port, who, dbname, sql);
                let command = remote_within(&node.server, command, WAITS);
                let elsewhere = Some(Address { host: host.to_owned(), port });
                Step::new(node.name(), Op::Metadata { change, elsewhere }, because, Action::Run(command))
            }
        });
    };
    let found = facts.and_then(|facts| row(facts, wanted));
    match found {
        None if node.group == 0 && *role == "primary" => run(
            Metadata::SetCoordinator { to: at() },
            "pg_dist_node does not know the coordinator".into(),
            format!("select citus_set_coordinator_host({host}, {port});\n"),
        ),
        None => run(
            Metadata::Add { node: at(), role: (*role).to_owned(), group: node.group },
            "pg_dist_node does not know it".into(),
            // Asked again here: between looking and doing a keeper may have added it.
            format!(
                "select citus_add_node({host}, {port}, groupid => {}, noderole => '{role}', nodecluster => {})\n\
                 where not exists (select from pg_dist_node where nodename = {host} and nodeport = {port});\n",
                node.group,
                literal(node.cluster())
            ),
        ),
        Some(row) if !row.is_at(&node.server.hostname, port) => run(
            Metadata::Point { id: row.id, to: at() },
            format!("pg_dist_node says {}:{}", row.name, row.port),
            format!("select citus_update_node({}, {host}, {port});\n", row.id),
        ),
        Some(row) if !row.active => run(
            Metadata::Activate { node: at() },
            "pg_dist_node says it is not active".into(),
            format!("select citus_activate_node({host}, {port});\n"),
        ),
        Some(_) => {}
    }
    let pool = found.and_then(|row| facts?.pools.get(&row.id));
    let wants =
        node.proxyport.map(|proxy| format!("host={} port={proxy}", conninfo_value(&node.server.hostname)));
    if let Some(wants) = wants.filter(|wants| pool != Some(wants)) {
        run(
            Metadata::SetPooler { of: at() },
            match pool {
                Some(pool) => format!("pg_dist_poolinfo says {pool}"),
                None => "pg_dist_poolinfo does not know it".into(),
            },
            format!(
                "insert into pg_dist_poolinfo (nodeid, poolinfo) select nodeid, {} from pg_dist_node\n\
                 where nodename = {host} and nodeport = {port}\n\
                 on conflict (nodeid) do update set poolinfo = excluded.poolinfo;\n",
                literal(&wants)
            ),
        );
    }
    if let (Some(pool), Some(row), None) = (pool, found, node.proxyport) {
        run(
            Metadata::ForgetPooler { of: at() },
            format!("pg_dist_poolinfo says {pool}, and the inventory has no proxyport"),
            format!("delete from pg_dist_poolinfo where nodeid = {};\n", row.id),
        );
    }
    steps
}
