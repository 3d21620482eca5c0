//! What a server would not start again without: it runs on with what it has read, and nobody else looks.

use crate::facts::{Facts, Seen};
use crate::formation::{Formation, NodeName, Server, Tls};
use crate::resource::data::{Pgdata, STANDBY_CONF};

/// Files of a data directory without which PostgreSQL ends: `include` in `postgresql.conf` is no `include_if_exists`.
const NEEDED: [&str; 3] = ["postgresql.conf", "pg_hba.conf", "postgresql-auto-failover.conf"];

/// Servers that lack something, each with what it lacks.
pub(super) fn lacking<'a>(
    formation: &'a Formation,
    facts: &'a Facts,
) -> impl Iterator<Item = (&'a NodeName, String)> {
    formation.servers().filter_map(|server| {
        let lacks = of(server, facts.seen(&server.name)?);
        (!lacks.is_empty()).then(|| (&server.name, lacks.join("; ")))
    })
}

fn of(server: &Server, seen: &Seen) -> Vec<String> {
    let Pgdata::Present(found) = &seen.pgdata else { return Vec::new() };
    let mut said = Vec::new();
    let unreadable = &seen.tls.unreadable;
    if !unreadable.is_empty() {
        said.push(format!(
            "{} cannot be read, and PostgreSQL needs it at its next start: put it there, readable for its server",
            unreadable.join(" and ")
        ));
    }
    // What is there of an adopted server is its host's own.
    if server.adopted {
        return said;
    }
    let is_gone = |name: &&str| found.files.get(*name).is_none_or(Option::is_none);
    let mut gone: Vec<&str> = NEEDED.into_iter().filter(is_gone).collect();
    gone.extend(found.standby_conf.is_none().then_some(STANDBY_CONF));
    if let Tls::SelfSigned { .. } = server.tls {
        gone.extend(seen.tls.certificate.is_none().then_some("server.crt"));
        gone.extend((!seen.tls.key).then_some("server.key"));
    }
    if !gone.is_empty() {
        let (is, it) = if gone.len() == 1 { ("is", "it") } else { ("are", "them") };
        let names = gone.join(" and ");
        said.push(format!(
            "{names} {is} gone, and PostgreSQL needs {it} at its next start: apply puts {it} back"
        ));
    }
    said
}
