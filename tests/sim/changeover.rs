//! From one kind of certificates to another while everybody verifies everybody: cut at every step nobody is refused, and the next run
//! goes on.

use std::path::Path;
use std::sync::OnceLock;

use muster::formation::{Formation, NodeName, Tls};
use muster::inventory::parse;
use muster::reason::Reason;
use muster::resource::data::{STANDBY_CONF, node_dir};
use muster::resource::{certificate, settings};

use crate::converge::{assert_serves, settled};
use crate::run::{Dice, Trouble, execute, plan_for};
use crate::world::{Seeing, World, config_path, own_authority, with_what_is_made};

const PAIR: &str = "postgres: {hosts: {k: {}, x: {secondary: true}}}";
const CITUS: &str =
    "coordinator: {hosts: {k: {}}}, workers: {vars: {group: 1}, hosts: {w: {}, x: {secondary: true}}}";

const MANAGED: &str = "ssl: managed";
const MANAGED_REQUIRE: &str = "ssl: managed, ssl_mode: require";
const SELF_SIGNED: &str = "ssl_self_signed: true";
/// By convention of this test the authority of `/a/crt` is in `/a/ca`.
const A: &str = "server_cert: /a/crt, server_key: /a/key, ssl_ca_file: /a/ca";
const B: &str = "server_cert: /b/crt, server_key: /b/key, ssl_ca_file: /b/ca, ssl_mode: verify-ca";
const C: &str = "server_cert: /c/crt, server_key: /c/key, ssl_ca_file: /c/ca, ssl_crl_file: /c/crl";
const A_REQUIRE: &str = "server_cert: /a/crt, server_key: /a/key";

fn formation(hosts: &str, tls: &str) -> Formation {
    let vars = format!("pgdata: /srv/pg, auth: trust, {tls}");
    let text = format!("all: {{vars: {{{vars}}}, children: {{monitor: {{hosts: {{m: {{}}}}}}, {hosts}}}}}\n");
    let formation = parse("db.yml", &text, Path::new(""));
    with_what_is_made(formation.unwrap_or_else(|problems| panic!("{problems:#?}")))
}

/// The certificates in a file of a host.
fn authorities(world: &World, name: &NodeName, path: &str) -> Vec<String> {
    let text = match world.hosts[name].files.get(path) {
        Some(text) => text.clone(),
        None if path.ends_with(".node/ca.crt") => String::new(),
        None => own_authority(path),
    };
    certificate::blocks(&text)
}

/// Who vouches for the certificate that a server shows; nobody for a self-signed one.
fn shown(world: &World, name: &NodeName) -> Vec<String> {
    let data = world.hosts[name].data().expect("it is settled");
    let conf = &data.loaded["postgresql-auto-failover.conf"];
    let path = settings::value(conf, "ssl_cert_file").expect("it has TLS");
    if !path.ends_with(".node/server.crt") {
        return certificate::blocks(&own_authority(&path.replace("/crt", "/ca")));
    }
    let read = certificate::read(&data.loaded[path]).expect("it is a certificate");
    let signed =
        |pem: &&String| certificate::authority(pem).is_ok_and(|found| found.own_key == read.signed_with);
    static AUTHORITY: OnceLock<Vec<String>> = OnceLock::new();
    let ours = || formation(PAIR, MANAGED).authority.expect("it is managed").certificates;
    AUTHORITY.get_or_init(ours).iter().filter(signed).cloned().collect()
}

/// Everybody who verifies takes what everybody shows.
fn assert_nobody_is_refused(world: &World, when: &str) {
    let names: Vec<NodeName> = world.hosts.keys().cloned().collect();
    let shown: Vec<Vec<String>> = names.iter().map(|server| shown(world, server)).collect();
    for client in names.iter().filter(|name| world.formation.nodes.contains_key(*name)) {
        let host = &world.hosts[client];
        let data = host.data().expect("it is settled");
        let nothing = String::new();
        let standby = data.loaded.get(STANDBY_CONF).filter(|_| data.standby).unwrap_or(&nothing);
        let conf = &data.loaded["postgresql-auto-failover.conf"];
        let peers = settings::value(conf, "citus.node_conninfo");
        let file = &host.files[&config_path(world.server(client))];
        assert!(file.contains("sslmode"), "{file}");
        for conninfo in [host.remembers.as_str(), standby, peers.unwrap_or_default()] {
            if !conninfo.contains("sslmode=verify") {
                continue;
            }
            let word = conninfo
                .split(['\'', ' ', '&', '?', '\n'])
                .find_map(|word| word.strip_prefix("sslrootcert="));
            let path = word.unwrap_or_else(|| panic!("{when}: {client} verifies with nothing: {conninfo}"));
            let trusted = authorities(world, client, path);
            let is_own = conninfo.contains(".node/ca.crl");
            if conninfo.contains("sslcrl=") && !is_own {
                assert_eq!(trusted.len(), 1, "{when}: {client}: who is on no list is refused");
            }
            let path = format!("{}/ca.crl", node_dir(world.server(client)));
            let lists = certificate::lists(host.files.get(&path).map_or("", String::as_str));
            let of_list = |list: &String| certificate::revoked(list)?.signed_with;
            let listed: Vec<String> = lists.iter().filter_map(of_list).collect();
            let has_list = |pem: &String| {
                !is_own
                    || certificate::authority(pem)
                        .is_ok_and(|found| found.own_key.is_some_and(|key| listed.contains(&key)))
            };
            for (server, by) in names.iter().zip(&shown) {
                assert!(
                    by.iter().any(|pem| trusted.contains(pem) && has_list(pem)),
                    "{when}: {client} refuses what {server} shows, with {conninfo}"
                );
            }
        }
    }
}

/// The inventory says something else.
fn changed(world: &World, to: &Formation) -> World {
    let mut world = world.clone();
    world.formation = to.clone();
    world
}

/// Runs as the command does, cut off before a step; whether it came to its end.
fn run_cut(to: &Formation, world: &mut World, cut: usize, when: &str) -> bool {
    let (mut left, mut story) = (cut, Vec::new());
    for _ in 0..5 {
        let plan = plan_for(to, world);
        assert!(plan.blocked.is_empty(), "{when}: {:#?}", plan.blocked);
        story.extend(
            plan.steps().map(|(_, node, step)| format!("{node}: {} — {}", step.title(), step.because)),
        );
        let outcome = execute(&plan, world, Trouble::Cut(left), &mut Dice(cut as u64));
        assert!(outcome.failed.is_empty(), "{when}: {:#?}", outcome.failed);
        assert_nobody_is_refused(world, when);
        if outcome.cut {
            return false;
        }
        left -= outcome.steps;
        if plan.partial.is_none() {
            return true;
        }
    }
    panic!("{when}: more than one run makes of it: {story:#?}");
}

/// Cut at each step, or each `every`th; each third time the operator thinks better of it.
fn goes(hosts: &str, from: &str, to: &str, every: usize) {
    let (old, after) = (formation(hosts, from), formation(hosts, to));
    let before = settled(&old);
    assert_nobody_is_refused(&before, from);
    for (number, cut) in (0..).step_by(every).enumerate() {
        let when = format!("{from} -> {to}, cut at {cut}");
        let mut world = changed(&before, &after);
        if run_cut(&after, &mut world, cut, &when) {
            assert_serves(&after, &mut world, &when);
            assert!(plan_for(&after, &mut world).is_empty(), "{when}");
            for server in after.servers() {
                let Tls::Managed { ca, .. } = &server.tls else { continue };
                assert_eq!(authorities(&world, &server.name, ca).len(), 1, "{when}");
            }
            return;
        }
        let (next, when) = match number % 3 {
            0 => (&old, format!("{when}, and back")),
            _ => (&after, when),
        };
        world.formation = next.clone();
        world.rest();
        assert!(run_cut(next, &mut world, usize::MAX, &when), "{when}");
        assert_serves(next, &mut world, &when);
    }
}

#[test]
fn nobody_is_refused_on_the_way_to_an_authority_of_ones_own() {
    goes(PAIR, MANAGED, A, 1);
}

#[test]
fn nobody_is_refused_on_the_way_from_an_authority_of_ones_own() {
    goes(PAIR, A, MANAGED, 1);
}

#[test]
fn nobody_is_refused_on_the_way_from_one_kind_of_certificates_to_another() {
    for (from, to) in [(A, B), (SELF_SIGNED, A), (A, SELF_SIGNED), (B, MANAGED_REQUIRE), (MANAGED, A_REQUIRE)]
    {
        goes(PAIR, from, to, 4);
    }
}

#[test]
fn nobody_is_refused_where_a_list_of_revoked_certificates_or_another_mode_comes_with_it() {
    for (from, to) in [(B, C), (C, A), (C, MANAGED), (SELF_SIGNED, MANAGED), (MANAGED_REQUIRE, A)] {
        goes(PAIR, from, to, 4);
    }
}

#[test]
fn nobody_is_refused_by_citus_either() {
    goes(CITUS, MANAGED, A, 5);
}

/// Who cannot be told keeps all the others from showing something else; and what cannot be is told before the first step.
#[test]
fn no_server_shows_another_certificate_before_everybody_trusts_it() {
    let (before, after) = (settled(&formation(PAIR, MANAGED)), formation(PAIR, A));
    for name in ["m", "k", "x"] {
        let mut world = changed(&before, &after);
        world.host(name).sight = Seeing::Unreachable;
        for _ in 0..4 {
            let plan = plan_for(&after, &mut world);
            execute(&plan, &mut world, Trouble::Nothing, &mut Dice(1));
            world.rest();
        }
        let plan = plan_for(&after, &mut world);
        assert!(plan.is_empty(), "{name}");
        let told =
            plan.notes.values().flatten().any(|note| note.contains(&format!("before {name} accepts it")));
        assert!(told, "{name}: {:#?}", plan.notes);
        for other in world.hosts.keys().filter(|other| other.0 != name) {
            let data = world.hosts[other].data().expect("it is settled");
            let conf = &data.loaded["postgresql-auto-failover.conf"];
            let own = format!("{}/server.crt", node_dir(world.server(other)));
            assert_eq!(settings::value(conf, "ssl_cert_file"), Some(own.as_str()), "without {name}: {other}");
        }
    }
    // One that shows its old certificate still is away once the others show their new ones.
    let mut world = changed(&before, &after);
    for sight in [Seeing::Clear, Seeing::Unreachable] {
        let plan = plan_for(&after, &mut world);
        world.host("x").sight = sight;
        execute(&plan, &mut world, Trouble::Nothing, &mut Dice(1));
        world.rest();
    }
    let plan = plan_for(&after, &mut world);
    assert!(plan.is_empty() && !plan.notes.is_empty(), "{:#?}", plan.notes);
    assert_nobody_is_refused(&world, "x is away");
    world.host("x").sight = Seeing::Clear;
    assert!(run_cut(&after, &mut world, usize::MAX, "x is back"));
    assert_serves(&after, &mut world, "x is back");

    let mut world = changed(&before, &after);
    world.host("k").unvouched = true;
    let plan = plan_for(&after, &mut world);
    let told = &plan.blocked[&NodeName::from("k")];
    assert!(matches!(told, Reason::Refused(_)), "{told}");
}
