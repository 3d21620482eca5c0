"""What ansible-core makes of many inventories, in one process.

Reads lines of JSON, {"sources": […]}; answers each with a line: the inventory of
`ansible-inventory --list`, or {"error": …}. The tests see to it that the command itself says the same.
"""

import json
import os
import sys

os.environ.update(
    ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1",
    ANSIBLE_LOCALHOST_WARNING="0",
    ANSIBLE_DEPRECATION_WARNINGS="0",
    ANSIBLE_DEVEL_WARNING="0",
)

from ansible.cli.inventory import InventoryCLI  # noqa: E402
from ansible.inventory.manager import InventoryManager  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import init_plugin_loader  # noqa: E402
from ansible.vars.manager import VariableManager  # noqa: E402


def listed(cli, sources):
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=sources)
    cli.loader, cli.inventory = loader, inventory
    cli.vm = VariableManager(loader=loader, inventory=inventory, version_info={})
    return json.loads(cli.dump(cli.json_inventory(inventory.groups["all"])))


def main():
    cli = InventoryCLI(["ansible-inventory", "--list"])
    cli.parse()
    init_plugin_loader()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        try:
            answer = listed(cli, case["sources"])
        except Exception as error:  # noqa: BLE001
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
    answers.close()


main()
