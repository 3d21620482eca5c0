//! What others have told the monitor: any node may register under any host, and no rule is made of one that is none.

use std::path::Path;

use muster::facts::{Facts, Sight};
use muster::inventory::parse;
use muster::plan::{Plan, plan};
use muster::resource::monitor::NodeRow;
use muster::step::{Action, Content};

use crate::readers;
use crate::scene::bare;

const INVENTORY: &str = "all:\n  vars: {pgdata: /d, monitor: 'postgres://m/d'}\n  children:\n    coordinator: {hosts: {a.example: }}\n";

/// A worker of somebody else's, as the monitor has it.
fn stranger(host: &str) -> NodeRow {
    serde_json::from_value(serde_json::json!({
        "id": 7, "name": "w", "host": host, "port": 5432, "group": 7, "system_identifier": "1", "reported": "single",
        "assigned": "single", "running": true, "timeline": 1, "lsn": "0/1", "health": 1, "candidate_priority": 50,
        "replication_quorum": true, "cluster": "default", "silent": 0
    }))
    .unwrap()
}

fn rules(plan: &Plan) -> Vec<readers::Word> {
    let files = plan.steps().filter_map(|(_, _, step)| match &step.action {
        Action::Put(file) if file.path.ends_with("/pg_hba.conf") => Some(&file.content),
        Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_) | Action::Wait { .. } => None,
    });
    let texts = files.map(|content| match content {
        Content::Text(text) => readers::hba(text),
        other => panic!("{other:?}"),
    });
    texts.flatten().collect()
}

#[test]
fn a_host_that_the_monitor_tells_of_is_one_word_of_a_rule_or_none() {
    let formation = parse("db.yml", INVENTORY, Path::new("/base")).unwrap();
    let planned = |rows: &[NodeRow]| {
        let mut facts: Facts = bare(&formation);
        for sight in facts.hosts.values_mut() {
            let Sight::Seen(seen) = sight else { panic!("{sight:?}") };
            seen.monitor.as_mut().unwrap().nodes = rows.to_vec();
        }
        plan(&formation, &facts, jiff::civil::date(2026, 11, 23)).unwrap()
    };
    let without = rules(&planned(&[]));
    assert!(!without.is_empty());
    let host = ("bare".to_owned(), "w.example".to_owned());
    let with = rules(&planned(&[stranger("w.example")]));
    assert!(with.contains(&host) && !without.contains(&host), "{with:?}");
    for hostile in [
        "h\nhost all all 0.0.0.0/0 trust",
        "h trust #",
        "all",
        "a,b",
        "\"h\"",
        "h\\",
        "",
        "0.0.0.0/0",
        "samenet",
    ] {
        let made = planned(&[stranger(hostile)]);
        assert_eq!(rules(&made), without, "{hostile:?}");
    }
}
