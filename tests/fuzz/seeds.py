#!/usr/bin/env python3
"""Makes the first inputs of each fuzz target from what the repository has: seeds.py FOLDER."""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OUT = pathlib.Path(sys.argv[1])
COUNT = {}


def put(target, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    number = COUNT[target] = COUNT.get(target, 0) + 1
    data = data.encode() if isinstance(data, str) else data
    (folder / f"seed-{number:04}").write_bytes(data)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def files(case):
    """The files of a case of tests/ansible: `---- NAME` and its text."""
    for part in re.split(r"^---- ", case, flags=re.M)[1:]:
        name, _, text = part.partition("\n")
        yield name.strip(), text


# Inventories: the examples, the cases that are compared with Ansible's, the wrong ones.
for path in sorted((ROOT / "inventory").glob("*.yml")):
    put("inventory_yaml", path.read_bytes())
for path in sorted((ROOT / "inventory").glob("*.ini")):
    put("inventory_ini", path.read_bytes())
for path in sorted((ROOT / "tests/ansible").glob("*.txt")):
    for case in re.split(r"^==== ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
        for name, text in files(case):
            if name.endswith(".ini"):
                put("inventory_ini", text)
            elif "_vars/" in name:
                put("variables_file", text)
            elif text.startswith("#!"):
                said = re.search(r"\{.*\}", text, flags=re.S)
                put("inventory_program", said.group(0) if said else "{}")
            else:
                put("inventory_yaml", text)
            for template in re.findall(r"\{\{.*?\}\}", text):
                put("jinja", template)
for case in re.split(r"^==== ", read("tests/inventory/wrong.txt"), flags=re.M)[1:]:
    put("inventory_yaml", case.partition("\n")[2].split("---- says")[0])
put("inventory_program", json.dumps({
    "_meta": {"hostvars": {"a": {"pgdata": "/data", "x": [1, None, {"y": "{{ z }}"}]}}},
    "all": {"children": ["ungrouped", "postgres", "monitor"]},
    "postgres": {"hosts": ["a", "b"], "vars": {"pgport": 5433}},
    "monitor": ["mon"],
}))

# Values: the first byte says which variable, the second how.
for which in range(64):
    for how, text in [(0, "'; drop table t; --"), (0, "$(touch /x)"), (0, "-J a,b -o ProxyCommand='x %h' -F none"),
                      (0, "postgres://u:p%40@[::1]:5432/db?sslmode=require&sslrootcert=/ca"),
                      (1, "hostssl a b 10.0.0.0/8 scram-sha-256\nlocal all all peer"), (2, "work_mem=4MB\nport=1"),
                      (3, '["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"]')]:
        put("values", bytes([which, how]) + text.encode())

for text in ["{{ y }}\0{{ x }}\0{{ listen }}", "{{ z | join(',') }}\0{% for i in range(9) %}{{ i }}{% endfor %}\0a",
             "{{ hostvars['b.example'].x }}\0{{ groups['postgres'][0] | upper }}\0{{ x.split('.')[0] }}",
             "{{ ('a' * 99) | replace('a', 'b') }}\0{{ x is defined and y in z }}\0{{ namespace(a=1).a }}"]:
    put("jinja", text)
for text in ["db[01:12].x:2222", "w[a:f]", "a[1:9:2]b[x:z]", "[2001:db8::1]:22", "a,b,c", "2001:db8::[1:9]", "a[:2]"]:
    put("hosts", text)
for text in re.findall(r'"([^"\n]*)"', read("src/pattern/tests.rs")):
    put("pattern", text)

# Facts: each line of an answer alone, and whole answers.
for path in sorted((ROOT / "tests/facts").glob("*.txt")):
    text = path.read_text(encoding="utf-8")
    put("facts", b"\0" + text.encode())
    for line in text.splitlines():
        for which in range(4):
            if path.stem == ["mon", "coord1", "w1a", "w1b"][which]:
                put("facts", bytes([which]) + line.encode() + b"\n")

for path in sorted((ROOT / "templates").iterdir()):
    put("template", path.read_bytes())
for path in sorted((ROOT / "tests/ssh_config").glob("*.txt")):
    for case in re.split(r"^=== .*$", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
        put("ssh_config", case.lstrip("\n"))

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
for text in re.findall(r'case\("[^"]*", "((?:[^"\\]|\\.)*)"', read("tests/ssh/known_hosts/cases.rs")):
    text = text.replace("\\n", "\n").replace("\\t", "\t")
    put("known_hosts", re.sub(r"\{[a-z-]*\}", lambda found: {"{name}": "db1", "{host}": "db1"}.get(found.group(0), KEY), text))
put("known_hosts", f"|1|J7jzezaa5KFTb7a9xE5szjocsus=|Vc3/ob/pvzpVBolkVITWR1hCyJg= {KEY}\n@revoked [db1]:2222 {KEY}\n")
put("key_file", KEY)
for path in sorted((ROOT / "tests/ssh/login").glob("*")) if (ROOT / "tests/ssh/login").is_dir() else []:
    for text in re.findall(r"-----BEGIN [A-Z ]*-----.*?-----END [A-Z ]*-----", path.read_text(encoding="utf-8"), flags=re.S):
        put("key_file", text)

print(", ".join(f"{target} {count}" for target, count in sorted(COUNT.items())))
