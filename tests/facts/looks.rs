//! The whole probe, run by this machine's shell, against programs that answer as a test says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use muster::facts::{Seen, parse, probe};
use muster::formation::Formation;
use muster::resource::data::Pgdata;

/// A host: a data directory, and programs whose every call runs the next of `says`, the last one again and again.
struct Host {
    folder: tempfile::TempDir,
    formation: Formation,
    server: Option<Child>,
}

const JSON: &str = r#"printf '%s\n' '{"in_recovery": false, "roles": {"postgres": false}, "databases": ["postgres"], "slots": [],' \
  '"synchronous_standby_names": "", "pending_restart": [], "hba_errors": []}' '~'"#;

impl Host {
    /// A server runs there, which is a `sleep`.
    fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let inventory = format!(
            "all:\n  vars: {{auth: trust, pgctl: {}, pgdata: {}, pgport: 1}}\n  children:\n    \
             monitor: {{hosts: {{mon: {{hostname: 127.0.0.2}}}}}}\n    postgres: {{hosts: {{pg1: {{hostname: 127.0.0.1}}}}}}\n",
            at("bin/pg_ctl"),
            at("data")
        );
        let formation = muster::inventory::parse("looks", &inventory, Path::new("/base"))
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        for name in ["bin", "share/extension", "data/global"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(at("data/PG_VERSION"), "15\n").unwrap();
        fs::write(at("data/global/pg_control"), "").unwrap();
        let host = Host { folder, formation, server: None };
        host.program("pg_ctl", &["echo 'pg_ctl (PostgreSQL) 15.20'"]);
        host.program(
            "pg_controldata",
            &["echo 'Database system identifier: 7'; echo 'pg_control version number: 1300'; echo 'Catalog version number: 1'"],
        );
        host.program("pg_isready", &["exit 0"]);
        host
    }

    fn program(&self, name: &str, says: &[&str]) {
        let path = self.folder.path().join("bin").join(name);
        let calls = path.with_extension("calls");
        let mut text = format!(
            "#!/bin/sh\ncase $1 in --version) echo 'x (PostgreSQL) 15.20'; exit ;; esac\ncase $0 in *psql) cat >/dev/null ;; esac\necho >>'{0}'\nn=$(wc -l <'{0}')\n",
            calls.display()
        );
        for (index, said) in says.iter().enumerate() {
            let last = index + 1 == says.len();
            let test = if last { "true".to_owned() } else { format!("[ $n = {} ]", index + 1) };
            text += &format!("if {test}; then {said}\nexit; fi\n");
        }
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A process of `folder`, by the number of which `postmaster.pid` calls the server.
    fn runs(&mut self, folder: &str) {
        let sleep =
            Command::new("sleep").arg("60").current_dir(self.folder.path().join(folder)).spawn().unwrap();
        let data = self.folder.path().join("data");
        let text = format!("{}\n{}\n1700000000\n5444\n/tmp\n*\n", sleep.id(), data.display());
        fs::write(data.join("postmaster.pid"), text).unwrap();
        self.server = Some(sleep);
    }

    fn look(&self) -> Result<Seen, String> {
        let server = self.formation.servers().find(|server| server.name.0 == "pg1").unwrap();
        let command = probe(&self.formation, server);
        let output = Command::new("sh")
            .args(["-c", &format!("set -eu\numask 077\n{}", command.script), "muster"])
            .args(&command.args)
            .env("LC_ALL", "C")
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        parse(&self.formation, server, &String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn a_login_that_fails_is_never_read_as_absent() {
    let mut host = Host::new();
    host.runs("data");
    for said in [
        r#"psql: error: connection to server on socket "/s" failed: FATAL:  role "postgres" does not exist"#,
        r#"psql: error: connection to server on socket "/s" failed: FATAL:  database "postgres" does not exist"#,
        r#"psql: Fehler: FATAL:  Rolle existiert nicht"#,
    ] {
        host.program("psql", &[&format!("echo '{said}' >&2; exit 2")]);
        let why = host.look().expect_err(said);
        assert!(why.contains(said), "{why}");
    }
    // SQL that fails says nothing of what is there, either.
    host.program("psql", &[r#"echo 'ERROR:  relation "pg_database" does not exist' >&2; exit 3"#]);
    host.look().expect_err("it is not absent");
}

#[test]
fn a_warning_is_told_and_the_answer_counts() {
    let mut host = Host::new();
    host.runs("data");
    let warns = "echo 'WARNING:  database \"postgres\" has a collation version mismatch' >&2
      echo 'HINT:  Rebuild all objects' >&2";
    host.program("psql", &[&format!("{warns}; {JSON}")]);
    let seen = host.look().unwrap();
    assert_eq!(
        seen.warnings,
        ["WARNING:  database \"postgres\" has a collation version mismatch HINT:  Rebuild all objects"]
    );
    let database = seen.database.unwrap();
    assert!(database.roles.contains_key("postgres") && database.extensions.is_none());
}

#[test]
fn a_server_that_starts_or_stops_is_waited_for() {
    let fails = "echo 'psql: error: not now' >&2; exit 2";
    // What pg_isready ends with: 1 it starts or stops, 2 nobody answers at its socket, 0 it takes logins again.
    for ready in [["exit 1", "exit 1"], ["exit 2", "exit 1"], ["exit 2", "exit 2"], ["exit 1", "exit 0"]] {
        let mut host = Host::new();
        host.runs("data");
        host.program("psql", &[fails, fails, JSON]);
        host.program("pg_isready", &ready);
        let seen = host.look().unwrap_or_else(|why| panic!("{ready:?}: {why}"));
        assert!(seen.database.is_some(), "{ready:?}");
        assert!(matches!(seen.pgdata, Pgdata::Present(data) if data.port == Some(5444)));
    }
    // It was about to stop: that is what it is then, stopped.
    let mut host = Host::new();
    host.runs("data");
    let pid = host.server.as_ref().unwrap().id();
    host.program(
        "psql",
        &[&format!("kill {pid}; rm '{}'; {fails}", host.folder.path().join("data/postmaster.pid").display())],
    );
    host.program("pg_isready", &["exit 2"]);
    let seen = host.look().unwrap();
    assert!(
        seen.database.is_none() && matches!(seen.pgdata, Pgdata::Present(data) if data.postmaster.is_none())
    );
}

/// A number in `postmaster.pid` is no proof: after a boot another PostgreSQL may have it.
#[test]
fn a_process_of_another_directory_is_not_its_server() {
    let mut host = Host::new();
    host.runs("share");
    host.program("psql", &["echo 'psql: error: it is not to be asked' >&2; exit 2"]);
    let pid = host.server.as_ref().unwrap().id();
    let seen = host.look().unwrap();
    assert!(
        matches!(seen.pgdata, Pgdata::Present(data) if data.postmaster.is_none() && data.stale == Some(pid))
    );
}
