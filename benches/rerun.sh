#!/usr/bin/env bash
# A rerun with nothing to do against its floor: the same hosts, connected and probed once, nothing else.
#
#   benches/rerun.sh [TIMES]      default 15; floor and rerun take turns, after one of each that is not counted
#
# Uses the formation that `KEEP=1 benches/formation.sh` or an earlier rerun left, or makes one.
# KEEP=1 leaves the hosts running. MUSTER_LAB_NET and MUSTER_LAB as in tests/lab/lab.sh.
# shellcheck source=benches/common.sh
. "$(dirname "$0")/common.sh"

TIMES=${1:-15}
BUDGET=1.5
FLOOR=target/release/examples/floor

floor() { env -u SSH_AUTH_SOCK $FLOOR "$INVENTORY"; }
rerun() { muster apply --yes; }
clock() { # COMMAND: its microseconds, of the whole process
  local started=${EPOCHREALTIME/./}
  "$1" >"$OUT/$1.log" 2>&1 || die "$1 failed: $OUT/$1.log"
  TOOK=$((${EPOCHREALTIME/./} - started))
}

build
hosts_up
if ! muster plan --detailed-exitcode >/dev/null 2>&1; then
  wipe
  muster apply --yes
fi
muster plan --detailed-exitcode >"$OUT/plan.log" 2>&1 || die "there is still something to do: $OUT/plan.log"

floors=() reruns=()
clock floor
clock rerun
for ((i = 0; i < TIMES; i++)); do
  clock floor; floors+=("$TOOK")
  clock rerun; reruns+=("$TOOK")
done
muster plan --detailed-exitcode >"$OUT/plan.log" 2>&1 || die "the formation moved meanwhile: $OUT/plan.log"

echo
echo "seconds, ten hosts; load now $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"
head_row
row "connect and probe (floor)" "${floors[@]}"
row "rerun with nothing to do" "${reruns[@]}"
awk -v "f=$(median "${floors[@]}")" -v "r=$(median "${reruns[@]}")" -v b=$BUDGET \
  'BEGIN { printf "\nrerun / floor, medians: %.2f of %.1f: %s\n", r / f, b, r / f <= b ? "within the budget" : "OVER the budget" }'
