//! Which of the inventory's settings a server speaks of where it does not take a configuration, and where they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::formation::Server;
use crate::resource::guc;
use crate::template;

/// The file that has them, in PGDATA.
const CONF: &str = "postgresql.conf";

/// What PostgreSQL says last where a file keeps it from starting.
const CONTAINS_ERRORS: &str = "\" contains errors";

/// The settings that a server gets of the inventory, each with its value and its place.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(String, String, String)>);

impl Given {
    pub fn of(server: &Server) -> Given {
        let places: &BTreeMap<String, String> = &server.settings_at;
        let given = server.settings.iter().filter_map(|(name, value)| {
            let at = places.get(name)?;
            Some((name.clone(), value.clone(), at.clone()))
        });
        Given(given.collect())
    }

    /// The settings that a server's words are about, with their places; `None` where they are about none of them.
    ///
    /// PostgreSQL names the setting, but for what it cannot load or open: that it names itself.
    pub fn told(&self, said: &str) -> Option<String> {
        if let Some((before, _)) = said.split_once(CONTAINS_ERRORS)
            && !before.ends_with(&format!("/{CONF}"))
        {
            return None;
        }
        let named = self.0.iter().filter(|(name, ..)| has_word(said, name));
        let mut found: Vec<String> = named.map(|(name, _, at)| format!("{name}: {at}")).collect();
        if found.is_empty() {
            let texts = self.0.iter().filter(|(name, ..)| guc::is_text(name));
            let speaks_of = |value: &str| {
                let parts = value.split(',').map(|part| part.trim().trim_matches('"'));
                parts.filter(|part| part.len() > 2).any(|part| has_word(said, part))
            };
            let about = texts.filter(|(_, value, _)| speaks_of(value));
            found = about.map(|(name, _, at)| format!("{name}: {at}")).collect();
        }
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// What a server does not take, and where that stands: in the inventory only if the line of `conf`, its `postgresql.conf`, is what
    /// muster renders of it, else on the host.
    pub fn with_place(&self, error: &NotTaken, conf: Option<&str>) -> String {
        let at = self.rendered(error, conf).map_or_else(|| error.place(), str::to_owned);
        format!("{} ({at})", error.what())
    }

    fn rendered(&self, error: &NotTaken, conf: Option<&str>) -> Option<&str> {
        let line = conf.filter(|_| error.file == CONF)?.lines().nth(error.line.checked_sub(1)? as usize)?;
        let is_it = |(name, value, _): &&(String, String, String)| {
            error.name.as_ref() == Some(name) && line == format!("{name} = {}", template::guc(value))
        };
        self.0.iter().find(is_it).map(|(.., at)| at.as_str())
    }
}

/// A line of a configuration file that the server does not take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotTaken {
    /// The setting; `None` where the line cannot be read.
    pub name: Option<String>,
    /// As the server names it; one in PGDATA without that.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// What is wrong with it, in the server's words.
    pub error: String,
}

impl NotTaken {
    /// What is wrong, without its place.
    pub fn what(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}: {}", self.error),
            None => self.error.clone(),
        }
    }

    /// Where it stands on its host.
    pub fn place(&self) -> String {
        format!("{}, line {}", self.file, self.line)
    }

    /// Of a setting of an extension the server takes the default; nothing else lets it start.
    pub fn keeps_it_down(&self) -> bool {
        self.name.as_ref().is_none_or(|name| !name.contains('.'))
    }
}

/// Whether it stands there and is no part of a longer one.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        // A path may end a sentence, and `$libdir/` may stand before a library.
        !before.ends_with(|c: char| is_part(c) && c != '/')
            && !after.trim_start_matches('.').starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_speaks_of_what_it_cannot_take() {
        let row = |name: &str, value: &str, line: u32| (name.into(), value.into(), format!("db.yml:{line}"));
        let given = Given(vec![
            row("jit", "off", 9),
            row("max_connections", "3", 10),
            row("pg_stat_statements.track", "banana", 11),
            row("shared_preload_libraries", "auto_explain, nosuch", 12),
            row("unix_socket_directories", "/no/such", 13),
        ]);
        for (said, told) in [
            (
                "FATAL:  invalid value for parameter \"pg_stat_statements.track\": \"banana\"",
                Some("pg_stat_statements.track: db.yml:11"),
            ),
            (
                "FATAL:  superuser_reserved_connections (3) must be less than max_connections (3)",
                Some("max_connections: db.yml:10"),
            ),
            (
                "FATAL:  could not access file \"nosuch\": No such file or directory",
                Some("shared_preload_libraries: db.yml:12"),
            ),
            ("could not access file \"$libdir/nosuch\"", Some("shared_preload_libraries: db.yml:12")),
            ("could not open /no/such.", Some("unix_socket_directories: db.yml:13")),
            ("could not open /no/such/file", None),
            ("could not access file \"nosuch2\"", None),
            ("LOG:  turned off", None),
            ("connection refused", None),
            (
                "LOG:  invalid value for parameter \"jit\": \"x\"\nFATAL:  configuration file \"/d/postgresql.conf\" contains errors",
                Some("jit: db.yml:9"),
            ),
            (
                "LOG:  invalid value for parameter \"jit\": \"x\"\nFATAL:  configuration file \"/d/postgresql.auto.conf\" contains errors",
                None,
            ),
        ] {
            assert_eq!(given.told(said).as_deref(), told, "{said}");
        }
    }

    /// A line that somebody has written by hand is not the inventory's, though that has the setting, too.
    #[test]
    fn a_line_is_the_inventorys_only_if_it_was_rendered_of_it() {
        let given = Given(vec![
            ("work_mem".into(), "64 mb".into(), "db.yml:9".into()),
            ("jit".into(), "off".into(), "db.yml:10".into()),
        ]);
        let text = "# muster\njit = off\nwork_mem = '64 mb'\njit = banana\nwork_mem 9\n";
        let said = |name: Option<&str>, file: &str, line: u32| {
            let (name, error) = (name.map(str::to_owned), "setting could not be applied".to_owned());
            given.with_place(&NotTaken { name, file: file.to_owned(), line, error }, Some(text))
        };
        let why = "setting could not be applied";
        assert_eq!(said(Some("work_mem"), CONF, 3), format!("work_mem: {why} (db.yml:9)"));
        assert_eq!(said(Some("jit"), CONF, 4), format!("jit: {why} (postgresql.conf, line 4)"));
        assert_eq!(said(None, CONF, 5), format!("{why} (postgresql.conf, line 5)"));
        let of_system = said(Some("jit"), "postgresql.auto.conf", 1);
        assert_eq!(of_system, format!("jit: {why} (postgresql.auto.conf, line 1)"));
        let elsewhere = said(Some("jit"), "/etc/postgresql/extra.conf", 1);
        assert_eq!(elsewhere, format!("jit: {why} (/etc/postgresql/extra.conf, line 1)"));
    }
}
