//! A text as a person would write it in YAML: plain where that is safe, else in quotes.

/// Words that YAML, or an inventory, takes for something else than text.
const WORDS: [&str; 12] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ".nan", ".inf"];

/// The scalar for a text; braces that would be a template are kept from being one.
pub(super) fn scalar(text: &str) -> String {
    let braces = ["{{", "{%", "{#"].iter().any(|braces| text.contains(braces));
    let tag = if braces { "!unsafe " } else { "" };
    if is_plain(text) && !WORDS.contains(&text.to_ascii_lowercase().as_str()) && !braces {
        return text.to_owned();
    }
    format!("{tag}{}", quoted(text))
}

/// The same for the value of a setting: `on` and `off` are read as such.
pub(super) fn setting(text: &str) -> String {
    match text {
        "on" | "off" => text.to_owned(),
        _ => scalar(text),
    }
}

fn quoted(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Begins with a letter, a digit or `/`, and holds nothing that YAML has a meaning for.
fn is_plain(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_');
    let kept = |c: char| c.is_ascii_alphanumeric() || " _-./:@*+=()%\"'$;~<>|^,?&!".contains(c);
    first
        && text.chars().all(kept)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in [
            "a",
            "",
            "off",
            "No",
            "12",
            "0644",
            "1e3",
            "5 min",
            "it's",
            "a: b",
            "a #b",
            "#a",
            "- a",
            "*",
            "&a",
            "!x",
            "{a}",
            "[a",
            "%m [%p] ",
            "x:",
            "\"q\"",
            "hostssl shop \"App User\" 10.0.0.0/24 md5 # the shop",
            "täglich",
            "a, b",
            "@x",
            "`x`",
            "|",
            ">",
            "?",
            "1:30",
            "2026-01-01",
            "=",
            "~",
            "null",
        ] {
            let yaml: serde_yaml::Value =
                serde_yaml::from_str(&format!("a: {}", scalar(text))).expect("it is YAML");
            let back = match &yaml["a"] {
                serde_yaml::Value::String(back) => back.clone(),
                // An inventory takes the spelling of a number for the text it is.
                serde_yaml::Value::Number(_) => scalar(text),
                other => panic!("{text:?} became {other:?}"),
            };
            assert_eq!(back, text);
        }
        assert_eq!(scalar("{{ x }}"), "!unsafe '{{ x }}'");
        assert_eq!((setting("on"), scalar("on")), ("on".to_owned(), "'on'".to_owned()));
    }
}
