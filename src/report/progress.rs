//! A run as it goes on: one status line on a terminal, plain lines elsewhere, JSON for programs.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};

use crate::command::Failure;
use crate::event::Event;
use crate::formation::NodeName;
use crate::report::text::{count, indented, plain};
use crate::report::{json, log, print};
use crate::step::Stage;

/// Lines of an error text that are shown; more of it is in the log of the host.
const LINES: usize = 15;

/// Titles beside the spinner; a terminal has no room for more.
const TITLES: usize = 3;

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One line that moves, on stderr; what failed stays above it.
    Status,
    /// A line for every step that ended, on stderr.
    Lines,
    /// An object for every event, on stdout.
    Json,
    Silent,
}

/// Follows the events of a run; the only writer while it goes on.
pub struct Progress {
    mode: Mode,
    bar: ProgressBar,
    total: usize,
    ended: usize,
    answered: usize,
    stage: Option<Stage>,
    running: BTreeMap<NodeName, String>,
    stopping: bool,
}

impl Progress {
    /// `total` is how many hosts to connect to, or steps to do; `what` is said until the first event.
    pub fn new(mode: Mode, total: usize, what: &str) -> Progress {
        let bar = match mode {
            Mode::Status => ProgressBar::new_spinner(),
            Mode::Lines | Mode::Json | Mode::Silent => ProgressBar::hidden(),
        };
        if mode == Mode::Status {
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a fixed text"),
            );
            bar.set_message(what.to_owned());
        }
        Progress {
            mode,
            bar,
            total,
            ended: 0,
            answered: 0,
            stage: None,
            running: BTreeMap::new(),
            stopping: false,
        }
    }

    pub fn receive(&mut self, event: &Event) {
        if let Event::Stopping = event
            && std::mem::replace(&mut self.stopping, true)
        {
            return;
        }
        self.follow(event);
        match self.mode {
            Mode::Json => print(&json::event(event)),
            Mode::Lines => log(&line(event)),
            Mode::Status => {
                if let Event::Noted { .. }
                | Event::StepFailed { .. }
                | Event::StepSkipped { .. }
                | Event::Stopping = event
                {
                    self.bar.println(line(event).trim_end());
                }
                self.bar.set_message(self.status());
            }
            Mode::Silent => {
                // Whom a command trusts for the first time is never left out.
                if let Event::Noted { .. } = event {
                    log(&line(event));
                }
            }
        }
    }

    /// Moves the spinner.
    pub fn tick(&self) {
        self.bar.tick();
    }

    /// Leaves nothing of the status line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn follow(&mut self, event: &Event) {
        match event {
            Event::Connected { .. } => self.ended += 1,
            Event::Answered { .. } => self.answered += 1,
            Event::StageStarted { stage, .. } => self.stage = Some(*stage),
            Event::StepStarted { node, title, .. } => {
                self.running.insert(node.clone(), title.clone());
            }
            Event::StepDone { node, .. } | Event::StepFailed { node, .. } => {
                self.ended += 1;
                self.running.remove(node);
            }
            Event::StepSkipped { .. } => self.ended += 1,
            Event::Noted { .. } | Event::Stopping | Event::Finished { .. } => {}
        }
    }

    fn status(&self) -> String {
        let Some(stage) = self.stage else {
            return match self.ended < self.total {
                true => format!("connecting {}/{}", self.ended, self.total),
                false => format!("waiting for {}", count(self.total.saturating_sub(self.answered), "host")),
            };
        };
        let titles: Vec<String> = self
            .running
            .iter()
            .take(TITLES)
            .map(|(node, title)| format!("{node}: {}", plain(title)))
            .collect();
        let more = match self.running.len().saturating_sub(TITLES) {
            0 => String::new(),
            more => format!("; +{more}"),
        };
        let stopping = if self.stopping { " stopping" } else { "" };
        format!("{}{stopping} {}/{}  {}{more}", stage.as_str(), self.ended, self.total, titles.join("; "))
    }
}

/// What an event adds to a log; nothing for what only the status line shows.
pub fn line(event: &Event) -> String {
    match event {
        Event::Connected { node, seconds, failure: Some(failure) } => {
            format!("{} {node}: unreachable: {}\n", at(*seconds), plain(&failure.cause()))
        }
        Event::Connected { failure: None, .. } | Event::Answered { .. } | Event::StepStarted { .. } => {
            String::new()
        }
        Event::Noted { node, text } => format!("{node}: {}\n", plain(text)),
        Event::StageStarted { stage, seconds } => format!("{} {}\n", at(*seconds), stage.as_str()),
        Event::StepDone { node, title, seconds, took, .. } => {
            format!("{} {node}: {} ({took:.1}s)\n", at(*seconds), plain(title))
        }
        Event::StepFailed { node, title, failure, seconds, .. } => {
            format!("{} {node}: FAILED: {}\n{}", at(*seconds), plain(title), failed(failure))
        }
        Event::StepSkipped { node, title, because, .. } => {
            format!("{:9} {node}: skipped: {} ({})\n", "", plain(title), plain(because))
        }
        Event::Stopping => {
            "stopping: running steps finish, no new one starts; once more drops the connections\n".to_owned()
        }
        Event::Finished { seconds } => format!("{} finished\n", at(*seconds)),
    }
}

fn at(seconds: f64) -> String {
    format!("[{seconds:>6.1}s]")
}

/// The cause first, as it is mostly the only line that matters; then what else was said.
fn failed(failure: &Failure) -> String {
    let cause = plain(&failure.cause());
    let rest = match failure {
        Failure::Refused { stderr, .. } => plain(stderr),
        Failure::Unreachable { hint, .. } if !hint.is_empty() => format!("hint: {}", plain(hint)),
        Failure::Unreachable { .. } | Failure::Lost { .. } | Failure::TimedOut { .. } => String::new(),
    };
    let rest: Vec<&str> =
        rest.lines().filter(|line| !line.trim().is_empty() && line.trim() != cause).collect();
    let shown = rest[..rest.len().min(LINES)].join("\n");
    let more = match rest.len().saturating_sub(LINES) {
        0 => String::new(),
        more => format!("{:14}({more} more)\n", ""),
    };
    format!("{}{}{more}", indented(&cause, 10), indented(&shown, 14))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Risk;

    #[test]
    fn a_step_that_ends_is_a_line() {
        let done = Event::StepDone {
            node: "w1a".into(),
            stage: Stage::Prepare,
            title: "initdb /data".into(),
            risk: Risk::Safe,
            seconds: 3.21,
            took: 0.94,
        };
        assert_eq!(line(&done), "[   3.2s] w1a: initdb /data (0.9s)\n");
    }

    #[test]
    fn the_cause_of_a_failure_comes_first() {
        let stderr = format!("waiting\x1b[0m\nFATAL:  no disk\n{}", "more\n".repeat(20));
        let failed = Event::StepFailed {
            node: "w1a".into(),
            stage: Stage::Prepare,
            title: "start".into(),
            failure: Failure::Refused { status: 1, stderr },
            seconds: 12.0,
        };
        let more = format!("{:14}more\n", "").repeat(14);
        let expected = format!(
            "[  12.0s] w1a: FAILED: start\n          FATAL:  no disk\n{:14}waiting\u{fffd}[0m\n{more}{:14}(6 more)\n",
            "", ""
        );
        assert_eq!(line(&failed), expected);
    }

    #[test]
    fn the_status_line_names_what_runs() {
        let mut progress = Progress::new(Mode::Silent, 9, "");
        progress.receive(&Event::StageStarted { stage: Stage::Prepare, seconds: 0.0 });
        for node in ["a", "b", "c", "d"] {
            let title = "initdb".to_owned();
            let event = Event::StepStarted { node: node.into(), stage: Stage::Prepare, title, seconds: 0.0 };
            progress.receive(&event);
        }
        assert_eq!(progress.status(), "prepare 0/9  a: initdb; b: initdb; c: initdb; +1");
    }
}
