//! The history: events are buffered and written in batches, and never hold up work. What may happen is
//! [`EventKind`].
//!
//! When the buffer is full, the history drops new events and counts them, and it tells in the log and in an event of its own how
//! many. What became of a task is in the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::event::{Event, EventKind, Level};
use crate::store::{STORE_RETRY, Store};
use crate::telemetry::metrics;

/// Most events waiting to be written: those of thousands of runs in the moment in which a model answers all of them. They take
/// about 20 MiB.
const CAPACITY: usize = 32_768;
/// Most events in one write.
const BATCH: usize = 1_024;
/// How long events gather before they are written, unless there are enough for a write.
const GATHER: Duration = Duration::from_millis(100);
/// Tries of a write at shutdown.
const LAST_TRIES: u32 = 3;
/// Least time between two reports of dropped events.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Takes the events of one replica. Cheap to clone.
#[derive(Clone)]
pub struct History {
    store: Store,
    sender: mpsc::Sender<Event>,
    replica: Arc<Replica>,
}

struct Replica {
    name: String,
    /// Events dropped since the last report.
    dropped: AtomicU64,
}

/// Writes what a [`History`] took.
pub(crate) struct HistoryWriter {
    receiver: mpsc::Receiver<Event>,
    store: Store,
    replica: Arc<Replica>,
    reported: Option<Instant>,
}

/// A buffer for the events of `replica`.
pub(super) fn buffer(store: Store, replica: &str) -> (History, HistoryWriter) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let replica = Arc::new(Replica { name: replica.to_owned(), dropped: AtomicU64::new(0) });
    let history = History { store: store.clone(), sender, replica: Arc::clone(&replica) };
    (history, HistoryWriter { receiver, store, replica, reported: None })
}

impl History {
    /// Takes an event, which is written within moments. Drops it when the buffer is full.
    pub fn note(&self, event: Event) {
        self.replica.note(&self.sender, event);
    }

    /// Writes events at once, for a person who looks at the history right after. What happened has happened, so a failure is
    /// logged and counted, and fails nothing.
    pub async fn record(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.store.record(events).await {
            tracing::warn!(%error, "events could not be stored: the history has a gap");
            metrics::EVENTS_DROPPED.add(events.len(), []);
        }
    }

    pub(super) fn replica_id(&self) -> &str {
        &self.replica.name
    }
}

impl Replica {
    fn note(&self, sender: &mpsc::Sender<Event>, mut event: Event) {
        event.replica.get_or_insert_with(|| self.name.clone());
        if sender.try_send(event).is_err() {
            metrics::EVENTS_DROPPED.inc([]);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The event that tells of what was dropped since the last call.
    fn gap(&self) -> Option<Event> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return None;
        }
        tracing::warn!(dropped, "the history has gaps: events come faster than the store takes them");
        let message = format!("{dropped} events were dropped: they came faster than the store takes them");
        let event =
            Event::new(EventKind::EventsDropped, message, clock::now()).level(Level::Warn).with("dropped", dropped);
        Some(Event { replica: Some(self.name.clone()), ..event })
    }
}

impl HistoryWriter {
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
            if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                batch.extend(self.replica.gap().inspect(|_| self.reported = Some(Instant::now())));
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
    fn dropped_events_are_counted_and_reported_once() {
        let (sender, mut receiver) = mpsc::channel(1);
        let replica = Arc::new(Replica { name: "r1".to_owned(), dropped: AtomicU64::new(0) });
        assert_eq!(replica.gap(), None);
        for _ in 0..3 {
            replica.note(&sender, Event::new(EventKind::Claimed, "x", clock::now()));
        }
        let gap = replica.gap().expect("a gap");
        assert_eq!((gap.data["dropped"].as_u64(), gap.replica.as_deref()), (Some(2), Some("r1")));
        assert_eq!(replica.gap(), None);
        assert_eq!(receiver.try_recv().expect("the one there was room for").kind, "claimed");
    }
}
