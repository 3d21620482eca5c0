//! Changes that lock out, with muster killed right after they are made: nobody is locked out once `confirm_timeout` is over.
//!
//! Whether somebody comes in is asked by psql alone, on the hosts that come in, with what their keepers have.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fleet::{Lab, head};

/// How many changes; `MUSTER_LAB_CHANGES` is another number of them, `MUSTER_LAB_SEED` another row.
const CHANGES: u64 = 12;

/// `confirm_timeout` of what locks out and is cut off, and of what is to be confirmed, on a busy machine, too.
const SOON: u64 = 4;
const LATER: u64 = 45;

const HOSTS: [&str; 3] = ["mon", "coord1", "coord2"];

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/lockout
    auth: trust
    confirm_timeout: WITHIN
    server_cert: /etc/tls/SIGNER.crt
    server_key: /etc/tls/SIGNER.key
    ssl_ca_file: /etc/tls/ca.crt
    ssl_mode: verify-ca
    templates_dir: TEMPLATES
    settings: {SETTINGS}
    listen: 'LISTEN'
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon}
    coordinator:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
"
);

/// The servers' certificates, by an authority that all know, and by one that nobody knows.
const CERTIFICATES: &str = r#"
install -d -o postgres /etc/tls; cd /etc/tls
for ca in ca other; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=$ca -keyout $ca.key -out $ca.crt 2>/dev/null
done
for by in ca other; do
  case $by in ca) to=right ;; *) to=wrong ;; esac
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=any -keyout $to.key -out $to.csr 2>/dev/null
  openssl x509 -req -in $to.csr -CA $by.crt -CAkey $by.key -CAcreateserial -days 30 -out $to.crt 2>/dev/null
done
"#;

/// What muster cannot know before it is tried: `PEER` is one of the hosts.
const RULES: [&str; 11] = [
    "host all,replication all PEER reject",
    "hostssl replication all PEER reject",
    "host all,replication all samenet reject",
    "hostssl all pgautofailover_monitor,autoctl_node,pgautofailover_replicator samenet reject",
    "hostssl all,replication all samenet scram-sha-256",
    "hostssl all,replication all samenet md5",
    "hostssl all,replication all samenet cert",
    "hostssl all,replication all samenet pam",
    "hostssl all,replication all samenet ldap ldapserver=127.0.0.1 ldapprefix=a ldapsuffix=b",
    "hostssl all,replication all samenet trust clientcert=verify-ca",
    "hostnossl all,replication all samenet trust\nhost all,replication all samenet reject",
];
const SETTINGS: [&str; 3] = [
    "ssl_min_protocol_version: TLSv1, ssl_max_protocol_version: TLSv1",
    "ssl_max_protocol_version: TLSv1.2, ssl_ciphers: PSK",
    "ssl_max_protocol_version: TLSv1.2, ssl_ciphers: aNULL",
];
const LISTENS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

/// What an inventory says beside what is right.
#[derive(Debug)]
struct Change {
    rule: String,
    settings: &'static str,
    signer: &'static str,
    listen: &'static str,
    within: u64,
}

impl Change {
    fn right() -> Change {
        Change { rule: String::new(), settings: "", signer: "right", listen: "*", within: LATER }
    }

    fn hostile(chance: &mut StdRng) -> Change {
        let mut change = Change { within: SOON, ..Change::right() };
        let kind = chance.random_range(0..20);
        if matches!(kind, 0..11 | 18) {
            let rule = RULES[chance.random_range(0..RULES.len())];
            change.rule = rule.replace("PEER", HOSTS[chance.random_range(0..HOSTS.len())]);
        }
        if matches!(kind, 11..14 | 18) {
            change.settings = SETTINGS[chance.random_range(0..SETTINGS.len())];
        }
        if matches!(kind, 14..18) {
            change.signer = "wrong";
        }
        if kind == 19 {
            change.listen = LISTENS[chance.random_range(0..LISTENS.len())];
        }
        change
    }

    fn inventory(&self, lab: &Lab, name: &str) -> PathBuf {
        let templates = lab.beside_keys(&format!("{name}.templates"));
        std::fs::create_dir_all(&templates).expect("a folder can be made");
        let built_in = muster::template::BUILT_IN
            .iter()
            .find(|(name, _)| *name == "pg_hba.conf.j2")
            .expect("it is built in");
        let rules = built_in.1.replacen(
            "{% for rule in formation_rules %}",
            &format!("{}\n{{% for rule in formation_rules %}}", self.rule),
            1,
        );
        std::fs::write(templates.join("pg_hba.conf.j2"), rules).expect("it can be written");
        let text = INVENTORY
            .replace("WITHIN", &self.within.to_string())
            .replace("SIGNER", self.signer)
            .replace("TEMPLATES", &templates.display().to_string())
            .replace("SETTINGS", self.settings)
            .replace("LISTEN", self.listen);
        lab.inventory_of(name, &text)
    }
}

/// Every connection that this formation lives by: from which host, and as what.
fn links() -> Vec<(&'static str, String)> {
    let of = |host: &str, user: &str, rest: &str| {
        format!(
            "host={host} user={user} {rest} sslmode=verify-ca sslrootcert=/etc/tls/ca.crt connect_timeout=3"
        )
    };
    let mut links = Vec::new();
    for (own, other) in [("coord1", "coord2"), ("coord2", "coord1")] {
        links.push(("mon", of(own, "pgautofailover_monitor", "dbname=postgres")));
        links.push((own, of("mon", "autoctl_node", "dbname=pg_auto_failover")));
        links.push((own, of(other, "pgautofailover_replicator", "replication=true")));
        links.push((own, of(other, "pgautofailover_replicator", "dbname=postgres")));
        links.push((own, of(other, "postgres", "dbname=citus")));
        links.push((own, "user=postgres dbname=citus".to_owned()));
    }
    links.push(("mon", "user=postgres dbname=pg_auto_failover".to_owned()));
    links
}

/// Who does not come in, with what was said.
fn locked_out(lab: &Lab) -> Vec<String> {
    let of_host = |host: &str| {
        let mut script = "cd /\n".to_owned();
        for (_, conninfo) in links().into_iter().filter(|(from, _)| *from == host) {
            let asks = if conninfo.contains("replication=") { "IDENTIFY_SYSTEM" } else { "select 1" };
            let _ = writeln!(
                script,
                "sudo -u postgres psql -XAtqw '{conninfo}' -c '{asks}' 2>&1 >/dev/null </dev/null | grep -m 1 . || :"
            );
        }
        lab.root(host, &script).lines().map(|line| format!("{host}: {line}")).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let all = HOSTS.map(|host| scope.spawn(move || of_host(host)));
        all.into_iter().flat_map(|one| one.join().expect("it is asked")).collect()
    })
}

/// What is left of a change on the hosts.
fn left(lab: &Lab) -> String {
    let script = "find /var/lib/postgresql/15 -maxdepth 2 -name '.muster-[ou]*' 2>/dev/null; pgrep -af undo/watch || :";
    HOSTS.iter().map(|host| lab.root(host, script)).collect()
}

/// Kills muster so long after it has changed a file of each host; whether it had ended before.
fn killed(mut muster: Child, after: Duration) -> bool {
    let lines = BufReader::new(muster.stderr.take().expect("stderr is piped")).lines();
    let mut out = muster.stdout.take().expect("stdout is piped");
    let drain = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let mut lines = lines.map_while(Result::ok);
    let written = |line: &String| line.contains(": write /");
    let begun = lines.by_ref().filter(written).nth(HOSTS.len() - 1).is_some();
    if begun {
        std::thread::sleep(after);
    }
    let ended = muster.try_wait().expect("it can be asked").is_some();
    muster.kill().expect("it is ours");
    muster.wait().expect("it ends");
    drain.join().expect("it ends").expect("it is read");
    ended || !begun
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_change_that_locks_out_undoes_itself() {
    let Some(lab) = Lab::first(3) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (changes, seed) =
        (number("MUSTER_LAB_CHANGES").unwrap_or(CHANGES), number("MUSTER_LAB_SEED").unwrap_or(7));
    lab.root("mon", CERTIFICATES);
    let files = lab.root("mon", "cd /etc; tar -c tls | base64 -w0");
    for host in HOSTS {
        lab.root(
            host,
            &format!(
                "cd /etc; echo '{files}' | base64 -d | tar -x; chown -R postgres: tls; chmod 600 tls/*.key"
            ),
        );
    }
    let right = Change::right().inventory(&lab, "lockout");
    lab.muster(&right, &["apply", "--yes"]).exits(0);
    assert_eq!(locked_out(&lab), Vec::<String>::new());

    // Where muster lives it is undone at once, and said.
    let refused = Change { rule: "host all,replication all coord2 reject".to_owned(), ..Change::right() };
    let begun = Instant::now();
    lab.muster(&refused.inventory(&lab, "lockout-told"), &["apply", "--yes"])
        .exits(2)
        .says("coord2 (reports to the monitor, autoctl_node to database pg_auto_failover) did not come in any more, so what was there before is back")
        .says("pg_hba.conf rejects connection for host");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!((locked_out(&lab), left(&lab)), (Vec::new(), String::new()));

    let mut chance = StdRng::seed_from_u64(seed);
    let (mut cut_in_force, mut ended_before, mut wrong) = (0, 0, Vec::new());
    for round in 1..=changes {
        let change = Change::hostile(&mut chance);
        let inventory = change.inventory(&lab, "lockout-hostile");
        let moment = Duration::from_millis(chance.random_range(0..1600));
        let over = killed(lab.start_muster(&inventory, &["apply", "--yes"]), moment);
        let meanwhile = locked_out(&lab).len();
        ended_before += u64::from(over);
        cut_in_force += u64::from(meanwhile > 0);
        eprintln!(
            "== {round}: {change:?}, {}, {meanwhile} locked out then",
            if over { "over before" } else { "killed" }
        );
        let end = Instant::now() + Duration::from_secs(SOON + 20);
        while !left(&lab).is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(300));
        }
        let (out, left) = (locked_out(&lab), left(&lab));
        if !(out.is_empty() && left.is_empty()) {
            wrong.push(format!("{round}: {change:?}: {out:#?}\nleft: {left}"));
        }
    }
    eprintln!(
        "{changes} hostile changes: {cut_in_force} were in force when muster was killed, {ended_before} had ended before"
    );
    assert!(wrong.is_empty(), "{} of {changes} locked out:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cut_in_force * 5 > changes, "too few of them were in force");

    // A run that comes at once, and one that comes after a boot, take it back first; then all is as the inventory says.
    for boots in [false, true] {
        let muster = lab.start_muster(&refused.inventory(&lab, "lockout-again"), &["apply", "--yes"]);
        killed(muster, Duration::from_millis(300));
        // On a machine that is slow it may have been undone before.
        let is_unconfirmed = !left(&lab).is_empty();
        if boots {
            lab.script(&["reboot", "coord2"]);
        }
        let run = lab.muster(&right, &["apply", "--yes"]).exits(0);
        if is_unconfirmed {
            run.says("take back an unconfirmed change");
        }
        assert_eq!((locked_out(&lab), left(&lab)), (Vec::new(), String::new()));
    }
    lab.muster(&right, &["plan", "--detailed-exitcode"]).exits(0);
    lab.muster(&right, &["verify"]).exits(0);
}
