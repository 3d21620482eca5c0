//! `muster ssh` and `muster psql` on a terminal: a real sshd, a real terminal, and somebody who types.

use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use serde_json::json;

use crate::support::Sshd;
use crate::{becoming, tools};

/// What was on the screen: each step is what to wait for, and what to type then.
fn typed(sshd: &Sshd, steps: &[(&str, &str)], args: &[&str]) -> String {
    typed_with(&tools::inventory(sshd), steps, args)
}

fn typed_with(inventory: &str, steps: &[(&str, &str)], args: &[&str]) -> String {
    let output = Process::new("python3")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ssh/terminal.py"), &json!(steps).to_string()])
        .args([env!("CARGO_BIN_EXE_muster"), "-i", inventory, "-F", "none"])
        .args(args)
        .env_remove("SSH_AUTH_SOCK")
        .env("TERM", "vt100")
        .stdin(Stdio::null())
        .output()
        .expect("there is python3");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.ends_with("terminal as before\n"), "{said}{output:?}");
    said
}

#[test]
fn a_shell_has_the_terminal() {
    let Some(sshd) = Sshd::start("") else { return };
    // Values are told from their echo: nobody types `two` and `33 77` here.
    let said = typed(
        &sshd,
        &[
            ("[#$] ", "PS1='ready> ' exec sh\n"),
            ("(2004l|\n)\r*ready> ", "echo one-$TERM; stty size; tty\n"),
            ("one-vt100\r\n33 77\r\n/dev/pts/.*ready> ", "RESIZEstty size\n"),
            // It says that it runs: a key that comes before the shell has begun it is the shell's, not its.
            ("44 99\r\nready> ", "sh -c 'echo in-$$; exec sleep 77'\n"),
            ("in-[0-9]+\r\n", "\x03"),
            ("ready> ", "echo status-$?\n"),
            ("status-130\r\nready> ", "exit 3\n"),
        ],
        &["ssh", "pg1"],
    );
    // What was typed last is no failure of muster's.
    assert!(said.contains("\nexit 0\n"), "{said}");

    let left = typed(
        &sshd,
        &[("[#$] ", "PS1='ready> ' exec sh\n"), ("(2004l|\n)\r*ready> ", "~.")],
        &["ssh", "pg1"],
    );
    assert!(left.contains("you left with ~.") && left.contains("\nexit 2\n"), "{left}");
    // A line has the terminal, too, and its status counts.
    let line = typed(
        &sshd,
        &[("77\r\n", "x\n"), ("got-x", "")],
        &["ssh", "pg1", "stty size; read a; echo got-$a; exit 7"],
    );
    assert!(
        line.contains("got-x") && line.contains("pg1: status 7\n") && line.contains("\nexit 2\n"),
        "{line}"
    );
    let nobody = typed(
        &sshd,
        &[("[#$] ", "echo \"I am $(id -un)\"; tty; exit\n"), ("I am nobody\r\n/dev/pts/", "")],
        &["ssh", "--become-user", "nobody", "pg1"],
    );
    assert!(nobody.contains("\nexit 0\n"), "{nobody}");
    let several = typed(&sshd, &[], &["ssh", "all"]);
    assert!(several.contains("`all` selects 4 hosts: ") && several.contains("\nexit 1\n"), "{several}");
    let down = typed(&sshd, &[], &["ssh", "down"]);
    assert!(down.contains("down: unreachable: ") && down.contains("\nexit 4\n"), "{down}");
}

#[test]
fn a_host_that_gives_no_terminal_runs_nothing() {
    let Some(sshd) = Sshd::start("PermitTTY no") else { return };
    let mark = sshd.path("mark");
    let said = typed(&sshd, &[], &["ssh", "pg1", &format!("touch {}", mark.display())]);
    assert!(said.contains("gives no terminal") && said.contains("PermitTTY"), "{said}");
}

#[test]
fn without_a_terminal_bytes_go_through_as_they_are() {
    let Some(sshd) = Sshd::start("") else { return };
    let run = |args: &[&str], input: &[u8]| {
        let mut muster = tools::start(&sshd, args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = muster.stdin.take().unwrap();
        // What comes back is read meanwhile: pipes hold less than all of it.
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            muster.wait_with_output().unwrap()
        })
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let output = run(&["ssh", "pg1", "cat; echo err >&2; exit 5"], &bytes);
    assert_eq!((output.status.code(), output.stdout == bytes), (Some(2), true));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("err\npg1: status 5\n"), "{stderr}");
    let output = run(&["ssh", "--become-user", "nobody", "pg1", "id -un; cat"], b"~.\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "nobody\n~.\n");
    // A shell reads its lines from there.
    let output = run(&["ssh", "pg1"], b"echo line; exit 9\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"line\n"[..]));
}

/// A program in psql's place that says what it was given, and asks.
fn psql(sshd: &Sshd) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = sshd.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let script = "#!/bin/sh\n[ \"${1:-}\" = --version ] && echo 'x (PostgreSQL) 15.0' && exit\n\
                  echo \"$(id -un) has: $*; PGHOST=${PGHOST-none}\"\nif [ -t 0 ]; then trap 'echo stopped' INT; fi\n\
                  printf 'app=# '; read -r line || read -r line; echo \"got $line\"\n";
    for name in ["pg_ctl", "psql"] {
        let path = folder.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(sshd.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.join("pg_ctl").display().to_string()
}

#[test]
fn psql_opens_for_one_host_on_a_terminal() {
    let Some(sshd) = Sshd::start("") else { return };
    let ctl = psql(&sshd);
    let inventory = tools::inventory(&sshd);
    let text = std::fs::read_to_string(&inventory).unwrap();
    let more =
        format!("    pgctl: {ctl}\n    become_user: nobody\n    pghost: /nonexistent\n    keeper: none\n");
    let steps = [("app=# ", "\x03"), ("stopped", "select 1;\n"), ("got select 1;", "")];
    std::fs::write(&inventory, text.replace("    keeper: none\n", &more)).unwrap();
    let said = typed_with(&inventory, &steps, &["psql", "pg1", "-d", "it's $(id)"]);
    let expected = "nobody has: -h /nonexistent -p 1 -U postgres -d it's $(id); PGHOST=none\n";
    assert!(said.contains(expected) && said.contains("got select 1;\n"), "{said}");
    assert!(said.contains("\nexit 0\nterminal as before\n"), "{said}");
}

#[test]
fn whoever_asks_for_a_password_gets_it_once_from_the_inventory_or_from_the_operator() {
    let all = "ana ALL=(pgsql) ALL";
    let Some(sshd) = becoming::sshd("sudo", all, "") else { return };
    let ask = |method: &str, password: Option<&str>, steps: &[(&str, &str)]| {
        let inventory = tools::inventory(&sshd);
        let text = std::fs::read_to_string(&inventory).unwrap();
        let password =
            password.map(|word| format!("    ansible_become_password: {word}\n")).unwrap_or_default();
        let more = format!("    ansible_become_method: {method}\n{password}    keeper: none\n");
        let text =
            text.replace("ansible_user: root", "ansible_user: ana").replace("    keeper: none\n", &more);
        std::fs::write(&inventory, text).unwrap();
        let line = "id -un; stty -a | grep -o '.echo '; read a; echo got-$a";
        typed_with(&inventory, steps, &["ssh", "--become-user", "pgsql", "pg1", line])
    };
    let known = [("pgsql\r\n echo", "x\n"), ("got-x", "")];
    for (method, password) in [("sudo", becoming::OWN), ("su", becoming::THEIRS)] {
        let said = ask(method, Some(password), &known);
        assert!(
            said.contains("pgsql\n echo") && said.contains("got-x\n\nexit 0\nterminal as before"),
            "{method}: {said}"
        );
        assert!(!said.contains(password) && !said.contains("assword"), "{method}: {said}");
        // Nobody knows it but who sits there: it is asked for on the terminal, and not shown.
        let typed =
            [("assword[^\n]*: ?", &*format!("{password}\n")), ("pgsql\r\n echo", "x\n"), ("got-x", "")];
        let said = ask(method, None, &typed);
        assert!(
            said.contains("got-x\n\nexit 0\nterminal as before") && !said.contains(password),
            "{method}: {said}"
        );
        let said = ask(method, Some("wrong-horse"), &[]);
        assert!(said.contains("hint: check ansible_become_password"), "{method}: {said}");
        assert!(
            said.contains("\nexit 2\nterminal as before") && !said.contains("wrong-horse"),
            "{method}: {said}"
        );
    }
}

#[test]
fn a_saved_plan_knows_the_keys_of_its_hosts() {
    let Some(sshd) = Sshd::start("") else { return };
    let plan = sshd.path("plan.json").display().to_string();
    let run = |args: &[&str]| {
        let output = tools::start(&sshd, args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    run(&["plan", "--out", &plan]);
    let (_, same) = run(&["apply", &plan]);
    assert!(!same.contains("was made for other hosts"), "{same}");
    let mut saved: serde_json::Value = serde_json::from_str(&sshd.read("plan.json")).unwrap();
    let keys = saved["bound"]["host_keys"].as_object().unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["mon", "pg1", "pg2"], "down has shown none");
    // As if pg1 had shown another one then.
    saved["bound"]["host_keys"]["pg1"] = saved["bound"]["host_keys"]["mon"].clone();
    std::fs::write(&plan, saved.to_string()).unwrap();
    let (code, other) = run(&["apply", &plan]);
    assert!(code == Some(1) && other.contains("These differ: the host key of pg1\n"), "{other}");
}

#[test]
fn psql_says_why_it_does_not_know_who_takes_writes() {
    let Some(sshd) = Sshd::start("") else { return };
    let run = |args: &[&str]| {
        let output = tools::start(&sshd, args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for args in [&["psql", "-c", "select 1"][..], &["psql", "workers", "--primary", "-c", "select 1"]] {
        let (code, said) = run(args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("error: the monitor could not be asked who takes writes"), "{said}");
        assert!(said.contains("hint: name a host to reach it all the same"), "{said}");
    }
    let (code, said) = run(&["psql", "--group", "7", "-c", "select 1"]);
    assert!(code == Some(1) && said.contains("the inventory has no node of group 7"), "{said}");
}
