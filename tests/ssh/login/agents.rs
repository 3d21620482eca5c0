//! Keys in agents.

use std::fs;

use muster::ssh::settings::{Origin, Settings};
use russh::keys::ssh_key::private::{KeypairData, SkEd25519};
use russh::keys::ssh_key::{LineEnding, PrivateKey};

use super::fake_agent::{FakeAgent, Token};
use super::setup::{Agent, asked, authorize, has, key, reach, refusal, settings, somebody, with_keys};
use crate::support::{Sshd, keygen, nobody};

fn with_agent(sshd: &Sshd, agent: &Agent) -> Settings {
    Settings { identity_agent: Some(agent.socket.clone()), ..settings(sshd) }
}

/// Wrong keys, then the right one.
fn full(sshd: &Sshd, agent: &Agent, wrong: usize) {
    for number in 0..wrong {
        let file = format!("wrong{number}");
        key(sshd, &file);
        agent.add(&sshd.path(&file));
    }
    key(sshd, "right");
    agent.add(&sshd.path("right"));
    authorize(sshd, &["right"]);
}

#[tokio::test]
async fn the_last_of_twelve_keys_logs_in_and_is_the_first_for_the_next_host() {
    let Some(sshd) = Sshd::start("LogLevel VERBOSE") else { return };
    let agent = Agent::start(&sshd);
    full(&sshd, &agent, 11);
    let settings = with_agent(&sshd, &agent);
    let credentials = nobody();
    assert_eq!(reach(&settings, &credentials).await, Ok(()));
    let connections = || sshd.read("log").matches("Connection from").count();
    let refusals = || sshd.read("log").matches("Failed publickey").count();
    // The first connection is the test's own, to see whether sshd is up.
    assert_eq!((connections(), refusals()), (1 + 3, 11), "{}", sshd.read("log"));
    assert_eq!(reach(&settings, &credentials).await, Ok(()));
    assert_eq!((connections(), refusals()), (1 + 4, 11), "{}", sshd.read("log"));

    // Named, it needs no luck; nor where it is in a file, or only its public half is.
    let named = |files| Settings {
        identity_agent: Some(agent.socket.clone()),
        ..with_keys(&sshd, files, Origin::Config)
    };
    assert_eq!(reach(&named(&["right"]), &nobody()).await, Ok(()));
    assert_eq!(reach(&named(&["right.pub"]), &nobody()).await, Ok(()));
    assert_eq!((connections(), refusals()), (1 + 6, 11), "{}", sshd.read("log"));
    fs::remove_file(sshd.path("right")).unwrap();
    assert_eq!(reach(&named(&["right"]), &nobody()).await, Ok(()));
}

#[tokio::test]
async fn more_keys_than_a_host_is_patient_are_an_error_that_names_the_cure() {
    let Some(sshd) = Sshd::start("") else { return };
    let agent = Agent::start(&sshd);
    full(&sshd, &agent, 16);
    let text = refusal(&with_agent(&sshd, &agent), &nobody()).await;
    has(
        &text,
        &[
            "too many keys",
            "2 more not tried",
            "IdentityFile",
            "IdentitiesOnly",
            "agent (ssh-ed25519 SHA256:",
        ],
    );
    let only = Settings {
        identities_only: true,
        identity_agent: Some(agent.socket.clone()),
        ..with_keys(&sshd, &["right.pub"], Origin::Config)
    };
    assert_eq!(reach(&only, &nobody()).await, Ok(()));
    let none = Settings { identity_files: Vec::new(), ..only };
    has(&refusal(&none, &nobody()).await, &["there is no key"]);
}

#[tokio::test]
async fn a_host_with_less_patience_gets_more_connections() {
    let Some(sshd) = Sshd::start("MaxAuthTries 3") else { return };
    let agent = Agent::start(&sshd);
    full(&sshd, &agent, 5);
    assert_eq!(reach(&with_agent(&sshd, &agent), &nobody()).await, Ok(()));
    for number in 0..4 {
        let file = format!("more{number}");
        key(&sshd, &file);
        agent.add(&sshd.path(&file));
    }
    authorize(&sshd, &["more3"]);
    let text = refusal(&with_agent(&sshd, &agent), &nobody()).await;
    has(&text, &["1 more not tried", "IdentitiesOnly"]);
}

#[tokio::test]
async fn two_keys_among_many_are_found_over_several_connections() {
    let Some(sshd) = Sshd::start("AuthenticationMethods publickey,publickey") else { return };
    let agent = Agent::start(&sshd);
    for number in 0..8 {
        let file = format!("key{number}");
        key(&sshd, &file);
        agent.add(&sshd.path(&file));
    }
    authorize(&sshd, &["key3", "key6"]);
    assert_eq!(reach(&with_agent(&sshd, &agent), &nobody()).await, Ok(()));
}

#[tokio::test]
async fn the_agent_signs_for_files_under_a_passphrase() {
    let Some(sshd) = Sshd::start("") else { return };
    keygen(&sshd.path("locked"), "rsa", "");
    let agent = Agent::start(&sshd);
    agent.add(&sshd.path("locked"));
    let lock = ["-q", "-p", "-P", "", "-N", "secret words", "-f"];
    let locked =
        std::process::Command::new("ssh-keygen").args(lock).arg(sshd.path("locked")).status().unwrap();
    assert!(locked.success());
    authorize(&sshd, &["locked"]);
    let answers = somebody(&sshd, "echo secret words");
    let file = with_keys(&sshd, &["locked"], Origin::Inventory);
    let with = Settings { identity_agent: Some(agent.socket.clone()), ..file.clone() };
    assert_eq!(reach(&with, &answers).await, Ok(()));
    assert_eq!(asked(&sshd), "");
    assert_eq!(reach(&file, &answers).await, Ok(()));
    assert_eq!(asked(&sshd).lines().count(), 1);
}

#[tokio::test]
async fn hardware_keys_log_in_through_an_agent() {
    let Some(sshd) = Sshd::start("") else { return };
    for token in [Token::ed25519(), Token::ecdsa()] {
        fs::write(sshd.path("token.pub"), token.public_line()).unwrap();
        authorize(&sshd, &["token"]);
        let agent = FakeAgent::start(sshd.path(&format!("agent-{}", token.kind())), token);
        let unnamed = Settings { identity_agent: Some(agent.socket.clone()), ..settings(&sshd) };
        assert_eq!(reach(&unnamed, &nobody()).await, Ok(()));
        let named = Settings {
            identity_agent: Some(agent.socket.clone()),
            ..with_keys(&sshd, &["token"], Origin::Config)
        };
        assert_eq!(reach(&Settings { identities_only: true, ..named }, &nobody()).await, Ok(()));
    }
}

#[tokio::test]
async fn a_hardware_keys_file_alone_is_an_error_that_names_the_agent() {
    let Some(sshd) = Sshd::start("") else { return };
    let token = Token::ed25519();
    let public = token.public();
    let russh::keys::ssh_key::public::KeyData::SkEd25519(public) = public.key_data() else { panic!() };
    let handle = SkEd25519::new(public.clone(), 1, vec![7; 32]).unwrap();
    let file = PrivateKey::new(KeypairData::SkEd25519(handle), "").unwrap();
    fs::write(sshd.path("token"), file.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    fs::set_permissions(sshd.path("token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(sshd.path("token.pub"), token.public_line()).unwrap();
    authorize(&sshd, &["token"]);
    let settings = with_keys(&sshd, &["token"], Origin::Inventory);
    has(&refusal(&settings, &nobody()).await, &["token", "is a hardware key", "ssh-add"]);
    let agent = FakeAgent::start(sshd.path("agent"), token);
    let with = Settings { identity_agent: Some(agent.socket.clone()), ..settings };
    assert_eq!(reach(&with, &nobody()).await, Ok(()));
}
