//! qron is cron for agents, on Qdrant.
//!
//! The path of one task through the crate:
//!
//! 1. it is inserted as a Qdrant point, through [`api`] and [`queue`], by any Qdrant client, or by [`schedules`] when it recurs;
//! 2. [`scheduler`] admits it, finds it due, and claims it for the least loaded capable agent;
//! 3. [`worker`] runs it under its time limit and its claim, and reports its outcome;
//! 4. [`agent`] plans it with [`llm`], runs the steps with [`tools`] and answers;
//! 5. [`store`] holds all of it in Qdrant: a server, or the embedded one of the crate [`qdrant_embedded`].
//!
//! [`domain`] is the vocabulary they share: pure, without clock or I/O. [`app`] wires the parts.

pub mod agent;
pub mod api;
pub mod app;
pub mod background;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod demo;
pub mod domain;
pub mod llm;
pub mod queue;
pub mod scheduler;
pub mod schedules;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod worker;
