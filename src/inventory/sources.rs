//! What `-i` names, one after the other: files, folders, programs and lists with commas; and the variables beside them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::known::hide_secrets;
use super::source::{self, Seal, Source, Span, quote};
use super::store::{SourceName, Store, UNGROUPED, Vars};
use super::tree::{self, Tree};
use super::yaml::{Whole, add_host, is_plain_name, mapping};
use super::{ini, plugin, range, script, yaml};
use crate::bounded;
use crate::error::{Place, Problem};
use crate::program::MOST_BYTES;
use crate::secrets;

/// What is no inventory in a folder of them. Source: INVENTORY_IGNORE_EXTS of ansible-core.
const IGNORED: [&str; 12] =
    ["~", ".orig", ".cfg", ".retry", ".pyc", ".pyo", ".swp", ".bak", ".rpm", ".md", ".txt", ".rst"];
/// Beside a name in `group_vars` and `host_vars`, in the order in which they are looked for.
const ENDINGS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// Every source read, and where their `group_vars` and `host_vars` are.
pub(super) struct Sources {
    pub(super) store: Store,
    pub(super) whole: Whole,
    /// What was read so far, for a plugin of Ansible's that adds to it.
    names: Vec<String>,
    /// In the order of the sources.
    folders: Vec<PathBuf>,
    /// Files of variables, each read once.
    read: BTreeMap<PathBuf, Arc<Vars>>,
}

impl Sources {
    pub(super) fn new() -> Self {
        Sources {
            store: Store::new(),
            whole: Whole::Yes,
            names: Vec::new(),
            folders: Vec::new(),
            read: BTreeMap::new(),
        }
    }

    /// Reads one source.
    pub(super) fn add(&mut self, name: &str, source: &mut Source) {
        let path = Path::new(name);
        if name.contains(',') && !path.exists() {
            self.names.push(name.to_owned());
            return self.list(name, source);
        }
        // However it is spelled: where paths start does not hang on the current folder.
        let whole = absolute(path);
        let folder = if path.is_dir() { &whole } else { whole.parent().unwrap_or(&whole) };
        self.folders.push(if path.is_dir() { path } else { path.parent().unwrap_or(path) }.to_owned());
        self.read_path(path, folder, source);
        self.names.push(name.to_owned());
    }

    /// Reads a text as if it were a file; relative paths in it start at `base`.
    pub(super) fn add_text(&mut self, name: &str, text: &str, base: &Path, source: &mut Source) {
        let is = SourceName { path: name.to_owned(), folder: base.display().to_string() };
        self.add_sealed(name, &is, text, Seal::None, base, source);
    }

    fn add_sealed(
        &mut self,
        name: &str,
        is: &SourceName,
        text: &str,
        seal: Seal,
        base: &Path,
        source: &mut Source,
    ) {
        let file = source.add_as(seal, name, text, base);
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
        if ending == Some("toml") {
            let problem = Problem::new("this is an inventory in TOML, which is not read here");
            let hint = "`ansible-inventory -i THIS --list --yaml` makes YAML of it; give that to muster";
            return source.problem(Span { file, ..source::START }, problem.hint(hint));
        }
        if ini::looks_like(text) || ending == Some("ini") {
            return ini::read(text, file, is, &mut self.store, source);
        }
        let mark = source.mark();
        let root = tree::read(text, file, source);
        if let Some(root) = &root {
            hide_secrets(root, source);
        }
        // Ansible too tries one after the other: what is no mapping may be INI.
        let is_map = root.as_ref().is_some_and(|root| matches!(root.tree, Tree::Map(_)));
        if !is_map && !text.trim().is_empty() {
            let as_yaml = source.take_since(mark);
            ini::read(text, file, is, &mut Store::new(), source);
            let named_yaml = matches!(ending, Some("yml" | "yaml" | "json"));
            if source.take_since(mark).is_empty() || !named_yaml && as_yaml.is_empty() {
                return ini::read(text, file, is, &mut self.store, source);
            }
            source.put_back(as_yaml);
        }
        if let Some((plugin, at)) = root.as_ref().and_then(yaml::plugin) {
            let sources: Vec<&str> = self.names.iter().map(String::as_str).chain([name]).collect();
            return plugin::read(&plugin, at, &sources, is, base, &mut self.store, source);
        }
        if let Some(root) = root
            && yaml::read(&root, is, &mut self.store, source) == Whole::No
        {
            self.whole = Whole::No;
        }
    }

    fn list(&mut self, names: &str, source: &mut Source) {
        let file = source.add("-i", names, &absolute(Path::new("")));
        let folder = absolute(Path::new("")).display().to_string();
        let is = SourceName { path: names.to_owned(), folder };
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let column = name.as_ptr().addr() - names.as_ptr().addr() + 1;
            let span = Span { file, line: 1, column, width: name.chars().count() };
            let (hosts, port) = match range::expand(name) {
                Ok(found) => found,
                Err(problem) => {
                    source.problem(span, problem);
                    continue;
                }
            };
            for host in hosts {
                if is_plain_name("host", &host, span, source) && self.store.find_host(&host).is_none() {
                    add_host(&mut self.store, &host, span, &is, port, Some(UNGROUPED), Vars::default());
                }
            }
        }
    }

    fn read_path(&mut self, path: &Path, base: &Path, source: &mut Source) {
        if path.is_dir() {
            return self.folder(path, base, source);
        }
        let name = path.display().to_string();
        let whole = absolute(path);
        let folder = whole.parent().unwrap_or(&whole).display().to_string();
        let is = SourceName { path: whole.display().to_string(), folder };
        let bytes = match read_file(path) {
            Ok(bytes) => bytes,
            Err(problem) => return source.problem_of_file(problem),
        };
        let executable = path.metadata().is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
        if executable && script::is_program(&bytes) {
            return script::read(path, &name, &is, base, &mut self.store, source);
        }
        if let Some((text, seal)) = text_of(&name, bytes, base, source) {
            self.add_sealed(&name, &is, &text, seal, base, source);
        }
    }

    /// The files of a folder in the order of their names, those below it too.
    fn folder(&mut self, path: &Path, base: &Path, source: &mut Source) {
        let names = match list(path) {
            Ok(names) => names,
            Err(problem) => return source.problem_of_file(problem),
        };
        for name in names {
            let hidden = name.starts_with('.') || name == "host_vars" || name == "group_vars";
            let ignored = IGNORED.iter().any(|ending| name.ends_with(ending));
            if !hidden && name != "vars_plugins" && !ignored {
                self.read_path(&path.join(name), base, source);
            }
        }
    }

    /// The levels of variables beside the sources: those of the groups in their order, source by source.
    pub(super) fn group_files(&mut self, groups: &[usize], source: &mut Source) -> Vec<Arc<Vars>> {
        let names: Vec<String> = groups.iter().map(|group| self.store.groups[*group].name.clone()).collect();
        self.files("group_vars", &names, source)
    }

    pub(super) fn host_files(&mut self, host: &str, source: &mut Source) -> Vec<Arc<Vars>> {
        self.files("host_vars", &[host.to_owned()], source)
    }

    fn files(&mut self, kind: &str, names: &[String], source: &mut Source) -> Vec<Arc<Vars>> {
        let mut levels = Vec::new();
        for base in self.folders.clone() {
            let folder = base.join(kind);
            if !folder.is_dir() {
                continue;
            }
            for name in names.iter().filter(|name| !name.starts_with('/')) {
                for file in found(&folder, name) {
                    levels.extend(self.variables(file, &absolute(&base), source));
                }
            }
        }
        levels
    }

    fn variables(&mut self, file: PathBuf, base: &Path, source: &mut Source) -> Option<Arc<Vars>> {
        if let Some(vars) = self.read.get(&file) {
            return Some(vars.clone());
        }
        let name = file.display().to_string();
        let read = match read_file(&file) {
            Ok(bytes) => text_of(&name, bytes, base, source),
            Err(problem) => {
                source.problem_of_file(problem);
                None
            }
        };
        let root = read.and_then(|(text, seal)| {
            let number = source.add_as(seal, &name, &text, base);
            if text.trim().is_empty() { None } else { tree::read(&text, number, source) }
        });
        if let Some(root) = &root {
            hide_secrets(root, source);
        }
        let entries = root.iter().flat_map(|root| {
            mapping(root, "a file of variables", "a mapping of variables", source).unwrap_or_default()
        });
        let vars = Arc::new(entries.cloned().collect::<Vars>());
        self.read.insert(file, vars.clone());
        Some(vars)
    }
}

/// The path from the root, without `.` and `..`; symbolic links stay what they are called.
fn absolute(path: &Path) -> PathBuf {
    let whole = std::env::current_dir().unwrap_or_default().join(path);
    whole.components().fold(PathBuf::new(), |mut made, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(made.pop()),
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => made.push(part),
        }
        made
    })
}

/// The file of a name, or the files of its folder.
fn found(folder: &Path, name: &str) -> Vec<PathBuf> {
    for ending in ENDINGS {
        let path = folder.join(format!("{name}{ending}"));
        if path.is_dir() {
            let mut files = Vec::new();
            below(&path, &mut files);
            return files;
        }
        if path.exists() {
            return vec![path];
        }
    }
    Vec::new()
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for name in list(folder).unwrap_or_default() {
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = folder.join(&name);
        let ending =
            path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        match (path.is_dir(), ending.is_empty()) {
            (true, true) => below(&path, files),
            (false, _) if ENDINGS.contains(&ending.as_str()) => files.push(path),
            (true, false) | (false, _) => {}
        }
    }
}

fn list(folder: &Path) -> Result<Vec<String>, Problem> {
    let names =
        std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| {
            Problem::new(format!("cannot read the folder {}: {error}", quote(&folder.to_string_lossy())))
        })?;
    let mut names: Vec<String> =
        names.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let name = quote(&path.to_string_lossy());
    bounded::read(path, MOST_BYTES)
        .map_err(|error| Problem::new(format!("cannot read the inventory {name}: {error}")))
}

/// The text of a file, decrypted where ansible-vault has encrypted it.
fn text_of(
    name: &str,
    bytes: Vec<u8>,
    base: &Path,
    source: &mut Source,
) -> Option<(Zeroizing<String>, Seal)> {
    let is_encrypted = secrets::is_encrypted(&bytes);
    let text = utf8(name, bytes, source)?;
    match is_encrypted {
        true => Some((source.decrypted_file(name, &text, base)?, Seal::Vault)),
        false => Some((Zeroizing::new(text), Seal::None)),
    }
}

fn utf8(name: &str, bytes: Vec<u8>, source: &mut Source) -> Option<String> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Some(text),
        Err(error) => error,
    };
    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
    let place = Place { file: name.to_owned(), line, column: 1, width: 1, text: String::new() };
    source.problem_of_file(Problem::new("the inventory is not UTF-8").hint("save it as UTF-8").at(place));
    None
}
