//! What a span says about its request, in the words of a convention.
//!
//! Each convention has a `request` part, from the headers as they came, and a `response` part.

pub(crate) mod envoy;
pub(crate) mod stable;
