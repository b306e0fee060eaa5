//! The request's headers, read in one pass.
//!
//! One host call brings all headers: that costs less than three calls for one header each.

use std::borrow::Cow;

use crate::header_block::Headers;
use crate::url;
use spanloom_wire::context::{Extracted, Restart, extract};

/// What the filter looks at. Values are as the caller sent them: any bytes.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    headers: Option<Headers<'a>>,
    pub(crate) method: &'a [u8],
    pub(crate) scheme: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) authority: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) content_type: &'a [u8],
    pub(crate) forwarded_for: &'a [u8],
    pub(crate) request_id: &'a [u8],
    pub(crate) content_length: &'a [u8],
    n_traceparent: usize,
    n_tracestate: usize,
    pub(crate) traceparent: &'a [u8],
    tracestate: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn read(block: &'a [u8]) -> Self {
        let headers = Headers::new(block);
        let mut request = Request {
            headers: Some(headers.clone()),
            ..Request::default()
        };
        for (name, value) in headers {
            let place = match name {
                b":method" => &mut request.method,
                b":scheme" => &mut request.scheme,
                b":path" => &mut request.target,
                b":authority" => &mut request.authority,
                b"user-agent" => &mut request.user_agent,
                b"content-type" => &mut request.content_type,
                b"x-forwarded-for" => &mut request.forwarded_for,
                b"x-request-id" => &mut request.request_id,
                b"content-length" => &mut request.content_length,
                b"traceparent" => {
                    request.n_traceparent = request.n_traceparent.saturating_add(1);
                    &mut request.traceparent
                }
                b"tracestate" => {
                    request.n_tracestate = request.n_tracestate.saturating_add(1);
                    &mut request.tracestate
                }
                _ => continue,
            };
            *place = value;
        }
        request
    }

    /// The caller's trace context, or why the trace starts here.
    pub(crate) fn context(&self) -> Result<Extracted<'a>, Restart> {
        match (self.n_traceparent, self.n_tracestate) {
            (0, _) => Err(Restart::Missing),
            (1, 0) => extract([self.traceparent], []),
            (1, 1) => extract([self.traceparent], [self.tracestate]),
            _ => extract(self.all(b"traceparent"), self.all(b"tracestate")),
        }
    }

    /// Whether there is no request line: then there was nothing that the proxy could read.
    pub(crate) fn is_empty(&self) -> bool {
        self.method.is_empty() && self.target.is_empty()
    }

    /// Whether the request is a gRPC call.
    pub(crate) fn is_grpc(&self) -> bool {
        is_grpc(self.content_type)
    }

    /// The name of the span while its route is unknown: the method, or the procedure of a gRPC
    /// call. Never the path, whose values are without number.
    pub(crate) fn name(&self, bytes_max: usize) -> Cow<'static, str> {
        if self.is_grpc() {
            let target = text(self.target, bytes_max);
            let procedure = url::split_target(&target)
                .0
                .trim_start_matches('/')
                .to_owned();
            return Cow::Owned(procedure);
        }
        Cow::Borrowed(known_method(self.method).unwrap_or("HTTP"))
    }

    /// All values of a header, joined with commas if there are several.
    pub(crate) fn joined(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.all(name.as_bytes());
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(Cow::Owned(joined))
    }

    /// All values of a header.
    pub(crate) fn all<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let headers = self.headers.clone().into_iter().flatten();
        headers
            .filter(move |header| header.0 == name)
            .map(|header| header.1)
    }
}

/// Whether a content type is that of a gRPC call.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// Foreign bytes as text of at most `bytes_max` bytes; what is not UTF-8 becomes U+FFFD.
pub(crate) fn text(value: &[u8], bytes_max: usize) -> Cow<'_, str> {
    let Some(cut) = value.get(..bytes_max).filter(|_| value.len() > bytes_max) else {
        return String::from_utf8_lossy(value);
    };
    // The cut may go through a character: leave out what is left of it.
    match std::str::from_utf8(cut) {
        Err(end) if end.error_len().is_none() => {
            String::from_utf8_lossy(cut.get(..end.valid_up_to()).unwrap_or_default())
        }
        _ => String::from_utf8_lossy(cut),
    }
}

/// The methods that the conventions know: RFC 9110, RFC 5789 (PATCH), and QUERY.
pub(crate) fn known_method(method: &[u8]) -> Option<&'static str> {
    Some(match method {
        b"GET" => "GET",
        b"POST" => "POST",
        b"PUT" => "PUT",
        b"DELETE" => "DELETE",
        b"HEAD" => "HEAD",
        b"PATCH" => "PATCH",
        b"OPTIONS" => "OPTIONS",
        b"CONNECT" => "CONNECT",
        b"TRACE" => "TRACE",
        b"QUERY" => "QUERY",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_block;
    use proptest::prelude::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;a=b", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let block = header_block::write(&[("content-type", content_type)]);
            assert_eq!(Request::read(&block).is_grpc(), is_grpc, "{content_type}");
        }
    }

    #[test]
    fn the_path_never_becomes_the_name() {
        let block = header_block::write(&[(":method", "GET"), (":path", "/cart/17?a=b")]);
        assert_eq!(Request::read(&block).name(100), "GET");
        let block = header_block::write(&[(":method", "BREW"), (":path", "/pot")]);
        assert_eq!(Request::read(&block).name(100), "HTTP");
    }

    #[test]
    fn a_grpc_call_is_named_by_its_procedure() {
        let block = header_block::write(&[
            (":method", "POST"),
            (":path", "/shop.Stock/Take"),
            ("content-type", "application/grpc"),
        ]);
        assert_eq!(Request::read(&block).name(100), "shop.Stock/Take");
    }

    proptest! {
        #[test]
        fn text_is_cut_between_characters(value: Vec<u8>, bytes_max in 1usize..20) {
            let cut = text(&value, bytes_max);
            // U+FFFD is longer than the byte that it stands for.
            prop_assert!(cut.len() <= 3 * bytes_max);
            if let Ok(whole) = std::str::from_utf8(&value) {
                prop_assert!(whole.starts_with(&*cut) && cut.len() <= bytes_max);
            }
        }

        #[test]
        fn arbitrary_blocks_are_read(block: Vec<u8>) {
            let _any = Request::read(&block).context();
        }
    }
}
