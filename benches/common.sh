# shellcheck shell=bash
# What the benches share: ten lab hosts, an inventory with their addresses, and arithmetic. To be sourced.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export MUSTER_LAB_NET=${MUSTER_LAB_NET:-10.88.4}
LAB=tests/lab/lab.sh
MUSTER=${MUSTER:-target/release/muster}
KEYS=$PWD/.lab/$MUSTER_LAB_NET
[ "$MUSTER_LAB_NET" != 10.88.0 ] || KEYS=$PWD/.lab
INVENTORY=$KEYS/bench.yml
OUT=$KEYS/bench # logs of the latest run
SCRATCH=$(mktemp -d /tmp/muster-bench.XXXXXX)
trap 'rm -rf "$SCRATCH"' EXIT
exec {NAP}<> <(:)

die() { echo "bench: $*" >&2; exit 1; }
nap() { read -rt "$1" -u "$NAP" || true; } # sleep without a process, which would be counted
now() { echo "${EPOCHREALTIME/./}"; }

build() { cargo build --release --locked --bin muster --example floor; }

hosts_up() { # hosts, and an inventory for them
  [ "$(id -u)" = 0 ] || die "needs root: the hosts are containers of their own (systemd-nspawn)"
  [ -n "${KEEP:-}" ] || trap 'rm -rf "$SCRATCH"; $LAB down' EXIT
  # On a busy machine a boot may outlast lab.sh's patience; what is up stays up.
  $LAB up 10 || $LAB up 10
  [ "$($LAB citus)" = real ] || echo "bench: the lab's Citus is a stand-in; see MUSTER_LAB_EXTRA in $LAB" >&2
  mkdir -p "$OUT"
  sed -e "s|10\.88\.0\.|$MUSTER_LAB_NET.|g" -e "s|\.\./\.lab|$KEYS|g" inventory/lab.yml >"$INVENTORY"
}

wipe() { $LAB wipe || $LAB up 10; }
muster() { env -u SSH_AUTH_SOCK "$MUSTER" "$@" -i "$INVENTORY"; }

in_seconds() { awk -v "x=$1" 'BEGIN { printf "%.2f", x / 1e6 }'; }
spread() { # NUMBER…: min, median, max
  printf '%s\n' "$@" | sort -n | awk '{ x[NR] = $1 } END { m = int((NR + 1) / 2)
    printf "%s %s %s", x[1], NR % 2 ? x[m] : (x[m] + x[m + 1]) / 2, x[NR] }'
}
row() { # LABEL MICROSECONDS…
  local min median max
  read -r min median max < <(spread "${@:2}"; echo)
  printf '%-28s %8s %8s %8s   n=%d\n' "$1" "$(in_seconds "$min")" "$(in_seconds "$median")" "$(in_seconds "$max")" $(($# - 1))
}
head_row() { printf '%-28s %8s %8s %8s\n' "" min median max; }
median() { spread "$@" | cut -d' ' -f2; }
