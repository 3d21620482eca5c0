//! What the lines of a server's file are for: who comes in by which, and who does not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::hba::{
    self, Answer, By, Connection, Database, Ground, Kind, Origin, Place, Read, Rule, Seal, Unknown,
};
use crate::links::look::Looked;
use crate::links::needed::{HEALTH_CHECK, Link};

/// What a server's file says to everybody who has to come in.
#[derive(Clone, Debug)]
pub struct Page {
    pub path: String,
    pub read: Read,
    pub judged: Vec<Judged>,
    /// Whether the server has read it: `None` where it does not answer.
    pub is_in_force: Option<bool>,
    /// Whether the server has TLS: lines of `hostssl` wait for it. `None` where it does not answer.
    pub tls: Option<bool>,
    /// The host's own addresses, and the name by which others connect.
    own: BTreeSet<IpAddr>,
    hostname: String,
}

/// A connection that is needed, and what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub link: Link,
    /// By which way; `None` where nobody knows its address.
    pub by: Option<By>,
    pub says: Says,
}

/// What the file says to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It is let in, if it has what the method asks for.
    Method { at: Place, method: String },
    /// `reject`.
    Rejected(Place),
    /// No line is for it.
    Nobody,
    /// Nobody can say whether this line is for it.
    Perhaps { at: Place, unknown: Unknown },
    /// Nobody knows from where it comes.
    NoAddress,
}

impl Says {
    pub fn new(answer: Answer) -> Says {
        match answer {
            Answer::Line(line, rule) if rule.rejects() => Says::Rejected(line.at.clone()),
            Answer::Line(line, rule) => Says::Method { at: line.at.clone(), method: rule.method.clone() },
            Answer::Nobody => Says::Nobody,
            Answer::Perhaps(line, unknown) => Says::Perhaps { at: line.at.clone(), unknown },
        }
    }

    /// Whether it is certain that the server sends it away.
    pub fn is_shut_out(&self) -> bool {
        matches!(self, Says::Rejected(_) | Says::Nobody)
    }

    /// The line, where there is one.
    pub fn line(&self) -> Option<&Place> {
        match self {
            Says::Method { at, .. } | Says::Rejected(at) | Says::Perhaps { at, .. } => Some(at),
            Says::Nobody | Says::NoAddress => None,
        }
    }
}

impl Judged {
    /// Who comes, to what, by which way.
    pub fn who(&self) -> String {
        let Link { purpose, peer, user, database, .. } = &self.link;
        let by = self.by.map(way).unwrap_or_default();
        format!("{} from {peer}, {user} to {}{by}", purpose.as_str(), target(database))
    }
}

/// What is asked for, in words.
pub fn target(database: &Database) -> String {
    match database {
        Database::Replication => "replication".to_owned(),
        Database::Named(name) => format!("database {name}"),
    }
}

/// A way, in words that follow others.
pub fn way(by: By) -> String {
    match by {
        By::Socket => ", over the local socket".to_owned(),
        By::Network { from, seal: Seal::Tls } => format!(", from {from} with TLS"),
        By::Network { from, seal: Seal::Plain } => format!(", from {from} without TLS"),
    }
}

/// Of connections those that are sent away. Who may come by several addresses comes in if one of them does.
pub fn shut_out(judged: &[Judged]) -> impl Iterator<Item = &Judged> {
    judged.iter().filter(|one| {
        let comes_in = |other: &&Judged| other.link == one.link && !other.says.is_shut_out();
        one.says.is_shut_out() && !judged.iter().any(|other| comes_in(&other))
    })
}

impl Page {
    /// Whether anybody who has to come in is sent away, or the file is one that the server does not take.
    pub fn is_wrong(&self) -> bool {
        shut_out(&self.judged).next().is_some() || self.read.refused().next().is_some()
    }

    /// Lines that let anybody in who comes from beyond the host itself, for reasons that are not the formation's own: the health check's
    /// user may do nothing but connect.
    pub fn trusting(&self) -> impl Iterator<Item = &hba::Line> {
        let is_health_check = |rule: &Rule| rule.users.iter().all(|user| user.text == HEALTH_CHECK);
        self.read.rules().filter_map(move |(line, rule)| {
            let is_own = rule.from.is_own_host() || self.is_of_itself(&rule.from);
            let is_open = rule.method == "trust" && rule.kind != Kind::Local && !is_own;
            (is_open && !is_health_check(rule)).then_some(line)
        })
    }
}

impl Page {
    /// Whether it is the host by its name, or by an address that it has.
    fn is_of_itself(&self, from: &Origin) -> bool {
        match from {
            Origin::Name(name) => name.eq_ignore_ascii_case(&self.hostname),
            Origin::Net { address, mask } => is_one_address(*mask) && self.own.contains(address),
            Origin::Anywhere | Origin::SameHost | Origin::SameNet => false,
        }
    }
}

fn is_one_address(mask: IpAddr) -> bool {
    match mask {
        IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
        IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
    }
}

/// Judges everything that has to come in. `hostname`: the name by which others connect.
pub fn judge(looked: &Looked, read: Read, links: Vec<Link>, hostname: &str) -> Page {
    let judged = judged(&read, &looked.ground, links);
    let server = looked.server.as_ref();
    let is_in_force = server.map(|server| !server.stale && server.refused.is_empty());
    let interfaces = looked.ground.interfaces.iter().flatten();
    let (own, tls) = (interfaces.map(IpNet::addr).collect(), server.map(|server| server.tls));
    Page { path: looked.path.clone(), read, judged, is_in_force, tls, own, hostname: hostname.to_owned() }
}

fn judged(read: &Read, ground: &Ground, links: Vec<Link>) -> Vec<Judged> {
    let mut judged = Vec::new();
    for link in links {
        let connections: Vec<Connection> = link.connections().collect();
        if connections.is_empty() {
            judged.push(Judged { link, by: None, says: Says::NoAddress });
            continue;
        }
        for connection in connections {
            let says = Says::new(hba::answer(read, ground, &connection));
            judged.push(Judged { link: link.clone(), by: Some(connection.by), says });
        }
    }
    judged
}

/// What a file that is to be placed would certainly send away though it is needed: the first of it, and why. What only the host knows (files
/// that the file names, names of addresses) keeps nobody out here.
pub fn would_shut_out(text: &str, release: u32, links: Vec<Link>) -> Option<(Judged, String)> {
    let read = hba::read_text("pg_hba.conf", text, release);
    if !read.missing.is_empty() {
        return None;
    }
    let judged = judged(&read, &Ground { release, ..Ground::default() }, links);
    let first = shut_out(&judged).next()?.clone();
    let line = read.lines.iter().find(|line| Some(&line.at) == first.says.line());
    let why = match line {
        Some(line) => format!("its line {} rejects it: {}", line.at.line, line.text),
        None => "no line is for it".to_owned(),
    };
    Some((first, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hba::Files;

    #[test]
    fn rules_of_a_host_for_itself_let_nobody_else_in() {
        let text = "host all all pg1 trust\nhost all all 10.0.0.1/32 trust\nhost all all 10.0.0.2/32 trust\nhost all all 10.0.0.0/24 trust\n";
        let interfaces = Some(["10.0.0.1/24".parse().unwrap()].into());
        let ground = Ground { release: 15, interfaces, ..Ground::default() };
        let looked = Looked { path: "pg_hba.conf".to_owned(), files: Files::new(), ground, server: None };
        let page = judge(&looked, hba::read_text("pg_hba.conf", text, 15), Vec::new(), "pg1");
        assert_eq!(page.trusting().map(|line| line.at.line).collect::<Vec<_>>(), [3, 4]);
    }
}
