//! `accept-new`: the first answer of a host that no line speaks of is recorded.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use russh::keys::PublicKey;

use super::pattern::hashed;
use super::{Decision, Evidence, describe};
use crate::command::Failure;
use crate::ssh::settings::Settings;

/// How long others may hold the file: they write one line.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys that were accepted and could not be written, for the rest of this process: the second answer has to be the
/// same. The file, the name in it, the key.
static UNWRITTEN: Mutex<Vec<(PathBuf, String, PublicKey)>> = Mutex::new(Vec::new());

/// Letters that mean something in `known_hosts`; a name that has one cannot be recorded. The first row is OpenSSH's.
const SPECIAL: [&str; 2] = ["@?*#[]|'\"\\", ", !\t\r\n"];

/// Records a key as new, and says so; the text is for the operator.
///
/// Whoever else records at the same time is waited for, and then everything is judged again: the host may have become
/// known by then, by this key or by another.
pub(super) fn record(settings: &Settings, key: &PublicKey) -> Result<Option<String>, Failure> {
    let name = settings.key_name();
    let plain = settings.host_key_alias.as_ref().unwrap_or(&settings.hostname);
    if plain.contains(|letter| SPECIAL.iter().any(|letters| letters.contains(letter))) {
        return Err(refused(
            &name,
            "its name cannot stand in known_hosts",
            "set HostKeyAlias to a plain name",
        ));
    }
    let Some(path) = settings.host_keys.user_files.first() else {
        return Err(refused(
            &name,
            "there is no file to record it in",
            "name a file as known hosts; with /dev/null a key is trusted for one run only",
        ));
    };
    let shown = describe(key);
    let file = open(path);
    match Evidence::read(settings)?.judge_key(settings, key) {
        Decision::Trusted => return Ok(None),
        Decision::Refused(failure) => return Err(failure),
        Decision::New(_) => (),
    }
    let entry = if settings.host_keys.hash { hashed(&name) } else { name.clone() };
    match file.and_then(|file| append(&file, &entry, key)) {
        Ok(true) => {
            Ok(Some(format!("the host key of {name} is new and recorded in {}: {shown}", path.display())))
        }
        Ok(false) => {
            keep(path, &name, key)?;
            Ok(Some(format!("the host key of {name} is new, and trusted in this run only: {shown}")))
        }
        Err(error) => {
            // Said once for a file, not for each of sixty hosts.
            let why = match keep(path, &name, key)? {
                true => format!("; {} cannot be written: {error}", path.display()),
                false => String::new(),
            };
            Ok(Some(format!("the host key of {name} is new, and trusted in this run only: {shown}{why}")))
        }
    }
}

/// What was accepted for this name and could not be written.
pub(super) fn unwritten(settings: &Settings) -> Vec<PublicKey> {
    let (name, path) = (settings.key_name(), settings.host_keys.user_files.first());
    let Ok(kept) = UNWRITTEN.lock() else { return Vec::new() };
    let of_host = kept.iter().filter(|(file, of, _)| Some(file) == path && *of == name);
    of_host.map(|(_, _, key)| key.clone()).collect()
}

/// Keeps the key for this run; whether it is the first of its file.
fn keep(path: &Path, name: &str, key: &PublicKey) -> Result<bool, Failure> {
    let Ok(mut kept) = UNWRITTEN.lock() else { return Ok(true) };
    let first = !kept.iter().any(|(file, _, _)| file == path);
    match kept.iter().find(|(file, of, _)| file == path && of == name) {
        Some((_, _, other)) if other.key_data() != key.key_data() => {
            let why =
                format!("it shows {}, and showed {} to another connection", describe(key), describe(other));
            return Err(refused(
                name,
                &why,
                "two machines answer to this name: record the key of the right one",
            ));
        }
        Some(_) => (),
        None => kept.push((path.to_owned(), name.to_owned(), key.clone())),
    }
    Ok(first)
}

/// Opens the file and locks it, where it is a file; nobody but its owner has business with a new one.
fn open(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent().filter(|folder| folder.ends_with(".ssh") && !folder.exists()) {
        match DirBuilder::new().mode(0o700).create(folder) {
            // Another connection has made it meanwhile.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => (),
        }
    }
    let patience = Instant::now() + PATIENCE;
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let own = file.metadata()?;
        if !own.is_file() {
            return Ok(file);
        }
        match file.try_lock() {
            // `ssh-keygen -R` puts another file in its place: what is appended to the old one is lost.
            Ok(()) if std::fs::metadata(path).is_ok_and(|now| now.ino() == own.ino()) => return Ok(file),
            // A file system without locks; a line is still written at once.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) | Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                sleep(Duration::from_millis(5));
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorKind::WouldBlock, "somebody else holds a lock on it"));
            }
        }
    }
}

/// Writes one line, whole or not at all; `false` where nothing lasts, as in `/dev/null`.
fn append(mut file: &File, name: &str, key: &PublicKey) -> Result<bool, Error> {
    let own = file.metadata()?;
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(Error::other)?;
    let mut line = format!("{name} {key}\n");
    if !own.is_file() {
        file.write_all(line.as_bytes())?;
        return Ok(false);
    }
    let mut last = [b'\n'];
    if own.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        line.insert(0, '\n');
    }
    if let Err(error) = file.write_all(line.as_bytes()) {
        // Best effort: the disk is full or gone.
        let _ = file.set_len(own.len());
        return Err(error);
    }
    // The others need not wait for the disk. Where locks are not supported there is none to give back.
    let _ = file.unlock();
    file.sync_all().map(|()| true)
}

fn refused(name: &str, why: &str, hint: &str) -> Failure {
    Failure::Unreachable {
        reason: format!("the host key of {name} is not known, and it cannot be recorded: {why}"),
        hint: hint.to_owned(),
    }
}
