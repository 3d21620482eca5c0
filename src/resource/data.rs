//! The PostgreSQL programs and the data directory: found, made with initdb, started.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::formation::{Node, Secret, Server};
use crate::op::{Op, Serving};
use crate::probe::{Answer, Answers};
use crate::resource::down::WHY_DOWN;
use crate::resource::moved::STANDBY_NEEDS;
use crate::step::{Action, Step};

/// First line of every `postgresql.conf` that muster renders: by it a data directory is known as muster's.
const MARK: &str = "# muster: ";

/// Whom a standby follows, and with what password.
pub const STANDBY_CONF: &str = "postgresql-auto-failover-standby.conf";

/// The programs a host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Software {
    /// The directory of `pg_ctl`, `postgres`, `psql`…
    pub bin: String,
    pub major: u32,
    /// Path of `pg_autoctl`, and the version of the monitor's extension that it works with, which is its own.
    pub pg_autoctl: Option<(String, String)>,
    /// Extensions whose control file is there, and the version that `CREATE EXTENSION` makes.
    pub extensions: BTreeMap<String, String>,
}

/// What lies at PGDATA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pgdata {
    /// Nothing, or an empty directory.
    Empty,
    /// Files, but no PostgreSQL data directory.
    Foreign(String),
    Present(Box<DataDirectory>),
}

impl Pgdata {
    /// The text of its `postgresql.conf`.
    pub fn conf(&self) -> Option<&str> {
        match self {
            Pgdata::Present(found) => found.files.get("postgresql.conf")?.as_deref(),
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }
    }

    /// What a standby of this data needs.
    pub fn needs(&self) -> Option<&BTreeMap<String, u64>> {
        match self {
            Pgdata::Present(found) => Some(&found.needs),
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }
    }

    /// The process of its server, where that runs.
    pub fn postmaster(&self) -> Option<u32> {
        match self {
            Pgdata::Present(found) => found.postmaster,
            Pgdata::Empty | Pgdata::Foreign(_) => None,
        }
    }
}

/// A PostgreSQL data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataDirectory {
    pub major: u32,
    /// From `pg_controldata`.
    pub system_identifier: u64,
    pub control_version: u32,
    pub catalog_version: u32,
    /// `postmaster.pid` names a process that lives.
    pub postmaster: Option<u32>,
    /// Where that server listens.
    pub port: Option<u16>,
    /// `postmaster.pid` names this process, which is not its server: another PostgreSQL's, as after a crash or a boot.
    pub stale: Option<u32>,
    /// Of a server that does not run: why its last start failed, or what ended it, in the words of its log. `None` where it was
    /// stopped in order, or nobody can say.
    pub why_down: Option<String>,
    pub standby: bool,
    /// What of it is not its server's, or open to others: PostgreSQL does not start with it, or its keeper cannot write it.
    pub spoiled: Vec<String>,
    /// Settings that a standby with this data must not have lower, each with its primary's value. Source: pg_controldata.
    pub needs: BTreeMap<String, u64>,
    /// Managed files in it, by name: their text, or `None` where there is none.
    pub files: BTreeMap<String, Option<String>>,
    /// `postgresql-auto-failover-standby.conf`: it may hold the replication password.
    pub standby_conf: Option<Secret>,
}

impl DataDirectory {
    /// The words after `# muster: ` in `postgresql.conf`: whose data directory this is.
    pub fn mark(&self) -> Option<&str> {
        let text = self.files.get("postgresql.conf")?.as_deref()?;
        text.lines().next()?.strip_prefix(MARK)
    }
}

/// `$pgctl`, `$pgversion` (both may be empty), `$pgdata`: finds `$ctl`, empty where there is none.
/// Debian's and Ubuntu's layout, the RHEL family's, that of a build from source, then what PATH has.
/// The data directory's own version goes before the newest: packages may bring another one beside it.
pub const FIND: &str = r#"
ctl=$pgctl
if [ -z "$ctl" ]; then
  want=$pgversion best=0
  if [ -z "$want" ]; then read -r want 2>/dev/null <"$pgdata/PG_VERSION" || want=; fi
  for c in /usr/lib/postgresql/*/bin/pg_ctl /usr/pgsql-*/bin/pg_ctl; do
    v=${c#/usr/lib/postgresql/}; v=${v#/usr/pgsql-}; v=${v%%/*}; v=${v%%.*}
    case $v in ''|*[!0-9]*) continue ;; esac
    if [ ! -x "$c" ]; then continue; fi
    if [ "$v" = "$want" ]; then ctl=$c best=$v; break; fi
    if [ "$v" -gt "$best" ]; then ctl=$c best=$v; fi
  done
  if [ -z "$ctl" ] || [ "$best" != "${want:-$best}" ]; then
    for c in /usr/local/pgsql/bin/pg_ctl "$(command -v pg_ctl || :)"; do
      if [ ! -x "$c" ]; then continue; fi
      v=$("$c" --version 2>/dev/null) || v=
      v=${v#*) }; v=${v%%[!0-9]*}
      if [ -z "$ctl" ] || [ "$v" = "$want" ]; then ctl=$c; fi
      if [ "$v" = "$want" ]; then break; fi
    done
  fi
fi
"#;

/// Sets `$pid` and `$port` of the server that runs in `$pgdata`; `$stale` where the process of that number is none, or another
/// directory's: numbers are given again, after a boot the same as before. A server works in its data directory.
pub const POSTMASTER: &str = r#"
postmaster() {
  pid= port= stale=
  { read -r pid; read -r port; read -r port; read -r port; } 2>/dev/null <"$pgdata/postmaster.pid" || :
  case $pid in ''|*[!0-9]*) pid=; return ;; esac
  case $port in ''|*[!0-9]*) port=$pgport ;; esac
  if ! kill -0 "$pid" 2>/dev/null; then pid=; return; fi
  if readlink "/proc/$pid/cwd" >/dev/null 2>&1 && ! [ "/proc/$pid/cwd/." -ef "$pgdata/." ]; then stale=$pid pid=; fi
}
"#;

/// `$1` PGDATA, `$2` port, `$3` the process that is not its server. PostgreSQL starts beside no process of its own user that its
/// pid file names (`CreateLockFile`), and pg_ctl takes that one for the server.
const REMOVE_STALE: &str = r#"pgdata=$1 pgport=$2
postmaster
if [ "$stale" = "$3" ]; then rm -f -- "$pgdata/postmaster.pid"; fi
"#;

/// Takes away a pid file that names another's process.
pub fn remove_stale(server: &Server, pid: u32) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), format!("{POSTMASTER}{REMOVE_STALE}"))
        .args([server.pgdata.clone(), server.pgport.to_string(), pid.to_string()]);
    let because =
        format!("it names process {pid}, which is not its server's, and PostgreSQL does not start beside it");
    Step::new(&server.name, Op::RemoveStalePid, because, Action::Run(command))
}

/// Says which extensions could be created, from `$bin`, the directory of `pg_ctl`, and `$v`, its major version.
pub const EXTENSIONS: &str = r#"
extensions() {
  # A build from source; the RHEL family's packages, then those of its own releases; Debian's.
  share=
  for s in "$bin/../share/postgresql" "$bin/../share" "$bin/../share/pgsql" "${bin%/lib/postgresql/"$v"/bin}/share/postgresql/$v"; do
    if [ -z "$share" ] && [ -d "$s/extension" ]; then share=$s; fi
  done
  for x in citus pgautofailover pg_stat_statements btree_gist; do
    if [ -f "$share/extension/$x.control" ]; then
      say "extension.$x" "$(sed -n "s/^default_version *= *'\{0,1\}\([^' ]*\).*/\1/p" "$share/extension/$x.control" | head -n 1)"
    elif [ -n "$share" ]; then none "extension.$x"
    else blind "extension.$x" "no directory of extensions beside $bin"; fi
  done
}
"#;

/// After [`FIND`], [`EXTENSIONS`] and [`super::down::WHY_DOWN`]; `$pgdata`, `$files`: names of managed files in PGDATA.
pub const PROBE: &str = r#"
bin=
if [ -n "$ctl" ] && [ -x "$ctl" ]; then
  # pg_autoctl takes the directory of the path it is given: a link must be followed first.
  ctl=$(readlink -f "$ctl"); bin=${ctl%/*}
  say software.bin "$bin"
  v=$("$bin/pg_ctl" --version); v=${v#*) }; v=${v%%[!0-9]*}
  say software.version "$v"
  extensions
elif [ -n "$pgctl" ]; then blind software.bin "there is no program $pgctl"
else none software.bin; fi
a=$bin/pg_autoctl
if [ -n "$bin" ] && [ -x "$a" ] || a=$(command -v pg_autoctl); then
  # "pg_autoctl version 2.2-2", then "pg_autoctl extension version 2.2".
  set -- $("$a" --version 2>/dev/null)
  say software.pg_autoctl "$a ${7:-${3:-}}"
else none software.pg_autoctl; fi

pid= port= stale=
if [ -d "$pgdata" ] && ! { [ -r "$pgdata" ] && [ -x "$pgdata" ]; }; then blind pgdata "cannot read the directory $pgdata"
elif [ -d "$pgdata" ] && [ -f "$pgdata/PG_VERSION" ] && [ -f "$pgdata/global/pg_control" ]; then
  say pgdata present
  read -r l <"$pgdata/PG_VERSION"; say pgdata.version "$l"
  if [ -n "$bin" ]; then "$bin/pg_controldata" "$pgdata" 2>&1 | { printf 'pgdata.control:'; base64 -w0; echo; }; else none pgdata.control; fi
  postmaster
  if [ -n "$pid" ]; then say postmaster "$pid"; say postmaster.port "$port"; else none postmaster; none postmaster.port; fi
  why=
  if [ -z "$pid" ]; then why=$(why_down "$pgdata"); fi
  if [ -n "$why" ]; then say postmaster.why_down "$why"; else none postmaster.why_down; fi
  if [ -n "$stale" ]; then say postmaster.stale "$stale"; else none postmaster.stale; fi
  if [ -f "$pgdata/standby.signal" ]; then say pgdata.standby 1; else say pgdata.standby 0; fi
  for f in $files; do file "pgdata/$f" "$pgdata/$f"; done
  # Files of the user's beside them may be anybody's, as the key of a certificate that is root's.
  {
    u=$(id -un) l=$(stat -L -c %a "$pgdata")
    case $l in *[2367][0-7]|*[1-7]) echo "$pgdata has mode $l, with which PostgreSQL does not start: chmod 0700 it" ;; esac
    find "$pgdata" "$pgdata/log" -maxdepth 1 ! -user "$u" \( -name 'pg_*' -o -name 'postgresql*' -o -name base -o -name global -o -name log \
      -o -name PG_VERSION -o -name standby.signal \) -printf '%p belongs to %u: chown it to ' -exec echo "$u" \; 2>/dev/null | sort -u | head -n 3
    # A server that has no room for its next file of WAL, mostly of 16 MiB, ends.
    for f in "$pgdata/pg_wal" "$pgdata"; do
      l=$(df -Pk "$f" 2>/dev/null | { read -r l; read -r l; set -- $l; echo "${4:-}"; })
      case $l in
      ''|*[!0-9]*) ;;
      *) if [ "$l" -lt 16384 ]; then echo "$f has $((l / 1024)) MiB left on its disk: PostgreSQL ends where it cannot write its next 16 MiB of WAL; make room there"; break; fi ;;
      esac
    done
  } | { printf 'pgdata.spoiled:'; base64 -w0; echo; }
elif [ -d "$pgdata" ]; then
  l=$(ls -A "$pgdata" | head -n 5 | tr '\n' ' ')
  if [ -z "$l" ]; then say pgdata empty; else say pgdata foreign; printf '%s' "$l" | { printf 'pgdata.has:'; base64 -w0; echo; }; fi
elif [ -e "$pgdata" ] || [ -L "$pgdata" ]; then say pgdata foreign; say pgdata.has "a file, not a directory"
elif sees "$pgdata"; then say pgdata empty
else blind pgdata "cannot look into $d"; fi
# A server that has just stopped, or is just starting, is nobody else's: a port counts as another's that was open before
# postmaster.pid was read, and is after it. A server has that file as long as its port.
if [ -z "$pid" ]; then
  now=" $(listening)" both=
  for p in $ports; do case $now in *" $p "*) both="$both$p " ;; esac; done
  say listening "$both"
  # Whose it is, where that can be seen: a server of the same user, in the directory that it works in.
  printf 'servers:'
  case $both in *"$(printf '%04X' "$pgport")"*)
    for p in /proc/[0-9]*; do
      l=; read -r l 2>/dev/null <"$p/comm" || :
      case $l in postgres|postmaster) ;; *) continue ;; esac
      w=$(readlink "$p/cwd" 2>/dev/null) || continue
      { read -r l; read -r x; read -r x; read -r x; } 2>/dev/null <"$w/postmaster.pid" || continue
      if [ "$l" = "${p#/proc/}" ]; then printf '%s|%s\n' "$x" "$w"; fi
    done | base64 -w0 ;;
  esac
  echo
else say servers ''; fi
"#;

pub fn parse_software(answers: &Answers) -> Result<Option<Software>, String> {
    let Some(bin) = answers.text("software.bin")? else { return Ok(None) };
    let mut extensions = BTreeMap::new();
    for name in ["citus", "pgautofailover", "pg_stat_statements", "btree_gist"] {
        if let Some(version) = answers.text(&format!("extension.{name}"))? {
            extensions.insert(name.to_owned(), version);
        }
    }
    let pg_autoctl = answers.text("software.pg_autoctl")?.map(|both| {
        let (path, version) = both.split_once(' ').unwrap_or((&both, ""));
        (path.to_owned(), version.to_owned())
    });
    Ok(Some(Software { bin, major: answers.number("software.version")?, pg_autoctl, extensions }))
}

/// A number that is there or not.
fn optional<N: std::str::FromStr>(answers: &Answers, key: &str) -> Result<Option<N>, String> {
    match answers.get(key) {
        Answer::Absent => Ok(None),
        Answer::Text(_) | Answer::Blind(_) => answers.number(key).map(Some),
    }
}

pub fn parse(answers: &Answers, files: &[&str]) -> Result<Pgdata, String> {
    match answers.need("pgdata")?.as_str() {
        "empty" => return Ok(Pgdata::Empty),
        "foreign" => return Ok(Pgdata::Foreign(answers.need("pgdata.has")?.trim().to_owned())),
        _ => {}
    }
    let control = answers.need("pgdata.control")?;
    let field = |label: &str| -> Result<&str, String> {
        let found = control.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        let first = control.lines().next().unwrap_or_default();
        found.map(str::trim).ok_or_else(|| format!("pg_controldata does not tell \"{label}\": {first:.120}"))
    };
    let number = |label: &str| -> Result<u64, String> {
        field(label)?.parse().map_err(|_| format!("pg_controldata: \"{label}\" is not a number"))
    };
    let mut kept = BTreeMap::new();
    for name in files {
        kept.insert((*name).to_owned(), answers.text(&format!("pgdata/{name}"))?);
    }
    let standby_conf = kept.remove(STANDBY_CONF).flatten().map(Secret::new);
    let small = |value: u64| u32::try_from(value).map_err(|_| "pg_controldata: number too large".to_owned());
    Ok(Pgdata::Present(Box::new(DataDirectory {
        major: answers.number("pgdata.version")?,
        system_identifier: number("Database system identifier")?,
        control_version: small(number("pg_control version number")?)?,
        catalog_version: small(number("Catalog version number")?)?,
        postmaster: optional(answers, "postmaster")?,
        port: optional(answers, "postmaster.port")?,
        stale: optional(answers, "postmaster.stale")?,
        why_down: answers.told("postmaster.why_down"),
        standby: answers.flag("pgdata.standby")?,
        spoiled: answers.told_lines("pgdata.spoiled"),
        needs: STANDBY_NEEDS
            .iter()
            .filter_map(|setting| Some((setting.name.to_owned(), number(setting.in_control).ok()?)))
            .collect(),
        files: kept,
        standby_conf,
    })))
}

/// Where a node's own files lie: outside PGDATA, because pg_rewind and a re-clone bring another node's.
pub fn node_dir(server: &Server) -> String {
    format!("{}.node", server.pgdata)
}

/// Where a data directory is built before it is moved to PGDATA in one rename.
pub fn new_dir(server: &Server) -> String {
    format!("{}.muster-new", server.pgdata)
}

/// The first line of `postgresql.conf`.
pub fn mark(whose: &str) -> String {
    format!("{MARK}{whose}")
}

/// Why a data directory must not be made or touched here; `None` if it may.
pub fn refusal(server: &Server, found: &Pgdata, whose: &str, software: &Software) -> Option<String> {
    let pgdata = &server.pgdata;
    match found {
        Pgdata::Empty => None,
        Pgdata::Foreign(what) => Some(format!("{pgdata} holds foreign content ({what}); it is left alone")),
        Pgdata::Present(found) if found.mark() != Some(whose) => Some(match found.mark() {
            Some(other) => format!("{pgdata} belongs to {other}, not to {whose}; it is left alone"),
            None => format!(
                "{pgdata} holds a PostgreSQL data directory that muster did not make; it is left alone"
            ),
        }),
        Pgdata::Present(found) if found.major != software.major => Some(format!(
            "{pgdata} is of PostgreSQL {}, {} is of {}; install that version, or set pg_version or pgctl",
            found.major, software.bin, software.major
        )),
        Pgdata::Present(_) => None,
    }
}

/// Defines `lock`: one muster at a time builds a data directory; a dead owner's lock is taken over.
pub const LOCK: &str = r#"lock() {
  mkdir -p -- "${1%/*}"
  n=0
  until mkdir -- "$1" 2>/dev/null; do
    n=$((n + 1))
    if [ ! -d "$1" ]; then mkdir -- "$1" || exit 73; break; fi
    if [ "$n" -gt 600 ]; then echo "$1 is locked by process $(cat "$1/pid" 2>/dev/null)" >&2; exit 75; fi
    owner=$(cat "$1/pid" 2>/dev/null) || owner=
    if [ -n "$owner" ] && kill -0 "$owner" 2>/dev/null; then sleep 0.5
    elif [ -n "$owner" ] || [ "$n" -gt 3 ]; then rm -rf -- "$1"
    else sleep 0.3; fi
  done
  echo $$ >"$1/pid"
  locked=$1
  trap 'rm -rf -- "$locked"' EXIT
  trap 'exit 143' TERM HUP INT
}
"#;

/// `$1` bin, `$2` target, `$3` user, `$4` encoding, `$5` locale, then more options.
/// `initdb` itself rather than `pg_ctl initdb`, which would hand its options to a shell.
/// Local connections by peer, none from the network: `pg_hba.conf` is replaced before the first start.
/// Without fsync: everything is synced once, before the directory becomes PGDATA.
const INITDB: &str = r#"lock "$2.lock"
rm -rf -- "$2"
bin=$1 new=$2 user=$3 encoding=$4 locale=$5
shift 5
"$bin/initdb" -D "$new" -U "$user" -E "$encoding" --locale="$locale" "$@" --auth-local=peer --auth-host=reject --no-sync </dev/null >/dev/null
: >"$new/postgresql-auto-failover-standby.conf"
"#;

/// A data directory beside PGDATA.
pub fn initdb(server: &Server, software: &Software, user: &str, because: String) -> Step {
    let bin = software.bin.as_str();
    // From 18 on checksums are what initdb does by itself; before that there is no word for "without".
    let checksums = match (server.initdb.data_checksums, software.major) {
        (true, _) => Some("--data-checksums"),
        (false, 18..) => Some("--no-data-checksums"),
        (false, _) => None,
    };
    let command = Command::new(RunAs::User(server.os_user.clone()), format!("{LOCK}{INITDB}")).args([
        bin,
        &new_dir(server),
        user,
        &server.initdb.encoding,
        &server.initdb.locale,
    ]);
    let command = command.args(checksums);
    Step::new(&server.name, Op::Initdb { pgdata: server.pgdata.clone() }, because, Action::Run(command))
}

/// `$1` new, `$2` PGDATA. `rmdir` fails on a directory that is not empty: nothing is ever covered.
const INSTALL: &str = r#"sync -f "$1/PG_VERSION"
if [ -d "$2" ]; then rmdir -- "$2"; fi
chmod 0700 "$1"
mv -T -- "$1" "$2"
sync "${2%/*}"
"#;

/// Moves the finished data directory to PGDATA.
pub fn install(server: &Server) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), INSTALL)
        .args([new_dir(server), server.pgdata.clone()]);
    let op = Op::Install { pgdata: server.pgdata.clone() };
    Step::new(&server.name, op, "it is complete: configuration and rules are in it", Action::Run(command))
}

/// After [`WHY_DOWN`]: `$1` bin, `$2` PGDATA, `$3` start, stop or restart.
pub(super) const PG_CTL: &str = r#"case $3 in
start)
  if "$1/pg_ctl" -D "$2" status >/dev/null 2>&1; then exit 0; fi
  : >"$2/startup.log" ;;
stop) if ! "$1/pg_ctl" -D "$2" status >/dev/null 2>&1; then exit 0; fi ;;
esac
if "$1/pg_ctl" -D "$2" -w -t 300 -m fast -l "$2/startup.log" "$3" >/dev/null 2>"$2/.muster-pg_ctl" </dev/null; then rm -f "$2/.muster-pg_ctl"; exit 0; fi
# The cause first: the collector's log has it where there is one, else what the server said before. What it says of those whom it sends
# away while it stops is none.
l=$(why_down "$2")
if [ -n "$l" ]; then printf 'FATAL:  %s\n' "$l" >&2; fi
l=$(ls -t "$2/log" 2>/dev/null | head -n 1)
for f in "$2/startup.log" ${l:+"$2/log/$l"}; do
  grep -vE 'skipping missing configuration file|FATAL:  terminating ' "$f" 2>/dev/null | tail -n 15 >&2 || :
done
cat "$2/.muster-pg_ctl" >&2
rm -f "$2/.muster-pg_ctl"
exit 1
"#;

fn pg_ctl(server: &Server, bin: &str, verb: &str) -> Command {
    Command::new(RunAs::User(server.os_user.clone()), format!("{WHY_DOWN}{PG_CTL}")).args([
        bin,
        &server.pgdata,
        verb,
    ])
}

pub fn start(server: &Server, bin: &str, because: &str) -> Step {
    Step::new(&server.name, Op::Start, because, Action::Run(pg_ctl(server, bin, "start")))
}

pub fn stop(server: &Server, bin: &str, serving: Serving, because: &str) -> Step {
    Step::new(&server.name, Op::Stop { serving }, because, Action::Run(pg_ctl(server, bin, "stop")))
}

/// Whose data directory a node's is; the same for the whole group, as pg_rewind brings it along.
pub fn whose(formation: &str, node: &Node) -> String {
    format!("formation {formation}, group {}", node.group)
}
