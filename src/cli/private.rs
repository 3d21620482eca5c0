//! Files of the operator's machine that nobody else may read.

use std::io::Write as _;
use std::path::Path;

/// Whole or not at all; what is there is replaced.
pub(super) fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?; // mode 0600
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
