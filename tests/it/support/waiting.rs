//! Waiting for something that another thread or process does.

use std::time::{Duration, Instant};

/// Longest wait for anything. Tests need a small part of it, unless something is wrong, also on slow machines.
pub(crate) const DEADLINE: Duration = Duration::from_mins(5);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look at the state gives.
pub(crate) trait Look {
    /// What the test waits for.
    type Found;

    /// What was found, or what was seen instead.
    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Result<T, String> {
    type Found = T;

    fn found(self) -> Self {
        self
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

/// Repeats `look` until it finds something; panics at the deadline with what the last look saw.
pub(crate) async fn eventually<L: Look>(what: &str, mut look: impl AsyncFnMut() -> L) -> L::Found {
    let began = Instant::now();
    loop {
        match look().await.found() {
            Ok(found) => return found,
            Err(instead) => assert!(began.elapsed() < DEADLINE, "waited for: {what}; instead: {instead}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
