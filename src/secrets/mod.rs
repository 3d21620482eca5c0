//! Where passwords come from on this machine: ansible-vault, the environment, files, programs and age files.
//!
//! The inventory says what it wants, a [`Keyring`] has it: each thing is read, run or asked once a run, and only when it
//! is needed. No message holds a word of what was read.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::bounded;
use crate::console::Asker;
use crate::error::Problem;
use crate::formation::{Reference, Secret};
use crate::program::{self, Errors, PATIENCE, Silent};

mod age;
pub mod folder;
pub mod kept;
mod passwords;
mod protect;
mod vault;

pub use age::{is_age, is_recipient};
pub use vault::is_encrypted;

use passwords::Password;
use vault::{Envelope, Key, Sealed};

/// What opens what an inventory holds.
pub struct Keyring {
    /// In the order in which they are tried.
    passwords: Vec<Password>,
    /// Files of keys for age; where there is none, ssh's default keys.
    identities: Vec<PathBuf>,
    asker: Arc<Asker>,
    keys: Mutex<Keys>,
    /// What programs and age files have said.
    said: Mutex<BTreeMap<Vec<String>, Result<Secret, Problem>>>,
    /// By the file that they open.
    passphrases: Mutex<BTreeMap<PathBuf, Secret>>,
    /// Whether the one that is typed was typed twice: nobody encrypts with one that was mistyped.
    is_vault_password_sure: AtomicBool,
}

/// By the number of the password, and the salt.
type Keys = BTreeMap<(usize, Vec<u8>), Arc<Key>>;

/// What the command line and the environment name.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// `--vault-id`, with `ANSIBLE_VAULT_IDENTITY_LIST` before them.
    pub vault_ids: Vec<String>,
    /// `--vault-password-file`, with `ANSIBLE_VAULT_PASSWORD_FILE` behind them.
    pub vault_password_files: Vec<String>,
    /// `--ask-vault-pass`
    pub ask_vault_password: bool,
    /// `--age-identity`
    pub age_identities: Vec<String>,
}

/// Why something encrypted stays closed.
pub enum Closed {
    /// It is wrong by itself.
    This(Problem),
    /// So is everything else that is encrypted like it.
    All(Problem),
}

/// A secret, and what the operator should know about its place.
pub struct Found {
    pub secret: Secret,
    pub warning: Option<String>,
}

impl Keyring {
    /// Nothing is read, run or asked before it is needed.
    pub fn new(named: &Named, asker: Asker) -> Keyring {
        let ids = named.vault_ids.iter().map(|id| Password::of_id(id));
        let files = named.vault_password_files.iter().map(|file| Password::of_file(file));
        let asked = named.ask_vault_password.then(Password::asked);
        Keyring {
            passwords: ids.chain(files).chain(asked).collect(),
            identities: named.age_identities.iter().map(|path| passwords::in_home(path)).collect(),
            asker: Arc::new(asker),
            keys: Mutex::default(),
            said: Mutex::default(),
            passphrases: Mutex::default(),
            is_vault_password_sure: AtomicBool::new(false),
        }
    }

    /// No vault password, nobody to ask.
    pub fn empty() -> Keyring {
        Keyring::new(&Named::default(), Asker::nobody())
    }

    /// What ansible-vault has encrypted; passwords of the same label are tried first, then the others.
    pub fn decrypt(&self, text: &str) -> Result<Zeroizing<String>, Closed> {
        let broken = |why: &str| Closed::This(broken(why));
        let envelope = Envelope::parse(text).map_err(|why| broken(&why))?;
        if self.passwords.is_empty() {
            let problem = Problem::new("this is encrypted, and no vault password is given");
            let hint =
                "give --vault-password-file FILE or --ask-vault-pass, or set ANSIBLE_VAULT_PASSWORD_FILE";
            return Err(Closed::All(problem.hint(hint)));
        }
        let (same, other): (Vec<_>, Vec<_>) =
            self.passwords.iter().enumerate().partition(|(_, password)| password.label() == envelope.label);
        for (number, password) in same.into_iter().chain(other) {
            let key = self.key(number, password, &envelope.salt).map_err(Closed::All)?;
            match envelope.open(&key) {
                Ok(bytes) => {
                    return match std::str::from_utf8(&bytes) {
                        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
                        Err(_) => Err(broken("it is not UTF-8")),
                    };
                }
                Err(Sealed::WrongPassword) => {}
                Err(Sealed::Broken(why)) => return Err(broken(why)),
            }
        }
        let problem = match envelope.label.as_str() {
            "default" => Problem::new("no vault password that is given opens this"),
            label => Problem::new(format!(
                "no vault password that is given opens this; its label is {}",
                quote(label)
            )),
        };
        let labels: Vec<String> = self.passwords.iter().map(|password| quote(password.label())).collect();
        let hint = format!("tried: {}; or its digits have been changed", labels.join(", "));
        Err(Closed::This(problem.hint(hint)))
    }

    fn key(&self, number: usize, password: &Password, salt: &[u8]) -> Result<Arc<Key>, Problem> {
        let place = (number, salt.to_vec());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&place) {
            return Ok(key.clone());
        }
        let key = Arc::new(Key::derive(password.text(&self.asker)?, salt));
        keys.insert(place, key.clone());
        Ok(key)
    }

    /// What a reference stands for; relative paths start at `base`, and programs run there.
    pub fn find(&self, reference: &Reference, base: &Path) -> Result<Found, Problem> {
        let mut warning = None;
        let secret = match reference {
            Reference::Text(secret) => secret.clone(),
            Reference::Env(name) => of_environment(name)?,
            Reference::File(path) => {
                let (secret, may_be_read) = of_file(&path_in(base, path))?;
                warning = may_be_read;
                secret
            }
            Reference::Line(line) => {
                let command = ["/bin/sh", "-c", line].map(str::to_owned);
                self.once(base, &command, || said_by(&command, base, &first_word(line)))?
            }
            Reference::Program(words) => {
                let name = words.first().map_or("", String::as_str);
                self.once(base, words, || said_by(words, base, name))?
            }
            Reference::Age(path) => {
                let path = path_in(base, path);
                let place = [String::from("age:"), path.display().to_string()];
                self.once(base, &place, || {
                    text(&age::read(&path, self)?, Lines::One, &format!("the age file `{}`", path.display()))
                })?
            }
        };
        Ok(Found { secret, warning })
    }

    fn once(
        &self,
        base: &Path,
        place: &[String],
        find: impl Fn() -> Result<Secret, Problem>,
    ) -> Result<Secret, Problem> {
        let place = [&[base.display().to_string()], place].concat();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.entry(place).or_insert_with(find).clone()
    }
}

/// Why no password opens what is encrypted, where its form tells.
pub fn damage(text: &str) -> Option<Problem> {
    Envelope::parse(text).err().map(|why| broken(&why))
}

fn broken(why: &str) -> Problem {
    let problem = Problem::new(format!("what is encrypted here cannot be read: {why}"));
    problem.hint("encrypt it again with `ansible-vault`")
}

fn of_environment(name: &str) -> Result<Secret, Problem> {
    let value = std::env::var(name).map(Zeroizing::new).map_err(|error| match error {
        std::env::VarError::NotPresent => {
            Problem::new(format!("the environment has no variable {}", quote(name)))
                .hint("set and export it for muster")
        }
        std::env::VarError::NotUnicode(_) => {
            Problem::new(format!("the variable {} of the environment is not UTF-8", quote(name)))
        }
    })?;
    text(value.as_bytes(), Lines::One, &format!("the variable {} of the environment", quote(name)))
}

fn of_file(path: &Path) -> Result<(Secret, Option<String>), Problem> {
    let name = path.display();
    let unreadable = |error: std::io::Error| {
        Problem::new(format!("cannot read the file `{name}`: {error}"))
            .hint("a path in an inventory starts at the inventory's folder")
    };
    let file = path.metadata().map_err(unreadable)?;
    let bytes = bounded::read(path, program::MOST_BYTES).map(Zeroizing::new).map_err(unreadable)?;
    let secret = text(&bytes, Lines::One, &format!("the file `{name}`"))?;
    let warning = (file.permissions().mode() & 0o077 != 0)
        .then(|| format!("others may read the password in `{name}`; do `chmod 600 {name}`"));
    Ok((secret, warning))
}

fn said_by(words: &[String], base: &Path, name: &str) -> Result<Secret, Problem> {
    let name = quote(name);
    let Some((program, arguments)) = words.split_first() else {
        return Err(Problem::new("the command is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if !base.as_os_str().is_empty() {
        command.current_dir(base);
    }
    let said = program::run(&mut command, PATIENCE, Errors::Kept).map_err(|why| match why {
        Silent::CannotStart(error) => Problem::new(format!("the command {name} cannot be started: {error}")),
        Silent::Failed(why) => Problem::new(format!("the command {name} {why}")),
    })?;
    if said.status.success() {
        return text(&said.stdout, Lines::First, &format!("the output of the command {name}"));
    }
    let problem = Problem::new(format!("the command {name} failed: {}", said.status));
    Err(match said.last_errors().join("; ") {
        said if said.is_empty() => problem.hint("run it by hand and look"),
        said => problem.hint(format!("it said {}", quote(&said))),
    })
}

/// How much of a text is the password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// There may be one alone.
    One,
    /// Password managers put notes below.
    First,
}

fn text(bytes: &[u8], lines: Lines, what: &str) -> Result<Secret, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::new(format!("{what} is not UTF-8")))?;
    let text = match lines {
        Lines::One => text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text)),
        Lines::First => text.lines().next().unwrap_or_default(),
    };
    if text.is_empty() {
        return Err(Problem::new(format!("{what} is empty")));
    }
    if text.contains(['\n', '\r', '\0']) {
        let problem = Problem::new(format!("{what} is more than a line"));
        return Err(problem.hint("a password is one line, without control characters"));
    }
    Ok(Secret::new(text))
}

/// The program of a line; what is assigned before it may be secret.
fn first_word(line: &str) -> String {
    let words = line
        .split_whitespace()
        .skip_while(|word| word.contains('=') && !word.contains(['"', '\'', '\\', '$']));
    let is_plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c));
    // What is quoted may go on behind a space: then no word of it is told.
    words.into_iter().next().filter(is_plain).unwrap_or("sh").to_owned()
}

fn path_in(base: &Path, path: &str) -> PathBuf {
    match path.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => base.join(path),
    }
}

fn may_be_run(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = bytes.iter().position(|byte| !is_end(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_end(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// What a program or an inventory said, as it may stand in a message: on one line, without control characters.
fn quote(text: &str) -> String {
    const LONGEST: usize = 200;
    let shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<char>>(),
            false => vec![c],
        })
        .collect();
    format!("`{shown}`")
}
