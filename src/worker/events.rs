//! The history: events are buffered and written in batches, and never hold up work.
//!
//! When the buffer is full, new events are dropped and counted, and the log and the history itself tell how many; what tasks
//! became is in the tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::STORE_RETRY;
use crate::clock;
use crate::domain::event::{Event, Level};
use crate::store::Store;
use crate::telemetry::metrics;

/// Most events waiting to be written: what thousands of runs tell in the moment in which a model answers all of them. They
/// take about 20 MiB.
const CAPACITY: usize = 32_768;
/// Most events in one write.
const BATCH: usize = 1_024;
/// How long events gather before they are written, unless there are enough for a write.
const GATHER: Duration = Duration::from_millis(100);
/// Tries of a write at shutdown.
const LAST_TRIES: u32 = 3;
/// Least time between two reports of dropped events.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Takes events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    sender: mpsc::Sender<Event>,
    replica: Arc<Replica>,
}

struct Replica {
    name: String,
    /// Events dropped since that was told last.
    dropped: AtomicU64,
}

/// Writes what [`Events`] took.
pub(crate) struct EventWriter {
    receiver: mpsc::Receiver<Event>,
    store: Store,
    replica: Arc<Replica>,
    told: Option<Instant>,
}

/// A buffer for the events of `replica`.
pub(crate) fn buffer(store: Store, replica: &str) -> (Events, EventWriter) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let replica = Arc::new(Replica { name: replica.to_owned(), dropped: AtomicU64::new(0) });
    (Events { sender, replica: Arc::clone(&replica) }, EventWriter { receiver, store, replica, told: None })
}

impl Events {
    /// Takes an event; drops it when the buffer is full.
    pub(crate) fn note(&self, mut event: Event) {
        event.replica.get_or_insert_with(|| self.replica.name.clone());
        if self.sender.try_send(event).is_err() {
            metrics::EVENTS_DROPPED.inc([]);
            self.replica.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Replica {
    /// Tells of what was dropped since the last time.
    fn gap(&self) -> Option<Event> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return None;
        }
        tracing::warn!(dropped, "the history has gaps: events come faster than the store takes them");
        let message = format!("{dropped} events were dropped: they came faster than the store takes them");
        let event = Event::new("events_dropped", message, clock::now()).level(Level::Warn).with("dropped", dropped);
        Some(Event { replica: Some(self.name.clone()), ..event })
    }
}

impl EventWriter {
    /// Writes until `stop`, then what is left, and returns.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                count = self.receiver.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            // More events of the same moment share the write.
            if batch.len() + self.receiver.len() < BATCH {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
            while batch.len() < BATCH {
                let Ok(event) = self.receiver.try_recv() else { break };
                batch.push(event);
            }
            if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                batch.extend(self.replica.gap().inspect(|_| self.told = Some(Instant::now())));
            }
            self.write(&mut batch, &stop).await;
        }
        self.receiver.close();
        batch.extend(self.replica.gap());
        loop {
            // A store that is gone must not hold up the exit once for each batch.
            if !batch.is_empty() && !self.write(&mut batch, &stop).await {
                let rest = self.receiver.len();
                metrics::EVENTS_DROPPED.add(rest, []);
                tracing::warn!(events = rest, "the rest of the history is not stored: the store does not answer");
                return;
            }
            if self.receiver.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
        }
    }

    /// Writes `batch` and empties it: while the store does not answer it waits, but after `stop` not for long. `false` when it
    /// has given up waiting.
    async fn write(&self, batch: &mut Vec<Event>, stop: &CancellationToken) -> bool {
        let mut tries = 0;
        while let Err(error) = self.store.record(batch).await {
            tries += 1;
            let last = !error.is_transient() || (stop.is_cancelled() && tries >= LAST_TRIES);
            if last {
                metrics::EVENTS_DROPPED.add(batch.len(), []);
                tracing::warn!(%error, events = batch.len(), "events could not be stored");
                batch.clear();
                return !error.is_transient();
            }
            let wait = Duration::from_millis(STORE_RETRY.delay(tries));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        batch.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_once_and_counted() {
        let (sender, mut receiver) = mpsc::channel(1);
        let replica = Arc::new(Replica { name: "r1".to_owned(), dropped: AtomicU64::new(0) });
        let events = Events { sender, replica: Arc::clone(&replica) };
        assert_eq!(replica.gap(), None);
        for _ in 0..3 {
            events.note(Event::new("claimed", "x", clock::now()));
        }
        let told = replica.gap().expect("a gap");
        assert_eq!((told.data["dropped"].as_u64(), told.replica.as_deref()), (Some(2), Some("r1")));
        assert_eq!(replica.gap(), None);
        assert_eq!(receiver.try_recv().expect("the one there was room for").kind, "claimed");
    }
}
