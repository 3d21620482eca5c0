//! What is said when a host did not let anybody in: what was tried, and what to do.

use russh::{MethodKind, MethodSet};

use super::offers::Note;
use super::password::Answers;
use crate::command::Failure;
use crate::ssh::settings::{Part, Settings};

/// What is known of a login that has not come about.
pub(super) struct Refusal {
    user: String,
    /// The name of a bastion that refuses.
    bastion: Option<String>,
    tried: Vec<String>,
    accepted: Vec<String>,
    /// Keys that were not tried, and why.
    pub(super) notes: Vec<Note>,
    /// The methods of the host's last answer, and whether it came after a success in part.
    pub(super) remaining: Option<(MethodSet, bool)>,
    /// Keys that would have come next.
    pub(super) left: usize,
}

impl Refusal {
    pub(super) fn new(settings: &Settings) -> Refusal {
        Refusal {
            user: settings.user.clone(),
            bastion: match settings.part {
                Part::Bastion => Some(settings.original.clone()),
                Part::Target => None,
            },
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
        tried.extend(self.notes.iter().map(|note| note.text().to_owned()));
        let tried = if tried.is_empty() { "nothing".to_owned() } else { tried.join("; ") };
        let too_many =
            "name the right key with ansible_ssh_private_key_file, or with IdentityFile and IdentitiesOnly";
        let (reason, hint) = match &self.remaining {
            None if no_keys => (
                format!("there is no key to log in as {user}; tried {tried}"),
                self.whose("load a key with ssh-add, or name a private key file in the inventory".to_owned()),
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
                self.whose(too_many.to_owned()),
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
                self.whose("check ansible_password, and the user name".to_owned()),
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
                let hint = match self.notes.iter().any(|note| matches!(note, Note::Locked(_))) {
                    true => {
                        format!("a key needs its passphrase: ssh-add it, or run on a terminal; or {hint}")
                    }
                    false => hint,
                };
                (format!("the host refuses {user} (permission denied); tried {tried}"), self.whose(hint))
            }
        };
        Failure::Unreachable { reason, hint }
    }

    /// A newcomer expects the inventory's user and key to be the bastion's, too; with ssh and Ansible they are not.
    fn whose(&self, hint: String) -> String {
        match &self.bastion {
            Some(name) => format!(
                "{hint}; the inventory's user and key are for the hosts: the bastion's are those of ssh_config (Host \
                 {name}), or USER@ in --bastion"
            ),
            None => hint,
        }
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
