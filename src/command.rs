//! The one thing a host is ever asked to do: run a fixed script with arguments, environment and input.
//!
//! Values never become script text. Arguments arrive as `$1`, `$2`…, quoted by the transport's one
//! function; secrets arrive as environment through standard input, so that they are on no command line;
//! file contents and SQL are the rest of standard input.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::formation::Secret;

/// Who runs a command on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunAs {
    /// The user who logged in.
    Login,
    /// `sudo -n -u USER`, unless the login user already is USER.
    User(String),
    /// A script whose privileged programs are called as `root PROGRAM ARGS`, systemd units only. With sudo the login
    /// user runs the script and each of these alone is root's, so that sudoers can list them; else all of it is root's.
    Root,
}

/// A script and what it is given; the only request the transport knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub run_as: RunAs,
    /// POSIX sh, fixed text; runs with `set -eu`, `LC_ALL=C`, `umask 077`, in `/`.
    pub script: Cow<'static, str>,
    /// `$1`…: never a secret.
    pub args: Vec<String>,
    /// Set before the script runs, and exported but for names that begin with `MUSTER_`. Names are ours, values may hold anything but a line end or NUL.
    /// A command that was read from a file has none: they are not written there.
    #[serde(skip_deserializing)]
    pub env: Vec<(&'static str, Secret)>,
    /// What the script reads.
    pub stdin: Stdin,
    /// Seconds until the command is given up, `None` for the host's `command_timeout`.
    pub timeout: Option<u64>,
}

/// Standard input: text that may be shown, or that may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    Nothing,
    Text(String),
    Hidden(Secret),
    Binary(#[serde(with = "base64")] Vec<u8>),
}

/// Bytes as JSON has them.
pub mod base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Stdin {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Stdin::Nothing => b"",
            Stdin::Text(text) => text.as_bytes(),
            Stdin::Hidden(secret) => secret.reveal().as_bytes(),
            Stdin::Binary(bytes) => bytes,
        }
    }
}

impl Command {
    pub fn new(run_as: RunAs, script: impl Into<Cow<'static, str>>) -> Self {
        Command {
            run_as,
            script: script.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Stdin::Nothing,
            timeout: None,
        }
    }

    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &'static str, value: &Secret) -> Self {
        self.env.push((name, value.clone()));
        self
    }

    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Give up after this many seconds.
    pub fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = Some(seconds);
        self
    }
}

/// What a command that ran to its end left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Why there is no [`Output`]. After `Lost` and `TimedOut` the command may have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No session: the reason, and what to do about it. Nothing ran.
    Unreachable { reason: String, hint: String },
    /// The command ended with another status than 0.
    Refused { status: u32, stderr: String },
    /// The connection broke while it ran.
    Lost { reason: String },
    /// It took longer than it may.
    TimedOut { seconds: u64 },
}

impl Failure {
    /// With where to look behind the cause, for what a program said.
    pub fn pointing(self, at: impl FnOnce(&str) -> Option<String>) -> Failure {
        let Failure::Refused { status, stderr } = self else { return self };
        let at = first_cause(&stderr).and_then(|cause| Some((cause.to_owned(), at(cause)?)));
        let stderr = match at {
            Some((cause, at)) => stderr.replacen(&cause, &format!("{cause} ({at})"), 1),
            None => stderr,
        };
        Failure::Refused { status, stderr }
    }

    /// The cause in one line: PostgreSQL's own words where it said any.
    pub fn cause(&self) -> String {
        match self {
            Failure::Unreachable { reason, .. } => reason.clone(),
            Failure::Refused { status, stderr } => {
                first_cause(stderr).map_or_else(|| format!("it ended with status {status}"), str::to_owned)
            }
            Failure::Lost { reason } => format!("the connection broke, what happened is unknown: {reason}"),
            Failure::TimedOut { seconds } => {
                format!("no end after {seconds} s, what happened is unknown")
            }
        }
    }
}

/// The line of an error text that names the cause: of a wrong setting the line that names it, else the first
/// that calls itself an error, else the first with any text.
fn first_cause(stderr: &str) -> Option<&str> {
    const SETTING: &[&str] = &[
        "unrecognized configuration parameter",
        "invalid value for parameter",
        "outside the valid range",
        "syntax error in file",
        "setting could not be applied",
        "invalid authentication method",
        "invalid IP address",
        "invalid IP mask",
        "invalid CIDR mask",
    ];
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let has =
        |words: &'static [&'static str]| move |line: &&str| words.iter().any(|word| line.contains(word));
    lines()
        .find(has(SETTING))
        .or_else(|| lines().find(has(&["ERROR:", "FATAL:", "PANIC:"])))
        .or_else(|| lines().next())
}

/// One word of a POSIX shell that means `text` and nothing else. A NUL cannot be said: refuse it before.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{Failure, quote};

    #[test]
    fn the_cause_is_the_line_that_says_error() {
        let refused = |stderr: &str| Failure::Refused { status: 3, stderr: stderr.to_owned() }.cause();
        let said = "waiting...\npsql:<stdin>:2: ERROR:  role \"x\" does not exist\nFATAL: later\n";
        assert_eq!(refused(said), "psql:<stdin>:2: ERROR:  role \"x\" does not exist");
        assert_eq!(refused("\n  mkdir: no\nmore"), "mkdir: no");
        assert_eq!(refused(" \n"), "it ended with status 3");
    }

    #[test]
    fn a_place_stands_behind_the_cause() {
        let said = Failure::Refused { status: 65, stderr: "starting\nFATAL: no x\nbye\n".to_owned() };
        let pointing = said.clone().pointing(|cause| cause.ends_with(" x").then(|| "x: db.yml:3".to_owned()));
        assert_eq!(pointing.cause(), "FATAL: no x (x: db.yml:3)");
        assert_eq!(said.clone().pointing(|_| None), said);
    }

    #[test]
    fn quoting_leaves_nothing_to_the_shell() {
        for (text, word) in [
            ("", "''"),
            ("/var/lib/postgresql", "'/var/lib/postgresql'"),
            ("a b\n$(id) `id` \\ \"*\" ~", "'a b\n$(id) `id` \\ \"*\" ~'"),
            ("it's", r"'it'\''s'"),
            ("'", r"''\'''"),
            ("-rf", "'-rf'"),
        ] {
            assert_eq!(quote(text), word);
        }
    }
}
