//! A managed file: how it is written whole or not at all, and what is asked of it before it counts.

use serde::{Deserialize, Serialize};

use crate::command::{Command, RunAs, Stdin};
use crate::formation::Secret;
use crate::session::PSQL;
use crate::trial::TRIAL;

/// A managed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute.
    pub path: String,
    /// `root` or the server's operating system user.
    pub owner: String,
    pub mode: u32,
    pub content: Content,
    /// What is there now, for the diff; `None` where there is no file, empty where its text is not to be shown.
    pub before: Option<String>,
    pub check: Check,
    /// Where it may lock out: the host puts back what was there before unless muster confirms, see [`crate::undo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// How a host puts a file back by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub bin: String,
    pub pgdata: String,
    pub server: Running,
    /// Seconds after which it does.
    pub within: u64,
}

/// What is asked of a file before it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    Nothing,
    /// A server would start with it, see [`TRIAL`]. That knows no settings of extensions that are not loaded at the start:
    /// a server that runs is asked as well, and if it would not take what is new, the old file comes back.
    Configuration {
        bin: String,
        /// The socket's directory; empty for psql's own.
        socket: String,
        server: Option<Running>,
    },
    /// The running server reads it as `pg_hba.conf`; if it cannot, the old file comes back.
    Rules {
        bin: String,
        server: Running,
    },
}

/// How a running server is asked over its local socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The socket's directory; empty for psql's own.
    pub socket: String,
    pub port: u16,
    pub user: String,
}

/// Before `NOT_TAKEN`: a session learns what waits for a restart when it reads the files; what the server notes of values
/// on the way is no part of the answer.
pub const LEARN: &str = "set client_min_messages = error;\ndo 'begin perform from pg_file_settings; end';\n";

/// What the configuration files say and the server does not take, a row each. Without the line of a setting: the same is
/// wrong where it moves by what is written.
const NOT_TAKEN: &str = "\
select distinct format('%s: %s', coalesce(name, format('%s, line %s', sourcefile, sourceline)), error) as said
from pg_file_settings f where IS_NOT_TAKEN order by said";

/// Whether a row `f` of `pg_file_settings` is one that the server does not take, but for what waits for a restart; what is
/// in no file any more and waits for one has an error of no file.
pub const IS_NOT_TAKEN: &str = "error is not null and sourcefile <> ''
and not exists (select from pg_settings s where s.name = lower(f.name) and s.pending_restart)";

/// Whether a row of `pg_hba_file_rules` is a line that the server refuses. A rule that has an error and its columns is in
/// force: `hostssl` while `ssl` is off matches nobody, and is read all the same.
pub const HBA_REFUSED: &str = "error is not null and type is null";

/// `$1` path, `$2` mode, `$3` bytes of content, `$4` check, then its values; `$9` PGDATA and `$10` seconds where the host is to put back what
/// was there before by itself. The whole content or nothing, also after a
/// crash, and where the connection broke before all of it was sent: its end looks like that of the content. What a running server had is
/// kept beside, until it is reloaded and has let somebody in.
const PUT: &str = r#"d=${1%/*}
mkdir -p -- "$d"
t=$(mktemp "$d/.muster.XXXXXX")
trap 'rm -f -- "$t" ${old:+"$old"}; rm -rf -- ${scratch:+"$scratch"}' EXIT
old= scratch=
cat >"$t"
[ "$(stat -c %s "$t")" = "$3" ] || { echo "the content was cut off" >&2; exit 65; }
chmod "$2" "$t"
TRIAL
check=$4 bin=${5:-} socket=${6:-} port=${7:-} user=${8:-} pgdata=${9:-} within=${10:-}
UNDO
if [ "$check" = configuration ]; then
  # Not in a subshell: what it makes is removed on the way out.
  if ! trial "$1" >"$t.said"; then cat "$t.said" >&2; rm -f -- "$t.said"; exit 65; fi
  rm -f -- "$t.said"
fi
PSQL
ask() { psql ${socket:+-h "$socket"} -p "$port" -U "$user" -d postgres -f -; }
rules() { ask <<'SQL'
select format('line %s: %s', line_number, error) from pg_hba_file_rules where HBA_REFUSED;
SQL
}
configuration() { ask <<'SQL'
NOT_TAKEN
SQL
}
known= asked=
if [ -f "$1" ]; then
  if [ "$check" != nothing ] && [ -n "$port" ]; then asked=1; fi
  if [ "$check$asked" = configuration1 ]; then known=$(configuration) || exit 65; fi
  if [ -n "$within" ]; then undo_arm "$1" "$within"
  elif [ -n "$asked" ]; then
    old=$(mktemp "$d/.muster.XXXXXX")
    cp -p -- "$1" "$old"
  fi
fi
sync "$t"
mv -fT -- "$t" "$1"
if [ -n "$asked" ]; then
  wrong=$("$check") || wrong=${wrong:-the server could not be asked}
  wrong=$(printf '%s\n' "$wrong" | grep -vxF -e "$known") || :
  if [ -n "$wrong" ]; then
    if [ -n "$old" ]; then mv -fT -- "$old" "$1"; else undo_disarm "$1"; fi
    printf '%s\n' "$wrong" >&2
    exit 65
  fi
fi
if [ -n "$old" ]; then
  kept=$d/.muster-old.${1##*/}
  if [ -e "$kept" ]; then rm -f -- "$old"; else mv -fT -- "$old" "$kept"; fi
  old=
fi
sync "$d"
"#;

/// `$1` path, `$2` mode, `$3` bytes of content. What `root` calls is what sudoers has to allow ([`put_by_root`]): no name in it is random.
/// The input comes through a pipe, because a socket, as sshd may give, cannot be opened as `/dev/stdin`.
const PUT_BY_ROOT: &str = r#"d=${1%/*}
t=$d/.muster.${1##*/}
cat | root install -m "$2" -o root -g root -T /dev/stdin "$t"
[ "$(stat -c %s "$t")" = "$3" ] || { echo "the content was cut off" >&2; exit 65; }
sync "$t"
root mv -fT -- "$t" "$1"
sync "$d"
"#;

impl File {
    /// A file that everybody may read, where there was none.
    pub fn new(path: impl Into<String>, owner: impl Into<String>, content: Content) -> Self {
        let (path, owner) = (path.into(), owner.into());
        File { path, owner, mode: 0o644, content, before: None, check: Check::Nothing, undo: None }
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// What is there now.
    pub fn before(mut self, before: Option<String>) -> Self {
        self.before = before;
        self
    }

    pub fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// The command that writes it, run by its owner.
    pub fn command(&self) -> Command {
        let (run_as, script) = match self.owner.as_str() {
            "root" => (RunAs::Root, PUT_BY_ROOT.to_owned()),
            owner => {
                let undo = self.undo.as_ref().map(|_| crate::undo::functions()).unwrap_or_default();
                let put = PUT
                    .replace("UNDO\n", &undo)
                    .replace("\nNOT_TAKEN\n", &format!("\n{LEARN}{NOT_TAKEN};\n"))
                    .replace("IS_NOT_TAKEN", IS_NOT_TAKEN)
                    .replace("HBA_REFUSED", HBA_REFUSED)
                    .replace(
                        "PSQL
", PSQL,
                    )
                    .replace(
                        "TRIAL
", TRIAL,
                    );
                (RunAs::User(owner.to_owned()), put)
            }
        };
        let stdin = match &self.content {
            Content::Text(text) | Content::Certificate(text) => Stdin::Text(text.clone()),
            Content::Hidden(secret) | Content::PrivateKey(secret) => Stdin::Hidden(secret.clone()),
            Content::Binary(bytes) => Stdin::Binary(bytes.clone()),
        };
        let (mode, length) = (format!("{:04o}", self.mode), stdin.as_bytes().len().to_string());
        let command = Command::new(run_as, script).args([self.path.clone(), mode, length]);
        let command = match &self.check {
            Check::Nothing => command.args(["nothing"]),
            Check::Configuration { bin, socket, server: None } => {
                command.args(["configuration", bin, socket])
            }
            Check::Configuration { bin, socket: _, server: Some(server) } => {
                asking(command, "configuration", bin, server)
            }
            Check::Rules { bin, server } => asking(command, "rules", bin, server),
        };
        let command = match (&self.undo, &self.check) {
            (None, _) => command,
            // All of its values are there, and no more.
            (
                Some(Undo { pgdata, within, .. }),
                Check::Rules { .. } | Check::Configuration { server: Some(_), .. },
            ) => command.args([pgdata, &within.to_string()]),
            (
                Some(Undo { bin, pgdata, server, within }),
                Check::Nothing | Check::Configuration { server: None, .. },
            ) => {
                let command = Command { args: command.args[..3].to_vec(), ..command };
                asking(command, "nothing", bin, server).args([pgdata, &within.to_string()])
            }
        };
        command.stdin(stdin)
    }
}

fn asking(command: Command, check: &str, bin: &str, Running { socket, port, user }: &Running) -> Command {
    command.args([check, bin, socket, &port.to_string(), user])
}

/// The programs with their arguments that root runs to write one of its files.
pub fn put_by_root(path: &str, mode: u32) -> [Vec<String>; 2] {
    let (folder, name) = path.rsplit_once('/').unwrap_or_default();
    let beside = format!("{folder}/.muster.{name}");
    let mode = format!("{mode:04o}");
    let install = ["install", "-m", &mode, "-o", "root", "-g", "root", "-T", "/dev/stdin", &beside];
    let rename = ["mv", "-fT", "--", &beside, path];
    [install.map(str::to_owned).to_vec(), rename.map(str::to_owned).to_vec()]
}

/// The text of a file, or one that is not to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Text(String),
    Hidden(Secret),
    /// Bytes that are no text, e.g. `pg_autoctl.state`.
    Binary(#[serde(with = "crate::command::base64")] Vec<u8>),
    /// Of a pair that every plan makes anew.
    Certificate(String),
    /// The other half.
    PrivateKey(Secret),
}

impl Content {
    /// Whether another plan would write the same, but for chance.
    pub(crate) fn is_like(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Certificate(_), Content::Certificate(_))
            | (Content::PrivateKey(_), Content::PrivateKey(_)) => true,
            (
                Content::Text(_)
                | Content::Hidden(_)
                | Content::Binary(_)
                | Content::Certificate(_)
                | Content::PrivateKey(_),
                _,
            ) => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the command in a shell of this machine, with as many bytes of its input as arrive.
    fn run(command: &Command, arrived: usize) -> bool {
        use std::io::Write as _;
        let mut shell = std::process::Command::new("sh")
            .args(["-c", &format!("set -eu\numask 077\n{}", command.script), "muster"])
            .args(&command.args)
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut stdin = shell.stdin.take().expect("it is piped");
        stdin.write_all(&command.stdin.as_bytes()[..arrived]).expect("it reads");
        drop(stdin);
        shell.wait().expect("it ends").success()
    }

    #[test]
    fn content_that_was_cut_off_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("a.conf");
        let file = |text: &str| File {
            path: path.display().to_string(),
            owner: "postgres".to_owned(),
            mode: 0o640,
            content: Content::Text(text.to_owned()),
            before: None,
            check: Check::Nothing,
            undo: None,
        };
        assert!(run(&file("one\n").command(), 4));
        assert!(!run(&file("two two\n").command(), 4));
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "one\n");
        let left = std::fs::read_dir(folder.path()).expect("it can be listed").count();
        assert_eq!(left, 1, "what was begun is gone");
        assert!(run(&file("").command(), 0));
    }
}
