#!/usr/bin/env bash
# Prints src/resource/guc.tsv: what real servers know of their settings. Needs `psql`; not to be run as root.
#
#   tests/guc/table.sh BIN…      the directories of programs of every major version, oldest first
#
# A row: name, first and last major version, kind, unit, least, greatest, words of an enum with commas. A setting that differs
# between versions has several rows. Words that pg_settings does not show are found by trying those of all enums. What no file may
# hold is left out; names that PostgreSQL has given up and still takes go on to the last version.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Enums whose words depend on how a server was built, or for what machine.
BUILD='default_toast_compression io_method dynamic_shared_memory_type wal_compression recovery_init_sync_method wal_sync_method shared_memory_type syslog_facility file_copy_method file_extend_method'

one() { # BIN: rows of one version
  local bin=$1 d=$work/data major words name kind unit least greatest shown word all
  rm -rf "$d"
  "$bin/initdb" -D "$d" -U postgres -A trust --no-sync >/dev/null
  major=$(cat "$d/PG_VERSION")
  "$bin/pg_ctl" -D "$d" -w -o "-k $work -p 54329 -c listen_addresses=" -l "$work/log" start >/dev/null
  psql -XAtq -F '|' -h "$work" -p 54329 -U postgres -d postgres >"$work/rows" <<'SQL'
select name, vartype, unit, min_val, max_val, array_to_string(enumvals, ',')
from pg_settings where context <> 'internal' order by name collate "C";
SQL
  "$bin/pg_ctl" -D "$d" -w -m immediate stop >/dev/null
  words=$(cut -d '|' -f 6 "$work/rows" | tr ',' '\n'; printf '%s\n' debug archive hot_standby fatal panic info true false yes no 1 0)
  words=$(printf '%s\n' "$words" | sort -u)
  takes() { printf "%s = '%s'\n" "$1" "$2" >"$work/c"; "$bin/postgres" -D "$d" -c config_file="$work/c" -C port >/dev/null 2>"$work/e"; }
  while IFS='|' read -r name kind unit least greatest shown; do
    case $kind in
    bool) takes "$name" off || takes "$name" on || continue ;;
    enum)
      case " $BUILD " in *" $name "*) kind=string shown= ;; *)
        all=
        while IFS= read -r word; do
          case ",$shown," in *",$word,"*) all="$all,$word" ;; *) if takes "$name" "$word"; then all="$all,$word"; fi ;; esac
        done <<<"$words"
        shown=${all#,} ;;
      esac ;;
    *) if ! takes "$name" "${least:-}" && grep -q 'cannot be changed\|unrecognized' "$work/e"; then continue; fi ;;
    esac
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$major" "$kind" "$unit" "$least" "$greatest" "$shown"
  done <"$work/rows"
}

# Rows of the same content, in versions one after the other, become one.
for bin; do one "$bin"; done | LC_ALL=C sort -t $'\t' -k1,1 -k2,2n | awk -F '\t' -v OFS='\t' '
  function flush() {
    if (name == "ssl_ecdh_curve" || name == "force_parallel_mode") last = newest
    if (name != "") rows[++n] = name OFS first OFS last OFS content
  }
  { c = $3 OFS $4 OFS $5 OFS $6 OFS $7
    if ($2 > newest) newest = $2
    if ($1 == name && c == content && $2 == last + 1) last = $2
    else { flush(); name = $1; first = last = $2; content = c } }
  END { flush(); for (i = 1; i <= n; i++) print rows[i] }'
