//! `muster ssh`: a shell on one host, by the way that the inventory says.

use std::io::IsTerminal as _;

use clap::Args;

use super::{Options, session};
use crate::error::{Exit, Problem};
use crate::report;
use crate::ssh::{Screen, Talk};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// One host, by its name or by a pattern that selects it alone.
    node: String,
    /// A line for the login shell there, as with ssh; words are joined by spaces. Without it the shell itself.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// As the user that the inventory says owns the data directory (`become_user`).
    #[arg(short, long)]
    r#become: bool,
    /// As this user, e.g. root.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let hosts = options.reach(&arguments.node)?;
    let [host] = hosts.as_slice() else {
        let names: Vec<&str> = hosts.iter().map(|host| host.node.0.as_str()).collect();
        let problem =
            Problem::new(format!("`{}` selects {} hosts: {}", arguments.node, hosts.len(), names.join(", ")));
        return Err(vec![problem.hint("name one; `muster exec` runs a command on several")]);
    };
    if options.json {
        let problem = Problem::new("--json is not for a shell");
        return Err(vec![problem.hint("`muster exec` runs a command, and prints the answer as JSON")]);
    }
    let line = (!arguments.command.is_empty()).then(|| arguments.command.join(" "));
    let user = arguments.become_user.as_ref().or(arguments.r#become.then_some(&host.os_user));
    let talk = match (user, line.clone()) {
        (Some(user), line) => Talk::become_user(user, line),
        (None, Some(line)) => Talk::Line(line),
        (None, None) => Talk::Shell,
    };
    let screen = if std::io::stdin().is_terminal() { Screen::Terminal } else { Screen::Pipes };
    let ended = session::hold(options, &host.node, &host.host, &talk, screen).await;
    match (&ended, line) {
        // What a shell ended with is the status of whatever was typed last.
        (Ok(_), None) => return Ok(Exit::Ok),
        (Ok(status @ 1..), Some(_)) => report::log(&format!("{}: status {status}\n", host.node)),
        (Ok(0) | Err(_), _) => {}
    }
    Ok(session::exit(ended))
}
