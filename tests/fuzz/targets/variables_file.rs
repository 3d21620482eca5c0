//! A file of `group_vars`, as bytes, beside an inventory that is right.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("there is memory");
    fs::create_dir(folder.path().join("group_vars")).expect("there is memory");
    let text = include_str!("../../../inventory/minimal.yml");
    fs::write(folder.path().join("db.yml"), text).expect("there is memory");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    // What is named as a command would be run.
    if bytes.windows(3).any(|word| word == b"cmd") {
        return;
    }
    fs::write(FOLDER.path().join("group_vars/all.yml"), bytes).expect("there is memory");
    if let Err(problems) = muster::inventory::load(&FOLDER.path().join("db.yml")) {
        problems.iter().for_each(|problem| drop(problem.to_string()));
    }
});
