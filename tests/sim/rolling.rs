//! Members of a group that take turns: restarts, switchovers and maintenance, cut anywhere, on formations that run.

use std::collections::{BTreeMap, BTreeSet};

use muster::formation::{Formation, Monitor, NodeName, RestartPolicy, Server};
use muster::op::{Op, Switch};
use muster::plan::{Downtime, Goal, LeftOut, Maintenance, Plan, Reboot, Restart, Switchover, Which};
use muster::scope::Scope;

use crate::converge::{assert_serves, example, inventory, settled};
use crate::run::{Dice, TODAY, Trouble, converge, execute};
use crate::world::{Data, World};

fn plan(formation: &Formation, world: &mut World, goal: &Goal) -> Plan {
    let facts = world.facts_of(formation, &Scope::whole());
    goal.plan(formation, &Scope::whole(), &facts, TODAY).unwrap_or_else(|problem| panic!("{problem}"))
}

fn restart(formation: &Formation, which: Which) -> Goal {
    Goal::Restart(Restart {
        nodes: formation.servers().map(|server| server.name.clone()).collect(),
        which,
        downtime: Downtime::Refused,
        serial: None,
        canary: None,
    })
}

/// As a command does it: where a plan says that more will follow there is another look, at most four times. Gives the last plan.
fn run(formation: &Formation, world: &mut World, goal: &Goal) -> Plan {
    let mut partial = Vec::new();
    for _ in 0..5 {
        let made = plan(formation, world, goal);
        let outcome = execute(&made, world, Trouble::Nothing, &mut Dice(1));
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
        match &made.partial {
            None => return made,
            Some(why) => partial.push(why.to_string()),
        }
    }
    panic!("it goes on for ever: {partial:#?}");
}

/// The one plan there is, carried out to its end, when all have come to rest.
fn done(formation: &Formation, world: &mut World, goal: &Goal, when: &str) -> Plan {
    let made = plan(formation, world, goal);
    assert!(made.blocked.is_empty(), "{when}: {:#?}", made.blocked);
    let outcome = execute(&made, world, Trouble::Nothing, &mut Dice(1));
    assert!(outcome.failed.is_empty(), "{when}: {:#?}", outcome.failed);
    world.rest();
    made
}

fn postmasters(world: &World) -> BTreeMap<NodeName, Option<u32>> {
    let of = |name: &NodeName| world.hosts[name].data().and_then(|data| data.postmaster);
    world.hosts.keys().map(|name| (name.clone(), of(name))).collect()
}

/// Every setting that waits for a restart, on every server.
fn pending(formation: &Formation) -> World {
    let mut world = settled(formation);
    for host in world.hosts.values_mut() {
        host.data_mut().unwrap().pending_restart.insert("max_connections".to_owned());
    }
    world
}

#[test]
fn every_server_is_restarted_one_of_a_group_after_the_other() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let mut world = settled(&formation);
        let before = postmasters(&world);
        let made = done(&formation, &mut world, &restart(&formation, Which::All), name);
        for (host, now) in postmasters(&world) {
            assert!(now.is_some() && now != before[&host], "{name}: {host} is the same");
        }
        assert_serves(&formation, &mut world, name);
        for wave in &made.waves {
            for lane in &wave.lanes {
                let groups: BTreeSet<_> = lane
                    .turns
                    .iter()
                    .map(|turn| formation.nodes.get(&turn.node).map(|node| node.group))
                    .collect();
                assert_eq!(groups.len(), 1, "{name}: a lane is a group's");
                assert!(lane.turns.iter().all(|turn| !turn.gate.is_empty()), "{name}: a turn without a gate");
            }
        }
    }
}

/// Cut before any step, or with any step failing or unheard, what is left waits for a restart, and one more run does it.
#[test]
fn a_restart_cut_at_any_step_is_finished_by_the_next() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let begin = pending(&formation);
        let goal = restart(&formation, Which::Pending);
        let steps = plan(&formation, &mut begin.clone(), &goal).steps().count();
        assert!(steps > 5, "{name}: {steps}");
        for at in 0..steps {
            for trouble in [Trouble::Cut(at), Trouble::Fails(at), Trouble::Unheard(at)] {
                let mut world = begin.clone();
                let first = plan(&formation, &mut world, &goal);
                execute(&first, &mut world, trouble, &mut Dice(at as u64));
                // At once, as it was left: what goes on by itself is waited for.
                let next = run(&formation, &mut world, &goal);
                assert!(next.blocked.is_empty(), "{name}, {trouble:?}: {:#?}", next.blocked);
                world.rest();
                let last = plan(&formation, &mut world, &goal);
                assert!(last.is_empty() && last.blocked.is_empty(), "{name}, {trouble:?}: {:#?}", last.waves);
                assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{name}, {trouble:?}");
                assert_serves(&formation, &mut world, &format!("{name}, {trouble:?}"));
            }
        }
    }
}

/// A standby with less than its primary would not come up.
#[test]
fn what_a_standby_must_not_have_lower_is_lowered_on_the_primary_first() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let mut world = pending(&formation);
        for host in world.hosts.values_mut() {
            host.data_mut().unwrap().lowered.insert("max_connections".to_owned());
        }
        done(&formation, &mut world, &restart(&formation, Which::Pending), name);
        let last = plan(&formation, &mut world, &restart(&formation, Which::Pending));
        assert!(last.is_empty() && last.blocked.is_empty(), "{name}: {:#?}", last.waves);
        assert_serves(&formation, &mut world, name);
    }
}

/// A formation of three groups and one with the quorum that a monitor gives a group of three, with these settings.
fn with_connections(connections: u32) -> Vec<Formation> {
    let of_lab = |name: &str| {
        let mut formation = example(name);
        let set = |server: &mut Server| {
            server.settings.insert("max_connections".to_owned(), connections.to_string());
        };
        formation.nodes.values_mut().for_each(|node| set(&mut node.server));
        if let Monitor::Managed(server) = &mut formation.monitor {
            set(server);
        }
        formation
    };
    let three = inventory(&format!(
        "all:\n  vars: {{pgdata: /srv/pg, settings: {{max_connections: {connections}}}}}\n  children:\n    \
         monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: , b: {{secondary: true}}, c: {{secondary: true}}}}}}\n"
    ));
    vec![of_lab("minimal.yml"), of_lab("lab.yml"), three]
}

/// The plans of one run: where a plan says that more will follow there is another look, at most twice.
fn apply(formation: &Formation, world: &mut World, trouble: Trouble) -> Plan {
    let mut made = plan(formation, world, &Goal::ROLLOUT);
    for _ in 0..2 {
        let outcome = execute(&made, world, trouble, &mut Dice(1));
        if outcome.cut || !outcome.failed.is_empty() || made.partial.is_none() {
            break;
        }
        made = plan(formation, world, &Goal::ROLLOUT);
    }
    made
}

/// A setting that takes a restart is in force after one run, up and down; a run that was cut anywhere is finished by the next.
#[test]
fn a_setting_that_takes_a_restart_is_brought_about_by_turns() {
    for (old, new) in [(100, 200), (200, 100)] {
        for (before, after) in with_connections(old).into_iter().zip(with_connections(new)) {
            let mut begin = settled(&before);
            begin.formation = after.clone();
            let made = plan(&after, &mut begin.clone(), &Goal::ROLLOUT);
            assert!(made.blocked.is_empty() && made.partial.is_none(), "{:#?}", made.blocked);
            let steps = made.steps().count();
            assert!(steps > 5, "{steps}");
            // The largest is cut alone, at every third step.
            let is_large = after.nodes.len() > 3;
            let others = (0..steps).filter(|_| !is_large);
            let others = others.flat_map(|at| [Trouble::Fails(at), Trouble::Unheard(at)]);
            let cuts = (0..steps).step_by(if is_large { 3 } else { 1 }).map(Trouble::Cut);
            let troubles = cuts.chain(others);
            for trouble in troubles.chain([Trouble::Nothing]) {
                let mut world = begin.clone();
                apply(&after, &mut world, trouble);
                world.rest();
                if trouble != Trouble::Nothing {
                    let last = apply(&after, &mut world, Trouble::Nothing);
                    assert!(last.blocked.is_empty(), "{trouble:?}: {:#?}", last.blocked);
                    world.rest();
                }
                for (name, host) in &world.hosts {
                    let runs_with = host.data().map(Data::runs_with);
                    let is_lonely =
                        after.nodes.get(name).is_some_and(|node| after.group(node.group).count() == 1);
                    assert!(
                        is_lonely || runs_with == Some(new),
                        "{old} to {new}, {trouble:?}: {name} has {runs_with:?}"
                    );
                }
                let again = plan(&after, &mut world, &Goal::ROLLOUT);
                assert!(again.is_empty() && again.blocked.is_empty(), "{trouble:?}: {:#?}", again.waves);
                assert_serves(&after, &mut world, &format!("{old} to {new}, {trouble:?}"));
            }
        }
    }
}

/// Where the restart is the operator's, what is lowered is in no file before it: a keeper that restarts its server meanwhile, as it does in
/// every failover, has to bring it up.
#[test]
fn what_is_lowered_is_in_no_file_before_the_restart_of_the_operator() {
    for (before, mut after) in with_connections(200).into_iter().zip(with_connections(100)).skip(2) {
        after.nodes.values_mut().for_each(|node| node.server.restart_policy = RestartPolicy::Manual);
        let mut begin = settled(&before);
        begin.formation = after.clone();
        done(&after, &mut begin, &Goal::ROLLOUT, "manual");
        for (name, host) in begin.hosts.iter().filter(|(name, _)| after.nodes.contains_key(*name)) {
            let data = host.data().unwrap();
            assert_eq!(data.will_have(), data.runs_with_each(), "{name}");
        }
        let goal = restart(&after, Which::Pending);
        let steps = plan(&after, &mut begin.clone(), &goal).steps().count();
        for trouble in (0..steps).map(Trouble::Cut).chain([Trouble::Nothing]) {
            let mut world = begin.clone();
            let first = plan(&after, &mut world, &goal);
            execute(&first, &mut world, trouble, &mut Dice(1));
            run(&after, &mut world, &goal);
            world.rest();
            for (name, host) in world.hosts.iter().filter(|(name, _)| after.nodes.contains_key(*name)) {
                assert_eq!(host.data().map(Data::runs_with), Some(100), "{name}, {trouble:?}");
            }
            let last = plan(&after, &mut world, &goal);
            assert!(last.is_empty() && last.blocked.is_empty(), "{trouble:?}: {:#?}", last.waves);
            assert_eq!(converge(&after, &mut world, &mut Dice(1)), 0, "{trouble:?}");
            assert_serves(&after, &mut world, &format!("{trouble:?}"));
        }
    }
}

#[test]
fn every_group_switches_over_and_back() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let mut world = settled(&formation);
        for group in formation.groups() {
            for _ in 0..2 {
                let before = world.writer(group);
                let goal = Goal::Switchover(Switchover { group, to: None });
                done(&formation, &mut world, &goal, name);
                assert_ne!(world.writer(group), before, "{name}: group {group}");
                assert_serves(&formation, &mut world, name);
                assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{name}: group {group}");
            }
        }
    }
}

#[test]
fn every_node_is_taken_out_and_back() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let mut world = settled(&formation);
        for node in formation.nodes.keys() {
            for turn in [Switch::On, Switch::Off] {
                let goal = Goal::Maintenance(Maintenance { nodes: BTreeSet::from([node.clone()]), turn });
                done(&formation, &mut world, &goal, &format!("{name}: {node}"));
                let again = plan(&formation, &mut world, &goal);
                assert!(again.is_empty() && again.blocked.is_empty(), "{name}: {node}: {again:#?}");
                let row = world.monitor.as_mut().unwrap().by_name(&node.0).unwrap();
                assert_eq!(row.is_out(), turn == Switch::On, "{name}: {node}");
            }
            assert_serves(&formation, &mut world, name);
        }
    }
}

/// All hosts, or those of these nodes, that have been up for longer than a minute.
fn reboot(formation: &Formation, left_out: LeftOut) -> Goal {
    Goal::Reboot(Reboot {
        nodes: formation.servers().map(|server| server.name.clone()).collect(),
        up_for: 60,
        left_out,
        downtime: Downtime::Refused,
        serial: None,
        canary: None,
        here: None,
    })
}

fn boots(world: &World) -> BTreeMap<NodeName, u64> {
    world.hosts.iter().map(|(name, host)| (name.clone(), host.boot)).collect()
}

fn assert_all_booted(before: &BTreeMap<NodeName, u64>, world: &World, when: &str) {
    for (name, boot) in boots(world) {
        assert_ne!(boot, before[&name], "{when}: {name} was not rebooted");
    }
}

#[test]
fn every_host_is_rebooted_one_of_a_group_after_the_other() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let mut world = settled(&formation);
        let before = boots(&world);
        let made = done(&formation, &mut world, &reboot(&formation, LeftOut::Stay), name);
        assert!(made.partial.is_none(), "{name}: {:?}", made.partial);
        assert_all_booted(&before, &world, name);
        assert_serves(&formation, &mut world, name);
        let again = plan(&formation, &mut world, &reboot(&formation, LeftOut::Stay));
        assert!(again.is_empty() && again.blocked.is_empty(), "{name}: {:#?}", again.waves);
        assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{name}");
    }
}

/// Whatever is left, in maintenance or not rebooted yet, the next run with the same moment brings to its end.
#[test]
fn a_reboot_cut_at_any_step_is_finished_by_the_next() {
    for name in ["minimal.yml", "lab.yml"] {
        let formation = example(name);
        let begin = settled(&formation);
        let before = boots(&begin);
        let steps = plan(&formation, &mut begin.clone(), &reboot(&formation, LeftOut::Stay)).steps().count();
        assert!(steps > 10, "{name}: {steps}");
        for at in 0..steps {
            let troubles = [Trouble::Cut(at), Trouble::Fails(at), Trouble::Unheard(at)];
            // Every one of them in the small formation, by turns in the large one.
            let of_this = if name == "minimal.yml" { &troubles[..] } else { &troubles[at % 3..][..1] };
            for trouble in of_this.iter().copied() {
                let when = format!("{name}, {trouble:?}");
                let mut world = begin.clone();
                let first = plan(&formation, &mut world, &reboot(&formation, LeftOut::Stay));
                execute(&first, &mut world, trouble, &mut Dice(at as u64));
                let goal = reboot(&formation, LeftOut::ComeBack);
                let next = run(&formation, &mut world, &goal);
                assert!(next.blocked.is_empty(), "{when}: {:#?}", next.blocked);
                world.rest();
                let last = plan(&formation, &mut world, &goal);
                assert!(last.is_empty() && last.blocked.is_empty(), "{when}: {:#?}", last.waves);
                assert_all_booted(&before, &world, &when);
                assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{when}");
                assert_serves(&formation, &mut world, &when);
            }
        }
    }
}

/// Two groups whose nodes are on the same two hosts, each with a primary: both of a host are out while it is away.
#[test]
fn a_host_of_several_nodes_is_one() {
    let formation = example("lab.yml");
    for (one, other) in [("w2b", "w2a"), ("w2a", "w2b")] {
        let mut world = settled(&formation);
        for (node, beside) in [("w1a", one), ("w1b", other)] {
            let boot = world.host(node).boot;
            world.host(beside).boot = boot;
        }
        let (before, when) = (boots(&world), format!("w1a with {one}"));
        let goal = reboot(&formation, LeftOut::Stay);
        let made = plan(&formation, &mut world, &goal);
        for (index, (_, turn)) in made.turns().enumerate() {
            for step in turn.steps.iter().filter(|step| step.op == Op::Reboot) {
                let host = world.hosts[&step.on].boot;
                let is_out = |name: &NodeName| {
                    let earlier = made.turns().take(index).map(|(_, turn)| turn);
                    earlier.filter(|turn| turn.node == *name).any(|turn| {
                        turn.steps.iter().any(|step| step.op == Op::Maintenance { turn: Switch::On })
                    })
                };
                let on_it = world.hosts.iter().filter(|(name, found)| found.boot == host && name.0 != "mon");
                for (name, _) in on_it {
                    assert!(is_out(name), "{when}: {name} is not out: {:#?}", made.waves);
                }
            }
        }
        run(&formation, &mut world, &goal);
        world.rest();
        assert_all_booted(&before, &world, &when);
        assert_serves(&formation, &mut world, &when);
        assert_eq!(converge(&formation, &mut world, &mut Dice(1)), 0, "{when}");
    }
}
