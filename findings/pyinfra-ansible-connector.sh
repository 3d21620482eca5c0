#!/usr/bin/env bash
# pyinfra-ansible-inventory-connector 0.1.1 with pyinfra 3.10.0 and ansible-core 2.19.14 (PyPI): an Ansible inventory for pyinfra.
#
# Guess before the run: it loads the inventory by ansible-core itself, so pyinfra gets what a playbook would get.
# Seen: ranges and groups are as in Ansible. Templates are not rendered: a variable arrives as the text "{{ base }}/x".
#   A port in quotes, which Ansible takes and many inventories have, ends pyinfra: the value is one of ansible-core's tagged strings and no int,
#   and no host of the inventory is used, also none that is without fault.
# Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v
v/bin/pip install -q 'pyinfra==3.10.0' 'ansible-core==2.19.14' 'pyinfra-ansible-inventory-connector==0.1.1'
cat >templates.yml <<'YAML'
web:
  hosts:
    w[1:2]:
  vars:
    base: /srv
    path: "{{ base }}/x"
YAML
cat >port.yml <<'YAML'
web:
  hosts:
    w1:
    w2:
      ansible_port: "2222"
YAML
for name in templates port; do
  v/bin/pyinfra -y "@ansible/$name.yml" debug-inventory >"$name.txt" 2>&1 || echo "exit code $?" >>"$name.txt"
done
printf 'Ansible renders: '
v/bin/ansible w1 -i templates.yml -c local -m debug -a var=path 2>/dev/null | grep path
printf 'pyinfra gets:    '
grep '"path"' templates.txt | sort -u
grep -o 'Invalid connector data.*' port.txt
grep -q '^\[w1\]' templates.txt
grep -q '^\[w2\]' templates.txt
grep -qF '"path": "{{ base }}/x"' templates.txt
grep -q 'Invalid connector data .ssh_port.' port.txt
if grep -q '^\[w1\]' port.txt; then echo "w1 is used, recorded was otherwise"; exit 1; fi
echo "as recorded"
