//! How a request went, and whether that is an error.

use std::borrow::Cow;

use crate::config::Direction;
use crate::facts::Facts;
use crate::header_block::Headers;
use crate::host::{Host, MapKind};
use crate::property;
use crate::response_flags::ResponseFlags;

/// The end of a request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// gRPC's status, for gRPC calls.
    pub(crate) grpc_status: Option<i64>,
    /// `error.type`, if the request failed as seen from this side.
    pub(crate) error_type: Option<Cow<'static, str>>,
}

impl Outcome {
    /// Judges by these facts. Only in `on_log`.
    pub(crate) fn read(host: &mut impl Host, facts: &Facts, is_grpc: bool) -> Self {
        let grpc_status = match is_grpc {
            true => read_grpc_status(host, facts.response()),
            false => None,
        };
        Self {
            grpc_status,
            error_type: error_type(facts.direction, facts.status, facts.flags, grpc_status),
        }
    }
}

/// `error.type` if the request failed, as seen from this side. A client failed by any status of 400
/// or more, a server by 500 or more; a caller who leaves is no error of the server.
pub(crate) fn error_type(
    direction: Direction,
    status: Option<i64>,
    flags: ResponseFlags,
    grpc_status: Option<i64>,
) -> Option<Cow<'static, str>> {
    let is_client = direction == Direction::Outbound;
    if let Some(grpc_status) = grpc_status {
        // A server is at fault for UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
        // UNAVAILABLE and DATA_LOSS.
        let is_error = match is_client {
            true => grpc_status != 0,
            false => matches!(grpc_status, 2 | 4 | 12..=15),
        };
        return is_error.then(|| Cow::Borrowed(grpc_status_name(grpc_status)));
    }
    let worst_ok = if is_client { 399 } else { 499 };
    let from_flags = || flags.error_type().map(Cow::Borrowed);
    match status {
        Some(status) if status > worst_ok => {
            Some(from_flags().unwrap_or_else(|| Cow::Owned(status.to_string())))
        }
        Some(_) => None,
        None if flags.is_cancelled() => None,
        None => from_flags(),
    }
}

/// The status of a gRPC call: from the trailers; an answer without a message has it among its
/// headers; one that is not gRPC's, from a proxy maybe, has what Envoy makes of HTTP's.
pub(crate) fn read_grpc_status(host: &mut impl Host, response: Headers<'_>) -> Option<i64> {
    let status = |headers: Headers<'_>| {
        let status = headers.get(b"grpc-status")?;
        std::str::from_utf8(status).ok()?.parse().ok()
    };
    let trailers = host.header_block(MapKind::ResponseTrailers);
    let trailers = trailers.unwrap_or_default();
    status(Headers::new(&trailers))
        .or_else(|| status(response))
        .or_else(|| property::number(host, property::GRPC_STATUS))
}

/// A gRPC status as the conventions write it; a number that gRPC does not know is UNKNOWN, as its
/// libraries take it.
pub(crate) const fn grpc_status_name(status: i64) -> &'static str {
    match status {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ending = (Option<i64>, u64, Option<i64>);

    #[track_caller]
    fn check((status, flags, grpc_status): &Ending, server: Option<&str>, client: Option<&str>) {
        let seen = |side| error_type(side, *status, ResponseFlags(*flags), *grpc_status);
        assert_eq!(seen(Direction::Inbound).as_deref(), server);
        assert_eq!(seen(Direction::Outbound).as_deref(), client);
    }

    fn http(status: Option<i64>, flags: u64) -> Ending {
        (status, flags, None)
    }

    #[test]
    fn clients_fail_from_400_on_and_servers_from_500_on() {
        check(&http(Some(200), 0), None, None);
        check(&http(Some(404), 0), None, Some("404"));
        check(&http(Some(500), 0), Some("500"), Some("500"));
    }

    #[test]
    fn envoys_own_reason_is_named() {
        let (no_route, failed) = (1 << 8, 1 << 5);
        check(
            &http(Some(503), failed),
            Some("upstream_connection_failure"),
            Some("upstream_connection_failure"),
        );
        check(&http(Some(404), no_route), None, Some("no_route_found"));
    }

    #[test]
    fn a_caller_who_leaves_is_no_error() {
        check(&http(None, 1 << 14), None, None);
        check(
            &http(None, 1 << 16),
            Some("stream_idle_timeout"),
            Some("stream_idle_timeout"),
        );
    }

    #[test]
    fn grpc_fails_by_its_own_status() {
        let grpc = |status| (Some(200), 0, Some(status));
        check(&grpc(0), None, None);
        check(&grpc(5), None, Some("NOT_FOUND"));
        check(&grpc(14), Some("UNAVAILABLE"), Some("UNAVAILABLE"));
        check(&grpc(99), None, Some("UNKNOWN"));
    }
}
