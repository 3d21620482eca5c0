//! `lookup` and `query`: the few of Ansible's lookups that read no more than the environment and the variables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State};

use super::{error, sounds_secret, undefined};

/// The functions' names; `query` and `q` give a list.
pub(super) const FUNCTIONS: [&str; 3] = ["lookup", "query", "q"];

/// Adds the functions; `secret` is set where a variable of the environment sounds like a password's.
pub(super) fn add(environment: &mut Environment<'static>, secret: &Arc<AtomicBool>) {
    for function in FUNCTIONS {
        let secret = secret.clone();
        let found = move |state: &State, plugin: String, terms: Rest<Value>, named: Kwargs| {
            let plugin = ["ansible.builtin.", "ansible.legacy."]
                .iter()
                .find_map(|prefix| plugin.strip_prefix(prefix))
                .unwrap_or(&plugin);
            let found = match plugin {
                "env" => terms.iter().map(|name| of_environment(name, &named, &secret)).collect(),
                "vars" => terms.iter().map(|name| of_variables(state, name, &named)).collect(),
                other => Err(refused(other)),
            };
            let found: Vec<Value> = found?;
            named.assert_all_used()?;
            Ok(match (function, found.as_slice()) {
                ("lookup", [one]) => one.clone(),
                // As Ansible: several become one text.
                ("lookup", several) if plugin == "env" => {
                    several.iter().map(Value::to_string).collect::<Vec<_>>().join(",").into()
                }
                (_, _) => Value::from(found),
            })
        };
        environment.add_function(function, found);
    }
}

/// What is not set is empty, unless a default is given.
fn of_environment(name: &Value, named: &Kwargs, secret: &AtomicBool) -> Result<Value, Error> {
    let name = name.as_str().ok_or_else(|| error("`lookup('env', …)` wants the name of a variable"))?;
    let default = named.get::<Option<Value>>("default")?;
    if sounds_secret(name) {
        secret.store(true, Ordering::Relaxed);
    }
    match std::env::var(name) {
        Ok(value) => Ok(value.into()),
        Err(std::env::VarError::NotPresent) => Ok(default.unwrap_or_else(|| "".into())),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(error(format!("the variable `{name}` of the environment is not UTF-8")))
        }
    }
}

fn of_variables(state: &State, name: &Value, named: &Kwargs) -> Result<Value, Error> {
    let name = name.as_str().ok_or_else(|| error("`lookup('vars', …)` wants the name of a variable"))?;
    let default = named.get::<Option<Value>>("default")?;
    let found = state.lookup(name).filter(|value| !value.is_undefined());
    found.or(default).ok_or_else(|| undefined(format!("`{name}`")))
}

/// What to do in the place of a lookup that is not here.
fn refused(plugin: &str) -> Error {
    let instead = match plugin {
        "file" => "write the text itself; a password may be `file:PATH` as a whole, without a template",
        "pipe" | "lines" => "a password may be `cmd:COMMAND` as a whole, without a template",
        "password"
        | "passwordstore"
        | "hashi_vault"
        | "community.hashi_vault.hashi_vault"
        | "onepassword"
        | "community.general.onepassword"
        | "community.general.passwordstore"
        | "bitwarden"
        | "amazon.aws.aws_secret"
        | "aws_secret" => "let the password's variable be `cmd:COMMAND`, a command that prints it",
        "template" => "write the template itself as the value",
        "first_found" => "name the file",
        _ => "write the value itself; a password may be `cmd:COMMAND`",
    };
    let plugin = super::super::source::quote(plugin);
    Error::new(ErrorKind::UnknownFunction, format!("the lookup {plugin} is Ansible's alone; {instead}"))
}
