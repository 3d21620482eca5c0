//! psql for an operator's own SQL, on the host, against the server that the inventory says is there.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, Server};
use crate::resource::meant::MEANT;
use crate::resource::{data, monitor};

/// `$ctl` is found before. Sets `$psql`, and takes the first six arguments.
const FIND_PSQL: &str = r#"
if [ -z "$ctl" ]; then echo "no PostgreSQL is installed" >&2; exit 127; fi
if [ ! -x "$ctl" ]; then echo "there is no program $ctl" >&2; exit 127; fi
psql=$(readlink -f "$ctl"); psql=${psql%/*}/psql
socket=$2 port=$3 user=$4 dbname=$5 length=$6
shift 6
"#;

/// A person's own session, with their `.psqlrc` on the host.
const TALK: &str = r#"
meant >&2
exec "$psql" ${socket:+-h "$socket"} -p "$port" -U "$user" -d "$dbname" "$@"
"#;

/// `$2` socket directory or empty, `$3` port, `$4` user, `$5` database, `$6` bytes
/// of SQL, then options of psql. It is read to its end before any of it runs: half of a DELETE whose connection broke is
/// another DELETE.
const RUN: &str = r#"
sql=$(cat; echo .)
sql=${sql%.}
[ "${#sql}" = "$length" ] || { echo "the SQL was cut off" >&2; exit 65; }
ended=0
printf '%s' "$sql" | "$psql" -Xw -v ON_ERROR_STOP=1 ${socket:+-h "$socket"} -p "$port" -U "$user" -d "$dbname" "$@" -f - || ended=$?
if [ "$ended" = 2 ]; then meant >&2; fi
exit "$ended"
"#;

/// As the superuser of that server, by the user who owns its data directory; `sql` is read by psql alone.
pub fn psql(
    formation: &Formation,
    server: &Server,
    dbname: Option<&str>,
    options: &[&str],
    sql: &[u8],
) -> Command {
    command(formation, server, dbname, options, RUN, sql.len()).stdin(Stdin::Binary(sql.to_vec()))
}

/// As [`psql()`], for somebody who sits at a terminal.
pub fn talk(formation: &Formation, server: &Server, dbname: Option<&str>, options: &[&str]) -> Command {
    command(formation, server, dbname, options, TALK, 0)
}

fn command(
    formation: &Formation,
    server: &Server,
    dbname: Option<&str>,
    options: &[&str],
    script: &str,
    length: usize,
) -> Command {
    let (user, own) = match formation.nodes.get(&server.name) {
        Some(node) => (&node.username, formation.dbname.as_str()),
        None => (&server.os_user, monitor::DBNAME),
    };
    let args = [
        server.pgctl.clone().unwrap_or_default(),
        server.pg_version.map(|major| major.to_string()).unwrap_or_default(),
        server.pgdata.clone(),
        server.pghost.clone().unwrap_or_default(),
        server.pgport.to_string(),
        user.clone(),
        dbname.unwrap_or(own).to_owned(),
        length.to_string(),
    ];
    let find = data::FIND;
    let script = format!("pgctl=$1 pgversion=$2 pgdata=$3\nshift 2\n{find}{MEANT}{FIND_PSQL}{script}");
    Command::new(RunAs::User(server.os_user.clone()), script).args(args).args(options.iter().copied())
}
