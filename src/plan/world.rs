//! The planner's view: formation and facts put side by side, and what follows for every node.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::facts::{Facts, Seen, Sight, Told, monitor_uri, quorum};
use crate::formation::{Formation, Keeper, Monitor, MonitorUri, Node, NodeKind, NodeName, Standing};
use crate::plan::peer::{Peer, unfit};
use crate::plan::{Changeover, Plan, agreement, check};
use crate::reason::Reason;
use crate::resource::data::{self, Pgdata};
use crate::resource::database::DatabaseFacts;
use crate::resource::keeper;
use crate::resource::managed::Trust;
use crate::resource::meant;
use crate::resource::monitor::{MonitorFacts, NodeRow};
use crate::resource::names::Names;
use crate::resource::streaming::Streaming;
use crate::scope::Scope;
use crate::state::State;
use crate::template::Templates;

pub(super) struct World<'a> {
    pub(super) formation: &'a Formation,
    /// Where that is on the way to the inventory's.
    pub(super) over: Option<&'a Changeover<'a>>,
    pub(super) scope: &'a Scope,
    pub(super) facts: &'a Facts,
    pub(super) today: Date,
    pub(super) templates: Templates,
    pub(super) names: Names,
    pub(super) uri: MonitorUri,
    /// What `ssl: managed` has every host trust.
    pub(super) trust: Option<Trust>,
    pub(super) monitor: MonitorView<'a>,
    /// Ids that nodes have on the monitor, or will be registered with.
    ids: BTreeMap<NodeName, u64>,
    /// Nodes that get no step, and that nobody may count on.
    pub(super) excluded: BTreeMap<NodeName, Reason>,
}

/// What is known of the monitor's rows.
pub(super) enum MonitorView<'a> {
    /// There is no monitor yet, so it has no rows.
    Fresh,
    Known(&'a MonitorFacts),
    /// It is there, but does not answer now: nothing may be concluded about any node.
    Unknown(Reason),
}

impl<'a> World<'a> {
    /// Sorts out, with the reason in `plan`, every node that nothing can be planned for.
    pub(super) fn new(
        formation: &'a Formation,
        over: Option<&'a Changeover<'a>>,
        scope: &'a Scope,
        (facts, today): (&'a Facts, Date),
        plan: &mut Plan,
    ) -> World<'a> {
        let seen = formation.servers().filter_map(|server| Some((server, &facts.seen(&server.name)?.host)));
        let mut world = World {
            formation,
            over,
            scope,
            facts,
            today,
            templates: Templates::new(&formation.templates),
            names: Names::new(seen),
            uri: monitor_uri(formation),
            trust: Trust::of(formation, |server| Some(&facts.seen(&server.name)?.tls)),
            monitor: MonitorView::Fresh,
            ids: BTreeMap::new(),
            excluded: BTreeMap::new(),
        };
        for server in formation.servers() {
            match facts.hosts.get(&server.name) {
                Some(Sight::Seen(_)) => {}
                Some(Sight::Unreachable(failure)) => {
                    if scope.has(&server.name) {
                        plan.unreachable.insert(server.name.clone(), failure.clone());
                    }
                    world.excluded.insert(server.name.clone(), Reason::Unreachable);
                }
                Some(Sight::Unreadable(why)) => {
                    world.block(plan, &server.name, Reason::Unreadable(why.clone()));
                }
                None if scope.has(&server.name) => {
                    world.block(plan, &server.name, Reason::Unseen);
                }
                None => {
                    world.excluded.insert(server.name.clone(), Reason::NotLookedAt);
                }
            }
        }
        world.monitor = world.look_at_monitor();
        for server in formation.servers().filter(|server| facts.seen(&server.name).is_some()) {
            if let Some(why) = check::refusal(&world, server) {
                world.block(plan, &server.name, Reason::Refused(why));
            } else if let Some(unit) =
                facts.seen(&server.name).and_then(|seen| keeper::masked(server, &seen.host, &seen.keeper))
            {
                world.block(plan, &server.name, Reason::Masked { unit });
            } else if let Some(seen) = facts.seen(&server.name) {
                agreement::notes(&world, server, seen)
                    .into_iter()
                    .for_each(|note| plan.note(&server.name, note));
                for warning in &seen.warnings {
                    plan.note(&server.name, format!("psql was told there: {warning}"));
                }
            }
        }
        world.note_what_is_not_believed(plan);
        for (name, text) in
            quorum::waits_for_all(formation, facts).into_iter().filter(|(name, _)| scope.has(name))
        {
            plan.note(&name, text);
        }
        world.look_for_a_lost_monitor(plan);
        world.look_at_outside_monitor();
        world.leave_outside();
        world.look_at_coordinator(plan);
        world.look_at_groups(plan);
        world.hold_made_passwords(plan);
        world.hold_monitor_password(plan);
        world.number_nodes();
        world
    }

    /// Nodes that the monitor has at another address, or in another group.
    pub(super) fn contradicted(&self) -> impl Iterator<Item = &'a Node> {
        let formation: &'a Formation = self.formation;
        formation.nodes.values().filter(|node| {
            let is_elsewhere = |row: &NodeRow| row.host != node.server.hostname || row.group != node.group;
            self.row(node.name()).is_some_and(is_elsewhere)
        })
    }

    fn look_at_monitor(&self) -> MonitorView<'a> {
        match &self.formation.monitor {
            Monitor::External(uri) => match self.facts.told_by_monitor(self.formation) {
                Told::This(rows) => MonitorView::Known(rows),
                Told::Differs(why) => MonitorView::Unknown(Reason::MonitorDiffers(why)),
                Told::Nothing => MonitorView::Unknown(Reason::NoMonitorThere {
                    host: uri.host.clone(),
                    port: uri.port,
                    given_as: uri.given_as.to_owned(),
                }),
            },
            Monitor::Managed(server) => match self.facts.seen(&server.name) {
                None => MonitorView::Unknown(self.unasked(&server.name)),
                Some(seen) if meant::port(server, &seen.pgdata).is_some() => {
                    MonitorView::Unknown(Reason::MonitorElsewhere(server.name.clone()))
                }
                Some(Seen { monitor: Some(rows), .. }) => MonitorView::Known(rows),
                // It is there, whatever was seen of it: nothing about it is muster's to make.
                Some(_) if server.adopted => {
                    MonitorView::Unknown(Reason::AdoptedMonitorStopped(server.name.clone()))
                }
                // No node can have been registered before the monitor was handed to its keeper, if it gets one.
                Some(Seen { pgdata: Pgdata::Present(_), database: None, keeper, .. })
                    if keeper.config.is_some() || server.keeper == Keeper::None =>
                {
                    MonitorView::Unknown(Reason::MonitorStopped)
                }
                Some(_) => MonitorView::Fresh,
            },
        }
    }

    /// Primaries first, group by group, then the others as the inventory names them.
    fn number_nodes(&mut self) {
        let mut last = match self.monitor {
            MonitorView::Known(facts) => facts.last_id,
            MonitorView::Fresh | MonitorView::Unknown(_) => 0,
        };
        let is_primary = |node: &Node| self.is_primary(node);
        let is_coming = |node: &&Node| self.scope.has(node.name()) || self.row(node.name()).is_some();
        let mut nodes: Vec<&Node> = self.formation.nodes.values().filter(is_coming).collect();
        nodes.sort_by_key(|node| (!is_primary(node), node.group, node.order));
        let mut ids = BTreeMap::new();
        for node in nodes {
            let id = match self.row(node.name()) {
                Some(row) => row.id,
                None => {
                    last += 1;
                    last
                }
            };
            ids.insert(node.name().clone(), id);
        }
        self.ids = ids;
    }

    pub(super) fn is_excluded(&self, node: &NodeName) -> bool {
        self.excluded.contains_key(node)
    }

    /// The monitor's row of a node, by name.
    pub(super) fn row(&self, node: &NodeName) -> Option<&'a NodeRow> {
        self.rows().iter().find(|row| row.name == node.0)
    }

    pub(super) fn rows(&self) -> &'a [NodeRow] {
        match self.monitor {
            MonitorView::Known(facts) => &facts.nodes,
            MonitorView::Fresh | MonitorView::Unknown(_) => &[],
        }
    }

    /// The primary of a group: the monitor's word, or, for a group it does not know, the inventory's first.
    ///
    /// A group with rows that are all strangers' is known: to take the inventory's first would make a second primary.
    pub(super) fn primary(&self, group: u32) -> Option<Peer<'a>> {
        let formation: &'a Formation = self.formation;
        let rows = self.rows_of(group);
        if rows.is_empty() {
            let candidates = formation.group(group).filter(|node| node.standing == Standing::Candidate);
            return candidates.min_by_key(|node| node.order).map(Peer::Ours);
        }
        let assigned = |row: &&&NodeRow| row.assigned.is_some_and(State::is_writable);
        let reported = |row: &&&NodeRow| row.reported.is_some_and(State::is_writable);
        let row = rows.iter().find(assigned).or_else(|| rows.iter().find(reported))?;
        Some(match self.ours(row) {
            Some(node) => Peer::Ours(node),
            None => Peer::Theirs(row),
        })
    }

    /// Whether a node is its group's primary.
    pub(super) fn is_primary(&self, node: &Node) -> bool {
        self.primary(node.group).is_some_and(|primary| primary.is(node.name()))
    }

    /// The system identifier of a group's data, where its primary has one on the monitor.
    pub(super) fn system_identifier(&self, group: u32) -> Option<&'a str> {
        let primary = self.primary(group)?;
        let row = self.rows().iter().find(|row| row.name == primary.upstream().name)?;
        row.system_identifier.as_deref()
    }

    /// The node of the inventory that a row is of; a row without one is a stranger's.
    pub(super) fn ours(&self, row: &NodeRow) -> Option<&'a Node> {
        self.formation.nodes.values().find(|node| node.name().0 == row.name)
    }

    /// The monitor's rows of a group: our nodes are where the inventory has them.
    pub(super) fn rows_of(&self, group: u32) -> Vec<&'a NodeRow> {
        let of = |row: &&NodeRow| self.ours(row).map_or(row.group, |node| node.group) == group;
        self.rows().iter().filter(of).collect()
    }

    /// The monitor's facts, where it has any.
    pub(super) fn monitor_facts(&self) -> Option<&'a MonitorFacts> {
        match self.monitor {
            MonitorView::Known(facts) => Some(facts),
            MonitorView::Fresh | MonitorView::Unknown(_) => None,
        }
    }

    /// The monitor's own node, where muster manages it.
    pub(super) fn monitor_node(&self) -> Option<NodeName> {
        match &self.formation.monitor {
            Monitor::Managed(server) => Some(server.name.clone()),
            Monitor::External(_) => None,
        }
    }

    pub(super) fn coordinator(&self) -> Option<Peer<'a>> {
        let is_citus = |peer: &Peer| peer.ours().is_none_or(|node| node.kind == NodeKind::Coordinator);
        self.primary(0).filter(is_citus).filter(|_| self.formation.is_citus())
    }

    pub(super) fn id(&self, node: &NodeName) -> u64 {
        self.ids.get(node).copied().unwrap_or_default()
    }

    /// Ids of the other nodes of the group that are registered, or will be in this run.
    pub(super) fn peers(&self, node: &Node) -> Vec<u64> {
        let is_there = |other: &&Node| self.row(other.name()).is_some() || !self.is_excluded(other.name());
        let others = self.formation.group(node.group).filter(|other| other.name() != node.name());
        let mut ids: Vec<u64> = others.filter(is_there).map(|other| self.id(other.name())).collect();
        ids.extend(self.strangers_of(node.group).iter().map(|row| row.id));
        ids.sort_unstable();
        ids
    }

    /// The other nodes of the group that will be there in this run.
    pub(super) fn standbys(&self, primary: &Node) -> Vec<&'a Node> {
        let formation: &'a Formation = self.formation;
        let others = formation.group(primary.group).filter(|node| node.name() != primary.name());
        others.filter(|node| !self.is_excluded(node.name())).collect()
    }

    /// Where a group's primary will come to rest; source: ProceedGroupStateForPrimaryNode, 2.0 to 2.2.
    pub(super) fn end_of_primary(&self, primary: &Node) -> State {
        let coming = self.standbys(primary);
        let registered = |node: &&Node| self.row(node.name()).is_some();
        let others = self.formation.group(primary.group).filter(|node| node.name() != primary.name());
        let counted: Vec<&Node> =
            others.filter(|node| registered(node) || !self.is_excluded(node.name())).collect();
        let strangers = self.strangers_of(primary.group);
        if counted.is_empty() && strangers.is_empty() {
            return State::Single;
        }
        let in_quorum = |node: &&&Node| match self.row(node.name()) {
            Some(row) => row.replication_quorum,
            None => node.replication_quorum,
        };
        let counts = strangers.iter().any(|row| row.replication_quorum);
        let well = |row: &&&NodeRow| unfit(row).is_none();
        let confirms = match counts || counted.iter().any(|node| in_quorum(&node)) {
            true => {
                coming.iter().any(|node| in_quorum(&node))
                    || strangers.iter().filter(well).any(|row| row.replication_quorum)
            }
            false => !coming.is_empty() || strangers.iter().any(|row| unfit(row).is_none()),
        };
        if confirms { State::Primary } else { State::WaitPrimary }
    }

    /// The seen facts of a node that is not excluded.
    pub(super) fn seen(&self, node: &NodeName) -> &'a Seen {
        self.facts.seen(node).expect("a host that was not seen is excluded")
    }

    /// What a node's server says, where it runs and was seen.
    pub(super) fn database(&self, name: &NodeName) -> Option<&'a DatabaseFacts> {
        self.facts.seen(name)?.database.as_ref()
    }

    /// Who follows it, as that server says.
    pub(super) fn streaming(&self, name: &NodeName) -> Option<&'a Streaming> {
        self.database(name)?.streaming.as_ref()
    }

    /// Whether an operator has taken it out.
    pub(super) fn is_out(&self, name: &NodeName) -> bool {
        self.excluded.get(name).is_some_and(Reason::is_wanted)
    }

    /// The directory of the PostgreSQL programs on a node's host.
    pub(super) fn bin(&self, node: &NodeName) -> &'a str {
        match self.facts.seen(node).and_then(|seen| seen.software.as_ref()) {
            Some(software) => &software.bin,
            None => "",
        }
    }

    /// Whose data directory a server's is: the group's, or the monitor's.
    pub(super) fn whose(&self, name: &NodeName) -> String {
        match self.formation.nodes.get(name) {
            Some(node) => data::whose(&self.formation.name, node),
            None => "monitor".to_owned(),
        }
    }
}
