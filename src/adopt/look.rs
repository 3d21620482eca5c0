//! The two read-only scripts of an adoption, and their answers: which `pg_autoctl.cfg` a host has, and what a monitor
//! says of its formations.

use serde::Deserialize;

use crate::command::{Command, RunAs};
use crate::formation::{MonitorUri, Secret};
use crate::probe::{self, Answers};
use crate::resource::data;
use crate::resource::keeper::adopted::Config;
use crate::resource::monitor::{self, MonitorFacts};
use crate::{session, sql};

/// Seconds a script may take.
const PATIENCE: u64 = 60;

/// What pg_autoctl has left on a host.
pub struct Configs {
    /// The directory of the programs that muster would take by itself; `None` where there are none.
    pub bin: Option<String>,
    /// Each with its path.
    pub found: Vec<(String, Config)>,
}

/// Every `pg_autoctl.cfg` of a user: in the home directory, and where the `pg_autoctl` that run have theirs.
const CONFIGS: &str = r#"
if [ -n "$ctl" ] && [ -x "$ctl" ]; then ctl=$(readlink -f "$ctl"); say bin "${ctl%/*}"; else none bin; fi
walk() {
  for f in "$1"/* "$1"/.[!.]*; do
    if [ -d "$f" ] && [ ! -L "$f" ]; then ( walk "$f" )
    elif [ "${f##*/}" = pg_autoctl.cfg ]; then printf '%s\n' "$f"; fi
  done
}
roots() {
  printf '%s\n' "${XDG_CONFIG_HOME:-$HOME/.config}" "$HOME/.config"
  for p in /proc/[0-9]*; do
    l=; read -r l 2>/dev/null <"$p/comm" || :
    if [ "$l" = pg_autoctl ]; then tr '\0' '\n' 2>/dev/null <"$p/environ" | sed -n 's/^XDG_CONFIG_HOME=//p'; fi
  done
}
n=0
roots | sort -u | while IFS= read -r r; do
  if [ -d "$r/pg_autoctl" ]; then walk "$r/pg_autoctl"; fi
done | { while IFS= read -r f; do
  n=$((n + 1))
  say "path.$n" "$f"
  file "config.$n" "$f"
done; say configs "$n"; }
say end ''
"#;

pub fn configs(user: &str) -> Command {
    let script = format!("set +e\npgctl= pgversion= pgdata=\n{}{}{CONFIGS}", probe::FUNCTIONS, data::FIND);
    Command::new(RunAs::User(user.to_owned()), script).timeout(PATIENCE)
}

/// # Errors
/// What could not be looked at.
pub fn parse_configs(stdout: &str) -> Result<Configs, String> {
    let answers = Answers::parse(stdout)?;
    let count: usize = answers.number("configs")?;
    let mut found = Vec::new();
    for number in 1..=count {
        let text = Secret::new(answers.need(&format!("config.{number}"))?);
        found.push((answers.need(&format!("path.{number}"))?, Config::parse(text.reveal())));
    }
    Ok(Configs { bin: answers.text("bin")?, found })
}

/// How a monitor is asked.
pub enum Asked<'a> {
    /// Over the local socket of its host, as the user who owns it.
    AtHome { user: &'a str, socket: &'a str, port: u16 },
    /// By its URI, from where the script runs.
    By(&'a MonitorUri),
}

/// What a monitor says.
pub struct Told {
    pub formations: Vec<Listed>,
    pub facts: MonitorFacts,
}

/// One of its formations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    pub name: String,
    pub nodes: u32,
}

const FORMATIONS: &str = "select json_agg(json_build_object('name', formationid,
 'nodes', (select count(*) from pgautofailover.node where node.formationid = formation.formationid)) order by formationid)
 from pgautofailover.formation";

/// After the monitor's own probe: `$role`, `$pid`, `$bin`… are set.
fn formations() -> String {
    format!(
        r#"
case $role in
monitor)
  question <<'SQL'
{}
SQL
  ask postgres ;;
*)
  question <<'SQL'
{}
SQL
  hear monitor ;;
esac
answered formations
say end ''
"#,
        monitor::at_home(FORMATIONS),
        monitor::where_it_is(FORMATIONS)
    )
}

/// Asks for the formations, and for the rows of one.
pub fn monitor(asked: &Asked, formation: &str) -> Command {
    let start =
        "set +e\npgctl= pgversion= pgdata= pid=1 formation=$1 role=$2 username=$3 pghost=$4 pgport=$5\n";
    let find = "if [ -n \"$ctl\" ]; then ctl=$(readlink -f \"$ctl\"); bin=${ctl%/*}\n\
                elif p=$(command -v psql); then bin=${p%/*}\nelse bin=; fi\n\
                if [ -z \"$bin\" ]; then blind formations 'there is no psql'; say end ''; exit 0; fi\n";
    // A server that is asked for here is the one that answers at its socket, whatever its data directory is.
    let any = "postmaster() { :; }\ntill=$(($(date +%s) + 3))\n";
    let script = format!(
        "{start}{}{}{find}{}{}{any}{}{}",
        probe::FUNCTIONS,
        data::FIND,
        session::PSQL,
        sql::ASKING,
        monitor::probe(),
        formations()
    );
    let command = |run_as, role: &str, user: &str, socket: &str, port: u16| {
        let args = [formation, role, user, socket, &port.to_string()].map(str::to_owned);
        Command::new(run_as, script.clone()).args(args).timeout(PATIENCE)
    };
    match asked {
        Asked::AtHome { user, socket, port } => {
            command(RunAs::User((*user).to_owned()), "monitor", user, socket, *port)
        }
        Asked::By(uri) => sql::monitor_env(command(RunAs::Login, "asks", "", "", uri.port), uri),
    }
}

/// # Errors
/// What could not be looked at.
pub fn parse_monitor(stdout: &str) -> Result<Told, String> {
    let answers = Answers::parse(stdout)?;
    let formations: Vec<Listed> = answers.json("formations")?;
    let facts = monitor::parse(&answers)?.ok_or("it has no database pg_auto_failover")?;
    Ok(Told { formations, facts })
}
