//! `auth: cert`: hosts are known to one another by their certificates, and by nothing else.

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Lab;
use crate::trust::{address, tries_with};

const HOSTS: [&str; 5] = ["mon", "coord1", "coord2", "w1a", "w1b"];
const CA: &str = "/var/lib/postgresql/15/citus.node/ca.crt";

fn inventory(lab: &Lab, name: &str, auth: &str) -> PathBuf {
    let text = format!(
        "all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/15/citus
    dbname: app
    auth: {auth}
    hba: ['hostssl app shop samenet cert map=muster']
  children:
    monitor:
      hosts: {{mon: {{ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}}}}
    coordinator:
      hosts:
        coord1: {{ansible_host: 10.88.0.12, hostname: coord1}}
        coord2: {{ansible_host: 10.88.0.13, hostname: coord2, secondary: true}}
    workers:
      vars: {{group: 1}}
      hosts:
        w1a: {{ansible_host: 10.88.0.14, hostname: w1a}}
        w1b: {{ansible_host: 10.88.0.15, hostname: w1b, secondary: true}}
"
    );
    lab.inventory_of(name, &text)
}

/// On the coordinator's own host: what is tried are the connections to the worker, as the superuser. Sessions that last, and one for
/// each transaction. It ends with an error where a transaction fails.
fn start_load(lab: &Lab) {
    lab.send("coord1", "/tmp/load.sql", b"\\set k random(1, 100000)\ninsert into t (k) values (:k);\n");
    for (name, how) in [("lasting", ""), ("new", "-C")] {
        let bench = format!("pgbench -n {how} -c 2 -T 900 -f /tmp/load.sql app >/tmp/load-{name} 2>&1");
        let script = format!("cd /tmp; {bench}; echo ended >>/tmp/load-{name}");
        lab.root(
            "coord1",
            &format!("rm -f /tmp/load-{name}; setsid su postgres -c '{script}' </dev/null >/dev/null 2>&1 &"),
        );
    }
}

fn assert_nothing_failed(lab: &Lab, when: &str) {
    for name in ["lasting", "new"] {
        let said = lab.root("coord1", &format!("cat /tmp/load-{name}"));
        let failed = ["ended", "aborted", "failed", "ERROR", "FATAL"].iter().any(|word| said.contains(word));
        assert!(!failed, "{when}, {name} sessions: {said}");
    }
    let rows = || lab.sql("coord1", "select count(*) from t;").trim().parse::<u64>().expect("a number");
    let before = rows();
    std::thread::sleep(Duration::from_secs(1));
    assert!(rows() > before, "{when}: nobody writes any more");
}

/// No rule for the network asks for less than a certificate, and whoever is connected over it has shown his own.
fn assert_known_by_certificates(lab: &Lab, when: &str) {
    for host in HOSTS {
        let others = "select string_agg(line_number || auth_method, ' ') from pg_hba_file_rules where type <> 'local' and auth_method <> 'cert'";
        assert_eq!(lab.psql(host, others), "", "{when}: {host} lets somebody in otherwise");
        let unknown = "select string_agg(usename || client_addr || coalesce(client_dn, '-'), ' ') from pg_stat_ssl join pg_stat_activity using (pid) \
            where client_addr is not null and client_dn is null";
        assert_eq!(lab.psql(host, unknown), "", "{when}: {host} has a session without a certificate");
        let link = lab.root(host, "stat -L -c '%a %U' ~postgres/.postgresql/postgresql.key");
        assert_eq!(link.trim(), "600 postgres", "{when}: {host}");
        let same = lab.root(
            host,
            "cat /var/lib/postgresql/15/*.node/server.crt /var/lib/postgresql/15/*.node/server.key | cmp - ~postgres/.postgresql/postgresql.crt && echo same",
        );
        assert_eq!(same.trim(), "same", "{when}: {host} shows another certificate than its own");
    }
    for (primary, standby) in [("coord1", "coord2"), ("w1a", "w1b")] {
        let shown = "select client_dn || usename from pg_stat_ssl join pg_stat_replication using (pid)";
        assert_eq!(lab.psql(primary, shown), format!("/CN={standby}pgautofailover_replicator"), "{when}");
    }
}

/// What psql says on a host that comes as this role, with what is in its home or with other files.
fn comes(lab: &Lab, from: &str, to: &str, role: &str, dbname: &str, with: &str) -> String {
    let at = address(lab, to);
    let ca = if from == "mon" { "/var/lib/postgresql/15/monitor.node/ca.crt" } else { CA };
    let conninfo = format!(
        "user={role} dbname={dbname} host={to} hostaddr={at} sslmode=verify-full sslrootcert={ca} {with}"
    );
    tries_with(lab, from, &conninfo, "")
}

fn assert_only_who_is_meant_comes_in(lab: &Lab) {
    let superuser = "postgres";
    for (from, to, role, dbname) in [
        ("coord2", "coord1", superuser, "app"),
        ("coord1", "w1b", superuser, "app"),
        ("w1a", "coord1", superuser, "app"),
        ("w1b", "w1a", "pgautofailover_replicator", "app"),
        ("w1b", "mon", "autoctl_node", "pg_auto_failover"),
        ("mon", "w1a", "pgautofailover_monitor", "postgres"),
        // A role of the user's, by a rule of the user's.
        ("coord1", "w1a", "shop", "app"),
    ] {
        assert_eq!(comes(lab, from, to, role, dbname, ""), "connected", "{from} to {to} as {role}");
    }
    // A certificate of the formation's for another role than it is mapped to.
    for (from, to, role, dbname) in [
        ("mon", "w1a", superuser, "app"),
        ("mon", "coord1", "shop", "app"),
        ("w1a", "w1b", "pgautofailover_monitor", "postgres"),
    ] {
        let said = comes(lab, from, to, role, dbname, "");
        let is_refused = said.contains("certificate authentication failed for user")
            || said.contains("no pg_hba.conf entry");
        assert!(is_refused, "{from} to {to} as {role}: {said}");
    }
    let said = comes(lab, "mon", "w1a", superuser, "app", "");
    assert!(said.contains("certificate authentication failed for user \"postgres\""), "{said}");
    // None, and one of another authority with the right name.
    let said = comes(lab, "w1b", "w1a", superuser, "app", "sslcert=/nowhere sslkey=/nowhere");
    assert!(said.contains("connection requires a valid client certificate"), "{said}");
    lab.root(
        "w1b",
        "su postgres -c 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=w1b -keyout /tmp/o.key -out /tmp/o.crt' 2>/dev/null",
    );
    let said = comes(lab, "w1b", "w1a", superuser, "app", "sslcert=/tmp/o.crt sslkey=/tmp/o.key");
    assert!(said.contains("unknown ca"), "{said}");
    // Without TLS.
    let at = address(lab, "w1a");
    let said = tries_with(lab, "w1b", &format!("host=w1a hostaddr={at} sslmode=disable"), "");
    assert!(said.contains("no pg_hba.conf entry"), "{said}");
}

#[test]
#[ignore = "minutes: make test-long"]
fn hosts_are_known_by_their_certificates_and_nothing_fails_while_those_change() {
    let Some(lab) = Lab::with_citus() else { return };
    let _ = std::fs::remove_dir_all(lab.beside_keys("data"));
    let cert = inventory(&lab, "cert", "cert");
    lab.muster(&cert, &["apply", "--yes"]).exits(0);
    lab.muster(&cert, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(&cert, &["verify"]).exits(0);
    lab.muster(&cert, &["hba"]).exits(0).says("none is refused");
    lab.sql("coord1", "create role shop login; create table t (k int); select create_distributed_table('t', 'k', shard_count => 4);");
    assert_known_by_certificates(&lab, "made");
    for host in HOSTS {
        // The monitor's health check takes a refusal for an answer.
        let refused = "grep -h 'authentication failed\\|no pg_hba.conf entry' /var/lib/postgresql/15/*/log/* || echo none";
        assert_eq!(lab.root(host, refused).trim(), "none", "{host} has refused somebody");
    }
    assert_only_who_is_meant_comes_in(&lab);
    for host in HOSTS {
        assert_eq!(lab.root(host, "ls ~postgres/.pgpass 2>/dev/null || echo none").trim(), "none", "{host}");
    }

    start_load(&lab);
    lab.muster(&cert, &["cert", "renew", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "cert renew");
    assert_known_by_certificates(&lab, "cert renew");
    lab.muster(&cert, &["ca", "rotate", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "ca rotate");
    assert_known_by_certificates(&lab, "ca rotate");
    lab.muster(&cert, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    let scram = inventory(&lab, "scram", "scram-sha-256");
    lab.muster(&scram, &["apply", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "cert to scram");
    lab.muster(&scram, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    let at = address(&lab, "w1a");
    let said = tries_with(
        &lab,
        "w1b",
        &format!("host=w1a hostaddr={at} sslmode=require"),
        "env PGPASSFILE=/dev/null",
    );
    assert!(said.contains("no password supplied"), "{said}");
    // What is shown still does not end.
    lab.muster(&scram, &["cert", "renew", "w1b", "--yes"]).exits(0);
    lab.muster(&cert, &["apply", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "scram to cert");
    assert_known_by_certificates(&lab, "scram to cert");
    lab.muster(&cert, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.root("coord1", "pkill -INT pgbench; sleep 1");

    for (from, to) in [("coord1", "coord2"), ("w1a", "w1b"), ("coord2", "coord1"), ("w1b", "w1a")] {
        lab.muster(&cert, &["switchover", from, "--yes"]).exits(0);
        assert_eq!(lab.psql(to, "select pg_is_in_recovery()"), "f");
    }
    lab.muster(&cert, &["verify"]).exits(0);
    lab.muster(&cert, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    assert_known_by_certificates(&lab, "switched over");
    assert_only_who_is_meant_comes_in(&lab);

    // What others have put there is not muster's to take away.
    lab.root("w1b", "cd ~postgres/.postgresql; rm postgresql.crt; echo theirs >postgresql.crt");
    let said = lab.muster(&cert, &["plan", "--detailed-exitcode"]);
    let said = said.names("w1b", &["which is not muster's"]);
    assert_ne!(said.code, Some(0));
    lab.root("w1b", "rm ~postgres/.postgresql/postgresql.crt");
    lab.muster(&cert, &["apply", "--yes"]).exits(0);
    assert_known_by_certificates(&lab, "put right");

    // Who is known by a certificate of the formation's cannot be left without one.
    let none = inventory(&lab, "no-tls", "trust\n    ssl_self_signed: true");
    lab.muster(&none, &["plan", "--detailed-exitcode"]).names("mon", &["apply another auth first"]);
    let trust = inventory(&lab, "trust", "trust");
    lab.muster(&trust, &["apply", "--yes"]).exits(0);
    lab.muster(&none, &["apply", "--yes"]).exits(0);
    let left = lab.root("w1a", "ls ~postgres/.postgresql");
    assert_eq!(left.trim(), "", "nothing is shown that others would refuse");
    lab.muster(&none, &["verify"]).exits(0);
}

/// PostgreSQL 17 and pg_auto_failover 2.2; the monitor and a node on one host, whose connections show one certificate.
#[test]
#[ignore = "minutes: make test-long"]
fn servers_of_one_host_show_one_certificate() {
    let Some(lab) = Lab::trixie() else { return };
    let inventory = lab.inventory_of(
        "neighbours",
        "all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/17/shop
    auth: cert
  children:
    monitor:
      hosts: {watch: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/17/monitor, pgport: 5433}}
    postgres:
      hosts:
        a: {ansible_host: 10.88.0.11, hostname: mon}
        b: {ansible_host: 10.88.0.12, hostname: coord1, secondary: true}
",
    );
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(&inventory, &["verify"]).exits(0);
    let streams = |on: &str| {
        let shown =
            "select client_dn || ' ' || usename from pg_stat_ssl join pg_stat_replication using (pid)";
        lab.ssh(on, &format!("cd /; sudo -u postgres psql -XAtq -p 5432 -d postgres -c \"{shown}\""))
    };
    assert_eq!(streams("mon").trim(), "/CN=coord1 pgautofailover_replicator");
    for args in [&["cert", "renew", "--yes"][..], &["ca", "rotate", "--yes"]] {
        lab.muster(&inventory, args).exits(0);
        lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    }
    for (from, to, host) in [("a", "b", "coord1"), ("b", "a", "mon")] {
        lab.muster(&inventory, &["switchover", from, "--yes"]).exits(0);
        assert!(streams(host).contains("pgautofailover_replicator"), "{to} is followed");
    }
    lab.muster(&inventory, &["verify"]).exits(0);
}
