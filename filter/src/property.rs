//! The properties that the filter reads, and their encodings (Envoy's attribute documentation; the
//! encodings stand in `source/extensions/common/wasm/context.cc`): text raw, numbers, timestamps and
//! durations in 8 bytes little-endian, booleans in one byte.

use crate::config::Direction;
use crate::host::Host;

pub(crate) const LISTENER_DIRECTION: &[u8] = b"xds\0listener_direction";
pub(crate) const DESTINATION_PORT: &[u8] = b"destination\0port";
pub(crate) const REQUEST_TIME: &[u8] = b"request\0time";
pub(crate) const ATTEMPT_COUNT: &[u8] = b"upstream\0request_attempt_count";
pub(crate) const CLUSTER_NAME: &[u8] = b"xds\0cluster_name";
pub(crate) const CONNECTION_ID: &[u8] = b"connection_id";
pub(crate) const REQUEST_PROTOCOL: &[u8] = b"request\0protocol";
pub(crate) const REQUEST_SIZE: &[u8] = b"request\0size";
pub(crate) const RESPONSE_CODE_DETAILS: &[u8] = b"response\0code_details";
pub(crate) const RESPONSE_FLAGS: &[u8] = b"response\0flags";
pub(crate) const RESPONSE_SIZE: &[u8] = b"response\0size";
pub(crate) const ROUTE_NAME: &[u8] = b"xds\0route_name";
pub(crate) const SOURCE_ADDRESS: &[u8] = b"source\0address";
pub(crate) const UPSTREAM_ADDRESS: &[u8] = b"upstream\0address";
pub(crate) const RESPONSE_CODE: &[u8] = b"response\0code";
pub(crate) const GRPC_STATUS: &[u8] = b"response\0grpc_status";
pub(crate) const NODE_REGION: &[u8] = b"xds\0node\0locality\0region";
pub(crate) const NODE_ID: &[u8] = b"xds\0node\0id";
pub(crate) const NODE_CLUSTER: &[u8] = b"xds\0node\0cluster";
pub(crate) const NODE_ZONE: &[u8] = b"xds\0node\0locality\0zone";

/// A property as bytes; `None` where it is absent, empty or has no byte form.
pub(crate) fn bytes(host: &mut impl Host, path: &[u8]) -> Option<Vec<u8>> {
    host.property(path).ok().filter(|value| !value.is_empty())
}

/// A property as text; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn text(host: &mut impl Host, path: &[u8]) -> Option<String> {
    let value = bytes(host, path)?;
    Some(match String::from_utf8(value) {
        Ok(text) => text,
        Err(not_utf8) => String::from_utf8_lossy(not_utf8.as_bytes()).into_owned(),
    })
}

/// A property as a number; `None` too where it has another type.
pub(crate) fn number(host: &mut impl Host, path: &[u8]) -> Option<i64> {
    let value = host.property(path).ok()?;
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

/// The side of the call that the current stream is on, unless it is configured; a listener that does
/// not say is taken for an inbound one. Asked for each stream: where nothing else differs, Envoy
/// lets the listeners of both directions share a root.
pub(crate) fn direction(host: &mut impl Host, configured: Option<Direction>) -> Direction {
    configured.unwrap_or_else(|| match number(host, LISTENER_DIRECTION) {
        Some(2) => Direction::Outbound,
        _ => Direction::Inbound,
    })
}
