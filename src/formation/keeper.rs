//! Who watches a server.

use serde::Serialize;

/// How `pg_autoctl run` is kept running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// systemd where it runs, else detached.
    Auto,
    Systemd,
    Detached,
    /// No keeper: nothing will fail over.
    None,
    /// An adopted server's: muster neither starts, stops nor replaces it.
    AsFound,
}
