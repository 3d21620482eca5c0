#!/usr/bin/env bash
# Fuzzes every parser: run.sh SECONDS [TARGET…], the time divided among the targets. What crashes, hangs for five
# seconds or takes half a gigabyte is kept in target/fuzz/artifacts, and the run fails.
# On a machine that is busy otherwise FUZZ_TIMEOUT=60 tells hangs from waiting.
# Needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz --locked).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
OUT=$ROOT/target/fuzz
SECONDS_IN_ALL=${1:-3600}
shift || true
export CARGO_TARGET_DIR=$OUT/build RUSTFLAGS=${RUSTFLAGS:-}
# The sanitizer keeps what was freed for a while, by default half of what an input may take.
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=32}

cd "$HERE"
mapfile -t ALL < <(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)
[ $# -gt 0 ] || set -- "${ALL[@]}"
EACH=$((SECONDS_IN_ALL / $#))
[ "$EACH" -ge 10 ] || { echo "fuzz: $SECONDS_IN_ALL seconds are too few for $# targets" >&2; exit 1; }

python3 seeds.py "$OUT/seeds"
nice -n 19 cargo +nightly fuzz build --fuzz-dir .
BIN=$OUT/build/$(rustc +nightly -vV | sed -n 's/^host: //p')/release

dictionary() {
  case $1 in
  inventory_yaml | inventory_program | variables_file | values) echo yaml ;;
  inventory_ini | hosts | pattern) echo ini ;;
  jinja | template) echo jinja ;;
  facts) echo facts ;;
  *) echo ssh ;;
  esac
}

# NAME SECONDS LENGTH OPTIONS…
round() {
  local name=$1 seconds=$2 length=$3
  shift 3
  mkdir -p "$OUT/corpus/$name" "$OUT/artifacts/$name"
  nice -n 19 "$BIN/$name" -max_total_time="$seconds" -max_len="$length" -rss_limit_mb=512 -timeout="${FUZZ_TIMEOUT:-5}" -print_final_stats=1 \
    -dict="dictionaries/$(dictionary "$name").dict" -artifact_prefix="$OUT/artifacts/$name/" "$@" \
    "$OUT/corpus/$name" "$OUT/seeds/$name" >"$OUT/$name.log" 2>&1
}

wrong=()
for name; do
  mkdir -p "$OUT/seeds/$name"
  long=$((EACH / 8 + 1))
  # Small inputs find the ways, large ones what grows faster than they do.
  if round "$name" $((EACH - long)) 4096 && round "$name" "$long" 262144 -len_control=0; then
    echo "fuzz: $name: nothing found, $(sed -n 's/^stat::number_of_executed_units: *//p' "$OUT/$name.log" | tail -n 1) inputs in the last round"
  else
    echo "fuzz: $name: FOUND SOMETHING, see $OUT/$name.log and $OUT/artifacts/$name"
    tail -n 25 "$OUT/$name.log"
    wrong+=("$name")
  fi
done
[ ${#wrong[@]} -eq 0 ] || { echo "fuzz: wrong: ${wrong[*]}"; exit 1; }
