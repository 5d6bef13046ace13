//! The store on the real engine over the real protocol: each test on collections of its own.

mod artifacts;
mod bed;
mod claiming;
mod connecting;
mod failing;
mod foreign;
mod inserting;
mod keeping;
mod listing;
mod moving;
mod node;
mod numbers;
mod remembering;
mod rescuing;
