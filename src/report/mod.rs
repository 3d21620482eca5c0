//! What a person or a program reads: plans, progress, recaps and tables, as text and as JSON.
//!
//! Everything here makes text of values; [`print()`] and [`log`] are the only two ways out: the result to stdout,
//! whatever accompanies it to stderr.

use std::io::{self, Read, Write as _};

pub mod answers;
pub mod diff;
pub mod facts;
pub mod json;
pub mod lint;
pub mod paint;
pub mod ping;
pub mod plan;
pub mod progress;
pub mod recap;
pub mod settings;
pub mod ssh_check;
pub mod status;
pub mod text;
pub mod verify;

/// Writes to stdout. A reader that is gone (`| head`, a closed terminal) must not stop a rollout half way.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Copies to stdout what a host said, however much it is; its last byte. As with [`print()`] a reader may be gone.
///
/// # Errors
/// Only those of reading.
pub fn copy(mut from: impl Read, bytes: Bytes) -> io::Result<Option<u8>> {
    let mut stdout = io::stdout().lock();
    let (mut chunk, mut last) = (vec![0; 64 * 1024], None);
    loop {
        let read = from.read(&mut chunk)?;
        let said = &chunk[..read];
        last = said.last().copied().or(last);
        let written = match bytes {
            Bytes::AsTheyAre => stdout.write_all(said),
            Bytes::Plain => stdout.write_all(&text::plain_bytes(said)),
        };
        if read == 0 || written.is_err() {
            let _ = stdout.flush();
            return Ok(last);
        }
    }
}

/// Whether what a host said may reach stdout unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// To a file or a program.
    AsTheyAre,
    /// To a terminal, which they could steer.
    Plain,
}

/// Writes to stderr, as [`print()`].
pub fn log(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
