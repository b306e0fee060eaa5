//! OpenTelemetry's semantic conventions 1.44: HTTP (stable), RPC (release candidate), and the
//! filter's own `envoy.*` for what they have no words for.

use spanloom_wire::otlp::AttributesWriter;

use crate::config::{Direction, Settings};
use crate::facts::Facts;
use crate::outcome::{Outcome, grpc_status_name};
use crate::request::{Request, known_method, text};
use crate::response_flags::ResponseFlags;
use crate::url;

pub(crate) fn request(
    attributes: &mut AttributesWriter<'_>,
    settings: &Settings,
    direction: Direction,
    request: &Request<'_>,
) {
    let text = |value| text(value, settings.attributes.bytes_max);
    if request.is_empty() {
        // The proxy refused it while it could not even read its headers.
        return;
    }
    match known_method(request.method) {
        Some(method) => attributes.attribute("http.request.method", method),
        None => {
            attributes.attribute("http.request.method", "_OTHER");
            attributes.attribute("http.request.method_original", &*text(request.method));
        }
    }
    let (scheme, target, authority) = (
        text(request.scheme),
        text(request.target),
        text(request.authority),
    );
    let (path, query) = url::split_target(&target);
    let redacted = &settings.attributes.redacted_parameters;
    let query = query.map(|query| url::redact_query(query, redacted));
    match direction {
        Direction::Inbound => {
            attributes.attribute("url.scheme", &*scheme);
            attributes.attribute("url.path", path);
            if let Some(query) = query.as_deref().filter(|query| !query.is_empty()) {
                attributes.attribute("url.query", query);
            }
            if !request.user_agent.is_empty() {
                attributes.attribute("user_agent.original", &*text(request.user_agent));
            }
            let client = request.forwarded_for.split(|byte| *byte == b',').next();
            if let Some(client) = client.map(<[u8]>::trim_ascii).filter(|c| !c.is_empty()) {
                attributes.attribute("client.address", &*text(client));
            }
        }
        Direction::Outbound => {
            let authority = url::redact_authority(&authority);
            let parts = [&*scheme, "://", &*authority, path];
            let mut full = parts.concat();
            if let Some(query) = query.as_deref() {
                full.push('?');
                full.push_str(query);
            }
            attributes.attribute("url.full", &*full);
        }
    }
    let (host, port) = url::split_host_port(url::without_userinfo(&authority));
    if !host.is_empty() {
        attributes.attribute("server.address", host);
        if let Some(port) = port.or_else(|| url::default_port(&scheme)) {
            attributes.attribute("server.port", i64::from(port));
        }
    }
    if !request.request_id.is_empty() {
        attributes.attribute("envoy.request_id", &*text(request.request_id));
    }
    if request.is_grpc() {
        attributes.attribute("rpc.system.name", "grpc");
        attributes.attribute("rpc.method", path.trim_start_matches('/'));
    }
}

pub(crate) fn response(attributes: &mut AttributesWriter<'_>, facts: &Facts, outcome: &Outcome) {
    if let Some(status) = facts.status {
        attributes.attribute("http.response.status_code", status);
    }
    if let Some(grpc_status) = outcome.grpc_status {
        attributes.attribute("rpc.response.status_code", grpc_status_name(grpc_status));
    }
    if let Some(error_type) = &outcome.error_type {
        attributes.attribute("error.type", &**error_type);
    }
    if facts.flags != ResponseFlags::default() {
        let names = facts.flags.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        attributes.attribute("envoy.response_flags", &*names);
    }
    if !facts.protocol.is_empty() {
        // `network.protocol.name` is for others than HTTP.
        attributes.attribute_lossy("network.protocol.version", version(&facts.protocol));
    }
    let sizes = [
        ("http.request.body.size", facts.request_size),
        ("http.response.body.size", facts.response_size),
    ];
    for (key, size) in sizes {
        if let Some(size) = size {
            attributes.attribute(key, size);
        }
    }
    let texts = [
        ("envoy.response_code_details", &*facts.code_details),
        ("envoy.upstream_cluster", &*facts.cluster_name),
    ];
    for (key, value) in texts.into_iter().filter(|text| !text.1.is_empty()) {
        attributes.attribute_lossy(key, value);
    }
    let is_outbound = facts.direction == Direction::Outbound;
    // The conventions count the tries of clients alone.
    if let Some(n) = facts.attempt_count.filter(|n| is_outbound && *n > 1) {
        attributes.attribute("http.request.resend_count", n.saturating_sub(1));
    }
    let peer = match is_outbound {
        true => &facts.upstream_address,
        false => &facts.source_address,
    };
    if !peer.is_empty() {
        let peer = String::from_utf8_lossy(peer);
        let (address, port) = url::split_host_port(&peer);
        attributes.attribute("network.peer.address", address);
        if let Some(port) = port {
            attributes.attribute("network.peer.port", i64::from(port));
        }
    }
}

/// The version of HTTP as the conventions write it: `1.1`, `2`, `3`.
fn version(protocol: &[u8]) -> &[u8] {
    protocol.strip_prefix(b"HTTP/").unwrap_or(protocol)
}
