//! From inventories to a [`Formation`]: Ansible's files, folders and programs, every mistake found at once.
//!
//! `sources` finds what `-i` names; `yaml`, `ini` and `script` read it into the `store` by Ansible's rules, with `tree`
//! for what has places and `literal`, `range`, `words` for the details; `levels` puts the variables of each host in
//! order; `listing` shows them. Then muster's own half: `variables` is the table both the reading and the documentation
//! go by; `known` reads values by it, with `jinja` for templates; `nodes` makes a server and a node of a host;
//! `topology` checks what must hold between them.
//!
//! The inner level wins: `all`, then groups by depth, priority and name, then the host. Two things are put together
//! instead: `settings` merge by name, and the rules of `hba` follow each other, outer level first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::Problem;
use crate::formation::{Formation, Keeper, Listed, Monitor, Node, NodeKind, Roster};

mod hba;
mod host;
mod ini;
mod jinja;
mod known;
mod levels;
mod listing;
mod literal;
mod monitor_uri;
mod nodes;
mod range;
mod scalar;
mod script;
mod settings;
mod source;
mod sources;
mod ssh_args;
mod store;
mod templates;
mod text;
mod tls;
mod topology;
mod tree;
mod value;
pub mod variables;
mod words;
mod yaml;

pub use listing::{Detail, Listing};
pub use templates::TEMPLATES;

use host::Host;
use known::Known;
use levels::Levels;
use nodes::Role;
use source::Source;
use sources::Sources;
use topology::Member;
use value::Value;
use yaml::Whole;

/// Reads and checks an inventory; every mistake at once, each with file, line, caret and hint.
///
/// # Errors
/// The problems in the order of the file. No problem shows a line that holds a password.
pub fn load(path: &Path) -> Result<Formation, Vec<Problem>> {
    load_all(&[path.display().to_string()])
}

/// As [`load`], from all that `-i` names, in that order; the later one wins.
pub fn load_all(names: &[String]) -> Result<Formation, Vec<Problem>> {
    let mut source = Source::default();
    let sources = read(names, &mut source);
    formed(sources, source)
}

/// As [`load`], from text; `file` names it in messages, relative paths in it start at `base`.
pub fn parse(file: &str, text: &str, base: &Path) -> Result<Formation, Vec<Problem>> {
    let mut source = Source::default();
    let mut sources = Sources::new();
    sources.add_text(file, text, base, &mut source);
    formed(sources, source)
}

/// What the inventories say in Ansible's words, whatever it means to muster.
///
/// # Errors
/// What cannot be read.
pub fn list(names: &[String]) -> Result<Listing, Vec<Problem>> {
    let mut source = Source::default();
    let sources = read(names, &mut source);
    let levels = Levels::new(sources, &mut source);
    source.finish()?;
    Ok(Listing::new(levels))
}

fn read(names: &[String], source: &mut Source) -> Sources {
    let mut sources = Sources::new();
    for name in names {
        sources.add(name, source);
    }
    sources
}

fn formed(sources: Sources, mut source: Source) -> Result<Formation, Vec<Problem>> {
    let whole = sources.whole == Whole::Yes;
    let Levels { store, world, of_groups } = Levels::new(sources, &mut source);
    if store.too_many().is_some() {
        return Err(source.finish().err().unwrap_or_default());
    }
    let mut known = Known::new(world);
    for level in of_groups.iter().flatten() {
        known.look(level, &mut source);
    }
    if store.hosts.is_empty() {
        if !source.has_problems() {
            let problem = Problem::new("the inventory has no hosts");
            source.problem(source::START, problem.hint("write them under `hosts:` of a group"));
        }
        return Err(source.finish().err().unwrap_or_default());
    }
    let memberships = store.memberships();
    let hosts: Vec<Host> = store
        .hosts
        .iter()
        .zip(memberships)
        .enumerate()
        .map(|(index, (host, groups))| {
            let groups = groups.iter().map(|group| store.groups[*group].name.clone());
            Host {
                name: host.name.clone(),
                span: host.span,
                order: index,
                groups: groups.filter(|group| group != "ungrouped").collect(),
                levels: known.levels(index, &mut source),
            }
        })
        .collect();
    let groups = store.groups.iter().filter(|group| group.name != "ungrouped");
    let groups: BTreeSet<String> = groups.map(|group| group.name.clone()).collect();
    let mut members: Vec<Member> = hosts.into_iter().map(|host| member(host, &mut source)).collect();
    // What differs is told of the later name.
    members.sort_by(|a, b| a.host.name.cmp(&b.host.name));
    topology::check(&members, &mut source);
    let whole = whole && !source.has_problems() && members.iter().all(Member::is_whole);
    if whole {
        topology::check_presence(&members, &mut source);
    }
    let formation = formation(members, groups, &mut source);
    let warnings = source.finish()?;
    // A host that was left out without a word would be taken for one that is not wanted.
    formation.filter(|_| whole).map(|formation| Formation { warnings, ..formation }).ok_or_else(|| {
        vec![
            Problem::new("the inventory makes no formation").hint("it needs a monitor and at least one node"),
        ]
    })
}

fn member(host: Host, source: &mut Source) -> Member {
    let role = nodes::role(&host, source);
    let server = role.and_then(|role| nodes::server(&host, role, source));
    let node = match (role, &server) {
        (Some(Role::Node(kind)), Some(server)) => nodes::node(&host, kind, server.clone(), source),
        _ => None,
    };
    Member { host, role, server, node }
}

fn formation(mut members: Vec<Member>, groups: BTreeSet<String>, source: &mut Source) -> Option<Formation> {
    // The first candidate of a group is its primary: first in the file, not by name.
    members.sort_by_key(|member| member.host.order);
    // The nodes agree on what is the formation's, so any of them can be asked; the monitor need not know.
    let node = members.iter().find(|member| member.node.is_some())?;
    let name = node.host.text("formation")?;
    let citus = members.iter().any(|m| matches!(m.role, Some(Role::Node(k)) if k != NodeKind::Standalone));
    let dbname =
        node.host.text("dbname").unwrap_or_else(|| if citus { "citus" } else { "postgres" }.to_owned());
    let number_sync_standbys = node.host.number("number_sync_standbys");
    let templates = match (node.host.given("templates_dir"), node.host.text("templates_dir")) {
        (Some(given), Some(folder)) => {
            let folder = resolved(source.base(given.span), &folder);
            templates::read(Path::new(&folder), given, source)
        }
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
