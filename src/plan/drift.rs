//! The files of a data directory: as they are first written, and where they no longer say what they should.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Problem;
use crate::facts::Seen;
use crate::formation::{Formation, HbaEdit, Node, Secret, Server, Tls};
use crate::links::{self, Purpose};
use crate::plan::World;
use crate::plan::held::{Held, held, until_restarted};
use crate::plan::lockout::{self, Told};
use crate::resource::data::{DataDirectory, Pgdata};
use crate::resource::keeper::as_written;
use crate::resource::monitor::NodeRow;
use crate::resource::moved::lower_than_needed;
use crate::resource::overruled::Plain;
use crate::resource::tls::Shown;
use crate::resource::{data, hba, ident, overruled, settings};
use crate::step::{Action, Check, Content, File, Risk, Running, Step};

/// The files of a data directory that is still beside PGDATA.
pub(super) fn install_configuration(
    world: &World,
    server: &Server,
    node: Option<&Node>,
) -> Result<Vec<Step>, Problem> {
    let dir = data::new_dir(server);
    let bin = world.bin(&server.name);
    let host = &world.seen(&server.name).host;
    let because = "rendered from the template";
    let put = |name: &str, text: String, because: &str| {
        settings::put(server, bin, &dir, name, text, None, (Risk::Safe, because))
    };
    // What postgresql.conf includes goes first: it is tried with them.
    let maps = ident::wanted(world.formation, server, &world.strangers());
    let maps = maps.map(|maps| put("pg_ident.conf", maps, ident::BECAUSE));
    let mut steps = vec![
        put(
            "postgresql-auto-failover.conf",
            settings::auto_failover_conf(&as_written(server, &world.seen(&server.name).keeper), node, host),
            "as its keeper writes it",
        ),
        put("pg_hba.conf", hba(world, server, node, &world.strangers())?, because),
        put("postgresql.conf", conf(world, server, node)?.0, because),
    ];
    steps.extend(maps);
    Ok(steps)
}

/// What it is to say, and what of that is not the inventory's: a standby that does not run gets no less than its data needs, as it would
/// not start, and neither does one that replays no further for that. It is lowered once it runs, after its primary.
fn conf(
    world: &World,
    server: &Server,
    node: Option<&Node>,
) -> Result<(String, BTreeMap<String, u64>), Problem> {
    let wanted = rendered_conf(world, server, node)?;
    let needed = match world.facts.seen(&server.name).map(|seen| (seen, &seen.pgdata)) {
        Some((seen, Pgdata::Present(found)))
            if found.standby && (found.postmaster.is_none() || why_paused(seen).is_some()) =>
        {
            lower_than_needed(&found.needs, &as_read(found, &wanted))
        }
        Some(_) | None => BTreeMap::new(),
    };
    if needed.is_empty() {
        return Ok((wanted, needed));
    }
    Ok((with_at_least(world, server, node, &needed)?, needed))
}

/// Why a standby replays no further, where it runs with less than its data needs.
pub(super) fn why_paused(seen: &Seen) -> Option<String> {
    seen.database.as_ref()?.why_paused(seen.pgdata.needs())
}

pub(super) fn rendered_conf(world: &World, server: &Server, node: Option<&Node>) -> Result<String, Problem> {
    let whose = world.whose(&server.name);
    settings::postgresql_conf(&world.templates, &world.formation.name, &whose, server, node)
}

/// The inventory's, with these numbers instead of its own.
pub(super) fn with_at_least(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    numbers: &BTreeMap<String, u64>,
) -> Result<String, Problem> {
    let mut higher = server.clone();
    higher.settings.extend(numbers.iter().map(|(name, value)| (name.clone(), value.to_string())));
    rendered_conf(world, &higher, node)
}

/// The configuration files with this `postgresql.conf`, the one that is read last behind the others.
pub(super) fn as_read<'t>(found: &'t DataDirectory, conf: &'t str) -> [&'t str; 3] {
    let file = |name: &str| found.files.get(name).and_then(Option::as_deref).unwrap_or_default();
    [file("postgresql-auto-failover.conf"), conf, file("postgresql.auto.conf")]
}

fn rendered_hba(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    strangers: &[&NodeRow],
) -> Result<String, Problem> {
    match node {
        Some(node) => {
            let monitor = hba::monitor_host(&world.formation.monitor);
            hba::for_node(&world.templates, world.formation, monitor, node, &world.names, strangers)
        }
        None => hba::for_monitor(&world.templates, world.formation, server, &world.names),
    }
}

/// The same, which is to be placed: it keeps nobody out that the formation needs.
fn hba(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    strangers: &[&NodeRow],
) -> Result<String, Problem> {
    let text = rendered_hba(world, server, node, strangers)?;
    let release = world.seen(&server.name).software.as_ref().map_or(15, |software| software.major);
    let mut links = links::needed(world.formation, &world.names, strangers, server);
    // Whose rules are the user's alone may have others in mind; but without its own host nobody could mend it.
    links.retain(|link| server.hba_edit != HbaEdit::Skip || link.purpose == Purpose::OwnHost);
    match links::would_shut_out(&text, release, links) {
        Some((judged, why)) => Err(shuts_out(world.formation, server, &judged.who(), &why)),
        None => Ok(text),
    }
}

/// A file that keeps out what the formation needs is not placed anywhere.
fn shuts_out(formation: &Formation, server: &Server, who: &str, why: &str) -> Problem {
    let what =
        format!("the pg_hba.conf of {} would keep out what the formation needs: {who}: {why}", server.name);
    let hint = match formation.templates.contains_key("pg_hba.conf.j2") {
        true => {
            "pg_hba.conf.j2 in `templates_dir` is yours: it has to render local_rules and formation_rules, before any rule that rejects"
        }
        false => "`muster hba` shows what each line is for",
    };
    Problem::new(what).hint(hint)
}

/// Why a server reads its files again.
const CHANGED: &str = "its configuration changed";

/// Why a file is written that a data directory in place should have: what a server that runs has read of it, nobody knows.
const GONE: &str = "it is gone";

/// A data directory in place, to be compared.
pub(super) struct Drift<'a> {
    pub(super) dir: &'a str,
    pub(super) files: &'a BTreeMap<String, Option<String>>,
    pub(super) standby: bool,
    pub(super) standby_conf: Option<&'a str>,
    pub(super) node_conf: &'a Option<String>,
    pub(super) running: bool,
}

impl<'a> Drift<'a> {
    pub(super) fn new(
        server: &'a Server,
        found: &'a DataDirectory,
        node_conf: &'a Option<String>,
    ) -> Drift<'a> {
        Drift {
            dir: &server.pgdata,
            files: &found.files,
            standby: found.standby,
            standby_conf: found.standby_conf.as_ref().map(Secret::reveal),
            node_conf,
            running: found.postmaster.is_some(),
        }
    }
}

/// Files that do not say what they should: those to be written at once, and those of which somebody would be shut out who
/// has not yet what he needs then. They wait until every keeper has been told.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) now: Vec<Step>,
    pub(super) last: Vec<Step>,
    /// Written in its turn, right before its restart.
    pub(super) held: Option<Held>,
    /// What of its settings is lowered with its restart only, which is the operator's.
    pub(super) kept: BTreeSet<String>,
    /// Whether what is written at once may lock out, and its reload is on trial.
    pub(super) on_trial: bool,
    last_on_trial: bool,
}

impl Changes {
    /// The last files, and the reload that brings them in force.
    pub(super) fn last(self, world: &World, server: &Server, node: Option<&Node>) -> Vec<Step> {
        let mut steps = self.last;
        if self.last_on_trial {
            steps.push(lockout::reload(world, server, Told::Everybody, CHANGED));
        } else if !steps.is_empty() {
            steps.push(settings::reload(server, world.bin(&server.name), &running(server, node), CHANGED));
        }
        steps
    }
}

/// `postgresql-auto-failover-standby.conf`, where it is gone or does not say whom a standby follows, with the reason.
/// What it says otherwise is its keeper's.
fn standby_conf(world: &World, node: Option<&Node>, drift: &Drift) -> Option<(String, &'static str)> {
    let says_whom = |text: &str| settings::changed("", text).contains("primary_conninfo");
    match (drift.standby, drift.standby_conf) {
        (false, None) => Some((String::new(), "it is gone, and postgresql.conf includes it")),
        (false, Some(_)) => None,
        (true, Some(text)) if says_whom(text) => None,
        // Empty it would end the replication; where the primary is not known its keeper writes it.
        (true, _) => {
            let node = node.filter(|node| world.row(node.name()).is_some())?;
            let primary = world.primary(node.group).filter(|primary| !primary.is(node.name()))?;
            let text = settings::standby_conf(node, world.id(node.name()), primary.upstream());
            let because = match drift.standby_conf {
                Some(_) => "it does not say whom this standby follows",
                None => GONE,
            };
            Some((text, because))
        }
    }
}

/// Compares the files of a data directory with what they should say.
pub(super) fn drifted(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    drift: &Drift,
) -> Result<Changes, Problem> {
    let bin = world.bin(&server.name);
    let (mut steps, mut last) = (Vec::new(), Vec::new());
    if let Some((text, because)) = standby_conf(world, node, drift) {
        let before = drift.standby_conf.map(|_| String::new());
        let name = data::STANDBY_CONF;
        steps.push(settings::put(server, bin, drift.dir, name, text, before, (Risk::Reload, because)));
    }
    let found = |name: &str| drift.files.get(name).and_then(Option::as_deref);
    let write = |name: &str, text: String, because: &str| {
        let before = found(name).map(str::to_owned);
        settings::put(server, bin, drift.dir, name, text, before, (Risk::Reload, because))
    };
    let mut put = |name: &str, text: String, because: &str| steps.push(write(name, text, because));
    let seen = world.seen(&server.name);
    let after_restart = |before: &str, after: &str| {
        let later = seen.database.as_ref();
        let later = later.map(|database| database.after_restart(&takes_restart(seen, before, after)));
        later.unwrap_or_default()
    };
    let name = "postgresql-auto-failover.conf";
    // After pg_rewind a node has its peer's until its keeper next starts: that is no drift.
    let peers = node.map_or(Vec::new(), |node| world.formation.group(node.group).collect());
    let of_peer = |peer: &&Node| {
        world.facts.seen(peer.name()).is_some_and(|seen| {
            let server = as_written(&peer.server, &seen.keeper);
            found(name) == Some(&settings::auto_failover_conf(&server, Some(peer), &seen.host))
        })
    };
    let own = settings::auto_failover_conf(&as_written(server, &seen.keeper), node, &seen.host);
    if found(name) != Some(&own) && !peers.iter().any(of_peer) {
        let because = match found(name) {
            Some(found) => format!("it is not what its keeper writes{}", after_restart(found, &own)),
            None => GONE.to_owned(),
        };
        let before = found(name).unwrap_or_default();
        let still = settings::with_tls_still(before, &own)
            .map(|still| (still, "TLS stays on until nobody asks for it any more"))
            .or_else(|| {
                let still = settings::with_peers_still(before, &own)?;
                Some((still, "its peers are verified once all of them have their certificates"))
            });
        match still.filter(|_| drift.running) {
            Some((still, why)) => {
                if found(name) != Some(&still) {
                    put(name, still, why);
                }
                last.push(write(name, own, &because));
            }
            None => put(name, own, &because),
        }
    }
    let name = "postgresql.conf";
    let (mut wanted, needed) = conf(world, server, node)?;
    let may_wait = found(name) != Some(&wanted) && why_paused(seen).is_none();
    let held = if may_wait { held(world, server, node, &wanted) } else { None };
    let mut kept = BTreeSet::new();
    if held.is_none()
        && let Some(still) = until_restarted(world, server, node, &wanted)?
    {
        wanted = still.text;
        kept.extend(still.moved.lowered.into_keys());
    }
    let main_changes = found(name) != Some(&wanted) && held.is_none();
    if main_changes {
        let mut because = differs(found(name), &wanted, Some(seen));
        if !needed.is_empty() {
            let names = needed.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            because += &format!("; its data needs as much {names} as its primary had, until it runs again");
        }
        put(name, wanted, &because);
    }
    let strangers = world.strangers();
    // Of a node that is elsewhere than the inventory says, the rules in place are the ones that let it in.
    let is_contradicted = world.contradicted().next().is_some();
    let name = "pg_ident.conf";
    if let Some(wanted) = ident::wanted(world.formation, server, &strangers)
        && let Some(text) = ident::drift(found(name), &wanted)
        && (found(name).is_none() || !is_contradicted)
    {
        put(name, text, ident::BECAUSE);
    }
    let ends_tls = !last.is_empty() && server.tls == Tls::Off;
    let found_rules = found("pg_hba.conf");
    // The rules for strangers are their keepers' work and this node's: they are missed only where others are.
    let wanted = hba(world, server, node, &strangers)?;
    let least = match strangers.is_empty() {
        true => wanted.clone(),
        false => rendered_hba(world, server, node, &[])?,
    };
    let rules = hba::drift(found_rules, &wanted, &least);
    let rules = rules.filter(|_| found_rules.is_none() || !is_contradicted);
    if let Some(rules) = rules.filter(|_| may_edit_hba(server, found("pg_hba.conf"))) {
        let because = found_rules.map_or(GONE, |_| "its rules differ from the inventory's");
        match found_rules.filter(|found| drift.running && hba::tightens(found, &rules)) {
            Some(_) => last.push(write("pg_hba.conf", rules, because)),
            None => {
                if ends_tls {
                    let because =
                        "a keeper that still has TLS adds rules for it once it is told of another auth";
                    let (name, before) = ("pg_hba.conf", Some(rules.clone()));
                    let risk = (Risk::Reload, because);
                    last.push(settings::put(server, bin, drift.dir, name, rules.clone(), before, risk));
                }
                put("pg_hba.conf", rules, because);
            }
        }
    }
    for step in steps.iter_mut().chain(&mut last).filter(|_| drift.running) {
        let Action::Put(file) = &mut step.action else { continue };
        let (bin, running) = (bin.to_owned(), running(server, node));
        match file.path.rsplit('/').next() {
            Some("postgresql.conf") => {
                file.check =
                    Check::Configuration { bin, socket: running.socket.clone(), server: Some(running) }
            }
            // With postgresql.conf it is tried as well.
            Some("postgresql-auto-failover.conf") if !main_changes => {
                file.check =
                    Check::Configuration { bin, socket: running.socket.clone(), server: Some(running) };
            }
            Some("pg_hba.conf") => file.check = Check::Rules { bin, server: running },
            _ => {}
        }
    }
    if let Some(node) = node {
        steps.extend(node_conf(server, node, drift.node_conf).map(|step| match drift.node_conf {
            Some(_) => step,
            None => Step { because: GONE.to_owned(), ..step },
        }));
    }
    let on_trial = drift.running && lockout::guard(world, server, &mut steps);
    let last_on_trial = drift.running && lockout::guard(world, server, &mut last);
    Ok(Changes { now: steps, last, held, kept, on_trial, last_on_trial })
}

/// Why `postgresql.conf` is written.
pub(super) fn differs(found: Option<&str>, wanted: &str, seen: Option<&Seen>) -> String {
    let Some(found) = found else { return GONE.to_owned() };
    let later = seen
        .and_then(|seen| Some(seen.database.as_ref()?.after_restart(&takes_restart(seen, found, wanted))));
    let because = match settings::changed(found, wanted).into_iter().collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "it differs from the template".to_owned(),
        names => format!("it differs in {names}"),
    };
    because + &later.unwrap_or_default()
}

/// What of a change of a configuration file takes a restart: not what `ALTER SYSTEM` has set, as that goes on to win.
pub(super) fn takes_restart(seen: &Seen, before: &str, after: &str) -> Vec<String> {
    let Some(database) = &seen.database else { return Vec::new() };
    let mut settings = database.takes_restart(before, after);
    settings.retain(|name| !overruled::is_set(&seen.pgdata, name));
    settings
}

/// By its superuser, to whom the first rule belongs.
pub(super) fn running(server: &Server, node: Option<&Node>) -> Running {
    Running {
        socket: server.pghost.clone().unwrap_or_default(),
        port: server.pgport,
        user: node.map_or_else(|| server.os_user.clone(), |node| node.username.clone()),
    }
}

/// With `skip_pg_hba` a file that is there is the user's own.
fn may_edit_hba(server: &Server, found: Option<&str>) -> bool {
    server.hba_edit != HbaEdit::Skip || found.is_none()
}

pub(super) fn node_conf(server: &Server, node: &Node, found: &Option<String>) -> Option<Step> {
    let wanted = settings::node_conf(node)?;
    if found.as_deref() == Some(&wanted) {
        return None;
    }
    let path = format!("{}/node.conf", data::node_dir(server));
    let file = File::new(path, &server.os_user, Content::Text(wanted)).before(found.clone());
    let risk = if found.is_some() { Risk::Reload } else { Risk::Safe };
    Some(Step::write(&server.name, file, risk, "what is this node's alone lies outside PGDATA"))
}

/// What a plan writes of a running server's files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Nothing,
    Something,
    /// What may lock out.
    OnTrial,
}

impl Changed {
    pub(super) fn of(changed: bool, on_trial: bool) -> Changed {
        match (changed, on_trial) {
            (_, true) => Changed::OnTrial,
            (true, false) => Changed::Something,
            (false, false) => Changed::Nothing,
        }
    }
}

/// One reload for what this run changes, or for what an interrupted one did.
pub(super) fn reload(
    world: &World,
    server: &Server,
    node: Option<&Node>,
    changed: Changed,
    seen: &Seen,
) -> Option<Step> {
    let bin = world.bin(&server.name);
    let unread = seen.database.as_ref().map(|database| &database.unread).filter(|unread| !unread.is_empty());
    match unread {
        _ if changed == Changed::OnTrial => Some(lockout::reload(world, server, Told::NotYet, CHANGED)),
        _ if changed == Changed::Something => {
            Some(settings::reload(server, bin, &running(server, node), CHANGED))
        }
        Some(unread) => {
            let names: Vec<&str> = unread.iter().map(String::as_str).collect();
            let because = format!("it has not read {} since the last change", names.join(", "));
            Some(settings::reload(server, bin, &running(server, node), &because))
        }
        // The file was replaced, by others too: a server has what it read last.
        None => match &seen.tls.shown {
            Shown::Certificate { of_file: Some(false), .. } => {
                let because = "it shows another certificate than the one in its file";
                Some(settings::reload(server, bin, &running(server, node), because))
            }
            Shown::Nothing if Plain::of(server, &seen.pgdata, &seen.tls.shown) == Some(Plain::Pair) => {
                let because = "it answers without TLS, and nothing turns that off";
                Some(settings::reload(server, bin, &running(server, node), because))
            }
            Shown::Certificate { .. } | Shown::Nothing | Shown::Unknown => None,
        },
    }
}
