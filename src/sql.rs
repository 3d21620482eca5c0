//! SQL and where it is asked: the text travels on psql's standard input, values are quoted here.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{MonitorUri, Node, Secret, Server, SslMode, Tls};
use crate::session::{ORDINARY, PSQL};

/// A string literal. Refuses nothing: PostgreSQL text has no NUL, and the inventory lets none through.
pub fn literal(text: &str) -> String {
    // `E''` only where a backslash makes it needed, so that plans stay readable.
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value of a libpq connection string: quoted when it is more than a word.
pub fn conninfo_value(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/*".contains(c);
    match !value.is_empty() && value.chars().all(plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
    }
}

/// psql on the host itself, over the local socket, as the superuser of that server.
/// `$1` bin directory, `$2` socket directory or empty, `$3` port, `$4` user, `$5` database.
const LOCAL: &str = r#"psql ${2:+-h "$2"} -p "$3" -U "$4" -d "$5" -f -
"#;

/// Asks the server on its own host. `sql` that holds a password is given as [`Stdin::Hidden`].
pub fn local(server: &Server, bin: &str, user: &str, dbname: &str, sql: Stdin) -> Command {
    let socket = server.pghost.clone().unwrap_or_default();
    Command::new(RunAs::User(server.os_user.clone()), format!("bin=$1\n{PSQL}{LOCAL}"))
        .args([bin.to_owned(), socket, server.pgport.to_string(), user.to_owned(), dbname.to_owned()])
        .stdin(sql)
}

/// As [`LOCAL`]; `$6` seconds, `$7` what to say where it takes longer.
fn local_script() -> String {
    let ask = r#"psql ${2:+-h "$2"} -p "$3" -U "$4" -d "$5" -f -"#;
    format!("bin=$1\n{PSQL}muster_within=$6\n{}", in_time(ask))
}

/// As [`REMOTE`]; `$6` seconds, `$7` what to say where it takes longer.
fn remote_script() -> String {
    let psql = r#""$1/psql" -XAtqw -v ON_ERROR_STOP=1 -h "$2" -p "$3" -U "$4" -d "$5" -f -"#;
    in_time(&format!("timeout --foreground -k 5 -s INT \"$6\" {psql}"))
}

/// Asks, and says `$7` where it took too long. A commit that waits for a standby cannot be bounded by a setting: a statement's
/// timeout ends before it begins to wait. A cancelled one gives up to wait, and has happened.
fn in_time(ask: &str) -> String {
    let told = r#"if [ "$ended" = 124 ]; then echo "ERROR: $7" >&2; fi
printf '%s\n' "$said" >&2
exit "$ended"
"#;
    format!("ended=0\nsaid=$({ask} 2>&1 >/dev/null) || ended=$?\n{told}")
}

/// As [`local`], for a statement that may wait for somebody: what is said where that takes longer than a command may.
pub fn local_within(
    server: &Server,
    bin: &str,
    user: &str,
    dbname: &str,
    sql: String,
    waits: &str,
) -> Command {
    let (within, waits) = within(server, waits);
    let command = local(server, bin, user, dbname, Stdin::Text(sql));
    Command { script: local_script().into(), ..command }.args([within, waits])
}

/// The seconds after which a statement is given up, before its command is: that would tell no reason, and leave it waiting.
fn within(server: &Server, waits: &str) -> (String, String) {
    let most = server.host.command_timeout;
    let seconds = most.saturating_sub(15).max(most / 2).max(1);
    (seconds.to_string(), format!("it did not end within {seconds} s: {waits}"))
}

/// Who logs in to a server over the network.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub user: &'a str,
    /// `None` where no password is wanted, or `~/.pgpass` has it.
    pub password: Option<&'a Secret>,
}

/// `$1` bin directory, `$2` host, `$3` port, `$4` user, `$5` database. The rest of the connection is environment.
const REMOTE: &str = r#"exec "$1/psql" -XAtqw -v ON_ERROR_STOP=1 -h "$2" -p "$3" -U "$4" -d "$5" -f -
"#;

/// As [`remote`], for a statement that may wait for somebody.
pub fn remote_within(from: &Server, command: Command, waits: &str) -> Command {
    let (within, waits) = within(from, waits);
    Command { script: remote_script().into(), ..command }.args([within, waits])
}

/// Asks another server from this one's host, with this one's idea of encryption.
pub fn remote(
    from: &Server,
    bin: &str,
    host: &str,
    port: u16,
    who: Login,
    dbname: &str,
    sql: String,
) -> Command {
    let command = Command::new(RunAs::User(from.os_user.clone()), REMOTE)
        .args([bin, host, &port.to_string(), who.user, dbname])
        .env("PGPASSWORD", &who.password.cloned().unwrap_or(Secret::new("")))
        .env("PGCONNECT_TIMEOUT", &Secret::new("5"))
        .env("PGOPTIONS", &Secret::new(ORDINARY))
        .env("PGSSLMODE", &Secret::new(from.tls.mode().as_str()));
    let (root, crl) = ssl_files(&from.tls);
    command
        .env("PGSSLROOTCERT", &Secret::new(root))
        .env("PGSSLCRL", &Secret::new(crl))
        .stdin(Stdin::Text(sql))
}

/// `sslrootcert` and `sslcrl` where the mode verifies, else nothing.
pub fn ssl_files(tls: &Tls) -> (&str, &str) {
    match tls.mode() >= SslMode::VerifyCa {
        true => (tls.ca().unwrap_or_default(), tls.crl().unwrap_or_default()),
        false => ("", ""),
    }
}

/// Defines `monitor`, which runs psql against the monitor; `$bin` must be set. The connection comes as
/// variables of names of its own, which are not exported: psql on the local socket and pg_ctl see none of it.
pub const MONITOR: &str = r#"monitor() {
  PGHOST=$MUSTER_HOST PGPORT=$MUSTER_PORT PGUSER=$MUSTER_USER PGDATABASE=$MUSTER_DBNAME \
  PGPASSWORD=$MUSTER_PASSWORD PGSSLMODE=${MUSTER_SSLMODE:-prefer} PGSSLROOTCERT=$MUSTER_SSLROOTCERT \
  PGSSLCRL=$MUSTER_SSLCRL PGCONNECT_TIMEOUT=5 PGOPTIONS=$MUSTER_OPTIONS "$bin/psql" -XAtqw -v ON_ERROR_STOP=1 "$@" -f -
}
"#;

/// The variables that [`MONITOR`] reads.
pub fn monitor_env(command: Command, uri: &MonitorUri) -> Command {
    let parameter = |key: &str| {
        let found = uri.parameters.iter().find(|(name, _)| name == key);
        Secret::new(found.map(|(_, value)| value.clone()).unwrap_or_default())
    };
    command
        .env("MUSTER_HOST", &Secret::new(&uri.host))
        .env("MUSTER_PORT", &Secret::new(uri.port.to_string()))
        .env("MUSTER_USER", &Secret::new(&uri.user))
        .env("MUSTER_DBNAME", &Secret::new(&uri.dbname))
        .env("MUSTER_PASSWORD", &uri.password.clone().unwrap_or(Secret::new("")))
        .env("MUSTER_SSLMODE", &parameter("sslmode"))
        .env("MUSTER_SSLROOTCERT", &parameter("sslrootcert"))
        .env("MUSTER_SSLCRL", &parameter("sslcrl"))
        .env("MUSTER_OPTIONS", &Secret::new(ORDINARY))
}

/// A statement for the monitor, sent from a node's host: it proves as well that the node reaches it.
pub fn on_monitor(node: &Node, bin: &str, uri: &MonitorUri, sql: String) -> Command {
    let script = format!("bin=$1\n{MONITOR}monitor\n");
    let command = Command::new(RunAs::User(node.server.os_user.clone()), script).args([bin]);
    monitor_env(command, &uri.seen_from(&node.server.tls)).stdin(Stdin::Text(sql))
}

/// sh functions by which a probe asks a server, and tells its answer from what psql says beside it. What is said is for
/// people: nothing is decided by its words, which differ with the server's language. `$bin`, `$pgdata`, `$pid`, `$pghost`,
/// `$pgport`, `$username`; the probe of the data directory defines `postmaster`, [`PSQL`] `psql`, [`MONITOR`] `monitor`.
///
/// How psql ended tells a connection that failed or broke (2) from SQL that did (3); `pg_isready` tells by SQLSTATE 57P03
/// a server that starts or stops (1) from one that takes logins (0) and from none (2). Sources: the manual's pages of both.
pub const ASKING: &str = r#"
nl='
'
sep=$(printf '\036')
warnings= unheard= till=
question() { q=$(cat); }
# Runs what asks, with $q on its standard input: $out is its answer, $err in one line what it said beside it, $rc its end.
hear() {
  all=$({ out=$(printf '%s\n' "$q" | "$@" 2>&3 3>&-); rc=$?; printf '%s%s%s%s' "$sep" "$rc" "$sep" "$out"; } 3>&1)
  out=${all##*"$sep"}; all=${all%"$sep"*}
  rc=${all##*"$sep"}
  err=$(printf '%s' "${all%"$sep"*}" | tr '\n' ' ')
  if [ "$rc" = 0 ] && [ -n "$err" ]; then warnings=$warnings$err$nl; fi
}
# One bound for all that a look waits for, in seconds from its first wait.
may_wait() {
  if [ -z "$till" ]; then till=$(($(date +%s) + $1)); fi
  if [ "$(date +%s)" -ge "$till" ]; then return 1; fi
  sleep 0.2
}
home() {
  (PGCONNECT_TIMEOUT=5; export PGCONNECT_TIMEOUT; psql ${pghost:+-h "$pghost"} -p "${port:-$pgport}" -U "$username" -d "$@" -f -)
}
# Asks the server of this host: $1 database, then options of psql. One that starts, stops or is restarted is waited for;
# where it is found to be stopped in the end, $pid is empty.
ask() {
  if [ -n "$unheard" ]; then rc=2 out= err=$unheard; return; fi
  again=1
  while :; do
    hear home "$@"
    if [ "$rc" = 0 ]; then return; fi
    "$bin/pg_isready" -q -t 3 ${pghost:+-h "$pghost"} -p "${port:-$pgport}" -U "$username" -d postgres 2>/dev/null
    case $? in
    1) ;;
    2)
      was=$pid
      postmaster
      if [ -z "$pid" ]; then await_postmaster; fi
      if [ -z "$pid" ]; then none postmaster; none postmaster.port; return; fi
      if [ "$pid" != "$was" ]; then say postmaster "$pid"; say postmaster.port "$port"; fi ;;
    *)
      if [ "$rc" != 2 ] || [ "$again" = 0 ]; then return; fi
      again=0 ;;
    esac
    if ! may_wait 20; then
      err="PostgreSQL of $pgdata (process $pid) takes no connections; look again when it does: $err"
      unheard=$err
      return
    fi
  done
}
# A server that is restarted is away for a moment.
await_postmaster() {
  n=0
  while [ -z "$pid" ] && [ "$n" -lt 10 ]; do sleep 0.2; n=$((n + 1)); postmaster; done
}
# The record $1 of an answer: JSON, or ~ for what is not there.
answered() {
  case $rc:$out in
  0:'{'*|0:'['*) printf '%s:' "$1"; printf '%s' "$out" | base64 -w0; echo ;;
  '0:~') none "$1" ;;
  0:*) blind "$1" "psql answered: $(printf '%s' "$out" | tr '\n' ' ')" ;;
  *) blind "$1" "psql: $err" ;;
  esac
}
# Asks the monitor as a node does, and waits for one that starts or stops; options of psql.
ask_monitor() {
  again=15
  while :; do
    hear monitor "$@"
    if [ "$rc" = 0 ]; then return; fi
    PGHOST=$MUSTER_HOST PGPORT=$MUSTER_PORT PGUSER=$MUSTER_USER PGDATABASE=$MUSTER_DBNAME "$bin/pg_isready" -q -t 5 2>/dev/null
    case $? in
    1) may_wait 20 || return ;;
    # Nobody there, as while it is restarted: for 3 s.
    2)
      if [ "$again" = 0 ]; then return; fi
      again=$((again - 1))
      may_wait 20 || return ;;
    *)
      if [ "$rc" != 2 ] || [ "$again" != 15 ]; then return; fi
      again=14
      may_wait 20 || return ;;
    esac
  done
}
"#;

/// After all questions: what servers warned of, a line each.
pub const WARNED: &str = r#"
printf 'warnings:'; printf '%s' "$warnings" | sort -u | base64 -w0; echo
"#;

impl MonitorUri {
    /// The URI as `pg_autoctl.cfg` holds it, password included.
    pub fn text(&self) -> Secret {
        let password =
            self.password.as_ref().map(|p| format!(":{}", percent(p.reveal()))).unwrap_or_default();
        let query: Vec<String> =
            self.parameters.iter().map(|(key, value)| format!("{key}={}", percent_value(value))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        Secret::new(format!(
            "postgres://{}{password}@{}:{}/{}{query}",
            percent(&self.user),
            uri_host(&self.host),
            self.port,
            percent(&self.dbname)
        ))
    }

    /// As a host with this idea of encryption uses it: the files that it verifies the formation's own monitor with are its
    /// own. A host that has none does not verify.
    pub fn seen_from(&self, tls: &Tls) -> MonitorUri {
        self.verified_with(tls.ca(), tls.crl())
    }

    /// The same with these files of whoever connects, where the formation's own monitor is verified.
    pub fn verified_with(&self, ca: Option<&str>, crl: Option<&str>) -> MonitorUri {
        let is_verified = |(key, mode): &(String, String)| {
            key == "sslmode" && SslMode::parse(mode).is_some_and(|mode| mode >= SslMode::VerifyCa)
        };
        if !self.is_own || !self.parameters.iter().any(is_verified) {
            return self.clone();
        }
        let mut parameters = self.parameters.clone();
        parameters.retain(|(key, _)| key != "sslrootcert" && key != "sslcrl");
        if ca.is_none() {
            let sslmode = parameters.iter_mut().find(|(key, _)| key == "sslmode");
            sslmode.into_iter().for_each(|(_, mode)| *mode = SslMode::Require.as_str().to_owned());
        }
        let files = [("sslrootcert", ca), ("sslcrl", crl)];
        parameters
            .extend(files.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path?.to_owned()))));
        MonitorUri { parameters, ..self.clone() }
    }

    /// The URI to show: the same without the password.
    pub fn shown(&self) -> String {
        MonitorUri { password: None, ..self.clone() }.text().reveal().to_owned()
    }
}

/// An address in a URI: IPv6 in brackets.
pub fn uri_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A part of a URI: whatever has a meaning there is encoded.
pub(crate) fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// As [`percent`], but paths stay readable.
pub(crate) fn percent_value(text: &str) -> String {
    percent(text).replace("%2F", "/")
}

/// `sslmode=… [sslrootcert=… [sslcrl=…]]` for a server's peers, as pg_autoctl writes it.
pub fn ssl_conninfo(tls: &Tls) -> String {
    let mut text = format!("sslmode={}", tls.mode().as_str());
    for (key, path) in tls.verified_with() {
        text.push_str(&format!(" {key}={}", conninfo_value(path)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_values() {
        assert_eq!(literal("'; drop table t; --"), "'''; drop table t; --'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(conninfo_value("it's"), r"'it\'s'");
        assert_eq!(conninfo_value("host1.example"), "host1.example");
    }

    /// A psql that is interrupted cancels its statement, and goes on to its end.
    #[test]
    fn a_statement_that_waits_too_long_says_what_for() {
        let bin = tempfile::tempdir().unwrap();
        let path = bin.path().join("psql");
        let psql = "#!/bin/sh\ncase $1 in --version) echo 'psql (PostgreSQL) 15'; exit;; esac\nread -r n\n\
            trap 'kill $!; echo WARNING: cancelled >&2; exit 0' INT\nsleep $n & wait\necho row\necho NOTICE >&2\n";
        std::fs::write(&path, psql).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let run = |script: &str, seconds: &str| {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &format!("set -eu\n{script}"), "muster"]);
            shell.args([&bin.path().display().to_string(), "", "5432", "u", "d", "1", "it waits"]);
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("in"), seconds).unwrap();
            let said = shell.stdin(std::fs::File::open(folder.path().join("in")).unwrap()).output().unwrap();
            (said.status.code(), String::from_utf8(said.stderr).unwrap())
        };
        for script in [local_script(), remote_script()] {
            let (code, said) = run(&script, "30\n");
            assert_eq!((code, said.as_str()), (Some(124), "ERROR: it waits\nWARNING: cancelled\n"));
            assert_eq!(run(&script, "0\n"), (Some(0), "NOTICE\n".to_owned()));
        }
    }

    /// libpq takes an empty PGSSLMODE for a wrong one.
    #[test]
    fn a_uri_without_sslmode_is_as_libpq_has_it() {
        let psql = "psql() { echo \"$PGSSLMODE\"; }\n";
        let script = format!("{psql}{}monitor", MONITOR.replace("\"$bin/psql\"", "psql"));
        for (given, is) in [("", "prefer"), ("verify-full", "verify-full")] {
            let mut shell = std::process::Command::new("sh");
            let said = shell.args(["-c", &script]).env("MUSTER_SSLMODE", given).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), is);
        }
    }

    #[test]
    fn a_uri_is_written_as_it_was_read() {
        let uri = MonitorUri {
            host: "mon".into(),
            port: 5432,
            user: "autoctl_node".into(),
            password: Some(Secret::new("p@ss/w")),
            dbname: "pg_auto_failover".into(),
            parameters: vec![
                ("sslmode".into(), "require".into()),
                ("sslrootcert".into(), "/etc/ca.crt".into()),
            ],
            given_as: crate::formation::MONITOR_VARIABLE,
            is_own: false,
        };
        let query = "sslmode=require&sslrootcert=/etc/ca.crt";
        assert_eq!(
            uri.text().reveal(),
            format!("postgres://autoctl_node:p%40ss%2Fw@mon:5432/pg_auto_failover?{query}")
        );
        assert_eq!(uri.shown(), format!("postgres://autoctl_node@mon:5432/pg_auto_failover?{query}"));
    }
}
