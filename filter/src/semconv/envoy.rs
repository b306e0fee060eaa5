//! The tags of Envoy's own tracers (`source/common/tracing/http_tracer_impl.cc`): all of them texts,
//! and a dash for what is not known. Kiali and dashboards that are older than the conventions look
//! for these.

use spanloom_wire::otlp::AttributesWriter;

use crate::config::Settings;
use crate::facts::Facts;
use crate::outcome::Outcome;
use crate::request::{Request, text};
use crate::response_flags::ResponseFlags;
use crate::url;

pub(crate) fn request(
    attributes: &mut AttributesWriter<'_>,
    settings: &Settings,
    request: &Request<'_>,
) {
    let bytes_max = settings.attributes.bytes_max;
    let header = |name| {
        let value = request.joined(name).unwrap_or_default();
        text(&value, bytes_max).into_owned()
    };
    attributes.attribute("component", "proxy");
    if request.is_empty() {
        return;
    }
    attributes.attribute("http.method", &*text(request.method, bytes_max));
    let target = text(request.target, bytes_max);
    let (path, query) = url::split_target(&target);
    let scheme = text(request.scheme, bytes_max);
    let authority = text(request.authority, bytes_max);
    let mut full = [&*scheme, "://", &*url::redact_authority(&authority), path].concat();
    if let Some(query) = query {
        full.push('?');
        full.push_str(&url::redact_query(
            query,
            &settings.attributes.redacted_parameters,
        ));
    }
    attributes.attribute("http.url", &*full);
    let tags = [
        ("user_agent", "user-agent"),
        ("downstream_cluster", "x-envoy-downstream-service-cluster"),
    ];
    for (tag, name) in tags {
        let value = header(name);
        attributes.attribute(tag, if value.is_empty() { "-" } else { &*value });
    }
    for name in ["x-request-id", "x-client-trace-id"] {
        let value = header(name);
        if !value.is_empty() {
            attributes.attribute(&format!("guid:{name}"), &*value);
        }
    }
    if request.is_grpc() {
        attributes.attribute("grpc.path", path);
        attributes.attribute("grpc.authority", &*authority);
        attributes.attribute("grpc.content_type", &*text(request.content_type, bytes_max));
        let timeout = header("grpc-timeout");
        if !timeout.is_empty() {
            attributes.attribute("grpc.timeout", &*timeout);
        }
    }
}

pub(crate) fn response(attributes: &mut AttributesWriter<'_>, facts: &Facts, outcome: &Outcome) {
    let number = |number: Option<i64>| number.unwrap_or_default().to_string();
    attributes.attribute("http.status_code", &*number(facts.status));
    attributes.attribute("request_size", &*number(facts.request_size));
    attributes.attribute("response_size", &*number(facts.response_size));
    let tags = [
        ("http.protocol", &facts.protocol),
        ("peer.address", &facts.source_address),
        ("upstream_address", &facts.upstream_address),
        ("upstream_cluster", &facts.cluster_name),
        ("upstream_cluster.name", &facts.cluster_name),
    ];
    for (tag, value) in tags.into_iter().filter(|tag| !tag.1.is_empty()) {
        attributes.attribute_lossy(tag, value);
    }
    let flags = match facts.flags == ResponseFlags::default() {
        true => "-".to_owned(),
        false => facts.flags.names().join(","),
    };
    attributes.attribute("response_flags", &*flags);
    if let Some(status) = outcome.grpc_status {
        attributes.attribute("grpc.status_code", &*status.to_string());
    }
    if let Some(n) = facts.attempt_count.filter(|n| *n > 1) {
        attributes.attribute("retry.count", &*n.saturating_sub(1).to_string());
    }
    if outcome.error_type.is_some() {
        attributes.attribute("error", "true");
    }
}
