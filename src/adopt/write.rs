//! The inventory as a person would write it: what hosts have in common stands once, and what is odd in comments.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::adopt::complete::Notes;
use crate::adopt::levels::{Entry, Shared, entries};
use crate::adopt::scalar::{scalar, setting};
use crate::adopt::vars::Vars;
use crate::formation::{Auth, Formation, Monitor, Node, NodeKind, NodeName, Secret};
use crate::resource::monitor::MonitorFacts;

/// An inventory, and the files that its secrets are in.
#[derive(Debug)]
pub struct Written {
    pub text: String,
    /// Path relative to the inventory, and what is in it.
    pub secrets: Vec<(String, Secret)>,
}

/// What is not the formation's own.
pub struct About {
    /// What `--monitor` was, without a password.
    pub monitor: String,
    pub today: Date,
    /// Connection variables of all hosts.
    pub connection: Vec<(&'static str, String)>,
    /// Nodes that are left out, and why.
    pub left_out: BTreeMap<NodeName, String>,
}

pub fn inventory(
    formation: &Formation,
    facts: Option<&MonitorFacts>,
    notes: &Notes,
    about: &About,
) -> Written {
    let entries = entries(formation, facts);
    let mut out = Text::default();
    out.line(
        0,
        &format!("# A formation that pg_autoctl made, adopted from {} on {}.", about.monitor, about.today),
    );
    out.line(
        0,
        "# What every variable means: docs/inventory.md of muster. Settings and hba are edited in place on the hosts;",
    );
    out.line(0, "# their other files and their keepers stay as they are.");
    for (name, why) in &about.left_out {
        out.line(0, &format!("# LEFT OUT: {name}: {}", one_line(why)));
    }
    out.line(0, "all:");
    out.line(2, "vars:");
    for (name, value) in &about.connection {
        out.line(4, &format!("{name}: {}", scalar(value)));
    }
    out.line(4, "adopted: true");
    let mut secrets = Vec::new();
    if let Monitor::External(uri) = &formation.monitor {
        out.line(4, &format!("monitor: {}", scalar(&uri.shown())));
    }
    passwords(formation, &mut out, &mut secrets);
    let shared = Shared::new(&entries);
    at_level(&shared, &mut out, 4, "all");
    out.line(2, "children:");
    for top in ["monitor", "coordinator", "postgres"] {
        hosts_of(&mut out, 4, top, &entries, &shared, formation, notes);
    }
    let workers: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.parent() == "workers")
        .map(|entry| entry.group.as_str())
        .collect();
    if !workers.is_empty() {
        out.line(4, "workers:");
        out.vars(6, |out, indent| at_level(&shared, out, indent, "workers"));
        out.line(6, "children:");
        let mut ordered: Vec<&str> = workers.into_iter().collect();
        ordered.sort_by_key(|name| (name.len(), *name));
        for group in ordered {
            hosts_of(&mut out, 8, group, &entries, &shared, formation, notes);
        }
    }
    Written { text: out.0, secrets }
}

fn passwords(formation: &Formation, out: &mut Text, secrets: &mut Vec<(String, Secret)>) {
    let mut say = |out: &mut Text, name: &str, secret: &Secret| {
        let path = format!("secrets/{name}");
        out.line(4, &format!("{name}: file:{path}"));
        secrets.push((path, secret.clone()));
    };
    if let Some(secret) = formation.nodes.values().find_map(|node| node.monitor_password.as_ref()) {
        say(out, "monitor_password", secret);
    }
    let is_asked =
        |node: &Node| matches!(node.server.auth, Auth::Md5 | Auth::ScramSha256) && node.password.is_none();
    if let Some(node) = formation.nodes.values().find(|node| is_asked(node)) {
        let user = &node.username;
        out.line(
            4,
            &format!("# password: that of {user} is not pg_autoctl's; muster verify logs in with it"),
        );
    }
    let mut all = formation.nodes.values().map(|node| node.replication_password.as_ref());
    if let Some(Some(first)) = all.next()
        && all.all(|other| other == Some(first))
    {
        say(out, "replication_password", first);
    } else if formation.nodes.values().any(|node| node.replication_password.is_some()) {
        out.line(4, "# replication_password is not the same everywhere, and stays where pg_autoctl has it.");
    }
}

fn at_level(shared: &Shared, out: &mut Text, indent: usize, level: &str) {
    for (name, value) in shared.vars.get(level).into_iter().flat_map(Vars::values).flatten() {
        out.line(
            indent,
            &format!(
                "{name}: {}",
                if *value == "true" || *value == "false" { value.clone() } else { scalar(value) }
            ),
        );
    }
    if let Some(settings) = shared.settings.get(level) {
        out.line(indent, "settings:");
        for (name, value) in settings {
            out.line(indent + 2, &format!("{name}: {}", setting(value)));
        }
    }
    if let Some(rules) = shared.rules.get(level).filter(|rules| !rules.is_empty()) {
        out.line(indent, "hba:");
        rules.iter().for_each(|rule| out.line(indent + 2, &format!("- {}", scalar(rule))));
    }
}

fn hosts_of(
    out: &mut Text,
    indent: usize,
    group: &str,
    entries: &[Entry],
    shared: &Shared,
    formation: &Formation,
    notes: &Notes,
) {
    let mut members = entries.iter().filter(|entry| entry.group == group).peekable();
    let Some(first) = members.peek() else { return };
    let node = formation.nodes.get(&first.server.name);
    out.line(indent, &format!("{group}:"));
    out.vars(indent + 2, |out, indent| {
        if let Some(node) = node.filter(|node| node.kind == NodeKind::Worker) {
            out.line(indent, &format!("group: {}", node.group));
        }
        at_level(shared, out, indent, group);
    });
    out.line(indent + 2, "hosts:");
    for entry in members {
        let server = entry.server;
        for note in notes.odd.get(&server.name).into_iter().flatten() {
            out.line(indent + 4, &format!("# {}: {}", entry.key, one_line(note)));
        }
        let keeper = notes.keepers.get(&server.name).map(|unit| format!("  # its pg_autoctl: {unit}"));
        out.line(indent + 4, &format!("{}:{}", scalar(&entry.key), keeper.unwrap_or_default()));
        let mut say = |name: &str, value: &str| out.line(indent + 6, &format!("{name}: {}", scalar(value)));
        if server.name.0 != entry.key {
            say("name", &server.name.0);
        }
        if server.host.address != entry.key {
            say("ansible_host", &server.host.address);
        }
        if server.hostname != server.host.address {
            say("hostname", &server.hostname);
        }
        if let Some(port) = server.host.port {
            say("ansible_port", &port.to_string());
        }
        at_level(shared, out, indent + 6, &format!("host {}", entry.key));
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, text: &str) {
        self.0.push_str(&format!("{:indent$}{text}\n", ""));
    }

    /// `vars:` with what is written below it, where that is anything.
    fn vars(&mut self, indent: usize, write: impl FnOnce(&mut Text, usize)) {
        let mut inner = Text::default();
        write(&mut inner, indent + 2);
        if !inner.0.is_empty() {
            self.line(indent, "vars:");
            self.0.push_str(&inner.0);
        }
    }
}
