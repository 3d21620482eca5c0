//! Groups in which no standby may be away: the monitor waits for as many as there are.

use std::collections::BTreeSet;

use crate::facts::Facts;
use crate::formation::{Formation, NodeName};

/// For the primary of each such group what is to be known. `number_sync_standbys` is the whole formation's, and the monitor sets it to 1 by itself where a
/// group gets its third node; where the inventory gives it, a group with too few nodes is refused.
/// Source: `register_node` in node_active_protocol.c of the monitor, 2.0; seen on hosts.
pub fn waits_for_all(formation: &Formation, facts: &Facts) -> Vec<(NodeName, String)> {
    let Some(monitor) = facts.monitor(formation) else { return Vec::new() };
    let number = monitor.formation.as_ref().map_or(0, |row| row.number_sync_standbys);
    if number == 0 || formation.number_sync_standbys.is_some() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for group in monitor.nodes.iter().map(|row| row.group).collect::<BTreeSet<u32>>() {
        let Some(primary) = monitor.primary(group) else { continue };
        let rows = monitor.nodes.iter().filter(|row| row.group == group && row.name != primary.name);
        let standbys: Vec<&str> =
            rows.filter(|row| row.replication_quorum).map(|row| row.name.as_str()).collect();
        if standbys.is_empty() || standbys.len() > number as usize {
            continue;
        }
        notes.push((
            NodeName::from(primary.name.as_str()),
            format!(
                "no commit of group {group} returns while {} is away: number_sync_standbys is {number} on the monitor, which sets it so by itself where a \
                 group has three nodes; `number_sync_standbys: 0` in the inventory lets the others go on",
                standbys.join(" or ")
            ),
        ));
    }
    notes
}
