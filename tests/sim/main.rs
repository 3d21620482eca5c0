//! A world of hosts in memory, edited by the steps of real plans: whatever happens to a run, runs converge.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod apply;
mod ask;
mod changeover;
mod changes;
mod conf;
mod converge;
mod create;
mod keeper;
mod limit;
mod metadata;
mod monitor;
mod oracle;
mod pairs;
mod passwords;
mod rolling;
mod run;
mod scenarios;
mod shown;
mod told;
mod world;
