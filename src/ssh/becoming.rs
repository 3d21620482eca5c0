//! Becoming another user on the host: the words around a command, and the password where one is asked for.
//!
//! A password goes on standard input, and only after the program has asked for it: where sudo needs none (NOPASSWD,
//! or a ticket that still holds), the shell behind it would take the password for its script. So the shell says that
//! it is ready before it reads, and nothing is sent until either is heard.

use super::frame::Mark;
use crate::command::quote;
use crate::formation::{Become, BecomeMethod, Secret};

/// Root becomes `$0` and runs `$@`. Without single quotes: it is quoted as a whole. Root needs no sudo for it, and
/// small images have none.
const AS_ROOT: &str = "if command -v sudo >/dev/null; then exec sudo -n -H -u \"$0\" -- \"$@\"; fi; \
    exec runuser -u \"$0\" -- env HOME=\"$(getent passwd \"$0\" | cut -d: -f6)\" USER=\"$0\" LOGNAME=\"$0\" \"$@\"";

/// What a host may say before the shell is ready, e.g. sudo's lecture. More than that is no prompt.
const MOST: usize = 16 * 1024;

/// Whether somebody sits at a terminal of the host, who can be asked for a password that muster does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Never,
    OnTerminal,
}

/// The last lines of a script that run `shell` as `user`; whoever is logged in is not that user.
pub(super) fn wrap(
    shell: &str,
    user: &str,
    login: &str,
    how: &Become,
    mark: &Mark,
    asking: Asking,
) -> String {
    let user = quote(user);
    if login == "root" {
        return format!("exec sh -c '{AS_ROOT}' {user} {shell}");
    }
    let never = match asking {
        Asking::Never => "-n ",
        Asking::OnTerminal => "",
    };
    match (how.method, &how.password) {
        (BecomeMethod::Sudo, None) => format!("exec sudo {never}-H -u {user} -- {shell}"),
        (BecomeMethod::Sudo, Some(_)) => {
            format!("exec sudo -S -p {} -H -u {user} -- {shell}", mark.prompt_option())
        }
        (BecomeMethod::Doas, _) => format!("exec doas {never}-u {user} -- {shell}"),
        // Its prompt cannot be chosen, but its language can, and that nothing else is asking before it.
        (BecomeMethod::Su, password) => {
            let start = if password.is_some() { mark.says("-su") } else { String::new() };
            format!("{start}\nexec env LC_ALL=C su -s /bin/sh -c {} -- {user}", quote(shell))
        }
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

/// Waits for the question, or for the shell.
pub(super) struct Gate {
    ready: String,
    question: Question,
    password: Secret,
    heard: Vec<u8>,
    answered: bool,
}

/// What is a question, and not a word of a profile or of the host's: the password must not go to anybody else.
enum Question {
    /// sudo asks with the words it was given.
    Prompt(String),
    /// su has words of its own, after this.
    After(String),
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
    pub(super) fn new(mark: &Mark, method: BecomeMethod, password: &Secret) -> Gate {
        let question = match method {
            BecomeMethod::Sudo | BecomeMethod::Doas => Question::Prompt(mark.prompt()),
            BecomeMethod::Su => Question::After(format!("{}-su\n", mark.whole())),
        };
        let ready = format!("{}-ready", mark.whole());
        Gate { ready, question, password: password.clone(), heard: Vec::new(), answered: false }
    }

    /// Takes in what came on standard error.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Reply {
        self.heard.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.heard);
        if text.contains(&self.ready) {
            return Reply::Open;
        }
        let asked = match &self.question {
            Question::Prompt(prompt) => text.contains(prompt.as_str()),
            Question::After(_) if self.answered => is_question(&text),
            Question::After(start) => {
                text.split_once(start.as_str()).is_some_and(|(_, rest)| is_question(rest))
            }
        };
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
        let mark = Mark::of("A", "B");
        let wrap = |how: &Become, login| wrap("sh -c x", "pg", login, how, &mark, Asking::Never);
        assert_eq!(wrap(&how(BecomeMethod::Sudo, None), "ana"), "exec sudo -n -H -u 'pg' -- sh -c x");
        assert_eq!(
            wrap(&how(BecomeMethod::Sudo, Some("s3cret")), "ana"),
            "exec sudo -S -p A%%B-password: -H -u 'pg' -- sh -c x"
        );
        assert_eq!(
            wrap(&how(BecomeMethod::Su, Some("s3cret")), "ana"),
            "echo A\"\"B-su >&2; \nexec env LC_ALL=C su -s /bin/sh -c 'sh -c x' -- 'pg'"
        );
        assert_eq!(wrap(&how(BecomeMethod::Doas, None), "ana"), "exec doas -n -u 'pg' -- sh -c x");
        assert!(wrap(&how(BecomeMethod::Su, None), "root").ends_with("' 'pg' sh -c x"));
        assert!(!AS_ROOT.contains('\''));
    }

    #[test]
    fn the_password_is_said_once_and_only_to_whom_it_is_for() {
        let password = Secret::new("s3cret");
        let gate = |method| Gate::new(&Mark::of("A", "B"), method, &password);
        let say = || Reply::Say(password.clone());

        assert_eq!(gate(BecomeMethod::Sudo).hear(b"lecture\nAB-ready\n"), Reply::Open);
        let mut asked = gate(BecomeMethod::Sudo);
        assert_eq!(asked.hear(b"We trust you have received the usual lecture.\nA%B-pass"), Reply::Wait);
        assert_eq!(asked.hear(b"word:"), say());
        assert_eq!(asked.hear(b"\nAB-ready\n"), Reply::Open);
        let mut wrong = gate(BecomeMethod::Sudo);
        assert_eq!(wrong.hear(b"A%B-password:"), say());
        assert_eq!(wrong.hear(b"\nSorry, try again.\nA%B-password:"), Reply::HangUp);
        // A profile that asks, a trace that shows the command line: neither is sudo.
        for noise in ["mysql root password:", "+ sudo -S -p A%%B-password: -H", "echo A\"\"B-ready >&2"] {
            assert_eq!(gate(BecomeMethod::Sudo).hear(noise.as_bytes()), Reply::Wait, "{noise}");
        }
        assert_eq!(gate(BecomeMethod::Sudo).hear(&[b'x'; 3 * MOST]), Reply::Wait);

        let mut su = gate(BecomeMethod::Su);
        assert_eq!(su.hear(b"mysql root password:"), Reply::Wait);
        assert_eq!(su.hear(b"\nAB-su\nPassword: "), say());
        assert_eq!(su.hear(b"\nsu: Authentication failure\n"), Reply::Wait);
    }
}
