//! The runtime of auto-instrumented programs.
//!
//! `cargo spanloom` compiles this crate with the user's own compiler and passes it to every crate
//! that it instruments. It therefore stands on `std` alone, has no macros by example that see user
//! code, and keeps four promises to its host: it never panics, its memory is bounded, it writes
//! nothing to the host's streams (unless `SPANLOOM_LOG=1`), and outside a trace a call costs one
//! look at a thread-local.
//!
//! It is not a tracing API for people: use the `spanloom` crate for that.
//!
//! ```
//! let mut span = spanloom_hook::Span::root("demo", spanloom_hook::Kind::Server, "GET /");
//! span.set("http.response.status_code", 200);
//! let header = span.in_scope(|| spanloom_hook::Span::child("demo", spanloom_hook::Kind::Client, "GET").traceparent());
//! assert_eq!(header.map(|value| value.len()), Some(55));
//! ```

mod context;
mod current;
pub mod db;
mod env;
mod exit;
mod export;
mod function;
mod hand;
mod held;
pub mod http;
mod id;
pub mod message;
mod otlp;
mod sink;
mod span;
mod sql;

pub use context::{Context, Whole, enter_foreign, give_way};
pub use current::{Scope, SharedFrame, SharedPoll, carry, current, taken_along};
pub use function::{Entered, Site, State, enter, never};
pub use sink::{Decision, Ended, First, Sink, install};
pub use span::{InSpan, Kind, Span, Value, in_span};

// These stand here since their paths are part of the name of everything that a program does with
// futures: in its debug information every letter counts.

/// A future that runs in the context in which it was made.
#[derive(Debug)]
pub struct Carry<F> {
    frame: current::Frame,
    future: F,
}

/// The body of an `async fn`; its span starts at the first poll, as its code does. It is made where
/// the function stands, since a call that makes it would be compiled for each of them.
#[derive(Debug)]
pub struct Function<F> {
    #[doc(hidden)]
    pub state: State,
    #[doc(hidden)]
    pub body: F,
}

/// As [`Function`], of one that returns a `Result`: an `Err` marks the span.
#[derive(Debug)]
pub struct Fallible<F> {
    #[doc(hidden)]
    pub state: State,
    #[doc(hidden)]
    pub body: F,
}

/// For the macros: a program may have its own `std`, or a `line!` of its own.
#[doc(hidden)]
pub use std;

/// The place of a function: a `&'static Site`, made where the function stands.
#[macro_export]
macro_rules! site {
    ($name:literal) => {{
        static SITE: $crate::Site = $crate::Site::new(
            $name,
            $crate::std::module_path!(),
            $crate::std::file!(),
            $crate::std::line!(),
        );
        &SITE
    }};
}

/// The state of an instrumented `async fn`.
#[macro_export]
macro_rules! state {
    ($name:literal) => {
        $crate::State::of($crate::site!($name))
    };
}

/// What an `async fn` with this output returns, for one that is written without `async`. The words
/// are of this crate's edition, so that every lifetime is captured, as `async fn` does in each.
#[macro_export]
macro_rules! future_of {
    ($output:ty) => {
        impl $crate::std::future::Future<Output = $output>
    };
}

/// The first statement of an instrumented function: its span lives as long as the body.
#[macro_export]
macro_rules! enter {
    ($name:literal) => {
        let _entered = $crate::enter($crate::site!($name));
    };
}

/// Tells inference what an `async` block returns, as the signature of its function does.
#[macro_export]
macro_rules! returns {
    ($type:ty) => {
        if false {
            return $crate::never::<$type>();
        }
    };
}
