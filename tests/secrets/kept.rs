//! Passwords that muster makes: what it takes of the folder that they are kept in, and that looking writes nothing there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

/// Nobody listens on port 1 of this machine: hosts that cannot be reached, at once.
const INVENTORY: &str = "\
all:
  vars: {ansible_host: 127.0.0.1, ansible_port: 1, connect_timeout: 1, pgdata: /d/1, auth: scram-sha-256}
  children:
    monitor: {hosts: {mon: {hostname: mon1.example, pgport: 5000, pgdata: /d/2}}}
    postgres: {hosts: {pg1: {hostname: pg1}}}
";

const NAMES: [&str; 3] = ["password", "replication_password", "monitor_password"];

struct Operator(TempDir);

impl Operator {
    fn new() -> Operator {
        let operator = Operator(tempfile::tempdir().expect("a folder can be made"));
        fs::create_dir(operator.path("home")).expect("a folder can be made");
        fs::create_dir(operator.path("site")).expect("a folder can be made");
        operator.inventory(INVENTORY);
        operator
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn inventory(&self, text: &str) {
        fs::write(self.path("site/db.yml"), text).expect("a file can be written");
    }

    fn put(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path(name);
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
        fs::write(&path, content).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn muster(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_clear().env("NO_COLOR", "1").env("HOME", self.path("home"));
        command.args(["-i", "site/db.yml", "-F", "none"]).args(args).current_dir(&self.0);
        let output = command.output().expect("muster runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it ends by itself"), String::from_utf8(text).expect("it is text"))
    }
}

const FOLDER: &str = "home/.local/share/muster/mon1.example-default";

#[test]
fn looking_writes_nothing() {
    let operator = Operator::new();
    for args in [
        &["plan"][..],
        &["plan", "--out", "plan.json"],
        &["lint"],
        &["status"],
        &["verify"],
        &["apply", "--check"],
        // Nobody answers: there is nothing to do, so nothing needs a password.
        &["apply", "--yes"],
    ] {
        let (code, said) = operator.muster(args);
        assert!([0, 4].contains(&code), "{args:?}: {code}: {said}");
        assert!(!operator.path("home/.local").exists(), "{args:?} wrote there");
    }
    let bound = fs::read_to_string(operator.path("plan.json")).expect("it is saved");
    assert!(!bound.contains("replication_password"), "no plan is tied to what is not made yet: {bound}");
}

#[test]
fn what_is_kept_is_used_and_never_shown() {
    let operator = Operator::new();
    for name in NAMES {
        operator.put(&format!("{FOLDER}/{name}"), b"poison-word\n", 0o600);
    }
    for args in [&["plan", "--out", "plan.json"][..], &["plan", "--json"], &["status"], &["uri", "--offline"]]
    {
        let (code, said) = operator.muster(args);
        assert!([0, 4].contains(&code) && !said.contains("poison"), "{args:?}: {code}: {said}");
    }
    let saved = fs::read_to_string(operator.path("plan.json")).expect("it is saved");
    assert!(saved.contains("`replication_password`") && !saved.contains("poison"), "{saved}");
    // Another one is another secret.
    operator.put(&format!("{FOLDER}/password"), b"other-word\n", 0o600);
    let (code, said) = operator.muster(&["apply", "plan.json"]);
    assert!(code == 1 && said.contains("These differ: `password` of pg1"), "{said}");
}

#[test]
fn files_that_cannot_be_trusted_are_refused() {
    for (content, mode, expected) in [
        (&b"poison\n"[..], 0o640, "others may read the password in `"),
        (b"poison\n", 0o604, "others may read the password in `"),
        (b"", 0o600, "password` is empty"),
        (b"\n", 0o600, "password` is empty"),
        (b"poison\ntoxin\n", 0o600, "password` is more than a line"),
        (b"\xff\xfe\n", 0o600, "password` is not UTF-8"),
        (&[b'x'; 2000], 0o600, "cannot read `"),
    ] {
        let operator = Operator::new();
        operator.put(&format!("{FOLDER}/password"), content, mode);
        for command in ["plan", "apply", "status", "verify"] {
            let args: &[&str] = if command == "apply" { &["apply", "--yes"] } else { &[command] };
            let (code, said) = operator.muster(args);
            assert!(code == 1 && said.contains(expected), "{command} {expected}: {code}: {said}");
            assert!(said.contains("hint: ") && !said.contains("poison") && !said.contains("toxin"), "{said}");
        }
        // What does not need them does not read them.
        assert_eq!(operator.muster(&["ping"]).0, 4);
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let operator = Operator::new();
    operator.inventory(&INVENTORY.replace("auth:", "secrets_dir: kept, auth:"));
    operator.put("site/kept/password", b"word\n", 0o600);
    fs::set_permissions(operator.path("site/kept"), fs::Permissions::from_mode(0o770)).expect("it is ours");
    let (code, said) = operator.muster(&["plan"]);
    assert!(code == 1 && said.contains("others may write to the folder of passwords"), "{said}");
    fs::remove_dir_all(operator.path("site/kept")).expect("it is ours");
    fs::write(operator.path("site/kept"), "a file").expect("a file can be written");
    let (code, said) = operator.muster(&["plan"]);
    assert!(code == 1 && said.contains("is no folder"), "{said}");
}

#[test]
fn what_the_inventory_gives_wins() {
    let operator = Operator::new();
    let given = "password: a, replication_password: b, monitor_password: c, auth:";
    operator.inventory(&INVENTORY.replace("auth:", given));
    operator.put(&format!("{FOLDER}/password"), b"open to all\n", 0o644);
    let (code, said) = operator.muster(&["plan"]);
    assert_eq!(code, 4, "the folder is not even read: {said}");
}

/// What the rollouts of the lab do, without a host.
#[test]
fn files_are_made_whole_closed_and_once() {
    use muster::inventory::parse;
    use muster::secrets::folder::Env;
    use muster::secrets::kept::{made, read, write};

    let home = tempfile::tempdir().expect("a folder can be made");
    let env = Env { data_home: Some(home.path().join("data")), home: None };
    let load =
        || read(parse("x.yml", INVENTORY, Path::new("")).expect("it is right"), &env).expect("it is read");
    let (first, other) = (made(load()), made(load()));
    assert!(!home.path().join("data").exists(), "made is not written");
    write(&first).expect("it is written");
    let folder = home.path().join("data/muster/mon1.example-default");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut texts = Vec::new();
    for name in NAMES {
        assert_eq!(mode(&folder.join(name)), 0o600);
        let text = fs::read_to_string(folder.join(name)).expect("it is text");
        let word = text.strip_suffix('\n').expect("it ends a line").to_owned();
        assert!(word.len() == 32 && word.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        texts.push(word);
    }
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 3, "each role has its own");
    assert_eq!(fs::read_dir(&folder).expect("it is a folder").count(), 3, "nothing is left over");
    // Another run that began at the same time takes nothing away.
    let late = write(&other).expect_err("it is there by now").to_string();
    assert!(late.contains("another run has made"), "{late}");
    let again = load();
    assert!(again.lacking().is_empty() && made(again.clone()).kept.made.is_empty());
    let node = again.nodes.values().next().expect("there is one");
    assert!(texts.contains(&node.password.as_ref().expect("it is kept").reveal().to_owned()));
    assert!(again.monitor_password().is_some());
}

/// A rotation keeps both until it is complete, and goes on with the one that it has made.
#[test]
fn a_rotation_keeps_both() {
    use std::collections::BTreeSet;

    use muster::formation::Password;
    use muster::inventory::parse;
    use muster::secrets::folder::Env;
    use muster::secrets::kept::{made, read, rotated, settle, write};

    let home = tempfile::tempdir().expect("a folder can be made");
    let env = Env { data_home: Some(home.path().to_owned()), home: None };
    let raw = || parse("x.yml", INVENTORY, Path::new("")).expect("it is right");
    let load = || read(raw(), &env).expect("it is read");
    write(&made(load())).expect("it is written");
    let folder = home.path().join("muster/mon1.example-default");
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let (old, others) = (text("password"), (text("replication_password"), text("monitor_password")));
    let anew = BTreeSet::from([Password::User]);
    let rotating = rotated(raw(), &env, &anew).expect("it is read");
    assert_eq!(text("password.next"), None, "nothing is written yet");
    write(&rotating).expect("it is written");
    let next = text("password.next");
    assert!(next.is_some() && next != old && text("password") == old);
    let mode = fs::metadata(folder.join("password.next")).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // Cut off here: an apply wants the new one, and another rotation makes no third.
    let password = |formation: &muster::formation::Formation| {
        let node = formation.nodes.values().next().expect("there is one");
        node.password.as_ref().map(|secret| format!("{}\n", secret.reveal()))
    };
    assert_eq!(password(&load()), next);
    let again = rotated(raw(), &env, &anew).expect("it is read");
    assert!(password(&again) == next && again.kept.made.is_empty());
    settle(&again).expect("it is written");
    assert_eq!((text("password"), text("password.next")), (next, None));
    assert_eq!((text("replication_password"), text("monitor_password")), others);
    settle(&load()).expect("there is nothing to do");
}

#[test]
fn what_cannot_be_rotated_is_said() {
    let operator = Operator::new();
    let (code, said) = operator.muster(&["password", "rotate", "nobody", "--check"]);
    assert!(code == 1 && said.contains("`nobody` is no role"), "{said}");
    let (code, said) = operator.muster(&["-l", "pg1", "password", "rotate", "--check"]);
    assert!(code == 1 && said.contains("--limit is not for this command"), "{said}");
    for word in ["postgres", "password", "autoctl_node", "pgautofailover_replicator"] {
        let (code, said) = operator.muster(&["password", "rotate", word, "--check"]);
        assert_eq!(code, 4, "{word}: {said}");
    }
    operator.inventory(&INVENTORY.replace("scram-sha-256", "trust"));
    let (code, said) = operator.muster(&["password", "rotate", "--check"]);
    assert!(code == 1 && said.contains("uses no password"), "{said}");
    assert!(!operator.path("home/.local").exists(), "nothing was written");
}
