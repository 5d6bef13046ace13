//! What an attacker, or a hostile model, page or task, could do to the real program: it keeps answering, within its memory,
//! and stops when it is told to.

mod support;

mod doors;
mod references;
mod schedules;
mod texts;
