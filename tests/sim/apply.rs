//! What each operation does to the world: an arm each, so that a new one has to be modelled.

use muster::authority::Signer;
use muster::command::{Command, Stdin};
use muster::formation::{NodeKind, NodeName, Secret, SigningKey};
use muster::issue::Issue;
use muster::op::{Op, Service, Synchronous, Way};
use muster::resource::data::{new_dir, node_dir};
use muster::resource::database::MadeBy;
use muster::resource::keeper::Idle;
use muster::resource::monitor::DBNAME;
use muster::sql::ident;
use muster::state::State;
use muster::step::{Action, Content, File, Step};
use rcgen::KeyPair;

use crate::monitor::{Monitor, Registration, Report};
use crate::world::{Data, Host, Place, SHOWN, Seeing, World, is_self_signed, state_path};

/// How a step ended, or that it has not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// A `Wait` got this answer, which is none of those it waits for.
    NotYet(String),
    Failed(String),
}

/// `'…'` literals of an SQL text, and its numbers outside them.
pub(crate) fn values(sql: &str) -> (Vec<String>, Vec<u64>) {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for (index, part) in sql.split('\'').enumerate() {
        match index % 2 {
            1 => texts.push(part.to_owned()),
            _ => {
                numbers
                    .extend(part.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()));
            }
        }
    }
    (texts, numbers)
}

pub(crate) fn sql(command: &Command) -> String {
    match &command.stdin {
        Stdin::Text(text) => text.clone(),
        Stdin::Hidden(secret) => secret.reveal().to_owned(),
        Stdin::Nothing | Stdin::Binary(_) => String::new(),
    }
}

impl World {
    pub(crate) fn apply(&mut self, step: &Step) -> End {
        if self.hosts[&step.on].sight != Seeing::Clear {
            return End::Failed("the host cannot be reached".to_owned());
        }
        assert!(self.is_told_as_it_is(step), "one thing is told, and another done: {step:#?}");
        self.replicate();
        self.check_health();
        let end = match &step.action {
            Action::Put(file) => self.put(&step.on, file),
            Action::Run(command) => self.run(step, command),
            Action::Issue(issue) => self.issue(&step.on, issue),
            Action::Try(trial) => {
                let tried = self.run(step, &trial.command);
                match tried {
                    Ok(()) => self.host(&step.on.0).kept.clear(),
                    Err(_) => self.take_back(&step.on),
                }
                tried
            }
            Action::Wait { command, answers, .. } => {
                return match self.ask(step, command) {
                    Ok(answer) if answers.contains(&answer) => End::Done,
                    Ok(answer) | Err(answer) => End::NotYet(answer),
                };
            }
        };
        self.replicate();
        match end {
            Ok(()) => End::Done,
            Err(why) => End::Failed(why),
        }
    }

    /// It happens, and nobody hears of it: what has to be confirmed is not.
    pub(crate) fn apply_unheard(&mut self, step: &Step) -> End {
        match &step.action {
            Action::Try(trial) if self.hosts[&step.on].sight == Seeing::Clear => {
                match self.run(step, &trial.command) {
                    Ok(()) => End::Done,
                    Err(why) => End::Failed(why),
                }
            }
            Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_) | Action::Wait { .. } => {
                self.apply(step)
            }
        }
    }

    /// What was there before a change that nobody has confirmed is there again, and in force.
    pub(crate) fn take_back(&mut self, on: &NodeName) {
        let prefix = format!("{}/", self.server(on).pgdata);
        let host = self.hosts.get_mut(on).expect("it is there");
        let kept = std::mem::take(&mut host.kept);
        if kept.is_empty() {
            return;
        }
        for (path, text) in kept {
            match path.strip_prefix(&prefix) {
                Some(name) => {
                    let data = host.data_mut().expect("it has files");
                    data.files.insert(name.to_owned(), text);
                }
                None => {
                    if path.ends_with("/server.crt") {
                        host.put_certificate(&text);
                    }
                    host.files.insert(path, text);
                }
            }
        }
        if self.hosts[on].runs() {
            self.load(on);
        }
    }

    fn put(&mut self, on: &NodeName, file: &File) -> Result<(), String> {
        let server = self.server(on).clone();
        let (new, pgdata) = (new_dir(&server), server.pgdata.clone());
        self.knows_what_is_there(on, file, &pgdata);
        let text = match &file.content {
            Content::Text(text) | Content::Certificate(text) => text.clone(),
            Content::Hidden(secret) | Content::PrivateKey(secret) => secret.reveal().to_owned(),
            Content::Binary(bytes) => {
                assert_eq!(file.path, state_path(&server), "no other binary file is known");
                self.host(&on.0).state = Some(bytes.clone());
                return Ok(());
            }
        };
        if file.undo.is_some() {
            let host = self.host(&on.0);
            let there = match file.path.strip_prefix(&format!("{pgdata}/")) {
                Some(name) => host.data().and_then(|data| data.files.get(name)),
                None => host.files.get(&file.path),
            };
            if let Some(there) = there.cloned() {
                host.kept.entry(file.path.clone()).or_insert(there);
            }
        }
        let sin = format!("{} is written on {on} beside no data directory", file.path);
        let host = self.hosts.get_mut(on).expect("it is there");
        if let Some(name) = file.path.strip_prefix(&format!("{new}/")) {
            match &mut host.building {
                Some(data) => data.put(name, text)?,
                None => self.sins.push(sin),
            }
        } else if let Some(name) = file.path.strip_prefix(&format!("{pgdata}/")) {
            match host.data_mut() {
                Some(data) => data.put(name, text)?,
                None => self.sins.push(sin),
            }
        } else {
            if file.path == format!("{}/server.crt", node_dir(&server)) {
                host.put_certificate(&text);
                // What was wrong with the pair.
                host.unusable.clear();
                host.why_down = None;
            }
            if file.path.ends_with("/.pgpass") {
                host.pgpass_mode = file.mode;
            }
            host.files.insert(file.path.clone(), text);
        }
        Ok(())
    }

    /// A key that is made here, as on a host without openssl.
    fn issue(&mut self, on: &NodeName, issue: &Issue) -> Result<(), String> {
        let authority = self.formation.authority.as_ref().ok_or("nobody signs")?;
        let SigningKey::Made { key } = &authority.key else { return Err("nobody signs".to_owned()) };
        let key = KeyPair::from_pem(key.reveal()).unwrap();
        let issued = Signer::with(&authority.certificates[0], key).unwrap().sign(issue, "none")?;
        let host = self.hosts.get_mut(on).expect("it is there");
        let trusted = host.files.get(&format!("{}/ca.crt", issue.dir)).ok_or("the host trusts nobody yet")?;
        assert!(trusted.contains(&authority.certificates[0]), "it would not take what was signed");
        // On the way from another authority nobody looks at a list.
        if let Some(lists) = host.files.get(&format!("{}/ca.crl", issue.dir)) {
            assert!(lists.contains(&authority.revoked[0]), "it would not take what has no list");
        }
        host.put_certificate(&issued.certificate);
        host.unusable.clear();
        host.why_down = None;
        host.files.insert(format!("{}/server.crt", issue.dir), issued.certificate);
        host.files.insert(format!("{}/server.key", issue.dir), issued.key.unwrap().reveal().to_owned());
        Ok(())
    }

    /// A plan shows `~` for a file that is there, and `+` for one that is not.
    fn knows_what_is_there(&mut self, on: &NodeName, file: &File, pgdata: &str) {
        let state = state_path(self.server(on));
        let host = &self.hosts[on];
        let is_there = match file.path.strip_prefix(&format!("{pgdata}/")) {
            _ if file.path == state => host.state.is_some(),
            Some(name) => host.data().is_some_and(|data| data.files.contains_key(name)),
            None => host.files.contains_key(&file.path),
        };
        if is_there != file.before.is_some() {
            let word = if is_there { "new" } else { "changed" };
            self.sins.push(format!("{} is shown as {word} on {on}", file.path));
        }
    }

    fn run(&mut self, step: &Step, command: &Command) -> Result<(), String> {
        let (on, args, sql) = (&step.on, &command.args, sql(command));
        let server = self.server(on).clone();
        match &step.op {
            Op::Write { .. } | Op::Issue { .. } | Op::Wait(_) => {
                panic!("no command writes a file or waits: {:?}", step.op)
            }
            Op::ShowCertificate => {
                let host = self.host(&on.0);
                let own = host.files.get(&format!("{}/server.crt", args[0]));
                let own = own.cloned().ok_or("cat: no such file")?;
                host.files.insert(SHOWN.to_owned(), own);
            }
            Op::ShowNoCertificate => drop(self.host(&on.0).files.remove(SHOWN)),
            Op::Initdb { .. } => {
                self.only_new_dir(on, &args[1]);
                let serial = self.serial();
                let made_by = MadeBy {
                    encoding: args[3].clone(),
                    locale: args[4].clone(),
                    data_checksums: args.get(5).is_some_and(|word| word == "--data-checksums"),
                };
                self.host(&on.0).building = Some(Data::new(serial, &args[2], made_by));
            }
            Op::BaseBackup { .. } => {
                self.only_new_dir(on, &args[1]);
                return self.basebackup(on, &args[2]);
            }
            Op::Install { .. } => {
                let host = self.host(&on.0);
                let Place::Empty = host.pgdata else { return Err("rmdir: directory not empty".to_owned()) };
                host.pgdata = Place::Present(host.building.take().ok_or("mv: no such directory")?);
            }
            Op::Start => {
                let host = &self.hosts[on];
                if is_self_signed(&server)
                    && !host.files.contains_key(&format!("{}/server.key", node_dir(&server)))
                {
                    return Err("could not load private key file".to_owned());
                }
                host.data().ok_or("pg_ctl: no data directory")?.check()?;
                if host.stale.is_some() {
                    return Err("lock file \"postmaster.pid\" already exists".to_owned());
                }
                self.start_postgres(on);
            }
            Op::RemoveStalePid => self.host(&on.0).stale = None,
            Op::Stop { .. } => {
                self.host(&on.0).data_mut().ok_or("pg_ctl: no data directory")?.postmaster = None;
            }
            Op::Reload => {
                self.running(on)?;
                self.load(on);
            }
            Op::TakeBack => self.take_back(on),
            Op::CreateDatabase { name } => {
                let data = self.writable(on)?;
                data.databases.insert(name.clone());
                if *name == DBNAME {
                    data.roles.insert("autoctl".to_owned(), false);
                }
            }
            Op::CreateExtension { name, .. } => return self.create_extension(on, name),
            Op::CreateRole { name } => {
                self.writable(on)?.roles.insert(name.clone(), name == "pgautofailover_monitor");
            }
            Op::RepairRole { name } => {
                self.writable(on)?.lacks.remove(name).ok_or("it lacks nothing")?;
            }
            Op::SetPassword { role: name } => {
                let data = self.writable(on)?;
                *data.roles.get_mut(name).ok_or("role does not exist")? = true;
                let (_, kept) = sql.split_once("PASSWORD '").expect("it is a literal");
                data.verifiers.insert(name.clone(), Secret::new(kept.trim_end().trim_end_matches("';")));
            }
            Op::Rotate { roles, path } => {
                let (file, sql) = sql.split_at(args[5].parse().expect("it is a length"));
                for role in roles {
                    let data = self.writable(on)?;
                    *data.roles.get_mut(role).ok_or("role does not exist")? = true;
                    let (_, kept) =
                        sql.split_once(&format!("{} PASSWORD '", ident(role))).expect("it is set");
                    let (kept, _) = kept.split_once('\'').expect("it is a literal");
                    data.verifiers.insert(role.clone(), Secret::new(kept));
                }
                if let Some(path) = path {
                    self.host(&on.0).files.insert(path.clone(), file.to_owned());
                    self.host(&on.0).pgpass_mode = 0o600;
                }
            }
            Op::CreateSlots { .. } => {
                let (names, _) = values(&sql);
                self.running(on)?.slots.extend(names);
            }
            Op::Synchronous { which: Synchronous::AsMonitorSays, .. } => {
                return self.set_synchronous_standby_names(on);
            }
            Op::Synchronous { which: Synchronous::Off, .. } => {
                self.running(on)?.synchronous = String::new();
            }
            Op::EnableUnit { .. } => {
                let path = format!("/etc/systemd/system/{}", args[0]);
                if !self.hosts[on].files.contains_key(&path) {
                    return Err(format!("unit {} not found", args[0]));
                }
                self.host(&on.0).enabled = true;
                return self.start_keeper(on);
            }
            Op::StartDetached => return self.start_keeper(on),
            Op::Checkpoint => drop(self.running(on)?),
            Op::Restart => {
                let data = self.hosts[on].data().ok_or("pg_ctl: no data directory")?;
                if data.standby && self.upstream(on).is_some_and(|primary| !self.fits(on, &primary)) {
                    return Err("recovery aborted because of insufficient parameter settings".to_owned());
                }
                let data = self.hosts.get_mut(on).and_then(Host::data_mut).expect("just looked at");
                // Another than the one that was to go is left alone.
                if data.postmaster.is_none_or(|pid| pid.to_string() == args[3]) {
                    data.check()?;
                    data.postmaster = None;
                    self.start_postgres(on);
                }
            }
            Op::MayReboot => (),
            Op::LookAgain => {
                let host = self.host(&on.0);
                if host.connects.take().is_some() {
                    host.deaf = false;
                }
            }
            Op::Reboot => self.reboot_host(on),
            Op::Switchover { to, .. } => return self.monitor_answering()?.promote(&to.0),
            Op::Maintenance { turn } => return self.monitor_answering()?.maintain(&step.on.0, *turn),
            Op::Renew { way, service } => {
                // One that waits for a server that has ended hears no order.
                let is_deaf = self.hosts[on].idle == Some(Idle::ForAnEndedServer);
                if is_deaf && args[4] != "kill" {
                    return Err("the keeper's service node-active is busy".to_owned());
                }
                if *way == Way::Restart {
                    self.host(&on.0).idle = None;
                }
                self.read_config(on, args)?;
                self.rewrite_conf(on);
                if (*way, *service) == (Way::Restart, Service::NodeActive) {
                    self.let_all_in_anew(on);
                }
            }
            Op::CompareSettings { .. } => {
                let host = self.host(&on.0);
                let data = host.building.as_ref().ok_or("pg_controldata: no such directory")?;
                data.check()?;
            }
            Op::Metadata { change, elsewhere } => {
                let coordinator = match elsewhere {
                    None => on.clone(),
                    Some(_) => self.coordinator_elsewhere(args)?,
                };
                return self.change_metadata(&coordinator, change, &sql);
            }
            Op::Report { .. } => return self.report(step, args).map(|_| ()),
            Op::CreateFormation { .. } => {
                // The first text is the name of the lock that keeps two nodes from doing it at once.
                let (texts, _) = values(&sql);
                self.monitor_answering()?.create_formation(&texts[1], &texts[2], &texts[3]);
            }
            Op::Register { .. } => return self.register(args),
            Op::TellSystemIdentifier => {
                let system = self.hosts[on].data().map(|data| data.system_identifier);
                let id: u64 = args[2].parse().unwrap();
                let rows = &mut self.monitor_answering()?.rows;
                let row = rows.iter_mut().find(|row| row.id == id).ok_or("no such node")?;
                row.system_identifier = Some(system.ok_or("no pg_control")?.to_string());
            }
            Op::SetPriority { to } => self.monitor_answering()?.set_property(&on.0, Some(*to), None)?,
            Op::SetQuorum { to } => self.monitor_answering()?.set_property(&on.0, None, Some(*to))?,
            Op::SetNumberSyncStandbys { to } => self.monitor_answering()?.set_number_sync_standbys(*to)?,
        }
        Ok(())
    }

    /// The script asks first: who is there by name, host and port is not registered again.
    fn register(&mut self, args: &[String]) -> Result<(), String> {
        let monitor = self.monitor_answering()?;
        if monitor.rows.iter().any(|row| row.name == args[5] && row.host == args[2]) {
            return Ok(());
        }
        let node = Registration {
            formation: args[1].clone(),
            host: args[2].clone(),
            port: args[3].parse().unwrap(),
            dbname: args[4].clone(),
            name: args[5].clone(),
            id: args[6].parse().unwrap(),
            group: args[7].parse().unwrap(),
            kind: args[8].clone(),
            priority: args[9].parse().unwrap(),
            quorum: args[10].parse().unwrap(),
            cluster: args[11].clone(),
        };
        monitor.register(node).map(|_| ())
    }

    /// `node_active` as muster calls it; a node whose keeper lives is never driven.
    pub(crate) fn report(&mut self, step: &Step, args: &[String]) -> Result<State, String> {
        if !self.monitor_is_up() {
            return Err("the monitor does not answer".to_owned());
        }
        if self.hosts[&step.on].keeper.is_some() {
            self.sins.push(format!("{} has a live keeper, and muster reports for it", step.on));
        }
        let data = self.hosts[&step.on].data();
        let report = Report {
            id: args[6].parse().unwrap(),
            state: State::parse(&args[8]).expect("a state"),
            running: data.is_some_and(Data::runs),
            timeline: data.filter(|data| data.runs()).map_or(1, |data| data.timeline),
        };
        let monitor = self.monitor.as_mut().ok_or("schema \"pgautofailover\" does not exist")?;
        let is_own = monitor.row(report.id).is_none_or(|row| row.name == step.on.0);
        if !is_own {
            self.sins.push(format!("{} reports as node {}, another's", step.on, report.id));
        }
        monitor.report(&report)
    }

    /// Building happens beside PGDATA, never in it.
    fn only_new_dir(&mut self, on: &NodeName, dir: &str) {
        if *dir != new_dir(self.server(on)) {
            self.sins.push(format!("{dir} is built over on {on}"));
        }
        if self.hosts[on].data().is_some() {
            self.sins.push(format!("another data directory is built on {on}, which has one"));
        }
    }

    fn basebackup(&mut self, on: &NodeName, conninfo: &str) -> Result<(), String> {
        let word =
            |key: &str| conninfo.split(' ').find_map(|word| word.strip_prefix(key)).expect("it is there");
        let source = self.at(word("host="), word("port=").parse().unwrap()).ok_or("no such host")?;
        let source = self.hosts[source].data().filter(|data| data.runs()).ok_or("connection refused")?;
        if !source.slots.contains(word("application_name=")) {
            return Err("the replication slot does not exist".to_owned());
        }
        if source.standby {
            self.sins.push(format!("{on} is copied from a standby"));
        }
        let copy = Data { standby: true, postmaster: None, slots: Default::default(), ..source.clone() };
        self.host(&on.0).building = Some(copy);
        Ok(())
    }

    /// What a coordinator with Citus creates it creates on its workers.
    fn logs_in_at_workers(&self, on: &NodeName) -> Result<(), String> {
        let Some(node) = self.formation.nodes.get(on).filter(|node| node.kind == NodeKind::Coordinator)
        else {
            return Ok(());
        };
        if !self.hosts[on].data().is_some_and(|data| data.extensions.contains_key("citus")) {
            return Ok(());
        }
        for group in self.formation.groups().into_iter().filter(|group| *group != node.group) {
            let data = self.writer(group).and_then(|name| self.hosts[&name].data());
            if data.is_some_and(|data| data.lacks.contains_key(&node.username)) {
                return Err(format!("role {} is not permitted to log in at group {group}", node.username));
            }
        }
        Ok(())
    }

    fn create_extension(&mut self, on: &NodeName, name: &str) -> Result<(), String> {
        let version = self.hosts[on].software.as_ref().and_then(|software| software.extensions.get(name));
        let version = version.cloned().ok_or("the extension is not available")?;
        self.logs_in_at_workers(on)?;
        let data = self.writable(on)?;
        data.extensions.insert(name.to_owned(), version);
        if name == "pgautofailover" {
            data.roles.insert("autoctl_node".to_owned(), false);
            self.monitor.get_or_insert_with(Monitor::new);
        }
        Ok(())
    }

    fn set_synchronous_standby_names(&mut self, on: &NodeName) -> Result<(), String> {
        if !self.monitor_is_up() {
            return Err("the monitor does not answer".to_owned());
        }
        let group = self.formation.nodes[on].group;
        let names = self.monitor.as_mut().ok_or("no monitor")?.synchronous(group);
        let followers: Vec<&NodeName> =
            self.hosts.keys().filter(|name| self.upstream(name).as_ref() == Some(on)).collect();
        let rows = self.monitor.iter().flat_map(|monitor| &monitor.rows);
        let confirms = rows
            .filter(|row| followers.iter().any(|name| name.0 == row.name))
            .any(|row| names.contains(&format!("pgautofailover_standby_{}", row.id)));
        self.running(on)?.synchronous.clone_from(&names);
        if names.is_empty() || confirms {
            Ok(())
        } else {
            Err(format!("no standby of {names} confirms writes"))
        }
    }

    pub(crate) fn start_postgres(&mut self, on: &NodeName) {
        let pid = self.pid();
        if self.hosts.get(on).is_some_and(|host| host.why_down.is_some()) {
            return;
        }
        let Some(data) = self.hosts.get_mut(on).and_then(Host::data_mut).filter(|data| !data.runs()) else {
            return;
        };
        data.postmaster = Some(pid);
        data.pending_restart.clear();
        data.lowered.clear();
        data.started = Some(data.read_last());
        self.load(on);
    }

    /// Whether a standby would come up with its files: not with less than its primary runs with.
    pub(crate) fn fits(&self, standby: &NodeName, primary: &NodeName) -> bool {
        let data = |name: &NodeName| self.hosts[name].data().expect("it has a data directory");
        let (own, other) = (data(standby), data(primary));
        let is_lower = |name: &String| other.lowered.contains(name);
        let both = other.runs_with_each().into_iter().zip(own.will_have());
        both.into_iter().all(|((_, has), (_, will))| has <= will) && !own.lowered.iter().any(is_lower)
    }

    /// A server has read its files, those beside PGDATA too.
    pub(crate) fn load(&mut self, on: &NodeName) {
        let prefix = format!("{}/", node_dir(self.server(on)));
        let host = self.hosts.get_mut(on).expect("it is there");
        let pair: Vec<_> = host.files.iter().filter(|(path, _)| path.starts_with(&prefix)).collect();
        let pair: Vec<_> = pair.into_iter().map(|(path, text)| (path.clone(), text.clone())).collect();
        let data = host.data_mut().expect("a server has a data directory");
        data.loaded = data.files.clone();
        data.loaded.extend(pair);
    }

    fn running(&mut self, on: &NodeName) -> Result<&mut Data, String> {
        let data = self.hosts.get_mut(on).and_then(Host::data_mut);
        data.filter(|data| data.runs()).ok_or_else(|| "the server is not running".to_owned())
    }

    pub(crate) fn writable(&mut self, on: &NodeName) -> Result<&mut Data, String> {
        let data = self.running(on)?;
        if data.standby { Err("cannot execute in a read-only transaction".to_owned()) } else { Ok(data) }
    }
}

impl Data {
    fn put(&mut self, name: &str, text: String) -> Result<(), String> {
        self.files.insert(name.to_owned(), text);
        if name == "postgresql.conf" { self.check() } else { Ok(()) }
    }

    /// Whether the files that `postgresql.conf` includes are there.
    fn check(&self) -> Result<(), String> {
        for name in [
            "postgresql.conf",
            "pg_hba.conf",
            "postgresql-auto-failover.conf",
            "postgresql-auto-failover-standby.conf",
        ] {
            if !self.files.contains_key(name) {
                return Err(format!("could not open file {name}"));
            }
        }
        Ok(())
    }
}
