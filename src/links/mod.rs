//! Who connects to whom in a formation, and which line of each `pg_hba.conf` answers.

mod ask;
mod judge;
mod look;
mod needed;

pub use ask::asks;
pub use judge::{Judged, Page, Says, judge, shut_out, target, way, would_shut_out};
pub use look::{Looked, Wanted, parse, question};
pub use needed::{Link, Purpose, addresses, needed};
