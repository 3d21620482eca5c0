//! Keys in files.

use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::ssh::settings::{Algorithms, Origin, Settings};

use super::setup::{asked, authorize, has, key, reach, refusal, settings, somebody, with_keys};
use crate::support::{Sshd, keygen, nobody};

fn make(path: &Path, args: &[&str], passphrase: &str) {
    let made = Process::new("ssh-keygen")
        .args(["-q", "-N", passphrase, "-f"])
        .arg(path)
        .args(args)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test]
async fn every_kind_of_key_and_file_logs_in() {
    let Some(sshd) = Sshd::start("") else { return };
    const WORDS: &str = "secret words";
    let kinds: [(&str, &[&str], &str); 14] = [
        ("ed25519", &["-t", "ed25519"], ""),
        ("ed25519_locked", &["-t", "ed25519"], WORDS),
        ("ed25519_chacha", &["-t", "ed25519", "-Z", "chacha20-poly1305@openssh.com"], WORDS),
        ("p256", &["-t", "ecdsa", "-b", "256"], ""),
        ("p256_pem", &["-t", "ecdsa", "-b", "256", "-m", "PEM"], ""),
        ("p384", &["-t", "ecdsa", "-b", "384"], ""),
        ("p384_pkcs8", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"], ""),
        ("p384_pkcs8_locked", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"], WORDS),
        ("p521", &["-t", "ecdsa", "-b", "521"], ""),
        ("rsa", &["-t", "rsa", "-b", "2048"], ""),
        ("rsa_pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"], ""),
        ("rsa_pem_locked", &["-t", "rsa", "-b", "2048", "-m", "PEM"], WORDS),
        ("rsa_pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"], ""),
        ("rsa_pkcs8_locked", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"], WORDS),
    ];
    let answers = somebody(&sshd, "echo secret words");
    for (file, args, passphrase) in kinds {
        make(&sshd.path(file), args, passphrase);
        authorize(&sshd, &[file]);
        let settings = with_keys(&sshd, &[file], Origin::Inventory);
        assert_eq!(reach(&settings, &answers).await, Ok(()), "{file}");
    }
    assert_eq!(asked(&sshd).lines().count(), 5, "{}", asked(&sshd));
}

#[tokio::test]
async fn old_formats_that_hide_the_public_half_are_asked_for_first() {
    let Some(sshd) = Sshd::start("") else { return };
    make(&sshd.path("old"), &["-t", "rsa", "-b", "2048", "-m", "PEM"], "secret words");
    make(&sshd.path("older"), &["-t", "ecdsa", "-m", "PEM"], "secret words");
    authorize(&sshd, &["old", "older"]);
    std::fs::remove_file(sshd.path("old.pub")).unwrap();
    let answers = somebody(&sshd, "echo secret words");
    assert_eq!(reach(&with_keys(&sshd, &["old"], Origin::Config), &answers).await, Ok(()));
    let text = refusal(&with_keys(&sshd, &["older"], Origin::Inventory), &answers).await;
    has(&text, &["older", "ssh-keygen -p"]);
}

#[tokio::test]
async fn a_passphrase_is_asked_for_once_whatever_the_number_of_hosts() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen(&sshd.path("locked"), "ed25519", "secret words");
    keygen(&sshd.path("unwanted"), "ed25519", "other words");
    authorize(&sshd, &["locked"]);
    // Nobody asks for a key that the host does not want.
    let settings =
        Settings { connect_timeout: 3, ..with_keys(&sshd, &["unwanted", "locked"], Origin::Inventory) };
    // Slower than the limit for connecting: the time of a question does not count.
    let credentials = Arc::new(somebody(&sshd, "sleep 4; echo secret words"));
    let started = Instant::now();
    let logins: Vec<_> = (0..20)
        .map(|_| {
            let (settings, credentials) = (settings.clone(), credentials.clone());
            tokio::spawn(async move { reach(&settings, &credentials).await })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), Ok(()));
    }
    assert!(started.elapsed() > Duration::from_secs(4));
    assert_eq!(asked(&sshd), format!("Enter passphrase for key '{}': \n", sshd.path("locked").display()));
}

#[tokio::test]
async fn who_cannot_answer_is_told_what_to_do() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen(&sshd.path("locked"), "ed25519", "secret words");
    authorize(&sshd, &["locked"]);
    let settings = Settings { prompts: 2, ..with_keys(&sshd, &["locked"], Origin::Inventory) };
    let wrong = somebody(&sshd, "echo wrong words");
    has(&refusal(&settings, &wrong).await, &["locked", "the passphrase was wrong"]);
    // It stays wrong for the next host, who is not asked again.
    has(&refusal(&settings, &wrong).await, &["the passphrase was wrong"]);
    assert_eq!(asked(&sshd).lines().count(), 2);

    let batch = Settings { batch: true, ..settings.clone() };
    let text = refusal(&batch, &somebody(&sshd, "echo secret words")).await;
    has(&text, &["needs a passphrase", "no agent is running", "ssh-add"]);
    assert_eq!(asked(&sshd), "");
    has(&refusal(&settings, &nobody()).await, &["needs a passphrase", "ssh-add"]);

    let given_up = somebody(&sshd, "exit 1");
    has(&refusal(&settings, &given_up).await, &["its passphrase is not known"]);
    keygen(&sshd.path("other"), "ed25519", "secret words");
    authorize(&sshd, &["other"]);
    // Whoever gives up one question means all of them.
    let other = with_keys(&sshd, &["other"], Origin::Config);
    has(&refusal(&other, &given_up).await, &["other", "needs a passphrase"]);
    assert_eq!(asked(&sshd).lines().count(), 1);
    let missing = nobody().asking(muster::ssh::Asker::program("/no/such/askpass"));
    has(&refusal(&other, &missing).await, &["/no/such/askpass", "no such file"]);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_for_one_connection_serves_the_next() {
    let Some(sshd) = Sshd::start("LoginGraceTime 1") else { return };
    keygen(&sshd.path("locked"), "ed25519", "secret words");
    authorize(&sshd, &["locked"]);
    let slow = somebody(&sshd, "sleep 2; echo secret words");
    assert_eq!(reach(&with_keys(&sshd, &["locked"], Origin::Inventory), &slow).await, Ok(()));
    assert_eq!(asked(&sshd).lines().count(), 1);
}

#[tokio::test]
async fn files_of_the_configuration_may_be_missing_or_broken() {
    let Some(sshd) = Sshd::start("") else { return };
    key(&sshd, "right");
    authorize(&sshd, &["right"]);
    std::fs::write(sshd.path("broken"), "no key").unwrap();
    let files = ["missing", "broken", "right"];
    assert_eq!(reach(&with_keys(&sshd, &files, Origin::Config), &nobody()).await, Ok(()));
    let text = refusal(&with_keys(&sshd, &files, Origin::Inventory), &nobody()).await;
    has(&text, &["missing", "no such file"]);
    let text = refusal(&with_keys(&sshd, &["broken"], Origin::Config), &nobody()).await;
    has(&text, &["broken: it holds no SSH key"]);
    has(&refusal(&settings(&sshd), &nobody()).await, &["there is no key to log in as root"]);
}

#[tokio::test]
async fn rsa_signs_with_sha2_as_the_operator_wants() {
    let Some(sshd) = Sshd::start("PubkeyAcceptedAlgorithms rsa-sha2-256,rsa-sha2-512") else { return };
    make(&sshd.path("rsa"), &["-t", "rsa", "-b", "2048"], "");
    authorize(&sshd, &["rsa"]);
    let settings = with_keys(&sshd, &["rsa"], Origin::Inventory);
    assert_eq!(reach(&settings, &nobody()).await, Ok(()));
    let only = |name: &str| Settings {
        algorithms: Algorithms { public_keys: Some(vec![name.to_owned()]), ..Algorithms::default() },
        ..settings.clone()
    };
    assert_eq!(reach(&only("rsa-sha2-256"), &nobody()).await, Ok(()));
    assert_eq!(reach(&only("rsa-sha2-512"), &nobody()).await, Ok(()));
    has(&refusal(&only("ssh-rsa"), &nobody()).await, &["left out by PubkeyAcceptedAlgorithms"]);
    has(&refusal(&only("ssh-ed25519"), &nobody()).await, &["rsa", "left out by PubkeyAcceptedAlgorithms"]);
}
