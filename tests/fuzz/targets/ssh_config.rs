//! A file of ssh_config, as bytes, for a host.
#![no_main]

use std::fs;
use std::sync::{LazyLock, Once};

use libfuzzer_sys::fuzz_target;
use muster::ssh::Credentials;
use muster::ssh::config::{Request, jump, option, resolve};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("there is memory"));
static ONCE: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // `Match exec` runs what it is given by this shell.
    ONCE.call_once(|| {
        // SAFETY: nothing else runs yet.
        unsafe { std::env::set_var("SHELL", "/bin/true") };
    });
    let file = FOLDER.path().join("config");
    fs::write(&file, bytes).expect("there is memory");
    let credentials = Credentials::new("ana", Some(FOLDER.path().to_owned()), None);
    let file = file.display().to_string();
    let request = Request { destination: "ops@db1.example", options: &[], file: Some(&file) };
    match resolve(&request, &credentials) {
        Ok(settings) => drop(format!("{settings:?}")),
        Err(problem) => drop(problem.to_string()),
    }
    if let Ok(text) = str::from_utf8(bytes) {
        drop(jump(text));
        drop(option(text));
        let request = Request { destination: text, options: &[], file: Some("none") };
        drop(resolve(&request, &credentials));
    }
});
