//! Which of the inventory's settings a server speaks of where it does not take a configuration, and where they stand.

use std::collections::BTreeMap;

use crate::formation::Server;
use crate::resource::guc;

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

    /// A server's words, and behind them the settings that they are about.
    pub fn with_places(&self, said: &str) -> String {
        self.told(said).map_or_else(|| said.to_owned(), |at| format!("{said} ({at})"))
    }
}

/// Whether it stands there and is no part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
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
    use super::Given;

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
        ] {
            assert_eq!(given.told(said).as_deref(), told, "{said}");
        }
    }
}
