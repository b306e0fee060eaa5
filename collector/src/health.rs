//! The health endpoint: 200 when everything runs, 503 with the reason when not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

/// What the collector is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Opening stores and ports.
    #[default]
    Starting,
    /// Taking requests.
    Running,
    /// Finishing what was accepted.
    Stopping,
}

/// The state that the endpoint shows.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
    /// Whether `state.failed_stores` has entries, so that a write that works takes no lock.
    has_failures: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    failed_stores: BTreeMap<String, String>,
}

impl Health {
    /// The collector goes on to the next phase.
    pub fn enter(&self, phase: Phase) {
        self.state().phase = phase;
    }

    /// A store could not keep spans.
    pub fn store_failed(&self, store: &str, message: String) {
        self.state().failed_stores.insert(store.to_owned(), message);
        self.has_failures.store(true, Relaxed);
    }

    /// A store kept spans.
    pub fn store_works(&self, store: &str) {
        if self.has_failures.load(Relaxed) {
            let mut state = self.state();
            state.failed_stores.remove(store);
            self.has_failures
                .store(!state.failed_stores.is_empty(), Relaxed);
        }
    }

    /// Answers `/` and `/status`.
    ///
    /// # Errors
    /// Never.
    pub async fn answer<B>(
        self: Arc<Self>,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (status, body) = match request.uri().path() {
            "/" | "/status" => self.report(),
            _ => (
                StatusCode::NOT_FOUND,
                json!({ "error": "health is at / and /status" }),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }

    fn report(&self) -> (StatusCode, serde_json::Value) {
        let state = self.state();
        let (status, text) = match state.phase {
            Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Phase::Running if state.failed_stores.is_empty() => (StatusCode::OK, "running"),
            Phase::Running => (StatusCode::SERVICE_UNAVAILABLE, "store failed"),
        };
        (
            status,
            json!({ "status": text, "failed_stores": state.failed_stores }),
        )
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_tells_the_truth_about_phases_and_stores() {
        let health = Health::default();
        assert_eq!(health.report().0, StatusCode::SERVICE_UNAVAILABLE);
        health.enter(Phase::Running);
        assert_eq!(health.report().0, StatusCode::OK);
        health.store_failed("main", "disk full".to_owned());
        let (status, body) = health.report();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["failed_stores"]["main"], "disk full");
        health.store_works("main");
        assert_eq!(health.report().0, StatusCode::OK);
        health.enter(Phase::Stopping);
        assert_eq!(health.report().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
