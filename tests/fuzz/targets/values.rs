//! The value of each variable: URIs, arguments of ssh, rules of pg_hba.conf, settings, keys, names, paths; and where they
//! go from there: how ssh reaches the host, sudoers, connection strings, the probe.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster::inventory::variables::VARIABLES;
use muster::ssh::Credentials;
use serde_json::{Value, json};

static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| Credentials::new("ana", None, None));

// The first byte says which variable, the second how the rest becomes a value.
fuzz_target!(|bytes: &[u8]| {
    // What is named as a command would be run.
    if bytes.windows(3).any(|word| word == b"cmd") {
        return;
    }
    let [which, how, rest @ ..] = bytes else { return };
    let Ok(text) = str::from_utf8(rest) else { return };
    let variable = VARIABLES[usize::from(*which) % VARIABLES.len()].name;
    let value = match how % 4 {
        0 => Value::from(text),
        1 => text.lines().map(Value::from).collect(),
        2 => text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), Value::from(v)))
            .collect(),
        _ => serde_json::from_str(text).unwrap_or_default(),
    };
    // Files of this machine are not to be read.
    if variable == "templates_dir" {
        return;
    }
    let mut all = json!({"pgdata": "/data", "auth": "scram-sha-256", "password": "p", "replication_password": "r",
        "monitor_password": "m"});
    all[variable] = value;
    let host = json!({"a.example": null, "b.example": {"secondary": true}});
    let text = json!({"all": {"vars": all, "children": {"postgres": {"hosts": host}, "monitor": {"hosts": {"mon": null}}}}});
    match muster::inventory::parse("db.json", &text.to_string(), Path::new("/nowhere")) {
        Err(problems) => problems.iter().for_each(|problem| drop(problem.to_string())),
        Ok(formation) => {
            let servers: Vec<_> = formation.servers().collect();
            let logins: BTreeMap<_, _> =
                servers.iter().filter_map(|s| Some((s.name.clone(), s.host.user.clone()?))).collect();
            drop(muster::sudoers::sudoers(&servers, &logins));
            drop(muster::uri::uris(&formation, &muster::uri::Known::default()));
            for server in servers {
                if server.host.ssh_config.is_none() {
                    drop(muster::ssh::config::of_host(&server.host, &CREDENTIALS));
                }
                drop(muster::facts::probe(&formation, server));
            }
        }
    }
});
