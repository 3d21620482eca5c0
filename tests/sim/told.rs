//! Whether what an operation says is what its command does: titles are made of the one, hosts do the other.

use muster::command::{Command, RunAs};
use muster::op::{Address, Metadata, Op, Switch, Synchronous, Wait, Way};
use muster::resource::data::{new_dir, node_dir};
use muster::resource::replication::slot;
use muster::sql::ident;
use muster::step::{Action, Step};

use crate::apply::{sql, values};
use crate::world::World;

impl World {
    pub(crate) fn is_told_as_it_is(&self, step: &Step) -> bool {
        match (&step.op, &step.action) {
            (Op::Write { path, .. }, Action::Put(file)) => *path == file.path,
            (Op::Wait(wait), Action::Wait { command, answers, .. }) => waits_so(wait, command, answers),
            (op, Action::Run(command)) => self.does_so(op, step, command),
            (Op::Issue { names, .. }, Action::Issue(issue)) => *names == issue.names,
            (op @ Op::Reload, Action::Try(trial)) => {
                let all = [&trial.command, &trial.confirm, &trial.undo];
                all.into_iter().all(|command| self.does_so(op, step, command))
            }
            (_, Action::Try(_) | Action::Issue(_) | Action::Put(_) | Action::Wait { .. }) => false,
        }
    }

    fn does_so(&self, op: &Op, step: &Step, command: &Command) -> bool {
        let (args, sql, server) = (&command.args, sql(command), self.server(&step.on));
        let (texts, numbers) = values(&sql);
        let sets = |to: &str| sql.contains(&format!("'), {to});")) && texts.contains(&step.on.0);
        match op {
            Op::Write { .. } | Op::Issue { .. } | Op::Wait(_) => false,
            Op::ShowCertificate => args[0] == node_dir(server),
            Op::ShowNoCertificate => args.is_empty(),
            Op::Initdb { pgdata } => *pgdata == server.pgdata && args[1] == new_dir(server),
            Op::BaseBackup { from } => {
                let word = |key: &str| args[2].split(' ').find_map(|word| word.strip_prefix(key));
                let (host, port) = (word("host=").unwrap(), word("port=").unwrap().parse().unwrap());
                self.at(host, port).is_none_or(|name| name.0 == *from)
            }
            Op::CompareSettings { of } => args[2] == *of,
            Op::Install { pgdata } => args[1] == *pgdata,
            Op::RemoveStalePid => args[0] == server.pgdata,
            Op::Start => args[2] == "start",
            Op::Stop { .. } => args[2] == "stop",
            Op::Reload | Op::TakeBack | Op::LookAgain | Op::TellSystemIdentifier => args[1] == server.pgdata,
            Op::CreateRole { name } | Op::CreateDatabase { name } => texts.contains(name),
            Op::RepairRole { name } => sql.contains(&format!("ALTER ROLE {} WITH ", ident(name))),
            Op::SetPassword { role } => sql.contains(&format!("ALTER ROLE {} PASSWORD", ident(role))),
            Op::Rotate { roles, path } => {
                roles.iter().all(|role| sql.contains(&format!("ALTER ROLE {} PASSWORD", ident(role))))
                    && args[4] == path.as_deref().unwrap_or_default()
            }
            Op::CreateExtension { name, dbname } => {
                sql.contains(name) && dbname.as_ref().is_none_or(|dbname| args[4] == *dbname)
            }
            Op::CreateSlots { nodes } => texts == nodes.iter().map(|id| slot(*id)).collect::<Vec<_>>(),
            Op::Synchronous { which: Synchronous::AsMonitorSays, .. } => args[6] == "ask",
            Op::Synchronous { which: Synchronous::Off, .. } => args[6].is_empty(),
            Op::CreateFormation { name } => texts[1] == *name,
            Op::Register { id, group, kind } => {
                args[6..9] == [id.to_string(), group.to_string(), kind.to_string()]
            }
            Op::Report { state } => args[8] == state.as_str(),
            Op::SetPriority { to } => sets(&to.to_string()),
            Op::SetQuorum { to } => sets(&to.to_string()),
            Op::SetNumberSyncStandbys { to } => numbers[0] == u64::from(*to),
            Op::Metadata { change, elsewhere } => {
                let goes_there =
                    elsewhere.as_ref().is_none_or(|at| args[1..3] == [at.host.clone(), at.port.to_string()]);
                let names = |at: &Address| texts.contains(&at.host) && numbers.contains(&at.port.into());
                goes_there
                    && match change {
                        Metadata::SetCoordinator { to } | Metadata::Activate { node: to } => names(to),
                        Metadata::Add { node, role, group } => {
                            names(node) && texts.contains(role) && numbers.contains(&u64::from(*group))
                        }
                        Metadata::Point { id, to } => names(to) && i64::try_from(numbers[0]) == Ok(*id),
                        Metadata::SetPooler { of } => names(of),
                        // By its row's id.
                        Metadata::ForgetPooler { .. } => sql.starts_with("delete from pg_dist_poolinfo "),
                    }
            }
            Op::EnableUnit { unit } => args[0] == *unit,
            Op::Checkpoint => sql == "CHECKPOINT;\n",
            Op::Restart => {
                // A monitor's is pg_autoctl's to start, where one runs.
                let is_monitor = !self.formation.nodes.contains_key(&step.on);
                let starts = self.hosts[&step.on].keeper.filter(|_| is_monitor);
                args[1] == server.pgdata
                    && args[2] == "start"
                    && args[4..]
                        == [
                            starts.map_or_else(String::new, |pid| pid.to_string()),
                            server.pghost.clone().unwrap_or_default(),
                        ]
            }
            Op::Switchover { to, .. } => sql.contains("perform_promotion") && texts.contains(&to.0),
            Op::Maintenance { turn: Switch::On } => sql.contains("start_maintenance"),
            Op::Maintenance { turn: Switch::Off } => sql.contains("stop_maintenance"),
            Op::MayReboot => command.run_as == RunAs::Root && *args == ["systemctl", "reboot"],
            Op::Reboot => command.run_as == RunAs::Root && command.script.contains("systemctl reboot"),
            Op::StartDetached => args.contains(&server.pgdata),
            Op::Renew { way, service } => {
                args[3] == service.as_str() && (args[4] == "hangup") == (*way == Way::Hangup)
            }
        }
    }
}

fn waits_so(wait: &Wait, command: &Command, answers: &[String]) -> bool {
    let sql = sql(command);
    let (texts, _) = values(&sql);
    match wait {
        Wait::Assigned { current, next } => command.args[8] == current.as_str() && answers == [next.as_str()],
        Wait::Slot { slot, .. } => texts[0] == *slot,
        Wait::StreamsWith { sslmode } => texts.contains(&format!("sslmode={sslmode}")),
        Wait::LetIn { .. } => sql.contains("pg_replication_slots"),
        Wait::Streams { .. } => sql.contains("pg_stat_replication"),
        Wait::KeeperRuns => answers == ["alive"],
        Wait::KeeperLogsIn | Wait::KeeperReports => sql.contains("reporttime"),
        Wait::MonitorAnswers => sql.contains("pgautofailover"),
        Wait::Settled => answers == ["settled"],
        Wait::Fits { primary } => answers == ["fits"] && command.args[2] == primary.0,
        Wait::Answers => answers == ["answers"],
        Wait::TakesWrites => answers == ["it takes writes"],
        Wait::InMaintenance => answers == ["it is out"],
        Wait::Booted => answers == ["booted"] && command.args.len() == 1,
        Wait::InMetadata { at, .. } => sql.contains("pg_dist_node") && texts.contains(&at.host),
        Wait::Registered { .. } => sql.contains("pgautofailover.node"),
    }
}
