//! The checks of `verify`, by whose view they take.

use serde_json::{Value, json};

use crate::report::paint::Paint;
use crate::report::text::{count, plain};
use crate::verify::{Check, View, Wrong};

/// A line a check: `ok` with what was seen, `FAILED` with what is wrong.
pub fn text(checks: &[Check], paint: Paint) -> String {
    let mut text = String::new();
    for view in View::ALL {
        let of_view: Vec<&Check> = checks.iter().filter(|check| check.view == view).collect();
        if of_view.is_empty() {
            continue;
        }
        text += &format!("{}\n", paint.bold(view.as_str()));
        for check in of_view {
            let (word, says) = match &check.result {
                Ok(seen) => (paint.green("ok    "), seen.as_str()),
                Err(Wrong::Out(why)) => (paint.yellow("out   "), why.as_str()),
                Err(wrong) => (paint.red("FAILED"), wrong.why()),
            };
            text += &format!("  {word} {}: {}\n", plain(&check.subject), plain(says));
        }
    }
    let is_out = |check: &&Check| matches!(check.result, Err(Wrong::Out(_)));
    let out = checks.iter().filter(is_out).count();
    let failed = checks.iter().filter(|check| check.result.is_err()).count() - out;
    let checked = count(checks.len() - out, "check");
    let rest =
        if out == 0 { String::new() } else { format!("; {} left out for maintenance", count(out, "check")) };
    match failed {
        0 => format!("{text}{}\n", paint.green(&format!("{checked}, all ok{rest}"))),
        _ => format!("{text}{}\n", paint.red(&format!("{checked}, {failed} failed{rest}"))),
    }
}

pub fn json(checks: &[Check]) -> Value {
    let check = |check: &Check| {
        let says = match &check.result {
            Ok(says) => says.as_str(),
            Err(wrong) => wrong.why(),
        };
        json!({"view": check.view.as_str(), "subject": check.subject, "ok": check.result.is_ok(), "says": says})
    };
    checks.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_stand_under_their_view() {
        let check = |view, subject: &str, result| Check { view, subject: subject.into(), result };
        let checks = [
            check(View::Client, "formation default", Err(Wrong::Found("could not look: no psql".to_owned()))),
            check(View::Monitor, "w1a", Ok("primary".to_owned())),
        ];
        let expected = "\
monitor
  ok     w1a: primary
client
  FAILED formation default: could not look: no psql
2 checks, 1 failed
";
        assert_eq!(text(&checks, Paint::Plain), expected);
    }
}
