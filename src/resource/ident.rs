//! `pg_ident.conf` with `auth: cert`: which roles each host of the formation may be, by the common name of its certificate.
//!
//! A name is mapped to a role where that role has a rule in `pg_hba.conf` for it, and nowhere else; a rule of the user's by this
//! map is for the nodes. The map stands between two comments, and the rest of the file is the user's. Whoever runs servers as one
//! user on one host has the keys of all of them: those are one.

use std::collections::BTreeSet;

use crate::formation::{Auth, Formation, MAP, Monitor, Node, NodeKind, Server};
use crate::hba;
use crate::resource::hba::hba_word;
use crate::resource::monitor::{self, NodeRow};
use crate::resource::names::is_host;
use crate::resource::tls;

/// Why it is written.
pub const BECAUSE: &str = "auth is cert: it says which hosts may be which roles";

const BEGIN: &str = "# Written by muster from here on: who may be whom, by the common name of a certificate.";
const END: &str = "# Written by muster until here.";

/// What muster writes into the file of a server; the same for every member of a group. `None` where nobody comes in by a certificate.
/// `strangers`: who is in the formation and not in the inventory.
pub fn wanted(formation: &Formation, server: &Server, strangers: &[&NodeRow]) -> Option<String> {
    let node = formation.nodes.get(&server.name);
    let asks = |server: &Server| server.auth == Auth::Cert;
    let asked = match node {
        Some(node) => formation.group(node.group).any(|member| asks(&member.server)),
        None => asks(server),
    };
    if !asked {
        return None;
    }
    let mut pairs = BTreeSet::new();
    let mut may_be = |names: Vec<String>, role: &str| {
        pairs.extend(names.into_iter().map(|name| (name, role.to_owned())));
    };
    let all = || formation.nodes.values();
    let unnamed = |of: &dyn Fn(&NodeRow) -> bool| {
        let rows = strangers.iter().filter(|row| is_host(&row.host) && of(row));
        rows.map(|row| row.host.clone()).collect::<Vec<String>>()
    };
    let members: Vec<&Server> = match node {
        Some(node) => formation.group(node.group).map(|member| &member.server).collect(),
        None => vec![server],
    };
    for role in members.iter().flat_map(|member| &member.hba).flat_map(|rule| roles_of(rule)) {
        all().for_each(|node| may_be(names(formation, &node.server), &role));
    }
    let Some(node) = node else {
        all().for_each(|node| may_be(names(formation, &node.server), monitor::USER));
        may_be(unnamed(&|_| true), monitor::USER);
        return Some(text(&pairs));
    };
    let is_of_group = |other: &&Node| other.group == node.group;
    let is_citus = node.kind != NodeKind::Standalone;
    all()
        .filter(|other| is_citus || is_of_group(other))
        .for_each(|other| may_be(names(formation, &other.server), &node.username));
    may_be(unnamed(&|row| is_citus || row.group == node.group), &node.username);
    all()
        .filter(is_of_group)
        .for_each(|member| may_be(names(formation, &member.server), "pgautofailover_replicator"));
    may_be(unnamed(&|row| row.group == node.group), "pgautofailover_replicator");
    if let Monitor::Managed(monitor) = &formation.monitor {
        may_be(names(formation, monitor), "pgautofailover_monitor");
    }
    Some(text(&pairs))
}

/// Whom a rule of the user's lets in by this map: the nodes come as these, as Citus does for a role that asks it.
fn roles_of(rule: &str) -> Vec<String> {
    let read = hba::read_text("hba", rule, 15);
    let is_ours = |rule: &&hba::Rule| rule.method == "cert" && rule.options.contains(&format!("map={MAP}"));
    let users = read.rules().map(|(_, rule)| rule).filter(is_ours).flat_map(|rule| &rule.users);
    let named = users.filter(|word| !word.is("all") && (word.quoted || !word.text.starts_with(['+', '/'])));
    named.map(|word| word.text.clone()).collect()
}

/// The names by which a server's connections go: its own, and those of whoever has the same keys.
fn names(formation: &Formation, server: &Server) -> Vec<String> {
    formation.servers().filter(|other| is_one(server, other)).map(tls::common_name).collect()
}

/// Whether two servers are one operating system user's on one host.
pub fn is_one(one: &Server, other: &Server) -> bool {
    let who = |server: &Server| (server.host.address.clone(), server.host.port, server.os_user.clone());
    one.name == other.name || who(one) == who(other)
}

fn text(pairs: &BTreeSet<(String, String)>) -> String {
    let line = |(name, role): &(String, String)| format!("{MAP} {} {}\n", hba_word(name), hba_word(role));
    format!("{BEGIN}\n{}{END}\n", pairs.iter().map(line).collect::<String>())
}

/// The file with muster's part as it should be; `None` if it is.
pub fn drift(found: Option<&str>, wanted: &str) -> Option<String> {
    let found = found.unwrap_or_default();
    let kept = without(found);
    let text = match kept.as_str() {
        "" => wanted.to_owned(),
        kept => format!("{}\n{wanted}", kept.trim_end_matches('\n')),
    };
    (found != text).then_some(text)
}

/// What is the user's: an end that somebody has deleted takes none of it along.
fn without(found: &str) -> String {
    let mut ours = false;
    let mut kept = String::new();
    for line in found.lines() {
        let is_ours = line == BEGIN || (ours && (line == END || line.starts_with(&format!("{MAP} \""))));
        ours = is_ours && line != END;
        if !is_ours {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formation() -> Formation {
        let text = "all:\n  vars: {pgdata: /d/pg, auth: cert}\n  children:\n    monitor: {hosts: {mon: }}\n    \
            coordinator: {hosts: {c1: , c2: {secondary: true}}}\n    workers: {hosts: {w1: {group: 1}, w2: {group: 1, secondary: true}, \
            x: {group: 2, ansible_host: w1, pgdata: /d/2, pgport: 5433, hostname: x}}}\n";
        crate::inventory::parse("t.yml", text, "".as_ref()).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn map(name: &str) -> Vec<String> {
        let formation = formation();
        let server = formation.servers().find(|server| server.name.0 == name).unwrap();
        let text = wanted(&formation, server, &[]).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.replace('"', "")).collect()
    }

    #[test]
    fn a_name_is_mapped_to_what_it_has_to_be() {
        let nodes = ["c1", "c2", "w1", "w2", "x"];
        assert_eq!(map("mon"), nodes.map(|node| format!("muster {node} autoctl_node")));
        let mut of_coordinator = nodes.map(|node| format!("muster {node} postgres")).to_vec();
        of_coordinator.extend(["c1", "c2"].map(|node| format!("muster {node} pgautofailover_replicator")));
        of_coordinator.push("muster mon pgautofailover_monitor".to_owned());
        of_coordinator.sort();
        assert_eq!(map("c2"), of_coordinator);
        // Its neighbour on one host has its key.
        assert!(map("w2").contains(&"muster x pgautofailover_replicator".to_owned()));
        assert_eq!(map("w1"), map("w2"));
    }

    #[test]
    fn a_rule_of_the_user_by_this_map_is_for_the_nodes() {
        let is = |rule: &str| roles_of(rule).join(" ");
        assert_eq!(is("hostssl app app,\"all\" samenet cert map=muster"), "app all");
        for other in
            ["hostssl app app samenet cert map=mine", "hostssl app all,+staff samenet cert map=muster"]
        {
            assert_eq!(is(other), "", "{other}");
        }
    }

    #[test]
    fn lines_of_the_user_stay() {
        let ours = format!("{BEGIN}\nmuster \"a\" \"b\"\n{END}\n");
        assert_eq!(drift(None, &ours), Some(ours.clone()));
        assert_eq!(drift(Some(&ours), &ours), None);
        let users = "# theirs\nmine alice app\n";
        let both = drift(Some(users), &ours).unwrap();
        assert_eq!(both, format!("{users}{ours}"));
        assert_eq!(drift(Some(&both), &ours), None);
        let other = ours.replace("\"a\"", "\"c\"");
        let behind = format!("{both}more bob app\n");
        assert_eq!(drift(Some(&behind), &other), Some(format!("{users}more bob app\n{other}")));
        let endless = behind.replace(&format!("{END}\n"), "");
        assert_eq!(drift(Some(&endless), &other), Some(format!("{users}more bob app\n{other}")));
    }
}
