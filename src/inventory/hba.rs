//! `hba:`, the operator's own lines of `pg_hba.conf`.

use super::source::{Source, quote};
use super::tree::{Node, Tree};
use super::value::{self, Value};
use crate::error::Problem;

/// The first word of a rule, and how many words a rule has at least.
const TYPES: &[(&str, usize)] =
    &[("local", 4), ("host", 5), ("hostssl", 5), ("hostnossl", 5), ("hostgssenc", 5), ("hostnogssenc", 5)];

pub(super) fn read(node: &Node, source: &mut Source) -> Value {
    let items = match &node.tree {
        Tree::List(items) => items,
        Tree::Null => return Value::Rules(Vec::new()),
        other => {
            source.problem(node.span, value::mismatch("hba", "a list of pg_hba.conf lines", other));
            return Value::Bad;
        }
    };
    let mut rules = Vec::new();
    for item in items {
        match rule(item) {
            Ok(rule) => {
                if trusts_strangers(rule) {
                    let what = "the rule lets anybody in without a password (trust beyond loopback)";
                    source.warning("trust-from-afar", Some(item.span), format!("{what}: {}", quote(rule)));
                }
                rules.push(rule.to_owned());
            }
            Err(problem) => source.problem(item.span, problem),
        }
    }
    if rules.len() == items.len() { Value::Rules(rules) } else { Value::Bad }
}

fn rule(item: &Node) -> Result<&str, Problem> {
    let Tree::Text(text) = &item.tree else {
        return Err(value::mismatch("hba", "a list of pg_hba.conf lines", &item.tree));
    };
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
    Ok(text.trim())
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
