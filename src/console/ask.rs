//! Questions to the operator: one at a time, on the terminal or by the program that `SSH_ASKPASS` names.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;
use zeroize::Zeroizing;

use super::terminal;

/// What ssh runs where nothing else is named.
const DEFAULT_PROGRAM: &str = "/usr/bin/ssh-askpass";

/// Whether what is typed may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Hidden,
    Shown,
}

/// Who is there to answer.
pub struct Asker {
    way: Way,
    /// The operator has given up a question: no other is asked.
    closed: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Nobody,
    Terminal,
    Program(PathBuf),
}

impl Asker {
    /// By OpenSSH's rules: the terminal, or without one `SSH_ASKPASS` where there is a display;
    /// `SSH_ASKPASS_REQUIRE` changes that.
    pub fn from_environment() -> Asker {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let way = Way::choose(&set, terminal::is_there(), Path::new(DEFAULT_PROGRAM).exists());
        Asker { way, closed: AtomicBool::new(false) }
    }

    /// Nobody can be asked.
    pub fn nobody() -> Asker {
        Asker { way: Way::Nobody, closed: AtomicBool::new(false) }
    }

    /// A program is given the question and prints the answer.
    pub fn program(path: impl Into<PathBuf>) -> Asker {
        Asker { way: Way::Program(path.into()), closed: AtomicBool::new(false) }
    }

    /// Whether somebody may still be asked.
    pub fn is_there(&self) -> bool {
        self.way != Way::Nobody && !self.closed.load(Ordering::Relaxed)
    }

    /// The answer; the error says why there is none, and never holds what was typed.
    pub async fn ask(&self, question: &str, echo: Echo) -> Result<Zeroizing<String>, String> {
        let _turn = super::turn().await;
        if !self.is_there() {
            return Err("nobody can be asked".to_owned());
        }
        let answer = match &self.way {
            Way::Nobody => None,
            Way::Terminal => {
                let question = question.to_owned();
                let asked = tokio::task::spawn_blocking(move || terminal::ask(&question, echo)).await;
                let asked = asked.map_err(|_| "the question was given up".to_owned())?;
                asked.map_err(|error| format!("the terminal cannot be used: {error}"))?
            }
            Way::Program(program) => run(program, question).await?,
        };
        match answer {
            Some(answer) => Ok(answer),
            None => {
                self.closed.store(true, Ordering::Relaxed);
                Err("it was not given".to_owned())
            }
        }
    }

    /// As [`ask`](Asker::ask), for who cannot do anything else meanwhile.
    pub fn ask_and_wait(&self, question: &str, echo: Echo) -> Result<Zeroizing<String>, String> {
        let asked = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(self.ask(question, echo))
        };
        // A thread of its own: in one that runs tasks nothing may wait.
        std::thread::scope(|scope| scope.spawn(asked).join())
            .unwrap_or_else(|_| Err("the question was given up".to_owned()))
    }
}

impl Way {
    fn choose(set: &dyn Fn(&str) -> Option<String>, terminal: bool, default_program: bool) -> Way {
        let mut may = set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some();
        let mut wants = !terminal;
        match set("SSH_ASKPASS_REQUIRE").map(|word| word.to_lowercase()).as_deref() {
            Some("force") => (may, wants) = (true, true),
            Some("prefer") => wants |= may,
            Some("never") => may = false,
            Some(_) | None => {}
        }
        let program = set("SSH_ASKPASS").map(PathBuf::from);
        let program = program.or_else(|| default_program.then(|| PathBuf::from(DEFAULT_PROGRAM)));
        match program {
            Some(program) if may && wants => Way::Program(program),
            Some(_) | None if terminal => Way::Terminal,
            Some(_) | None => Way::Nobody,
        }
    }
}

/// `None`: it ended with another status than 0, which means that the operator does not answer.
async fn run(program: &Path, question: &str) -> Result<Option<Zeroizing<String>>, String> {
    let started = Command::new(program)
        .arg(question)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = started
        .await
        .map_err(|error| format!("{}: {}", program.display(), error.to_string().to_lowercase()))?;
    let said = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Ok(None);
    }
    let line = said.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    Ok(Some(Zeroizing::new(String::from_utf8_lossy(line).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables of the environment, whether there is a terminal, and who is asked then.
    type Row = (&'static [(&'static str, &'static str)], bool, Way);

    #[test]
    fn who_is_asked_is_as_with_ssh() {
        let program = || Way::Program("/askpass".into());
        let rows: [Row; 9] = [
            (&[], true, Way::Terminal),
            (&[], false, Way::Nobody),
            (&[("SSH_ASKPASS", "/askpass")], false, Way::Nobody),
            (&[("SSH_ASKPASS", "/askpass"), ("DISPLAY", ":0")], false, program()),
            (&[("SSH_ASKPASS", "/askpass"), ("WAYLAND_DISPLAY", "w")], true, Way::Terminal),
            (
                &[("SSH_ASKPASS", "/askpass"), ("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "prefer")],
                true,
                program(),
            ),
            (&[("SSH_ASKPASS", "/askpass"), ("SSH_ASKPASS_REQUIRE", "prefer")], true, Way::Terminal),
            (&[("SSH_ASKPASS", "/askpass"), ("SSH_ASKPASS_REQUIRE", "FORCE")], true, program()),
            (
                &[("SSH_ASKPASS", "/askpass"), ("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "never")],
                false,
                Way::Nobody,
            ),
        ];
        for (variables, terminal, expected) in rows {
            let set = |name: &str| {
                variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Way::choose(&set, terminal, false), expected, "{variables:?}");
        }
        let force = |name: &str| (name == "SSH_ASKPASS_REQUIRE").then(|| "force".to_owned());
        assert_eq!(Way::choose(&force, false, true), Way::Program(DEFAULT_PROGRAM.into()));
        assert_eq!(Way::choose(&force, false, false), Way::Nobody);
    }
}
