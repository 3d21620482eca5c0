//! `muster lint`: each row of its table found once, and nothing in an inventory that is well.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use muster::inventory::lint::LINTS;
use serde_json::Value;
use tempfile::TempDir;

/// One group with two standbys, with passwords that are elsewhere.
const WELL: &str = "\
all:
  vars:
    pgdata: /srv/pg
    dbname: shop
    auth: scram-sha-256
    password: 'env:PASSWORD'
    replication_password: 'env:REPLICATION'
    monitor_password: 'env:MONITOR'
    domain: db.example
    hostname: '{{ inventory_hostname }}.{{ domain }}'
  children:
    monitor: {hosts: {m: {}}}
    coordinator: {hosts: {a: {}, b: {secondary: true}, c: {secondary: true}}}
    workers: {vars: {group: 1}, hosts: {w: {}, x: {secondary: true}, y: {secondary: true}}}
";

/// The lint, what is changed in the inventory above, and what is said of it.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "trust-from-afar",
        "auth: scram-sha-256",
        "auth: trust",
        "everybody on the local network gets in without a password (a, b, c, m, w, x, y)",
    ),
    (
        "trust-from-afar",
        "dbname: shop",
        "dbname: shop\n    hba: [host all all 10.0.0.0/8 trust]",
        "the rule lets anybody in without a password",
    ),
    ("weak-auth", "auth: scram-sha-256", "auth: md5", "`md5` can be broken"),
    ("no-encryption", "dbname: shop", "dbname: shop\n    no_ssl: true", "connections are not encrypted"),
    ("clear-secret", "'env:PASSWORD'", "hunter2", "`password` is in clear text"),
    ("default-dbname", "    dbname: shop\n", "", "`dbname` is not given: it is `citus`"),
    (
        "no-standby",
        "w: {}, x: {secondary: true}, y: {secondary: true}",
        "w: {}",
        "group 1 has no standby: nothing takes over from `w`",
    ),
    ("single-standby", ", y: {secondary: true}", "", "group 1 has one standby that confirms commits, `x`"),
    (
        "unconfirmed-commits",
        "dbname: shop",
        "dbname: shop\n    number_sync_standbys: 0",
        "a primary goes on alone",
    ),
    ("no-keeper", "m: {}", "m: {keeper: none}", "nothing will fail over on m: keeper is none"),
    (
        "shared-host",
        "m: {}",
        "m: {ansible_host: a, pgport: 5433, pgdata: /srv/mon}",
        "the monitor `m` is on the host of `a`",
    ),
    ("loopback-hostname", "a: {}", "a: {hostname: localhost}", "the nodes are to reach `a` as `localhost`"),
    (
        "pgdata-differs",
        "vars: {group: 1}",
        "vars: {group: 1, pgdata: /srv/other}",
        "`pgdata` of group 1 is `/srv/other`, of group 0 `/srv/pg`",
    ),
    ("unsafe-setting", "dbname: shop", "dbname: shop\n    settings: {fsync: off}", "fsync is off"),
    (
        "unsafe-setting",
        "dbname: shop",
        "dbname: shop\n    settings: {recovery_min_apply_delay: 1h}",
        "recovery_min_apply_delay is `1h`",
    ),
    (
        "unknown-setting",
        "dbname: shop",
        "dbname: shop\n    settings: {bananas: 1}",
        "PostgreSQL has no setting `bananas`",
    ),
    (
        "nobody-takes-over",
        "x: {secondary: true}, y: {secondary: true}",
        "x: {candidate_priority: 0}, y: {candidate_priority: 0}",
        "every standby of group 1 has `candidate_priority` 0: nothing takes over from `w`",
    ),
    (
        "no-checksums",
        "dbname: shop",
        "dbname: shop\n    data_checksums: false",
        "data pages have no checksums",
    ),
    (
        "readers-without-coordinator",
        "y: {secondary: true}",
        "y: {citus_secondary: true, citus_cluster: far}",
        "read-replica cluster `far` has no coordinator",
    ),
    (
        "near-miss",
        "dbname: shop",
        "dbname: shop\n    pgprot: 1",
        "`pgprot` is not read; did you mean `pgport`?",
    ),
    (
        "not-followed",
        "dbname: shop",
        "dbname: shop\n    ansible_timeout: 10",
        "`ansible_timeout` is not read here",
    ),
    (
        "unused-variable",
        "a: {}",
        "a: {rack: 7}, d: {secondary: true, rack: 7}",
        "`rack` is not muster's, and nothing mentions it, nor in 1 other places",
    ),
    (
        "left-out",
        "m: {}}}",
        "m: {}}}\n    web: {hosts: {web1: {rack: 7}, web2: {}}}",
        "outside the formation: web1, web2",
    ),
    (
        "not-spoken",
        "m: {}}}",
        "m: {}}}\n    switches: {hosts: {sw1: {role: none, ansible_connection: network_cli}}}",
        "muster cannot reach sw1, and leaves them be: of sw1 `ansible_connection` is `network_cli`",
    ),
    (
        "unused-template",
        "dbname: shop",
        "dbname: shop\n    templates_dir: templates",
        "`pg_hba.j2` in `templates_dir` is not used",
    ),
];

fn inventory(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path = dir.path().join("prod.yml");
    fs::write(&path, text).expect("a file can be written");
    fs::create_dir(dir.path().join("templates")).expect("a folder can be made");
    fs::write(dir.path().join("templates/pg_hba.j2"), "").expect("a file can be written");
    (dir, path.display().to_string())
}

struct Said {
    code: Option<i32>,
    stdout: String,
}

fn lint(path: &str, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_remove("MUSTER_INVENTORY").env("NO_COLOR", "1").env("HOME", "/nonexistent");
    let output = command.args(["lint", "-i", path]).args(args).output().expect("muster runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Said { code: output.status.code(), stdout: String::from_utf8(output.stdout).expect("it says text") }
}

/// (name, message) of each warning.
fn warnings(path: &str, args: &[&str]) -> Vec<(String, String)> {
    let said = lint(path, &[&["--json"], args].concat());
    let said: Value = serde_json::from_str(&said.stdout).expect("it says JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(said["lint"]["mistakes"], serde_json::json!([]));
    let all = said["lint"]["warnings"].as_array().expect("a list");
    all.iter().map(|warning| (text(&warning["name"]), text(&warning["message"]))).collect()
}

#[test]
fn every_lint_finds_what_it_is_for() {
    let (_dir, path) = inventory(WELL);
    let said = lint(&path, &["--deny-warnings"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "nothing is wrong with it\n"));
    for (name, from, to, message) in CASES {
        assert!(WELL.contains(from), "{name}: {from}");
        let (_dir, path) = inventory(&WELL.replacen(from, to, 1));
        let found = warnings(&path, &[]);
        let of: Vec<_> = found.iter().filter(|(found, _)| found == name).collect();
        assert!(of.iter().any(|(_, found)| found.contains(message)), "{name}: {found:?}");
        // What is silenced is silenced, and nothing else was found but what follows from it.
        let others = warnings(&path, &["--allow", name]);
        assert!(others.iter().all(|(found, _)| found != name), "{name}: {others:?}");
        assert!(others.len() <= 1, "{name}: {others:?}");
        assert_eq!(lint(&path, &[]).code, Some(0), "{name}");
        assert_eq!(lint(&path, &["--deny-warnings"]).code, Some(1), "{name}");
    }
    // What only Ansible's programs show is in `tests/ansible.rs`.
    for lint in LINTS.iter().filter(|lint| lint.name != "asked-ansible") {
        assert!(CASES.iter().any(|(name, ..)| *name == lint.name), "no case for {}", lint.name);
    }
}

#[test]
fn a_warning_has_its_place_and_what_to_do() {
    let (_dir, path) = inventory(&WELL.replacen("auth: scram-sha-256", "auth: md5", 1));
    let expected = format!(
        "warning: `md5` can be broken, and PostgreSQL is going to drop it (a, b, c, m, w, x, y) [weak-auth]\n \
         --> {path}:5:11\n  |\n5 |     auth: md5\n  |           ^^^\nhint: give `auth: scram-sha-256`\n\n\
         1 warning; --allow NAME silences one\n"
    );
    assert_eq!(lint(&path, &[]).stdout, expected);
}

#[test]
fn a_file_that_others_may_read_is_worse_and_no_password_is_shown() {
    let (_dir, path) = inventory(&WELL.replacen("'env:PASSWORD'", "hunter2", 1));
    for (mode, says, advises) in [
        (0o600, "in a file that only its owner may read [clear-secret]", false),
        (0o640, "that others may read (mode 0640): `chmod 600` it at least [", true),
    ] {
        fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(mode)).expect("it is ours");
        let said = lint(&path, &[]);
        assert!(said.stdout.contains(says) && !said.stdout.contains("hunter2"), "{}", said.stdout);
        assert_eq!(
            said.stdout.contains("chmod"),
            advises,
            "nobody is told to do what is done: {}",
            said.stdout
        );
    }
}

/// By `ansible-vault encrypt_string`; what it was is of no account.
const SEALED: &str = "\
$ANSIBLE_VAULT;1.1;AES256
30316434613032353465636334613663376161343263336561353033363635656135616532323136
3332396663353666326337363932353261643331333861630a343130613036323663393334343465
39303863343632653133333434643730613864613661636163363037393831666636396537653530
3237663863326264640a623366666164656539656430396532306664663839626266326466306232
3734";

#[test]
fn what_is_encrypted_and_damaged_is_seen_without_a_password() {
    let value = |name: &str, sealed: &str| {
        let (indented, env) = (sealed.replace('\n', "\n      "), "replication_password: 'env:REPLICATION'");
        let kept = if name == "replication_password" { "" } else { env };
        WELL.replacen(env, &format!("{name}: !vault |\n      {indented}\n    {kept}"), 1)
    };
    for (sealed, why) in [
        (SEALED.to_owned(), ""),
        (SEALED.replacen("3031", "303g", 1), "its digits are damaged, or some are missing"),
        (SEALED.trim_end_matches("\n3734").to_owned(), "its digits are damaged, or some are missing"),
        (SEALED.replacen(";1.1;", ";2.1;", 1), "its format is neither 1.1 nor 1.2"),
        (SEALED.replacen("AES256", "AES", 1), "its cipher is not AES256"),
        ("hunter2".to_owned(), "it does not begin with $ANSIBLE_VAULT;1.1;AES256"),
    ] {
        for name in ["replication_password", "web_token"] {
            let well = value(name, &sealed);
            let (_dir, path) = inventory(&well);
            let said = lint(&path, &["--allow", "unused-variable"]);
            // Below the line with the name.
            let line = well.lines().position(|line| line.contains("!vault")).expect("it is there") + 2;
            let message =
                format!("error: what is encrypted here cannot be read: {why}\n  --> {path}:{line}:");
            let message = if line < 10 { message.replace("  -->", " -->") } else { message };
            assert_eq!(said.code, Some(i32::from(!why.is_empty())), "{sealed}\n{}", said.stdout);
            assert!(why.is_empty() || said.stdout.contains(&message), "{message}\n{}", said.stdout);
            assert!(!said.stdout.contains("hunter2"), "{}", said.stdout);
        }
    }
}

#[test]
fn mistakes_come_first_and_all_at_once() {
    let wrong = WELL.replacen("a: {}", "a: {pgport: 0}", 1).replacen("auth: scram-sha-256", "auth: md5", 1);
    let (_dir, path) = inventory(&wrong.replacen("w: {}", "w: {group: 0}", 1));
    let said = lint(&path, &[]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.stdout.matches("error: ").count(), 2, "{}", said.stdout);
    assert!(said.stdout.starts_with("error: ") && said.stdout.contains("[weak-auth]"), "{}", said.stdout);
    assert!(said.stdout.contains("2 mistakes, "), "{}", said.stdout);
    let (_dir, path) = inventory("all: {hosts: {a: {}}}\n");
    let said = lint(&path, &[]);
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.starts_with("error: the inventory makes no formation"), "{}", said.stdout);
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    let output = command.args(["lint", "-i", &path, "--allow", "weak-aut"]).output().expect("muster runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("weak-auth"));
}
