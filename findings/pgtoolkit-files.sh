#!/usr/bin/env bash
# pgtoolkit 0.33.0 (PyPI): readers of postgresql.conf, pg_hba.conf and .pgpass, on files that PostgreSQL takes.
#
# Guess before the run: whatever `postgres -C` and libpq read is read, and quoted words keep their commas.
# Seen:
#   postgresql.conf: a `#` within quotes ends the line for it: log_line_prefix = '%m # [%p] ' is a ValueError. A name in capitals, which
#     PostgreSQL takes, is a "Bad line".
#   pg_hba.conf: a comma within quotes separates: "a,b",c is read as the three users `"a`, `b"` and c. A line that ends in a backslash
#     (PostgreSQL 14 and later) and `include` (16 and later) are a ParseError.
#   .pgpass: a host whose colons are escaped, as libpq demands for ::1, is an "Invalid line"; so is a password with a plain colon, which
#     libpq takes as it stands.
# Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v && v/bin/pip install -q 'pgtoolkit==0.33.0'
v/bin/pip list 2>/dev/null | grep pgtoolkit
v/bin/python - <<'PYTHON'
import io

from pgtoolkit import conf, hba, pgpass

def outcome(read, text):
    try:
        return read(io.StringIO(text))
    except Exception as error:
        return type(error).__name__

def users(text):
    return [record.users for record in hba.parse(text)]

def passwords(text):
    return [line.password for line in pgpass.parse(text).lines]

def settings(text):
    return conf.parse(text).as_dict()

recorded = [
    (settings, "log_line_prefix = '%m # [%p] '\n", "ValueError"),
    (settings, "WORK_MEM = 4MB\n", "ValueError"),
    (users, 'host all "a,b",c 10.0.0.1/32 md5\n', [['"a', 'b"', "c"]]),
    (users, "host all all \\\n 10.0.0.1/32 md5\n", "ParseError"),
    (users, 'include "more.conf"\n', "ParseError"),
    (passwords, "\\:\\:1:5432:d:u:p\n", "ParseError"),
    (passwords, "h:5432:d:u:p:q\n", "ParseError"),
]
changed = 0
for read, text, expected in recorded:
    seen = outcome(read, text)
    changed += seen != expected
    print(f"{read.__name__}: {text!r} gives {seen!r}" + ("" if seen == expected else f", recorded was {expected!r}"))
assert changed == 0, f"{changed} behave otherwise than recorded"
print("as recorded")
PYTHON
