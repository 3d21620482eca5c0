//! From bare hosts to a formation, and what it takes afterwards.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fleet::Lab;
use crate::formation::{self, Member};

#[test]
fn fresh_rollout() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);

    let started = Instant::now();
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    let took = started.elapsed().as_secs().to_string();
    fs::write(lab.beside_keys("apply-seconds"), took).expect("a note can be left");
    formation::assert_converged(&lab);
    formation::write_rows(&lab);
    formation::assert_rows(&lab);
    lab.muster(&inventory, &["verify"]).exits(0);
    assert_nothing_to_do(&lab, &inventory);

    for group in 0..3 {
        let before = formation::primary(&lab, group);
        lab.pg_autoctl(&format!("perform failover --formation default --group {group} 2>&1"));
        formation::settle(&lab);
        assert_ne!(formation::primary(&lab, group), before, "group {group} failed over");
    }
    formation::assert_converged(&lab);
    formation::assert_rows(&lab);
    assert_nothing_to_do(&lab, &inventory);

    // A reboot is no failure: the primary comes back as what it was.
    let primary = formation::primary(&lab, 1);
    lab.script(&["reboot", &primary]);
    std::thread::sleep(Duration::from_secs(10)); // two of the monitor's health checks
    formation::settle(&lab);
    assert_eq!(formation::primary(&lab, 1), primary, "the reboot caused a failover");
    formation::assert_converged(&lab);
    formation::assert_rows(&lab);
    lab.muster(&inventory, &["status"]).exits(0);

    // What only the running server can judge, as its libraries know it, changes nothing where it is wrong.
    let wrong = lab.inventory("wrong", |text| {
        text.replace(
            "          max_connections: 200\n",
            "          max_connections: 200\n          pg_stat_statements.track: banana\n",
        )
    });
    lab.muster(&wrong, &["apply", "--yes"])
        .exits(2)
        .says("postgresql.conf: pg_stat_statements.track: setting could not be applied");
    for node in formation::members(&lab) {
        let wrong = "select count(*) from pg_file_settings where name ~ '^pg_stat_statements'";
        assert_eq!(lab.psql(&node.name, wrong), "0", "{}: the old file is back", node.name);
    }
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    assert_nothing_to_do(&lab, &inventory);
}

#[test]
fn one_host_down() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);

    lab.script(&["stop", "w2b"]);
    lab.muster(&inventory, &["apply", "--yes"]).exits(4).names("w2b", &["unreachable"]);
    let members = formation::members(&lab);
    let whole: Vec<&Member> = members.iter().filter(|node| node.group < 2).collect();
    assert_eq!(whole.len(), 6, "groups 0 and 1 are complete: {members:#?}");
    assert!(whole.iter().all(|node| node.is_settled()), "groups 0 and 1 serve: {members:#?}");
    assert!(members.iter().all(|node| node.name != "w2b"), "w2b was never seen: {members:#?}");
    lab.muster(&inventory, &["status"]).names("w2b", &["unreachable"]);

    lab.script(&["start", "w2b"]);
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    formation::settle(&lab);
    formation::assert_converged(&lab);
    assert_nothing_to_do(&lab, &inventory);
}

/// The plan is empty, and applying it moves no file's mtime and restarts no process.
#[track_caller]
fn assert_nothing_to_do(lab: &Lab, inventory: &Path) {
    let before = formation::fingerprint(lab);
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0);
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    for (before, after) in before.iter().zip(formation::fingerprint(lab)) {
        assert_eq!(*before, after, "a rerun touched something");
    }
}
