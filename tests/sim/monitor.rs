//! The fake monitor: what pg_auto_failover 2.0's `register_node` and `node_active` do to its rows.
//!
//! Sources: `JoinAutoFailoverFormation`, `NodeActive` in node_active_protocol.c, `ProceedGroupState` and its
//! callees in group_state_machine.c. Time does not exist here, so the worst is taken: whoever's PostgreSQL is
//! down has been down for longer than the monitor is patient. LSNs never differ.

use muster::op::Switch;
use muster::resource::monitor::{FormationRow, NodeRow};
use muster::state::State;
use muster::state::State::{
    ApplySettings, Catchingup, DemoteTimeout, Demoted, Draining, Dropped, Init, JoinPrimary, JoinSecondary,
    Maintenance, PreparePromotion, Primary, ReportLsn, Secondary, Single, StopReplication, WaitMaintenance,
    WaitPrimary, WaitStandby,
};

/// The monitor's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Monitor {
    pub(crate) formation: Option<(String, FormationRow)>,
    pub(crate) rows: Vec<NodeRow>,
    pub(crate) last_id: u64,
}

/// The arguments of `register_node`.
pub(crate) struct Registration {
    pub(crate) formation: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) dbname: String,
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) group: u32,
    pub(crate) kind: String,
    pub(crate) priority: u8,
    pub(crate) quorum: bool,
    pub(crate) cluster: String,
}

/// What a node says of itself in `node_active`.
pub(crate) struct Report {
    pub(crate) id: u64,
    pub(crate) state: State,
    pub(crate) running: bool,
    pub(crate) timeline: u32,
}

fn is(row: &NodeRow, state: State) -> bool {
    row.reported == Some(state) && row.assigned == Some(state)
}

fn is_any(row: Option<&NodeRow>, states: &[State]) -> bool {
    row.is_some_and(|row| states.iter().any(|state| is(row, *state)))
}

fn is_writable(state: Option<State>) -> bool {
    state.is_some_and(State::is_writable)
}

fn is_healthy(row: &NodeRow) -> bool {
    row.health == 1 && row.running
}

fn is_unhealthy(row: &NodeRow) -> bool {
    row.health == 0 || !row.running
}

fn is_in_primary_state(row: &NodeRow) -> bool {
    let settings = [Some(Primary), Some(ApplySettings)];
    row.reported == row.assigned && is_writable(row.assigned)
        || settings.contains(&row.assigned) && settings.contains(&row.reported)
}

fn is_being_promoted(row: &NodeRow) -> bool {
    matches!(
        (row.reported, row.assigned),
        (Some(ReportLsn | Secondary), Some(PreparePromotion))
            | (Some(PreparePromotion), Some(PreparePromotion | StopReplication | WaitPrimary))
            | (Some(StopReplication), Some(StopReplication | WaitPrimary))
    )
}

impl Monitor {
    pub(crate) fn new() -> Monitor {
        let row = FormationRow { kind: "pgsql".into(), dbname: "postgres".into(), number_sync_standbys: 0 };
        Monitor { formation: Some(("default".to_owned(), row)), rows: Vec::new(), last_id: 0 }
    }

    pub(crate) fn create_formation(&mut self, name: &str, kind: &str, dbname: &str) {
        let row = FormationRow { kind: kind.into(), dbname: dbname.into(), number_sync_standbys: 0 };
        self.formation = Some((name.to_owned(), row));
    }

    pub(crate) fn settings(&mut self) -> &mut FormationRow {
        &mut self.formation.as_mut().expect("a formation").1
    }

    pub(crate) fn row(&self, id: u64) -> Option<&NodeRow> {
        self.rows.iter().find(|row| row.id == id)
    }

    pub(crate) fn by_name(&mut self, name: &str) -> Option<&mut NodeRow> {
        self.rows.iter_mut().find(|row| row.name == name)
    }

    fn others(&self, id: u64) -> Vec<NodeRow> {
        let Some(of) = self.row(id) else { return Vec::new() };
        self.rows.iter().filter(|row| row.group == of.group && row.id != id).cloned().collect()
    }

    /// `GetPrimaryNodeInGroup`: by what is assigned.
    pub(crate) fn writable(&self, group: u32) -> Option<&NodeRow> {
        self.rows.iter().find(|row| row.group == group && is_writable(row.assigned))
    }

    fn primary_or_demoted(&self, group: u32) -> Option<NodeRow> {
        let draining = |row: &&NodeRow| {
            row.group == group
                && (is_writable(row.reported) || matches!(row.reported, Some(Draining | DemoteTimeout)))
        };
        self.writable(group).or_else(|| self.rows.iter().find(draining)).cloned()
    }

    fn assign(&mut self, id: u64, state: State) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            row.assigned = Some(state);
        }
    }

    fn is_worker(&self, group: u32) -> bool {
        group > 0 && self.formation.as_ref().is_some_and(|(_, row)| row.kind == "citus")
    }

    pub(crate) fn register(&mut self, node: Registration) -> Result<State, String> {
        let empty = self.rows.is_empty();
        let Some((name, formation)) = &mut self.formation else { return Err("no formation".to_owned()) };
        if *name != node.formation {
            return Err(format!("formation \"{}\" does not exist", node.formation));
        }
        let kind = if node.kind == "standalone" { "pgsql" } else { "citus" };
        if empty {
            formation.kind = kind.to_owned();
            formation.dbname.clone_from(&node.dbname);
        }
        if formation.kind != kind || formation.dbname != node.dbname {
            return Err(format!("{}:{} does not fit the formation", node.host, node.port));
        }
        let twin = |row: &NodeRow| {
            row.name == node.name || row.id == node.id || row.host == node.host && row.port == node.port
        };
        if let Some(row) = self.rows.iter().find(|row| twin(row)) {
            return Err(format!(
                "duplicate key: {} is node {} at {}:{}",
                row.name, row.id, row.host, row.port
            ));
        }
        let members = self.rows.iter().filter(|row| row.group == node.group).count();
        let assigned = if members == 0 && node.priority > 0 {
            Single
        } else if self.writable(node.group).is_some()
            || self.rows.iter().any(|row| row.group == node.group && is_being_promoted(row))
        {
            WaitStandby
        } else {
            return Err(format!("couldn't find the primary node in group {}", node.group));
        };
        self.rows.push(NodeRow {
            id: node.id,
            name: node.name,
            host: node.host,
            port: node.port,
            group: node.group,
            system_identifier: None,
            reported: Some(Init),
            assigned: Some(assigned),
            running: false,
            timeline: 0,
            lsn: "0/0".to_owned(),
            health: -1,
            candidate_priority: node.priority.into(),
            replication_quorum: node.quorum,
            cluster: node.cluster,
            silent: 0,
        });
        self.last_id = self.last_id.max(node.id);
        if assigned == WaitStandby
            && self.settings().number_sync_standbys == 0
            && let Some(primary) = self.writable(node.group).map(|row| row.id)
            && self.others(primary).iter().filter(|row| row.replication_quorum).count() == 2
        {
            self.settings().number_sync_standbys = 1;
        }
        self.proceed(node.id);
        Ok(assigned)
    }

    /// `node_active`: takes the report, gives what is assigned.
    pub(crate) fn report(&mut self, report: &Report) -> Result<State, String> {
        let found = self.rows.iter_mut().find(|row| row.id == report.id);
        let row = found.ok_or_else(|| format!("couldn't find node with nodeid {}", report.id))?;
        let early = matches!(report.state, Init | WaitStandby | Catchingup | Dropped);
        if row.system_identifier.is_none() && !early {
            return Err("violates check constraint \"system_identifier_is_null_at_init_only\"".to_owned());
        }
        row.reported = Some(report.state);
        row.running = report.running;
        row.timeline = report.timeline;
        row.silent = 0;
        self.proceed(report.id);
        Ok(self.row(report.id).and_then(|row| row.assigned).unwrap_or(Dropped))
    }

    fn proceed(&mut self, id: u64) {
        let Some(active) = self.row(id).cloned() else { return };
        let members = self.others(id).len() + 1;
        if is(&active, Dropped) {
            self.rows.retain(|row| row.id != id);
            return;
        }
        if active.assigned == Some(Dropped) {
            return;
        }
        if members == 1 && !is(&active, Single) {
            let alone = if active.candidate_priority > 0 { Single } else { ReportLsn };
            return self.assign(id, alone);
        }
        if is_in_primary_state(&active) {
            return self.proceed_primary(&active);
        }
        let primary = self.primary_or_demoted(active.group);
        if let Some(primary) =
            primary.as_ref().filter(|primary| members > 2 && (is_unhealthy(primary) || is(primary, Draining)))
        {
            let candidates = self.others(primary.id);
            let candidates = candidates
                .iter()
                .filter(|row| is(row, Secondary) && is_healthy(row) && row.candidate_priority > 0);
            if is_in_primary_state(primary) && !is(primary, WaitPrimary) && candidates.count() >= 1 {
                self.assign(primary.id, Draining);
            }
            if self.elect(&active) {
                return;
            }
        }
        self.proceed_standby(&active, primary.as_ref());
    }

    /// The rules of `ProceedGroupState` for a node that is no primary, in their order.
    fn proceed_standby(&mut self, active: &NodeRow, primary: Option<&NodeRow>) {
        let id = active.id;
        let joined = is_any(primary, &[WaitPrimary, JoinPrimary]);
        let steady = is_any(primary, &[WaitPrimary, JoinPrimary, Primary]);
        let well = primary.is_some_and(is_healthy);
        if is(active, WaitMaintenance) && primary.is_some_and(is_in_primary_state) {
            self.assign(id, Maintenance);
        } else if is(active, ReportLsn) && steady && well {
            self.assign(id, Secondary);
        } else if is(active, ReportLsn) {
            self.elect(active);
        } else if is(active, WaitStandby) && joined {
            self.assign(id, Catchingup);
        } else if is(active, WaitStandby) && is_any(primary, &[Primary]) {
            self.assign(id, Catchingup);
            if active.replication_quorum {
                self.assign(primary.expect("just looked at").id, ApplySettings);
            }
        } else if is(active, Catchingup)
            && steady
            && is_healthy(active)
            && primary.is_some_and(|primary| primary.timeline == active.timeline)
        {
            self.assign(id, Secondary);
        } else if is(active, Secondary)
            && is_healthy(active)
            && active.candidate_priority > 0
            && let Some(primary) = primary.filter(|row| is_in_primary_state(row) && is_unhealthy(row))
        {
            self.assign(id, PreparePromotion);
            self.assign(primary.id, Draining);
        } else if is(active, PreparePromotion) {
            match primary {
                Some(primary) if self.is_worker(active.group) => {
                    self.assign(id, WaitPrimary);
                    self.assign(primary.id, Demoted);
                }
                Some(primary) => {
                    self.assign(id, StopReplication);
                    self.assign(primary.id, DemoteTimeout);
                }
                None => self.assign(id, WaitPrimary),
            }
        } else if is(active, StopReplication) {
            // The old primary's time to drain is over.
            self.assign(id, WaitPrimary);
            if let Some(primary) = primary.filter(|primary| primary.id != id) {
                self.assign(primary.id, Demoted);
            }
        } else if is(active, Demoted)
            && well
            && (steady
                || primary
                    .is_some_and(|row| row.reported == Some(WaitPrimary) && row.assigned == Some(Primary)))
        {
            self.assign(id, Catchingup);
        } else if is(active, JoinSecondary)
            && primary.is_some_and(|row| {
                matches!(row.reported, Some(WaitPrimary | Primary))
                    && matches!(row.assigned, Some(WaitPrimary | Primary))
            })
        {
            self.assign(id, Secondary);
        }
    }

    /// `perform_promotion`, which is `perform_failover` with the priorities changed for a while where there is a choice.
    pub(crate) fn promote(&mut self, name: &str) -> Result<(), String> {
        let node = self.by_name(name).cloned().ok_or_else(|| format!("node \"{name}\" is not registered"))?;
        if node.assigned.is_some_and(|state| state.is_writable()) || is_being_promoted(&node) {
            return Ok(());
        }
        let primary = self.writable(node.group).cloned().ok_or("couldn't find the primary node")?;
        if !is(&node, Secondary) || !is_any(Some(&primary), &[Primary, WaitPrimary]) {
            return Err(format!("cannot perform a failover: {name} is {:?}", node.reported));
        }
        self.assign(primary.id, Draining);
        if self.others(node.id).len() == 1 {
            self.assign(node.id, PreparePromotion);
            return Ok(());
        }
        for row in &mut self.rows {
            row.candidate_priority +=
                i64::from(row.id == node.id) * 101 - i64::from(row.id == primary.id) * 101;
        }
        Ok(())
    }

    /// `start_maintenance` and `stop_maintenance`.
    pub(crate) fn maintain(&mut self, name: &str, turn: Switch) -> Result<(), String> {
        let node = self.by_name(name).cloned().ok_or_else(|| format!("node \"{name}\" is not registered"))?;
        match turn {
            Switch::On if matches!(node.assigned, Some(WaitMaintenance | Maintenance)) => (),
            Switch::On => {
                let primary = self.writable(node.group).cloned().ok_or("couldn't find the primary node")?;
                if !is_any(Some(&node), &[Secondary, Catchingup])
                    || !is_any(Some(&primary), &[Primary, WaitPrimary])
                {
                    return Err(format!("cannot start maintenance: {name} is {:?}", node.reported));
                }
                let counts = self.others(primary.id);
                let counts = counts
                    .iter()
                    .filter(|row| row.id != node.id && row.replication_quorum && is(row, Secondary));
                if counts.count() < self.settings().number_sync_standbys as usize {
                    return Err("cannot start maintenance: number_sync_standbys".to_owned());
                }
                self.assign(node.id, WaitMaintenance);
            }
            Switch::Off if is(&node, Maintenance) => self.assign(node.id, Catchingup),
            Switch::Off => (),
        }
        Ok(())
    }

    fn proceed_primary(&mut self, primary: &NodeRow) {
        let id = primary.id;
        let others = self.others(id);
        if is(primary, Single) && others.iter().any(|row| is(row, WaitStandby)) {
            return self.assign(id, WaitPrimary);
        }
        if is(primary, JoinPrimary) {
            return self.assign(id, Primary);
        }
        if !is_any(Some(primary), &[Primary, WaitPrimary, ApplySettings]) {
            return;
        }
        let (mut secondaries, mut confirming) = (0, 0);
        for other in &others {
            if other.assigned == Some(Secondary)
                && !matches!(other.reported, Some(ReportLsn | JoinSecondary))
                && is_unhealthy(other)
            {
                self.assign(other.id, Catchingup);
            } else if is(other, Secondary) {
                secondaries += 1;
                confirming += usize::from(other.replication_quorum);
            }
        }
        if !others.iter().any(|row| row.replication_quorum) {
            return self.assign(id, if secondaries == 0 { WaitPrimary } else { Primary });
        }
        let waits = self.settings().number_sync_standbys > 0;
        if !is(primary, WaitPrimary) && confirming == 0 {
            let goal = if waits { Primary } else { WaitPrimary };
            if primary.assigned != Some(goal) {
                return self.assign(id, goal);
            }
        }
        if is(primary, WaitPrimary) && confirming > 0 {
            return self.assign(id, Primary);
        }
        if is(primary, ApplySettings) {
            self.assign(id, if confirming == 0 && !waits { WaitPrimary } else { Primary });
        }
    }

    /// `ProceedGroupStateForMSFailover`: an election among several standbys; whether it moved anything.
    fn elect(&mut self, active: &NodeRow) -> bool {
        let group: Vec<NodeRow> = self.rows.iter().filter(|row| row.group == active.group).cloned().collect();
        if let Some(candidate) = group.iter().find(|row| is_being_promoted(row)) {
            let ready = matches!(candidate.assigned, Some(StopReplication | WaitPrimary));
            if candidate.id != active.id && is(active, ReportLsn) && ready {
                self.assign(active.id, JoinSecondary);
                return true;
            }
            return false;
        }
        let mut missing = 0;
        let mut candidates = Vec::new();
        for row in &group {
            let old = is_any(Some(row), &[Draining, Demoted]);
            let primary = is_in_primary_state(row)
                || matches!(row.assigned, Some(Draining | DemoteTimeout | Demoted))
                || is_writable(row.assigned);
            if primary && !old {
                continue;
            }
            if is_unhealthy(row) && row.reported != Some(ReportLsn) {
                missing += usize::from(row.replication_quorum && !old);
            } else if is(row, ReportLsn) {
                candidates.push(row);
            } else if row.assigned == Some(ReportLsn) {
                missing += 1;
            } else if matches!(row.reported, Some(Secondary | Catchingup)) || old {
                missing += 1;
                self.assign(row.id, ReportLsn);
            }
        }
        let quorum = self.settings().number_sync_standbys as usize;
        let counts = candidates.iter().filter(|row| row.replication_quorum || quorum == 0).count();
        if missing > 0 || candidates.is_empty() || counts < quorum + 1 {
            return false;
        }
        let best = candidates.iter().filter(|row| row.candidate_priority > 0 && !is_unhealthy(row));
        match best.max_by_key(|row| row.candidate_priority) {
            Some(best) => {
                let (best, group) = (best.id, best.group);
                self.assign(best, PreparePromotion);
                for row in self.rows.iter_mut().filter(|row| row.group == group) {
                    row.candidate_priority -= i64::from(row.candidate_priority > 100) * 101;
                    row.candidate_priority += i64::from(row.candidate_priority < 0) * 101;
                }
                true
            }
            None => false,
        }
    }

    /// `synchronous_standby_names(formation, group)`.
    pub(crate) fn synchronous(&mut self, group: u32) -> String {
        let members = self.rows.iter().filter(|row| row.group == group).count();
        let Some(primary) = self.writable(group).cloned() else { return String::new() };
        let others = self.others(primary.id);
        let quorum: Vec<&NodeRow> = others.iter().filter(|row| row.replication_quorum).collect();
        if members == 1 || quorum.is_empty() {
            return String::new();
        }
        let off = match members {
            2 => quorum[0].assigned != Some(Secondary),
            _ => is(&primary, WaitPrimary),
        };
        if off {
            return String::new();
        }
        let names: Vec<String> =
            quorum.iter().map(|row| format!("pgautofailover_standby_{}", row.id)).collect();
        let count = if members == 2 { 1 } else { self.settings().number_sync_standbys.max(1) };
        format!("ANY {count} ({})", names.join(", "))
    }

    /// `set_node_candidate_priority`, `set_node_replication_quorum`: the primary has settings to apply.
    pub(crate) fn set_property(
        &mut self,
        name: &str,
        priority: Option<u8>,
        quorum: Option<bool>,
    ) -> Result<(), String> {
        let row = self.by_name(name).ok_or_else(|| format!("node \"{name}\" is not registered"))?;
        row.candidate_priority = priority.map_or(row.candidate_priority, i64::from);
        row.replication_quorum = quorum.unwrap_or(row.replication_quorum);
        let (id, group) = (row.id, row.group);
        if self.others(id).is_empty() {
            return Ok(());
        }
        let Some(primary) = self.writable(group).cloned() else { return Ok(()) };
        if quorum == Some(false) {
            self.check_sync(&primary, self.formation.as_ref().expect("a formation").1.number_sync_standbys)?;
        }
        if is(&primary, ApplySettings) {
            return Err("cannot set it when the primary's current state is apply_settings".to_owned());
        }
        self.assign(primary.id, ApplySettings);
        Ok(())
    }

    fn check_sync(&self, primary: &NodeRow, wanted: u32) -> Result<(), String> {
        let count = self.others(primary.id).iter().filter(|row| row.replication_quorum).count();
        match wanted > 0 && (wanted as usize) + 1 > count {
            true => Err(format!("number_sync_standbys {wanted} is invalid with {count} standbys that count")),
            false => Ok(()),
        }
    }

    /// `set_formation_number_sync_standbys`: only group 0 is looked at, as in the original.
    pub(crate) fn set_number_sync_standbys(&mut self, wanted: u32) -> Result<(), String> {
        let primary = self.writable(0).cloned().ok_or("couldn't find the primary node in group 0")?;
        if !is_any(Some(&primary), &[Primary, WaitPrimary]) {
            return Err(format!(
                "cannot set number_sync_standbys when the primary is {:?}, to become {:?}",
                primary.reported, primary.assigned
            ));
        }
        self.check_sync(&primary, wanted)?;
        self.settings().number_sync_standbys = wanted;
        self.assign(primary.id, ApplySettings);
        Ok(())
    }
}
