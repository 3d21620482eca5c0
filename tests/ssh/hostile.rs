//! Hosts that let one in and then do what no sshd does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::command::{Command, Failure, RunAs};
use muster::formation::{Host, NodeName};
use muster::ssh::settings::Settings;
use muster::ssh::{Credentials, Session};
use russh::keys::Algorithm;
use russh::keys::ssh_key::{LineEnding, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session as Server, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// What the host does when it is asked for a command.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Takes the request and never says another word.
    Nothing,
    Refuses,
    /// Closes without a status.
    CloseOnly,
    /// A status of 0 before anything ran.
    LiesAboutTheEnd,
    /// Opens channels of every kind to muster, then answers.
    OpensChannels,
    /// Standard error without end.
    Shouts,
    /// Hangs up.
    Disconnects,
}

struct Stranger {
    does: Does,
}

impl Handler for Stranger {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Server,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Server,
    ) -> Result<(), Self::Error> {
        match self.does {
            Does::Nothing => session.channel_success(channel)?,
            Does::Refuses => session.channel_failure(channel)?,
            Does::CloseOnly => {
                session.channel_success(channel)?;
                session.close(channel)?;
            }
            Does::LiesAboutTheEnd => {
                session.channel_success(channel)?;
                session.exit_status_request(channel, 0)?;
                session.close(channel)?;
            }
            Does::OpensChannels => {
                session.channel_success(channel)?;
                let handle = session.handle();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    for round in 0..50 {
                        taken.extend(handle.channel_open_agent().await.err().is_none().then_some("agent"));
                        let forwarded = handle.channel_open_forwarded_tcpip("a", round, "b", 1).await;
                        taken.extend(forwarded.is_ok().then_some("tcpip"));
                        let x11 = handle.channel_open_x11("a", 1).await;
                        taken.extend(x11.is_ok().then_some("x11"));
                        let own = handle.channel_open_session().await;
                        taken.extend(own.is_ok().then_some("session"));
                    }
                    let _ = handle.extended_data(channel, 1, format!("taken: {taken:?}").into_bytes()).await;
                    let _ = handle.exit_status_request(channel, 3).await;
                    let _ = handle.close(channel).await;
                });
            }
            Does::Shouts => {
                session.channel_success(channel)?;
                let handle = session.handle();
                tokio::spawn(async move {
                    while handle.extended_data(channel, 1, vec![b'x'; 30_000]).await.is_ok() {}
                });
            }
            Does::Disconnects => {
                session.disconnect(russh::Disconnect::ByApplication, "\x1b[31mgo away", "")?;
            }
        }
        Ok(())
    }
}

/// A session on such a host.
async fn session(does: Does) -> Session {
    let mut random = rand::rng();
    let key = PrivateKey::random(&mut random, Algorithm::Ed25519).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    std::fs::write(
        dir.path().join("known_hosts"),
        format!("[127.0.0.1]:{port} {}\n", key.public_key().to_openssh().unwrap()),
    )
    .unwrap();
    std::fs::write(dir.path().join("id"), key.to_openssh(LineEnding::LF).unwrap()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.path().join("id"), private).unwrap();
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(1),
        ..Config::default()
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let running = russh::server::run_stream(config.clone(), stream, Stranger { does }).await;
            tokio::spawn(async move {
                if let Ok(running) = running {
                    let _ = running.await;
                }
            });
        }
    });
    let path = |file: &str| dir.path().join(file).display().to_string();
    let host = Host {
        port: Some(port),
        user: Some("root".into()),
        identity_files: vec![path("id")],
        known_hosts: Some(path("known_hosts")),
        ..Host::named("127.0.0.1")
    };
    let nobody = Credentials::new("root", None, None);
    let settings = Settings::of(&host, &nobody).unwrap();
    Session::reach(&NodeName::from("node"), &settings, &nobody, 2).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_host_does_a_command_ends_and_says_how() {
    for does in [
        Does::Nothing,
        Does::Refuses,
        Does::CloseOnly,
        Does::LiesAboutTheEnd,
        Does::OpensChannels,
        Does::Shouts,
        Does::Disconnects,
    ] {
        let session = session(does).await;
        let started = Instant::now();
        let command = Command::new(RunAs::Login, "echo done");
        let result = timeout(Duration::from_secs(15), session.run(&command)).await.unwrap();
        let failure = result.expect_err("no command ran");
        let said = format!("{failure:?}");
        match (does, &failure) {
            (Does::Nothing | Does::Shouts, Failure::TimedOut { seconds: 2 }) => (),
            (Does::Refuses, Failure::Refused { status: 255, .. }) => assert!(said.contains("refuses to run")),
            (Does::CloseOnly, Failure::Lost { .. }) => assert!(said.contains("did not say how")),
            // The mark did not come: what was said is worth nothing.
            (Does::LiesAboutTheEnd, Failure::Refused { status: 255, .. }) => {
                assert!(said.contains("did not start"), "{said}");
            }
            (Does::OpensChannels, Failure::Refused { .. }) => assert!(said.contains("taken: []"), "{said}"),
            (Does::Disconnects, Failure::Lost { reason }) => assert!(reason.contains("go away"), "{said}"),
            (does, other) => panic!("{does:?}: {other:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(8), "{does:?}: {:?}", started.elapsed());
        timeout(Duration::from_secs(2), session.close()).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
}
