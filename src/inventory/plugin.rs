//! The configuration of one of Ansible's inventory plugins: `ansible-inventory` is asked for what it makes of it.

use std::io;
use std::path::Path;
use std::process::Command;

use super::script;
use super::source::{Source, Span, quote};
use super::store::{SourceName, Store};
use crate::error::Problem;
use crate::program::{self, Errors, PATIENCE, Silent};

const PROGRAM: &str = "ansible-inventory";

/// Asks for the sources so far and this one, as a plugin may add to what is there; and says so.
pub(super) fn read(
    plugin: &str,
    at: Span,
    sources: &[&str],
    is: &SourceName,
    base: &Path,
    store: &mut Store,
    source: &mut Source,
) {
    let plugin = quote(plugin);
    let said = match ask(&plugin, sources) {
        Ok(said) => said,
        Err(problem) => return source.problem(at, problem),
    };
    let message = format!("the hosts are those that {PROGRAM} found by Ansible's plugin {plugin}");
    source.warning("asked-ansible", Some(at), message);
    script::take(&said, &format!("{PROGRAM} --list"), |_, _| None, is, base, store, source);
}

fn ask(plugin: &str, sources: &[&str]) -> Result<String, Problem> {
    let mut command = Command::new(PROGRAM);
    command.args(sources.iter().flat_map(|source| ["-i", *source]));
    // With --export, variables stay with their groups, so that the levels hold.
    command.args(["--list", "--export"]).env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1");
    let failed = |why: String| {
        Problem::new(format!("this is of Ansible's inventory plugin {plugin}, and {PROGRAM} {why}"))
    };
    let said = program::run(&mut command, PATIENCE, Errors::Kept).map_err(|why| match why {
        Silent::CannotStart(error) if error.kind() == io::ErrorKind::NotFound => {
            failed("is not installed here".to_owned()).hint(
                "install ansible-core with the plugin; or let `ansible-inventory --list` make JSON of it elsewhere, and give that to muster",
            )
        }
        Silent::CannotStart(error) => failed(format!("cannot be started: {error}")),
        Silent::Failed(why) => failed(why),
    })?;
    script::answer(&said, failed)
}
