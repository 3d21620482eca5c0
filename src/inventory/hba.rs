//! `hba:`, the operator's own lines of `pg_hba.conf`.

use std::collections::BTreeMap;

use super::source::{Source, Span, quote};
use super::tree::{Entry, Node, Tree};
use super::value::{self, Value};
use crate::error::Problem;
use crate::hba::{self, METHODS};

/// The first word of a rule, and how many words a rule has at least.
const TYPES: &[(&str, usize)] =
    &[("local", 4), ("host", 5), ("hostssl", 5), ("hostnossl", 5), ("hostgssenc", 5), ("hostnogssenc", 5)];

pub(super) fn read(node: &Node, source: &mut Source) -> Value {
    let mut wrong = false;
    let mut rules = Vec::new();
    for (text, at) in lines(node, source, &mut wrong) {
        match rule(&text) {
            Ok(rule) => {
                if trusts_strangers(rule) {
                    let what = "the rule lets anybody in without a password (trust beyond loopback)";
                    source.warning("trust-from-afar", Some(at), format!("{what}: {}", quote(rule)));
                }
                rules.push(rule.to_owned());
            }
            Err(problem) => {
                source.problem(at, problem);
                wrong = true;
            }
        }
    }
    if wrong { Value::Bad } else { Value::Rules(rules) }
}

/// The lines with their places: a list of texts and mappings, or one text of several lines.
fn lines(node: &Node, source: &mut Source, wrong: &mut bool) -> Vec<(String, Span)> {
    let items = match &node.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Map(_) => std::slice::from_ref(node),
        Tree::Text(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            return lines.map(|line| (line.to_owned(), node.span)).collect();
        }
        Tree::Null => return Vec::new(),
        other => {
            source.problem(node.span, value::mismatch("hba", "a list of pg_hba.conf lines", other));
            *wrong = true;
            return Vec::new();
        }
    };
    let mut lines = Vec::new();
    for item in items {
        let line = match &item.tree {
            Tree::Text(text) => Ok(text.clone()),
            Tree::Map(entries) => of_mapping(entries),
            other => Err(Box::new((value::mismatch("hba", "a list of pg_hba.conf lines", other), item.span))),
        };
        match line {
            Ok(line) => lines.push((line, item.span)),
            Err(told) => {
                let (problem, at) = *told;
                source.problem(at, problem);
                *wrong = true;
            }
        }
    }
    lines
}

/// The columns of a rule, each by the names that modules and roles of Ansible's give it.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("type", &["type", "contype"]),
    ("database", &["database", "databases", "db", "dbs"]),
    ("user", &["user", "users", "role", "roles"]),
    ("address", &["address", "addresses", "addr", "source", "cidr"]),
    ("netmask", &["netmask", "mask"]),
    ("method", &["method", "auth_method", "auth"]),
    ("options", &["options", "auth_options"]),
];
const SHAPE: &str =
    "e.g. {type: hostssl, database: app, user: app, address: 10.0.0.0/8, method: scram-sha-256}";

/// A rule given by its columns, as its line.
fn of_mapping(entries: &[Entry]) -> Result<String, Box<(Problem, Span)>> {
    let mut columns: BTreeMap<&str, String> = BTreeMap::new();
    for entry in entries {
        let named = COLUMNS.iter().find(|(_, names)| names.contains(&entry.key.as_str()));
        let Some((column, _)) = named else {
            let problem = Problem::new(format!("{} is no column of a rule of `hba`", quote(&entry.key)));
            return Err(Box::new((problem.hint(SHAPE), entry.key_span)));
        };
        let word = |node: &Node| match &node.tree {
            Tree::Text(text) | Tree::Number(text) => Some(text.clone()),
            Tree::Flag { spelling, .. } => Some(spelling.clone()),
            _ => None,
        };
        let text = match &entry.value.tree {
            Tree::Null => Some(String::new()),
            Tree::List(items) => items.iter().map(word).collect::<Option<Vec<_>>>().map(|all| all.join(",")),
            // Options are `name=value`.
            Tree::Map(pairs) if *column == "options" => {
                let pair = |pair: &Entry| Some(format!("{}={}", pair.key, word(&pair.value)?));
                pairs.iter().map(pair).collect::<Option<Vec<_>>>().map(|all| all.join(" "))
            }
            _ => word(&entry.value),
        };
        let Some(text) = text else {
            let problem = Problem::new(format!("{} of a rule of `hba` must be text", quote(&entry.key)));
            return Err(Box::new((problem.hint(SHAPE), entry.value.span)));
        };
        if !text.is_empty() && columns.insert(column, text).is_some() {
            let problem = Problem::new(format!("the {column} of a rule of `hba` is given by two names"));
            return Err(Box::new((problem.hint(SHAPE), entry.key_span)));
        }
    }
    let at = entries.first().map_or(super::source::START, |entry| entry.key_span);
    let is_local = columns.get("type").is_some_and(|kind| kind == "local");
    for (column, needed) in
        [("type", true), ("database", true), ("user", true), ("address", !is_local), ("method", true)]
    {
        if needed && !columns.contains_key(column) {
            return Err(Box::new((Problem::new(format!("a rule of `hba` has no {column}")).hint(SHAPE), at)));
        }
    }
    let order = ["type", "database", "user", "address", "netmask", "method", "options"];
    let words = order.iter().filter(|column| !is_local || !matches!(**column, "address" | "netmask"));
    Ok(words.filter_map(|column| columns.get(column)).cloned().collect::<Vec<_>>().join(" "))
}

fn rule(text: &str) -> Result<&str, Problem> {
    if let Some(problem) = value::unshowable("hba", text).or_else(|| unread(text.trim())) {
        return Err(problem);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let first = words.first().copied().unwrap_or_default();
    let Some((_, least)) = TYPES.iter().find(|(name, _)| *name == first) else {
        let known: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        let problem =
            Problem::new(format!("a rule of `hba` starts with {}, not {}", known.join(", "), quote(first)));
        return Err(problem.hint("e.g. hostssl app app 10.0.0.0/8 scram-sha-256"));
    };
    if words.len() < *least {
        let shape = if first == "local" { "DATABASE USER METHOD" } else { "DATABASE USER ADDRESS METHOD" };
        return Err(Problem::new("a rule of `hba` is too short").hint(format!("write {first} {shape}")));
    }
    let refused = || {
        let problem =
            Problem::new(format!("PostgreSQL refuses a rule of `hba`: {}", hba::refuses(text.trim())?));
        Some(problem.hint("a server that has it in its file does not start"))
    };
    match wrong_word(&words).or_else(refused) {
        Some(problem) => Err(problem),
        None => Ok(text.trim()),
    }
}

/// An address or a method that PostgreSQL does not know, as a server that starts with it does not start. Words in quotes
/// may hold blanks: such rules are left to the server.
fn wrong_word(words: &[&str]) -> Option<Problem> {
    let mut whole: Vec<&str> = Vec::new();
    let mut goes_on = false;
    for word in words.iter().copied().take_while(|word| !word.starts_with('#')) {
        if word.contains('"') {
            return None;
        }
        // `a, b` is one list.
        if !goes_on {
            whole.push(word);
        }
        goes_on = word.ends_with(',');
    }
    let words = whole;
    let is_address = |word: &str| word.parse::<std::net::IpAddr>().is_ok();
    let method = match words.as_slice() {
        ["local", _, _, method, ..] => method,
        [_, _, _, address, mask, method, ..] if is_address(address) && is_address(mask) => method,
        [_, _, _, address, method, ..] => {
            let (bare, bits) =
                address.split_once('/').map_or((*address, None), |(bare, bits)| (bare, Some(bits)));
            let most = match bare.parse() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                // A name, or a word like samenet.
                Err(_) if bits.is_none() => 0,
                Err(_) => {
                    let problem = Problem::new(format!("{} is no address of a network", quote(address)));
                    return Some(problem.hint("write e.g. 10.0.0.0/8"));
                }
            };
            let bits = bits.map(str::parse::<u8>);
            match bits {
                None if most > 0 => {
                    let problem =
                        Problem::new(format!("the address {address} of a rule of `hba` has no mask"));
                    return Some(problem.hint(format!("write {address}/{most} for this address alone")));
                }
                Some(Err(_)) => {
                    return Some(Problem::new(format!("{} has no number behind its /", quote(address))));
                }
                Some(Ok(bits)) if bits > most => {
                    return Some(Problem::new(format!("{} has more than {most} bits", quote(address))));
                }
                None | Some(Ok(_)) => method,
            }
        }
        _ => return Some(Problem::new("a rule of `hba` has no method").hint("e.g. scram-sha-256")),
    };
    if METHODS.contains(method) {
        return None;
    }
    let problem = Problem::new(format!("{} is no method of pg_hba.conf", quote(method)));
    let near = super::alike::nearest(method, METHODS.iter().copied());
    Some(problem.hint(match near {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it is one of {}", METHODS.join(", ")),
    }))
}

/// What PostgreSQL would read as something else than one rule.
fn unread(rule: &str) -> Option<Problem> {
    /// Source: MAX_TOKEN in hba.c up to 15, with the final NUL; a longer word is left out with a line in the log.
    const LONGEST: usize = 255;
    if rule.ends_with('\\') {
        let problem = Problem::new("a rule of `hba` ends with a backslash");
        return Some(problem.hint("the next line would be a part of it: remove it"));
    }
    let (mut quoted, mut length) = (false, 0);
    for c in rule.chars() {
        match c {
            '#' if !quoted => break,
            '"' => quoted = !quoted,
            ' ' | '\t' | ',' if !quoted => length = 0,
            _ => length += c.len_utf8(),
        }
        if length > LONGEST {
            let problem = Problem::new(format!("a word of a rule of `hba` is longer than {LONGEST} bytes"));
            return Some(problem.hint("PostgreSQL leaves it out: name a file, as in @FILE"));
        }
    }
    quoted.then(|| Problem::new("a rule of `hba` has a quote that is not closed").hint("close it"))
}

/// Whether `trust` is given to an address other than this machine's own.
fn trusts_strangers(rule: &str) -> bool {
    let words: Vec<&str> = rule.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    match words.as_slice() {
        ["local", ..] => false,
        [_, _, _, address, rest @ ..] => {
            let own = address.starts_with("127.") || address.starts_with("::1") || *address == "samehost";
            !own && rest.iter().take(2).any(|word| *word == "trust")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `wrong_word` leaves to the server is known all the same.
    #[test]
    fn a_rule_that_the_server_refuses_is_refused() {
        for (text, why) in [
            ("host all all 10.0.0.0/8 peer", "the method peer is for a local socket alone"),
            ("host all all all cert", "the method cert is for hostssl alone"),
            ("hostssl all all all md5 clientcert=1", "1 is no value of clientcert"),
            ("host \"a b\" all 10.0.0.0/99 md5", "the mask of 10.0.0.0/99 is none"),
            ("local \"a b\" all md5 what", "a word behind its method is no option: name=value"),
        ] {
            let problem = rule(text).expect_err(text);
            assert_eq!(problem.message, format!("PostgreSQL refuses a rule of `hba`: {why}"), "{text}");
        }
        for text in
            ["host \"a b\" @list 10.0.0.0/8 md5", "hostssl a +b x.example cert map=m", "local all all ident"]
        {
            assert!(rule(text).is_ok(), "{text}");
        }
    }

    /// PostgreSQL 15 was asked of each (`pg_hba_file_rules`): it takes the first ones, but for that with the quotes, and
    /// refuses the others.
    #[test]
    fn addresses_and_methods_are_those_of_postgresql() {
        let wrong = |rule: &str| wrong_word(&rule.split_whitespace().collect::<Vec<_>>());
        for rule in [
            "local all all peer map=ops",
            "host all all 10.0.0.0/8 md5",
            "host all all 10.0.0.0 255.0.0.0 md5",
            "hostssl app app fd00::/8 scram-sha-256 clientcert=verify-full",
            "host a, b c 10.0.0.1/32 md5",
            "host all all samenet trust",
            "host all all .db.example ldap ldapserver=x ldapprefix=u # the old way",
            "host \"a b\" all nowhere/x what",
        ] {
            assert_eq!(wrong(rule), None, "{rule}");
        }
        for (rule, message) in [
            ("hostssl all all 10.0.0.0/8 scram", "`scram` is no method of pg_hba.conf"),
            ("local all all MD5", "`MD5` is no method of pg_hba.conf"),
            ("host all all 10.0.0.0 md5", "the address 10.0.0.0 of a rule of `hba` has no mask"),
            ("host all all 10.0.0.0/33 md5", "`10.0.0.0/33` has more than 32 bits"),
            ("host all all 10.0.0.0/255.0.0.0 md5", "`10.0.0.0/255.0.0.0` has no number behind its /"),
            ("host all all db.example/24 md5", "`db.example/24` is no address of a network"),
            ("host all, a all 10.0.0.0/8", "a rule of `hba` has no method"),
        ] {
            assert_eq!(wrong(rule).map(|problem| problem.message).as_deref(), Some(message), "{rule}");
        }
    }
}
