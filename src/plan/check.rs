//! What forbids planning anything for a server: found before a single step is made.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::facts::{self, Seen};
use crate::formation::{Auth, Formation, Monitor, Node, NodeName, Server, Tls};
use crate::plan::{MonitorView, World, adopted, agreement, fixed, way_out};
use crate::resource::data::{self, Pgdata, Software};
use crate::resource::names::some_of;
use crate::resource::{client, database, guc, keeper, meant, monitor, neighbours, place, versions};
use crate::state::State;

/// The first reason to leave a server alone.
pub(super) fn refusal(world: &World, server: &Server) -> Option<String> {
    let seen = world.facts.seen(&server.name)?;
    let node = world.formation.nodes.get(&server.name);
    let Some(software) = &seen.software else {
        return Some("no PostgreSQL is installed: no pg_ctl was found; install it, or set pgctl".to_owned());
    };
    if server.adopted
        && let Some(why) = adopted::refusal(world, server, seen)
    {
        return Some(why);
    }
    None.or_else(|| versions::refusal(server, node, software))
        .or_else(|| keeper::refusal(server, node.map(|node| node.kind), &seen.host, software))
        .or_else(|| settings(server, software))
        .or_else(|| locale(server, seen))
        .or_else(|| agreement::refusal(world, server, software))
        .or_else(|| extensions(world.formation, server, node, software))
        .or_else(|| certificates(world, server, seen))
        .or_else(|| world.cannot_show(server, seen))
        .or_else(|| match server.adopted {
            true => None,
            false => neighbours::refusal(server, &seen.pgdata, &seen.around)
                .or_else(|| place::refusal(server, &seen.place, &seen.pgdata))
                .or_else(|| client::refusal(server, &seen.host.home, &seen.client, &seen.pgdata))
                .or_else(|| {
                    let whose = world.whose(&server.name);
                    let is_copy = is_keepers_copy(world, &server.name, seen);
                    data::refusal(server, &seen.pgdata, &whose, software).filter(|_| !is_copy)
                }),
        })
        .or_else(|| fixed::refusal(world, server, seen))
        .or_else(|| listen(world, server, seen))
        .or_else(|| port(server, seen))
        .or_else(|| meant::port(server, &seen.pgdata))
        .or_else(|| match seen.keeper.alive {
            Some(_) => None,
            None => place::no_tmp(server, &seen.place),
        })
        .or_else(|| match world.monitor {
            // What the monitor knows of it is not known.
            MonitorView::Unknown(_) => None,
            MonitorView::Fresh | MonitorView::Known(_) => {
                node.and_then(|node| registration(world, node, seen))
            }
        })
        // Last: a node that has changed its name is told so by its registration.
        .or_else(|| keeper::unit_in_the_way(server, &seen.host, &seen.keeper))
}

/// Where a server would listen that others look for elsewhere: they would be locked out, and only its own host could mend it.
fn listen(world: &World, server: &Server, seen: &Seen) -> Option<String> {
    let is_alone =
        world.formation.servers().count() == 1 && matches!(world.formation.monitor, Monitor::Managed(_));
    if server.adopted || is_alone {
        return None;
    }
    let mut listens = BTreeSet::new();
    for word in server.listen.split(',').map(str::trim) {
        let found = match word {
            "localhost" => BTreeSet::from([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            _ => match word.parse::<IpAddr>() {
                Ok(address) => BTreeSet::from([address]),
                Err(_) => world.names.addresses(word),
            },
        };
        // All of them, or nobody knows which.
        if word == "*" || found.is_empty() || found.iter().any(IpAddr::is_unspecified) {
            return None;
        }
        listens.extend(found);
    }
    let (listen, hostname) = (&server.listen, &server.hostname);
    let reached = world.names.addresses(hostname);
    let by_others = some_of(reached.iter());
    if listens.iter().all(IpAddr::is_loopback) {
        return Some(format!(
            "listen is {listen}, where nobody comes in but its own host: the others of the formation connect to {hostname}; give \
             an address of its own, or '*'"
        ));
    }
    // Behind a translation of addresses nobody knows.
    let is_here = !reached.is_empty() && reached.is_subset(&seen.host.addresses);
    (is_here && reached.is_disjoint(&listens)).then(|| {
        format!("listen is {listen}, and the others of the formation connect to {hostname}, which is {by_others}: add that, or give '*'")
    })
}

/// What PostgreSQL of this version would not take.
fn settings(server: &Server, software: &Software) -> Option<String> {
    let major = software.major;
    let wrong = server
        .settings
        .iter()
        .find_map(|(name, value)| Some((name, value, guc::wrong(name, value, Some(major))?)));
    let (name, value, wrong) = wrong?;
    let at = server.settings_at.get(name).map_or("the inventory's settings", String::as_str);
    Some(match wrong {
        guc::Wrong::Unknown(near) => {
            let near = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
            format!("PostgreSQL has no setting {name}{near}: correct it in {at}, or remove it")
        }
        guc::Wrong::Elsewhere(first, last) => {
            let versions = if first == last { first.to_string() } else { format!("{first} to {last}") };
            format!(
                "PostgreSQL {major} has no setting {name}, {versions} has: remove it for this host ({at})"
            )
        }
        guc::Wrong::Value(expected) => {
            format!(
                "the setting {name} must be {expected} for PostgreSQL {major}, not {value:.80}: correct it in {at}"
            )
        }
    })
}

/// Before initdb, which would leave half a directory behind.
fn locale(server: &Server, seen: &Seen) -> Option<String> {
    let begins = matches!(seen.pgdata, Pgdata::Empty);
    (begins && seen.host.lacks_locale).then(|| {
        format!(
            "the locale {} is not on {}: generate it there (locale -a lists those it has), or give another one as locale",
            server.initdb.locale, server.host.address
        )
    })
}

fn extensions(
    formation: &Formation,
    server: &Server,
    node: Option<&Node>,
    software: &Software,
) -> Option<String> {
    let needed: &[&str] = match (node, &formation.monitor) {
        (Some(node), _) => database::wanted_extensions(node),
        (None, Monitor::Managed(_) | Monitor::External(_)) => &["pgautofailover", "btree_gist"],
    };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|name| !software.extensions.contains_key(*name)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "the extension {} is not installed for PostgreSQL {} on {}: install its package",
        missing.join(" and "),
        software.major,
        server.host.address
    ))
}

/// Files that PostgreSQL cannot read or use: it would not start with them, or nobody could log in. On the way to other certificates it is
/// those of the inventory that are looked at, before the first step.
fn certificates(world: &World, server: &Server, seen: &Seen) -> Option<String> {
    let formation = world.over.map_or(world.formation, |over| over.wanted);
    let server = formation.servers().find(|wanted| wanted.name == server.name)?;
    if let Some(why) = world.over.and_then(|over| over.refusal(server, seen)) {
        return Some(why);
    }
    let missing = &seen.tls.unreadable;
    if !missing.is_empty() {
        return Some(format!(
            "cannot read {}: put the file there, readable for its server",
            missing.join(", ")
        ));
    }
    if let Some(trust) = &world.trust
        && let Some(why) = trust.refusal(server, &seen.tls, world.today)
    {
        return Some(why);
    }
    let Tls::Files { cert, ca, .. } = &server.tls else { return None };
    if !seen.tls.unusable.is_empty() {
        return Some(format!("PostgreSQL cannot use these files for TLS: {}", seen.tls.unusable.join("; ")));
    }
    if let Some(why) = facts::start::is_for_another(formation, server, seen) {
        return Some(why);
    }
    if let (true, false, Some(ca)) = (seen.tls.unvouched, server.adopted, ca) {
        return Some(format!(
            "nobody in {ca} vouches for the certificate {cert}, so that it would be refused: put the certificate of its authority there"
        ));
    }
    if seen.tls.ed25519 && server.auth == Auth::ScramSha256 {
        return Some(format!(
            "{cert} is an Ed25519 certificate, and clients cannot log in with scram-sha-256 over it: take one with ECDSA or RSA"
        ));
    }
    // Where nothing is made yet; a server that has it goes on, and `status` counts the days.
    let begins = matches!(seen.pgdata, Pgdata::Empty);
    let ended = seen.tls.served.as_ref().filter(|found| found.not_after < world.today);
    ended
        .filter(|_| begins)
        .map(|found| format!("the certificate {cert} ended on {}: put a new one there", found.not_after))
}

fn port(server: &Server, seen: &Seen) -> Option<String> {
    let runs = matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_some());
    if runs || !seen.host.listening.contains(&server.pgport) {
        return None;
    }
    let (port, pgdata) = (server.pgport, &server.pgdata);
    Some(match seen.around.servers.get(&port) {
        Some(dir) => format!(
            "port {port} is taken by the PostgreSQL server of {dir}, and pgdata is {pgdata}: if that is this node's server, set pgdata to {dir}; if not, set another pgport"
        ),
        None => format!("port {port} is taken by another process"),
    })
}

/// Where the monitor's row, the inventory and the data directory contradict one another.
fn registration(world: &World, node: &Node, seen: &Seen) -> Option<String> {
    let server = &node.server;
    let is_here = |host: &str, port: u16| host == server.hostname && port == server.pgport;
    let Some(row) = world.row(node.name()) else {
        if let Some(other) = world.rows().iter().find(|row| is_here(&row.host, row.port)) {
            return Some(format!(
                "the monitor knows {}:{} as {}; set name",
                other.host, other.port, other.name
            ));
        }
        if seen.keeper.alive.is_some() {
            let why = "a keeper runs here, but the monitor does not know the node: it was dropped, or the monitor is another";
            return Some(match way_out::join_anew(world, node) {
                Some(how) => format!("{why}; {how}"),
                None => why.to_owned(),
            });
        }
        if let Some(why) = other_formation(world) {
            return Some(why);
        }
        let is_primary = world.is_primary(node);
        return match &seen.pgdata {
            Pgdata::Present(_) if !is_primary => {
                let why = format!(
                    "{} holds data, but the monitor does not know the node: it was dropped, or the monitor is another",
                    server.pgdata
                );
                Some(match way_out::join_anew(world, node) {
                    Some(how) => format!("{why}; {how}"),
                    None => why,
                })
            }
            Pgdata::Present(found) if found.standby => {
                Some(format!("{} is a standby's, and the monitor does not know the node", server.pgdata))
            }
            // As the first of its group it would serve what may be older than what another monitor's nodes have.
            Pgdata::Present(_) => seen.keeper.state.map(|state| {
                format!(
                    "it was node {} of a monitor, and this one does not know it: it was dropped, or the monitor is \
                     another; where what is here may begin anew, move {} away",
                    state.node_id,
                    keeper::state_path(&seen.host.home, server)
                )
            }),
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        };
    };
    if !is_here(&row.host, row.port) {
        return Some(format!(
            "the monitor knows it at {}:{}, the inventory says {}:{}: correct hostname or pgport (to move a node, drop it \
             first), or give it a name of its own",
            row.host, row.port, server.hostname, server.pgport
        ));
    }
    if row.group != node.group {
        return Some(format!(
            "the monitor has it in group {}, the inventory in group {}: correct group",
            row.group, node.group
        ));
    }
    if let Some(why) = fixed::cluster(node, row) {
        return Some(why);
    }
    if let Some(why) = row.stuck() {
        return Some(format!("{why}; {}", way_out::drop_and_copy_anew(world, node)));
    }
    if row.assigned == Some(State::Dropped) {
        return Some(format!(
            "it is being dropped from the monitor, and its keeper has to agree; where none runs: {}",
            way_out::drop_from_monitor(world.formation, node.name())
        ));
    }
    let begins = matches!(row.reported, Some(State::Init | State::WaitStandby));
    match &seen.pgdata {
        Pgdata::Empty if !begins => Some(format!(
            "the monitor says it is {}, but {} is empty; {}",
            row.reported.map_or("in an unknown state", State::as_str),
            server.pgdata,
            way_out::drop_and_join_anew(world, node)
        )),
        Pgdata::Present(found)
            if row
                .system_identifier
                .as_ref()
                .is_some_and(|id| *id != found.system_identifier.to_string()) =>
        {
            Some(format!("{} holds other data than the monitor knows (system identifier)", server.pgdata))
        }
        // Somebody else became the group's primary while this one was being made.
        Pgdata::Present(found)
            if world
                .system_identifier(node.group)
                .is_some_and(|id| id != found.system_identifier.to_string()) =>
        {
            Some(format!(
                "{} holds other data than its group (system identifier); move the directory away to join it anew",
                server.pgdata
            ))
        }
        Pgdata::Empty | Pgdata::Present(_) | Pgdata::Foreign(_) => None,
    }
}

/// Why a node cannot join the formation that the monitor has under this name.
fn other_formation(world: &World) -> Option<String> {
    let facts = world.monitor_facts()?;
    let row = facts.formation.as_ref()?;
    // `default` is there from the start; its first node gives it kind and database.
    let is_open = world.formation.name == "default" && facts.nodes.is_empty();
    let kind = monitor::kind(world.formation);
    if is_open || (row.kind == kind && row.dbname == world.formation.dbname) {
        return None;
    }
    Some(format!(
        "the monitor's formation {} is of kind {} with dbname {}, the inventory's of kind {kind} with dbname {}: set \
         dbname, or name another formation",
        world.formation.name, row.kind, row.dbname, world.formation.dbname
    ))
}

/// Whether the keeper that muster gave this node has copied its group's data anew from a primary that is not muster's:
/// the mark in `postgresql.conf` is gone with the old directory, everything else says whose the data is.
fn is_keepers_copy(world: &World, name: &NodeName, seen: &Seen) -> bool {
    let (Pgdata::Present(found), Some(row)) = (&seen.pgdata, world.row(name)) else { return false };
    let state = seen.keeper.state;
    found.mark().is_none()
        && row.system_identifier.as_deref() == Some(found.system_identifier.to_string().as_str())
        && seen.keeper.guard.is_some()
        && state.is_some_and(|state| state.is_of(row))
}
