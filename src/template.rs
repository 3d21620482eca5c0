//! Rendering: minijinja with strict undefined, the built-in templates or the user's in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::error::{Place, Problem};

/// Name and text of every template; any can be replaced by a file of that name in `templates_dir`.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("postgresql.conf.j2", include_str!("../templates/postgresql.conf.j2")),
    ("pg_hba.conf.j2", include_str!("../templates/pg_hba.conf.j2")),
    ("pgautofailover.service.j2", include_str!("../templates/pgautofailover.service.j2")),
];

/// minijinja's count of what a template may do: a second's work, and a hundred thousand rules.
const FUEL: u64 = 5_000_000;

/// Bytes between the braces of a tag: a chain of operators is as deep for minijinja as it is long.
const LONGEST_TAG: usize = 2_000;

/// The user's templates over the built-in ones; each is compiled when it is first needed, and then kept.
#[derive(Clone, Debug)]
pub struct Templates {
    texts: BTreeMap<String, String>,
    environment: Arc<Environment<'static>>,
}

impl Templates {
    pub fn new(own: &BTreeMap<String, String>) -> Self {
        let mut texts: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        texts.extend(own.clone());
        let environment = Arc::new(environment(texts.clone()));
        Templates { texts, environment }
    }

    /// Fills a template. An undefined variable, or a mistake in the template, names its line.
    pub fn render(&self, name: &str, context: &impl Serialize) -> Result<String, Problem> {
        if let Some(line) = self.texts.get(name).and_then(|text| long_tag(text)) {
            let problem = Problem::new(format!("template {name}: a tag is longer than {LONGEST_TAG} bytes"));
            let place = Place { file: name.to_owned(), line, column: 1, width: 1, text: String::new() };
            return Err(problem.hint("take it apart with `set`").at(place));
        }
        let template = self.environment.get_template(name).map_err(|why| self.problem(name, &why))?;
        template.render(Value::from(Serde(context))).map_err(|why| self.problem(name, &why))
    }

    fn problem(&self, name: &str, why: &minijinja::Error) -> Problem {
        let file = why.name().unwrap_or(name).to_owned();
        let line = why.line().unwrap_or(1);
        let source = self.texts.get(&file).map(String::as_str).unwrap_or_default();
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        let start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let range = why.range().unwrap_or(start..start + 1);
        let column = range.start.saturating_sub(start).min(text.chars().count()) + 1;
        let message = why.detail().map_or_else(|| why.kind().to_string(), str::to_owned);
        Problem::new(format!("template {file}: {message}"))
            .hint("the variables that a template may use are listed in docs/inventory.md")
            .at(Place { file, line, column, width: range.len().clamp(1, text.len().max(1)), text })
    }
}

fn environment(texts: BTreeMap<String, String>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    // By its name a template could be taken for HTML or JSON: none of ours is.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // With debug on, errors carry the values of variables.
    environment.set_debug(false);
    // A template that loops in a loop would not end in a lifetime.
    environment.set_fuel(Some(FUEL));
    environment.add_filter("guc", |value: String| guc(&value));
    environment.add_filter("systemd", |value: String| systemd(&value));
    environment.set_loader(move |name| Ok(texts.get(name).cloned()));
    environment
}

/// The line of a tag that is too long.
fn long_tag(text: &str) -> Option<usize> {
    let starts = text.match_indices("{{").chain(text.match_indices("{%"));
    let mut long = starts.filter(|(at, _)| {
        let rest = &text.as_bytes()[*at..];
        let ends = |pair: &[u8]| pair == b"}}" || pair == b"%}";
        rest.len() > LONGEST_TAG && !rest[..LONGEST_TAG].windows(2).any(ends)
    });
    long.next().map(|(at, _)| text[..at].matches('\n').count() + 1)
}

/// A value in `postgresql.conf`: quoted unless it is a plain word or number.
pub fn guc(value: &str) -> String {
    // Of numbers with an exponent, `1e5`, the server reads the letter as a unit.
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number =
        [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let is_word = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    match is_word || is_number {
        true => value.to_owned(),
        false => guc_quoted(value),
    }
}

/// The same in quotes, whatever it is.
pub fn guc_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// One argument of an `ExecStart=` line, or the value of an `Environment=`.
pub fn systemd(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(text: &str) -> Templates {
        Templates::new(&BTreeMap::from([("postgresql.conf.j2".to_owned(), text.to_owned())]))
    }

    #[test]
    fn an_undefined_variable_names_its_line() {
        let context = BTreeMap::from([("port", 5432)]);
        let problem =
            templates("port = {{ port }}\nuser = {{ usr }}\n").render("postgresql.conf.j2", &context);
        let place = problem.unwrap_err().place.unwrap();
        assert_eq!((place.line, place.text.as_str()), (2, "user = {{ usr }}"));
    }

    #[test]
    fn values_are_quoted_for_where_they_stand() {
        assert_eq!(guc("on"), "on");
        assert_eq!(guc("0.9"), "0.9");
        assert_eq!(guc("it's 5"), "'it''s 5'");
        assert_eq!(guc("nan"), "nan");
        assert_eq!(guc("-5"), "-5");
        assert_eq!(guc("1e5"), "'1e5'");
        assert_eq!(guc("5."), "'5.'");
        assert_eq!(systemd("/a %b \"$c\""), "\"/a %%b \\\"$$c\\\"\"");
    }
}
