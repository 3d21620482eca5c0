//! `settings:`, PostgreSQL's own parameters: which of them the operator may give, and which values.

use std::collections::BTreeMap;

use super::source::{Source, quote};
use super::tree::{Entry, Node, Tree};
use super::value::{self, Setting, Value};
use crate::error::Problem;
use crate::formation::NodeKind;

/// Settings that follow from a variable or from the state of the formation, and what to do instead.
pub(super) const OWNED: &[(&str, &str)] = &[
    ("port", "use the variable `pgport`"),
    ("listen_addresses", "use the variable `listen`"),
    ("ssl", "use the variable `ssl_self_signed` or `no_ssl`, or `server_cert` and `server_key`"),
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

/// Why a setting is not the inventory's to give: what to use instead.
pub fn owned(name: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, instead)| *instead)
}

/// Switches that must stay on, and why.
const ALWAYS_ON: &[(&str, &str)] = &[
    ("hot_standby", "pg_auto_failover asks the standbys how far they are"),
    ("wal_log_hints", "pg_rewind needs it to bring a failed primary back"),
];

/// PostgreSQL's words for off; it takes beginnings of them too.
const OFF: &[&str] = &["off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"];

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
    if let Some((_, why)) = ALWAYS_ON.iter().find(|(on, _)| *on == name)
        && OFF.contains(&lower.as_str())
    {
        return Some(Problem::new(format!("`{name}` must stay on: {why}")));
    }
    match name {
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
