//! Settings, rules and what initdb was told, as the servers themselves say it; and what is odd about them.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::formation::{Formation, Monitor, NodeName, Server};
use crate::inventory::owned;
use crate::resource::adopted::conf::Line;
use crate::resource::adopted::{ServerFacts, rules};
use crate::resource::overruled::OF_KEEPERS;

/// What an operator should know of each server; it becomes comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What keeps its keeper running.
    pub keepers: BTreeMap<NodeName, String>,
    /// What is odd about it.
    pub odd: BTreeMap<NodeName, Vec<String>>,
}

/// What initdb writes into every `postgresql.conf`: with this value it is nobody's choice.
const INITDB: &[(&str, &str)] = &[
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("max_wal_size", "1GB"),
    ("min_wal_size", "80MB"),
];

/// What initdb takes from the machine, whatever its value.
const OF_THE_MACHINE: &[&str] = &[
    "dynamic_shared_memory_type",
    "log_timezone",
    "timezone",
    "datestyle",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "default_text_search_config",
];

/// Fills in what only the servers know. A server that was not seen stays as it was drafted.
pub fn complete(formation: &mut Formation, facts: &Facts) -> Notes {
    let mut notes = Notes::default();
    if let Monitor::Managed(server) = &mut formation.monitor {
        one(server, facts, &mut notes);
    }
    for node in formation.nodes.values_mut() {
        one(&mut node.server, facts, &mut notes);
    }
    notes.odd.retain(|_, notes| !notes.is_empty());
    notes
}

fn one(server: &mut Server, facts: &Facts, notes: &mut Notes) {
    let Some(seen) = facts.seen(&server.name) else { return };
    let unit = seen.adopted.as_ref().and_then(|adopted| adopted.unit.as_ref());
    let odd = notes.odd.entry(server.name.clone()).or_default();
    match (seen.keeper.alive, unit) {
        (Some(_), Some(unit)) => {
            notes.keepers.insert(server.name.clone(), unit.clone());
        }
        (Some(_), None) => {
            odd.push("its pg_autoctl was started by hand: nothing starts it after a reboot".to_owned());
        }
        (None, _) => odd.push("its pg_autoctl does not run".to_owned()),
    }
    let notes = odd;
    let Some(adopted) = &seen.adopted else { return };
    let config = seen
        .keeper
        .config
        .as_ref()
        .map(|config| crate::resource::keeper::adopted::Config::parse(config.reveal()));
    let level = config.as_ref().and_then(|config| config.get("postgresql", "hba_level"));
    if let Some(level) = level.filter(|level| !["minimal", "lan", "skip"].contains(level)) {
        notes.push(format!("hba_level in pg_autoctl.cfg is {level}, which is no level: it is not compared"));
    }
    let Some(found) = &adopted.server else {
        notes.push("PostgreSQL did not run: its settings and rules are not here".to_owned());
        return;
    };
    server.initdb.data_checksums = found.data_checksums;
    server.initdb.encoding.clone_from(&found.encoding);
    server.initdb.locale.clone_from(&found.locale);
    server.settings = settings(found, notes);
    if let Some(text) = adopted.rules.as_ref().and_then(|rules| rules.text.as_deref()) {
        server.hba = rules::own(text);
        for line in rules::others(text) {
            notes.push(format!("pg_hba.conf has `{line}`, which is no rule: it is left as it is"));
        }
    }
    for error in &found.errors {
        notes.push(format!("the server cannot read its configuration: {error}"));
    }
    if let Some(database) = &seen.database {
        let pending = database.pending();
        if !pending.is_empty() {
            notes.push(format!("waits for a restart: {}", pending.join(", ")));
        }
    }
}

fn settings(found: &ServerFacts, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let is_keepers = |line: &Line| {
        let name = line.file.rsplit('/').next().unwrap_or_default();
        name.starts_with("postgresql-auto-failover")
    };
    for line in found.lines.iter().filter(|line| !line.is_system() && !is_keepers(line)) {
        settings.insert(line.name.clone(), line.value.clone());
    }
    settings.retain(|name, value| {
        let initdbs = INITDB.contains(&(name.as_str(), value.as_str()));
        !initdbs && !OF_THE_MACHINE.contains(&name.as_str())
    });
    let mut by_system = BTreeMap::new();
    for line in found.lines.iter().filter(|line| line.is_system()) {
        if !OF_KEEPERS.contains(&line.name.as_str()) {
            by_system.insert(line.name.clone(), line.value.clone());
        }
    }
    for (name, value) in &by_system {
        notes.push(format!("{name} = {value} by ALTER SYSTEM, which wins over postgresql.conf"));
    }
    settings.extend(by_system);
    settings.retain(|name, value| match owned(name) {
        None => true,
        Some(instead) => {
            notes.push(format!("its files set {name} = {value}, which an inventory does not: {instead}"));
            false
        }
    });
    settings
}
