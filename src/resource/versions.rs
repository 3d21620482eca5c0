//! Which PostgreSQL, pg_auto_failover and Citus go together.
//!
//! What is known not to work is refused with the way out. What is newer than this table is let through with a note:
//! muster cannot know it.

use std::ops::RangeInclusive;

use crate::formation::{Keeper, Node, NodeKind, Server};
use crate::resource::data::Software;

/// A release line, and the major versions of PostgreSQL that it works with, of those that muster knows.
pub struct Line {
    /// As the extension's version begins: `13.2` of `13.2-1`.
    pub name: &'static str,
    pub postgresql: RangeInclusive<u32>,
}

/// A product of which every host has one release.
pub struct Product {
    pub name: &'static str,
    /// From the oldest to the newest.
    pub lines: &'static [Line],
}

/// Major versions of PostgreSQL that muster knows.
pub const POSTGRESQL: RangeInclusive<u32> = 13..=18;

const fn line(name: &'static str, first: u32, last: u32) -> Line {
    Line { name, postgresql: first..=last }
}

/// Sources: `src/monitor/version_compat.h`, CHANGELOG.md and the tests of v2.0, v2.1 and v2.2. Of 2.2 there are
/// packages for 18 (Debian patches it); upstream's stop at 17.
pub const PG_AUTO_FAILOVER: Product = Product {
    name: "pg_auto_failover",
    lines: &[line("2.0", 13, 15), line("2.1", 13, 16), line("2.2", 13, 18)],
};

/// Source: the check in `configure` of every tag from v11.0.2 to v14.0.1; of 13.0 only v13.0.0 still took 14.
pub const CITUS: Product = Product {
    name: "Citus",
    lines: &[
        line("11.0", 13, 14),
        line("11.1", 13, 15),
        line("11.2", 13, 15),
        line("11.3", 13, 15),
        line("12.0", 14, 15),
        line("12.1", 14, 16),
        line("13.0", 15, 17),
        line("13.1", 15, 17),
        line("13.2", 15, 17),
        line("14.0", 16, 18),
    ],
};

/// How a release and a PostgreSQL go together.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Together,
    /// Newer than the table.
    Unknown(String),
    Apart(String),
}

/// Why this host's programs cannot be used; `None` if they can.
pub fn refusal(server: &Server, node: Option<&Node>, software: &Software) -> Option<String> {
    if let Some(wanted) = server.pg_version.filter(|wanted| *wanted != software.major) {
        return Some(match &server.pgctl {
            Some(pgctl) => {
                format!(
                    "pg_version is {wanted}, and {pgctl} is of PostgreSQL {}: correct one of them",
                    software.major
                )
            }
            None => format!(
                "PostgreSQL {wanted} (pg_version) is not installed, but {} is: install it, or correct pg_version",
                software.major
            ),
        });
    }
    fits(server, node, software).into_iter().find_map(|fit| match fit {
        Fit::Apart(why) => Some(why),
        Fit::Together | Fit::Unknown(_) => None,
    })
}

/// What is newer than muster knows.
pub fn notes(server: &Server, node: Option<&Node>, software: &Software) -> Vec<String> {
    let unknown = fits(server, node, software).into_iter().filter_map(|fit| match fit {
        Fit::Unknown(what) => Some(what),
        Fit::Together | Fit::Apart(_) => None,
    });
    unknown.collect()
}

fn fits(server: &Server, node: Option<&Node>, software: &Software) -> Vec<Fit> {
    let mut fits = vec![postgresql(software.major)];
    if server.keeper != Keeper::None
        && let Some((_, version)) = &software.pg_autoctl
    {
        fits.push(fit(&PG_AUTO_FAILOVER, version, software.major));
    }
    let is_citus = node.is_some_and(|node| node.kind != NodeKind::Standalone);
    if let Some(version) = software.extensions.get("citus").filter(|_| is_citus) {
        fits.push(fit(&CITUS, version, software.major));
    }
    fits
}

fn postgresql(major: u32) -> Fit {
    let (first, last) = (POSTGRESQL.start(), POSTGRESQL.end());
    if POSTGRESQL.contains(&major) {
        Fit::Together
    } else if major < *first {
        Fit::Apart(format!(
            "PostgreSQL {major} is too old: install one from {first} to {last}, or name it with pg_version"
        ))
    } else {
        Fit::Unknown(format!("PostgreSQL {major} is newer than muster knows ({first} to {last})"))
    }
}

fn fit(product: &Product, version: &str, major: u32) -> Fit {
    let name = product.name;
    let (first, last) = (product.first(), product.last());
    let Some(found) = number(version) else {
        return Fit::Unknown(format!("the version of {name} cannot be read: {version:.40}"));
    };
    let release = format!("{}.{}", found.0, found.1);
    let Some(line) = product.lines.iter().find(|line| number(line.name) == Some(found)) else {
        if Some(found) < number(first) {
            return Fit::Apart(format!("{name} {release} is too old: install one from {first} to {last}"));
        }
        return Fit::Unknown(format!("{name} {release} is none that muster knows ({first} to {last})"));
    };
    if line.postgresql.contains(&major) || major > *POSTGRESQL.end() {
        return Fit::Together;
    }
    let (from, to) = (line.postgresql.start(), line.postgresql.end());
    let others: Vec<&str> =
        product.lines.iter().filter(|line| line.postgresql.contains(&major)).map(|line| line.name).collect();
    let way_out = match others[..] {
        [] => "use another PostgreSQL".to_owned(),
        [one] => format!("install {name} {one}, or use another PostgreSQL (pg_version)"),
        [one, .., other] => {
            format!("install {name} {one} to {other}, or use another PostgreSQL (pg_version)")
        }
    };
    Fit::Apart(format!(
        "{name} {release} goes with PostgreSQL {from} to {to}, and this is {major}: {way_out}"
    ))
}

impl Product {
    fn first(&self) -> &'static str {
        self.lines.first().map_or("", |line| line.name)
    }

    fn last(&self) -> &'static str {
        self.lines.last().map_or("", |line| line.name)
    }
}

/// The release line of an extension's version, e.g. `13.2` of `13.2-1`; versions of one line go together.
pub fn release(version: &str) -> Option<String> {
    number(version).map(|(major, minor)| format!("{major}.{minor}"))
}

/// `13.2-1`, `2.2`, `v2.1.3`: the first two numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_stand_in_their_order() {
        for product in [PG_AUTO_FAILOVER, CITUS] {
            let numbers: Vec<_> = product.lines.iter().map(|line| number(line.name)).collect();
            assert!(numbers.is_sorted() && numbers.iter().all(Option::is_some), "{}", product.name);
        }
    }

    #[test]
    fn what_goes_together_does_and_nothing_else() {
        assert_eq!(fit(&PG_AUTO_FAILOVER, "2.0", 15), Fit::Together);
        assert_eq!(fit(&PG_AUTO_FAILOVER, "2.2", 18), Fit::Together);
        assert_eq!(fit(&CITUS, "13.2-1", 15), Fit::Together);
        let apart = |product, version, major| match fit(product, version, major) {
            Fit::Apart(why) => why,
            other => panic!("{version} with {major}: {other:?}"),
        };
        assert_eq!(
            apart(&PG_AUTO_FAILOVER, "2.0", 17),
            "pg_auto_failover 2.0 goes with PostgreSQL 13 to 15, and this is 17: install pg_auto_failover 2.2, or use another PostgreSQL (pg_version)"
        );
        assert_eq!(
            apart(&CITUS, "11.3-2", 16),
            "Citus 11.3 goes with PostgreSQL 13 to 15, and this is 16: install Citus 12.1 to 14.0, or use another PostgreSQL (pg_version)"
        );
        assert!(apart(&PG_AUTO_FAILOVER, "1.6", 13).contains("too old"));
        assert!(apart(&CITUS, "10.2-5", 13).contains("too old"));
        for (product, version, major) in
            [(&PG_AUTO_FAILOVER, "2.3", 17), (&CITUS, "15.0-1", 18), (&CITUS, "", 15), (&CITUS, "12.2-1", 15)]
        {
            assert!(matches!(fit(product, version, major), Fit::Unknown(_)), "{version}");
        }
        // A PostgreSQL that muster does not know is noted once, not refused by the others.
        assert_eq!(fit(&CITUS, "14.0-1", 19), Fit::Together);
    }
}
