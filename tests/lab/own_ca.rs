//! Certificates of muster's, and of authorities of the operator's own: a formation goes from each to each while a client makes a new
//! connection for each transaction, of which none may fail. And `kill -9` at any moment of that: one more run ends it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fleet::Lab;
use crate::trust::{assert_nothing_failed, start_load, stop_load};

/// Who writes all the time, with no password that muster would change.
const CLIENT: &str =
    "postgres://coord1,coord2/app?target_session_attrs=read-write&sslmode=require&user=loader";

const HOSTS: [&str; 5] = ["mon", "coord1", "coord2", "w1a", "w1b"];

const SELF_SIGNED: &str = "ssl_self_signed: true";
const MANAGED: &str = "ssl: managed";

/// The files of an authority of the operator's.
fn files(authority: &str) -> String {
    let at = format!("/etc/{authority}");
    format!("server_cert: {at}/server.crt\n    server_key: {at}/server.key\n    ssl_ca_file: {at}/ca.crt")
}

fn inventory(lab: &Lab, name: &str, tls: &str) -> PathBuf {
    let text = format!(
        "all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/15/citus
    dbname: app
    auth: scram-sha-256
    secrets_dir: own-kept
    ca_dir: {}
    hba: ['hostssl app loader all trust']
    {tls}
  children:
    monitor:
      hosts: {{mon: {{ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}}}}
    coordinator:
      hosts:
        coord1: {{ansible_host: 10.88.0.12, hostname: coord1}}
        coord2: {{ansible_host: 10.88.0.13, hostname: coord2, secondary: true}}
    workers:
      vars: {{group: 1}}
      hosts:
        w1a: {{ansible_host: 10.88.0.14, hostname: w1a}}
        w1b: {{ansible_host: 10.88.0.15, hostname: w1b, secondary: true}}
",
        lab.beside_keys("own-ca").display()
    );
    lab.inventory_of(name, &text)
}

/// An authority, and a certificate of it for each host, which has it with its key.
fn put_authority(lab: &Lab, name: &str) {
    let dir = format!("/root/{name}");
    lab.root(
        "mon",
        &format!(
            "mkdir -p {dir} && cd {dir} && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN={name}' -keyout ca.key -out ca.crt 2>/dev/null
             for h in {}; do
               openssl req -newkey rsa:2048 -nodes -subj /CN=$h -keyout $h.key -out $h.csr 2>/dev/null
               echo subjectAltName=DNS:$h >$h.ext
               openssl x509 -req -in $h.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile $h.ext -out $h.crt 2>/dev/null
             done",
            HOSTS.join(" ")
        ),
    );
    for host in HOSTS {
        lab.root(host, &format!("mkdir -p /etc/{name}"));
        for (from, to) in [
            ("ca.crt", "ca.crt"),
            (&format!("{host}.crt"), "server.crt"),
            (&format!("{host}.key"), "server.key"),
        ] {
            let text = lab.root("mon", &format!("cat {dir}/{from}"));
            lab.send(host, &format!("/etc/{name}/{to}"), text.as_bytes());
        }
        lab.root(
            host,
            &format!(
                "cd /etc/{name} && chown postgres server.key && chmod 600 server.key && chmod 644 *.crt"
            ),
        );
    }
}

/// Who signed what a host shows to those who connect.
fn issuer(lab: &Lab, host: &str) -> String {
    let text = format!(
        "openssl s_client -starttls postgres -connect {host}:5432 </dev/null 2>/dev/null | openssl x509 -noout -issuer"
    );
    lab.root("mon", &text).trim().to_owned()
}

/// Asked of the servers and of the monitor, not of muster.
fn assert_is(lab: &Lab, authority: &str, ca: &str) {
    for host in HOSTS {
        let found = issuer(lab, host);
        assert!(found.contains(authority), "{host} shows a certificate by {found}, not {authority}");
    }
    for host in &HOSTS[1..] {
        let config = lab.root(
            host,
            "cat /var/lib/postgresql/.config/pg_autoctl/var/lib/postgresql/15/citus/pg_autoctl.cfg",
        );
        assert!(config.contains(&format!("sslmode=verify-full&sslrootcert={ca}\n")), "{host}: {config}");
        assert_eq!(
            lab.psql(host, "show citus.node_conninfo"),
            format!("sslmode=verify-full sslrootcert={ca}")
        );
    }
    for standby in ["coord2", "w1b"] {
        let said = lab.psql(standby, "show primary_conninfo");
        assert!(said.contains(&format!("sslrootcert={ca}")), "{standby}: {said}");
    }
    assert_nobody_took_over(lab);
}

/// In words of the monitor's: none of the states on a way to another primary was ever assigned.
fn assert_nobody_took_over(lab: &Lab) {
    let events = "select count(*) from pgautofailover.event where goalstate in ('draining', 'demote_timeout', 'demoted', \
                  'prepare_promotion', 'stop_replication', 'report_lsn', 'fast_forward')";
    let said =
        lab.root("mon", &format!("su postgres -c \"psql -XAtq pg_auto_failover -c \\\"{events}\\\"\""));
    assert_eq!(said.trim(), "0", "there was a failover");
    for primary in ["coord1", "w1a"] {
        assert_eq!(lab.psql(primary, "select pg_is_in_recovery()"), "f", "{primary}");
    }
}

const OWN_CA: &str = "/var/lib/postgresql/15/citus.node/ca.crt";

struct Site {
    lab: Lab,
    managed: PathBuf,
    a: PathBuf,
    b: PathBuf,
}

impl Site {
    /// A formation with self-signed pairs, and who writes to it.
    fn new() -> Option<Site> {
        let lab = Lab::with_citus()?;
        for kept in ["own-ca", "own-kept"] {
            let _ = std::fs::remove_dir_all(lab.beside_keys(kept));
        }
        for authority in ["own-a", "own-b"] {
            put_authority(&lab, authority);
        }
        let [managed, a, b] = [("managed", MANAGED.to_owned()), ("a", files("own-a")), ("b", files("own-b"))]
            .map(|(name, tls)| inventory(&lab, &format!("own-{name}"), &tls));
        let first = inventory(&lab, "own-self", SELF_SIGNED);
        lab.muster(&first, &["apply", "--yes"]).exits(0);
        lab.sql(
            "coord1",
            "create table t (k int); select create_distributed_table('t', 'k', shard_count => 4); create role loader login; grant all on t to loader;",
        );
        start_load(&lab, CLIENT);
        Some(Site { lab, managed, a, b })
    }

    /// One run, and there is nothing more to do.
    fn goes_to(&self, inventory: &Path, what: &str) {
        self.lab.muster(inventory, &["apply", "--yes"]).exits(0);
        assert_nothing_failed(&self.lab, what);
        self.lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn nobody_is_refused_on_the_way_to_an_authority_of_ones_own_and_back() {
    let Some(site) = Site::new() else { return };
    let lab = &site.lab;
    site.goes_to(&site.managed, "self-signed to managed");
    assert_is(lab, "muster", OWN_CA);
    let shown = lab.muster(&site.a, &["plan"]).exits(0);
    assert!(shown.stdout.contains("more will follow: once everybody trusts both"), "{}", shown.stdout);
    // What is not the authority's is told before anything is changed.
    lab.root("w1b", "cp /etc/own-a/ca.crt /root/ca.crt && cp /etc/own-b/ca.crt /etc/own-a/ca.crt");
    let run = lab.muster(&site.a, &["plan"]);
    assert!(run.stdout.contains("nobody in /etc/own-a/ca.crt vouches for the certificate"), "{}", run.stdout);
    lab.root("w1b", "cp /root/ca.crt /etc/own-a/ca.crt");
    site.goes_to(&site.a, "managed to an authority of one's own");
    assert_is(lab, "own-a", "/etc/own-a/ca.crt");
    site.goes_to(&site.b, "from that to another one");
    assert_is(lab, "own-b", "/etc/own-b/ca.crt");
    site.goes_to(&site.managed, "and back to managed");
    assert_is(lab, "muster", OWN_CA);
    for host in HOSTS {
        let trusted = lab.root(host, "cat /var/lib/postgresql/15/*.node/ca.crt");
        assert_eq!(trusted.matches("BEGIN").count(), 1, "{host} trusts the formation's own alone");
    }
    site.lab.muster(&site.managed, &["cert", "renew", "--yes"]).exits(0);
    assert_nothing_failed(lab, "cert renew");
    site.lab.muster(&site.managed, &["ca", "rotate", "--yes"]).exits(0);
    assert_nothing_failed(lab, "ca rotate");
    site.lab.muster(&site.managed, &["password", "rotate", "--yes"]).exits(0);
    assert_nothing_failed(lab, "password rotate");
    assert_is(lab, "muster", OWN_CA);
    stop_load(lab);
    lab.muster(&site.managed, &["verify"]).exits(0);
    lab.muster(&site.managed, &["cert", "status"]).exits(0);
}

/// How often: `MUSTER_LAB_KILLS`, else a few times.
fn kills() -> u64 {
    std::env::var("MUSTER_LAB_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(4)
}

#[test]
#[ignore = "minutes: make test-long"]
fn killed_anywhere_on_the_way_to_other_certificates_one_run_goes_on() {
    let Some(site) = Site::new() else { return };
    let lab = &site.lab;
    site.goes_to(&site.managed, "self-signed to managed");
    let mut dice = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.subsec_nanos().into());
    let mut random = |below: u64| {
        dice =
            u64::wrapping_add(u64::wrapping_mul(dice, 6_364_136_223_846_793_005), 1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let apply: &[&str] = &["apply", "--yes"];
    let rotations: [&[&str]; 3] =
        [&["cert", "renew", "--yes"], &["ca", "rotate", "--yes"], &["password", "rotate", "--yes"]];
    // Milliseconds that it takes where nobody kills it.
    let mut takes = 25_000;
    for number in 0..kills() {
        // Two switches there and back, then a rotation.
        let (inventory, args) = match number % 5 {
            0 => (&site.a, apply),
            1 => (&site.b, apply),
            2 => (&site.managed, apply),
            3 => (&site.managed, rotations[usize::try_from(random(3)).expect("it is small")]),
            _ => (&site.managed, rotations[usize::try_from(number / 5 % 3).expect("it is small")]),
        };
        let after = 500 + random(if args == apply { takes } else { 6_000 });
        let what = format!("kill {number}: {args:?} of {} after {after} ms", inventory.display());
        let mut muster = lab.start_muster(inventory, args);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(after)
            && muster.try_wait().expect("it is a child").is_none()
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = muster.kill();
        let left = muster.wait().expect("it ends");
        eprintln!("{what}: {left}");
        assert_nothing_failed(lab, &what);
        // What it had started on the hosts ends by itself.
        std::thread::sleep(Duration::from_secs(2));
        let begun = Instant::now();
        lab.muster(inventory, &[args, &["--break-lock"]].concat()).exits(0);
        if args == apply && left.code().is_none() && after < 3_000 {
            takes = u64::try_from(begun.elapsed().as_millis()).expect("it is small").clamp(5_000, 60_000);
        }
        assert_nothing_failed(lab, &format!("{what}, and the run after it"));
        lab.muster(inventory, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
        assert_nobody_took_over(lab);
    }
    stop_load(lab);
    lab.muster(&site.managed, &["apply", "--yes"]).exits(0);
    lab.muster(&site.managed, &["verify"]).exits(0);
}
