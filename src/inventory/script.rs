//! An executable inventory: asked with `--list`, and with `--host NAME` where that told nothing of hosts.

use std::path::Path;
use std::process::Command;

use super::known::hide_secrets;
use super::source::{Source, Span, quote};
use super::store::{Loop, SourceName, Store, Vars};
use super::tree::{self, Entry, Node, Tree};
use super::yaml::{add_host, is_plain_name, mapping, set_group_variable};
use crate::error::Problem;
use crate::program::{self, Errors, PATIENCE, Said, Silent};

/// Runs the program and puts what it says into the store.
pub(super) fn read(
    path: &Path,
    name: &str,
    is: &SourceName,
    base: &Path,
    store: &mut Store,
    source: &mut Source,
) {
    let said = match run(path, &["--list"]) {
        Ok(said) => said,
        Err(problem) => return source.problem_of_file(problem),
    };
    let each = |host: &str, source: &mut Source| match run(path, &["--host", host]) {
        Ok(said) => document(&said, &format!("{name} --host {host}"), base, source),
        Err(problem) => {
            source.problem_of_file(problem);
            None
        }
    };
    take(&said, &format!("{name} --list"), each, is, base, store, source);
}

/// Puts an answer to `--list` into the store; what it does not say of a host's variables is asked for.
pub(super) fn take(
    said: &str,
    name: &str,
    mut each: impl FnMut(&str, &mut Source) -> Option<Node>,
    is: &SourceName,
    base: &Path,
    store: &mut Store,
    source: &mut Source,
) {
    let Some(root) = document(said, name, base, source) else { return };
    let Some(groups) = mapping(&root, "the answer", "a mapping of groups", source) else { return };
    let mut hosts: Vec<(String, Span)> = Vec::new();
    let mut told = None;
    for entry in groups {
        if entry.key == "_meta" {
            let parts = mapping(&entry.value, "`_meta`", "a mapping", source).unwrap_or_default();
            told = parts.iter().find(|part| part.key == "hostvars").map(|part| &part.value).or(told);
        } else if is_plain_name("group", &entry.key, entry.key_span, source) {
            group(entry, is, &mut hosts, store, source);
        }
    }
    let told = match told.map(|told| mapping(told, "`hostvars`", "a mapping of hosts", source)) {
        Some(Some(told)) => Some(told),
        Some(None) => return,
        None => None,
    };
    for (host, span) in hosts {
        let vars = match told {
            Some(told) => told.iter().find(|entry| entry.key == host).map(|entry| entry.value.clone()),
            None => each(&host, source),
        };
        let Some(vars) = vars else { continue };
        let entries = mapping(&vars, &quote(&host), "a mapping of variables", source).unwrap_or_default();
        let vars: Vars = entries.iter().cloned().collect();
        add_host(store, &host, span, is, None, None, vars);
    }
}

fn group(
    entry: &Entry,
    file: &SourceName,
    hosts: &mut Vec<(String, Span)>,
    store: &mut Store,
    source: &mut Source,
) {
    let group = store.group(&entry.key);
    let mut add = |name: &str, span: Span, store: &mut Store, source: &mut Source| {
        if is_plain_name("host", name, span, source) {
            hosts.push((name.to_owned(), span));
            add_host(store, name, span, file, None, Some(group), Vars::default());
        }
    };
    let parts = match &entry.value.tree {
        Tree::Map(parts) => parts,
        // A group may be its hosts alone.
        _ => {
            for (host, span) in names(&entry.value, &entry.key, source) {
                add(&host, span, store, source);
            }
            return;
        }
    };
    let part = |name: &str| parts.iter().find(|part| part.key == name).map(|part| &part.value);
    if ["hosts", "vars", "children"].iter().all(|name| part(name).is_none()) {
        // A group without parts is a host with its variables.
        add(&entry.key, entry.key_span, store, source);
        for variable in parts {
            set_group_variable(store, group, variable.clone(), source);
        }
        return;
    }
    if let Some(node) = part("hosts") {
        for (host, span) in names(node, "hosts", source) {
            add(&host, span, store, source);
        }
    }
    if let Some(node) = part("vars") {
        for variable in mapping(node, "`vars`", "a mapping of variables", source).unwrap_or_default() {
            set_group_variable(store, group, variable.clone(), source);
        }
    }
    if let Some(node) = part("children") {
        for (child, span) in names(node, "children", source) {
            if !is_plain_name("group", &child, span, source) {
                continue;
            }
            let child = store.group(&child);
            if let Err(Loop) = store.add_child(group, child) {
                let name = quote(&store.groups[child].name);
                let problem = Problem::new(format!("group {name} is its own ancestor"));
                source.problem(span, problem.hint(format!("it is above {} already", quote(&entry.key))));
            }
        }
    }
}

fn names(node: &Node, what: &str, source: &mut Source) -> Vec<(String, Span)> {
    let Tree::List(items) = &node.tree else {
        let problem =
            Problem::new(format!("{} must be a list of names, not {}", quote(what), node.tree.noun()));
        source.problem(node.span, problem);
        return Vec::new();
    };
    let name = |item: &Node| match &item.tree {
        Tree::Text(name) => Some((name.clone(), item.span)),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

/// JSON; whatever else the program wrote is shown as a mistake in it.
fn document(said: &str, name: &str, base: &Path, source: &mut Source) -> Option<Node> {
    let file = source.add(name, said, base);
    if serde_json::from_str::<serde::de::IgnoredAny>(said).is_err() {
        let place = Span { file, line: 1, column: 1, width: 1 };
        source.hide_all_suspects(file);
        source.problem(
            place,
            Problem::new("the inventory did not answer in JSON").hint("run it by hand and look"),
        );
        return None;
    }
    let root = tree::read(said, file, source)?;
    hide_secrets(&root, source);
    Some(root)
}

/// Whether the kernel can start a file: one without `#!` that happens to be executable is none of it.
pub(super) fn is_program(start: &[u8]) -> bool {
    start.starts_with(b"#!") || start.starts_with(b"\x7fELF")
}

fn run(path: &Path, arguments: &[&str]) -> Result<String, Problem> {
    let shown = quote(&format!("{} {}", path.display(), arguments.join(" ")));
    let failed = |why: String| Problem::new(format!("the inventory {shown} {why}"));
    // Without a folder in it a name would be looked up in PATH.
    let program = if path.components().count() > 1 { path.to_owned() } else { Path::new(".").join(path) };
    let said = program::run(Command::new(program).args(arguments), PATIENCE, Errors::Kept);
    let said = said.map_err(|why| match why {
        Silent::CannotStart(error) => failed(format!("cannot be started: {error}")),
        Silent::Failed(why) => failed(why),
    })?;
    answer(&said, failed)
}

/// What a program printed, where it ended well.
pub(super) fn answer(said: &Said, failed: impl Fn(String) -> Problem) -> Result<String, Problem> {
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let last: Vec<String> = said.last_errors().iter().map(|line| quote(line)).collect();
    let problem = failed(format!("failed: {}", said.status));
    Err(match last.is_empty() {
        true => problem,
        false => problem.hint(format!("it said {}", last.join(" "))),
    })
}
