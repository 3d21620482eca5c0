//! What pg_autoctl makes of its configuration, and who gets in by it: as 2.0 to 2.2 do.

use std::collections::BTreeMap;

use muster::formation::{Auth, Monitor as Wanted, Node, NodeName, Server, SslMode, Tls};
use muster::resource::data::STANDBY_CONF;
use muster::resource::replication::Upstream;
use muster::resource::settings;

use crate::world::{Data, SHOWN, World, config_path, read_state};

/// Keys and values of `pg_autoctl.cfg`; none of them is in two sections.
fn keys(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(" = ")).collect()
}

/// The server as a keeper's configuration has it.
pub(crate) fn as_configured(server: &Server, config: &str) -> Server {
    let keys = keys(config);
    let get = |key: &str| keys.get(key).copied().unwrap_or_default().to_owned();
    let some = |key: &str| keys.get(key).map(|value| (*value).to_owned());
    let mode = SslMode::parse(&get("sslmode")).expect("a word of libpq's");
    let tls = match get("active").as_str() {
        "0" => Tls::Off,
        _ => Tls::Files {
            cert: get("cert_file"),
            key: get("key_file"),
            ca: some("ca_file"),
            crl: some("crl_file"),
            mode,
        },
    };
    let auth = match get("auth_method").as_str() {
        "trust" => Auth::Trust,
        "md5" => Auth::Md5,
        "scram-sha-256" => Auth::ScramSha256,
        "cert map=muster" => Auth::Cert,
        other => Auth::Other(other.to_owned()),
    };
    let port = get("port").parse().expect("a port");
    Server { tls, auth, listen: get("listen_addresses"), pgport: port, ..server.clone() }
}

impl World {
    /// A pg_autoctl that starts, or reads its configuration again, writes the server's anew and has it read; a
    /// standby's keeper points it anew at its primary, which is a restart.
    pub(crate) fn rewrite_conf(&mut self, name: &NodeName) {
        let node = self.formation.nodes.get(name).cloned();
        let wanted = self.server(name).clone();
        let host_facts = {
            let host = &self.hosts[name];
            self.host_facts(&wanted, host, host.runs())
        };
        let host = self.host(&name.0);
        let Some(config) = host.files.get(&config_path(&wanted)).cloned() else { return };
        let server = as_configured(&wanted, &config);
        let text = settings::auto_failover_conf(&server, node.as_ref(), &host_facts);
        let id = host.state.as_deref().map(|bytes| read_state(bytes).node_id);
        let Some(data) = host.data_mut() else { return };
        let file = "postgresql-auto-failover.conf";
        data.files.insert(file.to_owned(), text);
        let is_standby = data.standby;
        if let (Some(conf), Some(node), Some(id), true) =
            (data.files.get_mut(STANDBY_CONF), node, id, is_standby)
        {
            let word = |key: &str| Some(conf.split_once(key)?.1.split([' ', '\'']).next()?.to_owned());
            if let (Some(host), Some(port)) = (word(" host="), word(" port=")) {
                let upstream =
                    Upstream { name: &node.server.name.0, host: &host, port: port.parse().expect("a port") };
                *conf = settings::standby_conf(&Node { server, ..node.clone() }, id, upstream);
            }
        }
        if data.runs() {
            self.load(name);
        }
    }

    /// Whether a keeper gets in to the monitor with what it has, by TLS and rules.
    pub(crate) fn is_let_in_by_the_monitor(&self, name: &NodeName) -> bool {
        let Wanted::Managed(monitor) = &self.formation.monitor else { return true };
        let Some(data) = self.hosts[&monitor.name].data().filter(|data| data.runs()) else { return true };
        let config = &self.hosts[name].files[&config_path(self.server(name))];
        let uri = config.lines().find_map(|line| line.strip_prefix("monitor = ")).unwrap_or_default();
        let mode = uri
            .split_once("sslmode=")
            .map_or("prefer", |(_, rest)| rest.split('&').next().expect("there is always a first"));
        let rule = data.rules().lines().find(|line| line.contains("\"autoctl_node\" 10.88.0.0/24"));
        let has_password = uri.contains("autoctl_node:") || self.knows_the_monitors_password(name);
        rule.is_some_and(|rule| {
            // Who forbids it by hand means it.
            let is_known = match rule.contains(" cert ") {
                true => self.is_known(name, data, rule, "autoctl_node"),
                false => rule.contains(" trust") || has_password,
            };
            rule.contains(" reject") || (data.takes(mode, rule) && is_known)
        })
    }

    /// Whether who comes as this role is known by the certificate that a rule asks for, where it does.
    pub(crate) fn is_known(&self, name: &NodeName, data: &Data, rule: &str, role: &str) -> bool {
        if !rule.contains(" cert map=muster") {
            return true;
        }
        let line = format!("muster \"{}\" \"{role}\"", self.server(name).hostname);
        let map = data.loaded.get("pg_ident.conf").map_or("", String::as_str);
        map.lines().any(|found| found == line) && self.hosts[name].files.contains_key(SHOWN)
    }

    fn knows_the_monitors_password(&self, name: &NodeName) -> bool {
        let pgpass = self.hosts[name].files.get("/var/lib/postgresql/.pgpass");
        pgpass.is_some_and(|text| text.contains(":autoctl_node:"))
    }
}

impl Data {
    /// The rules in force: those that it has read, or, where nothing is known of that, those that lie there.
    pub(crate) fn rules(&self) -> &str {
        let file = "pg_hba.conf";
        self.loaded.get(file).or(self.files.get(file)).map_or("", String::as_str)
    }

    fn has_tls(&self) -> bool {
        let conf = self.loaded.get("postgresql-auto-failover.conf");
        conf.is_some_and(|conf| conf.lines().any(|line| line == "ssl = on"))
    }

    /// Whether a connection with this sslmode comes in by a rule.
    pub(crate) fn takes(&self, mode: &str, rule: &str) -> bool {
        let asks = ["require", "verify-ca", "verify-full"].contains(&mode);
        let tls = self.has_tls();
        let may = ["prefer", "allow"].contains(&mode) || asks;
        (!asks || tls) && (!rule.starts_with("hostssl") || (tls && may))
    }
}
