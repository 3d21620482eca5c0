#!/usr/bin/env bash
# pg_auto_failover 2.0-2+b1 (Debian 12): a keeper whose pg_autoctl.state is lost while it runs, as by a clean-up of a home directory.
#
# Guess before the run: the keeper has the node in its memory, and writes the file anew with its next report, as it does at every change of state.
# Seen: it reads the file anew each second, reports nothing any more, and logs "Failed to read keeper state file, retrying..." for ever; it
#   neither ends nor starts anew. The monitor's own health check goes on, so `pg_autoctl show state` shows the node as before, healthy,
#   and `pg_autoctl status` ends with 0. It follows no order of the monitor. With the file back it reports within seconds.
# Needs Debian 12's packages to be downloadable, and ports 15431 and 15432. Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(cat "$work"/*/postmaster.pid.keeper 2>/dev/null) 2>/dev/null || :; sleep 2; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq pg-auto-failover-cli=2.0-2+b1 postgresql-15-auto-failover=2.0-2+b1 postgresql-15 postgresql-client-15 libpq5 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
# Its socket belongs here, and not where the packages have it.
echo "unix_socket_directories = '$work'" >>root/usr/share/postgresql/15/postgresql.conf.sample
cat >run <<'SCRIPT'
set -euo pipefail
work=$1
export PATH=$work/root/usr/lib/postgresql/15/bin:$work/root/usr/bin:/usr/bin:/bin LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export HOME=$work XDG_RUNTIME_DIR=$work PGHOST=$work
cd "$work"
mkdir m.d a.d
options=(--hostname 127.0.0.1 --auth trust --ssl-self-signed)
serve() { # NAME
  pg_autoctl run --pgdata "$work/$1" >"$1.log" 2>&1 &
  echo $! >"$1.d/postmaster.pid.keeper"
}
pg_autoctl create monitor --pgdata "$work/m" --pgport 15431 "${options[@]}" >create.log 2>&1
serve m
sleep 3
uri=$(pg_autoctl show uri --pgdata "$work/m" --formation monitor)
pg_autoctl create postgres --pgdata "$work/a" --pgport 15432 --name a --monitor "$uri" "${options[@]}" >>create.log 2>&1
serve a
ask() { psql -XAtq -p 15431 -d pg_auto_failover -c "select $1 from pgautofailover.node where nodename = 'a'"; }
sleep 10 # it runs, and rests
file=$work/.local/share/pg_autoctl$work/a/pg_autoctl.state
mv "$file" away
sleep 25
silent=$(ask 'extract(epoch from now() - reporttime)::int')
shown=$(ask "reportedstate || ' ' || health")
status=0
pg_autoctl status --pgdata "$work/a" >/dev/null 2>&1 || status=$?
again=no
if [ -e "$file" ]; then again=yes; fi
retries=$(grep -c 'Failed to read keeper state file, retrying' a.log || :)
mv away "$file"
sleep 5
after=$(ask 'extract(epoch from now() - reporttime)::int')
pg_autoctl --version | head -n 1
echo "without its state for 25 s: silent for $silent s, shown as $shown, status exits with $status, written again: $again, retries logged: $retries"
echo "with it for 5 s: silent for $after s"
[ "$silent" -ge 20 ] && [ "$shown" = "single 1" ] && [ "$status" = 0 ] && [ "$again" = no ] && [ "$retries" -ge 15 ] && [ "$after" -le 4 ]
SCRIPT
run=(bash "$work/run" "$work")
if [ "$(id -u)" = 0 ]; then
  chown -R 65534:65534 "$work"
  run=(setpriv --reuid=65534 --regid=65534 --clear-groups "${run[@]}")
fi
if "${run[@]}" || { tail -5 a.log; false; }; then echo "as recorded"; else echo "it behaves otherwise than recorded"; exit 1; fi
