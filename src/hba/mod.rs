//! `pg_hba.conf` as PostgreSQL reads it: which line answers a connection.
//!
//! The first line that fits answers, whatever stands below it. All of this is PostgreSQL's hba.c, 13 to 18: blanks and commas, quotes,
//! files within files, what a keyword is and what a name. What no file says (who is a member of a role, what name an address
//! has) is [`Ground`], and where it is not known no answer is guessed.

mod answer;
mod cover;
mod field;
mod read;
mod rule;

pub use answer::{Answer, By, Connection, Database, Ground, Seal, Unknown, answer};
pub use cover::shadows;
pub use read::{Ask, Files, Given, Line, Place, Read, read, read_text};
pub use rule::{Kind, METHODS, Origin, Rule, numeric};

/// Why a server would refuse a line by itself, and its whole file with it; `None` where it takes it. What only a host can tell (a file that the line
/// names) is no reason.
pub fn refuses(line: &str) -> Option<String> {
    /// What an older release refuses, its own server says.
    const RELEASE: u32 = 18;
    let fields = field::fields(line, RELEASE);
    if fields.is_empty() { None } else { rule::parse(&fields).err() }
}
