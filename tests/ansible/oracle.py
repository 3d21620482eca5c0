"""What ansible-core makes of many inventories, in one process.

Reads lines of JSON, {"sources": […], "values": [[HOST, VARIABLE], …], "patterns": […]}; answers each with a line:
the inventory of `ansible-inventory --list`, or {"error": …}; with it what each variable is once its templates are
filled in, and which hosts each pattern means. The tests see to it that the command itself says the same.
"""

import json
import math
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
from ansible._internal._templating._utils import Omit  # noqa: E402
from ansible.template import Templar  # noqa: E402
from ansible.vars.hostvars import HostVars  # noqa: E402
from ansible.vars.manager import VariableManager  # noqa: E402


def plain(value):
    """Numbers that JSON has none for, and what Ansible hides in its own types."""
    if isinstance(value, dict):
        return {("null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)): plain(item)
                for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, str):
        return str(value)
    return value


def values(cli, loader, asked):
    """As tasks' arguments: `omit` leaves nothing there."""
    templars = {}
    for host, name in asked:
        if host not in templars:
            variables = cli.vm.get_vars(host=cli.inventory.get_host(host))
            variables["omit"] = Omit
            templars[host] = variables, Templar(loader=loader, variables=variables)
        variables, templar = templars[host]
        try:
            found = templar.template({"it": variables[name]})
            yield {"is": plain(found["it"])} if "it" in found else {}
        except Exception as error:  # noqa: BLE001
            yield {"error": str(error)}


def selected(inventory, pattern):
    try:
        return [host.name for host in inventory.list_hosts(pattern)]
    except Exception as error:  # noqa: BLE001
        return {"error": str(error)}


def listed(cli, case):
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=case["sources"])
    cli.loader, cli.inventory = loader, inventory
    cli.vm = VariableManager(loader=loader, inventory=inventory, version_info={})
    cli.vm.hostvars = HostVars(inventory=inventory, variable_manager=cli.vm, loader=loader)
    answer = json.loads(cli.dump(cli.json_inventory(inventory.groups["all"])))
    answer = {"list": plain(answer)}
    answer["values"] = list(values(cli, loader, case.get("values", [])))
    answer["patterns"] = [selected(inventory, pattern) for pattern in case.get("patterns", [])]
    return answer


def main():
    cli = InventoryCLI(["ansible-inventory", "--list"])
    cli.parse()
    init_plugin_loader()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        try:
            answer = listed(cli, case)
        except Exception as error:  # noqa: BLE001
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
    answers.close()


main()
