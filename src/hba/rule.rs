//! What a line says, once it is taken apart. Source: `parse_hba_line` in hba.c.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::field::{Field, Word};

/// The first word of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    HostGssEnc,
    HostNoGssEnc,
}

const KINDS: [(&str, Kind); 6] = [
    ("local", Kind::Local),
    ("host", Kind::Host),
    ("hostssl", Kind::HostSsl),
    ("hostnossl", Kind::HostNoSsl),
    ("hostgssenc", Kind::HostGssEnc),
    ("hostnogssenc", Kind::HostNoGssEnc),
];

/// Where clients come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `all`, and a local socket.
    Anywhere,
    SameHost,
    SameNet,
    Net {
        address: IpAddr,
        mask: IpAddr,
    },
    /// A host's name, or with a dot before it those of a domain.
    Name(String),
}

impl Origin {
    /// Whether nobody but the server's own host comes from there.
    pub fn is_own_host(&self) -> bool {
        match self {
            Origin::SameHost => true,
            Origin::Net { address: IpAddr::V4(address), mask: IpAddr::V4(mask) } => {
                address.is_loopback() && mask.octets()[0] == 255
            }
            Origin::Net { address: IpAddr::V6(address), mask } => {
                address.is_loopback() && *mask == IpAddr::V6(Ipv6Addr::from(u128::MAX))
            }
            Origin::Net { .. } | Origin::Anywhere | Origin::SameNet | Origin::Name(_) => false,
        }
    }
}

/// A rule that the server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub kind: Kind,
    pub databases: Vec<Word>,
    pub users: Vec<Word>,
    pub from: Origin,
    pub method: String,
    /// `name=value`, in their order.
    pub options: Vec<String>,
}

impl Rule {
    /// Whether whoever fits is sent away.
    pub fn rejects(&self) -> bool {
        self.method == "reject"
    }
}

/// The rule of a line; the error is why the server refuses it, and the whole file with it.
pub(super) fn parse(fields: &[Field]) -> Result<Rule, String> {
    let mut fields = fields.iter();
    let kind = single(fields.next(), "type of connection")?;
    let Some((_, kind)) = KINDS.iter().find(|(word, _)| *word == kind.text) else {
        return Err(format!("{} is no type of connection", kind.text));
    };
    let list = |field: Option<&Field>, what: &str| field.cloned().ok_or(format!("it has no {what}"));
    let databases = list(fields.next(), "database")?;
    let users = list(fields.next(), "user")?;
    let from = match kind {
        Kind::Local => Origin::Anywhere,
        Kind::Host | Kind::HostSsl | Kind::HostNoSsl | Kind::HostGssEnc | Kind::HostNoGssEnc => {
            let address = single(fields.next(), "address")?;
            match origin(address)? {
                Parsed::Whole(origin) => origin,
                Parsed::NeedsMask(address) => {
                    let mask = single(fields.next(), "mask behind its address")?;
                    let mask = numeric(&mask.text).ok_or(format!("{} is no mask of {address}", mask.text))?;
                    if address.is_ipv4() != mask.is_ipv4() {
                        return Err(format!("the mask {mask} does not fit the address {address}"));
                    }
                    Origin::Net { address, mask }
                }
            }
        }
    };
    let method = single(fields.next(), "method")?.text.clone();
    // A server reads `ident` so on a local socket.
    let method = if *kind == Kind::Local && method == "ident" { "peer".to_owned() } else { method };
    let options: Vec<String> = fields.flatten().map(|word| word.text.clone()).collect();
    let rule = Rule { kind: *kind, databases, users, from, method, options };
    match wrong(&rule) {
        Some(why) => Err(why),
        None => Ok(rule),
    }
}

fn single<'f>(field: Option<&'f Field>, what: &str) -> Result<&'f Word, String> {
    match field.map(Vec::as_slice) {
        Some([word]) => Ok(word),
        Some(_) => Err(format!("it has more than one {what}")),
        None => Err(format!("it has no {what}")),
    }
}

enum Parsed {
    Whole(Origin),
    /// The next field is its mask.
    NeedsMask(IpAddr),
}

fn origin(word: &Word) -> Result<Parsed, String> {
    let keyword = match word.text.as_str() {
        _ if word.quoted => None,
        "all" => Some(Origin::Anywhere),
        "samehost" => Some(Origin::SameHost),
        "samenet" => Some(Origin::SameNet),
        _ => None,
    };
    if let Some(origin) = keyword {
        return Ok(Parsed::Whole(origin));
    }
    let (bare, bits) = word.text.split_once('/').map_or((word.text.as_str(), None), |(a, b)| (a, Some(b)));
    match (numeric(bare), bits) {
        (Some(address), None) => Ok(Parsed::NeedsMask(address)),
        (Some(address), Some(bits)) => {
            let bits = bits.trim_start_matches([' ', '\t']);
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits: u32 = bits.strip_prefix('+').unwrap_or(bits).parse().unwrap_or(u32::MAX);
            match bits <= most {
                true => Ok(Parsed::Whole(Origin::Net { address, mask: mask(address, bits) })),
                false => Err(format!("the mask of {} is none", word.text)),
            }
        }
        (None, None) => Ok(Parsed::Whole(Origin::Name(bare.to_owned()))),
        (None, Some(_)) => Err(format!("{} has a name and a mask", word.text)),
    }
}

fn mask(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::MAX.checked_shl(32 - bits).unwrap_or(0))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(u128::MAX.checked_shl(128 - bits).unwrap_or(0))),
    }
}

/// An address as `getaddrinfo` reads numbers: `10.1` is 10.0.0.1, `010.0.0.0` begins with 8.
pub fn numeric(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
        return bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    // The last number has the bytes that the others leave.
    let room = 8 * (4 - u32::try_from(first.len()).ok()?);
    if u64::from(*last) >= 1_u64 << room {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).fold(0, |sum, (part, shift)| sum | part << shift);
    Some(IpAddr::V4(Ipv4Addr::from(high | last)))
}

fn number(text: &str) -> Option<u32> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match (hex, text.strip_prefix('0')) {
        (Some(""), _) => Some(0),
        (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
        (None, Some("")) => Some(0),
        (None, Some(octal)) => u32::from_str_radix(octal, 8).ok(),
        (None, None) => text.parse().ok(),
    }
}

/// Source: PostgreSQL's manual, "The pg_hba.conf File"; oauth is of 18.
pub const METHODS: [&str; 15] = [
    "trust",
    "reject",
    "scram-sha-256",
    "md5",
    "password",
    "gss",
    "sspi",
    "ident",
    "peer",
    "ldap",
    "radius",
    "cert",
    "pam",
    "bsd",
    "oauth",
];

/// What is wrong with a rule whose words could be read.
fn wrong(rule: &Rule) -> Option<String> {
    let method = rule.method.as_str();
    if !METHODS.contains(&method) {
        return Some(format!("{method} is no method"));
    }
    let why = match (rule.kind, method) {
        (Kind::Local, "gss" | "sspi") => Some("is not for a local socket"),
        (Kind::Local, _) => None,
        (_, "peer") => Some("is for a local socket alone"),
        (kind, "cert") if kind != Kind::HostSsl => Some("is for hostssl alone"),
        _ => None,
    };
    if let Some(why) = why {
        return Some(format!("the method {method} {why}"));
    }
    let has_names = ["ident", "peer", "gss", "sspi", "cert", "oauth"].contains(&method);
    for option in &rule.options {
        let Some((name, value)) = option.split_once('=') else {
            // It may be a part of a password with a blank.
            return Some("a word behind its method is no option: name=value".to_owned());
        };
        let why = match name {
            "map" if !has_names => Some(format!("the option map is not for the method {method}")),
            "clientcert" if rule.kind != Kind::HostSsl => {
                Some("the option clientcert is for hostssl alone".to_owned())
            }
            "clientcert" if !["verify-ca", "verify-full"].contains(&value) => {
                Some(format!("{value} is no value of clientcert"))
            }
            "clientcert" if method == "cert" && value != "verify-full" => {
                Some("the method cert takes clientcert=verify-full alone".to_owned())
            }
            _ => None,
        };
        if why.is_some() {
            return why;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::field::fields;
    use super::*;

    fn rule(line: &str) -> Result<Rule, String> {
        parse(&fields(line, 15))
    }

    /// PostgreSQL 15 was asked of each.
    #[test]
    fn addresses_are_read_as_postgresql_reads_them() {
        for (written, address, mask) in [
            ("10.1/16", "10.0.0.1", "255.255.0.0"),
            ("010.0.0.0/8", "8.0.0.0", "255.0.0.0"),
            ("0x7f.1/32", "127.0.0.1", "255.255.255.255"),
            ("10.0.0.0 255.0.0.255", "10.0.0.0", "255.0.0.255"),
            ("0.0.0.0/0", "0.0.0.0", "0.0.0.0"),
            ("fd00::1/0", "fd00::1", "::"),
            ("fe80::1%eth0/64", "fe80::1", "ffff:ffff:ffff:ffff::"),
        ] {
            let expected = Origin::Net { address: address.parse().unwrap(), mask: mask.parse().unwrap() };
            assert_eq!(rule(&format!("host all all {written} md5")).unwrap().from, expected, "{written}");
        }
        let name = |text: &str| Origin::Name(text.to_owned());
        for (written, expected) in [
            ("db.example", name("db.example")),
            (".example", name(".example")),
            ("\"all\"", name("all")),
            ("all", Origin::Anywhere),
            ("samenet", Origin::SameNet),
            ("256.1.1.1", name("256.1.1.1")),
        ] {
            assert_eq!(rule(&format!("host all all {written} md5")).unwrap().from, expected, "{written}");
        }
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        for (line, why) in [
            ("hosts all all all md5", "hosts is no type of connection"),
            ("host,local all all all md5", "it has more than one type of connection"),
            ("host all all 10.0.0.1 md5", "md5 is no mask of 10.0.0.1"),
            ("host all all 10.0.0.0/33 md5", "the mask of 10.0.0.0/33 is none"),
            ("host all all db.example/24 md5", "db.example/24 has a name and a mask"),
            ("host all all fd00:: 255.0.0.0 md5", "the mask 255.0.0.0 does not fit the address fd00::"),
            ("host all all all", "it has no method"),
            ("host all all all peer", "the method peer is for a local socket alone"),
            ("host all all all cert", "the method cert is for hostssl alone"),
            ("local all all all md5", "all is no method"),
            ("local all all md5 map=x", "the option map is not for the method md5"),
            ("host all", "it has no user"),
        ] {
            assert_eq!(rule(line), Err(why.to_owned()), "{line}");
        }
        assert_eq!(rule("local all all ident map=x").map(|rule| rule.method), Ok("peer".to_owned()));
    }
}
