//! The connections of one listener, at most so many: a new one takes the place of the one that needs it least.
//!
//! Refusing the newest would let idle strangers shut everyone else out. So the order in which connections give way is:
//! those that have sent no request yet, then those between two requests, then those with a request under way; of the same
//! kind the one that has been so for longest. Connections of this process itself never give way.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What a connection is doing, in the order in which connections give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has sent no request that was admitted.
    New,
    /// It is between two requests.
    Idle,
    /// A request is under way.
    Busy,
    /// It belongs to this process.
    Own,
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    /// Rises with every change: the smallest one has been so for longest.
    since: u64,
    /// Requests under way.
    requests: usize,
    gives_way: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    clock: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Makes the connection that needs it least give way; `false` when every one is of this process.
    fn evict(&mut self) -> bool {
        let candidates = self.entries.iter().filter(|(_, entry)| entry.standing != Standing::Own);
        let Some((&id, _)) = candidates.min_by_key(|(_, entry)| (entry.standing, entry.since)) else { return false };
        if let Some(entry) = self.entries.remove(&id) {
            entry.gives_way.cancel();
        }
        true
    }
}

/// The seats of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seats {
    most: usize,
    table: Arc<Mutex<Table>>,
}

impl Seats {
    /// At most `most` connections at a time; at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), table: Arc::default() }
    }

    /// A seat for a new connection. When all are taken another connection gives way.
    #[must_use]
    pub fn take(&self) -> Seat {
        let mut table = self.table();
        while table.entries.len() >= self.most && table.evict() {}
        let id = table.tick();
        let gives_way = CancellationToken::new();
        let entry = Entry { standing: Standing::New, since: id, requests: 0, gives_way: gives_way.clone() };
        table.entries.insert(id, entry);
        drop(table);
        Seat { handle: SeatHandle { id, seats: self.clone() }, gives_way: Box::pin(gives_way.cancelled_owned()) }
    }

    /// Makes one connection give way, so that its file descriptor becomes free; `false` when there is none that may.
    #[must_use]
    pub fn free_one(&self) -> bool {
        self.table().evict()
    }

    /// Makes every connection give way that has no request under way, at the end of a listener.
    pub fn dismiss_idle(&self) {
        self.table().entries.retain(|_, entry| {
            let is_idle = entry.requests == 0 && entry.standing < Standing::Busy;
            if is_idle {
                entry.gives_way.cancel();
            }
            !is_idle
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Entry) -> bool) {
        let mut table = self.table();
        let now = table.tick();
        // A connection that has given way may still be about to end.
        if let Some(entry) = table.entries.get_mut(&id)
            && change(entry)
        {
            entry.since = now;
        }
    }
}

/// The place of one connection, until it is dropped with the connection.
#[derive(Debug)]
pub struct Seat {
    handle: SeatHandle,
    gives_way: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Seat {
    /// Ready once the connection has to give way.
    pub fn poll_gives_way(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.gives_way.as_mut().poll(context)
    }

    /// Says what the connection does now, if a request of it was admitted already: until then it stays new.
    pub fn set_admitted(&self, standing: Standing) {
        self.handle.seats.change(self.handle.id, |entry| {
            let changed = entry.standing != Standing::New && entry.standing != standing;
            if changed {
                entry.standing = standing;
            }
            changed
        });
    }

    /// What the handlers of its requests are given.
    #[must_use]
    pub fn handle(&self) -> SeatHandle {
        self.handle.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.handle.seats.table().entries.remove(&self.handle.id);
    }
}

/// Tells about the connection from where its requests are handled.
#[derive(Clone, Debug)]
pub struct SeatHandle {
    id: u64,
    seats: Seats,
}

impl SeatHandle {
    /// Says what the connection does now.
    pub fn set(&self, standing: Standing) {
        self.seats.change(self.id, |entry| {
            let changed = entry.standing != standing;
            entry.standing = standing;
            changed
        });
    }

    /// What the connection does; `None` once it has given way.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.seats.table().entries.get(&self.id).map(|entry| entry.standing)
    }

    /// A request that was admitted begins, and ends when the guard is dropped. Several may be under way at a time.
    #[must_use]
    pub fn begin(&self, own: bool) -> Request {
        self.seats.change(self.id, |entry| {
            entry.requests += 1;
            let is_own = own || entry.standing == Standing::Own;
            entry.standing = if is_own { Standing::Own } else { Standing::Busy };
            true
        });
        Request(self.clone())
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Request(SeatHandle);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.seats.change(self.0.id, |entry| {
            entry.requests = entry.requests.saturating_sub(1);
            if entry.requests == 0 && entry.standing == Standing::Busy {
                entry.standing = Standing::Idle;
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(seats: &Seats, standing: Standing) -> Seat {
        let seat = seats.take();
        seat.handle().set(standing);
        seat
    }

    fn left(all: &[&Seat]) -> Vec<bool> {
        all.iter().map(|seat| seat.handle.standing().is_some()).collect()
    }

    #[test]
    fn the_one_that_needs_it_least_gives_way() {
        let seats = Seats::new(5);
        let own = open(&seats, Standing::Own);
        let busy = open(&seats, Standing::Busy);
        let older = open(&seats, Standing::Idle);
        let newer = open(&seats, Standing::Idle);
        let silent = open(&seats, Standing::New);
        let all = [&own, &busy, &older, &newer, &silent];
        let mut kept = Vec::new();
        for expected in [
            [true, true, true, true, false],
            [true, true, false, true, false],
            [true, true, false, false, false],
            [true, false, false, false, false],
        ] {
            kept.push(open(&seats, Standing::Own));
            assert_eq!(left(&all), expected);
        }
        // Every one is of this process: none of them gives way.
        kept.push(open(&seats, Standing::Own));
        assert_eq!(left(&all), [true, false, false, false, false]);
    }

    #[test]
    fn the_use_of_a_connection_makes_it_young() {
        let seats = Seats::new(2);
        let (first, second) = (open(&seats, Standing::New), open(&seats, Standing::New));
        drop(first.handle().begin(false));
        drop(second.handle().begin(false));
        drop(first.handle().begin(false));
        let _third = open(&seats, Standing::Idle);
        assert_eq!(left(&[&first, &second]), [true, false]);
    }

    #[test]
    fn at_the_end_only_requests_under_way_stay() {
        let seats = Seats::new(5);
        let all = [Standing::New, Standing::Idle, Standing::Busy, Standing::Own].map(|standing| open(&seats, standing));
        seats.dismiss_idle();
        assert_eq!(left(&all.each_ref()), [false, false, true, true]);
    }

    #[test]
    fn several_requests_of_a_connection_may_be_under_way() {
        let seats = Seats::new(1);
        let seat = seats.take();
        let (one, other) = (seat.handle().begin(false), seat.handle().begin(false));
        drop(one);
        assert_eq!(seat.handle().standing(), Some(Standing::Busy));
        drop(other);
        assert_eq!(seat.handle().standing(), Some(Standing::Idle));
        drop(seat.handle().begin(true));
        drop(seat.handle().begin(false));
        assert_eq!(seat.handle().standing(), Some(Standing::Own));
    }

    #[test]
    fn an_ended_connection_leaves_its_seat() {
        let seats = Seats::new(1);
        let handle = seats.take().handle();
        assert_eq!(handle.standing(), None);
        // What is still told of it is forgotten.
        drop(handle.begin(false));
        assert_eq!(handle.standing(), None);
    }

    #[tokio::test]
    async fn a_connection_learns_that_it_gives_way() {
        let seats = Seats::new(1);
        let mut first = seats.take();
        let learns = std::future::poll_fn(|context| first.poll_gives_way(context));
        let _second = seats.take();
        learns.await;
    }
}
