//! Day two: servers are restarted, primaries change and hosts are taken out while somebody writes all the time.
//!
//! Of every group one client writes rows one by one, each on a connection of its own, and notes what was acknowledged: what it noted is
//! there in the end. The longest time without an acknowledged row is printed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fleet::{HOSTS, Lab};

/// `$1` connection string, `$2` key, `$3` file of what was acknowledged: a number and a time in milliseconds a line.
const WRITER: &str = r#"n=0
while [ ! -e /tmp/no-more ]; do
  n=$((n + 1))
  if PGCONNECT_TIMEOUT=2 PGOPTIONS='-c statement_timeout=10s' /usr/lib/postgresql/15/bin/psql -XAtqw "$1" -c "insert into ledger values ($2, $n)" 2>/dev/null; then
    echo "$n $(date +%s%3N)" >>"$3"
  fi
  sleep 0.05
done
"#;

const CLIENT: &str =
    "postgres://coord1,coord2/app?target_session_attrs=read-write&sslmode=require&user=postgres";

/// Clients that write all the while, one of each group of workers, on a host of their own.
pub(crate) struct Writers {
    host: &'static str,
    keys: [String; 2],
}

impl Writers {
    /// With a table of their own in the formation.
    pub(crate) fn start(lab: &Lab, host: &'static str) -> Writers {
        lab.sql(
            "coord1",
            "create table ledger (k int, n bigint); select create_distributed_table('ledger', 'k', shard_count => 8);",
        );
        let keys = [1, 2].map(|group| key_of(lab, group));
        lab.send(host, "/tmp/writer", WRITER.as_bytes());
        for (group, key) in keys.iter().enumerate() {
            lab.root(
                host,
                &format!("setsid sh /tmp/writer '{CLIENT}' {key} /tmp/acknowledged-{group} </dev/null >/dev/null 2>&1 &"),
            );
        }
        Writers { host, keys }
    }

    /// Counts what is there of that which was acknowledged.
    pub(crate) fn stop(self, lab: &Lab) {
        lab.root(self.host, "touch /tmp/no-more");
        std::thread::sleep(Duration::from_secs(1));
        for (group, key) in self.keys.iter().enumerate() {
            let noted = lab.root(self.host, &format!("cat /tmp/acknowledged-{group}"));
            let rows: Vec<(u64, u64)> = noted
                .lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(n, at)| (n.parse().expect("a number"), at.parse().expect("a time")))
                .collect();
            let coordinator = ["coord1", "coord2"]
                .into_iter()
                .find(|name| lab.psql(name, "select pg_is_in_recovery()") == "f");
            let there = lab.sql(
                coordinator.expect("one takes writes"),
                &format!("select n from ledger where k = {key};"),
            );
            let there: std::collections::BTreeSet<u64> =
                there.lines().filter_map(|line| line.parse().ok()).collect();
            let lost = rows.iter().filter(|(n, _)| !there.contains(n)).count();
            let longest = rows.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default();
            eprintln!(
                "-- group {}: {} rows acknowledged, {lost} lost, longest gap {longest} ms",
                group + 1,
                rows.len()
            );
            assert!(rows.len() > 100, "somebody wrote");
            assert_eq!(lost, 0, "acknowledged rows are lost");
        }
    }
}

/// Three groups: two with a standby and a reader each, the third one alone.
pub(crate) fn inventory(lab: &Lab, coordinators: u32, workers: u32) -> std::path::PathBuf {
    lab.inventory("rolling", |text| {
        let stays = |line: &&str| !["w2b:", "w2r:"].iter().any(|name| line.trim().starts_with(name));
        let text: Vec<&str> = text.lines().filter(stays).collect();
        let text = text.join("\n") + "\n";
        text.replace("max_connections: 200", &format!("max_connections: {coordinators}"))
            .replace("max_connections: 300", &format!("max_connections: {workers}"))
    })
}

/// A key whose rows are on the workers of a group.
fn key_of(lab: &Lab, group: u32) -> String {
    let keys = lab.sql(
        "coord1",
        &format!(
            "select k from generate_series(1, 100) k join pg_dist_placement on shardid = get_shard_id_for_distribution_column('ledger', k)\n\
             where groupid = {group} limit 1;"
        ),
    );
    keys.trim().to_owned()
}

/// The hosts of that formation, the monitor's first.
pub(crate) fn hosts() -> impl Iterator<Item = &'static str> {
    HOSTS.into_iter().filter(|name| !["w2b", "w2r"].contains(name))
}

fn nodes() -> impl Iterator<Item = &'static str> {
    hosts().filter(|name| *name != "mon")
}

fn connections(lab: &Lab) -> Vec<String> {
    nodes().map(|name| lab.psql(name, "show max_connections")).collect()
}

/// A standby that its keeper restarts meanwhile has to start: in no file is less than its server runs with.
fn assert_none_would_have_less(lab: &Lab) {
    for name in nodes().filter(|name| *name != "w2a") {
        let would = lab.root(
            name,
            "su postgres -c '/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/citus -C max_connections'",
        );
        let [would, has] = [would.trim(), &lab.psql(name, "show max_connections")]
            .map(|number| number.parse::<u32>().expect("a number"));
        assert!(would >= has, "{name} runs with {has} and would start with {would}");
    }
}

/// When each server was started, in seconds.
pub(crate) fn started(lab: &Lab) -> Vec<(&'static str, f64)> {
    let of = |name: &'static str| {
        let at = lab.psql(name, "select extract(epoch from pg_postmaster_start_time())");
        (name, at.parse().expect("it is a number"))
    };
    hosts().map(of).collect()
}

/// No two members of a group have this done at once, nor has one while another takes over, as the run's own events say.
pub(crate) fn assert_one_at_a_time(events: &str, what: &str, least: usize) {
    let of = |node: &str| match node.starts_with("coord") {
        true => "coord".to_owned(),
        false => node[..node.len().min(2)].to_owned(),
    };
    let mut away: Vec<(String, String)> = Vec::new();
    let mut turns = 0;
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).expect("an object a line");
        let (Some(node), Some(title)) = (event["node"].as_str(), event["title"].as_str()) else { continue };
        if title != what && !title.starts_with("take over") && !title.starts_with("wait until") {
            continue;
        }
        match event["event"].as_str() {
            Some("step_started") => {
                let others = away.iter().filter(|(of_group, other)| *of_group == of(node) && other != node);
                assert_eq!(others.count(), 0, "{node} begins \"{title}\" while {away:?}");
                away.push((of(node), node.to_owned()));
                turns += usize::from(title == what);
            }
            Some("step_done" | "step_failed") => away.retain(|(_, other)| other != node),
            _ => (),
        }
    }
    assert!(turns >= least, "{turns} times {what}");
}

/// A library that is not there is told before any file is written. What shows at the start alone is met by one standby, which gets back
/// what it had; nobody else is touched.
fn a_server_that_would_not_start_is_one_standby(lab: &Lab) {
    let with = |line: &str| {
        let path = inventory(lab, 150, 250);
        let text = std::fs::read_to_string(&path).expect("it has just been written");
        let line = format!("          max_connections: 250\n          {line}\n");
        std::fs::write(&path, text.replace("          max_connections: 250\n", &line))
            .expect("it can be written");
        path
    };
    let confs = || {
        let conf = "md5sum </var/lib/postgresql/15/citus/postgresql.conf";
        nodes().map(|name| lab.root(name, conf)).collect::<Vec<_>>()
    };
    let (before, files) = (started(lab), confs());
    lab.muster(&with("shared_preload_libraries: nosuch"), &["apply", "--yes"])
        .exits(2)
        .says("could not access file \"nosuch\"");
    assert_eq!((&before, &files), (&started(lab), &confs()));

    // More than this machine has; whether it can be had shows when the server starts.
    let run = lab.muster(&with("shared_buffers: 900GB"), &["apply", "--yes"]).exits(2);
    run.says(
        "so what was there before is back (postgresql.conf): FATAL:  could not map anonymous shared memory",
    );
    let restarted: Vec<&str> = before
        .iter()
        .zip(started(lab))
        .filter(|((_, before), (_, now))| before != now)
        .map(|((name, _), _)| *name)
        .collect();
    assert!(matches!(restarted[..], ["w1b"] | ["w1r"]), "{restarted:?}");
    assert_eq!(files, confs());
    lab.muster(&inventory(lab, 150, 250), &["status"]).exits(0);
    lab.muster(&inventory(lab, 150, 250), &["verify"]).exits(0);
    assert_eq!(lab.root(restarted[0], "ls -A /var/lib/postgresql/15/citus | grep muster || true"), "");
}

#[test]
fn a_formation_lives_on_while_it_is_restarted() {
    let Some(lab) = Lab::with_citus() else { return };
    let plain = inventory(&lab, 200, 300);
    lab.muster(&plain, &["apply", "--yes"]).exits(0);
    let writers = Writers::start(&lab, "mon");
    let restart =
        |inventory: &Path, args: &[&str]| lab.muster(inventory, &[&["restart", "--yes"], args].concat());

    // Raised by a rollout: the primary without a standby waits for somebody who allows downtime.
    let raised = inventory(&lab, 220, 330);
    let run = lab.muster(&raised, &["--json", "apply", "--yes"]).exits(0);
    assert_one_at_a_time(&run.stdout, "restart PostgreSQL", 5);
    assert_eq!(connections(&lab), ["220", "220", "330", "330", "300", "220", "330"]);
    lab.muster(&raised, &["plan", "--detailed-exitcode"]).exits(0).says(
        "w2a has no standby that could take over; `muster restart w2a --pending --allow-downtime` does",
    );
    restart(&raised, &["--pending", "w2a"])
        .exits(2)
        .says("w2a has no standby that could take over; with --allow-downtime");
    restart(&raised, &["--pending", "--allow-downtime"]).exits(0);
    assert_eq!(connections(&lab), ["220", "220", "330", "330", "330", "220", "330"]);
    lab.muster(&raised, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    restart(&raised, &["--pending"]).exits(0).says("nothing to do");

    // Lowered: no standby may have less than its primary meanwhile.
    let lowered = inventory(&lab, 150, 250);
    let run = lab.muster(&lowered, &["--json", "apply", "--yes"]).exits(0);
    assert_one_at_a_time(&run.stdout, "restart PostgreSQL", 5);
    restart(&lowered, &["--pending", "--allow-downtime"]).exits(0);
    assert_eq!(connections(&lab), ["150", "150", "250", "250", "250", "150", "250"]);
    lab.muster(&lowered, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    // By hand, up and down.
    for (coordinators, workers) in [(160, 260), (150, 250)] {
        let before = started(&lab);
        let changed = inventory(&lab, coordinators, workers);
        lab.muster(&changed, &["apply", "--yes", "--restart-policy", "manual"]).exits(0);
        assert_eq!(before, started(&lab), "nothing is restarted");
        assert_none_would_have_less(&lab);
        restart(&changed, &["--pending", "--allow-downtime", "--serial", "1"]).exits(0);
        let [coordinators, workers] = [coordinators, workers].map(|number| number.to_string());
        let expected = [&coordinators, &coordinators, &workers, &workers, &workers, &coordinators, &workers];
        assert_eq!(connections(&lab).iter().collect::<Vec<_>>(), expected);
    }

    a_server_that_would_not_start_is_one_standby(&lab);
    let lowered = inventory(&lab, 150, 250);
    lab.muster(&lowered, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    // All of them, for no other reason than that it was asked for.
    let before = started(&lab);
    let run =
        lab.muster(&lowered, &["--json", "restart", "--yes", "--allow-downtime", "--canary", "w1a"]).exits(0);
    assert_one_at_a_time(&run.stdout, "restart PostgreSQL", 7);
    for ((name, before), (_, now)) in before.iter().zip(started(&lab)) {
        assert!(now > *before, "{name} runs since {before}");
    }
    lab.muster(&lowered, &["verify"]).exits(0);

    // A switchover there and back, and those that would fail.
    for to in ["w1b", "w1a"] {
        lab.muster(&lowered, &["switchover", "--to", to, "--yes"]).exits(0);
        assert_eq!(lab.psql(to, "select pg_is_in_recovery()"), "f");
    }
    lab.muster(&lowered, &["switchover", "--to", "w1r", "--yes"])
        .exits(2)
        .says("w1r: its candidate_priority is 0");
    lab.muster(&lowered, &["switchover", "2", "--yes"])
        .exits(2)
        .says("w2a has no standby that could take over");
    // Agreed to today, done tomorrow.
    let saved = lab.beside_keys("switchover.plan").display().to_string();
    lab.muster(&lowered, &["switchover", "0", "--check", "--out", &saved])
        .exits(0)
        .says("take over from coord");
    lab.muster(&lowered, &["apply", &saved]).exits(0);
    lab.muster(&lowered, &["apply", &saved]).exits(1).says("is not what there is to do");

    // Out, and back; meanwhile nothing has failed.
    lab.muster(&lowered, &["maintenance", "on", "w1a", "--yes"]).exits(0).says("w1a: it is in maintenance");
    lab.muster(&lowered, &["maintenance", "on", "w1b", "--yes"])
        .exits(2)
        .says("no standby can take over from w1b");
    lab.muster(&lowered, &["status"]).exits(0).says("settled, but for nodes in maintenance");
    lab.muster(&lowered, &["verify"]).exits(0).says("out    w1a: it is in maintenance");
    lab.muster(&lowered, &["apply", "--yes"]).exits(0).says("w1a: left alone: it is in maintenance");
    lab.script(&["reboot", "w1a"]);
    lab.muster(&lowered, &["maintenance", "off", "w1a", "--yes"]).exits(0);
    lab.muster(&lowered, &["status"]).exits(0);
    lab.muster(&lowered, &["plan"]).exits(0).says("nothing to do");

    writers.stop(&lab);
}
