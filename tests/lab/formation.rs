//! What the fleet says about itself, in the words of the monitor, of Citus and of the file system.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{HOSTS, Lab, SERVED_DIRECTORY};

/// A node as the monitor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) group: i64,
    pub(crate) reported: String,
    pub(crate) assigned: String,
    address: String,
}

impl Member {
    /// It is where the monitor wants it, and serves.
    pub(crate) fn is_settled(&self) -> bool {
        self.reported == self.assigned && ["primary", "secondary"].contains(&self.reported.as_str())
    }

    /// In `inventory/lab.yml` the read replicas are the hosts whose names end in r.
    fn is_reader(&self) -> bool {
        self.name.ends_with('r')
    }
}

/// `pg_autoctl show state --json`, sorted by name.
pub(crate) fn members(lab: &Lab) -> Vec<Member> {
    members_of(&lab.pg_autoctl("show state --json 2>/dev/null"))
}

fn members_of(json: &str) -> Vec<Member> {
    let nodes: Vec<Value> = serde_json::from_str(json).expect("pg_autoctl prints a JSON array");
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let mut members: Vec<Member> = nodes
        .iter()
        .map(|node| Member {
            name: text(node, "nodename"),
            group: node["group_id"].as_i64().expect("a node has a group"),
            reported: text(node, "current_group_state"),
            assigned: text(node, "assigned_group_state"),
            address: format!("{}|{}", text(node, "nodehost"), node["nodeport"]),
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// The name of a group's primary, which is also its host's.
#[track_caller]
pub(crate) fn primary(lab: &Lab, group: i64) -> String {
    let members = members(lab);
    let found = members.iter().find(|node| node.group == group && node.reported == "primary");
    found.unwrap_or_else(|| panic!("group {group} has no primary: {members:#?}")).name.clone()
}

/// Waits until the monitor answers and every node is in its goal state; fails after two minutes.
#[track_caller]
pub(crate) fn settle(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let members = members_of(&lab.pg_autoctl("show state --json 2>/dev/null || echo '[]'"));
        if !members.is_empty() && members.iter().all(Member::is_settled) {
            return;
        }
        assert!(Instant::now() < end, "not settled: {members:#?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Every node of the inventory serves in its group, and Citus knows those that it should.
#[track_caller]
pub(crate) fn assert_converged(lab: &Lab) {
    let members = members(lab);
    let names: BTreeSet<&str> = members.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, HOSTS[1..].iter().copied().collect(), "the monitor's nodes");
    for node in &members {
        assert!(node.is_settled(), "{node:?}");
        let group = node.name.trim_start_matches('w').chars().next().and_then(|digit| digit.to_digit(10));
        assert_eq!(node.group, group.map_or(0, i64::from), "{node:?}");
    }
    for group in 0..3 {
        let primaries: Vec<&Member> =
            members.iter().filter(|node| node.group == group && node.reported == "primary").collect();
        assert!(matches!(primaries[..], [one] if !one.is_reader()), "group {group}: {primaries:?}");
    }
    assert_eq!(citus_nodes(lab), wanted_citus_nodes(&members), "pg_dist_node");
}

/// `pg_dist_node` as the monitor implies it: each primary, and each read replica.
fn wanted_citus_nodes(members: &[Member]) -> BTreeSet<String> {
    let in_citus = members.iter().filter(|node| node.reported == "primary" || node.is_reader());
    in_citus.map(|node| format!("{}|{}|{}|t", node.group, node.address, node.reported)).collect()
}

fn citus_nodes(lab: &Lab) -> BTreeSet<String> {
    let sql = "SELECT groupid, nodename, nodeport, noderole, isactive FROM pg_dist_node";
    lab.sql(&primary(lab, 0), sql).lines().map(str::to_owned).collect()
}

/// Rows that must outlive whatever the scenario does next.
pub(crate) const ROWS: u32 = 1000;

/// Writes rows through the coordinator, on all workers where Citus is real.
pub(crate) fn write_rows(lab: &Lab) {
    let distribute = if lab.has_citus() { "SELECT create_distributed_table('kept', 'id');" } else { "" };
    let sql = format!(
        "CREATE TABLE kept (id int PRIMARY KEY, word text); {distribute}
         INSERT INTO kept SELECT n, 'word ' || n FROM generate_series(1, {ROWS}) n;"
    );
    lab.sql(&primary(lab, 0), &sql);
}

/// Reads them back: on the coordinator, and on its standby (its read replica where Citus is real).
#[track_caller]
pub(crate) fn assert_rows(lab: &Lab) {
    let coordinator = primary(lab, 0);
    let standby = if lab.has_citus() {
        "coord1r"
    } else if coordinator == "coord1" {
        "coord2"
    } else {
        "coord1"
    };
    for host in [coordinator.as_str(), standby] {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let rows = lab.sql(host, "SELECT count(*) FROM kept");
            if rows.trim() == ROWS.to_string() {
                break;
            }
            assert!(Instant::now() < end, "{host} has {rows} rows of {ROWS}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// What a rerun may not touch: managed files with inode and mtime, and the processes that serve.
pub(crate) fn fingerprint(lab: &Lab) -> Vec<String> {
    // pg_autoctl.state is the keeper's own, written at every report.
    let script = format!(
        "d=$({SERVED_DIRECTORY})
         find $d -maxdepth 1 \\( -name '*.conf' -o -name '*.crt' -o -name '*.key' -o -name '*.signal' \\) \
           -printf '%p %i %T@ %m %u\\n' | sort
         find ~postgres/.config ~postgres/.pgpass /etc/systemd/system -type f -printf '%p %i %T@ %m %u\\n' 2>/dev/null | sort
         echo postmaster $(head -n 1 $d/postmaster.pid) keeper $(pgrep -xo pg_autoctl)"
    );
    HOSTS.iter().map(|host| format!("{host}:\n{}", lab.root(host, &script))).collect()
}
