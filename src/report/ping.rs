//! Who answers, and how fast.

use std::time::Duration;

use serde_json::{Value, json};

use crate::command::Failure;
use crate::formation::NodeName;
use crate::report::answers;
use crate::report::paint::Paint;

/// One host: how long it took to connect and log in, and then a command that does nothing.
pub struct Pinged {
    pub node: NodeName,
    pub connect: Duration,
    pub command: Result<Duration, Failure>,
}

/// A line a host; of those that do not answer, why and what to do.
pub fn text(hosts: &[Pinged], paint: Paint) -> String {
    let width = hosts.iter().map(|host| host.node.0.chars().count()).max().unwrap_or_default();
    let line = |host: &Pinged| match &host.command {
        Ok(command) => format!(
            "{:width$}  {}  connect {} ms, command {} ms\n",
            host.node,
            paint.green("ok"),
            host.connect.as_millis(),
            command.as_millis()
        ),
        Err(failure) => {
            let (word, why) = answers::reason(failure);
            format!("{:width$}  {}  {why}", host.node, paint.red(word))
        }
    };
    hosts.iter().map(line).collect()
}

pub fn json(hosts: &[Pinged]) -> Value {
    let host = |host: &Pinged| {
        let value = match &host.command {
            Ok(command) => json!({
                "ok": true,
                "connect_ms": u64::try_from(host.connect.as_millis()).unwrap_or(u64::MAX),
                "command_ms": u64::try_from(command.as_millis()).unwrap_or(u64::MAX),
            }),
            Err(failure) => json!({"ok": false, "failure": failure}),
        };
        (host.node.0.clone(), value)
    };
    Value::Object(hosts.iter().map(host).collect())
}
