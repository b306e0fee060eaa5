//! One Envoy under examination, and everything around it in our hands.
//!
//! ```text
//! client -> [inbound listener] -> app -> [outbound listener] -> end
//!                 filter                      filter
//!                    \-------- OTLP --> sink ----/
//! ```
//!
//! The client, the application, the end and the sink are threads of the test. They speak just enough
//! HTTP/1.1 to show headers as they stand on the wire: names in their case, values untouched,
//! duplicates kept. The application has no tracing code; it copies `traceparent` and `tracestate`
//! from what comes in to what goes out, as the Istio documentation asks applications to do.

mod envoy;
mod http1;
pub mod load;
mod sink;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};

pub use envoy::{Delivery, Envoy, EnvoyOptions, Tracing};
pub use http1::{Headers, Message};
pub use sink::{Mood, Sink};

/// Where a call of the application goes.
const CALL_PATH: &str = "/end/";

/// An Envoy with an application behind it and an end that remembers what it was sent.
pub struct Lab {
    envoy: Envoy,
    end: Arc<End>,
    n_requests: AtomicU64,
}

/// What became of one request of the client.
#[derive(Debug)]
pub struct Outcome {
    /// The answer that the client got.
    pub answer: Message,
    /// What the end got, call by call.
    pub calls: Vec<Message>,
}

impl Lab {
    /// Starts everything; `options` says what Envoy does.
    ///
    /// # Errors
    /// Envoy did not come up; the message holds the end of its log.
    pub fn start(envoy: &std::path::Path, mut options: EnvoyOptions) -> Result<Self> {
        let end = End::start()?;
        let outbound = Arc::new(OnceLock::new());
        options.app = start_app(Arc::clone(&outbound))?;
        options.next = end.address;
        let envoy = Envoy::start(envoy, &options)?;
        let _ = outbound.set(envoy.listener("outbound")?);
        Ok(Self {
            envoy,
            end,
            n_requests: AtomicU64::new(0),
        })
    }

    /// The Envoy.
    pub fn envoy(&self) -> &Envoy {
        &self.envoy
    }

    /// Sends a request with these headers to the inbound listener; the application makes `n_calls`
    /// calls through the outbound listener before it answers.
    ///
    /// # Errors
    /// Envoy cannot be reached, or breaks off.
    pub fn send(&self, headers: &[(&str, &[u8])], n_calls: usize) -> Result<Outcome> {
        let id = self.n_requests.fetch_add(1, Ordering::Relaxed).to_string();
        let target = format!("/app/{n_calls}/{id}");
        let answer = http1::exchange(self.envoy.listener("inbound")?, "GET", &target, headers)?;
        Ok(Outcome {
            answer,
            calls: self.end.take(&id),
        })
    }
}

/// The last hop: answers every request with 200 and keeps it under the last segment of its path.
struct End {
    address: SocketAddr,
    calls: Mutex<HashMap<String, Vec<Message>>>,
}

impl End {
    fn start() -> Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let end = Arc::new(Self {
            address: listener.local_addr()?,
            calls: Mutex::new(HashMap::new()),
        });
        let kept = Arc::clone(&end);
        http1::serve(listener, move |request| {
            let id = request
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            let mut calls = kept.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.entry(id).or_default().push(request);
            200
        });
        Ok(end)
    }

    fn take(&self, id: &str) -> Vec<Message> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.remove(id).unwrap_or_default()
    }
}

/// Starts the application. A path `/app/3/17` makes it call three times, as request 17.
fn start_app(outbound: Arc<OnceLock<SocketAddr>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    http1::serve(listener, move |request| {
        match call(&request, outbound.get().copied()) {
            Ok(()) => 200,
            Err(_) => 502,
        }
    });
    Ok(address)
}

fn call(request: &Message, outbound: Option<SocketAddr>) -> Result<()> {
    let outbound = outbound.context("a request before the start was over")?;
    let mut segments = request.path().rsplit('/');
    let id = segments.next().context("no id")?;
    let n_calls: usize = segments.next().context("no number of calls")?.parse()?;
    let copied: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| ["traceparent", "tracestate"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    for _ in 0..n_calls {
        let answer = http1::exchange(outbound, "GET", &format!("{CALL_PATH}{id}"), &copied)?;
        if answer.status() != 200 {
            bail!("the end answered {}", answer.status());
        }
    }
    Ok(())
}
