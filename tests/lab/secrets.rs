//! Passwords from everywhere, on real hosts: none is seen by who may not, and each is only in the files meant to hold it.

#[path = "../secrets/vault.rs"]
mod vault;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use age::secrecy::ExposeSecret as _;

use crate::fleet::{Lab, Run, pair};
use crate::formation;

const HOSTS: [&str; 3] = ["mon", "coord1", "coord2"];

/// What every planted word has in common; a process that is told of it is told by a file.
const POISON: &str = "arsenic";

/// `ops` logs in with a password, and sudo asks for it.
const INVENTORY: &str = concat!(
    "\
all:
  vars:
    ansible_user: ops
    ansible_password: age:secrets/login.age
    ansible_become_password: env:PLANTED_SUDO
    ansible_ssh_common_args: -o PubkeyAuthentication=no
    known_hosts: ../.lab/known_hosts
    pgdata: /var/lib/postgresql/15/main
    auth: scram-sha-256
    ca_dir: secrets/ca
    password: !vault |VAULT
    replication_password: 'cmd:cat secrets/replication'
    monitor_password: file:secrets/monitor
    settings: {log_statement: all, log_min_duration_statement: 0, log_connections: 'on', log_replication_commands: 'on'}",
    pair!()
);

#[test]
fn a_planted_word_is_found_nowhere() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = plant(&lab);
    let mut seen = BTreeSet::new();
    for args in [
        &["ping", "-vv"][..],
        &["plan", "-D", "-vv"],
        &["plan", "--json", "-D"],
        &["apply", "--yes", "-vv", "-D"],
        &["apply", "--yes", "--json"],
        &["status", "-vv"],
        &["verify", "-vv"],
        &["facts", "--json"],
        &["facts", "--yaml"],
        &["cert", "renew", "--yes", "-vv", "-D"],
        &["cert", "status", "--json"],
        &["ssh-check", "coord1", "-vv"],
        &["inventory", "--list"],
        &[
            "psql",
            "coord1",
            "-vv",
            "-c",
            "select rolname, rolpassword from pg_authid where rolpassword is not null",
        ],
    ] {
        let (run, found) = watched(|| muster(&lab, &inventory, args));
        is_clean(&run.exits(0), args);
        seen.extend(found);
    }
    only_who_may(&seen);
    formation::settle(&lab);
    muster(&lab, &inventory, &["plan", "--detailed-exitcode"]).exits(0);
    in_no_other_file(&lab);

    // Other passwords, all of them, by way of ALTER ROLE on servers that log all that they are asked; a backend that waits
    // with one is killed, which writes what it was running to the log.
    let write = |name: &str, text: &str| {
        fs::write(lab.beside_keys(&format!("secrets/{name}")), text).expect("a file can be written");
    };
    write("replication", "arsenic-replication-2\n");
    write("monitor", "arsenic-monitor-2\n");
    let inventory = lab.inventory_of("secrets", &sealed("arsenic-password-2"));
    let ran = killed_while_it_waits(&lab, &inventory);
    is_clean(&ran, &["apply"]);
    formation::settle(&lab);
    let (run, found) = watched(|| muster(&lab, &inventory, &["apply", "--yes", "-vv", "-D"]));
    is_clean(&run.exits(0), &["apply"]);
    only_who_may(&found);
    muster(&lab, &inventory, &["plan", "--detailed-exitcode"]).exits(0);
    let text =
        sealed("arsenic-password-2").replace("    settings:", "    maximum_backup_rate: 90M\n    settings:");
    let inventory = lab.inventory_of("secrets", &text);
    is_clean(&muster(&lab, &inventory, &["apply", "--yes", "-vv", "-D"]).exits(0), &["apply"]);
    formation::settle(&lab);
    lab.pg_autoctl("perform failover --formation default --group 0 2>&1");
    formation::settle(&lab);
    for host in ["coord1", "coord2"] {
        let old = lab.root(host, "grep -vc 'nic-[a-z]*-2$' ~postgres/.pgpass || true");
        assert_eq!(old.trim(), "0", "{host}: an old password is still there");
    }
    is_clean(&muster(&lab, &inventory, &["status", "-vv"]).exits(0), &["status"]);
    in_no_other_file(&lab);
    for host in ["coord1", "coord2"] {
        let asked = "select count(*) from pg_stat_activity where query ~ ('arse' || 'nic')";
        let told = lab.ssh(host, &format!("cd / && sudo -u postgres psql -XAtqc \"{asked}\""));
        assert_eq!(told.trim(), "0", "{host}: pg_stat_activity");
        // A log that says nothing would prove nothing.
        let logged = lab.root(host, "cat /var/lib/postgresql/15/main/log/* | grep -c 'statement: '\n");
        assert!(
            logged.trim().parse::<u32>().is_ok_and(|lines| lines > 10),
            "{host}: {logged} statements logged"
        );
    }
    for host in HOSTS {
        lab.root(host, "userdel -rf ops 2>/dev/null; rm -f /etc/sudoers.d/ops");
    }
}

fn plant(lab: &Lab) -> std::path::PathBuf {
    for host in HOSTS {
        let script = "useradd -m -s /bin/sh ops\necho ops:arsenic-login | chpasswd\n\
                      echo 'ops ALL = (ALL) ALL' >/etc/sudoers.d/ops\n\
                      echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/ops.conf\nsystemctl reload ssh\n";
        lab.root(host, script);
    }
    let key = age::x25519::Identity::generate();
    let login = age::encrypt(&key.to_public(), b"arsenic-login").expect("it is encrypted");
    let write = |name: &str, content: &[u8]| {
        let path = lab.beside_keys(&format!("secrets/{name}"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    };
    write("login.age", &login);
    write("age.key", format!("{}\n", key.to_string().expose_secret()).as_bytes());
    write("vault-password", b"arsenic-vault\n");
    write("replication", b"arsenic-replication\n");
    write("monitor", b"arsenic-monitor\n");
    let (certificate, key) = planted_authority();
    write("ca/ca.crt", certificate.as_bytes());
    write("ca/ca.key", key.as_bytes());
    lab.inventory_of("secrets", &sealed("arsenic-password"))
}

/// An authority in whose key's file the word can be read: it begins the number that is the key.
fn planted_authority() -> (String, String) {
    let make = "{ printf '\\060\\061\\002\\001\\001\\004\\040'; { printf arsenicA | base64 -d; head -c 26 /dev/urandom; }; \
        printf '\\240\\012\\006\\010\\052\\206\\110\\316\\075\\003\\001\\007'; } | openssl ec -inform DER -outform PEM 2>/dev/null | \
        openssl pkcs8 -topk8 -nocrypt";
    let made = std::process::Command::new("sh").args(["-c", make]).output().expect("there is a shell");
    let key = String::from_utf8(made.stdout).expect("it is PEM");
    assert!(key.contains(POISON), "{}", String::from_utf8_lossy(&made.stderr));
    let pair = rcgen::KeyPair::from_pem(&key).expect("it is a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    (params.self_signed(&pair).expect("the parameters are complete").pem(), key)
}

/// The inventory with this password in its vault.
fn sealed(password: &str) -> String {
    let sealed = vault::encrypted("arsenic-vault", "", password);
    let sealed: String = sealed.lines().map(|line| format!("\n      {line}")).collect();
    INVENTORY.replace("VAULT", &sealed)
}

/// An apply whose ALTER ROLE waits for somebody else's on coord1, until its backend is killed.
fn killed_while_it_waits(lab: &Lab, inventory: &Path) -> Run {
    let holds = "begin; alter role pgautofailover_replicator connection limit -1; select pg_sleep(60)";
    let hold = format!(
        "cd /tmp\nsetsid sudo -u postgres psql -Xqc '{holds}' >/dev/null 2>&1 </dev/null &\nsleep 1\n"
    );
    lab.root("coord1", &hold);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| muster(lab, inventory, &["apply", "--yes", "-vv", "-D"]));
        let waits =
            "select pid from pg_stat_activity where wait_event_type = 'Lock' and query ~ '^ALTER ROLE'";
        let kill = format!(
            "cd /tmp\nn=0\nuntil p=$(sudo -u postgres psql -XAtqc \"{waits}\") && [ -n \"$p\" ]; do\n\
             n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.2; done\n\
             sudo -u postgres psql -XAtqc 'select query from pg_stat_activity' | grep -F arse''nic && exit 1\nkill -9 $p\n\
             sleep 1\ngrep -h 'was running: ALTER ROLE' /var/lib/postgresql/15/main/log/*\n"
        );
        let said = lab.root("coord1", &kill);
        assert!(said.contains("SCRAM-SHA-256$"), "{said}");
        run.join().expect("it ends")
    })
}

fn muster(lab: &Lab, inventory: &Path, args: &[&str]) -> Run {
    let secret = |name: &str| lab.beside_keys(&format!("secrets/{name}")).display().to_string();
    let (password, key) = (secret("vault-password"), secret("age.key"));
    let more = ["--vault-password-file", &password, "--age-identity", &key];
    lab.muster_with(inventory, &[args, &more].concat(), &[("PLANTED_SUDO", "arsenic-login")])
}

#[track_caller]
fn is_clean(run: &Run, args: &[&str]) {
    let said = run.said();
    let line = said.lines().find(|line| line.contains(POISON));
    assert_eq!(line, None, "{args:?}");
}

/// A process that had a word among its arguments or in its environment, on this machine or, as its kernel is the same,
/// on a host.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    what: &'static str,
    program: String,
    owner: u32,
    on_a_host: bool,
    /// The words, and the variables they are in.
    words: String,
}

fn watched(work: impl FnOnce() -> Run) -> (Run, BTreeSet<Sight>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").expect("there is /proc").flatten() {
                    for what in ["cmdline", "environ"] {
                        seen.extend(sight(&process.path(), what));
                    }
                }
            }
            seen
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().expect("it ends");
        (worked.unwrap_or_else(|why| std::panic::resume_unwind(why)), seen)
    })
}

fn sight(process: &Path, what: &'static str) -> Option<Sight> {
    let bytes = fs::read(process.join(what)).ok()?;
    if !String::from_utf8_lossy(&bytes).contains(POISON) {
        return None;
    }
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| word.contains(POISON))
        .collect();
    let program = fs::read_to_string(process.join("comm")).ok()?.trim().to_owned();
    let own = |path: &Path| fs::read_link(path.join("ns/pid")).ok();
    let on_a_host = own(process) != own(Path::new("/proc/self"));
    let owner = fs::metadata(process).ok()?.uid();
    (!words.is_empty()).then(|| Sight { what, program, owner, on_a_host, words: words.join(" ") })
}

/// No arguments; the environment of muster has what the operator put there, that of psql what it connects with.
#[track_caller]
fn only_who_may(seen: &BTreeSet<Sight>) {
    let may = |sight: &&Sight| {
        let here = !sight.on_a_host && sight.words == "PLANTED_SUDO=arsenic-login";
        let variables = || sight.words.split(' ').filter_map(|word| word.split('=').next());
        let connects = sight.on_a_host
            && ["sh", "psql", "muster"].contains(&sight.program.as_str())
            && sight.owner != 0
            && variables().all(|name| name == "PGPASSWORD");
        sight.what == "environ" && (here || connects)
    };
    eprintln!("-- in environments: {:#?}", seen.iter().filter(may).collect::<Vec<_>>());
    let others: Vec<&Sight> = seen.iter().filter(|sight| !may(sight)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// On every host: the files that hold a word are known, and nobody else may read them; no log holds one.
#[track_caller]
fn in_no_other_file(lab: &Lab) {
    const KNOWN: [&str; 1] = ["/var/lib/postgresql/.pgpass"];
    for host in HOSTS {
        // The pattern is no word that a search could find itself by.
        let script = "p=$(printf arse%s nic)\n\
            grep -rlaF --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev -e \"$p\" /var /etc /run /tmp /home /root /srv 2>/dev/null |\n\
            while read -r f; do stat -c '%a %U %n' \"$f\"; done\n\
            journalctl -q --no-pager -a | grep -aF -e \"$p\" | sed 's/^/journal: /'\ntrue\n";
        let found = lab.root(host, script);
        eprintln!("-- {host}: {found}");
        for line in found.lines() {
            let known = line.starts_with("600 postgres ") && KNOWN.iter().any(|name| line.ends_with(name));
            assert!(known, "{host}: {line}");
        }
        assert!(host == "mon" || found.lines().count() == 1, "{host}: the passwords are nowhere: {found}");
    }
}
