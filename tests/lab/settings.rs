//! What only a real server says of its settings: whether it would start with them, and whether anybody gets in.

use std::path::PathBuf;

use crate::fleet::Lab;

const PGDATA: &str = "/var/lib/postgresql/15/main";

fn inventory(lab: &Lab, settings: &str) -> PathBuf {
    let text = format!(
        "\
all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: {PGDATA}
    auth: trust
  children:
    monitor:
      hosts:
        mon: {{ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}}
    postgres:
      hosts:
        coord1: {{ansible_host: 10.88.0.12, hostname: coord1, settings: {{{settings}}}}}
"
    );
    lab.inventory_of("settings", &text)
}

/// What is in the data directory of muster's own.
fn left(lab: &Lab) -> String {
    lab.root("coord1", &format!("ls -A {PGDATA} | grep muster || true"))
}

#[test]
fn settings_that_a_server_cannot_have() {
    let Some(lab) = Lab::first(2) else { return };

    // Before anything is made: no half of a data directory is left.
    let wrong = lab.inventory_of(
        "settings",
        &std::fs::read_to_string(inventory(&lab, ""))
            .unwrap()
            .replace("auth: trust", "auth: trust\n    locale: xx_YY"),
    );
    lab.muster(&wrong, &["apply", "--yes"]).exits(2).says("the locale xx_YY is not on ");
    assert_eq!(lab.root("coord1", "ls /var/lib/postgresql/15 2>/dev/null || true"), "");

    let right = inventory(&lab, "work_mem: 7MB");
    lab.muster(&right, &["apply", "--yes"]).exits(0);
    let conf = format!("md5sum {PGDATA}/postgresql.conf; ls -i {PGDATA}/postgresql.conf");
    let before = lab.root("coord1", &conf);

    // With none of these would it start again; the file that is there stays as it is.
    for (settings, says) in [
        ("max_connections: 3", "superuser_reserved_connections (3) must be less than max_connections (3)"),
        ("shared_preload_libraries: nosuch", "could not access file \"nosuch\""),
        ("unix_socket_directories: /no/such", "unix_socket_directories names /no/such"),
        ("unix_socket_directories: /tmp", "unix_socket_directories lacks /var/run/postgresql"),
        ("logging_collector: on, log_directory: /no/such/log", "log_directory is /no/such/log"),
    ] {
        let wrong = inventory(&lab, settings);
        lab.muster(&wrong, &["apply", "--yes"]).exits(2).says(says);
        assert_eq!(lab.root("coord1", &conf), before, "{settings}");
        assert_eq!(left(&lab), "", "{settings}");
    }

    // Each new session fails with this, and no check of a file tells: what was there before comes back.
    for name in ["session_preload_libraries", "local_preload_libraries"] {
        let wrong = inventory(&lab, &format!("work_mem: 7MB, {name}: nosuch"));
        lab.muster(&wrong, &["apply", "--yes"]).exits(2).says("nobody could log in any more").says("nosuch");
        assert_eq!(lab.psql("coord1", &format!("show {name}")), "");
        assert_eq!(left(&lab), "", "{name}");
    }
    // One file of that name: the right one once more.
    let right = inventory(&lab, "work_mem: 7MB");
    lab.muster(&right, &["plan", "--detailed-exitcode"]).exits(0);

    // A server that is in such a state already, of which no other session is let in.
    let by_hand = "session_preload_libraries = nosuch\nstatement_timeout = '1ms'\ndefault_transaction_read_only = on\nsearch_path = nowhere\nclient_min_messages = debug5\ndefault_transaction_isolation = serializable\n";
    lab.psql("coord1", "alter role postgres set statement_timeout = '1ms'");
    lab.root(
        "coord1",
        &format!(
            "printf '%s' \"{by_hand}\" >>{PGDATA}/postgresql.conf; pid=$(head -n 1 {PGDATA}/postmaster.pid); kill -HUP $pid; sleep 1\n\
             if su postgres -c 'psql -XAtq -c \"select 1\"' 2>/dev/null; then exit 1; fi"
        ),
    );
    lab.muster(&right, &["status"]);
    lab.muster(&right, &["apply", "--yes"]).exits(0);
    assert_eq!(lab.psql("coord1", "show session_preload_libraries"), "");
    lab.muster(&right, &["plan", "--detailed-exitcode"]).exits(0);
    assert_eq!(left(&lab), "");
    lab.muster(&inventory(&lab, "work_mem: 8MB"), &["apply", "--yes"]).exits(0);
    let reset = "PGOPTIONS='-c statement_timeout=0' psql -XAtq -c 'alter role postgres reset statement_timeout' -c 'show work_mem'";
    assert_eq!(
        lab.root("coord1", &format!("su postgres -c \"cd /; {}\"", reset.replace('"', "\\\""))),
        "8MB\n"
    );
}
