//! qron
pub mod clock;
pub mod domain;
