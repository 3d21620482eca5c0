//! Who takes writes now: the monitor's word.

use super::{Options, plan};
use crate::error::Problem;
use crate::facts::{Facts, Sight, Told};
use crate::formation::{Formation, Monitor, Server};
use crate::resource::monitor::MonitorFacts;

/// The node of a group that takes writes.
pub(super) async fn of_group<'f>(
    options: &Options,
    formation: &'f Formation,
    group: u32,
) -> Result<&'f Server, Vec<Problem>> {
    if formation.group(group).next().is_none() {
        let problem = Problem::new(format!("the inventory has no node of group {group}"));
        return Err(vec![problem.hint("`muster status` shows the group of each node")]);
    }
    let facts = plan::look(options, formation, &asked(formation)).await;
    let Some(row) = monitor(formation, &facts)?.primary(group) else {
        let problem = Problem::new(format!("the monitor names no node of group {group} that takes writes"));
        return Err(vec![
            problem.hint("`muster status` shows the states; name a host to reach it all the same"),
        ]);
    };
    let ours = formation.servers().find(|server| server.name.0 == row.name);
    ours.ok_or_else(|| {
        let problem = Problem::new(format!(
            "{} takes writes for group {group}, and the inventory does not name it",
            row.name
        ));
        vec![problem.hint("add it to the inventory, so that muster knows the way to it")]
    })
}

/// Those of the servers that take writes.
pub(super) async fn among<'f>(
    options: &Options,
    formation: &Formation,
    servers: &[&'f Server],
) -> Result<Vec<&'f Server>, Vec<Problem>> {
    let facts = plan::look(options, formation, &asked(formation)).await;
    let monitor = monitor(formation, &facts)?;
    let writes = |server: &&&Server| {
        let row = monitor.row(&server.name);
        row.is_some_and(|row| monitor.primary(row.group).is_some_and(|primary| primary.id == row.id))
    };
    let found: Vec<&Server> = servers.iter().filter(writes).copied().collect();
    if found.is_empty() {
        let problem = Problem::new("the monitor says of none of these hosts that it takes writes");
        return Err(vec![problem.hint("`muster status` shows the states")]);
    }
    Ok(found)
}

/// Who can say it: the monitor's host, and where that is not ours whoever asks it.
pub(super) fn asked(formation: &Formation) -> Vec<&Server> {
    match &formation.monitor {
        Monitor::Managed(server) => vec![server],
        Monitor::External(_) => formation.servers().collect(),
    }
}

fn monitor<'a>(formation: &Formation, facts: &'a Facts) -> Result<&'a MonitorFacts, Vec<Problem>> {
    let told = facts.told_by_monitor(formation);
    let differs = match &told {
        Told::Differs(why) => Some(why.clone()),
        Told::This(_) | Told::Nothing => None,
    };
    told.this().ok_or_else(|| {
        let unseen = facts.hosts.iter().find_map(|(name, sight)| match sight {
            Sight::Unreachable(failure) => Some(format!("{name}: {}", failure.cause())),
            Sight::Unreadable(why) => Some(format!("{name}: could not look: {why}")),
            Sight::Seen(_) => None,
        });
        let why = differs.or(unseen).map(|why| format!(": {why}")).unwrap_or_default();
        let problem = Problem::new(format!("the monitor could not be asked who takes writes{why}"));
        vec![problem.hint("name a host to reach it all the same, e.g. `muster psql HOST`")]
    })
}
