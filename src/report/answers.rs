//! What hosts answered to an operator's own command.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::command::Failure;
use crate::formation::NodeName;
use crate::report::paint::Paint;
use crate::report::text::{count, indented, plain};

/// What of a host's output is embedded in JSON: a thousand hosts must not fill the memory of who reads it.
pub const EMBEDDED: usize = 1024 * 1024;

/// The line above what these hosts said alike.
pub fn header(hosts: &[&NodeName], status: u32, length: u64, paint: Paint) -> String {
    let mut line = paint.bold(&title(hosts));
    if status != 0 {
        line += &format!(": {}", paint.red(&format!("status {status}")));
    }
    if length == 0 {
        line += if status == 0 { ": no output" } else { ", no output" };
    }
    format!("{line}\n")
}

/// What these hosts said alike on standard error; without a line above it where there is one host.
pub fn stderr(hosts: &[&NodeName], text: &str, of_many: Many) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match of_many {
        Many::Yes => format!("{}, stderr\n{}{end}", title(hosts), plain(text)),
        Many::No => format!("{}{end}", plain(text)),
    }
}

/// Whether more hosts than one were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    Yes,
    No,
}

/// Why there is no answer, and what to do about it.
pub fn failure(host: &NodeName, failure: &Failure) -> String {
    let (word, why) = reason(failure);
    format!("--- {host}: {word}: {why}")
}

/// A word for it, and the lines that say why, those after the first indented.
pub(super) fn reason(failure: &Failure) -> (&'static str, String) {
    let (word, why, hint) = match failure {
        Failure::Unreachable { reason, hint } => ("unreachable", reason.clone(), hint.as_str()),
        // It did not start, and the words may be many lines.
        Failure::Refused { stderr, .. } => ("failed", stderr.trim_end().to_owned(), ""),
        Failure::Lost { .. } | Failure::TimedOut { .. } => ("failed", failure.cause(), ""),
    };
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
    let why = plain(&format!("{why}{hint}"));
    let (first, rest) = why.split_once('\n').unwrap_or((&why, ""));
    (word, format!("{first}\n{}", indented(rest, 4)))
}

/// One line for what is not well, where many hosts were asked: `8 of 10 hosts are ok; w1a: status 3; …`.
pub fn summary(all: usize, wrong: &[(&NodeName, String)]) -> String {
    let words: Vec<&String> = wrong.iter().map(|(_, word)| word).collect();
    let mut kinds: Vec<&String> = words.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let of_kind = |kind: &String| {
        let names: Vec<&str> =
            wrong.iter().filter(|(_, word)| word == kind).map(|(name, _)| name.0.as_str()).collect();
        format!("; {kind}: {}", names.join(","))
    };
    let kinds: String = kinds.into_iter().map(of_kind).collect();
    format!("{} of {} ok{kinds}\n", all - wrong.len(), count(all, "host"))
}

/// A host's answer as JSON: text where it is UTF-8, else base64; `stdout` holds its first [`EMBEDDED`] bytes at most.
pub fn json(status: u32, seconds: f64, stdout: &[u8], length: u64, stderr: &str) -> Value {
    let is_cut = length > stdout.len() as u64;
    let text = match str::from_utf8(stdout) {
        Ok(text) => Some(text),
        // A character that is cut in two is no reason to call the text none.
        Err(error) if is_cut && error.error_len().is_none() => {
            str::from_utf8(&stdout[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let (key, said) = match text {
        Some(text) => ("stdout", text.to_owned()),
        None => ("stdout_base64", base64::engine::general_purpose::STANDARD.encode(stdout)),
    };
    let mut answer = Map::new();
    answer.insert("status".to_owned(), json!(status));
    answer.insert("seconds".to_owned(), json!(seconds));
    answer.insert(key.to_owned(), json!(said));
    answer.insert("stdout_bytes".to_owned(), json!(length));
    if is_cut {
        answer.insert("stdout_truncated".to_owned(), json!(true));
    }
    answer.insert("stderr".to_owned(), json!(stderr));
    Value::Object(answer)
}

fn title(hosts: &[&NodeName]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.0.as_str()).collect();
    match hosts {
        [one] => format!("--- {one}"),
        _ => format!("--- {} ({})", names.join(","), count(hosts.len(), "host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_who_and_how() {
        let (a, b) = (NodeName::from("a"), NodeName::from("b"));
        assert_eq!(header(&[&a], 0, 3, Paint::Plain), "--- a\n");
        assert_eq!(header(&[&a, &b], 0, 0, Paint::Plain), "--- a,b (2 hosts): no output\n");
        assert_eq!(header(&[&a], 3, 0, Paint::Plain), "--- a: status 3, no output\n");
        let wrong = [(&a, "status 3".to_owned()), (&b, "unreachable".to_owned())];
        assert_eq!(summary(5, &wrong), "3 of 5 hosts ok; status 3: a; unreachable: b\n");
    }

    #[test]
    fn json_holds_bytes_of_any_kind() {
        let answer = json(0, 0.5, "aé".as_bytes(), 3, "");
        assert_eq!((&answer["stdout"], &answer["stdout_truncated"]), (&json!("aé"), &Value::Null));
        assert_eq!(json(0, 0.5, &"aé".as_bytes()[..2], 3, "")["stdout"], "a");
        assert_eq!(json(0, 0.5, b"a\xff", 2, "")["stdout_base64"], "Yf8=");
    }
}
