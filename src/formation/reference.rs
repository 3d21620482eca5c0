//! What may stand in an inventory in place of a password: the word before the first colon says where it is.

use std::fmt;

use super::Secret;

/// Where a password is, or the password itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Text(Secret),
    /// A variable of muster's environment.
    Env(String),
    /// A path as it is written.
    File(String),
    /// For `sh -c`.
    Line(String),
    /// A program and its arguments.
    Program(Vec<String>),
    /// A path as it is written.
    Age(String),
}

/// A value as the inventory has it, before anybody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Reference(Reference),
    /// What ansible-vault has encrypted; it may hold a reference.
    Vault(String),
}

/// A secret that is looked for no sooner than something needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    pub held: Held,
    /// Where relative paths start and programs run.
    pub base: String,
}

/// Where the text of a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stands in an inventory for everybody to read.
    Clear,
    /// ansible-vault: the value, or the file that it stands in.
    Vault,
    Env,
    File,
    Command,
    Age,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Clear => "in clear text",
            Origin::Vault => "encrypted by ansible-vault",
            Origin::Env => "in the environment",
            Origin::File => "in a file",
            Origin::Command => "what a command says",
            Origin::Age => "in an age file",
        })
    }
}

impl Reference {
    /// Takes a value apart; the error says what is missing, and nothing of the value.
    pub fn parse(text: &str) -> Result<Reference, String> {
        let Some((word, rest)) = text.split_once(':') else { return Ok(Reference::Text(Secret::new(text))) };
        let what = match word {
            "env" => "the name of a variable",
            "file" | "age" => "a path",
            "cmd" => "a command",
            "text" => return Ok(Reference::Text(Secret::new(rest))),
            _ => return Ok(Reference::Text(Secret::new(text))),
        };
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(format!("`{word}:` needs {what} behind it"));
        }
        let rest = rest.to_owned();
        Ok(match word {
            "env" => Reference::Env(rest),
            "file" => Reference::File(rest),
            "age" => Reference::Age(rest),
            _ => Reference::Line(rest),
        })
    }

    pub fn origin(&self) -> Origin {
        match self {
            Reference::Text(_) => Origin::Clear,
            Reference::Env(_) => Origin::Env,
            Reference::File(_) => Origin::File,
            Reference::Line(_) | Reference::Program(_) => Origin::Command,
            Reference::Age(_) => Origin::Age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_and_a_colon_say_where_it_is() {
        let text = |text: &str| Ok(Reference::Text(Secret::new(text)));
        for (given, expected) in [
            ("hunter2", text("hunter2")),
            ("a:b", text("a:b")),
            ("Env:X", text("Env:X")),
            ("environment:X", text("environment:X")),
            ("text:env:X", text("env:X")),
            ("text:", text("")),
            ("text: x", text(" x")),
            ("env:X", Ok(Reference::Env("X".to_owned()))),
            ("env: X", Ok(Reference::Env("X".to_owned()))),
            ("file:~/a b", Ok(Reference::File("~/a b".to_owned()))),
            ("cmd:pass show a:b", Ok(Reference::Line("pass show a:b".to_owned()))),
            ("age:x.age", Ok(Reference::Age("x.age".to_owned()))),
            ("env:", Err("`env:` needs the name of a variable behind it".to_owned())),
            ("cmd:  ", Err("`cmd:` needs a command behind it".to_owned())),
        ] {
            assert_eq!(Reference::parse(given), expected, "{given}");
        }
    }
}
