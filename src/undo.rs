//! A change that may lock out: the host keeps what was there before, and puts it back by itself unless muster confirms in time.
//!
//! `PGDATA/.muster-undo` is there from the first such file that is placed until the change is confirmed or taken back:
//!
//! | In it | What |
//! |---|---|
//! | `of` | the data directory and the host that it is about: `pg_basebackup` and `pg_rewind` may bring a copy along, which counts nowhere else |
//! | `files` | a path a line; what it had is beside it, as `.muster-old.NAME` |
//! | `till` | the second after boot in which it is taken back, and whose watcher sees to it |
//! | `claimed`, `confirmed` | what `till` is renamed to by the first of those two who comes: a rename succeeds once |
//! | `watch`, `bin` | the watcher's script, and where its pg_ctl is |
//! | `watched` | what the watcher has read in `till`: it runs before the new file is there |
//!
//! The watcher is a process of the files' owner, in a session of its own. After a boot there is none: then the next run finds the change
//! unconfirmed, and takes it back first.

/// Where the change is: `$pgdata` and `$bin` are set.
const PLACE: &str = r#"undo=$pgdata/.muster-undo
undo_place() { echo "$(stat -L -c %d:%i "$pgdata") $(uname -n)"; }
undo_kept() { printf '%s\n' "${1%/*}/.muster-old.${1##*/}"; }
"#;

/// Defines `undo_back`: what was kept is there again, and the server reads it.
const BACK: &str = r#"undo_back() {
  back=
  if [ "$(cat "$undo/of" 2>/dev/null)" = "$(undo_place)" ]; then
    while IFS= read -r f; do
      k=$(undo_kept "$f")
      if [ -f "$k" ]; then mv -fT -- "$k" "$f"; back="$back ${f##*/}"; fi
    done <"$undo/files"
    sync "$pgdata"
  fi
  "$bin/pg_ctl" -D "$pgdata" reload >/dev/null 2>&1 || :
  rm -rf -- "$undo"
}
"#;

/// The watcher; its working directory is PGDATA. Another one that is begun later has another word in `till`.
const WATCH: &str = r#"{ read -r till mine <"$undo/till"; } 2>/dev/null || exit 0
printf '%s\n' "$mine" >"$undo/watched"
while :; do
  read -r now rest </proc/uptime
  if [ "${now%%.*}" -ge "$till" ]; then break; fi
  sleep 1
  { read -r till other <"$undo/till"; } 2>/dev/null || exit 0
  if [ "$other" != "$mine" ]; then exit 0; fi
done
mv -T -- "$undo/till" "$undo/claimed" 2>/dev/null || exit 0
read -r bin <"$undo/bin"
undo_back
"#;

/// Defines `undo_arm FILE SECONDS`: what is in the file now is kept, and comes back after so many seconds. What is kept already is what was
/// last in force. `undo_watch SECONDS` begins the time anew. `undo_forget` takes away what is kept. `$socket`, `$port`, `$user` and `psql` of
/// the server are for hosts where systemd ends what a login has left: there the server starts the watcher, which is not of that login.
const ARM: &str = r#"undo_forget() {
  while IFS= read -r f; do k=$(undo_kept "$f"); rm -f -- "$k" "$k.new"; done 2>/dev/null <"$undo/files" || :
  rm -rf -- "$undo"
}
undo_watch() {
  cat >"$undo/new" <<'WATCH'
WATCHER
WATCH
  mv -fT -- "$undo/new" "$undo/watch"
  printf '%s\n' "$bin" >"$undo/bin"
  read -r now rest </proc/uptime
  mine=$$-$now
  printf '%s %s\n' "$((${now%%.*} + $1))" "$mine" >"$undo/new"
  mv -fT -- "$undo/new" "$undo/till"
  ends=
  if grep -q '/session-[^/]*\.scope$' /proc/self/cgroup 2>/dev/null; then
    ends=$(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager KillUserProcesses 2>/dev/null) || ends=
  fi
  if [ "$ends" = 'b true' ]; then
    psql ${socket:+-h "$socket"} -p "$port" -U "$user" -d postgres \
      -c "copy (select where false) to program 'setsid sh .muster-undo/watch </dev/null >/dev/null 2>&1 &'" >/dev/null || :
  else
    (cd "$pgdata" && exec setsid sh .muster-undo/watch </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-) &
  fi
  n=0
  until [ "$(cat "$undo/watched" 2>/dev/null)" = "$mine" ]; do
    n=$((n + 1))
    if [ "$n" -gt 100 ]; then
      echo "ERROR: no process could be left on this host that would put the old file back (confirm_timeout)" >&2
      undo_forget
      exit 65
    fi
    sleep 0.05
  done
}
undo_arm() {
  if [ -d "$undo" ] && { [ -e "$undo/confirmed" ] || [ "$(cat "$undo/of" 2>/dev/null)" != "$(undo_place)" ]; }; then undo_forget; fi
  if ! [ -d "$undo" ]; then
    mkdir -m 700 -- "$undo"
    undo_place >"$undo/of"
  fi
  k=$(undo_kept "$1")
  if ! [ -e "$k" ]; then
    cp -p -- "$1" "$k.new"
    sync "$k.new"
    mv -fT -- "$k.new" "$k"
  fi
  if ! grep -qxF -e "$1" "$undo/files" 2>/dev/null; then printf '%s\n' "$1" >>"$undo/files"; fi
  undo_watch "$2"
  sync "$undo"
}
# The file has not come to be: what was there before is there, and is waited for no longer.
undo_disarm() {
  mv -fT -- "$(undo_kept "$1")" "$1"
  while IFS= read -r f; do if [ -e "$(undo_kept "$f")" ]; then return; fi; done <"$undo/files"
  rm -rf -- "$undo"
}
"#;

/// After `undo_forget` is defined: what is new stays, unless it has been taken back.
pub const CONFIRM: &str = r#"mv -T -- "$undo/till" "$undo/confirmed" 2>/dev/null || {
  echo "ERROR: what was there before is back: nobody confirmed the change in time (confirm_timeout)" >&2
  exit 65
}
"#;

/// What nobody has confirmed is taken back; nothing is done where there is no such thing.
const TAKE_BACK: &str = r#"if ! [ -d "$undo" ]; then exit 0; fi
if [ -e "$undo/confirmed" ]; then
  while IFS= read -r f; do k=$(undo_kept "$f"); rm -f -- "$k" "$k.new"; done <"$undo/files"
  rm -rf -- "$undo"
  exit 0
fi
mv -T -- "$undo/till" "$undo/claimed" 2>/dev/null || :
undo_back
"#;

/// The functions of `ARM`, and `undo_back`; `$pgdata` and `$bin` are set.
pub fn functions() -> String {
    let watcher = ["pgdata=$(pwd -P)\n", PLACE, BACK, WATCH].concat();
    [PLACE, BACK, &ARM.replace("WATCHER\n", &watcher)].concat()
}

/// The script that takes back at once: `$1` bin, `$2` PGDATA.
pub fn take_back() -> String {
    ["bin=$1 pgdata=$2\n", PLACE, BACK, TAKE_BACK].concat()
}

#[cfg(test)]
mod tests;
