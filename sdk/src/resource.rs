//! Who sends the spans: the attributes of this process.

use std::env::current_exe;
use std::path::Path;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use crate::settings::Settings;

/// The resource, and the service's name in it. What the environment says is strongest, then what the program says, then what can be found out.
pub(crate) fn resource(
    settings: &Settings,
    in_code: &[KeyValue],
    name_in_code: Option<&str>,
) -> (Resource, String) {
    let from_environment = settings.resource_attributes.iter();
    let name = settings.service_name.as_deref().or(name_in_code);
    let name = name.map_or_else(unknown_service, str::to_owned);
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("telemetry.distro.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .with_attributes(in_code.iter().cloned())
        .with_attributes(
            from_environment.map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
        )
        .with_service_name(name.clone())
        .build();
    (resource, name)
}

/// The name that the specification gives to a service that nobody named.
fn unknown_service() -> String {
    let path = current_exe().ok();
    let file = path.as_deref().and_then(Path::file_name);
    match file {
        Some(file) => format!("unknown_service:{}", file.to_string_lossy()),
        None => "unknown_service".to_owned(),
    }
}
