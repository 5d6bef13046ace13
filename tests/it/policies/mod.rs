//! The rules of a shared queue: unique keys, dependencies, limits and fairness, through the store, the runner and the
//! API.

mod agentdojo;
mod delegated_steps;
mod delegation;
mod dependencies;
mod edges;
mod owasp;
mod sharing;
mod trees;
mod unique;
mod untrusted;
