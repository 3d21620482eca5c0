//! ssh_config as muster reads it, beside `ssh -G` of the ssh that is installed here.
//!
//! A case is a configuration and a command line; what is right is asked of `ssh` each time. Where ssh leaves something
//! open that muster decides (`~` and tokens of some files, muster's two own defaults, which ways to log in are left), ssh
//! is asked in another way; the comments of [`Oracle`] say how.
#![expect(clippy::print_stdout, reason = "the seed and what was compared are worth reading")]
#![expect(clippy::print_stderr, reason = "a test that is left out must say so")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "ssh_config/generate.rs"]
mod generate;
#[path = "ssh_config/oracle.rs"]
mod oracle;

use std::fs;

use oracle::Oracle;

/// A case, and where it stands.
pub(crate) struct Case {
    pub(crate) place: String,
    /// What ssh is given after `-G -F FILE`.
    pub(crate) arguments: Vec<String>,
    /// ssh goes on, and muster does not: what it would do is not what ssh does.
    pub(crate) is_refused: bool,
    /// The configuration, then files in `~/.ssh` by name.
    pub(crate) files: Vec<(String, String)>,
}

#[test]
fn the_corpus_is_read_as_ssh_reads_it() {
    let Some(oracle) = Oracle::start() else { return };
    let cases = corpus();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    agree(&oracle, &cases);
}

#[test]
fn what_is_generated_is_read_as_ssh_reads_it() {
    let Some(oracle) = Oracle::start() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("MUSTER_SEED").unwrap_or(20_261_123);
    let count = number("MUSTER_CASES").unwrap_or(300);
    println!("MUSTER_SEED={seed} MUSTER_CASES={count}");
    agree(&oracle, &generate::cases(seed, count));
}

#[test]
fn the_files_of_this_machine_are_read_as_ssh_reads_them() {
    let Some(oracle) = Oracle::start() else { return };
    let wrong: Vec<String> =
        ["localhost", "db1", "10.0.0.1"].iter().filter_map(|host| oracle.disagreement_here(host)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn agree(oracle: &Oracle, cases: &[Case]) {
    let wrong: Vec<String> = cases.iter().filter_map(|case| oracle.disagreement(case)).collect();
    let (count, of) = (wrong.len(), cases.len());
    println!("{of} cases, {} of them refused by both", oracle.refused());
    assert!(wrong.is_empty(), "{count} of {of} are not as ssh has them:\n{}", wrong.join("\n"));
}

/// Every case of `tests/ssh_config/*.txt`.
///
/// `=== ARGUMENTS` begins one, `=== ! ARGUMENTS` one that muster refuses; `--- NAME` begins a file in `~/.ssh`. `{HOME}`,
/// `{CR}`, `{FF}` and `{NUMBERS}` (a long line) are replaced.
fn corpus() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut paths: Vec<_> =
        fs::read_dir("tests/ssh_config").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "txt")) {
        for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            if let Some(arguments) = line.strip_prefix("=== ") {
                let place = format!("{}:{}", path.display(), number + 1);
                let is_refused = arguments.starts_with("! ");
                let arguments = words(arguments.trim_start_matches("! "));
                cases.push(Case {
                    place,
                    arguments,
                    is_refused,
                    files: vec![("config".into(), String::new())],
                });
            } else if let Some(name) = line.strip_prefix("--- ") {
                let case = cases.last_mut().expect("a file belongs to a case");
                case.files.push((name.to_owned(), String::new()));
            } else if let Some((_, text)) = cases.last_mut().and_then(|case| case.files.last_mut()) {
                let numbers = || (0..6_000).map(|n| format!(" host{n}")).collect::<String>();
                let line = line.replace("{CR}", "\r").replace("{FF}", "\u{c}");
                let line =
                    if line.contains("{NUMBERS}") { line.replace("{NUMBERS}", &numbers()) } else { line };
                *text += &format!("{line}\n");
            }
        }
    }
    cases
}

/// Of a command line: single quotes hold words together.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (number, part) in text.split('\'').enumerate() {
        if number % 2 == 1 {
            *words.last_mut().unwrap() += part;
            continue;
        }
        for (number, word) in part.split(' ').enumerate() {
            if number > 0 {
                words.push(String::new());
            }
            *words.last_mut().unwrap() += word;
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
