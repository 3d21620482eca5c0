//! What is shown is so: whatever the screen calls settled, verified or done has to be it, in the oracle's words.

use std::collections::BTreeMap;

use muster::formation::{Formation, Keeper, Monitor, NodeName, Secret};
use muster::plan::plan;
use muster::report::paint::Paint;
use muster::report::status::rest::Rest;
use muster::report::status::{Note, Status};
use muster::resource::database::Right;
use muster::resource::streaming::{Sender, Slot, Streaming};
use muster::scope::Scope;
use muster::state::State;
use muster::{report, scram, verify};

use crate::converge::{example, settled, small};
use crate::run::TODAY;
use crate::world::{Seeing, World};

impl World {
    /// What a server would say of its replication.
    pub(crate) fn streaming(&self, name: &NodeName) -> Streaming {
        let Some(data) = self.hosts[name].data() else { return Streaming::default() };
        let followers = self.hosts.keys().filter(|other| self.upstream(other).as_ref() == Some(name));
        let slot_of = |other: &NodeName| {
            let conf = self.hosts[other].data()?.files.get("postgresql-auto-failover-standby.conf")?;
            conf.split_once("application_name=")?.1.split([' ', '\'']).next().map(str::to_owned)
        };
        let names: Vec<String> = followers.filter_map(slot_of).collect();
        let sender = |name: &String| Sender {
            name: name.clone(),
            state: "streaming".to_owned(),
            sync: if data.synchronous.contains(name.as_str()) { "quorum" } else { "async" }.to_owned(),
            behind: Some(0),
            unread: Some(0),
            delay_ms: None,
            unheard: Some(0),
        };
        let slot = |slot: &String| Slot {
            name: slot.clone(),
            active: names.contains(slot),
            wal_status: Some("reserved".to_owned()),
            holds: Some(0),
            synced: false,
        };
        Streaming {
            senders: names.iter().map(sender).collect(),
            slots: data.slots.iter().map(slot).collect(),
            receiver: self.upstream(name).map(|_| "streaming".to_owned()),
            hangs: self.hosts[name].connects,
            paused: data.standby && self.hosts[name].is_short(),
        }
    }
}

/// What the screen would say of a world that is not so, if anything: nothing of it may be green.
fn green(formation: &Formation, world: &mut World) -> Vec<&'static str> {
    let facts = world.facts_of(formation, &Scope::whole());
    let status = Status::new(formation, &Scope::whole(), &facts, TODAY);
    let checks = verify::from_facts(formation, &facts);
    let plan = plan(formation, &facts, TODAY).unwrap();
    let is_done = plan.is_empty()
        && plan.partial.is_none()
        && (&plan.blocked, &plan.unwell, &plan.unreachable)
            == (&BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new());
    let says_so = report::plan::summary(&plan) == "nothing to do";
    assert_eq!(is_done, says_so, "{plan:?}");
    [
        (status.settled, "settled"),
        (status.rest == Rest::Settled, "exit code 0 of status"),
        (checks.iter().all(|check| check.result.is_ok()), "verified"),
        (is_done, "done"),
    ]
    .into_iter()
    .filter_map(|(is_said, word)| is_said.then_some(word))
    .collect()
}

/// Both ways: a world that serves is green from every side, and one that does not is from none.
#[test]
fn what_is_shown_is_so() {
    for (name, formation) in small() {
        let world = settled(&formation);
        let all = ["settled", "exit code 0 of status", "verified", "done"];
        assert_eq!(green(&formation, &mut world.clone()), all, "{name}");
        if let (Monitor::Managed(server), Some(_)) = (&formation.monitor, formation.monitor_password()) {
            let mut world = world.clone();
            let data = world.host(&server.name.0).data_mut().expect("it has data");
            data.verifiers
                .insert("autoctl_node".to_owned(), scram::verifier(&Secret::new("another"), b"salt"));
            let shown = green(&formation, &mut world);
            assert!(
                shown.is_empty(),
                "{name}: the monitor has another password, and it is shown as {shown:?}"
            );
        }
        for node in formation.nodes.values() {
            let (host, is_standby) = (&node.name().0, world.writer(node.group).as_ref() != Some(node.name()));
            let check = |spoiled: &str, change: &dyn Fn(&mut World)| {
                let mut world = world.clone();
                change(&mut world);
                let shown = green(&formation, &mut world);
                assert!(shown.is_empty(), "{name}: {host} {spoiled}, and it is shown as {shown:?}");
            };
            if node.server.keeper != Keeper::None {
                check("is silent", &|world| world.host(host).frozen = true);
            }
            if !is_standby {
                for role in ["pgautofailover_replicator", "pgautofailover_monitor"] {
                    let lacks = vec![Right::Login];
                    check("lets nobody in", &|world| {
                        let data = world.host(host).data_mut().expect("it has data");
                        data.lacks.insert(role.to_owned(), lacks.clone());
                    });
                }
            }
            if node.server.keeper != Keeper::None {
                check("has lost its state", &|world| world.host(host).state = None);
            }
            if is_standby {
                check("does not stream", &|world| world.host(host).deaf = true);
                check("waits for a connection", &|world| {
                    (world.host(host).deaf, world.host(host).connects) = (true, Some(60));
                });
                check("is promoted by hand", &|world| world.host(host).promote_by_hand().unwrap());
            }
            for state in [State::Maintenance, State::WaitMaintenance, State::PrepareMaintenance] {
                check("is in maintenance", &|world| {
                    let row = world.monitor.as_mut().unwrap().by_name(host).unwrap();
                    (row.reported, row.assigned) = (Some(state), Some(state));
                });
            }
            // Of another life of the node: it says so every second, and every other state looks as in a failover.
            for (reported, assigned) in
                [(State::DemoteTimeout, State::Secondary), (State::Dropped, State::Secondary)]
            {
                let mut world = world.clone();
                let row = world.monitor.as_mut().unwrap().by_name(host).unwrap();
                (row.reported, row.assigned) = (Some(reported), Some(assigned));
                let facts = world.facts_of(&formation, &Scope::whole());
                let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
                let said =
                    |note: &&Note| note.node.0 == *host && note.text.contains("knows no way to secondary");
                assert!(!status.settled && status.notes.iter().any(|note| said(&note)), "{name}: {host}");
                assert!(plan(&formation, &facts, TODAY).unwrap().blocked.contains_key(node.name()));
            }
            check("would not start with its key", &|world| {
                world.host(host).unusable.push("server.key has mode 0644".to_owned());
            });
            check("has a file of somebody else's", &|world| {
                world.host(host).spoiled.push("postgresql.conf belongs to root".to_owned());
            });
            check("does not start", &|world| {
                world.host(host).why_down = Some("could not access file".to_owned());
                world.host(host).data_mut().expect("it has data").postmaster = None;
            });
            if world.hosts[node.name()].enabled {
                check("is not started at boot", &|world| world.host(host).enabled = false);
            }
            check("is unhealthy", &|world| world.host(host).sight = Seeing::Unreachable);
        }
    }
}

/// The monitor has it as a standby that serves readers: what its server says counts.
#[test]
fn a_standby_that_was_promoted_is_shown_as_it_is() {
    let formation = example("minimal.yml");
    let mut world = settled(&formation);
    world.host("pg2.db.example").promote_by_hand().unwrap();
    let facts = world.facts_of(&formation, &Scope::whole());
    let text = Status::new(&formation, &Scope::whole(), &facts, TODAY).text(Paint::Plain);
    let line = text.lines().find(|line| line.starts_with("pg2.db.example ")).unwrap();
    let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words[4..9], ["read-write", "no", "not streaming", "secondary", "secondary"], "{text}");
    let note = "note: pg2.db.example: it is not in recovery: it takes writes on a timeline of its own, and does not follow pg1.db.example\n";
    assert!(text.contains(note), "{text}");
}

/// A row that is gone says nothing; the server may go on.
#[test]
fn a_node_that_the_monitor_does_not_know_is_told_with_what_it_does() {
    let formation = example("minimal.yml");
    let told = |change: &dyn Fn(&mut World)| {
        let mut world = settled(&formation);
        world.monitor.as_mut().unwrap().rows.retain(|row| row.name != "pg2.db.example");
        change(&mut world);
        let facts = world.facts_of(&formation, &Scope::whole());
        let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
        assert!(!status.settled);
        let text = status.text(Paint::Plain);
        let line = text.lines().find(|line| line.starts_with("pg2.db.example ")).unwrap().to_owned();
        let of_it = status.notes.iter().filter(|note| note.node.0 == "pg2.db.example");
        let notes: Vec<String> = of_it.map(|note| note.text.clone()).collect();
        let wrong =
            verify::from_facts(&formation, &facts).into_iter().find(|check| check.subject == "group 0");
        (notes, line, wrong.unwrap().result.is_err())
    };
    let unknown = "the monitor does not know it";
    assert_eq!(told(&|_| ()).0, [unknown]);
    let (notes, line, is_wrong) = told(&|world| world.host("pg2.db.example").promote_by_hand().unwrap());
    assert_eq!(
        notes,
        [format!(
            "{unknown}, and its PostgreSQL takes writes beside pg1.db.example, the primary of its group"
        )]
    );
    assert!(line.contains("  read-write  no  "), "{line}");
    assert!(is_wrong, "verify sees two that take writes");
}

/// A keeper that is dead may be a standby's, or of a node that its group has just failed over from: what follows is so for each.
#[test]
fn a_keeper_that_does_not_run_is_told_with_what_follows_from_it() {
    let formation = example("minimal.yml");
    let of_node = "its keeper does not run, so it follows no order of the monitor";
    let of_monitor = "its pg_autoctl does not run, so nobody starts its PostgreSQL again";
    for (name, is_told) in
        [("pg1.db.example", of_node), ("pg2.db.example", of_node), ("mon1.db.example", of_monitor)]
    {
        let mut world = settled(&formation);
        world.host(name).keeper = None;
        let facts = world.facts_of(&formation, &Scope::whole());
        let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
        let said: Vec<(&str, &str)> =
            status.notes.iter().map(|note| (note.node.0.as_str(), note.text.as_str())).collect();
        assert_eq!(said, [(name, is_told)]);
    }
}

/// Its rows are there, and nobody could ask for them.
#[test]
fn a_monitor_that_is_stopped_is_not_one_that_is_not_there() {
    let formation = example("minimal.yml");
    let shown = |world: &mut World| {
        let facts = world.facts_of(&formation, &Scope::whole());
        let text = Status::new(&formation, &Scope::whole(), &facts, TODAY).text(Paint::Plain);
        let checks = verify::from_facts(&formation, &facts).into_iter();
        let wrong: Vec<String> =
            checks.filter_map(|check| Some(check.result.err()?.why().to_owned())).collect();
        (text, wrong)
    };
    let mut world = settled(&formation);
    world.host("mon1.db.example").stop_everything();
    let (text, wrong) = shown(&mut world);
    assert!(text.starts_with("formation default, monitor stopped\n"), "{text}");
    assert!(
        text.contains(
            "note: mon1.db.example: the monitor is stopped, so nothing fails over: apply starts it\nnot settled"
        ),
        "{text}"
    );
    let line = text.lines().find(|line| line.starts_with("pg1.db.example ")).unwrap();
    assert!(line.contains("unknown") && !line.contains(" - "), "{line}");
    assert!(
        !wrong.is_empty()
            && wrong.iter().all(|said| *said == "could not look: the monitor mon1.db.example is stopped")
    );
    let (text, _) = shown(&mut World::bare(&formation));
    assert!(text.starts_with("formation default, monitor not there yet\n"), "{text}");
}

/// A server that runs has what it read: what is gone since is missed at its next start.
#[test]
fn a_server_that_would_not_start_again_is_not_settled() {
    let formation = example("minimal.yml");
    let world = settled(&formation);
    for name in ["mon1.db.example", "pg1.db.example", "pg2.db.example"] {
        for file in [
            "postgresql.conf",
            "pg_hba.conf",
            "postgresql-auto-failover.conf",
            "postgresql-auto-failover-standby.conf",
            "server.crt",
            "server.key",
        ] {
            let mut world = world.clone();
            let host = world.host(name);
            match file {
                "server.crt" => host.files.retain(|path, _| !path.ends_with("/server.crt")),
                "server.key" => host.files.retain(|path, _| !path.ends_with("/server.key")),
                file => drop(host.data_mut().unwrap().files.remove(file).unwrap()),
            }
            let facts = world.facts_of(&formation, &Scope::whole());
            let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
            let text =
                format!("{file} is gone, and PostgreSQL needs it at its next start: apply puts it back");
            let is_told = status.notes.iter().any(|note| note.node.0 == name && note.text == text);
            assert!(is_told && !status.settled, "{name} without {file}: {:?}", status.notes);
        }
    }
}

/// Nobody needs them before the next connection, or the next start: then no standby follows, and no keeper comes up.
#[test]
fn a_node_that_could_not_log_in_again_is_not_settled() {
    let inventory = "all:\n  vars: {pgdata: /d, auth: scram-sha-256, password: a, replication_password: b, monitor_password: c}\n  \
        children:\n    monitor: {hosts: {mon: {pgdata: /m}}}\n    postgres: {hosts: {pg1: , pg2: {secondary: true}}}\n";
    let formation = crate::converge::inventory(inventory);
    let world = settled(&formation);
    let told = |name: &str, change: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        change(&mut world);
        let facts = world.facts_of(&formation, &Scope::whole());
        let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
        let plan = plan(&formation, &facts, TODAY).unwrap();
        assert!(!status.settled && !plan.is_empty(), "{name}: apply mends it");
        let notes: Vec<&str> =
            status.notes.iter().filter(|note| note.node.0 == name).map(|note| note.text.as_str()).collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes[0].to_owned()
    };
    let lost = |name: &str, file: &str| {
        told(name, &|world| world.host(name).files.retain(|path, _| !path.ends_with(file)))
    };
    let by = "its server and its keeper have the passwords for the others from it; apply puts it right";
    for name in ["pg1", "pg2"] {
        assert_eq!(lost(name, "/.pgpass"), format!("~/.pgpass is gone: {by}"));
        let open = told(name, &|world| world.host(name).pgpass_mode = 0o644);
        assert_eq!(open, format!("~/.pgpass has mode 0644, and libpq reads none that others may read: {by}"));
        let emptied = told(name, &|world| {
            let file =
                world.host(name).files.iter_mut().find(|(path, _)| path.ends_with("/.pgpass")).unwrap();
            *file.1 = "elsewhere:*:*:me:mine\n".to_owned();
        });
        assert_eq!(emptied, format!("~/.pgpass lacks lines: {by}"));
        for (password, whose) in [
            (":c\n", "the monitor mon refuses the password of autoctl_node"),
            (":b\n", "pg1 refuses the password of pgautofailover_replicator"),
            (":a\n", "pg1 refuses the password of postgres"),
        ] {
            let other = told(name, &|world| {
                let host = world.host(name);
                let file = host.files.iter_mut().find(|(path, _)| path.ends_with("/.pgpass")).unwrap();
                *file.1 = file.1.replace(password, ":outdated\n");
            });
            let whose = if name == "pg1" { whose.replace("pg1", "its own server") } else { whose.to_owned() };
            assert_eq!(other, format!("{whose} in its ~/.pgpass: apply puts it right"));
        }
    }
    for name in ["mon", "pg1", "pg2"] {
        let text =
            "pg_autoctl.cfg is gone, and its pg_autoctl needs it at its next start: apply puts it back";
        assert_eq!(lost(name, "/pg_autoctl.cfg"), text);
    }
}

/// Its peers come with TLS alone, and no step turns it on again.
#[test]
fn a_server_whose_tls_alter_system_turned_off_is_not_settled_and_not_done() {
    let formation = example("minimal.yml");
    let said = "it answers without TLS: ssl is off by ALTER SYSTEM; to have it again: ALTER SYSTEM RESET ssl, and a reload";
    for name in ["mon1.db.example", "pg1.db.example", "pg2.db.example"] {
        let mut world = settled(&formation);
        let data = world.host(name).data_mut().unwrap();
        data.files.insert("postgresql.auto.conf".to_owned(), "ssl = 'off'\n".to_owned());
        data.loaded = data.files.clone();
        assert!(green(&formation, &mut world).is_empty(), "{name}");
        let facts = world.facts_of(&formation, &Scope::whole());
        let status = Status::new(&formation, &Scope::whole(), &facts, TODAY);
        assert!(
            status.notes.iter().any(|note| note.node.0 == name && note.text == said),
            "{:?}",
            status.notes
        );
        let mut checks = verify::from_facts(&formation, &facts).into_iter();
        let wrong = checks.find(|check| check.subject == format!("{name}: certificate")).unwrap();
        assert_eq!(wrong.result.unwrap_err().why(), said);
        let plan = plan(&formation, &facts, TODAY).unwrap();
        let unwell = plan.unwell.get(&NodeName::from(name)).unwrap();
        assert_eq!(unwell.iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    }
}
