//! The inventory that a command line amounts to: YAML that a person would keep, and which option each line is from.

use std::collections::{BTreeMap, BTreeSet};

use crate::create::blame::Words;
use crate::create::options::of;
use crate::create::{Host, Kind, Means, Row};
use crate::error::Problem;

/// Where a value was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    CommandLine,
    /// By the row's environment variable.
    Environment,
}

/// An option that was given.
#[derive(Clone, Debug)]
pub struct Given {
    pub row: &'static Row,
    /// Empty for an option without a value.
    pub value: String,
    pub origin: Origin,
}

impl Given {
    /// As the operator knows it.
    pub fn spelled(&self) -> String {
        match (self.origin, self.row.env) {
            (Origin::Environment, Some(name)) => name.to_owned(),
            (Origin::Environment | Origin::CommandLine, _) => format!("--{}", self.row.name),
        }
    }
}

/// What `create` makes of a command line.
#[derive(Debug)]
pub struct Inventory {
    /// As `--print-inventory` shows it.
    pub text: String,
    /// What is parsed: with the secrets of the environment, and with something for each password that is missing.
    pub complete: String,
    /// Passwords that no option can give.
    pub missing: Vec<&'static str>,
    /// For mistakes in it.
    pub words: Words,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// The variables that make a choice of encryption, or a part of one.
const OF_ENCRYPTION: [&str; 6] =
    ["ssl_self_signed", "no_ssl", "server_cert", "server_key", "ssl_ca_file", "ssl_crl_file"];

/// Puts options, hosts and the variables of the way to all of them together; every mistake at once.
pub fn inventory(
    kind: Kind,
    given: &[Given],
    hosts: &[Host],
    connection: &[(&str, String)],
) -> Result<Inventory, Vec<Problem>> {
    let mut problems = contradictions(kind, given, hosts);
    let mut notes = Vec::new();
    let mut writer = Writer::default();
    writer.line(
        &format!("# Made by `muster create {}`: keep it, and go on with `muster -i FILE`.", kind.as_str()),
        None,
    );
    writer.line("all:", None);
    writer.line("  vars:", None);
    for (name, value) in connection {
        // This run has its way from the command line itself.
        writer.both(&format!("    {name}: {}", exact(value)), "    # the way to the hosts", None);
    }
    let has = |name: &str| given.iter().find(|given| given.row.name == name);
    let mut of_host = Vec::new();
    let mut missing = Vec::new();
    let mut has_monitor_password = false;
    let mut is_encryption_chosen = false;
    for given in given {
        let value = match value(given) {
            Ok(Some(value)) => value,
            Ok(None) => {
                if let Means::Accepted(note) = given.row.means {
                    notes.push(format!("{}: {note}", given.spelled()));
                }
                continue;
            }
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if given.origin == Origin::Environment {
            let shown = if given.row.name == "monitor" { "a URI" } else { &value.shown };
            notes.push(format!("{} is {shown}, from {}", given.row.name, given.spelled()));
        }
        let Some(variable) = given.row.means.variable() else { continue };
        is_encryption_chosen |= OF_ENCRYPTION.contains(&variable);
        let line = |text: &str| format!("{variable}: {text}");
        if given.row.of_one_host {
            of_host.push((line(&value.shown), given.spelled()));
        } else {
            if value.shown != value.complete {
                has_monitor_password = true;
                writer.line(
                    "    # Its password is in PG_AUTOCTL_MONITOR; here it belongs behind the user's name.",
                    None,
                );
            }
            writer.both(
                &format!("    {}", line(&value.shown)),
                &format!("    {}", line(&value.complete)),
                Some(given.spelled()),
            );
        }
    }
    // What pg_autoctl has made beside it verifies nobody.
    if !is_encryption_chosen {
        writer.line("    ssl_self_signed: true", None);
    }
    if has("auth").is_none() && has("skip-pg-hba").is_none() {
        writer.line("    auth: trust", None);
    }
    if let Some(auth) =
        has("auth").filter(|auth| ["md5", "scram-sha-256", "password"].contains(&auth.value.as_str()))
    {
        writer.line(
            &format!(
                "    # auth is {}: muster makes the passwords and keeps them on this machine; see docs/inventory.md.",
                auth.value
            ),
            None,
        );
        if kind != Kind::Monitor && !has_monitor_password {
            missing.push("monitor_password");
            writer.line("    # The monitor's is needed, in its URI or here:", None);
            writer.both("    # monitor_password: …", "    monitor_password: missing", Some(auth.spelled()));
        }
    }
    writer.line("  children:", None);
    writer.line(&format!("    {}:", kind.group()), None);
    writer.line("      hosts:", None);
    let is_reader = has("citus-secondary").is_some();
    for (index, host) in hosts.iter().enumerate() {
        let mut lines = Vec::new();
        let connection = [
            ("ansible_host", host.address.clone()),
            ("ansible_port", host.port.map(|port| port.to_string())),
            ("ansible_user", host.user.clone()),
        ];
        for (name, value) in connection {
            if let Some(value) = value {
                let value = if name == "ansible_port" { value } else { scalar(&value) };
                lines.push((format!("{name}: {value}"), format!("HOST {}", host.name)));
            }
        }
        lines.extend(of_host.iter().cloned());
        if index > 0 && !is_reader && kind != Kind::Monitor {
            lines.push(("secondary: true".to_owned(), format!("HOST {}", host.name)));
        }
        writer.line(&format!("        {}:", scalar(&host.name)), Some(format!("HOST {}", host.name)));
        for (line, origin) in lines {
            writer.line(&format!("          {line}"), Some(origin));
        }
    }
    notes.extend(defaults(
        kind,
        has("auth").is_some() || has("skip-pg-hba").is_some(),
        has("dbname").is_some(),
    ));
    match problems.is_empty() {
        true => Ok(Inventory {
            text: writer.shown,
            complete: writer.complete,
            missing,
            words: Words::new(kind, given, writer.origins),
            notes,
        }),
        false => Err(problems),
    }
}

#[derive(Default)]
struct Writer {
    shown: String,
    complete: String,
    lines: usize,
    origins: BTreeMap<usize, String>,
}

impl Writer {
    fn line(&mut self, text: &str, origin: Option<String>) {
        self.both(text, text, origin);
    }

    fn both(&mut self, shown: &str, complete: &str, origin: Option<String>) {
        self.lines += 1;
        self.shown += &format!("{shown}\n");
        self.complete += &format!("{complete}\n");
        self.origins.extend(origin.map(|origin| (self.lines, origin)));
    }
}

/// A value as YAML, as it may be shown and as it is.
struct Value {
    shown: String,
    complete: String,
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value { shown: text.clone(), complete: text }
    }
}

/// `None` for what has no variable.
fn value(given: &Given) -> Result<Option<Value>, Problem> {
    let text = given.value.as_str();
    let spelled = given.spelled();
    if text.chars().any(char::is_control) || ["{{", "{%", "{#"].iter().any(|start| text.contains(start)) {
        let problem =
            Problem::new(format!("{spelled}: control characters and templates have no place in a value"));
        return Err(problem.hint("give the text itself"));
    }
    Ok(Some(match given.row.means {
        Means::Text(_) if given.row.name == "monitor" => uri(given)?,
        Means::Text(_) => scalar(text).into(),
        // What is no number is told by the inventory's own words.
        Means::Number(_) => {
            text.parse::<i64>().map_or_else(|_| quoted(text), |number| number.to_string()).into()
        }
        Means::Bool(_) => {
            boolean(text).map(|flag| flag.to_string()).ok_or_else(|| not_a_bool(&spelled))?.into()
        }
        Means::Flag(_) => "true".to_owned().into(),
        Means::Accepted(_) => return Ok(None),
        Means::Refused { why, remedy, .. } => {
            return Err(Problem::new(format!("{spelled}: {why}")).hint(remedy));
        }
    }))
}

/// The monitor's URI; its password comes from the environment only, as a command line is read by everybody.
fn uri(given: &Given) -> Result<Value, Problem> {
    let text = given.value.as_str();
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(scalar(text).into()) };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let Some((user, _)) = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':')) else {
        return Ok(scalar(text).into());
    };
    if given.origin == Origin::CommandLine {
        let problem =
            Problem::new("--monitor: the URI holds a password, and everybody can read a command line");
        return Err(problem.hint("give the URI as PG_AUTOCTL_MONITOR in the environment"));
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let shown = scalar(&format!("{scheme}://{user}@{address}{path}"));
    Ok(Value { shown, complete: scalar(text) })
}

fn not_a_bool(spelled: &str) -> Problem {
    Problem::new(format!("{spelled} is neither true nor false")).hint("write true or false")
}

/// As pg_autoctl reads one: PostgreSQL's words.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// What pg_autoctl refuses, and what only one host can have.
fn contradictions(kind: Kind, given: &[Given], hosts: &[Host]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let has = |name: &str| given.iter().find(|given| given.row.name == name);
    for row in of(kind).filter(|row| row.default.starts_with("**required**") && has(row.name).is_none()) {
        let hint = match (row.name, row.env) {
            ("group", _) => "number the Citus groups from 1; a worker and its standbys have the same number. \
                             pg_autoctl makes a new group each time, and a rerun could not know which one it made"
                .to_owned(),
            ("monitor", _) => "as `muster create monitor` and `pg_autoctl show uri` print it, or set PG_AUTOCTL_MONITOR".to_owned(),
            (_, Some(env)) => format!("or set {env}"),
            (_, None) => String::new(),
        };
        problems.push(Problem::new(format!("--{} is missing: {}", row.name, row.doc)).hint(hint));
    }
    if let (Some(auth), Some(skip)) = (has("auth"), has("skip-pg-hba")) {
        let what = format!("{} cannot be with {}", auth.spelled(), skip.spelled());
        problems.push(
            Problem::new(what).hint("without rules there is no method to write into them: leave one out"),
        );
    }
    for given in given.iter().filter(|given| given.row.of_one_host && hosts.len() > 1) {
        let what = format!("{} is of one host, and there are {}", given.spelled(), hosts.len());
        problems.push(
            Problem::new(what).hint("create them one by one, or print the inventory and write it there"),
        );
    }
    if kind == Kind::Monitor && hosts.len() > 1 {
        problems.push(Problem::new("a formation has one monitor").hint("give one HOST"));
    }
    let mut seen = BTreeSet::new();
    for host in hosts.iter().filter(|host| !seen.insert(host.name.as_str())) {
        problems.push(Problem::new(format!("HOST {} is there twice", host.name)).hint("give each host once"));
    }
    problems
}

/// What is taken where pg_autoctl would have asked, or have taken something else.
fn defaults(kind: Kind, has_auth: bool, has_dbname: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !has_auth {
        notes.push(
            "--auth is not given: trust, which lets in whoever reaches the port from a host of the formation"
                .to_owned(),
        );
    }
    if !has_dbname && matches!(kind, Kind::Coordinator | Kind::Worker) {
        notes.push("--dbname is not given: citus (pg_autoctl would take postgres)".to_owned());
    }
    notes
}

/// A YAML scalar that is this text and nothing else.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    // Words that YAML 1.1 takes for something else, and numbers like `e5`, `0x1` that begin with a digit.
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"]
        .contains(&text.to_ascii_lowercase().as_str());
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let is_uri = (text.starts_with("postgres://") || text.starts_with("postgresql://"))
        && text.chars().all(|c| is_plain(c) || ":@?=&_%~+[]".contains(c));
    // As pg_basebackup has them: 20M.
    let is_rate = text.trim_end_matches(['k', 'M']).parse::<u32>().is_ok() && text.ends_with(['k', 'M']);
    match (starts && text.chars().all(is_plain) && !is_word) || is_address || is_uri || is_rate {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A scalar for what may be any text, as a path of this machine; a template in it is none.
fn exact(text: &str) -> String {
    let is_template = ["{{", "{%", "{#"].iter().any(|start| text.contains(start));
    let tag = if is_template { "!unsafe " } else { "" };
    match text.chars().any(char::is_control) {
        true => format!("{tag}{}", serde_json::Value::from(text)),
        false => format!("{tag}{}", scalar(text)),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
