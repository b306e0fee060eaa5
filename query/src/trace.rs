//! What a trace is made of, computed once for every reader: iterative and linear, so that a chain of
//! 100,000 spans is as safe as a flat list of them.

mod columns;
mod distinct;
mod preorder;

use spanloom_wire::otlp::Resource;

pub(crate) use self::columns::{Columns, Parent};
pub(crate) use self::distinct::Distinct;

/// The name of the service that a resource describes, with the two names that the collector's and
/// Jaeger's translators give to a resource without one.
pub(crate) fn service_name(resource: Resource<'_>) -> &str {
    match resource.service_name() {
        Some(name) => name,
        None if resource.attributes().next().is_none() => "OTLPResourceNoServiceName",
        None => "missing-service-name",
    }
}
