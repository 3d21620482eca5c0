//! What a person or a program reads: plans, progress, recaps and tables, as text and as JSON.
//!
//! Everything here makes text of values; [`print()`] and [`log`] are the only two ways out: the result to stdout,
//! whatever accompanies it to stderr.

use std::io::{self, Read, Write as _};
use std::sync::OnceLock;

pub mod answers;
pub mod cert;
pub mod diff;
pub mod facts;
pub mod hba;
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
pub mod version;

/// Why something did not reach stdout. What comes after it would stand behind a gap, and is not written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes to stdout. A reader that is gone (`| head`, a closed terminal) or a full disk must not stop a rollout half
/// way: whoever runs the command asks [`lost`] at its end.
pub fn print(text: &str) {
    write(|stdout| stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Why not everything reached stdout, where that is so.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// As [`lost`], unless whoever read has had enough of it (`| head`).
pub fn lost_unread() -> Option<&'static io::Error> {
    lost().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

/// Copies to stdout what a host said, however much it is; its last byte. Of writing it is as [`print()`].
///
/// # Errors
/// Only those of reading.
pub fn copy(mut from: impl Read, bytes: Bytes) -> io::Result<Option<u8>> {
    let (mut chunk, mut last) = (vec![0; 64 * 1024], None);
    loop {
        let read = from.read(&mut chunk)?;
        let said = &chunk[..read];
        last = said.last().copied().or(last);
        write(|stdout| match bytes {
            Bytes::AsTheyAre => stdout.write_all(said),
            Bytes::Plain => stdout.write_all(&text::plain_bytes(said)),
        });
        if read == 0 || lost().is_some() {
            write(io::Write::flush);
            return Ok(last);
        }
    }
}

fn write(what: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>) {
    if lost().is_none()
        && let Err(error) = what(&mut io::stdout().lock())
    {
        // The first one counts.
        let _ = LOST.set(error);
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
