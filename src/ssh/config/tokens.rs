//! `%h`, `${NAME}` and `~` in a value.

use std::collections::BTreeMap;
use std::{env, fs};

use sha1::{Digest as _, Sha1};

use crate::ssh::credentials::Credentials;

/// Who connects to what: what `%` and a letter stand for.
#[derive(Clone, Debug)]
pub(super) struct Tokens(BTreeMap<char, String>);

/// What the tokens are made of.
pub(super) struct Connection<'a> {
    /// Where it goes: `%h`.
    pub(super) host: &'a str,
    /// What was asked for: `%n`.
    pub(super) original: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    /// `HostKeyAlias`, else the host's name: `%k`.
    pub(super) key_alias: &'a str,
    /// The last host of a `ProxyJump`, else nothing: `%j`.
    pub(super) jump: &'a str,
}

impl Tokens {
    pub(super) fn new(connection: &Connection<'_>, credentials: &Credentials) -> Self {
        let machine = credentials.config().machine();
        let port = connection.port.to_string();
        let mut hash = Sha1::new();
        for part in [&machine.name, connection.host, &port, connection.user, connection.jump] {
            hash.update(part.as_bytes());
        }
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let short = machine.name.split('.').next().unwrap_or_default();
        let mut tokens = BTreeMap::from([
            ('%', "%".to_owned()),
            ('C', hash),
            ('L', short.to_owned()),
            ('h', connection.host.to_owned()),
            ('i', machine.uid.to_string()),
            ('j', connection.jump.to_owned()),
            ('k', connection.key_alias.to_owned()),
            ('l', machine.name.clone()),
            ('n', connection.original.to_owned()),
            ('p', port),
            ('r', connection.user.to_owned()),
        ]);
        tokens.extend(credentials.user().map(|user| ('u', user.to_owned())));
        tokens.extend(credentials.home().map(|home| ('d', home.display().to_string())));
        Tokens(tokens)
    }

    /// Only these letters, and `%%`.
    pub(super) fn only(&self, letters: &str) -> Self {
        let kept = self.0.iter().filter(|(letter, _)| **letter == '%' || letters.contains(**letter));
        Tokens(kept.map(|(letter, text)| (*letter, text.clone())).collect())
    }

    /// `%h` of a `HostName` is what was asked for; nothing else is known yet.
    pub(super) fn of_host_name(host: &str) -> Self {
        Tokens(BTreeMap::from([('%', "%".to_owned()), ('h', host.to_owned())]))
    }

    /// Tokens alone.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.replace(text, Variables::Stay)
    }

    /// `~`, then tokens and `${NAME}`: for files. What `~` stands for is expanded once more, as ssh does.
    pub(super) fn expand_file(&self, text: &str, credentials: &Credentials) -> Result<String, String> {
        self.replace(&home(text, credentials)?, Variables::Expand)
    }

    fn replace(&self, text: &str, variables: Variables) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            expanded.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if rest[at..].starts_with('$') {
                rest = match (after.strip_prefix('{'), variables) {
                    (Some(name), Variables::Expand) => {
                        let (value, after) = variable(name)?;
                        expanded.push_str(&value);
                        after
                    }
                    (Some(_) | None, _) => {
                        expanded.push('$');
                        after
                    }
                };
                continue;
            }
            let Some(letter) = after.chars().next() else {
                return Err(format!("{text:?} ends with %"));
            };
            let Some(value) = self.0.get(&letter) else {
                return Err(match letter {
                    'd' | 'u' => format!("%{letter} is not known: HOME or USER is not set"),
                    _ => format!("%{letter} stands for nothing here"),
                });
            };
            expanded.push_str(value);
            rest = &after[letter.len_utf8()..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

#[derive(Clone, Copy)]
enum Variables {
    Expand,
    Stay,
}

/// `${NAME}` alone.
pub(super) fn environment(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, name)) = rest.split_once("${") {
        let (value, after) = variable(name)?;
        expanded = expanded + before + &value;
        rest = after;
    }
    Ok(expanded + rest)
}

/// What follows `${`: the variable's value, and what follows `}`.
fn variable(text: &str) -> Result<(String, &str), String> {
    let Some((name, after)) = text.split_once('}') else {
        return Err("${ is not closed".to_owned());
    };
    // `env::var` may not be asked for such a name.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is no name of an environment variable"));
    }
    let value = env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?;
    Ok((value, after))
}

/// `~` and `~/` are the operator's home directory, `~NAME/` is another's.
pub(super) fn home(text: &str, credentials: &Credentials) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
    let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
    let home = match user {
        "" => {
            credentials.home().map(|home| home.display().to_string()).ok_or("~ is not known: HOME is not set")
        }
        user => home_of(user).ok_or("there is no such user"),
    };
    let home = home.map_err(|why| format!("{text}: {why}"))?;
    let slash = if home.ends_with('/') { "" } else { "/" };
    Ok(format!("{home}{slash}{}", path.trim_start_matches('/')))
}

fn home_of(user: &str) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .find(|fields| fields.first() == Some(&user))
        .and_then(|fields| fields.get(5).map(|home| (*home).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_expanded_once_and_only_known_ones() {
        let credentials = Credentials::new("ana", Some("/home/ana".into()), None);
        let connection = Connection {
            host: "10.0.0.1",
            original: "db%p",
            port: 22,
            user: "admin",
            key_alias: "alias",
            jump: "bastion",
        };
        let tokens = Tokens::new(&connection, &credentials);
        assert_eq!(
            tokens.expand("%r@%h:%p %n %u %k %j %% $").unwrap(),
            "admin@10.0.0.1:22 db%p ana alias bastion % $"
        );
        assert_eq!(tokens.expand_file("~/%h", &credentials).unwrap(), "/home/ana/10.0.0.1");
        assert_eq!(tokens.expand_file("~root/x", &credentials).unwrap(), "/root/x");
        assert!(tokens.expand("%z").is_err() && tokens.expand("%").is_err());
        assert!(tokens.only("h").expand("%p").is_err());
        for wrong in ["${", "${}", "${A=B}", "${MUSTER_IS_NOT_SET}"] {
            assert!(tokens.expand_file(wrong, &credentials).is_err(), "{wrong}");
            assert!(environment(wrong).is_err());
        }
        assert_eq!(tokens.expand("%C").unwrap().len(), 40);
    }
}
