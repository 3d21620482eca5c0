//! README.md says what the program says: every variable, exit code, subcommand, option and make target.

use assert_cmd::Command;

use muster::create::{Kind, OPTIONS, Row};
use muster::error::Exit;
use muster::inventory::lint::LINTS;
use muster::inventory::variables::{Fallback, Scope, VARIABLES, Variable};
use muster::resource::versions;

const README: &str = include_str!("../README.md");

#[test]
fn every_variable_has_its_row() {
    let missing: Vec<String> = VARIABLES.iter().map(row).filter(|row| !has_line(row)).collect();
    assert!(
        missing.is_empty(),
        "README.md lacks these rows of its table of variables:\n{}",
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
        assert!(has_line(&row), "README.md lacks this row of its table of versions:\n{row}");
    }
}

#[test]
fn every_lint_has_its_row() {
    for lint in LINTS {
        let row = format!("| `{}` | {} | {} |", lint.name, lint.doc, lint.hint);
        assert!(has_line(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn every_exit_code_has_the_row_that_help_shows() {
    let help = help(&[]);
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).map(str::trim);
    let mut shown = Vec::new();
    for line in codes.filter(|line| !line.is_empty()) {
        let (code, meaning) = line.split_once(' ').expect("a code and its meaning");
        assert!(has_line(&format!("| {code} | {} |", meaning.trim())), "README.md lacks exit code {line}");
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
        assert!(README.contains(&format!("muster {command}")), "README.md lacks muster {command}");
        for word in help(&[command]).split_whitespace().filter(|word| word.starts_with("--")) {
            let option = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(README.contains(&format!("`{option}")), "README.md lacks {option} of {command}");
        }
    }
}

#[test]
fn every_option_of_create_has_its_row() {
    let rows: Vec<String> = OPTIONS.iter().map(option_row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !has_line(row)).collect();
    assert!(missing.is_empty(), "README.md lacks rows of the table of create; all are:\n{}", rows.join("\n"));
    for kind in Kind::ALL {
        for word in help(&["create", kind.as_str()]).split_whitespace().filter(|word| word.starts_with("--"))
        {
            let option = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(
                README.contains(&format!("`{option}")),
                "README.md lacks {option} of create {}",
                kind.as_str()
            );
        }
    }
}

/// As the README's table has it.
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
        assert!(README.contains(&format!("make {target}")), "README.md lacks make {target}");
    }
}

fn has_line(wanted: &str) -> bool {
    README.lines().any(|line| line == wanted)
}

/// As the README's table has it.
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
