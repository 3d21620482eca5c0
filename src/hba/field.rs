//! A line's fields: lists of words. Source: `next_token` and `next_field_expand` in hba.c.

/// Bytes of a word, before 16. A longer one ends its line.
const LONGEST: usize = 255;

/// A word of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// It begins with a quote: a name then, never a keyword.
    pub quoted: bool,
}

impl Word {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }
}

/// A line that may go on, with the number of its first one in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub number: usize,
    pub text: String,
}

/// The lines of a file. From 14 on one that ends in a backslash goes on in the next one, a comment, too.
pub(super) fn lines(text: &str, release: u32) -> Vec<Whole> {
    let mut wholes = Vec::new();
    // What goes on, and its length when its last backslash was taken away.
    let mut open: Option<(Whole, usize)> = None;
    for (index, line) in text.split_terminator('\n').enumerate() {
        let (mut whole, least) = open.take().unwrap_or((Whole { number: index + 1, text: String::new() }, 0));
        whole.text.push_str(line);
        let end = whole.text.trim_end_matches(['\r', '\n']).len();
        whole.text.truncate(end);
        // The backslash of an empty line's predecessor is no new one.
        if release >= 14 && whole.text.len() > least && whole.text.ends_with('\\') {
            whole.text.pop();
            let length = whole.text.len();
            open = Some((whole, length));
        } else {
            wholes.push(whole);
        }
    }
    wholes.extend(open.map(|(whole, _)| whole));
    wholes
}

/// A field: its words as they stand there, before files are read in their place.
pub(super) type Field = Vec<Word>;

/// The fields of a line.
pub(super) fn fields(line: &str, release: u32) -> Vec<Field> {
    let mut rest = Chars { left: line, ended: false };
    let mut fields = Vec::new();
    while !rest.ended && !rest.left.is_empty() {
        let mut field = Field::new();
        while let Some((word, goes_on)) = rest.word(release) {
            field.push(word);
            if !goes_on {
                break;
            }
        }
        if !field.is_empty() {
            fields.push(field);
        }
    }
    fields
}

struct Chars<'a> {
    left: &'a str,
    /// Nothing of the line counts any more.
    ended: bool,
}

impl Chars<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.left.chars().next()?;
        self.left = &self.left[c.len_utf8()..];
        Some(c)
    }

    /// The next word, and whether a comma ended it.
    fn word(&mut self, release: u32) -> Option<(Word, bool)> {
        let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r');
        self.left = self.left.trim_start_matches(|c| is_blank(c) || c == ',');
        let mut word = Word { text: String::new(), quoted: false };
        // Whether a quote has been seen, whether it is open, and whether it has just been closed.
        let (mut seen, mut open, mut closed) = (false, false, false);
        while let Some(c) = self.left.chars().next().filter(|c| open || !is_blank(*c)) {
            if c == '#' && !open {
                (self.left, self.ended) = ("", true);
                break;
            }
            if release < 16 && word.text.len() >= LONGEST {
                (self.left, self.ended) = ("", true);
                return None;
            }
            self.next();
            if c == ',' && !open {
                return Some((word, true)).filter(|(word, _)| seen || !word.text.is_empty());
            }
            let is_quote = c == '"';
            if !is_quote || closed {
                word.text.push(c);
            }
            closed = open && is_quote && !closed;
            if is_quote {
                open = !open;
                seen = true;
                word.quoted |= word.text.is_empty();
            }
        }
        (seen || !word.text.is_empty()).then_some((word, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<Vec<String>> {
        let shown = |word: Word| if word.quoted { format!("'{}'", word.text) } else { word.text };
        fields(line, 15).into_iter().map(|field| field.into_iter().map(shown).collect()).collect()
    }

    #[test]
    fn words_are_those_of_postgresql() {
        for (line, expected) in [
            ("host a,b\tc", vec![vec!["host"], vec!["a", "b"], vec!["c"]]),
            ("a, b c", vec![vec!["a", "b"], vec!["c"]]),
            // A blank before the comma ends the field: two fields.
            ("a ,b", vec![vec!["a"], vec!["b"]]),
            (",,a,,b", vec![vec!["a", "b"]]),
            ("\"a b\",c", vec![vec!["'a b'", "c"]]),
            ("\"a\"\"b\" a\"ll\"", vec![vec!["'a\"b'"], vec!["all"]]),
            ("\"\" x", vec![vec!["''"], vec!["x"]]),
            ("a#b c", vec![vec!["a"]]),
            ("\"a#b\" c # d", vec![vec!["'a#b'"], vec!["c"]]),
            ("a, # nothing", vec![vec!["a"]]),
            ("  # nothing", vec![]),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        let long = "x".repeat(300);
        assert_eq!(read(&format!("a {long} b")), [["a"]]);
        assert_eq!(fields(&format!("a {long} b"), 16).len(), 3);
    }

    #[test]
    fn a_line_goes_on_behind_a_backslash_from_14_on() {
        let numbered = |text: &str, release| {
            let lines = lines(text, release).into_iter().map(|line| (line.number, line.text));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            numbered("a \\\nb\r\n# c \\\nd\ne", 15),
            [(1, "a b".to_owned()), (3, "# c d".to_owned()), (5, "e".to_owned())]
        );
        assert_eq!(numbered("a\\\\\n\nb\\", 15), [(1, "a\\".to_owned()), (3, "b".to_owned())]);
        assert_eq!(numbered("a\\\nb", 13), [(1, "a\\".to_owned()), (2, "b".to_owned())]);
    }
}
