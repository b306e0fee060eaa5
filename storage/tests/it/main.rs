//! What every store must do, asked of both; and what a disk may do to the embedded one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod damage;
mod find_traces;
mod fixtures;
mod limits;
mod model;
mod suite;
