//! `muster psql`: an operator's own SQL, on servers side by side.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;

use super::answers::Question;
use super::{Options, answers};
use crate::command::Command;
use crate::error::{Exit, Problem};
use crate::inventory::Need;
use crate::resource::psql::psql;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns: `coordinator[0]`, `workers`, `all:!mon`.
    pattern: String,
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
    let formation = options.load_for(Need::Login)?;
    let servers = options.select(&formation, &arguments.pattern)?;
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
                return Err(problem.hint("give it with -c SQL, or with --file FILE"));
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
