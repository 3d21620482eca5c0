//! How a probe's answer is written and read: one record a line, "absent" and "could not look" apart.
//!
//! ```text
//! key=value      a word or a line of text
//! key:BASE64     the contents of a file, or anything that may hold a line end
//! key~           looked, and it is not there
//! key!reason     could not look
//! end=           the script ran to its end
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;

/// sh functions that write records. Read-only: nothing in a probe changes the host.
pub const FUNCTIONS: &str = r#"
say() { printf '%s=%s\n' "$1" "$2"; }
none() { printf '%s~\n' "$1"; }
blind() { printf '%s!%s\n' "$1" "$2"; }
# Whether a path that the shell cannot see is really absent: its nearest ancestor must be searchable.
sees() {
  d=${1%/*}
  while [ -n "$d" ] && [ ! -d "$d" ]; do
    if [ -e "$d" ]; then return 0; fi
    d=${d%/*}
  done
  [ -x "${d:-/}" ]
}
file() {
  if [ -f "$2" ] && [ -r "$2" ]; then printf '%s:' "$1"; base64 -w0 <"$2"; echo
  elif [ -e "$2" ] || [ -L "$2" ]; then blind "$1" "cannot read $2"
  elif sees "$2"; then none "$1"
  else blind "$1" "cannot look into $d"; fi
}
"#;

/// One answer of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Absent,
    /// Why it could not be seen.
    Blind(String),
}

/// All answers of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<String, Answer>);

impl Answers {
    /// Reads what the script printed; an answer that does not end in `end=` is an error.
    pub fn parse(stdout: &str) -> Result<Answers, String> {
        let mut answers = BTreeMap::new();
        for line in stdout.lines().filter(|line| !line.is_empty()) {
            let at =
                line.find(['=', ':', '~', '!']).ok_or_else(|| format!("unreadable answer: {line:.80}"))?;
            let (key, rest) = line.split_at(at);
            let value = &rest[1..];
            let answer = match &rest[..1] {
                "=" => Answer::Text(value.to_owned()),
                ":" => Answer::Text(decode(value).map_err(|why| format!("{key}: {why}"))?),
                "~" => Answer::Absent,
                _ => Answer::Blind(value.to_owned()),
            };
            answers.insert(key.to_owned(), answer);
        }
        match answers.remove("end") {
            Some(_) => Ok(Answers(answers)),
            None => Err("the answer is cut short".to_owned()),
        }
    }

    /// What was answered; a record that is missing could not be looked at.
    pub fn get(&self, key: &str) -> Answer {
        let missing = || Answer::Blind(format!("no answer about {key}"));
        self.0.get(key).cloned().unwrap_or_else(missing)
    }

    /// The text, nothing for absent, an error for what could not be seen.
    pub fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.get(key) {
            Answer::Text(text) => Ok(Some(text)),
            Answer::Absent => Ok(None),
            Answer::Blind(why) => Err(why),
        }
    }

    /// What is no reason to leave a host alone: `None` where nothing was said, or nobody can say.
    pub fn told(&self, key: &str) -> Option<String> {
        match self.get(key) {
            Answer::Text(text) => Some(text),
            Answer::Absent | Answer::Blind(_) => None,
        }
    }

    /// The lines of that.
    pub fn told_lines(&self, key: &str) -> Vec<String> {
        self.told(key).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The text of a record that must be there.
    pub fn need(&self, key: &str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| format!("no answer about {key}"))
    }

    /// A number that must be there.
    pub fn number<N: std::str::FromStr>(&self, key: &str) -> Result<N, String> {
        let text = self.need(key)?;
        text.trim().parse().map_err(|_| format!("{key} is not a number: {text:.40}"))
    }

    /// A yes or no that must be there; anything else is neither.
    pub fn flag(&self, key: &str) -> Result<bool, String> {
        match self.need(key)?.as_str() {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(format!("{key} is neither 0 nor 1: {other:.40}")),
        }
    }

    /// JSON that must be there.
    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        let text = self.need(key)?;
        serde_json::from_str(&text).map_err(|why| format!("{key}: {why}"))
    }
}

/// Bytes that are no UTF-8 (an old log line, a Latin-1 comment) read as replacement characters.
fn decode(text: &str) -> Result<String, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|why| why.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_unseen_are_different_answers() {
        let answers = Answers::parse("a=1\nb:aGkK\nc~\nd!cannot read /d\nend=\n").unwrap();
        assert_eq!(answers.number::<u32>("a"), Ok(1));
        assert_eq!(answers.text("b"), Ok(Some("hi\n".to_owned())));
        assert_eq!(answers.text("c"), Ok(None));
        assert_eq!(answers.text("d"), Err("cannot read /d".to_owned()));
        assert_eq!(answers.text("e"), Err("no answer about e".to_owned()));
    }

    #[test]
    fn half_an_answer_is_none() {
        assert_eq!(Answers::parse("a=1\n"), Err("the answer is cut short".to_owned()));
        assert!(Answers::parse("a=1\nb:%%\nend=\n").is_err());
    }
}
