//! What psql said when a monitor did not let it in, as one line and what to look at.

use crate::formation::MonitorUri;
use crate::sql::uri_host;

/// The cause of one connection's failure in libpq's words, and what to say; the first that fits counts.
const CAUSES: &[(&str, Look)] = &[
    ("could not translate host name", Look::At("is the host of {} right, and its name known there?")),
    ("no password supplied", Look::Password),
    ("password authentication failed", Look::Password),
    (
        "no pg_hba.conf entry",
        Look::At(
            "does {} have the user and the database that `pg_autoctl show uri` prints, and does the monitor let this host in?",
        ),
    ),
    ("does not exist", Look::At("does {} have the user and the database that `pg_autoctl show uri` prints?")),
    ("certificate", Look::At("see to sslmode and sslrootcert of {}, and to the monitor's certificate")),
    ("SSL", Look::At("is the port of {} PostgreSQL's, and its sslmode one that the monitor has?")),
];

/// Where nothing answers, or not in PostgreSQL's words.
const ELSE: Look = Look::At("are host and port of {} right, and does the monitor run?");

#[derive(Clone, Copy)]
enum Look {
    /// `{}` is what the URI was given as.
    At(&'static str),
    /// The URI may have been given without one, and it beside it.
    Password,
}

/// Why a monitor of others cannot be asked, and what to do about it; `None` for what psql did not say.
pub fn by_monitor(uri: &MonitorUri, said: &str) -> Option<(String, String)> {
    let said = said.strip_prefix("psql: ")?;
    let (host, port) = (uri_host(&uri.host), uri.port);
    let why = format!("the monitor at {host}:{port} cannot be asked: {}", cause(said));
    let look = CAUSES.iter().find(|(words, _)| said.contains(words)).map_or(ELSE, |(_, look)| *look);
    Some((
        why,
        match look {
            Look::At(text) => text.replace("{}", &format!("`{}`", uri.given_as)),
            Look::Password if uri.given_as == crate::formation::MONITOR_VARIABLE => {
                "see to the password in `monitor`, or to `monitor_password`".to_owned()
            }
            Look::Password => "a URI with a password is given as PG_AUTOCTL_MONITOR".to_owned(),
        },
    ))
}

/// Without the connection, which the message names already, and the advice; of several addresses the first one's.
fn cause(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    let mut said = words.join(" ");
    while let Some(rest) = ["psql: ", "error: "].iter().find_map(|start| said.strip_prefix(start)) {
        said = rest.to_owned();
    }
    if let Some((_, rest)) =
        said.strip_prefix("connection to server at ").and_then(|it| it.split_once(" failed: "))
    {
        said = rest.to_owned();
    }
    for advice in [" Is the server running", " connection to server at ", " This may indicate"] {
        said.truncate(said.find(advice).unwrap_or(said.len()));
    }
    let said = said.strip_prefix("FATAL: ").unwrap_or(&said);
    // A sentence's beginning is not one's own in the midst of another; `SSL` stays.
    match said.split_at_checked(1) {
        Some((first, rest)) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
            first.to_ascii_lowercase() + rest
        }
        Some(_) | None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_is_told_in_one_line() {
        let mut uri = MonitorUri {
            host: "fd00::1".into(),
            port: 5999,
            user: "autoctl_node".into(),
            password: None,
            dbname: "pg_auto_failover".into(),
            parameters: Vec::new(),
            given_as: crate::formation::MONITOR_VARIABLE,
            is_own: false,
        };
        let at = "psql: psql: error: connection to server at \"mon\" (10.0.0.1), port 5999 failed:";
        for (said, cause, look) in [
            (
                format!(
                    "{at} Connection refused \tIs the server running on that host and accepting TCP/IP connections? \
                     connection to server at \"mon\" (::1), port 5999 failed: timeout "
                ),
                "connection refused",
                "are host and port of `monitor` right, and does the monitor run?",
            ),
            (
                "psql: psql: error: could not translate host name \"mno\" to address: Name or service not known ".to_owned(),
                "could not translate host name \"mno\" to address: Name or service not known",
                "is the host of `monitor` right, and its name known there?",
            ),
            (
                format!("{at} FATAL:  database \"x\" does not exist"),
                "database \"x\" does not exist",
                "does `monitor` have the user and the database that `pg_autoctl show uri` prints?",
            ),
            (
                format!("{at} SSL error: wrong version number This may indicate that the server does not …"),
                "SSL error: wrong version number",
                "is the port of `monitor` PostgreSQL's, and its sslmode one that the monitor has?",
            ),
            (
                format!("{at} FATAL:  password authentication failed for user \"autoctl_node\""),
                "password authentication failed for user \"autoctl_node\"",
                "see to the password in `monitor`, or to `monitor_password`",
            ),
        ] {
            let expected = format!("the monitor at [fd00::1]:5999 cannot be asked: {cause}");
            assert_eq!(by_monitor(&uri, &said), Some((expected, look.to_owned())), "{said}");
        }
        uri.given_as = "--monitor";
        let (_, look) = by_monitor(&uri, &format!("{at} Connection refused")).expect("psql said it");
        assert_eq!(look, "are host and port of `--monitor` right, and does the monitor run?");
        assert_eq!(by_monitor(&uri, "monitor: expected value at line 1"), None);
    }
}
