//! The transport: one connection a host, one method, [`Session::run`].
//!
//! A [`Command`](crate::command::Command) becomes one exec on a channel of its own. The login shell sees only a
//! fixed text and the quoted arguments; script, secrets and input travel on standard input (`frame`). What can go
//! wrong is told apart by what may have happened on the host: `Unreachable` and `Refused` say it, `Lost` and
//! `TimedOut` say that nobody knows.
//!
//! How a host is reached ([`settings::Settings`]) is decided before: by the inventory, and by ssh_config as OpenSSH reads it
//! ([`config`]).
//!
//! A login asks the operator only where ssh would, and only if there is somebody to ask (`login`): a passphrase once a
//! run, a password or a code where nothing else opens the host. A pipeline is never asked.
//!
//! Deliberately absent: retries of commands (a rerun looks first, so it is the retry), agent
//! forwarding. `known_hosts` is written only where `accept-new` is set (`trust`): trust is the operator's to give.

mod algorithms;
mod becoming;
pub mod config;
mod connect;
mod credentials;
mod dial;
mod exchange;
mod frame;
mod host_key;
mod link;
mod local;
mod login;
mod output;
mod session;
pub mod settings;
mod talk;
mod transport;
mod trust;

pub use crate::console::Asker;
pub use credentials::Credentials;
pub use link::Seen;
pub use output::Spool;
pub use session::{Captured, Session};
pub use talk::{Screen, Talk};
pub use transport::{Check, Hop, Overrides, Transport};
