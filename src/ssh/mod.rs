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
//! Deliberately absent: retries of commands (a rerun looks first, so it is the retry), prompts of any kind (a
//! pipeline cannot answer), writing to `known_hosts` (trust is the operator's to give), passwords.

mod auth;
pub mod config;
mod connect;
mod credentials;
mod exchange;
mod frame;
mod host_key;
mod known_hosts;
mod output;
mod session;
pub mod settings;

pub use credentials::Credentials;
pub use session::Session;
