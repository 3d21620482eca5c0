//! What a command says, kept within bounds.

use std::collections::VecDeque;
use std::io::{self, Read, Seek as _, Write as _};

use tempfile::SpooledTempFile;

use super::frame::Frame;

/// Nothing muster itself asks for comes near this; a host that sends more is not read to the end.
pub(super) const MAX_STDOUT: u64 = 64 * 1024 * 1024;

/// The most of an operator's own command: it is on this machine's disk, and it is somebody's mistake.
pub(super) const MAX_SPOOL: u64 = 8 * 1024 * 1024 * 1024;

/// Longer output is in a file: sixty hosts that say much must not fill the memory.
const IN_MEMORY: usize = 256 * 1024;

/// What a profile may print before the command starts.
const MAX_NOISE: usize = 256 * 1024;

/// Bytes of any number: few in memory, many in a temporary file that has no name.
pub struct Spool {
    file: SpooledTempFile,
    len: u64,
}

impl Spool {
    fn new() -> Spool {
        Spool { file: SpooledTempFile::new(IN_MEMORY), len: 0 }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads from the start; an error is this machine's disk.
    pub fn reader(&mut self) -> io::Result<impl Read + '_> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    /// All of it at once.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Why standard output is not taken in any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Over the limit, in bytes.
    Limit(u64),
    /// This machine cannot keep it.
    Disk(String),
}

/// Standard output: what comes before the mark is noise.
pub(super) struct Stdout {
    noise: Vec<u8>,
    /// The mark was seen; its process group, where it has one of its own.
    opened: Option<Option<u32>>,
    spool: Spool,
    most: u64,
}

impl Stdout {
    pub(super) fn new(most: u64) -> Stdout {
        Stdout { noise: Vec::new(), opened: None, spool: Spool::new(), most }
    }

    pub(super) fn push(&mut self, frame: &Frame, bytes: &[u8]) -> Result<(), Full> {
        if self.opened.is_some() {
            return self.keep(bytes);
        }
        self.noise.extend_from_slice(bytes);
        if let Some((group, rest)) = frame.opened(&self.noise) {
            self.opened = Some(group);
            let rest = rest.to_vec();
            self.noise.clear();
            return self.keep(&rest);
        }
        match self.noise.len() {
            0..=MAX_NOISE => Ok(()),
            _ => Err(Full::Limit(MAX_NOISE as u64)),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.spool.len += bytes.len() as u64;
        if self.spool.len > self.most {
            return Err(Full::Limit(self.most));
        }
        self.spool.file.write_all(bytes).map_err(|error| Full::Disk(error.to_string().to_lowercase()))
    }

    /// The command's process group, once it has told it.
    pub(super) fn group(&self) -> Option<u32> {
        self.opened.flatten()
    }

    /// What came behind the mark, or without a mark all there was.
    pub(super) fn finish(self) -> Result<Spool, Vec<u8>> {
        match self.opened {
            Some(_) => Ok(self.spool),
            None => Err(self.noise),
        }
    }
}

/// Of standard error the beginning names the cause and the end the outcome: half of 256 KiB for each.
const STDERR_END: usize = 128 * 1024;

/// Standard error: its beginning and its end.
#[derive(Default)]
pub(super) struct HeadAndTail {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: usize,
}

impl HeadAndTail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = (STDERR_END - self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(STDERR_END);
        self.tail.drain(..over);
        self.dropped += over;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n… {} bytes left out …\n", self.dropped).as_bytes());
        }
        bytes.extend(self.tail);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_stderr_are_kept() {
        let mut kept = HeadAndTail::default();
        kept.push(b"first ");
        for _ in 0..1000 {
            kept.push(&[b'x'; 1000]);
        }
        kept.push(b" last");
        let bytes = kept.into_bytes();
        assert!(bytes.starts_with(b"first x") && bytes.ends_with(b"x last"));
        assert!(bytes.len() < 2 * STDERR_END + 100);
        assert!(String::from_utf8_lossy(&bytes).contains("bytes left out"));
    }

    #[test]
    fn short_stderr_is_left_alone() {
        let mut kept = HeadAndTail::default();
        kept.push(b"psql: ");
        kept.push(b"error\n");
        assert_eq!(kept.into_bytes(), b"psql: error\n");
    }
}
