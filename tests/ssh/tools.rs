//! `exec`, `psql` and `ping` by the real program, against several hosts that are one sshd.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command as Process, Output, Stdio};

use serde_json::Value;

use crate::support::Sshd;

/// One port that nobody listens on is a host that is down.
pub(crate) fn inventory(sshd: &Sshd) -> String {
    let path = |file: &str| sshd.path(file).display().to_string();
    let text = format!(
        "all:
  vars:
    ansible_host: 127.0.0.1
    ansible_port: {}
    ansible_user: root
    ansible_ssh_private_key_file: {}
    known_hosts: {}
    connect_timeout: 5
    keeper: none
  children:
    monitor:
      hosts:
        mon: {{hostname: mon, pgport: 5000, pgdata: /nonexistent/mon}}
    coordinator:
      hosts:
        pg1: {{hostname: pg1, pgport: 1, pgdata: /nonexistent/1}}
    workers:
      hosts:
        pg2: {{hostname: pg2, pgport: 2, pgdata: /nonexistent/2, group: 1}}
        down: {{hostname: down, pgport: 3, pgdata: /nonexistent/3, group: 2, ansible_port: 1}}
",
        sshd.port,
        path("user"),
        path("known_hosts")
    );
    std::fs::write(sshd.path("db.yml"), text).unwrap();
    path("db.yml")
}

pub(crate) fn start(sshd: &Sshd, args: &[&str]) -> Process {
    let inventory = inventory(sshd);
    let mut muster = Process::new(env!("CARGO_BIN_EXE_muster"));
    muster.args(["-i", &inventory, "-F", "none"]).args(args).env_remove("SSH_AUTH_SOCK");
    muster.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    muster
}

fn muster(sshd: &Sshd, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = start(sshd, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // It said on standard error that nothing fails over.
    let stderr = text(stderr)
        .lines()
        .filter(|line| !line.starts_with("warning:"))
        .fold(String::new(), |a, b| a + b + "\n");
    (status.code().unwrap(), text(stdout), stderr)
}

#[test]
fn what_hosts_say_alike_is_shown_once() {
    let Some(sshd) = Sshd::start("") else { return };
    let up = "all:!down";
    let same = muster(&sshd, &["exec", up, "--", "echo it; echo why >&2"]);
    let stderr = "--- mon,pg1,pg2 (3 hosts), stderr\nwhy\n".to_owned();
    assert_eq!(same, (0, "--- mon,pg1,pg2 (3 hosts)\nit\n".to_owned(), stderr));

    // Whoever comes first makes the difference, and no line end is lost.
    let mark = sshd.path("mark").display().to_string();
    let first =
        muster(&sshd, &["exec", "-f", "1", up, "--", "sh", "-c", "mkdir \"$1\" && printf first", "x", &mark]);
    assert_eq!(first.0, 2);
    assert_eq!(first.1.matches("--- ").count(), 2, "{first:?}");
    assert!(
        first.1.contains("\nfirst\n") && first.1.contains("(2 hosts): status 1, no output\n"),
        "{first:?}"
    );
    assert!(
        first.2.contains("File exists") && first.2.ends_with("1 of 3 hosts ok; status 1: mon,pg2\n")
            || first.2.contains("1 of 3 hosts ok; status 1: "),
        "{first:?}"
    );

    let quiet = muster(&sshd, &["exec", up, "--", "true"]);
    assert_eq!(quiet, (0, "--- mon,pg1,pg2 (3 hosts): no output\n".to_owned(), String::new()));
}

#[test]
fn one_word_is_a_line_and_several_are_exact() {
    let Some(sshd) = Sshd::start("") else { return };
    let said = |args: &[&str]| muster(&sshd, &[&["exec", "pg1", "--"], args].concat());
    assert_eq!(said(&["echo a  b | tr a c; cat"]).1, "c b\n");
    assert_eq!(said(&["printf", "%s|", "a  b", "$HOME", "it's; id", ""]).1, "a  b|$HOME|it's; id||");
    assert_eq!(said(&["pwd; umask"]).1, format!("{}\n0022\n", sshd.path("").display()).replace("/\n", "\n"));
    // Alone it is a line: there is nobody to tell apart.
    assert_eq!(
        said(&["echo out; echo err >&2; exit 7"]),
        (2, "out\n".into(), "err\n0 of 1 host ok; status 7: pg1\n".into())
    );
    let missing = said(&["no-such-program", "x"]);
    assert!(missing.0 == 2 && missing.2.contains("no-such-program"), "{missing:?}");
    let slow = muster(&sshd, &["exec", "pg1", "--timeout", "1", "--", "sleep 33"]);
    assert_eq!(
        slow,
        (2, String::new(), "--- pg1: failed: no end after 1 s, what happened is unknown\n".into())
    );
    let nobody = muster(&sshd, &["exec", "pg1", "--become-user", "nobody", "--", "id", "-un"]);
    assert_eq!((nobody.0, nobody.1.as_str()), (0, "nobody\n"), "{nobody:?}");
}

#[test]
fn a_host_that_is_down_is_4_and_a_failure_beside_it_is_2() {
    let Some(sshd) = Sshd::start("") else { return };
    let (code, stdout, stderr) = muster(&sshd, &["exec", "pg1:down", "--", "echo", "up"]);
    assert_eq!((code, stdout.as_str()), (4, "--- pg1\nup\n"));
    assert!(stderr.starts_with("--- down: unreachable: cannot connect to 127.0.0.1 port 1"), "{stderr}");
    assert!(
        stderr.contains("\n    hint: ") && stderr.ends_with("1 of 2 hosts ok; unreachable: down\n"),
        "{stderr}"
    );
    assert_eq!(muster(&sshd, &["exec", "pg1:down", "--", "false"]).0, 2);

    let (code, stdout, stderr) = muster(&sshd, &["ping"]);
    assert_eq!((code, stderr.as_str()), (4, ""), "{stdout}");
    assert!(
        stdout.starts_with("mon   ok  connect ") && stdout.contains("\ndown  unreachable  cannot connect"),
        "{stdout}"
    );
    assert_eq!(muster(&sshd, &["ping", "all:!down"]).0, 0);
    let (_, stdout, _) = muster(&sshd, &["ping", "--json"]);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["ping"]["pg1"]["ok"], &json["ping"]["down"]["ok"]), (&true.into(), &false.into()));
}

#[test]
fn bytes_are_nobodys_business() {
    let Some(sshd) = Sshd::start("") else { return };
    let output = start(&sshd, &["exec", "pg1", "--", "printf '\\377\\0\\033[2J\\302'"]).output().unwrap();
    assert_eq!(output.stdout, b"\xff\0\x1b[2J\xc2");
    let (code, stdout, _) =
        muster(&sshd, &["exec", "--json", "pg1:pg2:down", "--", "printf '\\377'; exit 3"]);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["schema"], &json["exit"]), (2, &2.into(), &2.into()));
    let pg1 = &json["exec"]["pg1"];
    assert_eq!(
        (&pg1["status"], &pg1["stdout_base64"], &pg1["stdout_bytes"]),
        (&3.into(), &"/w==".into(), &1.into())
    );
    assert!(json["exec"]["down"]["failure"]["unreachable"]["reason"].is_string(), "{stdout}");
    let (_, stdout, _) =
        muster(&sshd, &["exec", "--json", "pg1", "--", "head -c 3000000 /dev/zero | tr '\\0' x"]);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    let pg1 = &json["exec"]["pg1"];
    assert_eq!(
        (pg1["stdout"].as_str().unwrap().len(), &pg1["stdout_truncated"]),
        (1024 * 1024, &true.into())
    );
    assert_eq!(pg1["stdout_bytes"], 3_000_000);
}

/// A gigabyte where the program is built as operators have it; unoptimised it would take most of a minute.
const MUCH: u64 = if cfg!(debug_assertions) { 128 << 20 } else { 1 << 30 };

/// KiB of memory at the most, however much a host says.
const MEMORY: u64 = 60 * 1024;

#[test]
fn a_gigabyte_passes_through_little_memory() {
    let Some(sshd) = Sshd::start("") else { return };
    for hosts in ["pg1", "pg1:pg2"] {
        let bytes = MUCH / hosts.split(':').count() as u64;
        let script = format!("head -c {bytes} /dev/zero");
        let mut child = start(&sshd, &["exec", hosts, "--", &script]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        let mut read = 0;
        let mut chunk = vec![0; 1 << 20];
        loop {
            // The last look is before the last byte is taken: it has ended soon after.
            peak = peak.max(high_water(&std::fs::read_to_string(&status).unwrap_or_default()));
            match std::io::Read::read(&mut stdout, &mut chunk).unwrap() {
                0 => break,
                more => read += more as u64,
            }
        }
        let ended = child.wait().unwrap();
        assert_eq!((ended.code(), ended.signal()), (Some(0), None));
        assert!(read >= bytes && read < bytes + 100, "{hosts}: {read} of {bytes}");
        assert!(peak > 0 && peak < MEMORY, "{hosts}: {peak} KiB");
    }
}

fn high_water(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[test]
fn psql_says_what_is_missing() {
    let Some(sshd) = Sshd::start("") else { return };
    // Nobody listens on port 1: whether there is a psql or not, it cannot end well, and says so.
    let (code, stdout, stderr) = muster(&sshd, &["psql", "pg1", "-c", "select 1"]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    let words = ["connection to server", "no PostgreSQL is installed", "unknown user", "does not exist"];
    assert!(words.iter().any(|word| stderr.contains(word)), "{stderr}");
}

#[test]
fn every_host_gets_the_input_and_the_files() {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let Some(sshd) = Sshd::start("") else { return };
    let run = |args: &[&str], input: &[u8]| {
        let mut muster =
            start(&sshd, &[&["exec", "mon:pg1"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
        // What does not want it does not read it.
        let _ = muster.stdin.take().unwrap().write_all(input);
        let Output { status, stdout, stderr } = muster.wait_with_output().unwrap();
        (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    };
    let both = |text: &str| format!("--- mon,pg1 (2 hosts)\n{text}");
    let bytes: Vec<u8> = (0..=255).cycle().take(5_000_000).collect();
    let sum = run(&["--stdin", "-", "sha256sum; stat -c %s ."], &bytes);
    std::fs::write(sshd.path("bytes"), &bytes).unwrap();
    let own =
        Process::new("sha256sum").stdin(std::fs::File::open(sshd.path("bytes")).unwrap()).output().unwrap();
    assert!(sum.1.starts_with(&both(&String::from_utf8(own.stdout).unwrap())), "{sum:?}");
    // Nothing is read unless it is said: a pipe that stays open would be waited for.
    assert_eq!(run(&["cat; echo end"], b"not for them").1, both("end\n"));
    assert_eq!(run(&["--stdin", "-", "cat; echo end"], b"").1, both("end\n"));

    let script = sshd.path("it's a.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\necho \"ran $1\"; cat; rm -- \"$0\"; ls -A | wc -l; pwd >&2; exit 3\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o750)).unwrap();
    let script = script.display().to_string();
    let args = ["--copy", &script, "--stdin", "-", "--", "./it's a.sh", "$HOME"];
    let ran = run(&args, b"in\n");
    let expected = "--- mon,pg1 (2 hosts): status 3\nran $HOME\nin\n0\n";
    assert_eq!((ran.0, ran.1.as_str()), (2, expected), "{ran:?}");
    // The folders are gone.
    for folder in ran.2.lines().filter(|line| line.starts_with('/')) {
        assert!(!std::path::Path::new(folder).exists(), "{folder}");
    }
    assert!(ran.2.contains("\n/"), "{ran:?}");

    let (one, two) = (sshd.path("one").display().to_string(), sshd.path("two").display().to_string());
    std::fs::write(&one, "1\n").unwrap();
    std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o604)).unwrap();
    let (to_one, to_two) = (format!("{one}:placed it's"), format!("{script}:{two}"));
    let placed = run(
        &["-f", "1", "--copy", &to_one, "--copy", &to_two, "--", "cat \"placed it's\"; stat -c %a placed*"],
        b"",
    );
    assert_eq!((placed.0, placed.1.as_str()), (0, both("1\n604\n").as_str()), "{placed:?}");
    assert_eq!(std::fs::read(&two).unwrap(), std::fs::read(&script).unwrap());
    assert_eq!(std::fs::metadata(&two).unwrap().permissions().mode() & 0o777, 0o750);

    let missing = run(&["--copy", "/nonexistent/x", "true"], b"");
    assert!(missing.0 == 1 && missing.2.contains("cannot read /nonexistent/x: "), "{missing:?}");
    std::fs::write(&one, vec![0; 17 << 20]).unwrap();
    let large = run(&["--copy", &one, "true"], b"");
    assert!(large.0 == 1 && large.2.contains("more than 16 MiB"), "{large:?}");
}
