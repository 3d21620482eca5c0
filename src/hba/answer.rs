//! Which line answers. Source: `check_hba` in hba.c.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::field::Word;
use super::read::{Line, Read};
use super::rule::{Kind, Origin, Rule};

/// Who comes, to what, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub user: String,
    pub database: Database,
    pub by: By,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    Named(String),
    /// A standby's stream, of no database.
    Replication,
}

/// The way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Socket,
    Network { from: IpAddr, seal: Seal },
}

/// Whether a connection over the network is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    Tls,
    Plain,
}

/// What no file says.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// The server's major version.
    pub release: u32,
    /// Addresses of the server's host with their networks; `None` where nobody told.
    pub interfaces: Option<BTreeSet<IpNet>>,
    /// The name that the host has for an address, where that name has the address, too; an address that was not asked for is not there.
    pub names: BTreeMap<IpAddr, Option<String>>,
    /// Whose member a role is, at any remove, itself among them; a role that was not asked for is not there.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// Whether a text matches a regular expression, as (expression, text), in the server's eyes.
    pub matches: BTreeMap<(String, String), bool>,
}

/// What has to be known before a line can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    Interfaces,
    NameOf(IpAddr),
    MembershipOf(String),
    Match { expression: String, text: String },
}

/// The answer to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'r> {
    Line(&'r Line, &'r Rule),
    /// None fits: the server sends it away.
    Nobody,
    /// It may be this line; none before it fits.
    Perhaps(&'r Line, Unknown),
}

/// The first line that fits.
pub fn answer<'r>(read: &'r Read, ground: &Ground, connection: &Connection) -> Answer<'r> {
    for (line, rule) in read.rules() {
        match fits(rule, ground, connection) {
            Ok(true) => return Answer::Line(line, rule),
            Ok(false) => {}
            Err(unknown) => return Answer::Perhaps(line, unknown),
        }
    }
    Answer::Nobody
}

fn fits(rule: &Rule, ground: &Ground, connection: &Connection) -> Result<bool, Unknown> {
    let Connection { user, database, by } = connection;
    // Whatever is certain goes first: who is not meant for one reason need not be known for another.
    let is_for_way = match (rule.kind, by) {
        (Kind::Local, By::Socket) => true,
        (Kind::Local, By::Network { .. }) | (_, By::Socket) => false,
        (Kind::Host | Kind::HostNoGssEnc, By::Network { .. }) => true,
        (Kind::HostSsl, By::Network { seal, .. }) => *seal == Seal::Tls,
        (Kind::HostNoSsl, By::Network { seal, .. }) => *seal == Seal::Plain,
        (Kind::HostGssEnc, By::Network { .. }) => false,
    };
    if !is_for_way {
        return Ok(false);
    }
    let from = match by {
        By::Socket => Ok(true),
        By::Network { from, .. } => comes_from(&rule.from, *from, ground),
    };
    let for_database = any(&rule.databases, |word| is_database(word, database, user, ground));
    let for_user = any(&rule.users, |word| is_user(word, user, ground));
    if [&from, &for_database, &for_user].contains(&&Ok(false)) {
        return Ok(false);
    }
    from?;
    for_database?;
    for_user
}

/// Whether any of them is so; what is not known counts where none is.
fn any(words: &[Word], is: impl Fn(&Word) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
    let mut unknown = Ok(false);
    for word in words {
        match is(word) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => unknown = Err(why),
        }
    }
    unknown
}

fn is_database(word: &Word, database: &Database, user: &str, ground: &Ground) -> Result<bool, Unknown> {
    match database {
        // `all` is not for it.
        Database::Replication => Ok(word.is("replication")),
        Database::Named(_) if word.is("all") => Ok(true),
        Database::Named(name) if word.is("sameuser") => Ok(name == user),
        Database::Named(name) if word.is("samerole") || word.is("samegroup") => is_member(user, name, ground),
        Database::Named(_) if word.is("replication") => Ok(false),
        Database::Named(name) => is_name(word, name, ground),
    }
}

fn is_user(word: &Word, user: &str, ground: &Ground) -> Result<bool, Unknown> {
    match word.text.strip_prefix('+').filter(|_| !word.quoted) {
        Some(role) => is_member(user, role, ground),
        None if word.is("all") => Ok(true),
        None => is_name(word, user, ground),
    }
}

/// From 16 on what begins with a slash is a regular expression, in quotes, too.
fn is_name(word: &Word, name: &str, ground: &Ground) -> Result<bool, Unknown> {
    match word.text.strip_prefix('/').filter(|_| ground.release >= 16) {
        None => Ok(word.text == name),
        Some(expression) => {
            let pair = (expression.to_owned(), name.to_owned());
            let known = ground.matches.get(&pair).copied();
            known.ok_or(Unknown::Match { expression: pair.0, text: pair.1 })
        }
    }
}

fn is_member(user: &str, role: &str, ground: &Ground) -> Result<bool, Unknown> {
    let of = ground.members.get(user).ok_or(Unknown::MembershipOf(user.to_owned()))?;
    Ok(of.contains(role))
}

fn comes_from(origin: &Origin, from: IpAddr, ground: &Ground) -> Result<bool, Unknown> {
    let interfaces = || ground.interfaces.as_ref().ok_or(Unknown::Interfaces);
    match origin {
        Origin::Anywhere => Ok(true),
        Origin::Net { address, mask } => Ok(is_within(from, *address, *mask)),
        Origin::SameHost => Ok(interfaces()?.iter().any(|own| own.addr() == from)),
        Origin::SameNet => Ok(interfaces()?.iter().any(|own| own.contains(&from))),
        Origin::Name(wanted) => {
            let name = ground.names.get(&from).ok_or(Unknown::NameOf(from))?;
            Ok(name.as_ref().is_some_and(|name| is_host(wanted, name)))
        }
    }
}

pub(super) fn is_host(wanted: &str, name: &str) -> bool {
    let (wanted, name) = (wanted.to_ascii_lowercase(), name.to_ascii_lowercase());
    if wanted.starts_with('.') { name.ends_with(&wanted) } else { name == wanted }
}

/// Bit by bit: a mask may have holes.
pub(super) fn is_within(from: IpAddr, address: IpAddr, mask: IpAddr) -> bool {
    match (from, address, mask) {
        (IpAddr::V4(from), IpAddr::V4(address), IpAddr::V4(mask)) => {
            (u32::from(from) ^ u32::from(address)) & u32::from(mask) == 0
        }
        (IpAddr::V6(from), IpAddr::V6(address), IpAddr::V6(mask)) => {
            (u128::from(from) ^ u128::from(address)) & u128::from(mask) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read_text;
    use super::*;

    const USERS: &str = "\
local   all                 postgres                    peer
local   sameuser            all                         peer
host    replication         repl        10.0.0.0/24     md5
hostssl \"replication\"     app         10.0.0.0/24     md5
host    all                 +\"staff\"  10.0.1.0/24     md5
host    all                 \"+staff\"  all             md5
hostnossl shop,\"all\"      all         samenet         reject
host    samerole            all         .db.example     md5
host    /^app[0-9]+$        all         fd00::/16       md5
host    all                 \"all\"     samehost        md5
";

    fn at(connection: &Connection, ground: &Ground) -> Option<usize> {
        let read = read_text("f", USERS, ground.release);
        assert_eq!(read.refused().count(), 0);
        match answer(&read, ground, connection) {
            Answer::Line(line, _) => Some(line.at.line),
            Answer::Nobody => None,
            Answer::Perhaps(line, _) => Some(1000 + line.at.line),
        }
    }

    fn ground(release: u32) -> Ground {
        Ground {
            release,
            interfaces: Some(BTreeSet::from(["10.0.7.1/24".parse().unwrap()])),
            names: BTreeMap::from([
                ("10.9.9.9".parse().unwrap(), Some("a.DB.example".to_owned())),
                ("10.9.9.8".parse().unwrap(), None),
                ("10.0.7.1".parse().unwrap(), None),
                ("10.0.7.2".parse().unwrap(), None),
            ]),
            members: BTreeMap::from([("ann".to_owned(), ["ann", "staff"].map(str::to_owned).into())]),
            matches: BTreeMap::from([(("^app[0-9]+$".to_owned(), "app7".to_owned()), true)]),
        }
    }

    #[test]
    fn the_first_line_that_fits_answers() {
        let local = |user: &str, database: &str| Connection {
            user: user.to_owned(),
            database: Database::Named(database.to_owned()),
            by: By::Socket,
        };
        let net = |user: &str, database: &str, from: &str| {
            let by = By::Network { from: from.parse().unwrap(), seal: Seal::Plain };
            Connection { by, ..local(user, database) }
        };
        let sealed = |connection: Connection| match connection.by {
            By::Network { from, .. } => {
                Connection { by: By::Network { from, seal: Seal::Tls }, ..connection }
            }
            By::Socket => connection,
        };
        let stream = |connection: Connection| Connection { database: Database::Replication, ..connection };
        let fifteen = ground(15);
        for (connection, expected) in [
            (local("postgres", "x"), Some(1)),
            (local("ann", "ann"), Some(2)),
            (local("ann", "x"), None),
            (stream(net("repl", "", "10.0.0.7")), Some(3)),
            // `all` is not for a stream, and a quoted word is a name.
            (stream(net("ann", "", "10.0.1.7")), None),
            (net("ann", "replication", "10.0.0.7"), None),
            (sealed(net("app", "replication", "10.0.0.7")), Some(4)),
            (net("ann", "x", "10.0.1.7"), Some(5)),
            (net("+staff", "x", "10.0.3.7"), Some(6)),
            (net("bob", "shop", "10.0.7.9"), Some(7)),
            (sealed(net("ann", "shop", "10.0.7.9")), None),
            (net("bob", "all", "10.0.7.9"), Some(7)),
            (net("ann", "staff", "10.9.9.9"), Some(8)),
            (net("ann", "staff", "10.9.9.8"), None),
            (net("ann", "app7", "fd00::1"), None),
            (net("all", "x", "10.0.7.1"), Some(10)),
            (net("all", "x", "10.0.7.2"), None),
            // Nobody knows whether bob is of the staff, nor what name that address has.
            (net("bob", "x", "10.0.1.7"), Some(1005)),
            (net("ann", "staff", "10.9.9.7"), Some(1008)),
            (net("ann", "x", "10.9.9.7"), None),
        ] {
            assert_eq!(at(&connection, &fifteen), expected, "{connection:?}");
        }
        assert_eq!(at(&net("ann", "app7", "fd00::1"), &ground(16)), Some(9));
        assert_eq!(at(&net("ann", "app8", "fd00::1"), &ground(16)), Some(1009));
    }
}
