//! The options of every command, and what they make: the formation, the hosts of a pattern, the ways to them.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, OnceLock};

use clap::{Args, ValueEnum};

use super::{keyring, today};
use crate::authority;
use crate::bounded;
use crate::command::Failure;
use crate::error::Problem;
use crate::formation::{Formation, Host, Listed, Monitor, NodeName, Password, Roster, Server};
use crate::inventory::{Hosts, Need};
use crate::pattern;
use crate::plan::Goal;
use crate::report;
use crate::report::paint::Paint;
use crate::report::progress::Mode;
use crate::scope::Scope;
use crate::secrets::folder::Env;
use crate::secrets::kept;
use crate::ssh::settings::Jumps;
use crate::ssh::{Credentials, Overrides, Transport};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// An inventory as Ansible has them: YAML, INI, a folder, a program, `a,b,`. Several: the later one wins.
    #[arg(short, long, global = true, env = "MUSTER_INVENTORY", value_name = "FILE")]
    pub(super) inventory: Vec<String>,
    /// Only these hosts, as Ansible's patterns: `workers`, `w1a,w1b`, `all:!mon`, `@FILE` with a pattern a line.
    #[arg(short, long, global = true, value_name = "PATTERN")]
    pub(super) limit: Option<String>,
    /// Commands in flight at a time.
    #[arg(short, long, global = true, default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) forks: u16,
    /// Reach every host through these bastions, the first one first, as ssh -J does.
    #[arg(short = 'J', long, global = true, env = "MUSTER_BASTION", value_name = "[USER@]HOST[:PORT],…")]
    pub(super) bastion: Option<Jumps>,
    /// Read this ssh_config alone, as ssh -F does; `none` reads none.
    #[arg(short = 'F', long, global = true, value_name = "FILE")]
    pub(super) ssh_config: Option<String>,
    /// Record the host key of a host that nothing is known of; a key that has changed is refused all the same.
    #[arg(long, global = true)]
    pub(super) accept_new: bool,
    /// Ask once for the password that the hosts want for a login.
    #[arg(short = 'k', long, global = true)]
    pub(super) ask_pass: bool,
    /// Ask once for the password that sudo or su wants.
    #[arg(short = 'K', long, global = true)]
    pub(super) ask_become_pass: bool,
    #[command(flatten)]
    pub(super) keys: keyring::Keys,
    /// Say on stderr what is going on; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// When to use colours; NO_COLOR turns `auto` off.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(super) color: Colour,
    /// The result as JSON on stdout; apply writes an object a line: events, then the result.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Made when it is first needed: ssh_config is read once a run.
    #[arg(skip)]
    pub(super) transport: OnceLock<Arc<Transport>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Colour {
    Auto,
    Always,
    Never,
}

impl Options {
    /// The formation of the inventory; its warnings are said here, once.
    pub(super) fn load(&self) -> Result<Formation, Vec<Problem>> {
        self.load_for(Need::Everything)
    }

    /// As [`load`](Options::load), for a command that has a use for some passwords alone.
    pub(super) fn load_for(&self, need: Need) -> Result<Formation, Vec<Problem>> {
        let formation = self.read(need)?;
        let formation = match need {
            Need::Everything => kept::read(formation, &Env::of_this_process())?,
            Need::Login | Need::Nothing => formation,
        };
        self.accept(formation)
    }

    /// With new passwords in place of those that are chosen by the formation as it is.
    pub(super) fn load_to_rotate(
        &self,
        choose: impl Fn(&Formation) -> Result<BTreeSet<Password>, Vec<Problem>>,
    ) -> Result<(Formation, BTreeSet<Password>), Vec<Problem>> {
        let (formation, env) = (self.read(Need::Everything)?, Env::of_this_process());
        let chosen = choose(&kept::read(formation.clone(), &env)?)?;
        Ok((self.accept(kept::rotated(formation, &env, &chosen)?)?, chosen))
    }

    fn read(&self, need: Need) -> Result<Formation, Vec<Problem>> {
        crate::inventory::load_all(self.inventories()?, self.keys.keyring(), need)
    }

    /// As [`load`](Options::load), for a command that asks the monitor who is there: only one elsewhere wants a password.
    pub(super) fn load_to_ask(&self) -> Result<Formation, Vec<Problem>> {
        let formation = self.read(Need::Login)?;
        match formation.monitor {
            Monitor::Managed(_) => self.accept(formation),
            Monitor::External(_) => self.load(),
        }
    }

    /// As [`load`](Options::load), for a run that brings a formation about: it makes the passwords that nobody gives and
    /// no file has. None is written here.
    pub(super) fn load_for_goal(&self, goal: &Goal) -> Result<Formation, Vec<Problem>> {
        match goal {
            Goal::Rollout { .. } => Ok(kept::made(self.load()?)),
            Goal::Rotation(wanted) => {
                let formation = self.read(Need::Everything)?;
                self.accept(kept::rotated(formation, &Env::of_this_process(), &wanted.passwords)?)
            }
            Goal::Restart(_)
            | Goal::Switchover(_)
            | Goal::Maintenance(_)
            | Goal::Reboot(_)
            | Goal::Certificates(_) => self.load(),
        }
    }

    /// A formation that was read: what is to be said of it, and whether its hosts can be reached as it says.
    pub(super) fn accept(&self, formation: Formation) -> Result<Formation, Vec<Problem>> {
        warn(&formation.warnings);
        self.check_ways(formation.servers().map(|server| &server.host))?;
        let authority = authority::find(&formation, today()).map_err(|problem| vec![problem])?;
        Ok(formation.with_authority(authority))
    }

    pub(super) fn inventories(&self) -> Result<&[String], Vec<Problem>> {
        if self.inventory.is_empty() {
            let hint = "name one with -i FILE, or set MUSTER_INVENTORY";
            return Err(vec![Problem::new("no inventory is given").hint(hint)]);
        }
        Ok(&self.inventory)
    }

    /// The servers of the hosts that a pattern selects, in the order of the inventory; hosts outside the formation
    /// have none.
    pub(super) fn select<'f>(
        &self,
        formation: &'f Formation,
        pattern: &str,
    ) -> Result<Vec<&'f Server>, Vec<Problem>> {
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
    pub(super) fn reach(&self, pattern: &str) -> Result<Vec<Listed>, Vec<Problem>> {
        let mut roster = self.roster(Need::Login)?;
        let chosen: BTreeSet<NodeName> = self.chosen(&roster, pattern)?.into_iter().collect();
        roster.hosts.retain(|listed| chosen.contains(&listed.node));
        self.check_ways(roster.hosts.iter().map(|listed| &listed.host))?;
        Ok(roster.hosts)
    }

    /// The hosts of a pattern that are within `--limit`.
    pub(super) fn chosen(&self, roster: &Roster, pattern: &str) -> Result<Vec<NodeName>, Vec<Problem>> {
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
    pub(super) fn scope(&self, formation: &Formation) -> Result<Scope, Vec<Problem>> {
        match &self.limit {
            None => Ok(Scope::whole()),
            Some(limit) => {
                let servers = self.select(formation, limit)?;
                Ok(Scope::of(formation, servers.into_iter().map(|server| server.name.clone())))
            }
        }
    }

    /// What has to be looked at: `--limit` tells a rollout; members of a group take turns by what all of them are.
    pub(super) fn scope_of(&self, formation: &Formation, goal: &Goal) -> Result<Scope, Vec<Problem>> {
        match goal {
            Goal::Rollout { .. } => self.scope(formation),
            Goal::Restart(_)
            | Goal::Switchover(_)
            | Goal::Maintenance(_)
            | Goal::Reboot(_)
            | Goal::Certificates(_)
            | Goal::Rotation(_) => Ok(Scope::whole()),
        }
    }

    /// For a command that a limit means nothing to.
    pub(super) fn not_limited(&self, why: &str) -> Result<(), Vec<Problem>> {
        match self.limit {
            None => Ok(()),
            Some(_) => Err(vec![Problem::new("--limit is not for this command").hint(why)]),
        }
    }

    /// Everybody in the inventory, whether it makes a formation or not; its warnings are said here.
    pub(super) fn roster(&self, need: Need) -> Result<Roster, Vec<Problem>> {
        let Hosts { roster, warnings } =
            crate::inventory::hosts(self.inventories()?, self.keys.keyring(), need)?;
        warn(&warnings);
        Ok(roster)
    }

    /// What is wrong with ssh_config is wrong before any host is asked, and told once.
    pub(super) fn check_ways<'h>(&self, hosts: impl Iterator<Item = &'h Host>) -> Result<(), Vec<Problem>> {
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
    pub(super) fn transport(&self) -> Arc<Transport> {
        self.transport.get_or_init(|| self.new_transport()).clone()
    }

    pub(super) fn new_transport(&self) -> Arc<Transport> {
        let overrides = Overrides {
            bastion: self.bastion.as_ref().map(|Jumps(jumps)| jumps.clone()),
            accept_new: self.accept_new,
            ssh_config: self.ssh_config.clone(),
            ask_password: self.ask_pass,
            ask_become_password: self.ask_become_pass,
        };
        Transport::new(Credentials::from_environment(), overrides)
    }

    pub(super) fn forks(&self) -> usize {
        usize::from(self.forks)
    }

    /// For stdout.
    pub(super) fn paint(&self) -> Paint {
        self.paint_of(std::io::stdout().is_terminal())
    }

    pub(super) fn paint_of(&self, is_terminal: bool) -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self.color {
            Colour::Always => Paint::Colour,
            Colour::Auto if is_terminal && !set("NO_COLOR") && !dumb => Paint::Colour,
            Colour::Auto | Colour::Never => Paint::Plain,
        }
    }

    /// Progress of a command that only reads.
    pub(super) fn reading(&self) -> Mode {
        if self.json { Mode::Silent } else { self.on_stderr() }
    }

    /// Progress of a run.
    pub(super) fn running(&self) -> Mode {
        if self.json { Mode::Json } else { self.on_stderr() }
    }

    pub(super) fn on_stderr(&self) -> Mode {
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
pub(super) fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Unreachable { reason, hint } => Problem::new(reason).hint(hint),
        other @ (Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. }) => {
            Problem::new(other.cause())
        }
    }
}
