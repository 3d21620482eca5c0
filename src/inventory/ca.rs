//! The formation's own certificate authority: where it is on this machine, and how its key is kept there.

use super::host::Host;
use super::resolved;
use super::source::Source;
use super::value::Value;
use crate::error::Problem;
use crate::formation::{Ca, CaCommand, Protection};

pub(super) const PASSPHRASE: &str = "ca_key_passphrase";
const COMMAND: &str = "ca_command";
const PROTECTION: &str = "ca_key_protection";
const RECIPIENTS: &str = "ca_key_recipients";

pub(super) fn read(host: &Host, source: &mut Source) -> Ca {
    let dir = host.given("ca_dir").zip(host.text("ca_dir"));
    let command = host.given(COMMAND).zip(host.text(COMMAND));
    if let (Some((at, _)), Some(key)) =
        (&command, [PROTECTION, PASSPHRASE].iter().find_map(|name| host.given(name)))
    {
        let problem = Problem::new(format!("`{}` cannot be with `{COMMAND}`", key.variable.name));
        let hint = format!("the other is on {}: with it muster has no key", source.line(at.key_span));
        source.problem(key.key_span, problem.hint(hint));
    }
    Ca {
        command: command.map(|(given, line)| CaCommand {
            line,
            base: source.base(given.span).to_string_lossy().into_owned(),
        }),
        dir: dir.map(|(given, folder)| resolved(source.base(given.span), &folder)),
        protection: protection(host, source),
        passphrase: host.sought(PASSPHRASE, source),
    }
}

fn protection(host: &Host, source: &mut Source) -> Option<Protection> {
    let recipients = match host.given(RECIPIENTS).map(|given| &given.value) {
        Some(Value::Recipients(list)) => list.clone(),
        _ => Vec::new(),
    };
    let word = host.text(PROTECTION);
    match (word.as_deref(), host.given(RECIPIENTS), host.given(PROTECTION)) {
        (Some("age"), None, Some(given)) => {
            let problem = Problem::new(format!("`{PROTECTION}: age` needs `{RECIPIENTS}`"));
            let hint = "give whom the key is encrypted for, e.g. the public key of ~/.ssh/id_ed25519 or `age1…` of age-keygen";
            source.problem(given.span, problem.hint(hint));
        }
        (word, Some(given), _) if word != Some("age") => {
            let problem = Problem::new(format!("`{RECIPIENTS}` is there without `{PROTECTION}: age`"));
            source.problem(given.key_span, problem.hint("give both, or neither"));
        }
        (_, _, _) => {}
    }
    match word.as_deref()? {
        "none" => Some(Protection::Clear),
        "passphrase" => Some(Protection::Passphrase),
        "vault" => Some(Protection::Vault),
        _ => Some(Protection::Age { recipients }),
    }
}
