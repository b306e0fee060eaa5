//! The router as clients meet it: questions over HTTP, answers from a store in memory.

mod api;
mod harness;
mod pages;
