//! `a.b.c | default(…)` and `a.b.c is defined`: with Ansible whatever is missing on the way is undefined, and that is what these ask for.
//!
//! minijinja is strict or lenient everywhere. It stays strict; a path in front of one of these alone becomes a call of
//! [`FUNCTION`], which follows it as far as it goes. And a backslash within quotes is one: `'\\1'` is for regular expressions.

use minijinja::value::{Rest, Value};
use minijinja::{Error, State};

/// The function that follows a path; nobody's variable has such a name.
pub(super) const FUNCTION: &str = "__muster_path";

/// What the path leads to: the name of a variable, then attributes and items.
pub(super) fn follow(state: &State, name: String, steps: Rest<Value>) -> Result<Value, Error> {
    let mut found = state.lookup(&name).unwrap_or(Value::UNDEFINED);
    for step in steps.iter() {
        if found.is_undefined() {
            break;
        }
        found = found.get_item(step)?;
    }
    Ok(found)
}

/// The template with such paths as calls.
pub(super) fn rewritten(template: &str) -> String {
    let mut made = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        let inner = &rest[start + 2..];
        let tokens = tokens(inner, close);
        let end = tokens.last().map_or(0, |token| token.end);
        made.push_str(&rest[..start + 2]);
        expression(inner, &tokens, &mut made);
        rest = &inner[end..];
    }
    made + rest
}

/// The expression alone, as it stands between braces.
pub(super) fn rewritten_expression(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let tokens = tokens(text, "\0");
    let end = tokens.last().map_or(0, |token| token.end);
    expression(text, &tokens, &mut made);
    made + &text[end..]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Other,
}

#[derive(Clone, Copy)]
struct Token {
    start: usize,
    end: usize,
    kind: Kind,
}

/// The words and signs up to the end of the block; a text in quotes is one.
fn tokens(text: &str, close: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(close) {
            break;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (length, kind) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '"' | '\'' => {
                let mut escaped = false;
                let end = text[at + 1..].find(|next| {
                    let was = std::mem::take(&mut escaped);
                    escaped = !was && next == '\\';
                    !was && next == c
                });
                (end.map_or(text.len() - at, |end| end + 2), Kind::Other)
            }
            c if c.is_ascii_digit() => {
                let end = text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at);
                (end, Kind::Other)
            }
            c if is_word(c) => (text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at), Kind::Name),
            c => (c.len_utf8(), Kind::Other),
        };
        tokens.push(Token { start: at, end: at + length, kind });
        at += length;
    }
    tokens
}

fn expression(text: &str, tokens: &[Token], made: &mut String) {
    // What stands between the tokens, and they themselves, but for backslashes.
    let copy = |made: &mut String, first: usize, to: usize| {
        let within = tokens.iter().filter(|token| first <= token.start && token.end <= to);
        let mut from = first;
        for token in within {
            if let Some(quote) = word(text, *token).chars().next().filter(|c| matches!(c, '"' | '\'')) {
                made.push_str(&text[from..token.start]);
                made.push_str(&escaped(word(text, *token), quote));
                from = token.end;
            }
        }
        made.push_str(&text[from..to]);
    };
    let mut copied = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        let before = at.checked_sub(1).map_or("", |before| word(text, tokens[before]));
        let is_root = token.kind == Kind::Name && !matches!(before, "." | "|" | "is");
        if let Some((steps, end)) = is_root.then(|| path(text, tokens, at + 1))
            && !steps.is_empty()
            && asks(text, &tokens[end..])
        {
            copy(made, copied, token.start);
            made.push_str(&format!("{FUNCTION}('{}'", word(text, token)));
            for step in steps {
                match step {
                    Step::Attribute(name) => made.push_str(&format!(", '{}'", word(text, name))),
                    Step::Item(first, last) => {
                        made.push_str(", ");
                        let inner = &tokens[first..last];
                        let (from, to) = (tokens[first].start, tokens[last - 1].end);
                        made.push_str(&rewritten_expression(&text[from..to]));
                        debug_assert!(!inner.is_empty());
                    }
                }
            }
            made.push(')');
            copied = tokens[end - 1].end;
            at = end;
            continue;
        }
        at += 1;
    }
    let end = tokens.last().map_or(0, |token| token.end);
    copy(made, copied, end.max(copied));
}

/// A text in quotes whose backslashes are themselves, but for one that stands before the quote.
fn escaped(text: &str, quote: char) -> String {
    let mut made = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        made.push(c);
        match (c, letters.peek()) {
            ('\\', Some(next)) if *next == quote => made.extend(letters.next()),
            ('\\', _) => made.push(c),
            _ => {}
        }
    }
    made
}

enum Step {
    Attribute(Token),
    /// The tokens between the brackets.
    Item(usize, usize),
}

/// The attributes and items that follow a name, and where the first token behind them is.
fn path(text: &str, tokens: &[Token], from: usize) -> (Vec<Step>, usize) {
    let mut steps = Vec::new();
    let mut at = from;
    while let Some(token) = tokens.get(at) {
        match word(text, *token) {
            "." if tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Name) => {
                steps.push(Step::Attribute(tokens[at + 1]));
                at += 2;
            }
            "[" => {
                let Some(end) = closing(text, tokens, at) else { break };
                // `a[1:2]` is a slice, and always there.
                let is_slice = tokens[at + 1..end].iter().any(|token| word(text, *token) == ":");
                if end == at + 1 || is_slice {
                    break;
                }
                steps.push(Step::Item(at + 1, end));
                at = end + 1;
            }
            _ => break,
        }
    }
    (steps, at)
}

/// The bracket that ends what one begins.
fn closing(text: &str, tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match word(text, *token) {
            "[" | "(" | "{" => depth += 1,
            "]" | ")" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether what follows asks if there is a value.
fn asks(text: &str, tokens: &[Token]) -> bool {
    let words: Vec<&str> = tokens.iter().take(6).map(|token| word(text, *token)).collect();
    let words: Vec<&str> = match words.as_slice() {
        ["|", "ansible", ".", "builtin", ".", name] => vec!["|", name],
        _ => words,
    };
    matches!(
        words.as_slice(),
        ["|", "default" | "d" | "mandatory", ..]
            | ["is", "defined" | "undefined", ..]
            | ["is", "not", "defined" | "undefined", ..]
    )
}

fn word(text: &str, token: Token) -> &str {
    &text[token.start..token.end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_asked_for_are_calls() {
        for (template, expected) in [
            ("{{ a | default('x') }}", "{{ a | default('x') }}"),
            ("{{ a.b | default(c.d) }}", "{{ __muster_path('a', 'b') | default(c.d) }}"),
            ("x {{ a['b'][0].c|d(1) ~ e.f }}", "x {{ __muster_path('a', 'b', 0, 'c')|d(1) ~ e.f }}"),
            (
                "{{ hostvars[groups['m'][0]].x | ansible.builtin.default('y') }}",
                "{{ __muster_path('hostvars', groups['m'][0], 'x') | ansible.builtin.default('y') }}",
            ),
            (
                "{% if a.b is not defined %}{{ a.b }}{% endif %}",
                "{% if __muster_path('a', 'b') is not defined %}{{ a.b }}{% endif %}",
            ),
            ("{{ 'a.b | default(1)' }}", "{{ 'a.b | default(1)' }}"),
            ("a.b | default(1) {{ c }}", "a.b | default(1) {{ c }}"),
            ("{{ a[1:2] | default(1) }}", "{{ a[1:2] | default(1) }}"),
            ("{{ a.b", "{{ a.b"),
            ("{{ a[", "{{ a["),
            ("{{ ] | default", "{{ ] | default"),
            (r"{{ a | x('\d', 'b\'c') }}", r"{{ a | x('\\d', 'b\'c') }}"),
            ("{{ 'é\\'' ~ é.ü | d }}", "{{ 'é\\'' ~ __muster_path('é', 'ü') | d }}"),
        ] {
            assert_eq!(rewritten(template), expected, "{template}");
        }
    }
}
