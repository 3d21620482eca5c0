//! The nastiest values that an inventory takes, on real hosts: each arrives as it is, in the words of whoever reads it
//! there (PostgreSQL, systemd, pg_autoctl, the file system), and none of them does anything.

use crate::fleet::Lab;

/// Whoever evaluates one of the values makes this file, with whatever rights it has.
const TRACE: &str = "/tmp/muz";

const FORMATION: &str = r#"f'o "r" $(touch /tmp/muz) `id` %s \n -- :'a' {{ 7*7 }}"#;
const DBNAME: &str = "--$(touch${IFS}/tmp/muz)`id`%s&&|>*~{{7*7}}!";
const USERNAME: &str = "-us,er!%s=`id`&&|>*~{{7*7}}";
const PGDATA: &str = "/var/lib/postgresql/15/da  ta (x) %s %h %% & | > * ~ ? [a] {{ 7*7 }} é 🐘 e\u{301} \u{a0} = , : ! ^ @ +/-x";
const SETTING: &str =
    "'; drop table t; -- \\ \"$(touch /tmp/muz)\" `touch /tmp/muz` %s {{ 7*7 }} # é \u{200b}";
const PREFIX: &str = "%m '\\\\ $(touch /tmp/muz) # ; ";
const PASSWORD: &str =
    "'; drop table t; -- \\ \"$(touch /tmp/muz)\" `touch /tmp/muz` %s {{ 7*7 }} # é 🐘 : @ / ";
const RULE: &str =
    r#"hostssl "a b" "it's $(touch /tmp/muz) `id` %s" 10.0.0.0/8 reject # ' $(touch /tmp/muz)"#;

/// As YAML that is no template.
fn exact(value: &str) -> String {
    format!("!unsafe {}", serde_json::to_string(value).expect("it is text"))
}

fn inventory(lab: &Lab) -> std::path::PathBuf {
    let host = |name: &str, last: u8, more: &str| {
        format!("        {name}: {{ansible_host: 10.88.0.{last}, hostname: {name}{more}}}\n")
    };
    let text = format!(
        "all:\n  vars:\n    ansible_user: deploy\n    ansible_ssh_private_key_file: ../.lab/id\n    known_hosts: ../.lab/known_hosts\n    \
         formation: {}\n    dbname: {}\n    username: {}\n    pgdata: {}\n    auth: scram-sha-256\n    password: {}\n    \
         replication_password: {}\n    monitor_password: {}\n    hba: [{}]\n    settings:\n      cluster_name: {}\n      log_line_prefix: {}\n      \
         my.own: {}\n      your.own: \"1e5\"\n  children:\n    monitor:\n      vars: {{pgdata: /var/lib/postgresql/15/mon, settings: {{cluster_name: m}}}}\n      \
         hosts:\n{}    postgres:\n      hosts:\n{}{}",
        exact(FORMATION),
        exact(DBNAME),
        exact(USERNAME),
        exact(PGDATA),
        exact(PASSWORD),
        exact(&format!("{PASSWORD}r")),
        exact(&format!("{PASSWORD}m")),
        exact(RULE),
        exact(SETTING),
        exact(PREFIX),
        exact(SETTING),
        host("mon", 11, ""),
        host("coord1", 12, ""),
        host("coord2", 13, ", secondary: true"),
    );
    lab.inventory_of("hostile", &text)
}

#[test]
fn hostile_values_arrive_literally() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = inventory(&lab);

    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    lab.muster(&inventory, &["verify"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).names("nothing to do", &[""]);
    lab.muster(&inventory, &["status"]).exits(0);

    for host in ["coord1", "coord2"] {
        assert_eq!(asked(&lab, host, "select current_database()"), DBNAME);
        assert_eq!(asked(&lab, host, "select current_user"), USERNAME);
        assert_eq!(asked(&lab, host, "show data_directory"), PGDATA);
        assert_eq!(asked(&lab, host, "show my.own"), SETTING);
        assert_eq!(asked(&lab, host, "show log_line_prefix"), PREFIX);
        assert_eq!(asked(&lab, host, "show your.own"), "1e5");
        let file = "select setting from pg_file_settings where name = 'cluster_name' and sourcefile ~ 'postgresql.conf$'";
        assert_eq!(asked(&lab, host, file), SETTING);
        assert_eq!(asked(&lab, host, "select count(*) from pg_file_settings where error is not null"), "0");
        let rule = "select database[1] || '|' || user_name[1] || '|' || auth_method from pg_hba_file_rules where auth_method = 'reject'";
        assert_eq!(asked(&lab, host, rule), "a b|it's $(touch /tmp/muz) `id` %s|reject");
        assert_eq!(asked(&lab, host, "select count(*) from pg_hba_file_rules where error is not null"), "0");
        let unit = lab.root(host, &format!("systemctl show -p Environment --value pgautofailover-{host}"));
        assert_eq!(unit.trim_end_matches('\n'), format!("\"PGDATA={PGDATA}\""));
        let argv = lab.root(
            host,
            &format!(
                "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value pgautofailover-{host})/cmdline"
            ),
        );
        assert!(argv.lines().any(|argument| argument == PGDATA), "{argv}");
        let said = lab.root(
            host,
            &format!("systemd-analyze verify /etc/systemd/system/pgautofailover-{host}.service 2>&1 || :"),
        );
        assert!(!said.contains(&format!("pgautofailover-{host}.service:")), "{said}");
        let errors = lab
            .root(host, &format!("journalctl -u pgautofailover-{host} -o cat | grep 'Failed to parse' || :"));
        assert_eq!(errors.trim(), "", "the keeper reads a connection string wrongly");
    }
    // The passwords are those of the roles: a client over TCP has nothing else to come in with.
    for (user, database, password) in [
        (USERNAME, DBNAME, PASSWORD.to_owned()),
        ("pgautofailover_replicator", "postgres", format!("{PASSWORD}r")),
        ("autoctl_node", "pg_auto_failover", format!("{PASSWORD}m")),
    ] {
        let at = if user == "autoctl_node" { "mon" } else { "coord1" };
        let script = format!(
            "cd /; export PGPASSWORD={} PGHOST={at} PGUSER={} PGDATABASE={} PGSSLMODE=require PGPASSFILE=/dev/null\n\
             /usr/lib/postgresql/15/bin/psql -XAtwc 'select current_user'",
            word(&password),
            word(user),
            word(database)
        );
        assert_eq!(lab.ssh("coord2", &script).trim_end_matches('\n'), user);
    }
    let formations = lab.ssh(
        "mon",
        "cd /; sudo -u postgres psql -XAtd pg_auto_failover -c 'select distinct formationid from pgautofailover.node'",
    );
    assert_eq!(formations.trim_end_matches('\n'), FORMATION);
    for host in ["mon", "coord1", "coord2"] {
        let traces = lab.root(host, &format!("ls {TRACE} /x ~postgres/muz 2>/dev/null || :"));
        assert_eq!(traces, "", "something was evaluated on {host}");
    }
    assert!(!std::path::Path::new(TRACE).exists(), "something was evaluated here");
}

/// One word of a shell.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The one answer, by the server's own user over the local socket.
fn asked(lab: &Lab, host: &str, sql: &str) -> String {
    let script = format!(
        "cd /; sudo -u postgres env PGDATABASE={} PGUSER={} /usr/lib/postgresql/15/bin/psql -XAtc {}",
        word(DBNAME),
        word(USERNAME),
        word(sql)
    );
    lab.ssh(host, &script).trim_end_matches('\n').to_owned()
}
