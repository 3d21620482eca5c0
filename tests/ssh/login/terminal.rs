//! The whole program on a terminal: its question, and the answer that nobody sees.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};

use super::setup::{authorize, has};
use crate::support::{Sshd, keygen};

/// `script` gives a program a terminal, and passes on what is typed.
struct Typist {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Typist {
    fn start(sshd: &Sshd, command: &str) -> Option<Typist> {
        if !Path::new("/usr/bin/script").exists() {
            eprintln!(
                "LEFT OUT: this test needs /usr/bin/script (apt-get install bsdutils); nothing was tested"
            );
            return None;
        }
        let mut process = Process::new("/usr/bin/script");
        for name in ["MUSTER_INVENTORY", "SSH_AUTH_SOCK", "DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS_REQUIRE"]
        {
            process.env_remove(name);
        }
        process.args(["-qec", command, "/dev/null"]).env("HOME", sshd.path("home")).env("SHELL", "/bin/sh");
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Typist { child, keys, screen, seen: String::new() })
    }

    /// Reads until the screen has shown this so often.
    fn see(&mut self, text: &str, times: usize) {
        let mut bytes = [0; 1000];
        while self.seen.matches(text).count() < times {
            let count = self.screen.read(&mut bytes).unwrap();
            assert!(count > 0, "{text} is never shown: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prepare() -> Option<(Sshd, String)> {
    let sshd = Sshd::start("")?;
    fs::create_dir_all(sshd.path("home")).unwrap();
    keygen(&sshd.path("locked"), "ed25519", "secret words");
    authorize(&sshd, &["locked"]);
    let inventory = format!(
        "all:
  vars: {{ansible_host: 127.0.0.1, ansible_port: {}, ansible_user: root, known_hosts: known_hosts,
         ansible_ssh_private_key_file: locked}}
  children:
    monitor: {{hosts: {{mon: {{hostname: mon, pgport: 5000, pgdata: /var/lib/postgresql/15/mon}}}}}}
    postgres: {{hosts: {{pg1: {{hostname: pg1, pgdata: /var/lib/postgresql/15/pg1}}}}}}
",
        sshd.port
    );
    fs::write(sshd.path("prod.yml"), inventory).unwrap();
    let command = format!("{} facts -i {}", env!("CARGO_BIN_EXE_muster"), sshd.path("prod.yml").display());
    Some((sshd, command))
}

#[test]
fn a_passphrase_typed_on_the_terminal_is_asked_for_once_and_not_shown() {
    let Some((sshd, command)) = prepare() else { return };
    let Some(mut typist) = Typist::start(&sshd, &format!("{command}; echo status=$?; stty -a")) else {
        return;
    };
    typist.see("Enter passphrase for key", 1);
    typist.type_in("wrong\r");
    typist.see("Enter passphrase for key", 2);
    // A typing error, put right.
    typist.type_in("secret wordz\x7fs\r");
    typist.see("iexten", 1);
    let seen = &typist.seen;
    has(seen, &["status=0", " echo "]);
    assert_eq!(seen.matches("Enter passphrase").count(), 2, "{seen}");
    assert!(!seen.contains("secret") && !seen.contains("wrong"), "{seen}");
}

#[test]
fn ctrl_c_at_a_question_ends_the_run_and_gives_the_terminal_back() {
    let Some((sshd, command)) = prepare() else { return };
    let Some(mut typist) = Typist::start(&sshd, &format!("trap : INT; {command}; echo status=$?; stty -a"))
    else {
        return;
    };
    typist.see("Enter passphrase for key", 1);
    typist.type_in("\x03");
    typist.see("iexten", 1);
    has(&typist.seen, &["status=130", "isig icanon", " echo "]);
    assert_eq!(typist.seen.matches("Enter passphrase").count(), 1, "{}", typist.seen);
}
