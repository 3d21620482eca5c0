//! A configuration as lines: keyword, words, quotes and comments, as `misc.c` and `readconf.c` of OpenSSH cut them.

use std::borrow::Cow;

use crate::error::{Place, Problem};

/// Characters of a line; ssh has no limit, but nobody means a line that is longer.
const LONGEST: usize = 65_536;
/// Of a line that is shown.
const SHOWN: usize = 200;
const WHITESPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// One line that says something.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// In lower case.
    pub(super) keyword: String,
    /// What follows the keyword, as it stands there: for commands, `Match` and `ProxyJump`, which cut it their own way.
    pub(super) rest: String,
    /// What follows the keyword, without quotes and comment.
    pub(super) words: Vec<String>,
    /// `None` for an option of the command line.
    pub(super) place: Option<Place>,
}

/// The lines of a file that say something; the first that cannot be read is the error.
pub(super) fn of_file(name: &str, bytes: &[u8]) -> Result<Vec<Line>, Problem> {
    let mut lines = Vec::new();
    for (number, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let place = |text: &str| place(name, number + 1, text);
        if bytes.len() > LONGEST {
            let problem = Problem::new(format!("the line has {} characters", bytes.len()));
            return Err(problem
                .hint(format!("at most {LONGEST} are read; is it an ssh_config?"))
                .at(place("")));
        }
        if bytes.contains(&0) {
            let hint = "is it an ssh_config?";
            return Err(Problem::new("the line holds a NUL byte").hint(hint).at(place("")));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            // Comments may be in any encoding.
            if bytes.trim_ascii_start().starts_with(b"#") {
                continue;
            }
            let hint = "write it in UTF-8; only comments may be in another encoding";
            return Err(Problem::new("the line is not UTF-8").hint(hint).at(place("")));
        };
        let at = |problem: Problem| problem.at(place(text));
        if let Some(line) = line(text).map_err(at)? {
            lines.push(Line { place: Some(place(text)), ..line });
        }
    }
    Ok(lines)
}

/// One line, or an option of the command line; `None` says nothing.
pub(super) fn line(text: &str) -> Result<Option<Line>, Problem> {
    // A form feed counts as white space at the end of a line only.
    let text = text.trim_end_matches(|c| WHITESPACE.contains(&c) || c == '\x0c');
    let mut rest = Some(text);
    let mut keyword = next_word(&mut rest);
    if keyword.as_deref() == Some("") {
        keyword = next_word(&mut rest);
    }
    let Some(keyword) = keyword.filter(|word| !word.is_empty() && !word.starts_with('#')) else {
        return Ok(None);
    };
    let keyword = keyword.to_ascii_lowercase();
    let rest = rest.unwrap_or_default().trim_start_matches(WHITESPACE);
    if rest.is_empty() {
        return Err(Problem::new(format!("{keyword} has no value")).hint("say one, or remove the line"));
    }
    let Some(words) = words(rest) else {
        return Err(Problem::new("a quote is not closed").hint("close it, or write \\\" for the character"));
    };
    Ok(Some(Line { keyword, rest: rest.to_owned(), words, place: None }))
}

/// The next word of a keyword or a `Match`: ends at white space, a quote or one `=`.
///
/// `None` at the end, and for a quote that is not closed.
pub(super) fn next_word<'a>(rest: &mut Option<&'a str>) -> Option<Cow<'a, str>> {
    let text = rest.take()?;
    let is_end = |c: char| WHITESPACE.contains(&c) || c == '"' || c == '=';
    let Some((at, end)) = text.char_indices().find(|(_, c)| is_end(*c)) else {
        return Some(Cow::Borrowed(text));
    };
    let (word, after) = (&text[..at], &text[at + 1..]);
    if end == '"' {
        let (quoted, after) = after.split_once('"')?;
        *rest = Some(after.trim_start_matches(WHITESPACE));
        return Some(if word.is_empty() {
            Cow::Borrowed(quoted)
        } else {
            Cow::Owned(format!("{word}{quoted}"))
        });
    }
    let after = after.trim_start_matches(WHITESPACE);
    *rest = Some(match after.strip_prefix('=') {
        Some(value) if end != '=' => value.trim_start_matches(WHITESPACE),
        Some(_) | None => after,
    });
    Some(Cow::Borrowed(word))
}

/// The words of a value, without quotes and escapes, up to a comment; `None` if a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if matches!(characters.peek(), None | Some('#')) {
            return Some(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = characters.next_if(|c| quote.is_some() || !matches!(c, ' ' | '\t')) {
            let escapes =
                |next: &char| matches!(next, '\'' | '"' | '\\') || (quote.is_none() && *next == ' ');
            match c {
                '\\' => word.push(characters.next_if(escapes).unwrap_or('\\')),
                '"' | '\'' if quote.is_none() => quote = Some(c),
                _ if quote == Some(c) => quote = None,
                _ => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

/// The keyword of a line.
fn place(file: &str, line: usize, text: &str) -> Place {
    let indent = text.chars().take_while(|c| WHITESPACE.contains(c)).count();
    let shown: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let width = shown.chars().skip(indent).take_while(|c| !WHITESPACE.contains(c) && *c != '=').count();
    let text = shown.chars().take(SHOWN).collect();
    Place { file: file.to_owned(), line, column: indent + 1, width: width.clamp(1, SHOWN), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_ssh_cuts_them() {
        for (text, expected) in [
            ("a b\tc", Some(vec!["a", "b", "c"])),
            (r#""a b" 'c d' e"f g"h"#, Some(vec!["a b", "c d", "ef gh"])),
            (r#"a\ b \"c \'d e\\f \n"#, Some(vec!["a b", "\"c", "'d", "e\\f", "\\n"])),
            (r#""a\ b" "a\"b""#, Some(vec!["a\\ b", "a\"b"])),
            ("a # b", Some(vec!["a"])),
            ("a#b", Some(vec!["a#b"])),
            ("# b", Some(vec![])),
            ("\"\"", Some(vec![""])),
            ("a 'b", None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn keywords_end_at_space_quote_or_one_equals() {
        let both = |text: &str| line(text).unwrap().map(|line| (line.keyword, line.rest));
        for text in
            ["Port 22", "  Port=22", "PORT = 22", "port\t=22  ", "\"Port\" 22", "Port 22\r", "=port 22"]
        {
            assert_eq!(both(text), Some(("port".into(), "22".into())), "{text:?}");
        }
        assert_eq!(both("port == 22"), Some(("port".into(), "= 22".into())));
        for nothing in ["", "  ", "# port 22", "\t#", "\u{c}"] {
            assert!(both(nothing).is_none(), "{nothing:?}");
        }
        assert!(line("port").is_err() && line("port = ").is_err() && line("user \"a").is_err());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(of_file("f", &vec![b'a'; LONGEST + 1]).is_err());
        assert!(of_file("f", b"port 1\0").is_err());
        assert!(of_file("f", b"user \xff").is_err());
        assert_eq!(of_file("f", b" # \xff\nuser a\r\n").unwrap().len(), 1);
        let problem = of_file("f", b"\n  port").unwrap_err();
        assert_eq!(problem.place.map(|place| (place.line, place.column, place.width)), Some((2, 3, 4)));
    }
}
