//! Inventories as Ansible reads them: `tests/ansible/*.txt`, and some made by chance, against ansible-core itself.
//!
//! A case is `==== TITLE`, optionally a line `refused` where muster says no to what Ansible puts up with, `-i SOURCE …`,
//! and files behind `---- NAME`; one that starts with `#!` can be executed. Without ansible-core (`make install-deps`)
//! nothing is compared, and that is said.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use muster::inventory;
use muster::secrets::Keyring;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

struct Case {
    title: String,
    sources: Vec<String>,
    refused: bool,
    files: Vec<(String, String)>,
}

/// The virtual environment of `make install-deps`.
const BIN: &str = "target/ansible/bin";
/// How many inventories chance makes.
const MADE: u64 = 120;

#[test]
fn ansible_and_muster_read_the_same() {
    let mut cases = written();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    cases.extend((0..MADE).map(made));
    if !Path::new(BIN).join("ansible-inventory").exists() {
        let said = writeln!(std::io::stderr(), "LEFT OUT: the comparison with Ansible (make install-deps)");
        return said.expect("stderr is open");
    }
    let base = tempfile::tempdir().expect("a folder can be made");
    let folders: Vec<PathBuf> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| put(case, &base.path().join(number.to_string())))
        .collect();
    let answers = oracle(&cases, &folders, base.path());
    let keyring = Arc::new(Keyring::empty());
    let mut wrong = Vec::new();
    for ((case, folder), theirs) in cases.iter().zip(&folders).zip(&answers) {
        let ours = inventory::list(&paths(case, folder), &keyring);
        let failed = theirs.get("error");
        match (ours, failed, case.refused) {
            (Ok(ours), None, false) if same(&ours.list(), theirs) => {}
            (Err(_), _, true) | (Err(_), Some(_), false) => {}
            (Ok(ours), None, _) => wrong.push(format!("{}:\n{}", case.title, diff(theirs, &ours.list()))),
            (Ok(_), Some(why), _) => wrong.push(format!("{}: only Ansible refuses it: {why}", case.title)),
            (Err(why), None, false) => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                wrong.push(format!("{}: only muster refuses it: {}", case.title, why.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // What stands for the command has to say what the command says.
    for at in [0, cases.len() - 1] {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(BIN).join("ansible-inventory"));
        let sources = paths(&cases[at], &folders[at]);
        let sources = sources.iter().flat_map(|source| ["-i", source]);
        let output = command.args(sources).arg("--list").current_dir(base.path()).output().expect("it runs");
        let said: Value = serde_json::from_slice(&output.stdout).expect("it says JSON");
        assert_eq!(said, answers[at], "{}", cases[at].title);
    }
}

fn written() -> Vec<Case> {
    let mut names: Vec<PathBuf> = fs::read_dir("tests/ansible")
        .expect("the cases are there")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    names.sort();
    let texts: Vec<String> =
        names.iter().map(|name| fs::read_to_string(name).expect("a file of cases")).collect();
    texts
        .iter()
        .flat_map(|text| text.split("==== ").filter(|case| !case.trim().is_empty()))
        .map(case)
        .collect()
}

fn case(text: &str) -> Case {
    let (head, files) = text.split_once("---- ").unwrap_or((text, ""));
    let mut lines = head.lines();
    let title = lines.next().expect("a title").to_owned();
    let mut refused = false;
    let mut sources = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match line.strip_prefix("-i ") {
            Some(source) => sources.push(source.to_owned()),
            None => {
                assert_eq!(line, "refused", "{title}");
                refused = true;
            }
        }
    }
    let files = files.split("---- ").filter(|file| !file.is_empty()).map(|file| {
        let (name, text) = file.split_once('\n').expect("a name");
        (name.to_owned(), text.to_owned())
    });
    let files: Vec<(String, String)> = files.collect();
    if sources.is_empty() {
        sources.push(files.first().expect("a file").0.clone());
    }
    Case { title, sources, refused, files }
}

fn put(case: &Case, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder can be made");
    for (name, text) in &case.files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder can be made");
        fs::write(&path, text).expect("a file can be written");
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
    }
    folder.to_owned()
}

fn paths(case: &Case, folder: &Path) -> Vec<String> {
    let path = |source: &String| match source.contains(',') {
        true => source.clone(),
        false => folder.join(source).display().to_string(),
    };
    case.sources.iter().map(path).collect()
}

/// Runs in `empty`: Ansible reads the `group_vars` of its current folder too, as those of a playbook there.
fn oracle(cases: &[Case], folders: &[PathBuf], empty: &Path) -> Vec<Value> {
    let mut asked = String::new();
    for (case, folder) in cases.iter().zip(folders) {
        asked += &format!("{}\n", json!({ "sources": paths(case, folder) }));
    }
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(BIN);
    let mut child = Command::new(bin.join("python"))
        .arg(fs::canonicalize("tests/ansible/oracle.py").expect("it is there"))
        .current_dir(empty)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Python starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it ends").expect("it reads everything");
    let answers = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    // Python knows infinity, JSON does not.
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    assert_eq!(answers.len(), cases.len(), "an answer a case");
    answers
}

/// Numbers by their value: `1000.0` and `1e3` are one.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.is_f64() == b.is_f64() && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn diff(theirs: &Value, ours: &Value) -> String {
    let text = |value| serde_json::to_string_pretty(value).expect("JSON");
    similar::TextDiff::from_lines(&text(theirs), &text(ours))
        .unified_diff()
        .header("ansible", "muster")
        .to_string()
}

/// Groups in groups, hosts in several of them, the same few variables everywhere: precedence decides all.
fn made(seed: u64) -> Case {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut files = Vec::new();
    let mut sources = Vec::new();
    for number in 0..chance.random_range(1..=3) {
        let yaml = chance.random_bool(0.5);
        let folder = if chance.random_bool(0.3) { "sub/" } else { "" };
        let name = format!("{folder}{number}.{}", if yaml { "yml" } else { "ini" });
        let text = if yaml { made_yaml(&mut chance) } else { made_ini(&mut chance) };
        sources.push(name.clone());
        files.push((name, text));
    }
    for _ in 0..chance.random_range(0..6) {
        let folder = if chance.random_bool(0.3) { "sub/" } else { "" };
        let (kind, name) = match chance.random_bool(0.7) {
            true => ("group_vars", format!("g{}", chance.random_range(0..6))),
            false => ("host_vars", format!("h{}", chance.random_range(0..6))),
        };
        let name = if chance.random_bool(0.2) { "all".to_owned() } else { name };
        let ending = ["", ".yml", ".yaml", ".json", "/a.yml", "/b"][chance.random_range(0..6)];
        let path = format!("{folder}{kind}/{name}{ending}");
        // A name is a file or a folder.
        let stem = format!("{folder}{kind}/{name}");
        if files.iter().all(|(other, _): &(String, String)| {
            !other.starts_with(&format!("{stem}/"))
                && *other != stem
                && *other != path
                && !path.starts_with(&format!("{other}/"))
        }) {
            let vars: Vec<String> =
                pairs(&mut chance).into_iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            files.push((path, format!("{{{}}}\n", vars.join(", "))));
        }
    }
    Case { title: format!("made by chance, seed {seed}"), sources, refused: false, files }
}

fn pairs(chance: &mut StdRng) -> Vec<(String, String)> {
    let count = chance.random_range(0..4);
    let mut pairs: Vec<(String, String)> = (0..count)
        .map(|_| (format!("v{}", chance.random_range(0..4)), chance.random_range(0..1000).to_string()))
        .collect();
    pairs.sort();
    pairs.dedup_by(|a, b| a.0 == b.0);
    pairs
}

/// Only a later group goes below an earlier one: no circles.
fn children(chance: &mut StdRng, group: usize) -> Vec<usize> {
    (group + 1..6).filter(|_| chance.random_bool(0.2)).collect()
}

fn made_ini(chance: &mut StdRng) -> String {
    let mut text = String::new();
    for _ in 0..chance.random_range(0..3) {
        text += &format!("h{}\n", chance.random_range(0..6));
    }
    for group in 0..6 {
        text += &format!("[g{group}]\n");
        for _ in 0..chance.random_range(0..3) {
            let vars: Vec<String> = pairs(chance).into_iter().map(|(k, v)| format!(" {k}={v}")).collect();
            let host = chance.random_range(0..6);
            let range = if chance.random_bool(0.2) { format!("h[{host}:6]") } else { format!("h{host}") };
            text += &format!("{range}{}\n", vars.concat());
        }
        if chance.random_bool(0.5) {
            text += &format!("[g{group}:vars]\n");
            text.extend(pairs(chance).into_iter().map(|(k, v)| format!("{k} = {v}\n")));
            if chance.random_bool(0.3) {
                text += &format!("ansible_group_priority={}\n", chance.random_range(0..12));
            }
        }
        let below = children(chance, group);
        if !below.is_empty() {
            text += &format!("[g{group}:children]\n");
            text.extend(below.into_iter().map(|child| format!("g{child}\n")));
        }
    }
    text
}

fn made_yaml(chance: &mut StdRng) -> String {
    let braces = |pairs: Vec<(String, String)>| {
        let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let mut text = format!("all: {{vars: {}}}\n", braces(pairs(chance)));
    for group in 0..6 {
        text += &format!("g{group}:\n");
        let mut hosts: Vec<usize> =
            (0..chance.random_range(0..3)).map(|_| chance.random_range(0..6)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let hosts: Vec<(String, String)> =
            hosts.into_iter().map(|host| (format!("h{host}"), braces(pairs(chance)))).collect();
        text += &format!("  hosts: {}\n", braces(hosts));
        let mut vars = pairs(chance);
        if chance.random_bool(0.3) {
            vars.push(("ansible_group_priority".to_owned(), chance.random_range(0..12).to_string()));
        }
        text += &format!("  vars: {}\n", braces(vars));
        let below = children(chance, group).into_iter().map(|child| (format!("g{child}"), String::new()));
        text += &format!("  children: {}\n", braces(below.collect()));
    }
    text
}
