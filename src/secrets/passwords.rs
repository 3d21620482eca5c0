//! Passwords of ansible-vault: from files, programs and the operator, each looked up when something needs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use zeroize::Zeroizing;

use crate::bounded;
use crate::console::{Asker, Echo};
use crate::error::Problem;
use crate::program::{self, Errors, PATIENCE, Silent};

/// Whoever has no label. Source: DEFAULT_VAULT_IDENTITY.
const DEFAULT: &str = "default";
/// What a vault client ends with when it does not know a label. Source: VAULT_ID_UNKNOWN_RC.
const UNKNOWN_LABEL: i32 = 2;

/// One of them.
pub(super) struct Password {
    label: String,
    from: From,
    text: OnceLock<Result<Zeroizing<Vec<u8>>, Problem>>,
}

#[derive(Debug, PartialEq, Eq)]
enum From {
    File(PathBuf),
    /// `--vault-id LABEL@prompt`
    Question,
    /// `--ask-vault-pass`
    PlainQuestion,
}

impl Password {
    pub(super) fn of_file(path: &str) -> Password {
        Password::new(DEFAULT, From::File(in_home(path)))
    }

    pub(super) fn asked() -> Password {
        Password::new(DEFAULT, From::PlainQuestion)
    }

    /// `LABEL@SOURCE`, or a source alone.
    pub(super) fn of_id(id: &str) -> Password {
        let (label, source) = id.split_once('@').unwrap_or((DEFAULT, id));
        let label = if label.is_empty() { DEFAULT } else { label };
        match source {
            "prompt" => Password::new(label, From::Question),
            "prompt_ask_vault_pass" => Password::new(label, From::PlainQuestion),
            path => Password::new(label, From::File(in_home(path))),
        }
    }

    fn new(label: &str, from: From) -> Password {
        Password { label: label.to_owned(), from, text: OnceLock::new() }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether somebody types it, and may mistype it.
    pub(super) fn is_typed(&self) -> bool {
        match self.from {
            From::File(_) => false,
            From::Question | From::PlainQuestion => true,
        }
    }

    /// Reads, runs or asks, once.
    pub(super) fn text(&self, asker: &Asker) -> Result<&[u8], Problem> {
        let text = self.text.get_or_init(|| match &self.from {
            From::File(path) => self.of_path(path),
            From::Question => ask(asker, &format!("Vault password ({}): ", self.label)),
            From::PlainQuestion => ask(asker, "Vault password: "),
        });
        text.as_ref().map(|text| text.as_slice()).map_err(Problem::clone)
    }

    fn of_path(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let name = path.display();
        let file = path.metadata().map_err(|error| {
            Problem::new(format!("cannot read the vault password file `{name}`: {error}"))
                .hint("correct --vault-password-file, --vault-id or ANSIBLE_VAULT_PASSWORD_FILE")
        })?;
        if super::may_be_run(&file) {
            return self.said_by(path);
        }
        let bytes = bounded::read(path, program::MOST_BYTES).map(Zeroizing::new).map_err(|error| {
            Problem::new(format!("cannot read the vault password file `{name}`: {error}"))
        })?;
        if super::is_encrypted(&bytes) {
            let problem = Problem::new(format!("the vault password file `{name}` is encrypted itself"));
            return Err(problem.hint("give one that holds the password, or a program that prints it"));
        }
        not_empty(bytes.trim_ascii(), &format!("the vault password file `{name}` is empty"))
    }

    /// Like Ansible, gives the label to programs named `…-client`.
    fn said_by(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let name = path.display();
        // Without a folder in it a name would be looked up in PATH.
        let program = if path.components().count() > 1 { path.to_owned() } else { Path::new(".").join(path) };
        let mut command = Command::new(program);
        let is_client = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("-client"));
        if is_client {
            command.args(["--vault-id", &self.label]);
        }
        let errors = if is_client { Errors::Kept } else { Errors::Shown };
        let said = program::run(&mut command, PATIENCE, errors).map_err(|why| match why {
            Silent::CannotStart(error) => {
                Problem::new(format!("the vault password program `{name}` cannot be started: {error}"))
                    .hint(format!("if it is a file with the password: chmod -x {name}"))
            }
            Silent::Failed(why) => Problem::new(format!("the vault password program `{name}` {why}")),
        })?;
        if said.status.success() {
            let bytes = super::without_line_end(&said.stdout);
            return not_empty(bytes, &format!("the vault password program `{name}` printed nothing"));
        }
        let problem = match said.status.code() {
            Some(UNKNOWN_LABEL) if is_client => {
                Problem::new(format!("the vault client `{name}` knows no password for `{}`", self.label))
            }
            _ => Problem::new(format!("the vault password program `{name}` failed: {}", said.status)),
        };
        Err(match said.last_errors().join("; ") {
            said if said.is_empty() => problem,
            said => problem.hint(format!("it said {}", crate::secrets::quote(&said))),
        })
    }
}

pub(super) fn ask(asker: &Asker, question: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let answer = asker.ask_and_wait(question, Echo::Hidden).map_err(|why| {
        Problem::new(format!("there is no vault password: {why}"))
            .hint("run muster in a terminal, or give --vault-password-file")
    })?;
    not_empty(answer.trim().as_bytes(), "the vault password that was typed is empty")
}

fn not_empty(bytes: &[u8], otherwise: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    match bytes.is_empty() {
        true => Err(Problem::new(otherwise)),
        false => Ok(Zeroizing::new(bytes.to_vec())),
    }
}

/// A path of the command line or the environment; `~` may have been left to us.
pub(super) fn in_home(path: &str) -> PathBuf {
    match path.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_label_and_a_source() {
        for (id, label, from) in [
            ("pw", "default", From::File("pw".into())),
            ("dev@pw", "dev", From::File("pw".into())),
            ("@pw", "default", From::File("pw".into())),
            ("dev@a@b", "dev", From::File("a@b".into())),
            ("dev@prompt", "dev", From::Question),
            ("prompt", "default", From::Question),
        ] {
            let password = Password::of_id(id);
            assert_eq!((password.label(), &password.from), (label, &from), "{id}");
        }
    }
}
