//! The agent as a serialisable machine without I/O.
