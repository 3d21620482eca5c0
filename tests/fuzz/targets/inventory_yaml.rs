//! A YAML inventory as text: it is a formation, or it has problems that can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // What is named as a command would be run.
    if text.contains("cmd") {
        return;
    }
    match muster::inventory::parse("db.yml", text, Path::new("/nowhere")) {
        Ok(formation) => drop(format!("{formation:?}")),
        Err(problems) => problems.iter().for_each(|problem| drop(problem.to_string())),
    }
});
