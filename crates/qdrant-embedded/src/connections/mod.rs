//! Connections and the file descriptors they take: how many each listener may hold, and which one gives way to a new one.
//!
//! Knows no protocol. Other listeners of the same process should accept through an [`Acceptor`] of their own, because all
//! of them share the [limit on open files](FileLimit).

mod acceptor;
mod files;
mod seats;

pub use acceptor::Acceptor;
pub use files::FileLimit;
pub use seats::{Request, Seat, SeatHandle, Seats, Standing};
