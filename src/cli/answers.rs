//! An operator's own command on many hosts: run side by side, and what hosts say alike is shown once.

use std::io::{self, IsTerminal as _, Read};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::screen::Screen;
use super::{Options, exit};
use crate::command::{Command, Failure};
use crate::error::{Exit, Problem};
use crate::execute::Stop;
use crate::fleet::{Answer, Fleet};
use crate::formation::{Host, NodeName};
use crate::report::answers::{self as text, EMBEDDED, Many};
use crate::report::progress::Mode;
use crate::report::{self, Bytes, json};
use crate::ssh::{Captured, Spool};

/// A host and what to run there.
pub(super) struct Question<'h> {
    pub(super) name: &'h NodeName,
    pub(super) host: &'h Host,
    pub(super) command: Command,
}

/// Connects, runs, leaves. How long each connection took, and what each host answered, in the order of the questions.
pub(super) async fn of_each(options: &Options, questions: Vec<Question<'_>>) -> (Vec<Duration>, Vec<Answer>) {
    // Where no line can move, the result says all that there is to say.
    let mode = match options.reading() {
        Mode::Status => Mode::Status,
        Mode::Lines | Mode::Json | Mode::Silent => Mode::Silent,
    };
    let (_stop, never) = watch::channel(Stop::Go);
    let screen = Screen::open(mode, questions.len(), "connecting", never);
    let hosts = questions.iter().map(|question| (question.name, question.host));
    let fleet = Fleet::connect(hosts, options.transport(), options.forks(), screen.events()).await;
    let commands = questions.into_iter().map(|question| (question.name.clone(), question.command)).collect();
    let answers = fleet.run_each(commands, screen.events()).await;
    screen.close().await;
    let connected = answers.iter().map(|answer| fleet.took_to_connect(&answer.node)).collect();
    fleet.close().await;
    (connected, answers)
}

/// Shows the answers and says how it ended; an error is this machine's disk.
pub(super) fn say(
    options: &Options,
    kind: &str,
    (_, answers): (Vec<Duration>, Vec<Answer>),
) -> Result<Exit, Problem> {
    let wrong: Vec<(NodeName, String)> =
        answers.iter().filter_map(|answer| Some((answer.node.clone(), wrong(answer)?))).collect();
    let failed =
        answers.iter().any(|answer| answer.ended.as_ref().is_ok_and(|captured| captured.status != 0));
    let failures = answers.iter().filter_map(|answer| answer.ended.as_ref().err());
    let exit = if failed { Exit::Failed } else { exit::of_failures(failures) };
    let all = answers.len();
    let shown = match options.json {
        true => objects(kind, answers, exit),
        false => texts(options, answers),
    };
    shown.map_err(|error| {
        let problem = Problem::new(format!("the output cannot be kept on this machine: {error}"));
        problem.hint("TMPDIR names a folder with more room")
    })?;
    // Of one host that could not be asked everything is said already.
    if !options.json && !wrong.is_empty() && (all > 1 || failed) {
        let wrong: Vec<(&NodeName, String)> = wrong.iter().map(|(name, word)| (name, word.clone())).collect();
        report::log(&text::summary(all, &wrong));
    }
    Ok(exit)
}

fn wrong(answer: &Answer) -> Option<String> {
    match &answer.ended {
        Ok(captured) if captured.status == 0 => None,
        Ok(captured) => Some(format!("status {}", captured.status)),
        Err(Failure::Unreachable { .. }) => Some("unreachable".to_owned()),
        Err(Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. }) => {
            Some("failed".to_owned())
        }
    }
}

/// Hosts that said the same and ended alike.
struct Alike {
    hosts: Vec<NodeName>,
    status: u32,
    stdout: Spool,
}

fn texts(options: &Options, answers: Vec<Answer>) -> io::Result<()> {
    let many = if answers.len() > 1 { Many::Yes } else { Many::No };
    let bytes = if io::stdout().is_terminal() { Bytes::Plain } else { Bytes::AsTheyAre };
    let (mut groups, mut errors, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for Answer { node, ended, .. } in answers {
        match ended {
            Ok(Captured { status, stdout, stderr }) => {
                if !stderr.is_empty() {
                    add_error(&mut errors, &node, stderr);
                }
                add(&mut groups, node, status, stdout)?;
            }
            Err(failure) => failures.push((node, failure)),
        }
    }
    for Alike { hosts, status, mut stdout } in groups {
        let (length, hosts) = (stdout.len(), hosts.iter().collect::<Vec<_>>());
        if many == Many::Yes {
            report::print(&text::header(&hosts, status, length, options.paint()));
        }
        let last = report::copy(stdout.reader()?, bytes)?;
        if many == Many::Yes && last.is_some_and(|last| last != b'\n') {
            report::print("\n");
        }
    }
    for (stderr, hosts) in errors {
        report::log(&text::stderr(&hosts.iter().collect::<Vec<_>>(), &stderr, many));
    }
    for (node, failure) in &failures {
        report::log(&text::failure(node, failure));
    }
    Ok(())
}

/// Puts an answer to those that are alike; one that was said before is not kept twice.
fn add(groups: &mut Vec<Alike>, node: NodeName, status: u32, mut stdout: Spool) -> io::Result<()> {
    for group in groups.iter_mut() {
        if group.status == status && is_same(&mut group.stdout, &mut stdout)? {
            group.hosts.push(node);
            return Ok(());
        }
    }
    groups.push(Alike { hosts: vec![node], status, stdout });
    Ok(())
}

fn add_error(errors: &mut Vec<(String, Vec<NodeName>)>, node: &NodeName, stderr: String) {
    match errors.iter_mut().find(|(said, _)| *said == stderr) {
        Some((_, hosts)) => hosts.push(node.clone()),
        None => errors.push((stderr, vec![node.clone()])),
    }
}

/// Byte by byte: it ends at the first difference, and no digest of a gigabyte has to be made.
fn is_same(one: &mut Spool, other: &mut Spool) -> io::Result<bool> {
    const CHUNK: u64 = 64 * 1024;
    if one.len() != other.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (one.reader()?, other.reader()?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(CHUNK).read_to_end(&mut left)?;
        other.by_ref().take(CHUNK).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

/// One object, written host by host, so that no more than one host's output is in memory.
fn objects(kind: &str, answers: Vec<Answer>, exit: Exit) -> io::Result<()> {
    report::print(&json::open(kind));
    for (index, Answer { node, took, ended }) in answers.into_iter().enumerate() {
        let value = match ended {
            Ok(Captured { status, mut stdout, stderr }) => {
                let (length, mut beginning) = (stdout.len(), Vec::new());
                stdout.reader()?.take(EMBEDDED as u64).read_to_end(&mut beginning)?;
                text::json(status, took.as_secs_f64(), &beginning, length, &stderr)
            }
            Err(failure) => json!({"status": null, "failure": failure}),
        };
        report::print(&json::member(index, &node.0, &value));
    }
    report::print(&json::close(&[("exit", json!(exit as u8))]));
    Ok(())
}
