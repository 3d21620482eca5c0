//! An inventory with values in it, and every word that a plan, a probe and a check would bring to a host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use muster::command::{Command, RunAs, Stdin};
use muster::error::Problem;
use muster::facts::{self, Facts, Sight, monitor_uri};
use muster::formation::{Formation, Monitor, NodeName, Secret};
use muster::inventory::parse;
use muster::scram;
use muster::step::{Action, Content, File};
use muster::{plan, uri, verify};

use crate::readers::{self, Word};
use crate::values::Shape;

/// Variables and their texts; a host's own are given to the host `a`.
pub(crate) type Given<'a> = BTreeMap<&'static str, &'a str>;

const OF_A_HOST: [&str; 3] = ["name", "hostname", "ansible_host"];

/// The inventory as text, and on which lines the variables stand. Nothing in it is a template.
pub(crate) fn inventory(shape: Shape, given: &Given) -> (String, BTreeMap<&'static str, usize>) {
    let mut text = "all:\n  vars:\n".to_owned();
    let mut lines = BTreeMap::new();
    let json = |value: &str| serde_json::to_string(value).unwrap();
    let defaults: &[(&str, &str)] = match shape {
        Shape::Plain => &[
            ("pgdata", "/data/main"),
            ("auth", "scram-sha-256"),
            ("password", "p"),
            ("replication_password", "r"),
            ("monitor_password", "m"),
        ],
        Shape::Citus => &[
            ("pgdata", "/data/main"),
            ("server_cert", "/a.crt"),
            ("server_key", "/a.key"),
            ("ssl_ca_file", "/c.crt"),
        ],
        Shape::External => &[("pgdata", "/data/main"), ("monitor", "postgres://m/d")],
    };
    for (variable, value) in defaults.iter().filter(|(variable, _)| !given.contains_key(variable)) {
        writeln!(text, "    {variable}: {value}").unwrap();
    }
    // Where nothing is said of it the choice hangs on the data directory.
    let is_of_tls = |variable: &str| {
        variable.starts_with("ssl") || variable.starts_with("server_") || variable == "no_ssl"
    };
    if shape == Shape::Plain && !given.keys().any(|variable| is_of_tls(variable)) {
        writeln!(text, "    ssl_self_signed: true").unwrap();
    }
    for (variable, value) in
        given.iter().filter(|(variable, _)| !OF_A_HOST.contains(variable) && **variable != "citus_cluster")
    {
        lines.insert(*variable, text.lines().count() + 1);
        match *variable {
            "settings" => writeln!(text, "    settings: {{cluster_name: !unsafe {}}}", json(value)),
            "hba" => writeln!(text, "    hba: [!unsafe {}]", json(value)),
            _ => writeln!(text, "    {variable}: !unsafe {}", json(value)),
        }
        .unwrap();
    }
    text += "  children:\n";
    if shape != Shape::External {
        text += "    monitor: {hosts: {mon.example: }}\n";
    }
    let group = if shape == Shape::Citus { "coordinator" } else { "postgres" };
    writeln!(text, "    {group}:\n      hosts:\n        a.example:").unwrap();
    for (variable, value) in given.iter().filter(|(variable, _)| OF_A_HOST.contains(variable)) {
        lines.insert(*variable, text.lines().count() + 1);
        writeln!(text, "          {variable}: !unsafe {}", json(value)).unwrap();
    }
    text += "        b.example: {secondary: true}\n";
    if shape == Shape::Citus {
        lines.insert("citus_cluster", text.lines().count() + 1);
        let cluster = json(given.get("citus_cluster").unwrap_or(&"readers"));
        writeln!(text, "        r.example: {{citus_secondary: true, citus_cluster: !unsafe {cluster}}}")
            .unwrap();
        text += "    workers: {hosts: {w.example: {group: 1, proxyport: 6432}}}\n";
    }
    (text, lines)
}

pub(crate) fn formation(shape: Shape, given: &Given) -> Result<Formation, Vec<Problem>> {
    parse("db.yml", &inventory(shape, given).0, Path::new("/base"))
}

/// Hosts with nothing on them, in the probe's own words.
pub(crate) fn bare(formation: &Formation) -> Facts {
    let names =
        formation.servers().map(|server| server.hostname.clone()).chain([monitor_uri(formation).host]);
    let names = names.filter(|name| name.parse::<std::net::IpAddr>().is_err());
    let mut answer = "memory_kb=16000000\naddresses=\ncpus=4\nsystemd=1\nhome=/home/pg\nlistening=0016\nsoftware.bin=/opt/pg/bin\n\
        software.version=15\nsoftware.pg_autoctl=/usr/bin/pg_autoctl 2.0\nextension.citus=13.2-1\nextension.pgautofailover=2.0\n\
        extension.pg_stat_statements=1.10\nextension.btree_gist=1.7\npgdata=empty\nplace.near=/\nplace.room=99999999\n\
        place.inodes~\nplace.access=writable\nplace.is=plain\ntmp.room=99999\ntmp.inodes~\nservers:\nclient.files=\n\
        pgpass.mode~\nwarnings:\nkeeper.pgdata~\n\
        tls.cert~\ntls.key=0\ntls.unreadable:\nnode.conf~\npgpass~\nsql~\nsql.extensions~\nkeeper.alive~\nkeeper.config~\n\
        keeper.state~\nkeeper.unit~\nkeeper.enabled=0\nkeeper.guard~\nkeeper.others:\ncitus~\ncitus.hook~\ncitus.values~\nneighbours:\nselinux=0\n\
        coordinator.at~\ncoordinator~\n"
        .to_owned();
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t0000000A\t00000000\t1\t0\t0\t0\t000000FF\n";
    writeln!(answer, "routes:{}", base64::engine::general_purpose::STANDARD.encode(routes)).unwrap();
    for (number, name) in names.enumerate() {
        writeln!(answer, "name.{name}=192.0.2.{} back", number + 1).unwrap();
    }
    let seen = |server: &muster::formation::Server| {
        // Somebody else's monitor is asked from every node, and knows nobody yet.
        let monitor = match &formation.monitor {
            Monitor::Managed(_) => "monitor~\n".to_owned(),
            Monitor::External(_) => {
                let rows = r#"{"extension": "2.0", "formation": null, "last_id": 0, "nodes": []}"#;
                format!("monitor:{}\n", base64::engine::general_purpose::STANDARD.encode(rows))
            }
        };
        let seen = facts::parse(formation, server, &format!("{answer}{monitor}end=\n"));
        (server.name.clone(), Sight::Seen(Box::new(seen.unwrap_or_else(|why| panic!("{why}\n{answer}")))))
    };
    Facts { hosts: formation.servers().map(seen).collect() }
}

/// Every word, with what it is and where; whose order does not depend on names.
pub(crate) fn words(formation: &Formation, rule: Option<&str>) -> Vec<Word> {
    let facts = bare(formation);
    let plan = plan::plan(formation, &facts, jiff::civil::date(2026, 11, 23))
        .unwrap_or_else(|problem| panic!("{problem}"));
    assert!(plan.blocked.is_empty() && plan.partial.is_none(), "{:?} {:?}", plan.blocked, plan.partial);
    let place = |name: &NodeName| formation.nodes.get(name).map_or(0, |node| node.order + 1);
    let mut steps: Vec<_> = plan.steps().collect();
    steps.sort_by_key(|(stage, node, _)| (*stage, place(node)));
    let mut words = Vec::new();
    let mut add = |what: &str, found: Vec<Word>| {
        words.extend(found.into_iter().map(|(kind, text)| (format!("{what}: {kind}"), text)))
    };
    for (stage, node, step) in steps {
        let what = format!("{} of {}", stage.as_str(), place(node));
        add(&what, vec![("title".to_owned(), step.title()), ("because".to_owned(), step.because.clone())]);
        match &step.action {
            Action::Put(file) => add(&format!("{what}, file"), of_file(file, rule)),
            Action::Issue(issue) => add(&format!("{what}, command"), of_command(&issue.request())),
            Action::Run(command) | Action::Wait { command, .. } => {
                add(&format!("{what}, command"), of_command(command))
            }
            Action::Try(trial) => {
                let asks = trial.asks.iter().map(|ask| &ask.command);
                for command in [&trial.command, &trial.confirm, &trial.undo].into_iter().chain(asks) {
                    add(&format!("{what}, command"), of_command(command));
                }
            }
        }
    }
    let mut servers: Vec<_> = formation.servers().collect();
    servers.sort_by_key(|server| place(&server.name));
    for server in servers {
        add("probe", of_command(&facts::probe(formation, server)));
        let sql = muster::resource::psql::psql(formation, server, None, &[], b"select 1;");
        // It is the operator's own, and no words of the inventory are in it.
        add("psql", of_command(&sql.stdin(Stdin::Nothing)));
    }
    for probe in verify::probes(formation, &facts) {
        add("verify", of_command(&probe.command));
    }
    for found in uri::uris(formation, &uri::Known::default()) {
        add("uri", readers::uri(&found.uri));
    }
    passwords_again(formation, words)
}

/// A server is given what chance made of a password: here it is the password again that it was made of.
fn passwords_again(formation: &Formation, mut words: Vec<Word>) -> Vec<Word> {
    let of_nodes = formation
        .nodes
        .values()
        .flat_map(|node| [&node.password, &node.replication_password, &node.monitor_password])
        .flatten();
    let all: BTreeSet<&str> =
        of_nodes.chain(&formation.lone_monitor_password).map(|password| password.reveal()).collect();
    for (_, text) in words.iter_mut().filter(|(_, text)| text.starts_with("SCRAM-SHA-256$")) {
        let made = Secret::new(text.as_str());
        let of = |password: &&&str| scram::kept(&made, "", &Secret::new(**password)) == scram::Kept::Scram;
        *text = (*all.iter().find(of).expect("it is of one of the inventory's")).to_owned();
    }
    words
}

fn of_command(command: &Command) -> Vec<Word> {
    let mut words = vec![("script".to_owned(), command.script.to_string())];
    words.push(match &command.run_as {
        RunAs::Login => ("as".to_owned(), "login".to_owned()),
        RunAs::User(user) => ("user".to_owned(), user.clone()),
        RunAs::Root => ("as".to_owned(), "root".to_owned()),
    });
    for arg in &command.args {
        assert!(!arg.contains('\0'), "no program gets it whole: {arg}");
        match arg.starts_with("application_name=") {
            true => words.extend(readers::conninfo(arg)),
            false => words.push(("argument".to_owned(), arg.clone())),
        }
    }
    for (name, value) in &command.env {
        assert!(!value.reveal().contains(['\n', '\0']), "{name} is cut off");
        words.push(((*name).to_owned(), value.reveal().to_owned()));
    }
    match &command.stdin {
        Stdin::Nothing => {}
        Stdin::Text(text) => words.extend(readers::sql(text)),
        Stdin::Hidden(secret) => words.extend(readers::sql(secret.reveal())),
        Stdin::Binary(bytes) => words.push(("bytes".to_owned(), format!("{bytes:?}"))),
    }
    words
}

fn of_file(file: &File, rule: Option<&str>) -> Vec<Word> {
    let mut words = vec![
        ("path".to_owned(), file.path.clone()),
        ("owner".to_owned(), file.owner.clone()),
        ("mode".to_owned(), format!("{:o}", file.mode)),
        ("check".to_owned(), format!("{:?}", file.check)),
    ];
    let text = match &file.content {
        Content::Text(text) | Content::Certificate(text) => text,
        Content::Hidden(secret) | Content::PrivateKey(secret) => secret.reveal(),
        Content::Binary(bytes) => {
            words.push(("bytes".to_owned(), format!("{bytes:?}")));
            return words;
        }
    };
    let name = file.path.rsplit('/').next().unwrap();
    words.extend(match name {
        // Made by chance.
        "server.key" | "server.crt" => Vec::new(),
        "pg_hba.conf" => {
            // The operator's own rule is a line, as it is.
            let is_own = |line: &&str| rule.is_some_and(|rule| rule.trim() == *line);
            let own = text.split('\n').filter(is_own).map(|line| ("rule".to_owned(), line.to_owned()));
            let others: Vec<&str> = text.split('\n').filter(|line| !is_own(line)).collect();
            own.chain(readers::hba(&others.join("\n"))).collect()
        }
        "pg_autoctl.cfg" => readers::ini(text),
        ".pgpass" => readers::pgpass(text),
        "on-promotion.values" => text.split('\n').map(|line| ("line".to_owned(), line.to_owned())).collect(),
        "on-promotion" | "run-keeper" => vec![("script".to_owned(), text.to_owned())],
        _ if name.ends_with(".conf") => readers::conf(text),
        _ if name.ends_with(".service") => readers::unit(text),
        _ => panic!("no reader for {name}"),
    });
    words
}
