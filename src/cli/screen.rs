//! One task writes progress, whoever sends the events.

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::console;
use crate::event::Event;
use crate::execute::Stop;
use crate::fleet::Events;
use crate::report::progress::{Mode, Progress};

/// How often the spinner moves.
const SPIN: Duration = Duration::from_millis(120);

pub(super) struct Screen {
    events: Events,
    over: oneshot::Sender<()>,
    writer: JoinHandle<()>,
}

impl Screen {
    /// Follows a run until [`Screen::close`]; `stop` tells it, as it tells the executor, that the operator said stop.
    pub(super) fn open(mode: Mode, total: usize, what: &str, stop: watch::Receiver<Stop>) -> Screen {
        let (events, receiver) = mpsc::unbounded_channel();
        let (over, is_over) = oneshot::channel();
        let progress = Progress::new(mode, total, what);
        Screen { events, over, writer: tokio::spawn(write(progress, receiver, stop, is_over)) }
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Everything that was sent has been written, and the status line is gone.
    pub(super) async fn close(self) {
        let _ = self.over.send(());
        let _ = self.writer.await;
    }
}

async fn write(
    mut progress: Progress,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut stop: watch::Receiver<Stop>,
    mut is_over: oneshot::Receiver<()>,
) {
    let mut may_stop = true;
    let mut spin = interval(SPIN);
    spin.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // While the operator is asked something nothing is written; what happens meanwhile is told later.
        let _turn = tokio::select! {
            biased;
            turn = console::turn() => turn,
            _ = &mut is_over => break,
        };
        tokio::select! {
            biased;
            changed = stop.changed(), if may_stop => match changed {
                Ok(()) => progress.receive(&Event::Stopping),
                Err(_) => may_stop = false,
            },
            Some(event) = events.recv() => progress.receive(&event),
            _ = spin.tick() => progress.tick(),
            // Last, so that no event is left behind. Senders may outlive the screen: it does not wait for them.
            _ = &mut is_over => break,
        }
    }
    progress.finish();
}
