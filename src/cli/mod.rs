//! The command line: what can be asked, and one file for each subcommand.

use std::io::IsTerminal as _;

use clap::{Parser, Subcommand};

use crate::error::{Exit, Problem};
use crate::report;
use crate::report::paint::Paint;

use options::{Options, problem};

mod adopt;
mod answers;
mod apply;
mod bound;
mod ca;
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
mod options;
mod password;
mod ping;
mod plan;
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
  4    a host could not be reached, and nothing else is wrong but what follows from that
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
    /// Show the certificates of the servers, or have new ones made.
    Cert(cert::Arguments),
    /// Replace the formation's own certificate authority.
    Ca(ca::Arguments),
    /// Take new passwords for the formation's roles.
    Password(password::Arguments),
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
            Command::Ca(arguments) => ca::run(options, arguments).await,
            Command::Password(arguments) => password::run(options, arguments).await,
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
            Command::Cert(arguments) if arguments.changes() => Purpose::Deeds,
            Command::Ca(arguments) if arguments.changes() => Purpose::Deeds,
            Command::Password(arguments) if arguments.changes() => Purpose::Deeds,
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
            | Command::Ca(_)
            | Command::Password(_)
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

/// Today as certificates count it.
fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
