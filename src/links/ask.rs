//! The needed connections to a server, made for real: by the hosts that come in, each with what it has to come in with.

use std::collections::BTreeMap;

use crate::command::{Command, RunAs};
use crate::formation::{Formation, NodeName, Secret, Server, SslMode};
use crate::hba::Database;
use crate::links::judge::target;
use crate::links::needed::{Link, Purpose};
use crate::session::ORDINARY;
use crate::sql::ssl_files;
use crate::step::Ask;

/// `$1` bin, `$2` host, or the socket's directory, or empty; `$3` port, then four a connection: sslmode, user, database, `replication` or empty.
/// A line each: `in`, or what was said. Passwords are those in `~/.pgpass`.
const ASK: &str = r#"bin=$1 PGHOST=$2 PGPORT=$3
shift 3
if [ -n "$PGHOST" ]; then export PGHOST; else unset PGHOST; fi
if [ -n "$MUSTER_SSLROOTCERT" ]; then PGSSLROOTCERT=$MUSTER_SSLROOTCERT; export PGSSLROOTCERT; fi
if [ -n "$MUSTER_SSLCRL" ]; then PGSSLCRL=$MUSTER_SSLCRL; export PGSSLCRL; fi
PGCONNECT_TIMEOUT=4
export PGPORT PGCONNECT_TIMEOUT PGSSLMODE PGUSER PGDATABASE
come() {
  case $1 in
  replication) "$bin/psql" -XAtqw -c IDENTIFY_SYSTEM replication=true ;;
  *) PGOPTIONS=$MUSTER_OPTIONS "$bin/psql" -XAtqw -c 'select 1' ;;
  esac
}
while [ "$#" -gt 0 ]; do
  PGSSLMODE=$1 PGUSER=$2 PGDATABASE=$3
  if said=$(come "$4" 2>&1 >/dev/null </dev/null); then echo in
  else printf '%s\n' "$(printf '%s' "${said:-it did not say why}" | tr '\n' ' ')"; fi
  shift 4
done
"#;

/// Seconds for all connections of one host.
const WITHIN: u64 = 30;

/// What is asked of each host that comes in. `bins`: where psql is on the hosts that can be asked. `now`: the sslmode that a server's keeper
/// asks for still, where the inventory has another one.
pub fn asks(
    formation: &Formation,
    server: &Server,
    links: Vec<Link>,
    bins: &BTreeMap<&NodeName, &str>,
    now: &dyn Fn(&NodeName) -> Option<SslMode>,
) -> Vec<Ask> {
    let mut by_peer: BTreeMap<String, Vec<Link>> = BTreeMap::new();
    for link in links {
        by_peer.entry(link.peer.clone()).or_default().push(link);
    }
    let ask = |peer: &Server, links: Vec<Link>| {
        let is_own = peer.name == server.name;
        let host = match is_own {
            true => server.pghost.clone().unwrap_or_default(),
            false => server.hostname.clone(),
        };
        let mut modes = vec![peer.tls.mode()];
        modes.extend(now(&peer.name).filter(|mode| !is_own && *mode != modes[0]));
        let (mut args, mut who) =
            (vec![bins[&peer.name].to_owned(), host, server.pgport.to_string()], Vec::new());
        for link in &links {
            let (database, kind) = match &link.database {
                Database::Replication => ("", "replication"),
                Database::Named(name) => (name.as_str(), ""),
            };
            for mode in &modes {
                args.extend([mode.as_str(), &link.user, database, kind].map(str::to_owned));
                who.push(words(link, peer));
            }
        }
        let (root, crl) = ssl_files(&peer.tls);
        let command = Command::new(RunAs::User(peer.os_user.clone()), ASK)
            .args(args)
            .env("MUSTER_OPTIONS", &Secret::new(ORDINARY))
            .env("MUSTER_SSLROOTCERT", &Secret::new(root))
            .env("MUSTER_SSLCRL", &Secret::new(crl))
            .timeout(WITHIN);
        Ask { on: peer.name.clone(), command, who }
    };
    let peers = formation.servers().filter(|peer| bins.contains_key(&peer.name));
    peers.filter_map(|peer| by_peer.remove(&peer.name.0).map(|links| ask(peer, links))).collect()
}

fn words(link: &Link, peer: &Server) -> String {
    let Link { purpose, user, database, .. } = link;
    let target = target(database);
    match purpose {
        Purpose::OwnHost => format!("{user} to {target} over the local socket"),
        Purpose::Report
        | Purpose::HealthCheck
        | Purpose::Replication
        | Purpose::Rewind
        | Purpose::Peer
        | Purpose::Citus => {
            format!("{} ({}, {user} to {target})", peer.name, purpose.as_str())
        }
    }
}
