//! What muster knows of one kind of thing, a file each: its facts, its probe, its parse, its steps.

pub mod adopted;
pub mod citus;
pub mod client;
pub mod data;
pub mod database;
pub mod given;
pub mod guc;
pub mod hba;
pub mod host;
pub mod installed;
pub mod keeper;
pub mod lock;
pub mod meant;
pub mod monitor;
pub mod names;
pub mod neighbours;
pub mod pgpass;
pub mod place;
pub mod properties;
pub mod psql;
pub mod refused;
pub mod replication;
pub mod settings;
pub mod streaming;
pub mod tls;
pub mod versions;
