//! Requests of the module to clusters, and what comes back.

use super::stream::{Pairs, pairs};

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) token: u32,
    /// The context that started it, and with which it dies.
    pub(crate) context_id: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Pairs,
    pub(crate) body: Vec<u8>,
    /// When the host gives it up; `None` if the scenario has it forgotten.
    pub(super) deadline_ns: Option<u64>,
}

/// An answer. One without headers is all that the host says of any failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) headers: Pairs,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Pairs,
}

impl Reply {
    /// A timeout, a reset, no connection.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// An HTTP answer.
    pub(crate) fn http(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut all = pairs(&[(":status", &status.to_string())]);
        all.extend(pairs(headers));
        Self {
            headers: all,
            body: body.to_vec(),
            trailers: Vec::new(),
        }
    }

    /// A gRPC success with this message.
    pub(crate) fn grpc_ok(message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).expect("a small message");
        let frame = [&[0][..], &length.to_be_bytes(), message].concat();
        Self {
            body: frame,
            ..Self::grpc(0, &[])
        }
    }

    /// A gRPC answer with this status and more trailers.
    pub(crate) fn grpc(status: u32, trailers: &[(&str, &str)]) -> Self {
        let headers = [("content-type", "application/grpc")];
        let mut all = pairs(&[("grpc-status", &status.to_string())]);
        all.extend(pairs(trailers));
        Self {
            trailers: all,
            ..Self::http(200, &headers, &[])
        }
    }
}
