//! A host and its variables become a server, and a node where it is not the monitor.

use std::collections::BTreeMap;

use super::host::Host;
use super::source::{Source, quote};
use super::text::is_hostname;
use super::tls::Usual;
use super::value::{Setting, Value};
use super::variables::{Fallback, VARIABLES, variable};
use super::{settings, tls, value};
use crate::error::Problem;
use crate::formation::{
    Auth, Become, BecomeMethod, Connection, HbaEdit, Host as Reached, Initdb, Keeper, Node, NodeKind,
    NodeName, RestartPolicy, Server, Standing,
};

/// What a host is in the formation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Monitor,
    Node(NodeKind),
}

/// Group, `role:` and what both make of a host.
const ROLES: &[(&str, &str, Role)] = &[
    ("monitor", "monitor", Role::Monitor),
    ("coordinator", "coordinator", Role::Node(NodeKind::Coordinator)),
    ("workers", "worker", Role::Node(NodeKind::Worker)),
    ("postgres", "postgres", Role::Node(NodeKind::Standalone)),
];

/// Membership of one of these is `secondary: true`.
pub(super) const SECONDARY_GROUPS: [&str; 2] = ["secondary", "secondaries"];

/// The groups that make a host something in the formation.
pub(super) fn role_groups() -> impl Iterator<Item = &'static str> {
    ROLES.iter().map(|(group, ..)| *group)
}

/// Decides what a host of the formation is; `None` where a problem was reported.
pub(super) fn role(host: &Host, source: &mut Source) -> Option<Role> {
    if let Some(given) = host.given("role") {
        let Value::Text(word) = &given.value else { return None };
        return ROLES.iter().find(|(_, role, _)| role == word).map(|(.., role)| *role);
    }
    let of: Vec<_> = ROLES.iter().filter(|(group, ..)| host.groups.contains(*group)).collect();
    match of.as_slice() {
        [(.., role)] => Some(*role),
        // Why it is taken for one all the same was reported with the host.
        [] => None,
        several => {
            let groups: Vec<&str> = several.iter().map(|(group, ..)| *group).collect();
            let problem =
                Problem::new(format!("host {} is in the groups {}", quote(&host.name), groups.join(" and ")));
            source
                .problem(host.span, problem.hint("a host has one role: leave one group, or give it `role:`"));
            None
        }
    }
}

/// The PostgreSQL server of a host; `None` where a problem was reported.
pub(super) fn server(host: &Host, role: Role, usual: Usual, source: &mut Source) -> Option<Server> {
    let missing: Vec<&str> = VARIABLES
        .iter()
        .filter(|row| row.default == Fallback::Required && host.given(row.name).is_none())
        .map(|row| row.name)
        .collect();
    for name in &missing {
        let doc = variable(name).map_or("", |row| row.doc).trim_end_matches('.').to_lowercase();
        let problem = Problem::new(format!("host {} has no `{name}`", quote(&host.name)));
        let hint = match source.nearly(name) {
            Some((near, at)) => {
                format!("is it {} on {}? give {doc} as `{name}`", quote(&near), source.line(at))
            }
            None => format!("give {doc}, e.g. in `vars:` of `all`"),
        };
        source.problem(host.span, problem.hint(hint));
    }
    for (given, found) in host.foreign() {
        source.problem(given.span, value::foreign(given.variable, found));
    }
    let address = address(host);
    let hostname = host.text("hostname").unwrap_or_else(|| address.clone());
    let name = node_name(host, source);
    let adopted = host.flag("adopted");
    let is_resolvable = is_named(host, &hostname, source);
    let pgdata = host.text("pgdata").map(|pgdata| normal(&pgdata));
    let encryption = tls::read(host, pgdata.as_deref(), usual, source);
    let hba_edit = hba_edit(host, source);
    let keeper = keeper(host, adopted, source);
    let settings = merged_settings(host, role, source);
    Some(Server {
        name: NodeName(name?),
        hostname: is_resolvable.then_some(hostname)?,
        host: reached(host, address, source),
        pgctl: host.text("pgctl"),
        pg_version: host.number("pg_version"),
        tls: encryption.map(|tls| if adopted { tls::as_found(tls, pgdata.as_deref()) } else { tls })?,
        sans: match host.given("sans").map(|given| &given.value) {
            Some(Value::Names(names)) => names.clone(),
            _ => Vec::new(),
        },
        pgdata: pgdata?,
        pghost: host.text("pghost"),
        pgport: host.number("pgport")?,
        listen: host.text("listen")?,
        auth: match host.text("auth") {
            Some(method) => auth(&method, adopted),
            // Their rules are somebody else's.
            None if !usual.passwords || hba_edit == Some(HbaEdit::Skip) => Auth::Trust,
            None => Auth::ScramSha256,
        },
        hba_edit: hba_edit?,
        settings_at: settings.iter().map(|(name, given)| (name.clone(), source.at(given.span))).collect(),
        settings: settings.into_iter().map(|(name, given)| (name, given.value)).collect(),
        hba: host.all("hba").filter_map(|given| rules(&given.value)).flatten().cloned().collect(),
        initdb: Initdb {
            data_checksums: host.flag("data_checksums"),
            encoding: host.text("encoding")?,
            locale: host.text("locale")?,
        },
        os_user: host.text("become_user")?,
        keeper: keeper?,
        restart_policy: match host.text("restart_policy") {
            Some(word) => RestartPolicy::parse(&word)?,
            None if adopted => RestartPolicy::Manual,
            None => RestartPolicy::Rolling,
        },
        confirm_timeout: host.number("confirm_timeout")?,
        adopted,
    })
}

/// The node on top of its server; `None` where a problem was reported.
pub(super) fn node(host: &Host, kind: NodeKind, server: Server, source: &mut Source) -> Option<Node> {
    let group = group(host, kind, source);
    let reader = reader(host, kind, source)?;
    let candidate_priority = match (reader.is_some(), host.given("candidate_priority").is_some()) {
        (true, _) => 0,
        (false, true) => host.number("candidate_priority")?,
        (false, false) => 50,
    };
    let secondary = match host.given("secondary") {
        Some(_) => host.flag("secondary"),
        None => SECONDARY_GROUPS.iter().any(|group| host.groups.contains(*group)),
    };
    // The monitor takes no node of priority 0 as the first of its group.
    let standing =
        if secondary || candidate_priority == 0 { Standing::Secondary } else { Standing::Candidate };
    Some(Node {
        // Counted once all hosts are known.
        order: 0,
        kind,
        group: group?,
        standing,
        username: host.text("username")?,
        replication_quorum: match host.given("replication_quorum") {
            Some(_) => host.flag("replication_quorum"),
            None => reader.is_none(),
        },
        citus_cluster: reader,
        candidate_priority,
        maximum_backup_rate: host.text("maximum_backup_rate")?,
        proxyport: host.number("proxyport"),
        password: host.secret("password"),
        replication_password: host.secret("replication_password"),
        monitor_password: host.secret("monitor_password"),
        server,
    })
}

/// Whether `hostname` can be one; where nothing is given it is the inventory's name, which may hold anything.
fn is_named(host: &Host, hostname: &str, source: &mut Source) -> bool {
    let is_given = host.given("ansible_host").is_some() || is_hostname(&host.name);
    let is_fit = is_hostname(hostname);
    // What is given has been checked where it stands, but for the zone that ssh takes.
    let is_reported = ["hostname", "ansible_host"]
        .iter()
        .any(|name| matches!(host.given(name), Some(given) if matches!(given.value, Value::Bad)));
    if is_reported || is_given && is_fit {
        return is_fit;
    }
    let (what, hint) = match is_given {
        true => (
            "has no `hostname`, and its address is none",
            "give the name by which the other nodes reach it as `hostname`",
        ),
        false => ("has a name that is no host name or address", "give it `ansible_host`"),
    };
    source.problem(host.span, Problem::new(format!("host {} {what}", quote(&host.name))).hint(hint));
    false
}

fn node_name(host: &Host, source: &mut Source) -> Option<String> {
    if host.given("name").is_some() {
        return host.text("name");
    }
    let fits = host.name.len() <= 63
        && host.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !fits {
        let problem = Problem::new(format!("{} cannot be the name of a node", quote(&host.name)));
        let hint = "give the host a `name:` of up to 63 of the characters A-Z a-z 0-9 . _ -";
        source.problem(host.span, problem.hint(hint));
    }
    fits.then(|| host.name.clone())
}

pub(super) fn address(host: &Host) -> String {
    host.text("ansible_host").unwrap_or_else(|| host.name.clone())
}

/// How a host is reached, whatever it is to the formation.
pub(super) fn reached(host: &Host, address: String, source: &Source) -> Reached {
    let file = |name: &str| Some(super::resolved(source.base(host.span_of(name)), &host.text(name)?));
    let arguments = Arguments::of(host);
    // Ansible's command line has `ansible_ssh_args`, then the variables, then the others; the first value counts.
    let is_said = |keyword: &str| arguments.first.iter().any(|(said, _)| said.eq_ignore_ascii_case(keyword));
    let mut identity_files: Vec<String> = file("ansible_ssh_private_key_file").into_iter().collect();
    let mut ssh_options = arguments.first.clone();
    if is_said("IdentityFile") {
        let files = identity_files.drain(..).map(|file| ("IdentityFile".to_owned(), format!("\"{file}\"")));
        ssh_options.extend(files);
    }
    let (port, user) = (host.number("ansible_port"), host.text("ansible_user"));
    Reached {
        connection: match host.text("ansible_connection").as_deref() {
            Some("local") => Connection::Local,
            _ => Connection::Ssh,
        },
        address,
        port: port.filter(|_| !is_said("Port")),
        user: user.filter(|_| !is_said("User")),
        identity_files,
        known_hosts: file("known_hosts"),
        host_keys: match host.given("host_key").map(|given| &given.value) {
            Some(Value::HostKeys(keys)) => keys.clone(),
            _ => Vec::new(),
        },
        ssh_options: ssh_options.into_iter().chain(arguments.others).collect(),
        ssh_config: arguments.config,
        password: host.secret("ansible_password"),
        connect_timeout: host.number("connect_timeout"),
        command_timeout: host.number("command_timeout").unwrap_or(600),
        becoming: Become {
            method: match host.text("ansible_become_method").as_deref() {
                Some("su") => BecomeMethod::Su,
                Some("doas") => BecomeMethod::Doas,
                _ => BecomeMethod::Sudo,
            },
            password: host.secret("ansible_become_password"),
        },
        unspoken: host
            .foreign()
            .next()
            .map(|(given, found)| format!("`{}` is {}", given.variable.name, quote(found))),
    }
}

/// What the inventory gives of ssh's command line.
#[derive(Default)]
struct Arguments {
    first: Vec<(String, String)>,
    others: Vec<(String, String)>,
    config: Option<String>,
}

impl Arguments {
    fn of(host: &Host) -> Arguments {
        let mut found = Arguments::default();
        for name in ["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"] {
            let Some(Value::SshArgs { options, config }) = host.given(name).map(|given| &given.value) else {
                continue;
            };
            let into = if name == "ansible_ssh_args" { &mut found.first } else { &mut found.others };
            into.extend(options.iter().cloned());
            found.config = found.config.take().or_else(|| config.clone());
        }
        found
    }
}

fn hba_edit(host: &Host, source: &mut Source) -> Option<HbaEdit> {
    match (host.flag("skip_pg_hba"), host.flag("pg_hba_lan")) {
        (false, false) => Some(HbaEdit::Minimal),
        (false, true) => Some(HbaEdit::Lan),
        (true, false) => Some(HbaEdit::Skip),
        (true, true) => {
            let (skip, lan) = (host.span_of("skip_pg_hba"), host.span_of("pg_hba_lan"));
            let problem = Problem::new("`skip_pg_hba` cannot be with `pg_hba_lan`");
            let hint =
                format!("the other is on {}; one adds no rules, the other more", source.line(lan.min(skip)));
            source.problem(lan.max(skip), problem.hint(hint));
            None
        }
    }
}

fn merged_settings(host: &Host, role: Role, source: &mut Source) -> BTreeMap<String, Setting> {
    let mut merged: BTreeMap<String, Setting> = BTreeMap::new();
    for given in host.all("settings") {
        if let Value::Settings(settings) = &given.value {
            merged.extend(settings.clone());
        }
    }
    if let Role::Node(kind) = role {
        settings::check_for_kind(kind, &merged, source);
    }
    settings::check_sockets(host.text("pghost").as_deref(), &merged, source);
    merged
}

fn rules(value: &Value) -> Option<&Vec<String>> {
    match value {
        Value::Rules(rules) => Some(rules),
        _ => None,
    }
}

fn group(host: &Host, kind: NodeKind, source: &mut Source) -> Option<u32> {
    let Some(given) = host.given("group") else {
        if kind == NodeKind::Worker {
            let problem = Problem::new(format!("worker {} has no `group`", quote(&host.name)));
            let hint = "number the Citus groups from 1; a worker and its standbys have the same number";
            source.problem(host.span, problem.hint(hint));
            return None;
        }
        return Some(0);
    };
    let Value::Number(number) = given.value else { return None };
    match (kind, number) {
        (NodeKind::Worker, 0) => {
            let problem = Problem::new("group 0 is the coordinator's; a worker's is 1 or more");
            source.problem(given.span, problem.hint("number the groups of workers from 1"));
            None
        }
        (NodeKind::Coordinator | NodeKind::Standalone, 1..) => {
            let problem = Problem::new(format!("{} {} cannot be in group {number}", kind, quote(&host.name)));
            source.problem(given.span, problem.hint("remove `group`: it is 0 for every kind but workers"));
            None
        }
        _ => u32::try_from(number).ok(),
    }
}

/// The read-replica cluster of a `citus_secondary`; the outer `None` where a problem was reported.
fn reader(host: &Host, kind: NodeKind, source: &mut Source) -> Option<Option<String>> {
    let cluster = host.given("citus_cluster");
    let Some((level, secondary)) = host.found("citus_secondary").filter(|_| host.flag("citus_secondary"))
    else {
        let Some(cluster) = cluster else { return Some(None) };
        let problem = Problem::new("`citus_cluster` is there without `citus_secondary`");
        source.problem(
            cluster.key_span,
            problem.hint("give `citus_secondary: true`, or remove `citus_cluster`"),
        );
        return None;
    };
    if kind == NodeKind::Standalone {
        let problem = Problem::new("`citus_secondary` is for coordinators and workers");
        source.problem(
            secondary.key_span,
            problem.hint("a standalone standby serves reads as it is: remove it"),
        );
        return None;
    }
    if let Some((inner, given)) = host.found("candidate_priority")
        && inner >= level
        && matches!(given.value, Value::Number(1..))
    {
        let problem = Problem::new("a `citus_secondary` has `candidate_priority: 0`");
        source.problem(
            given.span,
            problem.hint("remove `candidate_priority`: a read replica is never promoted"),
        );
        return None;
    }
    let Some(cluster) = cluster else {
        let problem = Problem::new("`citus_secondary` is there without `citus_cluster`");
        source.problem(
            secondary.key_span,
            problem.hint("name the read-replica cluster, e.g. `citus_cluster: reports`"),
        );
        return None;
    };
    let Value::Text(name) = &cluster.value else { return None };
    if name == "default" {
        let problem = Problem::new("`citus_cluster: default` is the name of the main cluster");
        source.problem(cluster.span, problem.hint("give the read replicas another name"));
        return None;
    }
    Some(Some(name.clone()))
}

/// The certificates of an adopted server, and who may be whom by them, are its own affair.
fn auth(method: &str, adopted: bool) -> Auth {
    match method {
        "trust" => Auth::Trust,
        "md5" => Auth::Md5,
        "scram-sha-256" => Auth::ScramSha256,
        "cert" if !adopted => Auth::Cert,
        other => Auth::Other(other.to_owned()),
    }
}

fn keeper(host: &Host, adopted: bool, source: &mut Source) -> Option<Keeper> {
    let word = host.text("keeper")?;
    if adopted {
        // Given for all hosts at once it still says how the others are kept.
        if let (Some((level, given)), Some((own, _))) = (host.found("keeper"), host.found("adopted"))
            && level >= own
        {
            let problem = Problem::new("`keeper` is given for an adopted server");
            let hint = "remove it: what runs `pg_autoctl` there is left as it was found";
            source.problem(given.key_span, problem.hint(hint));
        }
        return Some(Keeper::AsFound);
    }
    match word.as_str() {
        "auto" => Some(Keeper::Auto),
        "systemd" => Some(Keeper::Systemd),
        "detached" => Some(Keeper::Detached),
        "none" => Some(Keeper::None),
        _ => None,
    }
}

/// One spelling for one folder, so that two nodes in it are seen: `/a//b/./` is `/a/b`.
fn normal(path: &str) -> String {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .fold(String::new(), |path, part| path + "/" + part)
}
