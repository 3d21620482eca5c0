//! From variables as they are written to those that muster knows: the table's names, values of the right kind.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::alike::{alike, nearest};
use super::host::{Given, Level, Spelling};
use super::jinja::{self, Refused, World};
use super::source::{NEAR_MISS, Source, quote};
use super::store::{MERGED, Vars};
use super::tree::{Entry, Node, Tree};
use super::value::{self, Value};
use super::variables::{Kind, OWN, VARIABLES, Variable, variable};
use crate::error::Problem;
use crate::formation::{Origin, Reference};

/// Ansible's own variables that change nothing in how muster reaches a host.
const HARMLESS: [&str; 10] = [
    // Python is not needed.
    "ansible_python_",
    "ansible_group_priority",
    "ansible_pipelining",
    "ansible_ssh_pipelining",
    "ansible_ssh_retries",
    "ansible_scp_",
    "ansible_sftp_",
    "ansible_shell_",
    "ansible_winrm_",
    "ansible_network_os",
];

const ANSIBLE: &str = "ansible_";
/// Muster becomes whom it must.
const BECOME: &str = "ansible_become";

/// Which variables are read.
pub(super) type Wanted = fn(&Variable) -> bool;

/// Levels read once, however many hosts they reach.
pub(super) struct Known {
    world: Arc<World>,
    /// Others' variables are not read, and may be anything.
    wanted: Wanted,
    read: BTreeMap<usize, Read>,
}

/// A level without its templates, and those: what they say depends on the host.
struct Read {
    level: Rc<Level>,
    templates: Vec<(&'static Variable, Entry)>,
}

impl Known {
    pub(super) fn new(world: Arc<World>, wanted: Wanted) -> Self {
        Known { world, wanted, read: BTreeMap::new() }
    }

    /// Reads a level that may reach no host: what is wrong in it is wrong all the same.
    pub(super) fn look(&mut self, vars: &Arc<Vars>, source: &mut Source) {
        let (world, wanted) = (&self.world, self.wanted);
        self.read.entry(key(vars)).or_insert_with(|| read(vars, world, wanted, source));
    }

    /// The levels of a host, outer to inner.
    pub(super) fn levels(&mut self, host: usize, source: &mut Source) -> Vec<Rc<Level>> {
        let world = self.world.clone();
        let raw = world.levels(host);
        for vars in raw {
            self.look(vars, source);
        }
        let found: Vec<&Read> = raw.iter().filter_map(|vars| self.read.get(&key(vars))).collect();
        let mut levels = Vec::new();
        for (index, (vars, read)) in raw.iter().zip(&found).enumerate() {
            levels.extend(vars.earlier.iter().map(|entry| Rc::new(self.earlier(host, entry, source))));
            if read.templates.is_empty() {
                levels.push(read.level.clone());
                continue;
            }
            let mut level = Level::clone(&read.level);
            for (variable, entry) in &read.templates {
                // What an inner level replaces may be undefined here.
                let inner = &found[index + 1..];
                let hidden = inner.iter().any(|read| read.has(variable.name));
                if !hidden || MERGED.contains(&variable.name) {
                    let (value, origin) = self.evaluate(host, variable, entry, source);
                    insert(&mut level, given(variable, entry, value, origin), source);
                }
            }
            levels.push(Rc::new(level));
        }
        prefer_own(&mut levels);
        levels
    }

    fn earlier(&self, host: usize, entry: &Entry, source: &mut Source) -> Level {
        let known = self.world.meant(&entry.key).filter(|variable| (self.wanted)(variable));
        let Some(variable) = known else { return Level::new() };
        let (value, origin) = match is_template(variable, &entry.value) {
            true => self.evaluate(host, variable, entry, source),
            false => (read_value(variable, entry, &entry.value, source), source.origin(entry.value.span)),
        };
        Level::from([(variable.name, given(variable, entry, value, origin))])
    }

    fn evaluate(
        &self,
        host: usize,
        variable: &Variable,
        entry: &Entry,
        source: &mut Source,
    ) -> (Value, Origin) {
        let node = &entry.value;
        let evaluated = match self.world.evaluate(host, node) {
            Ok(evaluated) => evaluated,
            Err(Refused::Template(problem)) => {
                let message = format!("`{}`: {}", variable.name, problem.message);
                source.problem(node.span, Problem { message, ..problem });
                return (Value::Bad, Origin::Clear);
            }
            Err(Refused::Closed(closed)) => {
                source.closed(node.span, *closed);
                return (Value::Bad, Origin::Vault);
            }
        };
        let jinja::Evaluated { node, from_secret, origin, from_reference } = evaluated;
        let Some(node) = node else { return (Value::Unset, origin) };
        if from_reference && !is_reference(variable, &node) {
            let problem = Problem::new(format!(
                "`{}`: its template takes in a password that is elsewhere",
                variable.name
            ));
            let hint =
                "it does not see the password itself; beside a `monitor` without one give `monitor_password`";
            source.problem(node.span, problem.hint(hint));
            return (Value::Bad, origin);
        }
        let mark = source.mark();
        let value = read_value(variable, entry, &node, source);
        if from_secret && !source.take_since(mark).is_empty() {
            let problem = Problem::new(format!("`{}` cannot be what its template gives", variable.name));
            source.problem(node.span, problem.hint("the value comes from a secret and is not shown"));
        }
        (value, if origin == Origin::Clear { source.origin(node.span) } else { origin })
    }
}

impl Read {
    fn has(&self, name: &str) -> bool {
        self.level.contains_key(name) || self.templates.iter().any(|(variable, _)| variable.name == name)
    }
}

/// A level is one place in memory for all hosts, and lives as long as they do.
fn key(vars: &Arc<Vars>) -> usize {
    Arc::as_ptr(vars).addr()
}

fn given(variable: &'static Variable, entry: &Entry, value: Value, origin: Origin) -> Given {
    let origin = match &value {
        Value::Secret(hidden) if hidden.origin() != Origin::Clear => hidden.origin(),
        _ => origin,
    };
    let spelling = if entry.key.starts_with(OWN) { Spelling::Own } else { Spelling::Plain };
    Given { variable, key_span: entry.key_span, span: entry.value.span, value, origin, spelling }
}

/// Where a host has a variable by its own spelling at any level, the plain one is somebody else's.
fn prefer_own(levels: &mut [Rc<Level>]) {
    let is_own = |given: &Given| given.spelling == Spelling::Own;
    let own: BTreeSet<&'static str> = levels
        .iter()
        .flat_map(|level| level.values())
        .filter(|g| is_own(g))
        .map(|g| g.variable.name)
        .collect();
    if own.is_empty() {
        return;
    }
    let is_others = |given: &Given| !is_own(given) && own.contains(given.variable.name);
    for level in levels.iter_mut().filter(|level| level.values().any(is_others)) {
        Rc::make_mut(level).retain(|_, given| !is_others(given));
    }
}

/// Ansible takes an empty connection variable for one that is not given; so does muster.
fn read_value(variable: &Variable, entry: &Entry, node: &Node, source: &mut Source) -> Value {
    let of_ansible = entry.key.strip_prefix(OWN).unwrap_or(&entry.key).starts_with(ANSIBLE);
    match &node.tree {
        Tree::Null if of_ansible => Value::Unset,
        Tree::Text(text) if of_ansible && text.is_empty() => Value::Unset,
        _ => value::read(variable, node, source),
    }
}

/// Whether a value has to be made for each host; an encrypted password is kept until a host needs it.
fn is_template(variable: &Variable, node: &Node) -> bool {
    match (variable.kind, &node.tree) {
        (Kind::Secret, Tree::Vault(_)) => false,
        _ => jinja::is_template(node),
    }
}

/// Whether a value says as a whole where a password is.
fn is_reference(variable: &Variable, node: &Node) -> bool {
    match (variable.kind, &node.tree) {
        (Kind::Secret, Tree::Text(text)) => {
            text.starts_with("text:") || !matches!(Reference::parse(text), Ok(Reference::Text(_)))
        }
        (Kind::Secret, Tree::Map(_)) => true,
        _ => false,
    }
}

fn read(vars: &Vars, world: &World, wanted: Wanted, source: &mut Source) -> Read {
    let mut level = Level::new();
    let mut templates = Vec::new();
    // In the order of the file, so that of two names the second one is told.
    let mut entries: Vec<&Entry> = vars.now.values().collect();
    entries.sort_by_key(|entry| entry.key_span);
    for entry in entries {
        hide_entry(entry, source);
        if world.is_others(&entry.key) {
            continue;
        }
        match variable(&entry.key) {
            Some(variable) if !wanted(variable) => {}
            Some(variable) if is_template(variable, &entry.value) => {
                templates.push((variable, entry.clone()))
            }
            Some(variable) => {
                let value = read_value(variable, entry, &entry.value, source);
                insert(&mut level, given(variable, entry, value, source.origin(entry.value.span)), source);
            }
            None => unknown(entry, wanted, source),
        }
    }
    Read { level: Rc::new(level), templates }
}

fn insert(level: &mut Level, given: Given, source: &mut Source) {
    let name = given.variable.name;
    let at = given.key_span;
    let Some(first) = level.get(name) else {
        level.insert(name, given);
        return;
    };
    let unset = |given: &Given| matches!(given.value, Value::Unset);
    match (first.spelling, given.spelling) {
        (Spelling::Own, Spelling::Plain) => return,
        (Spelling::Plain, Spelling::Own) => {}
        (Spelling::Own, Spelling::Own) | (Spelling::Plain, Spelling::Plain) => {
            if unset(&given) {
                return;
            }
            if !unset(first) && first.value != given.value {
                let problem = Problem::new(format!("`{name}` is given under two of its names"));
                let hint = format!("the other is on {}; keep one", source.line(first.key_span));
                source.problem(at, problem.hint(hint));
            }
        }
    }
    level.insert(name, given);
}

/// What muster does not know is another's; a name that is nearly one of ours is probably a mistake.
fn unknown(entry: &Entry, wanted: Wanted, source: &mut Source) {
    let name = entry.key.as_str();
    let ours = VARIABLES.iter().filter(|variable| wanted(variable));
    let names = ours.flat_map(|v| v.other_names.iter().copied().chain([v.name]));
    if let Some(rest) = name.strip_prefix(OWN) {
        let near = nearest(rest, VARIABLES.iter().map(|variable| variable.name));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{OWN}{near}`?"));
        return source.warning(
            NEAR_MISS,
            Some(entry.key_span),
            format!("{} is no variable of muster{near}", quote(name)),
        );
    }
    // What all of Ansible's names have in common makes none of them alike.
    let near = match name.strip_prefix(ANSIBLE) {
        Some(rest) => {
            alike(rest, names.filter_map(|name| name.strip_prefix(ANSIBLE))).map(|near| (ANSIBLE, near))
        }
        None => alike(name, names).map(|near| ("", near)),
    };
    if let Some((prefix, near)) = near {
        let near = format!("{prefix}{near}");
        source.warning(
            NEAR_MISS,
            Some(entry.key_span),
            format!("{} is not read; did you mean `{near}`?", quote(name)),
        );
        if let Some(variable) = variable(&near) {
            source.near_miss(variable.name, name, entry.key_span);
        }
    } else if name.starts_with(ANSIBLE)
        && name != BECOME
        && !HARMLESS.iter().any(|harmless| name.starts_with(harmless))
    {
        source.warning("not-followed", Some(entry.key_span), format!("{} is not read here", quote(name)));
    }
}

/// Keeps the lines of every password out of messages, also where an alias takes it from elsewhere.
pub(super) fn hide_secrets(node: &Node, source: &mut Source) {
    match &node.tree {
        Tree::Map(entries) => {
            for entry in entries {
                hide_entry(entry, source);
                hide_secrets(&entry.value, source);
            }
        }
        Tree::List(items) => items.iter().for_each(|item| hide_secrets(item, source)),
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) | Tree::Text(_) | Tree::Vault(_) => {}
    }
}

fn hide_entry(entry: &Entry, source: &mut Source) {
    let secret = match variable(&entry.key).map(|variable| variable.kind) {
        Some(Kind::Secret) => true,
        // A group may have this name too.
        Some(Kind::MonitorUri) => matches!(entry.value.tree, Tree::Text(_)),
        _ => matches!(entry.value.tree, Tree::Vault(_)),
    };
    if secret {
        source.hide(entry.key_span);
        source.hide(entry.value.span);
    }
}
