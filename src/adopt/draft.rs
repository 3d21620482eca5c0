//! A formation as its `pg_autoctl.cfg` files and the monitor's rows have it: every option but settings and rules.

use std::collections::BTreeMap;

use crate::adopt::look::{Configs, Listed};
use crate::error::Problem;
use crate::formation::{
    Auth, Formation, HbaEdit, Host, Initdb, Keeper, Monitor, MonitorUri, Node, NodeKind, NodeName,
    RestartPolicy, Roster, Secret, Seed, Server, SslMode, Standing, Tls,
};
use crate::resource::keeper::adopted::Config;
use crate::resource::monitor::{MonitorFacts, NodeRow};

/// The formation to adopt, where the monitor has several.
///
/// # Errors
/// None that is meant.
pub fn formation<'a>(wanted: Option<&str>, listed: &'a [Listed]) -> Result<&'a str, Problem> {
    let names = |of: &[&Listed]| of.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let all: Vec<&Listed> = listed.iter().collect();
    let filled: Vec<&Listed> = listed.iter().filter(|one| one.nodes > 0).collect();
    match wanted {
        Some(name) => all.iter().find(|one| one.name == name).map(|one| one.name.as_str()).ok_or_else(|| {
            Problem::new(format!("the monitor has no formation {name}"))
                .hint(format!("it has {}", names(&all)))
        }),
        None => match filled.as_slice() {
            [one] => Ok(&one.name),
            [] => Err(Problem::new("the monitor knows no node, so there is nothing to adopt")
                .hint("describe what you want in an inventory, and run muster apply")),
            many => Err(Problem::new(format!("the monitor has more than one formation: {}", names(many)))
                .hint("say which one with --formation NAME")),
        },
    }
}

/// The monitor's own configuration on its host.
///
/// # Errors
/// There is none, or more than one.
pub fn monitor_config(configs: &Configs) -> Result<&Config, String> {
    let monitors: Vec<&(String, Config)> = configs
        .found
        .iter()
        .filter(|(_, config)| config.get("pg_autoctl", "role") == Some("monitor"))
        .collect();
    match monitors.as_slice() {
        [(_, config)] => Ok(config),
        [] => Err("there is no pg_autoctl.cfg of a monitor here; is it this host, and this user?".to_owned()),
        many => {
            let paths: Vec<&str> = many.iter().map(|(path, _)| path.as_str()).collect();
            Err(format!(
                "there is more than one monitor: {}; give --monitor the URI of one",
                paths.join(", ")
            ))
        }
    }
}

/// The configuration of a node on its host, by its name, or by where it listens.
///
/// # Errors
/// There is none.
pub fn node_config<'a>(configs: &'a Configs, formation: &str, row: &NodeRow) -> Result<&'a Config, String> {
    let of = |config: &&(String, Config)| {
        let (_, config) = config;
        config.get("pg_autoctl", "role") == Some("keeper")
            && config.get("pg_autoctl", "formation").unwrap_or("default") == formation
    };
    let is_name = |config: &&(String, Config)| config.1.get("pg_autoctl", "name") == Some(&row.name);
    let is_place = |config: &&(String, Config)| {
        config.1.get("pg_autoctl", "hostname") == Some(&row.host)
            && config.1.get("postgresql", "port").unwrap_or("5432") == row.port.to_string()
    };
    let all = || configs.found.iter().filter(of);
    let found = all().find(is_name).or_else(|| all().find(is_place));
    found.map(|(_, config)| config).ok_or_else(|| match configs.found.len() {
        0 => format!("there is no pg_autoctl.cfg here, the monitor says that {} is", row.name),
        _ => format!("none of the pg_autoctl.cfg here is that of {} in formation {formation}", row.name),
    })
}

/// The server of a configuration; `bin` is where muster would find the programs by itself.
///
/// # Errors
/// What is missing there or makes no sense.
pub fn server(
    name: NodeName,
    host: Host,
    os_user: &str,
    config: &Config,
    bin: Option<&str>,
) -> Result<Server, String> {
    let get = |key: &str| config.get("postgresql", key);
    let pgdata = get("pgdata").ok_or("its pg_autoctl.cfg has no pgdata")?;
    let pg_ctl =
        get("pg_ctl").filter(|found| Some(*found) != bin.map(|bin| format!("{bin}/pg_ctl")).as_deref());
    Ok(Server {
        name,
        hostname: config.get("pg_autoctl", "hostname").unwrap_or(&host.address).to_owned(),
        host,
        pgctl: pg_ctl.map(str::to_owned),
        pg_version: None,
        pgdata: pgdata.trim_end_matches('/').to_owned(),
        pghost: get("host").map(str::to_owned),
        pgport: get("port")
            .unwrap_or("5432")
            .parse()
            .map_err(|_| "its pg_autoctl.cfg has no number as port")?,
        listen: get("listen_addresses").unwrap_or("*").to_owned(),
        auth: match get("auth_method").unwrap_or("trust") {
            "trust" => Auth::Trust,
            "md5" => Auth::Md5,
            "scram-sha-256" => Auth::ScramSha256,
            other => Auth::Other(other.to_owned()),
        },
        hba_edit: match get("hba_level") {
            Some("skip") => HbaEdit::Skip,
            Some("lan") => HbaEdit::Lan,
            Some(_) | None => HbaEdit::Minimal,
        },
        tls: tls(config)?,
        sans: Vec::new(),
        settings: BTreeMap::new(),
        settings_at: BTreeMap::new(),
        hba: Vec::new(),
        initdb: Initdb { data_checksums: true, encoding: "UTF8".to_owned(), locale: "C.UTF-8".to_owned() },
        os_user: os_user.to_owned(),
        keeper: Keeper::AsFound,
        restart_policy: RestartPolicy::Manual,
        confirm_timeout: 60,
        adopted: true,
    })
}

fn tls(config: &Config) -> Result<Tls, String> {
    let get = |key: &str| config.get("ssl", key);
    if get("active") != Some("1") {
        return Ok(Tls::Off);
    }
    let word = get("sslmode").unwrap_or("require");
    let mode = SslMode::parse(word);
    let own = |key: &str| get(key).map(str::to_owned);
    match (own("cert_file"), own("key_file"), mode) {
        (Some(cert), Some(key), Some(mode)) => {
            Ok(Tls::Files { cert, key, ca: own("ca_file"), crl: own("crl_file"), mode })
        }
        (_, _, None) => Err(format!("its pg_autoctl.cfg has the unknown sslmode {word}")),
        _ => Err("its pg_autoctl.cfg turns ssl on without cert_file and key_file".to_owned()),
    }
}

/// The node of a server and the monitor's row; passwords are those of its configuration.
///
/// # Errors
/// What makes no sense in its configuration.
pub fn node(server: Server, row: &NodeRow, order: u32, config: &Config) -> Result<Node, String> {
    let kind = match config.get("pg_autoctl", "nodekind") {
        Some("coordinator") => NodeKind::Coordinator,
        Some("worker") => NodeKind::Worker,
        Some("standalone") | None => NodeKind::Standalone,
        Some(other) => return Err(format!("its pg_autoctl.cfg has the unknown nodekind {other}")),
    };
    let reader = (row.cluster != "default").then(|| row.cluster.clone());
    let uri = config.get("pg_autoctl", "monitor").and_then(|uri| crate::inventory::monitor_uri(uri).ok());
    let priority = row.priority().ok_or_else(|| {
        format!(
            "the monitor has candidate_priority {} for {}, as it does during a failover: try again when it is over",
            row.candidate_priority, row.name
        )
    })?;
    let is_never_first = reader.is_some() || priority == 0;
    Ok(Node {
        order,
        kind,
        group: row.group,
        standing: if is_never_first { Standing::Secondary } else { Standing::Candidate },
        username: config.get("postgresql", "username").unwrap_or(&server.os_user).to_owned(),
        citus_cluster: reader,
        candidate_priority: priority,
        replication_quorum: row.replication_quorum,
        maximum_backup_rate: config.get("replication", "maximum_backup_rate").unwrap_or("100M").to_owned(),
        proxyport: config
            .get("postgresql", "proxyport")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0),
        password: None,
        replication_password: config.get("replication", "password").map(Secret::new),
        monitor_password: uri.and_then(|uri| uri.password),
        server,
    })
}

/// All of it together. What the formation, or a group, has one of is made one: the first that is there.
pub fn together(name: &str, monitor: Monitor, facts: &MonitorFacts, mut nodes: Vec<Node>) -> Formation {
    let password = nodes.iter().find_map(|node| node.monitor_password.clone());
    let password = password.or(match &monitor {
        Monitor::External(MonitorUri { password, .. }) => password.clone(),
        Monitor::Managed(_) => None,
    });
    let mut of_groups: BTreeMap<u32, Secret> = BTreeMap::new();
    for node in &nodes {
        if let Some(password) = &node.replication_password {
            of_groups.entry(node.group).or_insert_with(|| password.clone());
        }
    }
    for node in &mut nodes {
        node.monitor_password.clone_from(&password);
        node.replication_password = of_groups.get(&node.group).cloned();
    }
    let row = facts.formation.as_ref();
    let dbname = row.map_or_else(|| "postgres".to_owned(), |row| row.dbname.clone());
    // More than the inventory takes for a choice is left the monitor's own.
    let counted = |group: u32| {
        let of_group = nodes.iter().filter(|node| node.group == group && node.replication_quorum);
        u32::try_from(of_group.count()).unwrap_or(u32::MAX)
    };
    let fits = |wanted: u32| nodes.iter().all(|node| counted(node.group) >= wanted + 2);
    let number = row.map(|row| row.number_sync_standbys).filter(|number| *number > 0 && fits(*number));
    Formation {
        name: name.to_owned(),
        dbname,
        monitor,
        lone_monitor_password: None,
        kept: Default::default(),
        number_sync_standbys: number,
        nodes: nodes.into_iter().map(|node| (node.name().clone(), node)).collect(),
        templates: BTreeMap::new(),
        ca: Default::default(),
        authority: None,
        roster: Roster::default(),
        // It is only written down.
        seed: Seed([0; 16]),
        outside: Default::default(),
        warnings: Vec::new(),
    }
}
