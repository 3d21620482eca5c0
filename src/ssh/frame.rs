//! How a command travels: the exec string, the bytes on standard input, the mark where its output begins.
//!
//! The exec string is `sh -c 'eval "$(head -c N)"' muster`, whatever the command: the login shell may be one that reads
//! quotes in its own way (fish, csh), so it sees no value. What becomes another user, and the arguments, quoted for `sh`, come
//! with the script on standard input. `sh -s` would not do: dash and busybox read ahead and eat the data behind the
//! script, and under bash a step that reads its input eats the rest of the script and ends with 0. The script is no
//! argument either: dropbear drops connections for exec strings over 8 kB.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::becoming::{self, Asking, Gate, Narrow};
use crate::command::{Command, RunAs, Stdin, quote};
use crate::formation::{Become, BecomeMethod, Secret};

/// First of all: a host that runs another command than it was told may be a shell, which takes this for its program.
pub(super) const GUARD: &str = "\
[ \"$0\" = muster ] || { echo 'muster: this host runs another command than it was told (ForceCommand?)' >&2; exit 255; }
";

/// Nothing is left that would lead libpq to another server, and programs are found whatever a profile has set.
pub(super) const CLEAN: &str = "\
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset XDG_RUNTIME_DIR PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE
unset PGSERVICEFILE PGSYSCONFDIR PGOPTIONS PGAPPNAME PGDATA PGTZ PGDATESTYLE PGGEQO PGCLIENTENCODING
unset PGLOCALEDIR PGCONNECT_TIMEOUT PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS PGREQUIREPEER
unset PGREQUIREAUTH PGCHANNELBINDING PGREQUIRESSL PGSSLMODE PGSSLNEGOTIATION PGSSLCOMPRESSION
unset PGSSLCERT PGSSLKEY PGSSLCERTMODE PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLSNI
unset PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION PGMINPROTOCOLVERSION PGMAXPROTOCOLVERSION
unset PGSSLKEYLOGFILE PGGSSENCMODE PGGSSLIB PGGSSDELEGATION PGKRBSRVNAME PSQLRC PSQL_HISTORY
unset PG_COLOR PG_COLORS PG_AUTOCTL_MONITOR PG_AUTOCTL_DEBUG
";

/// Fixed text before every script.
///
/// It evaluates nothing it reads: `export "$line"` takes the value as it is. Names of muster's own stay with the shell:
/// `readonly` sets without exporting, so that the programs a script starts do not inherit the monitor's password.
/// Input that ends before the empty line,
/// or before the script's closing brace, comes from a connection that broke: nothing of the script runs then. A
/// profile or an rc file can print or set anything, so locale and umask are set here, after [`CLEAN`]. The process group is told
/// so that the script can be ended later, where it is surely its own: led by this shell, or by sudo or a login shell
/// right above it.
const PRELUDE: &str = "\
cd /
LC_ALL=C
export LC_ALL
umask 077
muster_whole=
while IFS= read -r muster_line; do
  case $muster_line in
    '') muster_whole=1; break ;;
    MUSTER_*) unset \"${muster_line%%=*}\"; readonly \"$muster_line\" ;;
    *) export \"$muster_line\" ;;
  esac
done
[ -n \"$muster_whole\" ] || { echo 'muster: the input was cut off' >&2; exit 255; }
muster_group=
read -r _ _ _ _ muster_group _ 2>/dev/null </proc/$$/stat
case $muster_group in \"$$\" | \"$PPID\") ;; *) muster_group= ;; esac
";

/// Standard input up to this is whole before the script starts; the shell holds it meanwhile. More of it goes straight
/// to the script, which has to know by itself whether it is all.
const MAX_WHOLE: usize = 4 * 1024 * 1024;

/// A command, ready to be sent.
pub(super) struct Frame {
    pub(super) exec: String,
    /// Sent at once: what becomes the user. Empty where nobody has to.
    pub(super) launch: Vec<u8>,
    /// Sent when the shell reads.
    pub(super) input: Vec<u8>,
    mark: Mark,
    /// Where somebody may ask for a password before the input can be sent.
    password: Option<(Secret, BecomeMethod)>,
}

impl Frame {
    /// For a connection of the user `login`; the error says which value cannot be sent.
    pub(super) fn new(command: &Command, login: &str, becoming: &Become) -> Result<Frame, String> {
        let mark = Mark::new();
        let Fed { take, give, stdin } = fed(&command.stdin, &mark);
        let (user, root) = runner(&command.run_as, login, becoming);
        check_user(user)?;
        let script = format!(
            "{GUARD}{CLEAN}{PRELUDE}{joined}{root}{take}echo \"$muster_mark $muster_group\"\necho \"$muster_mark\" >&2\n\
             unset muster_whole muster_line muster_group muster_mark\nset -eu\n{arguments}{give}{{ :\n{script}\n}}",
            joined = mark.joined(),
            arguments = arguments(&command.args)?,
            script = command.script
        );
        let asks = user != login && becoming::asks(becoming, login);
        let shell = |before: &str, length| format!("sh -c '{before}eval \"$(head -c {length})\"' muster");
        let (exec, launch) = match user == login {
            true => (shell("", script.len()), String::new()),
            false => {
                let ready = if asks { mark.says("-ready") } else { String::new() };
                let inner = shell(&ready, script.len());
                let launch = becoming::wrap(&inner, user, login, becoming, &mark, Asking::Never);
                // Without its last brace nothing of it runs.
                let launch = format!("{{\n{GUARD}PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n{launch}\n}}");
                (shell("", launch.len()), launch)
            }
        };
        let mut input = script.into_bytes();
        for (name, value) in &command.env {
            let line = env_line(name, value.reveal())?;
            input.extend_from_slice(line.as_bytes());
        }
        input.push(b'\n');
        input.extend_from_slice(&stdin);
        let password = becoming.password.clone().filter(|_| asks).map(|password| (password, becoming.method));
        Ok(Frame { exec, launch: launch.into_bytes(), input, mark, password })
    }

    /// What the input has to wait for, if for anything.
    pub(super) fn gate(&self) -> Option<Gate> {
        self.password.as_ref().map(|(password, method)| Gate::new(&self.mark, *method, password))
    }

    /// What follows the line with the mark, or `None` where the script never started.
    pub(super) fn after_marker<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.split(stream)?.1)
    }

    /// What the line with the mark says of the script's process group, and what follows it.
    pub(super) fn opened<'a>(&self, stdout: &'a [u8]) -> Option<(Option<u32>, &'a [u8])> {
        let (line, rest) = self.split(stdout)?;
        let group = str::from_utf8(line).ok().and_then(|line| line.trim().parse().ok());
        // 0 and 1 mean other processes than the script's.
        Some((group.filter(|group| *group > 1), rest))
    }

    /// The host's own words of a line. sudo's message stands right behind the prompt that muster has chosen.
    pub(super) fn without_ours<'a>(&self, line: &'a str) -> &'a str {
        match line.rsplit_once(self.mark.prompt().as_str()) {
            Some((_, rest)) => rest,
            None if line.contains(self.mark.whole().as_str()) => "",
            None => line,
        }
    }

    fn split<'a>(&self, stream: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let marker = self.mark.whole();
        let marker = marker.as_bytes();
        let mut from = 0;
        // The name of a prompt begins with the mark too.
        loop {
            let found = stream[from..].windows(marker.len()).position(|window| window == marker)?;
            let start = from + found + marker.len();
            let line = stream[start..].iter().position(|byte| *byte == b'\n')?;
            if stream[start] != b'-' {
                return Some((&stream[start..start + line], &stream[start + line + 1..]));
            }
            from = start;
        }
    }
}

/// How standard input reaches the script.
struct Fed {
    /// What the shell does before the script: takes in all of it.
    take: String,
    /// What stands before the script's braces.
    give: String,
    stdin: Vec<u8>,
}

/// A connection that breaks ends the input early, and nobody behind it can tell: half a file would be moved into
/// place, half a statement run. So a mark follows the input, and nothing starts without it.
fn fed(stdin: &Stdin, mark: &Mark) -> Fed {
    let bytes = stdin.as_bytes();
    let decode = match stdin {
        Stdin::Nothing => return Fed { take: String::new(), give: String::new(), stdin: Vec::new() },
        _ if bytes.len() > MAX_WHOLE => {
            return Fed { take: String::new(), give: String::new(), stdin: bytes.to_vec() };
        }
        Stdin::Text(_) | Stdin::Hidden(_) if !bytes.contains(&0) => "",
        // What a shell cannot hold.
        Stdin::Text(_) | Stdin::Hidden(_) | Stdin::Binary(_) => "base64 -d | ",
    };
    let mut stdin = match decode {
        "" => bytes.to_vec(),
        _ => BASE64.encode(bytes).into_bytes(),
    };
    stdin.extend_from_slice(format!("{}-end", mark.whole()).as_bytes());
    let take = "muster_input=$(cat)\n\
         muster_stdin=${muster_input%\"$muster_mark-end\"}\n\
         [ \"$muster_stdin\" != \"$muster_input\" ] || { echo 'muster: the input was cut off' >&2; exit 255; }\n\
         unset muster_input\n"
        .to_owned();
    let give = format!("printf '%s' \"$muster_stdin\" | {decode}");
    Fed { take, give, stdin }
}

/// What nothing but a running script says: neither half of it is the whole, so that a host which only echoes what it is
/// sent, or shows the command line, does not pass for one that ran something.
pub(super) struct Mark(String, String);

impl Mark {
    pub(super) fn new() -> Mark {
        let half = || format!("{:016x}", rand::random::<u64>());
        Mark(format!("muster-{}", half()), half())
    }

    #[cfg(test)]
    pub(super) fn of(one: &str, other: &str) -> Mark {
        Mark(one.to_owned(), other.to_owned())
    }

    pub(super) fn whole(&self) -> String {
        format!("{}{}", self.0, self.1)
    }

    /// Sets `muster_mark`.
    fn joined(&self) -> String {
        format!("muster_mark={}\nmuster_mark=${{muster_mark}}{}\n", self.0, self.1)
    }

    /// Says the mark and a word on standard error; no quotes but double ones.
    pub(super) fn says(&self, word: &str) -> String {
        format!("echo {}\"\"{}{word} >&2; ", self.0, self.1)
    }

    /// What sudo is to ask with, as it is told: of two per cent signs it shows one.
    pub(super) fn prompt_option(&self) -> String {
        format!("{}%%{}-password:", self.0, self.1)
    }

    /// And as it is heard.
    pub(super) fn prompt(&self) -> String {
        format!("{}%{}-password:", self.0, self.1)
    }
}

/// Who runs the script, and what `root PROGRAM ARGS` is to it.
pub(super) fn runner<'a>(run_as: &'a RunAs, login: &'a str, becoming: &Become) -> (&'a str, &'static str) {
    match run_as {
        RunAs::Login => (login, ""),
        RunAs::User(user) => (user, ""),
        RunAs::Root => match becoming::narrow(becoming, login) {
            Narrow::EachProgram => (login, "root() { sudo -n -- \"$@\"; }\n"),
            Narrow::WholeScript => ("root", "root() { \"$@\"; }\n"),
        },
    }
}

/// sudo means groups, netgroups and numbers by the first of these.
pub(super) fn check_user(user: &str) -> Result<(), String> {
    if user.is_empty() || user.starts_with(['%', '+', '#', '!', '-']) || user.contains(['\0', '\n']) {
        return Err(format!("not the name of a user: {user:?}"));
    }
    Ok(())
}

pub(super) fn arguments(args: &[String]) -> Result<String, String> {
    let mut line = String::new();
    for arg in args {
        if arg.contains('\0') {
            return Err(format!("an argument holds a NUL byte: {arg:?}"));
        }
        line.push(' ');
        line.push_str(&quote(arg));
    }
    Ok(format!("set --{line}\n"))
}

fn env_line(name: &str, value: &str) -> Result<String, String> {
    let mut letters = name.bytes();
    let valid = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    if !valid {
        return Err(format!("not the name of an environment variable: {name:?}"));
    }
    // The value is a secret: the message must do without it.
    if value.contains(['\n', '\0']) {
        return Err(format!("the value of {name} holds a line end or a NUL byte"));
    }
    Ok(format!("{name}={value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::BecomeMethod;

    const SUDO: Become = Become { method: BecomeMethod::Sudo, password: None };

    fn command(run_as: RunAs) -> Command {
        Command::new(run_as, "cat")
    }

    #[test]
    fn the_login_shell_sees_no_value() {
        let frame = |run_as, login| Frame::new(&command(run_as).args([r"it's \"]), login, &SUDO).unwrap();
        for (run_as, login) in [
            (RunAs::Login, "ana"),
            (RunAs::User("postgres".into()), "ana"),
            (RunAs::User("postgres".into()), "root"),
            (RunAs::Root, "ana"),
        ] {
            let exec = frame(run_as, login).exec;
            let number = exec.strip_prefix("sh -c 'eval \"$(head -c ");
            let number = number.and_then(|rest| rest.strip_suffix(")\"' muster"));
            assert!(number.is_some_and(|number| number.parse::<usize>().is_ok()), "{exec}");
        }
        let launch = |run_as, login| String::from_utf8(frame(run_as, login).launch).unwrap();
        assert_eq!(launch(RunAs::Login, "ana"), "");
        assert_eq!(launch(RunAs::User("ana".into()), "ana"), "");
        assert_eq!(launch(RunAs::Root, "root"), "");
        assert_eq!(launch(RunAs::Root, "ana"), "", "the programs become root one by one");
        assert!(
            launch(RunAs::User("postgres".into()), "ana").contains("exec sudo -n -H -u 'postgres' -- sh -c")
        );
        assert!(launch(RunAs::User("postgres".into()), "root").contains("' 'postgres' sh -c 'eval"));
    }

    #[test]
    fn an_echo_is_no_mark() {
        let password = Become { method: BecomeMethod::Sudo, password: Some(Secret::new("s3cret")) };
        let command = command(RunAs::User("postgres".into())).stdin(Stdin::Text("rest".into()));
        let frame = Frame::new(&command, "ana", &password).unwrap();
        let sent = [frame.exec.as_bytes(), b"\n", &frame.launch, b"\n", &frame.input, b"\n"].concat();
        assert_eq!(frame.opened(&sent), None);
        let mut gate = frame.gate().unwrap();
        assert_eq!(gate.hear(&sent), becoming::Reply::Wait);
    }

    #[test]
    fn a_script_for_root_becomes_root_as_little_as_it_can() {
        let with = |method, password: Option<&str>| Become { method, password: password.map(Secret::new) };
        for (how, login, whole) in [
            (SUDO, "ana", false),
            (SUDO, "root", true),
            (with(BecomeMethod::Sudo, Some("s3cret")), "ana", true),
            (with(BecomeMethod::Su, Some("s3cret")), "ana", true),
            (with(BecomeMethod::Doas, None), "ana", true),
        ] {
            let frame = Frame::new(&command(RunAs::Root), login, &how).unwrap();
            let script = String::from_utf8(frame.input).unwrap();
            let (sudo, plain) = ("root() { sudo -n -- \"$@\"; }\n", "root() { \"$@\"; }\n");
            assert_eq!((script.contains(sudo), script.contains(plain)), (!whole, whole), "{how:?} {login}");
            let launch = String::from_utf8(frame.launch).unwrap();
            assert_eq!(launch.contains("'root'"), whole && login != "root", "{launch}");
        }
        let other = Frame::new(&command(RunAs::User("postgres".into())), "ana", &SUDO).unwrap();
        assert!(!String::from_utf8(other.input).unwrap().contains("root()"));
    }

    #[test]
    fn input_is_script_then_environment_then_stdin() {
        let secret = Secret::new("p$w`'\"\\ =");
        let command = command(RunAs::Login).env("PGPASSWORD", &secret).stdin(Stdin::Text("rest\n".into()));
        let frame = Frame::new(&command, "ana", &SUDO).unwrap();
        let script = frame.exec.split_once("head -c ").unwrap().1.split_once(')').unwrap().0;
        let (script, rest) = frame.input.split_at(script.parse().unwrap());
        assert!(script.ends_with(b"\ncat\n}"));
        let end = format!("PGPASSWORD=p$w`'\"\\ =\n\nrest\n{}-end", frame.mark.whole());
        assert_eq!(rest, end.as_bytes());
        assert!(!frame.exec.contains("p$w"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_being_shown() {
        for value in ["two\nlines", "nul\0"] {
            let error = Frame::new(&command(RunAs::Login).env("PW", &Secret::new(value)), "ana", &SUDO)
                .err()
                .unwrap();
            assert!(error.contains("PW") && !error.contains(value), "{error}");
        }
        assert!(Frame::new(&command(RunAs::Login).args(["a\0b"]), "ana", &SUDO).is_err());
        assert!(Frame::new(&command(RunAs::User("-x".into())), "ana", &SUDO).is_err());
        assert!(Frame::new(&command(RunAs::User("%wheel".into())), "ana", &SUDO).is_err());
        assert!(Frame::new(&command(RunAs::Login).env("A=B", &Secret::new("")), "ana", &SUDO).is_err());
    }

    #[test]
    fn noise_before_the_marker_is_dropped() {
        let frame = Frame::new(&command(RunAs::Login), "ana", &SUDO).unwrap();
        let stream = format!("motd, no line end{} 4711\nout\n", frame.mark.whole());
        assert_eq!(frame.opened(stream.as_bytes()), Some((Some(4711), &b"out\n"[..])));
        let group =
            |said: &str| frame.opened(format!("{} {said}\n", frame.mark.whole()).as_bytes()).unwrap().0;
        assert_eq!((group("1"), group(""), group("no")), (None, None, None));
        assert_eq!(frame.after_marker(stream.as_bytes()), Some(&b"out\n"[..]));
        assert_eq!(frame.after_marker(b"This account is currently not available.\n"), None);
    }

    #[test]
    fn what_is_for_the_script_alone_is_inherited_by_nobody() {
        let script = "echo \"$MUSTER_A$B\"; env | grep -e ^MUSTER_ -e ^B= || :";
        let values = [("MUSTER_A", "it's $(a) \"word\" "), ("B", "b")];
        let command =
            values.into_iter().fold(Command::new(RunAs::Login, script), |command, (name, value)| {
                command.env(name, &Secret::new(value))
            });
        let frame = Frame::new(&command, "ana", &SUDO).unwrap();
        // As if sshd had let it in.
        let output = run(&frame, frame.input.len(), &[("MUSTER_A", "theirs")]);
        let said = frame.after_marker(&output.stdout).map(String::from_utf8_lossy);
        assert_eq!(said.as_deref(), Some("it's $(a) \"word\" b\nB=b\n"));
    }

    #[test]
    fn nothing_runs_on_input_that_was_cut_off() {
        let plain = Command::new(RunAs::Login, "echo ran\necho \"$A\"; cat").env("A", &Secret::new("whole"));
        let fed = plain.clone().stdin(Stdin::Text("of a text\n\n".repeat(3)));
        let binary = plain.clone().stdin(Stdin::Binary(b"\0of bytes\xff\n".to_vec()));
        for command in [plain, fed, binary] {
            nothing_runs_unless_all_is_there(&command);
        }
    }

    fn run(frame: &Frame, length: usize, inherited: &[(&str, &str)]) -> std::process::Output {
        use std::io::Write as _;
        let mut shell = std::process::Command::new("sh");
        // Whoever works with muster has MUSTER_INVENTORY set.
        let of_operator = std::env::vars_os().map(|(name, _)| name);
        of_operator
            .filter(|name| name.to_string_lossy().starts_with("MUSTER_"))
            .for_each(|name| _ = shell.env_remove(name));
        let mut shell = shell
            .args(["-c", &frame.exec])
            .envs(inherited.iter().copied())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(&frame.input[..length]).unwrap();
        shell.wait_with_output().unwrap()
    }

    fn nothing_runs_unless_all_is_there(command: &Command) {
        let frame = Frame::new(command, "ana", &SUDO).unwrap();
        let whole = frame.input.len();
        let expected = [b"ran\nwhole\n", command.stdin.as_bytes()].concat();
        for length in (0..=whole).rev().step_by(7).chain([whole - 1, whole - 2]) {
            let output = run(&frame, length, &[]);
            match frame.after_marker(&output.stdout) {
                Some(said) if length == whole => assert_eq!(said, expected),
                said => assert!(said.is_none_or(<[u8]>::is_empty), "{length} of {whole}: {output:?}"),
            }
        }
    }
}
