//! The wire formats against the libraries that others use, and against arbitrary bytes.

mod context;
mod formats;
mod otlp;
mod requests;
mod sampling;
