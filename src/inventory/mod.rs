//! From an inventory file to a [`Formation`]: YAML in Ansible's shape, every mistake found at once.
//!
//! `tree` reads YAML with places; `groups` finds the hosts and the levels of variables that reach each of
//! them; `variables` is the table both the reading and the documentation go by; `nodes` makes a server and a
//! node of a host; `topology` checks what must hold between them.
//!
//! The inner level wins: `all`, then groups by depth and name, then the host. Two things are put together
//! instead: `settings` merge by name, and the rules of `hba` follow each other, outer level first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Place, Problem};
use crate::formation::{Formation, Keeper, Listed, Monitor, Node, NodeKind, Roster};

mod groups;
mod hba;
mod host;
mod monitor_uri;
mod nodes;
mod settings;
mod source;
mod ssh_args;
mod templates;
mod text;
mod tls;
mod topology;
mod tree;
mod value;
pub mod variables;

pub use templates::TEMPLATES;

use groups::Hosts;
use host::Host;
use nodes::Role;
use source::Source;
use topology::Member;
use value::Value;

/// Reads and checks an inventory; every mistake at once, each with file, line, caret and hint.
///
/// # Errors
/// The problems in the order of the file. No problem shows a line that holds a password.
pub fn load(path: &Path) -> Result<Formation, Vec<Problem>> {
    let file = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        vec![Problem::new(format!("cannot read the inventory {}: {error}", source::quote(&file)))]
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        let place = Place { file: file.clone(), line, column: 1, width: 1, text: String::new() };
        vec![Problem::new("the inventory is not UTF-8").hint("save it as UTF-8").at(place)]
    })?;
    parse(&file, &text, path.parent().unwrap_or(Path::new("")))
}

/// As [`load`], from text; `file` names it in messages, relative paths in it start at `base`.
pub fn parse(file: &str, text: &str, base: &Path) -> Result<Formation, Vec<Problem>> {
    let mut source = Source::new(file, text);
    let Some(root) = tree::read(text, &mut source) else {
        return Err(source.finish().err().unwrap_or_default());
    };
    let Hosts { hosts, groups, partial } = groups::read(&root, &mut source);
    let members: Vec<Member> = hosts.into_iter().map(|host| member(host, base, &mut source)).collect();
    topology::check(&members, &mut source);
    let whole = !partial && members.iter().all(Member::is_whole);
    if whole {
        topology::check_presence(&members, &mut source);
    }
    let formation = formation(members, groups, base, &mut source);
    let warnings = source.finish()?;
    // A host that was left out without a word would be taken for one that is not wanted.
    formation.filter(|_| whole).map(|formation| Formation { warnings, ..formation }).ok_or_else(|| {
        vec![
            Problem::new("the inventory makes no formation").hint("it needs a monitor and at least one node"),
        ]
    })
}

fn member(host: Host, base: &Path, source: &mut Source) -> Member {
    let role = nodes::role(&host, source);
    let server = role.and_then(|role| nodes::server(&host, role, base, source));
    let node = match (role, &server) {
        (Some(Role::Node(kind)), Some(server)) => nodes::node(&host, kind, server.clone(), source),
        _ => None,
    };
    Member { host, role, server, node }
}

fn formation(
    mut members: Vec<Member>,
    groups: BTreeSet<String>,
    base: &Path,
    source: &mut Source,
) -> Option<Formation> {
    // The first candidate of a group is its primary: first in the file, not by name.
    members.sort_by_key(|member| (member.host.span.line, member.host.span.column));
    // The nodes agree on what is the formation's, so any of them can be asked; the monitor need not know.
    let node = members.iter().find(|member| member.node.is_some())?;
    let name = node.host.text("formation")?;
    let citus = members.iter().any(|m| matches!(m.role, Some(Role::Node(k)) if k != NodeKind::Standalone));
    let dbname =
        node.host.text("dbname").unwrap_or_else(|| if citus { "citus" } else { "postgres" }.to_owned());
    let number_sync_standbys = node.host.number("number_sync_standbys");
    let templates = match (node.host.given("templates_dir"), node.host.text("templates_dir")) {
        (Some(given), Some(folder)) => templates::read(Path::new(&resolved(base, &folder)), given, source),
        _ => Default::default(),
    };
    keepers(&members, source);
    let mut monitor = match node.host.given("monitor").map(|given| &given.value) {
        Some(Value::Monitor(uri)) => Some(Monitor::External(uri.clone())),
        _ => None,
    };
    let roster = Roster { hosts: members.iter().filter_map(listed).collect(), groups };
    let mut nodes = BTreeMap::new();
    for (order, member) in members.into_iter().enumerate() {
        match (member.node, member.server) {
            (Some(node), _) => {
                let order = u32::try_from(order).unwrap_or(u32::MAX);
                nodes.insert(node.name().clone(), Node { order, ..node });
            }
            (None, Some(server)) if member.role == Some(Role::Monitor) => {
                monitor = Some(Monitor::Managed(server));
            }
            _ => {}
        }
    }
    let warnings = Vec::new();
    Some(Formation {
        name,
        dbname,
        monitor: monitor?,
        nodes,
        number_sync_standbys,
        templates,
        roster,
        warnings,
    })
}

fn listed(member: &Member) -> Option<Listed> {
    let node = member.server.as_ref()?.name.clone();
    Some(Listed { name: member.host.name.clone(), node, groups: member.host.groups.clone() })
}

fn keepers(members: &[Member], source: &mut Source) {
    let without: Vec<&str> = members
        .iter()
        .filter(|member| member.server.as_ref().is_some_and(|server| server.keeper == Keeper::None))
        .map(|member| member.host.name.as_str())
        .collect();
    if !without.is_empty() {
        source.warning(None, format!("nothing will fail over on {}: keeper is none", without.join(", ")));
    }
}

/// A path of the inventory on this machine: from the home folder, absolute, or relative to `base`.
fn resolved(base: &Path, path: &str) -> String {
    let home = path.strip_prefix("~/").zip(std::env::home_dir());
    let resolved = match home {
        Some((rest, home)) => home.join(rest),
        None => base.join(path),
    };
    resolved.to_string_lossy().into_owned()
}
