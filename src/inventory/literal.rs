//! A value of an INI inventory: a Python literal where it is one (`ast.literal_eval`), else the text as it is.

use super::scalar;
use super::source::Span;
use super::tree::{Entry, Node, Style, Tree};
use crate::error::Problem;

/// Deepest nesting; Python's own limit.
const DEEPEST: usize = 200;

/// Every part of the value has the place of the whole. A number that is the whole value keeps its spelling: it may be a
/// password, or a name.
///
/// # Errors
/// A set or a mapping of what Python cannot have in one, which is where Ansible gives up.
pub(super) fn parse(text: &str, span: Span) -> Result<Node, Problem> {
    let start = text.trim_start_matches([' ', '\t']);
    let mut parser = Parser { rest: start, depth: 0, bytes: false, unhashable: false, span };
    match parser.whole() {
        Some(_) if parser.unhashable => {
            let problem = Problem::new("the value is a set, or a mapping, whose parts cannot be in one");
            Err(problem.hint("two braces begin a template in quotes alone: \"{{ … }}\"; a number needs none"))
        }
        Some(Node { tree: Tree::Number(_), .. }) => {
            let spelled = start[..start.len() - parser.rest.len()].trim_end();
            Ok(Node { style: Style::Literal, ..parser.node(Tree::Number(spelled.to_owned())) })
        }
        Some(node) => Ok(node),
        None => Ok(parser.node(Tree::Text(text.to_owned()))),
    }
}

/// The value of a number as it is spelled.
pub(super) fn value(spelled: &str) -> serde_json::Value {
    unsigned(spelled).map_or_else(|| spelled.into(), |digits| scalar::number(&digits))
}

/// The same, where it is a whole number of ordinary size.
pub(super) fn whole(spelled: &str) -> Option<i64> {
    unsigned(spelled)?.parse().ok()
}

fn unsigned(spelled: &str) -> Option<String> {
    let span = Span { file: 0, line: 0, column: 0, width: 0 };
    let mut parser = Parser { rest: spelled, depth: 0, bytes: false, unhashable: false, span };
    match parser.item()?.tree {
        Tree::Number(digits) => Some(digits),
        _ => None,
    }
}

/// Each function takes what it reads off the rest; `None` is "no literal".
struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    /// Whether the last text was one of bytes, which Ansible does not take for a template.
    bytes: bool,
    /// Whether a set or the keys of a mapping hold a list, a set or a mapping.
    unhashable: bool,
    span: Span,
}

impl Parser<'_> {
    fn whole(&mut self) -> Option<Node> {
        if self.rest.contains('\0') {
            return None;
        }
        let first = self.item()?;
        self.space();
        let whole = match self.rest.starts_with(',') {
            true => Tree::List(self.others(first, &[])?),
            false => return self.ended(first),
        };
        let whole = self.node(whole);
        self.ended(whole)
    }

    fn ended(&mut self, node: Node) -> Option<Node> {
        self.space();
        (self.rest.is_empty() || self.rest.starts_with('#')).then_some(node)
    }

    /// The items behind the first of a tuple without parentheses, or of one in brackets.
    fn others(&mut self, first: Node, ends: &[char]) -> Option<Vec<Node>> {
        let mut items = vec![first];
        while self.eat(",") {
            self.space();
            if self.rest.is_empty() || self.rest.starts_with('#') || self.rest.starts_with(ends) {
                break;
            }
            items.push(self.item()?);
            self.space();
        }
        Some(items)
    }

    fn node(&self, tree: Tree) -> Node {
        Node { span: self.span, tree, style: Style::Exact }
    }

    fn item(&mut self) -> Option<Node> {
        self.space();
        let tree = match self.rest.chars().next()? {
            '(' => self.bracket(|parser| {
                if parser.rest.starts_with(')') {
                    return Some(Tree::List(Vec::new()));
                }
                let first = parser.item()?;
                parser.space();
                match parser.rest.starts_with(',') {
                    true => Some(Tree::List(parser.others(first, &[')'])?)),
                    false => Some(first.tree),
                }
            })?,
            '[' => self.bracket(|parser| match parser.rest.starts_with(']') {
                true => Some(Tree::List(Vec::new())),
                false => {
                    let first = parser.item()?;
                    parser.space();
                    Some(Tree::List(parser.others(first, &[']'])?))
                }
            })?,
            '{' => self.bracket(Parser::braces)?,
            '"' | '\'' => self.strings()?,
            '+' | '-' => {
                let minus = self.rest.starts_with('-');
                self.rest = &self.rest[1..];
                self.space();
                let digits = self.number()?;
                Tree::Number(if minus && digits != "0" { format!("-{digits}") } else { digits })
            }
            c if c.is_ascii_digit() || c == '.' => match self.eat("...") {
                true => Tree::Text("...".to_owned()),
                false => Tree::Number(self.number()?),
            },
            _ => self.word()?,
        };
        let style = if std::mem::take(&mut self.bytes) { Style::Unsafe } else { Style::Exact };
        Some(Node { style, ..self.node(tree) })
    }

    fn word(&mut self) -> Option<Tree> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        // A prefix of a string.
        if rest.starts_with(['"', '\'']) && is_prefix(word) {
            return self.strings();
        }
        self.rest = rest;
        match word {
            "True" => Some(Tree::Flag { value: true, spelling: "True".to_owned() }),
            "False" => Some(Tree::Flag { value: false, spelling: "False".to_owned() }),
            "None" => Some(Tree::Null),
            "set" => {
                self.space();
                let empty = self.eat("(") && {
                    self.space();
                    self.eat(")")
                };
                empty.then(|| Tree::List(Vec::new()))
            }
            _ => None,
        }
    }

    /// What stands between a bracket and its other half.
    fn bracket(&mut self, inside: impl Fn(&mut Self) -> Option<Tree>) -> Option<Tree> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let close = match self.rest.chars().next()? {
            '(' => ")",
            '[' => "]",
            _ => "}",
        };
        self.rest = &self.rest[1..];
        self.space();
        let tree = inside(self)?;
        self.space();
        self.depth -= 1;
        self.eat(close).then_some(tree)
    }

    fn braces(&mut self) -> Option<Tree> {
        let mut entries: Vec<Entry> = Vec::new();
        if self.rest.starts_with('}') {
            return Some(Tree::Map(entries));
        }
        let first = self.item()?;
        self.space();
        if !self.rest.starts_with(':') {
            let mut items: Vec<Node> = Vec::new();
            for item in self.others(first, &['}'])? {
                self.unhashable |= matches!(item.tree, Tree::List(_) | Tree::Map(_));
                if items.iter().all(|known| scalar::value(known) != scalar::value(&item)) {
                    items.push(item);
                }
            }
            return Some(Tree::List(items));
        }
        let mut key = first;
        loop {
            self.space();
            if !self.eat(":") {
                return None;
            }
            let value = self.item()?;
            self.unhashable |= matches!(key.tree, Tree::List(_) | Tree::Map(_));
            let name = key_text(&key.tree);
            entries.retain(|entry| entry.key != name);
            entries.push(Entry { key: name, key_style: Style::Exact, key_span: self.span, value });
            self.space();
            if !self.eat(",") {
                break;
            }
            self.space();
            if self.rest.starts_with('}') {
                break;
            }
            key = self.item()?;
        }
        Some(Tree::Map(entries))
    }

    /// Strings side by side are one.
    fn strings(&mut self) -> Option<Tree> {
        let mut text = String::new();
        loop {
            let end = self.rest.find(['"', '\''])?;
            let prefix = self.rest[..end].to_ascii_lowercase();
            if !is_prefix(&prefix) {
                return None;
            }
            self.rest = &self.rest[end..];
            self.bytes = prefix.contains('b');
            self.string(&mut text, prefix.contains('r'), self.bytes)?;
            self.space();
            let word = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
            if !self.rest[word..].starts_with(['"', '\'']) || !is_prefix(&self.rest[..word]) {
                return Some(Tree::Text(text));
            }
        }
    }

    fn string(&mut self, text: &mut String, raw: bool, bytes: bool) -> Option<()> {
        let one = &self.rest[..1];
        let three = one.repeat(3);
        let quote = if self.rest.starts_with(&three) { three } else { one.to_owned() };
        self.rest = &self.rest[quote.len()..];
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote.as_str()) {
                self.rest = rest;
                return Some(());
            }
            let c = self.take()?;
            match c {
                '\\' if raw => {
                    text.push(c);
                    text.push(self.take()?);
                }
                '\\' => self.escape(text, bytes)?,
                _ if bytes && !c.is_ascii() => return None,
                _ => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String, bytes: bool) -> Option<()> {
        let c = self.take()?;
        let one = match c {
            '\\' | '\'' | '"' => Some(c),
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'v' => Some('\u{b}'),
            _ => None,
        };
        if let Some(one) = one {
            text.push(one);
            return Some(());
        }
        let digits = match c {
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let octal = format!("{c}{}", &self.rest[..more]);
                self.rest = &self.rest[more..];
                text.push(char::from_u32(u32::from_str_radix(&octal, 8).ok()?)?);
                return Some(());
            }
            'x' => 2,
            'u' if !bytes => 4,
            'U' if !bytes => 8,
            _ => {
                text.extend(['\\', c]);
                return Some(());
            }
        };
        let hex = self.rest.get(..digits)?;
        text.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
        self.rest = &self.rest[digits..];
        Some(())
    }

    /// An unsigned number, in decimal or with a point.
    fn number(&mut self) -> Option<String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        let mut end = end.unwrap_or(self.rest.len());
        // The sign of an exponent.
        let is_hex = self.rest.starts_with("0x") || self.rest.starts_with("0X");
        if !is_hex && self.rest[..end].ends_with(['e', 'E']) && self.rest[end..].starts_with(['+', '-']) {
            let more = self.rest[end + 1..].find(|c: char| !c.is_ascii_digit() && c != '_');
            end = more.map_or(self.rest.len(), |more| end + 1 + more);
        }
        let (text, rest) = self.rest.split_at(end);
        let number = number(&text.to_ascii_lowercase())?;
        self.rest = rest;
        Some(number)
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\u{c}']);
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn is_prefix(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "" | "r" | "u" | "b" | "br" | "rb")
}

/// A key as JSON would have it.
fn key_text(tree: &Tree) -> String {
    match tree {
        Tree::Null => "null".to_owned(),
        Tree::Flag { value, .. } => value.to_string(),
        Tree::Number(text) | Tree::Text(text) => text.clone(),
        // Of a mapping with these nothing is left.
        Tree::Vault(_) | Tree::List(_) | Tree::Map(_) => String::new(),
    }
}

fn number(text: &str) -> Option<String> {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let digits = digits.strip_prefix('_').unwrap_or(digits);
            return decimal(&ungrouped(digits)?, radix);
        }
    }
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = match exponent {
        None => None,
        Some(text) => {
            let (sign, rest) = text.split_at(text.len() - text.trim_start_matches(['+', '-']).len());
            Some(format!("{sign}{}", ungrouped(rest).filter(|rest| digits(rest) && sign.len() < 2)?))
        }
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let part = |text: &str| match text {
        "" => Some(String::new()),
        text => ungrouped(text).filter(|text| digits(text)),
    };
    let (whole, fraction) = (part(whole)?, fraction.map(part));
    match (fraction, exponent) {
        (None, None) => {
            let significant = whole.trim_start_matches('0');
            match (whole.is_empty(), significant.is_empty()) {
                (true, _) => None,
                (false, true) => Some("0".to_owned()),
                // Python wants no zeros in front: `0644` is a text.
                (false, false) => (significant.len() == whole.len()).then_some(whole),
            }
        }
        (fraction, exponent) => {
            let fraction = match fraction {
                Some(fraction) => Some(fraction?),
                None => None,
            };
            if whole.is_empty() && fraction.as_ref().is_none_or(String::is_empty) {
                return None;
            }
            let point = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
            Some(format!(
                "{whole}{point}{}",
                exponent.map_or(String::new(), |exponent| format!("e{exponent}"))
            ))
        }
    }
}

/// A whole number in decimal, however long it is.
fn decimal(digits: &str, radix: u32) -> Option<String> {
    /// Python refuses what has more than 4300 digits in decimal; no hexadecimal one of this length does.
    const LONGEST: usize = 3_500;
    const PART: u64 = 1_000_000_000;
    if digits.len() > LONGEST {
        return None;
    }
    // The lowest nine digits come first.
    let mut parts: Vec<u64> = vec![0];
    for digit in digits.chars() {
        let mut carry = u64::from(digit.to_digit(radix)?);
        for part in &mut parts {
            let sum = *part * u64::from(radix) + carry;
            (*part, carry) = (sum % PART, sum / PART);
        }
        if carry > 0 {
            parts.push(carry);
        }
    }
    let (highest, lower) = parts.split_last()?;
    Some(lower.iter().rev().fold(highest.to_string(), |text, part| format!("{text}{part:09}")))
}

/// Digits without the `_` between them.
fn ungrouped(digits: &str) -> Option<String> {
    let fits =
        !digits.is_empty() && !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    fits.then(|| digits.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        let at = Span { file: 0, line: 1, column: 1, width: 1 };
        parse(text, at).map_or(json!("an error"), |node| scalar::value(&node))
    }

    #[test]
    fn literals_and_texts() {
        for (text, expected) in [
            ("5", json!(5)),
            ("-5", json!(-5)),
            ("5 # five", json!(5)),
            ("five # five", json!("five # five")),
            ("0644", json!("0644")),
            ("00", json!(0)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("1e3", json!(1000.0)),
            ("1.5e-3", json!(0.0015)),
            ("1.", json!(1.0)),
            ("10.0.0.1", json!("10.0.0.1")),
            ("True", json!(true)),
            ("true", json!("true")),
            ("None", json!(null)),
            ("", json!("")),
            ("'a' \"b\"", json!("ab")),
            (r#"'a\n\x41\u00e9\q'"#, json!("a\nAé\\q")),
            (r#"r'\n'"#, json!("\\n")),
            ("b'x'", json!({"__ansible_unsafe": "x"})),
            ("[1, 'a', [True,],]", json!([1, "a", [true]])),
            ("{'a': 1, 2: None}", json!({"a": 1, "2": null})),
            ("1,2", json!([1, 2])),
            ("(1)", json!(1)),
            ("(1,)", json!([1])),
            ("a,b", json!("a,b")),
            ("[a]", json!("[a]")),
            ("--5", json!("--5")),
            ("5a", json!("5a")),
            ("1__0", json!("1__0")),
            ("'open", json!("'open")),
            ("f'x'", json!("f'x'")),
            ("{{5432}}", json!("an error")),
            ("{[1]: 2}", json!("an error")),
            ("{{ x }}", json!("{{ x }}")),
            ("0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", json!(8.711228593176025e40)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let deep = "[".repeat(10_000);
        assert_eq!(read(&deep), json!(deep));
    }
}
