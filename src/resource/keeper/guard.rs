//! `run-keeper`: what has to be so before pg_autoctl starts beside a node's PostgreSQL.

use crate::resource::data::POSTMASTER;

/// `run-keeper`, which a node's unit starts.
pub(super) fn script() -> String {
    GUARD.replace("\nPOSTMASTER\n", POSTMASTER)
}

/// Starts PostgreSQL, where the monitor wants it running, before pg_autoctl reports for the first time.
/// A node that is to be demoted is left stopped, and where the monitor does not answer the keeper decides.
const GUARD: &str = r#"#!/bin/sh
# Rendered by muster. $1 pg_autoctl, $2 pg_ctl, $3 PGDATA, $4 node id
# A keeper that starts beside a stopped primary reports it dead and the monitor fails over, so PostgreSQL
# goes first: but only if the monitor still wants this node to serve.
# Without its state a keeper ends at once, and systemd kills what stands beside it: PostgreSQL is not to be there.
if [ ! -f "$HOME/.local/share/pg_autoctl$3/pg_autoctl.state" ]; then
  echo "there is no pg_autoctl.state: run muster apply" >&2
  exit 78
fi
# Numbers are given again, after a boot the same as before. Neither PostgreSQL nor pg_autoctl starts a server beside a process
# that its pid file names, whatever that is.
pgdata=$3 pgport=0
POSTMASTER
postmaster
if [ -n "$stale" ]; then
  echo "postmaster.pid names process $stale, which is not the server of $pgdata: it is removed" >&2
  rm -f -- "$pgdata/postmaster.pid"
fi
n=0 seen= said=
while [ "$n" -lt 10 ]; do
  # What pg_autoctl has to say comes before the list, and hides passwords.
  if l=$(timeout 5 "$1" show state --pgdata "$3" --json 2>&1) && seen=$(printf '%s\n' "$l" | sed -n '/^\[/,$p') && [ -n "$seen" ]; then break; fi
  # Its first error has the reason, those after it only repeat that it failed; one that was stopped has perhaps none.
  l=$(printf '%s\n' "$l" | sed -n '/ ERROR /!{
    $!d
  }
  s/^[0-9:]* [0-9]* [A-Z]* *//p; q')
  l=${l:-no word in 5 seconds}
  if [ "$l" != "$said" ]; then echo "the monitor does not answer, and PostgreSQL is not started before it does or ten attempts are over: $l" >&2; fi
  seen= said=$l n=$((n + 1)); sleep 1
done
if [ -z "$seen" ]; then echo "the monitor has not answered $n times: pg_autoctl starts without its word, and PostgreSQL if pg_autoctl starts it" >&2; fi
nodes=$(printf '%s' "$seen" | tr -d '\n' | tr '{' '\n')
own=$(printf '%s\n' "$nodes" | grep "\"node_id\": *$4[,}]") || own=
# The monitor's whole list, and this node is not on it: pg_autoctl would end at once, again and again.
case $own$nodes in
'['*']')
  echo "the monitor does not know node $4: it was dropped, and its keeper is not started again" >&2
  exit 78
  ;;
esac
goal=$(printf '%s' "$own" | sed -n 's/.*"assigned_group_state": *"\([a-z_]*\)".*/\1/p')
case $goal in
single | primary | wait_primary | apply_settings | join_primary | secondary | catchingup)
  "$2" -D "$3" status >/dev/null 2>&1 || "$2" -D "$3" -w -t 60 -l "$3/startup.log" start >/dev/null 2>&1 </dev/null
  ;;
esac
exec "$1" run --pgdata "$3"
"#;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    const LIST: &str = r#"[
    {"node_id": 1, "assigned_group_state": "primary"}
]"#;

    /// A keeper's home with programs that do nothing but what they are told to.
    struct Home(tempfile::TempDir);

    impl Home {
        /// `show`: what `pg_autoctl show state` does.
        fn new(pgdata: &Path, show: &str) -> Home {
            let home = Home(tempfile::tempdir().expect("a folder can be made"));
            let state = home.0.path().join(format!(".local/share/pg_autoctl{}", pgdata.display()));
            fs::create_dir_all(&state).expect("it can be made");
            fs::write(state.join("pg_autoctl.state"), "").expect("it can be written");
            home.program("pg_autoctl", &format!("if [ \"$1\" != show ]; then echo run; exit; fi\n{show}"));
            home.program(
                "pg_ctl",
                "if [ \"$3\" = status ]; then exit 3; fi\necho start >>\"$HOME/pg_ctl.log\"",
            );
            home.program("sleep", "exit 0");
            home
        }

        fn program(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("it is one's own");
            path
        }

        fn run(&self, pgdata: &Path) -> Output {
            let home = self.0.path();
            let path = format!("{}:/usr/bin:/bin", home.display());
            let mut shell = Command::new("sh");
            shell.args(["-c", &super::script(), "run-keeper"]);
            shell.args([home.join("pg_autoctl"), home.join("pg_ctl")]).arg(pgdata).arg("1");
            shell.env("HOME", home).env("PATH", path).stdin(Stdio::null()).output().expect("there is a shell")
        }

        fn has_started_postgresql(&self) -> bool {
            self.0.path().join("pg_ctl.log").exists()
        }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("it is text")
    }

    /// What is left of a pid file that names a process working in `folder`, and the programs that were called.
    fn started_beside(folder: &Path, pgdata: &Path) -> (bool, String) {
        let home = Home::new(pgdata, &format!("echo '{LIST}'"));
        let mut other = Command::new("sleep").arg("60").current_dir(folder).spawn().expect("there is sleep");
        let file = pgdata.join("postmaster.pid");
        fs::write(&file, format!("{}\n{}\n1\n5432\n", other.id(), pgdata.display())).expect("written");
        let ended = home.run(pgdata);
        other.kill().expect("it is one's own");
        other.wait().expect("it ends");
        (file.exists(), text(&ended.stdout).to_owned())
    }

    #[test]
    fn a_pid_file_that_names_another_process_is_removed_before_the_start() {
        let pgdata = tempfile::tempdir().expect("a folder can be made");
        let run = "run\n".to_owned();
        assert_eq!(started_beside("/".as_ref(), pgdata.path()), (false, run.clone()));
        // The server's own process works in its data directory.
        assert_eq!(started_beside(pgdata.path(), pgdata.path()), (true, run));
    }

    /// As pg_autoctl 2.0 says it.
    const REFUSED: &str = r#"23:53:30 725 WARN  Failed to connect to "postgres://autoctl_node@mon:5432/pg_auto_failover?password=****", retrying until the server is ready
23:53:32 725 ERROR Connection to database failed: connection to server at "mon" (10.0.0.1), port 5432 failed: FATAL:  password authentication failed for user "autoctl_node"
23:53:32 725 ERROR password retrieved from file "/var/lib/postgresql/.pgpass"
23:53:32 725 ERROR Failed to retrieve current state from the monitor"#;

    #[test]
    fn a_monitor_that_does_not_answer_is_told_once_with_what_pg_autoctl_says() {
        let pgdata = tempfile::tempdir().expect("a folder can be made");
        let home = Home::new(pgdata.path(), &format!("cat >&2 <<'END'\n{REFUSED}\nEND\nexit 6"));
        let ended = home.run(pgdata.path());
        assert_eq!(text(&ended.stdout), "run\n");
        assert_eq!(
            text(&ended.stderr),
            "the monitor does not answer, and PostgreSQL is not started before it does or ten attempts are over: \
             Connection to database failed: connection to server at \"mon\" (10.0.0.1), port 5432 failed: FATAL:  \
             password authentication failed for user \"autoctl_node\"\n\
             the monitor has not answered 10 times: pg_autoctl starts without its word, and PostgreSQL if pg_autoctl starts it\n"
        );
        assert!(!home.has_started_postgresql());
    }

    #[test]
    fn a_monitor_that_answers_later_is_told_as_it_changes_and_then_believed() {
        let pgdata = tempfile::tempdir().expect("a folder can be made");
        let show = format!(
            "echo . >>\"$HOME/calls\"
case $(wc -l <\"$HOME/calls\") in
1 | 2) echo '23:53:30 7 WARN  Failed to connect to the monitor, retrying' >&2; exit 124 ;;
3) exit 6 ;;
*) echo '23:53:30 7 WARN  Failed to connect [once]' >&2; echo '{LIST}' ;;
esac"
        );
        let home = Home::new(pgdata.path(), &show);
        let ended = home.run(pgdata.path());
        let told: Vec<&str> =
            text(&ended.stderr).lines().filter_map(|line| line.split(" are over: ").nth(1)).collect();
        assert_eq!(told, ["Failed to connect to the monitor, retrying", "no word in 5 seconds"]);
        assert_eq!(text(&ended.stderr).lines().count(), 2);
        assert!(home.has_started_postgresql());
    }
}
