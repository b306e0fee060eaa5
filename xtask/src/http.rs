//! One blocking HTTP GET, for admin pages, the Jaeger API and the shop's front door.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::Agent;

/// More than any answer that we ask for.
const BODY_BYTES_MAX: u64 = 64 << 20;

static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        // Everything that we talk to is on the loopback interface.
        .proxy(None)
        .build()
        .into()
});

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Gets `url` with extra request headers. Any status is an answer, not an error.
///
/// # Errors
/// The server cannot be reached, or it answered with something that is not HTTP or not text.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let mut request = AGENT.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request
        .call()
        .with_context(|| format!("cannot get {url}"))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES_MAX)
        .read_to_string()
        .with_context(|| format!("cannot read the answer of {url}"))?;
    Ok(Response {
        status: response.status().as_u16(),
        body,
    })
}
