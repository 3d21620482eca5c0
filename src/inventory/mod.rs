//! From inventories to a [`Formation`]: Ansible's files, folders and programs, every mistake found at once.
//!
//! `sources` finds what `-i` names; `yaml`, `ini` and `script` read it into the `store` by Ansible's rules, with `tree`
//! for what has places and `literal`, `range`, `words` for the details; `levels` puts the variables of each host in
//! order; `listing` shows them. Then muster's own half: `parts` says which hosts are of the formation; `variables` is the table both the reading and the documentation
//! go by; `known` reads values by it, with `jinja` for templates and `alike` for names that are nearly right; `hidden` finds passwords that are elsewhere; `nodes` makes a server and a node of a host;
//! `topology` checks what must hold between them.
//!
//! The inner level wins: `all`, then groups by depth, priority and name, then the host. Two things are put together
//! instead: `settings` merge by name, and the rules of `hba` follow each other, outer level first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::Problem;
use crate::formation::{
    Formation, Keeper, Kept, Listed, ListedGroup, Monitor, MonitorUri, Node, NodeKind, NodeName, Roster, Seed,
};
use crate::secrets::Keyring;

mod alike;
mod ca;
mod hba;
mod hidden;
mod host;
mod ini;
mod jinja;
mod known;
mod levels;
pub mod lint;
mod listing;
mod literal;
mod monitor_uri;
mod nodes;
mod parts;
mod plugin;
mod range;
mod scalar;
mod schema;
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

pub(crate) use alike::nearest;
pub use listing::{Detail, Listing};
pub use monitor_uri::parse as monitor_uri;
pub use schema::schema;
pub use settings::owned;
pub use templates::TEMPLATES;

use host::Host;
use known::Known;
use levels::Levels;
use lint::Linted;
use nodes::Role;
use parts::Part;
use source::Source;
use source::quote;
use sources::Sources;
use tls::Usual;
use topology::Member;
use value::Value;
use variables::Variable;
use yaml::Whole;

/// Reads and checks an inventory; every mistake at once, each with file, line, caret and hint.
///
/// # Errors
/// The problems in the order of the file. No problem shows a line that holds a password.
pub fn load(path: &Path) -> Result<Formation, Vec<Problem>> {
    load_all(&[path.display().to_string()], &Arc::new(Keyring::empty()), Need::Everything)
}

/// As [`load`], from all that `-i` names, in that order; the later one wins. Of the passwords that are encrypted or
/// elsewhere only those are looked for that somebody needs.
pub fn load_all(names: &[String], keyring: &Arc<Keyring>, need: Need) -> Result<Formation, Vec<Problem>> {
    let mut source = Source::new(keyring.clone());
    let sources = read(names, &mut source);
    formed(sources, need, source)
}

/// The passwords that a command has a use for; the others are in its formation as [`Secret::not_looked_for`](crate::formation::Secret::not_looked_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It asks no host.
    Nothing,
    /// Those for logging in and for becoming another user.
    Login,
    Everything,
}

impl Need {
    fn includes(self, row: &Variable) -> bool {
        let login = ["ansible_password", "ansible_become_password"];
        match self {
            Need::Nothing => false,
            Need::Login => login.contains(&row.name),
            // It is needed where something is signed, if anywhere.
            Need::Everything => row.name != ca::PASSPHRASE,
        }
    }
}

/// As [`load`], from text; `file` names it in messages, relative paths in it start at `base`.
pub fn parse(file: &str, text: &str, base: &Path) -> Result<Formation, Vec<Problem>> {
    let mut source = Source::new(Arc::new(Keyring::empty()));
    let mut sources = Sources::new();
    sources.add_text(file, text, base, &mut source);
    formed(sources, Need::Everything, source)
}

/// The hosts of an inventory, for what only reaches them.
pub struct Hosts {
    pub roster: Roster,
    pub warnings: Vec<String>,
}

/// The hosts alone, by their connection variables: whether they make a formation is not asked.
///
/// # Errors
/// What cannot be read, and what is wrong about how a host is reached.
pub fn hosts(names: &[String], keyring: &Arc<Keyring>, need: Need) -> Result<Hosts, Vec<Problem>> {
    let mut source = Source::new(keyring.clone());
    let sources = read(names, &mut source);
    let levels = Levels::new(sources, &mut source);
    if levels.store.too_many().is_some() || source.has_closed_file() {
        return Err(refused(source));
    }
    let mut known = Known::new(levels.world.clone(), Variable::reaches);
    levels.of_groups.iter().flatten().for_each(|level| known.look(level, &mut source));
    if !has_hosts(&levels, &mut source) {
        return Err(refused(source));
    }
    let hosts = hosts_of(&levels, |index| known.levels(index, &mut source));
    for host in &hosts {
        host.find_secrets(need, &mut source);
    }
    unspoken(&hosts, &mut source);
    // A name on the monitor is a second name for a host; as somebody else's variable it may be anything.
    let mut aliases = Known::new(levels.world.clone(), |variable| variable.name == "name");
    let mut nodes: Vec<String> = Vec::new();
    for host in &hosts {
        let mark = source.mark();
        let found = aliases.levels(host.order, &mut source);
        source.take_since(mark);
        let given = found.iter().rev().find_map(|level| level.get("name"));
        nodes.push(match given.map(|given| &given.value) {
            Some(Value::Text(name)) => name.clone(),
            _ => host.name.clone(),
        });
    }
    let mut count: BTreeMap<&String, usize> = BTreeMap::new();
    nodes.iter().for_each(|name| *count.entry(name).or_default() += 1);
    let nodes = hosts.iter().zip(&nodes).map(|(host, node)| if count[node] == 1 { node } else { &host.name });
    let listed = hosts.iter().zip(nodes).filter_map(|(host, node)| listed(host, node.clone(), &source));
    let roster = Roster { hosts: listed.collect(), groups: groups(&levels) };
    Ok(Hosts { roster, warnings: source.finish()? })
}

/// What the inventories say in Ansible's words, whatever it means to muster.
///
/// # Errors
/// What cannot be read.
pub fn list(names: &[String], keyring: &Arc<Keyring>) -> Result<Listing, Vec<Problem>> {
    let mut source = Source::new(keyring.clone());
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

/// An inventory that is read, before all of it has to make sense together.
struct Draft {
    levels: Levels,
    /// The hosts of the formation, by name.
    members: Vec<Member>,
    /// The others.
    strangers: Vec<Host>,
    /// Those of them of which nothing says that they are.
    outside: Vec<String>,
    /// Whether every file could be read.
    whole: Whole,
}

/// `None` where there is nothing to go on; the reason was reported.
fn draft(sources: Sources, need: Need, source: &mut Source) -> Option<Draft> {
    let whole = sources.whole;
    let levels = Levels::new(sources, source);
    if levels.store.too_many().is_some() || source.has_closed_file() {
        return None;
    }
    let parts = parts::decide(&levels, source);
    let mut known = Known::new(levels.world.clone(), |_| true);
    let mut others = Known::new(levels.world.clone(), Variable::reaches);
    for (group, of_group) in levels.of_groups.iter().enumerate() {
        let known = if parts::is_of_others(group, &levels.store, &parts) { &mut others } else { &mut known };
        of_group.iter().for_each(|level| known.look(level, source));
    }
    if !has_hosts(&levels, source) {
        return None;
    }
    let hosts = hosts_of(&levels, |index| {
        let known = if parts[index] == Part::Ours { &mut known } else { &mut others };
        known.levels(index, source)
    });
    for host in &hosts {
        host.find_secrets(need, source);
    }
    let usual =
        Usual::of(hosts.iter().zip(&parts).filter(|(_, part)| **part == Part::Ours).map(|(host, _)| host));
    let mut members = Vec::new();
    let (mut strangers, mut outside) = (Vec::new(), Vec::new());
    for (host, part) in hosts.into_iter().zip(&parts) {
        if *part == Part::Outside {
            outside.push(host.name.clone());
        }
        match part {
            Part::Ours => members.push(member(host, usual, source)),
            Part::Outside | Part::Dismissed => strangers.push(host),
        }
    }
    unspoken(&strangers, source);
    // What differs is told of the later name.
    members.sort_by(|a, b| a.host.name.cmp(&b.host.name));
    Some(Draft { levels, members, strangers, outside, whole })
}

/// Checks what hangs together; the formation if there is one.
fn checked(draft: Draft, source: &mut Source) -> Option<Formation> {
    let Draft { levels, members, strangers, outside, whole } = draft;
    topology::check(&members, &strangers, source);
    let whole = whole == Whole::Yes && !source.has_problems() && members.iter().all(Member::is_whole);
    if whole {
        topology::check_presence(&members, source);
    }
    let roster = roster(&levels, &members, &strangers, source);
    // A host that was left out without a word would be taken for one that is not wanted.
    formation(members, roster, outside, source).filter(|_| whole)
}

fn formed(sources: Sources, need: Need, mut source: Source) -> Result<Formation, Vec<Problem>> {
    let Some(draft) = draft(sources, need, &mut source) else { return Err(refused(source)) };
    let formation = checked(draft, &mut source);
    let warnings = source.finish()?;
    formation.map(|formation| Formation { warnings, ..formation }).ok_or_else(no_formation)
}

fn no_formation() -> Vec<Problem> {
    let hint = "put a host into the group monitor, and others into coordinator and workers, or into postgres";
    vec![Problem::new("the inventory makes no formation").hint(hint)]
}

/// Every mistake of an inventory, and what the lints find in it.
pub fn lint(names: &[String], keyring: &Arc<Keyring>) -> Linted {
    let mut source = Source::new(keyring.clone());
    let sources = read(names, &mut source);
    let Some(draft) = draft(sources, Need::Nothing, &mut source) else {
        return Linted::new(source);
    };
    lint::look(&draft, &mut source);
    let is_there = checked(draft, &mut source).is_some();
    let mut linted = Linted::new(source);
    if !is_there && linted.mistakes.is_empty() {
        linted.mistakes = no_formation();
    }
    linted
}

/// Whether there is any host; without one the inventory is wrong, and what else is wrong with it was found before.
fn has_hosts(levels: &Levels, source: &mut Source) -> bool {
    if levels.store.hosts.is_empty() && !source.has_problems() {
        let problem = Problem::new("the inventory has no hosts");
        source.problem(source::START, problem.hint("write them under `hosts:` of a group"));
    }
    !levels.store.hosts.is_empty()
}

fn refused(source: Source) -> Vec<Problem> {
    source.finish().err().unwrap_or_default()
}

/// Every host with its groups, and the levels that `of` gives for its place.
fn hosts_of(levels: &Levels, mut of: impl FnMut(usize) -> Vec<Rc<host::Level>>) -> Vec<Host> {
    let store = &levels.store;
    let host = |(index, (host, groups)): (usize, (&store::HostEntry, BTreeSet<usize>))| {
        let groups = groups.iter().map(|group| store.groups[*group].name.clone());
        Host {
            name: host.name.clone(),
            span: host.span,
            order: index,
            groups: groups.filter(|group| group != "ungrouped").collect(),
            levels: of(index),
        }
    };
    store.hosts.iter().zip(store.memberships()).enumerate().map(host).collect()
}

/// The groups with their hosts in Ansible's order.
fn groups(levels: &Levels) -> Vec<ListedGroup> {
    let store = &levels.store;
    let names = |group| store.hosts_below(group).into_iter().map(|host| store.hosts[host].name.clone());
    let groups = store.groups.iter().enumerate();
    groups
        .map(|(index, group)| ListedGroup { name: group.name.clone(), hosts: names(index).collect() })
        .collect()
}

fn member(host: Host, usual: Usual, source: &mut Source) -> Member {
    let role = nodes::role(&host, source);
    let server = role.and_then(|role| nodes::server(&host, role, usual, source));
    let node = match (role, &server) {
        (Some(Role::Node(kind)), Some(server)) => nodes::node(&host, kind, server.clone(), source),
        _ => None,
    };
    Member { host, role, server, node }
}

fn formation(
    mut members: Vec<Member>,
    roster: Roster,
    outside: Vec<String>,
    source: &mut Source,
) -> Option<Formation> {
    // The first candidate of a group is its primary: first in the file, not by name.
    members.sort_by_key(|member| member.host.order);
    // The nodes agree on what is the formation's, so any of them can be asked; the monitor need not know.
    let node = members.iter().find(|member| member.node.is_some()).or(members.first())?;
    let lone_monitor_password = node.host.secret("monitor_password").filter(|_| node.node.is_none());
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
    let secrets = node.host.given("secrets_dir").zip(node.host.text("secrets_dir"));
    let given = secrets.map(|(given, folder)| resolved(source.base(given.span), &folder));
    let ca = ca::read(&node.host, source);
    keepers(&members, source);
    let mut monitor = match node.host.given("monitor").map(|given| &given.value) {
        Some(Value::Monitor(uri)) => {
            let password = uri.password.clone().or_else(|| node.host.secret("monitor_password"));
            Some(Monitor::External(MonitorUri { password, ..uri.clone() }))
        }
        _ => None,
    };
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
        lone_monitor_password,
        kept: Kept { given, ..Kept::default() },
        nodes,
        number_sync_standbys,
        templates,
        ca,
        authority: None,
        roster,
        seed: Seed(rand::random()),
        outside,
        warnings,
    })
}

/// Everybody who can be reached, in the order of the inventory.
fn roster(levels: &Levels, members: &[Member], strangers: &[Host], source: &Source) -> Roster {
    let ours = members.iter().filter_map(|member| {
        let server = member.server.as_ref()?;
        let (name, groups) = (member.host.name.clone(), member.host.groups.clone());
        let (node, host, os_user) = (server.name.clone(), server.host.clone(), server.os_user.clone());
        Some((member.host.order, Listed { name, node, groups, host, os_user }))
    });
    let others =
        strangers.iter().filter_map(|host| Some((host.order, listed(host, host.name.clone(), source)?)));
    let mut hosts: Vec<(usize, Listed)> = ours.chain(others).collect();
    hosts.sort_by_key(|(order, _)| *order);
    Roster { hosts: hosts.into_iter().map(|(_, listed)| listed).collect(), groups: groups(levels) }
}

/// A host that is only reached; `None` where a problem was reported.
fn listed(host: &Host, node: String, source: &Source) -> Option<Listed> {
    Some(Listed {
        name: host.name.clone(),
        node: NodeName(node),
        groups: host.groups.clone(),
        host: nodes::reached(host, nodes::address(host), source),
        os_user: host.text("become_user")?,
    })
}

/// Says of hosts that muster cannot reach that it leaves them be.
fn unspoken(hosts: &[Host], source: &mut Source) {
    const MOST: usize = 5;
    let names: Vec<&str> =
        hosts.iter().filter(|host| host.foreign().next().is_some()).map(|host| host.name.as_str()).collect();
    let Some(host) = hosts.iter().find(|host| host.foreign().next().is_some()) else { return };
    let (shown, more) = names.split_at(names.len().min(MOST));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let what = host.foreign().map(|(given, found)| format!("`{}` is {}", given.variable.name, quote(found)));
    let what = what.collect::<Vec<String>>().join(", ");
    let message = format!(
        "muster cannot reach {}{more}, and leaves them be: of {} {what}",
        shown.join(", "),
        host.name
    );
    source.warning("not-spoken", None, message);
}

fn keepers(members: &[Member], source: &mut Source) {
    let without: Vec<&str> = members
        .iter()
        .filter(|member| member.server.as_ref().is_some_and(|server| server.keeper == Keeper::None))
        .map(|member| member.host.name.as_str())
        .collect();
    if !without.is_empty() {
        source.warning(
            "no-keeper",
            None,
            format!("nothing will fail over on {}: keeper is none", without.join(", ")),
        );
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
