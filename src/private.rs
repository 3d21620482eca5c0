//! Files of the operator's machine that nobody else may read, and the folders that hold them.
//!
//! A file is there whole or not at all, and on the disk when a function returns.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{Result, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// What is there is replaced.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let (file, folder) = beside(path, content)?;
    file.persist(path).map_err(|error| error.error)?;
    // One that may be written to and not be opened does, too.
    let _ = synced(folder);
    Ok(())
}

/// As [`write()`], of what everybody may read.
///
/// # Errors
/// As there.
pub fn write_for_all(path: &Path, content: &[u8]) -> Result<()> {
    let (file, folder) = beside(path, content)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    synced(folder)
}

/// What is there stays.
///
/// # Errors
/// As [`write()`]; [`std::io::ErrorKind::AlreadyExists`] where there is something.
pub fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let (file, folder) = beside(path, content)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    synced(folder)
}

/// With mode 0600, as libraries make such files.
fn beside<'p>(path: &'p Path, content: &[u8]) -> Result<(NamedTempFile, &'p Path)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok((file, folder))
}

/// With those above it; a folder that is there stays as it is.
///
/// # Errors
/// One that cannot be made.
pub fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // A name is on the disk once the folder above it is; one that is not ours to open was there before.
    for above in folder.ancestors().skip(1).take(2) {
        let _ = synced(above);
    }
    Ok(())
}

/// What was renamed in a folder is on the disk.
///
/// # Errors
/// One that cannot be opened.
pub fn synced(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}
