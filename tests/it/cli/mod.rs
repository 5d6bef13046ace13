//! The real binary, as people and scripts use it.

mod canaries;
mod checking;
mod demo;
mod environment;
mod files;
mod filters;
mod following;
mod ids;
mod logs;
mod mistakes;
mod modes;
mod overview;
mod program;
mod requeue;
mod results;
mod round_trip;
mod running;
mod start;
mod steering;
mod telling;
mod unchanged;
mod usage;
mod waiting;
mod wire;
mod without_model;
