//! The lints that look at servers and nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::formation::Origin;
use crate::formation::{Auth, HbaEdit, Node, NodeKind, Server, Standing, Tls};
use crate::inventory::Draft;
use crate::inventory::host::{Given, Host};
use crate::inventory::nodes::Role;
use crate::inventory::source::{Source, Span, quote};
use crate::inventory::topology::Member;
use crate::inventory::value::Value;
use crate::resource::guc;

/// Settings with the value that endangers data.
const UNSAFE: [(&str, &str); 4] = [
    ("fsync", "a crash of the machine may destroy the data directory"),
    ("full_page_writes", "a crash of the machine may destroy pages"),
    ("autovacuum", "tables bloat, and in the end writes are refused"),
    ("synchronous_commit", "a crash loses commits that were confirmed"),
];

/// Settings with a reason to think twice, whatever their value is but for one that changes nothing.
const RISKY: [(&str, &str, &str); 5] = [
    ("recovery_min_apply_delay", "0", "a standby that takes over replays first what it held back"),
    ("session_replication_role", "origin", "triggers and foreign keys are not checked"),
    ("zero_damaged_pages", "off", "a damaged page is emptied, and its rows are gone"),
    ("ignore_checksum_failure", "off", "a damaged page is taken for a good one"),
    ("ignore_invalid_pages", "off", "recovery goes on over what is damaged"),
];

pub(super) fn look(draft: &Draft, source: &mut Source) {
    if !draft.outside.is_empty() {
        source.warning("left-out", None, format!("outside the formation: {}", draft.outside.join(", ")));
    }
    let servers: Vec<(&Member, &Server)> =
        draft.members.iter().filter_map(|member| Some((member, member.server.as_ref()?))).collect();
    authentication(&servers, source);
    servers.iter().for_each(|(member, server)| of_server(&member.host, server, source));
    secrets(draft, source);
    let nodes: Vec<(&Host, &Node)> =
        draft.members.iter().filter_map(|member| Some((&member.host, member.node.as_ref()?))).collect();
    if let Some((first, _)) = nodes.first()
        && nodes.iter().all(|(host, _)| host.given("dbname").is_none())
    {
        let citus = nodes.iter().any(|(_, node)| node.kind != NodeKind::Standalone);
        let name = if citus { "citus" } else { "postgres" };
        source.warning(
            "default-dbname",
            Some(first.span),
            format!("`dbname` is not given: it is {}", quote(name)),
        );
    }
    beside_the_monitor(&servers, source);
    let mut groups: BTreeMap<u32, Vec<(&Host, &Node)>> = BTreeMap::new();
    for (host, node) in nodes {
        groups.entry(node.group).or_default().push((host, node));
    }
    let mut first: Option<(u32, &str)> = None;
    for (group, nodes) in &groups {
        of_group(*group, nodes, source);
        let Some((host, node)) = nodes.first() else { continue };
        let pgdata = node.server.pgdata.as_str();
        match first {
            None => first = Some((*group, pgdata)),
            Some((other, same)) if same != pgdata => {
                let what = format!(
                    "`pgdata` of group {group} is {}, of group {other} {}",
                    quote(pgdata),
                    quote(same)
                );
                source.warning("pgdata-differs", Some(host.span_of("pgdata")), what);
            }
            Some(_) => {}
        }
    }
}

/// Whom the rules that muster writes let in without a password, told once for all hosts that are alike.
fn authentication(servers: &[(&Member, &Server)], source: &mut Source) {
    let mut found: BTreeMap<(Option<Span>, &str, &str), Vec<&str>> = BTreeMap::new();
    for (member, server) in servers {
        let at = member.host.given("auth").map(|given| given.span);
        let lan = server.hba_edit == HbaEdit::Lan
            || matches!(
                member.role,
                Some(Role::Monitor | Role::Node(NodeKind::Coordinator | NodeKind::Worker))
            );
        let (lint, what) = match &server.auth {
            _ if server.hba_edit == HbaEdit::Skip => continue,
            // What its rules are is not said here.
            _ if server.adopted && at.is_none() => continue,
            Auth::Trust if lan => {
                ("trust-from-afar", "everybody on the local network gets in without a password")
            }
            Auth::Trust => {
                ("trust-from-afar", "every user of the other nodes' hosts gets in without a password")
            }
            Auth::Md5 => ("weak-auth", "`md5` can be broken, and PostgreSQL is going to drop it"),
            Auth::Other(method) if method == "password" => ("weak-auth", "`password` sends it as it is"),
            Auth::ScramSha256 | Auth::Cert | Auth::Other(_) => continue,
        };
        found.entry((at, lint, what)).or_default().push(&member.host.name);
    }
    for ((at, lint, what), hosts) in found {
        let auth = if at.is_none() { "`auth` is `trust` here where nothing is said: " } else { "" };
        source.warning(lint, at, format!("{auth}{what} ({})", hosts.join(", ")));
    }
}

fn of_server(host: &Host, server: &Server, source: &mut Source) {
    if server.tls == Tls::Off {
        source.warning("no-encryption", Some(host.span_of("no_ssl")), "connections are not encrypted");
    }
    let own = |name: &str| name == "localhost" || name.starts_with("127.") || name == "::1";
    if own(&server.hostname) {
        let at = if host.given("hostname").is_some() { "hostname" } else { "ansible_host" };
        let what = format!("the nodes are to reach {} as {}", quote(&host.name), quote(&server.hostname));
        source.warning("loopback-hostname", Some(host.span_of(at)), what);
    }
    if !server.initdb.data_checksums {
        source.warning("no-checksums", Some(host.span_of("data_checksums")), "data pages have no checksums");
    }
    for given in host.all("settings") {
        let Value::Settings(settings) = &given.value else { continue };
        for (name, why) in UNSAFE {
            let Some(setting) = settings.get(name) else { continue };
            if guc::flag(&setting.value) == Some(false) {
                source.warning("unsafe-setting", Some(setting.span), format!("{name} is off: {why}"));
            }
        }
        for (name, usual, why) in RISKY {
            let Some(setting) = settings.get(name) else { continue };
            let is_usual = setting.value.eq_ignore_ascii_case(usual)
                || (guc::flag(&setting.value) == Some(false) && guc::flag(usual) == Some(false));
            if !is_usual {
                let what = format!("{name} is {}: {why}", quote(&setting.value));
                source.warning("unsafe-setting", Some(setting.span), what);
            }
        }
        if let Some(setting) =
            settings.get("synchronous_commit").filter(|it| it.value.eq_ignore_ascii_case("local"))
        {
            let what = "synchronous_commit is local: commits wait for no standby, whatever the monitor says";
            source.warning("unsafe-setting", Some(setting.span), what);
        }
        for (name, setting) in settings {
            if let Some(guc::Wrong::Unknown(_)) = guc::wrong(name, &setting.value, server.pg_version) {
                let what = format!("PostgreSQL has no setting {}", quote(name));
                source.warning("unknown-setting", Some(setting.span), what);
            }
        }
    }
}

fn of_group(group: u32, nodes: &[(&Host, &Node)], source: &mut Source) {
    let Some((first, _)) = nodes.iter().find(|(_, node)| node.standing == Standing::Candidate) else {
        return;
    };
    let others = || nodes.iter().filter(|(host, _)| host.name != first.name);
    let may_follow = others().filter(|(_, node)| node.candidate_priority > 0).count();
    let confirm: Vec<&str> =
        others().filter(|(_, node)| node.replication_quorum).map(|(host, _)| host.name.as_str()).collect();
    let standbys: Vec<&Host> =
        others().filter(|(_, node)| !node.is_reader()).map(|(host, _)| *host).collect();
    if let (0, Some(standby)) = (may_follow, standbys.first()) {
        let what = format!(
            "every standby of group {group} has `candidate_priority` 0: nothing takes over from {}",
            quote(&first.name)
        );
        source.warning("nobody-takes-over", Some(standby.span_of("candidate_priority")), what);
    } else if may_follow == 0 {
        let what = format!("group {group} has no standby: nothing takes over from {}", quote(&first.name));
        source.warning("no-standby", Some(first.span), what);
    } else if let [standby] = confirm.as_slice() {
        let what = format!("group {group} has one standby that confirms commits, {}", quote(standby));
        source.warning("single-standby", Some(first.span), what);
    }
    if let Some(Given { value: Value::Number(0), span, .. }) = first.given("number_sync_standbys")
        && !confirm.is_empty()
    {
        let what = "a primary goes on alone when its standbys are away, and may then lose commits";
        source.warning("unconfirmed-commits", Some(*span), what);
    }
}

/// A monitor that goes down with a node lets nobody take over from it.
fn beside_the_monitor(servers: &[(&Member, &Server)], source: &mut Source) {
    let is_monitor = |member: &Member| member.role == Some(Role::Monitor);
    let Some((monitor, at)) = servers.iter().find(|(member, _)| is_monitor(member)) else { return };
    let shares =
        |server: &Server| (&server.host.address, server.host.port) == (&at.host.address, at.host.port);
    for (member, _) in servers.iter().filter(|(member, server)| !is_monitor(member) && shares(server)) {
        let (monitor, node) = (quote(&monitor.host.name), quote(&member.host.name));
        source.warning(
            "shared-host",
            Some(member.host.span),
            format!("the monitor {monitor} is on the host of {node}"),
        );
    }
}

/// Passwords as they are, once for each place.
fn secrets(draft: &Draft, source: &mut Source) {
    let hosts = draft.members.iter().map(|member| &member.host).chain(&draft.strangers);
    let mut seen = BTreeSet::new();
    for host in hosts {
        for given in host.levels.iter().flat_map(|level| level.values()).filter(|given| is_in_clear(given)) {
            // What a program prints stands in no file.
            let mode = mode(source.name(given.span)).filter(|mode| mode & 0o111 == 0);
            let (Some(mode), true) = (mode, seen.insert(given.span)) else { continue };
            let read = match mode & 0o077 {
                0 => ", in a file that only its owner may read".to_owned(),
                _ => {
                    let mode = mode & 0o7777;
                    format!(", in a file that others may read (mode {mode:04o}): `chmod 600` it at least")
                }
            };
            let what = format!("`{}` is in clear text{read}", given.variable.name);
            source.warning("clear-secret", Some(given.span), what);
        }
    }
}

/// Whether who reads the file reads a password.
fn is_in_clear(given: &Given) -> bool {
    match &given.value {
        Value::Secret(_) => given.origin == Origin::Clear,
        Value::Monitor(uri) => given.origin == Origin::Clear && uri.password.is_some(),
        Value::Flag(_)
        | Value::Number(_)
        | Value::Text(_)
        | Value::Settings(_)
        | Value::Rules(_)
        | Value::SshArgs { .. }
        | Value::HostKeys(_)
        | Value::Names(_)
        | Value::Recipients(_)
        | Value::Foreign(_)
        | Value::Unset
        | Value::Bad => false,
    }
}

fn mode(file: &str) -> Option<u32> {
    Path::new(file).metadata().ok().map(|file| file.permissions().mode())
}
