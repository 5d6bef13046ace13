//! The vocabulary of qron: what a task, an attempt, a plan and an agent are, and the rules they obey.
//!
//! Everything here is pure. The time, ids and randomness are arguments (the jitter of
//! [`retry::RetryPolicy::delay`] is the one exception), nothing does I/O, and nothing knows how it is stored.

pub mod addresses;
pub mod adoption;
pub mod agent;
pub mod approval;
pub mod attempt;
pub mod budget;
pub mod calendar_words;
pub mod conversation;
pub mod counted;
pub mod data_block;
pub mod dead_letter;
pub mod delegation;
pub mod dependency;
pub mod drift;
pub mod event;
pub mod failure;
pub mod files;
pub mod handover;
pub mod hidden;
pub mod host;
pub mod id;
pub mod injection;
pub mod json;
pub mod limit;
pub mod markdown_tables;
pub mod memory;
pub mod number;
pub mod outage;
pub mod passages;
pub mod pause;
pub mod plan;
pub mod plan_faults;
pub mod plan_reuse;
pub mod provenance;
pub mod ranking;
pub mod redaction;
pub mod replica;
pub mod retry;
pub mod schedule;
pub mod schema_words;
pub mod spelling;
pub mod step_origin;
pub mod table_source;
pub mod task;
pub mod time;
pub mod tool;
pub mod tree;
pub mod unique;
pub mod url;
