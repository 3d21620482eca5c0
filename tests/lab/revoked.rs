//! A key that somebody else has: what was signed for it is refused by everybody, and nobody else is refused on the way.

use crate::fleet::{Lab, head};

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    dbname: app
    password: pw
    sans: [pg.example]
    ca_dir: FOLDER
  children:
    monitor:
      hosts: {mon: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}}
    postgres:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
"
);

const NODE: &str = "/var/lib/postgresql/15/main.node";

#[test]
fn what_is_revoked_is_refused_by_everybody() {
    let Some(lab) = Lab::first(3) else { return };
    let folder = lab.beside_keys("ca-revoked");
    let _ = std::fs::remove_dir_all(&folder);
    let inventory = lab.inventory_of("revoked", &INVENTORY.replace("FOLDER", &folder.display().to_string()));
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.sql("coord1", "create table t (k int)");
    let serial = || lab.root("coord2", &format!("openssl x509 -noout -serial -in {NODE}/server.crt"));
    let has_san =
        lab.root("coord2", &format!("openssl x509 -noout -ext subjectAltName -in {NODE}/server.crt"));
    assert!(has_san.contains("DNS:pg.example"), "{has_san}");
    for (host, dir) in [("mon", "/var/lib/postgresql/15/monitor"), ("coord1", "/var/lib/postgresql/15/main")]
    {
        assert_eq!(lab.psql(host, "show ssl_crl_file"), format!("{dir}.node/ca.crl"));
    }
    let follows =
        || lab.root("coord2", "cat /var/lib/postgresql/15/main/postgresql-auto-failover-standby.conf");
    assert!(follows().contains(&format!("sslcrl={NODE}/ca.crl")), "{}", follows());

    // Somebody has a copy of its pair.
    lab.root("coord2", &format!("cp -a {NODE}/server.key {NODE}/server.crt /root/"));
    let before = serial();
    lab.send("coord2", "/tmp/load.sql", b"insert into t (k) values (1);\n");
    let bench = "PGPASSWORD=pw pgbench -n -C -c 2 -T 300 -f /tmp/load.sql 'postgres://coord1/app?sslmode=require&user=postgres' >/tmp/load 2>&1";
    lab.root(
        "coord2",
        &format!("setsid sh -c \"{bench}; echo ended >>/tmp/load\" </dev/null >/dev/null 2>&1 &"),
    );
    lab.muster(&inventory, &["cert", "revoke", "coord2", "--yes"]).exits(0);
    let load = lab.root("coord2", "cat /tmp/load; pgrep -c pgbench || :");
    assert!(!["ended", "aborted", "ERROR", "FATAL"].iter().any(|word| load.contains(word)), "{load}");
    lab.root("coord2", "pkill -INT pgbench; sleep 1");
    assert!(lab.sql("coord1", "select count(*) > 10 from t;").trim() == "t", "somebody wrote");
    assert_ne!(before, serial());
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(&inventory, &["verify"]).exits(0);
    assert_eq!(lab.psql("coord1", "select count(*) from pg_stat_replication"), "1");

    // Who has that copy is not taken for coord2 by anybody.
    lab.root("coord2", &format!("cp -a /root/server.key /root/server.crt {NODE}/"));
    lab.psql("coord2", "select pg_reload_conf()");
    let tries_with = |more: &str| {
        let conninfo = format!(
            "host=coord2 user=postgres dbname=app sslmode=verify-full sslrootcert={NODE}/ca.crt {more}"
        );
        lab.root(
            "coord1",
            &format!("su postgres -c \"PGPASSWORD=pw psql -XAtq '{conninfo}' -c 'select 7' 2>&1\" || :"),
        )
    };
    let tries = || tries_with(&format!("sslcrl={NODE}/ca.crl"));
    assert_eq!(tries_with("").trim(), "7", "who does not look at the list takes it");
    assert!(tries().contains("certificate verify failed"), "{}", tries());
    lab.muster(&inventory, &["cert", "status"]).exits(2).says("it is revoked");
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    assert_eq!(tries().trim(), "7");
    lab.muster(&inventory, &["cert", "revoke", "nobody", "--yes"])
        .exits(1)
        .says("no certificate of nobody is known");

    lab.muster(&inventory, &["ca", "rotate", "--yes"]).exits(0);
    assert_eq!(tries().trim(), "7", "the new authority has a list, too");
    let lists = lab.root("coord1", &format!("grep -c BEGIN {NODE}/ca.crl {NODE}/ca.crt"));
    assert_eq!(lists.matches(":1").count(), 2, "{lists}");
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    lab.muster(&inventory, &["verify"]).exits(0);
}
