//! Files that muster itself encrypts, and opens again: under a passphrase, with a password of ansible-vault, for age.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rand::RngExt as _;
use zeroize::Zeroizing;

use super::passwords;
use super::vault::{Envelope, Key};
use super::{Closed, Keyring, age};
use crate::console::Echo;
use crate::error::Problem;
use crate::formation::{Held, Reference, Secret, Sought};

/// As long as Ansible's own.
const SALT_BYTES: usize = 32;
/// How often a passphrase may be mistyped.
const TRIES: usize = 3;

impl Keyring {
    /// What the inventory says of where a secret is.
    ///
    /// # Errors
    /// One that is not there, or that others may read.
    pub fn sought(&self, sought: &Sought) -> Result<Secret, Problem> {
        let reference = match &sought.held {
            Held::Reference(reference) => reference.clone(),
            Held::Vault(text) => {
                let text = self.decrypt(text).map_err(Closed::problem)?;
                Reference::parse(&text).map_err(Problem::new)?
            }
        };
        let found = self.find(&reference, Path::new(&sought.base))?;
        match found.warning {
            None => Ok(found.secret),
            Some(warning) => Err(Problem::new(warning)),
        }
    }

    /// Opens a file under a passphrase: the one that is given, else what the operator types, once a run.
    ///
    /// `open`: `None` where the passphrase is wrong.
    ///
    /// # Errors
    /// Nobody knows the passphrase, or the file is wrong by itself.
    pub fn unlock<T>(
        &self,
        path: &Path,
        (given, name): (Option<&Sought>, &str),
        open: impl Fn(&Secret) -> Result<Option<T>, Problem>,
    ) -> Result<T, Problem> {
        let shown = path.display();
        let known = match given {
            Some(sought) => Some(self.sought(sought).map_err(|why| under(name, why))?),
            None => self.known(path),
        };
        if let Some(passphrase) = known {
            let problem = || Problem::new(format!("`{name}` of the inventory does not open {shown}"));
            let hint = "correct it; without it muster asks on the terminal";
            return open(&passphrase)?.ok_or_else(|| problem().hint(hint));
        }
        for _ in 0..TRIES {
            let passphrase = self.typed(path, name, &format!("Passphrase of {shown}: "))?;
            if let Some(opened) = open(&passphrase)? {
                self.remember(path, passphrase);
                return Ok(opened);
            }
        }
        let problem = Problem::new(format!("the passphrase of {shown} is wrong, {TRIES} times"));
        Err(problem.hint("nothing was signed; run the same command again with the right one"))
    }

    /// A passphrase for a file that is to be written; one that is typed is typed twice.
    ///
    /// # Errors
    /// There is none.
    pub fn new_passphrase(
        &self,
        path: &Path,
        (given, name): (Option<&Sought>, &str),
    ) -> Result<Secret, Problem> {
        if let Some(sought) = given {
            return self.sought(sought).map_err(|why| under(name, why));
        }
        if let Some(known) = self.known(path) {
            return Ok(known);
        }
        let typed = self.typed(path, name, &format!("New passphrase for {}: ", path.display()))?;
        if self.typed(path, name, "The same again: ")? != typed {
            return Err(Problem::new("the two passphrases differ")
                .hint("nothing was written; run the same command again"));
        }
        self.remember(path, typed.clone());
        Ok(typed)
    }

    fn typed(&self, path: &Path, name: &str, question: &str) -> Result<Secret, Problem> {
        let answer = self.asker.ask_and_wait(question, Echo::Hidden).map_err(|why| {
            Problem::new(format!("{} needs a passphrase: {why}", path.display()))
                .hint(format!("run muster in a terminal, or give `{name}` in the inventory, e.g. env:NAME"))
        })?;
        match answer.is_empty() {
            true => Err(Problem::new("the passphrase that was typed is empty")),
            false => Ok(Secret::new(answer.as_str())),
        }
    }

    fn known(&self, path: &Path) -> Option<Secret> {
        self.passphrases.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn remember(&self, path: &Path, passphrase: Secret) {
        let mut known = self.passphrases.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), passphrase);
    }

    /// As `ansible-vault encrypt` writes it, with the first of the passwords that are given.
    ///
    /// # Errors
    /// There is none.
    pub fn seal_vault(&self, path: &Path, text: &[u8]) -> Result<String, Problem> {
        let Some(password) = self.passwords.first() else {
            let problem = Problem::new(format!(
                "{} is to be encrypted by ansible-vault, and no vault password is given",
                path.display()
            ));
            let hint =
                "give --vault-password-file FILE or --ask-vault-pass, or set ANSIBLE_VAULT_PASSWORD_FILE";
            return Err(problem.hint(hint));
        };
        let typed = password.text(&self.asker)?;
        if password.is_typed() && !self.is_vault_password_sure.swap(true, Ordering::Relaxed) {
            let again = passwords::ask(&self.asker, "The same vault password again: ")?;
            if again.as_slice() != typed {
                return Err(Problem::new("the two vault passwords differ")
                    .hint("nothing was written; run the same command again"));
            }
        }
        let salt: [u8; SALT_BYTES] = rand::rng().random();
        Ok(Envelope::seal(text, password.label(), (&Key::derive(typed, &salt), &salt)))
    }

    /// What ansible-vault has encrypted as a file.
    ///
    /// # Errors
    /// No password opens it, or it is damaged.
    pub fn open_vault(&self, path: &Path, text: &str) -> Result<Zeroizing<String>, Problem> {
        self.decrypt(text).map_err(|closed| under(&path.display().to_string(), closed.problem()))
    }

    /// Armored, for all of these.
    ///
    /// # Errors
    /// age's own.
    pub fn seal_age(&self, recipients: &[String], text: &[u8]) -> Result<String, Problem> {
        age::seal(recipients, text)
    }

    /// # Errors
    /// No key here opens it, or it is damaged.
    pub fn open_age(&self, path: &Path, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Problem> {
        age::open(path, bytes, self)
    }
}

impl Closed {
    fn problem(self) -> Problem {
        match self {
            Closed::This(problem) | Closed::All(problem) => problem,
        }
    }
}

fn under(name: &str, why: Problem) -> Problem {
    let message = format!("`{name}`: {}", why.message);
    Problem { message, ..why }
}
