//! What only looks settled is not called so: the last report of a node stays on the monitor, whatever became of it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::fleet::{Lab, Run, head, pair};
use crate::formation;

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    auth: trust
    ssl_self_signed: true",
    pair!()
);

/// Of the keeper itself, and of the server's process that takes WAL: their titles, as `pgrep -f` finds them.
const KEEPER: &str = "pg_autoctl: node active";
const RECEIVER: &str = "postgres: walreceiver";

#[test]
#[ignore = "minutes: make test-long"]
fn what_only_looks_settled() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = lab.inventory_of("truth", INVENTORY);
    let muster = |args: &[&str]| lab.muster(&inventory, args);
    let signal =
        |signal: &str, title: &str| lab.root("coord2", &format!("kill -{signal} $(pgrep -f '{title}')"));
    muster(&["apply", "--yes"]).exits(0);
    formation::settle(&lab);
    muster(&["verify"])
        .exits(0)
        .says("coord2: it streams from coord1, quorum")
        .says("a commit on coord1: it returned");
    muster(&["status"]).exits(0);
    let left = "select count(*) from pg_namespace where nspname = 'muster_verify'";
    assert_eq!(lab.psql("coord1", left), "0", "verify leaves nothing behind");

    // What ALTER SYSTEM has set wins over every file.
    lab.psql("coord1", "alter system set work_mem = '3MB'");
    let by_system = "work_mem is 3MB by ALTER SYSTEM, which wins over";
    muster(&["plan"]).exits(0).says(by_system).says("ALTER SYSTEM RESET work_mem");
    muster(&["status"]).exits(0).says(by_system);
    lab.psql("coord1", "alter system reset work_mem");
    lacks(muster(&["plan"]).exits(0), by_system);

    // The keeper is stopped by a signal: it lives, and says nothing. The monitor's own bound is 20 s.
    signal("STOP", KEEPER);
    until("the keeper is silent", 60, || muster(&["status"]).code == Some(2));
    muster(&["status"]).says("coord2: its keeper has not reported to the monitor for ");
    let silent = "coord2: its keeper has not reported to the monitor for ";
    lacks(muster(&["plan"]).exits(2).says(silent), "nothing to do");
    lacks(muster(&["apply", "--yes"]).exits(2).says(silent).says("group 0: incomplete"), "complete\n");
    muster(&["verify"]).exits(2).says("FAILED coord2: its keeper has not reported");
    signal("CONT", KEEPER);
    until("the keeper reports", 30, || muster(&["status"]).code == Some(0));

    // Who is connected stays so when a role may log in no more, and nobody comes in anew.
    for (on, role) in [("coord1", "pgautofailover_replicator"), ("mon", "autoctl_node")] {
        lab.psql(on, &format!("alter role {role} nologin"));
        let barred = format!("{on}: its role {role} may not log in (NOLOGIN)");
        muster(&["status"]).exits(2).says(&barred);
        if on == "coord1" {
            muster(&["verify"]).exits(2).says(&format!("{on}: roles: its role {role} may not log in"));
            muster(&["restart", "--check"]).exits(2).says(&format!("its role {role} may not log in"));
        }
        muster(&["apply", "--yes"]).exits(0).says(&format!("repair role {role}"));
        formation::settle(&lab);
        muster(&["status"]).exits(0);
    }
    lab.psql("mon", "alter role autoctl_node password 'another'");
    muster(&["status"]).exits(0);

    // A server that runs has read its key, and a keeper that runs needs no unit: neither of them comes up again.
    let pgdata = "/var/lib/postgresql/15/main";
    lab.root(
        "coord2",
        &format!("chmod 0644 {pgdata}.node/server.key; systemctl -q disable pgautofailover-coord2"),
    );
    let key = format!("{pgdata}.node/server.key has mode 0644");
    let unit = "pgautofailover-coord2.service is not enabled";
    muster(&["status"]).exits(2).says(&key).says(unit).says("; apply has 4 steps to do on coord2");
    muster(&["verify"]).exits(2).says("FAILED coord2: its next start: ").says(&key).says(unit);
    lab.root("coord2", &format!("kill $(head -n 1 {pgdata}/postmaster.pid)"));
    let down = "coord2: its PostgreSQL does not start: private key file";
    until("the log tells why", 30, || muster(&["status"]).said().contains(down));
    muster(&["apply", "--yes"]).exits(0).says(down).says("server.key").says("group 0: complete");
    formation::settle(&lab);
    muster(&["status"]).exits(0);

    // The only standby that commits wait for hears nothing any more: no commit returns, though its keeper reports.
    signal("STOP", RECEIVER);
    let began = Instant::now();
    muster(&["verify"]).exits(2).says("FAILED a commit on coord1: it did not return within 10 s");
    assert!(began.elapsed() < Duration::from_secs(40), "it ends in its time");
    assert_eq!(lab.psql("coord1", left), "0", "a commit that does not return leaves nothing behind either");
    until("the standby is not streaming", 60, || muster(&["status"]).code == Some(2));
    muster(&["status"]).says("coord2: it does not stream from coord1");
    lacks(muster(&["plan"]).exits(2).says("coord2: it does not stream from coord1"), "nothing to do");
    signal("CONT", RECEIVER);
    until("the standby streams", 60, || muster(&["status"]).code == Some(0));
    muster(&["verify"]).exits(0);

    // In maintenance: others get their settings, and nobody waits.
    let keeper = |verb: &str| {
        let pgdata = "/var/lib/postgresql/15/main";
        lab.root(
            "coord2",
            &format!("cd /; sudo -H -u postgres pg_autoctl {verb} maintenance --pgdata {pgdata}"),
        );
    };
    keeper("enable");
    muster(&["status"])
        .exits(0)
        .says("coord2: it is in maintenance")
        .says("settled, but for nodes in maintenance");
    muster(&["verify"])
        .exits(0)
        .says("out    coord2: it is in maintenance")
        .says("2 checks left out for maintenance");
    let vars = INVENTORY.replace("    auth: trust\n", "    auth: trust\n    settings: {work_mem: 7MB}\n");
    let edited = lab.inventory_of("truth-edited", &vars);
    let began = Instant::now();
    lab.muster(&edited, &["apply", "--yes"]).exits(0).says("coord2: left alone: it is in maintenance");
    assert!(began.elapsed() < Duration::from_secs(60), "nobody waits for it");
    assert_eq!(lab.psql("coord1", "show work_mem"), "7MB");
    assert_ne!(lab.psql("coord2", "show work_mem"), "7MB");
    keeper("disable");
    lab.muster(&edited, &["apply", "--yes"]).exits(0);
    assert_eq!(lab.psql("coord2", "show work_mem"), "7MB");

    host_dies(&lab, &edited);
}

/// The monitor goes on to have it as a standby; its server is a second one that takes writes.
#[test]
fn a_standby_promoted_by_hand() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = lab.inventory_of("promoted", INVENTORY);
    let muster = |args: &[&str]| lab.muster(&inventory, args);
    muster(&["apply", "--yes"]).exits(0);
    formation::settle(&lab);
    lab.psql("coord2", "select pg_promote()");
    let promoted = "coord2: it is not in recovery: it takes writes on a timeline of its own";
    muster(&["status"]).exits(2).says(promoted);
    muster(&["verify"])
        .exits(2)
        .says("FAILED formation default: it was led to ")
        .says("more than one node takes writes: coord1, coord2")
        .says(promoted);
    lacks(muster(&["apply", "--yes"]).exits(2).says(promoted), "complete\n");

    // What is said leads out.
    let plan = muster(&["plan"]).exits(2).says(promoted);
    lab.root("mon", &format!("cd /; {}", command(&plan, "drop node")));
    lab.root("coord2", &command(&plan, "systemctl stop"));
    muster(&["apply", "--yes"]).exits(0).says("group 0: complete");
    formation::settle(&lab);
    muster(&["status"]).exits(0);
    muster(&["verify"]).exits(0);

    // The monitor has no row of it any more, and clients may still find it.
    lab.psql("coord2", "select pg_promote()");
    lab.pg_autoctl("drop node --name coord2 --force");
    let writes = "coord2: the monitor does not know it, and its PostgreSQL takes writes beside coord1";
    muster(&["status"]).exits(2).says(writes);
    muster(&["plan"]).exits(2).says("its PostgreSQL takes writes beside coord1");
    muster(&["verify"]).exits(2).says("more than one node takes writes: coord1, coord2");
}

/// The primary's host dies for good; what is said then leads out.
fn host_dies(lab: &Lab, inventory: &Path) {
    let muster = |args: &[&str]| lab.muster(inventory, args);
    let states = "cd /; sudo -u postgres psql -XAtq -d pg_auto_failover -c \
                  \"select reportedstate from pgautofailover.node where nodename = 'coord2'\"";
    lab.script(&["kill", "coord1"]);
    until("coord2 takes over", 180, || lab.root("mon", states).trim() == "wait_primary");
    let verified = muster(&["verify"]).exits(2).says("ok     group 0: coord2 takes writes");
    lacks(verified.says("ok     a commit on coord2: it returned"), "more than one node");
    muster(&["status"]).exits(2);
    let plan = muster(&["plan"]).exits(4).says("where its host is lost for good");
    lab.root("mon", &format!("cd /; {}", command(&plan, "drop node")));
    muster(&["plan"]).exits(4);

    // The host comes back after all: its keeper is that of a node that there is no more.
    lab.script(&["start", "coord1"]);
    let plan = muster(&["plan"]).exits(2).says("coord1: ").says("to join it anew");
    lab.root("coord1", &command(&plan, "systemctl stop"));
    muster(&["apply", "--yes"]).exits(0).says("group 0: complete");
    formation::settle(lab);
    muster(&["verify"]).exits(0);
    muster(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    // The data of a standby is lost.
    lab.root("coord1", "systemctl stop pgautofailover-coord1; rm -r /var/lib/postgresql/15/main");
    let plan = muster(&["plan"]).exits(2).says("is empty; to join it anew");
    lab.root("mon", &format!("cd /; {}", command(&plan, "drop node")));
    lab.root("coord1", &command(&plan, "systemctl stop"));
    muster(&["apply", "--yes"]).exits(0).says("group 0: complete");
    formation::settle(lab);
    muster(&["verify"]).exits(0);

    // A node leaves by its own hand: what its keeper wrote last is not what the next node of this name begins with.
    let leave = "cd /; sudo -H -u postgres pg_autoctl drop node --pgdata /var/lib/postgresql/15/main";
    lab.root("coord1", leave);
    let plan = muster(&["plan"]).exits(2).says("coord1: ").says("to join it anew");
    lab.root("coord1", &command(&plan, "systemctl stop"));
    muster(&["apply", "--yes"]).exits(0).says("group 0: complete");
    muster(&["verify"]).exits(0);
    muster(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    // Whom a standby follows is put back as it was: an empty file would end that.
    lab.root("coord1", "rm /var/lib/postgresql/15/main/postgresql-auto-failover-standby.conf");
    muster(&["apply", "--yes"]).exits(0).says("postgresql-auto-failover-standby.conf");
    muster(&["verify"]).exits(0);
}

/// The command with these words that a reason gives, between backticks.
#[track_caller]
fn command(run: &Run, words: &str) -> String {
    let said = run.said();
    let found = said.split('`').skip(1).step_by(2).find(|quoted| quoted.contains(words));
    found.unwrap_or_else(|| panic!("no command with {words} is said")).to_owned()
}

#[track_caller]
fn lacks(run: Run, text: &str) {
    let said = run.said();
    assert!(
        !said.lines().any(|line| format!("{line}\n").contains(text) && !line.contains("incomplete")),
        "it says: {text}"
    );
}

#[track_caller]
fn until(what: &str, seconds: u64, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_secs(2));
    }
}
