//! What a server and those who connect from its host go by now, whatever the inventory says: the certificate that is shown, and how
//! others are verified.

use crate::formation::{Secret, Server, SslMode};
use crate::resource::data::{Pgdata, node_dir};
use crate::resource::keeper::{KeeperFacts, asks_with, shows};
use crate::resource::settings;
use crate::resource::tls::TlsFacts;

/// What the files of one server say.
pub struct InUse {
    /// Certificate and key; `None` without TLS.
    pub pair: Option<(String, String)>,
    /// Those that its keeper has it show once it writes the server's configuration anew.
    pub told: Option<(String, String)>,
    /// The strictest sslmode that its keeper, its standby and its Citus sessions connect with.
    pub mode: Option<SslMode>,
    /// The certificates that they verify others with, as PEM, one text each.
    pub trusted: Vec<String>,
}

impl InUse {
    /// `None` where there is no data directory yet.
    pub fn of(server: &Server, pgdata: &Pgdata, keeper: &KeeperFacts, tls: &TlsFacts) -> Option<InUse> {
        let Pgdata::Present(found) = pgdata else { return None };
        let conf = found.files.get("postgresql-auto-failover.conf").and_then(Option::as_deref);
        let conf = conf.unwrap_or_default();
        let standby = found.standby_conf.as_ref().filter(|_| found.standby).map_or("", Secret::reveal);
        let config = keeper.config.as_ref().map(Secret::reveal);
        let modes = [
            sslmode(line(conf, "citus.node_conninfo")),
            sslmode(line(standby, "primary_conninfo")),
            config.and_then(asks_with),
        ];
        let path =
            |name: &str| settings::value(conf, name).filter(|path| !path.is_empty()).map(str::to_owned);
        let is_on = settings::value(conf, "ssl") == Some("on");
        Some(InUse {
            pair: path("ssl_cert_file").zip(path("ssl_key_file")).filter(|_| is_on),
            told: config.and_then(shows),
            mode: modes.into_iter().flatten().max(),
            trusted: match path("ssl_ca_file") {
                Some(path) if path == format!("{}/ca.crt", node_dir(server)) => {
                    tls.authority.clone().unwrap_or_default()
                }
                Some(_) => tls.trusted.clone(),
                None => Vec::new(),
            },
        })
    }
}

/// The line of a setting.
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().rev().find(|line| line.trim_start().starts_with(name)).unwrap_or_default()
}

fn sslmode(conninfo: &str) -> Option<SslMode> {
    let mut words = conninfo.split(['\'', ' ']);
    SslMode::parse(words.find_map(|word| word.strip_prefix("sslmode="))?)
}
