//! Every option of `pg_autoctl create`, in every subcommand: how it is spelled, which variable of the environment stands
//! for it, which line of the inventory it becomes, and what of it the plan shows.

use std::path::Path;

use assert_cmd::Command;
use muster::create::options::of;
use muster::create::{Kind, Means, OPTIONS, Row};
use muster::formation::Formation;
use muster::inventory::parse;

use crate::run::{Dice, converge, plan_for};
use crate::scenarios::{together, without_certificates};
use crate::world::World;

const URI: &str = "postgres://autoctl_node@elsewhere:5432/pg_auto_failover";

/// A value for an option, and what it does.
struct Sample {
    option: &'static str,
    /// Empty for an option without a value.
    value: &'static str,
    /// Options that it needs beside it.
    with: &'static [&'static str],
    /// The line of the inventory.
    line: &'static str,
    /// In the plan, or in the probe of the host, with it; and without.
    shows: &'static str,
    instead_of: &'static str,
}

const fn sample(
    option: &'static str,
    value: &'static str,
    line: &'static str,
    shows: &'static str,
    instead_of: &'static str,
) -> Sample {
    Sample { option, value, with: &[], line, shows, instead_of }
}

const KEYS: &[&str] = &["--server-cert", "/etc/db.crt", "--server-key", "/etc/db.key"];

const SAMPLES: &[Sample] = &[
    sample(
        "pgctl",
        "/opt/pg/bin/pg_ctl",
        "pgctl: /opt/pg/bin/pg_ctl",
        "\"/opt/pg/bin/pg_ctl\"",
        "\"/srv/pg\",\"\"",
    ),
    sample("pgdata", "/srv/other", "pgdata: /srv/other", "initdb /srv/other", "initdb /srv/pg"),
    sample("pghost", "/run/pg", "pghost: /run/pg", "host = /run/pg", "dbname = "),
    sample("pgport", "5433", "pgport: 5433", "port = 5433\\n", "port = 5432\\n"),
    sample("hostname", "db.example", "hostname: db.example", "hostname = db.example\\n", "hostname = h1\\n"),
    sample(
        "listen",
        "0.0.0.0",
        "listen: 0.0.0.0",
        "listen_addresses = 0.0.0.0\\n",
        "listen_addresses = *\\n",
    ),
    sample("proxyport", "6432", "proxyport: 6432", "proxyport = 6432\\n", "proxyport = 0\\n"),
    sample("username", "boss", "username: boss", "username = boss\\n", "username = postgres\\n"),
    sample("dbname", "app", "dbname: app", "dbname = app\\n", "dbname = "),
    sample("name", "n7", "name: n7", "name = n7\\n", "name = h1\\n"),
    sample("formation", "f7", "formation: f7", "formation = f7\\n", "formation = default\\n"),
    sample("group", "3", "group: 3", "group = 3\\n", "group = 1\\n"),
    sample(
        "monitor",
        "postgres://autoctl_node@m2:5433/pg_auto_failover",
        "monitor: postgres://autoctl_node@m2:5433/pg_auto_failover",
        "monitor = postgres://autoctl_node@m2:5433/pg_auto_failover\\n",
        "monitor = postgres://autoctl_node@elsewhere:5432/pg_auto_failover\\n",
    ),
    sample("auth", "ldap", "auth: ldap", "auth_method = ldap\\n", "auth_method = trust\\n"),
    sample("skip-pg-hba", "", "skip_pg_hba: true", "", ""),
    sample("pg-hba-lan", "", "pg_hba_lan: true", "hba_level = lan\\n", "hba_level = minimal\\n"),
    Sample {
        option: "citus-secondary",
        value: "",
        with: &["--citus-cluster", "ro"],
        line: "citus_secondary: true",
        shows: "role = secondary\\n",
        instead_of: "role = primary\\n",
    },
    Sample {
        option: "citus-cluster",
        value: "ro",
        with: &["--citus-secondary"],
        line: "citus_cluster: ro",
        shows: "cluster_name = ro\\n",
        instead_of: "role = primary\\n",
    },
    sample("ssl-self-signed", "", "ssl_self_signed: true", "active = 1\\n", "active = 1\\n"),
    sample("ssl-mode", "prefer", "ssl_mode: prefer", "sslmode = prefer\\n", "sslmode = require\\n"),
    Sample {
        option: "ssl-ca-file",
        value: "/etc/ca.crt",
        with: KEYS,
        line: "ssl_ca_file: /etc/ca.crt",
        shows: "ca_file = /etc/ca.crt\\n",
        instead_of: "sslmode = require\\n",
    },
    Sample {
        option: "ssl-crl-file",
        value: "/etc/ca.crl",
        with: KEYS,
        line: "ssl_crl_file: /etc/ca.crl",
        shows: "crl_file = /etc/ca.crl\\n",
        instead_of: "active = 1\\n",
    },
    sample("no-ssl", "", "no_ssl: true", "active = 0\\n", "active = 1\\n"),
    Sample {
        option: "server-key",
        value: "/etc/k",
        with: &["--server-cert", "/etc/db.crt"],
        line: "server_key: /etc/k",
        shows: "key_file = /etc/k\\n",
        instead_of: "key_file = /srv/pg.node/server.key\\n",
    },
    Sample {
        option: "server-cert",
        value: "/etc/c",
        with: &["--server-key", "/etc/db.key"],
        line: "server_cert: /etc/c",
        shows: "cert_file = /etc/c\\n",
        instead_of: "cert_file = /srv/pg.node/server.crt\\n",
    },
    sample("candidate-priority", "70", "candidate_priority: 70", "\"70\",\"true\"", "\"50\",\"true\""),
    sample("replication-quorum", "off", "replication_quorum: false", "\"50\",\"false\"", "\"50\",\"true\""),
    sample(
        "maximum-backup-rate",
        "20M",
        "maximum_backup_rate: 20M",
        "maximum_backup_rate = 20M\\n",
        "maximum_backup_rate = 100M\\n",
    ),
];

/// The usage lines of the man page `pg_autoctl create coordinator`, 2.1; "worker" in one of them is its own slip.
const MAN_PAGE: &str = "\
  --pgctl           path to pg_ctl
  --pgdata          path to data directory
  --pghost          PostgreSQL's hostname
  --pgport          PostgreSQL's port number
  --hostname        hostname by which postgres is reachable
  --listen          PostgreSQL's listen_addresses
  --username        PostgreSQL's username
  --dbname          PostgreSQL's database name
  --name            pg_auto_failover node name
  --formation       pg_auto_failover formation
  --monitor         pg_auto_failover Monitor Postgres URL
  --auth            authentication method for connections from monitor
  --skip-pg-hba     skip editing pg_hba.conf rules
  --citus-secondary when used, this worker node is a citus secondary
  --citus-cluster   name of the Citus Cluster for read-replicas
  --ssl-self-signed setup network encryption using self signed certificates (does NOT protect against MITM)
  --ssl-mode        use that sslmode in connection strings
  --ssl-ca-file     set the Postgres ssl_ca_file to that file path
  --ssl-crl-file    set the Postgres ssl_crl_file to that file path
  --no-ssl          don't enable network encryption (NOT recommended, prefer --ssl-self-signed)
  --server-key      set the Postgres ssl_key_file to that file path
  --server-cert     set the Postgres ssl_cert_file to that file path
";

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `muster create …`, with nothing in the environment but what is given.
fn muster(args: &[&str], env: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_clear().env("HOME", "/nonexistent").envs(env.iter().copied());
    let output = command.args([&["create"], args].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What a subcommand cannot do without, but for one option.
fn needed(kind: Kind, but: &str) -> Vec<&'static str> {
    let mut args = vec![kind.as_str()];
    for (option, value) in [("pgdata", "/srv/pg"), ("monitor", URI), ("group", "1")] {
        if option != but && of(kind).any(|row| row.name == option) {
            args.extend([spelled(option), value]);
        }
    }
    args
}

fn spelled(option: &str) -> &'static str {
    let row = OPTIONS.iter().find(|row| row.name == option).unwrap();
    Box::leak(format!("--{}", row.name).into_boxed_str())
}

fn printed(args: &[&str], env: &[(&str, &str)]) -> String {
    let said = muster(&[args, &["h1", "--print-inventory"]].concat(), env);
    assert_eq!(said.code, Some(0), "{args:?} {env:?}: {}", said.stderr);
    said.stdout
}

fn formation(text: &str) -> Formation {
    parse("created.yml", text, Path::new("")).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

/// The plan for a bare host, and the probe that looks at it. A worker or a reader has its coordinator elsewhere.
fn shown(kind: Kind, text: &str) -> String {
    let own = formation(text);
    let is_reader = own.nodes.values().any(|node| node.is_reader());
    let others = (kind == Kind::Worker || is_reader).then(|| {
        let vars: Vec<&str> = text
            .lines()
            .filter(|line| ["formation:", "dbname:", "monitor:"].iter().any(|name| line.trim().starts_with(name)))
            .collect();
        let group =
            if kind == Kind::Worker && is_reader { "    workers: {hosts: {w: {group: 1}}}\n" } else { "" };
        let vars = vars.join("\n");
        formation(&format!(
            "all:\n  vars:\n    pgdata: /srv/pg\n    auth: trust\n    ssl_self_signed: true\n{vars}\n  children:\n    coordinator: {{hosts: {{c: {{}}}}}}\n{group}"
        ))
    });
    let mut world = World::bare(&together(&own, others.as_ref()));
    if let Some(others) = &others {
        converge(others, &mut world, &mut Dice(1));
    }
    let server = own.servers().next().unwrap();
    let probe = muster::facts::probe(&own, server);
    let plan = plan_for(&own, &mut world);
    assert!(plan.blocked.is_empty(), "{text}: {:?}", plan.blocked);
    format!("{}{}", without_certificates(&plan), serde_json::to_string(&probe.args).unwrap())
}

fn words<'a>(row: &Row, value: &'a str) -> Vec<&'a str> {
    let mut words = vec![spelled(row.name)];
    words.extend((!value.is_empty()).then_some(value));
    words
}

#[test]
fn every_option_of_monitor_does_what_its_row_says() {
    assert_rows(Kind::Monitor);
}

#[test]
fn every_option_of_postgres_does_what_its_row_says() {
    assert_rows(Kind::Postgres);
}

#[test]
fn every_option_of_coordinator_does_what_its_row_says() {
    assert_rows(Kind::Coordinator);
}

#[test]
fn every_option_of_worker_does_what_its_row_says() {
    assert_rows(Kind::Worker);
}

fn assert_rows(kind: Kind) {
    for row in OPTIONS.iter().filter(|row| row.means.variable().is_some()) {
        let sample = SAMPLES.iter().find(|sample| sample.option == row.name);
        let sample = sample.unwrap_or_else(|| panic!("--{} has no sample", row.name));
        let base = needed(kind, row.name);
        if !row.of.contains(&kind) {
            let said = muster(&[&base[..], &words(row, sample.value), &["h1"]].concat(), &[]);
            assert_eq!(said.code, Some(1), "{} takes --{}", kind.as_str(), row.name);
            continue;
        }
        let what = format!("create {} --{}", kind.as_str(), row.name);
        let with = printed(&[&base[..], sample.with, &words(row, sample.value)].concat(), &[]);
        let has = |text: &str| text.lines().any(|line| line.trim() == sample.line);
        assert!(has(&with), "{what}: no line {}: {with}", sample.line);
        if let Some(short) = row.short {
            let short = format!("-{short}");
            let words = [&base[..], sample.with, &[short.as_str()], &words(row, sample.value)[1..]].concat();
            assert_eq!(printed(&words, &[]), with, "{what}: {short}");
        }
        if let Some(name) = row.env {
            let value = if row.means.takes_value() { sample.value } else { "true" };
            assert_eq!(printed(&[&base[..], sample.with].concat(), &[(name, value)]), with, "{what}: {name}");
            // The command line goes before the environment.
            let both = [&base[..], sample.with, &words(row, sample.value)].concat();
            assert_eq!(printed(&both, &[(name, "true")]), with, "{what}: {name} and the option");
        }
        // Without it: its default.
        let is_required = row.default.starts_with("**required**");
        let without = match is_required {
            true => {
                let said = muster(&[&base[..], &["h1"]].concat(), &[]);
                assert_eq!(said.code, Some(1), "{what}");
                let message = format!("error: --{} is missing", row.name);
                assert!(said.stderr.contains(&message), "{what}: {}", said.stderr);
                printed(&needed(kind, ""), &[])
            }
            false => printed(&base, &[]),
        };
        // What verifies nobody is written where nothing else is said.
        assert!(!has(&without) || row.name == "ssl-self-signed", "{what}: {without}");
        let (with, without) = (shown(kind, &with), shown(kind, &without));
        // The monitor's pg_autoctl.cfg says nothing of rules.
        let (shows, instead_of) = match (kind, row.name) {
            (_, "skip-pg-hba") => ("", " trust # Written by muster"),
            _ => (sample.shows, sample.instead_of),
        };
        assert!(with.contains(shows), "{what}: {shows} is not in {with}");
        assert!(without.contains(instead_of), "{what}: {instead_of} is not in {without}");
        match row.name {
            "ssl-self-signed" => assert_eq!(with, without, "{what}: it is the default"),
            _ => assert_ne!(with, without, "{what}: it changes nothing"),
        }
        if row.name == "skip-pg-hba" {
            assert!(!with.contains(instead_of), "{what}: there are rules");
        }
    }
    assert!(SAMPLES.iter().all(|sample| OPTIONS.iter().any(|row| row.name == sample.option)));
}

#[test]
fn what_muster_cannot_do_is_refused_and_what_it_does_anyway_is_said() {
    for row in OPTIONS {
        for kind in Kind::ALL.into_iter().filter(|kind| row.of.contains(kind)) {
            let args = [&needed(kind, "")[..], &["h1", "--print-inventory", spelled(row.name)]].concat();
            match row.means {
                Means::Refused { takes_value, why, remedy } => {
                    let value: &[&str] = if takes_value { &["1"] } else { &[] };
                    let said = muster(&[&args[..], value].concat(), &[]);
                    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "--{}", row.name);
                    assert_eq!(said.stderr, format!("error: --{}: {why}\nhint: {remedy}\n", row.name));
                }
                Means::Accepted(note) => {
                    let said = muster(&args, &[]);
                    assert_eq!(said.code, Some(0), "{}", said.stderr);
                    assert!(
                        said.stderr.contains(&format!("note: --{}: {note}\n", row.name)),
                        "{}",
                        said.stderr
                    );
                    assert_eq!(said.stdout, printed(&needed(kind, ""), &[]));
                }
                Means::Text(_) | Means::Number(_) | Means::Bool(_) | Means::Flag(_) => {}
            }
        }
    }
}

#[test]
fn the_man_page_is_spelled_as_it_is() {
    let help = muster(&["coordinator", "--help"], &[]).stdout;
    for line in MAN_PAGE.lines() {
        let (option, doc) = line.trim().split_once(' ').unwrap();
        let row = OPTIONS.iter().find(|row| format!("--{}", row.name) == option).unwrap();
        assert!(row.of.contains(&Kind::Coordinator), "{option}");
        assert!(help.contains(option), "help lacks {option}: {help}");
        if !["--auth", "--citus-secondary"].contains(&option) {
            assert_eq!(row.doc, doc.trim(), "{option}");
        }
    }
}

#[test]
fn mistakes_are_told_of_the_option_they_are_in() {
    for (kind, args, env, expected) in [
        ("postgres", &["--pgport", "99999"][..], &[][..], "error: `--pgport` must be "),
        ("postgres", &["--pgport", "many"], &[], "error: `--pgport` must be "),
        ("postgres", &[], &[("PGPORT", "0")], "error: `PGPORT` must be "),
        ("postgres", &["--pgdata", "relative"], &[], "error: `--pgdata` must be "),
        ("postgres", &["--listen", "{{ x }}"], &[], "error: --listen: control characters and templates"),
        // Half a choice of encryption is told of the option that was given, and of no other.
        (
            "postgres",
            &["--ssl-ca-file", "/c.crt"],
            &[],
            "error: `--ssl-ca-file` is there without `--server-cert`",
        ),
        (
            "postgres",
            &["--ssl-crl-file", "/c.crl"],
            &[],
            "error: `--ssl-crl-file` is there without `--server-cert`",
        ),
        (
            "postgres",
            &["--replication-quorum", "perhaps"],
            &[],
            "error: --replication-quorum is neither true nor false",
        ),
        (
            "postgres",
            &["--auth", "trust", "--skip-pg-hba"],
            &[],
            "error: --auth cannot be with --skip-pg-hba",
        ),
        (
            "postgres",
            &["--skip-pg-hba"],
            &[("PG_AUTOCTL_AUTH_METHOD", "md5")],
            "error: PG_AUTOCTL_AUTH_METHOD cannot be with --skip-pg-hba",
        ),
        (
            "postgres",
            &["--skip-pg-hba", "--pg-hba-lan"],
            &[],
            "error: `--skip-pg-hba` cannot be with `--pg-hba-lan`\nhint: one adds no rules, the other more\n",
        ),
        ("postgres", &["--name", "a", "h2"], &[], "error: --name is of one host, and there are 2"),
        (
            "postgres",
            &["/srv/pg"],
            &[],
            "error: HOST `/srv/pg` is a path\nhint: the data directory is given by --pgdata",
        ),
        ("postgres", &["h1"], &[], "error: HOST h1 is there twice"),
        (
            "postgres",
            &["--auth", "scram-sha-256"],
            &[],
            "error: --auth needs monitor_password, and a password has no option",
        ),
        (
            "postgres",
            &["--ssl-mode", "verify-full"],
            &[],
            "error: `--ssl-mode verify-full` cannot be with a self-signed certificate\nhint: nothing vouches for it: \
             give `--server-cert`, `--server-key` and `--ssl-ca-file`\n",
        ),
        (
            "postgres",
            &["--no-ssl"],
            &[("PG_AUTOCTL_SSL_SELF_SIGNED", "1")],
            "error: `--no-ssl` cannot be with `PG_AUTOCTL_SSL_SELF_SIGNED`\nhint: choose one: \
             PG_AUTOCTL_SSL_SELF_SIGNED, --no-ssl, or --server-cert with --server-key\n",
        ),
        // What was given is no option, whatever it looks like.
        (
            "postgres",
            &["--pgport", "dbname"],
            &[],
            "error: `--pgport` must be a number from 1 to 65535, not `dbname`",
        ),
        ("postgres", &[], &[("PGDATABASE", "a b")], "error: `PGDATABASE` must be a name of"),
        ("postgres", &["-i", "x"], &[("MUSTER_INVENTORY", "y")], "error: create makes its own inventory"),
        (
            "coordinator",
            &["--citus-secondary"],
            &[],
            "error: `--citus-secondary` is there without `--citus-cluster`\nhint: name the read-replica cluster, \
             e.g. `--citus-cluster reports`\n",
        ),
        ("worker", &["--group", "0"], &[], "error: --group: group 0 is the coordinator's"),
        ("monitor", &["h2"], &[], "error: a formation has one monitor"),
    ] {
        let but = args.first().map_or("", |first| first.trim_start_matches('-'));
        let mut base = vec![kind];
        base.extend(
            needed(Kind::ALL.into_iter().find(|k| k.as_str() == kind).unwrap(), but).into_iter().skip(1),
        );
        let said = muster(&[&base[..], args, &["h1"]].concat(), env);
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{args:?} {}", said.stderr);
        assert!(said.stderr.contains(expected), "{args:?}: {}", said.stderr);
        assert!(!said.stderr.contains("-->") && !said.stderr.contains("line "), "{args:?}: {}", said.stderr);
    }
}

#[test]
fn no_password_is_on_a_command_line_or_printed() {
    let uri = "postgres://autoctl_node:p0ison@elsewhere/pg_auto_failover";
    let said = muster(&["postgres", "--pgdata", "/srv/pg", "--monitor", uri, "h1"], &[]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("everybody can read a command line"), "{}", said.stderr);
    let printing = &["postgres", "--pgdata", "/srv/pg", "h1", "--print-inventory"];
    let from_environment = muster(printing, &[("PG_AUTOCTL_MONITOR", uri)]);
    assert_eq!(from_environment.code, Some(0), "{}", from_environment.stderr);
    for text in [&said.stderr, &from_environment.stdout, &from_environment.stderr] {
        assert!(!text.contains("p0ison"), "{text}");
    }
    let scram = muster(&[&printing[..], &["--auth", "scram-sha-256", "--monitor", URI]].concat(), &[]);
    assert!(scram.stdout.contains("    # monitor_password: …\n"), "{}", scram.stdout);
}

#[test]
fn an_inventory_is_one_that_a_person_would_keep() {
    let args = ["worker", "-D", "/srv/pg", "--group", "2", "-m", URI, "--pgport", "5433", "--auth", "trust"];
    let hosts = ["admin@db1.example:2222", "10.0.0.2", "[fd00::3]", "yes"];
    let said = muster(&[&args[..], &hosts, &["--print-inventory"]].concat(), &[]);
    let expected = "\
# Made by `muster create worker`: keep it, and go on with `muster -i FILE`.
all:
  vars:
    pgdata: /srv/pg
    pgport: 5433
    group: 2
    monitor: postgres://autoctl_node@elsewhere:5432/pg_auto_failover
    auth: trust
    ssl_self_signed: true
  children:
    workers:
      hosts:
        db1.example:
          ansible_port: 2222
          ansible_user: admin
        10.0.0.2:
          secondary: true
        v6-fd00--3:
          ansible_host: 'fd00::3'
          secondary: true
        'yes':
          secondary: true
";
    assert_eq!(said.stdout, expected, "{}", said.stderr);
    let formation = formation(expected);
    let names: Vec<&str> = formation.nodes.values().map(|node| node.server.host.address.as_str()).collect();
    assert_eq!(names, ["10.0.0.2", "db1.example", "fd00::3", "yes"]);
}
