//! From every start, interrupted everywhere: the next run ends where the first would have.

use std::path::Path;

use muster::formation::{Formation, NodeName};
use muster::inventory::{load, parse};
use muster::resource::database::Right;

use crate::oracle::complaints;
use crate::run::{Dice, Trouble, converge, execute, plan_for};
use crate::scenarios::together;
use crate::world::{Place, Seeing, World, with_what_is_made};

pub(crate) fn example(name: &str) -> Formation {
    let formation = load(&Path::new("inventory").join(name));
    with_what_is_made(formation.unwrap_or_else(|problems| panic!("{problems:#?}")))
}

pub(crate) fn inventory(text: &str) -> Formation {
    let formation = parse("inventory.yml", text, Path::new(""));
    with_what_is_made(formation.unwrap_or_else(|problems| panic!("{problems:#?}")))
}

/// One group of three that all count.
const QUORUM: &str = "
all:
  vars: {pgdata: /srv/pg}
  children:
    monitor: {hosts: {m: {}}}
    postgres:
      hosts: {a: {}, b: {secondary: true}, c: {secondary: true}}
";

/// A worker whose only standby is a reader, so that nobody confirms its commits; no monitor of ours.
const READER: &str = "
all:
  vars: {pgdata: /srv/pg, monitor: 'postgres://autoctl_node@elsewhere:5432/pg_auto_failover?sslmode=require'}
  children:
    coordinator: {hosts: {c: {proxyport: 6432}}}
    workers: {hosts: {w: {group: 1}, r: {group: 1, citus_secondary: true, citus_cluster: reports}}}
";

const KEEPERLESS: &str = "
all:
  vars: {pgdata: /srv/pg, keeper: none, auth: scram-sha-256, password: p, replication_password: q, monitor_password: m}
  children:
    monitor: {hosts: {m: {}}}
    postgres: {hosts: {a: {}, b: {secondary: true}}}
";

/// A standby that counts and a reader that does not, behind one primary.
const MIXED: &str = "
all:
  vars: {pgdata: /srv/pg}
  children:
    monitor: {hosts: {m: {}}}
    coordinator:
      hosts: {a: {}, b: {secondary: true}, r: {citus_secondary: true, citus_cluster: reports}}
";

/// Shapes of one group or two: small enough to be interrupted everywhere.
pub(crate) fn small() -> Vec<(&'static str, Formation)> {
    vec![
        ("minimal", example("minimal.yml")),
        ("quorum", inventory(QUORUM)),
        ("reader", inventory(READER)),
        ("mixed", inventory(MIXED)),
        ("keeperless", inventory(KEEPERLESS)),
    ]
}

#[track_caller]
pub(crate) fn assert_serves(formation: &Formation, world: &mut World, after: &str) {
    let complaints = complaints(formation, world);
    assert!(complaints.is_empty(), "{after}: {complaints:#?}");
}

/// Converges, serves, and then has nothing more to do: [`converge`] ends only with an empty plan.
#[track_caller]
fn assert_converges(formation: &Formation, world: &mut World, after: &str) {
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| converge(formation, world, &mut Dice(1))));
    assert!(result.is_ok(), "{after}");
    assert_serves(formation, world, after);
}

pub(crate) fn settled(formation: &Formation) -> World {
    let mut world = World::bare(formation);
    converge(formation, &mut world, &mut Dice(1));
    assert_serves(formation, &mut world, "settled");
    world
}

#[test]
fn a_bare_world_is_rolled_out_in_one_run() {
    for name in ["minimal.yml", "lab.yml", "production.yml"] {
        let formation = example(name);
        let mut world = World::bare(&formation);
        let plan = plan_for(&formation, &mut world);
        let outcome = execute(&plan, &mut world, Trouble::Nothing, &mut Dice(1));
        assert!(outcome.failed.is_empty(), "{name}: {:#?}", outcome.failed);
        world.rest();
        assert_serves(&formation, &mut world, name);
        assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{name}: there is more to do");
    }
}

/// A coordinator creates on its workers what it creates, where a role of theirs was not yet repaired.
#[test]
fn what_a_coordinator_creates_comes_after_the_roles_that_it_logs_in_with() {
    let formation = example("lab.yml");
    let world = settled(&formation);
    for seed in 0..5 {
        let mut world = world.clone();
        for group in formation.groups() {
            let writer = world.writer(group).expect("it has a primary");
            let username = formation.nodes[&writer].username.clone();
            let data = world.host(&writer.0).data_mut().expect("it has data");
            if group == 0 {
                data.extensions.remove("pg_stat_statements");
            } else {
                data.lacks.insert(username, vec![Right::Valid]);
            }
        }
        let plan = plan_for(&formation, &mut world);
        let outcome = execute(&plan, &mut world, Trouble::Nothing, &mut Dice(seed));
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
        assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "there is more to do");
    }
}

/// The laptop goes away before every single step in turn, with and without a host that then reboots.
#[test]
fn a_run_cut_at_any_step_is_finished_by_the_next() {
    for (name, formation) in small() {
        let bare = World::bare(&formation);
        let plan = plan_for(&formation, &mut bare.clone());
        for at in 0.. {
            let mut world = bare.clone();
            let outcome = execute(&plan, &mut world, Trouble::Cut(at), &mut Dice(at as u64));
            world.rest();
            assert_converges(&formation, &mut world.clone(), &format!("{name} cut at {at}"));
            let hosts: Vec<NodeName> = world.hosts.keys().cloned().collect();
            let host = &hosts[at % hosts.len()];
            world.reboot(host);
            world.rest();
            if at % 4 == 0 {
                assert_converges(&formation, &mut world, &format!("{name} cut at {at}, {host} rebooted"));
            }
            if !outcome.cut {
                break;
            }
        }
    }
}

/// Nothing in a plan changes by itself: who agreed to it agrees to what a second look would plan, until a step is done.
#[test]
fn a_plan_is_like_the_next_while_nothing_happens() {
    for (name, formation) in small() {
        let bare = World::bare(&formation);
        let first = plan_for(&formation, &mut bare.clone());
        let count = first.steps().count();
        for at in [0, count / 3, count / 2, count - 1] {
            let mut world = bare.clone();
            execute(&first, &mut world, Trouble::Cut(at), &mut Dice(7));
            let plan = plan_for(&formation, &mut world.clone());
            assert!(plan.is_like(&plan_for(&formation, &mut world)), "{name} cut at {at}");
            assert_eq!(first.is_like(&plan), at == 0, "{name} cut at {at}");
        }
    }
}

/// One step fails, or happens without anybody hearing of it, while the other nodes go on.
#[test]
fn a_step_that_fails_or_goes_unheard_is_made_good_by_the_next_run() {
    for (index, (name, formation)) in small().into_iter().enumerate() {
        let bare = World::bare(&formation);
        let plan = plan_for(&formation, &mut bare.clone());
        for at in 0.. {
            // Any step is one or the other in one formation, and the opposite in the next.
            let trouble = if (at + index) % 2 == 0 { Trouble::Fails(at) } else { Trouble::Unheard(at) };
            let mut world = bare.clone();
            let outcome = execute(&plan, &mut world, trouble, &mut Dice(at as u64));
            world.rest();
            assert_converges(&formation, &mut world, &format!("{name} {trouble:?}: {:?}", outcome.failed));
            if outcome.steps <= at {
                break;
            }
        }
    }
}

/// A few for every run; `MUSTER_SIM_SEEDS=1000` looks for longer.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("MUSTER_SIM_SEEDS").map_or(4, |count| count.parse().unwrap())
}

/// The ten hosts of the lab: too many for every step, so any, in any order, with anything going wrong, twice.
#[test]
fn whatever_happens_to_ten_hosts_they_converge() {
    let formation = example("lab.yml");
    let bare = World::bare(&formation);
    let hosts: Vec<NodeName> = bare.hosts.keys().cloned().collect();
    for seed in seeds() {
        let mut dice = Dice(seed);
        let mut world = bare.clone();
        let mut story = format!("seed {seed}");
        for _ in 0..2 {
            let plan = plan_for(&formation, &mut world);
            let at = dice.below(300);
            let trouble = [Trouble::Cut(at), Trouble::Fails(at), Trouble::Unheard(at)][dice.below(3)];
            let outcome = execute(&plan, &mut world, trouble, &mut dice);
            story += &format!(", {trouble:?} {:?}", outcome.failed);
            if dice.below(2) == 0 {
                let host = &hosts[dice.below(hosts.len())];
                world.reboot(host);
                story += &format!(", {host} rebooted");
            }
            world.rest();
        }
        assert_converges(&formation, &mut world, &story);
    }
}

/// Each host in turn is away for the first run, and back for the second.
#[test]
fn a_host_that_was_away_joins_later() {
    for (name, formation) in small() {
        let hosts: Vec<NodeName> = World::bare(&formation).hosts.keys().cloned().collect();
        for host in &hosts {
            for seeing in [Seeing::Unreachable, Seeing::Unreadable("cannot look into /srv".to_owned())] {
                let mut world = World::bare(&formation);
                world.host(&host.0).sight = seeing.clone();
                let plan = plan_for(&formation, &mut world);
                assert!(
                    plan.steps().all(|(_, node, step)| node != host && step.on != *host),
                    "{name}: {host}"
                );
                execute(&plan, &mut world, Trouble::Nothing, &mut Dice(3));
                world.rest();
                world.host(&host.0).sight = Seeing::Clear;
                assert_converges(
                    &formation,
                    &mut world,
                    &format!("{name} without {host} ({seeing:?}) at first"),
                );
            }
        }
    }
}

/// A stopped monitor is started, and only then is anything concluded about any node.
#[test]
fn a_stopped_monitor_makes_the_plan_partial() {
    for (name, formation) in small() {
        let mut world = settled(&formation);
        let Some(monitor) = world.monitor_name() else { continue };
        world.hosts.get_mut(&monitor).unwrap().stop_everything();
        let plan = plan_for(&formation, &mut world);
        assert!(plan.partial.is_some(), "{name}");
        assert!(plan.steps().all(|(_, node, _)| *node == monitor), "{name}: {:#?}", plan.waves);
        assert_converges(&formation, &mut world, name);
    }
}

/// Every host of a settled formation reboots, alone and all at once.
#[test]
fn a_settled_formation_survives_reboots() {
    for (name, formation) in small() {
        let world = settled(&formation);
        let hosts: Vec<NodeName> = world.hosts.keys().cloned().collect();
        for host in &hosts {
            let mut world = world.clone();
            world.reboot(host);
            world.rest();
            assert_converges(&formation, &mut world, &format!("{name}: {host} rebooted"));
            let mut world = world.clone();
            world.hosts.get_mut(host).unwrap().stop_everything();
            world.rest();
            assert_converges(&formation, &mut world, &format!("{name}: {host} stopped"));
        }
        let mut world = world.clone();
        hosts.iter().for_each(|host| world.reboot(host));
        world.rest();
        assert_converges(&formation, &mut world, &format!("{name}: all rebooted"));
    }
}

/// What somebody else put there stays as it is, whatever else the plan does.
#[test]
fn foreign_content_is_never_touched() {
    for (name, formation) in small() {
        let hosts: Vec<NodeName> = World::bare(&formation).hosts.keys().cloned().collect();
        for host in &hosts {
            let mut world = World::bare(&formation);
            world.host(&host.0).pgdata = Place::Foreign("photos".to_owned());
            let before = format!("{:?}", world.hosts[host]);
            let plan = plan_for(&formation, &mut world);
            assert!(plan.blocked.contains_key(host), "{name}: {host}");
            execute(&plan, &mut world, Trouble::Nothing, &mut Dice(5));
            world.rest();
            assert_eq!(format!("{:?}", world.hosts[host]), before, "{name}");
            assert_eq!(world.sins, Vec::<String>::new(), "{name}");
            world.host(&host.0).pgdata = Place::Empty;
            assert_converges(&formation, &mut world, &format!("{name}: {host} made room"));
        }
    }
}

/// Settings of replication that change in the inventory get there, even where the monitor takes them one by one.
#[test]
fn replication_settings_that_change_get_there() {
    let before = inventory(QUORUM);
    let world = settled(&before);
    for (what, text) in [
        (
            "one standby waits no more",
            QUORUM.replace("c: {secondary: true}", "c: {secondary: true, candidate_priority: 0}"),
        ),
        ("quorum", {
            let text =
                QUORUM.replace("c: {secondary: true}", "c: {secondary: true, replication_quorum: false}");
            text.replace("/srv/pg}", "/srv/pg, number_sync_standbys: 0}")
        }),
        ("number", QUORUM.replace("/srv/pg}", "/srv/pg, number_sync_standbys: 0}")),
        ("all priorities", QUORUM.replace("secondary: true", "secondary: true, candidate_priority: 20")),
    ] {
        let formation = inventory(&text);
        let mut world = world.clone();
        world.formation = formation.clone();
        assert_converges(&formation, &mut world, what);
    }
}

/// Drift in a settled formation is put right, interrupted anywhere.
#[test]
fn drift_cut_at_any_step_is_put_right() {
    // A monitor without TLS, and without one rule for whoever verifies it, would be drift that keepers meet at once.
    let formation = inventory(&QUORUM.replace("/srv/pg}", "/srv/pg, auth: trust, ssl_self_signed: true}"));
    let mut drifted = settled(&formation);
    for host in ["a", "b", "m"] {
        for file in ["postgresql.conf", "pg_hba.conf", "postgresql-auto-failover.conf"] {
            let data = drifted.host(host).data_mut().unwrap();
            let text = data.files[file].replace("trust", "reject").replace("= on", "= off");
            let text = text.replace("max_connections = 100", "max_connections = 10");
            data.files.insert(file.to_owned(), text.clone());
            data.loaded.insert(file.to_owned(), text);
        }
    }
    let plan = plan_for(&formation, &mut drifted);
    assert!(!plan.is_empty());
    for at in 0.. {
        let mut world = drifted.clone();
        let outcome = execute(&plan, &mut world, Trouble::Cut(at), &mut Dice(at as u64));
        world.rest();
        assert_converges(&formation, &mut world, &format!("drift cut at {at}"));
        if !outcome.cut {
            break;
        }
    }
}

/// A monitor of which several inventories are; none of them names the nodes of another.
fn part(nodes: &str) -> Formation {
    inventory(&format!(
        "all:\n  vars: {{pgdata: /srv/pg, monitor: 'postgres://autoctl_node@elsewhere:5432/pg_auto_failover'}}\n  \
         children:\n    {nodes}\n"
    ))
}

/// What joins a group of strangers, or a coordinator that is one, is cut before every step.
#[test]
fn a_run_among_strangers_is_finished_by_the_next() {
    let coordinator = "coordinator: {hosts: {c: {}}}";
    for (name, others, own) in [
        ("standby", "postgres: {hosts: {a: {}}}", "postgres: {hosts: {b: {}}}"),
        ("third", "postgres: {hosts: {a: {}, b: {}}}", "postgres: {hosts: {d: {}, e: {}}}"),
        ("two", "postgres: {hosts: {a: {}}}", "postgres: {hosts: {b: {}, d: {secondary: true}}}"),
        ("worker", coordinator, "workers: {hosts: {w: {group: 1}, x: {group: 1, secondary: true}}}"),
        ("reader", coordinator, "coordinator: {hosts: {r: {citus_secondary: true, citus_cluster: reports}}}"),
    ] {
        let (others, own) = (part(others), part(own));
        let whole = together(&own, Some(&others));
        let mut start = World::bare(&whole);
        converge(&others, &mut start, &mut Dice(1));
        let plan = plan_for(&own, &mut start.clone());
        for at in 0.. {
            let mut world = start.clone();
            let outcome = execute(&plan, &mut world, Trouble::Cut(at), &mut Dice(at as u64));
            world.rest();
            let after = format!("{name} cut at {at}");
            converge(&own, &mut world, &mut Dice(1));
            assert_serves(&whole, &mut world, &after);
            assert_eq!(
                converge(&others, &mut world, &mut Dice(1)),
                0,
                "{after}: the others have something to do"
            );
            assert_serves(&whole, &mut world, &after);
            if !outcome.cut {
                break;
            }
        }
    }
}
