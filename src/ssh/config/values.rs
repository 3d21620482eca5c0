//! What a value may look like: numbers, times, ports and words of a list, as OpenSSH reads them.

use std::fs;

use super::algorithms::{self, Family};
use super::jump;

/// How the value of a keyword is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// One of these words in any case, and how each is kept.
    OneOf(&'static [(&'static str, &'static str)]),
    /// `1h30m`, seconds without a unit; `none` says nothing.
    Time,
    /// 0 and up.
    Integer,
    /// 1 to 65535, or a name of `/etc/services`.
    Port,
    /// One word.
    Word,
    /// One or more words; `none` stands alone.
    Files,
    /// One word with algorithms; [`algorithms`] reads it.
    Algorithms(Family),
    /// `none`, `SSH_AUTH_SOCK`, `$NAME` or a path.
    Agent,
    /// The rest of the line, quotes and all.
    Command,
    /// The rest of the line; `jump` reads it.
    Jump,
    /// What muster has no use for, it does not judge.
    Anything,
}

pub(super) const FLAG: Syntax =
    Syntax::OneOf(&[("true", "yes"), ("false", "no"), ("yes", "yes"), ("no", "no")]);

/// The value that is kept: none where nothing is said, more than one of [`Syntax::Files`] only.
pub(super) fn read(syntax: Syntax, words: &[String], rest: &str) -> Result<Vec<String>, String> {
    let one = || match words {
        [word] if !word.is_empty() => Ok(word.as_str()),
        [] | [_] => Err("a value is missing".to_owned()),
        [_, more, ..] => Err(format!("{more:?} is too much")),
    };
    let kept = match syntax {
        Syntax::OneOf(known) => {
            let word = one()?;
            let found = known.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(word));
            let (_, kept) = found.ok_or_else(|| format!("{word:?} is none of {}", spellings(known)))?;
            (*kept).to_owned()
        }
        Syntax::Time => match one()? {
            "none" => return Ok(Vec::new()),
            word => time(word).ok_or_else(|| format!("{word:?} is no time"))?.to_string(),
        },
        Syntax::Integer => {
            let word = one()?;
            number(word, i64::from(i32::MAX)).ok_or_else(|| format!("{word:?} is no number"))?.to_string()
        }
        Syntax::Port => {
            let word = one()?;
            port(word).ok_or_else(|| format!("{word:?} is no port"))?.to_string()
        }
        Syntax::Word => one()?.to_owned(),
        Syntax::Algorithms(family) => {
            let list = one()?;
            algorithms::check(family, list)?;
            list.to_owned()
        }
        Syntax::Agent => agent(one()?)?.to_owned(),
        Syntax::Files => return files(words),
        Syntax::Command => rest_of(rest),
        Syntax::Jump => {
            let text = rest_of(rest);
            jump::list(&text)?;
            text
        }
        Syntax::Anything => String::new(),
    };
    Ok(vec![kept])
}

fn rest_of(line: &str) -> String {
    line.trim_start_matches([' ', '\t', '\r', '\n', '=']).to_owned()
}

fn spellings(known: &[(&str, &str)]) -> String {
    known.iter().map(|(spelling, _)| *spelling).collect::<Vec<_>>().join(", ")
}

fn files(words: &[String]) -> Result<Vec<String>, String> {
    if words.iter().any(String::is_empty) {
        return Err("a name is empty".to_owned());
    }
    if words.len() > 1 && words.iter().any(|word| word.eq_ignore_ascii_case("none")) {
        return Err("none stands alone".to_owned());
    }
    // `SSH_MAX_HOSTS_FILES`.
    if words.len() > 32 {
        return Err("more than 32 files".to_owned());
    }
    Ok(words.to_vec())
}

/// Environment variables must be there wherever the line stands, as for ssh.
fn agent(word: &str) -> Result<&str, String> {
    super::tokens::environment(word)?;
    match word.strip_prefix('$') {
        Some(name) if !name.starts_with('{') && !is_variable(name) => {
            Err(format!("{name:?} is no name of an environment variable"))
        }
        Some(_) | None => Ok(word),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `strtonum`: white space and a sign may stand before the digits, nothing after them.
pub(super) fn number(text: &str, most: i64) -> Option<i64> {
    let (number, rest) = leading_number(text)?;
    (rest.is_empty() && (0..=most).contains(&number)).then_some(number)
}

/// `strtol`.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let size = digits[..end].parse().unwrap_or(i64::MAX);
    Some((if text.starts_with('-') { -size } else { size }, &digits[end..]))
}

/// `convtime`: in seconds.
pub(super) fn time(text: &str) -> Option<i64> {
    let most = i64::from(i32::MAX);
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let unit = after.chars().next();
        let seconds = match unit.map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        if count < 0 || count > most / seconds {
            return None;
        }
        total += count * seconds;
        if total > most {
            return None;
        }
        rest = &after[unit.map_or(0, char::len_utf8)..];
    }
    (!text.is_empty()).then_some(total)
}

/// `a2port`: a number or the name of a TCP service; 0 is none.
pub(super) fn port(text: &str) -> Option<u16> {
    match number(text, 65_535) {
        Some(number) => u16::try_from(number).ok().filter(|port| *port > 0),
        None => service(&fs::read_to_string("/etc/services").ok()?, text),
    }
}

fn service(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix("/tcp")?.parse().ok()?;
        (first == name || words.any(|alias| alias == name)).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_those_of_ssh() {
        for (text, seconds) in [
            ("90", 90),
            ("1m30s", 90),
            ("1M30", 90),
            ("1h", 3600),
            ("2d", 172_800),
            ("1w", 604_800),
            ("0", 0),
            ("+5", 5),
            ("1m 30s", 90),
            ("2147483647", 2_147_483_647),
        ] {
            assert_eq!(time(text), Some(seconds), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1m-3", "2147483648", "99999999999999999999", "35792m", "1.5", "1 "]
        {
            let expected = if text == "35792m" { Some(2_147_520) } else { None };
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!(number(" 22", 65_535), Some(22));
        assert_eq!(number("22 ", 65_535), None);
        assert_eq!((port("0"), port("65535"), port("65536"), port("-1")), (None, Some(65_535), None, None));
        assert_eq!(service("# x\nssh  22/tcp  secsh # y\nssh 23/udp\n", "secsh"), Some(22));
        assert_eq!(service("ssh 23/udp\n", "ssh"), None);
    }
}
