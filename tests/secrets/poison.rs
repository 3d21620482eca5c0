//! A word of its own in every password, from every place a password may be in: none of them may be seen anywhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster::inventory::{Need, load_all};
use muster::secrets::Keyring;

use crate::found::{keyring, shown};
use crate::vault::encrypted;
use crate::{Said, Site, VAULT_PASSWORD, block};

const VARIABLES: [&str; 5] =
    ["password", "replication_password", "monitor_password", "ansible_password", "ansible_become_password"];

/// What every word has in common.
const POISON: &str = "poison";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Clear,
    Vault,
    VaultFile,
    Env,
    File,
    Command,
    Program,
    Age,
    Template,
}

use Place::{Age, Clear, Command, Env, File, Program, Template, Vault, VaultFile};

const PLACES: [Place; 9] = [Clear, Vault, VaultFile, Env, File, Command, Program, Age, Template];

fn word(variable: &str, place: Place) -> String {
    format!("{POISON}-{variable}-{place:?}").to_lowercase()
}

/// Plants the words; the lines for `vars:` of `all`.
fn planted(site: &mut Site, place: Place) -> String {
    let mut sealed = String::new();
    let mut lines = String::new();
    for variable in VARIABLES {
        let word = word(variable, place);
        let value = match place {
            Clear => word,
            Vault => format!("!vault |{}", block(&encrypted(VAULT_PASSWORD, "", &word), 8)),
            VaultFile => {
                sealed += &format!("{variable}: {word}\n");
                continue;
            }
            Env => {
                site.set(&format!("PLANTED_{variable}"), &word);
                format!("env:PLANTED_{variable}")
            }
            File | Command | Program => {
                site.write(&format!("kept/{variable}"), word);
                match place {
                    File => format!("file:kept/{variable}"),
                    // Long enough to be seen in the list of processes.
                    Command => format!("'cmd:sleep 0.2; cat kept/{variable}'"),
                    _ => format!("{{cmd: [cat, kept/{variable}]}}"),
                }
            }
            Age => {
                site.write_age(&format!("kept/{variable}.age"), &word);
                format!("age:kept/{variable}.age")
            }
            Template => {
                let sealed = block(&encrypted(VAULT_PASSWORD, "", &word), 8);
                lines += &format!("    kept_{variable}: !vault |{sealed}\n");
                format!("'{{{{ kept_{variable} }}}}'")
            }
        };
        lines += &format!("    {variable}: {value}\n");
    }
    if place == VaultFile {
        site.write("group_vars/all.yml", encrypted(VAULT_PASSWORD, "", &sealed));
    }
    lines
}

/// Two servers on this very machine, for whoever runs the test.
fn inventory(site: &Site, lines: &str) -> String {
    let user =
        String::from_utf8(std::process::Command::new("id").arg("-un").output().expect("id runs").stdout)
            .expect("a name");
    let folder = site.root().join("tmp").display().to_string();
    format!(
        "all:
  vars:
    ansible_connection: local
    ansible_host: 127.0.0.1
    become_user: {}
    auth: scram-sha-256
    keeper: none
{lines}  children:
    monitor:
      hosts: {{mon: {{hostname: mon, pgport: 5001, pgdata: {folder}/mon}}}}
    postgres:
      hosts: {{pg1: {{hostname: pg1, pgport: 5002, pgdata: {folder}/pg1}}}}
",
        user.trim()
    )
}

const COMMANDS: [&str; 20] = [
    "plan -D -vv",
    "apply --yes --json",
    "verify -vv",
    "facts --json",
    "exec all -vv -- env",
    "plan",
    "plan --json -D",
    "apply --yes -vv",
    "apply --check -D",
    "status -vv",
    "status --json",
    "verify --json",
    "facts -vv",
    "facts --yaml",
    "ping -vv",
    "exec all --json -- id",
    "psql all -vv -c select",
    "ssh-check pg1 -vv",
    "ssh-config pg1 -vv",
    "sudoers",
];

#[test]
fn no_command_lets_a_password_out() {
    for place in PLACES {
        let mut site = Site::new();
        let lines = planted(&mut site, place);
        let text = inventory(&site, &lines);
        site.write("db.yml", text);
        let held = holders(site.root());
        let seen = while_watching(&site, || {
            // What a command does with a password is the same wherever it came from.
            let commands = if place == Clear { &COMMANDS[..] } else { &COMMANDS[..5] };
            for command in commands {
                let args: Vec<&str> = command.split(' ').collect();
                let said = site.muster("db.yml", &args);
                // What the operator has put into the environment is what `env` shows.
                let shows_env = place == Env && command.ends_with("env");
                assert!(said.code.is_some_and(|code| code != 101), "{command}: {}", said.both());
                assert!(!said.stderr.contains("no vault password"), "{command}: {}", said.stderr);
                assert!(said.code != Some(1), "{place:?} {command}: {}", said.both());
                if !shows_env {
                    is_clean(&said, &format!("{place:?}: {command}"));
                }
            }
        });
        // Where the operator has put it, and what psql connects with: nobody else can look there.
        let may =
            |seen: &&String| seen.starts_with("environ") && (place == Env || seen.contains("PGPASSWORD="));
        let seen: BTreeSet<&String> = seen.iter().filter(|seen| !may(seen)).collect();
        assert!(seen.is_empty(), "{place:?}, in the list of processes: {seen:?}");
        assert_eq!(holders(site.root()), held, "{place:?}: a file holds what it did not hold");
    }
}

#[test]
fn an_inventory_is_shown_with_what_it_says_itself() {
    for place in PLACES {
        let mut site = Site::new();
        let lines = planted(&mut site, place);
        let text = inventory(&site, &lines);
        site.write("db.yml", text);
        for command in
            ["inventory --list", "inventory --host pg1 -vv", "inventory --graph", "inventory --graph --vars"]
        {
            let said = site.muster("db.yml", &command.split(' ').collect::<Vec<_>>());
            assert_eq!(said.code, Some(0), "{place:?} {command}: {}", said.both());
            // As ansible-inventory does; the README says so.
            let may = matches!(place, Clear | VaultFile) && command != "inventory --graph";
            assert_eq!(said.stdout.contains(POISON), may, "{place:?} {command}: {}", said.stdout);
            assert!(!said.stderr.contains(POISON), "{place:?} {command}: {}", said.stderr);
        }
        assert!(!site.path("runs").exists());
        let closed = site.closed("db.yml", &["plan"]);
        is_clean(&closed, &format!("{place:?}, without a key"));
    }
}

/// Lines that are wrong, put beside the passwords, and whole inventories.
const WRONG: [&str; 16] = [
    "    pgport: '{{ password }}'",
    "    dbname: '{{ replication_password }} {{ nothing }}'",
    "    auth: '{{ password | int }}{{ password }}'",
    "    listen: '{{ password | frobnicate }}'",
    "    listen: '{{ hostvars.pg1.password.x.y }}'",
    "    monitor: 'postgres://u:{{ monitor_password }}@h:port/db'",
    "    settings: {max_connections: ['{{ password }}']}",
    "    settings: '{{ password }}'",
    "    hba: '{{ password }}'",
    "    ansible_ssh_common_args: '-o {{ ansible_password }}'",
    "    host_key: '{{ password }}'",
    "    password_: poison-near-miss",
    "    ansible_ssh_pass: poison-two-names",
    "    bad: [",
    "\tbad: tab",
    "    bad: *poison",
];

#[test]
fn no_mistake_lets_a_password_out() {
    for place in PLACES {
        let mut site = Site::new();
        let lines = planted(&mut site, place);
        let keyring = Arc::new(keyring(&site));
        for wrong in WRONG {
            let text = inventory(&site, &format!("{lines}{wrong}\n"));
            site.write("db.yml", text);
            let said = problems(&site, "db.yml", &keyring);
            // An alias of that name is not of ours.
            assert!(wrong.contains("*poison") || !said.contains(POISON), "{place:?}: {wrong}: {said}");
        }
    }
}

fn problems(site: &Site, inventory: &str, keyring: &Arc<Keyring>) -> String {
    let names = [site.path(inventory).display().to_string()];
    match load_all(&names, keyring, Need::Everything) {
        Ok(formation) => formation.warnings.join("\n"),
        Err(problems) => shown(&problems),
    }
}

/// A file that is encrypted as a whole, and wrong: every word in it is secret.
#[test]
fn no_mistake_in_an_encrypted_file_lets_a_word_out() {
    let site = Site::new();
    let keyring = Arc::new(keyring(&site));
    site.write("vars/db.yml", inventory(&site, ""));
    for text in [
        "poison: [",
        "poison\n",
        "- poison\n",
        "pgport: poison\n",
        "pgport: [poison]\n",
        "pgdata: poison\npgdata: poison2\n",
        "poison: 1\npoison: 2\n",
        "settings: {max_connections: [poison], port: poison, 'poison x': 1}\n",
        "settings: poison\n",
        "hba: [poison, 'host all all poison', 'local poison']\n",
        "hba: poison\n",
        "host_key: poison\n",
        "monitor: postgres://poison:poison@poison:poison/poison\n",
        "ansible_ssh_common_args: -o poison=poison -F poison\n",
        "name: poison/poison\n",
        "auth: poison\nkeeper: poison\nrole: poison\n",
        "templates_dir: poison\n",
        "pgport: '{{ poison }}'\n",
        "pgport: '{{ poison | poison }} {% poison %}'\n",
        "pasword: poison\nansible_poison: poison\nansible_hots: poison\n",
        "x: !poison y\n",
        "x: *poison\n",
        "x: &poison !vault poison\npassword: *poison\n",
        "password: 'env:poison poison'\n",
        "password: {poison: poison}\n",
        "<<: poison\n",
        "pgport: \"poison\\q\"\n",
        "---\npoison: 1\n---\npoison: 2\n",
        "\u{feff}pgport: poison\n",
        "{\"pgport\": \"poison\", \"x\": }\n",
    ] {
        site.write("whole.yml", encrypted(VAULT_PASSWORD, "", text));
        site.write(
            "whole",
            encrypted(VAULT_PASSWORD, "", &format!("[poison\npoison poison poison=\n{text}")),
        );
        site.write("vars/group_vars/all.yml", encrypted(VAULT_PASSWORD, "", text));
        for name in ["whole.yml", "whole", "vars/db.yml"] {
            let said = problems(&site, name, &keyring);
            assert!(!said.contains(POISON), "{name}: {text}\n{said}");
        }
    }
}

#[track_caller]
fn is_clean(said: &Said, what: &str) {
    assert!(!said.both().contains(POISON), "{what}\nstdout:\n{}\nstderr:\n{}", said.stdout, said.stderr);
}

/// The files below a folder that hold a word.
fn holders(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(holders(&path));
        } else if contains(&fs::read(&path).unwrap_or_default()) {
            found.insert(path.display().to_string());
        }
    }
    found
}

/// What `/proc` shows of a word meanwhile, in processes that `work` has started: their arguments and environments.
fn while_watching(site: &Site, work: impl FnOnce()) -> BTreeSet<String> {
    let done = AtomicBool::new(false);
    // Other tests have words of their own: a process of ours has our home in its environment.
    let home = site.root().join("home").display().to_string();
    let pids = || {
        let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect::<BTreeSet<u32>>()
    };
    let strangers = pids();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut seen, mut watched) = (BTreeSet::new(), 0);
            while !done.load(Ordering::Relaxed) {
                for pid in pids().difference(&strangers) {
                    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                    let environ = read("environ");
                    if !String::from_utf8_lossy(&environ).contains(&home) {
                        continue;
                    }
                    watched += 1;
                    for (name, bytes) in [("cmdline", read("cmdline")), ("environ", environ)] {
                        if contains(&bytes) {
                            seen.insert(format!(
                                "{name}: {}",
                                String::from_utf8_lossy(&bytes).replace('\0', " ")
                            ));
                        }
                    }
                }
                // Time for those that are watched.
                std::thread::sleep(Duration::from_millis(1));
            }
            (seen, watched)
        });
        // A test that fails must not leave the watcher behind.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let (seen, watched) = watcher.join().expect("it ends");
        worked.unwrap_or_else(|why| std::panic::resume_unwind(why));
        assert!(watched > 5, "only {watched} looks at processes");
        seen
    })
}

fn contains(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains(POISON)
}
