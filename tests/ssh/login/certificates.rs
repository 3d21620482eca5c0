//! Certificates of users.

use std::fs;

use muster::ssh::settings::{Origin, Settings};

use super::setup::{Agent, has, key, reach, refusal, run, settings, with_keys};
use crate::support::{Sshd, keygen, nobody};

/// An sshd that trusts an authority and no key. The authority signs `user` for root, for half an hour.
fn start() -> Option<Sshd> {
    let sshd = Sshd::start("TrustedUserCAKeys DIR/ca.pub")?;
    key(&sshd, "ca");
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    Some(sshd)
}

fn certify(sshd: &Sshd, file: &str, principal: &str, validity: &str) {
    let path = |file: &str| sshd.path(file).display().to_string();
    run(
        "ssh-keygen",
        &["-q", "-s", &path("ca"), "-I", "ana's", "-n", principal, "-V", validity, &path(file)],
    );
}

#[tokio::test]
async fn certificates_log_in_from_files_and_agents() {
    let Some(sshd) = start() else { return };
    has(&refusal(&with_keys(&sshd, &["user"], Origin::Inventory), &nobody()).await, &["permission denied"]);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (name, moved) = (format!("key_{kind}"), format!("moved_{kind}"));
        keygen(&sshd.path(&name), kind, "");
        certify(&sshd, &format!("{name}.pub"), "root", "-5m:+30m");
        // Beside the key.
        let file = with_keys(&sshd, &[&name], Origin::Config);
        assert_eq!(reach(&file, &nobody()).await, Ok(()), "{kind}");
        // Named, the key in a file.
        fs::rename(sshd.path(&format!("{name}-cert.pub")), sshd.path(&moved)).unwrap();
        has(&refusal(&file, &nobody()).await, &["permission denied"]);
        let named = Settings { certificate_files: vec![sshd.path(&moved)], ..file };
        assert_eq!(reach(&named, &nobody()).await, Ok(()), "{kind}");
        // Named, the key in the agent.
        let agent = Agent::start(&sshd);
        agent.add(&sshd.path(&name));
        let held =
            Settings { identity_files: Vec::new(), identity_agent: Some(agent.socket.clone()), ..named };
        assert_eq!(reach(&held, &nobody()).await, Ok(()), "{kind}");
        assert_eq!(
            reach(&Settings { identities_only: true, ..held.clone() }, &nobody()).await,
            Ok(()),
            "{kind}"
        );
        // Both in the agent, and nothing named.
        fs::rename(sshd.path(&moved), sshd.path(&format!("{name}-cert.pub"))).unwrap();
        agent.add(&sshd.path(&name));
        let unnamed = Settings { identity_agent: Some(agent.socket.clone()), ..settings(&sshd) };
        assert_eq!(reach(&unnamed, &nobody()).await, Ok(()), "{kind}");
        drop(agent);
        fs::remove_file(sshd.path("agent")).unwrap();
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let Some(sshd) = start() else { return };
    key(&sshd, "late");
    certify(&sshd, "late.pub", "root", "20200101:20200201");
    let text = refusal(&with_keys(&sshd, &["late"], Origin::Config), &nobody()).await;
    has(&text, &["late (certificate ana's for root; it expired at 2020-0"]);
    key(&sshd, "other");
    certify(&sshd, "other.pub", "bob", "-5m:+30m");
    let text = refusal(&with_keys(&sshd, &["other"], Origin::Config), &nobody()).await;
    has(&text, &["other (certificate ana's for bob; not for root)"]);
    let alone = Settings { certificate_files: vec![sshd.path("other-cert.pub")], ..settings(&sshd) };
    has(&refusal(&alone, &nobody()).await, &["other-cert.pub: nobody holds its private key"]);
}
