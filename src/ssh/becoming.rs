//! Becoming another user on the host: the words around a command, and the password where one is asked for.
//!
//! A password goes on standard input, and only after the program has asked for it: where sudo needs none (NOPASSWD,
//! or a ticket that still holds), the shell behind it would take the password for its script. So the shell says that
//! it is ready before it reads, and nothing is sent until either is heard.

use crate::command::quote;
use crate::formation::{Become, BecomeMethod, Secret};

/// Root becomes `$0` and runs `$@`. Without single quotes: it is quoted as a whole. Root needs no sudo for it, and
/// small images have none.
const AS_ROOT: &str = "if command -v sudo >/dev/null; then exec sudo -n -H -u \"$0\" -- \"$@\"; fi; \
    exec runuser -u \"$0\" -- env HOME=\"$(getent passwd \"$0\" | cut -d: -f6)\" USER=\"$0\" LOGNAME=\"$0\" \"$@\"";

/// What a host may say before the shell is ready, e.g. sudo's lecture. More than that is no prompt.
const MOST: usize = 16 * 1024;

/// The command line that runs `shell` as `user`; whoever is logged in is not that user.
pub(super) fn wrap(shell: &str, user: &str, login: &str, how: &Become, nonce: &str) -> String {
    let user = quote(user);
    if login == "root" {
        return format!("sh -c '{AS_ROOT}' {user} {shell}");
    }
    match (how.method, &how.password) {
        (BecomeMethod::Sudo, None) => format!("sudo -n -H -u {user} -- {shell}"),
        (BecomeMethod::Sudo, Some(_)) => format!("sudo -S -p {} -H -u {user} -- {shell}", prompt(nonce)),
        (BecomeMethod::Doas, _) => format!("doas -n -u {user} -- {shell}"),
        // Its prompt cannot be chosen, but its language can.
        (BecomeMethod::Su, _) => format!("env LC_ALL=C su -s /bin/sh -c {} -- {user}", quote(shell)),
    }
}

/// Whether somebody may ask for the password of `how` when `login` becomes another user.
pub(super) fn asks(how: &Become, login: &str) -> bool {
    login != "root"
        && match how.method {
            BecomeMethod::Sudo | BecomeMethod::Su => how.password.is_some(),
            // It asks on a terminal alone.
            BecomeMethod::Doas => false,
        }
}

/// How much of a script for root is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// The programs it calls by `root PROGRAM ARGS`, each by itself: sudoers can list them.
    EachProgram,
    /// All of it: a password is asked for once, and doas and su have no list that tells arguments apart.
    WholeScript,
}

pub(super) fn narrow(how: &Become, login: &str) -> Narrow {
    match (how.method, &how.password) {
        (BecomeMethod::Sudo, None) if login != "root" => Narrow::EachProgram,
        (BecomeMethod::Sudo | BecomeMethod::Su | BecomeMethod::Doas, _) => Narrow::WholeScript,
    }
}

fn prompt(nonce: &str) -> String {
    format!("{nonce}-password:")
}

/// What the shell says on standard error before it reads its script.
pub(super) fn ready(nonce: &str) -> String {
    format!("{nonce}-ready")
}

/// Waits for the question, or for the shell.
pub(super) struct Gate {
    nonce: String,
    password: Secret,
    heard: Vec<u8>,
    answered: bool,
}

/// What to do about what was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing yet.
    Wait,
    /// The password, to whoever asks for it.
    Say(Secret),
    /// The shell reads: send the script.
    Open,
    /// The password was wrong: hang up, whoever asks gives up then.
    HangUp,
}

impl Gate {
    pub(super) fn new(nonce: &str, password: &Secret) -> Gate {
        Gate { nonce: nonce.to_owned(), password: password.clone(), heard: Vec::new(), answered: false }
    }

    /// Takes in what came on standard error.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Reply {
        self.heard.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.heard);
        if text.contains(&ready(&self.nonce)) {
            return Reply::Open;
        }
        let asked = text.contains(&prompt(&self.nonce)) || is_question(&text);
        if asked {
            self.heard.clear();
            if self.answered {
                return Reply::HangUp;
            }
            self.answered = true;
            return Reply::Say(self.password.clone());
        }
        let over = self.heard.len().saturating_sub(MOST);
        self.heard.drain(..over);
        Reply::Wait
    }
}

/// `Password: ` of su, and of PAM modules that have a prompt of their own.
fn is_question(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    line.trim_end().ends_with(':') && line.to_lowercase().contains("password")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(method: BecomeMethod, password: Option<&str>) -> Become {
        Become { method, password: password.map(Secret::new) }
    }

    #[test]
    fn each_method_has_its_words() {
        let wrap = |how: &Become, login| wrap("sh -c 'x'", "pg", login, how, "N");
        assert_eq!(wrap(&how(BecomeMethod::Sudo, None), "ana"), "sudo -n -H -u 'pg' -- sh -c 'x'");
        assert_eq!(
            wrap(&how(BecomeMethod::Sudo, Some("s3cret")), "ana"),
            "sudo -S -p N-password: -H -u 'pg' -- sh -c 'x'"
        );
        assert_eq!(
            wrap(&how(BecomeMethod::Su, Some("s3cret")), "ana"),
            r"env LC_ALL=C su -s /bin/sh -c 'sh -c '\''x'\''' -- 'pg'"
        );
        assert_eq!(wrap(&how(BecomeMethod::Doas, None), "ana"), "doas -n -u 'pg' -- sh -c 'x'");
        assert!(wrap(&how(BecomeMethod::Su, None), "root").ends_with("' 'pg' sh -c 'x'"));
        assert!(!AS_ROOT.contains('\''));
    }

    #[test]
    fn the_password_is_said_once_and_only_when_asked_for() {
        let password = Secret::new("s3cret");
        let gate = || Gate::new("N", &password);
        let say = || Reply::Say(password.clone());

        assert_eq!(gate().hear(b"lecture\nN-ready\n"), Reply::Open);
        let mut asked = gate();
        assert_eq!(asked.hear(b"We trust you have received the usual lecture.\nN-pass"), Reply::Wait);
        assert_eq!(asked.hear(b"word:"), say());
        assert_eq!(asked.hear(b"\nN-ready\n"), Reply::Open);
        let mut wrong = gate();
        assert_eq!(wrong.hear(b"Password: "), say());
        assert_eq!(wrong.hear(b"\nSorry, try again.\nPassword: "), Reply::HangUp);
        assert_eq!(gate().hear(b"warning: your password: expires\n"), Reply::Wait);
        assert_eq!(gate().hear(&[b'x'; 3 * MOST]), Reply::Wait);
    }
}
