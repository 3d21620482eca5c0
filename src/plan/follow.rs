//! How standbys connect to their primary when TLS is switched: their keepers see to it by a restart, which is waited for.

use crate::formation::{Keeper, Node, NodeName};
use crate::op::{Op, Wait};
use crate::plan::drift::running;
use crate::plan::node::{Driver, driver};
use crate::plan::replicate::OWN_WAIT;
use crate::plan::{Plan, World};
use crate::resource::data::{self, Pgdata};
use crate::resource::{replication, settings};
use crate::sql;
use crate::state::State;
use crate::step::{Action, Content, File, Risk, Stage, Step};

/// Whether the node is a standby that connects in another way than the inventory says.
pub(super) fn connects_otherwise(world: &World, node: &Node) -> bool {
    let Some(seen) = world.facts.seen(node.name()) else { return false };
    let Pgdata::Present(found) = &seen.pgdata else { return false };
    let is_standby = world.row(node.name()).is_some_and(|row| row.reported == Some(State::Secondary));
    let conf = found.standby_conf.as_ref().map_or("", |conf| conf.reveal());
    let wanted = sql::ssl_conninfo(&node.server.tls);
    // A keeper may have its own way to write it: what counts is that every word is there.
    let is_there = |word: &str| words(conf).any(|found| found == word);
    is_standby && found.standby && !conf.is_empty() && !words(&wanted).all(is_there)
}

/// Words of a conninfo, also where it is quoted.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\'', '\n']).filter(|word| !word.is_empty())
}

/// The keeper's steps, and how its node follows. A keeper that is to ask for more, e.g. for TLS, is told once those whom it
/// connects to have that: its monitor and its primary.
pub(super) fn add(world: &World, node: &Node, keeper: Vec<Step>, plan: &mut Plan) {
    let name = node.name();
    let mode = node.server.tls.mode();
    if !world.seen(name).keeper.is_to_ask_for_more(mode) {
        plan.add(Stage::Keeper, name, keeper);
        plan.add(Stage::Keeper, name, steps(world, node));
        return;
    }
    let primary = world.primary(node.group).and_then(|primary| primary.ours());
    let peers = world.monitor_node().into_iter().chain(primary.map(|primary| primary.name().clone()));
    let peers: Vec<NodeName> = peers.filter(|peer| peer != name).collect();
    if let Some(away) = peers.iter().find(|peer| world.is_excluded(peer)) {
        let mode = mode.as_str();
        plan.note(name, format!("sslmode={mode} waits for {away}, which cannot be given its part of it now"));
        return;
    }
    let steps = keeper.into_iter().chain(steps(world, node));
    plan.add(Stage::Keeper, name, steps.map(|step| step.needs_all(peers.iter().cloned())));
}

/// What is done about that once its keeper has been told.
fn steps(world: &World, node: &Node) -> Vec<Step> {
    if node.server.adopted || !connects_otherwise(world, node) {
        return Vec::new();
    }
    match (driver(world, node), node.server.keeper) {
        (Driver::Muster, Keeper::None) => write(world, node),
        (Driver::Keeper, _) => vec![wait(world, node)],
        // The keeper that is started sees to it.
        (Driver::Muster | Driver::StoppedKeeper, _) => Vec::new(),
    }
}

fn wait(world: &World, node: &Node) -> Step {
    let wanted = sql::ssl_conninfo(&node.server.tls);
    let words: Vec<&str> = words(&wanted).collect();
    let command =
        replication::follows(node, world.bin(node.name()), &world.formation.name, &world.uri, &words);
    let wait = Action::Wait { command, answers: vec!["follows".to_owned()], timeout: OWN_WAIT };
    let because = "its keeper restarts PostgreSQL, which is to connect to its primary in another way";
    let mode = node.server.tls.mode().as_str();
    let op = Op::Wait(Wait::StreamsWith { sslmode: mode.to_owned() });
    Step::new(node.name(), op, because, wait)
}

fn write(world: &World, node: &Node) -> Vec<Step> {
    let server = &node.server;
    let Some(primary) = world.primary(node.group) else { return Vec::new() };
    let text = settings::standby_conf(node, world.id(node.name()), primary.upstream());
    let path = format!("{}/{}", server.pgdata, data::STANDBY_CONF);
    let file = File::new(path, &server.os_user, Content::Text(text));
    let because = format!("it follows {} with another sslmode", primary.upstream().name);
    let bin = world.bin(node.name());
    vec![
        Step::write(node.name(), file, Risk::Reload, because),
        settings::reload(server, bin, &running(server, Some(node)), "its configuration changed"),
    ]
}
