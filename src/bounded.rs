//! Files of the operator's machine, read up to a limit: `/dev/zero` and a file of gigabytes are mistakes, not ends.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// The whole file, also of a pipe.
///
/// # Errors
/// That it cannot be read, or is of more bytes than `most`.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let too_large = || Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", most >> 20));
    let file = File::open(path)?;
    // Known of files; pipes and devices tell nothing.
    if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > most) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_refused() {
        let why = read(Path::new("/dev/zero"), 1 << 20).expect_err("it has no end");
        assert_eq!(why.to_string(), "it is larger than 1 MiB");
        assert_eq!(read(Path::new("/dev/null"), 1 << 20).expect("it is empty"), Vec::<u8>::new());
    }
}
