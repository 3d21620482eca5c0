//! How a command travels: the exec string, the bytes on standard input, the mark where its output begins.
//!
//! The exec string is `sh -c 'eval "$(head -c N)"' muster ARGS`. `sh -s` would not do: dash and busybox read ahead
//! and eat the data behind the script, and under bash a step that reads its input eats the rest of the script and
//! ends with 0. The script is no argument either: dropbear drops connections for exec strings over 8 kB.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::becoming::{self, Gate, Narrow};
use crate::command::{Command, RunAs, Stdin, quote};
use crate::formation::{Become, Secret};

/// OpenSSH passes the exec string as one argument, and Linux limits that to 128 KiB (`MAX_ARG_STRLEN`).
const MAX_EXEC: usize = 120 * 1024;

/// Fixed text before every script.
///
/// It evaluates nothing it reads: `export "$line"` takes the value as it is. Input that ends before the empty line,
/// or before the script's closing brace, comes from a connection that broke: nothing of the script runs then. A
/// profile or an rc file can print or set anything, so PATH, locale and umask are set here. The process group is told
/// so that the script can be ended later, where it is surely its own: led by this shell, or by sudo or a login shell
/// right above it.
const PRELUDE: &str = "\
cd /
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset XDG_RUNTIME_DIR
umask 077
muster_whole=
while IFS= read -r muster_line; do
  case $muster_line in
    '') muster_whole=1; break ;;
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
    pub(super) input: Vec<u8>,
    /// Printed on both streams, as a line, before the script starts; random, so that nothing else prints it.
    marker: String,
    /// Where somebody may ask for a password before the input can be sent.
    password: Option<Secret>,
}

impl Frame {
    /// For a connection of the user `login`; the error says which value cannot be sent.
    pub(super) fn new(command: &Command, login: &str, becoming: &Become) -> Result<Frame, String> {
        let marker = format!("muster-{:032x}", rand::random::<u128>());
        let Fed { take, give, stdin } = fed(&command.stdin, &marker)?;
        let (user, root) = runner(&command.run_as, login, becoming);
        let script = format!(
            "{PRELUDE}{root}{take}echo \"{marker} $muster_group\"\necho {marker} >&2\n\
             unset muster_whole muster_line muster_group\nset -eu\n{give}{{ :\n{script}\n}}",
            script = command.script
        );
        let asks = user != login && becoming::asks(becoming, login);
        let ready = if asks { format!("echo {} >&2; ", becoming::ready(&marker)) } else { String::new() };
        let shell = shell(command, script.len(), &ready)?;
        if user.is_empty() || user.starts_with('-') || user.contains('\0') {
            return Err(format!("not the name of a user: {user:?}"));
        }
        let exec = match user == login {
            true => shell,
            false => becoming::wrap(&shell, user, login, becoming, &marker),
        };
        if exec.len() > MAX_EXEC {
            let len = exec.len();
            return Err(format!("the arguments take {len} bytes, {MAX_EXEC} is the most a host accepts"));
        }
        let mut input = script.into_bytes();
        for (name, value) in &command.env {
            let line = env_line(name, value.reveal())?;
            input.extend_from_slice(line.as_bytes());
        }
        input.push(b'\n');
        input.extend_from_slice(&stdin);
        Ok(Frame { exec, input, marker, password: becoming.password.clone().filter(|_| asks) })
    }

    /// What the input has to wait for, if for anything.
    pub(super) fn gate(&self) -> Option<Gate> {
        self.password.as_ref().map(|password| Gate::new(&self.marker, password))
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
        match line.rsplit_once(self.marker.as_str()) {
            Some((_, rest)) => rest.strip_prefix("-password:").unwrap_or_default(),
            None => line,
        }
    }

    fn split<'a>(&self, stream: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let marker = self.marker.as_bytes();
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
fn fed(stdin: &Stdin, marker: &str) -> Result<Fed, String> {
    let bytes = stdin.as_bytes();
    let decode = match stdin {
        Stdin::Nothing => return Ok(Fed { take: String::new(), give: String::new(), stdin: Vec::new() }),
        _ if bytes.len() > MAX_WHOLE => {
            return Ok(Fed { take: String::new(), give: String::new(), stdin: bytes.to_vec() });
        }
        Stdin::Text(_) | Stdin::Hidden(_) if !bytes.contains(&0) => "",
        // What a shell cannot hold.
        Stdin::Text(_) | Stdin::Hidden(_) | Stdin::Binary(_) => "base64 -d | ",
    };
    let mut stdin = match decode {
        "" => bytes.to_vec(),
        _ => BASE64.encode(bytes).into_bytes(),
    };
    stdin.extend_from_slice(format!("{marker}-end").as_bytes());
    let take = format!(
        "muster_input=$(cat)\n\
         muster_stdin=${{muster_input%{marker}-end}}\n\
         [ \"$muster_stdin\" != \"$muster_input\" ] || {{ echo 'muster: the input was cut off' >&2; exit 255; }}\n\
         unset muster_input\n"
    );
    let give = format!("printf '%s' \"$muster_stdin\" | {decode}");
    Ok(Fed { take, give, stdin })
}

/// Who runs the script, and what `root PROGRAM ARGS` is to it.
fn runner<'a>(run_as: &'a RunAs, login: &'a str, becoming: &Become) -> (&'a str, &'static str) {
    match run_as {
        RunAs::Login => (login, ""),
        RunAs::User(user) => (user, ""),
        RunAs::Root => match becoming::narrow(becoming, login) {
            Narrow::EachProgram => (login, "root() { sudo -n -- \"$@\"; }\n"),
            Narrow::WholeScript => ("root", "root() { \"$@\"; }\n"),
        },
    }
}

fn shell(command: &Command, script_len: usize, ready: &str) -> Result<String, String> {
    let mut shell = format!("sh -c '{ready}eval \"$(head -c {script_len})\"' muster");
    for arg in &command.args {
        if arg.contains('\0') {
            return Err(format!("an argument holds a NUL byte: {arg:?}"));
        }
        shell.push(' ');
        shell.push_str(&quote(arg));
    }
    Ok(shell)
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
    fn the_exec_string_names_the_user_only_where_it_must() {
        let exec = |run_as, login| Frame::new(&command(run_as).args(["it's"]), login, &SUDO).unwrap().exec;
        let plain = exec(RunAs::Login, "ana");
        assert!(plain.starts_with("sh -c 'eval \"$(head -c "), "{plain}");
        assert!(plain.ends_with(r"' muster 'it'\''s'"), "{plain}");
        assert!(exec(RunAs::User("ana".into()), "ana").starts_with("sh -c 'eval"));
        assert!(exec(RunAs::Root, "root").starts_with("sh -c 'eval"));
        assert!(exec(RunAs::Root, "ana").starts_with("sh -c 'eval"), "the programs become root one by one");
        assert!(exec(RunAs::User("postgres".into()), "ana").starts_with("sudo -n -H -u 'postgres' -- sh"));
        assert!(exec(RunAs::User("postgres".into()), "root").contains("' 'postgres' sh -c 'eval"));
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
            assert_eq!(frame.exec.contains("'root'"), whole && login != "root", "{}", frame.exec);
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
        let end = format!("PGPASSWORD=p$w`'\"\\ =\n\nrest\n{}-end", frame.marker);
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
        assert!(Frame::new(&command(RunAs::Login).args(["x".repeat(MAX_EXEC)]), "ana", &SUDO).is_err());
        assert!(Frame::new(&command(RunAs::Login).env("A=B", &Secret::new("")), "ana", &SUDO).is_err());
    }

    #[test]
    fn noise_before_the_marker_is_dropped() {
        let frame = Frame::new(&command(RunAs::Login), "ana", &SUDO).unwrap();
        let stream = format!("motd, no line end{} 4711\nout\n", frame.marker);
        assert_eq!(frame.opened(stream.as_bytes()), Some((Some(4711), &b"out\n"[..])));
        let group = |said: &str| frame.opened(format!("{} {said}\n", frame.marker).as_bytes()).unwrap().0;
        assert_eq!((group("1"), group(""), group("no")), (None, None, None));
        assert_eq!(frame.after_marker(stream.as_bytes()), Some(&b"out\n"[..]));
        assert_eq!(frame.after_marker(b"This account is currently not available.\n"), None);
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

    fn nothing_runs_unless_all_is_there(command: &Command) {
        use std::io::Write as _;
        let frame = Frame::new(command, "ana", &SUDO).unwrap();
        let whole = frame.input.len();
        let expected = [b"ran\nwhole\n", command.stdin.as_bytes()].concat();
        for length in (0..=whole).rev().step_by(7).chain([whole - 1, whole - 2]) {
            let mut shell = std::process::Command::new("sh")
                .args(["-c", &frame.exec])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            shell.stdin.take().unwrap().write_all(&frame.input[..length]).unwrap();
            let output = shell.wait_with_output().unwrap();
            match frame.after_marker(&output.stdout) {
                Some(said) if length == whole => assert_eq!(said, expected),
                said => assert!(said.is_none_or(<[u8]>::is_empty), "{length} of {whole}: {output:?}"),
            }
        }
    }
}
