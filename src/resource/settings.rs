//! `postgresql.conf` and the files it includes: the keeper's own, byte for byte, and muster's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::error::Problem;
use crate::formation::{Auth, Node, NodeKind, Server, Tls};
use crate::op::Op;
use crate::resource::citus::RECOVERY_END_COMMAND;
use crate::resource::data::{mark, node_dir};
use crate::resource::host::HostFacts;
use crate::resource::replication::Upstream;
use crate::resource::{tls, unconfirmed};
use crate::session::PSQL;
use crate::sql::ssl_conninfo;
use crate::step::{Action, Ask, Check, Content, File, Risk, Running, Step, Trial};
use crate::template::{Templates, guc_quoted};
use crate::undo;

/// Files in PGDATA that muster renders, and the keeper's.
pub const FILES: [&str; 6] = [
    "postgresql.conf",
    "pg_hba.conf",
    "pg_ident.conf",
    "postgresql-auto-failover.conf",
    "postgresql-auto-failover-standby.conf",
    "postgresql.auto.conf",
];

/// Source: DEFAULT_SSL_CIPHERS in src/bin/pg_autoctl/defaults.h, 2.0 to 2.2.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:\
ECDHE-RSA-AES256-SHA384";

/// `postgresql-auto-failover.conf` as pg_autoctl 2.0 to 2.2 writes it: a keeper compares it byte by byte.
///
/// Sources: primary_standby.c (the table), pgctl.c (`prepare_guc_settings_from_pgsetup`), pgtuning.c.
pub fn auto_failover_conf(server: &Server, node: Option<&Node>, host: &HostFacts) -> String {
    let citus = node.is_some_and(|node| node.kind != NodeKind::Standalone);
    let mut text = String::from("# Settings by pg_auto_failover\n");
    let mut set = |name: &str, value: &str| text.push_str(&format!("{name} = {value}\n"));
    let quoted = |value: &str| format!("'{value}'");
    match node {
        Some(_) => set("shared_preload_libraries", "pg_stat_statements"),
        None => {
            set("shared_preload_libraries", "'pgautofailover'");
            set("cluster_name", "'pg_auto_failover monitor'");
        }
    }
    set("listen_addresses", &quoted(&server.listen));
    set("port", &server.pgport.to_string());
    if node.is_some() {
        for (name, value) in [
            ("max_wal_senders", "12"),
            ("max_replication_slots", "12"),
            ("wal_level", "'replica'"),
            ("wal_log_hints", "on"),
            ("wal_sender_timeout", "'30s'"),
            ("hot_standby_feedback", "on"),
            ("hot_standby", "on"),
            ("synchronous_commit", "on"),
            ("logging_collector", "on"),
            ("log_destination", "stderr"),
        ] {
            set(name, value);
        }
    } else {
        set("log_destination", "stderr");
        set("logging_collector", "on");
    }
    for (name, value) in [
        ("log_directory", "log"),
        ("log_min_messages", "info"),
        ("log_connections", "off"),
        ("log_disconnections", "off"),
        ("log_lock_waits", "on"),
    ] {
        set(name, value);
    }
    if node.is_none() {
        set("log_statement", "ddl");
    }
    match server.auth {
        Auth::Md5 | Auth::ScramSha256 => set("password_encryption", &quoted(server.auth.as_str())),
        Auth::Other(ref method) if method == "password" => set("password_encryption", "'scram-sha-256'"),
        Auth::Trust | Auth::Cert | Auth::Other(_) => {}
    }
    set("ssl", if server.tls == Tls::Off { "off" } else { "on" });
    for (name, path) in [("ssl_ca_file", server.tls.ca()), ("ssl_crl_file", server.tls.crl())] {
        if let Some(path) = path {
            set(name, &quoted(path));
        }
    }
    if let Some((certificate, key)) = tls::paths(server) {
        set("ssl_cert_file", &quoted(&certificate));
        set("ssl_key_file", &quoted(&key));
    }
    set("ssl_ciphers", &quoted(CIPHERS));
    if node.is_some() {
        set("wal_keep_size", "'8 GB'");
    }
    if let (true, Some(node)) = (citus, node) {
        set("shared_preload_libraries", "'citus,pg_stat_statements'");
        set("wal_level", "logical");
        set("citus.node_conninfo", &quoted(&ssl_conninfo(&server.tls)));
        if let Some(cluster) = &node.citus_cluster {
            set("citus.cluster_name", &quoted(cluster));
            set("citus.use_secondary_nodes", "'always'");
        }
        set("citus.local_hostname", &quoted(&server.hostname));
    }
    text.push_str(&tuning(host));
    text
}

/// The port in a keeper's file.
pub fn port(found: &str) -> Option<&str> {
    found.lines().find_map(|line| line.strip_prefix("port = "))
}

/// What turns TLS off, with TLS still on: who has been told to ask for it would be refused. `None` where it is not on, or
/// stays so.
pub fn with_tls_still(found: &str, wanted: &str) -> Option<String> {
    let is_tls = |line: &&str| line.starts_with("ssl") && !line.starts_with("ssl_ciphers");
    let (on, off) = ("ssl = on", "ssl = off\n");
    if !found.lines().any(|line| line == on) || !wanted.contains(off) {
        return None;
    }
    let still: String = found.lines().filter(is_tls).map(|line| format!("{line}\n")).collect();
    Some(wanted.replacen(off, &still, 1))
}

/// What has a node ask its Citus peers for more, with what it asks for now: those whose certificate is no such yet would be
/// given up. `None` where it asks for no more than now.
pub fn with_peers_still(found: &str, wanted: &str) -> Option<String> {
    let line =
        |text: &str| text.lines().find(|line| line.starts_with("citus.node_conninfo = ")).map(str::to_owned);
    let mode = |line: &str| {
        let word = line.split(['\'', ' ']).find_map(|word| word.strip_prefix("sslmode="))?;
        crate::formation::SslMode::parse(word)
    };
    let (now, then) = (line(found)?, line(wanted)?);
    let verifies = mode(&then)? >= crate::formation::SslMode::VerifyCa;
    (verifies && mode(&now)? < mode(&then)?).then(|| wanted.replacen(&then, &now, 1))
}

fn tuning(host: &HostFacts) -> String {
    const GB: u64 = 1 << 30;
    const MB: u64 = 1 << 20;
    let (buffers, work, maintenance) = match host.memory {
        memory if memory <= 8 * GB => (memory / 4, 16 * MB, 256 * MB),
        memory if memory <= 64 * GB => (memory / 4, 24 * MB, 512 * MB),
        memory if memory <= 256 * GB => (16 * GB, 32 * MB, GB),
        _ => (32 * GB, 64 * MB, 2 * GB),
    };
    let workers = match host.cpus {
        ..16 => 3,
        16..24 => 4,
        24..32 => 6,
        32..48 => 8,
        48..64 => 12,
        64.. => 16,
    };
    format!(
        "\n# basic tuning computed by pg_auto_failover\ntrack_functions = pl\nshared_buffers = '{}'\nwork_mem = '{}'\n\
         maintenance_work_mem = '{}'\neffective_cache_size = '{}'\nautovacuum_max_workers = {workers}\n\
         autovacuum_vacuum_scale_factor = 0.08\nautovacuum_analyze_scale_factor = 0.02\n\n",
        pretty(buffers),
        pretty(work),
        pretty(maintenance),
        pretty(host.memory - buffers)
    )
}

/// Source: pretty_print_bytes in system_utils.c, which keeps five digits before it takes the next unit.
fn pretty(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut count = bytes as f64;
    let mut unit = 0;
    while count >= 10240.0 && unit < units.len() - 1 {
        count /= 1024.0;
        unit += 1;
    }
    format!("{} {}", count as u64, units[unit])
}

/// `postgresql-auto-failover-standby.conf`: whom a standby follows. A password is not in it: PostgreSQL finds
/// that in `~/.pgpass`, and a keeper would write one with a quote or a space in a way that nothing can read.
pub fn standby_conf(node: &Node, node_id: u64, primary: Upstream) -> String {
    let name = format!("pgautofailover_standby_{node_id}");
    let conninfo = format!(
        "application_name={name} host={} port={} user=pgautofailover_replicator {}",
        primary.host,
        primary.port,
        ssl_conninfo(&node.server.tls)
    );
    format!(
        "# Settings by pg_auto_failover\nprimary_conninfo = '{}'\nprimary_slot_name = '{name}'\n\
         recovery_target_timeline = 'latest'\n",
        conninfo.replace('\\', "\\\\").replace('\'', "''")
    )
}

/// The node's own file, outside PGDATA.
pub const PROBE: &str = r#"
file node.conf "$pgdata.node/node.conf"
"#;

/// What belongs to one node and overrides what pg_rewind may bring of another's.
pub fn node_conf(node: &Node) -> Option<String> {
    if node.kind == NodeKind::Standalone {
        return None;
    }
    let mut text = String::from("# Rendered by muster: this node's own settings.\n");
    text.push_str(&format!("citus.local_hostname = {}\n", guc_quoted(&node.server.hostname)));
    text.push_str(&format!("citus.cluster_name = {}\n", guc_quoted(node.cluster())));
    let readers = if node.is_reader() { "always" } else { "never" };
    text.push_str(&format!("citus.use_secondary_nodes = '{readers}'\n"));
    let own = node.server.settings.contains_key("recovery_end_command");
    if node.kind == NodeKind::Coordinator && !node.is_reader() && !own {
        text.push_str(&format!("recovery_end_command = '{RECOVERY_END_COMMAND}'\n"));
    }
    Some(text)
}

#[derive(Serialize)]
struct Context<'a> {
    mark: String,
    locale: &'a str,
    settings: BTreeMap<String, String>,
    node_conf: String,
    formation: &'a str,
    group: Option<u32>,
    kind: &'a str,
    pgdata: &'a str,
    port: u16,
}

/// `postgresql.conf`, the same for the whole group.
pub fn postgresql_conf(
    templates: &Templates,
    formation: &str,
    whose: &str,
    server: &Server,
    node: Option<&Node>,
) -> Result<String, Problem> {
    let settings = wanted(server, node);
    let text = templates.render(
        "postgresql.conf.j2",
        &Context {
            mark: mark(whose),
            locale: &server.initdb.locale,
            settings,
            node_conf: format!("{}/node.conf", node_dir(server)),
            formation,
            group: node.map(|node| node.group),
            kind: node.map_or("monitor", |node| node.kind.as_str()),
            pgdata: &server.pgdata,
            port: server.pgport,
        },
    )?;
    // A template of the user's must not lose what standbys, keepers and Citus are built on.
    if text.lines().next() != Some(mark(whose).as_str()) {
        return Err(Problem::new("template postgresql.conf.j2 does not begin with {{ mark }}")
            .hint("the first line tells muster whose data directory it is: keep `{{ mark }}` on line 1"));
    }
    let must = [
        "include 'postgresql-auto-failover-standby.conf' # Auto-generated by pg_auto_failover, do not remove"
            .to_owned(),
        "include 'postgresql-auto-failover.conf' # Auto-generated by pg_auto_failover, do not remove"
            .to_owned(),
        format!("include_if_exists = {}", crate::template::guc(&format!("{}/node.conf", node_dir(server)))),
    ];
    for line in &must {
        if !text.lines().any(|found| found == line) {
            let problem = Problem::new(format!("template postgresql.conf.j2 lacks the line `{line}`"));
            return Err(problem.hint("keep the three includes of the built-in template"));
        }
    }
    Ok(text)
}

/// The settings of the inventory, the libraries with those that must be there.
pub fn wanted(server: &Server, node: Option<&Node>) -> BTreeMap<String, String> {
    let mut settings = server.settings.clone();
    if let Some(libraries) = settings.get_mut("shared_preload_libraries") {
        let all = preload(libraries, node);
        // Their order is the host's own, where nothing is missing and Citus comes first.
        let first = |list: &str| list.split(',').next().map(|name| name.trim().to_owned());
        let is_whole =
            all.split(',').count() == libraries.split(',').count() && first(&all) == first(libraries);
        if !(server.adopted && is_whole) {
            *libraries = all;
        }
    }
    settings
}

/// The user's libraries with those that must be there: citus first, as Citus demands.
fn preload(libraries: &str, node: Option<&Node>) -> String {
    let needed: &[&str] = match node.map(|node| node.kind) {
        Some(NodeKind::Coordinator | NodeKind::Worker) => &["citus", "pg_stat_statements"],
        Some(NodeKind::Standalone) => &["pg_stat_statements"],
        None => &["pgautofailover"],
    };
    let mut all: Vec<&str> = needed.to_vec();
    for library in libraries.split(',').map(str::trim).filter(|library| !library.is_empty()) {
        if !all.contains(&library) {
            all.push(library);
        }
    }
    all.join(",")
}

/// A file in PGDATA, or in the directory that is to become it. `postgresql.conf` is tried before it is placed.
pub fn put(
    server: &Server,
    bin: &str,
    dir: &str,
    name: &str,
    text: String,
    before: Option<String>,
    (risk, because): (Risk, &str),
) -> Step {
    let check = match name {
        "postgresql.conf" => Check::Configuration {
            bin: bin.to_owned(),
            socket: server.pghost.clone().unwrap_or_default(),
            server: None,
        },
        _ => Check::Nothing,
    };
    let mode = if name == "pg_hba.conf" { 0o600 } else { 0o644 };
    let file = File::new(format!("{dir}/{name}"), &server.os_user, Content::Text(text));
    Step::write(&server.name, file.mode(mode).before(before).check(check), risk, because)
}

/// What a configuration file says of a setting: the last line counts.
pub fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let of_line = |line: &'t str| {
        let (found, value) = line.split('#').next()?.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('\''))
    };
    text.lines().rev().find_map(of_line)
}

/// Names of settings whose lines differ between two configuration files.
pub fn changed(before: &str, after: &str) -> BTreeSet<String> {
    let read = |text: &str| -> BTreeMap<String, String> {
        let pair = |line: &str| {
            let (name, value) = line.split('#').next()?.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        text.lines().filter_map(pair).collect()
    };
    let (before, after) = (read(before), read(after));
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// After [`HOW`]. What was put is in force once a session says so; then one that is
/// anybody's, with the server's own defaults, has to be let in. If none is, and one was before, the old files come back, and the
/// server is told by a signal. A file that waits for that from before is the last that was in force: `PUT` leaves it there.
const RELOAD: &str = r#"
at() { psql ${socket:+-h "$socket"} -p "$port" -U "$user" -d postgres -c 'select pg_conf_load_time()' 2>/dev/null; }
anybody() { "$bin/psql" -XAtqw ${socket:+-h "$socket"} -p "$port" -U "$user" -d postgres -c 'select 1' 2>&1 >/dev/null; }
was=let_in
anybody >/dev/null || was=shut_out
before=$(at) || before=
"$bin/pg_ctl" -D "$pgdata" reload >/dev/null
n=0
while now=$(at) && [ "$now" = "$before" ] && [ "$n" -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
said=$(anybody) || {
  back=
  if [ "$was" = let_in ]; then put_back; fi
  if [ -n "$back" ]; then
    printf 'ERROR: nobody could log in any more, so what was there before is back (%s): %s\n' "${back# }" "$said" >&2
    exit 65
  fi
}
"#;

/// Before [`RELOAD`].
const PUT_BACK: &str = r#"put_back() {
  for f in postgresql.conf pg_hba.conf postgresql-auto-failover.conf; do
    old=$pgdata/.muster-old.$f
    if [ -f "$old" ]; then mv -fT -- "$old" "$pgdata/$f"; back="$back $f"; fi
  done
  if [ -n "$back" ]; then "$bin/pg_ctl" -D "$pgdata" reload >/dev/null; fi
}
"#;

/// The same of a change that the host takes back by itself, after [`crate::undo`]'s functions; its time begins anew. `$8` seconds.
const PUT_BACK_SOON: &str = r#"put_back() {
  mv -T -- "$undo/till" "$undo/claimed" 2>/dev/null || :
  undo_back
}
if ! [ -f "$undo/till" ]; then
  echo "ERROR: what was there before is back: it took too long until the server was to read what is new (confirm_timeout)" >&2
  exit 65
fi
undo_watch "$8"
"#;

/// What is in force stays. What waits for a restart may keep the server from starting: then RESTART puts back what it was started with.
const STAYS: &str = r#"
waits=$(psql ${socket:+-h "$socket"} -p "$port" -U "$user" -d postgres -c 'select 1 from pg_settings where pending_restart limit 1' 2>/dev/null) || waits=1
for f in postgresql.conf postgresql-auto-failover.conf; do
  old=$pgdata/.muster-old.$f
  if [ -n "$waits" ] && [ -f "$old" ] && ! [ -e "$pgdata/.muster-started.$f" ]; then mv -fT -- "$old" "$pgdata/.muster-started.$f"; fi
done
if [ -z "$waits" ]; then rm -f -- "$pgdata"/.muster-started.*; fi
rm -f -- "$pgdata"/.muster-old.*
"#;

/// After [`RELOAD`] and [`tls::SHOWN`]: a pair that does not match, or a key that cannot be used: the server goes on with what it had, and says so in its
/// log alone.
const SHOWS: &str = r#"
if [ -n "$tlsat" ] && [ -r "$cert" ] && is=$(shown "$tlsat"); then
  plain() { sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p; /^-----END CERTIFICATE-----/q' | tr -d ' \r\n'; }
  if [ "$(printf '%s\n' "$is" | plain)" != "$(plain <"$cert")" ]; then
    echo "ERROR: the server does not show the certificate in $cert after the reload: it could not use the file, its log says why" >&2
    exit 65
  fi
fi
"#;

/// `$1` bin, `$2` PGDATA, `$3` socket or empty, `$4` port, `$5` user, `$6` where TLS is met and `$7` the certificate, or empty.
const HOW: &str = "bin=$1 pgdata=$2 socket=$3 port=$4 user=$5 tlsat=$6 cert=$7\n";

/// A script of [`HOW`]'s arguments.
fn reloading(server: &Server, bin: &str, asked: &Running, script: &[&str]) -> Command {
    let script = [&[HOW, PSQL, tls::SHOWN], script].concat().concat();
    Command::new(RunAs::User(server.os_user.clone()), script)
        .args([bin, &server.pgdata, &asked.socket, &asked.port.to_string(), &asked.user])
        .args([tls::at(server), tls::paths(server).map(|(certificate, _)| certificate).unwrap_or_default()])
}

/// Steps on files of a running server are followed by one reload.
pub fn reload(server: &Server, bin: &str, asked: &Running, because: &str) -> Step {
    let command = reloading(server, bin, asked, &[PUT_BACK, RELOAD, STAYS, SHOWS]);
    Step::new(&server.name, Op::Reload, because, Action::Run(command))
}

/// The same where the host takes back what was put unless somebody confirms; who has to come in for that is asked.
pub fn reload_on_trial(server: &Server, bin: &str, asked: &Running, asks: Vec<Ask>, because: &str) -> Step {
    let functions = undo::functions();
    let within = server.confirm_timeout;
    let command = reloading(server, bin, asked, &[&functions, PUT_BACK_SOON, RELOAD, SHOWS]);
    let confirm = reloading(server, bin, asked, &[&functions, undo::CONFIRM, STAYS, "undo_forget\n"]);
    let trial = Trial {
        command: command.args([within.to_string()]),
        asks,
        confirm,
        undo: unconfirmed::command(server, bin),
        within,
    };
    Step::new(&server.name, Op::Reload, because, Action::Try(Box::new(trial)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_pg_autoctl_writes_them() {
        assert_eq!(pretty(25_275_432_960 / 4), "6026 MB");
        assert_eq!(pretty(24 << 20), "24 MB");
        assert_eq!(pretty(1 << 30), "1024 MB");
        assert_eq!(pretty(25_275_432_960 / 4 * 3), "17 GB");
    }

    #[test]
    fn citus_is_always_first() {
        assert_eq!(preload("auto_explain, citus", None), "pgautofailover,auto_explain,citus");
    }
}
