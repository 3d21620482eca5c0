//! The command line: what can be asked, and one file for each subcommand.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, OnceLock};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bounded;
use crate::command::Failure;
use crate::error::{Exit, Problem};
use crate::formation::{Formation, Host, Listed, NodeName, Roster, Server};
use crate::inventory::{Hosts, Need};
use crate::pattern;
use crate::plan::Goal;
use crate::report;
use crate::report::paint::Paint;
use crate::report::progress::Mode;
use crate::scope::Scope;
use crate::ssh::settings::Jumps;
use crate::ssh::{Credentials, Overrides, Transport};

mod adopt;
mod answers;
mod apply;
mod bound;
mod cert;
mod create;
mod exec;
mod exit;
mod facts;
mod hba;
mod inventory;
mod keyring;
mod lint;
mod lock;
mod log;
mod maintenance;
mod ping;
mod plan;
mod private;
mod psql;
mod reboot;
mod restart;
mod saved;
mod schema;
mod screen;
mod session;
mod show;
mod signals;
mod ssh;
mod ssh_check;
mod ssh_config;
mod status;
mod sudoers;
mod switchover;
mod uri;
mod verify;
mod version;
mod way;
mod writable;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, or nothing to do
  1    wrong command line, inventory or template, or output not written; no host was changed
  2    a host failed, was left alone or is not well, a check failed, or answers were not written
  3    plan --detailed-exitcode: there are changes to make; cert status: a certificate ends soon
  4    a host could not be reached, and nothing else is wrong
  130  stopped by the operator";

/// Brings PostgreSQL hosts into a Citus formation under a pg_auto_failover monitor, over SSH.
#[derive(Parser, Debug)]
#[command(name = "muster", version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Options {
    /// An inventory as Ansible has them: YAML, INI, a folder, a program, `a,b,`. Several: the later one wins.
    #[arg(short, long, global = true, env = "MUSTER_INVENTORY", value_name = "FILE")]
    inventory: Vec<String>,
    /// Only these hosts, as Ansible's patterns: `workers`, `w1a,w1b`, `all:!mon`, `@FILE` with a pattern a line.
    #[arg(short, long, global = true, value_name = "PATTERN")]
    limit: Option<String>,
    /// Commands in flight at a time.
    #[arg(short, long, global = true, default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    forks: u16,
    /// Reach every host through these bastions, the first one first, as ssh -J does.
    #[arg(short = 'J', long, global = true, env = "MUSTER_BASTION", value_name = "[USER@]HOST[:PORT],…")]
    bastion: Option<Jumps>,
    /// Read this ssh_config alone, as ssh -F does; `none` reads none.
    #[arg(short = 'F', long, global = true, value_name = "FILE")]
    ssh_config: Option<String>,
    /// Record the host key of a host that nothing is known of; a key that has changed is refused all the same.
    #[arg(long, global = true)]
    accept_new: bool,
    /// Ask once for the password that the hosts want for a login.
    #[arg(short = 'k', long, global = true)]
    ask_pass: bool,
    /// Ask once for the password that sudo or su wants.
    #[arg(short = 'K', long, global = true)]
    ask_become_pass: bool,
    #[command(flatten)]
    keys: keyring::Keys,
    /// Say on stderr what is going on; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use colours; NO_COLOR turns `auto` off.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
    /// The result as JSON on stdout; apply writes an object a line: events, then the result.
    #[arg(long, global = true)]
    json: bool,
    /// Made when it is first needed: ssh_config is read once a run.
    #[arg(skip)]
    transport: OnceLock<Arc<Transport>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what apply would do; nothing is changed.
    Plan(plan::Arguments),
    /// Do what is still to do, after showing it.
    Apply(apply::Whole),
    /// Show a plan that `plan --out FILE` has saved; no host is asked.
    Show(show::Arguments),
    /// Make a monitor or nodes without an inventory, with the options of pg_autoctl create.
    Create(create::Arguments),
    /// Restart PostgreSQL on one member of a group after the other.
    Restart(restart::Arguments),
    /// Have another node of a group take writes.
    Switchover(switchover::Arguments),
    /// Take hosts out, so that they can be patched or rebooted, and back.
    Maintenance(maintenance::Arguments),
    /// Reboot hosts, one of a group after the other.
    Reboot(reboot::Arguments),
    /// Show the formation as it is.
    Status,
    /// Check that the formation serves: as the monitor, the coordinator and a client see it.
    Verify,
    /// Print the connection strings of the monitor, the formation and its groups.
    Uri(uri::Arguments),
    /// Show which line of each pg_hba.conf answers each connection that the formation needs, and what none answers.
    Hba(hba::Arguments),
    /// Show the certificates of the servers.
    Cert(cert::Arguments),
    /// Show every version on every host.
    Version(version::Arguments),
    /// Show what is seen of each host.
    Facts(facts::Arguments),
    /// Show the way to one host, hop by hop: connected, host key, login, other users.
    SshCheck(ssh_check::Arguments),
    /// Show how ssh would reach a host: ssh_config as muster reads it.
    SshConfig(ssh_config::Arguments),
    /// Show the inventory as Ansible would: every host, group and variable.
    Inventory(inventory::Arguments),
    /// Check the inventory: every mistake, and what is seldom meant. No host is asked.
    Lint(lint::Arguments),
    /// Print a JSON Schema of inventories, by which editors complete and check.
    Schema,
    /// Connect and log in, and change nothing.
    Ping(ping::Arguments),
    /// Run a command on hosts; what they say alike is shown once.
    Exec(exec::Arguments),
    /// Open a shell on one host, or run a line there, on this terminal.
    Ssh(ssh::Arguments),
    /// Run SQL on the servers of hosts, each by its own psql; or open psql on the node that takes writes.
    Psql(psql::Arguments),
    /// Write the inventory of a formation that pg_autoctl made; no host is changed.
    Adopt(adopt::Arguments),
    /// Print what sudo has to allow, as narrow as it can be.
    Sudoers(sudoers::Arguments),
}

/// Runs the command to its end and says how it ended.
pub fn run(arguments: &Arguments) -> Exit {
    let Arguments { options, command } = arguments;
    log::start(options.verbose, options.paint_of(std::io::stderr().is_terminal()) == Paint::Colour);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return wrong(&[Problem::new(format!("cannot start: {error}"))]),
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Plan(arguments) => plan::run(options, arguments).await,
            Command::Apply(arguments) => apply::run(options, arguments).await,
            Command::Show(arguments) => show::run(options, arguments),
            Command::Create(arguments) => create::run(options, arguments).await,
            Command::Restart(arguments) => restart::run(options, arguments).await,
            Command::Switchover(arguments) => switchover::run(options, arguments).await,
            Command::Maintenance(arguments) => maintenance::run(options, arguments).await,
            Command::Reboot(arguments) => reboot::run(options, arguments).await,
            Command::Status => status::run(options).await,
            Command::Verify => verify::run(options).await,
            Command::Uri(arguments) => uri::run(options, arguments).await,
            Command::Hba(arguments) => hba::run(options, arguments).await,
            Command::Cert(arguments) => cert::run(options, arguments).await,
            Command::Version(arguments) => version::run(options, arguments).await,
            Command::Facts(arguments) => facts::run(options, arguments).await,
            Command::SshCheck(arguments) => ssh_check::run(options, arguments).await,
            Command::SshConfig(arguments) => ssh_config::run(options, arguments),
            Command::Inventory(arguments) => inventory::run(options, arguments),
            Command::Lint(arguments) => lint::run(options, arguments),
            Command::Schema => schema::run(options),
            Command::Ping(arguments) => ping::run(options, arguments).await,
            Command::Exec(arguments) => exec::run(options, arguments).await,
            Command::Ssh(arguments) => ssh::run(options, arguments).await,
            Command::Psql(arguments) => psql::run(options, arguments).await,
            Command::Adopt(arguments) => adopt::run(options, arguments).await,
            Command::Sudoers(arguments) => sudoers::run(options, arguments),
        }
    });
    // A connection that hangs must not hold the prompt of an operator who has said stop twice.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit::of_output(command.purpose(), exit),
        Err(problems) => wrong(&problems),
    }
}

/// The command line was wrong, or help was asked for: prints what clap has to say.
pub fn refuse(error: &clap::Error) -> Exit {
    match error.print() {
        _ if error.use_stderr() => Exit::Usage,
        Err(lost) if lost.kind() != std::io::ErrorKind::BrokenPipe => wrong(&[unwritten(&lost)]),
        Ok(()) | Err(_) => Exit::Ok,
    }
}

/// For stdout.
fn unwritten(lost: &std::io::Error) -> Problem {
    Problem::new(format!("the output could not be written: {}", lost.to_string().to_lowercase()))
}

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be read.
    Words,
    /// To be read, of what hosts were asked to do.
    Answers,
    /// To change hosts; words accompany it.
    Deeds,
}

impl Command {
    fn purpose(&self) -> Purpose {
        match self {
            Command::Apply(arguments) if arguments.changes() => Purpose::Deeds,
            Command::Create(arguments) if arguments.changes() => Purpose::Deeds,
            Command::Restart(arguments) if arguments.run.changes() => Purpose::Deeds,
            Command::Switchover(arguments) if arguments.run.changes() => Purpose::Deeds,
            Command::Maintenance(arguments) if arguments.run.changes() => Purpose::Deeds,
            Command::Reboot(arguments) if arguments.run.changes() => Purpose::Deeds,
            Command::Exec(_) | Command::Psql(_) | Command::Ssh(_) => Purpose::Answers,
            Command::Apply(_)
            | Command::Create(_)
            | Command::Restart(_)
            | Command::Switchover(_)
            | Command::Maintenance(_)
            | Command::Reboot(_)
            | Command::Plan(_)
            | Command::Status
            | Command::Verify
            | Command::Show(_)
            | Command::Uri(_)
            | Command::Hba(_)
            | Command::Cert(_)
            | Command::Version(_)
            | Command::Facts(_)
            | Command::SshCheck(_)
            | Command::SshConfig(_)
            | Command::Inventory(_)
            | Command::Lint(_)
            | Command::Schema
            | Command::Ping(_)
            | Command::Adopt(_)
            | Command::Sudoers(_) => Purpose::Words,
        }
    }
}

fn wrong(problems: &[Problem]) -> Exit {
    let text: Vec<String> = problems.iter().map(|problem| format!("{problem}\n")).collect();
    report::log(&text.join("\n"));
    Exit::Usage
}

impl Options {
    /// The formation of the inventory; its warnings are said here, once.
    fn load(&self) -> Result<Formation, Vec<Problem>> {
        self.load_for(Need::Everything)
    }

    /// As [`load`](Options::load), for a command that has a use for some passwords alone.
    fn load_for(&self, need: Need) -> Result<Formation, Vec<Problem>> {
        self.accept(crate::inventory::load_all(self.inventories()?, self.keys.keyring(), need)?)
    }

    /// A formation that was read: what is to be said of it, and whether its hosts can be reached as it says.
    fn accept(&self, formation: Formation) -> Result<Formation, Vec<Problem>> {
        warn(&formation.warnings);
        self.check_ways(formation.servers().map(|server| &server.host))?;
        Ok(formation)
    }

    fn inventories(&self) -> Result<&[String], Vec<Problem>> {
        if self.inventory.is_empty() {
            let hint = "name one with -i FILE, or set MUSTER_INVENTORY";
            return Err(vec![Problem::new("no inventory is given").hint(hint)]);
        }
        Ok(&self.inventory)
    }

    /// The servers of the hosts that a pattern selects, in the order of the inventory; hosts outside the formation
    /// have none.
    fn select<'f>(&self, formation: &'f Formation, pattern: &str) -> Result<Vec<&'f Server>, Vec<Problem>> {
        let names = self.chosen(&formation.roster, pattern)?;
        let server = |name: &NodeName| formation.servers().find(|server| server.name == *name);
        let servers: Vec<&Server> = names.iter().filter_map(server).collect();
        if servers.is_empty() {
            let problem =
                Problem::new(format!("`{pattern}` selects no server, but hosts outside the formation"));
            return Err(vec![
                problem.hint("`muster exec` reaches them; a host is of the formation by its role"),
            ]);
        }
        Ok(servers)
    }

    /// The hosts that a pattern selects, whether the inventory makes a formation or not.
    fn reach(&self, pattern: &str) -> Result<Vec<Listed>, Vec<Problem>> {
        let mut roster = self.roster(Need::Login)?;
        let chosen: BTreeSet<NodeName> = self.chosen(&roster, pattern)?.into_iter().collect();
        roster.hosts.retain(|listed| chosen.contains(&listed.node));
        self.check_ways(roster.hosts.iter().map(|listed| &listed.host))?;
        Ok(roster.hosts)
    }

    /// The hosts of a pattern that are within `--limit`.
    fn chosen(&self, roster: &Roster, pattern: &str) -> Result<Vec<NodeName>, Vec<Problem>> {
        let mut names = selected(roster, pattern)?;
        if let Some(limit) = &self.limit {
            let within: BTreeSet<NodeName> = selected(roster, limit)?.into_iter().collect();
            names.retain(|name| within.contains(name));
            if names.is_empty() {
                let problem =
                    Problem::new(format!("`{pattern}` and --limit `{limit}` have no host in common"));
                return Err(vec![problem.hint("a host has to be in both")]);
            }
        }
        Ok(names)
    }

    /// What of the formation a run is about.
    fn scope(&self, formation: &Formation) -> Result<Scope, Vec<Problem>> {
        match &self.limit {
            None => Ok(Scope::whole()),
            Some(limit) => {
                let servers = self.select(formation, limit)?;
                Ok(Scope::of(formation, servers.into_iter().map(|server| server.name.clone())))
            }
        }
    }

    /// What has to be looked at: `--limit` tells a rollout; members of a group take turns by what all of them are.
    fn scope_of(&self, formation: &Formation, goal: &Goal) -> Result<Scope, Vec<Problem>> {
        match goal {
            Goal::Rollout { .. } => self.scope(formation),
            Goal::Restart(_) | Goal::Switchover(_) | Goal::Maintenance(_) | Goal::Reboot(_) => {
                Ok(Scope::whole())
            }
        }
    }

    /// For a command that a limit means nothing to.
    fn not_limited(&self, why: &str) -> Result<(), Vec<Problem>> {
        match self.limit {
            None => Ok(()),
            Some(_) => Err(vec![Problem::new("--limit is not for this command").hint(why)]),
        }
    }

    /// Everybody in the inventory, whether it makes a formation or not; its warnings are said here.
    fn roster(&self, need: Need) -> Result<Roster, Vec<Problem>> {
        let Hosts { roster, warnings } =
            crate::inventory::hosts(self.inventories()?, self.keys.keyring(), need)?;
        warn(&warnings);
        Ok(roster)
    }

    /// What is wrong with ssh_config is wrong before any host is asked, and told once.
    fn check_ways<'h>(&self, hosts: impl Iterator<Item = &'h Host>) -> Result<(), Vec<Problem>> {
        let transport = self.transport();
        let mut problems: Vec<Problem> = Vec::new();
        for host in hosts {
            if let Err(failure) = transport.route(host) {
                let problem = problem(failure);
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The ways to the hosts.
    fn transport(&self) -> Arc<Transport> {
        self.transport.get_or_init(|| self.new_transport()).clone()
    }

    fn new_transport(&self) -> Arc<Transport> {
        let overrides = Overrides {
            bastion: self.bastion.as_ref().map(|Jumps(jumps)| jumps.clone()),
            accept_new: self.accept_new,
            ssh_config: self.ssh_config.clone(),
            ask_password: self.ask_pass,
            ask_become_password: self.ask_become_pass,
        };
        Transport::new(Credentials::from_environment(), overrides)
    }

    fn forks(&self) -> usize {
        usize::from(self.forks)
    }

    /// For stdout.
    fn paint(&self) -> Paint {
        self.paint_of(std::io::stdout().is_terminal())
    }

    fn paint_of(&self, is_terminal: bool) -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self.color {
            Colour::Always => Paint::Colour,
            Colour::Auto if is_terminal && !set("NO_COLOR") && !dumb => Paint::Colour,
            Colour::Auto | Colour::Never => Paint::Plain,
        }
    }

    /// Progress of a command that only reads.
    fn reading(&self) -> Mode {
        if self.json { Mode::Silent } else { self.on_stderr() }
    }

    /// Progress of a run.
    fn running(&self) -> Mode {
        if self.json { Mode::Json } else { self.on_stderr() }
    }

    fn on_stderr(&self) -> Mode {
        // With -v the log has the terminal: a line that moves would tear it.
        if std::io::stderr().is_terminal() && self.verbose == 0 { Mode::Status } else { Mode::Lines }
    }
}

fn selected(roster: &Roster, pattern: &str) -> Result<Vec<NodeName>, Vec<Problem>> {
    /// Bytes of a file of patterns: ten thousand names of a hundred letters.
    const MOST_BYTES: u64 = 1 << 20;
    let read = |path: &str| {
        let bytes =
            bounded::read(path.as_ref(), MOST_BYTES).map_err(|error| error.to_string().to_lowercase())?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
    };
    pattern::select(roster, pattern, &read).map_err(|problem| vec![problem])
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        report::log(&format!("warning: {warning}\n"));
    }
}

/// A failure that no host had a part in.
fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Unreachable { reason, hint } => Problem::new(reason).hint(hint),
        other @ (Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. }) => {
            Problem::new(other.cause())
        }
    }
}

/// Today as certificates count it.
fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
