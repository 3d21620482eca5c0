//! The transport against a real sshd.

use std::fs;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Sshd, Wire, connect, keygen, nobody};
use muster::command::{Command, Failure, RunAs, Stdin};
use muster::formation::Secret;
use muster::ssh::{Credentials, Session};
use sha2::{Digest, Sha256};

fn command(script: &'static str) -> Command {
    Command::new(RunAs::Login, script)
}

async fn stdout(session: &Session, command: &Command) -> String {
    String::from_utf8(session.run(command).await.unwrap().stdout).unwrap()
}

/// What a script meets, in every shell that may be `sh`.
async fn says_what_it_is_given(session: &Session) {
    let nasty = ["it's", "$(id) `id` $HOME", "two\nlines\n", "", "-n", "*", "\\ \"", "ÁÂÃÄÅÆÇÈ €"];
    let arguments = command("for arg; do printf '<%s>' \"$arg\"; done").args(nasty);
    assert_eq!(stdout(session, &arguments).await, nasty.map(|arg| format!("<{arg}>")).concat());

    let secret = Secret::new("  p$(id)`id`'\"\\n \\ ÁÂÃÄÅÆÇÈ\t= ");
    let env = command("printf '<%s|%s>' \"$A\" \"$B_2\"").env("A", &secret).env("B_2", &Secret::new(""));
    assert_eq!(stdout(session, &env).await, format!("<{}|>", secret.reveal()));

    let rest =
        command("read -r first\nprintf '%s+' \"$first\"\ncat").stdin(Stdin::Text("a \\b\nc\nd".into()));
    assert_eq!(stdout(session, &rest).await, "a \\b+c\nd");

    let around = command(
        "pwd; umask; echo \"$LC_ALL $PATH ${XDG_RUNTIME_DIR-none}\"; case $- in *e*u* | *u*e*) echo 1 ;; esac",
    );
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(stdout(session, &around).await, format!("/\n0077\nC {path} none\n1\n"));

    assert_eq!(
        session.run(&command("echo out; echo err >&2; false; echo no")).await,
        Err(Failure::Refused { status: 1, stderr: "err\n".into() })
    );
    assert_eq!(stdout(session, &command("f() { cat <<EOF\n$1 }\nEOF\n}\nf x # end")).await, "x }\n");
    assert!(session.run(&command("echo $nothing_like_it")).await.is_err());
}

#[tokio::test]
async fn a_script_gets_exactly_what_it_is_given() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    says_what_it_is_given(&session).await;

    let output = session.run(&command("echo out; echo err >&2")).await.unwrap();
    assert_eq!((&output.stdout[..], output.stderr.as_str()), (&b"out\n"[..], "err\n"));
    let exit = session.run(&command("echo why >&2; exit 42")).await;
    assert_eq!(exit, Err(Failure::Refused { status: 42, stderr: "why\n".into() }));
    let killed = session.run(&command("kill -9 $$")).await;
    let Err(Failure::Refused { status: 137, stderr }) = killed else { panic!("{killed:?}") };
    assert!(stderr.contains("SIGKILL"), "{stderr}");
    let nowhere = session.run(&command("true").env("A", &Secret::new("a\nb"))).await;
    assert!(matches!(nowhere, Err(Failure::Refused { status: 255, .. })));
    session.close().await;
}

#[tokio::test]
async fn every_sh_will_do() {
    for shell in ["/bin/bash", "/bin/dash", "/bin/busybox"] {
        if !fs::exists(shell).unwrap() {
            eprintln!("LEFT OUT: there is no {shell}");
            continue;
        }
        let Some(sshd) = Sshd::start("SetEnv HOME=DIR PATH=DIR/bin:/usr/bin:/bin") else { return };
        fs::create_dir(sshd.path("bin")).unwrap();
        std::os::unix::fs::symlink(shell, sshd.path("bin/sh")).unwrap();
        let session = sshd.session().await;
        let is = stdout(&session, &command("readlink /proc/$$/exe")).await;
        assert!(is.contains(shell.rsplit('/').next().unwrap()), "{is}");
        says_what_it_is_given(&session).await;
    }
}

#[tokio::test]
async fn secrets_are_on_no_command_line() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let look = command("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; printf %s \"$PGPASSWORD\" >&2")
        .args(["an-argument"])
        .env("PGPASSWORD", &Secret::new("hush-7431"))
        .stdin(Stdin::Hidden(Secret::new("hush-9914")));
    let output = session.run(&look).await.unwrap();
    let lines = String::from_utf8_lossy(&output.stdout);
    // Nor are other values: the login shell may not quote as sh does.
    assert!(
        lines.contains("muster") && !lines.contains("an-argument") && !lines.contains("hush-"),
        "{lines}"
    );
    assert_eq!(output.stderr, "hush-7431");
}

#[tokio::test]
async fn big_input_arrives_or_is_left_unread() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let text: String = (0..300_000).map(|n| format!("{n:09}\n")).collect();
    let sum: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let stdin = Stdin::Text(text);
    let read = stdout(&session, &command("cat | sha256sum").stdin(stdin.clone())).await;
    assert_eq!(read, format!("{sum}  -\n"));
    let started = Instant::now();
    for script in ["true", "head -c 10 >/dev/null", "exec <&-; sleep 0.2"] {
        session.run(&command(script).stdin(stdin.clone())).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stdout(&session, &command("cat").stdin(stdin.clone())).await.as_bytes(), stdin.as_bytes());
}

#[tokio::test]
async fn output_is_bounded() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let much = session.run(&command("head -c 70000000 /dev/zero")).await;
    let Err(Failure::Refused { stderr, .. }) = much else { panic!("too much was taken") };
    assert!(stderr.contains("64 MiB"), "{stderr}");
    let loud = command("echo first >&2; head -c 1000000 /dev/zero | tr '\\0' x >&2; echo last >&2");
    let stderr = session.run(&loud).await.unwrap().stderr;
    assert!(stderr.starts_with("first\nx") && stderr.ends_with("xlast\n") && stderr.len() < 300_000);
}

#[tokio::test]
async fn noise_of_the_login_shell_is_dropped() {
    let Some(sshd) = Sshd::start("SetEnv HOME=DIR/home") else { return };
    fs::create_dir(sshd.path("home")).unwrap();
    fs::write(sshd.path("home/.bashrc"), "echo noise; echo err-noise >&2; printf unfinished\n").unwrap();
    let session = sshd.session().await;
    let output = session.run(&command("echo \"$HOME\"; echo err >&2")).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", sshd.path("home").display()));
    assert_eq!(output.stderr, "err\n");
}

#[tokio::test]
async fn a_script_that_never_started_is_told_apart() {
    for (answer, status, words) in [
        ("echo This account is currently not available.; exit 1", 1, "login shell"),
        ("echo sudo: a password is required >&2; exit 1", 1, "NOPASSWD"),
        ("exit 0", 255, "nothing was said"),
    ] {
        let Some(sshd) = Sshd::start(&format!("ForceCommand {answer}")) else { return };
        let result = sshd.session().await.run(&command("echo hello")).await;
        let Err(Failure::Refused { status: got, stderr }) = result else { panic!("{result:?}") };
        assert_eq!(got, status);
        assert!(stderr.contains(words) && stderr.contains("hint:"), "{stderr}");
    }
}

#[tokio::test]
async fn root_becomes_another_user() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let who = Command::new(RunAs::User("nobody".into()), "id -un; echo \"$HOME $1 $A\"; cat")
        .args(["it's"])
        .env("A", &Secret::new("a b"))
        .stdin(Stdin::Text("in".into()));
    assert_eq!(stdout(&session, &who).await, "nobody\n/nonexistent it's a b\nin");
    let root = Command::new(RunAs::Root, "id -un");
    assert_eq!(stdout(&session, &root).await, "root\n");
    let missing = session.run(&Command::new(RunAs::User("no-such-user".into()), "true")).await;
    let Err(Failure::Refused { stderr, .. }) = missing else { panic!("{missing:?}") };
    assert!(stderr.contains("no-such-user"), "{stderr}");
}

#[tokio::test]
async fn root_needs_no_sudo() {
    let Some(sshd) = Sshd::start("SetEnv HOME=DIR PATH=DIR/bin") else { return };
    fs::create_dir(sshd.path("bin")).unwrap();
    for (name, program) in [
        ("sh", "/bin/sh"),
        ("head", "/usr/bin/head"),
        ("runuser", "/usr/sbin/runuser"),
        ("env", "/usr/bin/env"),
        ("getent", "/usr/bin/getent"),
        ("cut", "/usr/bin/cut"),
    ] {
        std::os::unix::fs::symlink(program, sshd.path("bin").join(name)).unwrap();
    }
    let session = sshd.session().await;
    let who = Command::new(RunAs::User("nobody".into()), "id -un; echo \"$HOME $USER $1\"; cat")
        .args(["it's"])
        .stdin(Stdin::Text("in".into()));
    assert_eq!(stdout(&session, &who).await, "nobody\n/nonexistent nobody it's\nin");
    let slow = Command::new(RunAs::User("nobody".into()), "sleep 77.2718; true").timeout(1);
    assert_eq!(session.run(&slow).await, Err(Failure::TimedOut { seconds: 1 }));
    let left = stdout(&session, &command("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).await;
    assert!(!left.contains("77.2718"));
}

#[tokio::test]
async fn a_plain_user_logs_in() {
    // A user that PostgreSQL's packages bring along, with a shell and without rights.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    if !users.lines().any(|line| line.starts_with("postgres:") && line.ends_with("sh")) {
        eprintln!("LEFT OUT: there is no user postgres to log in as");
        return;
    }
    let Some(sshd) = Sshd::start("UsePAM yes") else { return };
    fs::set_permissions(sshd.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let mut host = sshd.host();
    host.user = Some("postgres".into());
    let session = connect(&host, &nobody()).await.unwrap();
    let own = Command::new(RunAs::User("postgres".into()), "id -un");
    assert_eq!(stdout(&session, &own).await, "postgres\n");
    let started = Instant::now();
    let slow = session.run(&command("sleep 77.1618; true").timeout(1)).await;
    assert_eq!(slow, Err(Failure::TimedOut { seconds: 1 }));
    assert!(started.elapsed() < Duration::from_secs(2), "sshd passes the signal on");
    let refused =
        session.run(&Command::new(RunAs::Root, "root id -un").stdin(Stdin::Text("x".repeat(100_000)))).await;
    let Err(Failure::Refused { stderr, .. }) = refused else { panic!("{refused:?}") };
    assert!(
        stderr.contains("hint: allow this user sudo") || stderr.contains("hint: install sudo"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_timeout_returns_and_ends_the_command() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let started = Instant::now();
    let slow = session.run(&command("sleep 77.4142").timeout(1)).await;
    assert_eq!(slow, Err(Failure::TimedOut { seconds: 1 }));
    let deaf = session.run(&command("trap '' TERM; sleep 5").timeout(1)).await;
    assert_eq!(deaf, Err(Failure::TimedOut { seconds: 1 }));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    let left = stdout(&session, &command("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).await;
    assert!(!left.contains("77.4142"));
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_the_command() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let started = Instant::now();
    assert_eq!(stdout(&session, &command("sleep 9 & echo done")).await, "done\n");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_cut_connection_is_lost_and_later_commands_are_not_sent() {
    let Some(sshd) = Sshd::start("") else { return };
    let wire = Wire::to(sshd.port, 0).await;
    sshd.know(&format!("* {}", sshd.read("host.pub")));
    let mut host = sshd.host();
    host.port = Some(wire.port);
    let session = connect(&host, &nobody()).await.unwrap();
    let long = command("sleep 3");
    let (result, ()) = tokio::join!(session.run(&long), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        wire.cut();
    });
    let Err(Failure::Lost { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("closed") || reason.contains("reset"), "{reason}");
    let after = session.run(&command("true")).await;
    assert!(matches!(after, Err(Failure::Unreachable { .. })), "{after:?}");
}

#[tokio::test]
async fn many_commands_share_a_connection() {
    for extra in ["", "MaxSessions 2"] {
        let Some(sshd) = Sshd::start(extra) else { return };
        let session = Arc::new(sshd.session().await);
        let runs: Vec<_> = (0..20)
            .map(|number| {
                let session = session.clone();
                tokio::spawn(async move {
                    let echo = command("sleep 0.05; echo \"$1\"").args([number.to_string()]);
                    stdout(&session, &echo).await
                })
            })
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            assert_eq!(run.await.unwrap(), format!("{number}\n"));
        }
    }
}

#[tokio::test]
async fn dropped_runs_give_their_channels_back() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    for _ in 0..15 {
        let read = command("cat; while :; do sleep 0.01; echo x; done");
        let _ = tokio::time::timeout(Duration::from_millis(50), session.run(&read)).await;
    }
    assert_eq!(stdout(&session, &command("echo still here")).await, "still here\n");
}

#[tokio::test]
async fn only_the_known_host_key_is_accepted() {
    let Some(sshd) = Sshd::start("") else { return };
    let (host, key, name) = (sshd.host(), sshd.read("host.pub"), format!("[127.0.0.1]:{}", sshd.port));
    keygen(&sshd.path("other"), "ed25519", "");
    keygen(&sshd.path("ec"), "ecdsa", "");
    let fingerprint = |file: &str| {
        let out = Process::new("ssh-keygen").arg("-lf").arg(sshd.path(file)).output().unwrap().stdout;
        String::from_utf8(out).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let (offered, other) = (fingerprint("host"), fingerprint("other"));
    let has = |text: String, words: &[&str]| {
        for word in words {
            assert!(text.contains(word), "{word} is missing: {text}");
        }
    };
    sshd.know("");
    has(sshd.refusal(&host, &nobody()).await, &["not known", &offered, "ssh-keyscan"]);
    sshd.know(&format!("# a comment\n{name} {}", sshd.read("other.pub")));
    has(
        sshd.refusal(&host, &nobody()).await,
        &["has changed", &offered, &other, "known_hosts:2", "ssh-keygen -R"],
    );
    sshd.know(&format!("{name} {}", sshd.read("ec.pub")));
    has(sshd.refusal(&host, &nobody()).await, &["not known", &offered, &fingerprint("ec")]);
    sshd.know(&format!("{name} {key}@revoked * {key}"));
    has(sshd.refusal(&host, &nobody()).await, &["revoked", &offered, "known_hosts:2"]);
    sshd.know(&format!("@cert-authority {name} {key}"));
    has(sshd.refusal(&host, &nobody()).await, &["not known"]);
    fs::remove_file(sshd.path("known_hosts")).unwrap();
    has(sshd.refusal(&host, &nobody()).await, &["cannot read", "known_hosts"]);

    sshd.know(&format!("{name} {key}"));
    let hash = Process::new("ssh-keygen").arg("-Hf").arg(sshd.path("known_hosts")).output().unwrap();
    assert!(hash.status.success() && sshd.read("known_hosts").starts_with("|1|"));
    connect(&host, &nobody()).await.unwrap();
    assert!(sshd.read("known_hosts").lines().count() == 1, "known_hosts was written");
}

#[tokio::test]
async fn the_recorded_key_type_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    keygen(&dir.path().join("rsa"), "rsa", "");
    let extra = format!("HostKey {}/rsa", dir.path().display());
    let Some(sshd) = Sshd::start(&extra) else { return };
    let rsa = fs::read_to_string(dir.path().join("rsa.pub")).unwrap();
    sshd.know(&format!("127.0.0.1 {rsa}"));
    connect(&sshd.host(), &nobody()).await.unwrap();
}

#[tokio::test]
async fn a_refused_login_says_what_was_tried() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut host = sshd.host();
    keygen(&sshd.path("wrong"), "ed25519", "");
    host.identity_files = vec![sshd.path("wrong").display().to_string()];
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("permission denied") && text.contains("wrong (ssh-ed25519 SHA256:"), "{text}");
    assert!(text.contains("root"), "{text}");
    host.identity_files = vec!["/no/such/key".into()];
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("/no/such/key") && text.contains("no such file"), "{text}");
    host.identity_files = Vec::new();
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("no key"), "{text}");
    host.identity_files = (0..7)
        .map(|number| {
            let path = sshd.path(&format!("wrong{number}"));
            keygen(&path, "ed25519", "");
            path.display().to_string()
        })
        .collect();
    let text = sshd.refusal(&host, &nobody()).await;
    // More than sshd hears on one connection.
    assert!(text.contains("permission denied") && text.contains("wrong6"), "{text}");
}

#[tokio::test]
async fn default_keys_rsa_keys_and_the_agent_log_in() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut host = sshd.host();
    let authorize = |file: &str| {
        let keys = sshd.read("authorized_keys") + &sshd.read(file);
        fs::write(sshd.path("authorized_keys"), keys).unwrap();
    };
    // A default key, RSA, user from the environment.
    fs::create_dir_all(sshd.path("home/.ssh")).unwrap();
    keygen(&sshd.path("home/.ssh/id_rsa"), "rsa", "");
    authorize("home/.ssh/id_rsa.pub");
    host.identity_files = Vec::new();
    host.user = None;
    connect(&host, &Credentials::new("root", Some(sshd.path("home")), None)).await.unwrap();

    // A key under a passphrase, without and with an agent that holds it.
    keygen(&sshd.path("locked"), "ed25519", "secret words");
    authorize("locked.pub");
    host.identity_files = vec![sshd.path("locked").display().to_string()];
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("passphrase") && text.contains("ssh-add"), "{text}");
    let socket = sshd.path("agent");
    let Ok(mut agent) =
        Process::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn()
    else {
        eprintln!("LEFT OUT: there is no ssh-agent");
        return;
    };
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let with_agent = || Credentials::new("root", None, Some(socket.clone()));
    let empty = sshd.refusal(&host, &with_agent()).await;
    let add = |file: &str| {
        fs::write(sshd.path("askpass"), "#!/bin/sh\necho secret words\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(sshd.path("askpass"), mode).unwrap();
        let added = Process::new("ssh-add")
            .arg(sshd.path(file))
            .env("SSH_AUTH_SOCK", &socket)
            .env("SSH_ASKPASS", sshd.path("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .output()
            .unwrap();
        assert!(added.status.success(), "{added:?}");
    };
    add("locked");
    let named = connect(&host, &with_agent()).await.err();
    host.identity_files = Vec::new();
    let unnamed = connect(&host, &with_agent()).await.err();
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(empty.contains("does not hold it"), "{empty}");
    assert_eq!((named, unnamed), (None, None));
}

#[tokio::test]
async fn connecting_is_tried_again_only_where_it_helps() {
    let Some(sshd) = Sshd::start("") else { return };
    sshd.know(&format!("* {}", sshd.read("host.pub")));
    let mut host = sshd.host();
    let busy = Wire::to(sshd.port, 2).await;
    host.port = Some(busy.port);
    connect(&host, &nobody()).await.unwrap();

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    host.port = Some(silent.local_addr().unwrap().port());
    host.connect_timeout = Some(1);
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("fell silent"), "{text}");
    drop(silent);
    let started = Instant::now();
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("refused") && text.contains("is sshd running"), "{text}");
    assert!(started.elapsed() < Duration::from_millis(500));
    host.address = "no-such-host.invalid".into();
    let text = sshd.refusal(&host, &nobody()).await;
    assert!(text.contains("cannot resolve no-such-host.invalid"), "{text}");
}

#[tokio::test]
async fn a_host_that_runs_something_else_is_told_apart() {
    let Some(sshd) = Sshd::start("") else { return };
    let key = sshd.read("authorized_keys");
    for (forced, said) in [
        // It echoes what it is sent: no answer.
        ("cat", "did not start"),
        ("cat >&2", "did not start"),
        // A shell takes the script for its own.
        ("bash", "runs another command than it was told"),
        ("echo \\\"$SSH_ORIGINAL_COMMAND\\\" >&2; exit 1", "did not start"),
    ] {
        fs::write(sshd.path("authorized_keys"), format!("command=\"{forced}\" {key}")).unwrap();
        let session = sshd.session().await;
        let wrong = command("echo ran; cat").stdin(Stdin::Text("touch /nonexistent/x\n".into())).timeout(5);
        let failed = session.run(&wrong).await;
        let Err(Failure::Refused { stderr, .. }) = &failed else { panic!("{forced}: {failed:?}") };
        assert!(stderr.contains(said), "{forced}: {stderr}");
    }
    // One that runs what it was told is none of these.
    let passes = "exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"";
    fs::write(sshd.path("authorized_keys"), format!("command=\"{passes}\" {key}")).unwrap();
    assert_eq!(stdout(&sshd.session().await, &command("echo ran")).await, "ran\n");
}

#[tokio::test]
async fn nothing_of_a_profile_leads_libpq_elsewhere() {
    let Some(sshd) =
        Sshd::start("SetEnv HOME=DIR PGHOST=elsewhere PGOPTIONS=-csearch_path=x PGSERVICE=other")
    else {
        return;
    };
    let session = sshd.session().await;
    let left = command("env | grep '^PG' || echo none").env("PGPASSWORD", &Secret::new("ours"));
    assert_eq!(stdout(&session, &left).await, "PGPASSWORD=ours\n");
}
