//! Whether a server would start with a configuration: tried on its host, in a directory of its own, beside the running one.

/// After [`TRIAL`], in a shell of its own: tries a start with the files as they are, in a directory under `/tmp`. `$bin`, `$d`, `$socket`, `$but` as there.
/// It ends with 3 where the server would not start; without that directory nobody can say.
pub const TRIED: &str = r#"tried() {
  trap 'rm -rf -- ${scratch:+"$scratch"}' EXIT
  scratch= t=$d/postgresql.conf trials=/tmp
  trial "$t" || { [ -n "$scratch" ] && exit 3; }
}
"#;

/// Defines `trial`, which prints why a server would not start and fails; `$bin`, `$t` the new file, `$d` the data directory,
/// `$1` the path that it is for, `$socket` where muster looks for the server's socket, or empty; `$trials`, if given, where its directory is
/// made, `$but` a file that it does without.
///
/// With a copy of `PG_VERSION` and of `pg_control`, and links to the other files (a certificate may be named without a folder), `postgres -C`
/// of a value that is computed goes as far as a start does before it opens sockets: combinations, libraries, TLS. PostgreSQL 13 and 14 have no such
/// value: they are started without sockets and with hardly any memory, and stop at the first folder that the copy lacks, `pg_notify`.
/// Directories are looked at here.
pub const TRIAL: &str = r#"named() { # what was said, with the files' own names
  while IFS= read -r line; do
    case $line in
    *'skipping missing configuration file'*) continue ;;
    *"$scratch/"*) line=${line%%"$scratch/"*}$d/${line#*"$scratch/"} ;;
    esac
    printf '%s\n' "$line"
  done
}
starts() {
  "$bin/postgres" -D "$scratch" -c lc_messages=C -c logging_collector=off -c log_destination=stderr \
    -c log_line_prefix= "$@" 2>&1 >/dev/null </dev/null
}
value() { "$bin/postgres" -D "$scratch" -C "$1" 2>/dev/null; }
trial() {
  scratch=$(mktemp -d "${trials:-$d}/.muster.XXXXXX") || return 1
  # Citus makes a folder of its own in base when it is loaded.
  mkdir "$scratch/global" "$scratch/base"
  for f in "$d"/*; do
    case ${f##*/} in postmaster.*|PG_VERSION|"${but:-}") continue ;; esac
    if [ -f "$f" ]; then ln -s -- "$f" "$scratch/"; fi
  done
  ln -sf -- "$t" "$scratch/${1##*/}"
  cp -- "$d/PG_VERSION" "$scratch/"
  cp -- "$d/global/pg_control" "$scratch/global/"
  status=0
  said=$(starts -C shared_memory_size) || status=$?
  case $said in
  *'"shared_memory_size"'*)
    said=$(starts -c listen_addresses= -c unix_socket_directories= -c shared_buffers=16 -c huge_pages=off) || :
    case $said in *'"pg_notify"'*|*'no socket created for listening'*) status=0 ;; *) status=1 ;; esac ;;
  esac
  if [ "$status" != 0 ]; then
    printf '%s\n' "$said" | named
    return 1
  fi
  dirs=$(value unix_socket_directories)
  if [ -n "$socket" ]; then has=$socket; else
    has=$("$bin/postgres" --describe-config | sed -n "s/^unix_socket_directories	.*	STRING	\([^	]*\)	.*/\1/p")
  fi
  case $has in /*) ;; *) has= ;; esac
  found=
  while IFS= read -r f; do
    f=${f#"${f%%[! ]*}"}; f=${f%"${f##*[! ]}"}; f=${f#\"}; f=${f%\"}
    case $f in ''|@*) continue ;; esac
    if ! { [ -d "$f" ] && [ -w "$f" ] && [ -x "$f" ]; }; then
      echo "ERROR: unix_socket_directories names $f, which is no folder that $(id -un) can write to"
      return 1
    fi
    if [ "$f" -ef "$has" ]; then found=1; fi
  done <<DIRS
$(printf '%s\n' "$dirs" | tr ',' '\n')
DIRS
  if [ -n "$has" ] && [ -z "$found" ]; then
    echo "ERROR: unix_socket_directories lacks $has, where muster and keepers look for the server: add it, or name another folder of them as pghost"
    return 1
  fi
  if [ "$(value logging_collector)" = on ]; then
    f=$(value log_directory)
    case $f in /*) ;; *) f=$d/$f ;; esac
    if [ -e "$f" ]; then near=$f; else near=${f%/*}; fi
    if ! { [ -d "$near" ] && [ -w "$near" ] && [ -x "$near" ]; }; then
      echo "ERROR: log_directory is $f, which is no folder that $(id -un) can write to or make"
      return 1
    fi
  fi
}
"#;
