//! The fleet as the scenarios see it: hosts to break, and muster to run on them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The hosts of `inventory/lab.yml`, the monitor's first; `lab.sh` gives these names.
pub(crate) const HOSTS: [&str; 10] =
    ["mon", "coord1", "coord2", "w1a", "w1b", "w2a", "w2b", "coord1r", "w1r", "w2r"];

/// The first lines of a scenario's inventory: how its hosts are reached.
macro_rules! head {
    () => {
        "\
all:
  vars:
    ansible_user: deploy
    ansible_ssh_private_key_file: ../.lab/id
    known_hosts: ../.lab/known_hosts"
    };
}
pub(crate) use head;

/// Its last lines where a monitor and two nodes of one group are all.
macro_rules! pair {
    () => {
        "
  children:
    monitor:
      hosts:
        mon: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}
    postgres:
      hosts:
        coord1: {ansible_host: 10.88.0.12, hostname: coord1}
        coord2: {ansible_host: 10.88.0.13, hostname: coord2, secondary: true}
"
    };
}
pub(crate) use pair;

/// The data directory that a host's pg_autoctl is set up for; to be run as root. Its configuration lies
/// under the directory's own path.
pub(crate) const SERVED_DIRECTORY: &str = "find /var/lib/postgresql/.config/pg_autoctl -name pg_autoctl.cfg -printf '/%P' -quit | sed 's,/pg_autoctl.cfg$,,'";

/// The running fleet; held by one scenario at a time.
pub(crate) struct Lab {
    net: String,
    keys: PathBuf,
    /// `MUSTER_LAB_SUITE`.
    suite: &'static str,
    _turn: File,
}

/// What muster said, and how it ended.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Two fleets, so that two scenarios go side by side: most of one is waiting. Not `make demo`'s prefix: a formation that someone looks
/// at is not wiped by a test.
const NETS: [&str; 2] = ["10.88.2", "10.88.4"];

/// Where the keys of a fleet are, and the lock of whoever has it.
fn turn(net: &str) -> (PathBuf, File) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let keys = if net == "10.88.0" { root.join(".lab") } else { root.join(".lab").join(net) };
    fs::create_dir_all(&keys).expect("the lab's key directory can be made");
    let turn = File::create(keys.join("turn")).expect("the lab's lock can be made");
    (keys, turn)
}

impl Lab {
    /// Ten hosts with nothing set up; `None` where there can be none.
    pub(crate) fn bare() -> Option<Lab> {
        Lab::first(HOSTS.len())
    }

    /// The same where they have the real Citus.
    pub(crate) fn with_citus() -> Option<Lab> {
        let lab = Lab::bare()?;
        if !lab.has_citus() {
            eprintln!("\n*** LEFT OUT, nothing was tested: the lab's image has no real Citus ***\n");
            return None;
        }
        Some(lab)
    }

    /// The same with the first of them at least.
    pub(crate) fn first(count: usize) -> Option<Lab> {
        if let Some(reason) = left_out() {
            eprintln!("\n*** LEFT OUT, nothing was tested: {reason} ***\n");
            return None;
        }
        let lab = match std::env::var("MUSTER_LAB_NET") {
            Ok(net) => Lab::of(net),
            Err(_) => NETS.into_iter().find_map(Lab::free).unwrap_or_else(|| Lab::of(NETS[0].to_owned())),
        };
        let were_up = !lab.script(&["list"]).is_empty();
        lab.script(&["up", &count.to_string()]);
        if were_up {
            lab.wipe();
        }
        Some(lab)
    }

    /// A bastion, and bare hosts `p1` to `p4` that only it reaches; a fleet of its own, gone with the value.
    pub(crate) fn private() -> Option<Private> {
        if let Some(reason) = left_out() {
            eprintln!("\n*** LEFT OUT, nothing was tested: {reason} ***\n");
            return None;
        }
        let net = std::env::var("MUSTER_LAB_PRIVATE").unwrap_or_else(|_| "10.88.12".to_owned());
        let lab = Lab::of(net);
        lab.script(&["up", "0", "4"]);
        Some(Private(lab))
    }

    /// Four bare hosts of Debian 13; `None` where there can be none, or nobody has built their image.
    pub(crate) fn trixie() -> Option<Private> {
        if let Some(reason) = left_out() {
            eprintln!("\n*** LEFT OUT, nothing was tested: {reason} ***\n");
            return None;
        }
        let net = std::env::var("MUSTER_LAB_TRIXIE").unwrap_or_else(|_| "10.88.22".to_owned());
        let lab = Lab { suite: "trixie", ..Lab::of(net) };
        if lab.script(&["citus"]).trim() == "none" {
            let build = "MUSTER_LAB_SUITE=trixie tests/lab/lab.sh base";
            eprintln!(
                "\n*** LEFT OUT, nothing was tested: there is no image of Debian 13; make it with `{build}` ***\n"
            );
            return None;
        }
        lab.script(&["up", "4"]);
        Some(Private(lab))
    }

    fn of(net: String) -> Lab {
        let (keys, turn) = turn(&net);
        turn.lock().expect("the lab's lock can be taken");
        Lab { net, keys, suite: "bookworm", _turn: turn }
    }

    /// `None` where another scenario has it.
    fn free(net: &str) -> Option<Lab> {
        let (keys, turn) = turn(net);
        turn.try_lock().ok()?;
        Some(Lab { net: net.to_owned(), keys, suite: "bookworm", _turn: turn })
    }

    /// All hosts bare again.
    pub(crate) fn wipe(&self) {
        self.script(&["wipe"]);
    }

    /// A command of `lab.sh`: `["reboot", "w1a"]`.
    pub(crate) fn script(&self, args: &[&str]) -> String {
        let started = Instant::now();
        let output = self.lab_sh(args).stdin(Stdio::null()).output().expect("lab.sh runs");
        if !matches!(args[0], "ssh" | "list" | "citus") {
            eprintln!("-- lab.sh {} ({:.1} s)", args.join(" "), started.elapsed().as_secs_f32());
        }
        succeed(args, output)
    }

    /// Runs `script` in `sh` as user deploy, who may sudo; its output.
    pub(crate) fn ssh(&self, host: &str, script: &str) -> String {
        self.ssh_with(host, "sh -eu", script)
    }

    /// Runs `script` in `sh` as root.
    pub(crate) fn root(&self, host: &str, script: &str) -> String {
        self.ssh_with(host, "sudo sh -eu", script)
    }

    /// Puts a file on a host, as root.
    pub(crate) fn send(&self, host: &str, path: &str, content: &[u8]) {
        self.ssh_with(host, &format!("sudo tee {path} >/dev/null"), content);
    }

    /// This machine's own address on the open subnet.
    pub(crate) fn bridge(&self) -> String {
        format!("{}.1", self.net)
    }

    /// A host's address on the private subnet.
    pub(crate) fn private_address(&self, last: u8) -> String {
        let (rest, third) = self.net.rsplit_once('.').expect("three octets");
        format!("{rest}.{}.{last}", third.parse::<u8>().expect("an octet") + 1)
    }

    /// Runs SQL in the formation's database on the host: one line a row, columns parted by `|`.
    pub(crate) fn sql(&self, host: &str, sql: &str) -> String {
        let dbname = in_inventory("dbname");
        self.ssh_with(
            host,
            &format!("cd / && sudo -u postgres psql -XAtq -v ON_ERROR_STOP=1 -d {dbname}"),
            sql,
        )
    }

    /// What a host's own server answers, whatever its port is; without the last line end.
    pub(crate) fn psql(&self, host: &str, sql: &str) -> String {
        let port = format!("$(sed -n 4p $({SERVED_DIRECTORY})/postmaster.pid)");
        let script = format!(
            "cd /
port={port}
sudo -u postgres psql -XAtq -p $port -d postgres -v ON_ERROR_STOP=1 <<'SQL'\n{sql};\nSQL"
        );
        self.root(host, &script).trim_end().to_owned()
    }

    /// Runs a pg_autoctl command on the monitor.
    pub(crate) fn pg_autoctl(&self, command: &str) -> String {
        let script =
            format!("cd /; sudo -H -u postgres env PGDATA=$(sudo {SERVED_DIRECTORY}) pg_autoctl {command}");
        self.ssh("mon", &script)
    }

    /// The nodes' data directory.
    pub(crate) fn pgdata(&self) -> String {
        in_inventory("pgdata")
    }

    /// Whether the hosts have the real Citus.
    pub(crate) fn has_citus(&self) -> bool {
        self.script(&["citus"]).trim() == "real"
    }

    /// `inventory/lab.yml` with this lab's addresses and keys, changed by `edit`.
    pub(crate) fn inventory(&self, name: &str, edit: impl FnOnce(String) -> String) -> PathBuf {
        let text = fs::read_to_string(lab_inventory()).expect("inventory/lab.yml is there");
        self.write_inventory(name, edit(self.adapted(&text)))
    }

    /// An inventory of one's own, with the addresses and keys of `inventory/lab.yml`.
    pub(crate) fn inventory_of(&self, name: &str, text: &str) -> PathBuf {
        self.write_inventory(name, self.adapted(text))
    }

    fn adapted(&self, text: &str) -> String {
        let keys = self.keys.display().to_string();
        text.replace("10.88.0.", &format!("{}.", self.net)).replace("../.lab", &keys)
    }

    fn write_inventory(&self, name: &str, text: String) -> PathBuf {
        let path = self.keys.join(format!("{name}.yml"));
        fs::write(&path, text).expect("an inventory can be written");
        path
    }

    /// A file beside the keys, e.g. a number one scenario leaves for another.
    pub(crate) fn beside_keys(&self, name: &str) -> PathBuf {
        self.keys.join(name)
    }

    /// Runs `muster ARGS -i INVENTORY` to its end.
    pub(crate) fn muster(&self, inventory: &Path, args: &[&str]) -> Run {
        self.muster_with(inventory, args, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn muster_with(&self, inventory: &Path, args: &[&str], env: &[(&str, &str)]) -> Run {
        let started = Instant::now();
        let run = self.run(inventory, args, env);
        let took = started.elapsed().as_secs_f32();
        eprintln!("-- muster {}: {:?} ({took:.1} s)\n{}", args.join(" "), run.code, run.said());
        run
    }

    /// The same without a word: for a scenario that runs it a hundred times.
    pub(crate) fn quietly(&self, inventory: &Path, args: &[&str]) -> Run {
        self.run(inventory, args, &[])
    }

    fn run(&self, inventory: &Path, args: &[&str], env: &[(&str, &str)]) -> Run {
        let child = self.command(inventory, args).envs(env.iter().copied()).spawn().expect("muster starts");
        let output = child.wait_with_output().expect("muster ends");
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `muster ARGS` to its end, with the lab's ssh_config and no inventory.
    pub(crate) fn muster_alone(&self, args: &[&str]) -> Run {
        let started = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_muster"))
            .arg("-F")
            .arg(self.keys.join("ssh_config"))
            .args(args)
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("MUSTER_INVENTORY")
            .stdin(Stdio::null())
            .output()
            .expect("muster starts");
        let run = Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let took = started.elapsed().as_secs_f32();
        eprintln!("-- muster {}: {:?} ({took:.1} s)\n{}", args.join(" "), run.code, run.said());
        run
    }

    /// Starts muster as a pipeline would: no terminal, nothing to read.
    pub(crate) fn start_muster(&self, inventory: &Path, args: &[&str]) -> Child {
        self.command(inventory, args).spawn().expect("muster starts")
    }

    fn command(&self, inventory: &Path, args: &[&str]) -> Command {
        // Another build, e.g. one that stays as it is while this one is worked on.
        let muster = std::env::var_os("MUSTER_LAB_MUSTER").unwrap_or(env!("CARGO_BIN_EXE_muster").into());
        let mut command = Command::new(muster);
        command.arg("-i").arg(inventory).args(args).env_remove("SSH_AUTH_SOCK");
        // What muster keeps of a formation on the operator's machine is this fleet's.
        command.env("XDG_DATA_HOME", self.keys.join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ssh_with(&self, host: &str, command: &str, stdin: impl AsRef<[u8]>) -> String {
        let args = ["ssh", host, command];
        let mut ssh = self.lab_sh(&args);
        let mut child = ssh.stdin(Stdio::piped()).spawn().expect("lab.sh runs");
        let mut pipe = child.stdin.take().expect("stdin is piped");
        // A command that ends without reading is judged by its status.
        drop(pipe.write_all(stdin.as_ref()));
        drop(pipe);
        let output = child.wait_with_output().expect("ssh ends");
        succeed(&[host, command, &String::from_utf8_lossy(stdin.as_ref())], output)
    }

    fn lab_sh(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab.sh"));
        command.args(args).env("MUSTER_LAB_NET", &self.net).env("MUSTER_LAB_SUITE", self.suite);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// See [`Lab::private`].
pub(crate) struct Private(Lab);

impl std::ops::Deref for Private {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What is left of it is in nobody's way but memory's.
        drop(self.0.lab_sh(&["down"]).output());
    }
}

impl Run {
    /// Both streams: where a word is shown is the screen's matter.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails the scenario unless muster ended with `code`; an exit code of the README's table.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "exit code");
        self
    }

    /// Fails the scenario unless muster said exactly this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Run {
        assert!(self.said().contains(text), "it does not say: {text}");
        self
    }

    /// Fails the scenario unless muster named the host and one of the words.
    #[track_caller]
    pub(crate) fn names(self, host: &str, words: &[&str]) -> Run {
        let said = self.said().to_lowercase();
        assert!(said.contains(host), "{host} is not named");
        let found = words.iter().any(|word| said.contains(&word.to_lowercase()));
        assert!(found, "none of {words:?} is said");
        self
    }
}

fn lab_inventory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("inventory/lab.yml")
}

/// The first value of `key` in `inventory/lab.yml`: the one for all nodes.
fn in_inventory(key: &str) -> String {
    let text = fs::read_to_string(lab_inventory()).expect("inventory/lab.yml is there");
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    values.map(|value| value.trim().to_owned()).next().expect("inventory/lab.yml says it for all nodes")
}

fn left_out() -> Option<&'static str> {
    if std::env::var_os("MUSTER_LAB_SKIP").is_some() {
        return Some("MUSTER_LAB_SKIP is set");
    }
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    (!root).then_some("real hosts (systemd-nspawn) need root")
}

#[track_caller]
fn succeed(what: &[&str], output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what:?} failed: {}\n{stdout}{stderr}", output.status);
    stdout
}
