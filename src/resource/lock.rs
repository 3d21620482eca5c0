//! Whose turn it is on a host: one run of muster at a time changes what belongs to an operating system user there.
//!
//! The lock is a file in that user's home: its first line is the run's own, the second one the process on the host that
//! holds its connection. sshd ends that process with the connection, so a run that died leaves a lock that no longer
//! counts; so does one from before the host's last boot. A user without a home to write to has a folder of its own in
//! /tmp, where others cannot put anything in the way of what is written. Where a host has not noticed yet that a laptop is gone, the
//! next run from that laptop knows.

use crate::command::{Command, Output, RunAs};
use crate::formation::Secret;

/// Who changes a host, or wants to: a line without secrets, of words parted by blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Tells this run from every other one, wherever it is.
    pub run: String,
    /// `ana@laptop`.
    pub who: String,
    /// Its process there.
    pub process: String,
    /// `2026-11-23T10:03:12+01:00`, by the clock of who wrote it.
    pub since: String,
}

/// The answer to [`take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    Ours,
    Theirs(Holder),
}

/// What a run makes of a lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over<'a> {
    /// Somebody's lock counts while the process on the host lives.
    Nobody,
    /// This run is known to be over, whatever the host believes.
    Known(&'a Holder),
    /// The operator's word.
    Anybody,
}

/// Where the lock is: before [`COMMON`] and [`GUARD`].
const PLACE: &str = r#"
muster_home=$HOME
if [ ! -w "${muster_home:-/dev/null}" ] || [ ! -d "$muster_home" ]; then muster_home=/tmp/.muster-$(id -u); fi
"#;

/// `$1` run, then for [`TAKE`] `$2` who, `$3` process, `$4` since, `$5` the run that is over or `*` for any.
///
/// `me` is the first process above this one that has the connection, its start in ticks since boot, and the boot. A
/// holder that is not known, as `/proc` does not tell, counts until the next boot.
const COMMON: &str = r#"
d=$muster_home
if [ "$d" != "$HOME" ]; then
  # In /tmp anybody may have put anything: only what is this user's own counts.
  mkdir -m 700 "$d" 2>/dev/null || :
  if [ -L "$d" ] || [ ! -d "$d" ] || [ ! -O "$d" ]; then
    echo "HOME=$HOME cannot be written to, and $d is not a folder of $(id -un)'s" >&2
    exit 1
  fi
fi
l=$d/.muster-lock
if [ -d "$l" ] && [ ! -L "$l" ]; then echo "$l is a folder" >&2; exit 1; fi
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || boot=-
# The process's parent, its start and its name.
stat() {
  s=
  { read -r s <"/proc/$1/stat"; } 2>/dev/null || return 1
  n=${s#*"("}; n=${n%")"*}
  set -- ${s##*")"}
  parent=$2; shift 19; start=$1
}
me() {
  p=$$
  while [ "$p" -gt 1 ] && stat "$p"; do
    case $n in sshd* | dropbear* | muster*) echo "$p $start $boot"; return ;; esac
    p=$parent
  done
  echo "- - $boot"
}
lives() {
  p=${at%% *}; t=${at#* }; b=${t#* }; t=${t%% *}
  [ "$b" = "$boot" ] || return 1
  [ "$p" != - ] || return 0
  stat "$p" && [ "$start" = "$t" ]
}
# Two at once look and write one after the other.
exec 9<"$d"
if command -v flock >/dev/null 2>&1; then
  flock -w 10 9 || { echo "some process there keeps $d locked (flock)" >&2; exit 1; }
fi
line= at=
if [ -f "$l" ]; then { IFS= read -r line && IFS= read -r at || :; } <"$l"; fi
"#;

const TAKE: &str = r#"
if [ -n "$line" ] && [ "${line%% *}" != "$1" ] && [ "${line%% *}" != "$5" ] && [ "$5" != "*" ] && lives; then
  printf '%s\n' "$line"
  exit 0
fi
trap 'rm -f -- "$l.$$"' EXIT
printf '%s %s %s %s\n%s\n' "$1" "$2" "$3" "$4" "$(me)" >"$l.$$"
mv -fT -- "$l.$$" "$l"
"#;

const RELEASE: &str = r#"
if [ "${line%% *}" = "$1" ]; then rm -f -- "$l"; fi
"#;

/// How a command ends that was kept from its work by another run; sysexits' EX_TEMPFAIL.
pub const TAKEN_OVER: u32 = 75;

/// Before a step of a run that may have slept meanwhile, as laptops do.
const GUARD: &str = r#"
muster_turn=
if [ -f "$muster_home/.muster-lock" ]; then IFS= read -r muster_turn <"$muster_home/.muster-lock" || :; fi
if [ "${muster_turn%% *}" != "$MUSTER_RUN" ]; then
  muster_turn=${muster_turn#* }
  echo "another run of muster has taken over here (--break-lock): ${muster_turn:-it has ended}" >&2
  exit 75
fi
unset muster_home muster_turn
"#;

/// The same command, which leaves everything as it is once somebody else has the turn.
pub fn guarded(command: &Command, holder: &Holder) -> Command {
    match command.run_as {
        RunAs::User(_) => {
            Command { script: format!("{PLACE}{GUARD}{}", command.script).into(), ..command.clone() }
                .env("MUSTER_RUN", &Secret::new(&holder.run))
        }
        // Another home, and never the first of a node's steps.
        RunAs::Login | RunAs::Root => command.clone(),
    }
}

/// Asks for the turn of an operating system user on a host; a run that has it already keeps it.
pub fn take(user: &str, holder: &Holder, over: &Over) -> Command {
    let over = match over {
        Over::Nobody => "",
        Over::Known(holder) => &holder.run,
        Over::Anybody => "*",
    };
    let Holder { run, who, process, since } = holder;
    by(user, format!("{PLACE}{COMMON}{TAKE}")).args([run, who, process, since, over])
}

/// Gives it back, if it is this run's.
pub fn release(user: &str, holder: &Holder) -> Command {
    by(user, format!("{PLACE}{COMMON}{RELEASE}")).args([&holder.run])
}

fn by(user: &str, script: String) -> Command {
    Command::new(RunAs::User(user.to_owned()), script)
}

/// What [`take`] answers: nothing, or the line of who has it.
pub fn parse(output: &Output) -> Turn {
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace().map(str::to_owned);
    let Some(run) = words.next() else { return Turn::Ours };
    let mut word = || words.next().unwrap_or_else(|| "?".to_owned());
    Turn::Theirs(Holder { run, who: word(), process: word(), since: word() })
}

impl Holder {
    /// As an operator reads it.
    pub fn describe(&self) -> String {
        let Holder { who, process, since, .. } = self;
        format!("another run of muster is at work: {who}, process {process}, since {since}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::PathBuf;
    use std::process::Stdio;

    fn holder(run: &str) -> Holder {
        let [who, process, since] = ["ana@laptop", "4711", "2026-11-23T10:03:12+01:00"].map(str::to_owned);
        Holder { run: run.into(), who, process, since }
    }

    /// The home of a user, and a process with a connection: a link to sh by another name.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            let place = Place(tempfile::tempdir().expect("a folder can be made"));
            symlink("/bin/sh", place.path("sshd-session")).expect("a link can be made");
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn lock(&self) -> PathBuf {
            self.path(".muster-lock")
        }

        /// Runs a command over a connection that ends when the answer is there and `meanwhile` has returned.
        fn connected<T>(&self, command: &Command, meanwhile: impl FnOnce(&Turn) -> T) -> T {
            use std::io::{BufRead as _, BufReader};
            let script = "sh -c \"$@\"; echo .; read -r _ || :";
            let mut sshd = std::process::Command::new(self.path("sshd-session"))
                .args(["-c", script, "sshd", &format!("set -eu\n{}", command.script), "muster"])
                .args(&command.args)
                .env("HOME", self.0.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("there is a shell");
            let said = BufReader::new(sshd.stdout.take().expect("it is piped")).lines();
            let said: Vec<String> =
                said.map(|line| line.expect("it is text")).take_while(|line| line != ".").collect();
            let result = meanwhile(&parse(&Output { stdout: said.join("\n").into(), stderr: String::new() }));
            drop(sshd.stdin.take());
            assert!(sshd.wait().expect("it ends").success());
            result
        }

        fn ask(&self, run: &str, over: &Over) -> Turn {
            self.connected(&take("postgres", &holder(run), over), Turn::clone)
        }
    }

    #[test]
    fn a_lock_counts_while_its_connection_lives() {
        let place = Place::new();
        let theirs = Turn::Theirs(holder("a"));
        place.connected(&take("postgres", &holder("a"), &Over::Nobody), |turn| {
            assert_eq!(*turn, Turn::Ours);
            assert_eq!(std::fs::metadata(place.lock()).expect("it is there").nlink(), 1);
            assert_eq!(place.ask("b", &Over::Nobody), theirs);
            assert_eq!(place.ask("b", &Over::Known(&holder("c"))), theirs);
            place.connected(&release("postgres", &holder("b")), |_| ());
            assert_eq!(place.ask("b", &Over::Nobody), theirs, "nobody gives back what is not theirs");
        });
        assert!(place.lock().exists());
        assert_eq!(place.ask("b", &Over::Nobody), Turn::Ours, "its connection is gone");
    }

    #[test]
    fn a_lock_is_given_back_or_taken_over() {
        let place = Place::new();
        place.connected(&take("postgres", &holder("a"), &Over::Nobody), |turn| {
            assert_eq!(*turn, Turn::Ours);
            place.connected(&release("postgres", &holder("a")), |_| ());
            assert!(!place.lock().exists());
            let left: Vec<_> = std::fs::read_dir(place.0.path()).expect("it can be listed").collect();
            assert_eq!(left.len(), 1, "nothing but the link stays: {left:?}");
        });
        for over in [Over::Known(&holder("a")), Over::Anybody] {
            place.connected(&take("postgres", &holder("a"), &Over::Nobody), |turn| {
                assert_eq!(*turn, Turn::Ours);
                assert_eq!(place.ask("b", &over), Turn::Ours);
                assert_eq!(place.ask("a", &Over::Anybody), Turn::Ours);
            });
            std::fs::remove_file(place.lock()).expect("it is there");
        }
    }

    #[test]
    fn a_lock_from_before_the_last_boot_or_of_another_process_is_nobodys() {
        let place = Place::new();
        let own = std::process::id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has it");
        let boot = boot.trim();
        for (at, counts) in [
            (format!("- - {boot}"), true),
            ("- - 11111111-2222-3333-4444-555555555555".to_owned(), false),
            (format!("{own} 1 {boot}"), false),
            (format!("4194999 5 {boot}"), false),
            (String::new(), false),
            ("what is this".to_owned(), false),
        ] {
            std::fs::write(place.lock(), format!("a ana@laptop 4711 now\n{at}\n"))
                .expect("it can be written");
            let turn = place.ask("b", &Over::Nobody);
            assert_eq!(turn == Turn::Ours, !counts, "{at}: {turn:?}");
            std::fs::write(place.lock(), "").expect("it can be written");
        }
    }

    #[test]
    fn who_has_lost_the_turn_does_nothing_more() {
        let place = Place::new();
        let work = Command::new(RunAs::User("postgres".into()), "echo \"$1 done\"").args(["it is"]);
        let works = |run: &str| {
            let command = guarded(&work, &holder(run));
            let script = format!("set -eu\n{}", command.script);
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script, "muster"]).args(&command.args).env("HOME", place.0.path());
            shell.envs(command.env.iter().map(|(name, value)| (name, value.reveal())));
            let output = shell.output().expect("there is a shell");
            assert!(output.status.success() || output.stdout.is_empty());
            (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
        };
        assert_eq!(place.ask("a", &Over::Nobody), Turn::Ours);
        assert_eq!(works("a"), (Some(0), String::new()));
        assert_eq!(place.ask("b", &Over::Anybody), Turn::Ours);
        let (code, why) = works("a");
        assert_eq!(code, Some(TAKEN_OVER.cast_signed()));
        assert!(why.ends_with("ana@laptop 4711 2026-11-23T10:03:12+01:00"), "{why}");
        place.connected(&release("postgres", &holder("b")), |_| ());
        assert_eq!(works("a").1.rsplit(": ").next(), Some("it has ended"));
    }

    #[test]
    fn what_cannot_be_a_lock_is_named_and_nothing_stays() {
        let place = Place::new();
        std::fs::create_dir(place.lock()).expect("it can be made");
        let command = take("postgres", &holder("a"), &Over::Anybody);
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("set -eu\n{}", command.script), "muster"])
            .args(&command.args)
            .env("HOME", place.0.path())
            .output()
            .expect("there is a shell");
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, format!("{} is a folder\n", place.lock().display()));
        let left = std::fs::read_dir(place.0.path()).expect("it can be listed").count();
        assert_eq!(left, 2, "the link and the folder");
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        let place = Place::new();
        let together = std::sync::Barrier::new(12);
        let ask = |run: usize| {
            let command = take("postgres", &holder(&run.to_string()), &Over::Nobody);
            place.connected(&command, |turn| {
                together.wait();
                *turn == Turn::Ours
            })
        };
        let winners = std::thread::scope(|scope| {
            let all: Vec<_> = (0..12).map(|run| scope.spawn(move || ask(run))).collect();
            all.into_iter().map(|one| one.join().expect("it ends")).filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
    }
}
