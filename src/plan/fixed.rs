//! What `initdb` and the registration have fixed: another value in the inventory is a refusal, never a step.

use crate::facts::Seen;
use crate::formation::{Formation, Node, Server};
use crate::plan::World;
use crate::resource::data::Pgdata;
use crate::resource::database::MadeBy;
use crate::resource::monitor::NodeRow;
use crate::resource::{hba, settings};

/// Why a server that is there cannot be what the inventory says; `None` where nothing of the kind differs, or where
/// it cannot be seen now.
pub(super) fn refusal(world: &World, server: &Server, seen: &Seen) -> Option<String> {
    let Pgdata::Present(found) = &seen.pgdata else { return None };
    if server.adopted {
        return None;
    }
    let node = world.formation.nodes.get(&server.name);
    let text = |name: &str| found.files.get(name).and_then(Option::as_deref).unwrap_or_default();
    let made = seen.database.as_ref().and_then(|database| database.made_by.as_ref());
    None.or_else(|| node.and_then(|node| dbname(world, node)))
        .or_else(|| node.and_then(|node| username(node, text("pg_hba.conf"))))
        .or_else(|| match node {
            // The monitor has a node's port, and is compared where the node is registered.
            Some(_) => None,
            None => port(server, text("postgresql-auto-failover.conf")),
        })
        .or_else(|| match node {
            // Its data may be a copy of what somebody else has made.
            Some(node) if !world.strangers_of(node.group).is_empty() => None,
            Some(_) | None => initdb(server, made?),
        })
}

/// The words of every refusal here: what it is, what the inventory says, and both ways out.
fn fixed(variable: &str, is: &str, wanted: &str, by: &str, otherwise: &str) -> String {
    format!(
        "{variable} is {is} here, and the inventory says {wanted}: {by} has fixed it; set {variable}: {is} again, or {otherwise}"
    )
}

const ANEW: &str = "make a formation anew and bring the data over by pg_dump";

/// The database is the formation's own, once a node is registered.
fn dbname(world: &World, node: &Node) -> Option<String> {
    let (facts, formation): (_, &Formation) = (world.monitor_facts()?, world.formation);
    facts.row(node.name())?;
    let is = &facts.formation.as_ref()?.dbname;
    (*is != formation.dbname)
        .then(|| fixed("dbname", is, &formation.dbname, "the registration of the first node", ANEW))
}

/// The superuser that initdb made has the first rule.
fn username(node: &Node, rules: &str) -> Option<String> {
    let is = hba::superuser(rules)?;
    (is != node.username).then(|| fixed("username", &is, &node.username, "initdb", ANEW))
}

/// Where every node has been told that the monitor is.
fn port(server: &Server, conf: &str) -> Option<String> {
    let is = settings::port(conf)?;
    let wanted = server.pgport.to_string();
    (is != wanted).then(|| {
        fixed("pgport", is, &wanted, "what each node has been told of its monitor", "make another monitor")
    })
}

fn initdb(server: &Server, made: &MadeBy) -> Option<String> {
    let wanted = &server.initdb;
    if is_another_encoding(&made.encoding, &wanted.encoding) {
        return Some(fixed("encoding", &made.encoding, &wanted.encoding, "initdb", ANEW));
    }
    if letters(&made.locale) != letters(&wanted.locale) {
        return Some(fixed("locale", &made.locale, &wanted.locale, "initdb", ANEW));
    }
    let word = |on: bool| if on { "true" } else { "false" };
    let (is, should) = (word(made.data_checksums), word(wanted.data_checksums));
    let otherwise = "change it by pg_checksums while the server is stopped";
    (is != should).then(|| fixed("data_checksums", is, should, "initdb", otherwise))
}

/// What C libraries and PostgreSQL do not tell apart: `C.UTF-8` is `C.utf8`.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A server tells its encoding by the one name that it has; the inventory may have another name of the same, and then
/// nothing is known. Source of those: pg_encname_tbl in encnames.c.
fn is_another_encoding(is: &str, wanted: &str) -> bool {
    const OTHER_NAMES: [&str; 10] =
        ["unicode", "iso8859", "windows", "win9", "abc", "tcvn", "vscii", "alt", "koi8", "mskanji"];
    let (is, wanted) = (letters(is), letters(wanted));
    is != wanted && !OTHER_NAMES.iter().any(|start| wanted.starts_with(start)) && wanted != "shiftjis"
}

/// Where the monitor has registered a node for another cluster of readers.
pub(super) fn cluster(node: &Node, row: &NodeRow) -> Option<String> {
    if row.cluster == node.cluster() {
        return None;
    }
    let (name, is, wanted) = (node.name(), &row.cluster, node.cluster());
    Some(format!(
        "citus_cluster is {is} here, and the inventory says {wanted} (default is no read replica): the registration has \
         fixed it; give it as it was, or drop {name} from the monitor, move its data directory away and apply: it joins anew"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_encoding_has_many_names_and_a_locale_many_spellings() {
        for (is, wanted, another) in [
            ("UTF8", "utf-8", false),
            ("UTF8", "UNICODE", false),
            ("LATIN1", "iso-8859-1", false),
            ("UTF8", "LATIN1", true),
            ("SQL_ASCII", "UTF8", true),
        ] {
            assert_eq!(is_another_encoding(is, wanted), another, "{is} {wanted}");
        }
        assert_eq!(letters("C.UTF-8"), letters("C.utf8"));
        assert_ne!(letters("C"), letters("C.utf8"));
    }
}
