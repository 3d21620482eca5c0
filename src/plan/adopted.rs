//! An adopted server: what forbids touching it, and the few edits that are made to it.

use crate::facts::Seen;
use crate::formation::{Keeper, Node, Server};
use crate::plan::drift::{self, Changed, running};
use crate::plan::node::{self, wait_until_settled};
use crate::plan::{MonitorView, Plan, World, lockout};
use crate::resource::adopted::{AdoptedFacts, FoundFile, ServerFacts, conf, rules};
use crate::resource::data::Pgdata;
use crate::resource::keeper::{self, Whose};
use crate::resource::settings;
use crate::step::{Check, Content, File, Risk, Stage, Step};

/// Why an adopted server is left alone: its data directory has to be explained by pg_autoctl and by the monitor.
pub(super) fn refusal(world: &World, server: &Server, seen: &Seen) -> Option<String> {
    let pgdata = &server.pgdata;
    let found = match &seen.pgdata {
        Pgdata::Empty => {
            return Some(format!(
                "{pgdata} is empty, and muster makes no data directory for an adopted server: make it with pg_autoctl \
                 create, or remove `adopted`"
            ));
        }
        Pgdata::Foreign(what) => {
            return Some(format!("{pgdata} holds foreign content ({what}); it is left alone"));
        }
        Pgdata::Present(found) => found,
    };
    let node = world.formation.nodes.get(&server.name);
    if let Some(mark) = found.mark() {
        return Some(format!("{pgdata} was made by muster (for {mark}): remove `adopted`"));
    }
    if seen.keeper.config.is_none() {
        return Some(format!(
            "there is no pg_autoctl.cfg for {pgdata}: only what pg_autoctl made is adopted"
        ));
    }
    if seen.software.as_ref().is_some_and(|software| software.major != found.major) {
        return Some(format!("{pgdata} is of PostgreSQL {}; set pgctl", found.major));
    }
    let Some(node) = node else { return locks_out(world, server, seen) };
    if matches!(world.monitor, MonitorView::Known(_) | MonitorView::Fresh) && world.row(node.name()).is_none()
    {
        return Some("it is adopted, but the monitor does not know it".to_owned());
    }
    if let Some(why) = locks_out(world, server, seen) {
        return Some(why);
    }
    // Without its keeper nothing says that what is here is what the monitor means.
    seen.keeper.alive.is_none().then(|| {
        format!(
            "its keeper does not run, and muster does not start that of an adopted server: {}",
            match &seen.adopted {
                Some(AdoptedFacts { unit: Some(unit), .. }) => format!("systemctl start {unit}"),
                _ => format!("start it as you did, e.g. pg_autoctl run --pgdata {pgdata}"),
            }
        )
    })
}

/// muster and the keeper come over the local socket: without a rule for that nobody could put the rules back.
fn locks_out(world: &World, server: &Server, seen: &Seen) -> Option<String> {
    let text = seen.adopted.as_ref()?.rules.as_ref()?.text.as_deref()?;
    let wanted = rules::edit(text, &server.hba)?;
    let node = world.formation.nodes.get(&server.name);
    let user = node.map_or(&server.os_user, |node| &node.username);
    let dbname = node.map_or(crate::resource::monitor::DBNAME, |_| world.formation.dbname.as_str());
    let lets_in = |text: &str| rules::lets_in(text, dbname, user);
    (lets_in(text) && !lets_in(&wanted)).then(|| {
        format!(
            "the inventory's hba has no rule by which {user} comes in over the local socket, as pg_hba.conf has: muster \
             and its keeper would be locked out; keep it, e.g. `local all {user} peer`"
        )
    })
}

/// The edits of a data node, and what the monitor keeps of it.
pub(super) fn node(world: &World, node: &Node, plan: &mut Plan) {
    let seen = world.seen(node.name());
    files(world, &node.server, seen, plan);
    let row = world.row(node.name());
    let whose = Whose::Node {
        formation: world.formation,
        node,
        id: world.id(node.name()),
        uri: &world.uri,
        begins: None,
    };
    config(world, &node.server, &whose, seen, plan);
    node::adjust(world, node, plan);
    let busy = |stage: Stage| plan.is_busy(stage, node.name());
    if busy(Stage::Adjust) || row.is_none_or(|row| !world.rests(row)) {
        plan.add(Stage::Settle, node.name(), [wait_until_settled(world, node)]);
    }
    node::notes(world, &node.server, plan);
}

/// The edits of a monitor.
pub(super) fn monitor(world: &World, server: &Server, plan: &mut Plan) {
    let seen = world.seen(&server.name);
    files(world, server, seen, plan);
    config(world, server, &Whose::Monitor, seen, plan);
    if seen.keeper.alive.is_none() {
        plan.note(
            &server.name,
            "its pg_autoctl does not run, and muster does not start that of an adopted monitor",
        );
    }
    node::notes(world, server, plan);
}

fn config(world: &World, server: &Server, whose: &Whose, seen: &Seen, plan: &mut Plan) {
    debug_assert!(server.keeper == Keeper::AsFound, "the inventory sees to it");
    let (Some(software), Some(adopted)) = (&seen.software, &seen.adopted) else { return };
    let is_one = |one: &str, other: &str| {
        let addresses = |name: &str| world.names.addresses(name);
        !addresses(one).is_disjoint(&addresses(other))
    };
    let steps = keeper::adopted::steps(
        server,
        whose,
        software,
        (&seen.keeper, adopted, seen.pgdata.postmaster()),
        is_one,
    );
    plan.add(Stage::Keeper, &server.name, steps);
}

/// `postgresql.conf` and `pg_hba.conf`, as far as the server itself could say how it reads them.
fn files(world: &World, server: &Server, seen: &Seen, plan: &mut Plan) {
    let adopted = seen.adopted.as_ref();
    let (Some(adopted), Some(facts)) = (adopted, adopted.and_then(|adopted| adopted.server.as_ref())) else {
        plan.note(&server.name, "PostgreSQL does not run: its settings and rules were not compared");
        return;
    };
    let Pgdata::Present(found) = &seen.pgdata else { return };
    let mut steps = Vec::new();
    for error in &facts.errors {
        plan.note(&server.name, format!("the server cannot read its configuration: {error}"));
    }
    if facts.errors.is_empty() {
        let text = found.files.get("postgresql.conf").and_then(Option::as_deref).unwrap_or_default();
        steps.extend(settings(world, server, (adopted, facts), text, plan));
    }
    if let Some(rules) = &adopted.rules {
        steps.extend(hba(world, server, rules, plan));
    }
    let on_trial = lockout::guard(world, server, &mut steps);
    let changed = Changed::of(!steps.is_empty(), on_trial);
    let node = world.formation.nodes.get(&server.name);
    steps.extend(drift::reload(world, server, node, changed, seen));
    plan.add(Stage::Prepare, &server.name, steps);
}

fn settings(
    world: &World,
    server: &Server,
    (adopted, facts): (&AdoptedFacts, &ServerFacts),
    text: &str,
    plan: &mut Plan,
) -> Option<Step> {
    let seen = world.seen(&server.name);
    let node = world.formation.nodes.get(&server.name);
    let wanted = settings::wanted(server, node);
    let made = match conf::decide(&facts.config_file, text, &facts.lines, &facts.types, &wanted) {
        Ok(made) => made,
        Err(why) => {
            plan.note(&server.name, format!("postgresql.conf is left alone: {why}"));
            return None;
        }
    };
    for (name, value) in &made.overruled {
        plan.note(
            &server.name,
            format!(
                "{name} is {value} by ALTER SYSTEM, which wins over the inventory's {}: ALTER SYSTEM RESET {name}",
                wanted.get(name).map(String::as_str).unwrap_or_default()
            ),
        );
    }
    let wants = made.text?;
    let file = adopted.conf.as_ref()?;
    let why_not = match file.mode {
        None => Some("it is a link"),
        Some(_) if file.path != format!("{}/postgresql.conf", server.pgdata) => {
            Some("it is not in the data directory")
        }
        Some(_) if text.contains('\u{fffd}') => Some("it is not UTF-8"),
        Some(_) => None,
    };
    if let Some(why) = why_not {
        let names = made.changed.join(", ");
        plan.note(&server.name, format!("{} is left alone: {why}; it differs in {names}", file.path));
        return None;
    }
    let restart = seen.database.as_ref().map(|database| database.after_restart(&made.changed));
    let because = format!("it differs in {}{}", made.changed.join(", "), restart.unwrap_or_default());
    let node = world.formation.nodes.get(&server.name);
    let bin = world.bin(&server.name).to_owned();
    let running = running(server, node);
    let check = Check::Configuration { bin, socket: running.socket.clone(), server: Some(running) };
    Some(write(server, file, (text, wants), check, because))
}

fn hba(world: &World, server: &Server, file: &FoundFile, plan: &mut Plan) -> Option<Step> {
    let text = file.text.as_deref()?;
    let wants = rules::edit(text, &server.hba)?;
    let why_not = match file.mode {
        None => Some("it is a link"),
        Some(_) if text.contains('\u{fffd}') => Some("it is not UTF-8"),
        // What would be written has to say what is wanted, or every run would write it again.
        Some(_) if rules::edit(&wants, &server.hba).is_some() => Some("a rule of it ends in a backslash"),
        Some(_) => None,
    };
    if let Some(why) = why_not {
        let what = format!("{} is left alone: {why}; its rules differ from the inventory's", file.path);
        plan.note(&server.name, what);
        return None;
    }
    let node = world.formation.nodes.get(&server.name);
    let check = Check::Rules { bin: world.bin(&server.name).to_owned(), server: running(server, node) };
    Some(write(server, file, (text, wants), check, "its rules differ from the inventory's".to_owned()))
}

/// The file keeps its mode.
fn write(
    server: &Server,
    file: &FoundFile,
    (before, text): (&str, String),
    check: Check,
    because: String,
) -> Step {
    let put = File::new(&file.path, &server.os_user, Content::Text(text))
        .mode(file.mode.unwrap_or(0o600))
        .before(Some(before.to_owned()))
        .check(check);
    Step::write(&server.name, put, Risk::Reload, because)
}
