//! What an operator does where muster does nothing: the commands that end what would else go on for ever.
//!
//! Each was tried with pg_autoctl 2.0. Without `--force` a drop waits a minute for the keeper to agree, fails, and leaves
//! the row for ever where that keeper is gone.

use crate::command::quote;
use crate::formation::{Formation, Keeper, Monitor, Node, NodeName, Server};
use crate::plan::World;
use crate::resource::keeper;

/// Takes a node from the monitor though its keeper cannot agree any more.
pub(super) fn drop_from_monitor(formation: &Formation, node: &NodeName) -> String {
    let what = format!("--formation {} --name {} --force", word(&formation.name), word(&node.0));
    match &formation.monitor {
        Monitor::Managed(monitor) => format!(
            "`sudo -H -u {} pg_autoctl drop node --pgdata {} {what}` on {}",
            word(&monitor.os_user),
            word(&monitor.pgdata),
            monitor.name
        ),
        Monitor::External(uri) => {
            format!(
                "`pg_autoctl drop node --monitor {} {what}`, with the monitor's password",
                word(&uri.shown())
            )
        }
    }
}

/// A word of a shell, quoted only where it has to be: it is read before it is run.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { quote(text) }
}

/// Joins a node anew that the monitor has no more; `None` where its group would have nobody to copy: what is there may
/// be all that is left.
pub(super) fn join_anew(world: &World, node: &Node) -> Option<String> {
    (!world.rows_of(node.group).is_empty()).then(|| {
        format!("to join it anew: `{}` on {} as root, then apply again", put_away(&node.server), node.name())
    })
}

/// The same where the monitor still has the node.
pub(super) fn drop_and_copy_anew(world: &World, node: &Node) -> String {
    let drop = drop_from_monitor(world.formation, node.name());
    let (away, name) = (put_away(&node.server), node.name());
    format!("to join it anew: {drop}, then `{away}` on {name} as root, then apply again")
}

/// Under a name that is not taken: it may not be the first time.
fn put_away(server: &Server) -> String {
    let pgdata = word(&server.pgdata);
    format!("{}mv {pgdata} {pgdata}.$(date +%s)", stop(server, "; "))
}

/// The same where the data is lost, and the monitor still has the node.
pub(super) fn drop_and_join_anew(world: &World, node: &Node) -> String {
    let drop = drop_from_monitor(world.formation, node.name());
    match stop(&node.server, "").as_str() {
        "" => format!("to join it anew: {drop}, then apply again"),
        stop => {
            format!("to join it anew: {drop}, then `{stop}` on {} as root, then apply again", node.name())
        }
    }
}

/// Ends the keeper: one that was dropped goes on to start, and to fail.
fn stop(server: &Server, and: &str) -> String {
    match server.keeper {
        Keeper::Auto | Keeper::Systemd => format!("systemctl stop {}{and}", word(&keeper::unit(server))),
        Keeper::Detached | Keeper::AsFound => {
            format!("pg_autoctl stop --pgdata {}{and}", word(&server.pgdata))
        }
        Keeper::None => String::new(),
    }
}
