//! What a `Wait` is answered.

use muster::command::Command;
use muster::op::{Op, Wait};
use muster::resource::citus::CitusNode;
use muster::resource::data::STANDBY_CONF;
use muster::state::State;
use muster::step::Step;

use crate::apply::{sql, values};
use crate::monitor::Monitor;
use crate::world::{World, boot_id};

impl World {
    /// The answer to a `Wait`.
    pub(crate) fn ask(&mut self, step: &Step, command: &Command) -> Result<String, String> {
        let Op::Wait(wait) = &step.op else { panic!("it does not wait: {:?}", step.op) };
        let word = |yes: bool, then: &str, no: &str| Ok(if yes { then } else { no }.to_owned());
        match wait {
            Wait::Assigned { .. } => self.report(step, &command.args).map(|state| state.as_str().to_owned()),
            Wait::StreamsWith { sslmode } => {
                let conf =
                    self.hosts[&step.on].data().and_then(|data| data.loaded.get(STANDBY_CONF).cloned());
                let says = conf.is_some_and(|conf| conf.contains(&format!(" sslmode={sslmode}")));
                word(says && self.upstream(&step.on).is_some(), "follows", "not yet")
            }
            Wait::KeeperRuns => word(self.hosts[&step.on].keeper.is_some(), "alive", "no"),
            Wait::Slot { .. } | Wait::LetIn { .. } => {
                let port = command.args[2].parse().unwrap();
                let there = self.at(&command.args[1], port).ok_or("no such host")?;
                let data = self.hosts[there].data().filter(|data| data.runs()).ok_or("connection refused")?;
                let server = self.server(&step.on);
                if !data.lets_in(&server.hostname, server.tls.mode().as_str()) {
                    return Err("no pg_hba.conf entry".to_owned());
                }
                let (texts, _) = values(&sql(command));
                word(data.slots.contains(&texts[0]), "t", "f")
            }
            Wait::Streams { from } => {
                let (texts, _) = values(&sql(command));
                let follows = self.streaming(from).senders.iter().any(|row| texts.contains(&row.name));
                word(follows, "streaming", "it does not stream")
            }
            Wait::KeeperLogsIn => {
                word(crate::oracle::keeper_logs_in(&self.formation, self, &step.on), "reports", "silent")
            }
            Wait::MonitorAnswers => {
                self.monitor_answering()?;
                Ok("t".to_owned())
            }
            Wait::Fits { primary } => word(self.fits(&step.on, primary), "fits", "not yet"),
            Wait::Answers => word(self.hosts[&step.on].runs(), "answers", "connection refused"),
            Wait::TakesWrites => {
                let row = self.monitor_answering()?.by_name(&step.on.0).ok_or("no row")?;
                word(row.is_resting_writer(), "it takes writes", "not yet")
            }
            Wait::InMaintenance => {
                let row = self.monitor_answering()?.by_name(&step.on.0).ok_or("no row")?;
                word(row.is_out(), "it is out", "not yet")
            }
            Wait::Booted => {
                let is_another = boot_id(self.hosts[&step.on].boot) != command.args[0];
                word(is_another, "booted", "it has not gone down yet")
            }
            Wait::InMetadata { group, at } => {
                let data =
                    self.hosts[&step.on].data().filter(|data| data.runs()).ok_or("connection refused")?;
                let is_there = |row: &&CitusNode| row.group == i64::from(*group) && row.role == "primary";
                let row = data.citus.iter().find(is_there).ok_or("there is no row")?;
                word(row.name == at.host && row.port == i64::from(at.port), "there", "it is elsewhere")
            }
            Wait::Settled => {
                let row = self.monitor_answering()?.by_name(&step.on.0).ok_or("no row")?;
                let rests = matches!(
                    row.assigned,
                    Some(State::Single | State::Primary | State::Secondary | State::WaitPrimary)
                );
                Ok(match row.reported == row.assigned && row.health == 1 && rests {
                    true => "settled".to_owned(),
                    false => format!("{:?}, to become {:?}", row.reported, row.assigned),
                })
            }
            Wait::KeeperReports => {
                let row = self.monitor_answering()?.by_name(&step.on.0).ok_or("no row")?;
                word(row.silence().is_none(), "reported", "silent")
            }
            Wait::Registered { .. } => {
                let group = self.formation.nodes.get(&step.on).map_or(0, |node| node.group);
                word(self.monitor_answering()?.writable(group).is_some(), "t", "f")
            }
        }
    }

    pub(crate) fn monitor_answering(&mut self) -> Result<&mut Monitor, String> {
        let up = self.monitor_is_up();
        self.monitor.as_mut().filter(|_| up).ok_or_else(|| "the monitor does not answer".to_owned())
    }
}
