//! What must be so when all is done, asked from four sides: the monitor, the coordinator, the servers, a client.
//!
//! In its own words on purpose: it shares no decision with the planner, as a planner that forgets something also
//! plans nothing. What could not be looked at has failed, it never passes.

use crate::command::{Command, Failure, Output, RunAs, Stdin};
use crate::facts::{self, Facts, Seen, Sight, Told};
use crate::formation::{Formation, Keeper, Monitor, Node, NodeKind, NodeName, Secret, Server, SslMode, Tls};
use crate::resource::meant;
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::overruled::Plain;
use crate::resource::tls::Shown;
use crate::sql::local;
use crate::state::State;
use crate::uri::{self, MAIN};

/// Whose view a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    Monitor,
    Coordinator,
    /// The servers themselves, each on its own host.
    Servers,
    Client,
}

impl View {
    pub const ALL: [View; 4] = [View::Monitor, View::Coordinator, View::Servers, View::Client];

    pub fn as_str(self) -> &'static str {
        match self {
            View::Monitor => "monitor",
            View::Coordinator => "coordinator",
            View::Servers => "servers",
            View::Client => "client",
        }
    }
}

/// One thing that was looked at: what was seen, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub view: View,
    /// `w1a`, `group 1`, `pg_dist_node: w1a:5432`.
    pub subject: String,
    pub result: Result<String, Wrong>,
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Something is not as it should be, or could not be looked at on a host that answers.
    Found(String),
    /// It could not be looked at, because a host could not be reached.
    Away(String),
    /// An operator has taken it out: nothing is asked of it.
    Out(String),
}

impl Wrong {
    pub fn why(&self) -> &str {
        match self {
            Wrong::Found(why) | Wrong::Away(why) | Wrong::Out(why) => why,
        }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Wrong {
        Wrong::Found(why)
    }
}

impl Check {
    fn new(view: View, subject: impl Into<String>, result: Result<String, impl Into<Wrong>>) -> Check {
        Check { view, subject: subject.into(), result: result.map_err(Into::into) }
    }
}

/// Could not look, because of a host that may be away.
fn unseen(facts: &Facts, name: &NodeName, why: String) -> Wrong {
    match facts.hosts.get(name) {
        Some(Sight::Unreachable(_)) => Wrong::Away(why),
        Some(Sight::Seen(_) | Sight::Unreadable(_)) | None => Wrong::Found(why),
    }
}

/// Could not look, because of all hosts that could have been asked.
fn nothing_seen(facts: &Facts, why: String) -> Wrong {
    let is_away = |sight: &Sight| matches!(sight, Sight::Unreachable(_));
    match !facts.hosts.is_empty() && facts.hosts.values().all(is_away) {
        true => Wrong::Away(why),
        false => Wrong::Found(why),
    }
}

/// Everything that the facts alone can tell.
pub fn from_facts(formation: &Formation, facts: &Facts) -> Vec<Check> {
    let Some(monitor) = facts.monitor(formation) else {
        let why = match facts::stopped_monitor(formation, facts) {
            Some(server) => format!("could not look: the monitor {} is stopped", server.name),
            None => "could not look: the monitor did not answer".to_owned(),
        };
        let why = Err(match (&formation.monitor, facts.told_by_monitor(formation)) {
            (_, Told::Differs(why)) => Wrong::Found(format!("could not look: {why}")),
            (Monitor::Managed(server), _) => unseen(facts, &server.name, why),
            (Monitor::External(_), _) => nothing_seen(facts, why),
        });
        let views = View::ALL.iter().filter(|view| **view != View::Coordinator || formation.is_citus());
        let views = views.map(|view| Check::new(*view, "formation", why.clone()));
        return views.chain(unreadable(facts)).collect();
    };
    let mut checks: Vec<Check> = formation
        .nodes
        .values()
        .map(|node| Check::new(View::Monitor, node.name().0.clone(), registered(monitor, node)))
        .collect();
    checks.extend(formation.groups().into_iter().map(|group| {
        Check::new(View::Monitor, format!("group {group}"), group::whole(formation, facts, monitor, group))
    }));
    group::standbys(formation, facts, monitor, &mut checks);
    checks.extend(formation.servers().filter_map(|server| {
        let shown = certificate(server, facts.seen(&server.name)?)?;
        Some(Check::new(View::Servers, format!("{}: certificate", server.name), shown))
    }));
    checks.extend(unreadable(facts));
    checks.extend(formation.servers().filter_map(|server| {
        let why = meant::port(server, &facts.seen(&server.name)?.pgdata)?;
        Some(Check::new(View::Servers, format!("{}: port", server.name), Err(why)))
    }));
    let seen = formation.servers().filter_map(|server| Some((server, facts.seen(&server.name)?)));
    for (server, seen) in seen {
        let mut fails = |what: &str, why: Vec<String>| {
            let subject = format!("{}: {what}", server.name);
            checks.extend((!why.is_empty()).then(|| Check::new(View::Servers, subject, Err(why.join("; ")))));
        };
        fails("roles", facts::roles::trouble(formation, server, seen));
        let node = formation.nodes.get(&server.name);
        let refused = node.into_iter().flat_map(|node| facts::logins::refused(formation, facts, node));
        fails("passwords", refused.collect());
        fails("its next start", facts::start::lacks(formation, facts, server, seen));
    }
    if formation.is_citus() {
        metadata::check(formation, facts, monitor, &mut checks);
    }
    if viewpoint(formation, facts).is_none() && !formation.nodes.is_empty() {
        let why = "could not look: no node's host was seen with its programs".to_owned();
        checks.push(Check::new(View::Client, "formation", Err(nothing_seen(facts, why))));
    }
    checks
}

/// Hosts that answered, and told nothing of their servers.
fn unreadable(facts: &Facts) -> impl Iterator<Item = Check> {
    facts.hosts.iter().filter_map(|(name, sight)| match sight {
        Sight::Unreadable(why) => {
            let why = Wrong::Found(format!("could not look: {why}"));
            Some(Check { view: View::Servers, subject: name.0.clone(), result: Err(why) })
        }
        Sight::Unreachable(_) | Sight::Seen(_) => None,
    })
}

/// What a client is shown; nothing is said where nobody could look.
fn certificate(server: &Server, seen: &Seen) -> Option<Result<String, String>> {
    if server.tls == Tls::Off {
        return None;
    }
    match &seen.tls.shown {
        shown @ (Shown::Unknown | Shown::Nothing) => {
            Plain::of(server, &seen.pgdata, shown).map(|plain| Err(plain.why()))
        }
        Shown::Certificate { certificate, of_file: Some(false) } => Some(Err(format!(
            "it shows a certificate until {}, which is not the one in its file: reload it",
            certificate.not_after
        ))),
        Shown::Certificate { certificate, of_file: Some(true) | None } => {
            Some(Ok(format!("shown to clients, until {}", certificate.not_after)))
        }
    }
}

fn registered(monitor: &MonitorFacts, node: &Node) -> Result<String, Wrong> {
    let row = monitor.row(node.name()).ok_or("the monitor does not know it".to_owned())?;
    if row.is_out() {
        return Err(Wrong::Out("it is in maintenance: nothing fails over to it".to_owned()));
    }
    if monitor.misses_one_that_is_out(row) && row.silence().is_none() {
        let why = "it takes writes, and no standby confirms them while one is in maintenance";
        return Err(Wrong::Out(why.to_owned()));
    }
    let rests = rests(row, node)?;
    match row.is_never_promoted(node) {
        Some(why) => Err(why.to_string().into()),
        None => Ok(rests),
    }
}

fn rests(row: &NodeRow, node: &Node) -> Result<String, String> {
    let word = |state: Option<State>| state.map_or("in an unknown state", State::as_str);
    if let Some(why) = row.silence().filter(|_| node.server.keeper != Keeper::None) {
        return Err(format!(
            "{why}, so it follows no order of the monitor; its last report was {}",
            word(row.reported)
        ));
    }
    if row.is_in_maintenance() {
        return Err("it is on its way into maintenance".to_owned());
    }
    if row.reported != row.assigned {
        return Err(format!("it is {}, to become {}", word(row.reported), word(row.assigned)));
    }
    if !row.is_settled() {
        return Err(format!("it is {}, which is no state to rest in", word(row.reported)));
    }
    if !row.running {
        return Err("PostgreSQL does not run, says its last report".to_owned());
    }
    match row.health {
        1 => Ok(format!("{}, healthy, timeline {}", word(row.reported), row.timeline)),
        0 => Err("the monitor cannot connect to it".to_owned()),
        _ => Err("the monitor has not checked its health yet".to_owned()),
    }
}

/// Whether a node that the monitor knows is none of the inventory's: it is somebody else's to verify.
fn is_stranger(formation: &Formation, name: &str) -> bool {
    !formation.nodes.contains_key(&NodeName::from(name))
}

/// The coordinator that takes writes now, if its host was seen.
fn coordinator<'a>(
    formation: &'a Formation,
    facts: &'a Facts,
    monitor: &MonitorFacts,
) -> Result<(&'a Node, &'a Seen), String> {
    let row = monitor.primary(0).ok_or("group 0 has no node that takes writes")?;
    let name = NodeName(row.name.clone());
    let node = formation.nodes.get(&name).filter(|node| node.kind == NodeKind::Coordinator);
    let node = node.ok_or_else(|| format!("{name} is no coordinator of the inventory"))?;
    let seen = facts.seen(&name).ok_or_else(|| format!("{name} could not be seen"))?;
    Ok((node, seen))
}

/// A question that only a live answer settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub view: View,
    pub subject: String,
    /// The host it is asked on.
    pub on: NodeName,
    pub command: Command,
    expects: Expects,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// `count|failures|nodes not asked`
    AllReached,
    ReadWrite,
    /// The same where more than one node takes writes: no answer is a good one.
    OneOfWriters,
    ReadOnly,
    /// `milliseconds|what stood in the way`
    Written,
}

/// What to ask live: Citus whether its nodes reach each other, and each printed URI whether it serves.
pub fn probes(formation: &Formation, facts: &Facts) -> Vec<Probe> {
    let mut probes = Vec::new();
    let found = facts.monitor(formation).and_then(|monitor| coordinator(formation, facts, monitor).ok());
    if let (true, Some((node, seen))) = (formation.is_citus(), found)
        && let Some(software) = &seen.software
    {
        let sql = Stdin::Text(HEALTH.to_owned());
        probes.push(Probe {
            view: View::Coordinator,
            subject: "every Citus node reaches every other".to_owned(),
            on: node.name().clone(),
            command: local(&node.server, &software.bin, &node.username, &formation.dbname, sql)
                .timeout(SECONDS),
            expects: Expects::AllReached,
        });
    }
    probes.extend(written::probes(formation, facts));
    if let Some((from, bin)) = viewpoint(formation, facts) {
        // A stranger need not let this host's clients in, and who takes writes is its matter.
        let monitor = facts.monitor(formation);
        let writer = monitor.and_then(|monitor| Some((monitor, monitor.primary(0)?)));
        let main = match writer {
            Some((_, row)) if is_stranger(formation, &row.name) => Expects::ReadOnly,
            Some((monitor, row)) if !group::second_writers(formation, facts, monitor, row).is_empty() => {
                Expects::OneOfWriters
            }
            Some(_) | None => Expects::ReadWrite,
        };
        probes.extend(uri::clusters(formation).into_iter().map(|cluster| {
            let (subject, expects) = match cluster {
                MAIN => (format!("formation {}", formation.name), main),
                reader => (format!("read-replica {reader}"), Expects::ReadOnly),
            };
            let command = client(formation, cluster, expects, from, bin);
            Probe { view: View::Client, subject, on: from.name().clone(), command, expects }
        }));
    }
    probes
}

/// Where a client stands: the coordinator's host, else the first that was seen and has psql.
fn viewpoint<'a>(formation: &'a Formation, facts: &'a Facts) -> Option<(&'a Node, &'a str)> {
    let bin = |node: &Node| Some(facts.seen(node.name())?.software.as_ref()?.bin.as_str());
    let mut nodes: Vec<&Node> = formation.nodes.values().collect();
    nodes.sort_by_key(|node| (node.group, node.order));
    let primary = facts.monitor(formation).and_then(|monitor| monitor.primary(0));
    let first = primary.and_then(|row| formation.nodes.get(&NodeName(row.name.clone())));
    first.into_iter().chain(nodes).find_map(|node| Some((node, bin(node)?)))
}

/// Seconds a probe may take; enough for every host of a URI to be tried and given up.
const SECONDS: u64 = 60;

/// The failed pairs by name, as that is what an operator needs, and nodes that were not asked whom they reach, because the
/// coordinator could not log in there: nothing is known of their pairs.
const HEALTH: &str = "with pairs as (select *, format('%s:%s', from_nodename, from_nodeport) as a, \
 format('%s:%s', to_nodename, to_nodeport) as b from citus_check_cluster_node_health()) \
 select count(*), coalesce(string_agg(format('%s does not reach %s', a, b), ', ') filter (where not result), ''), \
 coalesce(string_agg(distinct a, ', ') filter (where result is null), '') from pairs;
";

/// `$1` bin. The connection is libpq's environment: a password is on no command line.
const CLIENT: &str = r#"exec "$1/psql" -XAtqw -v ON_ERROR_STOP=1 -c "select pg_is_in_recovery(), inet_server_addr()"
"#;

fn client(formation: &Formation, cluster: &str, expects: Expects, from: &Node, bin: &str) -> Command {
    let nodes = uri::entries(formation, cluster);
    let list = |part: fn(&Node) -> String| nodes.iter().map(|node| part(node)).collect::<Vec<_>>().join(",");
    let mut command = Command::new(RunAs::User(from.server.os_user.clone()), CLIENT)
        .args([bin])
        .timeout(SECONDS)
        .env("PGHOST", &Secret::new(list(|node| node.server.hostname.clone())))
        .env("PGPORT", &Secret::new(list(|node| node.server.pgport.to_string())))
        .env("PGDATABASE", &Secret::new(&formation.dbname))
        .env("PGCONNECT_TIMEOUT", &Secret::new("5"));
    if matches!(expects, Expects::ReadWrite | Expects::OneOfWriters) {
        command = command.env("PGTARGETSESSIONATTRS", &Secret::new("read-write"));
    }
    let Some(entry) = nodes.first() else { return command };
    command = command.env("PGUSER", &Secret::new(&entry.username));
    // Each host verifies with its own files.
    let of = if from.server.tls.ca().is_some() { &from.server.tls } else { &entry.server.tls };
    let mode = std::iter::once(("sslmode", entry.server.tls.mode().as_str()));
    let files = of.verified_with().into_iter().filter(|_| entry.server.tls.mode() >= SslMode::VerifyCa);
    for (key, value) in mode.chain(files) {
        let name = match key {
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            _ => "PGSSLCRL",
        };
        command = command.env(name, &Secret::new(value));
    }
    match &entry.password {
        Some(password) => command.env("PGPASSWORD", password),
        None => command,
    }
}

/// What an answer means.
pub fn judge(probe: &Probe, answer: Result<Output, Failure>) -> Check {
    let result = match answer {
        Err(failure @ Failure::Unreachable { .. }) => Err(Wrong::Away(failure.cause())),
        Err(failure @ (Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. })) => {
            Err(Wrong::Found(failure.cause()))
        }
        Ok(output) => {
            read(probe.expects, String::from_utf8_lossy(&output.stdout).trim()).map_err(Wrong::Found)
        }
    };
    Check::new(probe.view, probe.subject.clone(), result)
}

fn read(expects: Expects, said: &str) -> Result<String, String> {
    let unclear = || format!("could not look: psql answered {said:.80}");
    let (first, rest) = said.split_once('|').ok_or_else(unclear)?;
    if expects == Expects::Written {
        return written::read(first, rest).unwrap_or_else(|| Err(unclear()));
    }
    match (expects, first, rest) {
        (Expects::AllReached, "0", _) => Err("could not look: Citus checked no pair of nodes".to_owned()),
        (Expects::AllReached, count, rest) => {
            let (failed, unasked) = rest.split_once('|').unwrap_or((rest, ""));
            let unknown =
                || format!("whom these reach is unknown, as the coordinator could not ask them: {unasked}");
            match (failed, unasked) {
                ("", "") => {
                    count.parse::<u64>().map(|count| format!("{count} pairs checked")).map_err(|_| unclear())
                }
                (failed, "") => Err(failed.to_owned()),
                ("", _) => Err(unknown()),
                (failed, _) => Err(format!("{failed}; {}", unknown())),
            }
        }
        (Expects::ReadWrite, "f", at) => Ok(format!("read-write on {at}")),
        (Expects::ReadWrite | Expects::OneOfWriters, "t", at) => Err(format!("{at} is read-only")),
        (Expects::OneOfWriters, "f", at) => Err(format!(
            "it was led to {at}, and more than one node takes writes: what it writes may be lost"
        )),
        (Expects::ReadOnly, "t", at) => Ok(format!("read-only on {at}")),
        (Expects::ReadOnly, "f", at) => Err(format!("{at} takes writes, it should follow the primary")),
        (Expects::ReadWrite | Expects::OneOfWriters | Expects::ReadOnly | Expects::Written, _, _) => {
            Err(unclear())
        }
    }
}

mod group;
mod metadata;
mod written;

#[cfg(test)]
mod tests;
