//! Connections and the file descriptors they take: how many each listener may hold, and which one gives way to a new one.
//!
//! Knows no protocol, and imports nothing of the rest of the crate. The API and the embedded store listen through it.

pub(crate) mod acceptor;
pub(crate) mod files;
pub(crate) mod seats;

pub use files::FileLimit;
