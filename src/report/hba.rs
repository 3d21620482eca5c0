//! Which lines of `pg_hba.conf` answer whom.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::formation::NodeName;
use crate::hba::{By, Database, Kind, Line, Place, Seal, Unknown, shadows};
use crate::links::{Judged, Page, Purpose, Says, shut_out, way};
use crate::report::paint::Paint;
use crate::report::text::{count, first, indented, mask, plain, table};
use crate::resource::adopted::rules::compared;

/// So many hosts are named for one purpose.
const NAMED: usize = 4;

/// For each file its lines with what each is needed for, then what is wrong. Members of a group have one file: it is shown once.
pub fn text(pages: &[(NodeName, Result<Page, String>)], paint: Paint) -> String {
    let mut text = String::new();
    let mut shared: Vec<Vec<(&NodeName, &Page)>> = Vec::new();
    let mut unseen = Vec::new();
    for (name, page) in pages {
        match page {
            Ok(page) => match shared.iter_mut().find(|alike| is_one_file(alike[0].1, page)) {
                Some(alike) => alike.push((name, page)),
                None => shared.push(vec![(name, page)]),
            },
            Err(why) => unseen.push((name, why)),
        }
    }
    shared.iter().for_each(|alike| text += &of_file(alike, paint));
    for (name, why) in &unseen {
        text += &format!("{}: {}\n", paint.bold(&plain(&name.0)), plain(why));
    }
    let judged = || shared.iter().flatten().flat_map(|(_, page)| &page.judged);
    let out: usize = shared.iter().flatten().map(|(_, page)| shut_out(&page.judged).count()).sum();
    let needed = judged().count();
    let unsure = judged().filter(|one| is_unsure(&one.says)).count();
    let untaken = shared.iter().flatten().filter(|(_, page)| page.read.refused().next().is_some()).count();
    let mut wrong = Vec::new();
    wrong.extend((out > 0).then(|| format!("{out} refused")));
    wrong.extend(
        (untaken > 0).then(|| format!("{} with a file that PostgreSQL refuses", count(untaken, "host"))),
    );
    wrong.extend(
        (!unseen.is_empty()).then(|| format!("{} without a file to look at", count(unseen.len(), "host"))),
    );
    let mut last = vec![count(needed, "needed connection")];
    last.extend(if wrong.is_empty() { vec!["none is refused".to_owned()] } else { wrong.clone() });
    last.extend((unsure > 0).then(|| format!("{unsure} could not be judged")));
    let last = last.join(", ");
    let last = if wrong.is_empty() { paint.green(&last) } else { paint.red(&last) };
    format!("{text}{last}\n")
}

/// Whether what is said of one file is true of the other.
fn is_one_file(one: &Page, other: &Page) -> bool {
    let what = |page: &Page| (page.is_in_force, page.tls);
    one.path == other.path && one.read == other.read && what(one) == what(other)
}

fn is_unsure(says: &Says) -> bool {
    matches!(says, Says::Perhaps { .. } | Says::NoAddress)
}

fn of_file(alike: &[(&NodeName, &Page)], paint: Paint) -> String {
    let names: Vec<String> = alike.iter().map(|(name, _)| paint.bold(&plain(&name.0))).collect();
    let page = alike[0].1;
    let mut text = format!("{}: {}\n", names.join(", "), plain(&page.path));
    let uses = uses(alike.iter().map(|(_, page)| *page));
    let row = |line: &Line| {
        let used = uses.get(&line.at).map_or("-".to_owned(), said);
        vec![place(page, &line.at), shown(&line.text), used]
    };
    let mut rows = vec![["Line", "Rule", "Needed for"].map(str::to_owned).to_vec()];
    rows.extend(page.read.lines.iter().map(row));
    text += &indented(&plain(&table(&rows)), 2);
    for (line, why) in page.read.refused() {
        text += &tell(&paint.red("FAILED"), &format!("line {}: {why}: {NOT_TAKEN}", place(page, &line.at)));
    }
    let judged = || alike.iter().flat_map(|(name, page)| page.judged.iter().map(move |one| (*name, one)));
    let line = |word: &str, name: &NodeName, one: &Judged| {
        let to = if alike.len() > 1 { format!("{name}: ") } else { String::new() };
        tell(word, &format!("{to}{}: {}", one.who(), outcome(page, &one.says)))
    };
    let out = alike.iter().flat_map(|(name, page)| shut_out(&page.judged).map(move |one| (*name, one)));
    for (name, one) in out {
        text += &line(&paint.red("FAILED"), name, one);
    }
    for (name, one) in judged().filter(|(_, one)| is_unsure(&one.says)) {
        text += &line(&paint.yellow("note:"), name, one);
    }
    for note in notes(page) {
        text += &tell(&paint.yellow("note:"), &note);
    }
    text
}

const NOT_TAKEN: &str = "PostgreSQL refuses the file and keeps the rules that it had, if it runs";

fn tell(word: &str, what: &str) -> String {
    format!("  {word} {}\n", plain(what))
}

/// For each line the purposes it is needed for, each with who comes.
type Uses<'p> = BTreeMap<&'p Place, BTreeMap<Purpose, BTreeSet<&'p str>>>;

fn uses<'p>(pages: impl Iterator<Item = &'p Page>) -> Uses<'p> {
    let mut uses = Uses::new();
    for judged in pages.flat_map(|page| &page.judged) {
        if let Some(place) = judged.says.line() {
            let peers = uses.entry(place).or_default().entry(judged.link.purpose).or_default();
            peers.insert(&judged.link.peer);
        }
    }
    uses
}

fn said(purposes: &BTreeMap<Purpose, BTreeSet<&str>>) -> String {
    let one = |(purpose, peers): (&Purpose, &BTreeSet<&str>)| match purpose {
        Purpose::OwnHost => purpose.as_str().to_owned(),
        _ => {
            let names = first(peers.iter().map(|peer| (*peer).to_owned()), NAMED);
            format!("{} ({names})", purpose.as_str())
        }
    };
    purposes.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The number alone where the line is in the server's own file.
fn place(page: &Page, at: &Place) -> String {
    if at.path == page.path { at.line.to_string() } else { at.to_string() }
}

/// A rule on one line, without what stands behind it for people.
fn shown(text: &str) -> String {
    mask(&compared(text))
}

fn outcome(page: &Page, says: &Says) -> String {
    match says {
        Says::Method { at, method } => format!("line {} answers: {method}", place(page, at)),
        Says::Rejected(at) => format!("line {} rejects it", place(page, at)),
        Says::Nobody => "no line is for it: the server refuses it".to_owned(),
        Says::Perhaps { at, unknown } => {
            let why = match unknown {
                Unknown::Interfaces => "nobody knows the networks of the host".to_owned(),
                Unknown::NameOf(address) => format!("nobody knows the name of {address}"),
                Unknown::MembershipOf(user) => format!("nobody knows whose member {user} is"),
                Unknown::Match { expression, text } => {
                    format!("nobody knows whether {text} matches {expression}")
                }
            };
            format!("it may be line {}: {why}", place(page, at))
        }
        Says::NoAddress => "nobody knows from which address it comes".to_owned(),
    }
}

/// Whether the server goes by what is shown.
fn in_force(page: &Page) -> Option<&'static str> {
    match page.is_in_force {
        Some(true) => None,
        Some(false) => {
            Some("the server has not taken this file: it was changed since it was read last, or is refused")
        }
        None => Some("the server does not answer: this is what its file says"),
    }
}

fn notes(page: &Page) -> Vec<String> {
    let mut notes: Vec<String> = in_force(page).map(str::to_owned).into_iter().collect();
    let mut behind: BTreeMap<&Place, Vec<String>> = BTreeMap::new();
    for (line, first) in shadows(&page.read) {
        behind.entry(&first.at).or_default().push(place(page, &line.at));
    }
    notes.extend(behind.into_iter().map(|(before, lines)| {
        format!("{} never reached: line {} answers before", are("line", &lines), place(page, before))
    }));
    let needs_tls = |line: &&Line| matches!(&line.says, Ok(rule) if rule.kind == Kind::HostSsl);
    if page.tls == Some(false) {
        let lines: Vec<String> =
            page.read.lines.iter().filter(needs_tls).map(|line| place(page, &line.at)).collect();
        if !lines.is_empty() {
            notes.push(format!("{} for nobody while `ssl` is off", are("line", &lines)));
        }
    }
    let trusting: Vec<String> = page.trusting().map(|line| place(page, &line.at)).collect();
    if let [first, rest @ ..] = trusting.as_slice() {
        let lines = if rest.is_empty() {
            format!("line {first} lets")
        } else {
            format!("lines {} let", trusting.join(", "))
        };
        notes.push(format!(
            "{lines} others than the host itself in without a password (`auth: scram-sha-256` asks for one)"
        ));
    }
    notes
}

/// `line 3 is`, `lines 3, 4 are`.
fn are(word: &str, lines: &[String]) -> String {
    match lines {
        [one] => format!("{word} {one} is"),
        _ => format!("{word}s {} are", lines.join(", ")),
    }
}

/// What `--check` found: a sentence for each address. `asked`: who comes, to what.
pub fn check(page: &Page, asked: &str, answers: &[(By, Says)], paint: Paint) -> String {
    let mut text = String::new();
    for (by, says) in answers {
        let word = match says {
            Says::Method { .. } => paint.green("ok"),
            Says::Rejected(_) | Says::Nobody => paint.red("refused"),
            Says::Perhaps { .. } | Says::NoAddress => paint.yellow("unknown"),
        };
        text += &format!("{word}: {}\n", plain(&format!("{asked}{}: {}", way(*by), outcome(page, says))));
        let line = says.line().and_then(|at| page.read.lines.iter().find(|line| line.at == *at));
        if let Some(line) = line {
            text += &plain(&format!("  {}: {}\n", line.at, shown(&line.text)));
        }
    }
    for (line, why) in page.read.refused() {
        let what = plain(&format!("line {}: {why}: {NOT_TAKEN}", place(page, &line.at)));
        text += &format!("{}: {what}\n", paint.red("FAILED"));
    }
    if let Some(note) = in_force(page) {
        text += &format!("{} {note}\n", paint.yellow("note:"));
    }
    text
}

/// An answer as JSON.
pub fn answer(page: &Page, way: By, says: &Says) -> Value {
    let (address, tls) = match way {
        By::Socket => (None, None),
        By::Network { from, seal } => (Some(from), Some(seal == Seal::Tls)),
    };
    let at = says.line();
    let method = match says {
        Says::Method { method, .. } => Some(method.as_str()),
        Says::Rejected(_) => Some("reject"),
        Says::Nobody | Says::Perhaps { .. } | Says::NoAddress => None,
    };
    let comes_in = match says {
        Says::Method { .. } => Some(true),
        Says::Rejected(_) | Says::Nobody => Some(false),
        Says::Perhaps { .. } | Says::NoAddress => None,
    };
    json!({
        "address": address, "tls": tls, "let_in": comes_in, "method": method,
        "file": at.map(|at| &at.path), "line": at.map(|at| at.line), "says": outcome(page, says),
    })
}

/// By host: its file, its lines, and every needed connection.
pub fn json(pages: &[(NodeName, Result<Page, String>)]) -> Value {
    let page = |page: &Page| {
        let behind: BTreeMap<&Place, &Place> =
            shadows(&page.read).into_iter().map(|(line, first)| (&line.at, &first.at)).collect();
        let line = |line: &Line| {
            json!({
                "file": line.at.path, "line": line.at.line, "text": line.text,
                "refused": line.says.as_ref().err(),
                "never_reached_for_line": behind.get(&line.at).map(|first| first.line),
            })
        };
        let connection = |judged: &Judged| {
            let mut value = match judged.by {
                Some(by) => answer(page, by, &judged.says),
                None => json!({"address": null, "let_in": null, "says": outcome(page, &judged.says)}),
            };
            let database = match &judged.link.database {
                Database::Replication => "replication",
                Database::Named(name) => name,
            };
            value["for"] = json!(judged.link.purpose.as_str());
            value["from"] = json!(judged.link.peer);
            value["user"] = json!(judged.link.user);
            value["database"] = json!(database);
            value
        };
        json!({
            "file": page.path, "in_force": page.is_in_force, "tls": page.tls,
            "lines": page.read.lines.iter().map(line).collect::<Vec<_>>(),
            "connections": page.judged.iter().map(connection).collect::<Vec<_>>(),
        })
    };
    let of = |(name, found): &(NodeName, Result<Page, String>)| {
        let value = match found {
            Ok(found) => page(found),
            Err(why) => json!({"failure": why}),
        };
        (name.0.clone(), value)
    };
    Value::Object(pages.iter().map(of).collect())
}
