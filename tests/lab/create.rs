//! Without any inventory: the command lines of `pg_autoctl create`, one run after the other, none knowing of the rest.

use std::time::{Duration, Instant};

use crate::fleet::{Lab, Run};

const URI: &str = "postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require";
const PGDATA: &str = "/var/lib/postgresql/15/created";

/// `muster create KIND … HOST`.
fn create(lab: &Lab, kind: &str, options: &[&str], hosts: &[&str], last: &[&str]) -> Run {
    let pgdata = if kind == "monitor" { "/var/lib/postgresql/15/monitor" } else { PGDATA };
    let mut args = vec!["create", kind, "--pgdata", pgdata, "--auth", "trust", "--ssl-self-signed"];
    if kind != "monitor" {
        args.extend(["--monitor", URI]);
    }
    lab.muster_alone(&[&args, options, last, hosts].concat())
}

/// The same command line, and the inventory that it prints: one plan, byte by byte.
fn assert_same_plan(lab: &Lab, kind: &str, options: &[&str], hosts: &[&str]) -> String {
    let printed = create(lab, kind, options, hosts, &["--print-inventory"]).exits(0).stdout;
    let path = lab.beside_keys(&format!("create-{kind}.yml"));
    std::fs::write(&path, &printed).expect("an inventory can be written");
    let shown = create(lab, kind, options, hosts, &["--plan", "--diff"]).exits(0).stdout;
    let path = path.display().to_string();
    let planned = lab.muster_alone(&["-i", &path, "plan", "--diff"]).exits(0).stdout;
    assert_eq!(without_certificates(&shown), without_certificates(&planned), "{printed}");
    shown
}

/// Key pairs are new each time they are planned.
fn without_certificates(plan: &str) -> String {
    let parts = plan.split("-----BEGIN CERTIFICATE-----");
    parts.map(|part| part.split_once("-----END CERTIFICATE-----").map_or(part, |(_, rest)| rest)).collect()
}

/// Creates, and has nothing more to do when it is asked again.
fn created(lab: &Lab, kind: &str, options: &[&str], hosts: &[&str]) {
    assert_same_plan(lab, kind, options, hosts);
    create(lab, kind, options, hosts, &["--yes"]).exits(0);
    nothing_to_do(lab, kind, options, hosts);
}

fn nothing_to_do(lab: &Lab, kind: &str, options: &[&str], hosts: &[&str]) {
    let again = assert_same_plan(lab, kind, options, hosts);
    // Before it there may be notes: a copy of what `pg_autoctl` tuned may have to be restarted some day.
    assert_eq!(again.trim().lines().last(), Some("nothing to do"), "{kind} {hosts:?}");
}

/// `NAME|GROUP|REPORTED` of those that have settled and serve, as the monitor has them.
fn rows(lab: &Lab) -> Vec<String> {
    let sql = "select nodename, groupid, reportedstate from pgautofailover.node \
               where reportedstate = goalstate and health = 1 and reportedpgisrunning order by nodename";
    let script = format!("cd / && sudo -u postgres psql -XAtqc \"{sql}\" pg_auto_failover");
    lab.ssh("mon", &script).lines().map(str::to_owned).collect()
}

fn settles_as(lab: &Lab, expected: &[&str]) {
    let end = Instant::now() + Duration::from_secs(120);
    while rows(lab) != expected {
        assert!(Instant::now() < end, "{:?}", rows(lab));
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn failover(lab: &Lab, group: u32) {
    let command = format!("perform failover --formation default --group {group} 2>&1 || true");
    let script =
        format!("cd /; sudo -H -u postgres env PGDATA=/var/lib/postgresql/15/monitor pg_autoctl {command}");
    lab.ssh("mon", &script);
}

fn psql(lab: &Lab, host: &str, dbname: &str, sql: &str) -> String {
    lab.ssh(host, &format!("cd / && sudo -u postgres psql -XAtq -v ON_ERROR_STOP=1 -d {dbname} -c \"{sql}\""))
}

#[test]
fn one_node_after_the_other() {
    let Some(lab) = Lab::bare() else { return };
    created(&lab, "monitor", &["--hostname", "mon"], &["mon"]);

    created(&lab, "postgres", &[], &["w1a"]);
    settles_as(&lab, &["w1a|0|single"]);
    psql(&lab, "w1a", "postgres", "create table kept as select generate_series(1, 1000) n");

    // Its primary is a stranger to this run.
    created(&lab, "postgres", &["--candidate-priority", "60"], &["w1b"]);
    settles_as(&lab, &["w1a|0|primary", "w1b|0|secondary"]);
    assert_eq!(
        psql(&lab, "w1b", "postgres", "select count(*), pg_is_in_recovery() from kept").trim(),
        "1000|t"
    );
    let inventory = lab.beside_keys("create-postgres.yml").display().to_string();
    lab.muster_alone(&["-i", &inventory, "status"])
        .exits(0)
        .names("w1a", &["the monitor knows it, the inventory does not"]);
    lab.muster_alone(&["-i", &inventory, "verify"]).exits(0).names("w1a", &["takes writes"]);
    nothing_to_do(&lab, "postgres", &[], &["w1a"]);
    nothing_to_do(&lab, "monitor", &["--hostname", "mon"], &["mon"]);

    // Two more at once, of which neither is to become a primary of its own.
    created(&lab, "postgres", &["--replication-quorum", "off"], &["w2a", "w2b"]);
    settles_as(&lab, &["w1a|0|primary", "w1b|0|secondary", "w2a|0|secondary", "w2b|0|secondary"]);

    failover(&lab, 0);
    settles_as(&lab, &["w1a|0|secondary", "w1b|0|primary", "w2a|0|secondary", "w2b|0|secondary"]);
    psql(&lab, "w1b", "postgres", "insert into kept values (1001)");
    for host in [&["w1a"][..], &["w2a", "w2b"]] {
        let options: &[&str] = if host.len() == 2 { &["--replication-quorum", "off"] } else { &[] };
        nothing_to_do(&lab, "postgres", options, host);
    }
    nothing_to_do(&lab, "postgres", &["--candidate-priority", "60"], &["w1b"]);

    // The name is taken, and nothing of it is touched.
    create(&lab, "postgres", &["--name", "w1b"], &["coord1"], &["--yes"])
        .exits(2)
        .names("w1b", &["the monitor knows it at w1b:5432"]);
    lab.root("coord1", &format!("test ! -e {PGDATA}"));
}

/// A primary that `pg_autoctl` itself has made.
#[test]
fn a_node_joins_what_pg_autoctl_has_made() {
    let Some(lab) = Lab::bare() else { return };
    created(&lab, "monitor", &["--hostname", "mon"], &["mon"]);
    let made = format!(
        "cd /; sudo -H -u postgres pg_autoctl create postgres --pgdata {PGDATA} --pgctl /usr/lib/postgresql/15/bin/pg_ctl \
         --hostname w1a --name w1a --monitor '{URI}' --auth trust --ssl-self-signed 2>&1
         sudo -H -u postgres setsid pg_autoctl run --pgdata {PGDATA} >/tmp/keeper.log 2>&1 </dev/null &"
    );
    lab.ssh("w1a", &made);
    settles_as(&lab, &["w1a|0|single"]);
    let before = lab.root("w1a", &format!("cat {PGDATA}/postgresql.conf"));

    created(&lab, "postgres", &[], &["w1b"]);
    settles_as(&lab, &["w1a|0|primary", "w1b|0|secondary"]);
    assert_eq!(
        lab.root("w1a", &format!("cat {PGDATA}/postgresql.conf")),
        before,
        "a stranger is never touched"
    );
    failover(&lab, 0);
    settles_as(&lab, &["w1a|0|secondary", "w1b|0|primary"]);
    failover(&lab, 0);
    settles_as(&lab, &["w1a|0|primary", "w1b|0|secondary"]);
    create(&lab, "postgres", &[], &["w1b"], &["--yes"]).exits(0);
    nothing_to_do(&lab, "postgres", &[], &["w1b"]);
}

#[test]
fn workers_of_a_coordinator_elsewhere() {
    let Some(lab) = Lab::bare() else { return };
    let app = ["--dbname", "app"];
    let of = |group: &'static str| ["--dbname", "app", "--group", group];
    created(&lab, "monitor", &["--hostname", "mon"], &["mon"]);
    create(&lab, "worker", &of("1"), &["w1a"], &["--yes"])
        .exits(2)
        .names("w1a", &["formation default has no coordinator yet"]);

    created(&lab, "coordinator", &app, &["coord1", "coord2"]);
    settles_as(&lab, &["coord1|0|primary", "coord2|0|secondary"]);
    created(&lab, "worker", &of("1"), &["w1a", "w1b"]);
    created(&lab, "worker", &of("2"), &["w2a"]);
    let citus = "select groupid, nodename, noderole, isactive from pg_dist_node order by groupid";
    let expected = "0|coord1|primary|t\n1|w1a|primary|t\n2|w2a|primary|t\n";
    assert_eq!(psql(&lab, "coord1", "app", citus), expected);
    let inventory = lab.beside_keys("create-worker.yml").display().to_string();
    lab.muster_alone(&["-i", &inventory, "status"]).exits(0).names("coord1", &["the monitor knows it"]);
    lab.muster_alone(&["-i", &inventory, "verify"]).exits(0).names("w2a", &["active primary of group 2"]);

    // The coordinator goes elsewhere: workers find it by the monitor's word.
    failover(&lab, 0);
    settles_as(
        &lab,
        &["coord1|0|secondary", "coord2|0|primary", "w1a|1|primary", "w1b|1|secondary", "w2a|2|single"],
    );
    nothing_to_do(&lab, "worker", &of("1"), &["w1a", "w1b"]);
    nothing_to_do(&lab, "worker", &of("2"), &["w2a"]);
    failover(&lab, 1);
    settles_as(
        &lab,
        &["coord1|0|secondary", "coord2|0|primary", "w1a|1|secondary", "w1b|1|primary", "w2a|2|single"],
    );
    nothing_to_do(&lab, "worker", &of("1"), &["w1a", "w1b"]);
    nothing_to_do(&lab, "coordinator", &app, &["coord1", "coord2"]);
    let expected = "0|coord2|primary|t\n1|w1b|primary|t\n2|w2a|primary|t\n";
    assert_eq!(psql(&lab, "coord2", "app", citus), expected);
}
