//! What a person or a program reads: plans, progress, recaps and tables, as text and as JSON.
//!
//! Everything here makes text of values; [`print()`] and [`log`] are the only two ways out: the result to stdout,
//! whatever accompanies it to stderr.

use std::io::Write as _;

pub mod diff;
pub mod facts;
pub mod json;
pub mod paint;
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
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to stderr, as [`print()`].
pub fn log(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
