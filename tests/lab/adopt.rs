//! Formations that `pg_autoctl create` made, in the way its documentation does: adopted, changed, failed over.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fleet::{Lab, Run};
use crate::formation;

const PG_CTL: &str = "--pgctl /usr/lib/postgresql/15/bin/pg_ctl";
const NODE: &str = "/var/lib/postgresql/node";

#[test]
#[ignore = "minutes: make test-long"]
fn citus_formation_is_adopted() {
    let Some(lab) = Lab::bare() else { return };
    make_citus(&lab);
    let at_first = formation::fingerprint(&lab);
    let conf = || lab.root("coord1", &format!("cat {NODE}/postgresql.conf"));
    let conf_at_first = conf();

    let inventory = adopt(&lab, "adopted", &["--monitor", "mon"]);
    let text = std::fs::read_to_string(&inventory).expect("an inventory was written");
    for line in [
        "dbname: shop",
        "work_mem: 32MB",
        "name: worker1",
        "server_cert: /etc/ssl/pg/w1a.crt",
        "# w1b: its pg_autoctl was started by hand: nothing starts it after a reboot",
        "maintenance_work_mem: 64MB",
        "- 'hostssl shop \"App User\" 10.20.0.0/24 scram-sha-256 # the shop'",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    assert_eq!(formation::fingerprint(&lab), at_first, "looking changed something");
    lab.muster(&inventory, &["verify"]).exits(0);
    let status = lab.muster(&inventory, &["status"]).exits(0).stdout;
    assert!(!status.contains("unknown"), "certificates are read where the servers have them:\n{status}");

    // A setting that is reloaded, and one that takes a restart: these, on that group, and nothing else.
    let changed = lab.inventory_of(
        "adopted-changed",
        &text
            .replace("work_mem: 32MB", "work_mem: 48MB")
            .replace("max_connections: 150", "max_connections: 160"),
    );
    lab.muster(&changed, &["plan", "--detailed-exitcode"])
        .exits(3)
        .says("coord1\n    ~ write /var/lib/postgresql/node/postgresql.conf - it differs in max_connections, work_mem")
        .says("4 steps on 2 nodes");
    lab.muster(&changed, &["apply", "--yes"]).exits(0);
    for host in ["coord1", "coord2"] {
        assert_eq!(lab.psql(host, "show work_mem"), "48MB", "{host}");
        let waits = "select setting, pending_restart from pg_settings where name = 'max_connections'";
        assert_eq!(lab.psql(host, waits), "150|t", "{host}");
    }
    assert!(conf().starts_with(&conf_at_first), "what was there stays, byte by byte");
    nothing_to_do(&lab, &changed).says("takes effect after a restart of PostgreSQL: max_connections");

    for group in 0..2 {
        let before = formation::primary(&lab, group);
        lab.pg_autoctl(&format!("perform failover --formation default --group {group} 2>&1"));
        formation::settle(&lab);
        assert_ne!(formation::primary(&lab, group), before, "group {group} failed over");
    }
    nothing_to_do(&lab, &changed);
    lab.muster(&changed, &["verify"]).exits(0);

    // Back again: the inventory has the last word, and the file's own line holds no more than before.
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    assert_eq!(lab.psql("coord2", "show work_mem"), "32MB");
    nothing_to_do(&lab, &inventory);

    // What muster does not do to adopted nodes, it says.
    let standby = "            w1b:\n              name: worker2\n";
    assert!(text.contains(standby), "{text}");
    let more =
        lab.inventory_of("adopted-more", &text.replace(standby, &format!("            w2a:\n{standby}")));
    lab.muster(&more, &["plan"]).exits(2).names("w2a", &["makes no data directory for an adopted server"]);
    lab.root("w1b", "kill -9 $(pgrep -xo pg_autoctl)");
    lab.muster(&inventory, &["apply", "--yes"]).exits(2).names("worker2", &["its keeper does not run"]);
    lab.muster(&inventory, &["status"]).exits(2);
    run_by_hand(&lab, "w1b", NODE);
    formation::settle(&lab);
    nothing_to_do(&lab, &inventory);

    // Whoever cannot be seen is not left out without a word.
    let nowhere = lab.beside_keys("nowhere.yml");
    adopt_to(&lab, &nowhere, &["--monitor", "coord1"]).exits(2).says("no pg_autoctl.cfg of a monitor");
    adopt_to(&lab, &nowhere, &["--monitor", "mon", "--formation", "other"]).exits(1).says("it has default");
    adopt_to(&lab, &nowhere, &["--monitor", "127.0.0.1:1"]).exits(4);
    assert!(!nowhere.exists());
    lab.script(&["stop", "w1b"]);
    let args = ["--monitor", "mon"];
    let partial = lab.beside_keys("adopted-partial.yml");
    drop(std::fs::remove_file(&partial));
    let run = adopt_to(&lab, &partial, &args)
        .exits(4)
        .names("worker2", &["no route", "no answer", "cannot connect"]);
    assert!(!partial.exists(), "{}", run.said());
    adopt_to(&lab, &partial, &["--monitor", "mon", "--partial"]).exits(4);
    let partial = std::fs::read_to_string(&partial).expect("what was seen is written");
    assert!(partial.contains("# LEFT OUT: worker2: ") && !partial.contains("w1b:"), "{partial}");
}

#[test]
#[ignore = "minutes: make test-long"]
fn standalone_formation_with_passwords_is_adopted() {
    let Some(lab) = Lab::bare() else { return };
    make_standalone(&lab);
    let at_first = formation::fingerprint(&lab);

    let inventory = adopt(&lab, "passwords/adopted", &["--monitor", "deploy@mon"]);
    let text = std::fs::read_to_string(&inventory).expect("an inventory was written");
    assert!(text.contains("auth: scram-sha-256") && text.contains("ansible_user: deploy"), "{text}");
    assert!(!text.contains("repl-pass") && !text.contains("mon p@ss"), "{text}");
    let folder = inventory.with_file_name("secrets");
    assert_eq!(mode(&folder), 0o700);
    for (name, secret) in [("monitor_password", "mon p@ss"), ("replication_password", "repl-pass")] {
        assert_eq!(std::fs::read_to_string(folder.join(name)).expect("a secret was written"), secret);
        assert_eq!(mode(&folder.join(name)), 0o600);
    }
    nothing_to_do(&lab, &inventory);
    adopt_to(&lab, &inventory, &["--monitor", "mon"]).exits(1).says("is there already");

    // The same monitor by its URI is one that muster does not look after.
    let uri = "postgres://autoctl_node:mon%20p%40ss@mon:5432/pg_auto_failover?sslmode=require";
    let external = adopt(&lab, "passwords/external", &["--monitor", uri]);
    let external_text = std::fs::read_to_string(&external).expect("an inventory was written");
    assert!(external_text.contains("monitor: postgres://autoctl_node@mon:5432/"), "{external_text}");
    assert!(!external_text.contains("p%40ss"), "{external_text}");
    nothing_to_do(&lab, &external);
    assert_eq!(formation::fingerprint(&lab), at_first, "looking changed something");

    let rule = "      - host replication all ::1/128 trust\n";
    assert!(text.contains(rule), "{text}");
    let changed = inventory.with_file_name("changed.yml");
    let new = text
        .replace(rule, &format!("{rule}      - hostssl app reporting 10.20.0.0/24 scram-sha-256\n"))
        .replace("pgport: 5433", "pgport: 5433\n        settings: {statement_timeout: 5min}");
    std::fs::write(&changed, new).expect("an inventory can be written");
    lab.muster(&changed, &["apply", "--yes"]).exits(0);
    for host in ["coord1", "coord2"] {
        assert_eq!(lab.psql(host, "show statement_timeout"), "5min", "{host}");
        let rules = "select count(*) from pg_hba_file_rules where user_name = '{reporting}'";
        assert_eq!(lab.psql(host, rules), "1", "{host}");
    }
    nothing_to_do(&lab, &changed);
    let before = formation::primary(&lab, 0);
    lab.pg_autoctl("perform failover --formation default --group 0 2>&1");
    formation::settle(&lab);
    assert_ne!(formation::primary(&lab, 0), before);
    nothing_to_do(&lab, &changed);
}

/// A monitor, two coordinators, two workers: settings and rules of somebody's own, a certificate of one's own on one
/// worker, the other one's keeper started by hand.
fn make_citus(lab: &Lab) {
    let uri = "postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require";
    let how = format!("--auth trust {PG_CTL}");
    as_postgres(
        lab,
        "mon",
        &format!(
            "pg_autoctl create monitor --pgdata /var/lib/postgresql/monitor --hostname mon --ssl-self-signed {how}"
        ),
    );
    run_by_systemd(lab, "mon", "/var/lib/postgresql/monitor");
    let create = |host: &str, kind: &str, rest: &str| {
        let line = format!(
            "pg_autoctl create {kind} --pgdata {NODE} --hostname {host} --dbname shop {how} --monitor '{uri}' {rest}"
        );
        as_postgres(lab, host, &line);
    };
    create("coord1", "coordinator", "--name coord1 --ssl-self-signed");
    as_postgres(
        lab,
        "coord1",
        &format!(
            "cat >>{NODE}/postgresql.conf <<'END'\n# ours\nwork_mem = 32MB          # more for reports\n\
             max_connections = 150\napplication_name = 'it''s ours'\nEND\n\
             cat >>{NODE}/pg_hba.conf <<'END'\n# application servers\n\
             hostssl  shop   \"App User\"   10.20.0.0/24   scram-sha-256   # the shop\n\
             hostssl all ldapuser 10.20.0.0/24 ldap ldapserver=ldap.example ldapprefix=\"cn=\" ldapsuffix=\", dc=example\"\nEND"
        ),
    );
    run_by_systemd(lab, "coord1", NODE);
    create("coord2", "coordinator", "--name coord2 --ssl-self-signed --candidate-priority 40");
    run_by_systemd(lab, "coord2", NODE);
    lab.root(
        "w1a",
        "install -d -o postgres -g postgres -m 700 /etc/ssl/pg\n\
         openssl req -new -x509 -days 365 -nodes -subj /CN=w1a -out /etc/ssl/pg/w1a.crt -keyout /etc/ssl/pg/w1a.key 2>/dev/null\n\
         chown postgres: /etc/ssl/pg/*; chmod 600 /etc/ssl/pg/w1a.key",
    );
    let own = "--server-cert /etc/ssl/pg/w1a.crt --server-key /etc/ssl/pg/w1a.key --ssl-ca-file /etc/ssl/pg/w1a.crt --ssl-mode require";
    create("w1a", "worker", &format!("--name worker1 --group 1 {own}"));
    run_by_systemd(lab, "w1a", NODE);
    as_postgres(
        lab,
        "w1a",
        "until psql -Xqc \"alter system set maintenance_work_mem = '64MB'\" -c 'select pg_reload_conf()'; do sleep 1; done",
    );
    create("w1b", "worker", "--name worker2 --group 1 --ssl-self-signed");
    run_by_hand(lab, "w1b", NODE);
    formation::settle(lab);
}

/// A monitor and two nodes with passwords.
fn make_standalone(lab: &Lab) {
    let how = format!("--auth scram-sha-256 --ssl-self-signed {PG_CTL}");
    let pgdata = "/var/lib/postgresql/15/main";
    as_postgres(
        lab,
        "mon",
        &format!("pg_autoctl create monitor --pgdata /var/lib/postgresql/monitor --hostname mon {how}"),
    );
    run_by_systemd(lab, "mon", "/var/lib/postgresql/monitor");
    as_postgres(
        lab,
        "mon",
        "until psql -Xqc \"alter user autoctl_node password 'mon p@ss'\"; do sleep 1; done",
    );
    let uri = "postgres://autoctl_node:mon%20p%40ss@mon:5432/pg_auto_failover?sslmode=require";
    let pgpass = "umask 077; echo '*:*:*:pgautofailover_replicator:repl-pass' >~/.pgpass";
    for (host, name) in [("coord1", "a"), ("coord2", "b")] {
        as_postgres(
            lab,
            host,
            &format!(
                "{pgpass}\npg_autoctl create postgres --pgdata {pgdata} --pgport 5433 --hostname {host} --name {name} \
                 --dbname app --pg-hba-lan {how} --monitor '{uri}'\n\
                 pg_autoctl config set replication.password repl-pass --pgdata {pgdata}"
            ),
        );
        run_by_systemd(lab, host, pgdata);
        if host == "coord1" {
            let sql = "alter user pgautofailover_replicator password 'repl-pass'";
            as_postgres(lab, host, &format!("until psql -p 5433 -Xqc \"{sql}\"; do sleep 1; done"));
        }
    }
    formation::settle(lab);
}

fn as_postgres(lab: &Lab, host: &str, script: &str) {
    lab.root(host, &format!("cd /\nsudo -H -u postgres sh -eu 2>&1 <<'POSTGRES'\n{script}\nPOSTGRES"));
}

/// As the documentation has it.
fn run_by_systemd(lab: &Lab, host: &str, pgdata: &str) {
    lab.root(
        host,
        &format!(
            "cd /\nsudo -H -u postgres pg_autoctl -q show systemd --pgdata {pgdata} >/etc/systemd/system/pgautofailover.service\n\
             systemctl daemon-reload\nsystemctl enable -q pgautofailover\nsystemctl start pgautofailover"
        ),
    );
    std::thread::sleep(Duration::from_secs(2));
}

fn run_by_hand(lab: &Lab, host: &str, pgdata: &str) {
    as_postgres(
        lab,
        host,
        &format!("setsid pg_autoctl run --pgdata {pgdata} >/tmp/keeper.log 2>&1 </dev/null &"),
    );
}

fn adopt(lab: &Lab, name: &str, args: &[&str]) -> PathBuf {
    let path = lab.beside_keys(&format!("{name}.yml"));
    let folder = path.parent().expect("it is beside the keys");
    std::fs::create_dir_all(folder).expect("a folder can be made");
    for old in
        [path.clone(), folder.join("secrets/monitor_password"), folder.join("secrets/replication_password")]
    {
        drop(std::fs::remove_file(old));
    }
    adopt_to(lab, &path, args).exits(0).says("nothing to do");
    assert_eq!(mode(&path), 0o600);
    path
}

fn adopt_to(lab: &Lab, path: &Path, args: &[&str]) -> Run {
    let (config, path) = (lab.beside_keys("ssh_config"), path.to_str().expect("a path of the lab"));
    let mut all = vec!["-F", config.to_str().expect("a path of the lab"), "adopt", "-o", path];
    all.extend(args);
    lab.muster(Path::new("no-inventory-is-read.yml"), &all)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// The plan is empty, and applying it moves no file and no process.
#[track_caller]
fn nothing_to_do(lab: &Lab, inventory: &Path) -> Run {
    let before = formation::fingerprint(lab);
    let run = lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    assert_eq!(formation::fingerprint(lab), before, "a rerun touched something");
    run
}
