//! Private and public keys as the library reads them for muster.
#![no_main]

use libfuzzer_sys::fuzz_target;
use russh::keys::ssh_key::PrivateKey;
use russh::keys::{PublicKey, decode_secret_key};

fuzz_target!(|text: &str| {
    drop(decode_secret_key(text, None));
    drop(PrivateKey::from_openssh(text));
    drop(text.parse::<PublicKey>());
});
