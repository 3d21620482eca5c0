//! Inventories as Ansible reads them: `tests/ansible/*.txt`, and some made by chance, against ansible-core itself.
//!
//! A case is `==== TITLE`, optionally a line `refused` where muster says no to what Ansible puts up with, `-i SOURCE …`,
//! `% PATTERN …`, and files behind `---- NAME`; one that starts with `#!` can be executed. What templates make is compared of
//! variables whose names begin with `t_`; where muster says no to what Ansible makes of one, it begins with `r_`.
//! Without ansible-core (`make install-deps`) nothing is compared, and that is said.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use muster::inventory::{self, Listing};
use muster::secrets::Keyring;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

struct Case {
    title: String,
    sources: Vec<String>,
    patterns: Vec<String>,
    refused: bool,
    files: Vec<(String, String)>,
}

/// The virtual environment of `make install-deps`.
const BIN: &str = "target/ansible/bin";
/// How many inventories chance makes: of groups and levels, and of templates and patterns.
const MADE: u64 = 120;
const TEMPLATES: u64 = 200;

#[test]
fn ansible_and_muster_read_the_same() {
    let mut cases = written();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    cases.extend((0..MADE).map(made));
    let Some((folder, answers)) = compared(&cases) else { return };
    // What stands for the command has to say what the command says.
    for at in [0, cases.len() - 1] {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(BIN).join("ansible-inventory"));
        let sources = paths(&cases[at], &folder.path().join(at.to_string()));
        let sources = sources.iter().flat_map(|source| ["-i", source]);
        let output =
            command.args(sources).arg("--list").current_dir(folder.path()).output().expect("it runs");
        let said: Value = serde_json::from_slice(&output.stdout).expect("it says JSON");
        assert_eq!(said, answers[at]["list"], "{}", cases[at].title);
    }
}

#[test]
fn templates_and_patterns_are_the_same() {
    let cases: Vec<Case> = (0..TEMPLATES).map(made_templates).collect();
    if let Some((_, answers)) = compared(&cases) {
        let count =
            |of: &str| answers.iter().filter_map(|answer| answer[of].as_array()).map(Vec::len).sum::<usize>();
        let (values, patterns) = (count("values"), count("patterns"));
        assert!(values > 3_000 && patterns > 1_500, "only {values} values and {patterns} patterns");
    }
}

/// Plugins that are part of ansible-core itself: one that makes hosts, and one that adds to those before it.
#[test]
fn an_inventory_plugin_is_asked_by_ansible_inventory() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let put = |name: &str, text: &str| {
        fs::create_dir_all(folder.path().join(name).parent().expect("it is below")).expect("it can be made");
        fs::write(folder.path().join(name), text).expect("a file can be written");
    };
    put(
        "made.yml",
        "plugin: ansible.builtin.generator\nhosts: {name: 'db{{ n }}', parents: [{name: postgres}]}\nlayers: {n: ['1', '2']}\n",
    );
    put("group_vars/postgres.yml", "pgdata: /srv/pg\nhba: [local all all peer]\n");
    put(
        "more.yml",
        "plugin: constructed\nstrict: true\ngroups: {second: \"'2' in inventory_hostname\"}\ncompose: {where: \"'x' ~ 1\"}\n",
    );
    put("monitor.ini", "[monitor]\nmon pgdata=/srv/mon\n");
    put("hosts.toml", "[g.hosts]\na = {}\n");
    let muster = |path: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_remove("MUSTER_INVENTORY").env("PATH", path).env("HOME", folder.path());
        let output = command.args(args).current_dir(folder.path()).output().expect("muster runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it says text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = muster("/nonexistent", &["inventory", "-i", "made.yml", "--list"]);
    let message = "plugin `ansible.builtin.generator`, and ansible-inventory is not installed here";
    assert!(code == Some(1) && said.contains(message), "{said}");
    let (code, _, said) = muster("/nonexistent", &["inventory", "-i", "hosts.toml", "--list"]);
    assert!(code == Some(1) && said.contains("an inventory in TOML"), "{said}");
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(BIN);
    if !bin.join("ansible-inventory").exists() {
        return writeln!(std::io::stderr(), "LEFT OUT: plugins of Ansible (make install-deps)")
            .expect("it is open");
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let sources = ["-i", "monitor.ini", "-i", "made.yml", "-i", "more.yml"];
    let (code, listed, said) = muster(&path, &[&["inventory", "--list"], &sources[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    let listed: Value = serde_json::from_str(&listed).expect("it says JSON");
    let output = Command::new(bin.join("ansible-inventory"))
        .args([&["--list"], &sources[..]].concat())
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let theirs: Value = serde_json::from_slice(&output.stdout).expect("it says JSON");
    assert!(same(&listed, &theirs), "{}", diff(&theirs, &listed));
    assert_eq!(listed["second"]["hosts"], json!(["db2"]));
    let (code, plan, said) = muster(&path, &[&["lint"], &sources[..]].concat());
    assert!(plan.contains("that ansible-inventory found by Ansible's plugin `constructed`"), "{plan}{said}");
    assert_eq!(code, Some(0), "{plan}{said}");
}

/// The folder of the cases, and what Ansible says of each; nothing where it is not here. What differs fails the test.
fn compared(cases: &[Case]) -> Option<(tempfile::TempDir, Vec<Value>)> {
    if !Path::new(BIN).join("ansible-inventory").exists() {
        writeln!(std::io::stderr(), "LEFT OUT: the comparison with Ansible (make install-deps)")
            .expect("stderr is open");
        return None;
    }
    let base = tempfile::tempdir().expect("a folder can be made");
    let folders: Vec<PathBuf> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| put(case, &base.path().join(number.to_string())))
        .collect();
    let keyring = Arc::new(Keyring::empty());
    let ours: Vec<_> = cases
        .iter()
        .zip(&folders)
        .map(|(case, folder)| inventory::list(&paths(case, folder), &keyring))
        .collect();
    let asked: Vec<Vec<(String, String)>> = ours.iter().map(|ours| templates(ours.as_ref().ok())).collect();
    let answers = oracle(cases, &folders, &asked, base.path());
    let mut wrong = Vec::new();
    for (((case, ours), asked), theirs) in cases.iter().zip(&ours).zip(&asked).zip(&answers) {
        let failed = theirs.get("error");
        match (ours, failed, case.refused) {
            (Ok(ours), None, false) if same(&ours.list(), &theirs["list"]) => {
                wrong.extend(values(case, ours, asked, &theirs["values"]));
                wrong.extend(patterns(case, ours, &theirs["patterns"]));
            }
            (Err(_), _, true) | (Err(_), Some(_), false) => {}
            (Ok(ours), None, _) => {
                wrong.push(format!("{}:\n{}", case.title, diff(&theirs["list"], &ours.list())));
            }
            (Ok(_), Some(why), _) => wrong.push(format!("{}: only Ansible refuses it: {why}", case.title)),
            (Err(why), None, false) => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                wrong.push(format!("{}: only muster refuses it: {}", case.title, why.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Some((base, answers))
}

/// The variables of each host whose templates are compared.
fn templates(listing: Option<&Listing>) -> Vec<(String, String)> {
    let Some(listing) = listing else { return Vec::new() };
    let mut found = Vec::new();
    // Three hosts are enough to see that it hangs on the host.
    for host in listing.hosts().take(3) {
        let variables = listing.host(host).expect("it is one");
        let names = variables.as_object().expect("a mapping").keys();
        let names = names.filter(|name| name.starts_with("t_") || name.starts_with("r_"));
        found.extend(names.map(|name| (host.to_owned(), name.clone())));
    }
    found
}

fn values(case: &Case, ours: &Listing, asked: &[(String, String)], theirs: &Value) -> Vec<String> {
    let theirs = theirs.as_array().expect("a list");
    assert_eq!(theirs.len(), asked.len(), "an answer a value");
    let mut wrong = Vec::new();
    for ((host, name), theirs) in asked.iter().zip(theirs) {
        let is_same = match (ours.evaluated(host, name), theirs.get("error"), name.starts_with("r_")) {
            (Err(_), None, true) | (Err(_), Some(_), false) => true,
            (Ok(None), None, false) => theirs.get("is").is_none(),
            (Ok(Some(value)), None, false) => theirs.get("is").is_some_and(|theirs| same(&value, theirs)),
            (Ok(_), ..) | (Err(_), ..) => false,
        };
        if !is_same {
            let ours = ours.evaluated(host, name).map_err(|why| why[0].to_string());
            wrong.push(format!("{}: {name} of {host} is {ours:?}, and of Ansible {theirs}", case.title));
        }
    }
    wrong
}

fn patterns(case: &Case, ours: &Listing, theirs: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (pattern, theirs) in case.patterns.iter().zip(theirs.as_array().expect("a list")) {
        let ours = ours.selected(pattern);
        let mut sorted: Vec<&str> =
            theirs.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        sorted.sort_unstable();
        let is_same = match &ours {
            Ok(ours) => {
                let mut ours: Vec<&str> = ours.iter().map(String::as_str).collect();
                // Of all hosts the order is the same, too.
                let in_order = pattern != "all" || json!(ours) == *theirs;
                ours.sort_unstable();
                ours == sorted && in_order
            }
            // Nobody is an error here.
            Err(_) => sorted.is_empty(),
        };
        if !is_same {
            wrong.push(format!("{}: `{pattern}` is {ours:?}, and of Ansible {theirs}", case.title));
        }
    }
    wrong
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
    let (mut sources, mut patterns) = (Vec::new(), Vec::new());
    for line in lines.filter(|line| !line.is_empty()) {
        match (line.strip_prefix("-i "), line.strip_prefix("% ")) {
            (Some(source), _) => sources.push(source.to_owned()),
            (None, Some(pattern)) => patterns.push(pattern.to_owned()),
            (None, None) => {
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
    Case { title, sources, patterns, refused, files }
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
fn oracle(cases: &[Case], folders: &[PathBuf], values: &[Vec<(String, String)>], empty: &Path) -> Vec<Value> {
    let mut asked = String::new();
    for ((case, folder), values) in cases.iter().zip(folders).zip(values) {
        let case = json!({ "sources": paths(case, folder), "values": values, "patterns": case.patterns });
        asked += &format!("{case}\n");
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
    let patterns = Vec::new();
    Case { title: format!("made by chance, seed {seed}"), sources, patterns, refused: false, files }
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

/// Templates over a few values of every kind, in mappings, loops and tests; patterns with slices, commas and colons.
fn made_templates(seed: u64) -> Case {
    let mut chance = StdRng::seed_from_u64(1_000 + seed);
    let pick = |chance: &mut StdRng, of: &[&str]| of[chance.random_range(0..of.len())].to_owned();
    let words = ["yes", "'no'", "'False'", "off", "'0'", "1", "'On'", "true"];
    let mut keys = ["zeta", "alpha", "mid", "b2", "'10'", "x_y"];
    let mut vars = String::new();
    for name in ["f0", "f1", "f2"] {
        vars += &format!("    {name}: {}\n", pick(&mut chance, &words));
    }
    for name in ["m0", "m1"] {
        for at in (1..keys.len()).rev() {
            keys.swap(at, chance.random_range(0..=at));
        }
        let count = chance.random_range(1..keys.len());
        let pairs = keys.iter().take(count).map(|key| {
            let value =
                pick(&mut chance, &["1", "~", "text", "'2'", "[1, ~, x]", "{b: 1, a: ~}", "true", "1.5"]);
            format!("{key}: {value}")
        });
        let pairs: Vec<String> = pairs.collect();
        vars += &format!("    {name}: {{{}}}\n", pairs.join(", "));
    }
    vars += &format!("    n0: {}\n    n1: \"{{{{ n0 }}}}\"\n", pick(&mut chance, &["~", "null", "''", "0"]));
    vars += &format!("    l0: [{}]\n", pick(&mut chance, &["c, a, b", "3, 1, 2, 1", "~, x", "[1, [2]], 3"]));
    const SHAPES: [&str; 34] = [
        "{{ inventory_dir }}/k",
        "{{ inventory_file | basename }}",
        "{{ F | bool }}",
        "{{ 'on' if F | bool else 'off' }}",
        "{% if F | bool %}a{% else %}b{% endif %}",
        "{{ F | bool | ternary('x', 'y') }}",
        "{{ N }}",
        "<{{ N }}>",
        "{{ N | default('d', true) }}",
        "{{ n1 | ternary('t', 'f', 'none') }}",
        "{% for k in M %}{{ k }},{% endfor %}",
        "{% for k, v in M.items() %}{{ k }}={{ v }};{% endfor %}",
        "{% for i in M | dict2items %}{{ i.key }}={{ i.value }};{% endfor %}",
        "{{ M.keys() | list }}",
        "{{ M | dict2items | map(attribute='key') | join('-') }}",
        "{{ M }} and {{ L }}",
        "{{ M.zeta.deep | default('gone') }}",
        "{{ M.nobody.deep.er | default(omit) }}",
        "{{ M['nobody'] is defined }}{{ M.zeta is not defined }}",
        "{{ M | combine({'new': F, 'alpha': 2}) }}",
        "{% for k in M | combine({'new': 1}) %}{{ k }} {% endfor %}",
        "{{ L | first }}",
        "{{ L | length + 1 }}",
        "{{ L | join('+') }}",
        "{{ L | flatten }}",
        "{{ inventory_hostname | regex_replace('^h(\\d)', 'db-\\1') }}",
        "{{ groups['all'][0] }}{{ groups['all'] | length }}",
        "{{ group_names | join('.') }}",
        "{{ hostvars[inventory_hostname].f0 }}",
        "{{ 'abc' | int }}{{ '12' | int + 1 }}",
        "{{ [F, N, 1] }}",
        "{{ {'a': N, 'b': L} }}",
        "{{ F | string }}-{{ F }}",
        "{{ L | unique | list }}",
    ];
    for number in 0..chance.random_range(6..12) {
        let shape = SHAPES[chance.random_range(0..SHAPES.len())];
        let text = shape
            .replace('F', &pick(&mut chance, &["f0", "f1", "f2"]))
            .replace('M', &pick(&mut chance, &["m0", "m1"]))
            .replace('N', &pick(&mut chance, &["n0", "n1"]))
            .replace('L', "l0");
        vars += &format!("    t_{number}: {}\n", serde_json::to_string(&text).expect("a text"));
    }
    let mut text = format!("all:\n  vars:\n{vars}  hosts:\n    h9: \n    'fd00::9': \n  children:\n");
    for group in 0..4 {
        text += &format!("    g{group}:\n      hosts: {{");
        let hosts: Vec<String> =
            (0..chance.random_range(0..4)).map(|_| format!("h{}", chance.random_range(0..7))).collect();
        let mut hosts: Vec<String> = hosts;
        hosts.sort();
        hosts.dedup();
        for at in (1..hosts.len()).rev() {
            hosts.swap(at, chance.random_range(0..=at));
        }
        let hosts: Vec<String> = hosts.into_iter().map(|host| format!("{host}: ")).collect();
        text += &format!("{}}}\n      children: {{", hosts.join(", "));
        let below: Vec<String> = children(&mut chance, group)
            .into_iter()
            .filter(|child| *child < 4)
            .map(|child| format!("g{child}: "))
            .collect();
        text += &format!("{}}}\n", below.join(", "));
    }
    const TERMS: [&str; 16] = [
        "all",
        "g0",
        "g1",
        "g2[0]",
        "g1[-1]",
        "g0[0:1]",
        "all[1:3]",
        "all[2:]",
        "h1",
        "h9",
        "fd00::9",
        "g*",
        "h[!56]",
        "*[1]",
        "~h[12]",
        "ungrouped",
    ];
    let mut patterns = vec!["all".to_owned()];
    for _ in 0..8 {
        let count = chance.random_range(1..4);
        let colon = chance.random_bool(0.4);
        let terms = (0..count).map(|at| {
            let sign = match (at, chance.random_range(0..4)) {
                (0, _) | (_, 0 | 1) => "",
                (_, 2) => "!",
                _ => "&",
            };
            let term = loop {
                let term = pick(&mut chance, &TERMS);
                // An address, and what Ansible takes for a range of hosts, go with commas alone.
                let is_there = !["h1", "h9"].contains(&term.as_str()) || text.contains(&format!("{term}: "));
                if is_there && (!colon || !term.contains(':')) {
                    break term;
                }
            };
            format!("{sign}{term}")
        });
        let terms: Vec<String> = terms.collect();
        patterns.push(terms.join(if colon { ":" } else { "," }));
    }
    let title = format!("templates made by chance, seed {seed}");
    let name = ["hosts.yml", "inv/hosts.yml"][chance.random_range(0..2)].to_owned();
    Case { title, sources: vec![name.clone()], patterns, refused: false, files: vec![(name, text)] }
}
