//! The shape of the source: arrows point down, the core is pure, files stay small.
//!
//! A file may use its own part and whatever stands below that in [`RANKS`]. A part that is missing there fails the
//! test, so that a new file has to say where it belongs.

use std::fs;
use std::path::{Path, PathBuf};

/// What a part may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Anything.
    Shell,
    /// Computes only: no machine, no clock, no chance, no order of its own.
    Core,
}

use Does::{Core, Shell};

/// From the top down.
const RANKS: &[(&str, Does)] = &[
    ("main", Shell),
    ("cli", Shell),
    // The screen and the hands: neither knows of the other, events are what they share.
    ("report", Shell),
    ("execute", Shell),
    ("fleet", Shell),
    ("ssh", Shell),
    // From what was found to the text of an inventory, which it reads once more.
    ("adopt", Core),
    ("inventory", Shell),
    // What signs for the formation, on this machine.
    ("authority", Shell),
    ("secrets", Shell),
    // A command line as the text of an inventory.
    ("create", Core),
    ("event", Core),
    // Whose turn it is on the terminal: what report and ssh share.
    ("console", Shell),
    ("program", Shell),
    // How much of a file is read, and how one is written.
    ("bounded", Shell),
    ("private", Shell),
    // Knowledge and decision. `verify` and `uri` read facts; only the planner decides.
    ("plan", Core),
    ("verify", Core),
    ("links", Core),
    ("uri", Core),
    ("sudoers", Core),
    ("pattern", Core),
    ("fsm", Core),
    ("facts", Core),
    ("scope", Core),
    ("resource", Core),
    // What a resource is made with.
    ("hba", Core),
    ("sql", Core),
    ("scram", Core),
    ("probe", Core),
    ("template", Core),
    // The words.
    ("step", Core),
    ("issue", Core),
    ("file", Core),
    ("session", Core),
    ("trial", Core),
    ("undo", Core),
    ("command", Core),
    ("reason", Core),
    ("op", Core),
    ("formation", Core),
    ("state", Core),
    ("error", Core),
];

/// Arrows that the order alone would allow, and that are not wanted.
const FORBIDDEN: &[(&str, &str)] = &[
    ("report", "execute"),
    ("report", "fleet"),
    ("report", "ssh"),
    ("report", "inventory"),
    ("execute", "ssh"),
    ("execute", "inventory"),
    ("fleet", "inventory"),
    ("fleet", "plan"),
    ("ssh", "inventory"),
    ("ssh", "facts"),
    ("ssh", "plan"),
    ("inventory", "plan"),
    ("inventory", "facts"),
    // An oracle that asks the planner proves nothing.
    ("verify", "plan"),
    ("verify", "fsm"),
    ("links", "plan"),
];

/// Of `std::net` the address types are values; the sockets are not.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::process",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::io",
    "std::time",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "println!",
    "eprintln!",
    "HashMap",
    "HashSet",
    "async fn",
];

/// What holds words for people: titles, reasons, causes and what is made of them.
const WORDS: &[&str] = &["title", "title()", "why", "reason", "because", "hint", "cause()", "to_string()"];

/// Ways to decide by words.
const BY_WORDS: &[&str] = &[
    ".contains(",
    ".starts_with(",
    ".ends_with(",
    ".strip_prefix(",
    ".strip_suffix(",
    ".trim_start_matches(",
    ".trim_end_matches(",
    ".find(",
    " == \"",
    " != \"",
];

/// Lines of a file, tests included. Longer files have two subjects.
const LINES: usize = 500;

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = part(&path);
        if path == Path::new("src/lib.rs") {
            continue;
        }
        let rank = rank(&from);
        for to in used(&without_tests(&text), &from) {
            if to != from && (self::rank(&to) <= rank || FORBIDDEN.contains(&(from.as_str(), to.as_str()))) {
                wrong.push(format!("{}: {from} uses {to}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| is_core(&part(path))) {
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{}:{}: {word}", path.display(), number + 1)),
            );
        }
    }
    assert!(wrong.is_empty(), "the core computes only:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_decided_by_words_for_people() {
    let mut wrong = Vec::new();
    let mut simulation = Vec::new();
    collect(Path::new("tests/sim"), &mut simulation);
    for (path, text) in sources().into_iter().chain(simulation) {
        for (number, line) in without_tests(&text).lines().enumerate() {
            wrong.extend(decisions(line).map(|how| format!("{}:{}: {how}", path.display(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "match on the Op or the Reason, not on its words:\n{}", wrong.join("\n"));
}

/// Where a line looks into words.
fn decisions(line: &str) -> impl Iterator<Item = String> {
    let code = line.split("//").next().unwrap_or_default();
    let ends_there = |before: &str, word: &str| {
        before
            .strip_suffix(word)
            .is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let matched = WORDS.iter().filter(|word| {
        let arms = code.rfind("match ").zip(code.rfind(" {")).filter(|(start, end)| start < end);
        let what = arms.map_or("", |(start, end)| &code[start + "match ".len()..end]);
        let text = what.strip_suffix(".as_str()");
        text.is_some_and(|text| ends_there(text, word))
    });
    let matched: Vec<String> = matched.map(|word| format!("match {word}")).collect();
    let found = BY_WORDS.iter().flat_map(move |way| {
        let found = code.match_indices(way).filter_map(move |(at, _)| {
            let before = &code[..at];
            let before = before.strip_suffix(".as_str()").unwrap_or(before);
            let word = WORDS.iter().find(|word| ends_there(before, word))?;
            Some(format!("{word}{way}"))
        });
        found.collect::<Vec<_>>()
    });
    found.chain(matched)
}

#[test]
fn the_test_sees_a_decision_by_words() {
    for line in [
        "reason.ends_with(UNREACHABLE)",
        "step.title().starts_with(\"pg_basebackup \")",
        "step.title == \"start PostgreSQL\"",
        "match title.as_str() {",
        "if failure.cause().contains(\"no route\") {",
        "let own = match reason.contains(\"x\") {",
        "outcome.blocked.to_string().starts_with(\"group\")",
        "if why.as_str() == \"it is stopped\" {",
    ] {
        assert_eq!(decisions(line).count(), 1, "{line}");
    }
    for line in ["// why.contains(", "names.contains(why)", "wherewhy.contains(", "match reason {"] {
        assert_eq!(decisions(line).count(), 0, "{line}");
    }
}

#[test]
fn files_are_small() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "look for two subjects in:\n{}", long.join("\n"));
}

#[test]
fn the_test_sees_an_arrow() {
    let text =
        "use crate::{fleet, step::Step};\nlet x = crate::ssh::Session;\nuse super::tls;\nuse muster::cli;";
    assert_eq!(used(text, "resource"), ["fleet", "step", "ssh", "cli"]);
    assert!(rank("step") > rank("fleet"));
    assert_eq!(
        without_tests("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod tests;\nd\n"),
        "a\nc\nd\n"
    );
}

fn is_core(part: &str) -> bool {
    RANKS.contains(&(part, Core))
}

fn rank(part: &str) -> usize {
    let found = RANKS.iter().position(|(known, _)| *known == part);
    found.unwrap_or_else(|| panic!("{part} has no rank: where does it belong in tests/architecture.rs?"))
}

/// `src/report/plan.rs` is of `report`, `src/fsm.rs` of `fsm`.
fn part(path: &Path) -> String {
    let first = path.iter().nth(1).expect("every file is in src");
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The parts that a text names by `crate::` (or `muster::`, in main).
fn used(text: &str, from: &str) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["crate::", "muster::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let names = match rest.strip_prefix('{') {
                Some(list) => firsts(list),
                None => vec![word(rest)],
            };
            found.extend(
                names.into_iter().filter(|name| !name.is_empty() && *name != from).map(str::to_owned),
            );
        }
    }
    found
}

/// The first word of every item of a `use` list, up to its closing brace.
fn firsts(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(word(list[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(word(list[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Unit tests may use whatever proves them right.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let mut item = lines.by_ref().skip_while(|line| line.trim().starts_with("#["));
        if item.next().is_some_and(|first| first.trim_end().ends_with('{')) {
            let end = format!("{:indent$}}}", "");
            lines.by_ref().find(|line| *line == end);
        }
    }
    kept
}

/// Every file of `src` with its text, but unit tests in files of their own.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            files.push((path, text));
        }
    }
}
