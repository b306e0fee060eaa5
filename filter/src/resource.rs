//! Who the spans are from.

use spanloom_wire::otlp::AttributesWriter;

use crate::config::Settings;
use crate::host::Host;
use crate::property;

/// A `Resource` message for a root with these settings.
pub(crate) fn write(host: &mut impl Host, settings: &Settings) -> Vec<u8> {
    let name = settings.service_name.clone();
    let name = name.or_else(|| metadata(host, "WORKLOAD_NAME"));
    let name = name.or_else(|| property::text(host, property::NODE_CLUSTER));
    let name = name.unwrap_or_else(|| "unknown_service".to_owned());

    let mut resource = Vec::with_capacity(256);
    let mut attributes = AttributesWriter::resource(&mut resource);
    attributes.attribute("service.name", &*name);
    if let Some(id) = property::text(host, property::NODE_ID) {
        attributes.attribute("service.instance.id", &*id);
    }
    if let Some(zone) = property::text(host, property::NODE_ZONE) {
        attributes.attribute("cloud.availability_zone", &*zone);
    }
    attributes.attribute("telemetry.sdk.name", "spanloom-filter");
    attributes.attribute("telemetry.sdk.language", "rust");
    attributes.attribute("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    resource
}

/// A text field of the node's metadata.
fn metadata(host: &mut impl Host, key: &str) -> Option<String> {
    property::text(host, format!("xds\0node\0metadata\0{key}").as_bytes())
}
