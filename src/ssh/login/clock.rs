//! How long connecting may take: a limit for the host, not for the person who is asked something meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(in crate::ssh) struct Clock {
    /// `None` while it stands still.
    end: watch::Sender<Option<Instant>>,
    /// Milliseconds it has stood still.
    stood: AtomicU64,
}

impl Clock {
    pub(in crate::ssh) fn start(limit: Duration) -> Clock {
        let end = Instant::now() + limit;
        Clock { end: watch::Sender::new(Some(end)), stood: AtomicU64::new(0) }
    }

    /// When connecting has to be over, as things stand.
    pub(in crate::ssh) fn deadline(&self) -> Instant {
        (*self.end.borrow()).unwrap_or_else(Instant::now)
    }

    /// How long it has stood still so far.
    pub(in crate::ssh) fn stood(&self) -> Duration {
        Duration::from_millis(self.stood.load(Ordering::Relaxed))
    }

    /// `None`: time was up.
    pub(in crate::ssh) async fn limit<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut end = self.end.subscribe();
        tokio::pin!(work);
        loop {
            let until = *end.borrow_and_update();
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                output = &mut work => return Some(output),
                () = over => return None,
                _ = end.changed() => {}
            }
        }
    }

    /// The time that `wait` takes is not counted.
    pub(in crate::ssh) async fn stopped<F: Future>(&self, wait: F) -> F::Output {
        let begun = Instant::now();
        let left = self.deadline().saturating_duration_since(begun);
        self.end.send_replace(None);
        let output = wait.await;
        let stood = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stood.fetch_add(stood, Ordering::Relaxed);
        self.end.send_replace(Some(Instant::now() + left));
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_take_no_time() {
        let clock = Clock::start(Duration::from_millis(200));
        let nap = |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds));
        let work = async {
            nap(50).await;
            clock.stopped(nap(300)).await;
            nap(50).await;
        };
        assert_eq!(clock.limit(work).await, Some(()));
        assert_eq!(clock.limit(nap(300)).await, None);
        assert!(clock.stood() >= Duration::from_millis(300));
    }
}
