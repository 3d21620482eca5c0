//! The formation as it is now: a table like that of `pg_autoctl show state`, from facts only.

use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::facts::{self, Facts, Seen, Sight};
use crate::formation::{Formation, Keeper, Monitor, NodeName, Server, Tls};
use crate::report::paint::Paint;
use crate::report::text::{alike, count, plain, table};
use crate::resource::citus::{CitusFacts, Remote};
use crate::resource::data::Pgdata;
use crate::resource::monitor::NodeRow;
use crate::scope::Scope;
use crate::state::State;

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

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub formation: String,
    /// Version of the monitor's extension.
    pub monitor: Look<String>,
    pub servers: Vec<Line>,
    pub citus: Look<Citus>,
    pub notes: Vec<Note>,
    pub unreachable: Vec<NodeName>,
    /// Every node is registered, runs, rests where the monitor wants it, and no keeper is missing.
    pub settled: bool,
}

impl Status {
    /// Of those within the scope; the monitor and the coordinator were looked at all the same.
    pub fn new(formation: &Formation, scope: &Scope, facts: &Facts, today: Date) -> Status {
        let monitor = facts.monitor();
        // Under a limit they are as much outside as the rest.
        let strangers = match scope.is_whole() {
            true => facts::strangers(formation, facts),
            false => Vec::new(),
        };
        let servers: Vec<Line> = scope
            .servers(formation)
            .into_iter()
            .map(|server| line(formation, facts, server, today))
            .chain(strangers.into_iter().map(stranger))
            .collect();
        let unreachable = facts
            .hosts
            .iter()
            .filter(|(name, sight)| scope.has(name) && matches!(sight, Sight::Unreachable(_)));
        let quiet = |line: &Line| match (&line.row, line.group) {
            (Look::Is(row), _) => row.is_settled() && row.running && row.health != 0,
            (Look::Absent | Look::Unknown, Some(_)) => false,
            (Look::Absent | Look::Unknown, None) => matches!(line.postgres, Look::Is(_)),
        };
        let kept = |server: &Server| {
            let keeper = facts.seen(&server.name).map(|seen| seen.keeper.alive.is_some());
            keeper.is_some_and(|alive| alive || server.keeper == Keeper::None)
        };
        let citus = pg_dist_node(facts).map(|citus| Citus {
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
            settled: servers.iter().all(quiet) && scope.servers(formation).into_iter().all(kept),
            citus: match (citus, formation.is_citus()) {
                (Some(citus), _) => Look::Is(citus),
                (None, true) => Look::Unknown,
                (None, false) => Look::Absent,
            },
            notes: notes(formation, facts),
            unreachable: unreachable.map(|(name, _)| name.clone()).collect(),
            servers,
        }
    }

    pub fn text(&self, paint: Paint) -> String {
        let heading = [
            "Name",
            "Node",
            "Host:Port",
            "TLI: LSN",
            "Connection",
            "Reported",
            "Assigned",
            "Health",
            "Keeper",
            "Postgres",
            "Cert days",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.servers.iter().map(cells));
        let mut text =
            format!("formation {}, monitor {}\n", self.formation, self.monitor.text("not there yet"));
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
        text + &match self.settled {
            true => paint.green("settled"),
            false => paint.red("not settled"),
        } + "\n"
    }
}

/// From a coordinator of the inventory, or from one elsewhere that a node has asked.
fn pg_dist_node(facts: &Facts) -> Option<&CitusFacts> {
    let own = facts.hosts.keys().find_map(|name| facts.seen(name)?.citus.as_ref());
    own.or_else(|| {
        facts.hosts.keys().find_map(|name| match facts.seen(name)?.coordinator.as_ref()? {
            Remote::Seen { facts, .. } => Some(facts),
            Remote::Absent | Remote::Unseen { .. } => None,
        })
    })
}

/// Without rows, whether that says something: the monitor was asked, and has none.
fn monitor_was_seen(formation: &Formation, facts: &Facts) -> bool {
    match &formation.monitor {
        Monitor::Managed(server) => facts.seen(&server.name).is_some(),
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
        row: match (node, facts.monitor()) {
            (None, _) => Look::Absent,
            (Some(_), Some(monitor)) => Look::of(monitor.row(&server.name).cloned()),
            (Some(_), None) if monitor_was_seen(formation, facts) => Look::Absent,
            (Some(_), None) => Look::Unknown,
        },
        host: server.hostname.clone(),
        port: server.pgport,
        keeper: look(|seen| seen.keeper.alive),
        postgres: look(|seen| match &seen.pgdata {
            Pgdata::Present(found) => found.postmaster,
            Pgdata::Empty { .. } | Pgdata::Foreign(_) => None,
        }),
        certificate_days: match (&server.tls, seen) {
            (Tls::Off, _) => Look::Absent,
            (Tls::SelfSigned { .. }, Some(seen)) => {
                Look::of(seen.tls.certificate.as_ref().map(|found| days(today, found.not_after)))
            }
            (Tls::Files { .. }, Some(seen)) => match &seen.tls.served {
                Some(found) => Look::Is(days(today, found.not_after)),
                None => Look::Unknown,
            },
            (Tls::SelfSigned { .. } | Tls::Files { .. }, None) => Look::Unknown,
        },
    }
}

fn stranger(row: &NodeRow) -> Line {
    Line {
        name: NodeName(row.name.clone()),
        whose: Whose::Stranger,
        group: Some(row.group),
        row: Look::Is(row.clone()),
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
    let middle: [String; 5] = match &line.row {
        Look::Is(row) => {
            cells.extend([format!("{group}/{}", row.id), format!("{}:{}", row.host, row.port)]);
            [
                format!("{}: {}", row.timeline, row.lsn),
                connection(row),
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
            [(); 5].map(|()| rest.clone())
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

/// pg_autoctl's word, with its `!` where the monitor's last look failed.
fn connection(row: &NodeRow) -> String {
    let word = match (row.reported, row.running) {
        (Some(state), true) if state.is_writable() => "read-write",
        (Some(State::Secondary | State::Catchingup | State::Maintenance), true) => "read-only",
        (Some(_), _) => "none",
        (None, _) => "unknown",
    };
    let mark = if row.health == 1 { "" } else { " !" };
    format!("{word}{mark}")
}

/// What is to be known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub node: NodeName,
    pub text: String,
}

fn notes(formation: &Formation, facts: &Facts) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |node: &NodeName, text: String| notes.push(Note { node: node.clone(), text });
    for (name, sight) in &facts.hosts {
        match sight {
            Sight::Unreachable(failure) => note(name, format!("unreachable: {}", failure.cause())),
            Sight::Unreadable(why) => note(name, format!("could not look: {why}")),
            Sight::Seen(seen) => {
                let server = formation.servers().find(|server| server.name == *name);
                let wants = server.is_some_and(|server| server.keeper != Keeper::None);
                if wants && seen.keeper.config.is_some() && seen.keeper.alive.is_none() {
                    note(name, "its keeper does not run: nothing fails over here".to_owned());
                }
                let Some(database) = &seen.database else { continue };
                let names = database.pending();
                if !names.is_empty() {
                    note(name, format!("takes effect after a restart: {}", names.join(", ")));
                }
                for error in &database.setting_errors {
                    note(name, format!("PostgreSQL does not take what its configuration says: {error}"));
                }
                for error in &database.hba_errors {
                    note(name, format!("pg_hba.conf, {error}"));
                }
            }
        }
    }
    for row in facts::strangers(formation, facts) {
        note(&row.name.as_str().into(), "the monitor knows it, the inventory does not".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Failure;

    #[test]
    fn what_nobody_knows_is_said_to_be_unknown() {
        let text = include_str!("../../inventory/minimal.yml");
        let formation = crate::inventory::parse("m.yml", text, "".as_ref()).unwrap();
        let failure = Failure::Unreachable { reason: "no route to host".into(), hint: String::new() };
        let facts = Facts {
            hosts: formation
                .servers()
                .map(|s| (s.name.clone(), Sight::Unreachable(failure.clone())))
                .collect(),
        };
        let status = Status::new(&formation, &Scope::whole(), &facts, jiff::civil::date(2026, 1, 1));
        let expected = "\
formation default, monitor unknown
Name             Node     Host:Port             TLI: LSN  Connection  Reported  Assigned  Health   Keeper   Postgres  Cert days
mon1.db.example  monitor  mon1.db.example:5432  -         -           -         -         -        unknown  unknown   unknown
pg1.db.example   0        pg1.db.example:5432   unknown   unknown     unknown   unknown   unknown  unknown  unknown   unknown
pg2.db.example   0        pg2.db.example:5432   unknown   unknown     unknown   unknown   unknown  unknown  unknown   unknown
note: mon1.db.example, pg1.db.example, pg2.db.example: unreachable: no route to host
not settled
";
        assert_eq!(status.text(Paint::Plain), expected);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["servers"][1]["row"], "unknown");
        assert_eq!(json["servers"][0]["row"], serde_json::Value::Null);
    }
}
