//! What ansible-vault does, for tests that need no Ansible; `tests/vault.rs` asks the real one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// An encrypted text, with a label where `label` is not empty.
pub(crate) fn encrypted(password: &str, label: &str, text: &str) -> String {
    const SALT: &[u8] = b"the same every time: one key is enough";
    // Slow on purpose, and the same for every text.
    static KEYS: Mutex<BTreeMap<String, [u8; 80]>> = Mutex::new(BTreeMap::new());
    let key = *KEYS.lock().expect("no test fails in here").entry(password.to_owned()).or_insert_with(|| {
        let mut key = [0; 80];
        pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), SALT, 10_000, &mut key).expect("any key will do");
        key
    });
    let mut text = text.as_bytes().to_vec();
    let padding = 16 - text.len() % 16;
    text.resize(text.len() + padding, u8::try_from(padding).expect("at most 16"));
    ctr::Ctr128BE::<Aes256>::new_from_slices(&key[..32], &key[64..])
        .expect("the lengths are right")
        .apply_keystream(&mut text);
    let mut check = Hmac::<Sha256>::new_from_slice(&key[32..64]).expect("any key will do");
    check.update(&text);
    let inner = [hex(SALT), hex(&check.finalize().into_bytes()), hex(&text)].join("\n");
    let header = match label {
        "" => "$ANSIBLE_VAULT;1.1;AES256".to_owned(),
        label => format!("$ANSIBLE_VAULT;1.2;AES256;{label}"),
    };
    let digits = hex(inner.as_bytes());
    let lines: Vec<&str> =
        digits.as_bytes().chunks(80).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("{header}\n{}\n", lines.join("\n"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
