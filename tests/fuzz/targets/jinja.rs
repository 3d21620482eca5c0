//! Templates in values: three that may stand on each other, read as text, as a list, and as a mapping.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    // What is named as a command would be run.
    if text.contains("cmd") {
        return;
    }
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let vars = json!({"pgdata": "/data", "x": part(), "y": part(), "listen": part(), "z": [1, "a", {"b": "{{ y }}"}],
        "hostname": "{{ x }}", "settings": {"work_mem": "{{ y }}"}, "hba": ["{{ x }}"], "host_key": "{{ z }}"});
    let hosts = json!({"a.example": null, "b.example": {"x": "{{ hostvars['a.example'].y }}"}});
    let text = json!({"all": {"vars": vars, "children": {"postgres": {"hosts": hosts}, "monitor": {"hosts": {"mon": null}}}}});
    if let Err(problems) = muster::inventory::parse("db.json", &text.to_string(), Path::new("/nowhere")) {
        problems.iter().for_each(|problem| drop(problem.to_string()));
    }
});
