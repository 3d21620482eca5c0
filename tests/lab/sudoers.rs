//! What `muster sudoers` prints is enough, and no more than that is allowed.

use std::path::Path;

use serde_json::Value;

use crate::fleet::{Lab, head, pair};

const HOSTS: [&str; 3] = ["mon", "coord1", "coord2"];

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main",
    pair!()
);

#[test]
fn the_printed_sudoers_is_enough() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory_of("sudoers", INVENTORY);

    let printed = lab.muster(&inventory, &["sudoers"]).exits(0).stdout;
    for host in HOSTS {
        allow_only(&lab, host, &printed);
    }
    rolls_out(&lab, &inventory);

    // A file for each host alone, without a right to write units: those are put there by hand.
    lab.script(&[&["wipe"], &HOSTS[..]].concat());
    let plan = lab.start_muster(&inventory, &["plan", "--json"]).wait_with_output().expect("muster ends");
    let units = units(&String::from_utf8_lossy(&plan.stdout));
    assert_eq!(units.len(), HOSTS.len(), "{units:?}");
    for host in HOSTS {
        let name = format!("pgautofailover-{host}.service");
        let (path, text) = units.iter().find(|(path, _)| path.ends_with(&name)).expect("each has its unit");
        lab.root(host, &format!("umask 022; cat >{path} <<'END'\n{}\nEND\n", text.trim_end()));
        let printed = lab.muster(&inventory, &["sudoers", host]).exits(0).stdout;
        let (without, _) =
            printed.split_once("# Whoever may write a unit").expect("it says what to leave out");
        assert!(!without.contains("install -m 0644"), "{without}");
        allow_only(&lab, host, without);
        lab.ssh(host, &refuses(&format!("install -m 0644 -o root -g root -T /dev/stdin {path}")));
    }
    rolls_out(&lab, &inventory);
}

#[track_caller]
fn rolls_out(lab: &Lab, inventory: &Path) {
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0);
    lab.muster(inventory, &["verify"]).exits(0);
    let states = lab.muster(
        inventory,
        &["psql", "mon", "-t", "-c", "select reportedstate from pgautofailover.node order by nodeid"],
    );
    assert_eq!(states.exits(0).stdout.lines().collect::<Vec<_>>(), ["primary", "secondary"]);
}

/// Nothing but this text lets deploy become another user.
fn allow_only(lab: &Lab, host: &str, sudoers: &str) {
    let script = format!(
        "cat >/root/sudoers <<'END'\n{sudoers}\nEND\nvisudo -c -f /root/sudoers\n\
         install -m 0440 /root/sudoers /etc/sudoers.d/muster\nrm /etc/sudoers.d/deploy\n"
    );
    lab.root(host, &script);
    let refused = ["id", "sh -c id", "systemctl stop ssh", "-u nobody id", "-u postgres id"];
    for command in refused {
        lab.ssh(host, &refuses(command));
    }
    lab.ssh(host, "sudo -n -u postgres sh -c id");
}

/// Fails where sudo allows it; a `!` before it would not end a shell with `-e`.
fn refuses(command: &str) -> String {
    format!("if echo x | sudo -n {command}; then exit 1; fi")
}

/// Path and text of every unit that a plan writes.
fn units(plan: &str) -> Vec<(String, String)> {
    fn collect(value: &Value, units: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                let path = fields.get("path").and_then(Value::as_str);
                let path = path.filter(|path| path.starts_with("/etc/systemd/system/"));
                // The operation names the path, too; the file has the text.
                if let (Some(path), Some(content)) = (path, fields.get("content")) {
                    let text = content["text"].as_str().expect("a unit is text");
                    units.push((path.to_owned(), text.to_owned()));
                }
                fields.values().for_each(|value| collect(value, units));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, units)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut units = Vec::new();
    collect(&serde_json::from_str(plan).expect("a plan is JSON"), &mut units);
    units
}
