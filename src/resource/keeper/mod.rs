//! The keeper: `pg_autoctl run`, its two files, and what keeps it running.

pub mod adopted;
mod alive;
mod files;
mod guard;
mod renew;
mod unit;

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::error::Problem;
use crate::formation::{Formation, Keeper, MonitorUri, Node, NodeKind, Secret, Server, SslMode};
use crate::op::{Op, Service};
use crate::probe::{Answer, Answers};
use crate::resource::data::{Software, node_dir};
use crate::resource::host::HostFacts;
use crate::state::State;
use crate::step::{Action, Content, File, Risk, Step};
use crate::template::Templates;

use files::{has_password, monitor_config, node_config, parse_ini, read_state, write_state};
use renew::Living;

pub use files::KeeperState;
pub use renew::Idle;
pub use unit::{AsRoot, OtherUnit, as_root, masked, overlaid, reboot_as_root, starts_at_boot, unit};

/// What was found of a keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeeperFacts {
    /// PGDATA without the links in its path; `None` where there are none.
    pub pgdata: Option<String>,
    /// Pid of a `pg_autoctl` that lives.
    pub alive: Option<u32>,
    /// `pg_autoctl.cfg`; it may hold passwords.
    pub config: Option<Secret>,
    pub state: Option<KeeperState>,
    /// Its unit; empty where that is masked.
    pub unit: Option<String>,
    pub enabled: bool,
    /// Its unit runs, and waits for the monitor to answer before pg_autoctl starts.
    pub waits: bool,
    pub guard: Option<String>,
    /// Other units that muster rendered here.
    pub others: Vec<OtherUnit>,
    /// Drop-ins of its own unit that change how it starts.
    pub drop_ins: Vec<String>,
    /// The pg_autoctl that lives has not read `config` yet: a run was cut off before it could.
    pub unread: bool,
    /// What its service node-active does not do; `None` where it does something, or nobody can say.
    pub idle: Option<Idle>,
}

impl KeeperFacts {
    /// Whether there is one, or was: it has been handed a node or a monitor.
    pub fn has_been(&self) -> bool {
        self.alive.is_some() || self.state.is_some()
    }

    /// Whether a keeper that lives is to ask its peers for more than it does: they must be able to give it first.
    pub fn is_to_ask_for_more(&self, wanted: SslMode) -> bool {
        let config = self.config.as_ref().filter(|_| self.alive.is_some()).map_or("", Secret::reveal);
        wanted >= SslMode::Require && asks_with(config).is_some_and(|asks| asks < wanted)
    }
}

/// With which sslmode a keeper of this `pg_autoctl.cfg` connects.
pub fn asks_with(config: &str) -> Option<SslMode> {
    let ini = parse_ini(config);
    SslMode::parse(ini.get("ssl")?.get("sslmode")?)
}

/// The certificate and the key that a keeper of this `pg_autoctl.cfg` has its server show.
pub fn shows(config: &str) -> Option<(String, String)> {
    let ini = parse_ini(config);
    let ssl = ini.get("ssl").filter(|ssl| ssl.get("active").is_some_and(|active| active == "1"))?;
    ssl.get("cert_file").cloned().zip(ssl.get("key_file").cloned())
}

/// `$pgdata`, `$unit`, `$adopted`. The pid file must name a pg_autoctl: pids are used again. An adopted one may have its
/// pid file and its configuration where its own environment says; the shell's need not be the same.
const KEEPER: &str = r#"
k=$(head -n 1 "/tmp/pg_autoctl$pgdata/pg_autoctl.pid" 2>/dev/null) || k=
if [ -z "$k" ] || ! tr '\0' ' ' <"/proc/$k/cmdline" 2>/dev/null | grep -q pg_autoctl; then k=; fi
x= y=
if [ "$adopted" = 1 ]; then
  for p in ${k:-$(cd /proc && ls -d [0-9]*)}; do
    l=; read -r l 2>/dev/null <"/proc/$p/comm" || :
    if [ "$l" != pg_autoctl ]; then continue; fi
    l=$({ tr '\0' '\n' <"/proc/$p/cmdline"; echo; tr '\0' '\n' <"/proc/$p/environ"; } 2>/dev/null)
    case "
$l
" in
    *"
run
"*"
PGDATA=$pgdata
"*|*"
run
--pgdata
$pgdata
"*|*"
run
-D
$pgdata
"*)
      k=$p
      x=$(printf '%s\n' "$l" | sed -n 's/^XDG_CONFIG_HOME=//p')
      y=$(printf '%s\n' "$l" | sed -n 's/^XDG_DATA_HOME=//p')
      break ;;
    esac
  done
fi
if [ -n "$k" ]; then say keeper.alive "$k"; else none keeper.alive; fi
i=
for p in $(cat "/proc/${k:-0}/task/${k:-0}/children" 2>/dev/null); do
  case "$(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null) " in *" node active "*|*" service node-active "*) ;; *) continue ;; esac
  i=nothing
  for c in $(cat "/proc/$p/task/$p/children" 2>/dev/null); do
    l=; read -r l 2>/dev/null <"/proc/$c/stat" || :
    case $l in *'(postgres) Z '*) if [ "$i" = nothing ]; then i=ended; fi ;; ?*) i=program ;; esac
  done
done
if [ -n "$i" ]; then say keeper.idle "$i"; else none keeper.idle; fi
cfg=${x:-$HOME/.config}/pg_autoctl$pgdata/pg_autoctl.cfg
file keeper.config "$cfg"
s=${y:-$HOME/.local/share}/pg_autoctl$pgdata/pg_autoctl.state
if [ -r "$s" ]; then say keeper.state "$(od -An -v -tx1 -N88 "$s" | tr -d ' \n')"
elif [ -e "$s" ]; then blind keeper.state "cannot read $s"
elif sees "$s"; then none keeper.state
else blind keeper.state "cannot look into $d"; fi
file keeper.guard "$pgdata.node/run-keeper"
l=$(readlink -f "$near")${pgdata#"$near"}
if [ "$l" = "$pgdata" ]; then none keeper.pgdata; else say keeper.pgdata "$l"; fi
"#;

/// The keeper, its files, and units.
pub fn probe() -> String {
    format!("{KEEPER}{}", unit::PROBE)
}

pub fn parse(answers: &Answers) -> Result<KeeperFacts, String> {
    let config = answers.text("keeper.config")?;
    Ok(KeeperFacts {
        pgdata: answers.text("keeper.pgdata")?,
        alive: match answers.get("keeper.alive") {
            Answer::Absent => None,
            Answer::Text(_) | Answer::Blind(_) => Some(answers.number("keeper.alive")?),
        },
        unread: config.as_ref().is_some_and(|text| text.lines().next() == Some(renew::UNREAD)),
        config: config.map(Secret::new),
        state: answers.text("keeper.state")?.map(|hex| read_state(&hex)).transpose()?,
        unit: answers.text("keeper.unit")?,
        enabled: answers.flag("keeper.enabled")?,
        waits: matches!(answers.get("keeper.waits"), Answer::Text(_)),
        guard: answers.text("keeper.guard")?,
        others: unit::parse_others(answers)?,
        drop_ins: answers.told_lines("keeper.drop_ins"),
        idle: match answers.told("keeper.idle").as_deref().map(str::trim) {
            Some("nothing") => Some(Idle::Nothing),
            Some("ended") => Some(Idle::ForAnEndedServer),
            Some(_) | None => None,
        },
    })
}

/// Whether systemd is to run it here; `None` where there is to be no keeper at all.
pub fn under_systemd(server: &Server, host: &HostFacts) -> Option<bool> {
    match server.keeper {
        Keeper::None | Keeper::AsFound => None,
        Keeper::Systemd => Some(true),
        Keeper::Detached => Some(false),
        Keeper::Auto => Some(host.systemd),
    }
}

/// Where pg_autoctl looks for what a keeper knows of its node.
pub fn state_path(home: &str, server: &Server) -> String {
    format!("{home}/.local/share/pg_autoctl{}/pg_autoctl.state", server.pgdata)
}

/// Where a keeper says what it does and why it cannot.
pub fn log(server: &Server, host: &HostFacts, adopted: Option<&str>) -> String {
    match (under_systemd(server, host), adopted) {
        (Some(true), _) => format!("journalctl -u {}", unit(server)),
        (Some(false), _) => format!("{}/keeper.log", node_dir(server)),
        (None, Some(unit)) => format!("journalctl -u {unit}"),
        (None, None) => "the log of its pg_autoctl".to_owned(),
    }
}

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    role: &'a str,
    user: &'a str,
    home: &'a str,
    pgdata: &'a str,
    pg_autoctl: &'a str,
    pg_ctl: String,
    guard: String,
    node_id: u64,
}

/// Which `pg_autoctl` it is about: the monitor's, or a data node's with what its files are to say.
pub enum Whose<'a> {
    Monitor,
    Node {
        formation: &'a Formation,
        node: &'a Node,
        id: u64,
        uri: &'a MonitorUri,
        /// What its keeper starts from, reported and assigned; `None` where that is in its own file.
        begins: Option<(State, State)>,
    },
}

/// What is done at once, and what only when nobody asks for TLS any more: a keeper writes its server's configuration anew
/// from its own, so that TLS would end with it.
#[derive(Default)]
pub struct Steps {
    pub now: Vec<Step>,
    pub last: Vec<Step>,
}

/// Everything a keeper needs, where it is not there yet; it is started if it does not run.
///
/// # Errors
/// As [`Templates::render`].
pub fn steps(
    templates: &Templates,
    server: &Server,
    whose: &Whose,
    host: &HostFacts,
    software: &Software,
    (facts, postmaster): (&KeeperFacts, Option<u32>),
) -> Result<Steps, Problem> {
    let (Some(systemd), Some((pg_autoctl, _))) = (under_systemd(server, host), &software.pg_autoctl) else {
        return Ok(Steps::default());
    };
    let pgdata = &server.pgdata;
    let path = format!("{}/.config/pg_autoctl{pgdata}/pg_autoctl.cfg", host.home);
    let config = match whose {
        Whose::Monitor => monitor_config(&as_written(server, facts), software),
        Whose::Node { formation, node, id, uri, .. } => {
            let node = Node { server: as_written(&node.server, facts), ..(*node).clone() };
            node_config(formation, &node, *id, uri, software)
        }
    };
    let found = facts.config.as_ref().map(Secret::reveal);
    let still = found.filter(|_| facts.alive.is_some());
    let still = still.and_then(|found| renew::with_tls_still(found, config.reveal())).map(Secret::new);
    let now = still.as_ref().unwrap_or(&config);
    let changed = renew::changed(found.unwrap_or_default(), now.reveal());
    let mut steps = Vec::new();
    if !changed.is_empty() {
        steps.push(write_config(server, &path, facts, found, now.reveal()));
    }
    if let Whose::Node { node, id, begins, .. } = whose {
        if let Some((current, assigned)) = *begins {
            let path = state_path(&host.home, server);
            let bytes = write_state(KeeperState { node_id: *id, group: node.group, current, assigned });
            let because = match facts.alive {
                Some(_) => "it is gone, and the keeper that runs reports nothing without it".to_owned(),
                None => format!("the keeper takes over a node that is {current}"),
            };
            let before = facts.state.map(|_| String::new());
            steps.push(put(server, &path, 0o600, Content::Binary(bytes), before, &because));
        }
        let guard = guard::script();
        if facts.guard.as_ref() != Some(&guard) {
            let path = format!("{}/run-keeper", node_dir(server));
            let because = "PostgreSQL is to run before its keeper reports";
            steps.push(put(server, &path, 0o755, Content::Text(guard), facts.guard.clone(), because));
        }
    }
    if systemd {
        steps.extend(systemd_steps(templates, server, whose, host, software, pg_autoctl, facts)?);
    } else if facts.alive.is_none() {
        steps.push(start_detached(server, whose, software, pg_autoctl));
    }
    let service = match whose {
        Whose::Monitor => Service::Listener,
        Whose::Node { .. } => Service::NodeActive,
    };
    let keys = Some(&changed).filter(|keys| !keys.is_empty() && !facts.unread);
    let living = facts.alive.map(|pid| Living { pid, software, serves: postmaster.is_some() });
    if let Some(living) = living.as_ref().filter(|_| keys.is_some() || facts.unread) {
        let texts = (found.unwrap_or_default(), now.reveal());
        steps.push(renew::step(server, living, service, &path, keys, texts));
    }
    let mut last = Vec::new();
    if let (Some(living), Some(still)) = (&living, still.as_ref().map(Secret::reveal)) {
        last.push(write_config(server, &path, facts, Some(still), config.reveal()));
        let keys = renew::changed(still, config.reveal());
        last.push(renew::step(server, living, service, &path, Some(&keys), (still, config.reveal())));
    }
    if facts.alive.is_none() {
        steps.push(alive::wait(server, facts, systemd));
    }
    Ok(Steps { now: steps, last })
}

/// The step by which a keeper that has been silent begins anew, where its server is down and it does nothing about that.
pub fn begin_anew(
    server: &Server,
    host: &HostFacts,
    software: &Software,
    facts: &KeeperFacts,
    silence: &str,
) -> Option<Step> {
    let (pid, idle) = (facts.alive?, facts.idle?);
    let path = format!("{}/.config/pg_autoctl{}/pg_autoctl.cfg", host.home, server.pgdata);
    let living = Living { pid, software, serves: false };
    Some(renew::begin_anew(server, &living, &path, idle, silence))
}

/// The file that a keeper is to find.
fn write_config(server: &Server, path: &str, facts: &KeeperFacts, found: Option<&str>, wanted: &str) -> Step {
    let because = match found {
        Some(_) => "it differs from the inventory",
        None if facts.has_been() => "it is gone, and the keeper starts from it",
        None => "the keeper starts from it",
    };
    let text = match facts.alive {
        Some(_) => format!("{}\n{wanted}", renew::UNREAD),
        None => wanted.to_owned(),
    };
    // Files of before have a password.
    let hidden = found.is_some_and(has_password) || has_password(&text);
    let content = if hidden { Content::Hidden(Secret::new(text)) } else { Content::Text(text) };
    let before = found.map(|found| if hidden { String::new() } else { found.to_owned() });
    put(server, path, 0o600, content, before, because)
}

/// The server with the PGDATA that pg_autoctl writes: its files lie where PGDATA's given name says, and hold paths without links.
pub fn as_written(server: &Server, facts: &KeeperFacts) -> Server {
    let pgdata = facts.pgdata.clone().unwrap_or_else(|| server.pgdata.clone());
    Server { pgdata, ..server.clone() }
}

fn put(
    server: &Server,
    path: &str,
    mode: u32,
    content: Content,
    before: Option<String>,
    because: &str,
) -> Step {
    let file = File::new(path, &server.os_user, content).mode(mode).before(before);
    Step::write(&server.name, file, Risk::Safe, because)
}

fn systemd_steps(
    templates: &Templates,
    server: &Server,
    whose: &Whose,
    host: &HostFacts,
    software: &Software,
    pg_autoctl: &str,
    facts: &KeeperFacts,
) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    let (role, node_id) = match whose {
        Whose::Monitor => ("monitor", 0),
        Whose::Node { id, .. } => ("keeper", *id),
    };
    let unit = unit(server);
    let text = templates.render(
        "pgautofailover.service.j2",
        &Context {
            name: &server.name.0,
            role,
            user: &server.os_user,
            home: &host.home,
            pgdata: &server.pgdata,
            pg_autoctl,
            pg_ctl: format!("{}/pg_ctl", software.bin),
            guard: format!("{}/run-keeper", node_dir(server)),
            node_id,
        },
    )?;
    let is_new = facts.unit.as_deref() != Some(&text);
    if is_new {
        let file = File::new(unit::path(&unit), "root", Content::Text(text));
        let file = file.mode(unit::MODE).before(facts.unit.clone());
        let because = match facts.unit {
            Some(_) => "it differs; the keeper that runs is not restarted",
            None => "systemd is to keep pg_autoctl running",
        };
        steps.push(Step::write(&server.name, file, Risk::Safe, because));
    }
    if is_new || !facts.enabled || facts.alive.is_none() {
        let because = match facts.alive {
            Some(_) => "systemd is to know the unit as it is".to_owned(),
            None => waiting(server, facts).unwrap_or_else(|| "no keeper runs".to_owned()),
        };
        let command = Command::new(RunAs::Root, unit::ENABLE_AND_START).args([&unit]);
        steps.push(Step::new(&server.name, Op::EnableUnit { unit }, &because, Action::Run(command)));
    }
    Ok(steps)
}

/// `$1` log, then the command line. Nothing keeps it running: the log and the plan say so.
const DETACHED: &str = r#"log=$1; shift
setsid "$@" >>"$log" 2>&1 </dev/null &
"#;

fn start_detached(server: &Server, whose: &Whose, software: &Software, pg_autoctl: &str) -> Step {
    let dir = node_dir(server);
    let command =
        Command::new(RunAs::User(server.os_user.clone()), format!("mkdir -p \"${{1%/*}}\"\n{DETACHED}"))
            .args([format!("{dir}/keeper.log")]);
    let command = match whose {
        Whose::Monitor => command.args([pg_autoctl, "run", "--pgdata", &server.pgdata]),
        Whose::Node { id, .. } => command.args([
            "/bin/sh".to_owned(),
            format!("{dir}/run-keeper"),
            pg_autoctl.to_owned(),
            format!("{}/pg_ctl", software.bin),
            server.pgdata.clone(),
            id.to_string(),
        ]),
    };
    let because = "no keeper runs, and no systemd is to run it: nothing will start it again after a reboot";
    Step::new(&server.name, Op::StartDetached, because, Action::Run(command))
}

/// What a keeper waits for that does not run yet, though its unit does.
pub fn waiting(server: &Server, facts: &KeeperFacts) -> Option<String> {
    let waits = facts.waits && facts.alive.is_none();
    waits.then(|| format!("its keeper waits until it can ask the monitor (journalctl -u {})", unit(server)))
}

/// Whether a node of this kind needs `pg_autoctl` on its host.
pub fn refusal(
    server: &Server,
    kind: Option<NodeKind>,
    host: &HostFacts,
    software: &Software,
) -> Option<String> {
    let wants = under_systemd(server, host).is_some();
    let what = kind.map_or("monitor", NodeKind::as_str);
    match (&software.pg_autoctl, wants) {
        (None, true) => Some(format!(
            "there is no pg_autoctl for this {what}: install pg_auto_failover (Debian: pg-auto-failover-cli), or set keeper: none"
        )),
        (Some(_), true) if server.keeper == Keeper::Systemd && !host.systemd => {
            Some("keeper is systemd, but systemd does not run here".to_owned())
        }
        (Some(_) | None, _) => None,
    }
}

/// Why a unit of muster's that is not wanted keeps it from a server: one of an earlier name, or for a keeper that systemd is
/// no longer to run.
pub fn unit_in_the_way(server: &Server, host: &HostFacts, facts: &KeeperFacts) -> Option<String> {
    if server.keeper == Keeper::AsFound {
        return None;
    }
    let is_wanted = under_systemd(server, host) == Some(true);
    let own = unit(server);
    let own = Some(own.as_str())
        .filter(|_| !is_wanted && facts.unit.as_ref().is_some_and(|text| !text.is_empty()) && facts.enabled);
    unit::in_the_way(server, &facts.others, own)
}
