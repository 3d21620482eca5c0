#!/usr/bin/env bash
# Three young YAML readers for Python that are made of Rust crates (PyPI, 2026): py-yaml12 0.2.0, yaml-rs 0.1.6, ryaml 0.5.1.
#
# Guess before the run: all are YAML 1.2, so `yes` is a string and `0o17` is 15; a tag that a reader does not know is an error,
#   as it is in PyYAML; a second document is an error where one is asked for; no digits of an integer are lost.
# Seen (each only in the package that is named):
#   py-yaml12: `!!int "3"` is the string "3". An integer of thirty digits becomes a float, so digits are lost without a word.
#     Of two documents the second is dropped without a word. A key that is given twice is taken, and the last one counts.
#   yaml-rs: an unknown tag is dropped: `!vault |` is a plain string, so nobody sees that a value is encrypted. `!!set` makes a set, but
#     `!!binary` stays its base64 text. `12:30:00` is a datetime.time. `loads` gives a list if there are two documents, and a mapping if
#     there is one.
#   ryaml: an unknown tag becomes a mapping whose only key is the tag: {"!vault": "x\n"}.
# Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v && v/bin/pip install -q 'py-yaml12==0.2.0' 'yaml-rs==0.1.6' 'ryaml==0.5.1'
v/bin/pip list 2>/dev/null | grep -iE 'yaml'
v/bin/python - <<'PYTHON'
import datetime

import ryaml
import yaml12
import yaml_rs

VAULT, DOCUMENTS, LONG = "a: !vault |\n  x\n", "---\na: 1\n---\nb: 2\n", "a: 123456789012345678901234567890"
read = {"py-yaml12": yaml12.parse_yaml, "yaml-rs": yaml_rs.loads, "ryaml": ryaml.loads}
recorded = [
    ("py-yaml12", 'a: !!int "3"', {"a": "3"}),
    ("py-yaml12", LONG, {"a": 1.2345678901234568e29}),
    ("py-yaml12", DOCUMENTS, {"a": 1}),
    ("py-yaml12", "a: 1\na: 2\n", {"a": 2}),
    ("yaml-rs", VAULT, {"a": "x\n"}),
    ("yaml-rs", "a: !!set {x, y}", {"a": {"x", "y"}}),
    ("yaml-rs", "a: !!binary aGk=", {"a": "aGk="}),
    ("yaml-rs", "a: 12:30:00", {"a": datetime.time(12, 30)}),
    ("yaml-rs", DOCUMENTS, [{"a": 1}, {"b": 2}]),
    ("ryaml", VAULT, {"a": {"!vault": "x\n"}}),
]
changed = 0
for package, text, expected in recorded:
    seen = read[package](text)
    same = seen == expected and type(seen) is type(expected)
    changed += not same
    print(f"{package}: {text!r} gives {seen!r}" + ("" if same else f", recorded was {expected!r}"))
assert changed == 0, f"{changed} behave otherwise than recorded"
print("as recorded")
PYTHON
