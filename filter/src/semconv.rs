//! What a span says about its request, in the words of a convention.
//!
//! Each convention has a `request` part, written when the headers arrive, before other filters
//! change them, and a `response` part, written when the request is over.

pub(crate) mod envoy;
pub(crate) mod stable;
