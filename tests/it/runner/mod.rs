//! The scheduler and its workers, over the real store and the real tools.

mod approved;
mod changed;
mod cycles;
mod dispatch;
mod failures;
mod inserted;
mod load;
mod model_away;
mod model_faults;
mod model_queue;
mod races;
mod refused;
mod replicas;
mod steering;
mod versions;
