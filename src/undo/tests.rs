//! The watcher with a shell of this machine, short times and a stand-in for the server.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::command::Command;
use crate::file::{Content, File, Running, Undo};

/// A data directory, and programs that write down what they are asked.
struct Server(tempfile::TempDir);

impl Server {
    fn new() -> Server {
        let server = Server(tempfile::tempdir().expect("a folder can be made"));
        for folder in ["bin", "da ta", "no de"] {
            std::fs::create_dir(server.path(folder)).expect("it can be made");
        }
        let pg_ctl = server.path("bin/pg_ctl");
        std::fs::write(&pg_ctl, "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"${0%/*}/said\"\n")
            .expect("it is written");
        std::fs::set_permissions(&pg_ctl, PermissionsExt::from_mode(0o755)).expect("it is ours");
        server.write("da ta/pg_hba.conf", "old rules\n");
        server.write("da ta/postgresql.conf", "old conf\n");
        server.write("no de/server.key", "old key\n");
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("it can be written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn put(&self, name: &str, text: &str, within: u64) -> Command {
        let undo = Undo {
            bin: self.at("bin"),
            pgdata: self.at("da ta"),
            server: Running { socket: String::new(), port: 5432, user: "postgres".to_owned() },
            within,
        };
        let file = File::new(self.at(name), "postgres", Content::Text(text.to_owned()));
        File { undo: Some(undo), ..file }.command()
    }

    /// As a host runs it, in a process group of its own.
    fn start(&self, command: &Command) -> Child {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", &format!("set -eu\numask 077\n{}", command.script), "muster"])
            .args(&command.args)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut stdin = shell.stdin.take().expect("it is piped");
        stdin.write_all(command.stdin.as_bytes()).expect("it reads");
        drop(stdin);
        shell
    }

    fn run(&self, command: &Command) -> Option<i32> {
        self.start(command).wait().expect("it ends").code()
    }

    fn confirm(&self) -> Option<i32> {
        let script = format!("bin=$1 pgdata=$2\n{}{CONFIRM}undo_forget\n", functions());
        let command = Command::new(crate::command::RunAs::Login, script);
        self.run(&command.args([self.at("bin"), self.at("da ta")]))
    }

    fn take_back(&self) -> Option<i32> {
        let command = Command::new(crate::command::RunAs::Login, take_back());
        self.run(&command.args([self.at("bin"), self.at("da ta")]))
    }

    /// Waits until nothing of the change is left; how long that took.
    fn is_over(&self) -> Duration {
        let begun = Instant::now();
        while self.path("da ta/.muster-undo").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is never taken back");
            std::thread::sleep(Duration::from_millis(20));
        }
        for folder in ["da ta", "no de"] {
            let left = std::fs::read_dir(self.path(folder)).expect("it can be listed");
            let left: Vec<String> = left
                .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
                .filter(|name| name.starts_with('.'))
                .collect();
            assert_eq!(left, Vec::<String>::new());
        }
        begun.elapsed()
    }

    fn reloads(&self) -> usize {
        self.read("bin/said").lines().count()
    }
}

#[test]
fn what_nobody_confirms_is_as_before() {
    let server = Server::new();
    for (name, text) in [
        ("da ta/pg_hba.conf", "new rules\n"),
        ("no de/server.key", "new key\n"),
        ("da ta/pg_hba.conf", "newer\n"),
    ] {
        assert_eq!(server.run(&server.put(name, text, 3)), Some(0));
    }
    assert_eq!(server.read("da ta/pg_hba.conf"), "newer\n");
    assert!(server.is_over() > Duration::from_secs(1));
    assert_eq!(server.read("da ta/pg_hba.conf"), "old rules\n", "what was in force is what comes back");
    assert_eq!(server.read("no de/server.key"), "old key\n");
    assert_eq!(server.read("bin/said"), format!("-D {} reload\n", server.at("da ta")), "once");
    assert_eq!(server.confirm(), Some(65), "nothing is there that could stay");
    assert_eq!(server.take_back(), Some(0));
    assert_eq!(server.reloads(), 1);
}

#[test]
fn what_is_confirmed_stays() {
    let server = Server::new();
    for name in ["da ta/pg_hba.conf", "da ta/postgresql.conf"] {
        assert_eq!(server.run(&server.put(name, "new\n", 2)), Some(0));
    }
    assert_eq!(server.confirm(), Some(0));
    server.is_over();
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(server.read("da ta/pg_hba.conf"), "new\n");
    assert_eq!(server.read("da ta/postgresql.conf"), "new\n");
    assert_eq!(server.reloads(), 0);
    // The next change is another one.
    assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "newer\n", 60)), Some(0));
    assert_eq!(server.take_back(), Some(0));
    server.is_over();
    assert_eq!((server.read("da ta/pg_hba.conf"), server.reloads()), ("new\n".to_owned(), 1));
}

/// A confirmation that was cut off half way is one; the next run and the next change find it so.
#[test]
fn what_was_confirmed_is_not_taken_back() {
    for next_is_a_change in [false, true] {
        let server = Server::new();
        assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "new\n", 2)), Some(0));
        let undo = server.path("da ta/.muster-undo");
        std::fs::rename(undo.join("till"), undo.join("confirmed")).expect("it is there");
        match next_is_a_change {
            false => assert_eq!(server.take_back(), Some(0)),
            true => {
                assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "newer\n", 1)), Some(0));
                assert_eq!(server.read("da ta/pg_hba.conf"), "newer\n");
            }
        }
        server.is_over();
        assert_eq!(server.read("da ta/pg_hba.conf"), "new\n");
    }
}

/// All processes of the login are ended the moment the file is placed.
#[test]
fn a_login_that_ends_takes_nothing_with_it() {
    let server = Server::new();
    let mut shell = server.start(&server.put("da ta/pg_hba.conf", "new\n", 2));
    while server.read("da ta/pg_hba.conf") != "new\n" {
        std::thread::sleep(Duration::from_millis(5));
    }
    for signal in ["-HUP", "-KILL"] {
        let group = format!("-{}", shell.id());
        let _ =
            std::process::Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }
    shell.wait().expect("it ends");
    server.is_over();
    assert_eq!((server.read("da ta/pg_hba.conf"), server.reloads()), ("old rules\n".to_owned(), 1));
}

/// After a boot nobody watches.
#[test]
fn without_a_watcher_the_next_run_takes_it_back() {
    let server = Server::new();
    assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "new\n", 60)), Some(0));
    let undo = server.path("da ta/.muster-undo");
    std::fs::write(undo.join("till"), "99999999 nobody\n").expect("it is there");
    assert_eq!(server.take_back(), Some(0));
    server.is_over();
    assert_eq!((server.read("da ta/pg_hba.conf"), server.reloads()), ("old rules\n".to_owned(), 1));
}

/// What `pg_basebackup` brings along is another's.
#[test]
fn a_copy_of_a_data_directory_has_nothing_to_take_back() {
    let server = Server::new();
    assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "new\n", 60)), Some(0));
    let status = std::process::Command::new("cp")
        .args(["-a", &server.at("da ta"), &server.at("copy")])
        .status()
        .expect("there is cp");
    assert!(status.success());
    std::fs::rename(server.path("da ta"), server.path("original")).expect("it is ours");
    std::fs::rename(server.path("copy"), server.path("da ta")).expect("it is ours");
    assert_eq!(server.run(&server.put("da ta/pg_hba.conf", "newer\n", 1)), Some(0));
    server.is_over();
    assert_eq!(server.read("da ta/pg_hba.conf"), "new\n", "what it had when it was copied");
    // Nobody watches the original by now: its watcher looks where it began, and ends by itself.
    std::fs::remove_dir_all(server.path("original")).expect("it is ours");
}
