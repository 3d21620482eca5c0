//! The command line from outside: what is said, where, and with which exit code. No host is ever reached.

use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

fn muster(args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_remove("MUSTER_INVENTORY").env("NO_COLOR", "1").env("HOME", "/nonexistent");
    let output = command.args(args).output().expect("muster runs");
    Said {
        code: output.status.code().expect("muster ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("it writes UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("it writes UTF-8"),
    }
}

/// An inventory in a folder that lives as long as the first part.
fn inventory(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path: PathBuf = dir.path().join("prod.yml");
    std::fs::write(&path, text).expect("a file can be written");
    (dir, path.display().to_string())
}

/// Nobody listens on port 1 of this machine: hosts that cannot be reached, at once.
fn nobody() -> (TempDir, String) {
    inventory(
        "all:
  vars: {ansible_host: 127.0.0.1, ansible_port: 1, ansible_user: x, connect_timeout: 1, pgdata: /var/lib/postgresql/15/main}
  children:
    monitor:
      hosts:
        mon: {hostname: mon, pgport: 5000}
    postgres:
      hosts:
        pg1: {hostname: pg1, pgdata: /var/lib/postgresql/15/pg1}
",
    )
}

#[test]
fn connection_strings_are_printed() {
    let lab = ["-i", "inventory/lab.yml"];
    let uri = |args: &[&str]| muster(&[&lab, args].concat());
    let said = uri(&["uri", "--offline"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (
            0,
            "\
monitor monitor      postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require
formation default    postgres://coord1:5432,coord2:5432/app?target_session_attrs=read-write&sslmode=require
read-replica reports postgres://coord1r:5432/app?sslmode=require
"
        )
    );
    // One alone is nothing but itself.
    let group = "postgres://w1a:5432,w1b:5432/app?target_session_attrs=read-write&sslmode=require";
    assert_eq!(uri(&["uri", "--offline", "--group", "1"]).stdout, format!("{group}\n"));
    let monitor = "postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require\n";
    assert_eq!(uri(&["uri", "--monitor"]).stdout, monitor);
    let json = uri(&["--json", "uri", "--offline", "--group", "1"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["uris"][0]["uri"], group);
    assert_eq!(
        (json["uris"][0]["kind"].as_str(), json["uris"][0]["name"].as_str()),
        (Some("group"), Some("1"))
    );
    let said = uri(&["uri", "--group", "7"]);
    assert!(said.code == 1 && said.stderr.contains("no node of group 7"), "{}", said.stderr);
    // Where the formation's own authority is on another machine nobody could use them as they are.
    let said = muster(&["-i", "inventory/minimal.yml", "uri", "--offline"]);
    assert!(said.stdout.contains("/mon1.db.example-default/ca.crt"), "{}", said.stdout);
    assert!(
        said.stderr.contains("ca.crt, by which clients verify the servers, is not on"),
        "{}",
        said.stderr
    );
    // Without the monitor's answer what the inventory says is printed, and told to be that.
    let (_dir, nobody) = nobody();
    let said = muster(&["-i", &nobody, "uri"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stdout.contains("formation default postgres://pg1:5432/postgres?"), "{}", said.stdout);
    assert!(said.stderr.contains("warning: the monitor could not be asked"), "{}", said.stderr);
}

#[test]
fn help_names_every_command_and_exit_code() {
    let said = muster(&["--help"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let commands = [
        "plan",
        "show",
        "uri",
        "version",
        "ssh",
        "apply",
        "status",
        "verify",
        "facts",
        "ping",
        "exec",
        "psql",
        "sudoers",
        "ssh-check",
        "ssh-config",
    ];
    for word in commands.iter().chain(&["--inventory", "--forks", "--json", "--color", "130"]) {
        assert!(said.stdout.contains(word), "{word}: {}", said.stdout);
    }
    let said = muster(&["create", "postgres", "--help"]);
    assert!(said.stdout.contains("--bastion") && !said.stdout.contains("--inventory"), "{}", said.stdout);
    assert_eq!(muster(&["--version"]).stdout, concat!("muster ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_is_1() {
    for args in [
        &["frobnicate"][..],
        &[],
        &["plan", "--forks", "0"],
        &["plan", "--color", "pink"],
        &["exec", "all"],
        &["exec", "all", "id"],
        &["exec", "--", "id"],
        &["exec", "all", "--timeout", "0", "--", "id"],
        &["psql", "all"],
        &["psql", "-c", "select 1"],
    ] {
        let said = muster(args);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{args:?}");
        assert!(!said.stderr.is_empty());
    }
}

#[test]
fn every_command_asks_for_an_inventory() {
    for command in
        ["plan", "apply", "status", "verify", "facts", "ping", "sudoers", "exec all -- id", "psql all -c \\d"]
    {
        let said = muster(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, 1);
        assert_eq!(
            said.stderr,
            "error: no inventory is given\nhint: name one with -i FILE, or set MUSTER_INVENTORY\n"
        );
    }
    let said = muster(&["plan", "-i", "/nonexistent.yml"]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.starts_with("error: cannot read the inventory `/nonexistent.yml`"),
        "{}",
        said.stderr
    );
}

#[test]
fn every_mistake_of_an_inventory_is_said_with_its_place() {
    let (_dir, path) = inventory(
        "all:\n  children:\n    postgres:\n      vars: {pgdata: relative}\n      hosts:\n        pg1: {pgport: 99999}\n",
    );
    let said = muster(&["plan", "-i", &path]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.matches("error: ").count() >= 2, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("--> {path}:4:")), "{}", said.stderr);
    assert!(said.stderr.contains(&format!("--> {path}:6:")), "{}", said.stderr);
}

#[test]
fn apply_does_not_guess_an_answer() {
    let (_dir, path) = nobody();
    let said = muster(&["apply", "-i", &path]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert_eq!(
        said.stderr,
        "error: muster asks before it changes anything, and nobody can answer here\n\
         hint: look at the plan with --check, then say --yes\n"
    );
}

#[test]
fn hosts_that_do_not_answer_are_4() {
    let (_dir, path) = nobody();
    for args in [
        &["plan"][..],
        &["apply", "--yes"],
        &["apply", "--check"],
        &["status"],
        &["verify"],
        &["facts"],
        &["ping"],
        &["exec", "all", "--", "id"],
        &["psql", "mon", "-c", "select 1"],
    ] {
        let said = muster(&[&["-i", &path], args].concat());
        assert_eq!(said.code, 4, "{args:?}: {}{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains("nothing to do"), "{}", said.stdout);
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'));
    }
    let said = muster(&["apply", "--yes", "-i", &path]);
    let recap = "pg1 : ok=0 changed=0 unreachable=1 failed=0 skipped=0\n";
    assert!(said.stdout.contains(recap), "{}", said.stdout);
}

#[test]
fn json_is_the_only_thing_on_stdout() {
    let (_dir, path) = nobody();
    for (args, field) in [
        (&["plan"][..], "plan"),
        (&["status"], "status"),
        (&["verify"], "checks"),
        (&["facts"], "facts"),
        (&["ping"], "ping"),
        (&["exec", "all", "--", "id"], "exec"),
        (&["psql", "all", "-c", "select 1"], "psql"),
        (&["sudoers"], "sudoers"),
        (&["apply", "--yes"], "nodes"),
    ] {
        let said = muster(&[&["--json", "-i", &path], args].concat());
        let lines: Vec<serde_json::Value> =
            said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.last().unwrap();
        assert_eq!(last["schema"], 2, "{args:?}");
        assert!(!last[field].is_null(), "{args:?}: {last}");
    }
    let said = muster(&["apply", "--yes", "--json", "-i", &path]);
    let last: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["exit"]), (&"result".into(), &4.into()));
}

#[test]
fn ssh_config_shows_how_a_host_is_reached() {
    let (dir, path) = nobody();
    let config = dir.path().join("config");
    let config = config.to_str().expect("a path is text");
    std::fs::write(config, "Host *\n  User file\n  BatchMode yes\n").expect("a file can be written");
    let said = muster(&["ssh-config", "-F", config, "-o", "Port=7", "ana@db1"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    for row in
        ["host db1", "user ana", "port 7", "batchmode yes", "connecttimeout 10", "serveraliveinterval 15"]
    {
        assert!(said.stdout.lines().any(|line| line == row), "{row}: {}", said.stdout);
    }
    let said = muster(&["ssh-config", "-i", &path, "-F", config, "-o", "Port=7", "mon"]);
    for row in ["host 127.0.0.1", "user x", "port 1", "batchmode yes", "connecttimeout 1"] {
        assert!(said.stdout.lines().any(|line| line == row), "{row}: {}{}", said.stdout, said.stderr);
    }
    let said = muster(&["ssh-config", "--json", "--ssh-config", "none", "db1"]);
    assert!(said.stdout.starts_with("{\"schema\":2,\"settings\":{"), "{}", said.stdout);
    std::fs::write(config, "Host *\n  Prt 22\n").expect("a file can be written");
    let said = muster(&["ssh-config", "-F", config, "db1"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    let place = format!("--> {config}:2:3\n");
    assert!(said.stderr.contains(&place) && said.stderr.contains("did you mean port?"), "{}", said.stderr);
}

#[test]
fn a_pattern_that_means_nobody_is_1_before_any_host_is_asked() {
    let (_dir, path) = nobody();
    for args in [
        &["exec", "pg3", "--", "id"][..],
        &["psql", "pg3", "-c", "select 1"],
        &["ping", "pg3"],
        &["sudoers", "pg3"],
    ] {
        let said = muster(&[&["-i", &path], args].concat());
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{args:?}");
        let expected =
            "error: there is no host and no group `pg3` in the inventory\nhint: did you mean `pg1`?\n";
        assert_eq!(said.stderr, expected);
    }
    let said = muster(&["-i", &path, "psql", "pg1", "--file", "/nonexistent.sql"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.starts_with("error: cannot read /nonexistent.sql: no such file"), "{}", said.stderr);
}

#[test]
fn a_host_that_does_not_answer_says_why() {
    let (_dir, path) = nobody();
    let said = muster(&["-i", &path, "exec", "all", "--", "id"]);
    let why = "unreachable: cannot connect to 127.0.0.1 port 1: connection refused";
    assert_eq!(said.stdout, "");
    for host in ["mon", "pg1"] {
        assert!(said.stderr.contains(&format!("--- {host}: {why}")), "{}", said.stderr);
    }
    assert!(said.stderr.ends_with("0 of 2 hosts ok; unreachable: mon,pg1\n"), "{}", said.stderr);
    let said = muster(&["-i", &path, "ping", "postgres"]);
    assert!(
        said.stdout.starts_with("pg1  unreachable  cannot connect to 127.0.0.1 port 1"),
        "{}",
        said.stdout
    );
}

#[test]
fn sudoers_is_printed_without_asking_a_host() {
    let (_dir, path) = nobody();
    let said = muster(&["-i", &path, "sudoers", "pg1"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let rules: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("x ")).collect();
    assert_eq!(rules[0], "x ALL = (postgres) NOPASSWD: /usr/bin/sh, /bin/sh");
    // Units, a reboot, and what is root in effect.
    assert_eq!(rules.len(), 4, "{}", said.stdout);
}

#[test]
fn inventories_are_shown_as_ansible_shows_them() {
    let (dir, path) = inventory("[g]\na x=1\n[p:children]\ng\n[p:vars]\ny={'k': None}\npgprot=1\n");
    let ini = format!("{path}.ini");
    std::fs::rename(&path, &ini).expect("it is ours");
    let said = muster(&["inventory", "-i", &ini, "--host", "a"]);
    let expected = "{\n    \"pgprot\": 1,\n    \"x\": 1,\n    \"y\": {\n        \"k\": null\n    }\n}\n";
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, expected, ""));
    let said = muster(&["inventory", "-i", &ini, "-i", "b,", "--graph"]);
    let expected = "@all:\n  |--@ungrouped:\n  |  |--b\n  |--@p:\n  |  |--@g:\n  |  |  |--a\n";
    assert_eq!((said.code, said.stdout.as_str()), (0, expected));
    let said = muster(&["inventory", "-i", &ini, "--graph", "g", "--vars"]);
    let expected = "@g:\n  |--a\n  |  |--{pgprot = 1}\n  |  |--{x = 1}\n  |  |--{y = {'k': None}}\n";
    assert_eq!((said.code, said.stdout.as_str()), (0, expected));
    let said = muster(&["inventory", "-i", &ini, "--host", "aa"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("there is no host `aa` in the inventory"), "{}", said.stderr);
    let said = muster(&["inventory", "-i", &ini]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    drop(dir);
}

#[test]
fn a_program_that_fails_says_why() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, path) = inventory("#!/bin/sh\necho the cloud is away >&2\nexit 7\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = muster(&["plan", "-i", &path]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("failed: exit status: 7\nhint: it said `the cloud is away`"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_program_that_leaves_another_behind_is_not_waited_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let text = "#!/bin/sh\nsleep 20 &\necho '{\"g\": {\"hosts\": [\"a\"]}, \"_meta\": {\"hostvars\": {}}}'\n";
    let (_dir, path) = inventory(text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let started = std::time::Instant::now();
    let said = muster(&["inventory", "-i", &path, "--graph"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "@all:\n  |--@ungrouped:\n  |--@g:\n  |  |--a\n"),
        "{}",
        said.stderr
    );
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn hosts_of_no_formation_are_reached_too() {
    let text =
        "all:\n  vars: {ansible_host: 127.0.0.1, ansible_port: 1, connect_timeout: 1}\n  hosts: {web1: }\n";
    let (_dir, path) = inventory(text);
    for args in [&["ping"][..], &["exec", "web1", "--", "id"], &["ssh-check", "web1"]] {
        let said = muster(&[&["-i", &path, "--ssh-config", "none"], args].concat());
        assert_eq!(said.code, 4, "{args:?}: {}{}", said.stdout, said.stderr);
    }
    for args in [&["plan"][..], &["psql", "web1", "-c", "select 1"], &["sudoers"]] {
        let said = muster(&[&["-i", &path], args].concat());
        assert_eq!(said.code, 1, "{args:?}: {}{}", said.stdout, said.stderr);
        assert!(said.stderr.starts_with("error: the inventory makes no formation"), "{}", said.stderr);
    }
    let (dir, nobody) = nobody();
    let both = ["-i", &nobody, "-i", &path, "--ssh-config", "none"];
    let said = muster(&[&both[..], &["plan"]].concat());
    let note = "notes\n  outside the formation, for want of a role: web1\n";
    assert!(said.stdout.starts_with(note), "{}{}", said.stdout, said.stderr);
    let said = muster(&[&both[..], &["psql", "web1", "-c", "select 1"]].concat());
    assert_eq!(said.code, 1);
    assert!(said.stderr.starts_with("error: `web1` selects no server"), "{}", said.stderr);
    drop(dir);
}

#[test]
fn a_limit_leaves_the_others_alone() {
    let (dir, path) = nobody();
    let muster = |args: &[&str]| muster(&[&["-i", &path, "--ssh-config", "none"], args].concat());
    let said = muster(&["apply", "--yes", "-l", "mon"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stdout.contains("no step to do; 1 host unreachable; limited to mon\n"), "{}", said.stdout);
    assert!(!said.stdout.contains("pg1") && !said.stdout.contains("group"), "{}", said.stdout);
    let said = muster(&["plan", "--json", "--limit", "postgres"]);
    let plan: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    assert_eq!(plan["plan"]["limit"], serde_json::json!(["pg1"]));
    for (args, says) in [
        (&["plan", "-l", "pg3"][..], "there is no host and no group `pg3`"),
        (&["exec", "mon", "-l", "pg1", "--", "id"], "`mon` and --limit `pg1` have no host in common"),
        (&["verify", "-l", "mon"], "--limit is not for this command"),
        (&["inventory", "--list", "-l", "mon"], "--limit is not for this command"),
        (&["ssh-check", "mon", "-l", "mon"], "--limit is not for this command"),
        (&["ping", "-l", "@/nonexistent"], "cannot read the patterns of `/nonexistent`: no such file"),
    ] {
        let said = muster(args);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{args:?}");
        assert!(said.stderr.starts_with(&format!("error: {says}")), "{args:?}: {}", said.stderr);
    }
    let list = dir.path().join("rerun");
    std::fs::write(&list, "pg1\n").expect("a file can be written");
    let said = muster(&["ping", "-l", &format!("@{}", list.display())]);
    assert!(said.stdout.starts_with("pg1  unreachable") && !said.stdout.contains("mon"), "{}", said.stdout);
    // What stands behind the command is the command's.
    let said = muster(&["exec", "pg1", "ls", "-l", "x"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
}

#[test]
fn a_printed_inventory_leads_the_same_way() {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let config = dir.path().join("it's a config");
    std::fs::write(&config, "Host *\n  User configured\n  ProxyCommand nc %h %p\n")
        .expect("it can be written");
    let config = config.display().to_string();
    let ways: [&[&str]; 4] = [
        &["-F", &config],
        &["-F", &config, "-J", "ops@b1:2222,[fd00::1]"],
        &["-F", &config, "-J", "none"],
        &["-F", "none"],
    ];
    for way in ways {
        let args = ["create", "monitor", "--pgdata", "/srv/pg", "u@h1:2200", "--print-inventory"];
        let printed = muster(&[&args, way].concat());
        assert_eq!(printed.code, 0, "{}", printed.stderr);
        let (_dir, path) = inventory(&printed.stdout);
        let kept = muster(&["-i", &path, "ssh-config", "h1"]);
        let given = muster(&[&["ssh-config", "ssh://u@h1:2200"], way].concat());
        assert_eq!((kept.code, kept.stdout), (0, given.stdout), "{}\n{}", printed.stdout, kept.stderr);
    }
}

/// Output that goes to a full disk, or to a reader that is gone: code and stderr.
fn written_to(stdout: std::process::Stdio, args: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_remove("MUSTER_INVENTORY").env("NO_COLOR", "1").env("HOME", "/nonexistent").args(args);
    let output = command.stdout(stdout).output().expect("muster runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("it writes UTF-8"))
}

fn full() -> std::process::Stdio {
    std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there").into()
}

fn gone() -> std::process::Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    writer.into()
}

const LOST: &str = "error: the output could not be written: no space left on device";

#[test]
fn output_that_is_lost_is_told() {
    let (_dir, path) = nobody();
    let away: &[&str] = &["-i", &path, "--ssh-config", "none"];
    for (args, code) in [
        (&["--help"][..], 1),
        (&["schema"], 1),
        (&["-i", &path, "lint"], 1),
        (&["-i", &path, "sudoers"], 1),
        (&["-i", &path, "inventory", "--list"], 1),
        (&["create", "monitor", "-D", "/srv/pg", "h1", "--print-inventory"], 1),
        (&[away, &["plan"]].concat(), 1),
        (&[away, &["apply", "--check"]].concat(), 1),
        (&[away, &["status"]].concat(), 1),
        (&[away, &["facts"]].concat(), 1),
        (&[away, &["verify"]].concat(), 1),
        (&[away, &["ping"]].concat(), 1),
        (&[away, &["ssh-check", "mon"]].concat(), 1),
        (&["exec", "-i", "localhost,", "localhost", "--json", "--", "id"], 2),
        // What became of the hosts is true whether anybody can read it or not.
        (&[away, &["apply", "--yes"]].concat(), 4),
        (&[away, &["apply", "--yes", "--json"]].concat(), 4),
    ] {
        let (ended, stderr) = written_to(full(), args);
        assert_eq!(ended, Some(code), "{args:?}: {stderr}");
        assert_eq!(stderr.matches(LOST).count(), 1, "{args:?}: {stderr}");
        let whole = muster(args).code;
        let (ended, stderr) = written_to(gone(), args);
        assert_eq!(ended, Some(whole), "{args:?}: {stderr}");
        assert!(!stderr.contains("written"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_password_that_is_nearly_spelled_right_is_named() {
    let (_dir, inventory) = inventory(
        "all:
  vars: {pgdata: /d/1, auth: scram-sha-256, pasword: x, replication_password: y, monitor_password: z}
  children:
    monitor: {hosts: {mon: }}
    postgres: {hosts: {pg1: }}
",
    );
    for command in ["plan", "apply"] {
        let said = muster(&["-i", &inventory, command]);
        let hint = "hint: is it `pasword` on line 2? give it as `password`";
        assert!(said.code == 1 && said.stderr.contains(hint), "{command}: {}", said.stderr);
        assert!(!said.stderr.contains("pasword: x"), "{}", said.stderr);
        assert_eq!(said.stderr.matches("`pasword`").count(), 1, "it is told once: {}", said.stderr);
    }
}
