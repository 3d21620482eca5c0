//! Where PGDATA is, or is to be: the file system, its room, and who may write there.

use serde::Serialize;

use crate::formation::{Keeper, Node, Server};
use crate::probe::Answers;
use crate::resource::data::Pgdata;

/// KiB that must be free for an empty data directory: initdb's 40 MB, first WAL segments, and room to start.
const ROOM_KB: u64 = 256 * 1024;

/// Files that an empty data directory has, 300 a database and as many that come with the first tables, and room to start.
const INODES: u64 = 3000;

/// KiB that `/tmp` must have free: pg_autoctl's files there are of a few bytes, and a file system counts in blocks.
const TMP_KB: u64 = 64;

/// What was seen of the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The directory that the next three are of: PGDATA where it has data, else the nearest above it that is there.
    pub near: String,
    pub room_kb: u64,
    /// Files that may still be made; `None` where the file system has no limit.
    pub inodes: Option<u64>,
    pub access: Access,
    pub is: Is,
    pub tmp_kb: u64,
    pub tmp_inodes: Option<u64>,
}

/// Whether the server's user may make files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Writable,
    ReadOnly,
    /// It is this user's.
    Denied(String),
}

/// What PGDATA is itself, whatever lies in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    /// A directory, or nothing yet.
    Plain,
    /// A mount point, or a subvolume.
    Mount,
    /// A symbolic link, and where it leads.
    Link(String),
}

/// `$pgdata`; before the probe of the data directory. It is built beside PGDATA, so that folder is what counts.
pub const PROBE: &str = r#"
if [ -f "$pgdata/PG_VERSION" ]; then near=$pgdata; else near=${pgdata%/*}; near=${near:-/}; fi
while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done
say place.near "$near"
room() {
  df -Pk "$2" | { read -r l; read -r l; set -- $1 $l; say "$1.room" "${5:-}"; }
  df -Pi "$2" 2>/dev/null | { read -r l; read -r l; set -- $1 $l; case ${3:-0} in 0|-) none "$1.inodes" ;; *) say "$1.inodes" "${5:-}" ;; esac; }
}
room place "$near"
room tmp /tmp
# The last mount at the mount point that the directory lies on.
read_only() {
  on=$(df -P "$near" | tail -n 1); on=/${on#*% /}; o=
  while read -r l at l opts l; do if [ "$at" = "$on" ]; then o=$opts; fi; done </proc/self/mounts
  case ,$o, in *,ro,*) return 0 ;; *) return 1 ;; esac
}
if [ -w "$near" ] && [ -x "$near" ]; then say place.access writable
elif read_only; then say place.access read-only
else say place.access "$(stat -c %U "$near")"; fi
# A bind mount may be of the same device, and a subvolume is in no list of mounts.
mounted() {
  if [ "$(stat -c %d "$pgdata")" != "$(stat -c %d "$pgdata/..")" ]; then return 0; fi
  p=$(printf '%s' "$pgdata" | sed 's/ /\\040/g')
  while read -r l l l l at l; do if [ "$at" = "$p" ]; then return 0; fi; done </proc/self/mountinfo
  return 1
}
if [ -L "$pgdata" ]; then say place.is "link $(readlink -f "$pgdata")"
elif [ -d "$pgdata" ] && mounted; then say place.is mount
else say place.is plain; fi
"#;

pub fn parse(answers: &Answers) -> Result<Place, String> {
    let inodes = |key: &str| -> Result<Option<u64>, String> {
        match answers.text(key)? {
            Some(_) => answers.number(key).map(Some),
            None => Ok(None),
        }
    };
    let is = answers.need("place.is")?;
    Ok(Place {
        near: answers.need("place.near")?,
        room_kb: answers.number("place.room")?,
        inodes: inodes("place.inodes")?,
        access: match answers.need("place.access")?.as_str() {
            "writable" => Access::Writable,
            "read-only" => Access::ReadOnly,
            "" => return Err("place.access is not told".to_owned()),
            owner => Access::Denied(owner.to_owned()),
        },
        is: match (is.as_str(), is.strip_prefix("link ")) {
            ("plain", _) => Is::Plain,
            ("mount", _) => Is::Mount,
            (_, Some(target)) => Is::Link(target.to_owned()),
            (_, None) => return Err(format!("place.is is neither plain, mount nor link: {is:.40}")),
        },
        tmp_kb: answers.number("tmp.room")?,
        tmp_inodes: inodes("tmp.inodes")?,
    })
}

/// Why no data directory can be made here, or used; `None` if it can.
pub fn refusal(server: &Server, place: &Place, found: &Pgdata) -> Option<String> {
    let (pgdata, near, user) = (&server.pgdata, &place.near, &server.os_user);
    if place.access == Access::ReadOnly {
        return Some(format!(
            "the file system of {near} is mounted read-only: see why (dmesg), and mount it for writing"
        ));
    }
    match found {
        Pgdata::Present(_) => return None,
        Pgdata::Empty | Pgdata::Foreign(_) => {}
    }
    // Before what lies there: a file system's own lost+found is no reason that helps.
    match &place.is {
        Is::Plain => {}
        Is::Mount => {
            return Some(format!(
                "{pgdata} is a mount point: muster and keepers put a finished data directory in its place, which cannot be \
                 done there; set pgdata to a directory in it, e.g. {pgdata}/data"
            ));
        }
        Is::Link(target) => {
            return Some(format!(
                "{pgdata} is a symbolic link: muster and keepers put a finished data directory in its place, which would \
                 not be where it leads; set pgdata to {target}"
            ));
        }
    }
    match found {
        Pgdata::Foreign(_) | Pgdata::Present(_) => return None,
        Pgdata::Empty => {}
    }
    if let Access::Denied(owner) = &place.access {
        return Some(format!(
            "{user} cannot create {pgdata}: {near} belongs to {owner}, and a data directory is made beside its place; \
             let {user} write there"
        ));
    }
    if place.room_kb < ROOM_KB {
        let (free, needed) = (place.room_kb / 1024, ROOM_KB / 1024);
        return Some(format!(
            "the disk is full: {free} MB free for {pgdata}, at least {needed} MB are needed"
        ));
    }
    place.inodes.filter(|free| *free < INODES).map(|free| {
        format!(
            "the disk is full: {free} inodes free for {pgdata}, at least {INODES} are needed (df -i {near})"
        )
    })
}

/// Why no keeper could be started; `None` if one could.
pub fn no_tmp(server: &Server, place: &Place) -> Option<String> {
    let full = place.tmp_kb < TMP_KB || place.tmp_inodes == Some(0);
    (full && server.keeper != Keeper::None).then(|| {
        let left = match place.tmp_inodes {
            Some(0) => "no inodes".to_owned(),
            Some(_) | None => format!("{} KB", place.tmp_kb),
        };
        format!("/tmp is full ({left} free), and pg_autoctl keeps its pid file there: make room")
    })
}

/// What will get in the way of a node that is there.
pub fn note(node: Option<&Node>, server: &Server, place: &Place, found: &Pgdata) -> Option<String> {
    let (Some(_), Pgdata::Present(_), true) = (node, found, server.keeper != Keeper::None) else {
        return None;
    };
    let what = match &place.is {
        Is::Plain => return None,
        Is::Mount => "a mount point",
        Is::Link(_) => "a symbolic link",
    };
    Some(format!(
        "{} is {what}: a keeper that has to copy the node anew empties it, cannot put the copy in its place, and tries \
         again for ever; give the node a directory of its own before that",
        server.pgdata
    ))
}
