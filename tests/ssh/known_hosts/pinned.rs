//! What only muster has or says: keys pinned in the inventory, and its words.

use std::fs;

use muster::ssh::Session;
use muster::ssh::settings::{Algorithms, Checking, Settings};

use super::oracle::{Keys, reach};
use crate::support::{Sshd, nobody};

/// Knows nothing but what is pinned.
fn pinned(sshd: &Sshd, keys: &[&str]) -> Settings {
    let mut settings = Settings::of(&sshd.host(), &nobody()).unwrap();
    settings.host_keys.user_files = vec![sshd.path("own")];
    fs::write(sshd.path("own"), "").unwrap();
    settings.host_keys.pinned = keys.iter().map(|key| (*key).to_owned()).collect();
    settings
}

fn error(result: Result<Session, String>) -> String {
    result.err().unwrap()
}

fn fingerprint(keys: &Keys, file: &str) -> String {
    let list = std::process::Command::new("ssh-keygen").arg("-lf").arg(keys.path(file)).output().unwrap();
    String::from_utf8(list.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_pinned_key_is_the_only_one() {
    let Some(keys) = Keys::new() else { return };
    let Some(sshd) = keys.sshd(&["ed", "ec", "rsa"], "") else { return };
    let (ed, rsa, other) = (keys.public("ed"), keys.public("rsa"), keys.public("other"));
    let shown = fingerprint(&keys, "ed");
    // Its type is asked for, and any of several will do.
    for pins in [&[ed.as_str()][..], &[&rsa], &[&other, &ed], &[&format!("{ed} root@db1")], &[&shown]] {
        reach(&pinned(&sshd, pins)).await.unwrap();
    }
    let text = error(reach(&pinned(&sshd, &[&other])).await);
    for word in ["pinned in the inventory", &shown, &fingerprint(&keys, "other")] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    let text = error(reach(&pinned(&sshd, &[&fingerprint(&keys, "rsa")])).await);
    assert!(text.contains("pin the whole key"), "{text}");
    let text = error(reach(&pinned(&sshd, &["db1 ssh-ed25519 AAAA"])).await);
    assert!(text.contains("cannot be read") && text.contains("SHA256:"), "{text}");

    // known_hosts is not asked, but for what it revokes; accept-new changes nothing.
    let line = format!("* {ed}\n");
    for (known, pin, is) in [
        (line.as_str(), &other, false),
        (&format!("* {other}\n"), &ed, true),
        (&format!("@revoked * {ed}\n"), &ed, false),
        (&format!("@revoked * {other}\n"), &ed, true),
        (&format!("@cert-authority * {other}\n"), &ed, true),
    ] {
        let mut settings = pinned(&sshd, &[pin]);
        settings.host_keys.checking = Checking::AcceptNew;
        fs::write(sshd.path("own"), known).unwrap();
        assert_eq!(reach(&settings).await.is_ok(), is, "{known}");
        assert_eq!(sshd.read("own"), known);
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_says_why() {
    let Some(keys) = Keys::new() else { return };
    for (name, sign, why) in [
        ("old", &["-h", "-n", "127.0.0.1", "-V", "20200101:20210101"][..], "expired at 2021-01-01"),
        ("else", &["-h", "-n", "db2,db3"], "is for db2, db3, not for 127.0.0.1"),
        ("any", &["-h"], "names no host"),
        ("user", &["-n", "127.0.0.1"], "a user's, not a host's"),
    ] {
        let Some(sshd) = keys.certified(name, "ed", "ca", sign) else { return };
        let settings = pinned(&sshd, &[]);
        fs::write(sshd.path("own"), format!("@cert-authority * {}\n", keys.public("ca"))).unwrap();
        let text = error(reach(&settings).await);
        for word in [why, &fingerprint(&keys, "ed"), "ssh-keygen -h -s"] {
            assert!(text.contains(word), "{word} is missing: {text}");
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_judged_by_are_errors() {
    let Some(keys) = Keys::new() else { return };
    let Some(sshd) = keys.sshd(&["ed"], "") else { return };
    let trusting = || {
        let settings = pinned(&sshd, &[]);
        fs::write(sshd.path("own"), format!("* {}\n", keys.public("ed"))).unwrap();
        settings
    };
    reach(&trusting()).await.unwrap();

    // A directory in the place of a file, as nothing is unreadable to root; ssh goes on without it.
    let mut settings = trusting();
    settings.host_keys.global_files = vec![keys.path("")];
    assert!(error(reach(&settings).await).contains("cannot read"));

    let krl = sshd.path("krl");
    let made =
        std::process::Command::new("ssh-keygen").arg("-kqf").arg(&krl).arg(keys.path("other.pub")).status();
    assert!(made.unwrap().success());
    for (file, why) in [(krl, "KRL"), (sshd.path("none"), "No such file"), (keys.path("ed"), "line 1")] {
        let mut settings = trusting();
        settings.host_keys.revoked = vec![file];
        let text = error(reach(&settings).await);
        assert!(text.contains(why) && text.contains("RevokedHostKeys"), "{text}");
    }

    let mut settings = trusting();
    settings.algorithms = Algorithms { host_keys: Some(vec!["ssh-rsa".into()]), ..Algorithms::default() };
    let text = error(reach(&settings).await);
    assert!(text.contains("ssh-rsa") && text.contains("rsa-sha2-512"), "{text}");
}
