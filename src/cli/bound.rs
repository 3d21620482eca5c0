//! What a saved plan is tied to: the way to each host, the key that it showed, and every secret.
//!
//! The file may be shown around, so it holds digests alone. Those of secrets are slow to make: who has the file can try
//! passwords against it, a few hundred a second on a costly machine, and not billions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use scrypt::{Params, scrypt};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Options, problem};
use crate::error::Problem;
use crate::formation::{Connection, Formation, Host, Monitor, NodeName, Password, Secret, Server};
use crate::ssh::settings::{Proxy, Settings};

/// 32 MiB and some tenths of a second for a secret; a hundred different ones are still made in seconds.
const COST: (u8, u32, u32) = (15, 8, 1);

/// How the digests are made; another one can be compared with nothing.
const METHOD: &str = "scrypt-15-8-1, hmac-sha256";

/// The host keys that were seen.
pub(super) type Keys = BTreeMap<NodeName, String>;

/// Digests by what they are of, and then by the node.
type Digests = BTreeMap<String, BTreeMap<NodeName, String>>;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bound {
    method: String,
    salt: String,
    /// Address, port, user, bastions.
    ways: Digests,
    /// Nodes whose host was not reached have none.
    host_keys: BTreeMap<NodeName, String>,
    secrets: Digests,
}

/// What a plan is tied to now.
pub(super) fn bound(
    options: &Options,
    formation: &Formation,
    servers: &[&Server],
    keys: &Keys,
) -> Result<Bound, Vec<Problem>> {
    let mut salt = [0; 32];
    rand::fill(&mut salt);
    let (ways, secrets) = tied(options, formation, servers, &salt)?;
    let host_keys = digests_of_keys(&salt, keys);
    Ok(Bound { method: METHOD.to_owned(), salt: BASE64.encode(salt), ways, host_keys, secrets })
}

impl Bound {
    /// What differs now, before any host is asked: no password is sent to an address that the plan is not for.
    pub(super) fn differs(
        &self,
        options: &Options,
        formation: &Formation,
        servers: &[&Server],
    ) -> Result<Vec<String>, Vec<Problem>> {
        let salt = BASE64.decode(&self.salt).unwrap_or_default();
        if self.method != METHOD {
            return Ok(vec!["it was saved by a muster that made its digests in another way".to_owned()]);
        }
        let (ways, secrets) = tied(options, formation, servers, &salt)?;
        let mut said = differences(&self.ways, &ways);
        said.extend(differences(&self.secrets, &secrets));
        Ok(said)
    }

    /// The hosts that show another key than they did. One that was or is away is the plan's to tell.
    pub(super) fn differs_in_keys(&self, keys: &Keys) -> Vec<String> {
        let salt = BASE64.decode(&self.salt).unwrap_or_default();
        let now = digests_of_keys(&salt, keys);
        let other = |(name, saved): &(&NodeName, &String)| now.get(*name).is_some_and(|now| now != *saved);
        let nodes: BTreeSet<&NodeName> = self.host_keys.iter().filter(other).map(|(name, _)| name).collect();
        if nodes.is_empty() { Vec::new() } else { vec![difference("the host key", &nodes)] }
    }
}

fn tied(
    options: &Options,
    formation: &Formation,
    servers: &[&Server],
    salt: &[u8],
) -> Result<(Digests, Digests), Vec<Problem>> {
    let mut ways = Digests::new();
    for server in servers {
        for (what, value) in way(options, &server.host)? {
            let digest = mac(salt, &[what, &server.name.0, &value]);
            ways.entry(what.to_owned()).or_default().insert(server.name.clone(), digest);
        }
    }
    let all = secrets(formation, servers);
    let texts: BTreeSet<&str> = all.iter().map(|(_, _, secret)| secret.reveal()).collect();
    let stretched = stretched(&texts, salt);
    let mut secrets = Digests::new();
    for (what, name, secret) in all {
        let Some(key) = stretched.get(secret.reveal()) else { continue };
        // Nobody sees who has the same password as somebody else.
        let digest = mac(key, &[what, &name.0]);
        secrets.entry(what.to_owned()).or_default().insert(name, digest);
    }
    Ok((ways, secrets))
}

/// Where muster connects to, and as whom: as the inventory, ssh_config and the command line say together.
fn way(options: &Options, host: &Host) -> Result<Vec<(&'static str, String)>, Vec<Problem>> {
    if host.connection == Connection::Local {
        return Ok(vec![("the address", "this machine, without SSH".to_owned())]);
    }
    let route = options.transport().route(host).map_err(|failure| vec![problem(failure)])?;
    let hop = |hop: &Settings| {
        let by = match &hop.proxy {
            Proxy::Command(command) => format!(" by {command}"),
            Proxy::Direct | Proxy::Jump(_) => String::new(),
        };
        format!("{}@{}{by}", hop.user, hop.place())
    };
    let Some((target, bastions)) = route.split_last() else { return Ok(Vec::new()) };
    let mut through: Vec<String> = bastions.iter().map(hop).collect();
    if let Proxy::Command(command) = &target.proxy {
        through.push(command.clone());
    }
    Ok(vec![
        ("the address", target.hostname.clone()),
        ("the port", target.port.to_string()),
        ("the user", target.user.clone()),
        ("the way through bastions", through.join("\n")),
    ])
}

/// Every secret by the name of its variable.
fn secrets<'f>(
    formation: &'f Formation,
    servers: &[&'f Server],
) -> Vec<(&'static str, NodeName, &'f Secret)> {
    let mut all = Vec::new();
    // What is not made yet is another one in each run.
    let is_made = |password: Password| formation.kept.made.contains_key(&password);
    let kept = |secret: Option<&'f Secret>, password| secret.filter(|_| !is_made(password));
    for server in servers {
        let node = formation.nodes.get(&server.name);
        let lone = formation.lone_monitor_password.as_ref().filter(|_| node.is_none());
        let external = match &formation.monitor {
            Monitor::External(uri) => uri.password.as_ref(),
            Monitor::Managed(_) => None,
        };
        let of_server = [
            ("`ansible_password`", server.host.password.as_ref()),
            ("`ansible_become_password`", server.host.becoming.password.as_ref()),
            ("`password`", kept(node.and_then(|node| node.password.as_ref()), Password::User)),
            (
                "`replication_password`",
                kept(node.and_then(|node| node.replication_password.as_ref()), Password::Replication),
            ),
            (
                "`monitor_password`",
                kept(node.and_then(|node| node.monitor_password.as_ref()).or(lone), Password::Monitor),
            ),
            ("the password in `monitor`", external),
        ];
        all.extend(
            of_server
                .into_iter()
                .filter_map(|(what, secret)| secret.map(|secret| (what, server.name.clone(), secret))),
        );
    }
    all
}

/// The slow part, once for each text, on all processors.
fn stretched<'t>(texts: &BTreeSet<&'t str>, salt: &[u8]) -> BTreeMap<&'t str, [u8; 32]> {
    let (log_n, r, p) = COST;
    let params = Params::new(log_n, r, p).expect("the numbers are scrypt's own recommendation");
    let (todo, done) = (Mutex::new(texts.iter().copied()), Mutex::new(BTreeMap::new()));
    let work = || {
        let next = || todo.lock().ok().and_then(|mut todo| todo.next());
        while let Some(text) = next() {
            let mut key = [0; 32];
            scrypt(text.as_bytes(), salt, &params, &mut key)
                .expect("32 bytes are a length that scrypt makes");
            if let Ok(mut done) = done.lock() {
                done.insert(text, key);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(texts.len()) {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap_or_default()
}

fn digests_of_keys(salt: &[u8], keys: &Keys) -> BTreeMap<NodeName, String> {
    keys.iter().map(|(name, key)| (name.clone(), mac(salt, &["host key", &name.0, key]))).collect()
}

fn mac(key: &[u8], parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    BASE64.encode(mac.finalize().into_bytes())
}

fn differences(saved: &Digests, now: &Digests) -> Vec<String> {
    let none = BTreeMap::new();
    let whats: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    let differ = |what: &String| {
        let (before, after) = (saved.get(what).unwrap_or(&none), now.get(what).unwrap_or(&none));
        let nodes: BTreeSet<&NodeName> =
            before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
        (!nodes.is_empty()).then(|| difference(what, &nodes))
    };
    whats.into_iter().filter_map(differ).collect()
}

fn difference(what: &str, nodes: &BTreeSet<&NodeName>) -> String {
    let names: Vec<&str> = nodes.iter().map(|name| name.0.as_str()).collect();
    format!("{what} of {}", names.join(", "))
}
