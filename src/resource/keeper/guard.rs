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
n=0 seen=
while [ "$n" -lt 10 ]; do
  if seen=$(timeout 5 "$1" show state --pgdata "$3" --json 2>/dev/null) && [ -n "$seen" ]; then break; fi
  seen=; n=$((n + 1)); sleep 1
done
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
    use std::process::{Command, Stdio};

    /// What is left of a pid file that names a process working in `folder`, and the programs that were called.
    fn started_beside(folder: &std::path::Path, pgdata: &std::path::Path) -> (bool, String) {
        let home = tempfile::tempdir().expect("a folder can be made");
        let state = home.path().join(format!(".local/share/pg_autoctl{}", pgdata.display()));
        std::fs::create_dir_all(&state).expect("it can be made");
        std::fs::write(state.join("pg_autoctl.state"), "").expect("it can be written");
        let program = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).expect("it can be written");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("it is one's own");
            path
        };
        let said = r#"{"node_id": 1, "assigned_group_state": "primary"}"#;
        let pg_autoctl = program(
            "pg_autoctl",
            &format!("#!/bin/sh\nif [ \"$1\" = show ]; then echo '[{said}]'; else echo run; fi\n"),
        );
        let pg_ctl = program("pg_ctl", "#!/bin/sh\nexit 0\n");
        let mut other = Command::new("sleep").arg("60").current_dir(folder).spawn().expect("there is sleep");
        let file = pgdata.join("postmaster.pid");
        std::fs::write(&file, format!("{}\n{}\n1\n5432\n", other.id(), pgdata.display())).expect("written");
        let mut shell = Command::new("sh");
        shell.args(["-c", &super::script(), "run-keeper"]).args([&pg_autoctl, &pg_ctl]).arg(pgdata).arg("1");
        let ended = shell.env("HOME", home.path()).stderr(Stdio::null()).output().expect("there is a shell");
        other.kill().expect("it is one's own");
        other.wait().expect("it ends");
        (file.exists(), String::from_utf8(ended.stdout).expect("it is text"))
    }

    #[test]
    fn a_pid_file_that_names_another_process_is_removed_before_the_start() {
        let pgdata = tempfile::tempdir().expect("a folder can be made");
        let run = "run\n".to_owned();
        assert_eq!(started_beside("/".as_ref(), pgdata.path()), (false, run.clone()));
        // The server's own process works in its data directory.
        assert_eq!(started_beside(pgdata.path(), pgdata.path()), (true, run));
    }
}
