//! `ansible_ssh_common_args` and its like: ssh's command line, as the keywords of ssh_config it stands for.

use super::value::Value;
use super::variables::Variable;
use crate::error::Problem;

/// What a flag of ssh means here.
enum Meaning {
    /// The keyword it gives a value, which follows.
    Keyword(&'static str),
    /// The keyword and the value it stands for.
    Is(&'static str, &'static str),
    /// `-o KEYWORD=VALUE`.
    Any,
    /// `-F FILE`.
    Config,
    /// Nothing muster does depends on it.
    Ignored,
    /// So too, and a value follows.
    IgnoredWithValue,
}

const FLAGS: &[(char, Meaning)] = &[
    ('o', Meaning::Any),
    ('F', Meaning::Config),
    ('J', Meaning::Keyword("ProxyJump")),
    ('i', Meaning::Keyword("IdentityFile")),
    ('p', Meaning::Keyword("Port")),
    ('l', Meaning::Keyword("User")),
    ('b', Meaning::Keyword("BindAddress")),
    ('c', Meaning::Keyword("Ciphers")),
    ('m', Meaning::Keyword("MACs")),
    ('B', Meaning::Keyword("BindInterface")),
    ('I', Meaning::Keyword("PKCS11Provider")),
    ('4', Meaning::Is("AddressFamily", "inet")),
    ('6', Meaning::Is("AddressFamily", "inet6")),
    // Forwarding, terminals, compression, connection sharing, verbosity.
    ('A', Meaning::Ignored),
    ('a', Meaning::Ignored),
    ('C', Meaning::Ignored),
    ('K', Meaning::Ignored),
    ('k', Meaning::Ignored),
    ('M', Meaning::Ignored),
    ('n', Meaning::Ignored),
    ('q', Meaning::Ignored),
    ('T', Meaning::Ignored),
    ('t', Meaning::Ignored),
    ('v', Meaning::Ignored),
    ('X', Meaning::Ignored),
    ('x', Meaning::Ignored),
    ('Y', Meaning::Ignored),
    // As their `-o` forms: nobody but the host's own ssh would listen.
    ('g', Meaning::Ignored),
    ('f', Meaning::Ignored),
    ('N', Meaning::Ignored),
    ('y', Meaning::Ignored),
    ('L', Meaning::IgnoredWithValue),
    ('R', Meaning::IgnoredWithValue),
    ('D', Meaning::IgnoredWithValue),
    ('P', Meaning::IgnoredWithValue),
    ('S', Meaning::IgnoredWithValue),
    ('E', Meaning::IgnoredWithValue),
    ('e', Meaning::IgnoredWithValue),
];

/// Splits the text as a shell would, and reads the flags.
pub(super) fn parse(variable: &Variable, text: &str) -> Result<Value, Problem> {
    let name = variable.name;
    let words = shlex::split(text)
        .ok_or_else(|| Problem::new(format!("`{name}` has a quote that is not closed")).hint("close it"))?;
    let mut words = words.into_iter();
    let (mut options, mut config) = (Vec::new(), None);
    while let Some(word) = words.next() {
        let Some(mut letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            let problem = Problem::new(format!("`{name}` holds {word:?}, which is no option of ssh"));
            return Err(problem.hint("give options alone, e.g. -o ProxyJump=bastion"));
        };
        // `-vCJ bastion` is three flags, and the last one's value may follow at once.
        while let Some(flag) = letters.chars().next() {
            letters = &letters[flag.len_utf8()..];
            let known = FLAGS.iter().find(|(letter, _)| *letter == flag).map(|(_, meaning)| meaning);
            let Some(meaning) = known else {
                let problem = Problem::new(format!("`{name}`: ssh -{flag} means nothing here"));
                return Err(problem.hint("remove it; -o, -J, -F, -i, -p, -l and -b are understood"));
            };
            let mut value = || match std::mem::take(&mut letters) {
                "" => words.next().ok_or_else(|| {
                    Problem::new(format!("`{name}`: ssh -{flag} has no value")).hint("give it one")
                }),
                rest => Ok(rest.to_owned()),
            };
            match meaning {
                Meaning::Ignored => (),
                Meaning::IgnoredWithValue => drop(value()?),
                Meaning::Is(keyword, is) => options.push(((*keyword).to_owned(), (*is).to_owned())),
                Meaning::Keyword(keyword) => options.push(((*keyword).to_owned(), value()?)),
                Meaning::Config => config = config.or(Some(value()?)),
                Meaning::Any => {
                    let given = value()?;
                    let cut = given.find(|letter: char| letter == '=' || letter.is_whitespace());
                    let Some((keyword, rest)) = cut.map(|cut| given.split_at(cut)) else {
                        let problem = Problem::new(format!("`{name}`: -o {given} has no value"));
                        return Err(problem.hint("write -o KEYWORD=VALUE"));
                    };
                    let rest = rest.trim_start();
                    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
                    options.push((keyword.to_owned(), rest.to_owned()));
                }
            }
        }
    }
    Ok(Value::SshArgs { options, config })
}

#[cfg(test)]
mod tests {
    use super::super::variables::variable;
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        match parse(variable("ansible_ssh_common_args").unwrap(), text) {
            Ok(Value::SshArgs { options, config }) => {
                let options: Vec<String> = options.iter().map(|(k, v)| format!("{k} {v}")).collect();
                Ok(config
                    .into_iter()
                    .map(|file| format!("-F {file}"))
                    .chain(options)
                    .collect::<Vec<_>>()
                    .join("; "))
            }
            Ok(_) => panic!("no arguments"),
            Err(problem) => Err(problem.message),
        }
    }

    #[test]
    fn arguments_are_keywords() {
        for (text, is) in [
            ("", ""),
            ("-J a,b", "ProxyJump a,b"),
            ("-Ja -p2222 -4", "ProxyJump a; Port 2222; AddressFamily inet"),
            ("-o ProxyCommand='ssh -W %h:%p \"b\"'", "ProxyCommand ssh -W %h:%p \"b\""),
            ("-oUser=x -o 'Port 22' -o 'Port = 23'", "User x; Port 22; Port 23"),
            ("-gL 1:a:2 -R2:b:3 -D 1080 -o x=y", "x y"),
            ("-vCJ b -F none -F other -i k -S path -A", "-F none; ProxyJump b; IdentityFile k"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(is), "{text}");
        }
        for (text, part) in [
            ("-W a:2", "-W means nothing"),
            ("bastion", "no option of ssh"),
            ("-J", "has no value"),
            ("-o User", "-o User has no value"),
            ("-J 'a", "not closed"),
        ] {
            assert!(read(text).is_err_and(|error| error.contains(part)), "{text}");
        }
    }
}
