//! `settings:`, PostgreSQL's own parameters: which of them the operator may give, and which values.

use std::collections::BTreeMap;

use super::source::{Source, quote};
use super::tree::{Entry, Node, Tree};
use super::value::{self, Setting, Value};
use crate::error::Problem;
use crate::formation::NodeKind;
use crate::resource::guc::{self, Wrong};

/// Settings that follow from a variable or from the state of the formation, and what to do instead.
pub(super) const OWNED: &[(&str, &str)] = &[
    ("port", "use the variable `pgport`"),
    ("listen_addresses", "use the variable `listen`"),
    (
        "ssl",
        "use the variable `ssl: managed`, `ssl_self_signed` or `no_ssl`, or `server_cert` and `server_key`",
    ),
    ("ssl_cert_file", "use the variable `server_cert`"),
    ("ssl_key_file", "use the variable `server_key`"),
    ("ssl_ca_file", "use the variable `ssl_ca_file`, beside `settings`"),
    ("ssl_crl_file", "use the variable `ssl_crl_file`, beside `settings`"),
    ("primary_conninfo", "remove it: it follows the group's primary"),
    ("primary_slot_name", "remove it: it follows the node's number on the monitor"),
    (
        "synchronous_standby_names",
        "use the variables `number_sync_standbys`, `candidate_priority` and `replication_quorum`",
    ),
    ("recovery_target_timeline", "remove it: standbys follow the latest timeline"),
    ("recovery_target", STANDBYS_GO_ON),
    ("recovery_target_action", STANDBYS_GO_ON),
    ("recovery_target_inclusive", STANDBYS_GO_ON),
    ("recovery_target_lsn", STANDBYS_GO_ON),
    ("recovery_target_name", STANDBYS_GO_ON),
    ("recovery_target_time", STANDBYS_GO_ON),
    ("recovery_target_xid", STANDBYS_GO_ON),
    ("promote_trigger_file", "remove it: who is promoted is the monitor's to say"),
    ("pre_auth_delay", "remove it: it holds up every login, the keeper's too"),
    ("post_auth_delay", "remove it: it holds up every login, the keeper's too"),
    ("hba_file", "use the variable `hba`"),
    ("data_directory", "use the variable `pgdata`"),
    ("config_file", "use the variable `pgdata`; the file is in it"),
    ("citus.local_hostname", "use the variable `hostname`"),
    ("citus.node_conninfo", "use the variables `ssl_mode` and `ssl_ca_file`"),
    ("citus.cluster_name", "use the variables `citus_secondary` and `citus_cluster`"),
    ("citus.use_secondary_nodes", "use the variable `citus_secondary`"),
    ("include", "give the settings themselves"),
    ("include_dir", "give the settings themselves"),
    ("include_if_exists", "give the settings themselves"),
];

const STANDBYS_GO_ON: &str = "remove it: a standby that stops at a target never catches up with its primary";

/// Why a setting is not the inventory's to give: what to use instead.
pub fn owned(name: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, instead)| *instead)
}

/// Switches that must stay on, and why.
const ALWAYS_ON: &[(&str, &str)] = &[
    ("hot_standby", "pg_auto_failover asks the standbys how far they are"),
    ("wal_log_hints", "pg_rewind needs it to bring a failed primary back"),
    ("allow_alter_system", "keepers use ALTER SYSTEM, and a primary without a standby never gets one"),
];

/// The least that keepers, base backups and standbys get along with, in the setting's own unit, and why; for some 0 means that
/// there is no bound.
const LEAST: &[(&str, f64, ZeroIs, &str)] = &[
    ("max_wal_senders", 4.0, ZeroIs::TooFew, "each standby takes one, and a base backup two"),
    ("max_replication_slots", 2.0, ZeroIs::TooFew, "each standby has one on every node of its group"),
    ("statement_timeout", 5000.0, ZeroIs::NoBound, FOR_KEEPERS),
    ("transaction_timeout", 5000.0, ZeroIs::NoBound, FOR_KEEPERS),
    ("lock_timeout", 1000.0, ZeroIs::NoBound, FOR_KEEPERS),
    ("idle_session_timeout", 10_000.0, ZeroIs::NoBound, FOR_KEEPERS),
    ("idle_in_transaction_session_timeout", 1000.0, ZeroIs::NoBound, FOR_KEEPERS),
];

const FOR_KEEPERS: &str =
    "it holds for the keepers' sessions as well; give your users less with ALTER ROLE ... SET";

#[derive(Clone, Copy, PartialEq, Eq)]
enum ZeroIs {
    NoBound,
    TooFew,
}

pub(super) fn read(node: &Node, source: &mut Source) -> Value {
    let entries = match &node.tree {
        Tree::Map(entries) => entries,
        Tree::Null => return Value::Settings(BTreeMap::new()),
        other => {
            source.problem(node.span, value::mismatch("settings", "a mapping of names to values", other));
            return Value::Bad;
        }
    };
    let mut settings = BTreeMap::new();
    for entry in entries {
        if let Some((name, setting)) = read_one(entry, source) {
            settings.insert(name, setting);
        }
    }
    if settings.len() == entries.len() { Value::Settings(settings) } else { Value::Bad }
}

/// What only shows once the host's kind is known: Citus moves shards by logical replication.
pub(super) fn check_for_kind(kind: NodeKind, settings: &BTreeMap<String, Setting>, source: &mut Source) {
    if kind == NodeKind::Standalone {
        return;
    }
    if let Some(setting) = settings.get("wal_level").filter(|setting| setting.value != "logical") {
        let problem = Problem::new(format!("`wal_level` must be `logical` on a {kind}"));
        source.problem(setting.span, problem.hint("remove it: logical is what Citus nodes get"));
    }
}

/// muster and keepers come over the socket in `pghost`.
pub(super) fn check_sockets(pghost: Option<&str>, settings: &BTreeMap<String, Setting>, source: &mut Source) {
    let pghost = pghost.filter(|pghost| pghost.starts_with('/'));
    let (Some(pghost), Some(setting)) = (pghost, settings.get("unix_socket_directories")) else { return };
    let is_it =
        |dir: &str| dir.trim().trim_matches('"').trim_end_matches('/') == pghost.trim_end_matches('/');
    if !setting.value.split(',').any(is_it) {
        let problem = Problem::new(format!(
            "`unix_socket_directories` has no {}, which `pghost` names: muster and keepers come over that socket",
            quote(pghost)
        ));
        source.problem(setting.span, problem.hint("add the directory, or correct `pghost`"));
    }
}

fn read_one(entry: &Entry, source: &mut Source) -> Option<(String, Setting)> {
    // PostgreSQL does not tell upper from lower case in these names.
    let name = entry.key.to_ascii_lowercase();
    if !is_setting_name(&name) {
        let problem = Problem::new(format!("{} is no name of a setting", quote(&entry.key)));
        source.problem(entry.key_span, problem.hint("letters, digits, `_` and `.`, e.g. work_mem"));
        return None;
    }
    if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        let problem = Problem::new(format!("the setting `{name}` is not yours to give"));
        source.problem(entry.key_span, problem.hint(*instead));
        return None;
    }
    if let Some(Wrong::Unknown(Some(near))) = guc::wrong(&name, "", None) {
        let problem = Problem::new(format!("PostgreSQL has no setting `{name}`"));
        source.problem(entry.key_span, problem.hint(format!("did you mean `{near}`?")));
        return None;
    }
    let span = entry.value.span;
    let checked = scalar(&name, &entry.value.tree).and_then(|value| match check(&name, &value) {
        Some(problem) => Err(problem),
        None => Ok(value),
    });
    match checked {
        Ok(value) => Some((name, Setting { value, span })),
        Err(problem) => {
            source.problem(span, problem);
            None
        }
    }
}

/// `work_mem`, `citus.shard_count`. Source: ID and QUALIFIED_ID in guc-file.l; the server keeps 63 bytes of some.
fn is_setting_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    name.len() <= 63 && name.split('.').count() <= 2 && name.split('.').all(is_word)
}

fn scalar(name: &str, tree: &Tree) -> Result<String, Problem> {
    let text = match tree {
        Tree::Flag { value: true, .. } => "on",
        Tree::Flag { value: false, .. } => "off",
        Tree::Number(text) | Tree::Text(text) => text,
        Tree::Null | Tree::Vault(_) | Tree::List(_) | Tree::Map(_) => {
            let problem = value::mismatch(name, "one value", tree);
            return Err(match tree {
                Tree::List(_) => problem.hint("write one text with commas"),
                _ => problem,
            });
        }
    };
    match value::unshowable(name, text) {
        Some(problem) => Err(problem),
        None => Ok(text.to_owned()),
    }
}

fn check(name: &str, value: &str) -> Option<Problem> {
    let lower = value.to_ascii_lowercase();
    match guc::wrong(name, value, None) {
        Some(Wrong::Value(expected)) => {
            return Some(Problem::new(format!("`{name}` must be {expected}, not {}", quote(value))));
        }
        // Of another name the lint tells, and the plan, which knows the version.
        Some(Wrong::Unknown(_) | Wrong::Elsewhere(..)) | None => {}
    }
    if let Some((_, why)) = ALWAYS_ON.iter().find(|(on, _)| *on == name)
        && guc::flag(value) == Some(false)
    {
        return Some(Problem::new(format!("`{name}` must stay on: {why}")));
    }
    if let Some((_, least, zero, why)) = LEAST.iter().find(|(bound, ..)| *bound == name)
        && let Some(number) = guc::count(name, value)
        && number < *least
        && !(number == 0.0 && *zero == ZeroIs::NoBound)
    {
        let (unit, zero) = match zero {
            ZeroIs::NoBound => (" ms", ", or 0 for no bound"),
            ZeroIs::TooFew => ("", ""),
        };
        let problem =
            Problem::new(format!("`{name}` must be at least {least}{unit}{zero}, not {}", quote(value)));
        return Some(problem.hint(*why));
    }
    match name {
        "default_transaction_read_only" if guc::flag(value) == Some(true) => Some(
            Problem::new("`default_transaction_read_only` must stay off: keepers and Citus write, too")
                .hint("give it to your users: ALTER ROLE ... SET default_transaction_read_only = on"),
        ),
        "default_transaction_isolation" if lower == "serializable" => Some(
            Problem::new(
                "`default_transaction_isolation` must not be serializable: standbys refuse every session that has it",
            )
            .hint("give it to your users: ALTER ROLE ... SET default_transaction_isolation = serializable"),
        ),
        "unix_socket_directories" if value.split(',').all(|dir| dir.trim().is_empty()) => Some(
            Problem::new("`unix_socket_directories` is empty: muster and keepers come over the local socket")
                .hint("remove it, or name a directory, and the same as `pghost`"),
        ),
        "wal_level" if !matches!(lower.as_str(), "replica" | "logical") => {
            let problem =
                Problem::new(format!("`wal_level` must be replica or logical, not {}", quote(value)));
            Some(problem.hint("standbys cannot stream from anything less"))
        }
        "shared_preload_libraries" if value.trim().is_empty() => Some(
            Problem::new("`shared_preload_libraries` is empty").hint("remove it: Citus is added by itself"),
        ),
        _ => None,
    }
}
