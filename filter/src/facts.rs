//! What the proxy knows about a request that is over.
//!
//! Reading a property costs about two thirds of a microsecond, most of it for the host's call back into
//! the module for memory (`BENCHMARK.md`). A span would need a dozen of them. One call brings all
//! headers of the response for no more than that, and for a plain response, one that came from the
//! upstream and went through, they say most of it. Properties are read for the rest; what is the same
//! for all requests of a connection is remembered.
//!
//! Envoy also evaluates lists of properties (CEL) in one call. That was tried and costs as much as
//! four properties, and most of another for each item.

use std::borrow::Cow;

use crate::config::{Direction, Settings};
use crate::connections::Connections;
use crate::header_block::Headers;
use crate::host::{Host, MapKind};
use crate::property;
use crate::request::Request;
use crate::response_flags::ResponseFlags;

/// The facts about one request. Text is in bytes as the host gave it, and empty where absent.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The side of the call.
    pub(crate) direction: Direction,
    /// HTTP's status; `None` when no response was sent.
    pub(crate) status: Option<i64>,
    pub(crate) flags: ResponseFlags,
    pub(crate) code_details: Cow<'static, [u8]>,
    /// Bytes of the bodies.
    pub(crate) request_size: Option<i64>,
    pub(crate) response_size: Option<i64>,
    /// Such as `HTTP/1.1`.
    pub(crate) protocol: Vec<u8>,
    pub(crate) cluster_name: Vec<u8>,
    /// Only if the configuration asks for it.
    pub(crate) route_name: Vec<u8>,
    /// Who called; only for spans that say so.
    pub(crate) source_address: Vec<u8>,
    /// Who was called; only for spans that say so.
    pub(crate) upstream_address: Vec<u8>,
    /// How often the upstream was tried; only for spans that say so.
    pub(crate) attempt_count: Option<i64>,
    /// The header block of the response.
    response: Vec<u8>,
}

impl Facts {
    /// Reads what a span by these settings says. Only in `on_log`.
    ///
    /// `has_body` is false if the request is known to have ended with its headers.
    pub(crate) fn read(
        host: &mut impl Host,
        connections: &mut Connections,
        settings: &Settings,
        request: &Request<'_>,
        has_body: bool,
    ) -> Self {
        let block = host.header_block(MapKind::ResponseHeaders);
        let block = block.unwrap_or_default();
        let response = Response::read(&block);
        let flags = property::number(host, property::RESPONSE_FLAGS).unwrap_or_default();
        let flags = ResponseFlags(flags.cast_unsigned());
        let is_plain = flags == ResponseFlags::default() && response.is_proxied;

        let connection = connections.current(host);
        let direction = settings.direction.unwrap_or(connection.direction);
        let says_all = settings.semconv.is_envoy();
        let is_outbound = direction == Direction::Outbound;
        let source_address = match says_all || !is_outbound {
            true => connection.peer(host),
            false => Vec::new(),
        };
        let protocol = connection.protocol.clone();
        let cluster_name = connection.cluster_name(host);
        let mut asked = |is_said: bool, path| match is_said {
            true => property::bytes(host, path).unwrap_or_default(),
            false => Vec::new(),
        };
        let route_name = asked(settings.reads_route_name(), property::ROUTE_NAME);
        let upstream_address = asked(says_all || is_outbound, property::UPSTREAM_ADDRESS);
        let code_details = match is_plain {
            true => Cow::Borrowed(&b"via_upstream"[..]),
            false => Cow::Owned(asked(true, property::RESPONSE_CODE_DETAILS)),
        };
        let attempt_count = match says_all || is_outbound {
            true => property::number(host, property::ATTEMPT_COUNT),
            false => None,
        };
        let status = response.status.or_else(|| {
            property::number(host, property::RESPONSE_CODE).filter(|status| *status > 0)
        });
        let response_size = response
            .body_size(request)
            .filter(|_| is_plain)
            .or_else(|| property::number(host, property::RESPONSE_SIZE));
        let request_size = decimal(request.content_length)
            .or((!has_body).then_some(0))
            .or_else(|| property::number(host, property::REQUEST_SIZE));
        Self {
            direction,
            status,
            flags,
            code_details,
            request_size,
            response_size,
            protocol,
            cluster_name,
            route_name,
            source_address,
            upstream_address,
            attempt_count,
            response: block,
        }
    }

    /// The headers of the response, as they went to the caller.
    pub(crate) fn response(&self) -> Headers<'_> {
        Headers::new(&self.response)
    }
}

/// What the headers of a response say.
#[derive(Debug, Default)]
struct Response<'a> {
    status: Option<i64>,
    content_length: &'a [u8],
    /// Whether the router got it from an upstream: it adds the time that this took, and to nothing
    /// else. `suppress_envoy_headers` hides it; then the properties are read.
    is_proxied: bool,
}

impl<'a> Response<'a> {
    fn read(block: &'a [u8]) -> Self {
        let mut response = Self::default();
        for (name, value) in Headers::new(block) {
            match name {
                b":status" => response.status = decimal(value),
                b"content-length" => response.content_length = value,
                b"x-envoy-upstream-service-time" => response.is_proxied = true,
                _ => {}
            }
        }
        response
    }

    /// The size of the body, if the headers say it and there is one: answers to HEAD and some
    /// statuses tell the length of what they do not bring (RFC 9110, section 6.4.1).
    fn body_size(&self, request: &Request<'_>) -> Option<i64> {
        match (request.method, self.status?) {
            (b"HEAD" | b"CONNECT", _) | (_, ..200 | 204 | 304) => None,
            _ => decimal(self.content_length),
        }
    }
}

/// A number of decimal digits alone.
fn decimal(value: &[u8]) -> Option<i64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_block;

    #[test]
    fn only_digits_are_a_length() {
        for (value, number) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1, 1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(decimal(value.as_bytes()), number, "{value}");
        }
    }

    #[test]
    fn a_length_counts_only_where_a_body_follows() {
        for (method, status, size) in [
            ("GET", "200", Some(7)),
            ("POST", "500", Some(7)),
            ("HEAD", "200", None),
            ("CONNECT", "200", None),
            ("GET", "101", None),
            ("GET", "204", None),
            ("GET", "304", None),
        ] {
            let request = header_block::write(&[(":method", method)]);
            let response = header_block::write(&[(":status", status), ("content-length", "7")]);
            let seen = Response::read(&response).body_size(&Request::read(&request));
            assert_eq!(seen, size, "{method} {status}");
        }
    }
}
