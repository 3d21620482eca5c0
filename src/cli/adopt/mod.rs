//! `muster adopt`: read a formation that pg_autoctl made, and write its inventory.

mod files;
mod look;

use std::path::{Path, PathBuf};

use clap::Args;
use tokio::sync::watch;

use super::screen::Screen;
use super::way::connection;
use super::{Options, today};
use crate::adopt::write::{About, Written};
use crate::adopt::{complete, write};
use crate::error::{Exit, Problem};
use crate::execute::Stop;
use crate::facts::Facts;
use crate::formation::{Monitor, Server};
use crate::inventory;
use crate::plan::plan;
use crate::report;
use crate::report::text::count;

use files::Replace;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The monitor: a host as ssh knows it, `[USER@]HOST[:PORT]`, or the URI of one that muster is not to look after.
    #[arg(long, value_name = "HOST|URI")]
    monitor: String,
    /// The user who owns the data directories on the hosts.
    #[arg(long, value_name = "USER", default_value = "postgres")]
    become_user: String,
    /// The formation, where the monitor has more than one.
    #[arg(long, value_name = "NAME")]
    formation: Option<String>,
    /// Where the inventory goes, with a folder `secrets` beside it for passwords; otherwise to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Write the inventory without the nodes that could not be seen.
    #[arg(long)]
    partial: bool,
}

type Problems = Vec<Problem>;

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Problems> {
    if let Some(path) = arguments.output.as_deref().filter(|path| path.exists() && !arguments.force) {
        let problem = Problem::new(format!("{} is there already", path.display()));
        return Err(vec![problem.hint("name another file, or say --force")]);
    }
    let (_stop, never) = watch::channel(Stop::Go);
    let screen = Screen::open(options.reading(), 0, "connecting", never);
    let found = look::around(options, arguments, screen.events()).await;
    screen.close().await;
    let look::Found { mut formation, facts, rows, left_out, is_away } = match found {
        Ok(found) => found,
        Err(miss) => {
            report::log(&format!("{}\n", miss.problem));
            return Ok(miss.exit);
        }
    };
    let is_out = |server: &Server| left_out.contains_key(&server.name);
    let no_monitor = matches!(&formation.monitor, Monitor::Managed(server) if is_out(server));
    if !left_out.is_empty() && (!arguments.partial || formation.nodes.is_empty() || no_monitor) {
        for (name, why) in &left_out {
            report::log(&format!("error: {name}: {why}\n"));
        }
        report::log(
            "hint: nothing was written; with --partial the inventory is written without these nodes\n",
        );
        return Ok(if is_away { Exit::Unreachable } else { Exit::Failed });
    }
    let notes = complete::complete(&mut formation, &facts);
    let about = About {
        monitor: shown(&arguments.monitor),
        today: today(),
        connection: connection(options, look::user(arguments)),
        left_out: left_out.clone(),
    };
    let written = write::inventory(&formation, rows.as_ref(), &notes, &about);
    let replace = if arguments.force { Replace::Yes } else { Replace::No };
    files::put(arguments.output.as_deref(), replace, &written)?;
    for (name, notes) in &notes.odd {
        notes.iter().for_each(|note| report::log(&format!("note: {name}: {note}\n")));
    }
    check(arguments, &written, &facts)?;
    Ok(match (left_out.is_empty(), is_away) {
        (true, _) => Exit::Ok,
        (false, true) => Exit::Unreachable,
        (false, false) => Exit::Failed,
    })
}

/// The monitor as it may be shown.
fn shown(monitor: &str) -> String {
    match inventory::monitor_uri(monitor) {
        Ok(uri) => uri.shown(),
        Err(_) => monitor.to_owned(),
    }
}

/// Reads back what was written, and says what a plan would make of it.
fn check(arguments: &Arguments, written: &Written, facts: &Facts) -> Result<(), Problems> {
    let (file, formation) = match &arguments.output {
        Some(path) => (path.display().to_string(), inventory::load(path)?),
        None => ("-".to_owned(), inventory::parse("the inventory", &written.text, Path::new("."))?),
    };
    for warning in &formation.warnings {
        report::log(&format!("warning: {warning}\n"));
    }
    let made = plan(&formation, facts, today()).map_err(|problem| vec![problem])?;
    let hosts = count(formation.servers().count(), "server");
    let what = match (made.is_empty(), made.blocked.is_empty()) {
        (true, true) => "nothing to do".to_owned(),
        (true, false) => {
            let blocked: Vec<String> =
                made.blocked.iter().map(|(name, why)| format!("\n  {name} is left alone: {why}")).collect();
            format!("nothing to do, but{}", blocked.concat())
        }
        (false, _) => {
            let steps: Vec<String> = made
                .steps()
                .map(|(_, node, step)| format!("\n  {node}: {} - {}", step.title(), step.because))
                .collect();
            format!("{}{}", count(made.steps().count(), "step"), steps.concat())
        }
    };
    let place = if file == "-" { String::new() } else { format!(" in {file}") };
    report::log(&format!("{hosts} adopted{place}; a plan would say: {what}\n"));
    Ok(())
}
