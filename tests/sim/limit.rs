//! Runs with a limit: in any order they make the world that one run of all makes, and they touch nobody else.

use muster::formation::{Formation, NodeKind, NodeName};
use muster::plan::{Plan, within};
use muster::scope::Scope;
use muster::step::Stage;

use crate::converge::{assert_serves, example, seeds, settled, small};
use crate::run::{Dice, TODAY, Trouble, converge, execute, plan_for};
use crate::world::{Seeing, World};

fn plan_within(formation: &Formation, world: &mut World, scope: &Scope, after: &str) -> Plan {
    let facts = world.facts_of(&world.formation.clone(), scope);
    let plan = within(formation, scope, &facts, TODAY).unwrap_or_else(|problem| panic!("{after}: {problem}"));
    // A step belongs to a node within; of what is outside, only a coordinator runs any, for the rows of nodes within.
    for (stage, node, step) in plan.steps() {
        assert!(scope.has(node), "{after}: {node}: {}", step.title());
        let coordinates =
            formation.nodes.get(&step.on).is_some_and(|node| node.kind == NodeKind::Coordinator);
        let is_row = stage == Stage::Metadata && coordinates;
        assert!(scope.has(&step.on) || is_row, "{after}: {node} on {}: {}", step.on, step.title());
    }
    let told = plan.blocked.keys().chain(plan.unreachable.keys()).chain(plan.notes.keys());
    told.for_each(|node| assert!(scope.has(node), "{after}: {node}"));
    plan
}

/// One run with a limit, to its end; nothing fails, nothing hangs. Whether it had nothing to do, for nobody.
fn run(formation: &Formation, world: &mut World, scope: &Scope, dice: &mut Dice, after: &str) -> bool {
    let mut idle = true;
    for _ in 0..3 {
        let plan = plan_within(formation, world, scope, after);
        let outcome = execute(&plan, world, Trouble::Nothing, dice);
        assert!(outcome.failed.is_empty(), "{after}: {:#?}", outcome.failed);
        world.rest();
        idle &= plan.is_empty() && plan.blocked.is_empty();
        if plan.partial.is_none() {
            let again = plan_within(formation, world, scope, after);
            assert!(again.is_empty(), "{after}: {:#?}", again.waves);
            assert_eq!(again.blocked, plan.blocked, "{after}");
            return idle;
        }
    }
    panic!("{after}: always more to plan");
}

/// Again and again, each time in the order of the dice, until nobody has anything to do or to wait for.
fn take_turns(formation: &Formation, world: &mut World, scopes: &[Scope], seed: u64, name: &str) {
    let mut dice = Dice(seed);
    let mut story = format!("{name}, seed {seed}");
    for _ in 0..8 {
        let mut order: Vec<&Scope> = scopes.iter().collect();
        let mut idle = true;
        while !order.is_empty() {
            let scope = order.remove(dice.below(order.len()));
            story += &format!(", {:?}", scope.limit());
            idle &= run(formation, world, scope, &mut dice, &story);
        }
        if idle {
            return;
        }
    }
    panic!("{story}: it does not end");
}

fn of(formation: &Formation, names: &[&str]) -> Scope {
    Scope::of(formation, names.iter().map(|name| NodeName::from(*name)))
}

#[test]
fn host_by_host_in_any_order_is_as_all_at_once() {
    let lab = ("lab", example("lab.yml"));
    for (name, formation) in small().into_iter().chain([lab]) {
        // Without keepers nobody outside moves: a group goes together.
        let scopes: Vec<Scope> = match name {
            "keeperless" => vec![of(&formation, &["m"]), of(&formation, &["a", "b"])],
            _ => formation.servers().map(|server| Scope::of(&formation, [server.name.clone()])).collect(),
        };
        for seed in seeds() {
            let mut world = World::bare(&formation);
            take_turns(&formation, &mut world, &scopes, seed, name);
            assert_serves(&formation, &mut world, name);
            let mut whole = World::bare(&formation);
            assert!(converge(&formation, &mut whole, &mut Dice(seed)) > 0);
            // One run of all would not do anything else.
            assert_eq!(converge(&formation, &mut world, &mut Dice(seed)), 0, "{name}, seed {seed}");
            assert_eq!(alike(&world), alike(&whole), "{name}, seed {seed}");
        }
    }
}

/// What two worlds have in common that came about in another order: node ids, keys and identifiers differ.
fn alike(world: &World) -> Vec<String> {
    let data = |name: &NodeName| {
        let data = world.hosts[name].data().expect("it is rolled out");
        let mut rules: Vec<&str> = data.files["pg_hba.conf"].lines().collect();
        rules.sort_unstable();
        let extensions: Vec<&String> = data.extensions.keys().collect();
        format!(
            "{name}: {rules:?} {:?} {:?} {extensions:?} {} slots {:?}",
            data.files["postgresql.conf"],
            data.roles,
            data.slots.len(),
            data.standby,
        )
    };
    let files = |name: &NodeName| {
        let paths: Vec<&String> = world.hosts[name].files.keys().collect();
        format!("{name}: {paths:?} {}", world.hosts[name].enabled)
    };
    let rows = world.monitor.iter().flat_map(|monitor| &monitor.rows);
    let mut rows: Vec<String> = rows
        .map(|row| {
            format!("{} {} {:?} {:?} {}", row.name, row.group, row.reported, row.assigned, row.cluster)
        })
        .collect();
    rows.sort_unstable();
    let names = || world.hosts.keys();
    names().map(data).chain(names().map(files)).chain(rows).collect()
}

/// Any hosts, any number of times; then all.
#[test]
fn whatever_is_limited_to_whom_all_is_well_in_the_end() {
    let formation = example("lab.yml");
    let names: Vec<NodeName> = formation.servers().map(|server| server.name.clone()).collect();
    for seed in seeds() {
        let mut dice = Dice(seed + 77);
        let mut world = World::bare(&formation);
        let mut story = format!("seed {seed}");
        for _ in 0..10 {
            let some = names.iter().filter(|_| dice.below(3) == 0).cloned();
            let scope = Scope::of(&formation, some);
            story += &format!(", {:?}", scope.limit());
            run(&formation, &mut world, &scope, &mut dice, &story);
        }
        converge(&formation, &mut world, &mut dice);
        assert_serves(&formation, &mut world, &story);
    }
}

/// Hosts outside are away, or would need something: a settled group within has nothing to do and nothing to wait for.
#[test]
fn what_is_wrong_outside_spoils_nothing_within() {
    let formation = example("lab.yml");
    let settled = settled(&formation);
    let scope = of(&formation, &["w1a", "w1b", "w1r"]);
    for host in ["w2a", "w2b", "coord1", "coord2", "mon"] {
        let mut world = settled.clone();
        world.host(host).sight = Seeing::Unreachable;
        let plan = plan_within(&formation, &mut world, &scope, host);
        assert!(plan.is_empty() && plan.unreachable.is_empty(), "{host}: {:#?}", plan.waves);
        let waits = if host == "mon" { 3 } else { 0 };
        assert_eq!(plan.blocked.len(), waits, "{host}: {:?}", plan.blocked);
        let mut world = settled.clone();
        world.host(host).stop_everything();
        let plan = plan_within(&formation, &mut world, &scope, host);
        assert!(plan.is_empty() && plan.partial.is_none(), "{host}: {:#?}", plan.waves);
        assert!(!plan_for(&formation, &mut world).is_empty(), "{host}");
    }
}
