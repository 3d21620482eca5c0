//! The shape of a YAML inventory as a JSON Schema, for editors: made from the table of variables.
//!
//! Draft 7, as that is what yaml-language-server knows well. What only the whole inventory can tell is not in it.

use serde_json::{Map, Value, json};

use super::settings::OWNED;
use super::variables::{Fallback, Kind, OWN, Scope, VARIABLES, Variable};

/// A value with a template in it can be of any variable.
const TEMPLATE: &str = r"\{[\{%#]";
/// Ansible's words, in any case, where they are quoted or YAML 1.2 takes them for text.
const FLAG: &str = "^([Tt][Rr][Uu][Ee]|[Yy][Ee][Ss]|[Oo][Nn]|[Ff][Aa][Ll][Ss][Ee]|[Nn][Oo]|[Oo][Ff][Ff])$";

/// The whole schema.
pub fn schema() -> Value {
    let names = |of: &str| json!({"anyOf": [{"type": "string"}, named(of)]});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "muster inventory",
        "description": "Groups of hosts and their variables, as Ansible has them.",
        "type": "object",
        "additionalProperties": {"$ref": "#/definitions/group"},
        "definitions": {
            "group": {
                "description": "A group: hosts, variables, groups below it.",
                "type": ["object", "null"],
                "properties": {
                    "hosts": names("vars"),
                    "vars": {"$ref": "#/definitions/vars"},
                    "children": names("group"),
                },
                "additionalProperties": false,
            },
            "vars": {
                "description": "Variables; those that are not muster's are others'.",
                "type": ["object", "null"],
                "properties": variables(),
            },
        },
    })
}

/// A mapping of names, each to one of `definitions`.
fn named(definition: &str) -> Value {
    let reference = format!("#/definitions/{definition}");
    json!({"type": ["object", "null"], "additionalProperties": {"$ref": reference}})
}

fn variables() -> Map<String, Value> {
    let mut properties = Map::new();
    for variable in VARIABLES {
        properties.insert(variable.name.to_owned(), property(variable));
        properties.insert(format!("{OWN}{}", variable.name), property(variable));
        for other in variable.other_names {
            let mut property = property(variable);
            property["deprecated"] = json!(true);
            property["deprecationMessage"] = json!(format!("the same as {}", variable.name));
            properties.insert((*other).to_owned(), property);
        }
    }
    properties
}

fn property(variable: &Variable) -> Value {
    let template = json!({"type": "string", "pattern": TEMPLATE});
    let mut choices = choices(variable.kind);
    choices.push(template);
    if variable.name.starts_with("ansible_") {
        choices.push(json!({"enum": ["", null], "description": "as if it were not given"}));
    }
    let mut property = json!({"description": description(variable), "anyOf": choices});
    if let Fallback::Is(text) = variable.default {
        property["default"] = match (variable.kind, text.parse::<i64>()) {
            (Kind::Flag, _) => json!(text == "true"),
            (Kind::Number { .. }, Ok(number)) => json!(number),
            _ => json!(text),
        };
    }
    property
}

fn description(variable: &Variable) -> String {
    let default = match variable.default {
        Fallback::Is(text) => format!("Default: {text}."),
        Fallback::From(how) => format!("Default: {how}."),
        Fallback::Required => "Required.".to_owned(),
    };
    let scope = match variable.scope {
        Scope::Formation => "One value for the formation.",
        Scope::Group => "One value for the nodes of a group.",
        Scope::Node => "For a node.",
        Scope::Server => "For a node or the monitor.",
    };
    format!("{} {default} {scope}", variable.doc)
}

/// What a value may be, but for templates.
fn choices(kind: Kind) -> Vec<Value> {
    let text = || json!({"type": ["string", "number"]});
    match kind {
        Kind::Flag => vec![json!({"type": "boolean"}), json!({"type": "string", "pattern": FLAG})],
        Kind::Number { least, most } => vec![
            json!({"type": "integer", "minimum": least, "maximum": most}),
            json!({"type": "string", "pattern": "^[+-]?[0-9]+$"}),
        ],
        Kind::Choice(words) => vec![json!({"enum": words})],
        // Others' plugins are for hosts outside the formation.
        Kind::Plugin(words) => vec![json!({"enum": words}), json!({"type": "string", "minLength": 1})],
        Kind::Text { expected, .. } if expected.starts_with("an absolute path") => {
            vec![json!({"type": "string", "pattern": "^/", "description": expected})]
        }
        Kind::Text { expected, .. } => {
            vec![json!({"type": ["string", "number"], "minLength": 1, "description": expected})]
        }
        Kind::Secret => {
            let words = json!({"type": "array", "minItems": 1, "items": text()});
            let command = json!({"cmd": {"anyOf": [{"type": "string"}, words]}});
            vec![
                text(),
                json!({
                    "type": "object",
                    "properties": command,
                    "required": ["cmd"],
                    "additionalProperties": false,
                }),
            ]
        }
        // A group may have this name, but a variable is a URI.
        Kind::MonitorUri => vec![json!({"type": "string", "pattern": "^postgres(ql)?://"})],
        Kind::Settings => {
            let owned: Vec<&str> = OWNED.iter().map(|(name, _)| *name).collect();
            vec![json!({
                "type": ["object", "null"],
                "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_.]*$", "not": {"enum": owned}},
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            })]
        }
        Kind::SshArgs => vec![json!({"type": "string"})],
        Kind::HostKeys | Kind::Names | Kind::Recipients => {
            vec![json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}})]
        }
        Kind::Rules => vec![
            json!({"type": ["array", "null"], "items": {"type": ["string", "object"]}}),
            json!({"type": "object"}),
            json!({"type": "string", "pattern": "(local|host)"}),
        ],
    }
}
