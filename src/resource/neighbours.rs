//! Servers on the same host that the distribution's packages look after, and that would get in a node's way.
//!
//! On Debian and Ubuntu these are the clusters of postgresql-common, with their configuration in `/etc/postgresql`; in
//! the RHEL family the units `postgresql-N.service`. Both may be stopped now and start at the next boot.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::formation::Server;
use crate::probe::Answers;
use crate::resource::data::{DataDirectory, Pgdata};

/// A server that is not muster's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    pub whose: Whose,
    /// `None` where its configuration does not tell.
    pub port: Option<u16>,
    pub running: bool,
    /// Whether the next boot starts it.
    pub starts: bool,
    pub data: String,
}

/// What looks after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// postgresql-common: version and name.
    Cluster(String, String),
    /// A unit of systemd that has its PGDATA.
    Unit(String),
}

/// What is installed beside muster's own servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Surroundings {
    pub neighbours: Vec<Neighbour>,
    /// Port to data directory of servers by the same user, where the node's port is taken.
    pub servers: BTreeMap<u16, String>,
    /// Whether SELinux denies what its policy does not allow.
    pub selinux: bool,
}

/// One line a server: `KIND|NAME|PORT|RUNNING|STARTS|DATA`. What `pg_lsclusters` shows is read from where that has it:
/// without Perl, and the same where postgresql-common is gone and its configuration is not.
pub const PROBE: &str = r#"
# The last value of a setting in configuration files; $1 its name.
setting() {
  n=$1; shift
  cat "$@" 2>/dev/null | sed -n -e "s/^[[:space:]]*$n[[:space:]=]\{1,\}'\([^']*\)'.*/\1/p" -e t \
    -e "s/^[[:space:]]*$n[[:space:]=]\{1,\}\([^'#[:space:]][^#[:space:]]*\).*/\1/p" | tail -n 1
}
# Whether a unit is wanted by a target, and not masked.
wanted() {
  if [ "$(readlink "/etc/systemd/system/$1")" = /dev/null ]; then return 1; fi
  for w in /etc/systemd/system/*.wants/"$1"; do if [ -L "$w" ]; then return 0; fi; done
  return 1
}
neighbours() {
  for f in /etc/postgresql/*/*/postgresql.conf; do
    [ -e "$f" ] || continue
    d=${f%/*} n=${f%/postgresql.conf}; n=${n##*/} v=${d%/*}; v=${v##*/}
    data=$(setting data_directory "$f" "$d"/conf.d/*.conf)
    port=$(setting port "$f" "$d"/conf.d/*.conf "$data/postgresql.auto.conf")
    if [ ! -r "$f" ]; then port=; else port=${port:-5432}; fi
    p=$(cat "/run/postgresql/$v-$n.pid" 2>/dev/null) || p=
    if [ -n "$p" ] && [ -d "/proc/$p" ]; then r=1; else r=0; fi
    s=$(sed -n 's/^[[:space:]]*\([a-z][a-z]*\).*/\1/p' "$d/start.conf" 2>/dev/null | head -n 1)
    if [ "${s:-auto}" != auto ]; then s=0
    elif [ ! -d /run/systemd/system ] || wanted postgresql.service || wanted "postgresql@$v-$n.service"; then s=1
    else s=0; fi
    printf 'cluster|%s/%s|%s|%s|%s|%s\n' "$v" "$n" "$port" "$r" "$s" "${data%/}"
  done
  for f in /etc/systemd/system/*.wants/postgresql*.service; do
    u=${f##*/}
    case $u in postgresql@*) continue ;; esac
    if [ ! -L "$f" ] || ! wanted "$u"; then continue; fi
    if [ -e "/etc/systemd/system/$u" ]; then f=/etc/systemd/system/$u; fi
    data=$(cat "$f" "/usr/lib/systemd/system/$u.d"/*.conf "/etc/systemd/system/$u.d"/*.conf 2>/dev/null |
      sed -n 's/^Environment=["'\'']\{0,1\}PGDATA=\([^"'\'']*\).*/\1/p' | tail -n 1)
    data=${data%/}
    [ -n "$data" ] || continue
    port=
    if [ -r "$data/postgresql.conf" ]; then port=$(setting port "$data/postgresql.conf" "$data/postgresql.auto.conf"); port=${port:-5432}; fi
    p=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || p=
    if [ -n "$p" ] && [ -d "/proc/$p" ]; then r=1; else r=0; fi
    printf 'unit|%s|%s|%s|1|%s\n' "$u" "$port" "$r" "$data"
  done
}
printf 'neighbours:'; neighbours | base64 -w0; echo
if [ "$(cat /sys/fs/selinux/enforce 2>/dev/null)" = 1 ]; then say selinux 1; else say selinux 0; fi
"#;

pub fn parse(answers: &Answers) -> Result<Surroundings, String> {
    let text = answers.need("neighbours")?;
    let unreadable = |line: &str| format!("neighbours: unreadable: {line:.80}");
    let read = |line: &str| -> Result<Neighbour, String> {
        let fields: Vec<&str> = line.splitn(6, '|').collect();
        let [kind, name, port, running, starts, data] = fields[..] else { return Err(unreadable(line)) };
        let flag = |text: &str| match text {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err(unreadable(line)),
        };
        let whose = match (kind, name.split_once('/')) {
            ("cluster", Some((version, name))) => Whose::Cluster(version.to_owned(), name.to_owned()),
            ("unit", _) => Whose::Unit(name.to_owned()),
            _ => return Err(unreadable(line)),
        };
        Ok(Neighbour {
            whose,
            port: port.parse().ok(),
            running: flag(running)?,
            starts: flag(starts)?,
            data: data.to_owned(),
        })
    };
    let neighbours = text.lines().map(read).collect::<Result<_, _>>()?;
    let servers = answers.need("servers")?;
    let server = |line: &str| {
        let (port, dir) = line.split_once('|').ok_or_else(|| unreadable(line))?;
        port.parse().map(|port| (port, dir.to_owned())).map_err(|_| unreadable(line))
    };
    Ok(Surroundings {
        neighbours,
        servers: servers.lines().map(server).collect::<Result<_, String>>()?,
        selinux: answers.flag("selinux")?,
    })
}

impl Neighbour {
    fn name(&self) -> String {
        match &self.whose {
            Whose::Cluster(version, name) => {
                format!("Debian's cluster {version}/{name}")
            }
            Whose::Unit(unit) => unit.clone(),
        }
    }

    /// How to be rid of it, or of its starting.
    fn way_out(&self) -> String {
        match &self.whose {
            Whose::Cluster(version, name) => {
                format!(
                    "drop the cluster if nothing in it is needed (pg_dropcluster --stop {version} {name})"
                )
            }
            Whose::Unit(unit) => format!("disable it (systemctl disable --now {unit})"),
        }
    }

    fn stops_starting(&self) -> String {
        match &self.whose {
            Whose::Cluster(version, name) => {
                format!("let it not start: write disabled into /etc/postgresql/{version}/{name}/start.conf")
            }
            Whose::Unit(unit) => format!("let it not start: systemctl disable {unit}"),
        }
    }
}

/// Whether a data directory has its configuration in it, as `pg_autoctl` needs it.
fn is_complete(found: &DataDirectory) -> bool {
    found.files.get("postgresql.conf").is_some_and(Option::is_some)
}

/// Why nothing can be built here; `None` if nothing is in the way.
pub fn refusal(server: &Server, pgdata: &Pgdata, around: &Surroundings) -> Option<String> {
    around.neighbours.iter().find_map(|neighbour| {
        let (name, way_out) = (neighbour.name(), neighbour.way_out());
        let (own, port) = (&server.pgdata, server.pgport);
        let runs = matches!(pgdata, Pgdata::Present(found) if found.postmaster.is_some());
        let is_complete = matches!(pgdata, Pgdata::Present(found) if is_complete(found));
        if neighbour.data == *own {
            return match &neighbour.whose {
                _ if is_complete => None,
                Whose::Cluster(version, cluster) => Some(format!(
                    "{own} is the data directory of {name}, whose configuration is in /etc/postgresql/{version}/{cluster}, \
                     and pg_autoctl wants that in the data directory: choose another pgdata, or {way_out}"
                )),
                Whose::Unit(_) => {
                    Some(format!("{name} would start {own} beside the keeper; {way_out}, or choose another pgdata"))
                }
            };
        }
        if neighbour.port != Some(port) || runs {
            return None;
        }
        if neighbour.running {
            Some(format!("port {port} is taken by {name}; {way_out}, or set pgport"))
        } else if neighbour.starts && !is_complete {
            Some(format!("port {port} is that of {name}, which starts at the next boot; {way_out}, or set pgport"))
        } else {
            None
        }
    })
}

/// What will get in the way of a node that is there.
pub fn notes(server: &Server, pgdata: &Pgdata, around: &Surroundings) -> Vec<String> {
    let mut notes = Vec::new();
    let is_present = matches!(pgdata, Pgdata::Present(found) if is_complete(found));
    for neighbour in around.neighbours.iter().filter(|neighbour| neighbour.starts && is_present) {
        let (name, stop) = (neighbour.name(), neighbour.stops_starting());
        if neighbour.data == server.pgdata {
            notes
                .push(format!("{name} starts {} at the next boot, beside the keeper; {stop}", server.pgdata));
        } else if neighbour.port == Some(server.pgport) {
            notes.push(format!("{name} takes port {} at the next boot; {stop}", server.pgport));
        }
    }
    // What initdb makes there gets the label of the directory above, which the policy knows under these alone.
    let is_labelled =
        ["/var/lib/pgsql/", "/var/lib/postgresql/"].iter().any(|at| server.pgdata.starts_with(at));
    if around.selinux && matches!(pgdata, Pgdata::Empty) && !is_labelled {
        notes.push(format!(
            "SELinux enforces its policy, which does not know {}: label it as postgresql_db_t (semanage fcontext, \
             restorecon) if PostgreSQL is confined here",
            server.pgdata
        ));
    }
    notes
}
