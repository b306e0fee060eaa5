//! What a request is counted under: few values, so no path, no query and no peer.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use ::http::uri::{Authority, PathAndQuery};
use opentelemetry::KeyValue;

use super::Instrument;
use crate::http::Role;

/// The attributes of one line of figures, cheap to make from a request: texts stay where the
/// request has them until a table keeps the series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(super) instrument: Instrument,
    is_overflow: bool,
    /// What a call is counted under that is no request; the rest is a request's.
    pub(super) labels: Vec<KeyValue>,
    /// `http.request.method`.
    pub(crate) method: &'static str,
    /// `http.route` of a server, `rpc.method` of gRPC.
    pub(crate) name: Text,
    /// `url.scheme` of a server.
    pub(crate) scheme: &'static str,
    /// `network.protocol.version`.
    pub(crate) version: &'static str,
    /// `server.address` and `server.port` of a client.
    pub(crate) server: Text,
    pub(crate) port: u16,
    /// `http.response.status_code`, 0 without a response.
    pub(crate) status: u16,
    /// `rpc.response.status_code`.
    pub(crate) code: &'static str,
    /// `error.type`, where neither status nor code is one.
    pub(crate) error: &'static str,
}

impl Series {
    pub(crate) fn new(role: Role) -> Self {
        Self::of(Instrument::Request(role), Vec::new())
    }

    pub(super) fn of(instrument: Instrument, labels: Vec<KeyValue>) -> Self {
        Self {
            instrument,
            is_overflow: false,
            labels,
            method: "",
            name: Text::None,
            scheme: "",
            version: "",
            server: Text::None,
            port: 0,
            status: 0,
            code: "",
            error: "",
        }
    }

    pub(super) fn overflow(instrument: Instrument) -> Self {
        Self {
            is_overflow: true,
            ..Self::of(instrument, Vec::new())
        }
    }

    /// Lets go of the request: its head may hold a whole buffer of its connection.
    pub(super) fn into_owned(self) -> Self {
        Self {
            name: self.name.into_owned(),
            server: self.server.into_owned(),
            ..self
        }
    }

    /// In the order of the conventions' tables.
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        if self.is_overflow {
            return vec![KeyValue::new("otel.metric.overflow", true)];
        }
        let Some(role) = self.instrument.role() else {
            let error = self.error;
            let error = (!error.is_empty()).then(|| KeyValue::new("error.type", error));
            return self.labels.iter().cloned().chain(error).collect();
        };
        let mut attributes = Vec::with_capacity(8);
        let mut text = |key: &'static str, value: &str| {
            if !value.is_empty() {
                attributes.push(KeyValue::new(key, value.to_owned()));
            }
        };
        let status = self.status.to_string();
        let error = match (self.error, role.is_grpc()) {
            ("", true) if role.is_error_code(self.code) => self.code,
            ("", false) if role.is_error_status(self.status) => &status,
            (error, _) => error,
        };
        if role.is_grpc() {
            text("rpc.system.name", "grpc");
            text("rpc.method", self.name.as_str());
            text("rpc.response.status_code", self.code);
        } else {
            text("http.request.method", self.method);
            text("url.scheme", self.scheme);
            text("http.route", self.name.as_str());
            text("network.protocol.version", self.version);
        }
        text("error.type", error);
        text("server.address", self.server.as_str());
        let numbers = [
            ("server.port", self.port),
            ("http.response.status_code", self.status),
        ];
        let numbers = numbers.into_iter().filter(|(_, value)| *value != 0);
        attributes.extend(numbers.map(|(key, value)| KeyValue::new(key, i64::from(value))));
        attributes
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |series: &Self| {
            (
                series.instrument,
                series.is_overflow,
                series.port,
                series.status,
            )
        };
        numbers(self) == numbers(other)
            && is_same(self.name.as_str(), other.name.as_str())
            && is_same(self.server.as_str(), other.server.as_str())
            && is_same(self.method, other.method)
            && is_same(self.code, other.code)
            && is_same(self.error, other.error)
            && is_same(self.scheme, other.scheme)
            && is_same(self.version, other.version)
            && self.labels == other.labels
    }
}

impl Eq for Series {}

impl Hash for Series {
    /// Of words that come from a short list the first letter and the length do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let word = |word: &str| {
            let first = u64::from(word.bytes().next().unwrap_or(0));
            first << 8 | word.len() as u64
        };
        let words = word(self.method) << 48 ^ word(self.code) << 24 ^ word(self.error);
        let numbers = u64::from(self.port) << 32 | u64::from(self.status);
        let instrument = match self.instrument {
            Instrument::Request(role) => role as u64,
            Instrument::Database => 4,
            Instrument::Send => 5,
            Instrument::Process => 6,
        };
        state.write_u64(words ^ instrument << 44);
        state.write_u64(numbers);
        state.write(self.name.as_str().as_bytes());
        state.write(self.server.as_str().as_bytes());
        self.labels.iter().for_each(|label| label.hash(state));
    }
}

/// Whether two texts are the same, mostly without reading them: words that come from a list are
/// one in memory. And never reads empty ones, which have addresses like 1: glibc's `memcmp` loads
/// from there under a mask, and a processor takes a hundred nanoseconds to find that harmless.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && (one.is_empty() || std::ptr::eq(one, other) || one.as_bytes() == other.as_bytes())
}

/// A text of a request, where the request has it.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    None,
    Static(&'static str),
    Owned(Box<str>),
    /// What a layer was told.
    Shared(Arc<str>),
    /// The path without its first slash, which is a method of gRPC.
    Path(PathAndQuery),
    /// The host in it.
    Host(Authority),
    #[cfg(feature = "axum")]
    Route(axum::extract::MatchedPath),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::None => "",
            Self::Static(text) => text,
            Self::Owned(text) => text,
            Self::Shared(text) => text,
            Self::Path(path) => path.path().strip_prefix('/').unwrap_or(path.path()),
            Self::Host(authority) => authority.host(),
            #[cfg(feature = "axum")]
            Self::Route(route) => route.as_str(),
        }
    }

    fn into_owned(self) -> Self {
        match self {
            Self::None | Self::Static(_) | Self::Owned(_) | Self::Shared(_) => self,
            other => Self::Owned(other.as_str().into()),
        }
    }
}

/// Hashes eight bytes at a step. The standard library's hash takes half of what a request may
/// cost here, and withstands attacks that a table of at most [`SERIES_MAX`](super::SERIES_MAX)
/// lines need not fear.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Folded;

impl BuildHasher for Folded {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(0)
    }
}

pub(super) struct Fold(u64);

impl Fold {
    fn fold(&mut self, word: u64) {
        // The golden ratio: odd, and its bits look like none in particular.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.fold(u64::from_le_bytes(*word)));
        let last = rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.fold(last ^ (bytes.len() as u64) << 56);
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
