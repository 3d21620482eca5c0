//! Host keys: what ssh trusts and what muster trusts, side by side, against real servers.

mod cases;
mod first;
mod oracle;
mod pinned;
