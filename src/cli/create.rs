//! `muster create`: the command line of `pg_autoctl create` for hosts without an inventory.
//!
//! It becomes the text of an inventory, and from there on everything is as with one.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::way::connection;
use super::{Options, apply};
use crate::create::inventory::boolean;
use crate::create::options::of;
use crate::create::{Given, Host, Inventory, Kind, Means, Origin, Row, inventory};
use crate::error::{Exit, Problem};
use crate::formation::Monitor;
use crate::plan::Goal;
use crate::report;
use crate::secrets::folder::Env;
use crate::secrets::kept;
use crate::ssh::config;

/// What was asked for; the environment is not looked at yet.
#[derive(Debug)]
pub(super) struct Arguments {
    kind: Kind,
    given: Vec<Given>,
    hosts: Vec<String>,
    print_inventory: bool,
    plan: bool,
    run: apply::Consent,
    /// An inventory on the command line; `MUSTER_INVENTORY` is for other commands.
    is_with_inventory: bool,
}

impl Arguments {
    pub(super) fn changes(&self) -> bool {
        !self.print_inventory && !self.plan && self.run.changes()
    }
}

/// `create`'s own options beside pg_autoctl's.
const PRINT: &str = "print-inventory";
const PLAN: &str = "plan";
const HOSTS: &str = "HOST";

/// Options of every command that mean nothing without an inventory.
const INVENTORY: &str = "inventory";
const OF_INVENTORIES: [&str; 6] =
    [INVENTORY, "limit", "vault_password_file", "vault_id", "ask_vault_pass", "age_identity"];

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let hidden = Options::augment_args(Command::new(""));
        let hidden = hidden.get_arguments().filter(|arg| OF_INVENTORIES.contains(&arg.get_id().as_str()));
        let command = command.subcommand_required(true).args(hidden.map(|arg| arg.clone().hide(true)));
        Kind::ALL.iter().fold(command, |command, kind| command.subcommand(subcommand(*kind)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn subcommand(kind: Kind) -> Command {
    let hosts = Arg::new(HOSTS)
        .required(true)
        .num_args(1..)
        .value_name("[USER@]HOST[:PORT]")
        .help("As ssh knows it; the others of several become standbys of the first");
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let command = apply::Consent::augment_args(Command::new(kind.as_str()).about(kind.about()));
    // pg_autoctl's -D is the data directory.
    let command = command.mut_arg("diff", |arg| arg.short(None));
    let command = of(kind).fold(command, |command, row| command.arg(argument(row)));
    command
        .arg(switch(PRINT, "Write the inventory that this amounts to, and do nothing else"))
        .arg(switch(PLAN, "Show the plan and change nothing: the same as --check"))
        .arg(hosts)
}

fn argument(row: &'static Row) -> Arg {
    let help = match row.env {
        Some(env) => format!("{} [env: {env}]", row.doc),
        None => row.doc.to_owned(),
    };
    let arg = Arg::new(row.name).long(row.name).help(help).hide(matches!(row.means, Means::Refused { .. }));
    let arg = match row.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match row.means.takes_value() {
        true => arg.action(ArgAction::Set).value_name("VALUE"),
        false => arg.action(ArgAction::SetTrue),
    }
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (name, matches) =
            matches.subcommand().ok_or_else(|| Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        let kind = kind.ok_or_else(|| Error::new(clap::error::ErrorKind::InvalidSubcommand))?;
        let given = of(kind).filter_map(|row| {
            let value = match row.means.takes_value() {
                true => matches.get_one::<String>(row.name)?.clone(),
                false => matches.get_flag(row.name).then(String::new)?,
            };
            Some(Given { row, value, origin: Origin::CommandLine })
        });
        Ok(Arguments {
            kind,
            given: given.collect(),
            hosts: matches.get_many::<String>(HOSTS).into_iter().flatten().cloned().collect(),
            print_inventory: matches.get_flag(PRINT),
            plan: matches.get_flag(PLAN),
            run: apply::Consent::from_arg_matches(matches)?,
            is_with_inventory: matches.value_source(INVENTORY) == Some(ValueSource::CommandLine),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    if arguments.is_with_inventory {
        let problem = Problem::new("create makes its own inventory, and takes none");
        return Err(vec![problem.hint("leave -i out; with an inventory it is `muster apply`")]);
    }
    options.not_limited("create is about the hosts that it names")?;
    let made = made(arguments, &connection(options, None))?;
    let formation = crate::inventory::parse("inventory", &made.complete, Path::new(""));
    let mut formation = formation.map_err(|problems| {
        problems.into_iter().map(|problem| made.words.blame(problem)).collect::<Vec<_>>()
    })?;
    if let Monitor::External(uri) = &mut formation.monitor {
        uri.given_as = made.words.monitor();
    }
    for note in &made.notes {
        report::log(&format!("note: {note}\n"));
    }
    if arguments.print_inventory {
        report::print(&made.text);
        return Ok(Exit::Ok);
    }
    if !made.missing.is_empty() {
        let what = format!("--auth needs {}, and a password has no option", made.missing.join(", "));
        let hint = "give the monitor's URI with its password in PG_AUTOCTL_MONITOR; or write the inventory with \
                    --print-inventory, give it there, and go on with `muster -i FILE apply`";
        return Err(vec![Problem::new(what).hint(hint)]);
    }
    let formation = kept::made(kept::read(formation, &Env::of_this_process())?);
    let formation = options.accept(formation)?;
    match arguments.plan {
        true => Ok(apply::check(options, &arguments.run, &formation, &Goal::ROLLOUT, None).await?.exit),
        false => {
            Ok(apply::carry_out(options, &arguments.run, &formation, None, &|| Goal::ROLLOUT).await?.exit)
        }
    }
}

/// As ssh reads a host, with its user and its port.
fn host(text: &str) -> Result<Host, Problem> {
    if text.starts_with('/') {
        let problem = Problem::new(format!("HOST `{}` is a path", text.escape_debug()));
        return Err(problem.hint("the data directory is given by --pgdata"));
    }
    let found = config::host_of_line(text).map_err(|why| {
        let problem = Problem::new(format!("HOST {}", why.message));
        problem.hint(
            "write [USER@]HOST[:PORT] or ssh://USER@HOST:PORT, with a name that ssh knows or an address",
        )
    })?;
    Host::new(&found.host, found.user, found.port)
}

/// The command line goes before the environment, as with pg_autoctl.
fn made(arguments: &Arguments, connection: &[(&str, String)]) -> Result<Inventory, Vec<Problem>> {
    let (hosts, mut problems) =
        arguments.hosts.iter().fold((Vec::new(), Vec::new()), |(mut hosts, mut wrong), text| {
            match host(text) {
                Ok(host) => hosts.push(host),
                Err(problem) => wrong.push(problem),
            }
            (hosts, wrong)
        });
    let mut given = Vec::new();
    for row in of(arguments.kind) {
        match arguments.given.iter().find(|given| given.row.name == row.name) {
            Some(on_line) => given.push(on_line.clone()),
            None => match from_environment(row) {
                Ok(from) => given.extend(from),
                Err(problem) => problems.push(problem),
            },
        }
    }
    match inventory(arguments.kind, &given, &hosts, connection) {
        Ok(made) if problems.is_empty() => Ok(made),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

fn from_environment(row: &'static Row) -> Result<Option<Given>, Problem> {
    let Some(name) = row.env else { return Ok(None) };
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let value = value.into_string().map_err(|_| Problem::new(format!("{name} is not UTF-8")))?;
    if let Means::Flag(_) = row.means {
        return match boolean(&value) {
            Some(true) => Ok(Some(Given { row, value: String::new(), origin: Origin::Environment })),
            Some(false) => Ok(None),
            None => {
                Err(Problem::new(format!("{name} is neither true nor false")).hint("write true or false"))
            }
        };
    }
    Ok(Some(Given { row, value, origin: Origin::Environment }))
}
