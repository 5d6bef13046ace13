//! What the answers that are being read may take of this process, all together.
//!
//! Each answer is bounded on its own. Many at once could still take all memory, or all threads. So the memory of each answer
//! beyond [`FREE_BYTES`] comes out of one account, and what is dear to read is read in turns, which leave a thread to the rest of
//! the process. An answer that finds no room is asked for again later, and neither the task nor the model is charged for that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::CallError;
use crate::telemetry::large::LARGE_BYTES;

/// Most memory of all answers that are being read, in bytes, beside the first [`FREE_BYTES`] of each.
const SHARED_BYTES: usize = 256 * 1024 * 1024;
/// Memory that each answer may take in any case, in bytes: more than ordinary ones take, so that these never wait.
const FREE_BYTES: usize = 256 * 1024;

tokio::task_local! {
    /// Where the answer of the call under way leaves what it holds.
    static PLACE: Arc<Mutex<Option<InHand>>>;
}

/// The memory and the turns of the answers of one endpoint. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Share {
    taken: Arc<AtomicUsize>,
    /// Turns of short pieces of work: one thread fewer than there are.
    short: Arc<Semaphore>,
    /// The turn of long ones.
    long: Arc<Semaphore>,
}

/// The memory of one answer. Dropping it gives the memory back.
#[derive(Debug)]
pub(super) struct Room {
    taken: Arc<AtomicUsize>,
    own: usize,
}

/// A turn to read something. The next one begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

/// What an answer holds from its end until it has been read.
#[derive(Debug)]
pub(super) struct InHand {
    _room: Room,
    _turn: Turn,
}

impl Share {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let short = Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)));
        Self { taken: Arc::default(), short, long: Arc::new(Semaphore::new(1)) }
    }

    /// Room for one answer, which holds nothing yet.
    pub(super) fn room(&self) -> Room {
        Room { taken: Arc::clone(&self.taken), own: 0 }
    }

    /// Waits for the turn to read `bytes` bytes, first come, first served.
    pub(super) async fn turn(&self, bytes: usize) -> Turn {
        let turns = if bytes > LARGE_BYTES { &self.long } else { &self.short };
        // They are never closed.
        Turn { _permit: Arc::clone(turns).acquire_owned().await.ok() }
    }
}

impl Room {
    /// Holds `bytes` bytes from now on, in place of what it held.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), CallError> {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        let fits = |taken: usize| {
            let taken = taken.saturating_sub(self.own).saturating_add(wanted);
            (wanted <= self.own || taken <= SHARED_BYTES).then_some(taken)
        };
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(CallError::Crowded(SHARED_BYTES));
        }
        self.own = wanted;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Does `call`, and returns with its result what its answer holds. The caller drops that once it has read the answer.
pub(super) async fn with_hand<T>(call: impl Future<Output = T>) -> (T, Option<InHand>) {
    let place = Arc::new(Mutex::new(None));
    let result = PLACE.scope(Arc::clone(&place), call).await;
    let in_hand = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, in_hand)
}

/// Leaves what the answer of the call under way holds to the one that reads it.
pub(super) fn hand_over(room: Room, turn: Turn) {
    let in_hand = InHand { _room: room, _turn: turn };
    let set = |place: &Arc<Mutex<_>>| *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_hand);
    // Nobody reads the answer of a call without a place.
    PLACE.try_with(set).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn answers_share_one_account_and_give_back_what_they_took() {
        let share = Share::new();
        let mut rooms: Vec<Room> = (0..8).map(|_| share.room()).collect();
        for room in &mut rooms {
            room.hold(32 * MIB).expect("there is room");
        }
        let mut late = share.room();
        assert_eq!(late.hold(FREE_BYTES), Ok(()), "an ordinary answer always finds room");
        assert_eq!(late.hold(32 * MIB), Err(CallError::Crowded(SHARED_BYTES)));
        rooms[0].hold(MIB).expect("less than before");
        assert_eq!(late.hold(16 * MIB), Ok(()));
        drop((rooms, late));
        assert_eq!(share.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn long_work_is_done_one_by_one_and_short_work_goes_on_meanwhile() {
        let share = Share::new();
        let long = share.turn(LARGE_BYTES + 1).await;
        assert!(share.turn(LARGE_BYTES + 1).now_or_never().is_none());
        assert!(share.turn(LARGE_BYTES).now_or_never().is_some());
        drop(long);
        assert!(share.turn(LARGE_BYTES + 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_an_answer_holds_is_held_until_it_has_been_read() {
        let share = Share::new();
        let call = async {
            let mut room = share.room();
            room.hold(2 * MIB).expect("there is room");
            hand_over(room, share.turn(MIB).await);
        };
        let ((), in_hand) = with_hand(call).await;
        assert!(share.taken.load(Ordering::Relaxed) > 0 && share.turn(MIB).now_or_never().is_none());
        drop(in_hand);
        assert!(share.taken.load(Ordering::Relaxed) == 0 && share.turn(MIB).now_or_never().is_some());
    }
}
