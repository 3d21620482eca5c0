//! Hosts that have their programs elsewhere, or others: what is rolled out there serves, fails over and is settled.

use std::path::Path;

use crate::fleet::{Lab, head};

/// A standalone formation of three, on the lab's first four hosts.
const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: PGDATA
    VARIABLE
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon}
    postgres:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
        w1a: {ansible_host: 10.88.0.14, hostname: w1a, secondary: true}
"
);

fn inventory(pgdata: &str, variable: &str) -> String {
    INVENTORY.replace("PGDATA", pgdata).replace("VARIABLE", variable)
}

/// PostgreSQL 17 and pg_auto_failover 2.2, as Debian 13 has them.
#[test]
fn another_release() {
    let Some(lab) = Lab::trixie() else { return };
    let pgdata = "/var/lib/postgresql/17/shop";
    let inventory = lab.inventory_of("trixie", &inventory(pgdata, "pg_version: 17"));
    rolls_out_and_fails_over(&lab, &inventory, pgdata, "pg_autoctl");
}

/// Nothing is where Debian puts it: no program is in PATH, and the user's home is that of the RHEL family.
#[test]
fn elsewhere() {
    let Some(lab) = Lab::bare() else { return };
    for host in ["mon", "coord1", "coord2", "w1a"] {
        lab.root(
            host,
            "mkdir -p /opt/pg/lib /opt/pg/share
            mv /usr/lib/postgresql /opt/pg/lib/; mv /usr/share/postgresql /opt/pg/share/
            mv /usr/bin/pg_autoctl /opt/pg/lib/postgresql/15/bin/
            rm -rf /usr/bin/psql /usr/bin/pg_* /usr/share/postgresql-common /etc/postgresql*
            usermod -m -d /var/lib/pgsql postgres",
        );
    }
    let bin = "/opt/pg/lib/postgresql/15/bin";
    let pgdata = "/var/lib/pgsql/15/data";
    let nothing = lab.inventory_of("elsewhere", &inventory(pgdata, "keeper: auto"));
    lab.muster(&nothing, &["plan"]).exits(2).names("coord1", &["no PostgreSQL is installed"]);
    let inventory = lab.inventory_of("elsewhere", &inventory(pgdata, &format!("pgctl: {bin}/pg_ctl")));
    rolls_out_and_fails_over(&lab, &inventory, pgdata, &format!("{bin}/pg_autoctl"));
}

fn rolls_out_and_fails_over(lab: &Lab, inventory: &Path, pgdata: &str, pg_autoctl: &str) {
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0);
    let ask = |what: &str| {
        lab.root("mon", &format!("cd /; sudo -H -u postgres {pg_autoctl} {what} --pgdata {pgdata}"))
    };
    assert_eq!(ask("show state").matches("secondary").count(), 4, "two secondaries, reported and assigned");
    ask("perform failover");
    let state = ask("show state");
    let first = state.lines().find(|line| line.contains("coord1")).expect("it is still registered");
    assert!(!first.contains("primary"), "{state}");
    lab.muster(inventory, &["verify"]).exits(0);
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0);
}
