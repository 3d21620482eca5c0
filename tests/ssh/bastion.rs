//! Ways through bastions, proxies and none, against real sshds.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::Sshd;
use muster::command::{Command, Failure, RunAs};
use muster::formation::{Connection, Host, NodeName, Secret};
use muster::ssh::{Credentials, Overrides, Session, Transport};

fn command(script: &'static str) -> Command {
    Command::new(RunAs::Login, script)
}

async fn stdout(session: &Session, command: &Command) -> String {
    String::from_utf8(session.run(command).await.unwrap().stdout).unwrap()
}

/// A home whose ssh knows every one of these, and logs in with the first one's key.
struct Home(tempfile::TempDir);

impl Home {
    fn of(sshds: &[&Sshd]) -> Home {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let known: String = sshds.iter().map(|sshd| sshd.read("known_hosts")).collect();
        fs::write(home.path().join(".ssh/known_hosts"), known).unwrap();
        fs::copy(sshds[0].path("user"), home.path().join(".ssh/id_ed25519")).unwrap();
        for sshd in sshds {
            fs::copy(sshds[0].path("user.pub"), sshd.path("authorized_keys")).unwrap();
        }
        Home(home)
    }

    fn transport(&self, bastion: &str) -> Arc<Transport> {
        let credentials = Credentials::new("root", Some(self.0.path().to_owned()), None);
        let bastion =
            (!bastion.is_empty()).then(|| bastion.parse::<muster::ssh::settings::Jumps>().unwrap().0);
        Transport::new(credentials, Overrides { bastion, ..Overrides::default() })
    }
}

/// As the home's ssh reaches it: nothing but its address.
fn host(sshd: &Sshd) -> Host {
    Host { identity_files: Vec::new(), known_hosts: None, user: None, ..sshd.host() }
}

async fn connect(transport: &Arc<Transport>, host: &Host) -> Result<Session, Failure> {
    transport.connect(&NodeName::from("node"), host).await
}

async fn refusal(transport: &Arc<Transport>, host: &Host) -> String {
    match connect(transport, host).await {
        Err(Failure::Unreachable { reason, hint }) => format!("{reason}\n{hint}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("connected"),
    }
}

fn logins(sshd: &Sshd) -> usize {
    sshd.read("log").matches("Accepted publickey").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_behind_a_bastion_share_one_connection_to_it() {
    let (Some(bastion), Some(target)) = (Sshd::start(""), Sshd::start("")) else { return };
    let home = Home::of(&[&bastion, &target]);
    let transport = home.transport(&format!("127.0.0.1:{}", bastion.port));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (transport, host) = (transport.clone(), host(&target));
        tasks.spawn(async move {
            let session = connect(&transport, &host).await.unwrap();
            let said = stdout(&session, &command("echo \"$SSH_CONNECTION\"")).await;
            session.close().await;
            said
        });
    }
    while let Some(said) = tasks.join_next().await {
        assert!(said.unwrap().starts_with("127.0.0.1 "));
    }
    assert_eq!((logins(&bastion), logins(&target)), (1, 40));
    // The bastion itself is reached directly.
    let session = connect(&transport, &host(&bastion)).await.unwrap();
    assert_eq!(stdout(&session, &command("echo here")).await, "here\n");
    session.close().await;
    transport.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bastions_are_two_hops() {
    let (Some(outer), Some(inner), Some(target)) = (Sshd::start(""), Sshd::start(""), Sshd::start("")) else {
        return;
    };
    let home = Home::of(&[&outer, &inner, &target]);
    let way = format!("root@127.0.0.1:{},127.0.0.1:{}", outer.port, inner.port);
    let transport = home.transport(&way);
    let first = connect(&transport, &host(&target)).await.unwrap();
    let second = connect(&transport, &host(&target)).await.unwrap();
    for session in [&first, &second] {
        assert_eq!(stdout(session, &command("echo there")).await, "there\n");
    }
    assert_eq!((logins(&outer), logins(&inner), logins(&target)), (1, 1, 2));

    // What ends in the middle ends what is behind it, and is named.
    let waiting = command("sleep 20");
    let run = first.run(&waiting);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        inner.kill_sessions();
    };
    let (ended, ()) = tokio::join!(run, stop);
    let Err(Failure::Lost { reason }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains("bastion 127.0.0.1"), "{reason}");
    transport.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_bastion_is_named_and_asked_once() {
    let (Some(bastion), Some(target)) = (Sshd::start("AllowTcpForwarding no"), Sshd::start("")) else {
        return;
    };
    let home = Home::of(&[&bastion, &target]);
    let way = format!("127.0.0.1:{}", bastion.port);
    let said = refusal(&home.transport(&way), &host(&target)).await;
    assert!(
        said.contains("bastion 127.0.0.1 cannot connect") && said.contains("AllowTcpForwarding"),
        "{said}"
    );

    fs::write(bastion.path("authorized_keys"), "").unwrap();
    let transport = home.transport(&way);
    for _ in 0..3 {
        let said = refusal(&transport, &host(&target)).await;
        assert!(said.contains("bastion 127.0.0.1: the host refuses root"), "{said}");
    }
    // What sshd says once a connection, a moment after it.
    let refused = || bastion.read("log").matches("from authenticating user root").count();
    let patience = Instant::now() + Duration::from_secs(5);
    while refused() == 0 && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(refused(), 1, "{}", bastion.read("log"));
    assert_eq!(target.read("log").matches("authenticating").count(), 0);

    let nowhere = Sshd::start("").unwrap();
    let home = Home::of(&[&nowhere, &target]);
    let closed = Host { port: Some(1), ..host(&target) };
    let said = refusal(&home.transport(&format!("127.0.0.1:{}", nowhere.port)), &closed).await;
    assert!(said.contains("cannot connect to 127.0.0.1 port 1: connection refused"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_needs_no_ssh() {
    let transport = Transport::new(Credentials::new("root", None, None), Overrides::default());
    let host = Host { connection: Connection::Local, command_timeout: 20, ..Host::named("here") };
    let session = connect(&transport, &host).await.unwrap();
    let secret = Secret::new("a b$c");
    let given = command("printf '%s|%s|' \"$1\" \"$A\"; cat").args(["it's"]).env("A", &secret);
    let given = given.stdin(muster::command::Stdin::Text("rest".into()));
    assert_eq!(stdout(&session, &given).await, "it's|a b$c|rest");
    let environment = stdout(&session, &command("env | sed 's/=.*//' | sort")).await;
    assert!(!environment.contains("CARGO"), "{environment}");
    let failed = session.run(&command("echo why >&2; exit 3")).await;
    assert_eq!(failed, Err(Failure::Refused { status: 3, stderr: "why\n".into() }));
    let killed = session.run(&command("kill -9 $$")).await;
    assert!(matches!(killed, Err(Failure::Refused { status: 137, .. })), "{killed:?}");

    let started = Instant::now();
    let slow = session.run(&command("echo $$ >/dev/null; sleep 71.5").timeout(1)).await;
    assert_eq!(slow, Err(Failure::TimedOut { seconds: 1 }));
    assert!(started.elapsed() < Duration::from_secs(5));
    let left = session.run(&command("! pgrep -f '^sleep 71[.]5'")).await;
    assert!(left.is_ok(), "it still runs: {left:?}");

    let output = session.capture(&command("head -c 3000000 /dev/zero; exit 5")).await.unwrap();
    assert_eq!((output.status, output.stdout.len()), (5, 3_000_000));
    let too_much = session.run(&command("head -c 70000000 /dev/zero")).await;
    let Err(Failure::Refused { status: 255, stderr }) = too_much else { panic!("{too_much:?}") };
    assert!(stderr.contains("64 MiB"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_command_is_the_connection() {
    let (Some(bastion), Some(target)) = (Sshd::start(""), Sshd::start("")) else { return };
    let home = Home::of(&[&bastion, &target]);
    let through =
        |command: String| Host { ssh_options: vec![("ProxyCommand".to_owned(), command)], ..host(&target) };
    let ssh = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -p {} -W %h:%p %r@127.0.0.1",
        bastion.path("user").display(),
        home.0.path().join(".ssh/known_hosts").display(),
        bastion.port
    );
    let session = connect(&home.transport(""), &through(ssh)).await.unwrap();
    assert_eq!(stdout(&session, &command("echo there")).await, "there\n");
    let bytes = command("head -c 3000000 /dev/zero");
    assert_eq!(session.run(&bytes).await.unwrap().stdout.len(), 3_000_000);
    session.close().await;
    drop(session);

    let said = refusal(&home.transport(""), &through("echo no way >&2; exit 1".into())).await;
    assert!(said.contains("ProxyCommand") && said.contains("no way"), "{said}");
    let said = refusal(&home.transport(""), &through("/no/such/program %h".into())).await;
    assert!(said.contains("/no/such/program"), "{said}");
    let mut silent = through("sleep 20".into());
    silent.connect_timeout = Some(1);
    let started = Instant::now();
    assert!(refusal(&home.transport(""), &silent).await.contains("silent"));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_addresses_are_hosts_and_bastions() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("LEFT OUT: this machine has no IPv6");
        return;
    }
    let extra = "ListenAddress [::1]\nListenAddress 127.0.0.1";
    let (Some(bastion), Some(target)) = (Sshd::start(extra), Sshd::start(extra)) else { return };
    let home = Home::of(&[&bastion, &target]);
    let known: String = [&bastion, &target]
        .iter()
        .map(|sshd| format!("[::1]:{} {}", sshd.port, sshd.read("host.pub")))
        .collect();
    fs::write(home.0.path().join(".ssh/known_hosts"), known).unwrap();
    let host = Host { address: "::1".into(), ..host(&target) };
    let transport = home.transport(&format!("root@[::1]:{}", bastion.port));
    let session = connect(&transport, &host).await.unwrap();
    assert!(stdout(&session, &command("echo \"$SSH_CONNECTION\"")).await.starts_with("::1 "));
    assert_eq!((logins(&bastion), logins(&target)), (1, 1));
}
