#!/usr/bin/env bash
# ansible-core-rs 0.16.0 (PyPI, August to October 2026): "drop-in replacement" for ansible-core, compared with ansible-core 2.19.14.
#
# Guess before the run: it reads YAML as YAML 1.2 does and differs in numbers (017, 1_000); hosts and comments are as in ansible-core.
# Seen: numbers differ as guessed, and so do the hosts. A range stays one host: `h[1:3]` is a host of that name, in INI and in YAML.
#   A comment behind a host's variables becomes variables: `a ansible_user=joe # comment` gives `#` and `comment`, each empty.
#   A comment behind a variable of `[g:vars]` is part of the value, and so are the quotes.
#   `inventory --list` is no dynamic inventory: there is no `_meta`, so that ansible-core cannot read its output.
# Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv rs && rs/bin/pip install -q 'ansible-core-rs==0.16.0'
python3 -m venv core && core/bin/pip install -q 'ansible-core==2.19.14'

cat >hosts.ini <<'INI'
[g]
h[1:3]
a ansible_user=joe # comment
[g:vars]
v = "q" # why
INI
cat >hosts.yml <<'YAML'
g:
  hosts:
    h[1:3]:
YAML
for file in hosts.ini hosts.yml; do
  rs/bin/ansible inventory -i "$file" --list >"rs.$file.json"
  core/bin/ansible-inventory -i "$file" --list >"core.$file.json"
done
rs/bin/ansible --version | sed -n 1p
python3 - <<'PYTHON'
import json

def read(name):
    with open(name) as file:
        return json.load(file)

theirs, core = read("rs.hosts.ini.json"), read("core.hosts.ini.json")
seen = {
    "hosts, INI": sorted(theirs["hosts"]),
    "hosts, YAML": sorted(read("rs.hosts.yml.json")["hosts"]),
    "variables of a": theirs["hosts"]["a"]["vars"],
    "v of g": theirs["groups"]["g"]["vars"]["v"],
    "has _meta": "_meta" in theirs,
}
hostvars = core["_meta"]["hostvars"]
reference = {
    "hosts, INI": sorted(core["g"]["hosts"]),
    "hosts, YAML": sorted(read("core.hosts.yml.json")["g"]["hosts"]),
    "variables of a": {name: value for name, value in hostvars["a"].items() if name != "v"},
    "v of g": hostvars["a"]["v"],
    "has _meta": True,
}
recorded = {
    "hosts, INI": ["a", "h[1:3]"],
    "hosts, YAML": ["h[1:3]"],
    "variables of a": {"#": "", "comment": "", "ansible_user": "joe"},
    "v of g": '"q" # why',
    "has _meta": False,
}
for name in recorded:
    print(f"{name}: ansible-core {reference[name]!r}, ansible-core-rs {seen[name]!r}")
assert reference == {
    "hosts, INI": ["a", "h1", "h2", "h3"],
    "hosts, YAML": ["h1", "h2", "h3"],
    "variables of a": {"ansible_user": "joe"},
    "v of g": "q",
    "has _meta": True,
}, "ansible-core behaves otherwise than recorded"
assert seen == recorded, "ansible-core-rs behaves otherwise than recorded"
print("as recorded")
PYTHON
