//! The way to one host, as `ssh-check` has gone it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::command::Failure;
use crate::report::paint::Paint;
use crate::report::text::{indented, plain};

/// Hops in their order, then whom one became on the last.
pub struct Way {
    pub hops: Vec<Hop>,
    pub became: Vec<Became>,
    /// Why there are no hops at all.
    pub failure: Option<Failure>,
}

pub struct Hop {
    /// The name it was asked for by.
    pub name: String,
    pub user: String,
    /// `ADDRESS port PORT`.
    pub place: String,
    pub outcome: Result<Seen, Failure>,
}

/// What was seen of a hop that let one in.
pub struct Seen {
    /// Type and fingerprint of the host's key.
    pub key: Option<String>,
    pub connected: Duration,
    /// What the host took for a proof, in its order.
    pub entered: Vec<String>,
    pub logged_in: Duration,
}

/// A user that one tried to become.
pub struct Became {
    pub user: String,
    pub took: Duration,
    pub failure: Option<Failure>,
}

impl Way {
    pub fn is_reached(&self) -> bool {
        self.failure.is_none() && self.hops.iter().all(|hop| hop.outcome.is_ok())
    }
}

/// A paragraph a hop; the one that failed says why and what to do.
pub fn text(name: &str, local: bool, way: &Way, took: Duration, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(failure) = &way.failure {
        text += &format!("{}: {}", plain(name), wrong(failure, paint));
    }
    if local {
        text += &format!("{}: this machine itself, without ssh\n", plain(name));
    }
    for (number, hop) in (1..).zip(&way.hops) {
        let Hop { name, user, place, .. } = hop;
        text += &format!("{number}. {}: {user} at {place}\n", paint.bold(&plain(name)));
        match &hop.outcome {
            Ok(Seen { key, connected, entered, logged_in }) => {
                let key = key.as_deref().unwrap_or("a key");
                text += &line(paint, "connected", *connected, &format!("it shows {key}"));
                text += &line(paint, "logged in", *logged_in, &entered.join(", then "));
            }
            Err(failure) => text += &indented(&wrong(failure, paint), 3),
        }
    }
    for became in &way.became {
        match &became.failure {
            None => text += &line(paint, "became", became.took, &became.user),
            Some(failure) => {
                let what = format!("becoming {}: {}", became.user, wrong(failure, paint));
                text += &indented(&what, 3);
            }
        }
    }
    format!("{text}in all {} ms\n", took.as_millis())
}

fn line(paint: Paint, what: &str, took: Duration, says: &str) -> String {
    format!("   {} {what:<9} {:>5} ms  {}\n", paint.green("ok"), took.as_millis(), plain(says))
}

fn wrong(failure: &Failure, paint: Paint) -> String {
    let said = match failure {
        Failure::Unreachable { reason, hint } => format!("{reason}\nhint: {hint}"),
        Failure::Refused { stderr, .. } => stderr.trim().to_owned(),
        Failure::Lost { .. } | Failure::TimedOut { .. } => failure.cause(),
    };
    format!("{} {}\n", paint.red("FAILED"), plain(&said))
}

pub fn json(way: &Way) -> Value {
    let milliseconds = |took: Duration| took.as_millis() as u64;
    let hop = |hop: &Hop| {
        let mut value = json!({"name": hop.name, "user": hop.user, "address": hop.place});
        match &hop.outcome {
            Ok(seen) => {
                value["host_key"] = json!(seen.key);
                value["connected_ms"] = json!(milliseconds(seen.connected));
                value["by"] = json!(seen.entered);
                value["logged_in_ms"] = json!(milliseconds(seen.logged_in));
            }
            Err(failure) => value["failure"] = json!(failure),
        }
        value
    };
    let became = |became: &Became| json!({"user": became.user, "ms": milliseconds(became.took), "failure": became.failure});
    json!({
        "reached": way.is_reached(),
        "hops": way.hops.iter().map(hop).collect::<Vec<_>>(),
        "became": way.became.iter().map(became).collect::<Vec<_>>(),
        "failure": way.failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_says_what_came_of_it() {
        let seen = Seen {
            key: Some("ssh-ed25519 SHA256:abc".into()),
            connected: Duration::from_millis(12),
            entered: vec!["agent (ssh-ed25519 SHA256:def)".into()],
            logged_in: Duration::from_millis(7),
        };
        let hop = |name: &str, outcome| Hop {
            name: name.into(),
            user: "ops".into(),
            place: "10.0.0.2 port 22".into(),
            outcome,
        };
        let failure = Failure::Unreachable { reason: "it is off".into(), hint: "turn it on".into() };
        let way = Way {
            hops: vec![hop("bastion", Ok(seen)), hop("db1", Err(failure))],
            became: vec![],
            failure: None,
        };
        let expected = "\
1. bastion: ops at 10.0.0.2 port 22
   ok connected    12 ms  it shows ssh-ed25519 SHA256:abc
   ok logged in     7 ms  agent (ssh-ed25519 SHA256:def)
2. db1: ops at 10.0.0.2 port 22
   FAILED it is off
   hint: turn it on
in all 20 ms
";
        assert_eq!(text("db1", false, &way, Duration::from_millis(20), Paint::Plain), expected);
        assert!(!way.is_reached());
        assert_eq!(json(&way)["hops"][1]["failure"]["unreachable"]["hint"], "turn it on");
    }
}
