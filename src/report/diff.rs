//! A managed file as a plan shows it.

use similar::TextDiff;

use crate::report::paint::Paint;
use crate::report::text::{mask, plain};
use crate::step::{Content, File};

/// How much of files a plan shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// What changes in files that are there.
    Changes,
    /// The whole text of new files too.
    All,
}

/// The change as a unified diff; nothing where there is nothing to show. A hidden content shows neither side.
pub fn text(file: &File, contents: Contents, paint: Paint) -> String {
    let new = match &file.content {
        Content::Hidden(_) | Content::PrivateKey(_) => return "(content hidden)\n".to_owned(),
        Content::Binary(bytes) => return format!("({} bytes)\n", bytes.len()),
        Content::Text(new) | Content::Certificate(new) => new,
    };
    // What is there is not to be shown: it holds a password, or is no text that says something.
    let before = file.before.as_ref().filter(|text| !text.is_empty() || new.is_empty());
    if before.is_none() && file.before.is_some() && contents == Contents::Changes {
        return String::new();
    }
    match (before, contents) {
        (Some(old), Contents::Changes | Contents::All) if old == new => "(content unchanged)\n".to_owned(),
        (Some(old), Contents::Changes | Contents::All) => unified(old, new, paint),
        (None, Contents::All) => unified("", new, paint),
        (None, Contents::Changes) => String::new(),
    }
}

fn unified(old: &str, new: &str, paint: Paint) -> String {
    let diff = TextDiff::from_lines(old, new);
    // Masked only now: a changed password is a changed line, though both sides then look alike.
    let shown = plain(&mask(&diff.unified_diff().context_radius(3).to_string()));
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'+') => paint.green(line),
        Some(b'-') => paint.red(line),
        _ => paint.dim(line),
    };
    match paint {
        Paint::Plain => shown,
        Paint::Colour => shown.lines().map(|line| colour(line) + "\n").collect(),
    }
}
