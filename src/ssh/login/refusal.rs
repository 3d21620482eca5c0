//! What is said when a host did not let anybody in: what was tried, and what to do.

use russh::{MethodKind, MethodSet};

use super::password::Answers;
use crate::command::Failure;

/// What is known of a login that has not come about.
pub(super) struct Refusal {
    user: String,
    tried: Vec<String>,
    accepted: Vec<String>,
    /// Keys that were not tried, and why.
    pub(super) notes: Vec<String>,
    /// The methods of the host's last answer, and whether it came after a success in part.
    pub(super) remaining: Option<(MethodSet, bool)>,
    /// Keys that would have come next.
    pub(super) left: usize,
}

impl Refusal {
    pub(super) fn new(user: &str) -> Refusal {
        Refusal {
            user: user.to_owned(),
            tried: Vec::new(),
            accepted: Vec::new(),
            notes: Vec::new(),
            remaining: None,
            left: 0,
        }
    }

    pub(super) fn tried(&mut self, what: Option<String>) {
        self.tried.extend(what.filter(|what| !self.tried.contains(what)));
    }

    pub(super) fn accepted(&mut self, what: Option<String>) {
        self.accepted.extend(what);
    }

    pub(super) fn explain(&self, no_keys: bool, answers: &Answers<'_>) -> Failure {
        let user = &self.user;
        let mut tried = self.tried.clone();
        if self.left > 0 {
            tried.push(format!("{} more not tried", self.left));
        }
        tried.extend(self.notes.iter().cloned());
        let tried = if tried.is_empty() { "nothing".to_owned() } else { tried.join("; ") };
        let too_many =
            "name the right key with ansible_ssh_private_key_file, or with IdentityFile and IdentitiesOnly";
        let (reason, hint) = match &self.remaining {
            None if no_keys => (
                format!("there is no key to log in as {user}; tried {tried}"),
                "load a key with ssh-add, or name a private key file in the inventory".to_owned(),
            ),
            Some((methods, _)) if methods.is_empty() && self.left == 0 => (
                format!("the host hung up on {user} while logging in; tried {tried}"),
                format!(
                    "it counts wrong keys (MaxAuthTries, PerSourcePenalties); {too_many}, wait a minute, run again"
                ),
            ),
            Some(_) | None if self.left > 0 => (
                format!(
                    "the host refuses {user} (permission denied), and there are too many keys; tried {tried}"
                ),
                too_many.to_owned(),
            ),
            Some((methods, _)) if !self.accepted.is_empty() => (
                format!(
                    "the host takes {} from {user} and wants more: {}; tried {tried}",
                    self.accepted.join(", "),
                    names(methods)
                ),
                more(methods, answers),
            ),
            Some(_) | None if answers.is_spent => (
                format!("the host refuses {user} (permission denied); tried {tried}"),
                "check ansible_password, and the user name".to_owned(),
            ),
            Some((methods, _)) if !methods.contains(&MethodKind::PublicKey) => (
                format!("the host takes no keys from {user}, only {}; tried {tried}", names(methods)),
                more(methods, answers),
            ),
            Some(_) | None => {
                let keys = format!(
                    "check the user name, and that one of these keys is in ~{user}/.ssh/authorized_keys on the host"
                );
                let methods = self.remaining.as_ref().map(|(methods, _)| methods);
                let hint = match methods.filter(|methods| takes_password(methods)) {
                    Some(_) if !answers.has_password() => {
                        format!("{keys}; it takes a password, too: --ask-pass, or ansible_password")
                    }
                    Some(_) | None => keys,
                };
                let hint = match self.notes.iter().any(|note| note.contains("passphrase")) {
                    true => {
                        format!("a key needs its passphrase: ssh-add it, or run on a terminal; or {hint}")
                    }
                    false => hint,
                };
                (format!("the host refuses {user} (permission denied); tried {tried}"), hint)
            }
        };
        Failure::Unreachable { reason, hint }
    }
}

/// What to do where a host wants more than keys.
fn more(methods: &MethodSet, answers: &Answers<'_>) -> String {
    let text = match (answers.has_password(), answers.can_ask()) {
        (true, _) => "check ansible_password",
        (false, true) => "try ssh -v to the same address",
        (false, false) if takes_password(methods) => {
            "set ansible_password, say --ask-pass, or allow a key alone for this user"
        }
        (false, false) => "load the other key with ssh-add, or allow a key alone for this user",
    };
    text.to_owned()
}

fn takes_password(methods: &MethodSet) -> bool {
    methods.contains(&MethodKind::Password) || methods.contains(&MethodKind::KeyboardInteractive)
}

fn names(methods: &MethodSet) -> String {
    methods.iter().map(|method| <&str>::from(method).to_owned()).collect::<Vec<_>>().join(", ")
}
