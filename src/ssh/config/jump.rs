//! `[user@]host[:port]` and `ssh://` as a command line and a `ProxyJump` have them.

use super::values::port;
use crate::ssh::settings::Jump;

/// The hosts of a `ProxyJump`, the first one first; `None` is `none`.
///
/// # Errors
///
/// What is none.
pub(super) fn list(text: &str) -> Result<Option<Vec<Jump>>, String> {
    // As for ssh, `none` with a comment after it is a host's name.
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let text = text.split('#').next().unwrap_or_default();
    // ssh goes no further than the first white space: a list with some in it is not what it looks like.
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let end = text.char_indices().skip(1).find(|(_, c)| is_space(*c)).map_or(text.len(), |(at, _)| at);
    text[..end].split(',').map(one).collect::<Result<_, _>>().map(Some)
}

/// One hop.
pub(super) fn one(text: &str) -> Result<Jump, String> {
    let jump = match text.strip_prefix("ssh://") {
        Some(rest) => uri(rest),
        None => user_host_port(text),
    };
    jump.ok_or_else(|| format!("{text:?} is no [user@]host[:port]"))
}

/// A host of a command line that may have a port: as a hop, and an IPv6 address needs no brackets.
///
/// # Errors
///
/// What is none.
pub(super) fn host_of_line(text: &str) -> Result<Jump, String> {
    let bare = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let found = match bare.parse::<std::net::Ipv6Addr>() {
        Ok(_) => destination(text)?,
        Err(_) => one(text)?,
    };
    check(&found)?;
    Ok(found)
}

/// The destination of a command line: a URI, or a host that may have a user and no port.
///
/// # Errors
///
/// What is neither.
pub(super) fn destination(text: &str) -> Result<Jump, String> {
    let destination = match (text.strip_prefix("ssh://"), text.rsplit_once('@')) {
        (Some(rest), _) => uri(rest),
        (None, Some(("", _))) => None,
        (None, Some((user, host))) => {
            Some(Jump { user: Some(user.to_owned()), host: host.to_owned(), port: None })
        }
        (None, None) => Some(Jump { user: None, host: text.to_owned(), port: None }),
    };
    let destination = destination.ok_or_else(|| format!("{text:?} is no [user@]host"))?;
    check(&destination)?;
    Ok(destination)
}

/// Whether a host and a user can be told to a shell: a `ProxyCommand` has both.
pub(super) fn check(jump: &Jump) -> Result<(), String> {
    let Jump { user, host, port: _ } = jump;
    let is_bad = |c: char| "'`\"$\\;&<>|(){},".contains(c) || c.is_ascii_whitespace() || c.is_ascii_control();
    if host.is_empty() || host.starts_with('-') || host.contains(is_bad) {
        return Err(format!("{host:?} is no name of a host"));
    }
    match user {
        Some(user) if !is_user(user) => Err(format!("{user:?} is no name of a user")),
        Some(_) | None => Ok(()),
    }
}

fn is_user(user: &str) -> bool {
    let is_bad = |c: char| "'`\";&<>|(){}".contains(c) || c.is_ascii_control();
    let has_option = user.split(' ').skip(1).any(|word| word.starts_with('-'));
    !user.starts_with('-') && !user.contains(is_bad) && !has_option && !user.ends_with('\\')
}

fn user_host_port(text: &str) -> Option<Jump> {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let (host, rest) = host(rest)?;
    let number = match rest {
        Some(('/', _)) => return None,
        Some((_, number)) if !number.is_empty() => Some(port(number)?),
        Some(_) | None => None,
    };
    let is_whole = user != Some("") && !host.is_empty();
    is_whole.then(|| Jump { user: user.map(str::to_owned), host: host.to_owned(), port: number })
}

/// What follows `ssh://`: a path is not allowed, parameters of the user are ignored.
fn uri(text: &str) -> Option<Jump> {
    let (user, rest) = match text.split_once('@') {
        Some((user, rest)) => (Some(user.split(';').next().unwrap_or_default()), rest),
        None => (None, text),
    };
    let user = match user {
        Some("") => return None,
        Some(user) => Some(decode(user)?),
        None => None,
    };
    let (host, rest) = host(rest)?;
    let number = match rest.filter(|(_, rest)| !rest.is_empty()) {
        None => None,
        Some(('/', _)) => return None,
        Some((_, rest)) => match rest.split_once('/') {
            Some((number, "")) => Some(port(number)?),
            Some(_) => return None,
            None => Some(port(rest)?),
        },
    };
    is_domain(host).then(|| Jump {
        user,
        host: host.strip_suffix('.').unwrap_or(host).to_owned(),
        port: number,
    })
}

/// The host, and what follows it with the character between them.
fn host(text: &str) -> Option<(&str, Option<(char, &str)>)> {
    let end = match text.strip_prefix('[') {
        Some(_) => text.find(']')? + 1,
        None => text.find([':', '/']).unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    let mut after = rest.chars();
    let rest = match after.next() {
        None => None,
        Some(separator @ (':' | '/')) => Some((separator, after.as_str())),
        Some(_) => return None,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host), rest))
}

fn is_domain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// `%41` is A, `+` is a space.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                // A NUL ends a name for ssh, and is none for anybody else.
                bytes.push(Some(digit(*high)? * 16 + digit(*low)?).filter(|byte| *byte != 0)?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// As `ProxyJump` and messages have it.
pub(super) fn show(jump: &Jump) -> String {
    let user = jump.user.iter().map(|user| format!("{user}@")).collect::<String>();
    let is_numeric = jump.host.contains(':') || jump.host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let host = if is_numeric { format!("[{}]", jump.host) } else { jump.host.clone() };
    let port = jump.port.iter().map(|port| format!(":{port}")).collect::<String>();
    user + &host + &port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_as_ssh_reads_them() {
        let shown =
            |text: &str| list(text).map(|hops| hops.map(|hops| hops.iter().map(show).collect::<Vec<_>>()));
        let is = |text: &str, hops: &[&str]| {
            assert_eq!(shown(text).unwrap().unwrap(), hops, "{text}");
        };
        is("a", &["a"]);
        is("u@a:22,b", &["u@a:22", "b"]);
        is("u@v@a:", &["u@v@a"]);
        is("[::1]:22", &["[::1]:22"]);
        is("10.0.0.1 # b,c", &["[10.0.0.1]"]);
        is("a b,c", &["a"]);
        is("ssh://u%40v@a.:2222/,ssh://b", &["u@v@a:2222", "b"]);
        assert_eq!(list("None"), Ok(None));
        for wrong in [
            "",
            "a,",
            ",a",
            "@a",
            "u@",
            "a:0",
            "a:70000",
            "[::1",
            "[::1]x",
            "a/22",
            "ssh://",
            "ssh://a/x",
            "ssh://[::1]",
        ] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "-a", "a;b", "u;v@a", "-l@a", "a b", "@a"] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
        assert_eq!(destination("ana@::1").unwrap().host, "::1");
        let of_line = |text: &str| host_of_line(text).map(|found| (found.user, found.host, found.port));
        let is = |user: Option<&str>, host: &str, port| Ok((user.map(str::to_owned), host.to_owned(), port));
        for (text, found) in [
            ("db1", is(None, "db1", None)),
            ("admin@db1.example:2222", is(Some("admin"), "db1.example", Some(2222))),
            ("10.0.0.1:22", is(None, "10.0.0.1", Some(22))),
            ("fe80::1", is(None, "fe80::1", None)),
            ("u@[::1]:2222", is(Some("u"), "::1", Some(2222))),
            ("CORP\\jdoe@db1", is(Some("CORP\\jdoe"), "db1", None)),
            ("jdoe@corp.example@db1:22", is(Some("jdoe@corp.example"), "db1", Some(22))),
            ("ssh://ops@db1:2222", is(Some("ops"), "db1", Some(2222))),
        ] {
            assert_eq!(of_line(text), found, "{text}");
        }
        for wrong in
            ["", "@db1", "db1:0", "db1:99999", "[::1", "[::1]x", "-oProxyCommand=x", "a b", "/srv/pg"]
        {
            assert!(host_of_line(wrong).is_err(), "{wrong}");
        }
        assert_eq!(decode("a%00"), None);
    }
}
