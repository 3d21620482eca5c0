//! The turn on every host that a run is going to change: taken before it looks for the last time, given back at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::command::Failure;
use crate::event::NodeOutcome;
use crate::fleet::Fleet;
use crate::formation::{Formation, Node, NodeName, Server};
use crate::plan::{Begins, Plan, Wave};
use crate::reason::Reason;
use crate::report;
use crate::report::recap::Outcomes;
use crate::resource::lock::{Holder, Over, Turn, parse, release, take};

/// How long a host may take to hear that its turn is given back.
const MOST_TO_RELEASE: Duration = Duration::from_secs(5);

/// What a run holds.
pub(super) struct Locks<'a> {
    fleet: &'a Fleet,
    formation: &'a Formation,
    holder: Holder,
    over: Over<'a>,
    held: BTreeSet<NodeName>,
}

/// How asking for every turn of a plan ended.
pub(super) enum Taken {
    /// All were this run's before.
    Already,
    /// Somebody may have changed something until now.
    Newly,
    /// Why not, of each node that there is no turn of; nothing is held.
    No(Vec<(NodeName, No)>),
}

/// Why there is no turn.
pub(super) enum No {
    Theirs(Holder),
    /// No lock can be written, or nobody knows whether it was.
    Cannot(String),
}

impl No {
    fn describe(&self) -> String {
        match self {
            No::Theirs(holder) => holder.describe(),
            No::Cannot(why) => format!("cannot lock it: {}", why.trim()),
        }
    }
}

impl<'a> Locks<'a> {
    pub(super) fn new(fleet: &'a Fleet, formation: &'a Formation, over: Over<'a>) -> Self {
        Locks { fleet, formation, holder: this_run(), over, held: BTreeSet::new() }
    }

    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Takes the turn of every node that has a step. Those that are away have none, and the next look shows it.
    pub(super) async fn take(&mut self, plan: &Plan) -> Taken {
        let mut nodes: BTreeSet<&NodeName> = plan.steps().map(|(_, node, _)| node).collect();
        // Of a group whose members go one after the other nobody else may take out another one meanwhile.
        let rolling = plan.waves.iter().filter(|wave| wave.begins == Begins::AfterSuccess);
        let in_turns: BTreeSet<&NodeName> = rolling.flat_map(Wave::turns).map(|turn| &turn.node).collect();
        for id in self.formation.groups() {
            if self.formation.group(id).any(|node| in_turns.contains(node.name())) {
                nodes.extend(self.formation.group(id).map(Node::name));
            }
        }
        let wanted = |server: &&Server| nodes.contains(&server.name) && !self.held.contains(&server.name);
        let wanted: Vec<&Server> = self.formation.servers().filter(wanted).collect();
        // Of runs that begin together one gets the first node; without that, each might get some, and none all.
        let (first, rest) = wanted.split_at(wanted.len().min(1));
        let mut answers = join_all(first.iter().map(|server| self.ask(server))).await;
        if answers.iter().all(|answer| !matches!(answer, Ok(Turn::Theirs(_)))) {
            answers.extend(join_all(rest.iter().map(|server| self.ask(server))).await);
        }
        let mut refused = Vec::new();
        for (server, answer) in wanted.iter().zip(answers) {
            let name = &server.name;
            match answer {
                Ok(Turn::Ours) => drop(self.held.insert(name.clone())),
                Ok(Turn::Theirs(holder)) => refused.push((name.clone(), No::Theirs(holder))),
                Err(Failure::Refused { stderr, .. }) => refused.push((name.clone(), No::Cannot(stderr))),
                // It may answer again before the run is over, and is not this run's.
                Err(failure @ Failure::TimedOut { .. }) => {
                    refused.push((name.clone(), No::Cannot(failure.cause())));
                }
                Err(Failure::Unreachable { .. } | Failure::Lost { .. }) => (),
            }
        }
        if refused.is_empty() {
            return if wanted.is_empty() { Taken::Already } else { Taken::Newly };
        }
        self.release().await;
        Taken::No(refused)
    }

    /// A run of this machine that has died is known to be over, whatever its host believes.
    async fn ask(&self, server: &Server) -> Result<Turn, Failure> {
        let turn = self.fleet.run(&server.name, &take(&server.os_user, &self.holder, &self.over)).await?;
        match parse(&turn) {
            Turn::Theirs(holder) if is_over(&holder) => {
                let again = take(&server.os_user, &self.holder, &Over::Known(&holder));
                Ok(parse(&self.fleet.run(&server.name, &again).await?))
            }
            turn @ (Turn::Ours | Turn::Theirs(_)) => Ok(turn),
        }
    }

    /// Gives back all that is held. Where a host does not hear of it, the lock ends with the connection.
    pub(super) async fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        let servers = self.formation.servers().filter(|server| held.contains(&server.name));
        // A host that hangs is not waited for.
        join_all(servers.map(async |server| {
            let command = release(&server.os_user, &self.holder);
            let _ = timeout(MOST_TO_RELEASE, self.fleet.run(&server.name, &command)).await;
        }))
        .await;
    }
}

/// Says who is at work, and what a run that had to leave it at that comes to.
pub(super) fn refused(plan: &Plan, nodes: &[(NodeName, No)]) -> Outcomes {
    let mut runs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (host, why) in nodes {
        runs.entry(why.describe()).or_default().push(&host.0);
    }
    for (run, hosts) in runs {
        // Anybody who can write to that home may have made the lock.
        report::log(&report::text::plain(&format!("error: {}: {run}\n", hosts.join(", "))));
    }
    if nodes.iter().any(|(_, why)| matches!(why, No::Theirs(_))) {
        report::log("hint: wait until it has ended; if it cannot go on any more, say --break-lock\n");
    }
    let mut outcomes: BTreeMap<NodeName, NodeOutcome> = BTreeMap::new();
    for (_, node, _) in plan.steps() {
        outcomes.entry(node.clone()).or_default().skipped += 1;
    }
    for (host, why) in nodes {
        outcomes.entry(host.clone()).or_default().blocked = Some(Reason::NoTurn(why.describe()));
    }
    outcomes
}

fn this_run() -> Holder {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let user = variable("USER")
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| variable("HOSTNAME"));
    let since = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let process = std::process::id();
    // Where the machine does not say what tells its processes apart for good, the moment does.
    let run = match (machine_id(), started(process)) {
        (Some(machine), Some(start)) => format!("{machine}:{process}:{start}"),
        _ => format!("-:{process}:{}", jiff::Timestamp::now().as_nanosecond()),
    };
    let who = format!("{user}@{}", machine.as_deref().unwrap_or("-").trim());
    Holder { run, who: one_word(&who), process: process.to_string(), since }
}

/// Whether the run was one of this machine, and has ended.
fn is_over(holder: &Holder) -> bool {
    let Some(own) = machine_id() else { return false };
    let Some(process) = holder.run.strip_prefix(&format!("{own}:")) else { return false };
    let Some((process, start)) = process.split_once(':') else { return false };
    process.parse().is_ok_and(|process| started(process).is_none_or(|found| found != start))
}

/// Since when, and within which namespace, process numbers mean what they mean.
fn machine_id() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(one_word(&format!("{}:{}", boot.trim(), namespace.display())))
}

/// When a process began, in ticks since the machine did.
fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

fn one_word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_when_its_process_is() {
        let own = this_run();
        assert!(!is_over(&own));
        assert_eq!(own.run.split_whitespace().count(), 1, "{own:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("there is sleep");
        let start = started(child.id()).expect("it runs");
        let of = |run: String| Holder { run, ..own.clone() };
        let machine = machine_id().expect("Linux has it");
        let theirs = of(format!("{machine}:{}:{start}", child.id()));
        assert!(!is_over(&theirs));
        assert!(is_over(&of(format!("{machine}:{}:1", child.id()))), "the number is another process's");
        assert!(!is_over(&of(format!("another:machine:{}:{start}", child.id()))));
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert!(is_over(&theirs));
        assert!(!is_over(&of("-:17:123".to_owned())));
    }
}
