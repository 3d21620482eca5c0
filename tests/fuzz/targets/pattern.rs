//! Patterns of hosts.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster::formation::Formation;

static FORMATION: LazyLock<Formation> = LazyLock::new(|| {
    let text = include_str!("../../../inventory/lab.yml");
    muster::inventory::parse("lab.yml", text, Path::new("inventory")).expect("the example is right")
});

fuzz_target!(|text: &str| {
    if let Err(problem) =
        muster::pattern::select(&FORMATION.roster, text, &|_| Err("there is no such file".to_owned()))
    {
        drop(problem.to_string());
    }
});
