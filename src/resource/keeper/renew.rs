//! How a `pg_autoctl` that lives takes in another `pg_autoctl.cfg`, without a word to any process that is not meant.
//!
//! `pg_autoctl reload` is never called: where PostgreSQL ran before the keeper, its service for PostgreSQL knows no pid, and
//! its signal goes to every process of that user. A hangup of the keeper's own service changes a few keys; with it the
//! service writes the file anew, and every other key has its old value again. What it does not change is read when that
//! service starts: it is ended, and pg_autoctl starts it anew within a second. PostgreSQL runs on, and the monitor, which
//! waits for 20 seconds, sees nothing of it.
//!
//! A service whose PostgreSQL does not run hears a hangup, writes the file anew, and goes on with the monitor that it had: it is ended, too.
//! Source: keeper_ensure_configuration, 2.0 to 2.2. One that starts and does not reach the monitor ends again, for the sixth time with
//! pg_autoctl and PostgreSQL: the monitor is asked first, by what the file says.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::formation::Server;
use crate::op::{Op, Service, Way};
use crate::resource::data::Software;
use crate::resource::keeper::files::{Ini, has_password, parse_ini};
use crate::step::{Action, Step};
use crate::trial::{TRIAL, TRIED};

/// The first line of a file that pg_autoctl has not read yet. A service that has read the file writes it anew, and
/// comments are gone: that is how a rerun knows whether it has.
pub(super) const UNREAD: &str = "# muster: pg_autoctl has not read this yet";

/// The keys that a hangup of `node-active` or `listener` takes in.
/// Source: keeper_config_accept_new, monitor_config_accept_new and config_accept_new_ssloptions, 2.0 to 2.2.
const BY_HANGUP: &[(&str, &str)] = &[
    ("pg_autoctl", "monitor"),
    ("pg_autoctl", "name"),
    ("pg_autoctl", "hostname"),
    ("ssl", "active"),
    ("ssl", "sslmode"),
    ("ssl", "ca_file"),
    ("ssl", "crl_file"),
    ("ssl", "cert_file"),
    ("ssl", "key_file"),
    ("replication", "maximum_backup_rate"),
    ("replication", "backup_directory"),
    ("timeout", "network_partition_timeout"),
    ("timeout", "prepare_promotion_catchup"),
    ("timeout", "prepare_promotion_walreceiver"),
    ("timeout", "postgresql_restart_failure_timeout"),
    ("timeout", "postgresql_restart_failure_max_retries"),
];

/// The keys that muster writes for some servers and not for others: one that the inventory no longer has goes away.
/// Whatever else only the file has is the keeper's own: it writes down what it finds, e.g. where the socket of a
/// running server is (`host`). A password is in `~/.pgpass`: one that is here, too, a standby would go on using.
/// Source: what write_ini_to_stream leaves out where it is empty, 2.0 to 2.2.
const MAY_LEAVE: &[(&str, &str)] = &[
    ("ssl", "ca_file"),
    ("ssl", "crl_file"),
    ("ssl", "cert_file"),
    ("ssl", "key_file"),
    ("replication", "password"),
    ("citus", "cluster_name"),
];

/// The keys by which the service `postgres` starts PostgreSQL; it reads them at its own start.
/// Source: service_postgres_start, 2.0 to 2.2.
const OF_POSTGRES: &[(&str, &str)] =
    &[("postgresql", "pg_ctl"), ("postgresql", "port"), ("postgresql", "listen_addresses")];

/// A key of the file: section and name.
pub(super) type Key = (String, String);

/// The keys whose values differ, among those that `wanted` has, and those of muster's that it has no longer.
pub(super) fn changed(found: &str, wanted: &str) -> BTreeSet<Key> {
    let (found, wanted) = (parse_ini(found), parse_ini(wanted));
    let value = |ini: &Ini, (section, key): &Key| ini.get(section).and_then(|keys| keys.get(key)).cloned();
    let keys =
        wanted.iter().flat_map(|(section, keys)| keys.keys().map(|key| (section.clone(), key.clone())));
    let may_leave = MAY_LEAVE.iter().map(|(section, key)| ((*section).to_owned(), (*key).to_owned()));
    keys.chain(may_leave).filter(|key| value(&found, key) != value(&wanted, key)).collect()
}

/// The wanted file while TLS has to stay on though it is to end; `None` where it is off, or stays.
pub(super) fn with_tls_still(found: &str, wanted: &str) -> Option<String> {
    const OFF: &str = "[ssl]\nactive = 0\n";
    let ini = parse_ini(found);
    let ssl = ini.get("ssl").filter(|ssl| ssl.get("active").is_some_and(|active| active == "1"))?;
    wanted.contains(OFF).then(|| {
        let files = ["cert_file", "key_file"].map(|key| match ssl.get(key) {
            Some(path) => format!("{key} = {path}\n"),
            None => String::new(),
        });
        wanted.replace(OFF, &format!("[ssl]\nactive = 1\n{}", files.concat()))
    })
}

/// A pg_autoctl that lives, and what is beside it.
pub(super) struct Living<'a> {
    pub(super) pid: u32,
    pub(super) software: &'a Software,
    /// Whether PostgreSQL runs.
    pub(super) serves: bool,
}

/// A service `node-active` that reports no more, beside a server that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// No program of its runs.
    Nothing,
    /// It has started PostgreSQL by itself, and that has ended: it asks after that one for ever, and hears no order to end.
    /// Source: postgres_maybe_do_crash_recovery, 2.0 to 2.2.
    ForAnEndedServer,
}

/// The step by which a living pg_autoctl takes in `keys` of the file at `path`; `None` for keys that a run before this
/// one changed: then it is not known which they were.
pub(super) fn step(
    server: &Server,
    living: &Living,
    service: Service,
    path: &str,
    keys: Option<&BTreeSet<Key>>,
    (before, after): (&str, &str),
) -> Step {
    let is_in = |table: &[(&str, &str)], (section, key): &Key| table.contains(&(section, key));
    let is_told = [before, after].into_iter().any(has_password);
    let by_hangup = |key: &Key| {
        is_in(BY_HANGUP, key) && !(is_told && (key.0.as_str(), key.1.as_str()) == ("pg_autoctl", "monitor"))
    };
    let way = match keys {
        Some(keys) if living.serves && keys.iter().all(by_hangup) => Way::Hangup,
        Some(_) | None => Way::Restart,
    };
    let starts_postgres = service == Service::NodeActive
        && keys.is_none_or(|keys| keys.iter().any(|key| is_in(OF_POSTGRES, key)));
    let because = match keys {
        None => "it has not read its configuration since that was changed".to_owned(),
        Some(_) if before.is_empty() => "its configuration was gone".to_owned(),
        Some(keys) => {
            let names: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
            format!("its configuration changed in {}", names.join(", "))
        }
    };
    let word = match way {
        Way::Hangup => "hangup",
        Way::Restart if starts_postgres => "restart-both",
        Way::Restart => "restart",
    };
    let names: BTreeSet<&str> = keys.into_iter().flatten().map(|(_, key)| key.as_str()).collect();
    let command = told(server, living, service, path, word).args(names);
    Step::new(&server.name, Op::Renew { way, service }, because, Action::Run(command))
}

/// The step by which one that reports no more begins anew.
pub(super) fn begin_anew(server: &Server, living: &Living, path: &str, idle: Idle, silence: &str) -> Step {
    let (word, why) = match idle {
        Idle::Nothing => ("restart", "it runs no program, and its PostgreSQL does not run"),
        Idle::ForAnEndedServer => {
            ("kill", "it waits for a PostgreSQL that it has started and that has ended, and would for ever")
        }
    };
    let service = Service::NodeActive;
    let command = told(server, living, service, path, word);
    let op = Op::Renew { way: Way::Restart, service };
    Step::new(&server.name, op, format!("{silence}: {why}"), Action::Run(command))
}

fn told(server: &Server, living: &Living, service: Service, path: &str, word: &str) -> Command {
    let Living { pid, software, .. } = living;
    let pg_autoctl = software.pg_autoctl.as_ref().map_or("", |(path, _)| path.as_str());
    Command::new(RunAs::User(server.os_user.clone()), format!("{TRIAL}{TRIED}{TAKE_IN}"))
        .args([pid.to_string(), server.pgdata.clone(), path.to_owned(), service.as_str().to_owned()])
        .args([word, UNREAD, pg_autoctl, &software.bin, server.pghost.as_deref().unwrap_or_default()])
        .timeout(300)
}

/// After [`TRIAL`] and [`TRIED`]. `$1` pid of pg_autoctl, `$2` PGDATA, `$3` its file, `$4` service, `$5` hangup, restart, restart-both or kill, `$6` the
/// mark, `$7` pg_autoctl, `$8` bin, `$9` socket directory or empty, then the keys that changed. A pid is signalled only while it is pg_autoctl's child and goes by the service's name.
///
/// pg_autoctl gives up, and PostgreSQL with it, when one of its services starts for the sixth time in 300 seconds (supervisor.c):
/// a service that has been restarted before is left alone until it is 61 seconds old.
const TAKE_IN: &str = r#"keeper=$1 pids=/tmp/pg_autoctl$2/pg_autoctl.pid d=$2 file=$3 service=$4 how=$5 mark=$6 pg_autoctl=$7 bin=$8 socket=$9
shift 9
fail() { echo "$1" >&2; exit 1; }
stat() {
  s=
  { read -r s <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${s##*")"}
  parent=$2; shift 19; start=$1
}
is_service() {
  stat "$1" && [ "$parent" = "$keeper" ] || return 1
  case "$2 $(tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null) " in
  "node-active "*pg_autoctl*" node active "* | "node-active "*pg_autoctl*" service node-active "*) ;;
  "listener "*pg_autoctl*" monitor listener "* | "listener "*pg_autoctl*" service listener "*) ;;
  "postgres "*pg_autoctl*" start/stop postgres "* | "postgres "*pg_autoctl*" service postgres "*) ;;
  *) return 1 ;;
  esac
}
# The pid file's word; where it is not this keeper's, e.g. as it lies elsewhere, every process is looked at.
pid_of() {
  if [ "$(head -n 1 "$pids" 2>/dev/null)" = "$keeper" ]; then all=$(sed -n "s/^\([0-9][0-9]*\) $1\$/\1/p" "$pids")
  else all=$(cd /proc && ls -d [0-9]*); fi
  for p in $all; do
    if is_service "$p" "$1"; then echo "$p"; return; fi
  done
}
values() { for k; do grep "^ *$k *=" "$file" | sed 's/^ *//; s/ *= */ = /' || :; done; }
is_unread() { [ "$(head -n 1 "$file")" = "$mark" ]; }
tick=$(getconf CLK_TCK 2>/dev/null) || tick=100
restart() {
  stat "$keeper" || fail "pg_autoctl has ended"
  born=$start
  while :; do
    old=$(pid_of "$1")
    [ -n "$old" ] && stat "$old" || fail "pg_autoctl has no process for its service $1 now; apply again"
    read -r up _ </proc/uptime
    [ $((start - born)) -gt $((5 * tick)) ] && [ $((${up%.*} - start / tick)) -le 61 ] || break
    sleep 1
  done
  kill -s "$2" "$old"
  n=0
  until new=$(pid_of "$1") && [ -n "$new" ] && [ "$new" != "$old" ]; do
    n=$((n + 1))
    [ "$n" -le 300 ] || fail "the keeper's service $1 is busy and has not ended in 60 s: it will when its transition is done; apply again then"
    sleep 0.2
  done
}
serves() { read -r pid 2>/dev/null <"$d/postmaster.pid" && kill -0 "$pid" 2>/dev/null; }
# Whether the monitor answers who asks by what the file says: a service that starts needs its word.
is_heard() {
  for v in XDG_CONFIG_HOME XDG_DATA_HOME; do
    l=$({ tr '\0' '\n' <"/proc/$keeper/environ"; } 2>/dev/null | sed -n "s/^$v=//p" | head -n 1)
    if [ -n "$l" ]; then export "$v=$l"; fi
  done
  n=0
  until l=$(timeout 5 "$pg_autoctl" show state --pgdata "$d" --json 2>&1); do
    n=$((n + 1))
    # Its first error has the reason; it hides passwords.
    l=$(printf '%s\n' "$l" | sed -n '/ ERROR /!d; s/^[0-9:]* [0-9]* [A-Z]* *//p; q')
    [ "$n" -le 10 ] || fail "the monitor does not answer who asks as $file says (${l:-no word in 5 seconds}): the keeper's service would not start again, so it goes on as it is"
    sleep 1
  done
}
wanted=$(values "$@")
if [ "$service" = node-active ]; then
  # It would take in half of it, and go on with the monitor that it had.
  if [ "$how" = hangup ] && ! serves; then how=restart; fi
  if [ "$how" != hangup ]; then is_heard; fi
fi
case $how in
hangup)
  p=$(pid_of "$service")
  [ -n "$p" ] || fail "pg_autoctl has no process for its service $service now; apply again"
  kill -s HUP "$p"
  ;;
restart | restart-both)
  # It only starts PostgreSQL and looks after it: told to end it would stop PostgreSQL first.
  if [ "$how" = restart-both ]; then restart postgres KILL; fi
  restart "$service" TERM
  ;;
kill)
  status=0
  said=$(tried) || status=$?
  if [ "$status" = 3 ]; then fail "PostgreSQL would not start, so the keeper's service would wait for it again: $said"; fi
  restart "$service" KILL
  ;;
esac
n=0 m=0
while :; do
  if is_unread; then
    n=$((n + 1))
    [ "$n" -le 300 ] || fail "the keeper has not read $file in 60 s: see its log"
  elif [ "$(values "$@")" = "$wanted" ]; then break
  else
    # It writes in place: what is read meanwhile may be half of it.
    m=$((m + 1))
    [ "$m" -le 25 ] || fail "the keeper has not taken in every one of $*: see its log, and compare $file"
  fi
  sleep 0.2
done
if [ "$how" = hangup ] && [ "$service" = node-active ]; then
  # A standby may be restarted by it.
  n=0
  until serves || [ "$n" -ge 50 ]; do n=$((n + 1)); sleep 0.2; done
  if ! serves; then is_heard; restart "$service" TERM; fi
fi
if [ "$service" = listener ]; then sleep 1; fi
[ -n "$(pid_of "$service")" ] || fail "the keeper's service $service does not stay: see its log"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "[pg_autoctl]\nmonitor = postgres://autoctl_node@mon/x\n[postgresql]\nauth_method = md5\npg_ctl = /a\n\
        [replication]\nmaximum_backup_rate = 100M\n";

    fn word(change: (&str, &str), service: Service, serves: bool) -> (String, String) {
        let text = include_str!("../../../inventory/lab.yml");
        let formation = crate::inventory::parse("lab.yml", text, "inventory".as_ref()).expect("it is right");
        let server = formation.servers().next().expect("it has servers");
        let after = BEFORE.replace(change.0, change.1);
        let keys = changed(BEFORE, &after);
        let (bin, extensions) = ("/bin".to_owned(), Default::default());
        let software = Software { bin, major: 15, pg_autoctl: None, extensions };
        let living = Living { pid: 7, software: &software, serves };
        let step = step(server, &living, service, "/cfg", Some(&keys), (BEFORE, &after));
        let Action::Run(command) = step.action else { panic!("it runs a command") };
        (step.op.title(), command.args[4].clone())
    }

    #[test]
    fn keys_that_a_keeper_adds_are_no_drift() {
        assert_eq!(changed("[a]\nx = 1\ny=2\n", "[a]\nx = 1\n"), BTreeSet::new());
        let x = |section: &str| BTreeSet::from([(section.to_owned(), "x".to_owned())]);
        assert_eq!(changed("[a]\nx = 2\n", "[a]\nx = 1\n"), x("a"));
        assert_eq!(changed("[b]\nx = 1\n", "[a]\nx = 1\n"), x("a"));
    }

    #[test]
    fn keys_of_musters_that_the_inventory_has_no_longer_go_away() {
        let key = |section: &str, key: &str| BTreeSet::from([(section.to_owned(), key.to_owned())]);
        let wanted = "[ssl]\nactive = 1\n[replication]\nmaximum_backup_rate = 1M\n";
        let with = |section: &str, line: &str| {
            let head = format!("[{section}]\n");
            changed(&wanted.replace(&head, &format!("{head}{line}\n")), wanted)
        };
        assert_eq!(with("ssl", "ca_file = /ca"), key("ssl", "ca_file"));
        assert_eq!(with("ssl", "crl_file = /crl"), key("ssl", "crl_file"));
        assert_eq!(with("replication", "password = old"), key("replication", "password"));
        // What a keeper has found out by itself, and what another section has by that name.
        assert_eq!(with("replication", "backup_directory = /b"), BTreeSet::new());
        assert_eq!(with("replication", "ca_file = /ca"), BTreeSet::new());
    }

    #[test]
    fn what_a_hangup_does_not_change_is_read_at_a_start() {
        let is = |change, title: &str, how: &str| {
            assert_eq!(
                word(change, Service::NodeActive, true),
                (title.to_owned(), how.to_owned()),
                "{change:?}"
            );
        };
        let restart = "restart the keeper's service node-active";
        is(("100M", "1M"), "reload the keeper", "hangup");
        is(("@mon/", "@mon2/"), "reload the keeper", "hangup");
        is(("= md5", "= scram-sha-256"), restart, "restart");
        is(("= /a", "= /b"), restart, "restart-both");
        // A keeper writes both URIs to its log when it hears a hangup.
        is(("autoctl_node@", "autoctl_node:pw@"), restart, "restart");
        // A monitor's PostgreSQL is its pg_autoctl's own child: that of another would be restarted.
        assert_eq!(word(("= /a", "= /b"), Service::Listener, true).1, "restart");
        // It writes the file anew, and goes on with the monitor that it had.
        let told = word(("@mon/", "@mon2/"), Service::NodeActive, false);
        assert_eq!(told, (restart.to_owned(), "restart".to_owned()));
    }
}
