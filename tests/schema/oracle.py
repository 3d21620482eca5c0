"""Whether inventories fit a JSON Schema: the file of argv[1], and a text a line of JSON on standard input.

Answers each with a line: "" where it fits, else the first thing that does not; what is no YAML does not fit.
"""

import json
import sys

import jsonschema
import yaml


class Loader(yaml.SafeLoader):
    """YAML with Ansible's tags, whose values are text."""


for tag in ("!vault", "!unsafe"):
    Loader.add_constructor(tag, lambda loader, node: loader.construct_scalar(node))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    for line in sys.stdin:
        try:
            document = yaml.load(json.loads(line), Loader)
        except yaml.YAMLError as error:
            print(json.dumps(f"no YAML: {error}"))
            continue
        errors = sorted(validator.iter_errors(document), key=str)
        print(json.dumps("; ".join(f"{error.json_path}: {error.message}" for error in errors[:1])))


main()
