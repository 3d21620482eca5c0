//! An INI inventory as text, Python literals and all.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // What is named as a command would be run.
    if text.contains("cmd") {
        return;
    }
    match muster::inventory::parse("db.ini", text, Path::new("/nowhere")) {
        Ok(formation) => drop(format!("{formation:?}")),
        Err(problems) => problems.iter().for_each(|problem| drop(problem.to_string())),
    }
});
