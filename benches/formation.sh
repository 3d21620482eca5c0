#!/usr/bin/env bash
# From ten bare hosts to a formation in service: `muster apply` against a script over `pg_autoctl create`.
#
#   benches/formation.sh [ROUNDS]      default 3; each round wipes the hosts before either way, and they take turns
#                                      at going first
#
# The script is the quickest order known for pg_autoctl: the monitor; all primaries at once; all others at once.
# `create`, then `run`, for a primary made by `create --run` keeps its first standby waiting for a spread checkpoint,
# up to two minutes. Both ways have ended when the monitor lists nine healthy nodes in their goal states.
# ONLY=muster or ONLY=script runs one of them. KEEP=1 leaves the hosts running. MUSTER_LAB_NET and MUSTER_LAB as in tests/lab/lab.sh.
# shellcheck source=benches/common.sh
. "$(dirname "$0")/common.sh"

ROUNDS=${1:-3}
BUDGET_KIB=$((32 * 1024))

# ---- when it is done ---------------------------------------------------------------------------------------------

# To be run on the monitor's host as postgres: asks until all nine nodes are there, in their goal state and healthy.
# Prints how often it asked; fails after 300 s.
SETTLED=$(cat <<'END'
cd /
end=$((SECONDS + 300)); asked=0
while [ $SECONDS -lt $end ]; do
  asked=$((asked + 1))
  [ "$(psql -XAtq -d pg_auto_failover 2>/dev/null -c "select count(*) = 9 and count(*) = count(*) filter (
    where reportedstate = goalstate and goalstate in ('primary', 'secondary') and health = 1) from pgautofailover.node")" != t ] ||
    { echo $asked; exit 0; }
  sleep 0.2
done
exit 1
END
)

# ---- the script --------------------------------------------------------------------------------------------------

DATA=/var/lib/postgresql/15/citus
MONITOR_DATA=/var/lib/postgresql/15/monitor
MONITOR='postgres://autoctl_node@mon:5432/pg_auto_failover?sslmode=require'
COMMON=(--pgctl /usr/lib/postgresql/15/bin/pg_ctl --auth trust --ssl-self-signed)
NODES=(mon coord1 w1a w2a coord2 coord1r w1b w1r w2b w2r)

# On the host, as postgres: PGDATA, then the arguments of `create`. A worker may ask before the coordinator can answer;
# `create` goes on where it stopped.
NODE=$(cat <<'END'
cd /
export PGDATA=$1; shift
mkdir -p "${PGDATA%/*}"
log=$HOME/bench.log
tries=1
until pg_autoctl create "$@" >>"$log" 2>&1 </dev/null; do
  [ $tries -lt 10 ] || { tail -n 20 "$log" >&2; exit 1; }
  echo "$*: again" >&2
  tries=$((tries + 1))
  sleep 0.3
done
setsid -f pg_autoctl run >>"$log" 2>&1 </dev/null
[ "$1" != monitor ] || until psql -XAtq -d pg_auto_failover -c 'select 1' >/dev/null 2>&1; do sleep 0.1; done
END
)

# Without a key exchange that costs the client ten times the CPU.
SSH=(ssh -F "$KEYS/ssh_config" -o BatchMode=yes -o KexAlgorithms=curve25519-sha256 -o "ControlPath=$SCRATCH/%n")
masters() { # one connection a host, opened at once
  local host
  for host in "${NODES[@]}"; do "${SSH[@]}" -MN "$host" </dev/null & done
}
remote() { # HOST SCRIPT ARGUMENT…
  local end=$((SECONDS + 20))
  until [ -S "$SCRATCH/$1" ]; do [ $SECONDS -lt $end ] || { echo "no connection to $1" >&2; return 1; }; nap 0.02; done
  "${SSH[@]}" "$1" "sudo -H -u postgres bash -c $(printf '%q ' "${@:2:1}" bash "${@:3}")" </dev/null
}
node() { # HOST KIND OPTION…
  remote "$1" "$NODE" "$DATA" "$2" --name "$1" --hostname "$1" --dbname app --monitor "$MONITOR" "${COMMON[@]}" "${@:3}"
}
all() { # until these jobs have ended; the masters stay
  local pid
  for pid; do wait "$pid" || exit 1; done
}
hang_up() { # and wait, so that the masters' CPU seconds are counted
  local host
  for host in "${NODES[@]}"; do "${SSH[@]}" -O exit "$host" 2>/dev/null || true; done
  wait
}

script() { # in a shell of its own; its caller's `||` switches set -e off, so every end is asked for
  local jobs reader=(--citus-secondary --citus-cluster reports)
  trap hang_up EXIT
  masters
  remote mon "$NODE" "$MONITOR_DATA" monitor --hostname mon "${COMMON[@]}" || exit 1
  jobs=()
  node coord1 coordinator & jobs+=($!)
  node w1a worker --group 1 & jobs+=($!)
  node w2a worker --group 2 & jobs+=($!)
  all "${jobs[@]}"
  jobs=()
  node coord2 coordinator & jobs+=($!)
  node w1b worker --group 1 & jobs+=($!)
  node w2b worker --group 2 & jobs+=($!)
  node coord1r coordinator "${reader[@]}" & jobs+=($!)
  node w1r worker --group 1 "${reader[@]}" & jobs+=($!)
  node w2r worker --group 2 "${reader[@]}" & jobs+=($!)
  remote mon "$SETTLED" || exit 1
  now >"$SCRATCH/settled" # hanging up is no part of it
  all "${jobs[@]}"
}

# ---- the measure -------------------------------------------------------------------------------------------------

children_cpu() { # microseconds of all children so far; by builtins alone
  local user system
  times >"$SCRATCH/times"
  { read -r _; read -r user system; } <"$SCRATCH/times"
  CPU=0
  local t
  for t in "$user" "$system"; do
    t=${t%s}
    CPU=$((CPU + ${t%m*} * 60000000))
    t=${t#*m}
    CPU=$((CPU + 10#${t%.*} * 1000000 + 10#${t#*.} * 1000))
  done
}

measure() { # COMMAND…: WALL and USED in microseconds, PEAK in KiB, of the command alone
  local pid before key value status=0 started
  children_cpu; before=$CPU
  started=${EPOCHREALTIME/./}
  "$@" &
  pid=$!
  PEAK=0
  while kill -0 $pid 2>/dev/null; do
    while read -r key value _; do
      [ "$key" != VmHWM: ] || PEAK=$value
    done <"/proc/$pid/status" || break
    nap 0.02
  done 2>/dev/null
  wait $pid || status=$?
  WALL=$((${EPOCHREALTIME/./} - started))
  children_cpu; USED=$((CPU - before))
  STARTED=$started
  return $status
}

one_muster() {
  local asked since
  measure env -u SSH_AUTH_SOCK "$MUSTER" apply --yes -i "$INVENTORY" >"$OUT/muster-$1.log" 2>&1 ||
    die "muster apply failed: $OUT/muster-$1.log"
  since=$(now)
  asked=$($LAB ssh mon "sudo -u postgres bash -c $(printf %q "$SETTLED")") || die "muster ended, the formation did not settle"
  if [ "$asked" != 1 ]; then # it ended too early: the wait is its own
    WALL=$((WALL + $(now) - since))
    echo "bench: muster had ended before every node was settled" >&2
  fi
  muster_wall+=("$WALL") muster_cpu+=("$USED") muster_peak+=("$PEAK")
  echo "round $1: muster $(in_seconds "$WALL") s, CPU $(in_seconds "$USED") s, peak $PEAK KiB"
}

one_script() {
  measure script >"$OUT/script-$1.log" 2>&1 || die "the script failed: $OUT/script-$1.log"
  WALL=$(($(cat "$SCRATCH/settled") - STARTED))
  script_wall+=("$WALL") script_cpu+=("$USED")
  echo "round $1: script $(in_seconds "$WALL") s, CPU $(in_seconds "$USED") s, create repeated $(grep -c ': again$' "$OUT/script-$1.log" || true) times"
}

build
hosts_up
muster_wall=() muster_cpu=() muster_peak=() script_wall=() script_cpu=()
for ((round = 1; round <= ROUNDS; round++)); do
  order=(one_muster one_script)
  [ $((round % 2)) = 1 ] || order=(one_script one_muster)
  for way in "${order[@]}"; do
    [ -z "${ONLY:-}" ] || [ "$way" = "one_$ONLY" ] || continue
    wipe
    $way $round
  done
done
[ -z "${ONLY:-}" ] || exit 0

echo
echo "seconds from bare hosts to nine healthy nodes; load now $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"
head_row
row "muster apply" "${muster_wall[@]}"
row "pg_autoctl in phases" "${script_wall[@]}"
row "control side CPU, muster" "${muster_cpu[@]}"
row "control side CPU, script" "${script_cpu[@]}"
awk -v "m=$(median "${muster_wall[@]}")" -v "s=$(median "${script_wall[@]}")" \
  'BEGIN { printf "\nmuster / script, medians: %.2f\n", m / s }'
read -r _ _ peak < <(spread "${muster_peak[@]}"; echo)
awk -v "p=$peak" -v "b=$BUDGET_KIB" \
  'BEGIN { printf "muster, peak memory: %.1f MiB of %d MiB: %s\n", p / 1024, b / 1024, p <= b ? "within the budget" : "OVER the budget" }'
