//! `muster create`: the options of `pg_autoctl create`, each one a row, and the inventory they amount to.
//!
//! [`options`] is the table that the command line, its help, the manual and the tests follow; [`host`] reads what
//! stands for a host; [`mod@inventory`] puts both together, and [`blame`]
//! tells of its mistakes.

pub mod blame;
pub mod host;
pub mod inventory;
pub mod options;

pub use host::Host;
pub use inventory::{Given, Inventory, Origin, inventory};
pub use options::{Kind, Means, OPTIONS, Row};
