//! `muster schema` fits the inventories that muster reads, and not those that it refuses for what a schema can tell.
//!
//! A validator of its own judges: Python's jsonschema (`make install-deps`). Without it nothing is judged, and that is said.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use muster::inventory::parse;
use muster::inventory::variables::VARIABLES;

const PYTHON: &str = "target/ansible/bin/python3";
const VALIDATOR: &str = "target/ansible/bin/jsonschema";

/// What is wrong with each of these texts by the schema; nothing where they fit. `None` without a validator.
fn judged(texts: &[String]) -> Option<Vec<String>> {
    if !Path::new(VALIDATOR).exists() {
        let said =
            writeln!(std::io::stderr(), "LEFT OUT: the schema against a validator (make install-deps)");
        said.expect("stderr is open");
        return None;
    }
    let dir = tempfile::tempdir().expect("a folder can be made");
    let schema = dir.path().join("schema.json");
    let muster = Command::new(env!("CARGO_BIN_EXE_muster")).arg("schema").output().expect("muster runs");
    assert!(muster.status.success());
    fs::write(&schema, muster.stdout).expect("a file can be written");
    let mut oracle = Command::new(PYTHON)
        .args(["tests/schema/oracle.py".as_ref(), schema.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines: String = texts.iter().map(|text| serde_json::json!(text).to_string() + "\n").collect();
    oracle.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("it reads");
    let output = oracle.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("it says text");
    Some(said.lines().map(|line| serde_json::from_str(line).expect("it says JSON")).collect())
}

fn is_right(text: &str) -> bool {
    parse("prod.yml", text, Path::new("/base")).is_ok()
}

/// A formation, with these variables for all.
fn with(vars: &str) -> String {
    format!(
        "all:\n  vars: {{pgdata: /d, {vars}}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    coordinator: {{hosts: {{a: }}}}\n    workers:\n      vars: {{max: 1}}\n      hosts: {{'w[1:2]': {{group: 1, pgport: 5433}}, w3: {{group: '2', secondary: no}}}}\n"
    )
}

#[test]
fn what_muster_reads_fits_the_schema() {
    let mut texts = Vec::new();
    for entry in fs::read_dir("inventory").expect("there are examples") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|ending| ending == "yml") {
            texts.push(fs::read_to_string(path).expect("it can be read"));
        }
    }
    for entry in fs::read_dir("tests/plan").expect("there are scenarios") {
        let text = fs::read_to_string(entry.expect("it can be listed").path()).expect("it can be read");
        let (_, rest) = text.split_once("---- inventory\n").expect("a scenario has an inventory");
        let end = rest.find("\n---- ").expect("a scenario has facts");
        // A web server's `settings` are its own: a schema knows names, not whose they are.
        let has_others = rest[..end].contains("role: none");
        if rest[..end].contains('\n') && !has_others {
            texts.push(rest[..end].to_owned());
        }
    }
    for vars in [
        "pgport: '5433', keeper: systemd, no_ssl: 'Yes', password: 1234",
        "hostname: '{{ ansible_host }}', pgport: '{{ 5000 + 1 }}', settings: {work_mem: 4MB, jit: off, max_connections: 9}",
        "hba: ['local all all peer'], host_key: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxzVkE7Jq9M0CJXyKkuZbXjpfHyvSYCHUPcoQEWSBBS']",
        "ansible_ssh_user: deploy, ansible_ssh_common_args: -J bastion, anything: {of: [others]}, candidate_priority: 100",
        "password: {cmd: [pass, db, 1]}, replication_password: 'env:X', monitor_password: {cmd: pass db}",
        "settings: , hba: , ssl_mode: require, maximum_backup_rate: 10M, name: 'n-{{ inventory_hostname }}'",
    ] {
        let text = with(vars);
        let problems = parse("prod.yml", &text, Path::new("/base")).map(|_| ());
        // All the nodes are of one name here, or the like: what counts is the kind of each value.
        let kinds = problems.err().unwrap_or_default();
        assert!(!kinds.iter().any(|problem| problem.message.contains(" must ")), "{vars}: {kinds:?}");
        texts.push(text);
    }
    let Some(judged) = judged(&texts) else { return };
    assert_eq!(judged.len(), texts.len());
    for (text, wrong) in texts.iter().zip(judged) {
        assert_eq!(wrong, "", "{text}");
    }
}

#[test]
fn what_muster_refuses_by_its_shape_does_not_fit() {
    let mut texts: Vec<String> = [
        "pgport: 0",
        "pgport: 65536",
        "pgport: [1]",
        "pgport: ",
        "keeper: often",
        "no_ssl: perhaps",
        "listen: {a: 1}",
        "password: [x]",
        "settings: [work_mem]",
        "settings: {port: 5433}",
        "settings: {work_mem: [1]}",
        "settings: {'work mem': 1}",
        "hba: all",
        "hba: [1]",
        "candidate_priority: 101",
        "ssl_mode: full",
        "pgctl: bin/pg_ctl",
        "monitor: 'http://x'",
        "host_key: {a: b}",
        "formation: ''",
        "ansible_ssh_port: ssh",
        "role: primary",
    ]
    .iter()
    .map(|vars| with(vars))
    .collect();
    let right = with("x: 1");
    assert!(is_right(&right), "{right}");
    for (from, to) in [
        ("vars: {pgdata", "variables: {pgdata"),
        ("hosts: {m: }", "hosts: [m]"),
        ("children:\n    monitor", "children:\n    - monitor"),
        ("pgdata: /d", "pgdata: d"),
        ("w3: {group: '2', secondary: no}", "w3: 2"),
        ("hosts: {a: }", "host: {a: }"),
    ] {
        assert!(right.contains(from), "{from}");
        texts.push(right.replace(from, to));
    }
    for text in &texts {
        assert!(!is_right(text), "{text}");
    }
    // What is no YAML at all is no schema's business.
    let Some(judged) = judged(&texts) else { return };
    for (text, wrong) in texts.iter().zip(judged) {
        assert_ne!(wrong, "", "{text}");
    }
}

#[test]
fn the_schema_is_the_table() {
    let schema = muster::inventory::schema();
    let properties = &schema["definitions"]["vars"]["properties"];
    for variable in VARIABLES {
        let said = properties[variable.name]["description"].as_str().unwrap_or_default();
        assert!(said.starts_with(variable.doc), "{}: {said}", variable.name);
        for other in variable.other_names {
            assert_eq!(properties[*other]["deprecated"], true, "{other}");
        }
    }
    assert_eq!(properties["pgport"]["default"], 5432);
    assert_eq!(properties["data_checksums"]["default"], true);
    let words = properties["keeper"]["anyOf"][0]["enum"].to_string();
    assert_eq!(words, r#"["auto","systemd","detached","none"]"#);
}
