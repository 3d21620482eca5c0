//! Whose turn it is to write to the terminal: a question to the operator, or the progress of the run.

mod ask;
pub mod raw;
mod terminal;

pub use ask::{Asker, Echo};

use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until nobody else writes; whoever asks a question keeps the turn until it is answered.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}
