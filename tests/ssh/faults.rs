//! What goes wrong on the way, and servers that mean no good: every run ends, soon and with a reason.

use std::fs;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster::command::{Command, Failure, RunAs, Stdin};
use muster::formation::{Host, NodeName};
use muster::ssh::settings::{Jumps, Settings};
use muster::ssh::{Credentials, Overrides, Session, Transport};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{Sshd, connect, keygen, nobody};

fn command(script: &'static str) -> Command {
    Command::new(RunAs::Login, script)
}

/// A host at another port than its sshd's, whose key is known all the same.
fn at(sshd: &Sshd, port: u16) -> Host {
    sshd.know(&format!("* {}", sshd.read("host.pub")));
    Host { port: Some(port), ..sshd.host() }
}

/// What a relay does once so many bytes have gone through it, both ways together.
#[derive(Clone, Copy)]
enum After {
    Close(u64),
    /// Passes nothing on any more, and says nothing.
    Stall(u64),
}

/// Takes connections for `port` and fails them; the port it listens on.
async fn relay(port: u16, after: After) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move {
                let passed = Arc::new(AtomicU64::new(0));
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let up = pass(near_read, far_write, passed.clone(), after);
                let down = pass(far_read, near_write, passed, after);
                // Whichever ends first takes both connections with it.
                tokio::select! { () = up => (), () = down => () }
            });
        }
    });
    own
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: Arc<AtomicU64>,
    after: After,
) {
    let mut buffer = vec![0; 512];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passed = passed.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
        match after {
            After::Close(limit) if passed > limit => return,
            After::Stall(limit) if passed > limit => std::future::pending().await,
            After::Close(_) | After::Stall(_) => (),
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_before_the_end_is_unreachable() {
    let Some(sshd) = Sshd::start("") else { return };
    // A whole login is some 3 kB: the cuts fall into the banner, the key exchange and the authentication.
    for limit in (10..2800).step_by(279) {
        let mut host = at(&sshd, relay(sshd.port, After::Close(limit)).await);
        host.connect_timeout = Some(1);
        let started = Instant::now();
        match connect(&host, &nobody()).await {
            Err(Failure::Unreachable { reason, .. }) => assert!(
                ["turns connections away", "fell silent", "hung up", "no SSH session", "closed", "refuses"]
                    .iter()
                    .any(|words| reason.contains(words)),
                "{limit}: {reason}"
            ),
            Err(other) => panic!("{limit}: {other:?}"),
            Ok(_) => panic!("{limit}: connected"),
        }
        assert!(started.elapsed() < Duration::from_secs(4), "{limit}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_while_connecting_is_given_up() {
    let Some(sshd) = Sshd::start("") else { return };
    for limit in [10, 1200, 2500] {
        let mut host = at(&sshd, relay(sshd.port, After::Stall(limit)).await);
        host.connect_timeout = Some(1);
        let started = Instant::now();
        let failed = connect(&host, &nobody()).await.err().unwrap();
        assert!(matches!(failed, Failure::Unreachable { .. }), "{limit}: {failed:?}");
        assert!(started.elapsed() < Duration::from_secs(4), "{limit}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_leaves_the_old_one() {
    let Some(sshd) = Sshd::start("") else { return };
    let target = sshd.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "old").unwrap();
    let file = muster::step::File {
        path: target.join("file").display().to_string(),
        content: muster::step::Content::Text("new\n".repeat(1_000_000)),
        owner: "root".into(),
        mode: 0o600,
        before: None,
        check: muster::step::Check::Nothing,
        undo: None,
    };
    for limit in [20_000, 700_000, 3_900_000] {
        let host = at(&sshd, relay(sshd.port, After::Close(limit)).await);
        let session = connect(&host, &nobody()).await.unwrap();
        let failed = session.run(&file.command()).await;
        assert!(matches!(failed, Err(Failure::Lost { .. })), "{limit}: {failed:?}");
    }
    // The last script ends a moment after its connection.
    let patience = Instant::now() + Duration::from_secs(5);
    let left = || fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    while left().len() > 1 && Instant::now() < patience {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(left(), ["file"]);
    assert!(fs::read_to_string(target.join("file")).unwrap() == "old", "half a file was moved into place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_peer_is_noticed() {
    let Some(sshd) = Sshd::start("") else { return };
    let host = at(&sshd, relay(sshd.port, After::Stall(8_000)).await);
    let mut settings = Settings::of(&host, &nobody()).unwrap();
    (settings.alive_interval, settings.alive_count_max) = (1, 2);
    let session = Session::reach(&NodeName::from("node"), &settings, &nobody(), 60).await.unwrap();
    let started = Instant::now();
    let lost = session.run(&command("sleep 30; cat").stdin(Stdin::Text("x".repeat(100_000)))).await;
    let Err(Failure::Lost { reason }) = lost else { panic!("{lost:?}") };
    assert!(reason.contains("has not answered"), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_reading_costs_its_command_alone() {
    let Some(sshd) = Sshd::start("") else { return };
    let host = at(&sshd, relay(sshd.port, After::Stall(300_000)).await);
    let session = connect(&host, &nobody()).await.unwrap();
    let started = Instant::now();
    let upload = command("cat >/dev/null").stdin(Stdin::Binary(vec![b'x'; 3_000_000])).timeout(2);
    assert_eq!(session.run(&upload).await, Err(Failure::TimedOut { seconds: 2 }));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    // Nor does saying goodbye wait for it.
    timeout(Duration::from_secs(2), session.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_anew_under_load() {
    let Some(sshd) = Sshd::start("RekeyLimit 1M") else { return };
    let session = sshd.session().await;
    let bytes: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let echo = command("cat").stdin(Stdin::Binary(bytes.clone()));
    let output = session.run(&echo).await.unwrap();
    assert!(output.stdout == bytes, "20 MB there and back differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn much_output_does_not_fill_the_memory_and_bytes_are_bytes() {
    let Some(sshd) = Sshd::start("") else { return };
    let session = sshd.session().await;
    let before = resident();
    let output = session.capture(&command("head -c 268435456 /dev/zero").timeout(120)).await.unwrap();
    assert_eq!((output.status, output.stdout.len()), (0, 256 << 20));
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} kB more in memory");
    let bytes = session.run(&command(r"printf '\377\376\000x'; printf '\377' >&2")).await.unwrap();
    assert_eq!((&bytes.stdout[..], bytes.stderr.as_str()), (&b"\xff\xfe\x00x"[..], "\u{fffd}"));
}

/// Of this process, in kB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changed_between_two_runs_is_refused() {
    let Some(sshd) = Sshd::start("") else { return };
    let before = sshd.read("known_hosts");
    sshd.session().await.close().await;
    keygen(&sshd.path("second"), "ed25519", "");
    let Some(impostor) = Sshd::start(&format!("HostKey {}", sshd.path("second").display())) else { return };
    // The same name and port, answered by another machine: as after a reinstallation.
    let host = Host { port: Some(impostor.port), ..sshd.host() };
    sshd.know(&before.replace(&sshd.port.to_string(), &impostor.port.to_string()));
    let text = sshd.refusal(&host, &nobody()).await;
    let old = fingerprint(&sshd, "host.pub");
    assert!(
        text.contains("has changed") && text.contains(&old) && text.matches("SHA256:").count() == 2,
        "{text}"
    );
    assert!(text.contains("known_hosts:1"), "{text}");
    assert_eq!(impostor.read("log").matches("publickey").count(), 0, "no key was offered");
}

fn fingerprint(sshd: &Sshd, file: &str) -> String {
    let output = std::process::Command::new("ssh-keygen").arg("-lf").arg(sshd.path(file)).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// One sshd that turns connections away at random stands for two hundred.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_hosts_behind_one_bastion_all_answer() {
    let Some(bastion) = Sshd::start("MaxStartups 10:30:100") else { return };
    let Some(target) = Sshd::start("MaxStartups 10:30:100\nListenAddress 0.0.0.0") else { return };
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    let keys = [bastion.read("host.pub"), target.read("host.pub")];
    let known: String = keys.iter().map(|key| format!("* {key}")).collect();
    fs::write(home.path().join(".ssh/known_hosts"), known).unwrap();
    fs::copy(target.path("user"), home.path().join(".ssh/id_ed25519")).unwrap();
    fs::copy(target.path("user.pub"), bastion.path("authorized_keys")).unwrap();
    let credentials = Credentials::new("root", Some(home.path().to_owned()), None);
    let jumps: Jumps = format!("127.0.0.1:{}", bastion.port).parse().unwrap();
    let transport = Transport::new(credentials, Overrides { bastion: Some(jumps.0), ..Overrides::default() });
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=200 {
        let transport = transport.clone();
        let host = Host {
            address: format!("127.0.1.{number}"),
            identity_files: Vec::new(),
            known_hosts: None,
            connect_timeout: Some(40),
            ..target.host()
        };
        tasks.spawn(async move {
            let name = NodeName::from(host.address.as_str());
            let session = transport.connect(&name, &host).await.unwrap();
            let output = session.run(&command("echo \"$SSH_CONNECTION\"")).await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains(&format!(" {} ", host.address)), "{text}");
            session.close().await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    eprintln!("200 hosts: {:?}", started.elapsed());
    assert_eq!(bastion.read("log").matches("Accepted publickey").count(), 1);
    assert_eq!(target.read("log").matches("Accepted publickey").count(), 200);
    // That sshd did turn some away is what makes this a test.
    assert!(target.read("log").contains("MaxStartups"), "nobody was turned away");
}

/// Says the bytes again and again to whoever connects, whatever they say.
async fn shouter(first: &'static [u8], then: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = stream.write_all(first).await;
                while said.is_ok() && !then.is_empty() {
                    said = stream.write_all(then).await;
                    tokio::task::yield_now().await;
                }
                sleep(Duration::from_secs(30)).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_none_cannot_hold_a_run() {
    let Some(sshd) = Sshd::start("") else { return };
    let id = b"SSH-2.0-x\r\n";
    for (first, then) in [
        (&b""[..], &b"a banner line\r\n"[..]),
        (b"", &[b'x'; 4096]),
        (b"", &[0; 4096]),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
        (id, &[0xff; 4096]),
        (id, &[0; 4096]),
        (id, &[b'x'; 4096]),
        // A packet of 35,000 bytes that never comes.
        (b"SSH-2.0-x\r\n\x00\x00\x88\xb8\x04", b""),
        (b"SSH-1.5-x\r\n", b""),
        (id, b""),
        (b"\xff\xfe\x00\n", b"\n"),
    ] {
        let mut host = at(&sshd, shouter(first, then).await);
        host.connect_timeout = Some(1);
        let before = resident();
        let started = Instant::now();
        let failed = connect(&host, &nobody()).await.err().unwrap();
        assert!(matches!(failed, Failure::Unreachable { .. }), "{failed:?}");
        assert!(started.elapsed() < Duration::from_secs(4), "{first:?}: {:?}", started.elapsed());
        assert!(resident().saturating_sub(before) < 32 * 1024, "{first:?}: {} kB more", resident() - before);
    }
    // Nobody listens, and somebody who never accepts.
    let full = StdListener::bind("127.0.0.1:0").unwrap();
    let mut host = at(&sshd, full.local_addr().unwrap().port());
    host.connect_timeout = Some(1);
    assert!(connect(&host, &nobody()).await.is_err());
}
