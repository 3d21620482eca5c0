//! Stop, said by the operator or by the machine.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::Problem;
use crate::execute::Stop;

/// From here on Ctrl-C no longer ends the process: the first asks to finish what runs, the second drops it.
/// A pipeline's SIGTERM and a closed terminal's SIGHUP ask the same.
pub(super) fn listen(stop: watch::Sender<Stop>) -> Result<(), Vec<Problem>> {
    let open =
        |kind| signal(kind).map_err(|error| vec![Problem::new(format!("cannot catch signals: {error}"))]);
    let mut interrupt = open(SignalKind::interrupt())?;
    let mut terminate = open(SignalKind::terminate())?;
    let mut hangup = open(SignalKind::hangup())?;
    tokio::spawn(async move {
        for said in [Stop::Finish, Stop::Drop] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            stop.send_replace(said);
        }
        // Kept, so that the last word stays said.
        stop.closed().await;
    });
    Ok(())
}
