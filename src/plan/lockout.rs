//! Changes that may lock out: which they are, and who has to come in after them.

use std::collections::BTreeMap;

use crate::formation::{NodeName, Secret, Server, SslMode};
use crate::links;
use crate::plan::drift::running;
use crate::plan::{Plan, World};
use crate::reason::Reason;
use crate::resource::keeper::asks_with;
use crate::resource::{settings, unconfirmed};
use crate::step::{Action, Content, File, Stage, Step, Undo};

/// When a change is made, as to what the others have been told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Keepers connect as before.
    NotYet,
    /// They connect as the inventory says.
    Everybody,
}

/// Settings that decide who comes in, beside those that begin with `ssl`.
const WHO_COMES_IN: [&str; 8] = [
    "listen_addresses",
    "port",
    "authentication_timeout",
    "password_encryption",
    "krb_server_keyfile",
    "krb_caseins_users",
    "session_preload_libraries",
    "local_preload_libraries",
];

/// Whether somebody who comes in now might not come in after it.
fn may_lock_out(file: &File) -> bool {
    let (Some(before), Content::Text(text)) = (&file.before, &file.content) else {
        return file.before.is_some()
            && matches!(file.content, Content::Certificate(_) | Content::PrivateKey(_));
    };
    match file.path.rsplit('/').next() {
        Some("pg_hba.conf" | "pg_ident.conf") => before != text,
        Some("postgresql.conf" | "postgresql-auto-failover.conf") => {
            let is_one = |name: &String| {
                let name = name.to_ascii_lowercase();
                name.starts_with("ssl") || WHO_COMES_IN.contains(&name.as_str())
            };
            settings::changed(before, text).iter().any(is_one)
        }
        _ => false,
    }
}

/// Where one of these steps on a running server may lock out, all of them come back unless the change is confirmed; whether it is so.
pub(super) fn guard(world: &World, server: &Server, steps: &mut [Step]) -> bool {
    let files = steps.iter_mut().filter_map(|step| match &mut step.action {
        Action::Put(file) if file.before.is_some() => Some(file),
        Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_) | Action::Wait { .. } => None,
    });
    let mut files: Vec<&mut File> = files.collect();
    if server.confirm_timeout == 0 || !files.iter().any(|file| may_lock_out(file)) {
        return false;
    }
    let node = world.formation.nodes.get(&server.name);
    for file in &mut files {
        file.undo = Some(Undo {
            bin: world.bin(&server.name).to_owned(),
            pgdata: server.pgdata.clone(),
            server: running(server, node),
            within: server.confirm_timeout,
        });
    }
    true
}

/// The reload that brings such a change in force.
pub(super) fn reload(world: &World, server: &Server, told: Told, because: &str) -> Step {
    let strangers = world.strangers();
    let links = links::needed(world.formation, &world.names, &strangers, server);
    let hosts = world.formation.servers().filter(|peer| world.facts.seen(&peer.name).is_some());
    let bins: BTreeMap<&NodeName, &str> =
        hosts.map(|peer| (&peer.name, world.bin(&peer.name))).filter(|(_, bin)| !bin.is_empty()).collect();
    let now = |name: &NodeName| -> Option<SslMode> {
        let config = world.facts.seen(name)?.keeper.config.as_ref().map(Secret::reveal)?;
        asks_with(config).filter(|_| told == Told::NotYet)
    };
    let asks = links::asks(world.formation, server, links, &bins, &now);
    let node = world.formation.nodes.get(&server.name);
    let (bin, asked) = (world.bin(&server.name), running(server, node));
    settings::reload_on_trial(server, bin, &asked, asks, because)
}

/// What an interrupted run has placed and not confirmed is taken back; whether there is such a thing, and another look is needed then.
pub(super) fn take_back(world: &World, plan: &mut Plan) -> bool {
    for server in world.formation.servers().filter(|server| world.scope.has(&server.name)) {
        let seen = world.facts.seen(&server.name).filter(|_| !world.is_excluded(&server.name));
        let Some(names) = seen.and_then(|seen| seen.unconfirmed.as_ref()) else { continue };
        let step = unconfirmed::take_back(server, world.bin(&server.name), names);
        plan.add(Stage::Prepare, &server.name, [step]);
        plan.partial.get_or_insert(Reason::Unconfirmed(server.name.clone()));
    }
    plan.partial.is_some()
}
