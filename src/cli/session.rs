//! One host, and a person who talks to it.

use super::Options;
use crate::command::Failure;
use crate::error::Exit;
use crate::formation::{Host, NodeName};
use crate::report::{self, answers as text};
use crate::ssh::{Screen, Talk};

/// Connects, and holds the session to its end; a failure is told.
pub(super) async fn hold(
    options: &Options,
    name: &NodeName,
    host: &Host,
    talk: &Talk,
    screen: Screen,
) -> Result<u32, Failure> {
    let transport = options.transport();
    let ended = match transport.connect(name, host).await {
        Ok(session) => {
            for note in session.notes() {
                report::log(&format!("{name}: {note}\n"));
            }
            let ended = session.talk(talk, screen).await;
            session.close().await;
            ended
        }
        Err(failure) => Err(failure),
    };
    transport.close().await;
    if let Err(failure) = &ended {
        report::log(&text::failure(name, failure));
    }
    ended
}

/// Of what was run there.
pub(super) fn exit(ended: Result<u32, Failure>) -> Exit {
    match ended {
        Ok(0) => Exit::Ok,
        Ok(_) | Err(Failure::Refused { .. } | Failure::Lost { .. } | Failure::TimedOut { .. }) => {
            Exit::Failed
        }
        Err(Failure::Unreachable { .. }) => Exit::Unreachable,
    }
}
