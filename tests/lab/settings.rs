//! What only a real server says of its settings: whether it would start with them, and whether anybody gets in.

use std::path::{Path, PathBuf};

use crate::fleet::Lab;

const PGDATA: &str = "/var/lib/postgresql/15/main";

/// Days of certificates that this scenario makes; no other has as many.
const DAYS: u32 = 41;

fn with_files(lab: &Lab) -> PathBuf {
    let text = std::fs::read_to_string(inventory(lab, "work_mem: 8MB")).expect("it has just been written");
    let files = "hostname: coord1, server_cert: /etc/tls/c.crt, server_key: /etc/tls/c.key";
    lab.inventory_of("settings", &text.replace("hostname: coord1", files))
}

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
    ssl_self_signed: true
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

/// Where that stands which a server does not take: coord1 is on the last line.
fn in_the_inventory(inventory: &Path, name: &str) -> String {
    let lines = std::fs::read_to_string(inventory).expect("it has just been written").lines().count();
    format!("({name}: {}:{lines})", inventory.display())
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
        let (name, _) = settings.rsplit_once(", ").unwrap_or(("", settings)).1.split_once(':').unwrap();
        lab.muster(&wrong, &["apply", "--yes"]).exits(2).says(says).says(&in_the_inventory(&wrong, name));
        assert_eq!(lab.root("coord1", &conf), before, "{settings}");
        assert_eq!(left(&lab), "", "{settings}");
    }

    // Each new session fails with this, and no check of a file tells: what was there before comes back.
    for name in ["session_preload_libraries", "local_preload_libraries"] {
        let wrong = inventory(&lab, &format!("work_mem: 7MB, {name}: nosuch"));
        let run = lab.muster(&wrong, &["apply", "--yes"]).exits(2).says("nobody could log in any more");
        run.says("nosuch").says(&in_the_inventory(&wrong, name));
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

    // Files for TLS that PostgreSQL cannot use are told before anything is placed.
    let pair = |name: &str| {
        lab.root("coord1", &format!(
            "install -d -o postgres /etc/tls; cd /etc/tls; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
               -days {DAYS} -subj /CN={name} -keyout {name}.key -out {name}.crt 2>/dev/null; chown postgres: {name}.*; chmod 600 {name}.key"
        ))
    };
    let use_pair = |crt: &str, key: &str| {
        lab.root("coord1", &format!("cd /etc/tls; cp -p {crt}.crt c.crt; cp -p {key}.key c.key"));
    };
    let shown = || {
        lab.root("coord1", "openssl s_client -starttls postgres -connect 127.0.0.1:5432 </dev/null 2>/dev/null | openssl x509 -noout -subject")
    };
    pair("first");
    pair("second");
    let files = with_files(&lab);
    use_pair("first", "second");
    lab.muster(&files, &["apply", "--yes"]).exits(2).says("/etc/tls/c.key is not the key of /etc/tls/c.crt");
    use_pair("first", "first");
    lab.root("coord1", "chmod 644 /etc/tls/c.key");
    lab.muster(&files, &["apply", "--yes"]).exits(2).says("/etc/tls/c.key has mode 0644: chmod 600 it");
    assert!(shown().contains("coord1"), "{}", shown());
    use_pair("first", "first");
    // The step that reloads the keeper may be ended by the keeper's own signal: that is another scenario's, and the rerun is done.
    let done = (0..5).any(|_| lab.muster(&files, &["apply", "--yes"]).code == Some(0));
    assert!(done && shown().contains("first"), "{}", shown());

    // What is shown counts, not what lies there.
    lab.muster(&files, &["plan", "--detailed-exitcode"]).exits(0);
    lab.muster(&files, &["status"]).exits(0).says(&DAYS.to_string());
    use_pair("second", "second");
    lab.muster(&files, &["verify"]).exits(2).says("which is not the one in its file");
    lab.muster(&files, &["apply", "--yes"])
        .exits(0)
        .says("it shows another certificate than the one in its file");
    assert!(shown().contains("second"), "{}", shown());
    lab.muster(&files, &["plan", "--detailed-exitcode"]).exits(0);
}
