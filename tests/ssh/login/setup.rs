//! What the tests have in common: keys, agents, programs that answer, and an sshd that knows a password.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use muster::command::Failure;
use muster::formation::NodeName;
use muster::ssh::settings::{IdentityFile, Origin, Settings};
use muster::ssh::{Asker, Credentials, Session};

use crate::support::{Sshd, keygen, nobody};

/// The password that [`with_password`] gives to root.
pub(crate) const PASSWORD: &str = "correct horse";

/// Settings that name no key.
pub(crate) fn settings(sshd: &Sshd) -> Settings {
    let mut host = sshd.host();
    host.identity_files = Vec::new();
    Settings::of(&host, &nobody()).unwrap()
}

pub(crate) fn with_keys(sshd: &Sshd, files: &[&str], origin: Origin) -> Settings {
    let identity = |file: &&str| IdentityFile { path: sshd.path(file), origin };
    Settings { identity_files: files.iter().map(identity).collect(), ..settings(sshd) }
}

pub(crate) async fn reach(settings: &Settings, credentials: &Credentials) -> Result<(), Failure> {
    let session = Session::reach(&NodeName::from("node"), settings, credentials, 20).await?;
    session.close().await;
    Ok(())
}

/// Why nobody gets in: reason and hint in one text.
pub(crate) async fn refusal(settings: &Settings, credentials: &Credentials) -> String {
    match reach(settings, credentials).await {
        Err(Failure::Unreachable { reason, hint }) => format!("{reason}\n{hint}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}

/// Lets in whoever has one of these keys, and nobody else.
pub(crate) fn authorize(sshd: &Sshd, files: &[&str]) {
    let keys: String = files.iter().map(|file| sshd.read(&format!("{file}.pub"))).collect();
    fs::write(sshd.path("authorized_keys"), keys).unwrap();
}

pub(crate) fn key(sshd: &Sshd, file: &str) {
    keygen(&sshd.path(file), "ed25519", "");
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Process::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program for `SSH_ASKPASS`: it writes every question to the file `asked`, then does what `script` says.
pub(crate) fn askpass(sshd: &Sshd, script: &str) -> PathBuf {
    let path = sshd.path("askpass");
    let asked = sshd.path("asked");
    fs::write(&path, format!("#!/bin/sh\necho \"$1\" >>'{}'\n{script}\n", asked.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let _ = fs::remove_file(asked);
    path
}

pub(crate) fn asked(sshd: &Sshd) -> String {
    fs::read_to_string(sshd.path("asked")).unwrap_or_default()
}

/// Somebody who answers as the script does.
pub(crate) fn somebody(sshd: &Sshd, script: &str) -> Credentials {
    nobody().asking(Asker::program(askpass(sshd, script)))
}

/// A real agent.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    pub(crate) fn start(sshd: &Sshd) -> Agent {
        let socket = sshd.path("agent");
        let child = Process::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent comes with ssh-keygen");
        // Its socket is there a moment before anybody listens.
        until(&socket, || UnixStream::connect(&socket).is_ok());
        Agent { child, socket }
    }

    pub(crate) fn add(&self, path: &Path) {
        let added = Process::new("ssh-add").arg(path).env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        assert!(added.status.success(), "{added:?}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_for(path: &Path) {
    until(path, || path.exists());
}

fn until(path: &Path, there: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(5);
    while !there() {
        assert!(Instant::now() < patience, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An sshd in a file system of its own, where root has [`PASSWORD`] and PAM does what `pam` says. `None`, said
/// loudly, where this machine does not let it.
pub(crate) fn with_password(extra: &str, pam: &str) -> Option<Sshd> {
    let may = Process::new("unshare").args(["-m", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) || !Path::new("/etc/pam.d/sshd").exists() {
        eprintln!("LEFT OUT: this test needs unshare -m, and PAM; nothing was tested");
        return None;
    }
    Sshd::start_by(extra, |dir| {
        let hash = run("openssl", &["passwd", "-6", PASSWORD]);
        fs::write(dir.join("shadow"), format!("root:{}:19000:0:99999:7:::\n", hash.trim())).unwrap();
        fs::write(dir.join("pam"), pam).unwrap();
        let script = "mount --bind \"$0/shadow\" /etc/shadow && mount --bind \"$0/pam\" /etc/pam.d/sshd && \
                      exec /usr/sbin/sshd \"$@\"";
        let mut process = Process::new("unshare");
        process.args(["-m", "sh", "-c", script]).arg(dir);
        process
    })
}
