//! Lines that no connection reaches, because another line answers before them.

use std::net::IpAddr;

use super::answer::{is_host, is_within};
use super::field::Word;
use super::read::{Line, Read};
use super::rule::{Kind, Origin, Rule};

/// Each line that a single one before it covers wholly, with that one. What several lines cover together is not told.
pub fn shadows(read: &Read) -> Vec<(&Line, &Line)> {
    let mut before: Vec<(&Line, &Rule)> = Vec::new();
    let mut shadowed = Vec::new();
    for (line, rule) in read.rules() {
        match before.iter().find(|(_, first)| covers(first, rule)) {
            Some((first, _)) => shadowed.push((line, *first)),
            None => before.push((line, rule)),
        }
    }
    shadowed
}

/// Whether every connection that fits the one fits the other, whoever is whose member and whatever name an address has.
fn covers(first: &Rule, rule: &Rule) -> bool {
    let ways = match (first.kind, rule.kind) {
        (one, other) if one == other => true,
        (Kind::Local, _) | (_, Kind::Local) => false,
        (Kind::Host, _) => true,
        (Kind::HostSsl | Kind::HostNoSsl | Kind::HostGssEnc | Kind::HostNoGssEnc, _) => false,
    };
    ways && all(&rule.databases, &first.databases, |word| !word.is("replication"))
        && all(&rule.users, &first.users, |_| true)
        && spans(&first.from, &rule.from)
}

/// Whether each of the words is among the others, or `all` of them means it.
fn all(words: &[Word], among: &[Word], is_of_all: impl Fn(&Word) -> bool) -> bool {
    // A name means itself, in quotes or not; a word that is more than a name means the same only where it is written alike.
    let is_name = |word: &Word| {
        let meant = ["all", "sameuser", "samerole", "samegroup", "replication"].contains(&word.text.as_str());
        word.quoted || !(meant || word.text.starts_with('+'))
    };
    let has_all = among.iter().any(|word| word.is("all"));
    words.iter().all(|word| {
        let is_same = |other: &Word| other.text == word.text && is_name(other) == is_name(word);
        (has_all && is_of_all(word)) || among.iter().any(is_same)
    })
}

fn spans(wide: &Origin, narrow: &Origin) -> bool {
    match (wide, narrow) {
        (Origin::Anywhere, _) | (Origin::SameNet, Origin::SameHost) => true,
        (Origin::Net { address, mask }, Origin::Net { address: own, mask: within }) => {
            is_within(*own, *address, *mask) && has_bits(*within, *mask)
        }
        (Origin::Name(domain), Origin::Name(name)) => is_host(domain, name),
        (one, other) => one == other,
    }
}

/// Whether a mask has every bit of another.
fn has_bits(mask: IpAddr, least: IpAddr) -> bool {
    match (mask, least) {
        (IpAddr::V4(mask), IpAddr::V4(least)) => u32::from(mask) & u32::from(least) == u32::from(least),
        (IpAddr::V6(mask), IpAddr::V6(least)) => u128::from(mask) & u128::from(least) == u128::from(least),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read_text;
    use super::*;

    #[test]
    fn a_line_behind_a_wider_one_is_never_reached() {
        let text = "\
host    all         all     10.0.0.0/8          md5
hostssl shop        ann     10.1.0.0/16         trust
host    replication all     10.1.0.0/16         md5
host    shop,x      +staff  10.1.2.3 255.255.255.255 md5
host    shop        all     0.0.0.0/0           md5
host    shop        \"all\" samehost            md5
hostssl x           all     .example            md5
hostssl \"x\"       bob     db.example          md5
hostnossl x         bob     db.example          md5
local   all         all                         peer
local   y           all                         trust
";
        let read = read_text("f", text, 15);
        let pairs: Vec<(usize, usize)> =
            shadows(&read).iter().map(|(line, first)| (line.at.line, first.at.line)).collect();
        assert_eq!(pairs, [(2, 1), (4, 1), (8, 7), (11, 10)]);
    }
}
