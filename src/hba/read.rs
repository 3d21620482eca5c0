//! A file and those that it names. Source: `tokenize_auth_file` in hba.c.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::field::{Field, Whole, fields, lines};
use super::rule::{self, Rule};

/// Files within files within files. Source: `CONF_FILE_MAX_DEPTH`.
const DEEPEST: usize = 10;

/// What a file names: another one, or a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    File(String),
    /// Its files that end in `.conf`.
    Directory(String),
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Text(String),
    /// The names of its files.
    Names(BTreeSet<String>),
    Absent,
    /// Why it could not be seen.
    Blind(String),
}

/// Everything that was looked at.
pub type Files = BTreeMap<Ask, Given>;

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub path: String,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// A line that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: Place,
    /// As it is written, those that it goes on with among it.
    pub text: String,
    /// What it says, or why the server refuses it.
    pub says: Result<Rule, String>,
}

/// The lines in the order in which the server tries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub lines: Vec<Line>,
    /// What has to be looked at before this is complete.
    pub missing: BTreeSet<Ask>,
}

impl Read {
    /// Lines that the server refuses. With any of them it keeps the rules it had, and does not start again.
    pub fn refused(&self) -> impl Iterator<Item = (&Line, &str)> {
        self.lines.iter().filter_map(|line| Some((line, line.says.as_ref().err()?.as_str())))
    }

    /// What counts.
    pub fn rules(&self) -> impl Iterator<Item = (&Line, &Rule)> {
        self.lines.iter().filter_map(|line| Some((line, line.says.as_ref().ok()?)))
    }
}

/// Reads the text of one file, of which nothing else is known.
pub fn read_text(path: &str, text: &str, release: u32) -> Read {
    read(path, &Files::from([(Ask::File(path.to_owned()), Given::Text(text.to_owned()))]), release)
}

/// Reads the file at a path, of what was looked at. `release`: the server's major version.
pub fn read(path: &str, files: &Files, release: u32) -> Read {
    let mut reader = Reader { files, release, read: Read::default() };
    // That there is none is the caller's to say.
    if let Ok(text) = reader.text(path) {
        reader.file(path, &text, 0);
    }
    reader.read
}

struct Reader<'f> {
    files: &'f Files,
    release: u32,
    read: Read,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, text: &str, depth: usize) {
        for Whole { number, text } in lines(text, self.release) {
            let raw = fields(&text, self.release);
            let at = Place { path: path.to_owned(), line: number };
            let says = match self.expand(path, &raw, depth) {
                Ok(fields) if fields.is_empty() => continue,
                Ok(fields) => match self.include(path, &fields, depth) {
                    Some(Ok(())) => continue,
                    Some(Err(why)) => Err(why),
                    None => rule::parse(&fields),
                },
                Err(why) => Err(why),
            };
            self.read.lines.push(Line { at, text: text.trim().to_owned(), says });
        }
    }

    /// Words in the place of those that name a file: `@FILE`.
    fn expand(&mut self, path: &str, raw: &[Field], depth: usize) -> Result<Vec<Field>, String> {
        let mut expanded = Vec::new();
        for field in raw {
            let mut words = Field::new();
            for word in field {
                match word.text.strip_prefix('@').filter(|name| !word.quoted && !name.is_empty()) {
                    Some(name) => words.extend(self.list(&beside(path, name), depth + 1)?),
                    None => words.push(word.clone()),
                }
            }
            // An empty file leaves no field at all.
            if !words.is_empty() {
                expanded.push(words);
            }
        }
        Ok(expanded)
    }

    /// Every word of a file, whatever line it is on.
    fn list(&mut self, path: &str, depth: usize) -> Result<Field, String> {
        if depth > DEEPEST {
            return Err(format!("{path} is named by files that are named by files, {DEEPEST} deep"));
        }
        let text = self.text(path)?;
        let mut words = Field::new();
        for Whole { text, .. } in lines(&text, self.release) {
            let raw = fields(&text, self.release);
            words.extend(self.expand(path, &raw, depth)?.into_iter().flatten());
        }
        Ok(words)
    }

    /// From 16 on a line can stand for a file. `None`: this one does not.
    fn include(&mut self, path: &str, fields: &[Field], depth: usize) -> Option<Result<(), String>> {
        let [first, second] = fields else { return None };
        let (word, name) = (&first.first()?.text, &second.first()?.text);
        if self.release < 16 || !["include", "include_if_exists", "include_dir"].contains(&word.as_str()) {
            return None;
        }
        let target = beside(path, name);
        if depth >= DEEPEST {
            return Some(Err(format!("{target} is included by files that are included, {DEEPEST} deep")));
        }
        let included = match word.as_str() {
            "include_dir" => self.names(&target),
            _ => Ok(vec![target]),
        };
        let paths = match included {
            Ok(paths) => paths,
            Err(why) => return Some(Err(why)),
        };
        for path in paths {
            let ask = Ask::File(path.clone());
            let is_optional = word == "include_if_exists";
            match self.text(&path) {
                Ok(text) => self.file(&path, &text, depth + 1),
                Err(_) if is_optional && self.files.get(&ask) == Some(&Given::Absent) => {}
                Err(why) => return Some(Err(why)),
            }
        }
        Some(Ok(()))
    }

    fn text(&mut self, path: &str) -> Result<String, String> {
        let ask = Ask::File(path.to_owned());
        match self.files.get(&ask) {
            Some(Given::Text(text)) => Ok(text.clone()),
            Some(Given::Absent | Given::Names(_)) => Err(format!("there is no file {path}")),
            Some(Given::Blind(why)) => Err(why.clone()),
            None => {
                self.read.missing.insert(ask);
                Err(format!("{path} was not looked at"))
            }
        }
    }

    /// The files of a directory that count, in their order.
    fn names(&mut self, path: &str) -> Result<Vec<String>, String> {
        let ask = Ask::Directory(path.to_owned());
        let counts = |name: &&String| !name.starts_with('.') && name.len() >= 6 && name.ends_with(".conf");
        match self.files.get(&ask) {
            Some(Given::Names(names)) => {
                Ok(names.iter().filter(counts).map(|name| format!("{path}/{name}")).collect())
            }
            Some(Given::Absent | Given::Text(_)) => Err(format!("there is no directory {path}")),
            Some(Given::Blind(why)) => Err(why.clone()),
            None => {
                self.read.missing.insert(ask);
                Err(format!("{path} was not looked at"))
            }
        }
    }
}

/// A path as the file that names it means it.
fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) if !name.starts_with('/') => format!("{directory}/{name}"),
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        let file =
            |(path, text): &(&str, &str)| (Ask::File((*path).to_owned()), Given::Text((*text).to_owned()));
        all.iter().map(file).collect()
    }

    fn shown(read: &Read) -> Vec<String> {
        let list = |words: &Field| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join("+");
        let line = |line: &Line| match &line.says {
            Ok(rule) => format!("{} {} {}", line.at, list(&rule.databases), list(&rule.users)),
            Err(why) => format!("{} {why}", line.at),
        };
        read.lines.iter().map(line).collect()
    }

    #[test]
    fn a_list_may_be_in_a_file_and_files_in_files() {
        let files = files(&[
            ("/d/pg_hba.conf", "# x\nlocal a,@dbs @empty peer\nlocal @dbs u peer\nlocal \"@dbs\" u peer\n"),
            ("/d/dbs", "b, c # more\n@more/two\n"),
            ("/d/more/two", "d\n"),
            ("/d/empty", "\n# nothing\n"),
        ]);
        let read = read("/d/pg_hba.conf", &files, 15);
        assert_eq!(
            shown(&read),
            // The users of the second line are gone, so that what follows them is read as users.
            ["/d/pg_hba.conf:2 it has no method", "/d/pg_hba.conf:3 b+c+d u", "/d/pg_hba.conf:4 @dbs u"]
        );
        assert!(read.missing.is_empty());
    }

    #[test]
    fn lines_may_be_in_files_from_16_on() {
        let mut files = files(&[
            ("/d/pg_hba.conf", "include more.conf\ninclude_if_exists no\ninclude_dir d\nlocal z u peer\n"),
            ("/d/more.conf", "local a u peer\n"),
            ("/d/d/1.conf", "local b u peer\n"),
            ("/d/d/2.conf", "\nlocal c u peer\n"),
        ]);
        let first = read("/d/pg_hba.conf", &files, 16);
        let asked = [Ask::File("/d/no".to_owned()), Ask::Directory("/d/d".to_owned())];
        assert_eq!(first.missing, BTreeSet::from(asked.clone()));
        let names = ["2.conf", "1.conf", ".3.conf", "old"].map(str::to_owned);
        files.extend(asked.into_iter().zip([Given::Absent, Given::Names(BTreeSet::from(names))]));
        let whole = read("/d/pg_hba.conf", &files, 16);
        assert_eq!(
            shown(&whole),
            ["/d/more.conf:1 a u", "/d/d/1.conf:1 b u", "/d/d/2.conf:2 c u", "/d/pg_hba.conf:4 z u"]
        );
        assert_eq!(read("/d/pg_hba.conf", &files, 15).refused().count(), 3);
    }
}
