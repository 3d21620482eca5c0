//! `ssl: managed`: everybody verifies everybody, and certificates, authorities and the kind of encryption change while a
//! client makes a new connection for each transaction, of which none may fail.

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Lab;

const LOAD: &str = "\\set k random(1, 100000)\ninsert into t (k) values (:k);\n";

const CLIENT: &str =
    "postgres://coord1,coord2/app?target_session_attrs=read-write&sslmode=require&user=postgres";

/// Sessions that last, and one for each transaction. It ends with an error where a connection or a transaction fails.
pub(crate) fn start_load(lab: &Lab, client: &str) {
    lab.send("mon", "/tmp/load.sql", LOAD.as_bytes());
    for (name, how) in [("lasting", ""), ("new", "-C")] {
        let bench =
            format!("pgbench -n {how} -c 2 -T 6000 -f /tmp/load.sql '{client}' >/tmp/load-{name} 2>&1");
        lab.root(
            "mon",
            &format!("setsid sh -c \"{bench}; echo ended >>/tmp/load-{name}\" </dev/null >/dev/null 2>&1 &"),
        );
    }
}

/// Nothing has failed until now.
pub(crate) fn assert_nothing_failed(lab: &Lab, when: &str) {
    for name in ["lasting", "new"] {
        let said = lab.root("mon", &format!("cat /tmp/load-{name}"));
        let failed = ["ended", "aborted", "failed", "ERROR", "FATAL"].iter().any(|word| said.contains(word));
        assert!(!failed, "{when}, {name} sessions: {said}");
    }
}

pub(crate) fn stop_load(lab: &Lab) {
    let rows = || lab.sql("coord1", "select count(*) from t;").trim().parse::<u64>().expect("a number");
    let before = rows();
    std::thread::sleep(Duration::from_secs(1));
    assert!(rows() > before, "somebody wrote until the end");
    lab.root("mon", "pkill -INT pgbench; sleep 1");
}

fn inventory(lab: &Lab, name: &str, tls: &str) -> PathBuf {
    let ca = lab.beside_keys("ca");
    let text = format!(
        "all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/15/citus
    dbname: app
    auth: trust
    ca_dir: {}
    {tls}
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
",
        ca.display()
    );
    lab.inventory_of(name, &text)
}

/// What psql says where it is not connected, or `connected`.
fn tries(lab: &Lab, on: &str, conninfo: &str) -> String {
    tries_with(lab, on, conninfo, "")
}

/// The same by way of a command before it, e.g. `env PGPASSFILE=/dev/null`.
pub(crate) fn tries_with(lab: &Lab, on: &str, conninfo: &str, with: &str) -> String {
    let command = format!(
        "su postgres -c \"{with} psql -XAtqw 'user=postgres dbname=app connect_timeout=5 {conninfo}' -c 'select \\$\\$connected\\$\\$' 2>&1 || :\""
    );
    lab.root(on, &command).trim().to_owned()
}

/// The conninfo by which a host verifies another one.
fn verifying(host: &str, at: &str) -> String {
    format!(
        "host={host} hostaddr={at} sslmode=verify-full sslrootcert=/var/lib/postgresql/15/citus.node/ca.crt"
    )
}

/// The address of a host, as another one finds it.
pub(crate) fn address(lab: &Lab, host: &str) -> String {
    lab.root("mon", &format!("getent ahostsv4 {host} | awk '{{print $1; exit}}'")).trim().to_owned()
}

#[test]
#[ignore = "minutes: make test-long"]
fn everybody_verifies_everybody_and_nothing_fails_while_that_changes() {
    let Some(lab) = Lab::with_citus() else { return };
    let _ = std::fs::remove_dir_all(lab.beside_keys("ca"));
    let own = inventory(&lab, "own", "ssl_self_signed: true");
    let managed = inventory(&lab, "managed", "ssl: managed");
    lab.muster(&own, &["apply", "--yes"]).exits(0);
    lab.sql("coord1", "create table t (k int); select create_distributed_table('t', 'k', shard_count => 4);");
    start_load(&lab, CLIENT);
    // Who is in the middle shows a certificate of his own: nobody would see that.
    let w1a = address(&lab, "w1a");
    let impostor = |mode: &str| tries(&lab, "coord2", &format!("host=w1b hostaddr={w1a} sslmode={mode}"));
    assert_eq!(impostor("require"), "connected");

    lab.muster(&managed, &["apply", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "self-signed to managed");
    lab.muster(&managed, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    for host in ["coord1", "coord2", "w1a", "w1b"] {
        let config = lab.root(
            host,
            "cat /var/lib/postgresql/.config/pg_autoctl/var/lib/postgresql/15/citus/pg_autoctl.cfg",
        );
        assert!(config.contains("mon:5432/pg_auto_failover?sslmode=verify-full&sslrootcert=/var/lib/postgresql/15/citus.node/ca.crt"), "{config}");
        let mode = lab.root(host, "stat -c '%a %U' /var/lib/postgresql/15/citus.node/server.key");
        assert_eq!(mode.trim(), "600 postgres");
        let peers = lab.psql(host, "show citus.node_conninfo");
        assert!(peers.starts_with("sslmode=verify-full"), "{peers}");
    }
    for standby in ["coord2", "w1b"] {
        let conf =
            lab.root(standby, "cat /var/lib/postgresql/15/citus/postgresql-auto-failover-standby.conf");
        assert!(conf.contains("sslmode=verify-full"), "{conf}");
    }
    // Its own name, another's, another authority's, and no TLS where only that is let in.
    assert_eq!(tries(&lab, "coord2", &verifying("w1a", &w1a)), "connected");
    let said = tries(&lab, "coord2", &verifying("w1b", &w1a));
    assert!(said.contains("does not match host name \"w1b\""), "{said}");
    lab.root("w1a", "su postgres -c 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout /dev/null -out /tmp/other.crt' 2>/dev/null");
    let said = tries(
        &lab,
        "w1a",
        &format!("host=w1a hostaddr={w1a} sslmode=verify-full sslrootcert=/tmp/other.crt"),
    );
    assert!(said.contains("certificate verify failed"), "{said}");
    let said = tries(&lab, "coord2", &format!("host=w1a hostaddr={w1a} sslmode=disable"));
    assert!(said.contains("no pg_hba.conf entry"), "{said}");

    let serial = || {
        lab.root("w1a", "openssl x509 -noout -serial -issuer -ext authorityKeyIdentifier -in /var/lib/postgresql/15/citus.node/server.crt")
    };
    let before = serial();
    lab.muster(&managed, &["cert", "renew", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "cert renew");
    assert_ne!(before, serial());
    let ca = || std::fs::read_to_string(lab.beside_keys("ca").join("ca.crt")).expect("it is kept");
    let first = ca();
    lab.muster(&managed, &["ca", "rotate", "--yes"]).exits(0);
    assert_nothing_failed(&lab, "ca rotate");
    assert!(!ca().contains(&first), "it is another one");
    let trusted = |host: &str| lab.root(host, "cat /var/lib/postgresql/15/*.node/ca.crt");
    for host in ["mon", "coord1", "coord2", "w1a", "w1b"] {
        assert_eq!(trusted(host), ca(), "{host} trusts the new one alone");
    }
    lab.muster(&managed, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    // Cut off at any moment: the same command goes on, with no third authority.
    for milliseconds in [1500, 2500, 3500, 4500] {
        let mut run = lab.start_muster(&managed, &["ca", "rotate", "--yes"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = run.kill();
        let _ = run.wait();
        assert!(ca().matches("BEGIN").count() <= 2, "{}", ca());
        assert_nothing_failed(&lab, "cut off");
    }
    lab.muster(&managed, &["ca", "rotate", "--yes"]).exits(0);
    for host in ["mon", "coord1", "coord2", "w1a", "w1b"] {
        assert_eq!(trusted(host), ca(), "{host} trusts the new one alone");
    }
    assert_nothing_failed(&lab, "the rerun");
    stop_load(&lab);
    lab.muster(&managed, &["verify"]).exits(0);
    lab.muster(&managed, &["cert", "status"]).exits(0);

    for (from, to) in [("coord1", "coord2"), ("w1a", "w1b")] {
        lab.muster(&managed, &["switchover", from, "--yes"]).exits(0);
        assert_eq!(lab.psql(to, "select pg_is_in_recovery()"), "f");
    }
    lab.muster(&managed, &["verify"]).exits(0);

    // A machine without the folder changes no certificate, and does whatever else there is.
    let elsewhere = lab.beside_keys("ca-elsewhere");
    std::fs::rename(lab.beside_keys("ca"), &elsewhere).expect("it is there");
    lab.muster(&managed, &["plan", "--detailed-exitcode"]).exits(0).says("trusts one: copy that folder");
    lab.muster(&managed, &["cert", "renew", "w1a", "--yes"]).exits(2).says("copy that folder");
    std::fs::rename(&elsewhere, lab.beside_keys("ca")).expect("it is there");
}
