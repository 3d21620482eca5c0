//! A list of hosts as `-i a,b,` has it, and a range as inventories have it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    drop(muster::inventory::list(&[format!("{text},")]));
    let text = format!("[postgres]\n{text} pgdata=/data\n");
    drop(muster::inventory::parse("db.ini", &text, Path::new("/nowhere")));
});
