//! ansible-vault's format: what is encrypted with a password, and checked before it is decrypted.
//!
//! A header line, `$ANSIBLE_VAULT;1.1;AES256` or with a label `…;1.2;AES256;LABEL`, then lines of hexadecimal digits. They
//! stand for three lines: salt, HMAC and ciphertext, in hexadecimal digits again. Source: lib/ansible/parsing/vault of
//! ansible-core, `VaultAES256`.

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// The first word of everything that is encrypted.
const MARK: &str = "$ANSIBLE_VAULT";
/// Of PBKDF2-HMAC-SHA256.
const ROUNDS: u32 = 10_000;
/// What PBKDF2 gives: the key of the cipher, that of the HMAC, the first counter.
const KEY_BYTES: usize = 32 + 32 + 16;
const HMAC_BYTES: usize = 32;
/// Texts are padded to whole ones.
const BLOCK: usize = 16;

/// An encrypted value or file, taken apart.
pub(super) struct Envelope {
    /// `default` where it has none.
    pub(super) label: String,
    pub(super) salt: Vec<u8>,
    hmac: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// What a password and a salt give.
pub(super) struct Key(Zeroizing<[u8; KEY_BYTES]>);

/// Why nothing can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// Another password made it, or it was changed since.
    WrongPassword,
    Broken(&'static str),
}

/// Whether a file is encrypted as a whole.
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MARK.as_bytes())
}

impl Envelope {
    /// Says what is wrong with a text that is none.
    pub(super) fn parse(text: &str) -> Result<Envelope, String> {
        let mut lines = text.lines().map(str::trim);
        let header: Vec<&str> = lines.next().unwrap_or_default().split(';').map(str::trim).collect();
        let label = match header.as_slice() {
            [MARK, "1.1" | "1.2", "AES256"] => "default",
            [MARK, "1.1" | "1.2", "AES256", label, ..] => label,
            [MARK, "1.1" | "1.2", ..] => return Err("its cipher is not AES256".to_owned()),
            [MARK, ..] => return Err("its format is neither 1.1 nor 1.2".to_owned()),
            _ => return Err(format!("it does not begin with {MARK};1.1;AES256")),
        };
        const CUT: &str = "its digits are damaged, or some are missing";
        let digits: String = lines.collect();
        let inner = unhex(digits.as_bytes()).ok_or(CUT)?;
        let mut parts = inner.splitn(3, |byte| *byte == b'\n').map(unhex);
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
            (Some(salt), Some(hmac), Some(ciphertext))
                if hmac.len() == HMAC_BYTES
                    && !ciphertext.is_empty()
                    && ciphertext.len().is_multiple_of(BLOCK) =>
            {
                Ok(Envelope { label: label.to_owned(), salt, hmac, ciphertext })
            }
            _ => Err(CUT.to_owned()),
        }
    }

    /// A text as ansible-vault writes it: with a label it is 1.2, without one 1.1.
    pub(super) fn seal(text: &[u8], label: &str, (key, salt): (&Key, &[u8])) -> String {
        const WIDTH: usize = 80;
        let (cipher, hmac, counter) = key.parts();
        let padding = BLOCK - text.len() % BLOCK;
        let mut ciphertext = Vec::with_capacity(text.len() + padding);
        ciphertext.extend_from_slice(text);
        ciphertext.resize(text.len() + padding, u8::try_from(padding).expect("it is a block at most"));
        let mut stream = ctr::Ctr128BE::<Aes256>::new_from_slices(cipher, counter)
            .expect("the lengths are those of the cipher");
        stream.apply_keystream(&mut ciphertext);
        let mut check = Hmac::<Sha256>::new_from_slice(hmac).expect("an HMAC takes keys of any length");
        check.update(&ciphertext);
        let inner = [hex(salt), hex(&check.finalize().into_bytes()), hex(&ciphertext)].join("\n");
        let header = match label {
            "default" => format!("{MARK};1.1;AES256"),
            label => format!("{MARK};1.2;AES256;{label}"),
        };
        let digits = hex(inner.as_bytes());
        let lines = digits.as_bytes().chunks(WIDTH).map(|line| std::str::from_utf8(line).expect("digits"));
        std::iter::once(header.as_str()).chain(lines).map(|line| format!("{line}\n")).collect()
    }

    /// The text; what was tampered with is never decrypted.
    pub(super) fn open(&self, key: &Key) -> Result<Zeroizing<Vec<u8>>, Sealed> {
        let (cipher, hmac, counter) = key.parts();
        let mut check = Hmac::<Sha256>::new_from_slice(hmac).expect("an HMAC takes keys of any length");
        check.update(&self.ciphertext);
        // In constant time.
        check.verify_slice(&self.hmac).map_err(|_| Sealed::WrongPassword)?;
        let mut text = Zeroizing::new(self.ciphertext.clone());
        let mut cipher = ctr::Ctr128BE::<Aes256>::new_from_slices(cipher, counter)
            .expect("the lengths are those of the cipher");
        cipher.apply_keystream(&mut text);
        let padding = text.last().copied().map_or(0, usize::from);
        let end = text.len().wrapping_sub(padding);
        let padded = (1..=BLOCK).contains(&padding)
            && text.len().is_multiple_of(BLOCK)
            && text[end..].iter().all(|byte| usize::from(*byte) == padding);
        if !padded {
            return Err(Sealed::Broken("its padding is wrong"));
        }
        text[end..].zeroize();
        text.truncate(end);
        Ok(text)
    }
}

impl Key {
    /// Slow on purpose: milliseconds.
    pub(super) fn derive(password: &[u8], salt: &[u8]) -> Key {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, ROUNDS, key.as_mut())
            .expect("an HMAC takes keys of any length");
        Key(key)
    }

    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        (&self.0[..32], &self.0[32..64], &self.0[64..])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `ansible-vault encrypt_string --vault-id dev@… 'hunter2'`, password `pw`; the salt is shorter than Ansible's own.
    fn sealed() -> String {
        let key = Key::derive(b"pw", b"salt");
        Envelope::seal(b"hunter2", "dev", (&key, b"salt"))
    }

    #[test]
    fn nothing_is_decrypted_that_was_changed() {
        let text = sealed();
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(envelope.label, "dev");
        let key = Key::derive(b"pw", &envelope.salt);
        assert_eq!(envelope.open(&key).unwrap().as_slice(), b"hunter2");
        let other = Key::derive(b"pW", &envelope.salt);
        assert_eq!(envelope.open(&other).unwrap_err(), Sealed::WrongPassword);
        for (part, at) in [(0, 0), (0, 31), (1, 0), (1, 15)] {
            let mut changed = Envelope::parse(&text).unwrap();
            let bytes = if part == 0 { &mut changed.hmac } else { &mut changed.ciphertext };
            bytes[at] ^= 1;
            assert_eq!(changed.open(&key).unwrap_err(), Sealed::WrongPassword, "{part} {at}");
        }
        let mut cut = Envelope::parse(&text).unwrap();
        cut.hmac.truncate(16);
        assert_eq!(cut.open(&key).unwrap_err(), Sealed::WrongPassword);
    }

    #[test]
    fn what_is_no_vault_says_so() {
        let (header, digits) = sealed().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        for (text, why) in [
            (String::new(), "does not begin"),
            ("hunter2".to_owned(), "does not begin"),
            ("$ANSIBLE_VAULT".to_owned(), "format"),
            (format!("$ANSIBLE_VAULT;1.0;AES\n{digits}"), "format"),
            (format!("$ANSIBLE_VAULT;1.1;AES\n{digits}"), "cipher"),
            (header.clone(), "digits"),
            (format!("{header}\n{}", &digits[..digits.len() - 3]), "digits"),
            (format!("{header}\nxy{digits}"), "digits"),
            (format!("{header}\n6162630a"), "digits"),
            // Pairs of pairs of digits that were cut off leave digits that are well by themselves.
            (format!("{header}\n{}", &digits[..digits.len() - 5]), "digits"),
            (format!("{header}\n{}", &digits[..digits.len() - 65]), "digits"),
        ] {
            let told = Envelope::parse(&text).err().unwrap_or_default();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
