//! The hosts of a formation, connected: one session each, one probe each.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::command::{Command, Failure, Output};
use crate::event::Event;
use crate::facts::{self, Facts, Sight, Told};
use crate::formation::{Formation, Host, NodeName, Server};
use crate::ssh::{Captured, Session, Transport};

/// Where events go: many senders, one reporter.
pub type Events = UnboundedSender<Event>;

/// More looks where answers differ.
const AGAIN: usize = 3;
/// Between them.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of an operator's own command on one host.
pub struct Answer {
    pub node: NodeName,
    pub took: Duration,
    pub ended: Result<Captured, Failure>,
}

/// The sessions of a run.
pub struct Fleet {
    /// One that has ended is replaced where that was to be: see [`Fleet::reconnect`].
    sessions: RwLock<BTreeMap<NodeName, Result<Arc<Session>, Failure>>>,
    hosts: BTreeMap<NodeName, Host>,
    took_to_connect: BTreeMap<NodeName, Duration>,
    transport: Arc<Transport>,
    /// Commands in flight, over all hosts.
    permits: Arc<Semaphore>,
    started: Instant,
}

impl Fleet {
    /// Connects to these hosts side by side; one that does not answer is kept as its failure.
    pub async fn connect<'h>(
        hosts: impl IntoIterator<Item = (&'h NodeName, &'h Host)>,
        transport: Arc<Transport>,
        forks: usize,
        events: &Events,
    ) -> Fleet {
        let hosts = hosts.into_iter().map(|(name, host)| (name.clone(), host.clone()));
        Fleet::empty(transport, forks).and(hosts, events).await
    }

    /// Nobody yet.
    pub fn empty(transport: Arc<Transport>, forks: usize) -> Fleet {
        Fleet {
            sessions: RwLock::default(),
            hosts: BTreeMap::new(),
            took_to_connect: BTreeMap::new(),
            transport,
            permits: Arc::new(Semaphore::new(forks.max(1))),
            started: Instant::now(),
        }
    }

    /// Connects to these hosts, too; each is known by the name given here.
    pub async fn and(mut self, hosts: impl IntoIterator<Item = (NodeName, Host)>, events: &Events) -> Fleet {
        let mut tasks = JoinSet::new();
        for (name, host) in hosts {
            self.hosts.insert(name.clone(), host.clone());
            let (transport, permits) = (Arc::clone(&self.transport), Arc::clone(&self.permits));
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                let begun = Instant::now();
                let session = transport.connect(&name, &host).await;
                (name, session.map(Arc::new), begun.elapsed())
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let Ok((node, session, took)) = joined else { continue };
            let failure = session.as_ref().err().cloned();
            let seconds = self.seconds();
            // Nobody may listen any more: the run is ending then.
            let _ = events.send(Event::Connected { node: node.clone(), seconds, failure });
            for text in session.as_ref().map(|session| session.notes()).unwrap_or_default() {
                let _ = events.send(Event::Noted { node: node.clone(), text });
            }
            self.took_to_connect.insert(node.clone(), took);
            self.keep(node, session);
        }
        self
    }

    /// Connects once more, where the host itself has ended the connection: it was rebooted.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]; the connection of before is kept then.
    pub async fn reconnect(&self, node: &NodeName) -> Result<(), Failure> {
        let Some(host) = self.hosts.get(node) else { return self.session(node).map(|_| ()) };
        let session = self.transport.connect(node, host).await?;
        if let Some(Ok(before)) = self.keep(node.clone(), Ok(Arc::new(session))) {
            // It may hang in what it says last.
            tokio::spawn(async move { before.close().await });
        }
        Ok(())
    }

    fn keep(
        &self,
        node: NodeName,
        session: Result<Arc<Session>, Failure>,
    ) -> Option<Result<Arc<Session>, Failure>> {
        self.sessions.write().ok()?.insert(node, session)
    }

    /// One look at each of these hosts. Where a monitor elsewhere was asked by several and did not say the same to all,
    /// a node was moving just then, as a rule: all look once more, a few times.
    pub async fn gather(&self, formation: &Formation, servers: &[&Server]) -> Facts {
        let mut facts = self.look(formation, servers).await;
        for _ in 0..AGAIN {
            let Told::Differs(_) = facts.told_by_monitor(formation) else { break };
            tokio::time::sleep(PAUSE).await;
            facts = self.look(formation, servers).await;
        }
        facts
    }

    /// One script, one round trip.
    async fn look(&self, formation: &Formation, servers: &[&Server]) -> Facts {
        let mut tasks = JoinSet::new();
        let mut facts = Facts::default();
        for server in servers {
            let name = server.name.clone();
            let known = self.sessions.read().ok().and_then(|sessions| sessions.get(&name).cloned());
            match known {
                Some(Ok(session)) => {
                    let probe = facts::probe(formation, server);
                    let permits = Arc::clone(&self.permits);
                    tasks.spawn(async move {
                        let _permit = permits.acquire().await;
                        (name, session.run(&probe).await)
                    });
                }
                Some(Err(failure)) => {
                    facts.hosts.insert(name, Sight::Unreachable(failure));
                }
                None => {
                    facts.hosts.insert(name, Sight::Unreadable("its connection was given up".to_owned()));
                }
            }
        }
        while let Some(joined) = tasks.join_next().await {
            let Ok((name, answer)) = joined else { continue };
            let server = formation.servers().find(|server| server.name == name);
            let Some(server) = server else { continue };
            facts.hosts.insert(name, sight(formation, server, answer));
        }
        facts
    }

    /// Runs a command on a host; holds one of the `forks` permits while it runs.
    pub async fn run(&self, node: &NodeName, command: &Command) -> Result<Output, Failure> {
        let session = self.session(node)?;
        let _permit = self.permits.acquire().await;
        session.run(command).await
    }

    /// Runs a command a host, side by side, whatever each says and with whatever status it ends; the answers are in
    /// the order of the commands.
    pub async fn run_each(&self, commands: Vec<(NodeName, Command)>, events: &Events) -> Vec<Answer> {
        let mut tasks = JoinSet::new();
        for (place, (node, command)) in commands.into_iter().enumerate() {
            let session = self.session(&node);
            let (permits, events, started) = (Arc::clone(&self.permits), events.clone(), self.started);
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                let begun = Instant::now();
                let ended = match session {
                    Ok(session) => session.capture(&command).await,
                    Err(failure) => Err(failure),
                };
                let (took, seconds) = (begun.elapsed(), started.elapsed().as_secs_f64());
                let _ =
                    events.send(Event::Answered { node: node.clone(), seconds, took: took.as_secs_f64() });
                (place, Answer { node, took, ended })
            });
        }
        let mut answers = BTreeMap::new();
        while let Some(joined) = tasks.join_next().await {
            answers.extend(joined);
        }
        answers.into_values().collect()
    }

    /// How long it took to connect and log in, or to give up.
    pub fn took_to_connect(&self, node: &NodeName) -> Duration {
        self.took_to_connect.get(node).copied().unwrap_or_default()
    }

    /// The keys that the hosts showed, type and fingerprint; this machine has none.
    pub fn host_keys(&self) -> BTreeMap<NodeName, String> {
        let key = |(name, session): (&NodeName, &Result<Arc<Session>, Failure>)| {
            Some((name.clone(), session.as_ref().ok()?.host_key()?.to_owned()))
        };
        self.sessions.read().map(|sessions| sessions.iter().filter_map(key).collect()).unwrap_or_default()
    }

    fn session(&self, node: &NodeName) -> Result<Arc<Session>, Failure> {
        let known = self.sessions.read().ok().and_then(|sessions| sessions.get(node).cloned());
        match known {
            Some(session) => session,
            None => Err(Failure::Unreachable {
                reason: format!("there is no connection to {node}"),
                hint: "run again".to_owned(),
            }),
        }
    }

    /// Seconds since the first connection was begun.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub async fn close(self) {
        for session in self.sessions.into_inner().unwrap_or_default().into_values().flatten() {
            session.close().await;
        }
        self.transport.close().await;
    }
}

/// What an answer to the probe shows.
fn sight(formation: &Formation, server: &Server, answer: Result<Output, Failure>) -> Sight {
    match answer {
        Ok(output) => match facts::parse(formation, server, &String::from_utf8_lossy(&output.stdout)) {
            Ok(seen) => Sight::Seen(Box::new(seen)),
            Err(why) => Sight::Unreadable(why),
        },
        Err(Failure::Refused { stderr, .. }) => Sight::Unreadable(match stderr.trim() {
            "" => "the probe failed without a word".to_owned(),
            words => words.to_owned(),
        }),
        Err(failure) => Sight::Unreachable(failure),
    }
}
