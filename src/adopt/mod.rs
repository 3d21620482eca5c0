//! From a formation that `pg_autoctl create` made to the inventory that describes it.
//!
//! ```text
//! pg_autoctl.cfg of each host, rows of the monitor ──draft──▶ Formation
//! Formation + Facts, as every plan begins with them ──complete──▶ Formation, notes
//! Formation + notes ──write──▶ the text of an inventory, and its secrets
//! ```
//!
//! Nothing here looks at a host: [`look`] has the scripts and reads what they answer, `cli` runs them.

pub mod complete;
pub mod draft;
mod levels;
pub mod look;
mod scalar;
mod vars;
pub mod write;
