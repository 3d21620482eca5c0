//! A statement on the coordinator whose commit waits for a standby that does not confirm it.

use std::time::{Duration, Instant};

use crate::fleet::{Lab, head};

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    ssl_self_signed: true
    dbname: app
    auth: trust
    command_timeout: 40
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}
    coordinator:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
    workers:
      hosts:
        w1a: {ansible_host: 10.88.0.14, hostname: w1a, group: 1}
"
);

#[test]
fn a_row_of_citus_that_no_standby_confirms() {
    let Some(lab) = Lab::first(4) else { return };
    let inventory = lab.inventory_of("waits", INVENTORY);
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);

    let signal = |signal: &str| {
        lab.root("coord2", &format!("kill -{signal} $(pgrep -f 'postgres: walreceiver')"));
    };
    let pooled = lab.inventory_of("waits", &INVENTORY.replace("group: 1", "group: 1, proxyport: 6432"));
    signal("STOP");
    let began = Instant::now();
    lab.muster(&pooled, &["apply", "--yes"])
        .exits(2)
        .says("pg_dist_poolinfo does not know it; the commit waits for a standby of coord1")
        .says(
            "it did not end within 25 s: its commit waits for a synchronous standby that does not confirm it",
        );
    assert!(began.elapsed() < Duration::from_secs(40), "it ends in its time: {:?}", began.elapsed());
    let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    assert_eq!(lab.psql("coord1", waits), "0", "nobody goes on waiting on the coordinator");
    signal("CONT");

    // What was cancelled is the wait alone.
    let until = Instant::now() + Duration::from_secs(60);
    while lab.muster(&pooled, &["status"]).code != Some(0) && Instant::now() < until {
        std::thread::sleep(Duration::from_secs(1));
    }
    lab.muster(&pooled, &["apply", "--yes"]).exits(0);
    lab.muster(&pooled, &["plan", "--detailed-exitcode"]).exits(0);
}
