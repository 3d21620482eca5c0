//! Passwords that muster makes, on real hosts: nothing given, all asked for, and changed under load.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::fleet::{Lab, Run};

const INVENTORY: &str = "\
all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/15/main
    auth: scram-sha-256
    secrets_dir: kept
    dbname: app
  children:
    monitor: {hosts: {mon: {ansible_host: 10.88.0.11, hostname: mon}}}
    coordinator: {hosts: {coord1: {ansible_host: 10.88.0.12}, coord2: {ansible_host: 10.88.0.13, secondary: true}}}
    workers: {hosts: {w1a: {ansible_host: 10.88.0.14, group: 1}}}
";

const NAMES: [&str; 3] = ["password", "replication_password", "monitor_password"];
const HOSTS: [&str; 4] = ["mon", "coord1", "coord2", "w1a"];

/// Sessions as the superuser, whose every transaction goes to a worker.
const LOAD: &str =
    "cd /tmp; echo 'select sum(v) from rotated; update rotated set v = v + 1 where id = 1;' >load.sql
sudo -u postgres pgbench -n -c 4 -j 2 -T 20 -f /tmp/load.sql app 2>&1";

struct Site {
    lab: Lab,
    inventory: PathBuf,
}

impl Site {
    fn muster(&self, args: &[&str]) -> Run {
        self.lab.muster(&self.inventory, args)
    }

    fn kept(&self, name: &str) -> String {
        let path = self.lab.beside_keys("kept").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn is_well(&self, when: &str) {
        let is_settled = || self.lab.quietly(&self.inventory, &["status"]).code == Some(0);
        assert!(
            (0..60).any(|_| is_settled() || {
                sleep(Duration::from_secs(1));
                false
            }),
            "{when}: it is not settled"
        );
        let run = self.muster(&["plan", "--detailed-exitcode"]).exits(0);
        assert!(run.stdout.contains("nothing to do"), "{when}: {}", run.stdout);
        self.muster(&["verify"]).exits(0);
        let files = fs::read_dir(self.lab.beside_keys("kept")).expect("it is a folder").count();
        assert_eq!(files, NAMES.len(), "{when}: a rotation is over");
        for host in ["coord1", "coord2", "w1a"] {
            let left = self.lab.root(host, "ls -a ~postgres | grep -c '^\\.muster\\.' || true");
            assert_eq!(left.trim(), "0", "{when}: {host} has something left over");
        }
    }

    /// No line of any file or log, and nothing muster has said, holds a password; but for `~/.pgpass`.
    fn tells_nobody(&self, said: &[&Run]) {
        for name in NAMES {
            let word = self.kept(name);
            for run in said {
                assert!(
                    !run.stdout.contains(word.trim()) && !run.stderr.contains(word.trim()),
                    "{name} was told"
                );
            }
            for host in HOSTS {
                self.lab.send(host, "/root/word", word.as_bytes());
                let places = "/var/lib/postgresql /var/log /etc /tmp";
                let script = format!(
                    "grep -rlaF -f /root/word {places} 2>/dev/null | grep -v '/.pgpass$' || true; rm /root/word"
                );
                let found = self.lab.root(host, &script);
                assert_eq!(found.trim(), "", "{name} is on {host}");
            }
        }
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn passwords_that_nobody_gives_are_made_and_rotated() {
    let Some(lab) = Lab::first(HOSTS.len()) else { return };
    let _ = fs::remove_dir_all(lab.beside_keys("kept"));
    let inventory = lab.inventory_of("passwords", INVENTORY);
    let site = Site { lab, inventory };
    site.muster(&["plan"]).exits(0);
    assert!(!site.lab.beside_keys("kept").exists(), "a plan writes nothing");
    let first = site.muster(&["apply", "--yes", "-D"]).exits(0);
    site.is_well("rolled out");
    site.tells_nobody(&[&first]);
    for (from, to, user, database) in [
        ("coord2", "coord1", "postgres", "app"),
        ("coord2", "coord1", "pgautofailover_replicator", "app"),
        ("coord1", "w1a", "postgres", "app"),
        ("w1a", "mon", "autoctl_node", "pg_auto_failover"),
    ] {
        let login = |file: &str| {
            let psql = format!(
                "cd /; sudo -u postgres env {file} psql -w 'host={to} user={user} dbname={database} sslmode=require' -c 'select 1' 2>&1 || true"
            );
            site.lab.ssh(from, &psql)
        };
        let refused = login("PGPASSFILE=/nonexistent");
        assert!(refused.contains("no password supplied"), "{from} to {to} as {user}: {refused}");
        assert!(login("x=y").contains("1 row"), "{from} to {to} as {user}");
    }

    // Somebody else's machine has no such folder.
    let moved = site.lab.beside_keys("elsewhere");
    let _ = fs::remove_dir_all(&moved);
    fs::rename(site.lab.beside_keys("kept"), &moved).expect("it can be moved");
    let refused = site.muster(&["apply", "--yes"]).exits(2);
    assert!(refused.stdout.contains("no password is made in place of one"), "{}", refused.stdout);
    assert!(!site.lab.beside_keys("kept").exists(), "nothing was written");
    site.muster(&["status"]).exits(0);
    fs::rename(&moved, site.lab.beside_keys("kept")).expect("it can be moved back");
    site.is_well("with its folder again");

    under_load(&site);
    killed(&site);
    let last = site.muster(&["password", "rotate", "--yes", "-vv"]).exits(0);
    site.is_well("at the end");
    site.tells_nobody(&[&last]);
    site.lab.pg_autoctl("perform failover --formation default --group 0 2>&1");
    site.is_well("after a failover");
}

/// Sessions that are there go on, and nobody takes over.
fn under_load(site: &Site) {
    let lab = &site.lab;
    if !lab.has_citus() {
        eprintln!("*** the load goes to no worker: the lab's image has no real Citus ***");
    }
    let distributed = if lab.has_citus() { "select create_distributed_table('rotated', 'id');" } else { "" };
    lab.sql("coord1", &format!("create table rotated (id int primary key, v int); {distributed} insert into rotated select g, 0 from generate_series(1, 100) g"));
    let timelines = || {
        HOSTS[1..]
            .iter()
            .map(|host| lab.psql(host, "select timeline_id from pg_control_checkpoint()"))
            .collect::<Vec<_>>()
    };
    let (before, old) = (timelines(), NAMES.map(|name| site.kept(name)));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| lab.ssh("coord1", LOAD));
        for _ in 0..2 {
            sleep(Duration::from_secs(3));
            site.muster(&["password", "rotate", "--yes"]).exits(0);
        }
        let said = load.join().expect("pgbench ends");
        eprintln!("{said}");
        assert!(said.contains("number of failed transactions: 0 ") && !said.contains("aborted"), "{said}");
    });
    site.is_well("rotated under load");
    assert_eq!(timelines(), before, "nobody took over");
    for (name, old) in NAMES.into_iter().zip(old) {
        assert_ne!(site.kept(name), old, "{name} is another one");
    }
    // One of them, by the name of its role.
    let old = NAMES.map(|name| site.kept(name));
    site.muster(&["password", "rotate", "autoctl_node", "--yes"]).exits(0);
    let same: Vec<bool> = NAMES.into_iter().zip(old).map(|(name, old)| site.kept(name) == old).collect();
    assert_eq!(same, [true, true, false]);
}

/// `kill -9` so many milliseconds after the hosts have begun, and one run after it: another rotation, or an apply.
fn killed(site: &Site) {
    for (milliseconds, next) in [
        (0, &["apply", "--yes"][..]),
        (300, &["password", "rotate", "--yes"]),
        (600, &["apply", "--yes"]),
        (700, &["password", "rotate", "--yes"]),
        (800, &["apply", "--yes"]),
        (1500, &["apply", "--yes"]),
    ] {
        let mut muster = site.lab.start_muster(&site.inventory, &["password", "rotate", "--yes"]);
        let said = BufReader::new(muster.stderr.take().expect("stderr is piped"));
        let begun = said.lines().map_while(Result::ok).any(|line| line.ends_with("] rotate"));
        assert!(begun, "killed after {milliseconds} ms: it came to nothing");
        sleep(Duration::from_millis(milliseconds));
        muster.kill().expect("muster can be killed");
        muster.wait().expect("it ends");
        // What it had started on the hosts ends by itself.
        sleep(Duration::from_secs(2));
        site.muster(&[next, &["--break-lock"]].concat()).exits(0);
        site.is_well(&format!("killed after {milliseconds} ms"));
    }
}
