//! The world of a simulation: hosts, what lies on them, and the monitor; and what a probe would see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use base64::Engine as _;
use muster::authority;
use muster::command::Failure;
use muster::facts::{Facts, Seen, Sight, monitor_uri};
use muster::formation::{
    Authority, Ca, Formation, Monitor as Wanted, NodeKind, NodeName, Secret, Server, Tls,
};
use muster::probe::Answers;
use muster::resource::certificate::{self, Certificate};
use muster::resource::citus::{CitusFacts, CitusNode, HookFacts, Remote};
use muster::resource::client::ClientFacts;
use muster::resource::data::{DataDirectory, Pgdata, STANDBY_CONF, Software, node_dir};
use muster::resource::database::{DatabaseFacts, MadeBy, Right};
use muster::resource::host::{Boot, HostFacts, Resolved};
use muster::resource::keeper::{self, Idle, KeeperFacts, KeeperState};
use muster::resource::monitor::{DBNAME, MonitorFacts};
use muster::resource::neighbours::Surroundings;
use muster::resource::pair::{Holds, Link, Pair};
use muster::resource::place;
use muster::resource::settings::{self, FILES};
use muster::resource::tls::{self, Shown, TlsFacts};
use muster::scope::Scope;
use muster::state::State;

use crate::monitor::Monitor;

pub(crate) const HOME: &str = "/var/lib/postgresql";
pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";
/// What its connections show, certificate and key.
pub(crate) const SHOWN: &str = "/var/lib/postgresql/.postgresql/muster.pem";
const GB: u64 = 1 << 30;

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) formation: Formation,
    pub(crate) hosts: BTreeMap<NodeName, Host>,
    /// `None` before the extension is created.
    pub(crate) monitor: Option<Monitor>,
    pub(crate) external_is_up: bool,
    /// What must never happen, and did.
    pub(crate) sins: Vec<String>,
    serial: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) sight: Seeing,
    pub(crate) software: Option<Software>,
    pub(crate) around: Surroundings,
    pub(crate) systemd: bool,
    pub(crate) place: place::Place,
    /// PGDATA where a link is in its path.
    pub(crate) real_pgdata: Option<String>,
    pub(crate) client: ClientFacts,
    pub(crate) port_taken: bool,
    /// Another port than the inventory's that its server listens on.
    pub(crate) port: Option<u16>,
    /// A process of others' that `postmaster.pid` names.
    pub(crate) stale: Option<u32>,
    /// Drop-ins of its unit.
    pub(crate) drop_ins: Vec<String>,
    /// What of PGDATA is not its server's.
    pub(crate) spoiled: Vec<String>,
    /// Settings that its data needs while it is a standby.
    pub(crate) needs: BTreeMap<String, u64>,
    /// What keeps its PostgreSQL from its start, as its log has it.
    pub(crate) why_down: Option<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) pgpass_mode: u32,
    pub(crate) pgdata: Place,
    /// `PGDATA.muster-new`.
    pub(crate) building: Option<Data>,
    /// Files outside PGDATA, by path.
    pub(crate) files: BTreeMap<String, String>,
    /// What it puts back by itself unless that is confirmed, by path.
    pub(crate) kept: BTreeMap<String, String>,
    /// `pg_autoctl.state`, byte by byte.
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) enabled: bool,
    /// Its unit asks the monitor, and pg_autoctl does not run yet.
    pub(crate) waits: bool,
    /// Pid of a live `pg_autoctl`.
    pub(crate) keeper: Option<u32>,
    /// That one is stopped by a signal: it lives, and says nothing.
    pub(crate) frozen: bool,
    /// Its keeper reports no more, as it does nothing.
    pub(crate) idle: Option<Idle>,
    /// Its WAL receiver hangs.
    pub(crate) deaf: bool,
    /// Seconds for which it has waited for a connection.
    pub(crate) connects: Option<u64>,
    /// `pg_autoctl.cfg` as its service read it.
    pub(crate) remembers: String,
    /// The nodes its keeper knows.
    pub(crate) known: BTreeSet<u64>,
    /// User's files that cannot be read.
    pub(crate) unreadable: Vec<String>,
    /// Why PostgreSQL would not start with its certificate and key.
    pub(crate) unusable: Vec<String>,
    /// Whether nobody vouches for the user's certificate.
    pub(crate) unvouched: bool,
    /// Names that it sees elsewhere than they are.
    pub(crate) sees: BTreeMap<String, Resolved>,
    /// What it makes of the monitor's answer.
    pub(crate) forges: Option<(String, String)>,
    /// Another network than the one that all are in.
    pub(crate) network: Option<String>,
    /// Its boot; servers on one host have the same.
    pub(crate) boot: u64,
    /// Seconds since then.
    pub(crate) up: u64,
    certificate: Option<TlsFacts>,
    /// The one in the user's file.
    pub(crate) served: Option<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seeing {
    Clear,
    Unreachable,
    Unreadable(String),
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a world has a dozen")]
pub(crate) enum Place {
    Empty,
    Foreign(String),
    Present(Data),
}

/// A data directory and the server on it.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) system_identifier: u64,
    pub(crate) timeline: u32,
    pub(crate) made_by: MadeBy,
    pub(crate) standby: bool,
    pub(crate) postmaster: Option<u32>,
    pub(crate) files: BTreeMap<String, String>,
    /// What the running server has read: files of PGDATA and of the node's own directory.
    pub(crate) loaded: BTreeMap<String, String>,
    pub(crate) roles: BTreeMap<String, bool>,
    /// What it keeps of their passwords.
    pub(crate) verifiers: BTreeMap<String, Secret>,
    /// What roles may do no more.
    pub(crate) lacks: BTreeMap<String, Vec<Right>>,
    pub(crate) databases: BTreeSet<String>,
    pub(crate) extensions: BTreeMap<String, String>,
    pub(crate) slots: BTreeSet<String>,
    pub(crate) synchronous: String,
    /// Settings that wait for a restart, whatever the files say.
    pub(crate) pending_restart: BTreeSet<String>,
    /// Those of them that a standby must not have lower than its primary, and that were lowered.
    pub(crate) lowered: BTreeSet<String>,
    /// The `postgresql.conf` that the server was started with.
    pub(crate) started: Option<String>,
    pub(crate) hba_errors: Vec<String>,
    pub(crate) citus: Vec<CitusNode>,
    pub(crate) pools: BTreeMap<i64, String>,
}

impl World {
    pub(crate) fn bare(formation: &Formation) -> World {
        let host = |server: &Server| (server.name.clone(), Host::bare());
        let external = matches!(formation.monitor, Wanted::External(_));
        let mut world = World {
            formation: formation.clone(),
            hosts: formation.servers().map(host).collect(),
            monitor: external.then(Monitor::new),
            external_is_up: true,
            sins: Vec::new(),
            serial: 0,
        };
        for (number, host) in (1..).zip(world.hosts.values_mut()) {
            host.boot = number;
        }
        world
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn pid(&mut self) -> u32 {
        1000 + u32::try_from(self.serial()).unwrap()
    }

    pub(crate) fn server(&self, name: &NodeName) -> &Server {
        self.formation.servers().find(|server| server.name == *name).expect("a host of the inventory")
    }

    pub(crate) fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.get_mut(&NodeName::from(name)).unwrap_or_else(|| panic!("no host {name}"))
    }

    /// Whether the monitor's database answers.
    pub(crate) fn monitor_is_up(&self) -> bool {
        match &self.formation.monitor {
            Wanted::External(_) => self.external_is_up,
            Wanted::Managed(server) => {
                let host = &self.hosts[&server.name];
                host.sight != Seeing::Unreachable && host.data().is_some_and(Data::runs)
            }
        }
    }

    /// Whose PostgreSQL is at an address.
    pub(crate) fn at(&self, hostname: &str, port: u16) -> Option<&NodeName> {
        let is_here = |server: &&Server| server.hostname == hostname && server.pgport == port;
        self.formation.servers().find(is_here).map(|server| &server.name)
    }

    /// The node a standby follows: its server runs, lets it in and keeps its slot.
    pub(crate) fn upstream(&self, name: &NodeName) -> Option<NodeName> {
        let data = self.hosts[name].data().filter(|data| data.runs() && data.standby)?;
        if self.hosts[name].deaf {
            return None;
        }
        let conf = data.files.get("postgresql-auto-failover-standby.conf")?;
        let word = |key: &str| conf.split_once(key).and_then(|(_, rest)| rest.split([' ', '\'']).next());
        let upstream = self.at(word(" host=")?, word(" port=")?.parse().ok()?)?;
        let other = self.hosts[upstream].data().filter(|other| other.runs())?;
        let rule = other.rule_of_streams(&self.server(name).hostname)?;
        let lets_in = other.takes(word(" sslmode=")?, rule)
            && self.is_known(name, other, rule, "pgautofailover_replicator");
        let fits = other.system_identifier == data.system_identifier
            && other.timeline >= data.timeline
            && other.slots.contains(word("application_name=")?)
            && other.roles.contains_key("pgautofailover_replicator")
            && self.hosts[upstream].sight != Seeing::Unreachable
            && lets_in;
        (fits && upstream != name).then(|| upstream.clone())
    }

    /// What is written on a primary is soon on those that follow it.
    pub(crate) fn replicate(&mut self) {
        let is_standby = |host: &Host| host.data().is_some_and(|data| data.runs() && data.standby);
        let names: Vec<NodeName> =
            self.hosts.iter().filter(|(_, host)| is_standby(host)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(upstream) = self.upstream(&name) else { continue };
            let source = self.hosts[&upstream].data().expect("it is followed");
            let data = self.hosts[&name].data().expect("it follows");
            if data.is_level_with(source) {
                continue;
            }
            let source = source.clone();
            let data = self.hosts.get_mut(&name).and_then(Host::data_mut).expect("it follows");
            (data.roles, data.databases) = (source.roles, source.databases);
            (data.verifiers, data.lacks) = (source.verifiers, source.lacks);
            (data.extensions, data.citus, data.pools) = (source.extensions, source.citus, source.pools);
            data.timeline = source.timeline;
        }
    }

    /// The health checks of the monitor, taken to have just been made.
    pub(crate) fn check_health(&mut self) {
        let Some(mut monitor) = self.monitor.take() else { return };
        for row in &mut monitor.rows {
            let host = self.at(&row.host, row.port).map(|name| &self.hosts[name]);
            let is_good = host.is_some_and(|host| host.sight != Seeing::Unreachable && host.runs());
            row.health = i32::from(is_good);
            let is_mute = |host: &Host| host.keeper.is_some() && host.state.is_none();
            if host.is_some_and(|host| host.frozen || host.idle.is_some() || is_mute(host)) {
                row.silent = 45;
            }
        }
        self.monitor = Some(monitor);
    }

    /// What the probes would answer.
    pub(crate) fn facts(&mut self) -> Facts {
        self.facts_of(&self.formation.clone(), &Scope::whole())
    }

    /// What the probes of an inventory would answer that names a part of the world, the rest being strangers to it;
    /// with a limit other hosts are not asked.
    pub(crate) fn facts_of(&mut self, formation: &Formation, scope: &Scope) -> Facts {
        self.replicate();
        self.check_health();
        let seen = scope.sight(formation);
        let hosts = seen.into_iter().map(|server| (server.name.clone(), self.sight(server)));
        Facts { hosts: hosts.collect() }
    }

    fn sight(&self, server: &Server) -> Sight {
        let host = &self.hosts[&server.name];
        match &host.sight {
            Seeing::Clear => Sight::Seen(Box::new(self.seen(server, host))),
            Seeing::Unreachable => Sight::Unreachable(Failure::Unreachable {
                reason: format!("{}: no route to host", server.host.address),
                hint: "is it up?".to_owned(),
            }),
            Seeing::Unreadable(why) => Sight::Unreadable(why.clone()),
        }
    }

    fn seen(&self, server: &Server, host: &Host) -> Seen {
        let running = host.data().filter(|data| data.runs());
        let is_monitor = !self.formation.nodes.contains_key(&server.name);
        let asks = match &self.formation.monitor {
            Wanted::External(_) => self.external_is_up,
            Wanted::Managed(_) => is_monitor && running.is_some_and(|data| data.databases.contains(DBNAME)),
        };
        let kind = self.formation.nodes.get(&server.name).map(|node| node.kind.as_str());
        let config = host.files.get(&config_path(server));
        Seen {
            host: self.host_facts(server, host, running.is_some()),
            software: host.software.clone(),
            around: host.around.clone(),
            pgdata: host.pgdata_facts(),
            place: host.place.clone(),
            client: ClientFacts {
                pair: host.client.pair.clone().or_else(|| Some(host.pair(server))),
                ..host.client.clone()
            },
            tls: host.tls_facts(server),
            unconfirmed: host.unconfirmed(),
            node_conf: host.files.get(&format!("{}/node.conf", node_dir(server))).cloned(),
            pgpass: host.files.get("/var/lib/postgresql/.pgpass").cloned().map(Secret::new),
            pgpass_mode: host.files.get("/var/lib/postgresql/.pgpass").map(|_| host.pgpass_mode),
            warnings: host.warnings.clone(),
            hook: HookFacts {
                script: host.files.get(&format!("{}/on-promotion", node_dir(server))).cloned(),
                values: host.files.get(&format!("{}/on-promotion.values", node_dir(server))).cloned(),
            },
            database: running.map(|data| DatabaseFacts {
                streaming: Some(self.streaming(&server.name)),
                ..data.database_facts(&self.formation.dbname, host)
            }),
            keeper: KeeperFacts {
                pgdata: host.real_pgdata.clone(),
                alive: host.keeper,
                config: config.cloned().map(Secret::new),
                state: host.state.as_deref().map(read_state),
                unit: host.files.get(&unit_path(server)).cloned(),
                enabled: host.enabled,
                waits: host.waits,
                guard: host.files.get(&format!("{}/run-keeper", node_dir(server))).cloned(),
                others: host.other_units(server),
                drop_ins: host.drop_ins.clone(),
                unread: config.is_some_and(|text| text.starts_with("# muster: ")),
                idle: host.idle,
            },
            monitor: asks.then(|| host.forged(self.monitor_facts())),
            coordinator: self.coordinator_from(server),
            adopted: None,
            citus: running
                .filter(|data| kind == Some("coordinator") && data.extensions.contains_key("citus"))
                .map(|data| CitusFacts { nodes: data.citus.clone(), pools: data.pools.clone() }),
        }
    }

    /// The coordinator by the monitor's word, asked from a worker's or a reader's host.
    fn coordinator_from(&self, server: &Server) -> Option<Remote> {
        let asks = matches!(self.formation.monitor, Wanted::External(_)) && self.external_is_up;
        let node = self.formation.nodes.get(&server.name).filter(|_| asks)?;
        if node.kind != NodeKind::Worker && !node.is_reader() {
            return None;
        }
        let Some(row) = self.monitor.as_ref()?.writable(0) else { return Some(Remote::Absent) };
        let at = format!("{} {}", row.host, row.port);
        let host = self.at(&row.host, row.port).map(|name| &self.hosts[name]);
        let data = host.filter(|host| host.sight != Seeing::Unreachable).and_then(Host::data);
        Some(match data.filter(|data| data.runs() && data.extensions.contains_key("citus")) {
            Some(data) => {
                let facts = CitusFacts { nodes: data.citus.clone(), pools: data.pools.clone() };
                Remote::Seen { at, facts }
            }
            None => Remote::Unseen { at, why: "connection refused".to_owned() },
        })
    }

    fn monitor_facts(&self) -> MonitorFacts {
        let Some(monitor) = &self.monitor else { return MonitorFacts::default() };
        let formation =
            monitor.formation.as_ref().filter(|(name, _)| *name == self.formation.name).map(|(_, row)| row);
        MonitorFacts {
            extension: Some("2.0".to_owned()),
            formation: formation.cloned(),
            last_id: monitor.last_id,
            others: 0,
            nodes: monitor.rows.clone(),
        }
    }

    pub(crate) fn host_facts(&self, server: &Server, host: &Host, running: bool) -> HostFacts {
        let names = std::iter::once(monitor_uri(&self.formation).host)
            .chain(self.formation.nodes.values().map(|node| node.server.hostname.clone()));
        let mut resolved = BTreeMap::new();
        for (index, name) in names.enumerate() {
            let address = format!("10.88.0.{}", 11 + index).parse().ok();
            resolved.insert(name, Resolved { address, reverse: true });
        }
        let mut listening = BTreeSet::from([22]);
        if running || host.port_taken {
            listening.insert(server.pgport);
        }
        HostFacts {
            memory: 16 * GB,
            cpus: 4,
            systemd: host.systemd,
            home: HOME.to_owned(),
            networks: BTreeSet::from([host.network.as_deref().unwrap_or("10.88.0.0/24").parse().unwrap()]),
            addresses: resolved.get(&server.hostname).and_then(|own| own.address).into_iter().collect(),
            names: resolved.into_iter().chain(host.sees.clone()).collect(),
            listening,
            lacks_locale: false,
            boot: Some(Boot { id: boot_id(host.boot), up: host.up }),
        }
    }
}

/// As the kernel has it.
pub(crate) fn boot_id(boot: u64) -> String {
    format!("00000000-0000-4000-8000-{boot:012}")
}

pub(crate) fn config_path(server: &Server) -> String {
    format!("{HOME}/.config/pg_autoctl{}/pg_autoctl.cfg", server.pgdata)
}

pub(crate) fn state_path(server: &Server) -> String {
    format!("{HOME}/.local/share/pg_autoctl{}/pg_autoctl.state", server.pgdata)
}

pub(crate) fn unit_path(server: &Server) -> String {
    format!("/etc/systemd/system/{}", keeper::unit(server))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The four numbers of `pg_autoctl.state`; offsets as in state.h.
pub(crate) fn read_state(bytes: &[u8]) -> KeeperState {
    let state = |at| *State::ALL.iter().find(|state| **state as u32 == word(bytes, at)).expect("a state");
    KeeperState {
        node_id: u64::from(word(bytes, 24)),
        group: word(bytes, 28),
        assigned: state(32),
        current: state(56),
    }
}

/// What a keeper writes over it.
pub(crate) fn write_state(bytes: &mut [u8], current: State, assigned: State) {
    bytes[32..36].copy_from_slice(&(assigned as u32).to_le_bytes());
    bytes[56..60].copy_from_slice(&(current as u32).to_le_bytes());
}

impl Host {
    fn bare() -> Host {
        let extensions = [
            ("citus", "13.2-1"),
            ("pgautofailover", "2.0"),
            ("pg_stat_statements", "1.10"),
            ("btree_gist", "1.7"),
        ];
        Host {
            sight: Seeing::Clear,
            software: Some(Software {
                bin: BIN.to_owned(),
                major: 15,
                pg_autoctl: Some(("/usr/bin/pg_autoctl".to_owned(), "2.0".to_owned())),
                extensions: extensions.map(|(name, version)| (name.to_owned(), version.to_owned())).into(),
            }),
            around: Surroundings::default(),
            systemd: true,
            real_pgdata: None,
            place: place::Place {
                near: "/var/lib/postgresql".to_owned(),
                room_kb: 50 << 20,
                inodes: None,
                access: place::Access::Writable,
                is: place::Is::Plain,
                tmp_kb: 1 << 20,
                tmp_inodes: None,
            },
            client: ClientFacts::default(),
            port_taken: false,
            port: None,
            stale: None,
            why_down: None,
            needs: BTreeMap::new(),
            spoiled: Vec::new(),
            drop_ins: Vec::new(),
            warnings: Vec::new(),
            pgpass_mode: 0o600,
            pgdata: Place::Empty,
            building: None,
            files: BTreeMap::new(),
            kept: BTreeMap::new(),
            state: None,
            enabled: false,
            waits: false,
            keeper: None,
            frozen: false,
            idle: None,
            deaf: false,
            connects: None,
            remembers: String::new(),
            known: BTreeSet::new(),
            unreadable: Vec::new(),
            unusable: Vec::new(),
            unvouched: false,
            sees: BTreeMap::new(),
            forges: None,
            network: None,
            boot: 0,
            up: 86_400,
            certificate: None,
            served: None,
        }
    }

    /// The monitor's answer, as this host hands it on.
    fn forged(&self, mut facts: MonitorFacts) -> MonitorFacts {
        if let Some((node, state)) = &self.forges {
            let row = facts.nodes.iter_mut().find(|row| row.name == *node).expect("the monitor has it");
            (row.reported, row.assigned) = (State::parse(state), State::parse(state));
        }
        facts
    }

    /// Names of the files of a change that was cut off before it was confirmed.
    fn unconfirmed(&self) -> Option<Vec<String>> {
        let names = self.kept.keys().filter_map(|path| path.rsplit('/').next()).map(str::to_owned);
        (!self.kept.is_empty()).then(|| names.collect())
    }

    pub(crate) fn data(&self) -> Option<&Data> {
        match &self.pgdata {
            Place::Present(data) => Some(data),
            Place::Empty | Place::Foreign(_) => None,
        }
    }

    pub(crate) fn data_mut(&mut self) -> Option<&mut Data> {
        match &mut self.pgdata {
            Place::Present(data) => Some(data),
            Place::Empty | Place::Foreign(_) => None,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.data().is_some_and(Data::runs)
    }

    fn pair(&self, server: &Server) -> Pair {
        let shown = self.files.get(SHOWN);
        let link = if shown.is_some() { Link::Ours } else { Link::Absent };
        let own = self.files.get(&format!("{}/server.crt", node_dir(server)));
        let holds = match shown {
            None => Holds::Nothing,
            Some(_) if shown == own => Holds::Own,
            Some(_) => Holds::Another { signed_with: None },
        };
        Pair { certificate: link, key: link, holds }
    }

    fn other_units(&self, server: &Server) -> Vec<keeper::OtherUnit> {
        let units = self.files.iter().filter_map(|(path, text)| {
            let name =
                path.strip_prefix("/etc/systemd/system/").filter(|name| *name != keeper::unit(server))?;
            let environment = text.lines().find(|line| line.contains("PGDATA="))?.to_owned();
            Some(keeper::OtherUnit {
                name: name.to_owned(),
                enabled: self.enabled,
                active: true,
                environment,
            })
        });
        units.collect()
    }

    /// Power off and on: PostgreSQL and the keeper are gone; systemd starts what is enabled (see `World::boot`).
    pub(crate) fn stop_everything(&mut self) {
        self.keeper = None;
        if let Some(data) = self.data_mut() {
            data.postmaster = None;
        }
    }

    /// The certificate is read once, when it is written: a world is looked at often.
    pub(crate) fn put_certificate(&mut self, pem: &str) {
        let text = base64::engine::general_purpose::STANDARD.encode(pem);
        let answer = format!("tls.cert:{text}\ntls.key=1\ntls.unreadable:\nend=\n");
        self.certificate = Some(tls::parse(&Answers::parse(&answer).unwrap()).unwrap());
    }

    pub(crate) fn certificate_mut(&mut self) -> &mut TlsFacts {
        self.certificate.as_mut().expect("a certificate")
    }

    fn tls_facts(&self, server: &Server) -> TlsFacts {
        let set_to = |name: &str| {
            let conf = self.data().and_then(|data| data.files.get("postgresql-auto-failover.conf"))?;
            settings::value(conf, name).map(str::to_owned)
        };
        let certificate = self.certificate.as_ref().and_then(|facts| facts.certificate.clone());
        let runs = matches!(&self.pgdata, Place::Present(data) if data.postmaster.is_some());
        let shown = match &certificate {
            Some(_) if runs && self.data().is_some_and(|data| data.has_by_system("ssl = 'off'")) => {
                Shown::Nothing
            }
            Some(certificate) if runs => {
                Shown::Certificate { certificate: certificate.clone(), of_file: Some(true) }
            }
            Some(_) | None => Shown::Unknown,
        };
        TlsFacts {
            file: self.files.keys().any(|path| path.ends_with("/server.crt")),
            certificate,
            unusable: self.unusable.clone(),
            unvouched: self.unvouched,
            trusted: set_to("ssl_ca_file")
                .filter(|path| !path.ends_with(".node/ca.crt"))
                .map(|path| certificate::blocks(&own_authority(&path)))
                .unwrap_or_default(),
            given_authority: match &server.tls {
                Tls::Files { ca: Some(ca), .. } => Some(certificate::blocks(&own_authority(ca))),
                Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. } => None,
            },
            ed25519: false,
            shown,
            key: self.files.keys().any(|path| path.ends_with("/server.key")),
            unreadable: self.unreadable.clone(),
            served: self.served.clone(),
            given: None,
            authority: self
                .files
                .iter()
                .find(|(path, _)| path.ends_with(".node/ca.crt"))
                .map(|(_, text)| certificate::blocks(text)),
            revoked: self
                .files
                .iter()
                .find(|(path, _)| path.ends_with(".node/ca.crl"))
                .map(|(_, text)| certificate::lists(text)),
        }
    }

    /// Whether it runs with less than its data needs of a standby.
    pub(crate) fn is_short(&self) -> bool {
        let runs_with = self.data().map(Data::runs_with_each).into_iter().flatten();
        runs_with
            .into_iter()
            .any(|(name, has)| self.needs.get(name).is_some_and(|need| u64::from(has) < *need))
    }

    fn pgdata_facts(&self) -> Pgdata {
        match &self.pgdata {
            Place::Empty => Pgdata::Empty,
            Place::Foreign(what) => Pgdata::Foreign(what.clone()),
            Place::Present(data) => Pgdata::Present(Box::new(DataDirectory {
                major: 15,
                system_identifier: data.system_identifier,
                control_version: 1300,
                catalog_version: 202_209_061,
                postmaster: data.postmaster,
                port: data.postmaster.and(self.port),
                stale: self.stale,
                why_down: self.why_down.clone().filter(|_| data.postmaster.is_none()),
                standby: data.standby,
                needs: self.needs.clone(),
                spoiled: self.spoiled.clone(),
                files: FILES
                    .iter()
                    .filter(|name| **name != STANDBY_CONF)
                    .map(|name| ((*name).to_owned(), data.files.get(*name).cloned()))
                    .collect(),
                standby_conf: data.files.get(STANDBY_CONF).cloned().map(Secret::new),
            })),
        }
    }
}

impl Data {
    pub(crate) fn new(serial: u64, user: &str, made_by: MadeBy) -> Data {
        Data {
            made_by,
            system_identifier: 7_711_138_939_607_990_000 + serial,
            timeline: 1,
            standby: false,
            postmaster: None,
            files: BTreeMap::from([("postgresql-auto-failover-standby.conf".to_owned(), String::new())]),
            loaded: BTreeMap::new(),
            roles: BTreeMap::from([(user.to_owned(), false)]),
            verifiers: BTreeMap::new(),
            lacks: BTreeMap::new(),
            databases: ["postgres", "template0", "template1"].map(str::to_owned).into(),
            extensions: BTreeMap::from([("plpgsql".to_owned(), "1.0".to_owned())]),
            slots: BTreeSet::new(),
            synchronous: String::new(),
            pending_restart: BTreeSet::new(),
            lowered: BTreeSet::new(),
            started: None,
            hba_errors: Vec::new(),
            citus: Vec::new(),
            pools: BTreeMap::new(),
        }
    }

    /// What muster tells initdb where the inventory says nothing.
    pub(crate) fn by_default() -> MadeBy {
        MadeBy { encoding: "UTF8".to_owned(), locale: "C.UTF-8".to_owned(), data_checksums: true }
    }

    pub(crate) fn runs(&self) -> bool {
        self.postmaster.is_some()
    }

    fn has_by_system(&self, line: &str) -> bool {
        self.files.get("postgresql.auto.conf").is_some_and(|text| text.lines().any(|found| found == line))
    }

    fn is_level_with(&self, other: &Data) -> bool {
        (&self.roles, &self.databases, &self.extensions)
            == (&other.roles, &other.databases, &other.extensions)
            && (&self.verifiers, &self.lacks) == (&other.verifiers, &other.lacks)
            && (&self.citus, &self.pools, self.timeline) == (&other.citus, &other.pools, other.timeline)
    }

    /// Whether a host's standby, which connects with this sslmode, comes in.
    pub(crate) fn lets_in(&self, hostname: &str, mode: &str) -> bool {
        self.rule_of_streams(hostname).is_some_and(|rule| self.takes(mode, rule))
    }

    pub(crate) fn rule_of_streams(&self, hostname: &str) -> Option<&str> {
        let who = format!(" replication \"pgautofailover_replicator\" {hostname} ");
        self.rules().lines().find(|line| line.contains(&who))
    }

    fn conf(&self) -> &str {
        self.files.get("postgresql.conf").map_or("", String::as_str)
    }

    /// Its max_connections.
    pub(crate) fn runs_with(&self) -> u32 {
        self.runs_with_each()[0].1
    }

    /// What it has of what a standby must not have lower than its primary.
    pub(crate) fn runs_with_each(&self) -> [(&'static str, u32); 2] {
        of_each(self.started.as_deref().unwrap_or_else(|| self.conf()))
    }

    /// The same after a restart.
    pub(crate) fn will_have(&self) -> [(&'static str, u32); 2] {
        of_each(&self.read_last())
    }

    /// What a start reads, the last line of a setting last.
    pub(crate) fn read_last(&self) -> String {
        let system = self.files.get("postgresql.auto.conf").map_or("", String::as_str);
        format!("{}{system}", self.conf())
    }

    pub(crate) fn pending(&self) -> BTreeSet<String> {
        let started = self.started.as_deref().unwrap_or_else(|| self.conf());
        let now = self.read_last();
        let differs = |name: &&str| settings::value(started, name) != settings::value(&now, name);
        // A file that is gone is not read.
        let is_there = self.files.contains_key("postgresql.conf");
        let by_files = AT_START.into_iter().filter(|name| is_there && differs(name)).map(str::to_owned);
        by_files.chain(self.pending_restart.iter().cloned()).collect()
    }

    pub(crate) fn lowered(&self) -> BTreeSet<String> {
        let pending = self.pending();
        let both = self.runs_with_each().into_iter().zip(self.will_have());
        let lower = both.filter(|((name, has), (_, will))| pending.contains(*name) && will < has);
        lower.map(|((name, _), _)| name.to_owned()).chain(self.lowered.iter().cloned()).collect()
    }

    fn database_facts(&self, dbname: &str, host: &Host) -> DatabaseFacts {
        let own =
            host.files.iter().filter(|(path, _)| path.contains(".node/") && !path.ends_with("/run-keeper"));
        let is_unread = |(path, text): &(&String, &String)| self.loaded.get(*path) != Some(*text);
        let unread = self.files.iter().filter(|(name, _)| *name != STANDBY_CONF).chain(own).filter(is_unread);
        DatabaseFacts {
            in_recovery: self.standby,
            roles: self.roles.clone(),
            verifiers: self.verifiers.clone(),
            lacks: self.lacks.clone(),
            databases: self.databases.clone(),
            uptime: Some(3600),
            slots: self.slots.clone(),
            synchronous_standby_names: self.synchronous.clone(),
            pending_restart: self.pending(),
            lowered: self.lowered(),
            runs_with: self.runs_with_each().map(|(name, value)| (name.to_owned(), value.to_string())).into(),
            by_command_line: BTreeSet::new(),
            hba_errors: self.hba_errors.clone(),
            hba_notes: Vec::new(),
            needs_restart: AT_START.map(str::to_owned).into(),
            made_by: Some(self.made_by.clone()),
            setting_errors: Vec::new(),
            streaming: None,
            unread: unread.map(|(path, _)| path.clone()).filter(|path| !path.ends_with(".key")).collect(),
            extensions: self.databases.contains(dbname).then(|| self.extensions.clone()),
        }
    }
}

/// Settings that this server takes when it starts.
const AT_START: [&str; 4] = ["max_connections", "max_worker_processes", "listen_addresses", "shared_buffers"];

fn of_each(conf: &str) -> [(&'static str, u32); 2] {
    [("max_connections", 100), ("max_worker_processes", 8)].map(|(name, default)| {
        (name, settings::value(conf, name).and_then(|value| value.parse().ok()).unwrap_or(default))
    })
}

/// Whether the server's key pair is its own to make.
pub(crate) fn is_self_signed(server: &Server) -> bool {
    matches!(server.tls, Tls::SelfSigned { .. } | Tls::Managed { .. })
}

/// What is in the user's file of an authority, by its path.
pub(crate) fn own_authority(path: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(path);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// What the command finds before it plans: one authority for all of these formations.
pub(crate) fn with_authority(formation: Formation) -> Formation {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let managed = formation.servers().any(|server| matches!(server.tls, Tls::Managed { .. }));
    let made = || {
        let dir = Some("/nowhere/ca".to_owned());
        let nowhere = Formation { ca: Ca { dir, ..Ca::default() }, ..formation.clone() };
        authority::find(&nowhere, crate::run::TODAY).unwrap().expect("a server has ssl: managed")
    };
    let authority = managed.then(|| AUTHORITY.get_or_init(made).clone());
    formation.with_authority(authority)
}

/// The same, and the passwords that an earlier run has made.
pub(crate) fn with_what_is_made(formation: Formation) -> Formation {
    let passwords = formation.lacking().into_iter().map(|one| (one, Secret::new(one.as_str()))).collect();
    with_authority(formation).with_passwords(&passwords)
}
