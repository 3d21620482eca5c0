//! Readers of the formats that reach a host, written from their own documentation and not from muster's code.
//!
//! Each gives the words of a text with what they are; two texts of one shape have the same list of kinds.

/// What a word is, and the word without its quotes.
pub(crate) type Word = (String, String);

fn word(kind: &str, text: impl Into<String>) -> Word {
    (kind.to_owned(), text.into())
}

/// SQL as PostgreSQL's scanner reads it with standard_conforming_strings, and psql's variables and commands.
pub(crate) fn sql(text: &str) -> Vec<Word> {
    let letters: Vec<char> = text.chars().collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < letters.len() {
        let c = letters[at];
        let next = letters.get(at + 1).copied();
        match c {
            '\'' => words.push(statement(quoted(&letters, &mut at, '\'', false))),
            'E' if next == Some('\'') => {
                at += 1;
                words.push(statement(quoted(&letters, &mut at, '\'', true)));
            }
            '"' => words.push(word("identifier", quoted(&letters, &mut at, '"', false))),
            '-' if next == Some('-') => panic!("a comment: {text}"),
            '/' if next == Some('*') => panic!("a comment: {text}"),
            '$' => panic!("a dollar quote: {text}"),
            c if c.is_whitespace() => at += 1,
            c if c.is_alphanumeric() || c == '_' => {
                let start = at;
                while letters.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    at += 1;
                }
                words.push(word("bare", letters[start..at].iter().collect::<String>()));
            }
            c => {
                words.push(word("sign", c));
                at += 1;
            }
        }
    }
    words
}

/// A literal that is a statement for `\gexec` is read as one.
fn statement(text: String) -> Word {
    match text.starts_with("CREATE ") {
        true => word("statement", format!("{:?}", sql(&text))),
        false => word("literal", text),
    }
}

/// From a quote to its end: doubled it is one; with escapes a backslash takes the next character as it is.
fn quoted(letters: &[char], at: &mut usize, quote: char, escapes: bool) -> String {
    let mut text = String::new();
    *at += 1;
    loop {
        let c = *letters.get(*at).unwrap_or_else(|| panic!("a quote is not closed: {text}"));
        *at += 1;
        match c {
            '\\' if escapes => {
                let c = letters[*at];
                assert!(!c.is_ascii_alphanumeric(), "an escape: \\{c}");
                text.push(c);
                *at += 1;
            }
            c if c == quote && letters.get(*at) == Some(&quote) => {
                text.push(c);
                *at += 1;
            }
            c if c == quote => return text,
            c => text.push(c),
        }
    }
}

/// `postgresql.conf`: guc-file.l. A name, `=`, one value; comments go to the end of the line.
pub(crate) fn conf(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
        if let Some(comment) = line.strip_prefix('#') {
            words.push(word("comment", comment));
            continue;
        }
        let end = line
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'))
            .expect("a value follows");
        let (name, rest) = line.split_at(end);
        words.push(word("name", name));
        let rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim_start();
        let (value, rest) = match rest.strip_prefix('\'') {
            Some(_) => conf_string(rest),
            None => {
                let end = rest.find(|c: char| c.is_whitespace() || c == '#').unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/".contains(c));
                let digits = value.strip_prefix('-').unwrap_or(value);
                let is_number = digits
                    .split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
                assert!(is_word || is_number && digits.split('.').count() <= 2, "no value: {line}");
                (value.to_owned(), rest)
            }
        };
        match name {
            "primary_conninfo" | "citus.node_conninfo" => words.extend(conninfo(&value)),
            _ => words.push(word("value", value)),
        }
        let rest = rest.trim();
        assert!(rest.is_empty() || rest.starts_with('#'), "more than a value: {line}");
    }
    words
}

/// `GUC_scanstr`, for the escapes that muster may use.
fn conf_string(text: &str) -> (String, &str) {
    let (mut value, mut rest) = (String::new(), &text[1..]);
    loop {
        let c = rest.chars().next().unwrap_or_else(|| panic!("a quote is not closed: {text}"));
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                assert!(rest.starts_with('\\'), "an escape: {text}");
                value.push('\\');
                rest = &rest[1..];
            }
            '\'' if rest.starts_with('\'') => {
                value.push('\'');
                rest = &rest[1..];
            }
            '\'' => return (value, rest),
            c => value.push(c),
        }
    }
}

/// `pg_hba.conf`: hba.c. Words by space and tab and comma; within quotes all counts, and `""` is a quote; `#` ends the line;
/// a backslash before its end would go on with the next.
pub(crate) fn hba(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        assert!(!line.ends_with('\\'), "the next line is a part of it: {line}");
        let mut rest = line.trim_start_matches([' ', '\t']);
        while !rest.is_empty() {
            if let Some(comment) = rest.strip_prefix('#') {
                words.push(word("comment", comment));
                break;
            }
            let (mut text, mut is_quoted, mut inside) = (String::new(), false, false);
            while let Some(c) = rest.chars().next() {
                match c {
                    '"' => {
                        inside = !inside;
                        // Behind its end, within a word, a quote that opens again is one of the word.
                        if inside && is_quoted {
                            text.push('"');
                        }
                        is_quoted = true;
                    }
                    ' ' | '\t' | ',' | '#' if !inside => break,
                    c => text.push(c),
                }
                rest = &rest[c.len_utf8()..];
            }
            assert!(!inside, "a quote is not closed: {line}");
            assert!(text.len() < 256, "the word is left out: {line}");
            words.push(word(if is_quoted { "quoted" } else { "bare" }, text));
            rest = rest.trim_start_matches([' ', '\t', ',']);
        }
        words.push(word("end", ""));
    }
    words
}

/// A connection string of libpq: `conninfo_parse`.
pub(crate) fn conninfo(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap_or_else(|| panic!("no `=`: {text}"));
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "no keyword: {text}");
        let (mut value, is_quoted) = (String::new(), after.starts_with('\''));
        rest = if is_quoted { &after[1..] } else { after };
        loop {
            let Some(c) = rest.chars().next() else {
                assert!(!is_quoted, "a quote is not closed: {text}");
                break;
            };
            rest = &rest[c.len_utf8()..];
            match c {
                '\\' => {
                    let c = rest.chars().next().unwrap();
                    rest = &rest[c.len_utf8()..];
                    value.push(c);
                }
                '\'' if is_quoted => break,
                c if !is_quoted && c.is_ascii_whitespace() => break,
                c => value.push(c),
            }
        }
        rest = rest.trim_start();
        words.push(word(key, value));
    }
    words
}

/// A `postgres://` URI; `%XX` is a byte, and nothing but these and harmless letters is in it.
pub(crate) fn uri(text: &str) -> Vec<Word> {
    let rest = text.strip_prefix("postgres://").unwrap_or_else(|| panic!("no URI: {text}"));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap();
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut words = vec![
        word("user", decoded(user)),
        word("password", decoded(password)),
        word("hosts", hosts),
        word("path", decoded(path)),
    ];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap();
        words.push(word(key, decoded(value)));
    }
    words
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            byte => {
                assert!(byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte), "not encoded: {text}");
                bytes.push(byte);
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// `pg_autoctl.cfg`: a value goes to the end of the line, and `;` and `#` end it before.
pub(crate) fn ini(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            words.push(word("section", line));
            continue;
        }
        let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no value: {line}"));
        assert!(!value.contains([';', '#', '\r']) && value.trim() == value, "cut off: {line}");
        words.push(word("key", key));
        match key {
            "monitor" => words.extend(uri(value)),
            _ => words.push(word("value", value)),
        }
    }
    words
}

/// `.pgpass`: five fields, a backslash before a colon or a backslash of theirs.
pub(crate) fn pgpass(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (mut field, mut letters, mut count) = (String::new(), line.chars(), 0);
        while let Some(c) = letters.next() {
            match c {
                '\\' => field.push(letters.next().unwrap()),
                ':' => {
                    words.push(word("field", std::mem::take(&mut field)));
                    count += 1;
                }
                c => field.push(c),
            }
        }
        words.push(word("password", field));
        assert_eq!(count, 4, "five fields: {line}");
    }
    words
}

/// A unit: `KEY=VALUE`; specifiers in all values, quotes and escapes and variables in some.
pub(crate) fn unit(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(!line.ends_with('\\'), "the next line is a part of it: {line}");
        let Some((key, value)) = line.split_once('=') else {
            words.push(word("section", line));
            continue;
        };
        words.push(word("key", key));
        match key {
            "ExecStart" | "ExecReload" | "Environment" => {
                // `Environment=` has no variables.
                words.extend(
                    arguments(value)
                        .into_iter()
                        .map(|text| word("argument", specifiers(&text.replace("$$", "$")))),
                );
            }
            _ => words.push(word("value", specifiers(value))),
        }
    }
    words
}

fn specifiers(text: &str) -> String {
    let plain = text.replace("%%", "\0");
    assert!(!plain.contains('%'), "a specifier: {text}");
    plain.replace('\0', "%")
}

fn arguments(line: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let is_quoted = quote.is_some();
        let mut text = String::new();
        rest = if is_quoted { &rest[1..] } else { rest };
        loop {
            let Some(c) = rest.chars().next() else {
                assert!(!is_quoted, "a quote is not closed: {line}");
                break;
            };
            rest = &rest[c.len_utf8()..];
            match c {
                c if Some(c) == quote => break,
                ' ' if !is_quoted => break,
                '\\' => {
                    let c = rest.chars().next().unwrap();
                    assert!(matches!(c, '\\' | '"'), "an escape: {line}");
                    rest = &rest[c.len_utf8()..];
                    text.push(c);
                }
                c => text.push(c),
            }
        }
        found.push(text);
        rest = rest.trim_start();
    }
    found
}
