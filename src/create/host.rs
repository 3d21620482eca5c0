//! What stands for a host on the command line: `[USER@]HOST[:PORT]`, where HOST is any name that ssh knows.

use crate::error::Problem;

/// A host of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name in the inventory, and of the node.
    pub name: String,
    /// Where that cannot be the address itself.
    pub address: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
}

impl Host {
    pub fn parse(text: &str) -> Result<Host, Problem> {
        let wrong = |why: &str| {
            Err(Problem::new(format!("HOST `{}`: {why}", text.escape_debug()))
                .hint("write [USER@]HOST[:PORT], an IPv6 address in brackets, or a name that ssh knows"))
        };
        if text.starts_with('/') {
            let problem = Problem::new(format!("HOST `{}` is a path", text.escape_debug()));
            return Err(problem.hint("the data directory is given by --pgdata"));
        }
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (name, port) = match rest.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((address, "")) => (address, None),
                Some((address, port)) if port.starts_with(':') => (address, Some(&port[1..])),
                Some(_) | None => return wrong("the bracket does not end"),
            },
            // More colons than one are an address without a port.
            None => match rest.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                Some(_) | None => (rest, None),
            },
        };
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port @ 1..)) => Some(port),
            Some(Ok(0) | Err(_)) => return wrong("the port is no number from 1 to 65535"),
        };
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && !"'\"\\{}[]#,%".contains(c));
        if name.is_empty() || user.as_deref() == Some("") {
            return wrong("there is nothing where a name should be");
        }
        if name.starts_with('-') || !is_word(name) || !user.as_deref().is_none_or(is_word) {
            return wrong("these characters are in no name of a host or a user");
        }
        let has_colon = name.contains(':');
        Ok(Host {
            // A node's name has no colons.
            name: if has_colon { format!("v6-{}", name.replace(':', "-")) } else { name.to_owned() },
            address: has_colon.then(|| name.to_owned()),
            user,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, Option<String>, Option<u16>) {
        let Host { name, address, user, port } = Host::parse(text).unwrap();
        (name, address, user, port)
    }

    #[test]
    fn what_ssh_takes_is_a_host() {
        let s = str::to_owned;
        assert_eq!(parts("db1"), (s("db1"), None, None, None));
        assert_eq!(parts("admin@db1.example:2222"), (s("db1.example"), None, Some(s("admin")), Some(2222)));
        assert_eq!(parts("10.0.0.1:22"), (s("10.0.0.1"), None, None, Some(22)));
        assert_eq!(parts("fe80::1"), (s("v6-fe80--1"), Some(s("fe80::1")), None, None));
        assert_eq!(parts("u@[::1]:2222"), (s("v6---1"), Some(s("::1")), Some(s("u")), Some(2222)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "@db1",
            "db1:",
            "db1:0",
            "db1:99999",
            "[::1",
            "[::1]x",
            "-oProxyCommand=x",
            "a b",
            "a'b",
            "/srv/pg",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
