//! muster dies at any moment; the rerun converges.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::fleet::{Lab, head};
use crate::{formation, rolling};

/// `MUSTER_LAB_KILLS` rounds; `MUSTER_LAB_SEED` repeats the moments of an earlier run.
#[test]
#[ignore = "minutes: make test-long"]
fn killed_at_random() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);
    let rounds = number("MUSTER_LAB_KILLS").unwrap_or(4);
    let seed = number("MUSTER_LAB_SEED").unwrap_or_else(now);
    let whole = fs::read_to_string(lab.beside_keys("apply-seconds")).ok();
    let whole = whole.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(30);
    eprintln!("{rounds} rounds within {whole} s; again: MUSTER_LAB_SEED={seed} MUSTER_LAB_KILLS={rounds}");

    let mut random = Random(seed | 1);
    for round in 1..=rounds {
        if round > 1 {
            lab.wipe();
        }
        let last = kill_after(&lab, &inventory, &["apply", "--yes"], random.below(whole * 1000));
        eprintln!("== round {round}: {last}");

        lab.muster(&inventory, &["apply", "--yes"]).exits(0);
        formation::settle(&lab);
        formation::assert_converged(&lab);
        formation::write_rows(&lab);
        formation::assert_rows(&lab);
        lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);
    }
}

/// The same of changes whose turn comes member by member, and of a restart, while somebody writes all the time: one run brings it to its
/// end. `MUSTER_LAB_KILLS` and `MUSTER_LAB_SEED` as above.
#[test]
#[ignore = "minutes: make test-long"]
fn killed_at_random_while_members_take_turns() {
    let Some(lab) = Lab::with_citus() else { return };
    let rounds = number("MUSTER_LAB_KILLS").unwrap_or(3);
    let seed = number("MUSTER_LAB_SEED").unwrap_or_else(now);
    let mut random = Random(seed | 1);
    lab.muster(&rolling::inventory(&lab, 200, 300), &["apply", "--yes"]).exits(0);
    let writers = rolling::Writers::start(&lab, "mon");
    let all = ["restart", "--yes", "--allow-downtime"];
    let begun = Instant::now();
    lab.muster(&rolling::inventory(&lab, 200, 300), &all).exits(0);
    let whole = begun.elapsed();
    eprintln!("{rounds} rounds within {whole:?}; again: MUSTER_LAB_SEED={seed} MUSTER_LAB_KILLS={rounds}");

    for round in 1..=rounds {
        // Raised, lowered, and a restart for no other reason than that it was asked for.
        let connections = [150, 210, 150][usize::try_from(round % 3).expect("it is small")];
        let inventory = rolling::inventory(&lab, connections, connections + 100);
        let before = rolling::started(&lab);
        let moment = jiff::Timestamp::now().to_string();
        let since = ["--started-before", &moment];
        // Times are whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
        let (first, again) = match round % 3 {
            0 => (all.to_vec(), [&all[..], &since].concat()),
            _ => (vec!["apply", "--yes"], vec!["apply", "--yes"]),
        };
        let last = kill_after(&lab, &inventory, &first, random.below(whole.as_millis() as u64));
        eprintln!("== round {round}: {last}");

        lab.muster(&inventory, &again).exits(0);
        lab.muster(&inventory, &[&all[..], &["--pending"]].concat()).exits(0);
        lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
        lab.muster(&inventory, &["verify"]).exits(0);
        for (name, now) in rolling::started(&lab).into_iter().filter(|(name, _)| *name != "mon") {
            let wanted = if name.starts_with("coord") { connections } else { connections + 100 };
            assert_eq!(lab.psql(name, "show max_connections"), wanted.to_string(), "{name}");
            let was = before.iter().find(|(other, _)| *other == name).expect("it was there").1;
            assert!(round % 3 != 0 || now > was, "{name} runs since {was}");
        }
    }
    writers.stop(&lab);
}

/// `kill -9` so many milliseconds after its begin; what it did last.
fn kill_after(lab: &Lab, inventory: &Path, args: &[&str], milliseconds: u64) -> String {
    let moment = Duration::from_millis(300 + milliseconds);
    let mut muster = lab.start_muster(inventory, args);
    std::thread::sleep(moment);
    let over = muster.try_wait().expect("muster can be waited for");
    muster.kill().expect("muster can be killed");
    let output = muster.wait_with_output().expect("muster ends");
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    let how = if over.is_some() { "had ended before" } else { "killed" };
    format!("{how} at {moment:?}, its last line: {last}")
}

/// The hosts of the grid's formation; its rollout has every kind of step.
const THREE: [&str; 3] = ["mon", "coord1", "coord2"];

/// What the grid rolls out; [`ALTERED`] is the same with a change of every kind.
const FORMATION: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/grid
    dbname: app
    auth: scram-sha-256
    password: first
    replication_password: second
    monitor_password: third
    settings: {work_mem: 8MB, max_connections: 100}
    hba: [hostssl app app 10.1.0.0/16 scram-sha-256]
  children:
    monitor:
      vars: {pgdata: /var/lib/postgresql/15/monitor}
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon}
    coordinator:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true, candidate_priority: 50}
"
);

/// What is replaced in [`FORMATION`], and by what.
const ALTERED: [(&str, &str); 6] = [
    ("password: first", "password: other-first"),
    ("password: second", "password: other-second"),
    ("work_mem: 8MB", "work_mem: 9MB"),
    ("10.1.0.0/16", "10.2.0.0/16"),
    ("candidate_priority: 50", "candidate_priority: 60"),
    ("max_connections: 100", "max_connections: 110"),
];

/// `kill -9` at each point of a grid, first in a rollout, then in a change of every kind. After each, one run of muster
/// converges.
///
/// `MUSTER_LAB_GRID` is the grid's step in seconds; without it there are a few kills only. `MUSTER_LAB_SPAN=FROM-TO`
/// is a part of it, and `MUSTER_LAB_OF=rollout` or `change` one of the two.
#[test]
#[ignore = "minutes: make test-long"]
fn killed_on_a_grid() {
    let Some(lab) = Lab::first(THREE.len()) else { return };
    let first = lab.inventory_of("grid", FORMATION);
    let altered = ALTERED.iter().fold(FORMATION.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    });
    let second = lab.inventory_of("grid-altered", &altered);
    let of = std::env::var("MUSTER_LAB_OF").unwrap_or_default();
    let mut wrong = Vec::new();

    if of != "change" {
        let whole = timed(&lab, &first);
        wrong.extend(grid(&lab, "a rollout", whole, &mut |lab| {
            bare(lab);
            first.clone()
        }));
    }
    if of != "rollout" {
        bare(&lab);
        lab.muster(&first, &["apply", "--yes"]).exits(0);
        let whole = timed(&lab, &second);
        // From either to the other: nothing has to be rolled out anew, but after a failure.
        let mut there = [second, first];
        wrong.extend(grid(&lab, "a change of every kind", whole, &mut |lab| {
            if converged(lab).is_err() {
                bare(lab);
                lab.muster(&there[0], &["apply", "--yes"]).exits(0);
            }
            there.reverse();
            there[0].clone()
        }));
    }
    assert!(wrong.is_empty(), "{} kills were not mended by one run:\n{}", wrong.len(), wrong.join("\n"));
}

/// Kills what `begin` gives the inventory of, at one moment after the other; what one run did not mend.
fn grid(lab: &Lab, what: &str, whole: Duration, begin: &mut dyn FnMut(&Lab) -> PathBuf) -> Vec<String> {
    let whole = whole.as_secs_f64();
    let step = std::env::var("MUSTER_LAB_GRID").ok().and_then(|step| step.parse::<f64>().ok());
    let span = std::env::var("MUSTER_LAB_SPAN").ok();
    let span = span.as_deref().and_then(|span| span.split_once('-'));
    let part = span.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let (from, to) = part.unwrap_or((step.unwrap_or(whole / 4.0), whole));
    let step = step.unwrap_or(whole / 4.0);
    let (mut wrong, mut took, mut early) = (Vec::new(), Vec::new(), 0);
    let mut moment: f64 = from;
    while moment < to {
        let inventory = begin(lab);
        let mut muster = lab.start_muster(&inventory, &["apply", "--yes", "--json"]);
        let begun = Instant::now();
        // It tells more than a pipe holds: who does not read stops it.
        let mut pipe = muster.stdout.take().expect("stdout is piped");
        let events = std::thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        });
        std::thread::sleep(Duration::from_secs_f64(moment).saturating_sub(begun.elapsed()));
        early += u32::from(muster.try_wait().expect("muster can be waited for").is_some());
        muster.kill().expect("muster can be killed");
        muster.wait().expect("muster ends");
        let cut = under_way(&events.join().expect("the reader ends").expect("events can be read"));
        let started = Instant::now();
        let rerun = lab.quietly(&inventory, &["apply", "--yes"]);
        let seconds = started.elapsed().as_secs_f64();
        let ended = match rerun.code {
            Some(0) => {
                settled(lab).and_then(|()| match lab.quietly(&inventory, &["plan", "--detailed-exitcode"]) {
                    run if run.code == Some(0) => Ok(()),
                    run => Err(format!("there is something to do after it: {}", run.said())),
                })
            }
            code => Err(format!("the run after it ended with {code:?}: {}", rerun.said())),
        };
        let mended = if ended.is_ok() { "mended" } else { "NOT MENDED" };
        eprintln!("== {what}, killed at {moment:.1} s, cut: {cut}; {mended} in {seconds:.1} s");
        took.push(seconds);
        if let Err(why) = ended {
            eprintln!("{why}");
            wrong.push(format!("{what}, {moment:.1} s, cut: {cut}: {why}"));
        }
        moment += step;
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get(took.len() * part / 10).or(took.last()).copied().unwrap_or_default();
    eprintln!(
        "== {what}: {} kills from {from:.1} s to {to:.1} s, every {step:.1} s ({early} after its end; it takes {whole:.1} s): \
         {} mended by one run; that took {:.1} s, {:.1} in the middle, {:.1} at most",
        took.len(),
        took.len() - wrong.len(),
        at(0),
        at(5),
        at(10),
    );
    wrong
}

/// How long a whole run takes.
fn timed(lab: &Lab, inventory: &Path) -> Duration {
    let started = Instant::now();
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    started.elapsed()
}

/// What was being done, in the words of the events.
fn under_way(events: &str) -> String {
    let mut running = BTreeMap::new();
    let mut last = "before the first step".to_owned();
    for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("step_started") => {
                running.insert(text("node"), text("title"));
            }
            Some("step_done" | "step_failed") => {
                running.remove(&text("node"));
                last = format!("after {}: {}", text("node"), text("title"));
            }
            _ => {}
        }
    }
    let running: Vec<String> = running.iter().map(|(node, title)| format!("{node}: {title}")).collect();
    if running.is_empty() { last } else { running.join(", ") }
}

/// The three hosts without anything of PostgreSQL's or muster's; quicker than new ones.
fn bare(lab: &Lab) {
    let script = "systemctl list-units --all --plain --no-legend 'pgautofailover-*' | cut -d' ' -f1 |
           xargs -r systemctl kill -s KILL 2>/dev/null || :
         pkill -KILL -u postgres || :
         systemctl stop 'pgautofailover-*' 2>/dev/null || :
         find /etc/systemd/system -name 'pgautofailover-*' -delete
         systemctl daemon-reload
         systemctl reset-failed
         while pgrep -u postgres >/dev/null; do pkill -KILL -u postgres; sleep 0.1; done
         find /var/lib/postgresql /run/postgresql /tmp /dev/shm -mindepth 1 -user postgres -delete
         test -z \"$(find / -xdev -user postgres -not -path /var/lib/postgresql -not -path /etc/postgresql)\"";
    std::thread::scope(|scope| THREE.map(|host| scope.spawn(move || lab.root(host, script))).map(drop));
}

/// Waits until it is so: the monitor has both where it wants them, and a row comes from one to the other.
fn settled(lab: &Lab) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match converged(lab) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(300)),
            ended => return ended,
        }
    }
}

/// As the monitor, the servers and Citus say it.
fn converged(lab: &Lab) -> Result<(), String> {
    let ask = |host: &str, database: &str, sql: &str| {
        let script = format!(
            "cd /; sudo -u postgres psql -XAtq -d {database} -v ON_ERROR_STOP=1 2>&1 <<'SQL' || :\n{sql};\nSQL"
        );
        lab.ssh(host, &script).trim_end().to_owned()
    };
    let states = ask(
        "mon",
        "pg_auto_failover",
        "select string_agg(format('%s %s %s %s', nodename, reportedstate, goalstate, health), ', ' order by nodename) from pgautofailover.node",
    );
    let primary = match states.as_str() {
        "coord1 primary primary 1, coord2 secondary secondary 1" => "coord1",
        "coord1 secondary secondary 1, coord2 primary primary 1" => "coord2",
        _ => return Err(format!("the monitor says: {states}")),
    };
    let standby = if primary == "coord1" { "coord2" } else { "coord1" };
    let rows = ask(primary, "app", "select groupid, nodename, noderole, isactive from pg_dist_node");
    if rows != format!("0|{primary}|primary|t") {
        return Err(format!("pg_dist_node of {primary}: {rows}"));
    }
    let sync =
        ask(primary, "app", "select string_agg(state || ' ' || sync_state, ', ') from pg_stat_replication");
    if sync != "streaming quorum" {
        return Err(format!("pg_stat_replication of {primary}: {sync}"));
    }
    let written = ask(
        primary,
        "app",
        "set statement_timeout = '10s'; set client_min_messages = error; create table if not exists kept (at timestamptz);
         with one as (insert into kept values (clock_timestamp()) returning at) select at from one",
    );
    let read = ask(standby, "app", &format!("select count(*) from kept where at = '{written}'"));
    // Quorum commit does not wait until the row can be read there.
    let again = || {
        std::thread::sleep(Duration::from_millis(500));
        ask(standby, "app", &format!("select count(*) from kept where at = '{written}'"))
    };
    if read != "1" && again() != "1" {
        return Err(format!("the row {written} of {primary} is not on {standby}: {read}"));
    }
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

/// Marsaglia's xorshift: the same moments for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
