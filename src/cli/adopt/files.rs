//! The inventory and its secrets, as files that nobody else may read.

use std::fs;
use std::path::{Path, PathBuf};

use super::Problems;
use crate::adopt::write::Written;
use crate::error::Problem;
use crate::private;
use crate::report;

/// Whether files that are there may be replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    Yes,
    No,
}

/// Writes it, secrets first: an inventory that is there is one that can be read.
pub(super) fn put(output: Option<&Path>, replace: Replace, written: &Written) -> Result<(), Problems> {
    let Some(path) = output else {
        if !written.secrets.is_empty() {
            let problem =
                Problem::new("the formation has passwords, and an inventory on stdout has no place for them");
            return Err(vec![problem.hint("name a file with -o: they go into a folder `secrets` beside it")]);
        }
        report::print(&written.text);
        return Ok(());
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let wrong = |path: &Path, error: &std::io::Error| {
        vec![Problem::new(format!("cannot write {}: {error}", path.display()))]
    };
    let secrets: Vec<PathBuf> = written.secrets.iter().map(|(path, _)| base.join(path)).collect();
    for (path, (_, secret)) in secrets.iter().zip(&written.secrets) {
        let there = fs::read(path).is_ok_and(|there| there == secret.reveal().as_bytes());
        if path.exists() && !there && replace == Replace::No {
            let problem = Problem::new(format!("{} is there already, with another secret", path.display()));
            return Err(vec![problem.hint("name an inventory in another folder, or say --force")]);
        }
    }
    for (path, (_, secret)) in secrets.iter().zip(&written.secrets) {
        let folder = path.parent().unwrap_or(Path::new("."));
        private_folder(folder).map_err(|error| wrong(folder, &error))?;
        private::write(path, secret.reveal().as_bytes()).map_err(|error| wrong(path, &error))?;
    }
    private::write(path, written.text.as_bytes()).map_err(|error| wrong(path, &error))
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
