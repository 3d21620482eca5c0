//! The manual, README.md and docs/, says what the program says: every variable, exit code, subcommand, option and make
//! target; and its links lead somewhere.

use std::path::Path;

use assert_cmd::Command;

use muster::create::{Kind, OPTIONS, Row};
use muster::error::Exit;
use muster::inventory::lint::LINTS;
use muster::inventory::variables::{Fallback, Scope, VARIABLES, Variable};
use muster::resource::versions;

const PAGES: [(&str, &str); 5] = [
    ("README.md", include_str!("../README.md")),
    ("docs/commands.md", include_str!("../docs/commands.md")),
    ("docs/inventory.md", include_str!("../docs/inventory.md")),
    ("docs/ssh.md", include_str!("../docs/ssh.md")),
    ("docs/operations.md", include_str!("../docs/operations.md")),
];

#[test]
fn every_variable_has_its_row() {
    let missing: Vec<String> = VARIABLES.iter().map(row).filter(|row| !has_line(row)).collect();
    assert!(
        missing.is_empty(),
        "the manual lacks these rows of its table of variables:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_postgresql_has_its_row_of_versions() {
    for major in versions::POSTGRESQL {
        let of = |product: &versions::Product| {
            let lines = product.lines.iter().filter(|line| line.postgresql.contains(&major));
            lines.map(|line| line.name).collect::<Vec<_>>().join(", ")
        };
        let row = format!("| {major} | {} | {} |", of(&versions::PG_AUTO_FAILOVER), of(&versions::CITUS));
        assert!(has_line(&row), "the manual lacks this row of its table of versions:\n{row}");
    }
}

#[test]
fn every_lint_has_its_row() {
    for lint in LINTS {
        let row = format!("| `{}` | {} | {} |", lint.name, lint.doc, lint.hint);
        assert!(has_line(&row), "the manual lacks the row {row}");
    }
}

#[test]
fn every_exit_code_has_the_row_that_help_shows() {
    let help = help(&[]);
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).map(str::trim);
    let mut shown = Vec::new();
    for line in codes.filter(|line| !line.is_empty()) {
        let (code, meaning) = line.split_once(' ').expect("a code and its meaning");
        assert!(has_line(&format!("| {code} | {} |", meaning.trim())), "the manual lacks exit code {line}");
        shown.push(code.to_owned());
    }
    let all = [Exit::Ok, Exit::Usage, Exit::Failed, Exit::Changes, Exit::Unreachable, Exit::Interrupted];
    assert_eq!(shown, all.map(|exit| (exit as u8).to_string()));
}

#[test]
fn every_subcommand_and_option_is_there() {
    let commands = subcommands();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in &commands {
        assert!(says(&format!("muster {command}")), "the manual lacks muster {command}");
        for word in help(&[command]).split_whitespace().filter(|word| word.starts_with("--")) {
            let option = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(says(&format!("`{option}")), "the manual lacks {option} of {command}");
        }
    }
}

#[test]
fn every_option_of_create_has_its_row() {
    let rows: Vec<String> = OPTIONS.iter().map(option_row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !has_line(row)).collect();
    assert!(
        missing.is_empty(),
        "the manual lacks rows of the table of create; all are:\n{}",
        rows.join("\n")
    );
    for kind in Kind::ALL {
        for word in help(&["create", kind.as_str()]).split_whitespace().filter(|word| word.starts_with("--"))
        {
            let option = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(says(&format!("`{option}")), "the manual lacks {option} of create {}", kind.as_str());
        }
    }
}

/// As the manual's table has it.
fn option_row(row: &Row) -> String {
    let short = row.short.map(|short| format!(" (`-{short}`)")).unwrap_or_default();
    let code = |name: Option<&str>| name.map_or("–".to_owned(), |name| format!("`{name}`"));
    let kinds: Vec<&str> = row.of.iter().map(|kind| kind.as_str()).collect();
    let of = match kinds.len() {
        4 => "all".to_owned(),
        3 => "nodes".to_owned(),
        _ => kinds.join(", "),
    };
    format!(
        "| `--{}`{short} | {} | {} | {of} | {} | {} |",
        row.name,
        code(row.means.variable()),
        code(row.env),
        row.default,
        row.doc
    )
}

#[test]
fn every_make_target_is_there() {
    let makefile = include_str!("../Makefile");
    let targets = makefile.lines().filter(|line| line.contains(": ## ") || line.contains(" ## "));
    for target in targets.filter_map(|line| line.split_once(':')).map(|(target, _)| target) {
        assert!(says(&format!("make {target}")), "the manual lacks make {target}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (page, text) in PAGES {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(page).parent().unwrap_or(Path::new(""));
            let target = if file.is_empty() { page.into() } else { folder.join(file) };
            assert!(target.exists(), "{page}: there is no {link}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).expect("it can be read");
                assert!(anchors(&text).any(|found| found == heading), "{page}: there is no {link}");
            }
        }
    }
    assert!(links > 50, "{links}");
}

/// The names that GitHub gives to headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    })
}

fn says(words: &str) -> bool {
    PAGES.iter().any(|(_, text)| text.contains(words))
}

fn has_line(wanted: &str) -> bool {
    PAGES.iter().any(|(_, text)| text.lines().any(|line| line == wanted))
}

/// As the manual's table has it.
fn row(variable: &Variable) -> String {
    let default = match variable.default {
        Fallback::Is(value) => format!("`{value}`"),
        Fallback::From(how) => how.to_owned(),
        Fallback::Required => "**required**".to_owned(),
    };
    let of = match variable.scope {
        Scope::Formation => "formation",
        Scope::Group => "group",
        Scope::Node => "node",
        Scope::Server => "server",
    };
    let also: String = variable.other_names.iter().map(|name| format!(" Also `{name}`.")).collect();
    format!("| `{}` | {default} | {of} | {}{also} |", variable.name, variable.doc)
}

fn subcommands() -> Vec<String> {
    let help = help(&[]);
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

fn help(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("muster").expect("muster is built");
    let output = command.args(arguments).arg("--help").output().expect("muster runs");
    String::from_utf8(output.stdout).expect("help is text")
}
