#!/usr/bin/env bash
# A fleet of real Debian hosts on this machine: systemd-nspawn containers with systemd, sshd, sudo, PostgreSQL
# and pg_autoctl, each with its own file system (an overlay on one image) and its own address. Needs root.
#
#   lab.sh base               build the image (once: debootstrap and packages; minutes), or add MUSTER_LAB_EXTRA to it
#   lab.sh up N [M]           N hosts on the open subnet; with M: a bastion, and M hosts p1… that only it reaches
#   lab.sh down               stop and remove all hosts; the image stays
#   lab.sh wipe [HOST…]       back to bare hosts, same addresses and host keys
#   lab.sh ssh HOST CMD…      as user deploy, who may sudo
#   lab.sh list               name, address, running / paused / stopped
#   lab.sh reboot HOST        an orderly reboot; returns when sshd is back
#   lab.sh stop HOST          an orderly power-off                        lab.sh start HOST   power on again
#   lab.sh kill HOST          pull the plug
#   lab.sh pause HOST         freeze every process (SIGSTOP)              lab.sh resume HOST
#   lab.sh cut HOST           drop every packet from and to it            lab.sh mend HOST
#   lab.sh citus              which Citus the image has: real or stand-in, or none where there is no image
#
# MUSTER_LAB_SUITE  the release of Debian: bookworm (PostgreSQL 15, pg_auto_failover 2.0), which is the default, or
#                   trixie (17, 2.2); each has an image of its own
# MUSTER_LAB        image and hosts, default /var/tmp/muster-lab-tests, for another release with its name behind
# MUSTER_LAB_NET    first three octets, default 10.88.0; the private subnet is the next one. Labs with different
#                   prefixes run side by side on one image.
# MUSTER_LAB_EXTRA  a directory copied onto the image by `base`: your own build of Citus for PostgreSQL of that release
#                   (usr/lib/postgresql/15/lib, usr/share/postgresql/15/extension). Without it the stand-in is used.
# Keys (id), known_hosts and ssh_config for the fleet are in .lab of this repository, or .lab/PREFIX for another prefix.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SUITE=${MUSTER_LAB_SUITE:-bookworm}
LAB=${MUSTER_LAB:-/var/tmp/muster-lab-tests}
case $SUITE in
bookworm) PG=15 ;;
trixie) PG=17 LAB=$LAB-trixie ;;
*) echo "lab: MUSTER_LAB_SUITE is bookworm or trixie, not $SUITE" >&2; exit 1 ;;
esac
NET=${MUSTER_LAB_NET:-10.88.0}
KEYS=$(cd "$HERE/../.." && pwd)/.lab
[ "$NET" = 10.88.0 ] || KEYS=$KEYS/$NET
BASE=$LAB/base
RECIPE=1 # raise it when build() changes: an older image is then built anew
NAMES=(mon coord1 coord2 w1a w1b w2a w2b coord1r w1r w2r)

IFS=. read -r A B C <<<"$NET"
PRIVATE=$A.$B.$((C + 1))
# Interface names have 15 characters at most.
TAG=$(printf '%02x%02x%02x' "$A" "$B" "$C")
OPEN_BRIDGE=mus$TAG
PRIVATE_BRIDGE=mup$TAG
BASTION_LEG=mux$TAG
RUN=$LAB/run-$NET

die() { echo "lab: $*" >&2; exit 1; }
say() { echo "lab: $*" >&2; }
each() { # FUNCTION HOST…: side by side; fails if one of them does
  local run=$1 h status=0 pids=()
  shift
  for h; do "$run" "$h" & pids+=($!); done
  for h in "${pids[@]}"; do wait "$h" || status=1; done
  return $status
}
locked() { exec 9>"$1"; flock 9; }

# ---- the image ---------------------------------------------------------------------------------------------------

needs() {
  [ "$(id -u)" = 0 ] || die "needs root: hosts are containers with their own network"
  local want=() pair
  for pair in debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 nft:nftables ssh:openssh-client cc:gcc; do
    command -v "${pair%%:*}" >/dev/null || want+=("${pair#*:}")
  done
  [ ${#want[@]} = 0 ] && return
  say "installing ${want[*]}"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${want[@]}"; } >&2
}

build() {
  local new=$LAB/base.new
  [ "$(cat "$BASE/etc/muster-lab" 2>/dev/null)" = "$RECIPE" ] && return
  hosts_are_down
  say "building the image in $BASE (debootstrap, then PostgreSQL $PG and pg_auto_failover)"
  umount "$new/proc" 2>/dev/null || true
  rm -f "$LAB/extra" "$LAB/stand-in"
  rm -rf --one-file-system "$new" "$BASE"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,ca-certificates,procps,python3-minimal "$SUITE" "$new" >&2
  mkdir -p "$new/etc/postgresql-common"
  echo "create_main_cluster = false" >"$new/etc/postgresql-common/createcluster.conf"
  printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
  chmod +x "$new/usr/sbin/policy-rc.d"
  # The mirror debootstrap chose, with the updates a host in service has: extensions are built against those.
  sed -i -E 's|^deb ([^ ]*[^/ ])/? '"$SUITE"' main.*|&\ndeb \1 '"$SUITE"'-updates main\ndeb \1-security '"$SUITE"'-security main|' "$new/etc/apt/sources.list"
  mount -t proc proc "$new/proc"
  # The server's headers are unpacked beside the image: their package would bring a compiler into it.
  chroot "$new" sh -ec "
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get upgrade -qy
    apt-get install -qy --no-install-recommends postgresql-$PG pg-auto-failover-cli postgresql-$PG-auto-failover
    mkdir /tmp/headers; cd /tmp/headers
    apt-get download -q -o APT::Sandbox::User=root postgresql-server-dev-$PG libpq-dev
    apt-get clean; rm -rf /var/lib/apt/lists/*" >&2 || { umount "$new/proc"; die "packages could not be installed"; }
  umount "$new/proc"
  rm -rf "$LAB/headers"
  for deb in "$new"/tmp/headers/*.deb; do dpkg-deb -x "$deb" "$LAB/headers"; done
  rm -rf "$new/tmp/headers" "$new/usr/sbin/policy-rc.d" "$new"/etc/ssh/ssh_host_* "$new"/etc/systemd/system/timers.target.wants/*
  chroot "$new" useradd -m -s /bin/bash deploy
  echo 'deploy ALL=(ALL) NOPASSWD: ALL' >"$new/etc/sudoers.d/deploy"
  chmod 440 "$new/etc/sudoers.d/deploy"
  printf 'UseDNS no\nMaxStartups 200\n' >"$new/etc/ssh/sshd_config.d/lab.conf"
  ln -sf /lib/systemd/system/systemd-networkd.service "$new/etc/systemd/system/multi-user.target.wants/"
  echo $RECIPE >"$new/etc/muster-lab"
  mv "$new" "$BASE"
}

extension() { echo "$BASE/usr/share/postgresql/$PG/extension"; }
library() { echo "$BASE/usr/lib/postgresql/$PG/lib"; }

citus() {
  if [ ! -f "$(extension)/citus.control" ]; then echo none
  elif grep -q 'stand-in' "$(extension)/citus.control"; then echo stand-in
  else echo real; fi
}

install_citus() {
  local src=$HERE/citus-stand-in sum missing
  if [ -n "${MUSTER_LAB_EXTRA:-}" ] && [ "$(cat "$LAB/extra" 2>/dev/null)" != "$MUSTER_LAB_EXTRA" ]; then
    hosts_are_down
    say "copying $MUSTER_LAB_EXTRA onto the image"
    [ "$(citus)" != stand-in ] || rm -f "$(extension)"/citus* "$(library)/citus.so"
    cp -R --no-dereference --preserve=mode "$MUSTER_LAB_EXTRA/." "$BASE/"
    echo "$MUSTER_LAB_EXTRA" >"$LAB/extra"
    missing=$(chroot "$BASE" sh -c "ldd /usr/lib/postgresql/$PG/lib/citus*.so" | sed -n 's/ => not found//p' | sort -u | xargs)
    [ -z "$missing" ] || die "the image lacks libraries that $MUSTER_LAB_EXTRA needs: $missing"
  fi
  [ "$(citus)" = real ] && return
  sum=$(cat "$src"/* | sha256sum)
  [ "$(citus)" = stand-in ] && [ "$(cat "$LAB/stand-in" 2>/dev/null)" = "$sum" ] && return
  hosts_are_down
  say "installing the stand-in for Citus"
  cc -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Werror -O2 -fPIC -shared -o "$(library)/citus.so" "$src/citus.c" \
    -isystem "$LAB/headers/usr/include/postgresql/$PG/server" -isystem "$LAB/headers/usr/include/postgresql"
  install -m 644 "$src"/citus.control "$src"/citus--*.sql "$(extension)/"
  echo "$sum" >"$LAB/stand-in"
}

base() (
  mkdir -p "$LAB"
  locked "$LAB/lock"
  needs
  build
  install_citus
)

hosts_are_down() {
  local d
  for d in "$LAB"/run-*/*/root; do ! mountpoint -q "$d" || die "the image is in use by $(dirname "$d"); run \`lab.sh down\` first"; done
}

# ---- hosts -------------------------------------------------------------------------------------------------------
# $RUN/HOST/{address,key,key.pub,upper,work,root,pid,boot.log}

hosts() { local d; for d in "$RUN"/*/address; do [ ! -f "$d" ] || basename "$(dirname "$d")"; done; }
address() { cat "$RUN/$1/address"; }
machine() { # HOST: its address in hexadecimal, so that nspawn's vb-MACHINE is an interface name
  local a b c d
  IFS=. read -r a b c d <<<"$(address "$1")"
  printf 'm%02x%02x%02x%02x' "$a" "$b" "$c" "$d"
}
known() { [ -f "$RUN/$1/address" ] || die "no host '$1' (lab.sh list)"; }

running() { [ "$(cat "/proc/$(cat "$RUN/$1/pid" 2>/dev/null || echo none)/comm" 2>/dev/null)" = systemd-nspawn ]; }

leader() { # HOST: its process 1 as seen from here
  local pid
  pid=$(cat "$RUN/$1/pid")
  cut -d' ' -f1 "/proc/$pid/task/$pid/children" | grep .
}

inside() { # HOST: all its processes as seen from here
  local ns p
  ns=$(readlink "/proc/$(leader "$1")/ns/pid")
  for p in /proc/[0-9]*; do [ "$(readlink "$p/ns/pid" 2>/dev/null)" != "$ns" ] || basename "$p"; done
}

bridge() { # NAME [ADDRESS]
  ip link show "$1" >/dev/null 2>&1 || { ip link add "$1" type bridge && ip link set "$1" up; }
  [ -z "${2:-}" ] || ip addr replace "$2" dev "$1"
}

declare_host() { # HOST ADDRESS
  mkdir -p "$RUN/$1"
  echo "$2" >"$RUN/$1/address"
  [ -f "$RUN/$1/key" ] || ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$RUN/$1/key"
}

dress() { # HOST: what makes an image this host; also on a running one
  local d=$RUN/$1 root=$RUN/$1/root
  if ! mountpoint -q "$root"; then
    # volatile: nothing here outlives this machine's uptime, so no fsync needs to reach its disk.
    rm -rf --one-file-system "$d/upper" "$d/work"
    mkdir -p "$d"/{upper,work,root}
    mount -t overlay "lab-$1" -o "volatile,lowerdir=$BASE,upperdir=$d/upper,workdir=$d/work" "$root"
  fi
  echo "$1" >"$root/etc/hostname"
  cp "$RUN/hosts" "$root/etc/hosts"
  mkdir -p "$root/home/deploy/.ssh" "$root/etc/systemd/network"
  cp "$KEYS/id.pub" "$root/home/deploy/.ssh/authorized_keys"
  chroot "$root" chown -R deploy: /home/deploy/.ssh
  [ ! -f "$root/etc/ssh/ssh_host_ed25519_key" ] || return 0
  install -m 600 "$d/key" "$root/etc/ssh/ssh_host_ed25519_key"
  install -m 644 "$d/key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  printf '[Match]\nName=host0\n[Network]\nAddress=%s/24\n' "$(address "$1")" >"$root/etc/systemd/network/10-host0.network"
  [ "$1" != bastion ] || printf '[Match]\nName=host1\n[Network]\nAddress=%s.2/24\n' "$PRIVATE" >"$root/etc/systemd/network/11-host1.network"
}

boot() { # HOST
  dress "$1"
  ! running "$1" || return 0
  : >"$RUN/$1/boot.log"
  setsid "$HERE/lab.sh" supervise "$1" >>"$RUN/$1/boot.log" 2>&1 </dev/null 9>&- &
  local t
  for t in $(seq 600); do ! running "$1" || return 0; sleep 0.05; done # a loaded machine takes its time
  die "$1 did not start in $((t / 20)) s; see $RUN/$1/boot.log"
}

supervise() { # HOST: its container, again and again while it reboots
  local to=$OPEN_BRIDGE leg=() a status=133
  a=$(address "$1")
  [ "${a%.*}" != "$PRIVATE" ] || to=$PRIVATE_BRIDGE
  [ "$1" != bastion ] || leg=(--network-veth-extra="$BASTION_LEG:host1")
  own_cgroup "$1"
  while [ $status = 133 ]; do # nspawn's status when the payload asked for a reboot
    # The kernel takes a cable away some time after the host at its other end was killed.
    ip link del "vb-$(machine "$1")" 2>/dev/null || true
    [ "$1" != bastion ] || ip link del "$BASTION_LEG" 2>/dev/null || true
    systemd-nspawn -q -D "$RUN/$1/root" --boot --machine="$(machine "$1")" --hostname="$1" --register=no --keep-unit \
      --resolv-conf=off --network-bridge="$to" "${leg[@]}" &
    echo $! >"$RUN/$1/pid"
    [ "$1" != bastion ] || attach
    status=0; wait $! || status=$?
  done
}

own_cgroup() { # HOST: two hosts in one cgroup would have two systemds rule it, and stop each other's services
  local tree group
  for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -f "$tree/cgroup.procs" ] || continue
    group=$tree/muster-lab/$(machine "$1")
    mkdir -p "$group"
    echo $BASHPID >"$group/cgroup.procs"
  done
}

attach() { # the bastion's second leg is ours to plug in, at every boot
  local t
  for t in $(seq 100); do
    ! ip link set "$BASTION_LEG" master "$PRIVATE_BRIDGE" up 2>/dev/null || return 0
    sleep 0.1
  done
  say "bastion: its second leg did not appear in $((t / 10)) s"
}

answers() { # HOST: until a login works
  local end=$((SECONDS + 60)) again=2
  until timeout 5 ssh -F "$KEYS/ssh_config" -o BatchMode=yes -o ConnectTimeout=2 "$1" true 2>/dev/null </dev/null; do
    if ! running "$1"; then # what a busy kernel has not yet taken away of the host before can stop it
      say "$1 stopped while booting: $(tail -n 5 "$RUN/$1/boot.log")"
      [ $((again--)) -gt 0 ] || die "$1 does not boot"
      sleep 1
      boot "$1"
    fi
    [ $SECONDS -lt $end ] || die "$1 does not answer after 60 s; see $RUN/$1/boot.log"
    sleep 0.2
  done
}

gone() { # HOST SECONDS: until its container has ended
  local end=$((SECONDS + $2))
  while running "$1"; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}

unplug() { # HOST: no goodbye
  ! running "$1" || kill -KILL "$(leader "$1" || cat "$RUN/$1/pid")" 2>/dev/null || true
  gone "$1" 5 || { kill -KILL "$(cat "$RUN/$1/pid")" 2>/dev/null || true; gone "$1" 5 || die "$1 cannot be killed"; }
}

power_off() { # HOST
  running "$1" || return 0
  kill -TERM "$(cat "$RUN/$1/pid")"
  gone "$1" "${2:-30}" || unplug "$1"
}

scrap() { # HOST: its file system; the container has ended
  local root=$RUN/$1/root t
  for t in 1 2 3 4 5 6 7 8 9 10; do
    mountpoint -q "$root" || break
    umount "$root" 2>/dev/null || sleep 0.3
    [ "$t" != 10 ] || umount -l "$root"
  done
  rm -rf --one-file-system "$RUN/$1/upper" "$RUN/$1/work"
}

remove() {
  unplug "$1"
  scrap "$1"
  rmdir "/run/systemd/nspawn/propagate/$(machine "$1")" 2>/dev/null || true
  find /sys/fs/cgroup{,/unified,/systemd}"/muster-lab/$(machine "$1")" -depth -type d -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "${RUN:?}/$1"
}
strip() { unplug "$1"; scrap "$1"; }

address_book() { # files that name every host: for the hosts themselves, and for ssh from here
  local h
  mkdir -p "$KEYS"
  chmod 700 "$KEYS"
  [ -f "$KEYS/id" ] || ssh-keygen -q -t ed25519 -N '' -C muster-lab -f "$KEYS/id"
  { echo "127.0.0.1 localhost"; for h in $(hosts); do echo "$(address "$h") $h"; done; } >"$RUN/hosts"
  for h in $(hosts); do echo "$(address "$h"),$h $(cut -d' ' -f1,2 "$RUN/$h/key.pub")"; done >"$KEYS/known_hosts"
  for h in $(hosts); do
    printf 'Host %s\n  HostName %s\n' "$h" "$(address "$h")"
    case "$(address "$h")" in "$PRIVATE".*) echo "  ProxyJump bastion" ;; esac
  done >"$KEYS/ssh_config"
  printf 'Host *\n  User deploy\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n' "$KEYS/id" "$KEYS/known_hosts" >>"$KEYS/ssh_config"
}

up() {
  # Each host's systemd takes a few; the kernel's default of 128 is for one.
  local few=/proc/sys/fs/inotify/max_user_instances
  [ "$(cat $few)" -ge 2048 ] || echo 2048 >$few 2>/dev/null || true
  local n=$1 m=${2:-0} i
  [ $((n > m ? n : m)) -lt 240 ] || die "up to 239 hosts fit a subnet"
  base
  mkdir -p "$RUN"
  locked "$RUN/lock"
  bridge "$OPEN_BRIDGE" "$NET.1/24"
  for i in $(seq 1 "$n"); do declare_host "${NAMES[i - 1]:-h$i}" "$NET.$((10 + i))"; done
  if [ "$m" -gt 0 ]; then
    bridge "$PRIVATE_BRIDGE" # without an address of this machine: only the bastion is on both sides
    ip route replace unreachable "$PRIVATE.0/24" # and no packet for it leaves by the default route
    declare_host bastion "$NET.2"
    for i in $(seq 1 "$m"); do declare_host "p$i" "$PRIVATE.$((10 + i))"; done
  fi
  address_book
  for i in $(hosts); do boot "$i"; done
  # shellcheck disable=SC2046
  each answers $(hosts)
}

list() {
  local h state
  for h in $(hosts); do
    state=stopped
    if running "$h"; then
      state=running
      [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$(leader "$h")/status")" != T ] || state=paused
    fi
    printf '%-10s %-15s %s\n' "$h" "$(address "$h")" "$state"
  done
}

reboot() {
  local before now t
  before=$(leader "$1")
  kill -s SIGRTMIN+5 "$before" # systemd: start reboot.target
  for t in $(seq 900); do
    now=$(leader "$1" 2>/dev/null || true)
    [ -z "$now" ] || [ "$now" = "$before" ] || { answers "$1"; return; }
    sleep 0.1
  done
  die "$1 did not come back in $((t / 10)) s; see $RUN/$1/boot.log"
}

signal_all() { # HOST SIGNAL; twice, for what was forked meanwhile
  local t
  # shellcheck disable=SC2046
  for t in 1 2; do kill -s "$2" $(inside "$1") 2>/dev/null || [ "$t" = 1 ] || true; done
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
base) base ;;
up) [ $# -ge 1 ] || die "up: how many hosts?"; up "$@" ;;
down)
  mkdir -p "$RUN"; locked "$RUN/lock"
  # shellcheck disable=SC2046
  each remove $(hosts)
  ip route del unreachable "$PRIVATE.0/24" 2>/dev/null || true
  rmdir /sys/fs/cgroup{,/unified,/systemd}/muster-lab 2>/dev/null || true
  for link in "$OPEN_BRIDGE" "$PRIVATE_BRIDGE"; do ip link del "$link" 2>/dev/null || true; done
  rm -rf --one-file-system "$RUN" ;;
wipe)
  [ -d "$RUN" ] || die "no hosts (lab.sh up N)"
  locked "$RUN/lock"
  # shellcheck disable=SC2046
  [ $# -gt 0 ] || set -- $(hosts)
  for h; do known "$h"; done
  each strip "$@"
  for h; do boot "$h"; done
  each answers "$@" ;;
ssh) known "$1"; h=$1; shift; exec ssh -F "$KEYS/ssh_config" -o BatchMode=yes "$h" "$@" ;;
list) list ;;
reboot) known "$1"; reboot "$1" ;;
stop) known "$1"; power_off "$1" ;;
supervise) supervise "$1" ;; # internal
start) known "$1"; boot "$1"; answers "$1" ;;
kill) known "$1"; unplug "$1" ;;
pause) known "$1"; signal_all "$1" STOP ;;
resume) known "$1"; signal_all "$1" CONT ;;
cut)
  known "$1"
  nsenter -t "$(leader "$1")" -n nft 'table inet cut { chain in { type filter hook input priority 0; policy drop; }; chain out { type filter hook output priority 0; policy drop; }; }' ;;
mend) known "$1"; nsenter -t "$(leader "$1")" -n nft delete table inet cut ;;
citus) citus ;;
help) sed -n '2,/^set/{/^set/d;s/^# \{0,3\}//p}' "$HERE/lab.sh" ;;
*) die "unknown command '$command' (lab.sh help)" ;;
esac
