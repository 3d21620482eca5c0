//! What lives inside a node's PostgreSQL: roles, the database, extensions, and how the server runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::Stdin;
use crate::file::{HBA_REFUSED, IS_NOT_TAKEN, LEARN};
use crate::formation::{Auth, Formation, Node, NodeKind, Secret, Server, Tls};
use crate::op::Op;
use crate::probe::Answers;
use crate::resource::given::NotTaken;
use crate::resource::streaming::{self, Streaming};
use crate::resource::{guc, settings};
use crate::scram::{self, Kept};
use crate::sql::{ident, literal, local};
use crate::step::{Action, Step};

/// What a running server answered over its local socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    pub in_recovery: bool,
    /// Role name to whether it has a password.
    pub roles: BTreeMap<String, bool>,
    /// What is kept of the passwords of the roles that muster gives one.
    #[serde(default, deserialize_with = "secrets")]
    pub verifiers: BTreeMap<String, Secret>,
    /// What roles that somebody logs in with cannot do by now.
    #[serde(default)]
    pub lacks: BTreeMap<String, Vec<Right>>,
    pub databases: BTreeSet<String>,
    /// Seconds since it was started.
    #[serde(default)]
    pub uptime: Option<u64>,
    /// Physical replication slots.
    pub slots: BTreeSet<String>,
    pub synchronous_standby_names: String,
    /// Who follows it, and whom it follows.
    #[serde(default)]
    pub streaming: Option<Streaming>,
    /// Settings that wait for a restart. A server goes on saying so of a line that it never took and that is gone from its
    /// files: that is left out.
    pub pending_restart: BTreeSet<String>,
    /// Those of them that a standby must not have lower than its primary, and that the files have lower than the server.
    #[serde(default)]
    pub lowered: BTreeSet<String>,
    /// What it runs with, without units: of settings that wait for a restart, and of those that a standby must not have lower than its
    /// primary.
    #[serde(default)]
    pub runs_with: BTreeMap<String, String>,
    /// Lines of `pg_hba.conf` that the server cannot read: with one of them it keeps the rules it had.
    pub hba_errors: Vec<String>,
    /// Lines that it has read and says something about, e.g. that a `hostssl` rule matches nobody while `ssl` is off.
    #[serde(default)]
    pub hba_notes: Vec<String>,
    /// What its configuration files say and the server does not take, but for what waits for a restart.
    #[serde(default)]
    pub setting_errors: Vec<NotTaken>,
    /// Settings that whoever starts the server says on its command line: a restart of the server alone does not change them.
    #[serde(default)]
    pub by_command_line: BTreeSet<String>,
    /// Settings that take effect after a restart only.
    #[serde(default)]
    pub needs_restart: BTreeSet<String>,
    #[serde(default)]
    pub made_by: Option<MadeBy>,
    /// Files that were written after the server last read its configuration: a reload was lost.
    #[serde(default)]
    pub unread: BTreeSet<String>,
    /// Extensions in the formation's database; `None` if there is no such database.
    #[serde(default)]
    pub extensions: Option<BTreeMap<String, String>>,
}

/// What a role needs to be of use to a formation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    Login,
    Replication,
    /// Its password is valid still.
    Valid,
}

impl Right {
    /// As `ALTER ROLE` has it.
    pub fn as_sql(self) -> &'static str {
        match self {
            Right::Login => "LOGIN",
            Right::Replication => "REPLICATION",
            Right::Valid => "VALID UNTIL 'infinity'",
        }
    }

    fn lack(self) -> &'static str {
        match self {
            Right::Login => "may not log in (NOLOGIN)",
            Right::Replication => "may not replicate (NOREPLICATION)",
            Right::Valid => "has a password that has expired (VALID UNTIL)",
        }
    }
}

/// What initdb was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    pub encoding: String,
    pub locale: String,
    pub data_checksums: bool,
}

fn secrets<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(role, text)| (role, Secret::new(text))).collect())
}

impl DatabaseFacts {
    /// What of a change of a configuration file takes a restart. What was changed by hand and waits for one is put back without.
    pub fn takes_restart(&self, before: &str, after: &str) -> Vec<String> {
        let changed = settings::changed(before, after);
        let has = |name: &str| settings::value(after, name).is_some_and(|value| self.has(name, value));
        let waits = |name: &String| self.needs_restart.contains(&name.to_ascii_lowercase()) && !has(name);
        changed.into_iter().filter(waits).collect()
    }

    /// Those of [`pending`](Self::pending) that a restart of the server brings about.
    pub fn restartable(&self) -> Vec<&str> {
        self.pending().into_iter().filter(|name| !self.by_command_line.contains(*name)).collect()
    }

    /// Roles that cannot do what they are there for, in words. Who is connected stays so; nobody comes in anew.
    pub fn barred(&self) -> impl Iterator<Item = String> {
        self.lacks.iter().map(|(role, lacks)| format!("its role {role} {}", in_words(lacks)))
    }

    /// What of its files is wrong in a way that it would not start with.
    pub fn keeps_it_down(&self) -> Option<String> {
        let of_hba = self.hba_errors.first().map(|error| format!("pg_hba.conf, {error}"));
        let of_settings = || self.setting_errors.iter().find(|error| error.keeps_it_down());
        of_hba.or_else(|| Some(of_settings()?).map(|error| format!("{} ({})", error.what(), error.place())))
    }

    /// Whether it runs with this value already, though its files say another.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.runs_with.get(&name.to_ascii_lowercase()).is_some_and(|found| guc::is_same(name, found, value))
    }

    /// What is said of a change to these settings.
    pub fn after_restart<'a>(&self, changed: impl IntoIterator<Item = &'a String>) -> String {
        let waits = |name: &&String| self.needs_restart.contains(&name.to_ascii_lowercase());
        let names: Vec<&str> = changed.into_iter().filter(waits).map(String::as_str).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("; takes effect after a restart of PostgreSQL: {}", names.join(", ")),
        }
    }

    /// Settings that wait for a restart, but for those by which keepers point a standby: they leave traces.
    pub fn pending(&self) -> Vec<&str> {
        let keepers = ["primary_conninfo", "primary_slot_name", "recovery_target_timeline"];
        self.pending_restart.iter().map(String::as_str).filter(|name| !keepers.contains(name)).collect()
    }
}

/// The server's answer as one JSON object; `server_version_num` and the like come from pg_controldata.
const SERVER: &str = "select json_build_object(
 'in_recovery', pg_is_in_recovery(),
 'roles', coalesce((select json_object_agg(rolname, rolpassword is not null) from pg_authid where rolname !~ '^pg_'), '{}'),
 'verifiers', coalesce((select json_object_agg(rolname, rolpassword) from pg_authid
   where rolname in (:'username', 'pgautofailover_replicator', 'autoctl_node') and rolpassword is not null), '{}'),
 'lacks', coalesce((select json_object_agg(rolname, lacks) from (select rolname, array_remove(array[
   case when not rolcanlogin then 'login' end,
   case when rolname = 'pgautofailover_replicator' and not rolreplication and not rolsuper then 'replication' end,
   case when rolvaliduntil < now() and rolpassword is not null then 'valid' end], null) as lacks from pg_authid
   where rolname in (:'username', 'pgautofailover_replicator', 'pgautofailover_monitor', 'autoctl_node')) as found
   where lacks <> '{}'), '{}'),
 'databases', (select json_agg(datname) from pg_database),
 'uptime', greatest(0, extract(epoch from now() - pg_postmaster_start_time()))::bigint,
 'slots', coalesce((select json_agg(slot_name) from pg_replication_slots where slot_type = 'physical'), '[]'),
 'synchronous_standby_names', current_setting('synchronous_standby_names'),
 'streaming', (STREAMING),
 'pending_restart', coalesce((select json_agg(name) from pg_settings s where pending_restart
   and (source = 'configuration file' or exists (select from pg_file_settings f where lower(f.name) = lower(s.name)))), '[]'),
 'lowered', coalesce((select json_agg(s.name) from pg_settings s where s.pending_restart and s.name in ('max_connections',
   'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction') and s.setting::bigint >
   (select f.setting::bigint from pg_file_settings f where lower(f.name) = s.name and f.setting ~ '^[0-9]{1,9}$'
    order by f.seqno desc limit 1)), '[]'),
 'runs_with', (select json_object_agg(name, setting) from pg_settings where pending_restart or name in ('max_connections',
   'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')),
 'by_command_line', coalesce((select json_agg(name) from pg_settings where source = 'command line'), '[]'),
 'needs_restart', (select json_agg(name) from pg_settings where context = 'postmaster'),
 'made_by', (select json_build_object('encoding', pg_encoding_to_char(encoding), 'locale', datcollate,
   'data_checksums', current_setting('data_checksums')::boolean) from pg_database where datname = 'template1'),
 'hba_errors', coalesce(case when (HBA_IS_THERE) then
   (select json_agg(format('line %s: %s', line_number, error)) from pg_hba_file_rules where (HBA_REFUSED)) end, '[]'),
 'hba_notes', coalesce(case when (HBA_IS_THERE) then
   (select json_agg(format('line %s: %s', line_number, error)) from pg_hba_file_rules
    where error is not null and not ((HBA_REFUSED))) end, '[]'),
 'setting_errors', coalesce((select json_agg(json_build_object('name', name, 'file', case
   when starts_with(sourcefile, current_setting('data_directory') || '/')
   then substr(sourcefile, length(current_setting('data_directory')) + 2) else sourcefile end,
   'line', sourceline, 'error', error) order by seqno) from pg_file_settings f where (IS_NOT_TAKEN)), '[]'),
 'unread', coalesce((select json_agg(name) from (values ('postgresql.conf'), ('pg_hba.conf'), ('pg_ident.conf'), ('postgresql-auto-failover.conf'),
   (current_setting('data_directory') || '.node/node.conf'), (current_setting('data_directory') || '.node/server.crt'),
   (current_setting('data_directory') || '.node/ca.crt'), (current_setting('data_directory') || '.node/ca.crl')) as files (name)
   where (pg_stat_file(name, true)).modification > pg_conf_load_time()), '[]'))";

/// `pg_hba_file_rules` ends with an error where the file is gone; a server that runs has the rules that it has read. What stands
/// behind it in a `case` is a query of its own, which is not begun before the question is answered.
const HBA_IS_THERE: &str = "(pg_stat_file(current_setting('hba_file'), true)).size is not null";

const EXTENSIONS: &str = "select coalesce(json_object_agg(extname, extversion), '{}') from pg_extension";

/// Whether the formation's database is there is asked of the catalog: a login that fails says nothing about it.
const DATABASE: &str =
    "select case when exists (select from pg_database where datname = :'dbname') then '+' else '~' end";

/// After [`crate::sql::ASKING`]; `$k` is a live keeper or empty, `$dbname`.
pub fn probe() -> String {
    format!(
        r#"
if [ -z "$pid" ] && [ -z "$stale" ] && [ -n "$k" ] && [ -f "$pgdata/PG_VERSION" ]; then
  await_postmaster
  if [ -n "$pid" ]; then say postmaster "$pid"; say postmaster.port "$port"; fi
fi
# A question to the server of this host: $1 record, $2 database; its SQL on standard input.
json() {{
  q=$(cat)
  if [ -n "$pid" ]; then ask "$2"; fi
  if [ -n "$pid" ]; then answered "$1"; else none "$1"; fi
}}
there='~'
if [ -n "$pid" ]; then
  question <<'SQL'
{LEARN}{SERVER};
{DATABASE};
SQL
  ask postgres -v dbname="$dbname" -v username="$username"
  there=${{out##*"$nl"}} out=${{out%"$nl"*}}
  if [ -n "$pid" ]; then answered sql; else none sql; fi
else none sql; fi
case $there in
'+') json sql.extensions "$dbname" <<'SQL' ;;
{EXTENSIONS}
SQL
*) none sql.extensions ;;
esac
"#
    )
    .replace("IS_NOT_TAKEN", IS_NOT_TAKEN)
    .replace("(STREAMING)", streaming::SQL)
    .replace("(HBA_REFUSED)", HBA_REFUSED)
    .replace("(HBA_IS_THERE)", HBA_IS_THERE)
}

/// `None` where the server does not run.
pub fn parse(answers: &Answers) -> Result<Option<DatabaseFacts>, String> {
    if answers.text("sql")?.is_none() {
        return Ok(None);
    }
    let mut facts: DatabaseFacts = answers.json("sql")?;
    facts.extensions = match answers.text("sql.extensions")? {
        Some(_) => Some(answers.json("sql.extensions")?),
        None => None,
    };
    Ok(Some(facts))
}

/// The extensions of the formation's database, in the order in which they are created.
pub fn wanted_extensions(node: &Node) -> &'static [&'static str] {
    match node.kind {
        NodeKind::Standalone => &["pg_stat_statements"],
        NodeKind::Coordinator | NodeKind::Worker => &["pg_stat_statements", "citus"],
    }
}

/// A step ends though no standby confirms it: what a failover then loses, a rerun makes again.
pub const NO_WAIT: &str = "SET synchronous_commit = 'local';\n";

/// Roles, database and extensions of a node that takes writes; what is there is left as it is.
pub fn steps(formation: &Formation, node: &Node, bin: &str, facts: Option<&DatabaseFacts>) -> Vec<Step> {
    let mut steps = Vec::new();
    let has_role = |name: &str| facts.is_some_and(|facts| facts.roles.contains_key(name));
    let mut run = |op: Op, because: String, dbname: &str, sql: Stdin| {
        let sql = match sql {
            Stdin::Text(text) => Stdin::Text(format!("{NO_WAIT}{text}")),
            Stdin::Hidden(_) | Stdin::Binary(_) | Stdin::Nothing => sql,
        };
        let command = local(&node.server, bin, &node.username, dbname, sql);
        steps.push(Step::new(node.name(), op, because, Action::Run(command)));
    };

    // The password is pg_auto_failover's own, the same everywhere: the role may do nothing but connect.
    // Source: PG_AUTOCTL_HEALTH_PASSWORD in defaults.h.
    if !has_role("pgautofailover_monitor") {
        let sql =
            role("pgautofailover_monitor", "LOGIN CONNECTION LIMIT 1 PASSWORD 'pgautofailover_monitor'");
        run(
            Op::CreateRole { name: "pgautofailover_monitor".into() },
            "the monitor's health checks".into(),
            "postgres",
            Stdin::Text(sql),
        );
    }
    if !has_role("pgautofailover_replicator") {
        let sql = role("pgautofailover_replicator", "LOGIN SUPERUSER REPLICATION");
        let why = "standbys and pg_rewind connect with it";
        let op = Op::CreateRole { name: "pgautofailover_replicator".into() };
        run(op, why.into(), "postgres", Stdin::Text(sql));
    }
    for (op, because, sql) in repairs(facts) {
        run(op, because, "postgres", sql);
    }
    for (name, password) in passwords(node) {
        if let Some(why) = wants_password(&node.server, name, password, facts) {
            let salt = scram::salt(&formation.seed, &node.name().0, name);
            run(
                Op::SetPassword { role: name.to_owned() },
                why,
                "postgres",
                set_password(name, password, &salt),
            );
        }
    }
    let is_made_by_initdb = ["postgres", "template1"].contains(&formation.dbname.as_str());
    if !is_made_by_initdb && !facts.is_some_and(|facts| facts.databases.contains(&formation.dbname)) {
        let (name, owner) = (&formation.dbname, &node.username);
        let create = format!("CREATE DATABASE {} WITH OWNER {}", ident(name), ident(owner));
        let sql = format!(
            "select {} where not exists (select from pg_database where datname = {}) \\gexec\n",
            literal(&create),
            literal(name)
        );
        run(
            Op::CreateDatabase { name: name.clone() },
            "the formation's database".into(),
            "postgres",
            Stdin::Text(sql),
        );
    }
    let there = facts.and_then(|facts| facts.extensions.as_ref());
    for extension in wanted_extensions(node) {
        if there.is_some_and(|there| there.contains_key(*extension)) {
            continue;
        }
        let mut sql = format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE;\n", ident(extension));
        if node.kind == NodeKind::Worker {
            // Citus has a worker that it knows create nothing for all, and refuses it also where it is there.
            sql.insert_str(0, "SET citus.enable_ddl_propagation = off;\n");
        }
        if *extension == "citus" && node.server.tls == Tls::Off {
            // Citus turns ssl on by ALTER SYSTEM when it finds it off; that would win over every file.
            sql.push_str("ALTER SYSTEM RESET ssl;\nSELECT pg_reload_conf();\n");
        }
        let dbname = Some(formation.dbname.clone());
        let op = Op::CreateExtension { name: (*extension).to_owned(), dbname };
        run(op, format!("a {} needs it", node.kind), &formation.dbname, Stdin::Text(sql));
    }
    steps
}

fn role(name: &str, options: &str) -> String {
    let create = format!("CREATE ROLE {} WITH {options}", ident(name));
    format!(
        "select {} where not exists (select from pg_roles where rolname = {}) \\gexec\n",
        literal(&create),
        literal(name)
    )
}

/// The passwords that muster gives to roles of a node.
pub fn passwords(node: &Node) -> impl Iterator<Item = (&str, &Secret)> {
    let of_roles =
        [("pgautofailover_replicator", &node.replication_password), (node.username.as_str(), &node.password)];
    of_roles.into_iter().filter_map(|(role, password)| Some((role, password.as_ref()?)))
}

/// What gives roles back what they lack, each with the reason.
pub fn repairs(facts: Option<&DatabaseFacts>) -> impl Iterator<Item = (Op, String, Stdin)> {
    facts.into_iter().flat_map(|facts| &facts.lacks).map(|(name, lacks)| {
        let rights: Vec<&str> = lacks.iter().map(|right| right.as_sql()).collect();
        let sql = format!("ALTER ROLE {} WITH {};\n", ident(name), rights.join(" "));
        (Op::RepairRole { name: name.clone() }, format!("it {}", in_words(lacks)), Stdin::Text(sql))
    })
}

fn in_words(lacks: &[Right]) -> String {
    lacks.iter().map(|right| right.lack()).collect::<Vec<_>>().join(" and ")
}

/// Why a role is to be given this password; `None` where it has it.
pub fn wants_password(
    server: &Server,
    role: &str,
    password: &Secret,
    facts: Option<&DatabaseFacts>,
) -> Option<String> {
    let method = server.auth.as_str();
    let Some(found) = facts.and_then(|facts| facts.verifiers.get(role)) else {
        return Some(format!("auth is {method}, and it has none"));
    };
    match scram::kept(found, role, password) {
        Kept::Scram => None,
        Kept::Md5 if server.auth == Auth::Md5 => None,
        Kept::Md5 => {
            Some(format!("auth is {method}, and it is kept as an md5 hash, which that does not take"))
        }
        Kept::Other => Some("another one is wanted".to_owned()),
    }
}

/// The server gets a SCRAM verifier, whatever `auth` is: the method md5 takes one as well. Its log and pg_stat_statements do not
/// get to see even that.
pub fn set_password(name: &str, password: &Secret, salt: &[u8]) -> Stdin {
    let verifier = scram::verifier(password, salt);
    Stdin::Hidden(Secret::new(format!("{UNTOLD}{NO_WAIT}{}", alter_role(name, &verifier).reveal())))
}

/// A statement that gives a role a verifier; behind [`UNTOLD`].
pub fn alter_role(name: &str, verifier: &Secret) -> Secret {
    Secret::new(format!("ALTER ROLE {} PASSWORD {};\n", ident(name), literal(verifier.reveal())))
}

/// What comes before it: nothing of it is to be in a log.
pub const UNTOLD: &str = "\
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET log_transaction_sample_rate = 0;
SET log_min_duration_sample = -1;
SET debug_print_parse = off;
SET debug_print_rewritten = off;
SET debug_print_plan = off;
SET pg_stat_statements.track_utility = off;
SET lock_timeout = '20s';
";

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a server write a statement's text, or its parse tree, to the log without an error.
    #[test]
    fn a_password_is_in_no_log() {
        let Stdin::Hidden(sql) = set_password("postgres", &Secret::new("pearl"), &[0; 16]) else {
            panic!("the password is shown")
        };
        let (before, after) = sql.reveal().split_once("ALTER ROLE").expect("it alters the role");
        assert!(after.contains("SCRAM-SHA-256$") && !after.contains("pearl"), "{after}");
        for off in [
            "log_statement = 'none'",
            "log_min_duration_statement = -1",
            "log_min_duration_sample = -1",
            "log_transaction_sample_rate = 0",
            "log_min_error_statement = 'panic'",
            "debug_print_parse = off",
            "debug_print_rewritten = off",
            "debug_print_plan = off",
            "pg_stat_statements.track_utility = off",
        ] {
            assert!(before.contains(&format!("SET {off};")), "{off}");
        }
    }
}
