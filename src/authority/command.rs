//! `ca_command`: a program that signs, with a key that is never here.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::ToSpan as _;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, KeyPair,
    PublicKeyData as _,
};
use tokio::sync::Semaphore;

use crate::formation::{CaCommand, NodeName, Secret};
use crate::issue::{Issue, Issued};
use crate::program::{self, Errors, PATIENCE, Silent};
use crate::resource::issued::{Asked, checked};
use crate::resource::tls::RENEW_DAYS;

/// Most that run side by side: each may be a program with a connection of its own.
const SIDE_BY_SIDE: usize = 4;

/// What signs by asking.
pub struct Asking {
    command: CaCommand,
    /// As PEM; the first one is the authority.
    trusted: Vec<String>,
    turns: Arc<Semaphore>,
}

impl Asking {
    pub(super) fn new(command: &CaCommand, trusted: &[String]) -> Asking {
        let turns = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        Asking { command: command.clone(), trusted: trusted.to_vec(), turns }
    }

    /// Has a request signed, and looks at what comes back.
    pub(super) async fn sign(&self, node: &NodeName, issue: &Issue, request: &str) -> Result<Issued, String> {
        let (request, key) = match request.trim() {
            "none" => made(issue).map_err(|why| format!("a key cannot be made here: {why}"))?,
            _ => (request.to_owned(), None),
        };
        let asked = CertificateSigningRequestParams::from_pem(&request)
            .map_err(|why| format!("what the host asks to be signed cannot be read: {why}"))?;
        let _turn = self.turns.clone().acquire_owned().await.map_err(|why| why.to_string())?;
        let command = self.prepared(node, issue);
        let said = tokio::task::spawn_blocking(move || run(command, &request)).await;
        let answer = said.map_err(|why| format!("`ca_command` was given up: {why}"))??;
        let today = issue.not_before.saturating_add(1.days());
        let asked = Asked {
            key: asked.public_key.der_bytes(),
            names: &issue.names,
            today,
            least_end: today.saturating_add(RENEW_DAYS.days()),
        };
        let certificate = checked(&answer.text, &asked, &self.trusted).map_err(|why| answer.told(&why))?;
        Ok(Issued { certificate, key })
    }

    /// Values come as variables: none is pasted into the line.
    fn prepared(&self, node: &NodeName, issue: &Issue) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command.line]);
        if !self.command.base.is_empty() {
            command.current_dir(Path::new(&self.command.base));
        }
        let days = issue.not_before.until(issue.not_after).map_or(0, |span| span.get_days()) - 1;
        command
            .env("MUSTER_NODE", &node.0)
            .env("MUSTER_COMMON_NAME", issue.common_name())
            .env("MUSTER_NAMES", issue.names.join(","))
            .env("MUSTER_DAYS", days.to_string());
        command
    }
}

/// What a program that ended well has said.
struct Answer {
    text: String,
    errors: Vec<String>,
}

impl Answer {
    fn told(&self, why: &str) -> String {
        format!("what `ca_command` has signed is not taken: {why}{}", words(&self.errors))
    }
}

fn run(mut command: Command, request: &str) -> Result<Answer, String> {
    let said = program::run_with(&mut command, request.as_bytes(), PATIENCE, Errors::Kept);
    let said = said.map_err(|why| match why {
        Silent::CannotStart(why) => format!("`ca_command` cannot be started: {why}"),
        Silent::Failed(why) => format!("`ca_command` {why}"),
    })?;
    let errors = said.last_errors();
    if !said.status.success() {
        return Err(format!("`ca_command` failed: {}{}", said.status, words(&errors)));
    }
    match std::str::from_utf8(&said.stdout) {
        Ok(text) => Ok(Answer { text: text.to_owned(), errors }),
        Err(_) => Err(format!("what `ca_command` printed is not UTF-8{}", words(&errors))),
    }
}

/// Its last lines on standard error, on one line without what steers a terminal.
fn words(errors: &[String]) -> String {
    let plain =
        |line: &String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    match errors {
        [] => String::new(),
        lines => format!("; it said: {}", lines.iter().map(plain).collect::<Vec<_>>().join("; ")),
    }
}

/// A key and its request, for a host that can make neither.
fn made(issue: &Issue) -> Result<(String, Option<Secret>), rcgen::Error> {
    let pair = KeyPair::generate()?;
    let mut params = CertificateParams::new(issue.names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, issue.common_name());
    let request = params.serialize_request(&pair)?.pem()?;
    Ok((request, Some(Secret::new(pair.serialize_pem()))))
}

#[cfg(test)]
mod tests;
