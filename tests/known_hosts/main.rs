//! Host keys: what ssh trusts and what muster trusts, side by side, against real servers.
#![expect(clippy::print_stderr, reason = "a test that is left out must say so")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../ssh_support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod ssh_support;

mod cases;
mod first;
mod oracle;
mod pinned;
