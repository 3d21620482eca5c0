//! What `ALTER SYSTEM` has set otherwise than the inventory or the files beside it: the server reads it last, so it wins.

use std::collections::{BTreeMap, BTreeSet};

use crate::formation::{Node, Server, Tls};
use crate::resource::data::{DataDirectory, Pgdata, STANDBY_CONF};
use crate::resource::database::DatabaseFacts;
use crate::resource::tls::Shown;
use crate::resource::{guc, settings};

/// Where `ALTER SYSTEM` writes.
pub(super) const AUTO: &str = "postgresql.auto.conf";

/// Files that a server reads before it, the last of them first.
const BEFORE: [&str; 2] = ["postgresql.conf", "postgresql-auto-failover.conf"];

/// What keepers set by it.
pub const OF_KEEPERS: [&str; 2] = ["synchronous_standby_names", "default_transaction_read_only"];

/// How a standby follows; it may hold a password.
pub(super) const OF_STANDBYS: [&str; 2] = ["primary_conninfo", "primary_slot_name"];

/// Why a server that runs is met without TLS though the inventory wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// `ALTER SYSTEM` has turned `ssl` off.
    BySystem,
    /// One of its files has.
    ByFile(&'static str),
    /// Nothing says that it is off.
    Pair,
}

impl Plain {
    /// `None` where it has TLS, where none is wanted, and where nobody can say.
    pub fn of(server: &Server, pgdata: &Pgdata, shown: &Shown) -> Option<Plain> {
        let Pgdata::Present(found) = pgdata else { return None };
        if server.tls == Tls::Off || found.postmaster.is_none() {
            return None;
        }
        let ssl_of = |file: &str| read(found.files.get(file)?.as_deref()?).remove("ssl");
        let system = ssl_of(AUTO);
        let by_system = system.as_deref().is_some_and(is_off).then_some(Plain::BySystem);
        match shown {
            Shown::Certificate { .. } => None,
            Shown::Unknown => by_system,
            Shown::Nothing if system.is_some() => by_system.or(Some(Plain::Pair)),
            Shown::Nothing => {
                let first = BEFORE.into_iter().find_map(|file| Some((file, ssl_of(file)?)));
                Some(match first {
                    Some((file, value)) if is_off(&value) => Plain::ByFile(file),
                    Some(_) | None => Plain::Pair,
                })
            }
        }
    }

    pub fn why(self) -> String {
        let why = match self {
            Plain::BySystem => {
                "ssl is off by ALTER SYSTEM; to have it again: ALTER SYSTEM RESET ssl, and a reload"
                    .to_owned()
            }
            Plain::ByFile(file) => format!("ssl is off in {file}"),
            Plain::Pair => "it could not use its certificate or key".to_owned(),
        };
        format!("it answers without TLS: {why}")
    }
}

/// As PostgreSQL reads a boolean: by the beginning of a word.
fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str| !value.is_empty() && word.starts_with(&value);
    value == "0" || begins("false") || begins("no") || value.len() > 1 && begins("off")
}

/// Whether `ALTER SYSTEM` has set it, so that no file beside has a say.
pub fn is_set(pgdata: &Pgdata, name: &str) -> bool {
    of_system(pgdata).contains_key(&name.to_ascii_lowercase())
}

fn of_system(pgdata: &Pgdata) -> BTreeMap<String, String> {
    let Pgdata::Present(found) = pgdata else { return BTreeMap::new() };
    read(found.files.get(AUTO).and_then(Option::as_deref).unwrap_or_default())
}

/// A value of `ALTER SYSTEM` that a restart would bring in force, and that neither the inventory nor a file beside asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    pub name: String,
    value: String,
    /// What is asked for instead, and by whom; `None` where nobody asks for anything.
    instead: Option<String>,
}

impl Unasked {
    /// For a list of settings.
    pub fn with_value(&self) -> String {
        format!("{} ({} by ALTER SYSTEM)", self.name, self.value)
    }

    fn note(&self, server: &Server) -> String {
        let Unasked { name, value, instead } = self;
        let instead = match instead {
            Some(instead) => format!("not {instead}"),
            None => "which the inventory does not ask for".to_owned(),
        };
        format!(
            "{name} is set to {value} by ALTER SYSTEM (in {AUTO}), {instead}, and takes effect at the next restart: apply plans none \
             for it. To take it back: ALTER SYSTEM RESET {name}, and a reload; to have it: `muster restart {} --pending`",
            server.name
        )
    }
}

/// Those of the settings that wait for a restart which are nobody's but `ALTER SYSTEM`'s.
pub fn unasked(
    server: &Server,
    node: Option<&Node>,
    pgdata: &Pgdata,
    database: &DatabaseFacts,
) -> Vec<Unasked> {
    match pgdata {
        Pgdata::Present(found) => unasked_in(found, &settings::wanted(server, node), &database.restartable()),
        Pgdata::Empty | Pgdata::Foreign(_) => Vec::new(),
    }
}

fn unasked_in(found: &DataDirectory, wanted: &BTreeMap<String, String>, waits: &[&str]) -> Vec<Unasked> {
    let settings_of = |name: &str| read(found.files.get(name).and_then(Option::as_deref).unwrap_or_default());
    let mut system = settings_of(AUTO);
    let mut of = |name: &str| {
        if OF_KEEPERS.contains(&name) || OF_STANDBYS.contains(&name) {
            return None;
        }
        let value = system.remove(name)?;
        let of_inventory = wanted.iter().find(|(wanted, _)| wanted.eq_ignore_ascii_case(name));
        let of_file = || BEFORE.iter().find_map(|file| Some((file, settings_of(file).remove(name)?)));
        let (asked, instead) = match of_inventory {
            Some((_, asked)) => (Some(asked.clone()), Some(format!("the inventory's {asked}"))),
            None => of_file().map(|(file, asked)| (asked.clone(), format!("the {asked} of {file}"))).unzip(),
        };
        let is_asked = asked.is_some_and(|asked| guc::is_same(name, &asked, &value));
        (!is_asked).then(|| Unasked { name: name.to_owned(), value, instead })
    };
    waits.iter().filter_map(|name| of(&name.to_ascii_lowercase())).collect()
}

/// A note on each setting that does not take effect as the inventory, or a file of muster's or a keeper's, has it.
pub fn notes(
    server: &Server,
    node: Option<&Node>,
    pgdata: &Pgdata,
    database: Option<&DatabaseFacts>,
) -> Vec<String> {
    let Pgdata::Present(found) = pgdata else { return Vec::new() };
    let unasked = database.map_or(Vec::new(), |database| unasked(server, node, pgdata, database));
    let names = unasked.iter().map(|unasked| unasked.name.as_str()).collect();
    let mut notes = of_directory(found, &settings::wanted(server, node), &names);
    notes.extend(unasked.iter().map(|unasked| unasked.note(server)));
    notes
}

/// But for those that are told otherwise.
fn of_directory(
    found: &DataDirectory,
    wanted: &BTreeMap<String, String>,
    but: &BTreeSet<&str>,
) -> Vec<String> {
    let settings_of = |name: &str| read(found.files.get(name).and_then(Option::as_deref).unwrap_or_default());
    let system = settings_of(AUTO);
    if system.is_empty() {
        return Vec::new();
    }
    let before = BEFORE.map(|file| (file, settings_of(file)));
    let note = |(name, value): (&String, &String)| {
        let way = match found.postmaster {
            Some(_) => format!("to have that in force: ALTER SYSTEM RESET {name}"),
            None => format!(
                "its server is down: to have that in force, take the line of {name} out of its {AUTO}"
            ),
        };
        if OF_KEEPERS.contains(&name.as_str()) || but.contains(name.as_str()) {
            return None;
        }
        if OF_STANDBYS.contains(&name.as_str()) {
            let there = found.standby && found.standby_conf.is_some();
            return there.then(|| {
                format!("{name} is set by ALTER SYSTEM, which wins over what its keeper writes to {STANDBY_CONF}; {way}")
            });
        }
        if let Some(wants) = wanted.get(name).filter(|wants| *wants != value) {
            return Some(format!(
                "{name} is {value} by ALTER SYSTEM, which wins over the inventory's {wants}; {way}"
            ));
        }
        let (file, other) = before.iter().find_map(|(file, settings)| Some((file, settings.get(name)?)))?;
        (!wanted.contains_key(name) && other != value).then(|| {
            format!("{name} is {value} by ALTER SYSTEM, which wins over the {other} of {file}; {way}")
        })
    };
    system.iter().filter_map(note).collect()
}

/// Settings by name, as far as they stand on a line of their own; the last of a name counts.
pub(super) fn read(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && !name.starts_with('#') && !name.contains(char::is_whitespace);
        let bare = match value.strip_prefix('\'') {
            Some(rest) => rest.rsplit_once('\'')?.0.replace("''", "'"),
            None => value.split('#').next()?.trim().to_owned(),
        };
        is_name.then(|| (name.to_ascii_lowercase(), bare))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::Secret;

    fn found(auto: &str, conf: &str) -> DataDirectory {
        let files =
            [(AUTO, auto), ("postgresql.conf", conf), ("postgresql-auto-failover.conf", "port = 5432\n")];
        DataDirectory {
            major: 15,
            system_identifier: 1,
            control_version: 1300,
            catalog_version: 1,
            postmaster: None,
            port: None,
            stale: None,
            why_down: None,
            spoiled: Vec::new(),
            needs: Default::default(),
            standby: true,
            files: files.map(|(name, text)| (name.to_owned(), Some(text.to_owned()))).into(),
            standby_conf: Some(Secret::new("primary_conninfo = 'host=a password=s'")),
        }
    }

    #[test]
    fn why_a_server_has_no_tls_is_told_as_far_as_it_is_known() {
        let text = include_str!("../../inventory/minimal.yml");
        let formation = crate::inventory::parse("m.yml", text, "".as_ref()).expect("it is right");
        let server = formation.servers().next().expect("it has servers");
        let of = |auto: &str, conf: &str, shown: &Shown| {
            let found = DataDirectory { postmaster: Some(7), ..found(auto, conf) };
            Plain::of(server, &Pgdata::Present(Box::new(found)), shown)
        };
        for off in ["'off'", "'OFF'", "of", "false", "'F'", "0", "no"] {
            let auto = format!("ssl = {off}\n");
            assert_eq!(of(&auto, "ssl = on\n", &Shown::Nothing), Some(Plain::BySystem), "{off}");
            assert_eq!(
                of(&auto, "", &Shown::Unknown),
                Some(Plain::BySystem),
                "nobody can look, and it is known"
            );
        }
        assert_eq!(of("", "ssl = off\n", &Shown::Nothing), Some(Plain::ByFile("postgresql.conf")));
        assert_eq!(of("ssl = 'on'\n", "ssl = off\n", &Shown::Nothing), Some(Plain::Pair));
        assert_eq!(of("", "ssl = on\n", &Shown::Nothing), Some(Plain::Pair));
        assert_eq!(of("", "ssl = off\n", &Shown::Unknown), None);
        let stopped = Pgdata::Present(Box::new(found("ssl = off\n", "")));
        assert_eq!(Plain::of(server, &stopped, &Shown::Unknown), None);
    }

    #[test]
    fn what_alter_system_has_otherwise_is_told_with_the_way_back() {
        let wanted = BTreeMap::from([("work_mem".to_owned(), "9MB".to_owned())]);
        let by = |postmaster: Option<u32>, auto: &str, conf: &str| {
            let found = DataDirectory { postmaster, ..found(auto, conf) };
            of_directory(&found, &wanted, &BTreeSet::new()).join("\n")
        };
        let said = |auto: &str, conf: &str| by(Some(1), auto, conf);
        let told = said("# Do not edit this file manually!\nwork_mem = '3MB'\n", "work_mem = '9MB'\n");
        assert!(
            told.starts_with("work_mem is 3MB by ALTER SYSTEM, which wins over the inventory's 9MB;"),
            "{told}"
        );
        assert!(told.ends_with("ALTER SYSTEM RESET work_mem"), "{told}");
        let down = by(None, "work_mem = '3MB'\n", "");
        assert!(down.ends_with("take the line of work_mem out of its postgresql.auto.conf"), "{down}");
        assert_eq!(said("work_mem = '9MB'\n", "work_mem = '4MB'\n"), "");
        assert!(said("port = '5433'\n", "").contains("wins over the 5432 of postgresql-auto-failover.conf"));
        assert_eq!(said("log_min_duration_statement = '5s'\n", ""), "", "nobody else has it");
        assert_eq!(said("synchronous_standby_names = '*'\n", "synchronous_standby_names = ''\n"), "");
        let told = said("primary_conninfo = 'host=b password=secret'\n", "");
        assert!(
            told.contains("primary_conninfo is set by ALTER SYSTEM") && !told.contains("secret"),
            "{told}"
        );
    }

    /// What the inventory asks for is its own, by whomever it is brought in force.
    #[test]
    fn what_waits_for_a_restart_is_told_apart_by_who_asked_for_it() {
        let wanted = BTreeMap::from([
            ("max_connections".to_owned(), "150".to_owned()),
            ("shared_buffers".to_owned(), "1GB".to_owned()),
        ]);
        let waits = ["max_connections", "shared_buffers", "port", "max_locks_per_transaction"];
        let told = |auto: &str| {
            let unasked = unasked_in(&found(auto, "max_connections = 150\n"), &wanted, &waits);
            unasked.into_iter().map(|one| (one.with_value(), one.instead)).collect::<Vec<_>>()
        };
        assert_eq!(told("max_connections = '150'\nshared_buffers = '1024MB'\nport = '5432'\n"), []);
        let of = |name: &str, value: &str| format!("{name} ({value} by ALTER SYSTEM)");
        assert_eq!(
            told(
                "max_connections = '50'\nport = '5433'\nmax_locks_per_transaction = '128'\nwork_mem = '3MB'\n"
            ),
            [
                (of("max_connections", "50"), Some("the inventory's 150".to_owned())),
                (of("port", "5433"), Some("the 5432 of postgresql-auto-failover.conf".to_owned())),
                (of("max_locks_per_transaction", "128"), None),
            ]
        );
    }
}
