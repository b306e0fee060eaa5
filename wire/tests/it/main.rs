//! The wire formats against the libraries that others use, and against arbitrary bytes.

mod context;
mod otlp;
mod requests;
mod sampling;
