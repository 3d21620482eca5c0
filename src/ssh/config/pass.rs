//! One reading of the configuration: from its first line to its last, the first value of each keyword counts.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{Lines, Trust};
use super::keywords::{self, Key, Meaning, Row};
use super::lines::Line;
use super::matching::{self, Subject, Verdict};
use super::tokens::{self, Connection, Tokens};
use super::values;
use crate::error::{Place, Problem};
use crate::ssh::credentials::Credentials;
use crate::ssh::settings::Origin;

/// `READCONF_MAX_DEPTH`.
const DEEPEST: usize = 16;
/// Lines of one reading: without it, a few files that include each other often would be read for years.
const MOST_LINES: usize = 200_000;
/// `SSH_MAX_IDENTITY_FILES` and `SSH_MAX_CERTIFICATE_FILES`.
const MOST_IDENTITIES: usize = 100;

/// What was said, and where.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) words: Vec<String>,
    pub(super) origin: Origin,
    /// The line; `None` where it was no file's.
    pub(super) place: Option<Place>,
}

/// What counts so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    values: BTreeMap<Key, Value>,
    pub(super) identity_files: Vec<Value>,
    pub(super) certificate_files: Vec<Value>,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    User,
    System,
}

/// Whether a line is for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Yes,
    No,
}

/// How a file is read.
#[derive(Clone, Copy)]
struct Way {
    owner: Owner,
    depth: usize,
    /// Included where nothing is meant: its lines must be right, and say nothing.
    is_silent: bool,
}

pub(super) struct Pass<'a> {
    pub(super) credentials: &'a Credentials,
    /// What was asked for.
    pub(super) original: &'a str,
    /// What `Host` matches: what was asked for, and where it leads to in the second reading.
    pub(super) host: &'a str,
    pub(super) is_final: bool,
    /// `Match final` was met.
    pub(super) wants_final: bool,
    /// Read so far, and one for each file.
    pub(super) lines: usize,
}

impl Chosen {
    pub(super) fn get(&self, key: Key) -> Option<&Value> {
        self.values.get(&key)
    }

    /// The one word of a value.
    pub(super) fn word(&self, key: Key) -> Option<&str> {
        self.values.get(&key)?.words.first().map(String::as_str)
    }

    /// Where a value stands, to be added to a problem with it.
    pub(super) fn blame(&self, key: Key, problem: Problem) -> Problem {
        match self.get(key).and_then(|value| value.place.clone()) {
            Some(place) => problem.at(place),
            None => problem,
        }
    }

    /// Takes a value, unless there is one already; files of keys add up.
    pub(super) fn add(&mut self, key: Key, value: Value) -> Result<(), String> {
        let files = if key == Key::IdentityFile {
            &mut self.identity_files
        } else if key == Key::CertificateFile {
            &mut self.certificate_files
        } else {
            if !self.has_other_proxy(key, &value) {
                self.values.entry(key).or_insert(value);
            }
            return Ok(());
        };
        if files.len() >= MOST_IDENTITIES {
            return Err(format!("more than {MOST_IDENTITIES} files"));
        }
        if files.iter().all(|file| file.words != value.words) {
            files.push(value);
        }
        Ok(())
    }

    /// Of the two ways through a proxy the first one counts; `none` of a jump is no way.
    fn has_other_proxy(&self, key: Key, value: &Value) -> bool {
        let is_way = |words: &[String]| words.iter().all(|word| !word.eq_ignore_ascii_case("none"));
        let jump = self.values.get(&Key::ProxyJump);
        (key == Key::ProxyCommand && jump.is_some_and(|jump| is_way(&jump.words)))
            || (key == Key::ProxyJump && is_way(&value.words) && self.values.contains_key(&Key::ProxyCommand))
    }
}

impl Pass<'_> {
    /// Reads a file, if it is there.
    pub(super) fn read(
        &mut self,
        path: &Path,
        owner: Owner,
        trust: Trust,
        chosen: &mut Chosen,
    ) -> Result<bool, Problem> {
        let Some(file) = self.credentials.config().file(path, trust)? else { return Ok(false) };
        let mut is_meant = true;
        self.lines(&file, Way { owner, depth: 0, is_silent: false }, &mut is_meant, chosen)?;
        Ok(true)
    }

    fn lines(
        &mut self,
        file: &Lines,
        way: Way,
        is_meant: &mut bool,
        chosen: &mut Chosen,
    ) -> Result<(), Problem> {
        for line in &file.lines {
            let problem = match self.line(line, way, is_meant, chosen) {
                Ok(()) => continue,
                Err(problem) => problem,
            };
            return Err(match &line.place {
                Some(place) if problem.place.is_none() => problem.at(place.clone()),
                Some(_) | None => problem,
            });
        }
        Ok(())
    }

    fn line(
        &mut self,
        line: &Line,
        way: Way,
        is_meant: &mut bool,
        chosen: &mut Chosen,
    ) -> Result<(), Problem> {
        let Some(Row(_, meaning, _)) = keywords::row(&line.keyword) else { return unknown(line, chosen) };
        let wrong = |why: String| wrong(line, &why);
        match meaning {
            Meaning::Host => {
                let is_host = matching::host(&line.words, self.host).map_err(wrong)?;
                *is_meant = is_host && !way.is_silent;
            }
            Meaning::Match => *is_meant = self.matches(line, way, chosen)? && !way.is_silent,
            Meaning::Include => {
                for word in &line.words {
                    self.include(word, way, *is_meant, chosen).map_err(|problem| match problem.place {
                        None => wrong(problem.message),
                        Some(_) => problem,
                    })?;
                }
            }
            Meaning::Kept(_) | Meaning::Unused => {
                let meant = if *is_meant { Meant::Yes } else { Meant::No };
                take(line, Origin::Config, meant, chosen)?;
            }
        }
        Ok(())
    }

    fn include(&mut self, word: &str, way: Way, is_meant: bool, chosen: &mut Chosen) -> Result<(), Problem> {
        if word.is_empty() {
            return Err(Problem::new("a name is empty"));
        }
        if way.owner == Owner::System && word.starts_with('~') {
            return Err(Problem::new("~ is nobody's in the machine's own configuration"));
        }
        let anchored = match (word.starts_with(['/', '~']), way.owner) {
            (true, _) => word.to_owned(),
            (false, Owner::User) => format!("~/.ssh/{word}"),
            (false, Owner::System) => format!("/etc/ssh/{word}"),
        };
        // A home that is not known has no files.
        let Ok(pattern) = tokens::home(&anchored, self.credentials) else { return Ok(()) };
        let config = self.credentials.config();
        let depth = way.depth + 1;
        for path in config.included(&pattern).map_err(Problem::new)?.iter() {
            let Some(file) = config.file(path, Trust::Check)? else {
                return Err(Problem::new(format!("{} is a link to nothing", path.display())));
            };
            self.lines += 1 + file.lines.len();
            if depth > DEEPEST || self.lines > MOST_LINES {
                return Err(Problem::new("files include each other without an end"));
            }
            let is_silent = way.is_silent || !is_meant;
            // A block that begins in there ends in there.
            let mut is_meant = is_meant;
            self.lines(&file, Way { owner: way.owner, depth, is_silent }, &mut is_meant, chosen)?;
        }
        Ok(())
    }

    fn matches(&mut self, line: &Line, way: Way, chosen: &Chosen) -> Result<bool, Problem> {
        let local_user = self.credentials.user().unwrap_or_default();
        let user = chosen.word(Key::User).unwrap_or(local_user);
        let wrong = |why: String| wrong(line, &why);
        let host = match chosen.word(Key::HostName) {
            Some(name) if !self.is_final => Tokens::of_host_name(self.host).expand(name).map_err(wrong)?,
            Some(_) | None => self.host.to_owned(),
        };
        let tokens = || {
            let connection = Connection {
                host: &host,
                original: self.original,
                port: chosen.word(Key::Port).and_then(values::port).unwrap_or(22),
                user,
                key_alias: chosen.word(Key::HostKeyAlias).unwrap_or(&host),
                jump: &super::finish::last_jump(chosen),
            };
            Tokens::new(&connection, self.credentials)
        };
        let subject = Subject {
            host: &host,
            original: self.original,
            user,
            local_user,
            tag: chosen.word(Key::Tag).unwrap_or_default(),
            is_final: self.is_final,
            tokens: &tokens,
        };
        let config = self.credentials.config();
        // In a file that says nothing no command is worth running.
        let exec = |command: &str| if way.is_silent { Ok(false) } else { config.answer(command) };
        let matched = matching::criteria(&line.rest, &subject, &exec).map_err(wrong)?;
        self.wants_final |= matched.wants_final;
        Ok(matched.is_meant)
    }
}

/// Takes the value of a line, or of an option of the command line; it must be right even where it is not meant.
pub(super) fn take(line: &Line, origin: Origin, meant: Meant, chosen: &mut Chosen) -> Result<(), Problem> {
    let Some(Row(_, meaning, syntax)) = keywords::row(&line.keyword) else { return unknown(line, chosen) };
    let words = values::read(*syntax, &line.words, &line.rest).map_err(|why| wrong(line, &why))?;
    match meaning {
        Meaning::Host | Meaning::Match | Meaning::Include => {
            Err(wrong(line, "it belongs into a file").hint("name a file with -F"))
        }
        Meaning::Kept(key) if meant == Meant::Yes && !words.is_empty() => {
            let value = Value { words, origin, place: line.place.clone() };
            chosen.add(*key, value).map_err(|why| wrong(line, &why))
        }
        Meaning::Kept(_) | Meaning::Unused => Ok(()),
    }
}

fn unknown(line: &Line, chosen: &Chosen) -> Result<(), Problem> {
    let ignored = chosen.word(Key::IgnoreUnknown).map(str::to_ascii_lowercase);
    if ignored.is_some_and(|list| matching::matches_list(&line.keyword, &list) == Verdict::Matches) {
        return Ok(());
    }
    let problem = Problem::new(format!("unknown keyword {:?} of ssh_config", line.keyword));
    Err(match keywords::like(&line.keyword) {
        Some(known) => problem.hint(format!("did you mean {known}?")),
        None => problem.hint(format!("remove it, or say before it: IgnoreUnknown {}", line.keyword)),
    })
}

fn wrong(line: &Line, why: &str) -> Problem {
    let keyword = &line.keyword;
    Problem::new(format!("{keyword}: {why}")).hint(format!("see {keyword} in ssh_config(5)"))
}

/// A value that no line says.
pub(super) fn said(words: &[&str], origin: Origin) -> Value {
    Value { words: words.iter().map(|word| (*word).to_owned()).collect(), origin, place: None }
}
