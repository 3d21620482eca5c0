#!/usr/bin/env bash
# Ten bare hosts become a Citus formation under a monitor; one group fails over; a rerun has nothing to do.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset MUSTER_LAB_NET # the inventory has the addresses of the default: a fleet of that network is taken, not made twice

LAB=tests/lab/lab.sh
INVENTORY=inventory/lab.yml
MUSTER=target/release/muster
GROUP=1

dbname() { sed -n 's/^ *dbname: *//p' $INVENTORY | head -n 1; }
part() { printf '\n\e[1m== %s\e[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

[ "$(id -u)" = 0 ] || { echo "make demo: needs root, it starts hosts of its own (systemd-nspawn)" >&2; exit 1; }

part "What this machine lacks"
run make --no-print-directory install-deps

part "muster itself"
run cargo build --release

part "Ten bare hosts: Debian with PostgreSQL and pg_autoctl installed, nothing set up (the first time this takes minutes)"
run $LAB up 10
run $LAB list
echo "Citus in this lab: $($LAB citus)"

part "Apply the inventory"
run $MUSTER apply --yes -i $INVENTORY

part "What the formation looks like"
run $MUSTER status -i $INVENTORY

# The monitor's data directory: its pg_autoctl.cfg lies under the directory's own path.
cfg=$($LAB ssh mon sudo find /var/lib/postgresql/.config/pg_autoctl -name pg_autoctl.cfg -printf '/%P' -quit)
[ -n "$cfg" ] || { echo "no monitor was set up on mon" >&2; exit 1; }
on_monitor() { printf 'cd / && sudo -u postgres -H env PGDATA=%s %s\n' "${cfg%/pg_autoctl.cfg}" "$*"; }
monitor() { $LAB ssh mon "$(on_monitor "$@")"; }
settled() { # every node is where the monitor wants it, and serves
  monitor pg_autoctl show state --json 2>/dev/null | python3 -c '
import json, sys
nodes = json.load(sys.stdin)
sys.exit(any(n["current_group_state"] != n["assigned_group_state"]
             or n["current_group_state"] not in ("primary", "secondary") for n in nodes))'
}

part "The primary of group $GROUP fails over"
run monitor pg_autoctl perform failover --formation default --group $GROUP
end=$((SECONDS + 120))
until settled; do
  [ $SECONDS -lt $end ] || { echo "not settled after 120 s" >&2; monitor pg_autoctl show state; exit 1; }
  sleep 1
done

part "The other node of group $GROUP is the primary now"
run $MUSTER status -i $INVENTORY

part "Apply again: nothing to do, and nothing is touched"
run $MUSTER apply --yes -i $INVENTORY

part "Done"
cat <<END
The formation is running. Look around, and take it down when you have seen enough:
  $LAB ssh mon '$(on_monitor pg_autoctl show state)'
  $LAB ssh coord1 'cd / && sudo -u postgres psql -d $(dbname) -c "TABLE pg_dist_node"'
  make lab-down
END
