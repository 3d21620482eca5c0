//! The unit that runs a keeper, and everything that root does for it.

use serde::Serialize;

use crate::file::put_by_root;
use crate::formation::{Keeper, Server};
use crate::probe::Answers;
use crate::resource::adopted::AdoptedFacts;
use crate::resource::host::HostFacts;
use crate::template;

use super::{KeeperFacts, under_systemd};

/// The mode of a unit: everybody may read it, as systemd's own.
pub(super) const MODE: u32 = 0o644;

/// `$1` unit. `start` of a unit that runs does nothing: a keeper that lives is not touched.
pub(super) const ENABLE_AND_START: &str = "\
root systemctl daemon-reload
root systemctl enable -q \"$1\"
root systemctl start \"$1\"
";

/// The unit that runs this server's `pg_autoctl`; one a node, as a host may have several.
pub fn unit(server: &Server) -> String {
    format!("pgautofailover-{}.service", server.name)
}

/// A unit that muster rendered under another name: for this data directory, or for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherUnit {
    pub name: String,
    /// systemd starts it at boot.
    pub enabled: bool,
    /// It runs, or systemd is about to start it once more.
    pub active: bool,
    /// Its line that says PGDATA.
    pub environment: String,
}

/// `$unit`. What masks a unit is systemd's: a link to /dev/null, or an empty file.
/// A template of the user's begins with what it likes: what muster does not know for its own it leaves alone.
pub(super) const PROBE: &str = r#"
f=/etc/systemd/system/$unit
if [ -e "$f" ] && [ ! -s "$f" ]; then say keeper.unit ''; else file keeper.unit "$f"; fi
if [ -L "/etc/systemd/system/multi-user.target.wants/$unit" ]; then say keeper.enabled 1; else say keeper.enabled 0; fi
# The guard is the unit's main process until pg_autoctl takes its place; with pg_ctl it starts PostgreSQL, else it asks the monitor.
if [ -z "$k" ] && [ -s "$f" ]; then
  p=$(systemctl show -p MainPID --value "$unit" 2>/dev/null) || p=
  l= c= x=
  read -r l 2>/dev/null <"/proc/${p:-0}/cmdline" || :
  read -r c x 2>/dev/null <"/proc/${p:-0}/task/${p:-0}/children" || :
  x=; read -r x 2>/dev/null <"/proc/${c:-0}/comm" || :
  case $x$l in pg_ctl*) ;; *"$pgdata.node/run-keeper"*) say keeper.waits 1 ;; esac
fi
# What an operator has laid over it, where that is more than a limit or a description.
u=$(grep -lE '^ *(ExecStart|ExecStartPre|User|Group|Type|Environment|EnvironmentFile) *=' "/etc/systemd/system/$unit.d/"*.conf \
  "/run/systemd/system/$unit.d/"*.conf 2>/dev/null | head -n 3) || :
printf 'keeper.drop_ins:'; printf '%s' "$u" | base64 -w0; echo
u=
for f in /etc/systemd/system/pgautofailover-*.service; do
  if [ "${f##*/}" = "$unit" ] || [ ! -f "$f" ] || [ ! -r "$f" ]; then continue; fi
  l=; read -r l <"$f" || :
  case $l in '# Rendered by muster: '*) ;; *) continue ;; esac
  l=0; if [ -L "/etc/systemd/system/multi-user.target.wants/${f##*/}" ]; then l=1; fi
  k=$(systemctl is-active "${f##*/}" 2>/dev/null) || :
  u="$u$l ${k:-unknown} ${f##*/} $(grep '^Environment=' "$f" | grep PGDATA= | head -n 1)
"
done
printf 'keeper.others:'; printf '%s' "$u" | base64 -w0; echo
"#;

pub(super) fn parse_others(answers: &Answers) -> Result<Vec<OtherUnit>, String> {
    let text = answers.text("keeper.others")?.unwrap_or_default();
    let read = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().ok_or_else(|| format!("keeper.others: {line:.80}"));
        let (enabled, active) = (word()? == "1", !matches!(word()?, "inactive" | "failed"));
        Ok(OtherUnit { enabled, active, name: word()?.to_owned(), environment: word()?.to_owned() })
    };
    text.lines().map(read).collect()
}

/// The unit that somebody has masked, where systemd is to run the keeper: it is that one's to take back.
pub fn masked(server: &Server, host: &HostFacts, facts: &KeeperFacts) -> Option<String> {
    let is_masked = facts.unit.as_deref() == Some("") && under_systemd(server, host) == Some(true);
    is_masked.then(|| unit(server))
}

/// That an operator's drop-ins change how a keeper's unit starts; whether rightly, nobody knows.
pub fn overlaid(server: &Server, facts: &KeeperFacts) -> Option<String> {
    let files = facts.drop_ins.join(", ");
    let unit = unit(server);
    (!files.is_empty()).then(|| {
        format!("{files} changes how {unit} starts, and wins over what muster wrote: see `systemctl cat {unit}` on its host")
    })
}

/// Whether systemd starts a server's keeper at boot. The error is the unit that it would have to start, where there is one.
pub fn starts_at_boot(
    server: &Server,
    host: &HostFacts,
    facts: &KeeperFacts,
    adopted: Option<&AdoptedFacts>,
) -> Result<(), Option<String>> {
    let is_there = facts.unit.as_deref().is_some_and(|text| !text.is_empty());
    match (server.keeper, adopted) {
        (Keeper::AsFound, Some(AdoptedFacts { unit: Some(_), enabled: true, .. })) => Ok(()),
        (Keeper::AsFound, adopted) => Err(adopted.and_then(|adopted| adopted.unit.clone())),
        (_, _) if under_systemd(server, host) != Some(true) => Err(None),
        (_, _) if is_there && facts.enabled => Ok(()),
        (_, _) => Err(Some(unit(server))),
    }
}

/// Why another unit keeps muster from a server: two of them would run one pg_autoctl, and one of them fail once a second.
pub(super) fn in_the_way(server: &Server, others: &[OtherUnit], own: Option<&str>) -> Option<String> {
    let environment = format!("Environment={}", template::systemd(&format!("PGDATA={}", server.pgdata)));
    let is_same = |other: &&OtherUnit| other.environment == environment && (other.enabled || other.active);
    let name = others.iter().find(is_same).map(|other| other.name.as_str()).or(own)?;
    Some(format!(
        "{name}, which muster made, runs the pg_autoctl of {} here and is not wanted any more: if the name has changed, give \
         the old one again, or, on the host, `systemctl disable --now {name}` and remove {}, then apply again; PostgreSQL stops \
         with it until then, and of a primary a standby takes over",
        server.pgdata,
        path(name)
    ))
}

/// Where systemd looks for it.
pub(super) fn path(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}")
}

/// The programs with their arguments that root may have to run for a server: nothing else is ever root's, but for [`reboot_as_root`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsRoot {
    /// To write the unit.
    pub write: Vec<Vec<String>>,
    /// To let systemd know it and run it.
    pub systemctl: Vec<Vec<String>>,
}

/// `None` where systemd is not to run a keeper.
pub fn as_root(server: &Server) -> Option<AsRoot> {
    match server.keeper {
        Keeper::Auto | Keeper::Systemd => {}
        Keeper::Detached | Keeper::None | Keeper::AsFound => return None,
    }
    let unit = unit(server);
    let systemctl = |args: &[&str]| ["systemctl"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    Some(AsRoot {
        write: put_by_root(&path(&unit), MODE).to_vec(),
        systemctl: vec![
            systemctl(&["daemon-reload"]),
            systemctl(&["enable", "-q", &unit]),
            systemctl(&["start", &unit]),
        ],
    })
}

/// What root runs to reboot a server's host; `None` where its keeper is not started by systemd, so that muster does not.
pub fn reboot_as_root(server: &Server) -> Option<Vec<String>> {
    match server.keeper {
        Keeper::Auto | Keeper::Systemd | Keeper::AsFound => Some(vec!["systemctl".into(), "reboot".into()]),
        Keeper::Detached | Keeper::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, RunAs};
    use crate::probe::Answer;
    use crate::resource::rolling;
    use crate::step::{Action, Check, Content, File};

    /// What a script calls `root` with, where root does nothing.
    fn called(command: &Command) -> Vec<Vec<String>> {
        let script = format!(
            "root() {{ printf '%s\\n' \"$@\" '' ; cat >/dev/null; }}\nsync() {{ :; }}\nstat() {{ echo 0; }}\nset -eu\n{}",
            command.script
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script, "muster"])
            .args(&command.args)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).expect("arguments are text");
        let calls = said.split("\n\n").filter(|call| !call.is_empty());
        calls.map(|call| call.lines().map(str::to_owned).collect()).collect()
    }

    /// What the probe says of a unit, with a folder for systemd's, and for PGDATA and a `systemctl`.
    fn looked(folder: &std::path::Path) -> Answers {
        let script = PROBE.replace("/etc/systemd/system", &folder.display().to_string());
        let script =
            format!("{}\nunit=u.service k= pgdata=$1\n{script}\nsay end ''", crate::probe::FUNCTIONS);
        let output = std::process::Command::new("sh")
            .args(["-c", &script, "probe"])
            .arg(folder.join("data"))
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .output()
            .expect("there is a shell");
        Answers::parse(&String::from_utf8(output.stdout).expect("it is text")).expect("it is whole")
    }

    #[test]
    fn a_masked_unit_is_seen() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("u.service");
        let unit = || looked(folder.path()).text("keeper.unit");
        assert_eq!(unit(), Ok(None));
        std::os::unix::fs::symlink("/dev/null", &file).expect("a link can be made");
        assert_eq!(unit(), Ok(Some(String::new())));
        std::fs::remove_file(&file).expect("it is there");
        std::fs::write(&file, "").expect("it can be written");
        assert_eq!(unit(), Ok(Some(String::new())));
        std::fs::write(&file, "[Unit]\n").expect("it can be written");
        assert_eq!(unit(), Ok(Some("[Unit]\n".to_owned())));
        // A link that leads nowhere is none of these: what systemd makes of it is not known.
        std::fs::remove_file(&file).expect("it is there");
        std::os::unix::fs::symlink("/nowhere", &file).expect("a link can be made");
        assert!(unit().is_err());
    }

    #[test]
    fn a_guard_that_waits_for_the_monitor_is_seen() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("it can be written");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("ours");
            path
        };
        write("u.service", "[Unit]\n");
        std::fs::create_dir(folder.path().join("data.node")).expect("it can be made");
        let guard = write("data.node/run-keeper", "read -r l\nexit\n");
        let waits = || matches!(looked(folder.path()).get("keeper.waits"), Answer::Text(_));
        assert!(!waits());
        let mut process = std::process::Command::new("sh")
            .arg(guard)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("there is a shell");
        write("systemctl", &format!("#!/bin/sh\nif [ \"$1\" = show ]; then echo {}; fi\n", process.id()));
        assert!(waits());
        process.kill().expect("it is one's own");
        process.wait().expect("it ends");
        assert!(!waits());
    }

    #[test]
    fn root_is_asked_for_what_is_listed_and_for_nothing_else() {
        let inventory = include_str!("../../../inventory/lab.yml");
        let formation =
            crate::inventory::parse("lab.yml", inventory, "inventory".as_ref()).expect("it is right");
        let server = formation.servers().next().expect("it has servers");
        let AsRoot { write, systemctl } = as_root(server).expect("its keepers are systemd's");
        let file = File {
            path: path(&unit(server)),
            owner: "root".to_owned(),
            mode: MODE,
            content: Content::Text(String::new()),
            before: None,
            check: Check::Nothing,
            undo: None,
        };
        assert_eq!(called(&file.command()), write);
        assert_eq!(called(&Command::new(RunAs::Root, ENABLE_AND_START).args([unit(server)])), systemctl);
        let Action::Run(reboot) = rolling::reboot(server, "").action else { panic!("it is a command") };
        assert_eq!(called(&reboot), Vec::from_iter(reboot_as_root(server)));
    }
}
