//! Passwords, codes, and hosts that want more than one thing.

use muster::formation::Secret;
use muster::ssh::settings::{Method, Origin, Settings};

use super::setup::{
    PASSWORD, asked, authorize, has, key, reach, refusal, settings, somebody, with_keys, with_password,
};
use crate::support::{Sshd, nobody};

const PASSWORDS: &str = "PasswordAuthentication yes\nLogLevel VERBOSE";
const PAM: &str = "UsePAM yes\nKbdInteractiveAuthentication yes\nLogLevel VERBOSE";
const ONE_QUESTION: &str =
    "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
/// The second module asks whatever the first has heard, and takes any answer with an @: as good as a code.
const TWO_QUESTIONS: &str = "auth required pam_unix.so\nauth required pam_ftp.so users=root\n\
                             account required pam_permit.so\nsession required pam_permit.so\n";

fn with_secret(sshd: &Sshd, password: &str) -> Settings {
    Settings { password: Some(Secret::new(password)), ..settings(sshd) }
}

fn failures(sshd: &Sshd, method: &str) -> usize {
    sshd.read("log").matches(&format!("Failed {method}")).count()
}

#[tokio::test]
async fn the_inventorys_password_logs_in() {
    let Some(sshd) = with_password(PASSWORDS, ONE_QUESTION) else { return };
    assert_eq!(reach(&Settings { batch: true, ..with_secret(&sshd, PASSWORD) }, &nobody()).await, Ok(()));
    assert_eq!(failures(&sshd, "password"), 0, "{}", sshd.read("log"));
    let text = refusal(&with_secret(&sshd, "wrong horse"), &nobody()).await;
    has(&text, &["password", "check ansible_password"]);
    assert!(!text.contains("horse"), "{text}");
    assert_eq!(failures(&sshd, "password"), 1, "a wrong password is sent once: {}", sshd.read("log"));
    // Keys come first, and nothing is asked where there is a password.
    let both =
        Settings { password: Some(Secret::new(PASSWORD)), ..with_keys(&sshd, &["user"], Origin::Inventory) };
    assert_eq!(reach(&both, &somebody(&sshd, "exit 1")).await, Ok(()));
    authorize(&sshd, &["host"]);
    assert_eq!(reach(&both, &somebody(&sshd, "exit 1")).await, Ok(()));
    let only = Settings { methods: vec![Method::PublicKey], ..both };
    has(&refusal(&only, &nobody()).await, &["permission denied"]);
    assert_eq!(asked(&sshd), "");
}

#[tokio::test]
async fn a_password_is_asked_for_where_nothing_else_is_left() {
    let Some(sshd) = with_password(PASSWORDS, ONE_QUESTION) else { return };
    authorize(&sshd, &["host"]);
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    let answers =
        format!("[ $(wc -l <{}) = 1 ] && echo wrong || echo {PASSWORD}", sshd.path("asked").display());
    assert_eq!(reach(&settings, &somebody(&sshd, &answers)).await, Ok(()));
    assert_eq!(asked(&sshd), "root@127.0.0.1's password: \n".repeat(2));
    // In a pipeline nobody is asked, and no password is sent.
    let batch = Settings { batch: true, ..settings.clone() };
    has(&refusal(&batch, &somebody(&sshd, "echo wrong")).await, &["permission denied", "authorized_keys"]);
    has(&refusal(&settings, &nobody()).await, &["permission denied"]);
    assert_eq!((asked(&sshd).as_str(), failures(&sshd, "password")), ("", 1));
    let twice = Settings { prompts: 2, ..settings };
    has(&refusal(&twice, &somebody(&sshd, "echo wrong")).await, &["permission denied"]);
    assert_eq!(asked(&sshd).lines().count(), 2);
}

#[tokio::test]
async fn pam_gets_the_password_where_it_asks_for_one() {
    let Some(sshd) = with_password(PAM, ONE_QUESTION) else { return };
    assert_eq!(reach(&with_secret(&sshd, PASSWORD), &nobody()).await, Ok(()));
    let text = refusal(&with_secret(&sshd, "wrong horse"), &nobody()).await;
    has(&text, &["keyboard-interactive", "check ansible_password"]);
    let answers = somebody(&sshd, &format!("echo {PASSWORD}"));
    assert_eq!(reach(&settings(&sshd), &answers).await, Ok(()));
    assert_eq!(asked(&sshd), "(root@127.0.0.1) Password: \n");
    let batch = Settings { batch: true, ..settings(&sshd) };
    has(&refusal(&batch, &answers).await, &["there is no key to log in as root"]);
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password() {
    let Some(sshd) = with_password(PAM, TWO_QUESTIONS) else { return };
    let with = with_secret(&sshd, PASSWORD);
    let answers = somebody(&sshd, "echo a@b");
    assert_eq!(reach(&with, &answers).await, Ok(()), "{}", sshd.read("log"));
    assert_eq!(asked(&sshd).lines().count(), 1, "{}", asked(&sshd));
    let batch = Settings { batch: true, ..with };
    let text = refusal(&batch, &answers).await;
    has(&text, &["root"]);
    assert!(!text.contains("horse"), "{text}");
}

#[tokio::test]
async fn a_key_and_a_password() {
    let extra = format!("{PASSWORDS}\nAuthenticationMethods publickey,password");
    let Some(sshd) = with_password(&extra, ONE_QUESTION) else { return };
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    let with = Settings { password: Some(Secret::new(PASSWORD)), ..settings.clone() };
    assert_eq!(reach(&with, &nobody()).await, Ok(()));
    let text = refusal(&settings, &nobody()).await;
    has(&text, &["takes", "user (ssh-ed25519", "wants more: password", "ansible_password"]);
    let wrong = Settings { password: Some(Secret::new("wrong")), ..settings };
    has(&refusal(&wrong, &nobody()).await, &["wants more", "check ansible_password"]);
}

#[tokio::test]
async fn a_password_and_then_a_key() {
    let extra = format!("{PASSWORDS}\nAuthenticationMethods password,publickey");
    let Some(sshd) = with_password(&extra, ONE_QUESTION) else { return };
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    let with = Settings { password: Some(Secret::new(PASSWORD)), ..settings.clone() };
    assert_eq!(reach(&with, &nobody()).await, Ok(()));
    has(&refusal(&settings, &nobody()).await, &["takes no keys", "only password"]);
}

#[tokio::test]
async fn a_key_and_what_pam_asks() {
    let extra = format!("{PAM}\nAuthenticationMethods publickey,keyboard-interactive");
    let Some(sshd) = with_password(&extra, ONE_QUESTION) else { return };
    let settings = with_keys(&sshd, &["user"], Origin::Inventory);
    let with = Settings { password: Some(Secret::new(PASSWORD)), ..settings.clone() };
    assert_eq!(reach(&with, &nobody()).await, Ok(()));
    let answers = somebody(&sshd, &format!("echo {PASSWORD}"));
    assert_eq!(reach(&settings, &answers).await, Ok(()));
    assert_eq!(asked(&sshd).lines().count(), 1);
}

#[tokio::test]
async fn two_keys() {
    let Some(sshd) = Sshd::start("AuthenticationMethods publickey,publickey") else { return };
    for file in ["wrong", "second"] {
        key(&sshd, file);
    }
    authorize(&sshd, &["user", "second"]);
    let settings = with_keys(&sshd, &["wrong", "user", "second"], Origin::Inventory);
    assert_eq!(reach(&settings, &nobody()).await, Ok(()));
    let one = with_keys(&sshd, &["user"], Origin::Inventory);
    has(&refusal(&one, &nobody()).await, &["wants more: publickey", "load the other key"]);
}
