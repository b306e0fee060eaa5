//! What people and tools ask of traces: the Jaeger HTTP API and the pages.
//!
//! [`router`] serves both from any [`TraceReader`]. This crate knows no backend and no port: the
//! collector binds the router to a listener, under whatever prefix it likes, since every link in the
//! pages is relative.
//!
//! ```
//! use std::sync::Arc;
//!
//! use spanloom_query::{Options, router};
//! use spanloom_storage::TraceReader;
//!
//! fn app(store: Arc<dyn TraceReader>) -> axum::Router {
//!     router(store, Options::default())
//! }
//! ```
//!
//! - `/api/...`: Jaeger's HTTP API version 1, the one that Grafana, Kiali and most scripts call, and
//!   that Jaeger itself dropped in 2.21.
//! - everything else: server-rendered pages that work without JavaScript.
//!
//! There are no CORS headers, on purpose: traces hold secrets often enough, so a page of another
//! origin may not read them. Grafana and Kiali ask from their servers.

mod api;
mod json;
mod page;
mod trace;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use spanloom_storage::TraceReader;
use spanloom_wire::Timestamp;

/// Where "now" comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the router behaves; the default suits everyone but tests.
#[derive(Clone)]
pub struct Options {
    /// Where "now" comes from, for searches that say "the last hour".
    pub clock: Clock,
    /// No answer holds more traces than this, whatever the question's limit.
    pub n_traces_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(system_time),
            n_traces_max: 1500,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that tests replace"
)]
fn system_time() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().plus(since_epoch)
}

/// What every handler needs.
#[derive(Clone)]
struct App {
    reader: Arc<dyn TraceReader>,
    options: Options,
}

/// The Jaeger API under `/api` and the pages beside it.
pub fn router(reader: Arc<dyn TraceReader>, options: Options) -> Router {
    Router::new()
        .merge(api::router())
        .merge(page::router())
        .with_state(App { reader, options })
}
