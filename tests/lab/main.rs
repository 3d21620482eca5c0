//! Scenarios on real hosts: systemd, sshd, sudo, PostgreSQL, pg_auto_failover and Citus (or its stand-in).
//!
//! `lab.sh` beside this file makes the hosts; one fleet is shared, and every scenario starts from bare
//! ones. What is asserted is asked of the monitor, of PostgreSQL and of the file system, not of muster:
//! a planner that forgets also plans nothing.
//!
//! The fleet needs root. Without it the scenarios are left out, and say so.

#![expect(clippy::print_stderr, reason = "what a scenario saw is its report")]

mod adopt;
mod bastions;
mod certs;
mod changes;
mod create;
mod defaults;
mod fleet;
mod formation;
mod hba;
mod hostile;
mod interruptions;
mod keepers;
mod layouts;
mod limits;
mod lockout;
mod looks;
mod middle;
mod names;
mod own_ca;
mod passwords;
mod reboots;
mod refusals;
mod revoked;
mod rolling;
mod rollout;
mod secrets;
mod settings;
mod sudoers;
mod trust;
mod truth;
mod turns;
mod waits;
