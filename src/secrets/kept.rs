//! The files of passwords that muster has made: read by every run, written by the first that rolls out with them.
//!
//! A file holds one password and a line end, its mode is 0600, and that of the folder 0700. `NAME.next` is one that is to take the
//! place of `NAME`: it does so only once the formation has it everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use zeroize::Zeroizing;

use super::folder::{self, Env};
use super::{Lines, text};
use crate::bounded;
use crate::error::Problem;
use crate::formation::{Formation, Password, Secret};
use crate::private;

/// Letters and digits alone: 190 bits, and the same text in a URI, in `~/.pgpass` and in a shell.
const LENGTH: usize = 32;
/// Bytes of a file; what libpq of PostgreSQL 13 takes as a password is shorter.
const MOST_BYTES: u64 = 1024;

/// The formation with the passwords of this machine's files, where the inventory gives none. Nothing is written.
///
/// # Errors
/// Files that are there and cannot be used.
pub fn read(formation: Formation, env: &Env) -> Result<Formation, Vec<Problem>> {
    rotated(formation, env, &BTreeSet::new())
}

/// As [`read`], with new ones in place of these; they are written by [`write()`] alone. A rotation that was cut off goes on with what it
/// has made.
///
/// # Errors
/// As [`read`].
pub fn rotated(
    mut formation: Formation,
    env: &Env,
    anew: &BTreeSet<Password>,
) -> Result<Formation, Vec<Problem>> {
    let lacking = formation.lacking();
    if lacking.is_empty() {
        return Ok(formation);
    }
    let folder = place(&formation, env).map_err(|problem| vec![problem])?;
    formation.kept.folder = folder.display().to_string();
    check_folder(&folder).map_err(|problem| vec![problem])?;
    let (mut found, mut made, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for password in lacking {
        match look(&folder, password) {
            Ok(Kept::Next(secret)) => {
                formation.kept.rotating.insert(password);
                found.insert(password, secret);
            }
            Ok(Kept::No | Kept::One(_)) if anew.contains(&password) => {
                formation.kept.rotating.insert(password);
                made.insert(password, new());
            }
            Ok(Kept::One(secret)) => {
                found.insert(password, secret);
            }
            Ok(Kept::No) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(formation.with_passwords(&found).making(made)) } else { Err(problems) }
}

/// What is there of a password.
enum Kept {
    No,
    One(Secret),
    /// One that is to take another's place.
    Next(Secret),
}

fn look(folder: &Path, password: Password) -> Result<Kept, Problem> {
    if let Some(secret) = of_file(&folder.join(next(password)))? {
        return Ok(Kept::Next(secret));
    }
    Ok(of_file(&folder.join(password.as_str()))?.map_or(Kept::No, Kept::One))
}

/// The file of one that is to take another's place.
fn next(password: Password) -> String {
    format!("{}.next", password.as_str())
}

/// What has taken the place of others is kept as what there is. For a formation that has got all of it.
///
/// # Errors
/// What could not be written.
pub fn settle(formation: &Formation) -> Result<(), Problem> {
    let folder = Path::new(&formation.kept.folder);
    for password in &formation.kept.rotating {
        let (from, to) = (folder.join(next(*password)), folder.join(password.as_str()));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot("write", &to, &error)),
            Ok(()) | Err(_) => {}
        }
    }
    match formation.kept.rotating.is_empty() {
        true => Ok(()),
        false => private::synced(folder).map_err(|error| cannot("write to", folder, &error)),
    }
}

/// The same with new passwords for what no file has; they are written by [`write()`] alone.
pub fn made(formation: Formation) -> Formation {
    let made: BTreeMap<Password, Secret> =
        formation.lacking().into_iter().map(|password| (password, new())).collect();
    formation.making(made)
}

/// By chance.
fn new() -> Secret {
    let mut rng = rand::rng();
    let text: Zeroizing<String> =
        Zeroizing::new((0..LENGTH).map(|_| char::from(rng.sample(Alphanumeric))).collect());
    Secret::new(text.as_str())
}

/// Writes what the formation has made; before any host is given a password it has to be on this machine's disk.
///
/// # Errors
/// What could not be written, or was there by now.
pub fn write(formation: &Formation) -> Result<(), Problem> {
    let folder = Path::new(&formation.kept.folder);
    if formation.kept.made.is_empty() {
        return Ok(());
    }
    make_folder(folder)?;
    for (password, secret) in &formation.kept.made {
        let name = match formation.kept.rotating.contains(password) {
            true => next(*password),
            false => password.as_str().to_owned(),
        };
        put(folder, &name, secret)?;
    }
    Ok(())
}

/// Where they are: as the inventory says, else the folder of this formation below the user's data.
fn place(formation: &Formation, env: &Env) -> Result<PathBuf, Problem> {
    match &formation.kept.given {
        Some(given) => Ok(PathBuf::from(given)),
        None => folder::of_formation(formation, env)
            .map_err(|problem| problem.hint("set XDG_DATA_HOME to an absolute path, or give `secrets_dir`")),
    }
}

/// Whoever may write there could give muster passwords of their own.
fn check_folder(folder: &Path) -> Result<(), Problem> {
    let name = folder.display();
    let found = match fs::metadata(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("look into", folder, &error)),
    };
    if !found.is_dir() {
        let problem = Problem::new(format!("`{name}` is no folder, and passwords are to be kept there"));
        return Err(problem.hint("move it away, or name another one as `secrets_dir`"));
    }
    if found.permissions().mode() & 0o022 != 0 {
        let problem = Problem::new(format!("others may write to the folder of passwords `{name}`"));
        return Err(problem.hint(format!("do `chmod 700 {name}`, and look at what is in it")));
    }
    Ok(())
}

/// `None` where there is no such file.
fn of_file(path: &Path) -> Result<Option<Secret>, Problem> {
    let name = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", path, &error)),
    };
    if found.permissions().mode() & 0o077 != 0 {
        let problem = Problem::new(format!("others may read the password in `{name}`"));
        return Err(problem.hint(format!(
            "do `chmod 600 {name}`; if somebody may have read it, take a new one afterwards"
        )));
    }
    let bytes = bounded::read(path, MOST_BYTES).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| cannot("read", path, &error))?;
    let secret = text(&bytes, Lines::One, &format!("the file `{name}`")).map_err(|problem| {
        problem.hint("it holds one password and nothing else: copy it from where it is whole, or give the password in the inventory")
    })?;
    Ok(Some(secret))
}

/// What is there stays as it is.
fn make_folder(folder: &Path) -> Result<(), Problem> {
    if folder.is_dir() {
        return check_folder(folder);
    }
    private::make_folder(folder).map_err(|error| cannot("make the folder", folder, &error))
}

/// Never in place of another.
fn put(folder: &Path, name: &str, secret: &Secret) -> Result<(), Problem> {
    let path = folder.join(name);
    let line = Zeroizing::new(format!("{}\n", secret.reveal()));
    private::write_new(&path, line.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Problem::new(format!("another run has made `{}` since this one began", path.display()))
                .hint("nothing was done; run the same command again")
        }
        _ => cannot("write", &path, &error),
    })
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    let why = error.to_string().to_lowercase();
    let problem = Problem::new(format!("cannot {what} `{}`: {why}", path.display()));
    problem.hint("muster keeps the passwords there that it makes: make that possible, or name another folder as `secrets_dir`")
}
