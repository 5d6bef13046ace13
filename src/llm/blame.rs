//! Which side a failed exchange is blamed on.

/// Which side is at fault when an exchange gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The request or its answer: other requests are not affected.
    Question,
    /// The endpoint, the key or the network: no request is answered. Counts for the circuit breaker.
    Outage,
    /// Neither side: the rate limit of the server is reached.
    RateLimit,
}
