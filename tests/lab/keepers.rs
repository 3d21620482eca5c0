//! Keepers that run, and what they start from changes: each change takes effect, nobody else hears of it, nothing fails over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::fleet::{Lab, head};
use crate::formation;

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    auth: scram-sha-256
    password: one
    replication_password: two
    monitor_password: three
    restart_policy: manual
    listen: '*'
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}
    postgres:
      vars: {maximum_backup_rate: 100M, proxyport: 6432}
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
"
);

const CONFIG: &str = "/var/lib/postgresql/.config/pg_autoctl/var/lib/postgresql/15/main/pg_autoctl.cfg";
const NODES: [&str; 2] = ["coord1", "coord2"];

/// Processes of `postgres` that no keeper started.
const BYSTANDERS: &str = "cd /tmp
setsid sudo -u postgres sleep 86399 >/dev/null 2>&1 </dev/null &
setsid sudo -u postgres psql -XAtqc 'select pg_sleep(86399)' >/dev/null 2>&1 </dev/null &
";

struct Scene {
    lab: Lab,
    text: String,
    inventory: PathBuf,
}

impl Scene {
    /// Edits the inventory and applies it; how long that took.
    #[track_caller]
    fn change(&mut self, edits: &[(&str, &str)]) -> Duration {
        for (from, to) in edits {
            assert!(self.text.contains(from), "{from}");
            self.text = self.text.replace(from, to);
        }
        self.inventory = self.lab.inventory_of("keepers", &self.text);
        let started = Instant::now();
        self.lab.muster(&self.inventory, &["apply", "--yes"]).exits(0);
        started.elapsed()
    }

    #[track_caller]
    fn is_done(&self) {
        formation::settle(&self.lab);
        self.lab.muster(&self.inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    }

    /// What a failover or a restart would change: postmasters, timelines, how many states the nodes were in.
    fn course(&self) -> Vec<String> {
        let pid = |host, pgdata| self.lab.root(host, &format!("head -n 1 {pgdata}/postmaster.pid"));
        let mut course: Vec<String> = NODES.map(|host| pid(host, "/var/lib/postgresql/15/main")).into();
        course.push(pid("mon", "/var/lib/postgresql/15/monitor"));
        let sql = "select string_agg(format('%s %s %s', nodename, reportedstate, reportedtli), ', ' order by nodeid) from pgautofailover.node;
                   select count(*) from pgautofailover.event where reportedstate <> goalstate";
        course.push(self.monitor(sql));
        course
    }

    fn monitor(&self, sql: &str) -> String {
        let script = format!(
            "cd /\nsudo -u postgres psql -XAtq -d pg_auto_failover -v ON_ERROR_STOP=1 <<'SQL'\n{sql};\nSQL"
        );
        self.lab.root("mon", &script)
    }

    #[track_caller]
    fn bystanders_live(&self) {
        for host in NODES {
            let script =
                "for p in '^sleep 86399' '/psql .*86399'; do pgrep -u postgres -c -f \"$p\" || true; done";
            assert_eq!(self.lab.root(host, script), "1\n1\n", "{host}: a bystander was ended");
        }
    }
}

#[test]
fn changes_reach_keepers_and_nobody_else() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = lab.inventory_of("keepers", INVENTORY);
    let mut scene = Scene { lab, text: INVENTORY.to_owned(), inventory };
    scene.change(&[]);
    scene.is_done();
    for host in NODES {
        scene.lab.root(host, BYSTANDERS);
    }
    let course = scene.course();

    let count: u32 = std::env::var("MUSTER_LAB_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let mut longest = Duration::ZERO;
    for index in 0..count {
        let (from, to) = if index % 2 == 0 { ("100M", "90M") } else { ("90M", "100M") };
        longest = longest.max(scene.change(&[(from, to)]));
        for host in NODES {
            let line =
                scene.lab.root(host, &format!("grep -c '^# muster\\|^maximum_backup_rate = {to}' {CONFIG}"));
            assert_eq!(line.trim(), "1", "{host}: the file is the keeper's own again");
        }
    }
    eprintln!("-- {count} reloads of two keepers, the longest run {longest:?}");
    for host in NODES {
        let heard = scene.lab.root(
            host,
            "journalctl -q --no-pager -u 'pgautofailover-*' | grep -c 'maximum_backup_rate is now'",
        );
        assert_eq!(heard.trim(), count.to_string(), "{host}: every one was heard");
        for _ in 0..3 {
            scene.lab.root(host, &format!("systemctl reload pgautofailover-{host}.service"));
        }
    }
    scene.bystanders_live();
    assert_eq!(scene.course(), course);

    // What only a start takes in; the last one is also read by what starts PostgreSQL.
    scene.change(&[("6432", "6433"), ("listen: '*'", "listen: '0.0.0.0,::'")]);
    for host in NODES {
        let said = scene.lab.root(
            host,
            &format!("grep -x 'proxyport = 6433\\|listen_addresses = 0.0.0.0,::\\|#.*' {CONFIG}"),
        );
        assert_eq!(said, "proxyport = 6433\nlisten_addresses = 0.0.0.0,::\n", "{host}");
    }
    scene.is_done();
    // A run that was cut off between the file and the signal.
    scene.lab.root("coord2", &format!("sed -i '1i# muster: pg_autoctl has not read this yet' {CONFIG}"));
    scene.lab.muster(&scene.inventory, &["plan"]).exits(0).says("restart the keeper's service node-active");
    scene.change(&[]);
    scene.is_done();

    // The monitor's role takes one password at a time.
    let took = scene.change(&[("three", "four")]);
    eprintln!("-- the monitor's password: {took:?}");
    scene.is_done();
    scene.monitor("alter role autoctl_node password 'somebody else'");
    std::thread::sleep(Duration::from_secs(3));
    scene.lab.muster(&scene.inventory, &["plan"]).exits(0).says("set the password of autoctl_node");
    scene.change(&[]);
    scene.is_done();
    scene.bystanders_live();
    assert_eq!(scene.course(), course);

    // A password waits for no standby, and one that holds all commits is told.
    let receiver = "pkill -o -f '^postgres: .*walreceiver' --signal";
    scene.lab.root("coord2", &format!("{receiver} STOP"));
    let took = scene.change(&[("password: one", "password: five")]);
    scene.lab.root("coord2", &format!("{receiver} CONT"));
    assert!(took < Duration::from_secs(20), "{took:?}");
    scene.is_done();

    // A keeper that died comes back; one whose node was dropped does not.
    let unit = "pgautofailover-coord2.service";
    let show = |what: &str| {
        scene.lab.root("coord2", &format!("systemctl show --value -p {what} {unit}")).trim().to_owned()
    };
    scene.lab.root("coord2", &format!("systemctl kill --kill-who=main -s KILL {unit}"));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(show("ActiveState"), "active");
    formation::settle(&scene.lab);
    scene.lab.pg_autoctl("drop node --name coord2 --formation default");
    let end = Instant::now() + Duration::from_secs(60);
    while show("ActiveState") != "failed" {
        assert!(
            Instant::now() < end,
            "{}",
            scene.lab.root("coord2", &format!("journalctl -q -n 30 -u {unit}"))
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    let restarts = show("NRestarts");
    let said = || scene.lab.muster(&scene.inventory, &["plan"]).stdout;
    let first = said();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((show("ExecMainStatus"), show("NRestarts")), ("78".to_owned(), restarts));
    assert_eq!(said(), first);
}
