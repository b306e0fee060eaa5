//! The two ends of a request as Istio knows them.
//!
//! Istio's `peer_metadata` filter leaves what it found out about each end in the filter state
//! (istio/proxy, `extensions/common/metadata_object.h`). The object as a whole has no byte form: its
//! fields are read one by one, each for a host call. That filter learns of the upstream with the
//! response, after us, so only the log sees both.
//!
//! Nothing is remembered for a connection: one that a gateway or another proxy shares may carry the
//! requests of several workloads.

use spanloom_wire::otlp::AttributesWriter;

use crate::host::Host;
use crate::request::text;

/// Fields of an end with the names that Istio's own tracing gives them. The first tells whether the
/// end is known at all: an object always has it, though it may be empty.
const FIELDS: [(&str, &str); 9] = [
    ("workload", "workload"),
    ("namespace", "namespace"),
    ("service", "canonical_service"),
    ("revision", "canonical_revision"),
    ("cluster", "cluster_id"),
    ("app", "app"),
    ("version", "app_version"),
    ("type", "workload_type"),
    ("name", "instance_name"),
];

/// Says who called and who was called, as far as the proxy knows. Only in `on_log`.
pub(crate) fn write(host: &mut impl Host, attributes: &mut AttributesWriter<'_>, bytes_max: usize) {
    let ends = [
        ("downstream_peer_obj", "istio.source_"),
        ("upstream_peer_obj", "istio.destination_"),
    ];
    for (object, prefix) in ends {
        for (field, name) in FIELDS {
            let path = ["filter_state\0", object, "\0", field].concat();
            match host.property(path.as_bytes()) {
                Ok(value) if !value.is_empty() => {
                    let value = text(&value, bytes_max);
                    attributes.attribute(&[prefix, name].concat(), &*value);
                }
                Err(_) if field == "workload" => break,
                Ok(_) | Err(_) => {}
            }
        }
    }
}
