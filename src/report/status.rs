//! The formation as it is now: a table like that of `pg_autoctl show state`, from facts only.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::facts::{self, Facts, Seen, Sight};
use crate::formation::{Formation, Monitor, NodeName, Server, Tls};
use crate::plan::Plan;
use crate::report::paint::Paint;
use crate::report::status::rest::Rest;
use crate::report::text::{alike, count, first, plain, table};
use crate::resource::citus::CitusFacts;
use crate::resource::data::Pgdata;
use crate::resource::monitor::NodeRow;
use crate::resource::streaming::{Sender, bytes};
use crate::resource::tls::Shown;
use crate::scope::Scope;
use crate::state::State;

pub use notes::Note;

mod notes;
pub mod rest;

/// Something that could be looked at: what it is, that there is none, or that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    Is(T),
    Absent,
    Unknown,
}

impl<T: ToString> Look<T> {
    fn text(&self, absent: &str) -> String {
        match self {
            Look::Is(value) => value.to_string(),
            Look::Absent => absent.to_owned(),
            Look::Unknown => "unknown".to_owned(),
        }
    }
}

impl<T> Look<T> {
    fn of(value: Option<T>) -> Look<T> {
        value.map_or(Look::Absent, Look::Is)
    }
}

/// A value, `null`, or the word `unknown`.
impl<T: Serialize> Serialize for Look<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Look::Is(value) => value.serialize(serializer),
            Look::Absent => serializer.serialize_none(),
            Look::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// Who makes a server what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    Inventory,
    /// Only the monitor knows it: its host was not looked at.
    Stranger,
}

/// One server; the monitor's has no row of its own on the monitor.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: NodeName,
    pub whose: Whose,
    /// `None` for the monitor.
    pub group: Option<u32>,
    pub row: Look<NodeRow>,
    /// Whether its PostgreSQL is a standby's now, by its own word.
    pub in_recovery: Look<bool>,
    /// Its connection to the primary of its group, as that one sees it.
    pub streaming: Look<Sender>,
    pub host: String,
    pub port: u16,
    /// Pid of the keeper, or of the monitor's own `pg_autoctl`.
    pub keeper: Look<u32>,
    pub postgres: Look<u32>,
    pub certificate_days: Look<i32>,
}

/// The rows of `pg_dist_node`, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Citus {
    pub primaries: usize,
    pub secondaries: usize,
    pub inactive: usize,
}

/// Steps of a plan, and whose they are.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    pub steps: usize,
    pub nodes: Vec<NodeName>,
    /// Whom it leaves alone, though nobody wants that.
    pub left_alone: Vec<NodeName>,
}

impl Planned {
    fn text(&self) -> String {
        let some = |nodes: &[NodeName]| first(nodes.iter().map(ToString::to_string), 4);
        let mut text = String::new();
        if self.steps > 0 {
            let steps = count(self.steps, "step");
            text = format!("; apply has {steps} to do on {} (muster plan shows what)", some(&self.nodes));
        }
        if !self.left_alone.is_empty() {
            text += &format!("; apply leaves {} alone (muster plan says why)", some(&self.left_alone));
        }
        text
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub formation: String,
    /// Version of the monitor's extension.
    pub monitor: Look<String>,
    /// It is there and does not run: a note says so.
    #[serde(skip)]
    pub monitor_is_stopped: bool,
    pub servers: Vec<Line>,
    pub citus: Look<Citus>,
    pub notes: Vec<Note>,
    pub unreachable: Vec<NodeName>,
    /// What apply has to do; `None` where nobody has planned.
    pub planned: Option<Planned>,
    /// Every node is registered, runs, reports, and rests where the monitor wants it; standbys stream, and no keeper is missing.
    pub settled: bool,
    /// The same with its reason: a host that could not be looked at, or something that is wrong.
    #[serde(skip)]
    pub rest: Rest,
}

impl Status {
    /// Of those within the scope; the monitor and the coordinator were looked at all the same.
    pub fn new(formation: &Formation, scope: &Scope, facts: &Facts, today: Date) -> Status {
        let monitor = facts.monitor(formation);
        // Under a limit they are as much outside as the rest.
        let strangers = match scope.is_whole() {
            true => facts::strangers(formation, facts),
            false => Vec::new(),
        };
        let servers: Vec<Line> = scope
            .servers(formation)
            .into_iter()
            .map(|server| line(formation, facts, server, today))
            .chain(strangers.into_iter().map(|row| stranger(formation, facts, row)))
            .collect();
        let unreachable = facts
            .hosts
            .iter()
            .filter(|(name, sight)| scope.has(name) && matches!(sight, Sight::Unreachable(_)));
        let troubles = rest::troubles(formation, facts, &servers);
        let rest = Rest::of(formation, scope, facts, &servers, &troubles);
        let citus = pg_dist_node(formation, facts).map(|citus| Citus {
            primaries: citus.nodes.iter().filter(|row| row.role == "primary").count(),
            secondaries: citus.nodes.iter().filter(|row| row.role == "secondary").count(),
            inactive: citus.nodes.iter().filter(|row| !row.active).count(),
        });
        Status {
            formation: formation.name.clone(),
            monitor: match monitor.map(|monitor| monitor.extension.clone()) {
                Some(extension) => Look::of(extension),
                None if monitor_was_seen(formation, facts) => Look::Absent,
                None => Look::Unknown,
            },
            monitor_is_stopped: facts::stopped_monitor(formation, facts).is_some(),
            planned: None,
            settled: rest == Rest::Settled,
            rest,
            citus: match (citus, formation.is_citus()) {
                (Some(citus), _) => Look::Is(citus),
                (None, true) => Look::Unknown,
                (None, false) => Look::Absent,
            },
            notes: notes::notes(formation, facts, &troubles),
            unreachable: unreachable.map(|(name, _)| name.clone()).collect(),
            servers,
        }
    }

    /// With what a plan of these facts says beside it: a file that somebody has changed, an inventory that nobody has applied.
    pub fn with_plan(mut self, plan: &Plan) -> Status {
        let nodes: BTreeSet<&NodeName> = plan.steps().map(|(_, node, _)| node).collect();
        let left = plan.blocked.iter().filter(|(_, why)| !why.is_wanted()).map(|(name, _)| name.clone());
        self.planned = Some(Planned {
            steps: plan.steps().count(),
            nodes: nodes.into_iter().cloned().collect(),
            left_alone: left.collect(),
        });
        self
    }

    pub fn text(&self, paint: Paint) -> String {
        let heading = [
            "Name",
            "Node",
            "Host:Port",
            "TLI: LSN",
            "Connection",
            "Recovery",
            "Lag",
            "Reported",
            "Assigned",
            "Health",
            "Keeper pid",
            "Postgres pid",
            "Cert days",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.servers.iter().map(cells));
        let monitor = match self.monitor_is_stopped {
            true => "stopped".to_owned(),
            false => self.monitor.text("not there yet"),
        };
        let mut text = format!("formation {}, monitor {monitor}\n", self.formation);
        text += &table(&rows);
        match &self.citus {
            Look::Is(citus) => {
                let (primaries, secondaries) = (count(citus.primaries, "group"), citus.secondaries);
                text += &format!(
                    "pg_dist_node: {primaries}, {secondaries} for reading, {} inactive\n",
                    citus.inactive
                );
            }
            Look::Unknown => text += "pg_dist_node: unknown\n",
            Look::Absent => {}
        }
        let notes = self.notes.iter().map(|note| (&note.node, plain(&note.text)));
        for (names, note) in alike(notes) {
            text += &format!("{} {names}: {note}\n", paint.yellow("note:"));
        }
        text + &match self.rest {
            Rest::Settled => paint.green("settled"),
            Rest::Out => paint.yellow("settled, but for nodes in maintenance"),
            Rest::Unseen | Rest::Unsettled => paint.red("not settled"),
        } + &self.planned.as_ref().map(Planned::text).unwrap_or_default()
            + "\n"
    }
}

/// From the coordinator that the monitor names, or from one elsewhere that nodes have asked.
fn pg_dist_node<'a>(formation: &Formation, facts: &'a Facts) -> Option<&'a CitusFacts> {
    let primary = facts.monitor(formation)?.primary(0)?;
    match formation.nodes.get(&NodeName(primary.name.clone())) {
        Some(node) => facts.seen(node.name())?.citus.as_ref(),
        None => facts.told_by_coordinator().this(),
    }
}

/// Without rows, whether that says something: the monitor was asked, and has none.
fn monitor_was_seen(formation: &Formation, facts: &Facts) -> bool {
    match &formation.monitor {
        Monitor::Managed(server) => {
            facts.seen(&server.name).is_some() && facts::stopped_monitor(formation, facts).is_none()
        }
        Monitor::External(_) => false,
    }
}

fn line(formation: &Formation, facts: &Facts, server: &Server, today: Date) -> Line {
    let node = formation.nodes.get(&server.name);
    let seen = facts.seen(&server.name);
    let look = |find: fn(&Seen) -> Option<u32>| seen.map_or(Look::Unknown, |seen| Look::of(find(seen)));
    Line {
        name: server.name.clone(),
        whose: Whose::Inventory,
        group: node.map(|node| node.group),
        row: match (node, facts.monitor(formation)) {
            (None, _) => Look::Absent,
            (Some(_), Some(monitor)) => Look::of(monitor.row(&server.name).cloned()),
            (Some(_), None) if monitor_was_seen(formation, facts) => Look::Absent,
            (Some(_), None) => Look::Unknown,
        },
        in_recovery: look_at_recovery(seen),
        streaming: node.map_or(Look::Absent, |node| rest::streaming(formation, facts, &node.server.name)),
        host: server.hostname.clone(),
        port: server.pgport,
        keeper: look(|seen| seen.keeper.alive),
        postgres: look(|seen| match &seen.pgdata {
            Pgdata::Present(found) => found.postmaster,
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }),
        // What a client is shown, not what lies in a file: a server that was not reloaded has the old one.
        certificate_days: match (&server.tls, seen.map(|seen| &seen.tls.shown)) {
            (Tls::Off, _) => Look::Absent,
            (
                Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. },
                Some(Shown::Certificate { certificate, .. }),
            ) => Look::Is(days(today, certificate.not_after)),
            (Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. }, Some(Shown::Nothing)) => {
                Look::Absent
            }
            (
                Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. },
                Some(Shown::Unknown) | None,
            ) => Look::Unknown,
        },
    }
}

/// `Absent` where it does not run.
fn look_at_recovery(seen: Option<&Seen>) -> Look<bool> {
    seen.map_or(Look::Unknown, |seen| Look::of(seen.database.as_ref().map(|database| database.in_recovery)))
}

fn stranger(formation: &Formation, facts: &Facts, row: &NodeRow) -> Line {
    Line {
        name: NodeName(row.name.clone()),
        whose: Whose::Stranger,
        group: Some(row.group),
        row: Look::Is(row.clone()),
        in_recovery: Look::Unknown,
        streaming: rest::streaming(formation, facts, &NodeName(row.name.clone())),
        host: row.host.clone(),
        port: row.port,
        keeper: Look::Unknown,
        postgres: Look::Unknown,
        certificate_days: Look::Unknown,
    }
}

fn days(from: Date, to: Date) -> i32 {
    (to - from).get_days()
}

fn cells(line: &Line) -> Vec<String> {
    let word = |state: Option<State>| state.map_or("unknown", State::as_str).to_owned();
    let group = line.group.map_or_else(|| "monitor".to_owned(), |group| group.to_string());
    let mut cells = vec![line.name.0.clone()];
    let recovery = match &line.in_recovery {
        Look::Is(true) => "yes".to_owned(),
        Look::Is(false) => "no".to_owned(),
        look => look.text("-"),
    };
    let middle: [String; 7] = match &line.row {
        Look::Is(row) => {
            cells.extend([format!("{group}/{}", row.id), format!("{}:{}", row.host, row.port)]);
            [
                format!("{}: {}", row.timeline, row.lsn),
                connection(row, &line.in_recovery),
                recovery,
                lag(row, &line.streaming),
                word(row.reported),
                word(row.assigned),
                match row.health {
                    1 => "good".to_owned(),
                    0 => "bad".to_owned(),
                    _ => "unknown".to_owned(),
                },
            ]
        }
        look => {
            cells.extend([group, format!("{}:{}", line.host, line.port)]);
            let rest = if line.group.is_none() { "-".to_owned() } else { look.text_of_row() };
            let mut cells = [(); 7].map(|()| rest.clone());
            if line.group.is_some() {
                if let Look::Is(in_recovery) = line.in_recovery {
                    cells[1] = if in_recovery { "read-only" } else { "read-write" }.to_owned();
                }
                cells[2] = recovery;
            }
            cells
        }
    };
    cells.extend(middle);
    cells.extend([line.keeper.text("none"), line.postgres.text("none"), line.certificate_days.text("-")]);
    cells
}

impl Look<NodeRow> {
    fn text_of_row(&self) -> String {
        match self {
            Look::Unknown => "unknown".to_owned(),
            Look::Is(_) | Look::Absent => "-".to_owned(),
        }
    }
}

/// How far a standby is behind: bytes that are not on its disk, seconds until its readers see a commit.
fn lag(row: &NodeRow, streaming: &Look<Sender>) -> String {
    if row.assigned.is_some_and(State::is_writable) {
        return "-".to_owned();
    }
    match streaming {
        Look::Is(sender) => {
            let behind = sender.behind.map_or_else(|| "unknown".to_owned(), bytes);
            let state =
                if sender.state == "streaming" { String::new() } else { format!("{}, ", sender.state) };
            match sender.delay_ms.map(|delay| (delay / 1000, delay % 1000 / 100)) {
                None | Some((0, 0)) => format!("{state}{behind}"),
                Some((seconds, tenths)) => format!("{state}{behind}, {seconds}.{tenths} s"),
            }
        }
        Look::Absent => "not streaming".to_owned(),
        Look::Unknown => "unknown".to_owned(),
    }
}

/// What the server says itself, else pg_autoctl's word; with a `!` where the monitor's last look failed.
fn connection(row: &NodeRow, in_recovery: &Look<bool>) -> String {
    // What a silent node said last is no news of it.
    let is_silent = row.silence().is_some() && row.health != 1;
    let word = match (in_recovery, row.reported.filter(|_| !is_silent), row.running) {
        (Look::Is(false), ..) => "read-write",
        (Look::Is(true), ..) => "read-only",
        (Look::Absent, ..) => "none",
        (Look::Unknown, Some(state), true) if state.is_writable() => "read-write",
        (Look::Unknown, Some(State::Secondary | State::Catchingup | State::Maintenance), true) => "read-only",
        (Look::Unknown, Some(_), _) => "none",
        (Look::Unknown, None, _) => "unknown",
    };
    let mark = if row.health == 1 { "" } else { " !" };
    format!("{word}{mark}")
}

#[cfg(test)]
mod tests;
