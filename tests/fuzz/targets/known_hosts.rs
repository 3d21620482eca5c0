//! Files of known hosts. The reader is the transport's own and no part of its interface, so it is taken in by its path.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use russh::keys::PublicKey;

static OFFERED: LazyLock<PublicKey> = LazyLock::new(|| {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    key.parse().expect("it is a key")
});

#[expect(dead_code, reason = "what the rest of the transport uses")]
#[path = "../../../src/ssh/trust/known_hosts.rs"]
mod known_hosts;
#[expect(dead_code, reason = "what the rest of the transport uses")]
#[path = "../../../src/ssh/trust/pattern.rs"]
mod pattern;

use known_hosts::{KnownHosts, Names};

fn judge(text: &str, key: &PublicKey) {
    for (full, without_port) in [("db1", None), ("[db1]:2222", Some("db1".to_owned()))] {
        let names = Names { full: full.to_owned(), without_port };
        let known = KnownHosts::parse([("known_hosts", text)], &names);
        drop(format!("{:?}", known.judge(key.key_data())));
        let _ = known.algorithms().count();
        drop(known.bars_first_answer().map(|(place, why)| format!("{place} {why}")));
    }
}

fuzz_target!(|bytes: &[u8]| judge(&String::from_utf8_lossy(bytes), &OFFERED));
