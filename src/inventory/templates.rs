//! `templates_dir:`, the operator's own templates.

use std::collections::BTreeMap;
use std::path::Path;

use super::alike::nearest;
use super::host::Given;
use super::source::{Source, quote};
use crate::bounded;
use crate::error::Problem;

/// Bytes of a template.
const LARGEST: u64 = 1 << 20;

/// The templates that can be replaced.
pub const TEMPLATES: [&str; 3] = ["postgresql.conf.j2", "pg_hba.conf.j2", "pgautofailover.service.j2"];

/// Reads the folder; files of other names are not ours, and probably misspelt.
pub(super) fn read(folder: &Path, given: &Given, source: &mut Source) -> BTreeMap<String, String> {
    let mut templates = BTreeMap::new();
    let mut names = match std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => {
            entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        }
        Err(error) => {
            let problem =
                Problem::new(format!("cannot read the folder {}: {error}", quote(&folder.to_string_lossy())));
            source.problem(given.span, problem.hint("`templates_dir` is relative to the inventory's folder"));
            return templates;
        }
    };
    names.sort_unstable();
    for name in names.into_iter().filter(|name| !name.starts_with('.')) {
        if !TEMPLATES.contains(&name.as_str()) {
            let near =
                nearest(&name, TEMPLATES).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            source.warning(
                "unused-template",
                Some(given.span),
                format!("{} in `templates_dir` is not used{near}", quote(&name)),
            );
            continue;
        }
        let text = bounded::read(&folder.join(&name), LARGEST)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8")));
        match text {
            Ok(text) => {
                templates.insert(name, text);
            }
            Err(error) => {
                source.problem(
                    given.span,
                    Problem::new(format!("cannot read the template {}: {error}", quote(&name))),
                );
            }
        }
    }
    templates
}
