//! A list of hosts as `-i a,b,` has it, and a range as inventories have it.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use muster::secrets::Keyring;

fuzz_target!(|text: &str| {
    // What is named as a command would be run.
    if text.contains("cmd") {
        return;
    }
    drop(muster::inventory::list(&[format!("{text},")], &Arc::new(Keyring::empty())));
    let text = format!("[postgres]\n{text} pgdata=/data\n");
    drop(muster::inventory::parse("db.ini", &text, Path::new("/nowhere")));
});
