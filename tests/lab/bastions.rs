//! Hosts that only a bastion reaches: through it, through two, and from it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fleet::{Lab, Private};

/// `MONITOR` is the monitor, p2 the coordinator, p3 and p4 a worker and its standby. How they are reached is
/// ssh_config's matter.
const INVENTORY: &str = "\
all:
  vars: {pgdata: /var/lib/postgresql/15/citus, dbname: app}
  children:
    monitor: {vars: {pgdata: /var/lib/postgresql/15/monitor}, hosts: {MONITOR}}
    coordinator: {hosts: {p2: }}
    workers: {vars: {group: 1}, hosts: {p3: , p4: {secondary: true}}}
";

#[test]
fn behind_one_bastion_and_behind_two() {
    let Some(lab) = Lab::private() else { return };
    let inventory = write(&lab, "private", "p1: ");
    let config = lab.beside_keys("ssh_config").display().to_string();

    // ssh_config knows the way: as `ssh p1` goes.
    let one = |args: &[&str]| through(&lab, &inventory, &[args, &["-F", &config]].concat());
    assert_eq!(one(&["apply", "--yes"]), 1, "connections to the bastion");
    assert_eq!(one(&["verify"]), 1);
    assert_eq!(one(&["plan", "--detailed-exitcode"]), 1);

    a_gigabyte_fits(&lab, &inventory, &config);

    // The first host is the second bastion, and one of the fleet.
    lab.script(&["wipe", "p1", "p2", "p3", "p4"]);
    let two = |args: &[&str]| {
        let bastions: &[&str] = &["-F", &config, "--bastion", "bastion,p1"];
        through(&lab, &inventory, &[args, bastions].concat())
    };
    assert_eq!(two(&["apply", "--yes"]), 1, "connections to the first bastion");
    assert_eq!(two(&["plan", "--detailed-exitcode"]), 1);
    // The last line of p1's log that is not one of our own: p2 to p4 came through one connection, p1's own is another.
    let to_p1 = lab.root("p1", "journalctl -b -t sshd -o cat | grep -c '^Accepted publickey'");
    assert_eq!(to_p1.trim(), "6", "p1: two runs, twice each, the lab's own check and this question");
}

#[test]
fn from_the_bastion_itself() {
    let Some(lab) = Lab::private() else { return };
    // No terminal, no agent, a home that nobody may write to, and itself a host of the fleet.
    let muster = fs::read(env!("CARGO_BIN_EXE_muster")).expect("muster is built");
    lab.send("bastion", "/usr/local/bin/muster", &muster);
    let monitor = format!("bastion: {{ansible_connection: local, hostname: {}}}", lab.private_address(2));
    let text = INVENTORY.replace("MONITOR", &monitor).replace(
        "{pgdata: /var/lib/postgresql/15/citus,",
        "{ansible_ssh_private_key_file: /etc/fleet.key, known_hosts: /etc/fleet.hosts, ansible_user: deploy, \
         pgdata: /var/lib/postgresql/15/citus,",
    );
    lab.send("bastion", "/etc/fleet.yml", text.as_bytes());
    lab.send("bastion", "/etc/fleet.hosts", &fs::read(lab.beside_keys("known_hosts")).expect("it is there"));
    lab.send("bastion", "/etc/fleet.key", &fs::read(lab.beside_keys("id")).expect("it is there"));
    lab.root(
        "bastion",
        "chown deploy /etc/fleet.key; chmod 600 /etc/fleet.key; chmod 755 /usr/local/bin/muster",
    );

    let run = |args: &str| {
        let script = format!(
            "cd /; env -i HOME=/usr/share XDG_DATA_HOME=/home/deploy/data PATH=/usr/bin:/bin setsid -w muster -i /etc/fleet.yml {args} </dev/null 2>&1"
        );
        lab.ssh("bastion", &script.replace(" muster ", " /usr/local/bin/muster "))
    };
    let said = run("apply --yes");
    assert!(said.contains("group 1: complete"), "{said}");
    assert!(run("plan --detailed-exitcode").contains("nothing to do"));
    let states = run("status");
    assert!(states.contains("settled") && states.contains("bastion"), "{states}");
}

/// Through the bastion, into bounded memory: the most that muster ever had, as the kernel counts it.
fn a_gigabyte_fits(lab: &Private, inventory: &Path, config: &str) {
    let args = ["exec", "p2", "--json", "-F", config, "--", "head", "-c", "1073741824", "/dev/zero"];
    let mut muster = lab.start_muster(inventory, &args);
    // Its answer is a MiB in JSON: more than a pipe holds.
    let stdout = muster.stdout.take().expect("stdout is piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout).expect("JSON is text"));
    let mut most = 0;
    while muster.try_wait().expect("muster can be waited for").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", muster.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        most = most.max(line.and_then(|line| line.trim().parse().ok()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(muster.wait().expect("muster ends").success());
    let said = reader.join().expect("it was read");
    assert!(said.contains("\"stdout_bytes\":1073741824"), "{}", &said[said.len().saturating_sub(300)..]);
    eprintln!("a gigabyte through the bastion: at most {most} kB in memory");
    assert!((1..64 * 1024).contains(&most), "{most} kB");
}

fn write(lab: &Private, name: &str, monitor: &str) -> PathBuf {
    let path = lab.beside_keys(&format!("{name}.yml"));
    fs::write(&path, INVENTORY.replace("MONITOR", monitor)).expect("an inventory can be written");
    path
}

/// Runs muster, which has to succeed; how many connections the bastion's sshd has seen of it.
fn through(lab: &Private, inventory: &Path, args: &[&str]) -> u64 {
    // Each question is a connection of its own.
    let accepted = || {
        let count = lab.root("bastion", "journalctl -b -t sshd -o cat | grep -c '^Accepted publickey'");
        count.trim().parse::<u64>().expect("a number")
    };
    let before = accepted();
    lab.muster(inventory, args).exits(0);
    accepted() - before - 1
}
