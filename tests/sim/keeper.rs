//! What lives in the world by itself: `pg_autoctl run` on every host that has it, and systemd after a reboot.

use std::collections::BTreeMap;

use muster::formation::{Monitor as Wanted, NodeName};
use muster::resource::replication::{Upstream, slot};
use muster::resource::settings;
use muster::state::State;

use crate::conf::as_configured;
use crate::monitor::Report;
use crate::world::{Data, Host, Place, World, config_path, read_state, unit_path, write_state};

impl World {
    /// Every live keeper reports once, and carries out what it is assigned; whether anything moved.
    pub(crate) fn tick(&mut self) -> bool {
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        let mut moved = false;
        self.replicate();
        for name in names {
            moved |= self.keeper(&name);
        }
        moved
    }

    /// Lets the keepers work until nothing moves any more.
    pub(crate) fn rest(&mut self) {
        for name in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.take_back(&name);
        }
        for _ in 0..50 {
            if !self.tick() {
                return;
            }
        }
        panic!("the keepers never come to rest: {:#?}", self.monitor);
    }

    fn keeper(&mut self, name: &NodeName) -> bool {
        let host = &self.hosts[name];
        if host.keeper.is_none() || host.frozen || host.idle.is_some() {
            return false;
        }
        if !self.formation.nodes.contains_key(name) {
            let started = !host.runs();
            self.start_postgres(name);
            return started;
        }
        if !self.monitor_is_up() {
            return false;
        }
        let Some(state) = host.state.as_deref().map(read_state) else { return false };
        let Some(row) = self.monitor.as_ref().and_then(|monitor| monitor.row(state.node_id)) else {
            self.sins
                .push(format!("the keeper of {name} is node {}, which the monitor lacks", state.node_id));
            return false;
        };
        if row.name != name.0 || row.group != state.group {
            self.sins.push(format!("the keeper of {name} reports as {}", row.name));
        }
        if !self.is_let_in_by_the_monitor(name) {
            self.sins.push(format!("the monitor refuses the keeper of {name}"));
        }
        let mut moved = false;
        if serves(state.current) && !self.hosts[name].runs() && self.hosts[name].data().is_some() {
            self.start_postgres(name);
            moved = true;
        }
        self.check_health();
        let report = Report {
            id: state.node_id,
            state: state.current,
            running: self.hosts[name].runs(),
            timeline: self.hosts[name].data().map_or(0, |data| data.timeline),
        };
        let before = self.monitor.clone();
        let assigned = self.monitor.as_mut().expect("it is up").report(&report).expect("a keeper's report");
        moved |= self.monitor != before;
        let mut current = state.current;
        if assigned != current && self.carry_out(name, current, assigned) {
            current = assigned;
            moved = true;
        }
        let host = self.hosts.get_mut(name).expect("it is there");
        write_state(host.state.as_mut().expect("a keeper has its state"), current, assigned);
        self.keep_slots(name, state.node_id);
        moved
    }

    /// A transition of `fsm.c`, as far as the world shows it.
    fn carry_out(&mut self, name: &NodeName, current: State, assigned: State) -> bool {
        let group = self.formation.nodes[name].group;
        match assigned {
            State::Single | State::WaitPrimary => {
                self.promote(name);
                self.set_synchronous(name, String::new());
            }
            State::Primary | State::ApplySettings => {
                self.promote(name);
                let names = self.monitor.as_mut().expect("it is up").synchronous(group);
                self.set_synchronous(name, names);
            }
            State::Catchingup | State::Secondary => {
                let copies = current == State::WaitStandby || current == State::Demoted;
                return self.follow(name, copies);
            }
            State::Draining | State::DemoteTimeout | State::Demoted | State::JoinSecondary => {
                if let Some(data) = self.hosts.get_mut(name).and_then(Host::data_mut) {
                    data.postmaster = None;
                }
            }
            State::StopReplication => self.promote(name),
            State::ReportLsn => {
                if let Some(data) = self.hosts.get_mut(name).and_then(Host::data_mut) {
                    data.standby = true;
                }
                self.start_postgres(name);
            }
            State::PreparePromotion | State::WaitStandby | State::WaitMaintenance | State::Maintenance => {}
            other => panic!("{name}: a keeper is asked to become {other} from {current}"),
        }
        true
    }

    fn promote(&mut self, name: &NodeName) {
        self.start_postgres(name);
        let Some(data) = self.hosts.get_mut(name).and_then(Host::data_mut) else { return };
        if !data.standby {
            return;
        }
        (data.standby, data.timeline) = (false, data.timeline + 1);
        // The hook of a Citus node: pg_dist_node gets to know where its group's primary is now.
        let (server, group) = (self.server(name).clone(), self.formation.nodes[name].group);
        let coordinator = if group == 0 { Some(name.clone()) } else { self.writer(0) };
        let Some(coordinator) = coordinator else { return };
        let Some(data) = self.hosts.get_mut(&coordinator).and_then(Host::data_mut) else { return };
        for row in data.citus.iter_mut().filter(|row| row.group == i64::from(group) && row.role == "primary")
        {
            (row.name, row.port) = (server.hostname.clone(), server.pgport.into());
        }
    }

    /// The node of a group whose server takes writes.
    pub(crate) fn writer(&self, group: u32) -> Option<NodeName> {
        let nodes = self.formation.group(group).map(|node| node.name());
        let takes_writes =
            |name: &&NodeName| self.hosts[*name].data().is_some_and(|data| data.runs() && !data.standby);
        nodes.filter(|name| takes_writes(name)).last().cloned()
    }

    fn set_synchronous(&mut self, name: &NodeName, names: String) {
        if let Some(data) = self.hosts.get_mut(name).and_then(Host::data_mut) {
            data.synchronous = names;
        }
    }

    /// A standby of the group's primary: copied, or brought back by pg_rewind, which brings the other's files.
    fn follow(&mut self, name: &NodeName, copies: bool) -> bool {
        // A keeper connects as its own configuration says, whatever the inventory says by now.
        let mut node = self.formation.nodes[name].clone();
        if let Some(config) = self.hosts[name].files.get(&config_path(&node.server)) {
            node.server = as_configured(&node.server, config);
        }
        let row = self.monitor.as_ref().and_then(|monitor| monitor.writable(node.group)).cloned();
        let Some(primary) = row.and_then(|row| self.at(&row.host, row.port).cloned()) else { return false };
        let Some(source) = self.hosts[&primary].data().filter(|data| data.runs()).cloned() else {
            return false;
        };
        let id = read_state(self.hosts[name].state.as_deref().expect("a keeper has its state")).node_id;
        let conf = settings::standby_conf(&node, id, Upstream::from(&self.formation.nodes[&primary]));
        let host = self.hosts.get_mut(name).expect("it is there");
        if copies || host.data().is_none_or(|data| data.timeline < source.timeline) {
            let mut data = Data { standby: true, postmaster: None, slots: Default::default(), ..source };
            data.files.insert("postgresql-auto-failover-standby.conf".to_owned(), conf);
            host.pgdata = Place::Present(data);
        } else if let Some(data) = host.data_mut() {
            data.standby = true;
            data.files.insert("postgresql-auto-failover-standby.conf".to_owned(), conf);
        }
        self.start_postgres(name);
        true
    }

    /// A service that has been restarted takes all its peers for new ones.
    pub(crate) fn let_all_in_anew(&mut self, name: &NodeName) {
        let id = self.monitor.as_mut().and_then(|monitor| monitor.by_name(&name.0)).map(|row| row.id);
        if let (Some(id), Some(host)) = (id, self.hosts.get_mut(name)) {
            host.known.clear();
            self.keep_slots(name, id);
        }
    }

    /// A keeper keeps the slots of its peers and lets them in, and drops the slots of nobody.
    fn keep_slots(&mut self, name: &NodeName, id: u64) {
        let group = self.formation.nodes[name].group;
        let rows = self.monitor.iter().flat_map(|monitor| &monitor.rows);
        let slots = rows.filter(|row| row.group == group && row.id != id).map(|row| slot(row.id)).collect();
        let others = self.monitor.iter().flat_map(|monitor| &monitor.rows);
        let others = others.filter(|row| row.group == group && row.id != id);
        let others: Vec<(u64, String)> = others.map(|row| (row.id, row.host.clone())).collect();
        let Some(host) = self.hosts.get_mut(name) else { return };
        let config = host.files.values().find(|text| text.contains("auth_method = ")).cloned();
        let config = config.unwrap_or_default();
        let value = |key: &str| config.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let (auth, word) =
            (value("auth_method = "), if value("active = ") == "0" { "host" } else { "hostssl" });
        let known = std::mem::replace(&mut host.known, others.iter().map(|(id, _)| *id).collect());
        let Some(data) = host.data_mut().filter(|data| data.runs()) else { return };
        data.slots = slots;
        // Of several new ones it lets in the first and forgets the rest: diff_nodesArray in keeper.c.
        let new = others.iter().filter(|(id, _)| !known.contains(id));
        let most = if known.is_empty() { usize::MAX } else { 1 };
        for (_, host) in new.take(most) {
            let start = format!("{word} replication \"pgautofailover_replicator\" {host} {auth}");
            let rules = data.files.get("pg_hba.conf").map(String::as_str).unwrap_or_default();
            if rules.lines().any(|line| line.starts_with(&start)) {
                continue;
            }
            let rule = format!("{start} # Auto-generated by pg_auto_failover\n");
            for files in [&mut data.files, &mut data.loaded] {
                files.entry("pg_hba.conf".to_owned()).or_default().push_str(&rule);
            }
        }
    }

    /// `systemctl start` of the unit, or the guard by itself: PostgreSQL first, where the monitor wants it.
    pub(crate) fn start_keeper(&mut self, name: &NodeName) -> Result<(), String> {
        let server = self.server(name).clone();
        let host = &self.hosts[name];
        if host.keeper.is_some() {
            return Ok(());
        }
        if !host.files.contains_key(&config_path(&server)) {
            return Err("pg_autoctl: there is no configuration file".to_owned());
        }
        if host.data().is_none() && !self.formation.nodes.contains_key(name) {
            return Err("pg_autoctl: PGDATA does not exist".to_owned());
        }
        if self.formation.nodes.contains_key(name) {
            let Some(state) = host.state.as_deref().map(read_state) else {
                return Err("pg_autoctl: there is no state file".to_owned());
            };
            if !host.files.keys().any(|path| path.ends_with("/run-keeper")) {
                return Err("/bin/sh: 0: cannot open run-keeper".to_owned());
            }
            let row = self.monitor.as_ref().and_then(|monitor| monitor.row(state.node_id));
            let goal = row.filter(|_| self.monitor_is_up()).and_then(|row| row.assigned);
            if goal.is_some_and(|goal| {
                goal.is_writable() || matches!(goal, State::Secondary | State::Catchingup)
            }) {
                self.start_postgres(name);
            }
        } else if host.runs() {
            self.sins.push(format!("pg_autoctl restarts the monitor's PostgreSQL on {name}"));
        }
        let pid = self.pid();
        self.host(&name.0).keeper = Some(pid);
        self.remember(name, |_| true);
        self.rewrite_conf(name);
        if !self.formation.nodes.contains_key(name) {
            self.start_postgres(name);
        }
        Ok(())
    }

    /// A service of a live pg_autoctl is told to read its file, or starts anew: what it does not take in, it writes back.
    pub(crate) fn read_config(&mut self, on: &NodeName, args: &[String]) -> Result<(), String> {
        if self.hosts[on].keeper.is_none_or(|pid| pid.to_string() != args[0]) {
            return Err("pg_autoctl has ended".to_owned());
        }
        let taken = [
            "monitor",
            "hostname",
            "active",
            "sslmode",
            "ca_file",
            "crl_file",
            "cert_file",
            "key_file",
            "maximum_backup_rate",
            "backup_directory",
        ];
        match args[4].as_str() {
            "hangup" => self.remember(on, |key| taken.contains(&key)),
            _ => self.remember(on, |_| true),
        }
        let file = &self.hosts[on].files[&args[2]];
        let lost = args[9..].iter().find(|key| {
            let line = |text: &str| {
                text.lines().find(|line| line.starts_with(&format!("{key} ="))).map(str::to_owned)
            };
            line(file) != line(&self.hosts[on].remembers)
        });
        lost.map_or(Ok(()), |key| Err(format!("the keeper has not taken in {key}")))
    }

    /// What it takes of its file counts; everything else, `auth_method` among it, it writes back as it was. Where
    /// PostgreSQL ran as it started it says where the socket is, too.
    fn remember(&mut self, on: &NodeName, is_taken: impl Fn(&str) -> bool) {
        let path = config_path(self.server(on));
        let host = self.host(&on.0);
        let (found, before) = (entries(&host.files[&path]), entries(&host.remembers));
        let mut now = if before.is_empty() { found.clone() } else { before };
        now.retain(|(section, key), _| found.contains_key(&(*section, *key)) || !is_taken(key));
        now.extend(found.iter().filter(|((_, key), _)| is_taken(key)));
        if is_taken("host") && host.runs() {
            now.entry(("postgresql", "host")).or_insert("/var/run/postgresql");
        }
        let mut text = String::new();
        let mut last = "";
        for ((section, key), value) in &now {
            if *section != last {
                text += &format!("[{section}]\n");
                last = section;
            }
            text += &format!("{key} = {value}\n");
        }
        host.files.insert(path, text.clone());
        host.remembers = text;
    }

    /// The same of everything on a host, which has another boot then.
    pub(crate) fn reboot_host(&mut self, of: &NodeName) {
        let (before, after) = (self.hosts[of].boot, 1000 + self.serial());
        let on_it = |(_, host): &(&NodeName, &Host)| host.boot == before;
        let names: Vec<NodeName> = self.hosts.iter().filter(on_it).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.reboot(&name);
            let host = self.hosts.get_mut(&name).expect("it is there");
            (host.boot, host.up) = (after, 20);
        }
    }

    /// The host goes down and comes back; where systemd knows the keeper's unit it starts it.
    pub(crate) fn reboot(&mut self, name: &NodeName) {
        let unit = unit_path(self.server(name));
        let host = self.hosts.get_mut(name).expect("it is there");
        host.stop_everything();
        if host.enabled && host.files.contains_key(&unit) {
            // A unit whose keeper cannot start yet is tried again and again.
            let _ = self.start_keeper(name);
        }
    }

    pub(crate) fn monitor_name(&self) -> Option<NodeName> {
        match &self.formation.monitor {
            Wanted::Managed(server) => Some(server.name.clone()),
            Wanted::External(_) => None,
        }
    }
}

/// Sections, keys and values of a `pg_autoctl.cfg`.
pub(crate) fn entries(text: &str) -> BTreeMap<(&str, &str), &str> {
    let mut section = "";
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => entries.extend(line.split_once(" = ").map(|(key, value)| ((section, key), value))),
        }
    }
    entries
}

fn serves(state: State) -> bool {
    state.is_writable() || matches!(state, State::Secondary | State::Catchingup | State::ReportLsn)
}
