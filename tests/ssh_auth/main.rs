//! Logging in as ssh does, on a real sshd: every kind of key, agents, certificates, passwords, codes, old hosts.
#![expect(clippy::print_stderr, reason = "a test that is left out must say so")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../ssh_support/mod.rs"]
#[expect(dead_code, reason = "tests/ssh.rs uses the rest")]
mod ssh_support;

mod agents;
mod certificates;
mod fake_agent;
mod keys;
mod passwords;
mod questions;
mod servers;
mod setup;
mod terminal;
