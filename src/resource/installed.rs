//! Every version that a host has: what is installed, what runs, and what databases were made with.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::formation::{Formation, Server};
use crate::probe::{self, Answer, Answers};
use crate::resource::meant::MEANT;
use crate::resource::{data, monitor};

/// The programs of a PostgreSQL installation that muster and keepers call.
pub const PROGRAMS: [&str; 7] =
    ["postgres", "pg_ctl", "initdb", "psql", "pg_basebackup", "pg_rewind", "pg_controldata"];

/// Extensions whose version matters to a formation.
pub const EXTENSIONS: [&str; 4] = ["citus", "pgautofailover", "pg_stat_statements", "btree_gist"];

/// A version, that there is none (`null`), or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Version {
    Is(String),
    None,
    Unknown { unknown: String },
}

/// What one host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// As the distribution calls itself.
    pub os: Version,
    pub kernel: Version,
    pub sshd: Version,
    /// The directory of PostgreSQL's programs.
    pub bin: Version,
    pub programs: BTreeMap<&'static str, Version>,
    /// What the server that runs is; another one than `postgres` where it was not restarted after an upgrade.
    pub server: Version,
    pub pg_autoctl: Version,
    pub extensions: BTreeMap<&'static str, Extension>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// What `CREATE EXTENSION` would make.
    pub available: Version,
    /// What the formation's database has, or the monitor's.
    pub installed: Version,
}

/// After [`data::FIND`] and [`data::EXTENSIONS`].
const PROBE: &str = r#"
os=$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null | head -n 1 | tr -d "\"'")
if [ -n "$os" ]; then say os "$os"; else none os; fi
say kernel "$(uname -r)"
if s=$(command -v sshd); then
  # Older ones know no -V, and say their version with that.
  v=$("$s" -V 2>&1 | sed -n 's/.*\(OpenSSH_[^ ,]*\).*/\1/p' | head -n 1)
  if [ -n "$v" ]; then say sshd "${v#OpenSSH_}"; else blind sshd "$s does not say its version"; fi
else none sshd; fi
bin=
if [ -n "$ctl" ] && [ -x "$ctl" ]; then
  ctl=$(readlink -f "$ctl"); bin=${ctl%/*}
  say bin "$bin"
  for p in PROGRAMS; do
    if [ ! -x "$bin/$p" ]; then none "program.$p"
    elif v=$("$bin/$p" --version 2>&1) && [ "$v" != "${v#*) }" ]; then v=${v#*) }; say "program.$p" "${v%% *}"
    else blind "program.$p" "$bin/$p --version: $(printf '%s' "$v" | head -n 1)"; fi
  done
  v=$("$ctl" --version 2>/dev/null); v=${v#*) }; v=${v%%[!0-9]*}
  extensions
elif [ -n "$pgctl" ]; then blind bin "there is no program $pgctl"
else none bin; fi
a=$bin/pg_autoctl
if [ -n "$bin" ] && [ -x "$a" ] || a=$(command -v pg_autoctl); then
  v=$("$a" --version 2>&1 | sed -n 's/^pg_autoctl version \([^ ]*\).*/\1/p' | head -n 1)
  if [ -n "$v" ]; then say pg_autoctl "$v"; else blind pg_autoctl "$a does not say its version"; fi
else none pg_autoctl; fi
pid=$(head -n 1 "$pgdata/postmaster.pid" 2>/dev/null)
if [ -z "$bin" ] || [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then
  if [ -e "$pgdata" ] && ! { [ -r "$pgdata" ] && [ -x "$pgdata" ]; }; then blind server "cannot read the directory $pgdata"
  elif sees "$pgdata/x"; then none server
  else blind server "cannot look into $d"; fi
else
  ask() { "$bin/psql" -XAtqw -v ON_ERROR_STOP=1 ${pghost:+-h "$pghost"} -p "$pgport" -U "$username" -d "$1"; }
  if v=$(printf 'show server_version' | ask postgres 2>/dev/null); then
    say server "${v%% *}"
    if v=$(printf "select extname || ' ' || extversion from pg_extension" | ask "$dbname" 2>/dev/null); then
      say installed "$(printf '%s\n' "$v" | tr '\n' ' ')"
    else blind installed "psql: $(printf 'select 1' | ask "$dbname" 2>&1 | head -n 1)"; fi
  else
    port=$pgport user=$username why=$(meant | head -n 1)
    blind server "${why:-psql: $(printf 'select 1' | ask postgres 2>&1 | head -n 1)}"
  fi
fi
say end ''
"#;

/// One script, one round trip, read-only.
pub fn probe(formation: &Formation, server: &Server) -> Command {
    let (user, dbname) = match formation.nodes.get(&server.name) {
        Some(node) => (&node.username, formation.dbname.as_str()),
        None => (&server.os_user, monitor::DBNAME),
    };
    let args = [
        server.pgctl.clone().unwrap_or_default(),
        server.pg_version.map(|major| major.to_string()).unwrap_or_default(),
        server.pgdata.clone(),
        server.pghost.clone().unwrap_or_default(),
        server.pgport.to_string(),
        user.clone(),
        dbname.to_owned(),
    ];
    let parameters = "set +e\npgctl=$1 pgversion=$2 pgdata=$3 pghost=$4 pgport=$5 username=$6 dbname=$7\n";
    let ask = PROBE.replace("PROGRAMS", &PROGRAMS.join(" "));
    let script = [parameters, probe::FUNCTIONS, data::FIND, data::EXTENSIONS, MEANT, &ask].concat();
    Command::new(RunAs::User(server.os_user.clone()), script).args(args).timeout(60)
}

/// Reads a host's answer; what could not be looked at is unknown, and the rest is known all the same.
pub fn parse(stdout: &str) -> Result<Installed, String> {
    let answers = Answers::parse(stdout)?;
    let version = |key: &str| match answers.get(key) {
        Answer::Text(text) => Version::Is(text),
        Answer::Absent => Version::None,
        Answer::Blind(unknown) => Version::Unknown { unknown },
    };
    let bin = version("bin");
    // Without PostgreSQL there is nothing that could have been asked.
    let of_bin = |key: &str| match (&bin, version(key)) {
        (Version::None, _) => Version::None,
        (Version::Is(_) | Version::Unknown { .. }, version) => version,
    };
    let server = version("server");
    let installed = |name: &str| match (&server, version("installed")) {
        // A server that is stopped keeps what its databases have to itself.
        (Version::None, _) => Version::Unknown { unknown: "the server does not run".to_owned() },
        (Version::Unknown { unknown }, _) => Version::Unknown { unknown: unknown.clone() },
        (Version::Is(_), Version::Unknown { unknown }) => Version::Unknown { unknown },
        (Version::Is(_), Version::None) => Version::None,
        (Version::Is(_), Version::Is(list)) => {
            let words: Vec<&str> = list.split_whitespace().collect();
            let of = |pair: &&[&str]| pair.first() == Some(&name);
            let found = words.chunks(2).find(of).and_then(|pair| pair.get(1));
            found.map_or(Version::None, |version| Version::Is((*version).to_owned()))
        }
    };
    let extension = |name: &'static str| {
        let available = of_bin(&format!("extension.{name}"));
        (name, Extension { available, installed: installed(name) })
    };
    Ok(Installed {
        os: version("os"),
        kernel: version("kernel"),
        sshd: version("sshd"),
        programs: PROGRAMS.into_iter().map(|name| (name, of_bin(&format!("program.{name}")))).collect(),
        pg_autoctl: version("pg_autoctl"),
        extensions: EXTENSIONS.into_iter().map(extension).collect(),
        server,
        bin,
    })
}
