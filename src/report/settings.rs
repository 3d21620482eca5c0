//! How a host is reached, as `ssh -G` has it.

use std::collections::BTreeMap;

use crate::report::text::plain;

/// A keyword and its value a line.
pub fn text(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(keyword, value)| format!("{keyword} {}\n", plain(value).replace('\n', " "))).collect()
}

/// The values of each keyword, in their order.
pub fn json<'a>(rows: &'a [(&'a str, String)]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (keyword, value) in rows {
        values.entry(keyword).or_default().push(value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_may_come_again() {
        let rows =
            [("identityfile", "a".to_owned()), ("port", "22".to_owned()), ("identityfile", "b\n".to_owned())];
        assert_eq!(json(&rows)["identityfile"], ["a", "b\n"]);
        assert_eq!(text(&rows).lines().count(), 3);
    }
}
