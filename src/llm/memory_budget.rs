//! The memory and the processor time that the answers of one endpoint may take while qron reads them, all together.
//!
//! Each answer has a limit of its own. Many at once could still take all memory, or all threads. So each answer reserves its memory
//! beyond [`FREE_BYTES`] from one budget, and needs a permit while it is parsed: permits leave a thread to the rest of the process.
//! When the budget is used up, the call fails, and its task waits and asks again later at no charge.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::CallError;
use crate::telemetry::large::LARGE_BYTES;

/// Size of the budget, in bytes: the memory of all answers that are being read, without the first [`FREE_BYTES`] of each.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;
/// Memory of each answer that does not count, in bytes: an ordinary answer takes less, and so is read whatever the others take.
const FREE_BYTES: usize = 256 * 1024;

tokio::task_local! {
    /// What the answer of the call under way holds once it has come whole. It passes by the OpenAI client, which knows nothing of it.
    static RESOURCES: Arc<Mutex<Option<AnswerResources>>>;
}

/// The memory budget and the read permits of the answers of one endpoint. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(super) struct MemoryBudget {
    /// Bytes that are reserved.
    reserved: Arc<AtomicUsize>,
    /// Permits to parse at most [`LARGE_BYTES`]: one fewer than there are threads.
    short: Arc<Semaphore>,
    /// The one permit to parse more.
    long: Arc<Semaphore>,
}

/// The memory that one answer has reserved. Dropping it gives the memory back.
#[derive(Debug)]
pub(super) struct MemoryReservation {
    /// Bytes that all answers have reserved.
    reserved: Arc<AtomicUsize>,
    /// Bytes of this answer among them.
    own: usize,
}

/// The permit to parse an answer, or a piece of one. Dropping it gives the permit to the next.
#[derive(Debug)]
pub(super) struct ReadPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

/// What an answer that has come whole holds until it has been read.
#[derive(Debug)]
pub(super) struct AnswerResources {
    _memory: MemoryReservation,
    _permit: ReadPermit,
}

impl MemoryBudget {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let short = Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)));
        Self { reserved: Arc::default(), short, long: Arc::new(Semaphore::new(1)) }
    }

    /// The reservation of one answer, of no bytes yet.
    pub(super) fn reservation(&self) -> MemoryReservation {
        MemoryReservation { reserved: Arc::clone(&self.reserved), own: 0 }
    }

    /// Waits for the permit to parse `bytes` bytes, first come, first served.
    pub(super) async fn read_permit(&self, bytes: usize) -> ReadPermit {
        let permits = if bytes > LARGE_BYTES { &self.long } else { &self.short };
        // The semaphores are never closed, so that the permit is there.
        ReadPermit { _permit: Arc::clone(permits).acquire_owned().await.ok() }
    }
}

impl MemoryReservation {
    /// Changes the reservation to `bytes` bytes.
    ///
    /// # Errors
    /// [`CallError::OverMemoryBudget`] when the budget has not enough left; the reservation then stays as it was.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), CallError> {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        let fits = |reserved: usize| {
            let reserved = reserved.saturating_sub(self.own).saturating_add(wanted);
            (wanted <= self.own || reserved <= BUDGET_BYTES).then_some(reserved)
        };
        if self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(CallError::OverMemoryBudget(BUDGET_BYTES));
        }
        self.own = wanted;
        Ok(())
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Awaits `call`, and returns with its result what its answer holds. The caller drops that once it has read the answer.
pub(super) async fn with_resources<T>(call: impl Future<Output = T>) -> (T, Option<AnswerResources>) {
    let resources = Arc::new(Mutex::new(None));
    let result = RESOURCES.scope(Arc::clone(&resources), call).await;
    let held = resources.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, held)
}

/// Keeps `memory` and `permit` until the caller of [`with_resources`] has read the answer of the call under way.
pub(super) fn keep_until_read(memory: MemoryReservation, permit: ReadPermit) {
    let held = AnswerResources { _memory: memory, _permit: permit };
    let set = |resources: &Arc<Mutex<_>>| *resources.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    // A call outside `with_resources` has no one to read its answer.
    RESOURCES.try_with(set).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn answers_share_one_memory_budget_and_give_back_what_they_took() {
        let budget = MemoryBudget::new();
        let mut answers: Vec<MemoryReservation> = (0..8).map(|_| budget.reservation()).collect();
        for answer in &mut answers {
            answer.resize(32 * MIB).expect("the budget has enough left");
        }
        let mut late = budget.reservation();
        assert_eq!(late.resize(FREE_BYTES), Ok(()), "an ordinary answer is always read");
        assert_eq!(late.resize(32 * MIB), Err(CallError::OverMemoryBudget(BUDGET_BYTES)));
        answers[0].resize(MIB).expect("less than before");
        assert_eq!(late.resize(16 * MIB), Ok(()));
        drop((answers, late));
        assert_eq!(budget.reserved.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn long_work_is_done_one_by_one_and_short_work_goes_on_meanwhile() {
        let budget = MemoryBudget::new();
        let long = budget.read_permit(LARGE_BYTES + 1).await;
        assert!(budget.read_permit(LARGE_BYTES + 1).now_or_never().is_none());
        assert!(budget.read_permit(LARGE_BYTES).now_or_never().is_some());
        drop(long);
        assert!(budget.read_permit(LARGE_BYTES + 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_an_answer_holds_is_kept_until_it_has_been_read() {
        let budget = MemoryBudget::new();
        let call = async {
            let mut memory = budget.reservation();
            memory.resize(2 * MIB).expect("the budget has enough left");
            keep_until_read(memory, budget.read_permit(MIB).await);
        };
        let ((), held) = with_resources(call).await;
        assert!(budget.reserved.load(Ordering::Relaxed) > 0 && budget.read_permit(MIB).now_or_never().is_none());
        drop(held);
        assert!(budget.reserved.load(Ordering::Relaxed) == 0 && budget.read_permit(MIB).now_or_never().is_some());
    }
}
