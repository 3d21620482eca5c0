//! `postgres://…` of an existing monitor, taken apart. No message repeats the URI: it may hold a password.

use super::range::is_ipv6;
use super::text::is_hostname;
use crate::formation::{MONITOR_VARIABLE, MonitorUri, Secret};

/// Takes the URI apart.
///
/// # Errors
/// What is wrong with it, without a word of it.
pub fn parse(uri: &str) -> Result<MonitorUri, &'static str> {
    let rest = uri
        .strip_prefix("postgres://")
        .or_else(|| uri.strip_prefix("postgresql://"))
        .ok_or("the URI does not start with postgres://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(Secret::new(decoded(password)?))),
        None => (login, None),
    };
    let (host, port) = host_and_port(address)?;
    let uri = MonitorUri {
        host,
        port,
        user: or_default(decoded(user)?, "autoctl_node"),
        password,
        dbname: or_default(decoded(dbname)?, "pg_auto_failover"),
        parameters: parameters(query)?,
        given_as: MONITOR_VARIABLE,
        is_own: false,
    };
    match uri.text().reveal().len() > LONGEST {
        true => Err("the URI is too long: pg_autoctl reads 1023 bytes of it"),
        false => Ok(uri),
    }
}

/// libpq takes these before what the URI says itself, and muster goes by the URI.
const ELSEWHERE: [&str; 7] = ["host", "hostaddr", "port", "user", "dbname", "passfile", "service"];

/// Bytes of a URI that pg_autoctl has room for. Source: MAXCONNINFO in defaults.h, with the final NUL.
pub(super) const LONGEST: usize = 1023;

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn host_and_port(address: &str) -> Result<(String, u16), &'static str> {
    if address.contains(',') {
        return Err("the URI names more than one host; a formation has one monitor");
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the URI has `[` without `]`")?;
            if !is_ipv6(host) {
                return Err("the URI has no IPv6 address between `[` and `]`");
            }
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => address.split_once(':').unwrap_or((address, "")),
    };
    if !is_hostname(host) {
        return Err("the URI has no host, or something else in its place");
    }
    let port = match port {
        "" => 5432,
        digits => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("the URI's port is no number from 1 to 65535")?,
    };
    Ok((host.to_owned(), port))
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut parameters = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter of the URI has no `=`")?;
        if key == "password" {
            // Parameters are shown in plans; a password has its own, hidden, field.
            return Err("the password stands among the parameters; write postgres://USER:PASSWORD@HOST");
        }
        if ELSEWHERE.contains(&key) {
            return Err("a parameter of the URI names another server than the URI does");
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Err("a parameter of the URI has no name of one");
        }
        parameters.push((key.to_owned(), decoded(value)?));
    }
    Ok(parameters)
}

/// Undoes %XX, as libpq does.
fn decoded(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "the URI has a `%` without two hexadecimal digits";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(WRONG);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).map_err(|_| WRONG)?);
    }
    let text = String::from_utf8(bytes).map_err(|_| "the URI is not UTF-8")?;
    if text.contains(['\0', '\n', '\r']) { Err("the URI holds a control character") } else { Ok(text) }
}
