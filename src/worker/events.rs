//! The history: events are buffered and written in batches, and never hold up work.
//!
//! When the buffer is full, new events are dropped, counted and warned of; what tasks became is in the tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::STORE_RETRY;
use crate::domain::event::Event;
use crate::store::Store;
use crate::telemetry::metrics;

/// Most events waiting to be written.
const CAPACITY: usize = 8_192;
/// Most events in one write.
const BATCH: usize = 512;
/// How long events gather before they are written.
const GATHER: Duration = Duration::from_millis(100);
/// Tries of a write at shutdown.
const LAST_TRIES: u32 = 3;
/// Least time between two warnings about dropped events.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Takes events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    sender: mpsc::Sender<Event>,
    replica: Arc<str>,
    warned: Arc<Mutex<Option<Instant>>>,
}

/// Writes what [`Events`] took.
pub(crate) struct EventWriter {
    receiver: mpsc::Receiver<Event>,
    store: Store,
}

/// A buffer for the events of `replica`.
pub(crate) fn buffer(store: Store, replica: &str) -> (Events, EventWriter) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let events = Events { sender, replica: Arc::from(replica), warned: Arc::default() };
    (events, EventWriter { receiver, store })
}

impl Events {
    /// Takes an event; drops it when the buffer is full.
    pub(crate) fn note(&self, mut event: Event) {
        event.replica.get_or_insert_with(|| self.replica.to_string());
        if self.sender.try_send(event).is_err() {
            metrics::EVENTS_DROPPED.inc([]);
            self.warn();
        }
    }

    fn warn(&self) {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| now.duration_since(at) >= WARN_EVERY) {
            *warned = Some(now);
            tracing::warn!("the history has gaps: events come faster than the store takes them");
        }
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
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(GATHER) => {}
            }
            while batch.len() < BATCH {
                let Ok(event) = self.receiver.try_recv() else { break };
                batch.push(event);
            }
            self.write(&mut batch, &stop).await;
        }
        self.receiver.close();
        loop {
            if !batch.is_empty() {
                self.write(&mut batch, &stop).await;
            }
            if self.receiver.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
        }
    }

    /// Writes `batch` and empties it: while the store does not answer it waits, but after `stop` not for long.
    async fn write(&self, batch: &mut Vec<Event>, stop: &CancellationToken) {
        let mut tries = 0;
        while let Err(error) = self.store.record(batch).await {
            tries += 1;
            let last = !error.is_transient() || (stop.is_cancelled() && tries >= LAST_TRIES);
            if last {
                metrics::EVENTS_DROPPED.add(batch.len(), []);
                tracing::warn!(%error, events = batch.len(), "events could not be stored");
                break;
            }
            let wait = Duration::from_millis(STORE_RETRY.delay(tries));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        batch.clear();
    }
}
