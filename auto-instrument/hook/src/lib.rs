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
pub use current::{FramePoll, Scope, SharedFrame, carry, current, taken_along};
pub use function::{Entered, Polling, Site, State, enter, never};
#[doc(hidden)]
pub use held::Held;
pub use sink::{Decision, Ended, First, Sink, install};
pub use span::{InSpan, Kind, Span, Value, in_span};

// Here since its path is part of the name of everything that a program does with such a future: in its
// debug information every letter counts.

/// A future that runs in the context in which it was made.
#[derive(Debug)]
pub struct Carry<F> {
    frame: SharedFrame,
    future: F,
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
        $crate::State {
            site: $crate::std::option::Option::Some($crate::site!($name)),
            begun: $crate::Held::NOTHING,
        }
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

/// The futures of a module: what a lean `async fn` returns, and what another one awaits.
///
/// They are items of the module that uses them, since a compiler puts all that is compiled for a type
/// into the part of the program in which the type stands. Were they this crate's, then all of a
/// program's instrumented functions would be one more part of it, to be compiled after every edit.
#[macro_export]
macro_rules! futures {
    ($($name:ident)+) => {
        $($crate::future!($name);)+
    };
}

/// One of [`futures!`].
#[doc(hidden)]
#[macro_export]
macro_rules! future {
    (SpanloomFn) => {
        /// The body of an `async fn`; its span starts at the first poll, as its code does.
        struct SpanloomFn<F> {
            state: $crate::State,
            body: F,
        }

        impl<F: $crate::std::future::Future> $crate::std::future::Future for SpanloomFn<F> {
            type Output = F::Output;

            #[inline(always)]
            fn poll(
                self: $crate::std::pin::Pin<&mut Self>,
                task: &mut $crate::std::task::Context<'_>,
            ) -> $crate::std::task::Poll<F::Output> {
                $crate::poll!(self, task, state, polled);
                match polled {
                    $crate::std::task::Poll::Ready(_) => state.returned(),
                    $crate::std::task::Poll::Pending => state.waits(),
                }
                polled
            }
        }
    };
    (SpanloomTry) => {
        /// As `SpanloomFn`, of one that returns a `Result`: an `Err` marks the span.
        struct SpanloomTry<F> {
            state: $crate::State,
            body: F,
        }

        impl<F, T, E> $crate::std::future::Future for SpanloomTry<F>
        where
            F: $crate::std::future::Future<Output = $crate::std::result::Result<T, E>>,
        {
            type Output = F::Output;

            #[inline(always)]
            fn poll(
                self: $crate::std::pin::Pin<&mut Self>,
                task: &mut $crate::std::task::Context<'_>,
            ) -> $crate::std::task::Poll<F::Output> {
                $crate::poll!(self, task, state, polled);
                match polled {
                    $crate::std::task::Poll::Ready($crate::std::result::Result::Ok(_)) => {
                        state.returned();
                    }
                    $crate::std::task::Poll::Ready($crate::std::result::Result::Err(_)) => {
                        state.failed($crate::std::any::type_name::<E>);
                    }
                    $crate::std::task::Poll::Pending => state.waits(),
                }
                polled
            }
        }
    };
}

/// Polls the body of one of [`futures!`].
#[doc(hidden)]
#[macro_export]
macro_rules! poll {
    ($self:ident, $task:ident, $state:ident, $polled:ident) => {
        // SAFETY: the body is never moved out of what is pinned: this is the only access to it, and its
        // future has no `Drop` of its own. The state is never pinned. `Pin` has the layout of the pointer
        // in it, by its documentation; its own functions would be compiled for each body.
        let Self { state, body } = unsafe {
            $crate::std::mem::transmute::<$crate::std::pin::Pin<&mut Self>, &mut Self>($self)
        };
        let $state = state.enter();
        // SAFETY: as above.
        let body =
            unsafe { $crate::std::mem::transmute::<&mut F, $crate::std::pin::Pin<&mut F>>(body) };
        let $polled = $crate::std::future::Future::poll(body, $task);
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
