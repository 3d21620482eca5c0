//! Why a server does not run, as its own log has it.

/// Defines `why_down`, which prints the words of the logs in `$1`, PGDATA, that tell why its server is down; nothing where it was stopped
/// in order, or has been started since. A client's FATAL counts for nothing: what ends a server is followed by its last line.
pub const WHY_DOWN: &str = r#"
says_why() {
  tail -n 300 "$1" 2>/dev/null | awk -v name="${1##*/}" '
    /LOG:  (starting PostgreSQL|redirecting log output)/ { fatal = said = ""; ordered = 0 }
    /LOG:  received (smart|fast|immediate) shutdown request/ { ordered = 1 }
    /FATAL:  the database system is / { next }
    /(FATAL|PANIC):  / {
      sub(/^.*(FATAL|PANIC):  /, ""); fatal = $0
      if (fatal ~ /contains errors/ && before != "") fatal = before "; " fatal
      detail = 1; next
    }
    detail && /DETAIL:  / { sub(/^.*DETAIL:  /, ""); fatal = fatal " (" $0 ")" }
    { detail = 0 }
    /LOG:  / {
      if (/database system is shut down/ && !ordered) said = fatal
      sub(/^.*LOG:  /, ""); before = $0
    }
    END { if (said == "" && !ordered && name == "startup.log") said = fatal; if (said != "") print substr(said, 1, 400) }'
}
why_down() {
  # The newest speaks; the collector's goes on where the other ends.
  l=$(ls -t "$1/log" 2>/dev/null | grep '\.log$' | head -n 1) || l=
  f=$(ls -t "$1/startup.log" ${l:+"$1/log/$l"} 2>/dev/null | head -n 1) || f=
  says=
  if [ -n "$f" ]; then says=$(says_why "$f"); fi
  if [ -z "$says" ] && [ "$f" = "$1/startup.log" ] && [ -n "$l" ]; then says=$(says_why "$1/log/$l"); fi
  if [ -n "$says" ] && [ "$1/postgresql.conf" -nt "$f" ]; then
    says="$says - that was before its postgresql.conf was changed, and nobody has tried to start it since"
  fi
  if [ -n "$says" ]; then printf '%s\n' "$says"; fi
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the probe says of these two logs, the second of them the newer.
    fn says(older: (&str, &str), newer: (&str, &str)) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        for ((name, text), age) in [(older, 60), (newer, 0)] {
            if name.is_empty() {
                continue;
            }
            let lines = text.lines().map(|line| format!("2026-11-28 14:40:14.192 UTC [727] {line}\n"));
            let path = dir.path().join(name);
            std::fs::write(&path, lines.collect::<String>()).unwrap();
            let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        let mut shell = std::process::Command::new("sh");
        shell.args(["-euc", &format!("{WHY_DOWN}\nwhy_down \"$1\""), "sh"]).arg(dir.path());
        let output = shell.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    const STARTUP: &str = "startup.log";
    const COLLECTED: &str = "log/postgresql-2026-11-28.log";
    const NONE: (&str, &str) = ("", "");

    #[test]
    fn a_start_that_failed_is_told_with_its_cause() {
        let key = "LOG:  There is no designated Main database.\n\
            FATAL:  private key file \"/d/server.key\" has group or world access\n\
            DETAIL:  File must have permissions u=rw (0600) or less.\nLOG:  database system is shut down";
        let told = "private key file \"/d/server.key\" has group or world access (File must have permissions u=rw (0600) or less.)";
        assert_eq!(says(NONE, (STARTUP, key)), told);
        assert_eq!(says((COLLECTED, "LOG:  starting PostgreSQL 15.1"), (STARTUP, key)), told);
        let config = "LOG:  syntax error in file \"/d/postgresql.conf\" line 3, near token \"x\"\n\
            FATAL:  configuration file \"/d/postgresql.conf\" contains errors";
        let told = "syntax error in file \"/d/postgresql.conf\" line 3, near token \"x\"; configuration file \"/d/postgresql.conf\" contains errors";
        assert_eq!(says(NONE, (STARTUP, config)), told);
        // It got as far as its collector.
        let begun =
            "LOG:  starting PostgreSQL 15.1\nLOG:  redirecting log output to logging collector process";
        let late = "LOG:  starting PostgreSQL 15.1\nFATAL:  could not open file \"pg_wal\": Permission denied\n\
            LOG:  startup process (PID 9) exited with exit code 1\nLOG:  database system is shut down";
        let told = "could not open file \"pg_wal\": Permission denied";
        assert_eq!(says((STARTUP, begun), (COLLECTED, late)), told);
        assert_eq!(says((COLLECTED, late), (STARTUP, begun)), told);
    }

    #[test]
    fn whom_a_server_sends_away_while_it_starts_tells_no_cause() {
        let again = "LOG:  starting PostgreSQL 15.1\nFATAL:  could not write to file \"x\": No space left on device\n\
            FATAL:  the database system is in recovery mode\nFATAL:  the database system is not yet accepting connections\n\
            LOG:  startup process (PID 9) exited with exit code 1\nLOG:  database system is shut down";
        assert_eq!(says(NONE, (STARTUP, again)), "could not write to file \"x\": No space left on device");
    }

    #[test]
    fn what_ended_in_order_and_what_clients_met_is_no_cause() {
        let stopped = "LOG:  starting PostgreSQL 15.1\nFATAL:  password authentication failed for user \"x\"\n\
            LOG:  received fast shutdown request\nFATAL:  terminating connection due to administrator command\n\
            LOG:  database system is shut down";
        assert_eq!(says(NONE, (COLLECTED, stopped)), "");
        // The plug was pulled.
        let cut = "LOG:  starting PostgreSQL 15.1\nFATAL:  role \"x\" does not exist";
        assert_eq!(says(NONE, (COLLECTED, cut)), "");
        let again = "FATAL:  could not map anonymous shared memory: Cannot allocate memory\nLOG:  database system is shut down\n\
            LOG:  starting PostgreSQL 15.1";
        assert_eq!(says(NONE, (STARTUP, again)), "", "it has started since");
        assert_eq!(says((STARTUP, "FATAL:  an old one"), (COLLECTED, stopped)), "", "the newest speaks");
        assert_eq!(says(NONE, NONE), "");
    }
}
