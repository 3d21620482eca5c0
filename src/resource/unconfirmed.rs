//! A change that a run has made and has not confirmed: it was cut off in between.

use crate::command::{Command, RunAs};
use crate::formation::Server;
use crate::op::Op;
use crate::probe::Answers;
use crate::step::{Action, Step};
use crate::undo;

/// `$pgdata`. Of a copy of another's data directory it is that one's.
pub const PROBE: &str = r#"
l=$pgdata/.muster-undo
if [ -d "$l" ] && ! [ -e "$l/confirmed" ] && [ "$(cat "$l/of" 2>/dev/null)" = "$(stat -L -c %d:%i "$pgdata") $(uname -n)" ]; then
  sed 's#.*/##' "$l/files" 2>/dev/null | { printf 'unconfirmed:'; base64 -w0; echo; }
else none unconfirmed; fi
"#;

/// The names of its files; `None` where there is no such change.
pub fn parse(answers: &Answers) -> Option<Vec<String>> {
    answers.told("unconfirmed").map(|text| text.lines().map(str::to_owned).collect())
}

/// What takes it back, if it is still there.
pub fn command(server: &Server, bin: &str) -> Command {
    Command::new(RunAs::User(server.os_user.clone()), undo::take_back()).args([bin, &server.pgdata])
}

/// Before anything else is done there: what is planned next is planned for what was there before.
pub fn take_back(server: &Server, bin: &str, names: &[String]) -> Step {
    let names = names.join(", ");
    let because = match names.as_str() {
        "" => "a run was cut off before it had changed anything".to_owned(),
        names => format!(
            "a run was cut off before it had confirmed that everybody still comes in with the new {names}"
        ),
    };
    Step::new(&server.name, Op::TakeBack, because, Action::Run(command(server, bin)))
}
