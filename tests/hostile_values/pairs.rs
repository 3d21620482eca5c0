//! Each variable with each value, and any two variables hostile at once.

use std::collections::{BTreeMap, BTreeSet};

use muster::command::quote;
use muster::formation::NodeKind;
use muster::inventory::variables::{Kind, VARIABLES};

use crate::readers::Word;
use crate::scene::{Given, formation, inventory, words};
use crate::values::{SPOTS, Shape, Spot, filled, fitting, hostile};

/// A word that stands for the hostile part, in the form that the variable takes, and is nowhere else.
fn marker(spot: Spot, index: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(index).unwrap());
    match spot.variable {
        "maximum_backup_rate" => format!("77{index:02}"),
        // An address is its own name backwards.
        _ => format!("zq{letter}zq"),
    }
}

/// A word of the harmless values, and which markers are in it: in most there are none.
struct Calm {
    word: Word,
    within: Vec<usize>,
}

fn calm(words: Vec<Word>, markers: &[String]) -> Vec<Calm> {
    let calm = words.into_iter().map(|word| {
        let is_in = |index: &usize| word.1.contains(markers[*index].as_str());
        Calm { within: (0..markers.len()).filter(is_in).collect(), word }
    });
    calm.collect()
}

/// The words of the harmless values, with the hostile ones in their place, are the words of the hostile ones.
fn same(harmless: &[Calm], hostile: &[Word], parts: &[(String, &str)]) -> Result<(), String> {
    for (index, Calm { word: (kind, text), within }) in harmless.iter().enumerate() {
        let Some((found_kind, found)) = hostile.get(index) else {
            return Err(format!("there is no {kind} {text:?}"));
        };
        if kind != found_kind {
            return Err(format!("{found_kind} {found:?} is in the place of {kind} {text:?}"));
        }
        // A statement for \gexec is shown as its words are.
        let is_statement = kind.ends_with(": statement") || kind.ends_with(": check");
        let wanted = within.iter().map(|part| &parts[*part]).fold(text.clone(), |text, (marker, value)| {
            let shown = format!("{value:?}");
            text.replace(marker.as_str(), if is_statement { &shown[1..shown.len() - 1] } else { value })
        });
        // Names for a host to resolve are in their own order.
        let list = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        // A server is met at the first address it listens on, and on this machine's own if that is every address.
        let met = |text: &str| {
            let Some((hosts, port)) = text.rsplit_once(':') else { return text.to_owned() };
            match hosts.split(',').next().unwrap_or_default().trim() {
                "" | "*" | "0.0.0.0" => format!("127.0.0.1:{port}"),
                "::" | "[::]" => format!("[::1]:{port}"),
                first if first.contains(':') && !first.starts_with('[') => format!("[{first}]:{port}"),
                first => format!("{first}:{port}"),
            }
        };
        let is_same = list(&wanted) == list(found) || met(&wanted) == *found;
        // A host's name of digits would be an address in a rule: there stands the one that it has.
        let is_number = kind.ends_with("file: bare") && muster::hba::numeric(&wanted).is_some();
        let is_its_address = is_number && found.starts_with("192.0.2.") && found.ends_with("/32");
        if wanted != *found && !(kind == "probe: argument" && is_same) && !is_its_address {
            return Err(format!("{kind} is {found:?} and not {wanted:?}"));
        }
    }
    match hostile.get(harmless.len()) {
        Some((kind, text)) => Err(format!("there is more: {kind} {text:?}")),
        None => Ok(()),
    }
}

/// What the inventory says to these values: that they are refused, or the words.
fn tried(shape: Shape, parts: &[(Spot, String)]) -> Option<Vec<Word>> {
    let filled: Vec<(&'static str, String)> =
        parts.iter().map(|(spot, value)| (spot.variable, filled(*spot, value))).collect();
    let given: Given = filled.iter().map(|(variable, value)| (*variable, value.as_str())).collect();
    let (text, lines) = inventory(shape, &given);
    match formation(shape, &given) {
        Ok(formation) => Some(words(&formation, given.get("hba").copied())),
        Err(problems) => {
            for problem in &problems {
                let place =
                    problem.place.as_ref().unwrap_or_else(|| panic!("no line: {problem}\n{text:.500}"));
                let is_there =
                    lines.iter().any(|(variable, line)| given.contains_key(variable) && *line == place.line);
                let said = problem.to_string();
                assert!(place.file == "db.yml" && is_there, "another line: {said}\n{text:.500}");
                assert!(
                    !said.chars().any(|c| c.is_control() && c != '\n'),
                    "it steers the terminal: {said:?}"
                );
                assert!(said.len() < 2_000, "nobody reads it: {said:.500}");
            }
            None
        }
    }
}

fn harmless(shape: Shape, parts: &[(Spot, String)]) -> Vec<Word> {
    tried(shape, parts).unwrap_or_else(|| panic!("refused: {parts:?}"))
}

/// The variables that hold no text, or none that reaches a host, with every value as it is: an error with its line, or a
/// formation.
#[test]
fn every_other_variable_takes_or_refuses_every_value() {
    for variable in
        VARIABLES.iter().filter(|variable| SPOTS.iter().all(|spot| spot.variable != variable.name))
    {
        // It is a folder of this machine, which is read.
        if variable.name == "templates_dir" {
            continue;
        }
        for value in hostile() {
            let given = Given::from([(variable.name, value.as_str())]);
            if let Err(problems) = formation(Shape::Plain, &given) {
                assert!(
                    problems.iter().all(|problem| problem.place.is_some()),
                    "{}: {value:.80?}: {problems:?}",
                    variable.name
                );
            }
        }
    }
}

/// A variable that holds text and has no place in the table here would not be tried.
#[test]
fn every_text_has_its_place() {
    let tried: BTreeSet<&str> = SPOTS.iter().map(|spot| spot.variable).collect();
    // Of this machine alone: files, and options of ssh, which `tests/ssh_config.rs` compares with ssh.
    let local = [
        "templates_dir",
        "secrets_dir",
        "ca_dir",
        "ca_command",
        "ca_key_recipients",
        "ca_key_passphrase",
        "ansible_ssh_private_key_file",
        "known_hosts",
        "host_key",
        "ansible_ssh_common_args",
        "ansible_ssh_args",
        "ansible_ssh_extra_args",
    ];
    for variable in VARIABLES {
        let is_text =
            !matches!(variable.kind, Kind::Flag | Kind::Number { .. } | Kind::Choice(_) | Kind::Plugin(_));
        assert!(
            !is_text || tried.contains(variable.name) || local.contains(&variable.name),
            "{} is not tried",
            variable.name
        );
    }
}

/// By spot: the values that are taken; each of them arrived.
fn accepted(spot: Spot) -> Vec<String> {
    let mark = marker(spot, 0);
    let calm = calm(harmless(spot.shape, &[(spot, mark.clone())]), std::slice::from_ref(&mark));
    let mut taken = Vec::new();
    for value in hostile().iter().map(|value| fitting(spot, value)) {
        let Some(mut found) = tried(spot.shape, &[(spot, value.clone())]) else { continue };
        // Nodes go by their names.
        if spot.variable == "name" {
            let words = calm.iter().map(|calm| &calm.word);
            let calm = words.map(|(kind, text)| (kind.clone(), text.replace(&mark, &value)));
            let mut calm: Vec<Word> = calm.collect();
            calm.sort();
            found.sort();
            assert_eq!(calm, found, "{value}");
            continue;
        }
        same(&calm, &found, &[(mark.clone(), &value)])
            .unwrap_or_else(|why| panic!("{spot:?} {value:?}: {why}"));
        taken.push(value);
    }
    taken
}

/// What has to be taken, lest a test of what arrives tests nothing.
#[test]
fn hostile_values_do_arrive() {
    let takes = |variable: &str, value: &str| {
        let spot = SPOTS.iter().find(|spot| spot.variable == variable).unwrap();
        assert!(tried(spot.shape, &[(*spot, value.to_owned())]).is_some(), "{variable}: {value}");
    };
    for value in ["'", "\"", "\\", "$(touch /x)", "`touch /x`", "%s", "{{ 7*7 }}", "--", ":'a'", "\\gexec"] {
        takes("formation", value);
        takes("password", value);
        takes("settings", value);
    }
    for value in ["a b", "%s", "{{ 7*7 }}", "*", "~", "&&", "|", "(a)", "🐘", "é"] {
        takes("pgdata", value);
    }
    takes("dbname", "--");
    takes("password", "'; drop table t; --");
}

/// Each value alone, and every two values of every two variables that meet in a formation, in as few formations as do: of p²
/// of them, p a prime, variable k has in number (i, j) its value i + k·j modulo p.
fn all_pairs(shape: Shape) {
    /// Values of a variable at least; the worst ones come first.
    const LEAST: usize = 11;
    let mut names = BTreeSet::new();
    let spots: Vec<Spot> = SPOTS
        .iter()
        .copied()
        .filter(|spot| spot.shape == shape && spot.variable != "name" && names.insert(spot.variable))
        .collect();
    let is_prime = |n: usize| (2..n).all(|d| !n.is_multiple_of(d));
    let p = (LEAST.max(spots.len())..).find(|n| is_prime(*n)).unwrap();
    let values: Vec<Vec<String>> = spots
        .iter()
        .enumerate()
        .map(|(index, spot)| {
            let mut values = accepted(*spot);
            // The longest tell nothing more beside others.
            values.retain(|value| value.len() < 64);
            values.truncate(p);
            // It takes nothing that is hostile.
            if values.is_empty() {
                values.push(marker(*spot, index));
            }
            values
        })
        .collect();
    for other in SPOTS.iter().filter(|other| {
        other.shape == shape
            && !spots.iter().any(|spot| spot.around == other.around && spot.variable == other.variable)
    }) {
        accepted(*other);
    }
    let marks: Vec<String> = spots.iter().enumerate().map(|(index, spot)| marker(*spot, index)).collect();
    let words = harmless(shape, &spots.iter().copied().zip(marks.iter().cloned()).collect::<Vec<_>>());
    let calm = calm(words, &marks);
    let rows: Vec<(usize, usize)> = (0..p).flat_map(|i| (0..p).map(move |j| (i, j))).collect();
    std::thread::scope(|scope| {
        for part in rows.chunks(rows.len().div_ceil(4)) {
            let (spots, values, marks, calm) = (&spots, &values, &marks, &calm);
            scope.spawn(move || {
                for (i, j) in part {
                    let chosen = |k: usize| values[k][(i + k * j) % p % values[k].len()].clone();
                    let parts: Vec<(Spot, String)> =
                        (0..spots.len()).map(|k| (spots[k], chosen(k))).collect();
                    // Who is a superuser under the name of his system's user comes in as a peer.
                    let of = |name: &str| -> String {
                        let part = parts.iter().find(|(spot, _)| spot.variable == name);
                        part.map_or(name, |(_, value)| value.as_str()).to_owned()
                    };
                    if of("username") == of("become_user") {
                        continue;
                    }
                    // What is fine alone may not be together: two hosts of one address.
                    let Some(found) = tried(shape, &parts) else { continue };
                    let by_mark: Vec<(String, &str)> =
                        marks.iter().cloned().zip(parts.iter().map(|(_, value)| value.as_str())).collect();
                    same(calm, &found, &by_mark).unwrap_or_else(|why| panic!("{parts:?}: {why}"));
                }
            });
        }
    });
}

#[test]
fn any_two_of_a_plain_formation() {
    all_pairs(Shape::Plain);
}

#[test]
fn any_two_of_a_citus_formation() {
    all_pairs(Shape::Citus);
}

#[test]
fn any_two_beside_an_external_monitor() {
    all_pairs(Shape::External);
}

/// Names of hosts, where nothing else says how they are reached, and of groups; and of settings.
#[test]
fn hostile_names() {
    for value in hostile() {
        let name = serde_json::to_string(&value).unwrap();
        let host = format!(
            "all: {{vars: {{pgdata: /data}}, children: {{monitor: {{hosts: {{m: }}}}, postgres: {{hosts: {{\n  {name}: {{name: x}}}}}}}}}}\n"
        );
        let group = format!(
            "all: {{vars: {{pgdata: /data}}, children: {{monitor: {{hosts: {{m: }}}}, postgres: {{hosts: {{a: }}}},\n  {name}: {{hosts: {{a: }}}}}}}}\n"
        );
        // An extension's: of others PostgreSQL's own table is asked.
        let extension = serde_json::to_string(&format!("x.{value}")).unwrap();
        let setting = format!(
            "all: {{vars: {{pgdata: /data, settings: {{\n  {extension}: 1}}}}, children: {{monitor: {{hosts: {{m: }}}}, postgres: {{hosts: {{a: }}}}}}}}\n"
        );
        for text in [host, group, setting] {
            match muster::inventory::parse("db.yml", &text, "".as_ref()) {
                Ok(formation) => drop(words(&formation, None)),
                Err(problems) => {
                    for problem in problems {
                        assert!(problem.place.as_ref().is_some_and(|place| place.line >= 1), "{problem}");
                    }
                }
            }
        }
    }
}

/// A template is evaluated, and what it gives is judged as what is given; what is no template is an error with its line.
#[test]
fn templates_are_evaluated_once() {
    let text = |value: &str| {
        format!(
            "all: {{vars: {{pgdata: /data, x: '{{% raw %}}{{{{ 7*7 }}}}{{% endraw %}}',\n  formation: {value}}}, children: {{monitor: {{hosts: {{m: }}}}, postgres: {{hosts: {{a: }}}}}}}}\n"
        )
    };
    let name = |value: &str| {
        muster::inventory::parse("db.yml", &text(value), "".as_ref()).map(|formation| formation.name)
    };
    assert_eq!(name("'{{ 7*7 }}'").unwrap(), "49");
    assert_eq!(name("!unsafe '{{ 7*7 }}'").unwrap(), "{{ 7*7 }}");
    assert_eq!(name("'{{ x }}'").unwrap(), "{{ 7*7 }}");
    for wrong in ["'{%'", "'{{'", "'{# '"] {
        let problems = name(wrong).unwrap_err();
        assert_eq!(problems[0].place.as_ref().unwrap().line, 2, "{problems:?}");
    }
}

/// The one place where arguments become text of a shell, asked of the shell.
#[test]
fn a_shell_reads_back_every_argument() {
    let values: Vec<String> = hostile().into_iter().filter(|value| !value.contains('\0')).collect();
    let words: BTreeMap<usize, String> = values.iter().map(|value| quote(value)).enumerate().collect();
    let line = format!("printf '%s\\0' {}", words.into_values().collect::<Vec<_>>().join(" "));
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    let expected: String = values.iter().map(|value| format!("{value}\0")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// The scene is what it is taken for: each kind of node is in it, and each format is read.
#[test]
fn the_scenes_are_whole() {
    let citus = formation(Shape::Citus, &Given::new()).unwrap();
    let kinds: BTreeSet<&str> = citus.nodes.values().map(|node| node.kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["coordinator", "worker"]));
    assert!(citus.nodes.values().any(|node| node.is_reader() && node.kind == NodeKind::Coordinator));
    let mut found: Vec<Word> = words(&citus, None);
    found.extend(words(&formation(Shape::Plain, &Given::new()).unwrap(), None));
    for kind in [
        "literal",
        "identifier",
        "statement",
        "quoted",
        "name",
        "value",
        "section",
        "argument",
        "password",
        "sslrootcert",
        "line",
    ] {
        assert!(found.iter().any(|(found, _)| found.ends_with(&format!(": {kind}"))), "{kind}");
    }
}
