//! What `cargo xtask` is made of, for the commands in `main.rs` and for the whole-system tests.
//!
//! The heart is [`mesh::Mesh`]: the collector, three services and an Envoy beside each of them, with
//! the filter in both listeners, all on free loopback ports, all gone when it is dropped or when
//! the process dies. Around it: building what it runs ([`artifacts`]), getting the foreign parts
//! ([`parts`]), asking the Jaeger API what arrived ([`jaeger`]), and databases and brokers for the
//! tests of the SDK ([`server`]).
//!
//! Nothing here is part of Spanloom itself, and nothing here knows a crate of it: processes, files
//! and HTTP are all that it touches.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let mesh = xtask::mesh::Mesh::start(&xtask::artifacts::Artifacts::build()?, &xtask::parts::envoy()?)?;
//! let answer = mesh.get("/", &[])?;
//! assert_eq!(answer.status, 200);
//! # Ok(())
//! # }
//! ```

pub mod artifacts;
pub mod environment;
pub mod http;
pub mod jaeger;
pub mod mesh;
pub mod parts;
pub mod server;
pub mod step;
pub mod wait;
pub mod workspace;
