//! The agent with the real store, the real toolbox, and a scripted model behind real HTTP.

mod bad_answers;
mod bed;
mod drift;
mod faults;
mod injecting;
mod loading;
mod long_texts;
mod no_false_success;
#[cfg(feature = "embedded")]
mod remembering;
mod resuming;
mod reusing;
mod running;
mod tokens;
