//! A template of the operator's own in the place of postgresql.conf.j2.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use muster::template::Templates;
use serde_json::json;

fuzz_target!(|text: &str| {
    let own = BTreeMap::from([("postgresql.conf.j2".to_owned(), text.to_owned())]);
    let context = json!({"mark": "# muster: x", "locale": "C", "settings": {"work_mem": "4MB"}, "node_conf": "/n",
        "formation": "default", "group": 0, "kind": "standalone", "pgdata": "/data", "port": 5432});
    if let Err(problem) = Templates::new(&own).render("postgresql.conf.j2", &context) {
        drop(problem.to_string());
    }
});
