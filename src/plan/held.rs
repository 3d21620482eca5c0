//! What is held back of a `postgresql.conf` until its server is restarted.

use std::collections::BTreeSet;

use crate::error::Problem;
use crate::facts::Seen;
use crate::formation::{Node, RestartPolicy, Server};
use crate::plan::World;
use crate::plan::drift::{as_read, differs, rendered_conf, running, takes_restart, with_at_least};
use crate::plan::rolling::{self, Share};
use crate::resource::data::Pgdata;
use crate::resource::moved::{Moved, STANDBY_NEEDS};
use crate::resource::{overruled, settings};
use crate::step::{Action, Check, Risk, Step};

/// A `postgresql.conf` that a server gets in its turn, right before it is restarted: what keeps one from starting is on no other by then.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(super) write: Step,
    /// What takes a restart.
    pub(super) settings: Vec<String>,
    /// What differs beside that, and would not take one.
    pub(super) others: Vec<String>,
    pub(super) moved: Moved,
}

/// What is held back of a `postgresql.conf` that differs; `None` where nothing is.
pub(super) fn held(world: &World, server: &Server, node: Option<&Node>, wanted: &str) -> Option<Held> {
    let share = rolling::share(world, server, node);
    if share == Share::AtOnce {
        return None;
    }
    let seen = world.seen(&server.name);
    let before = seen.pgdata.conf()?;
    let settings = takes_restart(seen, before, wanted);
    let moved = moved(seen, &settings, wanted)?;
    if settings.is_empty() || !rolling::may_move(world, node, &moved) {
        return None;
    }
    Some(Held::new(world, server, node, wanted, (settings, moved, share)))
}

/// How a `postgresql.conf` would move what a standby must not have lower than its primary; `None` where no server runs.
fn moved(seen: &Seen, settings: &[String], wanted: &str) -> Option<Moved> {
    let (Pgdata::Present(found), Some(database)) = (&seen.pgdata, &seen.database) else { return None };
    Some(database.moved(settings, &as_read(found, wanted)))
}

/// A `postgresql.conf` that has nothing lower yet than its server runs with, of what a standby must not have lower than its primary.
pub(super) struct Still {
    pub(super) text: String,
    pub(super) moved: Moved,
}

/// What a member of a group gets whose restart is the operator's: its keeper restarts it before that where the monitor has it report how
/// far it is, or follow another one, and with less than the primary's WAL has named it would not start. `None` where nothing is lowered.
fn still(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    wanted: &str,
) -> Result<Option<Still>, Problem> {
    let seen = world.seen(&server.name);
    let is_one_of_several = node.is_some_and(|node| {
        let is_other = |other: &&Node| other.name() != node.name() && world.row(other.name()).is_some();
        world.formation.group(node.group).any(|other| is_other(&other))
            || !world.strangers_of(node.group).is_empty()
    });
    if !is_one_of_several || seen.pgdata.postmaster().is_none() {
        return Ok(None);
    }
    // By itself Citus sets the one of which there are none where nobody says it.
    let before = seen.pgdata.conf().unwrap_or_default();
    let is_said = |name: &str| [before, wanted].iter().any(|text| settings::value(text, name).is_some());
    let said = STANDBY_NEEDS.iter().map(|need| need.name).filter(|name| is_said(name));
    let names: Vec<String> =
        said.filter(|name| !overruled::is_set(&seen.pgdata, name)).map(str::to_owned).collect();
    let Some(moved) = moved(seen, &names, wanted).filter(|moved| !moved.lowered.is_empty()) else {
        return Ok(None);
    };
    let numbers = moved.lowered.iter().map(|(name, lowered)| (name.clone(), lowered.from)).collect();
    Ok(Some(Still { text: with_at_least(world, server, node, &numbers)?, moved }))
}

/// What a rollout writes of a file that has something lower, and does not come by turns; `None` where nothing is kept back.
pub(super) fn until_restarted(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    wanted: &str,
) -> Result<Option<Still>, Problem> {
    let comes_by_turns = |still: &Still| {
        rolling::share(world, server, node) != Share::AtOnce && rolling::may_move(world, node, &still.moved)
    };
    Ok(still(world, server, node, wanted)?.filter(|still| !comes_by_turns(still)))
}

/// What is said of what is kept back.
pub(super) fn told_of_kept(server: &Server, kept: &BTreeSet<String>) -> String {
    let names = kept.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let how = match server.restart_policy {
        RestartPolicy::Never => "a restart does, which restart_policy never rules out".to_owned(),
        RestartPolicy::Rolling | RestartPolicy::Manual => {
            "`muster restart --pending` writes it and restarts".to_owned()
        }
    };
    format!(
        "{names} is lowered in postgresql.conf with the restart and not before, as a member that has less than its group does not start \
         after a failover; {how}"
    )
}

/// What a server gets right before the operator's restart of it: what has been kept from it until then. `None` where nothing is, or its
/// file differs in more than that, which `apply` has to write first.
pub(super) fn kept_back(world: &World, server: &Server) -> Option<Held> {
    let node = world.formation.nodes.get(&server.name);
    let wanted = rendered_conf(world, server, node).ok()?;
    let still = still(world, server, node, &wanted).ok()??;
    let found = world.facts.seen(&server.name)?.pgdata.conf()?;
    let is_written = settings::changed(found, &still.text).is_empty();
    let settings = still.moved.lowered.keys().cloned().collect();
    is_written.then(|| Held::new(world, server, node, &wanted, (settings, still.moved, Share::Turn)))
}

impl Held {
    fn new(
        world: &World,
        server: &Server,
        node: Option<&Node>,
        wanted: &str,
        (settings, moved, share): (Vec<String>, Moved, Share),
    ) -> Held {
        let seen = world.seen(&server.name);
        let before = seen.pgdata.conf().unwrap_or_default();
        let name = "postgresql.conf";
        let (bin, running) = (world.bin(&server.name).to_owned(), running(server, node));
        let (text, old) = (wanted.to_owned(), Some(before.to_owned()));
        let because = differs(Some(before), wanted, (share == Share::Write).then_some(seen));
        let mut write =
            settings::put(server, &bin, &server.pgdata, name, text, old, (Risk::Reload, &because));
        if let Action::Put(file) = &mut write.action {
            file.check = Check::Configuration { bin, socket: running.socket.clone(), server: Some(running) };
        }
        let is_other = |name: &String| !settings.iter().any(|known| known.eq_ignore_ascii_case(name));
        let others = settings::changed(before, wanted).into_iter().filter(is_other).collect();
        Held { write, settings, others, moved }
    }
}
