//! An adopted server: what `pg_autoctl create` made, whose files stay the host's own.
//!
//! muster edits two of them and renders none: [`conf`] keeps the settings of the inventory in a block at the end of
//! `postgresql.conf`, [`rules`] the lines of `pg_hba.conf` that are not pg_autoctl's. How the server's own files read is
//! asked of PostgreSQL: included files, quotes and units are its business.

pub mod conf;
pub mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::probe::{Answer, Answers};

/// What was seen of an adopted server beyond what is seen of every server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdoptedFacts {
    /// Where its `pg_autoctl.cfg` is.
    pub config_path: String,
    /// The unit whose main process the keeper is; `None` where it was started otherwise, or does not run.
    pub unit: Option<String>,
    /// systemd starts that unit at boot.
    pub enabled: bool,
    /// What the server says of its files; `None` where it does not run.
    pub server: Option<ServerFacts>,
    /// The file that the server reads as `pg_hba.conf`.
    pub rules: Option<FoundFile>,
    /// `postgresql.conf` in PGDATA, without its text: that is among the files of the data directory.
    pub conf: Option<FoundFile>,
}

/// Why a server's settings and rules are not known.
pub const STOPPED: &str =
    "its PostgreSQL does not run, so that its settings and rules cannot be seen: start it first";

impl AdoptedFacts {
    /// What could not be looked at of that which an inventory of the server has to say: it is not "none".
    pub fn not_seen(&self) -> Option<&'static str> {
        let has_rules = self.rules.as_ref().is_some_and(|file| file.text.is_some());
        match (&self.server, has_rules) {
            (None, _) => Some(STOPPED),
            (Some(_), false) => Some("its pg_hba.conf cannot be read"),
            (Some(_), true) => None,
        }
    }
}

/// A file of the host's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFile {
    pub path: String,
    pub text: Option<String>,
    /// The permission bits; `None` where it is no regular file: a link is not followed, and not replaced.
    pub mode: Option<u32>,
}

/// The answer of a running server about its configuration files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    pub config_file: String,
    pub hba_file: String,
    pub data_checksums: bool,
    pub encoding: String,
    pub locale: String,
    /// What is wrong with its files, in its own words.
    pub errors: Vec<String>,
    /// Every setting of its files, in the order in which they are read.
    pub lines: Vec<conf::Line>,
    /// The type and unit of settings that are no text.
    pub types: BTreeMap<String, (String, Option<String>)>,
}

/// `primary_conninfo` may hold a password, and is the keeper's.
const SERVER: &str = "select json_build_object(
 'config_file', current_setting('config_file'), 'hba_file', current_setting('hba_file'),
 'data_checksums', current_setting('data_checksums')::bool,
 'encoding', (select pg_encoding_to_char(encoding) from pg_database where datname = 'template1'),
 'locale', (select datcollate from pg_database where datname = 'template1'),
 'errors', coalesce((select json_agg(format('%s, line %s: %s', sourcefile, sourceline, error)) from pg_file_settings where error is not null and name is null and sourcefile is not null), '[]'),
 'lines', coalesce((select json_agg(json_build_object('file', sourcefile, 'line', sourceline, 'name', lower(name), 'value', setting) order by seqno)
   from pg_file_settings where name is not null and setting is not null and name <> 'primary_conninfo'), '[]'),
 'types', (select json_object_agg(name, json_build_array(vartype, unit)) from pg_settings where vartype <> 'string'))";

/// `$adopted` is 1 or 0; `$k` and `$cfg` are of the keeper's probe, `ask` and `json` of the database's.
pub fn probe() -> String {
    format!(
        r#"
if [ "$adopted" = 1 ]; then
  say adopted.config "$cfg"
  u=
  if [ -n "$k" ]; then u=$(sed -n 's,.*/\([^/]*\.service\)$,\1,p' "/proc/$k/cgroup" 2>/dev/null | head -n 1); fi
  if [ -n "$u" ] && [ "$(systemctl show -p MainPID --value -- "$u" 2>/dev/null)" = "$k" ]; then say adopted.unit "$u"; else u=; none adopted.unit; fi
  if [ -n "$u" ] && systemctl is-enabled -q -- "$u" 2>/dev/null; then say adopted.enabled 1; else say adopted.enabled 0; fi
  mode() {{ if [ -f "$2" ] && [ ! -L "$2" ]; then say "$1" "$(stat -c %a "$2")"; else none "$1"; fi; }}
  mode adopted.conf.mode "$pgdata/postgresql.conf"
  if [ -n "$pid" ]; then
    json adopted.server postgres <<'SQL'
{SERVER}
SQL
    q='show hba_file'
    ask postgres
    if [ "$rc" = 0 ]; then
      say adopted.rules.path "$out"
      file adopted.rules "$out"
      mode adopted.rules.mode "$out"
    else blind adopted.rules.path "psql: $err"; fi
  else none adopted.server; fi
else none adopted.config; fi
"#
    )
}

/// `None` for a server that is not adopted.
pub fn parse(answers: &Answers) -> Result<Option<AdoptedFacts>, String> {
    let Some(config_path) = answers.text("adopted.config")? else { return Ok(None) };
    let mode = |key: &str| -> Result<Option<u32>, String> {
        let Some(text) = answers.text(key)? else { return Ok(None) };
        u32::from_str_radix(text.trim(), 8).map(Some).map_err(|_| format!("{key} is no mode: {text:.40}"))
    };
    let server: Option<ServerFacts> = match answers.get("adopted.server") {
        Answer::Absent => None,
        Answer::Text(_) | Answer::Blind(_) => Some(answers.json("adopted.server")?),
    };
    let rules = match &server {
        None => None,
        Some(_) => Some(FoundFile {
            path: answers.need("adopted.rules.path")?,
            text: answers.text("adopted.rules")?,
            mode: mode("adopted.rules.mode")?,
        }),
    };
    let conf = server.as_ref().map(|server| server.config_file.clone());
    let enabled = answers.text("adopted.enabled").is_ok_and(|is_so| is_so.as_deref() == Some("1"));
    Ok(Some(AdoptedFacts {
        enabled,
        config_path,
        unit: answers.text("adopted.unit")?,
        rules,
        conf: match conf {
            Some(path) => Some(FoundFile { path, text: None, mode: mode("adopted.conf.mode")? }),
            None => None,
        },
        server,
    }))
}
