//! A line of an INI inventory as words: the quotes, backslashes and comments of Python's `shlex.split`.

/// A word without its quotes, and where it starts and ends in the line, in characters from 0.
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

enum State {
    Between,
    In,
    Quoted(char),
    /// Behind a backslash; within double quotes or outside.
    Escaped(Option<char>),
}

/// Words of a line: a host has dozens of variables.
const MOST: usize = 10_000;

/// The words up to a comment.
///
/// # Errors
/// A quote that is not closed, a backslash at the end.
pub(super) fn split(line: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut state = State::Between;
    let (mut text, mut start, mut end) = (String::new(), 0, 0);
    for (at, c) in line.chars().enumerate() {
        if let State::Between = state {
            if c.is_ascii_whitespace() {
                continue;
            }
            if words.len() >= MOST {
                return Err("it has more than 10000 words");
            }
            (text, start) = (String::new(), at);
            if c == '#' {
                return Ok(words);
            }
            state = State::In;
        }
        state = match (state, c) {
            (State::In, '#') => {
                words.push(Word { text, start, end });
                return Ok(words);
            }
            (State::In, ' ' | '\t' | '\r' | '\n') => {
                words.push(Word { text: std::mem::take(&mut text), start, end });
                State::Between
            }
            (State::In, '"' | '\'') => State::Quoted(c),
            (State::In, '\\') => State::Escaped(None),
            (State::Quoted(quote), c) if c == quote => State::In,
            (State::Quoted('"'), '\\') => State::Escaped(Some('"')),
            (State::Escaped(quote), c) => {
                // Within quotes a backslash is itself but before the quote and another backslash.
                if quote.is_some() && c != '"' && c != '\\' {
                    text.push('\\');
                }
                text.push(c);
                quote.map_or(State::In, State::Quoted)
            }
            (state, c) => {
                text.push(c);
                state
            }
        };
        end = at + 1;
    }
    match state {
        State::Between => {}
        State::In => words.push(Word { text, start, end }),
        State::Quoted(_) => return Err("a quote is not closed"),
        State::Escaped(_) => return Err("a backslash stands at the end"),
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_shlex() {
        for (line, expected) in [
            (r#"a b="c d"  e='f "g"' # h"#, vec!["a", "b=c d", "e=f \"g\""]),
            (r#"a#b c"#, vec!["a"]),
            (r#"a\ b "c\d\"e\\" 'f\g'"#, vec!["a b", r#"c\d"e\"#, r"f\g"]),
            (r#"a="" '' "#, vec!["a=", ""]),
            (r##"a="#b" \#c"##, vec!["a=#b", "#c"]),
        ] {
            let words: Vec<String> = split(line).unwrap().into_iter().map(|word| word.text).collect();
            assert_eq!(words, expected, "{line}");
        }
        assert!(split("a 'b").is_err() && split("a\\").is_err());
    }
}
