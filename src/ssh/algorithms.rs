//! Which algorithms a connection may be made with, by OpenSSH's names.

use std::borrow::Cow;

use russh::client::GexParams;
use russh::{Preferred, cipher, kex, mac};

use super::settings::Algorithms;
use crate::command::Failure;

/// Names that are offered by themselves, best first, and those the operator has to ask for.
struct Known<N: 'static> {
    own: &'static [N],
    on_demand: &'static [N],
}

const KEX: Known<kex::Name> = Known {
    own: &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        // Before the groups, as with ssh: a host in FIPS mode has both, and the groups cost half a second of CPU.
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
        kex::DH_GEX_SHA256,
        kex::DH_G18_SHA512,
        kex::DH_G17_SHA512,
        kex::DH_G16_SHA512,
        kex::DH_G15_SHA512,
        kex::DH_G14_SHA256,
    ],
    on_demand: &[kex::DH_GEX_SHA1, kex::DH_G14_SHA1, kex::DH_G1_SHA1],
};

/// Without these a connection has neither protection against truncation (Terrapin) nor word of the host's RSA hashes.
const EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

const CIPHERS: Known<cipher::Name> = Known {
    own: &[
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ],
    on_demand: &[cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC],
};

const MACS: Known<mac::Name> = Known {
    own: &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256],
    on_demand: &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1],
};

/// Key exchange, ciphers and MACs; the host's key is another's to choose. Names muster does not know are left out,
/// but one has to remain.
pub(super) fn preferred(wanted: &Algorithms) -> Result<Preferred, Failure> {
    let mut kex = choose("KexAlgorithms", &wanted.kex, &KEX)?;
    kex.extend(EXTENSIONS);
    Ok(Preferred {
        kex: Cow::Owned(kex),
        cipher: Cow::Owned(choose("Ciphers", &wanted.ciphers, &CIPHERS)?),
        mac: Cow::Owned(choose("MACs", &wanted.macs, &MACS)?),
        ..Preferred::DEFAULT
    })
}

/// Sizes of groups that a host may choose from (`diffie-hellman-group-exchange-*`), in bits. As strong as the curves, as
/// ssh has it for 128 bits; the library's own 8192 take a second of CPU, and old hosts have none over 2048.
pub(super) fn groups() -> GexParams {
    GexParams::new(2048, 3072, 8192).unwrap_or_default()
}

fn choose<N: AsRef<str> + Copy>(
    option: &str,
    wanted: &Option<Vec<String>>,
    known: &Known<N>,
) -> Result<Vec<N>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(known.own.to_vec());
    };
    let all = || known.own.iter().chain(known.on_demand);
    let find = |name: &String| all().find(|known| known.as_ref() == name).copied();
    let chosen: Vec<N> = wanted.iter().filter_map(find).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<&str> = all().map(AsRef::as_ref).collect();
    Err(Failure::Unreachable {
        reason: format!("{option} names nothing that muster knows: {}", wanted.join(",")),
        hint: format!("muster knows {}", names.join(",")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<N: AsRef<str>>(list: &[N]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn nothing_weak_is_offered_by_itself() {
        let own = preferred(&Algorithms::default()).unwrap();
        let all = [names(&own.kex), names(&own.cipher), names(&own.mac)].concat();
        assert!(
            !all.iter()
                .any(|name| name.ends_with("sha1") || name.contains("cbc") || name.contains("hmac-sha1"))
        );
        assert_eq!(own.kex.last(), Some(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT));
        for old in
            ["ecdh-sha2-nistp256", "diffie-hellman-group-exchange-sha256", "aes128-ctr", "hmac-sha2-256"]
        {
            assert!(all.contains(&old), "{old}");
        }
    }

    #[test]
    fn the_operators_list_is_kept_with_the_extensions() {
        let list = |names: &str| Some(names.split(',').map(str::to_owned).collect());
        let wanted = Algorithms {
            kex: list("sntrup761x25519-sha512@openssh.com,diffie-hellman-group14-sha1,curve25519-sha256"),
            ciphers: list("aes128-cbc"),
            ..Algorithms::default()
        };
        let chosen = preferred(&wanted).unwrap();
        let expected = [
            "diffie-hellman-group14-sha1",
            "curve25519-sha256",
            "ext-info-c",
            "kex-strict-c-v00@openssh.com",
        ];
        assert_eq!(names(&chosen.kex), expected);
        assert_eq!(names(&chosen.cipher), ["aes128-cbc"]);
        let none = Algorithms { macs: list("umac-64@openssh.com"), ..Algorithms::default() };
        let Err(Failure::Unreachable { reason, .. }) = preferred(&none) else { panic!() };
        assert_eq!(reason, "MACs names nothing that muster knows: umac-64@openssh.com");
    }
}
