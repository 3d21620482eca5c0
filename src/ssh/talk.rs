//! A session that a person has on a host: a shell, or one program, on the operator's terminal or on pipes.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use russh::ChannelMsg;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::becoming::{self, Asking, Gate, Reply};
use super::exchange::{ASKED_WITHIN, Line as Writer, signal as named};
use super::frame::{CLEAN, GUARD, Mark, arguments, check_user, runner};
use super::link::Link;
use super::session::{Line, Session, refusal};
use crate::command::{Command, Failure, RunAs, quote};
use crate::console::raw::{self, Raw, Size};
use crate::formation::Become;

/// What is begun on the host.
pub enum Talk {
    /// The login shell of the user who logs in.
    Shell,
    /// A line for that shell, as `ssh HOST LINE` has it.
    Line(String),
    /// A script, run as somebody else perhaps; its standard input is the operator's. It has no environment of muster's.
    Script(Command),
}

/// What it is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// The operator's terminal, which is the host's for so long.
    Terminal,
    Pipes,
}

/// What is sent to begin it.
struct Begin {
    /// `None` is the login shell.
    exec: Option<String>,
    /// Who asks for a password that is known, and the word that ends the waiting.
    gate: Option<(Gate, String)>,
}

impl Session {
    /// Runs it to its end; the status as a shell has it.
    ///
    /// [`Failure::Lost`] is a connection that broke, or an operator who left with `~.`; nothing has a limit of time.
    pub async fn talk(&self, talk: &Talk, screen: Screen) -> Result<u32, Failure> {
        let asking = match screen {
            Screen::Terminal => Asking::OnTerminal,
            Screen::Pipes => Asking::Never,
        };
        match &self.line {
            Line::Ssh(link) => {
                let begin = Begin::new(talk, &self.user, &self.becoming, asking);
                let begin = begin.map_err(|error| refusal(255, error))?;
                self.talk_over_ssh(link, begin, screen).await
            }
            Line::Local => here(talk, &self.user, &self.becoming, asking).await.map_err(|error| {
                refusal(255, format!("cannot run a command here: {}", error.to_lowercase()))
            }),
        }
    }

    async fn talk_over_ssh(&self, link: &Link, begin: Begin, screen: Screen) -> Result<u32, Failure> {
        let channel = self.open(link).await?;
        let (mut read, write) = channel.split();
        let writer = Writer::of(write);
        let mut signals = Signals::open().map_err(|error| refusal(255, error.to_string()))?;
        let _raw = match screen {
            Screen::Terminal => Some(Raw::begin().map_err(|error| refusal(255, error.to_string()))?),
            Screen::Pipes => None,
        };
        let gone = async |error: russh::Error| self.unreachable(link.why(&error).await);
        // Each of these is answered; a host that gives no terminal must not run the program without one.
        let mut answers = 1;
        if screen == Screen::Terminal {
            answers = 2;
            let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
            let Size { columns, rows, width, height } = raw::size();
            let asked = writer.0.request_pty(true, &term, columns, rows, width, height, &[]).await;
            if let Err(error) = asked {
                return Err(gone(error).await);
            }
        }
        let begun = match &begin.exec {
            Some(exec) => writer.0.exec(true, exec.as_str()).await,
            None => writer.0.request_shell(true).await,
        };
        if let Err(error) = begun {
            return Err(gone(error).await);
        }
        let mut said = Sieve { gate: begin.gate, held: Vec::new() };
        let (mut stdin, mut stdout, mut stderr) =
            (tokio::io::stdin(), tokio::io::stdout(), tokio::io::stderr());
        let (mut keys, mut typed, mut input_ended) = (Keys::default(), vec![0; 16 * 1024], false);
        let mut status = None;
        let patience = sleep(ASKED_WITHIN);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                message = read.wait() => match message {
                    Some(ChannelMsg::Success) => answers -= 1,
                    Some(ChannelMsg::Failure) if answers == 2 => {
                        return Err(refusal(255, "the host gives no terminal\nhint: see PermitTTY in its sshd_config".to_owned()));
                    }
                    Some(ChannelMsg::Failure) if answers == 1 => {
                        return Err(refusal(255, "the host refuses to run it".to_owned()));
                    }
                    Some(ChannelMsg::Data { data }) if screen == Screen::Terminal || said.gate.is_none() => {
                        let heard = match screen {
                            Screen::Terminal => said.hear(&data),
                            Screen::Pipes => Heard::shown(&data),
                        };
                        if let Some(password) = heard.answer { let _ = writer.0.data_bytes(password).await; }
                        let _ = stdout.write_all(&heard.shown).await;
                        let _ = stdout.flush().await;
                        if heard.hang_up { break }
                    }
                    Some(ChannelMsg::ExtendedData { data, .. }) => {
                        let heard = said.hear(&data);
                        if let Some(password) = heard.answer { let _ = writer.0.data_bytes(password).await; }
                        let _ = stderr.write_all(&heard.shown).await;
                        let _ = stderr.flush().await;
                        if heard.hang_up { break }
                    }
                    Some(ChannelMsg::ExitStatus { exit_status }) => status = Some(exit_status),
                    Some(ChannelMsg::ExitSignal { signal_name, .. }) => status = Some(128 + named(&signal_name).1),
                    Some(ChannelMsg::Close) => break,
                    Some(_) => (),
                    None => return Err(Failure::Lost { reason: self.lost().await }),
                },
                read = stdin.read(&mut typed), if said.gate.is_none() && !input_ended => match (read, screen) {
                    (Ok(length @ 1..), Screen::Terminal) => match keys.take(&typed[..length]) {
                        Some(bytes) => { let _ = writer.0.data_bytes(bytes).await; }
                        None => return Err(Failure::Lost { reason: "you left with ~.".to_owned() }),
                    },
                    (Ok(length @ 1..), Screen::Pipes) => {
                        let _ = writer.0.data_bytes(typed[..length].to_vec()).await;
                    }
                    (Ok(0) | Err(_), _) => {
                        input_ended = true;
                        let _ = writer.0.eof().await;
                    }
                },
                Some(()) = signals.window.recv(), if screen == Screen::Terminal => {
                    let Size { columns, rows, width, height } = raw::size();
                    let _ = writer.0.window_change(columns, rows, width, height).await;
                }
                Some(()) = signals.end.recv() => return Err(Failure::Lost { reason: "muster was told to end".to_owned() }),
                Some(()) = signals.hangup.recv() => return Err(Failure::Lost { reason: "the terminal is gone".to_owned() }),
                () = &mut patience, if said.gate.is_some() => break,
            }
        }
        if said.gate.is_some() {
            let text = String::from_utf8_lossy(&said.held).replace('\r', "");
            return Err(refusal(
                255,
                format!(
                    "it did not start: {}\nhint: check ansible_become_password",
                    said.gate.map_or_else(String::new, |(_, ready)| text.replace(&ready, "")).trim()
                ),
            ));
        }
        match status {
            Some(status) => Ok(status),
            None => Err(Failure::Lost {
                reason: "the host closed the session and did not say how it ended".to_owned(),
            }),
        }
    }
}

struct Signals {
    window: Signal,
    end: Signal,
    hangup: Signal,
}

impl Signals {
    fn open() -> std::io::Result<Signals> {
        Ok(Signals {
            window: signal(SignalKind::window_change())?,
            end: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Begin {
    fn new(talk: &Talk, login: &str, becoming: &Become, asking: Asking) -> Result<Begin, String> {
        let command = match talk {
            Talk::Shell => return Ok(Begin { exec: None, gate: None }),
            Talk::Line(line) => return Ok(Begin { exec: Some(line.clone()), gate: None }),
            Talk::Script(command) => command,
        };
        let mark = Mark::new();
        let (user, _) = runner(&command.run_as, login, becoming);
        check_user(user)?;
        let arguments = arguments(&command.args)?;
        let script = format!("{GUARD}{CLEAN}{PLACE}set -u\n{arguments}{{ :\n{}\n}}", command.script);
        if user == login {
            return Ok(Begin { exec: Some(shell("", &script)), gate: None });
        }
        let known = becoming.password.as_ref().filter(|_| becoming::asks(becoming, login));
        let ready = if known.is_some() { mark.says("-ready") } else { String::new() };
        let launch = becoming::wrap(&shell(&ready, &script), user, login, becoming, &mark, asking);
        let launch = format!("{GUARD}PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n{launch}");
        let gate = known
            .map(|password| (Gate::new(&mark, becoming.method, password), format!("{}-ready", mark.whole())));
        Ok(Begin { exec: Some(shell("", &launch)), gate })
    }
}

/// A person reads their own language, and has a home.
const PLACE: &str = "LANG=${LANG:-C.UTF-8}\nexport LANG\ncd -- \"${HOME:-/}\" 2>/dev/null || cd /\n";

/// Whatever the login shell is, it sees letters and digits alone.
fn shell(before: &str, script: &str) -> String {
    format!("sh -c '{before}eval \"$(printf %s {} | base64 -d)\"' muster", BASE64.encode(script))
}

/// On this machine: the program gets muster's own input, output and terminal.
async fn here(talk: &Talk, user: &str, becoming: &Become, asking: Asking) -> Result<u32, String> {
    let own = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
    let own = own.unwrap_or_else(|| "/bin/sh".to_owned());
    let line = match talk {
        Talk::Shell => format!("exec {} -l", quote(&own)),
        Talk::Line(line) => format!("exec {} -c {}", quote(&own), quote(line)),
        Talk::Script(command) => {
            // Whoever has a terminal is asked there.
            let becoming = Become { method: becoming.method, password: None };
            let begin = Begin::new(&Talk::Script(command.clone()), user, &becoming, asking)?;
            begin.exec.map(|exec| format!("exec {exec}")).unwrap_or_default()
        }
    };
    // Ctrl-C is for the program.
    let _interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let status = tokio::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .status()
        .await
        .map_err(|error| error.to_string())?;
    let killed = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(killed.map(|number| 128 + number)).unwrap_or(255);
    Ok(u32::try_from(code).unwrap_or(255))
}

/// Holds back what is said before the program starts, where a known password is asked for.
struct Sieve {
    gate: Option<(Gate, String)>,
    held: Vec<u8>,
}

#[derive(Default)]
struct Heard {
    shown: Vec<u8>,
    answer: Option<Vec<u8>>,
    hang_up: bool,
}

impl Heard {
    fn shown(bytes: &[u8]) -> Heard {
        Heard { shown: bytes.to_vec(), ..Heard::default() }
    }
}

impl Sieve {
    fn hear(&mut self, bytes: &[u8]) -> Heard {
        /// More than a lecture and a banner.
        const MOST: usize = 64 * 1024;
        let Some((gate, ready)) = &mut self.gate else { return Heard::shown(bytes) };
        self.held.extend_from_slice(bytes);
        // A terminal puts one before each line end.
        let lines: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
        match gate.hear(&lines) {
            Reply::Wait => {
                let over = self.held.len().saturating_sub(MOST);
                self.held.drain(..over);
                Heard::default()
            }
            Reply::Say(password) => {
                self.held.clear();
                let answer = format!("{}\n", password.reveal()).into_bytes();
                Heard { answer: Some(answer), ..Heard::default() }
            }
            Reply::HangUp => Heard { hang_up: true, ..Heard::default() },
            Reply::Open => {
                let word = ready.as_bytes();
                let at = self.held.windows(word.len()).position(|window| window == word).unwrap_or(0);
                let rest = &self.held[at..];
                let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
                let shown = rest[line..].to_vec();
                self.gate = None;
                self.held.clear();
                Heard { shown, ..Heard::default() }
            }
        }
    }
}

/// What is typed; `~.` at the beginning of a line leaves, as with ssh, and `~~` is `~`.
#[derive(Default)]
struct Keys {
    at: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Beginning,
    /// Behind a `~` that was not sent yet.
    Tilde,
    Line,
}

impl Keys {
    /// What is to be sent; `None` is leave.
    fn take(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut sent = Vec::with_capacity(typed.len() + 1);
        for byte in typed.iter().copied() {
            match (self.at, byte) {
                (Place::Beginning, b'~') => {
                    self.at = Place::Tilde;
                    continue;
                }
                (Place::Tilde, b'.') => return None,
                (Place::Tilde, b'~') | (Place::Beginning | Place::Line, _) => {}
                (Place::Tilde, _) => sent.push(b'~'),
            }
            sent.push(byte);
            self.at = if matches!(byte, b'\r' | b'\n') { Place::Beginning } else { Place::Line };
        }
        Some(sent)
    }
}

impl Talk {
    /// A login shell of somebody else, or a line for one.
    pub fn become_user(user: &str, line: Option<String>) -> Talk {
        const SHELL: &str = "shell=$(getent passwd \"$(id -un)\" | cut -d: -f7)\n\
            case $shell in '' | */nologin | */false) shell=/bin/sh ;; esac\n\
            if [ $# -gt 0 ]; then exec \"$shell\" -c \"$1\"; fi\nexec \"$shell\" -l\n";
        Talk::Script(Command::new(RunAs::User(user.to_owned()), SHELL).args(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::{BecomeMethod, Secret};

    #[test]
    fn only_a_tilde_at_the_beginning_of_a_line_leaves() {
        let sent = |typed: &[&str]| {
            let mut keys = Keys::default();
            let all: Option<Vec<Vec<u8>>> = typed.iter().map(|typed| keys.take(typed.as_bytes())).collect();
            all.map(|all| String::from_utf8(all.concat()).unwrap())
        };
        assert_eq!(sent(&["ls ~.\r", "cd ~/x\r"]).as_deref(), Some("ls ~.\rcd ~/x\r"));
        assert_eq!(sent(&["~", "."]), None);
        assert_eq!(sent(&["ls\r~."]), None);
        assert_eq!(sent(&["~~.\r", "~/x\r"]).as_deref(), Some("~.\r~/x\r"));
    }

    #[test]
    fn the_login_shell_sees_no_value_and_nobody_sees_the_question() {
        let password = Become { method: BecomeMethod::Sudo, password: Some(Secret::new("s3cret")) };
        let command = Command::new(RunAs::User("pg".into()), "exec psql \"$1\"").args(["it's $(id)"]);
        let talk = Talk::Script(command);
        let begin = Begin::new(&talk, "ana", &password, Asking::OnTerminal).unwrap();
        let exec = begin.exec.unwrap();
        let encoded = exec.strip_prefix("sh -c 'eval \"$(printf %s ").unwrap();
        let encoded = encoded.strip_suffix(" | base64 -d)\"' muster").unwrap();
        assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)), "{exec}");
        let launch = String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap();
        assert!(launch.contains("exec sudo -S -p ") && !launch.contains("s3cret"), "{launch}");
        let (gate, ready) = begin.gate.unwrap();
        let mut said = Sieve { gate: Some((gate, ready.clone())), held: Vec::new() };
        assert!(said.hear(b"lecture\r\n").shown.is_empty());
        assert_eq!(said.hear(format!("\r\n{ready}\r\npsql (15").as_bytes()).shown, b"psql (15");
        assert_eq!(said.hear(b".20)").shown, b".20)");
        // Without a password the operator is asked by sudo itself.
        let nobody = Become { method: BecomeMethod::Sudo, password: None };
        for (asking, words) in
            [(Asking::OnTerminal, "exec sudo -H -u "), (Asking::Never, "exec sudo -n -H -u ")]
        {
            let exec = Begin::new(&talk, "ana", &nobody, asking).unwrap().exec.unwrap();
            let encoded = exec.split(' ').nth(5).unwrap();
            let launch = String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap();
            assert!(launch.contains(words), "{launch}");
        }
    }
}
