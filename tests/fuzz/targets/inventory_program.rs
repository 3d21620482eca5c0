//! What an executable inventory answers to `--list`, as bytes.
#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use muster::inventory::Need;
use muster::secrets::Keyring;
use tempfile::TempDir;

/// The program prints the file beside it, and nothing for `--host`.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("there is memory");
    let program = folder.path().join("inventory");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --list ] || exec echo '{{}}'\nexec cat '{}/answer'\n",
        folder.path().display()
    );
    fs::write(&program, text).expect("it can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("it is ours");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    // What is named as a command would be run.
    if bytes.windows(3).any(|word| word == b"cmd") {
        return;
    }
    fs::write(FOLDER.path().join("answer"), bytes).expect("there is memory");
    let name = FOLDER.path().join("inventory").display().to_string();
    let keyring = Arc::new(Keyring::empty());
    match muster::inventory::list(std::slice::from_ref(&name), &keyring) {
        Ok(_) => drop(muster::inventory::load_all(&[name], &keyring, Need::Everything)),
        Err(problems) => problems.iter().for_each(|problem| drop(problem.to_string())),
    }
});
