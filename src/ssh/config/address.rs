//! Addresses in the form in which programs print them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ssh::settings::AddressFamily;

/// An address of the wanted family as getnameinfo(3) writes it; `None` is a name.
///
/// What looks like an address and is none stays as it is, as does one that differs in case only.
pub(super) fn usual(text: &str, family: AddressFamily) -> Option<String> {
    let v4 = || inet_aton(text).map(IpAddr::V4);
    let v6 = || text.parse().ok().map(IpAddr::V6);
    let found = match family {
        AddressFamily::Any => v6().or_else(v4),
        AddressFamily::Inet => v4(),
        AddressFamily::Inet6 => v6(),
    };
    match found.map(written) {
        Some(written) if !written.eq_ignore_ascii_case(text) => Some(written),
        Some(_) => Some(text.to_owned()),
        None => {
            let looks = text.contains(['%', ':']) || text.chars().all(|c| c.is_ascii_digit() || c == '.');
            looks.then(|| text.to_owned())
        }
    }
}

fn written(address: IpAddr) -> String {
    match address {
        IpAddr::V6(address) => match address.segments() {
            // The C library shows the old IPv4-compatible addresses as such.
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                format!("::{}", Ipv4Addr::from_bits(low_bits(address)))
            }
            _ => address.to_string(),
        },
        IpAddr::V4(address) => address.to_string(),
    }
}

fn low_bits(address: Ipv6Addr) -> u32 {
    let [.., a, b, c, d] = address.octets();
    u32::from_be_bytes([a, b, c, d])
}

/// One to four numbers, hexadecimal and octal ones too; the last one fills what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::new();
    for part in text.split('.') {
        let (digits, radix) = match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (part, 8),
            None => (part, 10),
        };
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        numbers.push(u32::from_str_radix(digits, radix).ok()?);
    }
    let (last, first) = numbers.split_last()?;
    let free = 32 - 8 * u32::try_from(first.len()).ok()?.min(4);
    if first.len() > 3 || first.iter().any(|number| *number > 255) || u64::from(*last) >= 1 << free {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(number, shift)| number << shift).sum::<u32>();
    Some(Ipv4Addr::from_bits(high | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_usual_form() {
        for (text, expected) in [
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("16909060", "1.2.3.4"),
            ("1.2.3.4", "1.2.3.4"),
            ("FE80::1", "FE80::1"),
            ("0:0::1", "::1"),
            ("::1.2.3.4", "::1.2.3.4"),
            ("fe80::1%lo", "fe80::1%lo"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("256.1.1.1", "256.1.1.1"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ] {
            assert_eq!(usual(text, AddressFamily::Any).as_deref(), Some(expected), "{text}");
        }
        for name in ["db1", "1a", "0xg", "db.1", "a.b.c.d"] {
            assert_eq!(usual(name, AddressFamily::Any), None, "{name}");
        }
        assert_eq!(usual("127.1", AddressFamily::Inet6).as_deref(), Some("127.1"));
        assert_eq!(usual("0x7f.1", AddressFamily::Inet6), None);
    }
}
