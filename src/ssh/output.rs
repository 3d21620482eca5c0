//! What a command says, kept within bounds.

use std::collections::VecDeque;

/// Nothing muster asks for comes near this; a host that sends more is not read to the end.
pub(super) const MAX_STDOUT: usize = 64 * 1024 * 1024;

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
