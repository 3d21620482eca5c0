//! What must hold between the hosts of an inventory before the first of them is touched.

use std::collections::BTreeMap;

use super::host::{Given, Host};
use super::nodes::Role;
use super::source::{Source, Span, quote};
use super::value::Value;
use super::variables::{Scope, VARIABLES};
use crate::error::Problem;
use crate::formation::{Auth, Node, NodeKind, Server, Standing, Tls};
use crate::issue::LONGEST_NAME;

/// A host with what became of it; the parts that could not be read are absent.
pub(super) struct Member {
    pub(super) host: Host,
    pub(super) role: Option<Role>,
    pub(super) server: Option<Server>,
    pub(super) node: Option<Node>,
}

impl Member {
    fn kind(&self) -> Option<NodeKind> {
        match self.role {
            Some(Role::Node(kind)) => Some(kind),
            Some(Role::Monitor) | None => None,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        let decoded = match self.role {
            Some(Role::Monitor) => self.server.is_some(),
            Some(Role::Node(_)) => self.node.is_some(),
            None => false,
        };
        decoded && !self.host.is_broken()
    }
}

/// Checks that hosts do not contradict each other; `strangers` are outside the formation.
pub(super) fn check(members: &[Member], strangers: &[Host], source: &mut Source) {
    kinds(members, source);
    same_values(members, source);
    unique(members, source);
    names_of_strangers(members, strangers, source);
    passwords(members, source);
    client_certificates(members, source);
    one_monitor(members, source);
}

/// Checks that nothing is missing. What a host that could not be read would have been is unknown, so this
/// is for an inventory without any.
pub(super) fn check_presence(members: &[Member], source: &mut Source) {
    some_monitor(members, source);
    coordinator(members, source);
    groups(members, source);
    readers(members, source);
}

fn one_monitor(members: &[Member], source: &mut Source) {
    let mut hosts = members.iter().filter(|member| member.role == Some(Role::Monitor));
    let first = hosts.next();
    for other in hosts {
        let problem = Problem::new(format!("{} is a second monitor", quote(&other.host.name)));
        let hint = first.map_or(String::new(), |first| {
            format!(
                "{} is one already, on {}; keep one",
                quote(&first.host.name),
                source.line(first.host.span)
            )
        });
        source.problem(other.host.span, problem.hint(hint));
    }
    let uri = members.iter().find_map(|member| member.host.given("monitor"));
    if let (Some(first), Some(uri)) = (first, uri) {
        let problem = Problem::new("a monitor's URI is given, and a host is the monitor too");
        let hint = format!(
            "keep one: the URI of an existing monitor, or {} on {}",
            quote(&first.host.name),
            source.line(first.host.span)
        );
        source.problem(uri.key_span, problem.hint(hint));
    }
}

fn some_monitor(members: &[Member], source: &mut Source) {
    let is_there = |m: &Member| m.role == Some(Role::Monitor) || m.host.given("monitor").is_some();
    if !members.is_empty() && !members.iter().any(is_there) {
        let problem = Problem::new("the inventory has no monitor");
        let hint =
            "put a host into the group monitor, or give an existing one's URI as `monitor: postgres://…`";
        source.problem_of_file(problem.hint(hint));
    }
}

/// Nodes of a Citus formation and standalone ones need different monitors' formations.
fn kinds(members: &[Member], source: &mut Source) {
    let of = |wanted: fn(NodeKind) -> bool| members.iter().find(|m| m.kind().is_some_and(wanted));
    let citus = of(|kind| kind != NodeKind::Standalone);
    let standalone = of(|kind| kind == NodeKind::Standalone);
    if let (Some(citus), Some(standalone)) = (citus, standalone) {
        let problem = Problem::new(format!(
            "{} is a standalone node in a Citus formation",
            quote(&standalone.host.name)
        ));
        let hint = format!(
            "{} on {} is of Citus; give each kind its own inventory",
            quote(&citus.host.name),
            source.line(citus.host.span)
        );
        source.problem(standalone.host.span, problem.hint(hint));
    }
}

fn coordinator(members: &[Member], source: &mut Source) {
    let worker = members.iter().find(|member| member.kind() == Some(NodeKind::Worker));
    let has_coordinator = members.iter().any(|member| member.kind() == Some(NodeKind::Coordinator));
    if let Some(worker) = worker.filter(|_| !has_coordinator && !may_have_strangers(members)) {
        let problem = Problem::new(format!("worker {} has no coordinator", quote(&worker.host.name)));
        source.problem(worker.host.span, problem.hint("put a host into the group coordinator"));
    }
}

/// Whether the monitor is not this inventory's, so that it may know nodes of the formation that are not here.
fn may_have_strangers(members: &[Member]) -> bool {
    members.iter().any(|member| member.host.given("monitor").is_some())
}

/// One value for the formation, or for a group: what differs is told where it differs.
fn same_values(members: &[Member], source: &mut Source) {
    for row in VARIABLES {
        let mut first: BTreeMap<u32, (&Host, Option<&Given>)> = BTreeMap::new();
        // A template that makes another value for each host is one mistake, however many hosts there are.
        let mut made: BTreeMap<u32, Vec<&Host>> = BTreeMap::new();
        for member in members {
            // The monitor is asked for its password alone: the nodes log in there with theirs.
            if member.kind().is_none()
                && !(row.name == "monitor_password" && member.host.given(row.name).is_some())
            {
                continue;
            }
            let group = match (row.scope, &member.node) {
                (Scope::Formation, _) => 0,
                (Scope::Group, Some(node)) => node.group,
                (Scope::Group, None) | (Scope::Node | Scope::Server, _) => continue,
            };
            let given = member.host.given(row.name);
            let (host, expected) = *first.entry(group).or_insert((&member.host, given));
            let same = match (expected, given) {
                (None, None) => true,
                // What was reported may be anything.
                (Some(given), None) | (None, Some(given)) if matches!(given.value, Value::Bad) => true,
                (Some(a), Some(b)) => a.value == b.value,
                _ => false,
            };
            let is_one_line = expected.zip(given).is_some_and(|(one, other)| one.span == other.span);
            if !same && is_one_line {
                made.entry(group).or_default().push(&member.host);
            } else if let (false, Some(at)) = (same, given.or(expected)) {
                let here = given.is_some();
                let problem =
                    differs(row.name, row.scope, host, &member.host, expected.filter(|_| here), source);
                source.problem(at.span, problem);
            }
        }
        for (group, others) in made {
            if let Some((one, Some(given))) = first.get(&group) {
                source.problem(given.span, made_different(row.name, row.scope, one, &others));
            }
        }
    }
}

fn made_different(name: &str, scope: Scope, one: &Host, others: &[&Host]) -> Problem {
    /// Names in a message.
    const MOST: usize = 5;
    let mut names: Vec<String> = others.iter().take(MOST).map(|host| quote(&host.name)).collect();
    if others.len() > MOST {
        names.push(format!("{} more", others.len() - MOST));
    }
    let last = names.pop().unwrap_or_default();
    let (names, have) = match names.is_empty() {
        true => (last, "has"),
        false => (format!("{} and {last}", names.join(", ")), "have"),
    };
    let message = format!("`{name}` is not one value: {names} {have} another than {}", quote(&one.name));
    Problem::new(message)
        .hint(format!("it is a template that makes its own value for each host; {}", why_one(name, scope)))
}

fn differs(
    name: &str,
    scope: Scope,
    one: &Host,
    other: &Host,
    at: Option<&Given>,
    source: &Source,
) -> Problem {
    let (one, other) = (quote(&one.name), quote(&other.name));
    let message = format!("`{name}` is not the same for {one} and {other}");
    let why = why_one(name, scope);
    Problem::new(message).hint(match at {
        Some(first) => format!("the other is on {}; {why}", source.line(first.span)),
        None => why.to_owned(),
    })
}

fn why_one(name: &str, scope: Scope) -> &'static str {
    match (name, scope) {
        ("pgdata", _) => {
            "pg_rewind copies the other node's files, with the paths in them: one `pgdata` in a group"
        }
        ("password" | "replication_password", _) => {
            "it is the password of a role, which a standby copies from its primary: give one value to the whole group"
        }
        ("monitor_password", _) => {
            "every node logs in to the monitor as one role: give it in `vars:` of `all`"
        }
        (_, Scope::Group) => "a standby copies it from its primary: give one value to the whole group",
        _ => "it is one for the whole formation: give it in `vars:` of `all`",
    }
}

/// No two servers at one place: each row is what must differ, and the variable to point at.
fn unique(members: &[Member], source: &mut Source) {
    type Place = fn(&Server) -> String;
    const RULES: [(&str, &str, Place); 4] = [
        ("name", "the name", |s| s.name.0.clone()),
        ("hostname", "hostname and port", |s| format!("{}:{}", s.hostname, s.pgport)),
        ("ansible_host", "address and port", |s| format!("{}/{}", reached(s), s.pgport)),
        ("ansible_host", "address and pgdata", |s| format!("{}{}", reached(s), s.pgdata)),
    ];
    let servers: Vec<(&Host, &Server)> = members
        .iter()
        .filter(|member| member.is_whole())
        .filter_map(|member| Some((&member.host, member.server.as_ref()?)))
        .collect();
    let mut told: Vec<Span> = Vec::new();
    for (variable, what, place) in RULES {
        let mut seen: BTreeMap<String, &Host> = BTreeMap::new();
        for (host, server) in &servers {
            let Some(first) = seen.insert(place(server), host) else { continue };
            // One address makes all of its consequences; the first of them is enough.
            if told.contains(&host.span) {
                continue;
            }
            told.push(host.span);
            let problem = Problem::new(format!(
                "{} and {} have {what} in common",
                quote(&first.name),
                quote(&host.name)
            ));
            let hint = match variable {
                "name" => "give each node its own `name`",
                _ => "correct the address, or give each server its own `pgport` and `pgdata`",
            };
            source.problem(host.span_of(variable), problem.hint(hint));
        }
    }
}

/// A node called as another host is would be asked in its place.
fn names_of_strangers(members: &[Member], strangers: &[Host], source: &mut Source) {
    for member in members {
        let Some(server) = &member.server else { continue };
        if let Some(stranger) = strangers.iter().find(|stranger| stranger.name == server.name.0) {
            let problem = Problem::new(format!(
                "{} is called {}, as another host of the inventory",
                quote(&member.host.name),
                quote(&server.name.0)
            ));
            let hint = format!("that one is on {}; give the node another `name`", source.line(stranger.span));
            source.problem(member.host.span_of("name"), problem.hint(hint));
        }
    }
}

fn reached(server: &Server) -> String {
    format!("{}:{}", server.host.address, server.host.port.unwrap_or(22))
}

/// A password method without a password locks the nodes out of each other: muster makes those that nobody gives. What is
/// given for some, or is another's to say, it does not.
fn passwords(members: &[Member], source: &mut Source) {
    let given = |name: &str| members.iter().any(|member| member.host.given(name).is_some());
    let uri_has_password = members.iter().any(|member| {
        let given = member.host.given("monitor").map(|given| &given.value);
        matches!(given, Some(Value::Monitor(uri)) if uri.password.is_some())
    });
    let is_monitor = |member: &&Member| member.role == Some(Role::Monitor);
    let monitor = members.iter().find(is_monitor).and_then(|member| member.server.as_ref());
    let is_monitor_ours = monitor.is_some_and(|server| !server.adopted);
    for member in members {
        // The keepers of adopted servers have theirs already.
        let Some(server) = member.server.as_ref().filter(|server| !server.adopted) else { continue };
        if !server.auth.is_password() {
            continue;
        }
        let needed: &[&str] = match member.role {
            Some(Role::Monitor) => &["monitor_password"],
            _ if uri_has_password => &["password", "replication_password"],
            _ => &["password", "replication_password", "monitor_password"],
        };
        for name in needed.iter().filter(|name| member.host.given(name).is_none()) {
            let near = source.nearly(name);
            let is_made = *name != "monitor_password" || is_monitor_ours;
            // Where nothing is said of it the monitor is ours, or missing altogether, which is told.
            if !is_made && member.host.given("auth").is_none() {
                continue;
            }
            if is_made && near.is_none() && !given(name) {
                continue;
            }
            let problem = Problem::new(format!("`auth: {}` needs `{name}`", server.auth.as_str()));
            let hint = match near {
                Some((near, at)) => {
                    format!("is it {} on {}? give it as `{name}`", quote(&near), source.line(at))
                }
                None if is_made => format!("others have one: give `{name}` here, too, or nowhere"),
                None => format!("give `{name}`, or another `auth`"),
            };
            source.problem(member.host.span_of("auth"), problem.hint(hint));
        }
    }
}

/// Whoever comes in by a certificate has one of the formation's own authority, and every server knows that.
fn client_certificates(members: &[Member], source: &mut Source) {
    let asks = |member: &&Member| member.server.as_ref().is_some_and(|server| server.auth == Auth::Cert);
    let Some(at) = members.iter().find(asks).map(|asking| asking.host.span_of("auth")) else { return };
    let mut tell = |at: Span, what: String, hint: String| source.problem(at, Problem::new(what).hint(hint));
    if members.iter().any(|member| member.host.given("monitor").is_some()) {
        let hint = "an outside monitor does not know the formation's authority: give `auth: scram-sha-256`";
        return tell(at, "`auth: cert` cannot be with `monitor`".to_owned(), hint.to_owned());
    }
    let servers = || members.iter().filter_map(|member| Some((&member.host, member.server.as_ref()?)));
    // A host of which nothing is said has no managed one where another host has a choice of its own.
    let is_other = |(_, server): &(&Host, &Server)| !matches!(server.tls, Tls::Managed { .. });
    let chosen = |host: &Host| {
        let names = ["ssl_self_signed", "no_ssl", "server_cert"].into_iter();
        let mut made = names.filter_map(|name| host.given(name));
        made.find(|given| given.value != Value::Flag(false))
            .map(|given| (given.variable.name, given.key_span))
    };
    let others = || servers().filter(is_other);
    if let Some((host, _)) = others().find(|(host, _)| chosen(host).is_some()).or_else(|| others().next()) {
        let (has, at) =
            chosen(host).map_or(("another choice".to_owned(), at), |(name, at)| (format!("`{name}`"), at));
        let what =
            format!("`auth: cert` needs `ssl: managed` on every host, and {} has {has}", quote(&host.name));
        let hint = "say nothing of encryption, or `ssl: managed`; with files of your own, give `auth: cert clientname=CN` or `cert map=NAME`, and see to \
            pg_ident.conf and to ~/.postgresql on each host yourself";
        return tell(at, what, hint.to_owned());
    }
    let is_named = |name: &String| name.eq_ignore_ascii_case("ident_file");
    if let Some((host, _)) = servers().find(|(_, server)| server.settings.keys().any(is_named)) {
        let what =
            format!("`auth: cert` cannot be with `ident_file` in the `settings` of {}", quote(&host.name));
        let hint =
            "remove it: muster writes its map into pg_ident.conf in `pgdata`, and leaves your lines there";
        tell(at, what, hint.to_owned());
    }
    for (host, _) in servers().filter(|(_, server)| server.hostname.len() > LONGEST_NAME) {
        let name = quote(&host.name);
        let what = format!(
            "`auth: cert` knows a host by the common name of its certificate, and the `hostname` of {name} is too long for one"
        );
        tell(
            host.span_of("hostname"),
            what,
            format!("give it a `hostname` of up to {LONGEST_NAME} characters"),
        );
    }
}

/// Each group has somebody to be its primary, and enough standbys to confirm a commit.
fn groups(members: &[Member], source: &mut Source) {
    let mut groups: BTreeMap<u32, Vec<(&Host, &Node)>> = BTreeMap::new();
    for member in members {
        if let Some(node) = &member.node {
            groups.entry(node.group).or_default().push((&member.host, node));
        }
    }
    for (group, nodes) in groups {
        let primary = nodes.iter().find(|(_, node)| node.standing == Standing::Candidate);
        // Where others may have made the rest of the group, the plan sees who is there.
        if may_have_strangers(members) {
            continue;
        }
        let Some((primary, _)) = primary else {
            let Some((host, _)) = nodes.first() else { continue };
            let problem = Problem::new(format!("group {group} has no node that can be its primary"));
            let hint =
                "one node needs to be no secondary, no read replica, and of `candidate_priority` above 0";
            source.problem(host.span, problem.hint(hint));
            continue;
        };
        let standbys =
            nodes.iter().filter(|(host, node)| node.replication_quorum && host.name != primary.name).count();
        let Some(given) = primary.given("number_sync_standbys") else { continue };
        if let Value::Number(wanted @ 1..) = given.value
            && i64::try_from(standbys).is_ok_and(|standbys| standbys < wanted + 1)
        {
            let needed = format!("{} standbys with `replication_quorum`", wanted + 1);
            let what =
                format!("`number_sync_standbys: {wanted}` needs {needed}; group {group} has {standbys}");
            let problem = Problem::new(what);
            source.problem(
                given.span,
                problem.hint("one more than confirm, so that one may fail: lower it, or add standbys"),
            );
        }
    }
}

fn readers(members: &[Member], source: &mut Source) {
    let nodes = || members.iter().filter_map(|member| Some((&member.host, member.node.as_ref()?)));
    for (host, node) in nodes() {
        let Some(cluster) = &node.citus_cluster else { continue };
        let coordinated = nodes().any(|(_, other)| {
            other.kind == NodeKind::Coordinator && other.citus_cluster.as_ref() == Some(cluster)
        });
        if !coordinated && !may_have_strangers(members) {
            let what =
                format!("read-replica cluster {} has no coordinator: nobody can query it", quote(cluster));
            source.warning("readers-without-coordinator", Some(host.span_of("citus_cluster")), what);
        }
    }
}
