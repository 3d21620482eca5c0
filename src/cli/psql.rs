//! `muster psql`: an operator's own SQL, on servers side by side; or psql itself, on one of them.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;

use super::answers::Question;
use super::{Options, answers, session, writable};
use crate::command::Command;
use crate::console::raw;
use crate::error::{Exit, Problem};
use crate::inventory::Need;
use crate::resource::psql::{psql, talk};
use crate::ssh::{Screen, Talk};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns: `coordinator[0]`, `workers`, `all:!mon`. Without it the node that takes writes.
    pattern: Option<String>,
    /// Of those the nodes that take writes now, as the monitor says.
    #[arg(long)]
    primary: bool,
    /// The node of this group that takes writes; without a pattern group 0, the coordinator's.
    #[arg(long, value_name = "N", conflicts_with = "pattern")]
    group: Option<u32>,
    /// SQL or a command of psql's, e.g. '\d'; may be repeated.
    #[arg(short, long, value_name = "SQL")]
    command: Vec<String>,
    /// Then what is in this file of this machine; - is the standard input, and so is nothing at all.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The database; otherwise the formation's, and on the monitor its own.
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
    /// Rows alone: no heading, no alignment, | between columns.
    #[arg(short, long)]
    tuples_only: bool,
    /// Rows as CSV.
    #[arg(long)]
    csv: bool,
    /// Give a host up after so long; `command_timeout` of the inventory otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = match arguments.primary || arguments.pattern.is_none() {
        true => options.load_to_ask()?,
        false => options.load_for(Need::Login)?,
    };
    let servers = match &arguments.pattern {
        Some(pattern) => {
            let servers = options.select(&formation, pattern)?;
            if arguments.primary { writable::among(options, &formation, &servers).await? } else { servers }
        }
        None => vec![writable::of_group(options, &formation, arguments.group.unwrap_or(0)).await?],
    };
    if let ([server], true) = (servers.as_slice(), arguments.talks(options)) {
        let command = talk(&formation, server, arguments.dbname.as_deref(), &arguments.options());
        let talk = Talk::Script(command);
        let ended = session::hold(options, &server.name, &server.host, &talk, Screen::Terminal).await;
        return Ok(session::exit(ended));
    }
    let sql = arguments.sql().map_err(|problem| vec![problem])?;
    let questions = servers.iter().map(|server| {
        let command = psql(&formation, server, arguments.dbname.as_deref(), &arguments.options(), &sql);
        let command = Command { timeout: arguments.timeout, ..command };
        Question { name: &server.name, host: &server.host, command }
    });
    let answers = answers::of_each(options, questions.collect()).await;
    answers::say(options, "psql", answers).map_err(|problem| vec![problem])
}

impl Arguments {
    /// Whether somebody wants to talk to psql themselves.
    fn talks(&self, options: &Options) -> bool {
        self.command.is_empty() && self.file.is_none() && !options.json && raw::is_interactive()
    }

    /// With rows alone, `INSERT 0 1` is no row.
    fn options(&self) -> Vec<&'static str> {
        [(self.tuples_only, "-Atq"), (self.csv, "--csv"), (self.csv, "-q")]
            .into_iter()
            .filter_map(|(is_asked, option)| is_asked.then_some(option))
            .collect()
    }

    fn sql(&self) -> Result<Vec<u8>, Problem> {
        // Each ends by itself, as with psql -c: the next one is no continuation of it.
        let mut sql: Vec<u8> =
            self.command.iter().flat_map(|sql| format!("{sql}\n;\n").into_bytes()).collect();
        let stdin = PathBuf::from("-");
        let file = match &self.file {
            Some(file) => file,
            None if !self.command.is_empty() => return Ok(sql),
            // As psql does where it is not asked to talk.
            None if !std::io::stdin().is_terminal() => &stdin,
            None => {
                let problem = Problem::new("there is no SQL to run");
                let hint =
                    "give it with -c SQL, or with --file FILE; on a terminal psql itself opens for one host";
                return Err(problem.hint(hint));
            }
        };
        let read = match file.as_os_str() == "-" {
            true => std::io::stdin().lock().read_to_end(&mut sql).map(|_| ()),
            false => std::fs::read(file).map(|text| sql.extend(text)),
        };
        let shown = file.display();
        read.map_err(|error| {
            Problem::new(format!("cannot read {shown}: {}", error.to_string().to_lowercase()))
        })?;
        // No shell can hold it, and no SQL has it.
        if sql.contains(&0) {
            return Err(
                Problem::new(format!("{shown} holds a NUL byte: it is no SQL")).hint("save it as UTF-8")
            );
        }
        Ok(sql)
    }
}
