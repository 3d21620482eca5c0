//! Plans in files: which ones `apply FILE` takes. No host is ever reached.

use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A folder with an inventory and a plan.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a folder can be made"));
        folder.inventory(INVENTORY);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn inventory(&self, text: &str) {
        std::fs::write(self.path("db.yml"), text).expect("a file can be written");
    }

    fn muster(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_remove("MUSTER_INVENTORY").env("NO_COLOR", "1").env("HOME", "/nonexistent");
        let output = command.args(["-i", "db.yml", "-F", "none"]).args(args).current_dir(&self.0).output();
        let output = output.expect("muster runs");
        Said {
            code: output.status.code().expect("muster ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("it writes UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("it writes UTF-8"),
        }
    }

    fn plan(&self) -> Value {
        let text = std::fs::read_to_string(self.path("plan.json")).expect("it is saved");
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn edit(&self, plan: &Value) {
        std::fs::write(self.path("plan.json"), plan.to_string()).expect("a file can be written");
    }
}

/// Nobody listens on ports 1 and 2 of this machine: hosts that cannot be reached, at once.
const INVENTORY: &str = "\
all:
  vars:
    ansible_host: 127.0.0.1
    ansible_port: 1
    ansible_user: ana
    ansible_password: l0gin-word
    ansible_become_password: b3come-word
    connect_timeout: 1
    pgdata: /var/lib/postgresql/15/main
    auth: scram-sha-256
    password: s3cret-word
    replication_password: r3plica-word
    monitor_password: m0nitor-word
  children:
    monitor:
      hosts:
        mon: {hostname: mon, pgport: 5000, pgdata: /var/lib/postgresql/15/mon}
    postgres:
      hosts:
        pg1: {hostname: pg1}
        pg2: {hostname: pg2, ansible_host: 127.0.0.3}
";

#[test]
fn a_saved_plan_is_one_that_muster_has_saved() {
    let folder = Folder::new();
    for wrong in [
        "",
        "steps",
        "{}",
        "[1]",
        "{\"schema\":2}",
        "{\"schema\":1,\"plan\":{}}",
        "{\"schema\":2,\"plan\":7}",
    ] {
        std::fs::write(folder.path("plan.json"), wrong).expect("a file can be written");
        let said = folder.muster(&["apply", "plan.json"]);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{wrong}: {}", said.stderr);
        assert!(
            said.stderr.contains("plan.json: it is no ") && said.stderr.contains("muster plan --out FILE"),
            "{}",
            said.stderr
        );
    }
    // Of hosts that are away there is nothing to do, and that can be agreed to.
    let said = folder.muster(&["plan", "--out", "plan.json"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert_eq!(folder.muster(&["apply", "plan.json"]).code, 4);
    let mut other = folder.plan();
    other["plan"]["waves"] =
        json!([{"stage": "prepare", "lanes": [{"turns": [{"node": "pg1", "steps": []}]}]}]);
    folder.edit(&other);
    let said = folder.muster(&["apply", "plan.json"]);
    assert!(said.stderr.contains("is not what there is to do: it differs for pg1"), "{}", said.stderr);
    other.as_object_mut().expect("it is an object").remove("bound");
    folder.edit(&other);
    let said = folder.muster(&["apply", "plan.json"]);
    assert!(
        said.code == 1 && said.stderr.contains("it does not say which hosts and secrets it was made for"),
        "{}",
        said.stderr
    );
    let said = folder.muster(&["plan", "--out", "/nonexistent/plan.json"]);
    assert!(said.code == 1 && said.stderr.contains("cannot write /nonexistent/plan.json"), "{}", said.stderr);
}

#[test]
fn a_saved_plan_is_for_the_same_hosts_and_secrets() {
    let folder = Folder::new();
    let said = folder.muster(&["plan", "--out", "plan.json"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    let shown = folder.plan().to_string();
    for secret in ["l0gin", "b3come", "s3cret", "r3plica", "m0nitor", "127.0.0.1:1", "\"ana\""] {
        let bound = folder.plan()["bound"].to_string();
        assert!(!bound.contains(secret) && !shown.contains(&format!("{secret}-word")), "{secret}: {shown}");
    }
    let everybody = "mon, pg1, pg2";
    for (before, after, differs) in [
        ("ansible_host: 127.0.0.1", "ansible_host: 127.0.0.2", "the address of mon, pg1".to_owned()),
        (
            "ansible_port: 1\n    ansible_user: ana",
            "ansible_port: 2\n    ansible_user: bob",
            format!("the port of {everybody}; the user of {everybody}"),
        ),
        (
            "connect_timeout: 1",
            "ansible_ssh_common_args: -J 127.0.0.1:2",
            format!("the way through bastions of {everybody}"),
        ),
        ("l0gin-word", "another-one", format!("`ansible_password` of {everybody}")),
        ("b3come-word", "another-one", format!("`ansible_become_password` of {everybody}")),
        ("m0nitor-word", "another-one", "`monitor_password` of pg1, pg2".to_owned()),
        // Two at once are both named.
        (
            "s3cret-word\n    replication_password: r3plica-word",
            "r3plica-word\n    replication_password: s3cret-word",
            "`password` of pg1, pg2; `replication_password` of pg1, pg2".to_owned(),
        ),
    ] {
        folder.inventory(&INVENTORY.replacen(before, after, 1));
        let said = folder.muster(&["apply", "plan.json"]);
        let expected = format!(
            "error: plan.json was made for other hosts or secrets. These differ: {differs}\nhint: nothing was done; \
             if the change is meant, save a new plan with `muster plan --out FILE`"
        );
        assert!(said.stderr.contains(&expected), "{before}: {}", said.stderr);
        assert!(!said.stderr.contains("-word") && !said.stderr.contains("another-one"), "{}", said.stderr);
        // No host was asked.
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{before}");
    }
    // One host of several.
    folder.inventory(&INVENTORY.replacen("127.0.0.3", "127.0.0.4", 1));
    let said = folder.muster(&["apply", "plan.json"]);
    assert!(said.stderr.contains("These differ: the address of pg2\n"), "{}", said.stderr);
    // The same again is the same plan; and no two files have the same digests.
    folder.inventory(INVENTORY);
    assert_eq!(folder.muster(&["apply", "plan.json"]).code, 4);
    let before = folder.plan()["bound"].clone();
    folder.muster(&["plan", "--out", "plan.json"]);
    assert_ne!(before["secrets"], folder.plan()["bound"]["secrets"]);
    assert_ne!(before["ways"], folder.plan()["bound"]["ways"]);
}

#[test]
fn a_saved_plan_is_shown_as_it_was() {
    let folder = Folder::new();
    let planned = folder.muster(&["plan", "--out", "plan.json"]);
    // Neither hosts nor an inventory are needed.
    std::fs::remove_file(folder.path("db.yml")).expect("it is there");
    let said = folder.muster(&["show", "plan.json"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, planned.stdout.as_str(), ""));

    // Every kind of step, as a plan of the first run has them.
    let put = |content: Value, before: Value| {
        json!({"put": {"path": "/d/a", "owner": "postgres", "mode": 384, "content": content, "before": before,
               "check": "nothing"}})
    };
    let command = json!({"run_as": {"user": "postgres"}, "script": "true", "args": [], "env": [["PGPASSWORD", "***"]],
                         "stdin": {"hidden": "***"}, "timeout": null});
    let step = |op: Value, action: Value| {
        json!({"op": op, "title": "nobody reads this", "because": "so it is", "risk": "destroy", "on": "pg1",
               "action": action, "needs": [], "needs_all": []})
    };
    let write = |what: &str, action: Value| step(json!({"write": {"path": what, "risk": "safe"}}), action);
    let steps = json!([
        write("new", put(json!({"text": "one\n"}), Value::Null)),
        write("old", put(json!({"text": "two\n"}), json!("one\n"))),
        write("hidden", put(json!({"hidden": "***"}), json!("***"))),
        write("bytes", put(json!({"binary": "AAEC"}), Value::Null)),
        write("certificate", put(json!({"certificate": "PEM\n"}), Value::Null)),
        write("key", put(json!({"private_key": "***"}), Value::Null)),
        step(json!({"stop": {"serving": "somebody"}}), json!({"run": command})),
        step(
            json!({"wait": {"streams": {"from": "\u{1b}[2Jit"}}}),
            json!({"wait": {"command": command, "answers": ["t"], "timeout": 60}})
        ),
    ]);
    let mut plan = folder.plan();
    plan["plan"]["waves"] =
        json!([{"stage": "prepare", "lanes": [{"turns": [{"node": "pg1", "steps": steps}]}]}]);
    plan["plan"]["outside"] = json!(["web\u{1b}]0;1"]);
    folder.edit(&plan);
    let said = folder.muster(&["show", "-D", "plan.json"]);
    let expected = "\
prepare
  pg1
    + write new - so it is
        @@ -0,0 +1 @@
        +one
    ~ write old - so it is
        @@ -1 +1 @@
        -one
        +two
    ~ write hidden - so it is
        (content hidden)
    + write bytes - so it is
        (3 bytes)
    + write certificate - so it is
        @@ -0,0 +1 @@
        +PEM
    + write key - so it is
        (content hidden)
    ! stop PostgreSQL - so it is
    … wait until it streams from \u{fffd}[2Jit - so it is
notes
  outside the formation, for want of a role: web\u{fffd}]0;1
";
    assert!(said.stdout.starts_with(expected), "{}{}", said.stdout, said.stderr);
    let said = folder.muster(&["--json", "show", "plan.json"]);
    let shown: Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    assert_eq!(
        shown["plan"]["waves"][0]["lanes"][0]["turns"][0]["steps"][2]["action"]["put"]["content"]["hidden"],
        "***"
    );
    assert_eq!(shown.as_object().map(serde_json::Map::len), Some(2), "digests are nobody's business here");
    let said = folder.muster(&["show", "nothing.json"]);
    assert!(said.code == 1 && said.stderr.contains("nothing.json"), "{}", said.stderr);
}
