//! `muster exec`: an operator's own command, on hosts side by side.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::answers::Question;
use super::{Options, answers};
use crate::command::{Command, RunAs, Stdin};
use crate::error::{Exit, Problem};

/// What is muster's own choice for its scripts is not the operator's: they expect a home directory and files that others
/// may read. `$1` is how the command is given, `$2` bytes of input and of files, `$3` whether there is input, then four words a file (name, where
/// to, mode, bytes), `--`, and the command.
///
/// All of it arrives in one file before anything starts: half an input looks like a whole one to whoever reads it.
const RUN: &str = r#"
umask 022
cd -- "${HOME:-/}" 2>/dev/null || cd /
home=$PWD how=$1 length=$2 input=$3
shift 3
if [ "$length" = none ]; then
  shift
  exec 3</dev/null
else
  box=$(mktemp -d)
  trap 'rm -rf -- "$box"' EXIT
  all=$box/.muster
  (umask 077 && cat >"$all")
  [ "$(stat -c %s "$all")" = "$length" ] || { echo "the input was cut off" >&2; exit 65; }
  at=1
  while [ "$1" != -- ]; do
    name=$1 to=$2 mode=$3 size=$4
    shift 4
    case $to in
      '') t=$box/$name ;;
      /*) t=$to ;;
      *) t=$home/$to ;;
    esac
    if [ -d "$t" ]; then t=${t%/}/$name; fi
    new=$(mktemp "${t%/*}/.muster.XXXXXX")
    tail -c "+$at" "$all" | head -c "$size" >"$new"
    chmod "$mode" "$new"
    mv -fT -- "$new" "$t"
    at=$((at + size))
    case $to in '') cd -- "$box" ;; esac
  done
  shift
  if [ "$input" = yes ]; then
    tail -c "+$at" "$all" >"$box/.input"
    exec 3<"$box/.input"
    rm -f -- "$box/.input"
  else exec 3</dev/null; fi
  rm -f -- "$all"
fi
set +e
case $how in
  line) sh -c "$1" muster <&3 3<&- ;;
  words) "$@" <&3 3<&- ;;
esac
exit
"#;

/// Bytes of input and files in all: each host's connection holds a copy.
const MOST: u64 = 16 << 20;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns: `all`, `w1a:mon`, `workers:!readers`, `w?a`, `~^w`, `workers[0]`.
    pattern: String,
    /// One word is a line for a shell on the host; several are a program and its arguments, and no shell sees them.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
    /// Run as the user that the inventory says owns the data directory (`become_user`).
    #[arg(short, long)]
    r#become: bool,
    /// Run as this user, e.g. root.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,
    /// What the command reads on each host: a file of this machine, or - for the standard input. Otherwise nothing.
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Put this file there first, with its mode; without :DEST into a folder that the command begins in, and that is removed afterwards.
    #[arg(long, value_name = "FILE[:DEST]")]
    copy: Vec<String>,
    /// Give a host up after so long; `command_timeout` of the inventory otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let given = Given::read(arguments).map_err(|problem| vec![problem])?;
    let hosts = options.reach(&arguments.pattern)?;
    let questions = hosts.iter().map(|listed| {
        let run_as = match (&arguments.become_user, arguments.r#become) {
            (Some(user), _) => RunAs::User(user.clone()),
            (None, true) => RunAs::User(listed.os_user.clone()),
            (None, false) => RunAs::Login,
        };
        Question { name: &listed.node, host: &listed.host, command: command(arguments, &given, run_as) }
    });
    let answers = answers::of_each(options, questions.collect()).await;
    answers::say(options, "exec", answers).map_err(|problem| vec![problem])
}

fn command(arguments: &Arguments, given: &Given, run_as: RunAs) -> Command {
    let how = match arguments.command.len() {
        1 => "line",
        _ => "words",
    };
    let length = if given.is_nothing() { "none".to_owned() } else { given.bytes.len().to_string() };
    let input = if arguments.stdin.is_some() { "yes" } else { "no" };
    let command = Command::new(run_as, RUN)
        .args([how, &length, input])
        .args(given.files.iter().flatten())
        .args(["--"])
        .args(arguments.command.clone());
    let stdin = if given.is_nothing() { Stdin::Nothing } else { Stdin::Binary(given.bytes.clone()) };
    Command { timeout: arguments.timeout, ..command }.stdin(stdin)
}

/// What goes to every host beside the command.
#[derive(Default)]
struct Given {
    /// Name, where to, mode and bytes of each file.
    files: Vec<[String; 4]>,
    /// The files one after the other, then the input.
    bytes: Vec<u8>,
    has_input: bool,
}

impl Given {
    fn read(arguments: &Arguments) -> Result<Given, Problem> {
        let mut given = Given { has_input: arguments.stdin.is_some(), ..Given::default() };
        for copy in &arguments.copy {
            let (path, to) = match copy.split_once(':') {
                Some((path, to)) if !to.is_empty() => (Path::new(path), to),
                Some((path, _)) => (Path::new(path), ""),
                None => (Path::new(copy.as_str()), ""),
            };
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Problem::new(format!("--copy {copy}: this is not the name of a file"))
                    .hint("name a file, not a folder")
            })?;
            let file = std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
            let about = file.metadata().map_err(|error| cannot_read(path, &error))?;
            let length = given.add(path, file)?;
            let mode = format!("{:04o}", about.permissions().mode() & 0o7777);
            given.files.push([name.to_owned(), to.to_owned(), mode, length.to_string()]);
        }
        match &arguments.stdin {
            None => {}
            Some(path) if path.as_os_str() == "-" => {
                given.add(Path::new("the standard input"), std::io::stdin().lock())?;
            }
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
                given.add(path, file)?;
            }
        }
        Ok(given)
    }

    fn add(&mut self, path: &Path, from: impl Read) -> Result<usize, Problem> {
        let before = self.bytes.len();
        let room = MOST - before as u64;
        let mut limited = from.take(room + 1);
        let read = limited.read_to_end(&mut self.bytes).map_err(|error| cannot_read(path, &error))?;
        if self.bytes.len() as u64 > MOST {
            let problem = Problem::new(format!(
                "{}: the files and the input have more than {} MiB",
                path.display(),
                MOST >> 20
            ));
            return Err(problem.hint("copy large files with scp or rsync"));
        }
        Ok(read)
    }

    fn is_nothing(&self) -> bool {
        self.files.is_empty() && !self.has_input
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot read {}: {}", path.display(), error.to_string().to_lowercase()))
}
