//! What the filter asks of the proxy that runs it, in the terms of Proxy-WASM ABI 0.2.1.
//!
//! Two things implement [`Host`]: the shim over Envoy's imports, and the fake one of the unit tests. The
//! scenarios in `tests/` simulate Envoy one level lower: behind the imports of the built module.
//! Every call can fail and says how; nothing here is text, since headers are bytes.

use spanloom_wire::Timestamp;

/// The answer of a host call, except `Ok` (`proxy_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The header, property, queue or key does not exist.
    NotFound,
    /// The map does not exist in this phase, or the cluster does not exist.
    BadArgument,
    /// The property has no byte form.
    SerializationFailure,
    /// The host could not read what it was given.
    ParseFailure,
    /// The host read or wrote outside the module's memory.
    InvalidMemoryAccess,
    /// The queue is empty.
    Empty,
    /// The shared value was changed by somebody else.
    CasMismatch,
    /// Something failed inside the host.
    InternalFailure,
    /// The host does not know the call.
    Unimplemented,
    /// A number that ABI 0.2.1 does not name here.
    Other(u32),
}

impl Status {
    /// The result that this number stands for.
    ///
    /// # Errors
    /// Every number but zero.
    pub const fn check(number: u32) -> Result<(), Status> {
        Err(match number {
            0 => return Ok(()),
            1 => Status::NotFound,
            2 => Status::BadArgument,
            3 => Status::SerializationFailure,
            4 => Status::ParseFailure,
            6 => Status::InvalidMemoryAccess,
            7 => Status::Empty,
            8 => Status::CasMismatch,
            10 => Status::InternalFailure,
            12 => Status::Unimplemented,
            other => Status::Other(other),
        })
    }

    /// The number of this status; the inverse of [`Status::check`].
    pub const fn number(self) -> u32 {
        match self {
            Status::NotFound => 1,
            Status::BadArgument => 2,
            Status::SerializationFailure => 3,
            Status::ParseFailure => 4,
            Status::InvalidMemoryAccess => 6,
            Status::Empty => 7,
            Status::CasMismatch => 8,
            Status::InternalFailure => 10,
            Status::Unimplemented => 12,
            Status::Other(other) => other,
        }
    }
}

/// How much a log line matters (`proxy_log_level_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something that an operator may want to know once.
    Info = 2,
    /// Something that costs spans.
    Warn = 3,
    /// The filter cannot do its work.
    Error = 4,
}

/// A header map (`proxy_map_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// Request headers: readable in `on_request_headers` and in `on_log`.
    RequestHeaders = 0,
    /// Response headers: readable from `on_response_headers` on.
    ResponseHeaders = 2,
    /// Response trailers: readable in `on_log`.
    ResponseTrailers = 3,
    /// Headers of the answer to [`Host::http_call`].
    CallResponseHeaders = 6,
    /// Trailers of the answer to [`Host::http_call`].
    CallResponseTrailers = 7,
}

/// A buffer (`proxy_buffer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferKind {
    /// Body of the answer to [`Host::http_call`].
    CallResponseBody = 4,
    /// The configuration of this root.
    PluginConfiguration = 7,
}

/// An HTTP request to a cluster of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The headers as a block: see [`crate::header_block`].
    pub headers: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// How long the answer may take.
    pub timeout_ms: u32,
}

/// The proxy. Paths of properties are their segments joined by a zero byte.
pub trait Host {
    /// Writes a line to the proxy's log.
    fn log(&mut self, level: LogLevel, message: &str);

    /// The wall clock.
    fn now(&mut self) -> Timestamp;

    /// Fills `bytes` from the proxy's cryptographic generator.
    ///
    /// # Errors
    /// What the host says.
    fn fill_random(&mut self, bytes: &mut [u8]) -> Result<(), Status>;

    /// The value of a variable of the VM's environment.
    fn environment(&mut self, name: &str) -> Option<String>;

    /// The first value of a header.
    ///
    /// # Errors
    /// [`Status::NotFound`] when the header is absent.
    fn header(&mut self, map: MapKind, name: &str) -> Result<Vec<u8>, Status>;

    /// All headers of `map` as a block; an absent map is an empty block.
    ///
    /// # Errors
    /// What the host says.
    fn header_block(&mut self, map: MapKind) -> Result<Vec<u8>, Status>;

    /// Sets a header to one value, whatever it had before.
    ///
    /// # Errors
    /// What the host says.
    fn replace_header(&mut self, map: MapKind, name: &str, value: &[u8]) -> Result<(), Status>;

    /// Removes all values of a header.
    ///
    /// # Errors
    /// What the host says.
    fn remove_header(&mut self, map: MapKind, name: &str) -> Result<(), Status>;

    /// The value of a property in the host's encoding.
    ///
    /// # Errors
    /// [`Status::NotFound`] when it has none here and now.
    fn property(&mut self, path: &[u8]) -> Result<Vec<u8>, Status>;

    /// At most `length_max` first bytes of a buffer.
    ///
    /// # Errors
    /// What the host says.
    fn buffer(&mut self, buffer: BufferKind, length_max: usize) -> Result<Vec<u8>, Status>;

    /// Calls `on_tick` on the current root in this rhythm.
    ///
    /// # Errors
    /// What the host says.
    fn set_tick_period(&mut self, period_ms: u32) -> Result<(), Status>;

    /// Acts as context `id` for the rest of this callback. A call that a stream starts dies with
    /// the stream, so exports are started as a root.
    ///
    /// # Errors
    /// [`Status::BadArgument`] when there is no such context.
    fn set_effective_context(&mut self, id: u32) -> Result<(), Status>;

    /// Starts a request; the token comes back with the answer.
    ///
    /// # Errors
    /// [`Status::BadArgument`] when there is no such cluster.
    fn http_call(&mut self, call: HttpCall<'_>) -> Result<u32, Status>;

    /// Defines a counter, or finds the one of this name.
    ///
    /// # Errors
    /// What the host says.
    fn define_counter(&mut self, name: &str) -> Result<u32, Status>;

    /// Adds to a counter.
    ///
    /// # Errors
    /// What the host says.
    fn increment_counter(&mut self, id: u32, by: i64) -> Result<(), Status>;

    /// Says that the current context has finished what `on_done` postponed.
    ///
    /// # Errors
    /// What the host says.
    fn done(&mut self) -> Result<(), Status>;
}
