//! muster's own sessions of PostgreSQL: the one place that calls psql, and what no default of anybody's may change in them.
//!
//! A setting in a file, of a role or of a database can make every session useless, a superuser's too: a
//! `statement_timeout` of a millisecond, a library that is not there. What psql sends when it connects (`PGOPTIONS`) wins over all
//! of them, so that a rerun can look, and mend it.

/// What any role may set, on every release from 13 on; reasons beside what is not plain.
macro_rules! ordinary {
    () => {
        concat!(
            "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0",
            // A hot standby refuses serializable.
            " -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off",
            " -c default_transaction_deferrable=off",
            // Extensions go to the first schema; nobody's own is looked into.
            " -c search_path=public -c default_table_access_method=heap",
            // How text is read and written, both ways.
            " -c standard_conforming_strings=on -c client_encoding=UTF8 -c datestyle=ISO",
            " -c client_min_messages=warning -c exit_on_error=off",
            // `alter role … set role` makes a superuser somebody else.
            " -c role=none"
        )
    };
}

/// What only a superuser may set: another's login would be refused for it.
macro_rules! of_superuser {
    () => {
        concat!(
            ordinary!(),
            " -c session_preload_libraries= -c local_preload_libraries=",
            " -c session_replication_role=origin -c lc_messages=C"
        )
    };
}

/// For a login that may be no superuser's, to a server of any release.
pub const ORDINARY: &str = ordinary!();

/// Defines `psql`, a superuser on the host itself; `$bin` must be set, the rest of the connection are options. A setting that
/// the release does not know would be refused: psql's is the server's own there. Where `$muster_within` is set psql is
/// interrupted after so many seconds: it cancels its statement, and the end is 124.
pub const PSQL: &str = concat!(
    "psql() {\n",
    "  session='",
    of_superuser!(),
    "'\n",
    r#"  major=$("$bin/psql" --version) || major=
  major=${major#*) }; major=${major%%[!0-9]*}
  if [ "${major:-0}" -ge 14 ]; then session="$session -c idle_session_timeout=0"; fi
  if [ "${major:-0}" -ge 17 ]; then session="$session -c transaction_timeout=0"; fi
  PGOPTIONS=$session ${muster_within:+timeout --foreground -k 5 -s INT "$muster_within"} "$bin/psql" -XAtqw -v ON_ERROR_STOP=1 "$@"
}
"#
);

#[cfg(test)]
mod tests {
    use super::*;

    /// What a psql of that release is called with.
    fn called(major: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let says = "#!/bin/sh\ncase $1 in --version) echo \"psql (PostgreSQL) $is\" ;; *) echo \"$PGOPTIONS\" ;; esac\n";
        std::fs::write(folder.path().join("psql"), says).expect("it can be written");
        let script = format!("set -eu\nbin=$1\nchmod 755 \"$bin/psql\"\n{PSQL}psql -d postgres\n");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, "muster"]).arg(folder.path()).env("is", major);
        String::from_utf8(shell.output().expect("there is a shell").stdout).expect("it is text")
    }

    #[test]
    fn a_release_gets_what_it_knows() {
        for (release, idle, transaction) in [
            ("13.23", false, false),
            ("15.20 (Debian 15.20-0+deb12u1)", true, false),
            ("18beta1", true, true),
        ] {
            let options = called(release);
            assert!(
                options.contains(ORDINARY) && options.contains("session_preload_libraries= "),
                "{options}"
            );
            assert_eq!(options.contains("idle_session_timeout=0"), idle, "{release}");
            assert_eq!(options.contains("transaction_timeout=0"), transaction, "{release}");
        }
    }
}
