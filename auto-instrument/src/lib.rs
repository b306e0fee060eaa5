//! Builds a Rust program with spans in it, without an edit to its sources.
//!
//! `cargo spanloom run` starts Cargo with this tool as its compiler wrapper. For a crate that a
//! rule names, and for the crates of the workspace, the wrapper writes a copy of the sources with
//! calls to the hook inserted *on the same lines*, compiles that copy under the original paths, and
//! falls back to the original when the copy does not compile. It is not a tracing library: what
//! the inserted calls do stands in `hook/`, and which calls go where stands in `rules/*.toml`.
//!
//! ```
//! use cargo_spanloom::edit::Edits;
//!
//! let mut edits = Edits::default();
//! edits.insert(8, " enter();");
//! assert_eq!(edits.apply("fn f() {}"), "fn f() { enter();}");
//! ```

mod cfg;
mod child;
pub mod command;
mod config;
mod depinfo;
mod depth;
mod diagnostics;
pub mod edit;
mod functions;
mod hook;
mod invocation;
mod modules;
mod places;
mod report;
mod rewrite;
pub mod rules;
mod session;
mod shadow;
mod workspace;
mod wrapper;

pub use wrapper::run as run_wrapper;
