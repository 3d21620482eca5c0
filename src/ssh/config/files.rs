//! Configuration files, read once for all hosts; and what else is asked of this machine once.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use super::lines::{self, Line};
use super::{glob, lines::line};
use crate::error::{Place, Problem};

/// Bytes of a file; a configuration has thousands, not millions.
const LARGEST: u64 = 4 << 20;

/// What was read; shared by all hosts of a run, so that they all see the same.
pub struct Config {
    /// `None` is a file that is not there.
    files: Mutex<BTreeMap<PathBuf, Option<Arc<Lines>>>>,
    included: Mutex<BTreeMap<String, Arc<Vec<PathBuf>>>>,
    /// What commands of `Match exec` said.
    answers: Mutex<BTreeMap<String, bool>>,
    machine: OnceLock<Machine>,
    /// Of the whole machine: `/etc/ssh/ssh_config`.
    pub(super) system: PathBuf,
}

/// A file that was read.
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    is_safe: bool,
}

/// Where this runs.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) uid: u32,
}

/// Whether others may be able to write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It must be the user's own or root's, and writable by nobody else.
    Check,
    /// It was named by the operator, or is the machine's.
    Given,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            files: Mutex::default(),
            included: Mutex::default(),
            answers: Mutex::default(),
            machine: OnceLock::new(),
            system: PathBuf::from("/etc/ssh/ssh_config"),
        }
    }
}

impl Config {
    /// A file, read now or before; `None` if there is none.
    pub(super) fn file(&self, path: &Path, trust: Trust) -> Result<Option<Arc<Lines>>, Problem> {
        let known = self.files.lock().ok().and_then(|files| files.get(path).cloned());
        let file = match known {
            Some(file) => file,
            None => {
                let file = read(path, self.machine().uid)?.map(Arc::new);
                if let Ok(mut files) = self.files.lock() {
                    files.insert(path.to_owned(), file.clone());
                }
                file
            }
        };
        match &file {
            Some(lines) if trust == Trust::Check && !lines.is_safe => {
                let shown = path.display();
                Err(about(path, "others than you and root may write it".to_owned())
                    .hint(format!("chmod go-w {shown}; chown it to yourself or root")))
            }
            Some(_) | None => Ok(file),
        }
    }

    /// The files a pattern stands for, looked up now or before.
    pub(super) fn included(&self, pattern: &str) -> Result<Arc<Vec<PathBuf>>, String> {
        if let Some(known) = self.included.lock().ok().and_then(|known| known.get(pattern).cloned()) {
            return Ok(known);
        }
        let found = Arc::new(glob::files(pattern)?);
        if let Ok(mut known) = self.included.lock() {
            known.insert(pattern.to_owned(), Arc::clone(&found));
        }
        Ok(found)
    }

    /// Runs a command of `Match exec` with `$SHELL -c`, without input and output; asked once, it is not run again.
    pub(super) fn answer(&self, command: &str) -> Result<bool, String> {
        if let Some(known) = self.answers.lock().ok().and_then(|known| known.get(command).copied()) {
            return Ok(known);
        }
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let mut process = Command::new(&shell);
        process.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = process.status().map_err(|error| format!("cannot run {}: {error}", shell.display()))?;
        let Some(code) = status.code() else {
            return Err(format!("{command:?} was killed"));
        };
        if let Ok(mut known) = self.answers.lock() {
            known.insert(command.to_owned(), code == 0);
        }
        Ok(code == 0)
    }

    pub(super) fn machine(&self) -> &Machine {
        self.machine.get_or_init(|| Machine { name: name(), uid: uid() })
    }
}

fn read(path: &Path, own: u32) -> Result<Option<Lines>, Problem> {
    let cannot = |error: std::io::Error| {
        about(path, format!("cannot be read: {}", error.to_string().to_lowercase()))
            .hint("make it readable, or name another file")
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(Some(Lines { lines: Vec::new(), is_safe: is_safe(&metadata, own) }));
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
        return Err(about(path, "it is no file".to_owned()).hint("name a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(about(path, format!("it is larger than {LARGEST} bytes")).hint("is it an ssh_config?"));
    }
    let lines = lines::of_file(&path.display().to_string(), &bytes)?;
    Ok(Some(Lines { lines, is_safe: is_safe(&metadata, own) }))
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn is_safe(metadata: &Metadata, own: u32) -> bool {
    let is_owned = metadata.uid() == 0 || metadata.uid() == own;
    is_owned && metadata.permissions().mode() & 0o022 == 0
}

/// A problem of a whole file.
pub(super) fn about(path: &Path, message: String) -> Problem {
    let file = path.display().to_string();
    Problem::new(message).at(Place { file, line: 1, column: 1, width: 1, text: String::new() })
}

/// An option of the command line, as the line it would be.
pub(super) fn option(keyword: &str, value: &str) -> Result<Option<Line>, Problem> {
    line(&format!("{keyword} {value}"))
}

fn uid() -> u32 {
    let own = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    own.or_else(|| said("id", "-u")?.parse().ok()).unwrap_or(u32::MAX)
}

fn name() -> String {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    own.map(|name| name.trim().to_owned()).or_else(|| said("uname", "-n")).unwrap_or_default()
}

/// Where there is no `/proc`.
fn said(program: &str, option: &str) -> Option<String> {
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once_and_only_trusted_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let config = Config::default();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&path, "user a\n").unwrap();
        mode(0o664);
        let problem = config.file(&path, Trust::Check).err().unwrap();
        assert!(problem.hint.unwrap().contains("chmod"));
        assert_eq!(config.file(&path, Trust::Given).unwrap().unwrap().lines.len(), 1);
        fs::write(&path, "user a\nport 1\n").unwrap();
        assert_eq!(config.file(&path, Trust::Given).unwrap().unwrap().lines.len(), 1);
        assert!(config.file(&dir.path().join("none"), Trust::Check).unwrap().is_none());
        assert!(config.file(dir.path(), Trust::Given).unwrap().unwrap().lines.is_empty());
        assert!(config.file(Path::new("/dev/null"), Trust::Given).unwrap().unwrap().lines.is_empty());
        assert!(config.file(Path::new("/dev/zero"), Trust::Given).is_err());
        assert!(!config.machine().name.is_empty());
    }
}
