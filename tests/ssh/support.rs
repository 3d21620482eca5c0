//! A real sshd of our own: loopback, a port nobody uses, everything it needs in a temporary directory.

use std::fs;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use muster::formation::{Host, NodeName};
use muster::ssh::settings::Settings;
use muster::ssh::{Credentials, Session};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SSHD: &str = "/usr/sbin/sshd";

pub(crate) struct Sshd {
    child: Child,
    dir: TempDir,
    pub(crate) port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// `None`, said loudly, where there is no sshd or no right to log in as root.
    pub(crate) fn start(extra: &str) -> Option<Sshd> {
        Sshd::start_by(extra, |_| Process::new(SSHD))
    }

    /// As [`Sshd::start`], by another command, which is given the directory and gets sshd's arguments.
    pub(crate) fn start_by(extra: &str, launch: impl FnOnce(&Path) -> Process) -> Option<Sshd> {
        let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !root || !Path::new(SSHD).exists() {
            eprintln!("LEFT OUT: this test needs root and {SSHD}; nothing was tested");
            return None;
        }
        let _ = fs::create_dir_all("/run/sshd");
        let dir = tempfile::tempdir().unwrap();
        let path = |file: &str| dir.path().join(file);
        keygen(&path("host"), "ed25519", "");
        keygen(&path("user"), "ed25519", "");
        fs::copy(path("user.pub"), path("authorized_keys")).unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // What the machine's own root has in its .bashrc is no part of the test.
        let home = if extra.contains("SetEnv") { "" } else { "SetEnv HOME=DIR" };
        let listen = if extra.contains("ListenAddress") { "" } else { "ListenAddress 127.0.0.1" };
        let config = format!(
            "{extra}\n{home}\nPort {port}\n{listen}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             KbdInteractiveAuthentication no\nMaxStartups 100\n",
            dir.path().display()
        );
        fs::write(path("sshd_config"), config.replace("DIR", &dir.path().display().to_string())).unwrap();
        let child = launch(dir.path())
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .stderr(fs::File::create(path("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sshd = Sshd { child, dir, port };
        let patience = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < patience, "{}", fs::read_to_string(sshd.path("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd.know(&format!("[127.0.0.1]:{port} {}", sshd.read("host.pub")));
        Some(sshd)
    }

    /// Ends every connection, as a crash would; new ones are taken.
    pub(crate) fn kill_sessions(&self) {
        let parent = self.child.id().to_string();
        let killed = Process::new("pkill").args(["-KILL", "-P", &parent]).status().unwrap();
        assert!(killed.success());
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Replaces the known hosts.
    pub(crate) fn know(&self, text: &str) {
        fs::write(self.path("known_hosts"), text).unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            port: Some(self.port),
            user: Some("root".into()),
            identity_files: vec![self.path("user").display().to_string()],
            known_hosts: Some(self.path("known_hosts").display().to_string()),
            connect_timeout: Some(10),
            command_timeout: 20,
            // What this machine and its user have is no part of a test.
            ssh_config: Some("none".into()),
            ..Host::named("127.0.0.1")
        }
    }

    pub(crate) async fn session(&self) -> Session {
        connect(&self.host(), &nobody()).await.unwrap()
    }

    /// Why the host cannot be connected to: reason and hint in one text.
    pub(crate) async fn refusal(&self, host: &Host, credentials: &Credentials) -> String {
        match connect(host, credentials).await {
            Err(muster::command::Failure::Unreachable { reason, hint }) => format!("{reason}\n{hint}"),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("connected"),
        }
    }
}

pub(crate) async fn connect(
    host: &Host,
    credentials: &Credentials,
) -> Result<Session, muster::command::Failure> {
    Session::reach(
        &NodeName::from("node"),
        &Settings::of(host, credentials)?,
        credentials,
        host.command_timeout,
    )
    .await
}

/// Neither home nor agent.
pub(crate) fn nobody() -> Credentials {
    Credentials::new("root", None, None)
}

pub(crate) fn keygen(path: &Path, kind: &str, passphrase: &str) {
    // Its own default for RSA, 3072, takes a second or two to find the primes for.
    let bits: &[&str] = if kind == "rsa" { &["-b", "2048"] } else { &[] };
    let made = Process::new("ssh-keygen")
        .args(bits)
        .args(["-q", "-C", "test", "-t", kind, "-N", passphrase, "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

/// A way to sshd that can be cut.
pub(crate) struct Wire {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Wire {
    /// The first `turned_away` connections are accepted and closed, as sshd does over `MaxStartups`.
    pub(crate) async fn to(port: u16, turned_away: usize) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            for _ in 0..turned_away {
                drop(listener.accept().await.unwrap());
            }
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        Wire { port: own, task }
    }

    pub(crate) fn cut(&self) {
        self.task.abort();
    }
}
