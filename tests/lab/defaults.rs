//! A formation of which the inventory says nothing of TLS and passwords: it is closed, and goes on living.

use crate::fleet::{HOSTS, Lab};
use crate::trust::{address, tries_with};

/// `inventory/lab.yml` without its words on both.
fn inventory(lab: &Lab) -> std::path::PathBuf {
    lab.inventory("nothing-said", |text| {
        let is_said =
            |line: &&str| ["auth:", "ssl_self_signed:"].iter().any(|word| line.trim().starts_with(word));
        text.lines().filter(|line| !is_said(line)).map(|line| format!("{line}\n")).collect()
    })
}

#[test]
fn where_nothing_is_said_everybody_is_verified_and_has_a_password() {
    let Some(lab) = Lab::bare() else { return };
    let _ = std::fs::remove_dir_all(lab.beside_keys("data"));
    let inventory = inventory(&lab);
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(&inventory, &["verify"]).exits(0);

    let ca = "/var/lib/postgresql/15/citus.node/ca.crt";
    lab.root("w1a", "su postgres -c 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout /dev/null -out /tmp/other.crt' 2>/dev/null");
    for host in HOSTS {
        // Whoever comes over the network has a password, but the health checks, whose password is public.
        let rules = "select count(*) from pg_hba_file_rules where auth_method = 'trust' and type <> 'local' and user_name <> '{pgautofailover_monitor}'";
        assert_eq!(lab.psql(host, rules), "0", "{host} lets somebody in without a password");
        let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null and not ssl";
        assert_eq!(lab.psql(host, plain), "0", "{host} has a session without TLS");
        assert_eq!(
            lab.psql(host, "select count(*) from pg_authid where rolpassword ~ '^md5'"),
            "0",
            "{host}"
        );
        let keys = lab.root(host, "stat -c '%a %U' /var/lib/postgresql/15/*.node/server.key");
        assert_eq!(keys.trim(), "600 postgres", "{host}");
        if host == "mon" {
            continue;
        }
        let config = lab.root(
            host,
            "cat /var/lib/postgresql/.config/pg_autoctl/var/lib/postgresql/15/citus/pg_autoctl.cfg",
        );
        assert!(config.contains("sslmode=verify-full&sslrootcert="), "{host}: {config}");

        // From another host: with everything, and without each of them.
        let at = address(&lab, host);
        let from = if host == "w1a" { "w1b" } else { "w1a" };
        let good = format!("host={host} hostaddr={at} sslmode=verify-full sslrootcert={ca}");
        assert_eq!(tries_with(&lab, from, &good, ""), "connected", "{host}");
        let said = tries_with(&lab, from, &good, "env PGPASSFILE=/dev/null");
        assert!(said.contains("no password supplied"), "{host}: {said}");
        let said = tries_with(&lab, from, &good, "env PGPASSWORD=wrong");
        assert!(said.contains("password authentication failed"), "{host}: {said}");
        let said = tries_with(&lab, from, &format!("host={host} hostaddr={at} sslmode=disable"), "");
        assert!(said.contains("no pg_hba.conf entry"), "{host}: {said}");
        let other = format!("host=mon hostaddr={at} sslmode=verify-full sslrootcert={ca}");
        let said = tries_with(&lab, from, &other, "");
        assert!(said.contains("does not match host name \"mon\""), "{host}: {said}");
        if from == "w1a" {
            let other = format!("host={host} hostaddr={at} sslmode=verify-full sslrootcert=/tmp/other.crt");
            let said = tries_with(&lab, from, &other, "");
            assert!(said.contains("certificate verify failed"), "{host}: {said}");
        }
    }
    for standby in ["coord2", "w1b", "w2b", "coord1r", "w1r", "w2r"] {
        let conf = "select setting from pg_settings where name = 'primary_conninfo'";
        assert!(lab.psql(standby, conf).contains("sslmode=verify-full"), "{standby}");
    }

    // Each group fails over, and the new primary's peers know it.
    for (group, to) in [("0", "coord2"), ("1", "w1b"), ("2", "w2b")] {
        lab.muster(&inventory, &["switchover", group, "--yes"]).exits(0);
        assert_eq!(lab.psql(to, "select pg_is_in_recovery()"), "f", "group {group}");
    }
    lab.muster(&inventory, &["verify"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
}
