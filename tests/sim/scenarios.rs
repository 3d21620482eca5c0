//! `tests/plan/*.txt`: a formation, facts, and the plan word for word. A file more is a scenario more.
//!
//! ```text
//! what it shows
//! ---- inventory
//! minimal.yml                       a file of inventory/, or YAML
//! ---- limit                        if there is one
//! workers:!w2b
//! ---- goal                         if it is no rollout: `restart`, `switchover 1`, `maintenance on w1b`; see `goal`
//! ---- before                       if it was another one when it settled
//! ---- others                       if any: an inventory of somebody else's in the same formation, at one monitor
//! ---- facts
//! others settled                    what stands under `---- others` is made first, by its own keepers and operators
//! settled                           else the hosts are bare
//! w1a: pgdata foreign photos        edits, in their order: see `edit`
//! ---- plan
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::civil::Date;
use muster::formation::{Formation, NodeName, Password, Secret};
use muster::inventory::parse;
use muster::op::Switch;
use muster::plan::{
    Certificates, Downtime, Goal, LeftOut, Maintenance, Plan, Reboot, Restart, Rotation, Switchover, Which,
    plan,
};
use muster::resource::certificate::Certificate;
use muster::resource::citus::CitusNode;
use muster::resource::data::node_dir;
use muster::resource::database::Right;
use muster::resource::host::Resolved;
use muster::resource::keeper::Idle;
use muster::resource::managed::Renew;
use muster::resource::neighbours::{Neighbour, Whose};
use muster::resource::pair::{Holds, Link, Pair};
use muster::resource::place::{Access, Is};
use muster::scope::Scope;
use muster::state::State;
use muster::step::Risk;

use crate::converge::example;
use crate::run::{Dice, TODAY, Trouble, converge, execute};
use crate::world::{
    Data, Host, Place, SHOWN, Seeing, World, boot_id, config_path, own_authority, unit_path, with_authority,
    with_what_is_made, write_state,
};

#[test]
fn every_scenario_plans_what_it_says() {
    let mut files: Vec<_> = fs::read_dir("tests/plan").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25);
    let mut wrong = String::new();
    let mut known = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (head, expected) = text.split_once("---- plan\n").unwrap_or((&text, ""));
        let (title, rest) =
            head.split_once("---- inventory\n").unwrap_or_else(|| panic!("{name}: no inventory"));
        let (inventory, facts) =
            rest.split_once("---- facts\n").unwrap_or_else(|| panic!("{name}: no facts"));
        let (inventory, wanted) = match inventory.split_once("---- goal\n") {
            Some((inventory, goal)) => (inventory, goal.trim()),
            None => (inventory, ""),
        };
        let (inventory, limit) = match inventory.split_once("---- limit\n") {
            Some((inventory, limit)) => (inventory, Some(limit)),
            None => (inventory, None),
        };
        let read = |text: &str| match text.trim() {
            file if file.ends_with(".yml") => example(file),
            yaml => parse(name, yaml, Path::new("/base"))
                // Where passwords are what it is about, it says so.
                .map(if yaml.contains("auth:") { with_authority } else { with_what_is_made })
                .unwrap_or_else(|problems| panic!("{name}: {problems:#?}")),
        };
        let (own, others) = inventory.split_once("---- others\n").unzip();
        let (own, before) = match own.unwrap_or(inventory).split_once("---- before\n") {
            Some((own, before)) => (own, Some(made(read(before)))),
            None => (own.unwrap_or(inventory), None),
        };
        let (formation, others) = (made(read(own)), others.map(read));
        let mut lines = facts.lines().filter(|line| !line.is_empty()).peekable();
        let mut world = World::bare(&together(&formation, others.as_ref()));
        // Most begin with the same few formations as they are when settled.
        if others.is_none() && lines.next_if_eq(&"settled").is_some() {
            let settled = || {
                world.formation = before.unwrap_or(world.formation);
                edit(&world.formation.clone(), &mut world, "settled").unwrap();
                world.formation = formation.clone();
                world
            };
            world = known.entry(inventory.to_owned()).or_insert_with(settled).clone();
        }
        for line in lines {
            let (whose, line) = match line {
                "others settled" => (others.as_ref().expect("there are others"), "settled"),
                line => (&formation, line),
            };
            edit(whose, &mut world, line).unwrap_or_else(|| panic!("{name}: not understood: {line}"));
        }
        let scope = limit.map_or(Scope::whole(), |limit| scope(&formation, limit.trim()));
        let facts = world.facts_of(&formation, &scope);
        let goal = goal(&formation, wanted).unwrap_or_else(|| panic!("{name}: not understood: {wanted}"));
        let made = goal
            .plan(&formation, &scope, &facts, TODAY)
            .unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let again = goal.plan(&formation, &scope, &facts, TODAY).unwrap();
        assert_eq!(without_certificates(&made), without_certificates(&again), "{name}");
        let actual = shown(&made);
        if actual != expected {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&target, format!("{head}---- plan\n{actual}")).unwrap();
            let diff = similar::TextDiff::from_lines(expected, &actual);
            wrong +=
                &format!("{name}: {title}{}as it would be: {}\n\n", diff.unified_diff(), target.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// With passwords that its run makes, where the inventory leaves them to muster.
fn made(mut formation: Formation) -> Formation {
    formation.kept.folder = "FOLDER".to_owned();
    let lacking = formation.lacking();
    formation.making(lacking.into_iter().map(|password| (password, Secret::new("made"))).collect())
}

pub(crate) fn scope(formation: &Formation, limit: &str) -> Scope {
    let none = |_: &str| Err("there are no files".to_owned());
    let names = muster::pattern::select(&formation.roster, limit, &none);
    Scope::of(formation, names.unwrap_or_else(|problem| panic!("{problem}")))
}

/// What a run is for: nothing for a rollout; `restart [pending] [downtime] [HOST…]`, `switchover GROUP [HOST]`,
/// `rotate [PASSWORD…]`, `maintenance on|off HOST…`, `reboot [again] [downtime] [HOST…]`.
fn goal(formation: &Formation, line: &str) -> Option<Goal> {
    let mut words = line.split_whitespace();
    let verb = words.next();
    let rest: Vec<&str> = words.collect();
    let named = |words: &[&str]| words.iter().map(|word| NodeName::from(*word)).collect::<BTreeSet<_>>();
    let hosts = |words: &[&str]| {
        let options = ["pending", "downtime", "again"];
        let hosts: Vec<&str> = words.iter().copied().filter(|word| !options.contains(word)).collect();
        let all = || formation.servers().map(|server| server.name.clone()).collect();
        if hosts.is_empty() { all() } else { named(&hosts) }
    };
    let downtime = |words: &[&str]| match words.contains(&"downtime") {
        true => Downtime::Allowed,
        false => Downtime::Refused,
    };
    Some(match (verb, &rest[..]) {
        (None, _) => Goal::ROLLOUT,
        (Some("restart"), words) => Goal::Restart(Restart {
            nodes: hosts(words),
            which: if words.contains(&"pending") { Which::Pending } else { Which::All },
            downtime: downtime(words),
            serial: None,
            canary: None,
        }),
        (Some("rotate"), words) => {
            let named = |password: &Password| words.is_empty() || words.contains(&password.as_str());
            Goal::Rotation(Rotation { passwords: Password::ALL.into_iter().filter(named).collect() })
        }
        (Some("cert-renew"), words) => {
            Goal::Certificates(Certificates { nodes: hosts(words), renew: Renew::Always })
        }
        (Some("reboot"), words) => Goal::Reboot(Reboot {
            nodes: hosts(words),
            up_for: 60,
            left_out: if words.contains(&"again") { LeftOut::ComeBack } else { LeftOut::Stay },
            downtime: downtime(words),
            serial: None,
            canary: None,
            here: Some(boot_id(77)),
        }),
        (Some("switchover"), [group, to @ ..]) => Goal::Switchover(Switchover {
            group: group.parse().ok()?,
            to: to.first().map(|name| NodeName::from(*name)),
        }),
        (Some("maintenance"), [turn, hosts @ ..]) => Goal::Maintenance(Maintenance {
            nodes: named(hosts),
            turn: if *turn == "on" { Switch::On } else { Switch::Off },
        }),
        (Some(_), _) => return None,
    })
}

/// Everything that is in the world of an inventory and of others'.
pub(crate) fn together(formation: &Formation, others: Option<&Formation>) -> Formation {
    let mut whole = formation.clone();
    whole.nodes.extend(others.into_iter().flat_map(|others| others.nodes.clone()));
    whole
}

/// A plan as JSON; key pairs are new each time, and the private half is never in it.
pub(crate) fn without_certificates(plan: &Plan) -> String {
    let json = serde_json::to_string(plan).unwrap();
    let mut parts = json.split("-----BEGIN CERTIFICATE-----");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once("-----END CERTIFICATE-----").map_or(part, |(_, rest)| rest);
    }
    text
}

/// Everything an operator is told.
fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for wave in &plan.waves {
        text += &format!("{}\n", wave.stage.as_str());
        for lane in &wave.lanes {
            for (index, turn) in lane.turns.iter().enumerate() {
                let then = if index == 0 { "" } else { "then " };
                let node = &turn.node;
                for (index, step) in turn.all().enumerate() {
                    let gate = if index < turn.steps.len() { "" } else { "gate: " };
                    let on = if step.on == *node { String::new() } else { format!(" on {}", step.on) };
                    let risk = match step.risk() {
                        Risk::Safe => "",
                        Risk::Reload => " [reload]",
                        Risk::Restart => " [restart]",
                        Risk::Destroy => " [destroy]",
                    };
                    text += &format!("  {then}{node}{on}: {gate}{} — {}{risk}\n", step.title(), step.because);
                }
            }
        }
    }
    for (node, why) in &plan.blocked {
        text += &format!("blocked {node}: {why}\n");
    }
    for (node, why) in plan.unwell.iter().flat_map(|(node, all)| all.iter().map(move |why| (node, why))) {
        text += &format!("not well {node}: {why}\n");
    }
    for (node, failure) in &plan.unreachable {
        text += &format!("unreachable {node}: {}\n", failure.cause());
    }
    if !plan.outside.is_empty() {
        text += &format!("outside {}\n", plan.outside.join(" "));
    }
    for (node, notes) in &plan.notes {
        notes.iter().for_each(|note| text += &format!("note {node}: {note}\n"));
    }
    if let Some(why) = &plan.partial {
        text += &format!("partial: {why}\n");
    }
    if text.is_empty() {
        text += "nothing to do\n";
    }
    if !plan.strangers.is_empty() {
        let names = plan.strangers.iter().map(|row| format!(" {} (group {})", row.name, row.group));
        text += &format!("strangers{}\n", names.collect::<Vec<_>>().join(","));
    }
    text
}

/// One line of the facts: `settled`, or `HOST: WHAT …`.
fn edit(formation: &Formation, world: &mut World, line: &str) -> Option<()> {
    if line == "settled" {
        // Without the hosts that are away, if any.
        let plan = plan(formation, &world.facts_of(formation, &Scope::whole()), TODAY).ok()?;
        execute(&plan, world, Trouble::Nothing, &mut Dice(1));
        world.rest();
        return Some(());
    }
    let (host, what) = line.split_once(": ")?;
    let name = NodeName::from(host);
    let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let on_monitor = matches!(verb, "row" | "gone" | "formation");
    if on_monitor {
        // What the monitor says of the node.
        let monitor = world.monitor.as_mut()?;
        match (verb, &words[..]) {
            ("gone", _) => monitor.rows.retain(|row| row.name != host),
            ("formation", ["number_sync_standbys", number]) => {
                monitor.settings().number_sync_standbys = number.parse().ok()?;
            }
            ("row", [field, value]) => {
                let row = monitor.by_name(host)?;
                match *field {
                    "reported" => row.reported = Some(State::parse(value)?),
                    "assigned" => row.assigned = Some(State::parse(value)?),
                    "candidate_priority" => row.candidate_priority = value.parse().ok()?,
                    "health" => row.health = value.parse().ok()?,
                    "replication_quorum" => row.replication_quorum = value.parse().ok()?,
                    "silent" => row.silent = value.parse().ok()?,
                    "running" => row.running = value.parse().ok()?,
                    "host" => row.host = (*value).to_owned(),
                    "name" => row.name = (*value).to_owned(),
                    "group" => row.group = value.parse().ok()?,
                    "system_identifier" if *value == "none" => row.system_identifier = None,
                    "system_identifier" => row.system_identifier = Some((*value).to_owned()),
                    _ => return None,
                }
            }
            _ => return None,
        }
        return Some(());
    }
    let server = world.formation.servers().find(|server| server.name == name)?.clone();
    let serial = world.serial();
    let host = world.hosts.get_mut(&name)?;
    match (verb, &words[..]) {
        ("unreachable", _) => host.sight = Seeing::Unreachable,
        ("unreadable", _) => host.sight = Seeing::Unreadable(rest.to_owned()),
        ("reachable", _) => host.sight = Seeing::Clear,
        ("stopped", _) => host.stop_everything(),
        ("pgdata", ["empty"]) => host.pgdata = Place::Empty,
        ("pgdata", ["foreign", ..]) => host.pgdata = Place::Foreign(words[1..].join(" ")),
        ("pgdata", ["made", "by", "hand"]) => {
            host.pgdata = Place::Present(Data::new(serial, "postgres", Data::by_default()));
        }
        ("pgdata", ["of", ..]) => {
            let mark = format!("# muster: {}\n", words[1..].join(" "));
            let mut data = Data::new(serial, "postgres", Data::by_default());
            data.files.insert("postgresql.conf".to_owned(), mark);
            host.pgdata = Place::Present(data);
        }
        // Of a server that muster did not set up: its configuration has no mark.
        ("made", ["by", "pg_autoctl"]) => {
            let conf = host.data_mut()?.files.get_mut("postgresql.conf")?;
            *conf = conf.lines().skip(1).map(|line| format!("{line}\n")).collect();
        }
        // Seconds since its boot, and the number of that: servers with the same one are on one host.
        ("up", [seconds]) => host.up = seconds.parse().ok()?,
        ("boot", [number]) => host.boot = number.parse().ok()?,
        ("unit", ["disabled"]) => host.enabled = false,
        ("disk", ["full"]) => host.place.room_kb = 1024,
        ("inodes", [number]) => host.place.inodes = number.parse().ok(),
        ("disk", ["read-only"]) => host.place.access = Access::ReadOnly,
        ("folder", ["of", owner]) => host.place.access = Access::Denied((*owner).to_owned()),
        ("pgdata", ["mount"]) => host.place.is = Is::Mount,
        ("pgdata", ["link", target]) => host.place.is = Is::Link((*target).to_owned()),
        ("pgdata", ["is", "really", path]) => host.real_pgdata = Some((*path).to_owned()),
        ("tmp", ["full"]) => host.place.tmp_kb = 0,
        ("client", ["has", file]) => {
            host.client.files.insert((*file).to_owned());
        }
        ("client", ["shows", what]) => match *what {
            "nothing" => drop(host.files.remove(SHOWN)),
            "theirs" => {
                let (certificate, key) = (Link::Others, Link::Others);
                host.client.pair = Some(Pair { certificate, key, holds: Holds::Nothing });
            }
            _ => return None,
        },
        ("port", ["of", dir]) => {
            host.port_taken = true;
            host.around.servers.insert(server.pgport, (*dir).to_owned());
        }
        ("listens", ["on", port]) => host.port = port.parse().ok(),
        ("unconfirmed", [name]) => {
            let path = format!("{}/{name}", server.pgdata);
            host.kept.insert(path, String::new());
        }
        ("stale", ["pid", pid]) => host.stale = pid.parse().ok(),
        ("pgpass", ["gone"]) => drop(host.files.remove("/var/lib/postgresql/.pgpass")),
        ("port", ["taken"]) => host.port_taken = true,
        ("warns", _) => host.warnings.push(rest.to_owned()),
        ("pgpass", ["mode", mode]) => host.pgpass_mode = u32::from_str_radix(mode, 8).ok()?,
        ("systemd", ["none"]) => host.systemd = false,
        ("software", ["none"]) => host.software = None,
        ("extension", [extension, "dropped"]) => {
            host.data_mut()?.extensions.remove(*extension);
        }
        ("extension", [extension, "missing"]) => {
            host.software.as_mut()?.extensions.remove(*extension);
        }
        ("pg_autoctl", ["missing"]) => host.software.as_mut()?.pg_autoctl = None,
        ("pg_autoctl", [version]) => host.software.as_mut()?.pg_autoctl.as_mut()?.1 = (*version).to_owned(),
        ("extension", [extension, version]) => {
            host.software.as_mut()?.extensions.insert((*extension).to_owned(), (*version).to_owned());
        }
        ("postgresql", [major]) => {
            let software = host.software.as_mut()?;
            software.bin = format!("/usr/lib/postgresql/{major}/bin");
            software.major = major.parse().ok()?;
        }
        ("cluster" | "unit", [name, "port", port, does, starts, "in", data]) => {
            let whose = match name.split_once('/') {
                Some((version, name)) => Whose::Cluster(version.to_owned(), name.to_owned()),
                None => Whose::Unit((*name).to_owned()),
            };
            host.around.neighbours.push(Neighbour {
                whose,
                port: port.parse().ok(),
                running: *does == "running",
                starts: *starts == "auto",
                data: (*data).to_owned(),
            });
        }
        // What it tells of others: a name's address, which has that name back or another; a state on the monitor.
        ("sees", [name, "at", address, rest @ ..]) => {
            let seen = Resolved { address: address.parse().ok(), reverse: rest.is_empty() };
            host.sees.insert((*name).to_owned(), seen);
        }
        ("forges", [node, "is", state]) => host.forges = Some(((*node).to_owned(), (*state).to_owned())),
        ("network", [network]) => host.network = Some((*network).to_owned()),
        ("selinux", _) => host.around.selinux = true,
        ("certificate", ["ends", date]) => {
            host.certificate_mut().certificate.as_mut()?.not_after = date.parse::<Date>().ok()?;
        }
        ("certificate", ["file", "ends", date]) => {
            let not_after = date.parse::<Date>().ok()?;
            host.served = Some(Certificate {
                serial: "0A".to_owned(),
                not_before: not_after,
                not_after,
                names: Vec::new(),
                subject: String::new(),
                issuer: String::new(),
                key: String::new(),
                signed_with: None,
                own_key: None,
            });
        }
        ("certificate", ["for", other]) => {
            host.certificate_mut().certificate.as_mut()?.names = vec![(*other).to_owned()];
        }
        ("certificate", ["unvouched"]) => host.unvouched = true,
        // In muster's own file, beside whom it trusts already.
        ("trusts", [path]) => {
            let file = format!("{}/ca.crt", node_dir(&server));
            let both = own_authority(path) + &host.files.get(&file).cloned().unwrap_or_default();
            host.files.insert(file.clone(), both.clone());
            host.data_mut()?.loaded.insert(file, both);
        }
        ("certificate", ["unusable:", ..]) => {
            host.unusable.push(rest.split_once(": ")?.1.to_owned());
        }
        ("data", ["spoiled:", ..]) => host.spoiled.push(rest.split_once(": ")?.1.to_owned()),
        ("data", ["needs", name, "=", value]) => {
            host.needs.insert((*name).to_owned(), value.parse().ok()?);
        }
        ("postgres", ["down:", ..]) => {
            host.data_mut()?.postmaster = None;
            host.why_down = Some(rest.split_once(": ")?.1.to_owned());
        }
        ("cannot", ["read", path]) => host.unreadable.push((*path).to_owned()),
        // A run of an inventory that gave it that name.
        ("unit", ["named", name]) => {
            let text = host.files.remove(&unit_path(&server))?;
            host.files.insert(format!("/etc/systemd/system/pgautofailover-{name}.service"), text);
        }
        ("unit", ["overlaid", "by", path]) => host.drop_ins.push((*path).to_owned()),
        ("unit", ["masked"]) => {
            host.files.insert(unit_path(&server), String::new());
        }
        // The process is gone: PostgreSQL goes on.
        ("keeper", ["dead"]) => host.keeper = None,
        ("keeper", ["waits"]) => (host.keeper, host.waits) = (None, true),
        ("keeper", ["dead,", "without", "its", "files"]) => {
            (host.keeper, host.state, host.enabled) = (None, None, false);
            host.files.remove(&config_path(&server));
            host.files.remove(&unit_path(&server));
        }
        ("keeper", ["without", "its", "state"]) => host.state = None,
        ("keeper", ["frozen"]) => host.frozen = true,
        ("keeper", ["idle"]) => host.idle = Some(Idle::Nothing),
        ("keeper", ["waits-for-ended"]) => host.idle = Some(Idle::ForAnEndedServer),
        // A file of the node that was here before, under the number that the next one gets.
        ("keeper", ["left", state, "of", "node", id]) => {
            let state = State::parse(state)?;
            let file = host.state.as_mut()?;
            file[24..28].copy_from_slice(&id.parse::<u32>().ok()?.to_le_bytes());
            write_state(file, state, state);
        }
        ("receiver", ["hangs"]) => host.deaf = true,
        ("receiver", ["hangs", "connecting"]) => (host.deaf, host.connects) = (true, Some(60)),
        ("promoted", ["by", "hand"]) => host.promote_by_hand()?,
        ("postgres", ["stopped"]) => host.data_mut()?.postmaster = None,
        ("pending", ["restart", setting]) => {
            host.data_mut()?.pending_restart.insert((*setting).to_owned());
        }
        ("lowered", [setting]) => {
            host.data_mut()?.pending_restart.insert((*setting).to_owned());
            host.data_mut()?.lowered.insert((*setting).to_owned());
        }
        ("hba", ["error", ..]) => host.data_mut()?.hba_errors.push(words[1..].join(" ")),
        ("role", [role, "missing"]) => {
            host.data_mut()?.roles.remove(*role);
        }
        ("role", [role, "nologin"]) => {
            host.data_mut()?.lacks.insert((*role).to_owned(), vec![Right::Login]);
        }
        ("role", [role, "expired"]) => {
            host.data_mut()?.lacks.insert((*role).to_owned(), vec![Right::Valid]);
        }
        ("role", [role, "passwordless"]) => {
            host.data_mut()?.verifiers.remove(*role)?;
        }
        ("role", [role, "password", password]) => {
            let kept = muster::scram::verifier(&Secret::new(*password), b"salt");
            host.data_mut()?.verifiers.insert((*role).to_owned(), kept);
        }
        ("slots", ["lost"]) => host.data_mut()?.slots.clear(),
        ("unread", [file]) => {
            host.data_mut()?.loaded.remove(*file)?;
        }
        ("file", [file, "gets", ..]) => *host.file(file)? += &format!("{}\n", words[2..].join(" ")),
        // The server was started with what its files say now.
        ("restarted", _) => {
            let data = host.data_mut()?;
            data.loaded.extend(data.files.clone());
            data.started = Some(data.read_last());
        }
        ("alters", ["system:", setting, value]) => {
            let line = format!("{setting} = '{value}'\n");
            *host.data_mut()?.files.entry("postgresql.auto.conf".to_owned()).or_default() += &line;
        }
        ("file", [file, "lost"]) => {
            host.data_mut()?.files.remove(*file);
            host.files.retain(|path, _| !path.ends_with(&format!("/{file}")));
        }
        ("file", [file, old, "becomes", new]) => {
            let text = host.file(file)?;
            assert!(text.contains(old), "{file} has no {old}");
            *text = text.replace(old, new);
        }
        ("pg_dist_node", [id, "at", at]) => {
            let id: i64 = id.parse().ok()?;
            let row = host.data_mut()?.citus.iter_mut().find(|row| row.id == id)?;
            row.name = (*at).to_owned();
        }
        ("pg_dist_poolinfo", ["lost"]) => host.data_mut()?.pools.clear(),
        ("pg_dist_node", [id, "inactive"]) => {
            let id: i64 = id.parse().ok()?;
            host.data_mut()?.citus.iter_mut().find(|row| row.id == id)?.active = false;
        }
        ("pg_dist_node", ["of", "group", group, "lost"]) => {
            let group: i64 = group.parse().ok()?;
            host.data_mut()?.citus.retain(|row| row.group != group);
        }
        ("pg_dist_node", ["stranger", at]) => host.data_mut()?.citus.push(CitusNode {
            id: 99,
            group: 99,
            name: (*at).to_owned(),
            port: 5432,
            active: true,
            role: "primary".to_owned(),
            cluster: "default".to_owned(),
            metadata_synced: true,
        }),
        ("fails", ["over"]) => {
            // The keeper sees its PostgreSQL die for good; the others carry out what the monitor decides.
            host.stop_everything();
            world.rest();
            world.start_keeper(&name).ok()?;
            world.rest();
        }
        _ => return None,
    }
    // A server that runs reads what is written; what is gone it has read before.
    if matches!(verb, "file" | "made" | "alters") && !rest.ends_with(" lost") && world.hosts[&name].runs() {
        world.load(&name);
    }
    Some(())
}

impl Host {
    /// `select pg_promote()`: its keeper sees nothing of it.
    pub(crate) fn promote_by_hand(&mut self) -> Option<()> {
        let data = self.data_mut()?;
        (data.standby, data.timeline) = (false, data.timeline + 1);
        Some(())
    }

    /// A file in PGDATA, or one outside it by the end of its path.
    fn file(&mut self, name: &str) -> Option<&mut String> {
        let outside = self.files.iter_mut().find(|(path, _)| path.ends_with(name)).map(|(_, text)| text);
        match &mut self.pgdata {
            Place::Present(data) => data.files.get_mut(name).or(outside),
            Place::Empty | Place::Foreign(_) => outside,
        }
    }
}

/// No password is in anything that may be shown, whatever there is to do.
#[test]
fn no_secret_is_ever_shown() {
    let mut formation = example("production.yml");
    let poison = || Some(Secret::new("p0ison'\"\\"));
    for node in formation.nodes.values_mut() {
        (node.password, node.replication_password, node.monitor_password) = (poison(), poison(), poison());
    }
    let bare = World::bare(&formation);
    let mut settled = bare.clone();
    converge(&formation, &mut settled, &mut Dice(1));
    let mut drifted = settled.clone();
    for host in drifted.hosts.values_mut() {
        host.files.values_mut().for_each(|text| *text = format!("x = 1\n{text}"));
        let files = host.data_mut().unwrap().files.values_mut();
        files.for_each(|text| text.push_str("x = 1\n"));
    }
    for mut world in [bare, settled, drifted] {
        let facts = world.facts();
        let plan = plan(&formation, &facts, TODAY).unwrap();
        for text in [
            serde_json::to_string(&plan).unwrap(),
            serde_json::to_string(&facts).unwrap(),
            serde_json::to_string(&formation).unwrap(),
            format!("{plan:?}{facts:?}{formation:?}"),
        ] {
            let at = text.find("p0ison").or_else(|| text.find("PRIVATE KEY"));
            assert!(at.is_none(), "{}", &text[at.unwrap_or(0).saturating_sub(300)..][..400]);
        }
    }
}
