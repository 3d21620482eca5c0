//! Templates in values, evaluated when a variable is used: what they say depends on the host.
//!
//! Everything stops somewhere: nesting, the work of one template, the number of them behind one value, and its length.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use minijinja::value::{Enumerator, Object, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use zeroize::Zeroizing;

use super::source::quote;
use super::store::Vars;
use super::tree::{Entry, Node, Style, Tree};
use super::variables::{Kind, OWN, Variable, variable};
use crate::error::Problem;
use crate::formation::{Origin, Reference};
use crate::secrets::{Closed, Keyring};

mod chained;
mod filters;
mod lookup;
mod python;
mod regexes;
mod tree;

/// How deep one value may stand on others.
const DEEPEST: usize = 20;
/// How many templates there may be behind one value.
const MOST: usize = 2_000;
/// minijinja's count of what a template may do.
const FUEL: u64 = 50_000;
/// Bytes of a template: a chain of operators is as deep for minijinja as it is long.
const LONGEST_TEMPLATE: usize = 2_000;
/// Bytes of a value.
const LONGEST: usize = 1 << 20;

/// Every host with its levels of variables, as templates see them.
pub(super) struct World {
    hosts: Vec<WorldHost>,
    host_of: BTreeMap<String, usize>,
    groups: BTreeMap<String, Vec<String>>,
    environment: Environment<'static>,
    depth: AtomicUsize,
    count: AtomicUsize,
    secret: Arc<AtomicBool>,
    vaulted: AtomicBool,
    reference: AtomicBool,
    /// Why something encrypted could not be read; templates can say no more than that they failed.
    closed: Mutex<Option<Closed>>,
    keyring: Arc<Keyring>,
    /// The files that are encrypted as a whole.
    sealed: BTreeSet<usize>,
    /// What is given as `muster_…` anywhere, so that the plain name is somebody else's everywhere.
    claimed: BTreeSet<&'static str>,
    this: Weak<World>,
}

pub(super) struct WorldHost {
    pub(super) name: String,
    /// Outer to inner.
    pub(super) levels: Vec<Arc<Vars>>,
    /// Without `all`, by name.
    pub(super) groups: Vec<String>,
    /// The source that named the host first, and its folder: absolute, but for a list of hosts.
    pub(super) file: String,
    pub(super) folder: String,
}

/// A value without templates.
pub(super) struct Evaluated {
    /// `None` is `omit`: as if it had not been given.
    pub(super) node: Option<Node>,
    /// Whether a password went into it, so that it may not be shown.
    pub(super) from_secret: bool,
    /// Whether a variable went into it that only says where a password is.
    pub(super) from_reference: bool,
    /// Clear, or of ansible-vault.
    pub(super) origin: Origin,
}

/// Why there is no value.
pub(super) enum Refused {
    Template(Problem),
    Closed(Box<Closed>),
}

/// Whether a value holds a template, or something encrypted.
pub(super) fn is_template(node: &Node) -> bool {
    match &node.tree {
        Tree::Text(text) => node.style != Style::Unsafe && has_braces(text),
        Tree::List(items) => items.iter().any(is_template),
        Tree::Map(entries) => entries.iter().any(|entry| is_template(&entry.value)),
        Tree::Vault(_) => true,
        Tree::Null | Tree::Flag { .. } | Tree::Number(_) => false,
    }
}

fn has_braces(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|braces| text.contains(braces))
}

impl World {
    pub(super) fn new(
        hosts: Vec<WorldHost>,
        groups: BTreeMap<String, Vec<String>>,
        keyring: Arc<Keyring>,
        sealed: BTreeSet<usize>,
    ) -> Arc<World> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // With debug on, errors carry the values of variables.
        environment.set_debug(false);
        environment.set_fuel(Some(FUEL));
        environment
            .set_formatter(|out, _, value| out.write_str(&python::printed(value)?).map_err(Error::from));
        environment.set_unknown_method_callback(|_, value, method, arguments| {
            python::method(value, method, arguments)
        });
        let secret = Arc::new(AtomicBool::new(false));
        environment.add_global("omit", Value::from_object(tree::Omit));
        environment.add_function(chained::FUNCTION, chained::follow);
        filters::add(&mut environment);
        regexes::add(&mut environment);
        lookup::add(&mut environment, &secret);
        let keys = hosts.iter().flat_map(|host| &host.levels).flat_map(|level| level.now.keys());
        let own = keys.filter(|key| key.starts_with(OWN)).filter_map(|key| variable(key));
        let claimed = own.filter(|variable| !variable.reaches()).map(|variable| variable.name).collect();
        let host_of = hosts.iter().enumerate().map(|(index, host)| (host.name.clone(), index)).collect();
        Arc::new_cyclic(|this| World {
            hosts,
            host_of,
            groups,
            environment,
            depth: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            secret,
            vaulted: AtomicBool::new(false),
            reference: AtomicBool::new(false),
            closed: Mutex::default(),
            keyring,
            sealed,
            claimed,
            this: this.clone(),
        })
    }

    pub(super) fn levels(&self, host: usize) -> &[Arc<Vars>] {
        &self.hosts[host].levels
    }

    /// Whether a name that muster knows is another role's in this inventory.
    pub(super) fn is_others(&self, key: &str) -> bool {
        !key.starts_with(OWN) && variable(key).is_some_and(|variable| self.claimed.contains(variable.name))
    }

    /// The variable of muster's that a name is.
    pub(super) fn meant(&self, key: &str) -> Option<&'static Variable> {
        variable(key).filter(|_| !self.is_others(key))
    }

    /// The value as this host has it.
    ///
    /// # Errors
    /// What is undefined, not known here, or too much.
    pub(super) fn evaluate(&self, host: usize, node: &Node) -> Result<Evaluated, Refused> {
        self.depth.store(0, Ordering::Relaxed);
        self.count.store(0, Ordering::Relaxed);
        for flag in [self.secret.as_ref(), &self.vaulted, &self.reference] {
            flag.store(false, Ordering::Relaxed);
        }
        *self.closed() = None;
        let tree = self.tree(host, node).map_err(|error| match self.closed().take() {
            Some(closed) => Refused::Closed(Box::new(closed)),
            None => Refused::Template(problem(&error)),
        })?;
        let node = tree.map(|tree| Node { span: node.span, tree, style: Style::Exact });
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        Ok(Evaluated {
            node,
            from_secret: is_set(&self.secret),
            from_reference: is_set(&self.reference),
            origin: if is_set(&self.vaulted) { Origin::Vault } else { Origin::Clear },
        })
    }

    fn closed(&self) -> MutexGuard<'_, Option<Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of an encrypted value.
    fn decrypted(&self, text: &str) -> Result<Zeroizing<String>, Error> {
        self.secret.store(true, Ordering::Relaxed);
        self.vaulted.store(true, Ordering::Relaxed);
        self.keyring.decrypt(text).map_err(|why| {
            *self.closed() = Some(why);
            error("an encrypted value cannot be read")
        })
    }

    /// Keeps what is no template as it is spelt; `None` is `omit`, which leaves nothing behind in a list or a mapping either.
    fn tree(&self, host: usize, node: &Node) -> Result<Option<Tree>, Error> {
        if !is_template(node) {
            return Ok(Some(node.tree.clone()));
        }
        let inner = |node: &Node| Ok(self.tree(host, node)?.map(|tree| Node { tree, ..node.clone() }));
        Ok(Some(match &node.tree {
            Tree::Text(text) => return tree::tree(&self.render(host, text)?, node),
            Tree::List(items) => {
                let items = items.iter().map(inner).collect::<Result<Vec<Option<Node>>, Error>>()?;
                Tree::List(items.into_iter().flatten().collect())
            }
            Tree::Map(entries) => {
                let entry =
                    |entry: &Entry| Ok(inner(&entry.value)?.map(|value| Entry { value, ..entry.clone() }));
                let entries = entries.iter().map(entry).collect::<Result<Vec<Option<Entry>>, Error>>()?;
                Tree::Map(entries.into_iter().flatten().collect())
            }
            Tree::Vault(text) => Tree::Text(self.decrypted(text)?.to_string()),
            other => other.clone(),
        }))
    }

    fn render(&self, host: usize, text: &str) -> Result<Value, Error> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= MOST {
            return Err(error("the templates behind it are too many"));
        }
        if text.len() > LONGEST_TEMPLATE {
            return Err(error(format!("it is longer than {LONGEST_TEMPLATE} bytes")));
        }
        if self.depth.fetch_add(1, Ordering::Relaxed) >= DEEPEST {
            return Err(error("the templates stand on each other in a circle, or too deep"));
        }
        let rendered = self.render_one(host, text);
        self.depth.fetch_sub(1, Ordering::Relaxed);
        let rendered = rendered?;
        match rendered.as_str().is_some_and(|text| text.len() > LONGEST) {
            true => Err(error("what the template gives is too long")),
            false => Ok(rendered),
        }
    }

    fn render_one(&self, host: usize, text: &str) -> Result<Value, Error> {
        let Some(world) = self.this.upgrade() else { return Err(error("the inventory is gone")) };
        let context = Value::from_object(HostVars { world, host });
        // What stands in `raw` is no template.
        let rewritten = if text.contains("raw") { text.to_owned() } else { chained::rewritten(text) };
        let text = rewritten.as_str();
        // An expression alone keeps its type: a list stays one.
        let alone = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
        let expression = alone.map(|text| text.strip_prefix('-').unwrap_or(text));
        let expression = expression.map(|text| text.strip_suffix('-').unwrap_or(text));
        if let Some(expression) = expression.filter(|text| !text.contains("}}"))
            && let Ok(compiled) = self.environment.compile_expression(expression)
        {
            let names = || self.undefined(host, compiled.undeclared_variables(false));
            let value = compiled.eval(context).map_err(|why| named(why, names))?;
            return match value.is_undefined() {
                true => Err(undefined(names().unwrap_or_else(|| quote(expression.trim())))),
                false => Ok(value),
            };
        }
        let template = self.environment.template_from_str(text)?;
        let names = || self.undefined(host, template.undeclared_variables(false));
        template.render(context).map(Value::from).map_err(|why| named(why, names))
    }

    /// The names in a template that nobody gave this host.
    fn undefined(&self, host: usize, names: impl IntoIterator<Item = String>) -> Option<String> {
        let host = self.this.upgrade().map(|world| Arc::new(HostVars { world, host }))?;
        let ours =
            |name: &str| lookup::FUNCTIONS.contains(&name) || [chained::FUNCTION, "omit"].contains(&name);
        let known = |name: &str| host.get_value(&Value::from(name)).is_some() || ours(name);
        let mut names: Vec<String> = names.into_iter().filter(|name| !known(name)).collect();
        names.sort_unstable();
        let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn variable(&self, host: usize, name: &str) -> Option<Value> {
        let entry = self.hosts[host].levels.iter().rev().find_map(|level| level.now.get(name))?;
        let known = variable(name).map(|variable| variable.kind);
        if matches!(known, Some(Kind::Secret | Kind::MonitorUri)) || sounds_secret(name) {
            self.secret.store(true, Ordering::Relaxed);
        }
        if self.sealed.contains(&entry.value.span.file) {
            self.vaulted.store(true, Ordering::Relaxed);
            self.secret.store(true, Ordering::Relaxed);
        }
        let value = self.value(host, &entry.value);
        if matches!(known, Some(Kind::Secret)) && value.as_ref().is_ok_and(is_reference) {
            self.reference.store(true, Ordering::Relaxed);
        }
        Some(value.unwrap_or_else(|why| {
            // The first name is where to look; those above it follow from it.
            match why.detail() {
                Some(detail) if detail.ends_with('`') && detail.contains(", in `") => Value::from(why),
                _ => Value::from(Error::new(why.kind(), format!("{}, in {}", message(&why), quote(name)))),
            }
        }))
    }

    fn value(&self, host: usize, node: &Node) -> Result<Value, Error> {
        match &node.tree {
            Tree::Text(text) if node.style == Style::Unsafe => Ok(Value::from(text.as_str())),
            Tree::Text(text) if has_braces(text) => self.render(host, text),
            Tree::Vault(text) => Ok(Value::from(self.decrypted(text)?.as_str())),
            Tree::List(items) => {
                let items: Result<Vec<Value>, Error> =
                    items.iter().map(|item| self.value(host, item)).collect();
                Ok(Value::from(items?))
            }
            Tree::Map(entries) => {
                let pair = |entry: &Entry| Ok((tree::key(entry), self.value(host, &entry.value)?));
                let pairs: Result<tree::Pairs, Error> = entries.iter().map(pair).collect();
                Ok(pairs?.value())
            }
            Tree::Null | Tree::Flag { .. } | Tree::Number(_) | Tree::Text(_) => Ok(tree::scalar(node)),
        }
    }
}

/// Whether the value of a password's variable says where the password is.
fn is_reference(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text.starts_with("text:") || !matches!(Reference::parse(text), Ok(Reference::Text(_))),
        None => value.kind() == ValueKind::Map,
    }
}

fn sounds_secret(name: &str) -> bool {
    ["pass", "secret", "vault", "token", "key"].iter().any(|word| name.to_ascii_lowercase().contains(word))
}

/// The variables of one host, and what Ansible adds to them.
struct HostVars {
    world: Arc<World>,
    host: usize,
}

impl fmt::Debug for HostVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the variables of a host")
    }
}

impl Object for HostVars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let host = &self.world.hosts[self.host];
        Some(match key.as_str()? {
            "inventory_hostname" => host.name.as_str().into(),
            "inventory_hostname_short" => short(&host.name).into(),
            "inventory_file" => host.file.as_str().into(),
            "inventory_dir" => host.folder.as_str().into(),
            "group_names" => Value::from(host.groups.clone()),
            "groups" => Value::from(self.world.groups.clone()),
            "hostvars" => Value::from_object(All { world: self.world.clone() }),
            "vars" => Value::from_object(HostVars { world: self.world.clone(), host: self.host }),
            name => return self.world.variable(self.host, name),
        })
    }
}

/// `hostvars`: every host by its name.
struct All {
    world: Arc<World>,
}

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the variables of all hosts")
    }
}

impl Object for All {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let host = *self.world.host_of.get(key.as_str()?)?;
        Some(Value::from_object(HostVars { world: self.world.clone(), host }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.world.host_of.keys().map(|name| name.as_str().into()).collect())
    }
}

/// An address has no short name.
pub(super) fn short(name: &str) -> &str {
    match name.parse::<std::net::Ipv4Addr>().is_ok() || super::range::is_ipv6(name) {
        true => name,
        false => name.split('.').next().unwrap_or(name),
    }
}

/// minijinja says that something is undefined, and not what.
fn named(why: Error, names: impl Fn() -> Option<String>) -> Error {
    match (why.kind(), why.detail()) {
        (ErrorKind::UndefinedError, None) => names().map_or(why, undefined),
        _ => why,
    }
}

fn undefined(names: String) -> Error {
    Error::new(ErrorKind::UndefinedError, format!("{names} is undefined"))
}

fn error(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

fn message(why: &Error) -> String {
    match (why.kind(), why.detail()) {
        (ErrorKind::UndefinedError, None) => "a variable is undefined".to_owned(),
        (kind, None) => kind.to_string(),
        (_, Some(detail)) => detail.to_owned(),
    }
}

fn problem(why: &Error) -> Problem {
    let hint = match why.kind() {
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownMethod => {
            "docs/inventory.md names the filters, functions and methods that are there"
        }
        ErrorKind::UndefinedError => {
            "templates see the variables of the inventory; facts of hosts are not there"
        }
        _ => "write the value itself, or a simpler template",
    };
    Problem::new(format!("the template fails: {}", message(why))).hint(hint)
}
