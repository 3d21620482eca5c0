//! `muster` brings PostgreSQL hosts into a Citus formation under a pg_auto_failover monitor, over SSH.
//!
//! # The fifteen-minute tour
//!
//! A run is five values, each made from the one before by one function:
//!
//! ```text
//! inventory/prod.yml ──load──▶ Formation ─┐
//!                                          ├──plan──▶ Plan ──execute──▶ Events ──report──▶ screen, exit code
//!      the machines  ──gather─▶ Facts ────┘
//! ```
//!
//! - [`Formation`](formation::Formation): what is wanted. It cannot be wrong: [`inventory::load`] parses straight
//!   into it, or points at the lines that are.
//! - [`Facts`](facts::Facts): what is there, or why it could not be seen. *Could not look* is never *is not there*:
//!   behind that mistake stands an `initdb` or a lost node.
//! - [`Plan`](plan::Plan): every [`Step`](step::Step) still to do, fully decided, each with its reason and its risk.
//! - [`Event`](event::Event): what happened. One channel, one writer to the screen.
//!
//! Only [`fleet`] and [`execute`] touch the network. A rerun is the same run: what is done is a fact, so it is not
//! planned again. There is no state file: the fleet, its monitor and its coordinator are the state.
//!
//! # Where to look
//!
//! **A command**, e.g. `src/cli/plan.rs`, reads as the line above: load, connect, gather, plan, report.
//!
//! **What is known of one kind of thing** (the host, TLS, the data directory, the monitor, the keeper, the Citus
//! metadata) is one file in [`resource`], always in the same four parts: its facts, its probe (a read-only `sh` or
//! SQL text that looks), its parse, its steps. None of them runs anything. [`facts`] puts the probes together into
//! one script, so that looking at a host is one round trip.
//!
//! **Nodes that only the monitor knows**, strangers, are told apart in the planner: see `src/plan/peer.rs`. **A part of
//! the formation** is a [`scope`]. **A command line in place of an inventory** becomes the text of one: [`create`];
//! so does **a formation that `pg_autoctl` made**: [`adopt`], whose files are edited by [`resource::adopted`].
//!
//! **How a node moves from one replication state to the next** is one table, [`fsm`], in pg_auto_failover's own
//! words. A pair of states without a row is blocked and says so, never guessed.
//!
//! **Everything that muster does** is an [`Op`](op::Op): initdb, a report, a row of `pg_dist_node`. Its title, its risk and what
//! the simulation does with it are matches without a wildcard; titles are for people, and nothing is decided by them.
//! **How a host is made to do it** is an [`Action`](step::Action): put a file, run a command, wait for an answer. All of them become a [`Command`](command::Command), a fixed script with arguments, environment and input;
//! the transport ([`ssh`]) has one method, which runs one. Values never become shell or SQL text by pasting, and a
//! [`Secret`](formation::Secret) prints as `***` wherever it goes.
//!
//! **Where a password comes from** is [`secrets`]: the inventory says which way, and only what a command needs is looked for.
//!
//! **Why a node is left alone, waits, or is not well** is a [`Reason`](reason::Reason): exit codes, and who waits for whom,
//! are matches on it. Its words are for people, and nothing is decided by them.
//!
//! **Whether it worked** is not the planner's to say: [`verify`] asks the monitor, the coordinator and a client, in
//! words of its own.
//!
//! **Who connects to whom**, and by which line of `pg_hba.conf` each comes in, is [`links`]; how PostgreSQL reads such a file is [`hba`].
//! A file that would keep out what the formation needs is placed nowhere.
//!
//! Modules use only what stands below them, and everything from [`plan`] down to [`formation`] is pure: no network,
//! no files, no clock, no printing. `tests/architecture.rs` holds the table, and enforces it.

pub mod adopt;
pub mod authority;
pub mod bounded;
pub mod cli;
pub mod command;
pub mod console;
pub mod create;
pub mod error;
pub mod event;
pub mod execute;
pub mod facts;
pub mod file;
pub mod fleet;
pub mod formation;
pub mod fsm;
pub mod hba;
pub mod inventory;
pub mod issue;
pub mod links;
pub mod op;
pub mod pattern;
pub mod plan;
pub mod private;
pub mod probe;
pub mod program;
pub mod reason;
pub mod report;
pub mod resource;
pub mod scope;
pub mod scram;
pub mod secrets;
pub mod session;
pub mod sql;
pub mod ssh;
pub mod state;
pub mod step;
pub mod sudoers;
pub mod template;
pub mod trial;
pub mod undo;
pub mod uri;
pub mod verify;
