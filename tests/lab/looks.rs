//! What a look makes of hosts as they are found: places where no data directory can be, servers that start, stop, hang, warn
//! or are not the ones that the inventory means.

use std::time::{Duration, Instant};

use crate::fleet::{Lab, head, pair};
use crate::formation;

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    auth: trust
    ssl_self_signed: true
    password: s3cret-of-postgres",
    pair!()
);

/// On `coord2` it is behind a link in its path.
const PGDATA: &str = "/var/lib/postgresql/15/main";

/// A place that nothing can be rolled out to, as root makes it and takes it away; what is said of it.
const PLACES: &[(&str, &str, &str, &str)] = &[
    (
        "coord1",
        "install -d -o postgres -g postgres /var/lib/postgresql/15; mkdir $1; mount -t tmpfs -o uid=$(id -u postgres),mode=700 tmpfs $1",
        "umount $1; rmdir $1",
        "/var/lib/postgresql/15/main is a mount point",
    ),
    (
        "coord1",
        "mkdir $1; mount -t tmpfs -o uid=$(id -u postgres) tmpfs $1; mkdir -m 700 $1/lost+found",
        "umount $1; rmdir $1",
        "/var/lib/postgresql/15/main is a mount point",
    ),
    (
        "coord1",
        "mount -t tmpfs -o ro tmpfs /var/lib/postgresql/15",
        "umount /var/lib/postgresql/15",
        "the file system of /var/lib/postgresql/15 is mounted read-only",
    ),
    (
        "coord1",
        "mount -t tmpfs -o nr_inodes=50,uid=$(id -u postgres) tmpfs /var/lib/postgresql/15",
        "umount /var/lib/postgresql/15; rmdir /var/lib/postgresql/15",
        "inodes free",
    ),
    (
        "coord1",
        "install -d -o postgres /srv/real; install -d -o postgres /var/lib/postgresql/15; ln -s /srv/real $1",
        "rm $1; rmdir /var/lib/postgresql/15",
        "is a symbolic link",
    ),
    (
        "coord1",
        "install -d /var/lib/postgresql/15",
        "rmdir /var/lib/postgresql/15",
        "/var/lib/postgresql/15 belongs to root",
    ),
    (
        "coord1",
        "mount -t tmpfs -o size=64k,mode=1777 tmpfs /tmp; cat /dev/zero >/tmp/full 2>/dev/null || true",
        "umount /tmp",
        "/tmp is full",
    ),
    (
        "coord1",
        "install -d -o postgres ~postgres/.postgresql; touch ~postgres/.postgresql/root.crt",
        "rm -r ~postgres/.postgresql",
        "root.crt makes libpq verify every server",
    ),
];

#[test]
#[ignore = "minutes: make test-long"]
fn as_it_is_found() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = lab.inventory_of("looks", INVENTORY);
    for (host, make, undo, said) in PLACES {
        lab.root(host, &format!("set -- {PGDATA}; {make}"));
        lab.muster(&inventory, &["plan"]).exits(2).names(host, &[said]);
        lab.root(host, &format!("set -- {PGDATA}; {undo}"));
    }
    lab.root("coord2", "install -d -o postgres -g postgres /srv/pg; ln -s /srv/pg /var/lib/postgresql/15");

    // It dies while the monitor has just been enabled: its PostgreSQL is on the way.
    let mut muster = lab.start_muster(&inventory, &["apply", "--yes"]);
    let end = Instant::now() + Duration::from_secs(60);
    while lab
        .root("mon", "ls /tmp/pg_autoctl/var/lib/postgresql/15/monitor/pg_autoctl.pid 2>/dev/null || true")
        .is_empty()
    {
        assert!(Instant::now() < end, "no keeper of the monitor");
    }
    muster.kill().expect("muster can be killed");
    muster.wait().expect("muster ends");
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    nothing_to_do(&lab, &inventory);

    warnings(&lab, &inventory);
    transitions(&lab, &inventory);
    others(&lab, &inventory);
    nothing_to_do(&lab, &inventory);
    lab.muster(&inventory, &["verify"]).exits(0);
}

fn nothing_to_do(lab: &Lab, inventory: &std::path::Path) {
    formation::settle(lab);
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0);
}

/// What psql warns of is told, and is neither an answer nor a reason to leave a host alone.
fn warnings(lab: &Lab, inventory: &std::path::Path) {
    lab.root("coord1", "chmod 640 ~postgres/.pgpass");
    lab.muster(inventory, &["apply", "--yes"]).exits(0).says("its mode is 0640");
    assert_eq!(lab.root("coord1", "stat -c %a ~postgres/.pgpass").trim(), "600");

    lab.psql("coord1", "update pg_database set datcollversion = '0.0'");
    lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0).says("collation version");
    // A file that the running server is asked about goes in as well.
    let rule = "    hba: [host all all 192.0.2.0/24 reject]\n  children:";
    let text = INVENTORY.replacen("  children:", rule, 1);
    let ruled = lab.inventory_of("looks-hba", &text);
    lab.muster(&ruled, &["apply", "--yes"]).exits(0);
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    lab.psql("coord1", "update pg_database set datcollversion = null");

    // A superuser of another name is not "no superuser yet". By another one, who may come in without being that system user.
    let rename = |of: &str, to: &str| {
        let sql = format!("alter role {of} rename to {to}");
        lab.root(
            "coord1",
            &format!("cd /; su nobody -s /bin/sh -c \"psql -XAtq -U renamer -d postgres -c '{sql}'\""),
        );
    };
    lab.psql("coord1", "create role renamer superuser login");
    let conf = format!("{PGDATA}/pg_hba.conf");
    lab.root(
        "coord1",
        &format!(
            "cp -p {conf} {conf}.was; sed -i '1i local all renamer trust' {conf}; chown postgres: {conf}"
        ),
    );
    lab.psql("coord1", "select pg_reload_conf(), pg_sleep(1)");
    rename("postgres", "boss");
    let said = lab.muster(inventory, &["plan"]).exits(2).said();
    rename("boss", "postgres");
    lab.root("coord1", &format!("mv {conf}.was {conf}"));
    lab.psql(
        "coord1",
        "alter role postgres password 's3cret-of-postgres'; drop role renamer; select pg_reload_conf()",
    );
    assert!(said.contains("role \"postgres\" does not exist") && !said.contains("create role"), "{said}");
    formation::settle(lab);
}

/// A server that hangs, or is restarted, is waited for.
fn transitions(lab: &Lab, inventory: &std::path::Path) {
    let pid = "$(head -n 1 /srv/pg/main/postmaster.pid)";
    lab.root("coord2", &format!("p={pid}; kill -STOP $p; systemd-run -q sh -c \"sleep 4; kill -CONT $p\""));
    let said = lab.muster(inventory, &["plan"]).exits(0).said();
    assert!(!said.contains("left alone"), "{said}");
    for host in ["coord2", "mon"] {
        let data = if host == "mon" { "/var/lib/postgresql/15/monitor" } else { "/srv/pg/main" };
        let restart = format!("/usr/lib/postgresql/15/bin/pg_ctl -D {data} -m fast -l /dev/null restart");
        let restarts = format!("for i in 1 2 3 4; do {restart}; sleep 0.3; done");
        lab.root(
            host,
            &format!(
                "cd /; systemd-run -q --unit=restarts -p KillMode=process --uid=postgres sh -c '{restarts}'"
            ),
        );
        while lab.root(host, "systemctl is-active restarts || true").trim() == "active" {
            let begun = Instant::now();
            let said = lab.muster(inventory, &["plan"]).said();
            // Twenty seconds is all that is waited; a server may take longer to stop on a busy machine, and then that is said.
            let in_time = begun.elapsed() < Duration::from_secs(20);
            assert!(!in_time || (!said.contains("left alone") && !said.contains("psql")), "{said}");
            assert!(in_time || said.contains("takes no connections; look again when it does"), "{said}");
        }
    }
    lab.muster(inventory, &["apply", "--yes"]).exits(0);
    formation::settle(lab);
}

/// Servers that are not the ones that the inventory, or a pid file, means.
fn others(lab: &Lab, inventory: &std::path::Path) {
    let with = |name: &str, was: &str, is: &str| {
        assert!(INVENTORY.contains(was));
        lab.muster(&lab.inventory_of(name, &INVENTORY.replace(was, is)), &["plan"]).exits(2)
    };
    with("looks-pgdata", "15/main", "15/mian")
        .names("coord2", &["port 5432 is taken by the postgresql server of /srv/pg/main"]);
    with("looks-pgport", "secondary: true", "secondary: true, pgport: 5499")
        .names("coord2", &["listens on port 5432, and the inventory says 5499"]);
    with("looks-monitor", "hostname: mon,", "hostname: mon, pgport: 5499,")
        .names("mon", &["and the inventory says 5499"]);
    with("looks-username", "secondary: true", "secondary: true, username: admin").names(
        "coord2",
        &["the superuser of postgresql in /var/lib/postgresql/15/main is postgres, and the inventory says admin: set username to postgres"],
    );
    // Whatever asks the server says the same, and not only that a socket or a role is not there.
    for (name, says) in
        [("looks-pgport", "set pgport to 5432"), ("looks-username", "set username to postgres")]
    {
        let inventory = lab.beside_keys(&format!("{name}.yml"));
        for args in [
            &["status"][..],
            &["verify"],
            &["version"],
            &["psql", "coord2", "-c", "select 1"],
            &["apply", "--yes"],
        ] {
            let run = lab.muster(&inventory, args);
            assert!(run.said().contains(says), "{name}: {args:?}: {}", run.said());
        }
    }

    // The power was cut; after the boot the number in postmaster.pid is another PostgreSQL's.
    lab.root(
        "coord2",
        "cd /; bin=/usr/lib/postgresql/15/bin
         sudo -u postgres $bin/initdb -D /srv/pg/other -N >/dev/null
         sudo -u postgres $bin/pg_ctl -w -D /srv/pg/other -l /dev/null -o '-p 5999' start >/dev/null",
    );
    let cut = "cd /; systemctl stop pgautofailover-coord2
         if [ -f /srv/pg/main/postmaster.pid ]; then kill -QUIT $(head -n 1 /srv/pg/main/postmaster.pid); sleep 1; fi
         sudo -u postgres sh -c '{ head -n 1 /srv/pg/other/postmaster.pid; printf \"/srv/pg/main\\n1700000000\\n5432\\n\"; } >/srv/pg/main/postmaster.pid'";
    lab.root("coord2", cut);
    lab.muster(inventory, &["apply", "--yes"]).exits(0).says("remove the stale postmaster.pid");
    let other = "sudo -u postgres psql -XAtq -p 5999 -d postgres -c 'show data_directory'";
    assert_eq!(lab.root("coord2", &format!("cd /; {other}")).trim(), "/srv/pg/other", "it was left alone");

    // Nobody runs muster after a boot: the unit's own script sees to it.
    lab.root("coord2", &format!("{cut}; systemctl start pgautofailover-coord2"));
    let until = Instant::now() + Duration::from_secs(60);
    while lab.muster(inventory, &["status"]).code != Some(0) {
        assert!(Instant::now() < until, "its PostgreSQL does not start");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(lab.root("coord2", &format!("cd /; {other}")).trim(), "/srv/pg/other", "it was left alone");
}
