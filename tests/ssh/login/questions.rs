//! Keyboard-interactive logins that no module of PAM holds ready: a host that asks two things at once, one of them in
//! the open, and then nothing.

use std::borrow::Cow;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use muster::formation::Secret;
use muster::ssh::settings::Settings;
use russh::keys::load_secret_key;
use russh::server::{Auth, Config, Handler, Response, run_stream};
use russh::{MethodKind, MethodSet};
use tokio::net::TcpListener;

use super::setup::{PASSWORD, asked, has, reach, refusal, settings, somebody};
use crate::support::{Sshd, nobody};

/// Two questions, then one without any.
#[derive(Default)]
struct Curious {
    is_answered: bool,
}

impl Handler for Curious {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let ask = |instructions: &'static str, prompts: &'static [(&str, bool)]| {
            let prompts: Vec<_> = prompts.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect();
            Ok(Auth::Partial { name: "".into(), instructions: instructions.into(), prompts: prompts.into() })
        };
        let Some(response) = response else {
            return ask("two\x1b[2J things", &[("Password: ", false), ("Code of today: ", true)]);
        };
        let answers: Vec<_> = response.collect();
        match (self.is_answered, answers.as_slice()) {
            (false, [password, code])
                if password.as_ref() == PASSWORD.as_bytes() && code.as_ref() == b"4711" =>
            {
                self.is_answered = true;
                ask("", &[])
            }
            (true, []) => Ok(Auth::Accept),
            (true | false, _) => Ok(Auth::reject()),
        }
    }
}

async fn serve(sshd: &Sshd) -> u16 {
    let config = Arc::new(Config {
        keys: vec![load_secret_key(sshd.path("host"), None).unwrap()],
        methods: MethodSet::from([MethodKind::KeyboardInteractive].as_slice()),
        auth_rejection_time: Duration::ZERO,
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = config.clone();
            tokio::spawn(async move { run_stream(config, stream, Curious::default()).await?.await });
        }
    });
    sshd.know(&format!("* {}", fs::read_to_string(sshd.path("host.pub")).unwrap()));
    port
}

#[tokio::test]
async fn two_questions_at_once_are_answered_one_by_one() {
    // Only for its directory and the host's key.
    let Some(sshd) = Sshd::start("") else { return };
    let port = serve(&sshd).await;
    let with = Settings { port, password: Some(Secret::new(PASSWORD)), ..settings(&sshd) };
    assert_eq!(reach(&with, &somebody(&sshd, "echo 4711")).await, Ok(()));
    // The host's words move no cursor.
    assert_eq!(asked(&sshd), "(root@127.0.0.1) Code of today: \n");

    let without = Settings { password: None, ..with.clone() };
    let answers = format!("case $1 in *Password*) echo {PASSWORD};; *) echo 4711;; esac");
    assert_eq!(reach(&without, &somebody(&sshd, &answers)).await, Ok(()));
    assert_eq!(
        asked(&sshd),
        "two [2J things\r\n(root@127.0.0.1) Password: \n(root@127.0.0.1) Code of today: \n"
    );

    let text = refusal(&with, &nobody()).await;
    has(&text, &["the host asks root \"Code of today\", and nobody answers", "on a terminal"]);
    assert!(!text.contains(PASSWORD), "{text}");
    has(&refusal(&with, &somebody(&sshd, "echo 4712")).await, &["permission denied", "keyboard-interactive"]);
}
