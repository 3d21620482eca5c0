//! Passwords that change under load: the role on its server, and `~/.pgpass` with whoever logs in with it, at one moment.
//!
//! A role has one password. Who is connected stays so; who connects anew while one side has the new one and the other has not is
//! refused. So everything slow is done first on all hosts, side by side, and what counts, a commit and a rename, comes at the same time
//! after the start of each host's script: what is left between them is how far apart the scripts were started.

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Secret, Server};
use crate::op::Op;
use crate::resource::database::{NO_WAIT, UNTOLD, alter_role};
use crate::scram;
use crate::session::PSQL;
use crate::step::{Action, Step};

/// Milliseconds from the start of a host's script to what counts: more than sudo, psql's login and the write of a small file take.
const SWITCH: u32 = 700;

/// `$1` bin directory, `$2` socket directory or empty, `$3` port, `$4` user, `$5` `~/.pgpass` or empty, `$6` bytes of it, `$7`
/// milliseconds. The input is that file, and then SQL. A host without a role to change has psql wait as the others do; where that
/// cannot be asked, the shell waits.
const ROTATE: &str = r#"started=$(date +%s%3N)
switch=$((started + $7))
muster_new= muster_to=$5
if [ -n "$muster_to" ]; then
  muster_new=$(mktemp "${muster_to%/*}/.muster.XXXXXX")
  trap 'rm -f -- "$muster_new"' EXIT
  head -c "$6" >"$muster_new"
  [ "$(stat -c %s "$muster_new")" = "$6" ] || { echo "the content was cut off" >&2; exit 65; }
  chmod 600 "$muster_new"
  sync "$muster_new"
fi
export muster_new muster_to
psql ${2:+-h "$2"} -p "$3" -U "$4" -d postgres -v "switch=$switch" -f - >/dev/null
[ -z "$muster_to" ] || sync "${muster_to%/*}"
"#;

/// The same where no server has to be asked.
const FILE_ALONE: &str = r#"started=$(date +%s%3N)
muster_new=$(mktemp "${5%/*}/.muster.XXXXXX")
trap 'rm -f -- "$muster_new"' EXIT
cat >"$muster_new"
[ "$(stat -c %s "$muster_new")" = "$6" ] || { echo "the content was cut off" >&2; exit 65; }
chmod 600 "$muster_new"
sync "$muster_new"
rest=$((started + $7 - $(date +%s%3N)))
if [ "$rest" -gt 0 ]; then sleep "$((rest / 1000)).$(printf '%03d' "$((rest % 1000))")"; fi
mv -fT -- "$muster_new" "$5"
sync "${5%/*}"
"#;

/// Until the moment that counts; the transaction is open meanwhile, and keeps nobody out.
const WAIT: &str = "select pg_sleep(greatest(0, (:switch - extract(epoch from clock_timestamp()) * 1000) / 1000.0)::float8);\n";

const MOVE: &str = "\\! [ -z \"$muster_new\" ] || mv -fT -- \"$muster_new\" \"$muster_to\"\n";

/// What one host does in a rotation; roles by their names with password and salt. `None` where there is nothing to do.
pub fn step(
    server: &Server,
    bin: &str,
    user: &str,
    roles: &[(&str, &Secret, [u8; 16])],
    file: Option<&(String, Secret)>,
) -> Option<Step> {
    let (path, content) = file.map(|(path, content)| (path.clone(), content.reveal())).unzip();
    let content = content.unwrap_or_default();
    let (script, sql) = match roles {
        [] if path.is_none() => return None,
        [] => (FILE_ALONE.to_owned(), String::new()),
        roles => {
            let alter = |(name, password, salt): &(&str, &Secret, [u8; 16])| {
                alter_role(name, &scram::verifier(password, salt))
            };
            let altered: Vec<Secret> = roles.iter().map(alter).collect();
            let altered: String = altered.iter().map(Secret::reveal).collect();
            (
                format!("bin=$1\n{PSQL}{ROTATE}"),
                format!("{UNTOLD}{NO_WAIT}begin;\n{altered}{WAIT}commit;\n{MOVE}"),
            )
        }
    };
    let args = [
        bin.to_owned(),
        server.pghost.clone().unwrap_or_default(),
        server.pgport.to_string(),
        user.to_owned(),
        path.clone().unwrap_or_default(),
        content.len().to_string(),
        SWITCH.to_string(),
    ];
    let command = Command::new(RunAs::User(server.os_user.clone()), script)
        .args(args)
        .stdin(Stdin::Hidden(Secret::new(format!("{content}{sql}"))))
        .timeout(60);
    let op = Op::Rotate { roles: roles.iter().map(|(name, _, _)| (*name).to_owned()).collect(), path };
    let because = match roles {
        [] => "its server and its keeper log in with the new ones",
        _ => "another one is wanted; all sides change at one moment",
    };
    Some(Step::new(&server.name, op, because, Action::Run(command)))
}
