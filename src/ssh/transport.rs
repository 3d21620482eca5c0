//! The ways to all hosts of a run: one connection a bastion, however many hosts stand behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::credentials::Credentials;
use super::link::{Link, Seen};
use super::session::Session;
use super::settings::{Checking, Jump, Proxy, Settings};
use crate::command::Failure;
use crate::console::Echo;
use crate::formation::{Connection, Host, NodeName, Secret};

/// sshd starts to turn connections away while ten are not logged in yet (`MaxStartups 10:30:100`).
const HANDSHAKES: usize = 8;

/// A jump of a jump of a jump: nobody has more, so it is a circle.
const MOST_HOPS: usize = 16;

/// What the command line says of all hosts; it goes before the inventory and ssh_config.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--bastion`: every host is reached through these; they themselves through those before them.
    pub bastion: Option<Vec<Jump>>,
    /// `--accept-new`: the key of a host that nothing is known of is recorded.
    pub accept_new: bool,
    /// `--ssh-config`: the only configuration that is read; `none` is none at all.
    pub ssh_config: Option<String>,
    /// `--ask-pass`: the operator types the password of the hosts, once.
    pub ask_password: bool,
    /// `--ask-become-pass`: so too for sudo or su.
    pub ask_become_password: bool,
}

/// Connects to hosts; keeps what they have in common.
pub struct Transport {
    credentials: Credentials,
    overrides: Overrides,
    password: OnceCell<Result<Secret, Failure>>,
    become_password: OnceCell<Result<Secret, Failure>>,
    /// By the way to them.
    bastions: Mutex<BTreeMap<String, Bastion>>,
    /// Handshakes with one sshd at a time, by the way to it.
    gates: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl std::fmt::Debug for Transport {
    /// Without what the operator has typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

/// Connected once, by whoever needs it first; a failure is everybody's: refused keys are not offered again.
type Bastion = Arc<OnceCell<Result<Arc<Link>, Failure>>>;

impl Transport {
    pub fn new(credentials: Credentials, overrides: Overrides) -> Arc<Transport> {
        Arc::new(Transport {
            credentials,
            overrides,
            password: OnceCell::new(),
            become_password: OnceCell::new(),
            bastions: Mutex::default(),
            gates: Mutex::default(),
        })
    }

    /// Who the operator is.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Connects and logs in, through bastions where the way leads through them.
    ///
    /// Every failure is [`Failure::Unreachable`]; `settings.connect_timeout` holds for each hop.
    pub async fn connect(self: &Arc<Self>, name: &NodeName, host: &Host) -> Result<Session, Failure> {
        self.go(name, host, &mut Vec::new()).await
    }

    /// As [`Transport::connect`], telling what was seen of each hop on the way; the last one told is the host, or
    /// the hop that failed. This machine has no hops.
    ///
    /// An error is one that no hop had a part in.
    pub async fn check(self: &Arc<Self>, name: &NodeName, host: &Host) -> Result<Check, Failure> {
        let mut hops = Vec::new();
        match self.go(name, host, &mut hops).await {
            Ok(session) => Ok(Check { hops, session: Some(session) }),
            Err(failure) if hops.is_empty() => Err(failure),
            Err(_) => Ok(Check { hops, session: None }),
        }
    }

    async fn go(
        self: &Arc<Self>,
        name: &NodeName,
        host: &Host,
        hops: &mut Vec<Hop>,
    ) -> Result<Session, Failure> {
        if let Some(what) = &host.unspoken {
            let hint = "muster reaches hosts by ssh alone; leave this one out, as in `all:!HOST`".to_owned();
            return Err(Failure::Unreachable { reason: what.clone(), hint });
        }
        let host = &self.with_passwords(host).await?;
        match host.connection {
            Connection::Local => Session::local(name, host, &self.credentials),
            Connection::Ssh => {
                let route = self.resolved(host).await?;
                let link = self.follow(&route, hops).await?;
                Ok(Session::over(Arc::new(link), name, host))
            }
        }
    }

    /// Who logs in on a host; it is not connected to.
    pub fn login(&self, host: &Host) -> Result<String, Failure> {
        match host.connection {
            Connection::Local => self.credentials.runner(),
            Connection::Ssh => {
                let route = self.route(host)?;
                Ok(route.last().map(|target| target.user.clone()).unwrap_or_default())
            }
        }
    }

    /// What the operator types goes before the inventory's.
    async fn with_passwords(&self, host: &Host) -> Result<Host, Failure> {
        let mut host = host.clone();
        if self.overrides.ask_password && host.connection == Connection::Ssh {
            let asked = self.password.get_or_init(|| self.asked("password of the hosts: "));
            host.password = Some(asked.await.clone()?);
        }
        if self.overrides.ask_become_password {
            let asked = self.become_password.get_or_init(|| self.asked("password to become another user: "));
            host.becoming.password = Some(asked.await.clone()?);
        }
        Ok(host)
    }

    async fn asked(&self, question: &str) -> Result<Secret, Failure> {
        let answer = self.credentials.asker().ask(question, Echo::Hidden).await;
        answer.map(|answer| Secret::new(answer.as_str())).map_err(|why| {
            let hint = "run on a terminal, or let SSH_ASKPASS name a program; or give it in the inventory";
            unreachable(format!("the {}: {why}", question.trim_end_matches([' ', ':'])), hint)
        })
    }

    /// ssh_config may run commands (`Match exec`).
    async fn resolved(self: &Arc<Self>, host: &Host) -> Result<Vec<Settings>, Failure> {
        let (transport, host) = (self.clone(), host.clone());
        let route = tokio::task::spawn_blocking(move || transport.route(&host)).await;
        route.map_err(|error| unreachable(error.to_string(), "run again"))?
    }

    /// The hops to a host, its own settings last.
    ///
    /// Nobody is asked but ssh_config: the error is the configuration's, not a host's. This machine has no hops.
    pub fn route(&self, host: &Host) -> Result<Vec<Settings>, Failure> {
        if host.connection == Connection::Local {
            return Ok(Vec::new());
        }
        let mut host = host.clone();
        host.ssh_config = host.ssh_config.or_else(|| self.overrides.ssh_config.clone());
        let target = Settings::of(&host, &self.credentials)?;
        self.route_of(target, host.ssh_config.as_deref())
    }

    /// As [`Transport::route`], where the host's settings are decided but for what the command line says of all hosts.
    pub fn route_of(&self, target: Settings, config: Option<&str>) -> Result<Vec<Settings>, Failure> {
        let mut target = self.overridden(target);
        if let Some(bastion) = &self.overrides.bastion {
            // A bastion is reached through those before it.
            let itself = bastion
                .iter()
                .position(|jump| self.hop(jump, config).is_ok_and(|hop| hop.place() == target.place()));
            target.proxy = match bastion.split_at(itself.unwrap_or(bastion.len())).0 {
                [] => Proxy::Direct,
                jumps => Proxy::Jump(jumps.to_vec()),
            };
        }
        let mut route = vec![target];
        // The first bastion may itself stand behind others; those in the middle go through the one before.
        while let Proxy::Jump(jumps) = route[0].proxy.clone() {
            let Some((last, before)) = jumps.split_last() else { break };
            let mut hop = self.hop(last, config)?;
            if !before.is_empty() {
                hop.proxy = Proxy::Jump(before.to_vec());
            }
            if route.iter().any(|later| later.place() == hop.place()) {
                return Err(unreachable(
                    format!(
                        "the way to {} leads through {} twice",
                        route[route.len() - 1].original,
                        hop.original
                    ),
                    "ProxyJump goes in a circle: exempt the bastion from it, e.g. Match host *,!BASTION",
                ));
            }
            if route.len() >= MOST_HOPS {
                return Err(unreachable(
                    format!("the way to {} has more than {MOST_HOPS} hops", route[route.len() - 1].original),
                    "look for a circle in ProxyJump",
                ));
            }
            route.insert(0, hop);
        }
        Ok(route)
    }

    /// Says goodbye to the bastions; the hosts behind them are gone then.
    pub async fn close(&self) {
        let bastions = self.bastions.lock().map(|mut known| std::mem::take(&mut *known)).unwrap_or_default();
        for bastion in bastions.values().filter_map(|bastion| bastion.get()).flatten() {
            bastion.close().await;
        }
    }

    fn hop(&self, jump: &Jump, config: Option<&str>) -> Result<Settings, Failure> {
        Ok(self.overridden(Settings::of_jump(jump, config, &self.credentials)?))
    }

    fn overridden(&self, mut settings: Settings) -> Settings {
        if self.overrides.accept_new {
            settings.host_keys.checking = Checking::AcceptNew;
        }
        settings
    }

    /// Connects hop by hop; the bastions' connections are shared.
    async fn follow(&self, route: &[Settings], hops: &mut Vec<Hop>) -> Result<Link, Failure> {
        let Some((target, bastions)) = route.split_last() else {
            return Err(unreachable("the way to the host is empty".to_owned(), "run again"));
        };
        let mut through: Option<Arc<Link>> = None;
        let mut way = String::new();
        for hop in bastions {
            way.push_str(&format!("{}@{}>", hop.user, hop.place()));
            let bastion = self.bastion(&way);
            let link = bastion.get_or_init(|| self.open_bastion(hop, through.clone(), &way)).await;
            let link = link.clone();
            hops.push(Hop::of(hop, link.as_deref()));
            through = Some(link?);
        }
        way.push_str(&target.place());
        let _turn = self.turn(&way).await;
        let link = Link::open(target, &self.credentials, through).await;
        hops.push(Hop::of(target, link.as_ref()));
        link
    }

    async fn open_bastion(
        &self,
        hop: &Settings,
        through: Option<Arc<Link>>,
        way: &str,
    ) -> Result<Arc<Link>, Failure> {
        let _turn = self.turn(way).await;
        match Link::open(hop, &self.credentials, through).await {
            Ok(link) => {
                let link = Arc::new(link);
                let warm = link.clone();
                tokio::spawn(async move { warm.warm().await });
                Ok(link)
            }
            Err(Failure::Unreachable { reason, hint }) => {
                let reason = format!("bastion {}: {reason}", hop.original);
                Err(Failure::Unreachable { reason, hint })
            }
            Err(other) => Err(other),
        }
    }

    /// One whose connection has ended is connected anew: its host may have been rebooted.
    fn bastion(&self, way: &str) -> Bastion {
        let Ok(mut known) = self.bastions.lock() else { return Bastion::default() };
        let bastion = known.entry(way.to_owned()).or_default();
        if matches!(bastion.get(), Some(Ok(link)) if link.handle().is_closed()) {
            *bastion = Bastion::default();
        }
        bastion.clone()
    }

    /// One's turn to shake hands with an sshd; `None` cannot be.
    async fn turn(&self, way: &str) -> Option<OwnedSemaphorePermit> {
        let gate = self.gates.lock().ok().map(|mut gates| {
            gates.entry(way.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES))).clone()
        })?;
        gate.acquire_owned().await.ok()
    }
}

/// The way to a host, as it was gone.
pub struct Check {
    pub hops: Vec<Hop>,
    /// Where no hop failed.
    pub session: Option<Session>,
}

/// One hop: what was decided about it, and what came of it.
pub struct Hop {
    pub settings: Settings,
    pub outcome: Result<Seen, Failure>,
}

impl Hop {
    fn of(settings: &Settings, link: Result<&Link, &Failure>) -> Hop {
        let outcome = link.map(|link| link.seen().clone()).map_err(Clone::clone);
        Hop { settings: settings.clone(), outcome }
    }
}

fn unreachable(reason: String, hint: &str) -> Failure {
    Failure::Unreachable { reason, hint: hint.to_owned() }
}
