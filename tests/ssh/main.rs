//! The transport against real sshds.
#![expect(clippy::print_stderr, reason = "a test that is left out must say so")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod bastion;
mod becoming;
mod faults;
mod hostile;
mod known_hosts;
mod login;
mod session;
mod support;
mod talk;
mod tools;
