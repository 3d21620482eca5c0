//! `muster version`: every version on every host.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::answers::Question;
use super::{Options, answers, exit};
use crate::command::Failure;
use crate::error::{Exit, Problem};
use crate::formation::NodeName;
use crate::inventory::Need;
use crate::report;
use crate::report::version::{self, Answer};
use crate::resource::installed;
use crate::ssh::Captured;

/// muster's own.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Bytes; an answer has some hundreds.
const MOST: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns.
    #[arg(default_value = "all")]
    pattern: String,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load_for(Need::Login)?;
    let servers = options.select(&formation, &arguments.pattern)?;
    let questions = servers.iter().map(|server| Question {
        name: &server.name,
        host: &server.host,
        command: installed::probe(&formation, server),
    });
    let (_, answers) = answers::of_each(options, questions.collect()).await;
    let hosts: Vec<(NodeName, Answer)> =
        answers.into_iter().map(|answer| (answer.node, said(answer.ended))).collect();
    report::print(&match options.json {
        true => {
            let all: BTreeMap<_, _> = hosts.iter().map(|(name, said)| (name, said)).collect();
            report::json::result("versions", &all, &[("muster", json!(OWN))])
        }
        false => version::text(OWN, &hosts, options.paint()),
    });
    let unreadable = hosts.iter().any(|(_, said)| matches!(said, Answer::Unreadable(_)));
    let failures = hosts.iter().filter_map(|(_, said)| match said {
        Answer::Failure(failure) => Some(failure),
        Answer::Installed(_) | Answer::Unreadable(_) => None,
    });
    Ok(if unreadable { Exit::Failed } else { exit::of_failures(failures) })
}

fn said(ended: Result<Captured, Failure>) -> Answer {
    let (status, stdout, stderr) = match ended {
        Ok(Captured { status, stdout, stderr }) => (status, stdout, stderr),
        Err(failure) => return Answer::Failure(failure),
    };
    if status != 0 {
        return Answer::Failure(Failure::Refused { status, stderr });
    }
    if stdout.len() > MOST {
        return Answer::Unreadable(format!("the answer has {} bytes", stdout.len()));
    }
    let parsed = stdout
        .into_bytes()
        .map_err(|error| error.to_string())
        .and_then(|bytes| installed::parse(&String::from_utf8_lossy(&bytes)));
    parsed.map_or_else(Answer::Unreadable, |installed| Answer::Installed(Box::new(installed)))
}
