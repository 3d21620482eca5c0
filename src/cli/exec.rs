//! `muster exec`: an operator's own command, on hosts side by side.

use clap::Args;

use super::answers::Question;
use super::{Options, answers};
use crate::command::{Command, RunAs};
use crate::error::{Exit, Problem};

/// A shell line is `$1`. What is muster's own choice for its scripts is not the operator's: they expect a home
/// directory and files that others may read. Nothing is left of the standard input but its end.
const LINE: &str =
    "umask 022\ncd -- \"${HOME:-/}\" 2>/dev/null || cd /\nexec sh -c \"$1\" muster </dev/null\n";

/// `$@` are a program and its arguments.
const WORDS: &str = "umask 022\ncd -- \"${HOME:-/}\" 2>/dev/null || cd /\nexec \"$@\" </dev/null\n";

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns: `all`, `w1a:mon`, `workers:!readers`, `w?a`, `~^w`, `workers[0]`.
    pattern: String,
    /// One word is a line for a shell on the host; several are a program and its arguments, and no shell sees them.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
    /// Run as the user that the inventory says owns the data directory (`become_user`).
    #[arg(short, long)]
    r#become: bool,
    /// Run as this user, e.g. root.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,
    /// Give a host up after so long; `command_timeout` of the inventory otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let hosts = options.reach(&arguments.pattern)?;
    let questions = hosts.iter().map(|listed| {
        let run_as = match (&arguments.become_user, arguments.r#become) {
            (Some(user), _) => RunAs::User(user.clone()),
            (None, true) => RunAs::User(listed.os_user.clone()),
            (None, false) => RunAs::Login,
        };
        Question { name: &listed.node, host: &listed.host, command: command(arguments, run_as) }
    });
    let answers = answers::of_each(options, questions.collect()).await;
    answers::say(options, "exec", answers).map_err(|problem| vec![problem])
}

fn command(arguments: &Arguments, run_as: RunAs) -> Command {
    let script = match arguments.command.len() {
        1 => LINE,
        _ => WORDS,
    };
    let command = Command::new(run_as, script).args(arguments.command.clone());
    Command { timeout: arguments.timeout, ..command }
}
