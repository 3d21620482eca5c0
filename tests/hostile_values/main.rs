//! Hostile values in every variable: refused with the line they stand on, or they arrive as they are.
//!
//! Who judges is not muster: each text that a plan would bring to a host is read back by a small reader of its own format
//! (`readers`), once with harmless values and once with hostile ones. Both must have the same shape, word for word, and
//! each word must be the harmless one with the hostile value in its place. Scripts must be the same texts.
//! `tests/lab/hostile.rs` asks PostgreSQL, systemd and pg_autoctl themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod pairs;
mod readers;
mod scene;
mod told;
mod values;
