//! Variables that change on a running formation: one apply each, and the next plan has nothing to do.

use std::path::PathBuf;

use crate::fleet::{Lab, head};

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/shop
    VARIABLES
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon}
    postgres:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true, STANDBY}
        w1a: {ansible_host: 10.88.0.14, hostname: w1a, secondary: true}
"
);

fn inventory(lab: &Lab, variables: &str, standby: &str) -> PathBuf {
    let is_said = ["no_ssl", "server_cert", "ssl:"].iter().any(|word| variables.contains(word));
    let variables =
        if is_said { variables.to_owned() } else { format!("{variables}; ssl_self_signed: true") };
    let variables = variables.replace("; ", "\n    ");
    lab.inventory_of("changes", &INVENTORY.replace("VARIABLES", &variables).replace("STANDBY", standby))
}

const SCRAM: &str = "auth: scram-sha-256; password: p; replication_password: q; monitor_password: m";

/// What every keeper and client meets on the way is in the logs: nobody was refused.
fn refusals(lab: &Lab, host: &str) -> String {
    lab.root(
        host,
        "journalctl -u 'pgautofailover-*' --since -90s -o cat | grep -E 'no pg_hba.conf entry|does not support SSL' || :",
    )
}

#[test]
#[ignore = "minutes: make test-long"]
fn each_is_brought_about_by_one_apply() {
    let Some(lab) = Lab::first(4) else { return };
    lab.muster(&inventory(&lab, "auth: trust", ""), &["apply", "--yes"]).exits(0);
    for (variables, standby) in [
        ("auth: trust; no_ssl: true", ""),
        ("auth: trust", ""),
        ("auth: trust; ssl_mode: prefer", ""),
        (SCRAM, ""),
        ("auth: scram-sha-256; password: p2; replication_password: q; monitor_password: m", ""),
        ("auth: scram-sha-256; password: p2; replication_password: q2; monitor_password: m", ""),
        ("auth: scram-sha-256; password: p2; replication_password: q2; monitor_password: m2", ""),
        // A service of pg_autoctl that was restarted waits for a minute before it may be once more: these go together.
        ("auth: trust; listen: 0.0.0.0; pg_hba_lan: true", ""),
        ("auth: trust", ""),
        ("hba: ['host all all 192.0.2.0/24 reject']", ""),
        ("settings: {work_mem: 9MB}", ""),
        ("settings: {max_connections: 150}; restart_policy: manual", ""),
        ("settings: {max_connections: 160}", ""),
        ("maximum_backup_rate: 50M", ""),
        ("number_sync_standbys: 0", ""),
        ("number_sync_standbys: 1", "candidate_priority: 7"),
        ("number_sync_standbys: 0", "replication_quorum: false"),
        ("keeper: systemd", ""),
    ] {
        eprintln!("== {variables} {standby}");
        let inventory = inventory(&lab, variables, standby);
        let run = lab.muster(&inventory, &["apply", "--yes"]).exits(0);
        if variables.contains("160") {
            for host in ["mon", "coord1", "coord2", "w1a"] {
                assert_eq!(lab.psql(host, "show max_connections"), "160", "{host}");
            }
        }
        if variables.contains("manual") {
            assert!(run.said().contains("takes effect after a restart of PostgreSQL: max_connections"));
        }
        lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);
        lab.muster(&inventory, &["status"]).exits(0);
        if variables.contains("ssl") {
            for host in ["coord1", "coord2", "w1a"] {
                assert_eq!(refusals(&lab, host), "", "{host}");
            }
        }
        if variables == SCRAM {
            let rules = "select count(*) from pg_hba_file_rules where auth_method = 'trust' and user_name <> '{pgautofailover_monitor}'";
            assert_eq!(lab.psql("coord1", rules), "0", "a rule of before is left");
        }
    }
    // A line that is gone again is not pending, taken or not.
    let plain = inventory(&lab, "auth: trust", "");
    let again = lab.muster(&plain, &["plan"]).exits(0);
    assert!(!again.said().contains("max_connections"), "{}", again.said());
    for (variables, standby, why) in [
        ("dbname: other", "", "dbname is postgres here"),
        ("encoding: LATIN1", "", "encoding is UTF8 here"),
        ("data_checksums: false", "", "data_checksums is true here"),
        ("auth: trust", "name: other", "set name"),
    ] {
        let inventory = inventory(&lab, variables, standby);
        let run = lab.muster(&inventory, &["plan"]);
        assert!(run.said().contains(why), "{variables} {standby}: {}", run.said());
    }
}
