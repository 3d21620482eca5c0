//! What a lint of the inventory found.

use serde_json::{Value, json};

use crate::error::Problem;
use crate::report::paint::Paint;
use crate::report::text::count;

pub struct Found {
    pub mistakes: Vec<Problem>,
    pub warnings: Vec<Warning>,
}

pub struct Warning {
    /// By which it is silenced.
    pub name: &'static str,
    pub problem: Problem,
}

/// Mistakes, then warnings, each with its place; one line that sums them up.
pub fn text(found: &Found, paint: Paint) -> String {
    let mistakes = found.mistakes.iter().map(|problem| format!("{problem}\n\n"));
    let warnings = found.warnings.iter().map(|Warning { name, problem }| {
        let message = format!("{} [{name}]", problem.message);
        format!("{}\n\n", Problem { message, ..problem.clone() })
    });
    let sum = match (found.mistakes.len(), found.warnings.len()) {
        (0, 0) => paint.green("nothing is wrong with it"),
        (0, warnings) => format!("{}; --allow NAME silences one", paint.yellow(&count(warnings, "warning"))),
        (mistakes, 0) => paint.red(&count(mistakes, "mistake")),
        (mistakes, warnings) => {
            format!(
                "{}, {}",
                paint.red(&count(mistakes, "mistake")),
                paint.yellow(&count(warnings, "warning"))
            )
        }
    };
    mistakes.chain(warnings).collect::<String>() + &sum + "\n"
}

pub fn json(found: &Found) -> Value {
    let warning = |warning: &Warning| {
        let mut value = problem(&warning.problem);
        value["name"] = json!(warning.name);
        value
    };
    json!({
        "mistakes": found.mistakes.iter().map(problem).collect::<Vec<_>>(),
        "warnings": found.warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}

fn problem(problem: &Problem) -> Value {
    let place = problem.place.as_ref();
    json!({
        "message": problem.message,
        "hint": problem.hint,
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
    })
}
