//! Logging in as ssh does: every kind of key, agents, certificates, passwords, codes, old hosts.

mod agents;
mod certificates;
mod fake_agent;
mod keys;
mod passwords;
mod questions;
mod servers;
pub(crate) mod setup;
mod terminal;
