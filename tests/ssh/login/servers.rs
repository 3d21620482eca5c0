//! Hosts of this year and of ten years ago, and hosts without OpenSSH.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use muster::ssh::settings::{Algorithms, Origin, Settings};

use super::setup::{has, reach, refusal, run, with_keys};
use crate::support::{Sshd, keygen, nobody};

#[tokio::test]
async fn a_host_with_modern_algorithms_only() {
    let Some(sshd) = Sshd::start(
        "KexAlgorithms curve25519-sha256\nCiphers chacha20-poly1305@openssh.com,aes128-gcm@openssh.com\n\
         MACs hmac-sha2-512-etm@openssh.com\nHostKeyAlgorithms ssh-ed25519\nPubkeyAcceptedAlgorithms ssh-ed25519",
    ) else {
        return;
    };
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    assert_eq!(reach(&settings, &nobody()).await, Ok(()));
    let list = |names: &str| Some(names.split(',').map(str::to_owned).collect());
    let wanted = |algorithms| Settings { algorithms, ..settings.clone() };
    let gcm = Algorithms { ciphers: list("aes128-gcm@openssh.com"), ..Algorithms::default() };
    assert_eq!(reach(&wanted(gcm), &nobody()).await, Ok(()));
    let other = Algorithms { kex: list("ecdh-sha2-nistp256"), ..Algorithms::default() };
    has(&refusal(&wanted(other), &nobody()).await, &["share no", "curve25519-sha256"]);
    let unknown = Algorithms { ciphers: list("arcfour"), ..Algorithms::default() };
    has(&refusal(&wanted(unknown), &nobody()).await, &["Ciphers names nothing that muster knows: arcfour"]);
}

#[tokio::test]
async fn a_host_of_openssh_7_4() {
    let dir = tempfile::tempdir().unwrap();
    keygen(&dir.path().join("rsa"), "rsa", "");
    for kex in ["ecdh-sha2-nistp256", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group14-sha256"]
    {
        let extra = format!(
            "KexAlgorithms {kex}\nCiphers aes128-ctr\nMACs hmac-sha2-256\nHostKey {}/rsa\n\
             HostKeyAlgorithms rsa-sha2-256,ssh-rsa\nPubkeyAcceptedAlgorithms rsa-sha2-512,rsa-sha2-256,ssh-rsa",
            dir.path().display()
        );
        let Some(sshd) = Sshd::start(&extra) else { return };
        sshd.know(&format!("* {}", fs::read_to_string(dir.path().join("rsa.pub")).unwrap()));
        fs::copy(dir.path().join("rsa"), sshd.path("rsa")).unwrap();
        fs::copy(dir.path().join("rsa.pub"), sshd.path("authorized_keys")).unwrap();
        assert_eq!(reach(&with_keys(&sshd, &["rsa"], Origin::Inventory), &nobody()).await, Ok(()), "{kex}");
    }
}

#[tokio::test]
async fn a_host_with_sha1_and_cbc_only_has_to_be_asked_for() {
    let Some(sshd) =
        Sshd::start("KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes256-cbc\nMACs hmac-sha1")
    else {
        return;
    };
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    has(&refusal(&settings, &nobody()).await, &["share no"]);
    let list = |name: &str| Some(vec![name.to_owned()]);
    let algorithms = Algorithms {
        kex: list("diffie-hellman-group14-sha1"),
        ciphers: list("aes256-cbc"),
        macs: list("hmac-sha1"),
        ..Algorithms::default()
    };
    assert_eq!(reach(&Settings { algorithms, ..settings }, &nobody()).await, Ok(()));
}

#[tokio::test]
async fn dropbear() {
    // Only for its directory, known hosts and keys.
    let Some(sshd) = Sshd::start("") else { return };
    if !Path::new("/usr/sbin/dropbear").exists() {
        eprintln!(
            "LEFT OUT: this test needs /usr/sbin/dropbear (apt-get install dropbear-bin); nothing was tested"
        );
        return;
    }
    let path = |file: &str| sshd.path(file).display().to_string();
    run("dropbearkey", &["-t", "ed25519", "-f", &path("dropbear_key")]);
    let public = run("dropbearkey", &["-y", "-f", &path("dropbear_key")]);
    sshd.know(&format!("* {}\n", public.lines().find(|line| line.starts_with("ssh-")).unwrap()));
    // It looks for ~/.ssh/authorized_keys of root; in a file system of its own that is ours.
    keygen(&sshd.path("rsa"), "rsa", "");
    fs::create_dir_all(sshd.path("root/.ssh")).unwrap();
    fs::write(sshd.path("root/.ssh/authorized_keys"), sshd.read("user.pub") + &sshd.read("rsa.pub")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = "mount --bind \"$1/root\" /root && chmod 700 /root && chown -R 0:0 /root && \
                  exec dropbear -F -E -r \"$1/dropbear_key\" -p \"127.0.0.1:$2\" -P \"$1/pid\"";
    let mut dropbear = Process::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", &path(""), &port.to_string()])
        .stderr(fs::File::create(sshd.path("dropbear.log")).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut results = Vec::new();
    for file in ["user", "rsa"] {
        let settings = Settings { port, ..with_keys(&sshd, &[file], Origin::Inventory) };
        results.push(reach(&settings, &nobody()).await);
    }
    let _ = dropbear.kill();
    let _ = dropbear.wait();
    assert_eq!(results, [Ok(()), Ok(())], "{}", sshd.read("dropbear.log"));
}
