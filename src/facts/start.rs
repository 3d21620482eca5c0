//! What a server or its keeper would not start again or log in without: it runs on with what it has read, and nobody else
//! looks.

use crate::facts::{Facts, Seen, monitor_uri};
use crate::formation::{Formation, Keeper, Server, SslMode, Tls};
use crate::reason::Reason;
use crate::resource::data::{Pgdata, STANDBY_CONF};
use crate::resource::{keeper, pgpass};

/// Files of a data directory without which PostgreSQL ends: `include` in `postgresql.conf` is no `include_if_exists`.
const NEEDED: [&str; 3] = ["postgresql.conf", "pg_hba.conf", "postgresql-auto-failover.conf"];

/// What a server lacks, by what its host shows.
pub fn lacks(formation: &Formation, facts: &Facts, server: &Server, seen: &Seen) -> Vec<String> {
    let mut lacks = of(server, seen);
    lacks.extend(at_boot(server, seen));
    lacks.extend(is_for_another(formation, server, seen));
    if !server.adopted {
        let rows = facts.monitor(formation);
        let is_registered = rows.is_some_and(|monitor| monitor.row(&server.name).is_some());
        lacks.extend(of_keeper(server, is_registered, seen));
        let node = formation.nodes.get(&server.name).filter(|_| matches!(seen.pgdata, Pgdata::Present(_)));
        lacks.extend(node.and_then(|node| {
            pgpass::lacks(node, &monitor_uri(formation), seen.pgpass.as_ref(), seen.pgpass_mode)
        }));
    }
    lacks
}

/// The user's certificate, where it is not for the name by which others connect and verify: each of them is refused once the server shows it.
pub fn is_for_another(formation: &Formation, server: &Server, seen: &Seen) -> Option<String> {
    let (cert, found, way) = match &server.tls {
        Tls::Off | Tls::SelfSigned { .. } => return None,
        Tls::Managed { dir, .. } => {
            (&format!("{dir}/server.crt"), seen.tls.certificate.as_ref()?, "apply has one signed")
        }
        Tls::Files { cert, .. } => (cert, seen.tls.given.as_ref()?, "put one for it there"),
    };
    let verifies = |other: &Server| other.name != server.name && other.tls.mode() == SslMode::VerifyFull;
    (formation.servers().any(verifies) && !found.is_for(&server.hostname)).then(|| {
        let names = if found.names.is_empty() { "nobody".to_owned() } else { found.names.join(", ") };
        let host = &server.hostname;
        format!(
            "the certificate {cert} is for {names}, and not for {host}: others connect by that name and verify it (`ssl_mode: verify-full`), and \
             are refused once it is shown; {way}"
        )
    })
}

/// A keeper that lives, and that nobody would start after a reboot, though systemd is to.
fn at_boot(server: &Server, seen: &Seen) -> Option<String> {
    seen.keeper.alive?;
    // Masked is something else, and told as that.
    if keeper::masked(server, &seen.host, &seen.keeper).is_some() {
        return None;
    }
    let unit = keeper::starts_at_boot(server, &seen.host, &seen.keeper, seen.adopted.as_ref()).err()??;
    let way = match server.adopted {
        true => format!("systemctl enable {unit} on its host"),
        false => "apply enables it".to_owned(),
    };
    Some(format!("{unit} is not enabled, so that nobody starts its pg_autoctl after a reboot: {way}"))
}

/// A keeper that lives has what it read, too; its state it reads anew each time.
fn of_keeper(server: &Server, is_registered: bool, seen: &Seen) -> Vec<String> {
    if server.keeper == Keeper::None || !seen.keeper.has_been() {
        return Vec::new();
    }
    let config = seen.keeper.config.is_none().then_some(
        "pg_autoctl.cfg is gone, and its pg_autoctl needs it at its next start: apply puts it back",
    );
    let is_lost = is_registered && seen.keeper.state.is_none() && seen.keeper.alive.is_some();
    let state = is_lost
        .then_some("pg_autoctl.state is gone, and its keeper reports nothing without it: apply puts it back");
    config.into_iter().chain(state).map(str::to_owned).collect()
}

fn of(server: &Server, seen: &Seen) -> Vec<String> {
    let Pgdata::Present(found) = &seen.pgdata else { return Vec::new() };
    let down = seen.why_down().map(|why| Reason::DoesNotStart(why.to_owned()).to_string());
    let mut said: Vec<String> = down.into_iter().chain(found.spoiled.iter().cloned()).collect();
    let unreadable = &seen.tls.unreadable;
    if !unreadable.is_empty() {
        // A client that verifies reads its authority for every connection.
        let is_needed_now = match &server.tls {
            Tls::Files { ca: Some(ca), mode, .. } => *mode >= SslMode::VerifyCa && unreadable.contains(ca),
            Tls::Files { .. } | Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } => false,
        };
        let when = match is_needed_now && server.keeper != Keeper::None {
            true => "its keeper needs it for every connection, and PostgreSQL at its next start",
            false => "PostgreSQL needs it at its next start",
        };
        said.push(format!(
            "{} cannot be read, and {when}: put it there, readable for its server",
            unreadable.join(" and ")
        ));
    }
    if let Tls::Managed { ca, mode, .. } = &server.tls
        && *mode >= SslMode::VerifyCa
        && seen.tls.trusts_nobody()
    {
        let what = if seen.tls.authority.is_some() { "holds no certificate" } else { "is gone" };
        said.push(format!(
            "{ca} {what}, and its keeper and its peers' sessions need it for every connection: apply puts it back"
        ));
    }
    if server.tls != Tls::Off && !seen.tls.unusable.is_empty() {
        let why = seen.tls.unusable.join("; ");
        let way = match server.tls {
            Tls::SelfSigned { .. } | Tls::Managed { .. } => ": apply makes a new pair",
            Tls::Files { .. } | Tls::Off => "",
        };
        said.push(format!(
            "PostgreSQL cannot use the files of its certificate at its next start ({why}){way}"
        ));
    }
    // What is there of an adopted server is its host's own.
    if server.adopted {
        return said;
    }
    let is_gone = |name: &&str| found.files.get(*name).is_none_or(Option::is_none);
    let mut gone: Vec<&str> = NEEDED.into_iter().filter(is_gone).collect();
    gone.extend(found.standby_conf.is_none().then_some(STANDBY_CONF));
    if let Tls::SelfSigned { .. } | Tls::Managed { .. } = server.tls {
        gone.extend((!seen.tls.file).then_some("server.crt"));
        gone.extend((!seen.tls.key).then_some("server.key"));
    }
    if server.tls.crl().is_some() && matches!(server.tls, Tls::Managed { .. }) {
        gone.extend(seen.tls.revoked.is_none().then_some("ca.crl"));
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
