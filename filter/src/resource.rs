//! Who the spans are from: the pod behind the proxy, by what Istio tells the proxy about it.
//!
//! Names and their order are those of OpenTelemetry's conventions for Kubernetes ("specify resource
//! attributes using Kubernetes annotations"); the node's metadata is what Istio's agent writes
//! (`pkg/model/proxy.go`, `NodeMetadata`). Without Istio little of it is there, and Envoy's
//! `--service-cluster` and `--service-node` serve.

use spanloom_wire::otlp::AttributesWriter;

use crate::config::Settings;
use crate::host::Host;
use crate::property;

/// A `Resource` message for a root with these settings.
pub(crate) fn write(host: &mut impl Host, settings: &Settings) -> Vec<u8> {
    let attributes = attributes(host, settings);
    let mut resource = Vec::with_capacity(512);
    let mut writer = AttributesWriter::resource(&mut resource);
    for (key, value) in &attributes {
        writer.attribute(key, &**value);
    }
    resource
}

fn attributes(host: &mut impl Host, settings: &Settings) -> Vec<(String, String)> {
    let mut resource = settings.resource_attributes.clone();
    if let Some(name) = settings
        .service_name
        .clone()
        .or_else(|| host.environment("OTEL_SERVICE_NAME"))
    {
        put(&mut resource, "service.name", Some(name));
    }
    let listed = host
        .environment("OTEL_RESOURCE_ATTRIBUTES")
        .unwrap_or_default();
    for pair in listed.split(',') {
        if let Some((key, value)) = pair.split_once('=') {
            put(
                &mut resource,
                key.trim(),
                Some(percent_decoded(value.trim())),
            );
        }
    }

    let pod = metadata(host, &["NAME"]);
    let namespace = metadata(host, &["NAMESPACE"]);
    let workload = metadata(host, &["WORKLOAD_NAME"]);
    let container = only_container(metadata(host, &["APP_CONTAINERS"]));
    let annotated = |host: &mut _, name: &str| {
        metadata(
            host,
            &[
                "ANNOTATIONS",
                &["resource.opentelemetry.io/", name].concat(),
            ],
        )
    };

    let mut name = annotated(host, "service.name");
    for label in [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/name",
        "service.istio.io/canonical-name",
    ] {
        name = name.or_else(|| metadata(host, &["LABELS", label]));
    }
    let name = name.or_else(|| workload.clone());
    let name = name.or_else(|| property::text(host, property::NODE_CLUSTER));
    let name = name.or_else(|| pod.clone()).or_else(|| container.clone());
    put(
        &mut resource,
        "service.name",
        name.or_else(|| Some("unknown_service".to_owned())),
    );

    let service_namespace = annotated(host, "service.namespace");
    put(
        &mut resource,
        "service.namespace",
        service_namespace.or_else(|| namespace.clone()),
    );

    let mut version = annotated(host, "service.version");
    for label in [
        "app.kubernetes.io/version",
        "service.istio.io/canonical-revision",
        "version",
    ] {
        version = version.or_else(|| metadata(host, &["LABELS", label]));
    }
    put(&mut resource, "service.version", version);

    let mut instance = annotated(host, "service.instance.id");
    if let (None, Some(namespace), Some(pod)) = (&instance, &namespace, &pod) {
        let container = container.as_deref().unwrap_or("istio-proxy");
        instance = Some([namespace, pod, container].join("."));
    }
    let instance = instance.or_else(|| property::text(host, property::NODE_ID));
    put(&mut resource, "service.instance.id", instance);

    put(&mut resource, "k8s.namespace.name", namespace.clone());
    put(&mut resource, "k8s.pod.name", pod);
    put(&mut resource, "k8s.container.name", container);
    put_owner(&mut resource, metadata(host, &["OWNER"]).as_deref());
    put(
        &mut resource,
        "k8s.node.name",
        metadata(host, &["NODE_NAME"]),
    );

    put(&mut resource, "istio.namespace", namespace);
    put(&mut resource, "istio.mesh_id", metadata(host, &["MESH_ID"]));
    put(
        &mut resource,
        "istio.cluster_id",
        metadata(host, &["CLUSTER_ID"]),
    );
    let labels = [
        ("istio.canonical_service", "service.istio.io/canonical-name"),
        (
            "istio.canonical_revision",
            "service.istio.io/canonical-revision",
        ),
    ];
    for (key, label) in labels {
        put(&mut resource, key, metadata(host, &["LABELS", label]));
    }

    put(
        &mut resource,
        "cloud.region",
        property::text(host, property::NODE_REGION),
    );
    put(
        &mut resource,
        "cloud.availability_zone",
        property::text(host, property::NODE_ZONE),
    );
    put(
        &mut resource,
        "envoy.node_id",
        property::text(host, property::NODE_ID),
    );
    put(
        &mut resource,
        "telemetry.sdk.name",
        Some("spanloom-filter".to_owned()),
    );
    put(
        &mut resource,
        "telemetry.sdk.language",
        Some("rust".to_owned()),
    );
    put(
        &mut resource,
        "telemetry.sdk.version",
        Some(env!("CARGO_PKG_VERSION").to_owned()),
    );
    resource
}

/// Adds an attribute unless it is there: who speaks first, wins.
fn put(resource: &mut Vec<(String, String)>, key: &str, value: Option<String>) {
    let Some(value) = value.filter(|value| !value.is_empty() && !key.is_empty()) else {
        return;
    };
    if !resource.iter().any(|(known, _)| known == key) {
        resource.push((key.to_owned(), value));
    }
}

/// A text of the node's metadata. Its keys may have dots and slashes in them.
fn metadata(host: &mut impl Host, path: &[&str]) -> Option<String> {
    let path = ["xds\0node\0metadata", &path.join("\0")].join("\0");
    property::text(host, path.as_bytes())
}

/// The application's container, if there is one only: `APP_CONTAINERS` is a list with commas.
fn only_container(containers: Option<String>) -> Option<String> {
    containers.filter(|containers| !containers.contains(','))
}

/// The owner of the pod: `kubernetes://apis/apps/v1/namespaces/NAMESPACE/deployments/NAME`.
fn put_owner(resource: &mut Vec<(String, String)>, owner: Option<&str>) {
    let mut segments = owner.unwrap_or_default().rsplit('/');
    let (Some(name), Some(kind)) = (segments.next(), segments.next()) else {
        return;
    };
    let key = match kind {
        "deployments" => "k8s.deployment.name",
        "statefulsets" => "k8s.statefulset.name",
        "daemonsets" => "k8s.daemonset.name",
        "replicasets" => "k8s.replicaset.name",
        "cronjobs" => "k8s.cronjob.name",
        "jobs" => "k8s.job.name",
        _ => return,
    };
    put(resource, key, Some(name.to_owned()));
}

/// A value of `OTEL_RESOURCE_ATTRIBUTES`, in which commas and equals signs are percent-encoded.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = match byte {
            b'%' => behind
                .first_chunk::<2>()
                .and_then(|digits| std::str::from_utf8(digits).ok()),
            _ => None,
        };
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_where_two_digits_follow() {
        for (text, decoded) in [
            ("a%2Cb%3d", "a,b="),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(text), decoded);
        }
    }

    #[test]
    fn the_owner_names_its_kind() {
        let mut resource = Vec::new();
        put_owner(
            &mut resource,
            Some("kubernetes://apis/apps/v1/namespaces/shop/deployments/cart"),
        );
        put_owner(&mut resource, Some("nonsense"));
        put_owner(&mut resource, None);
        assert_eq!(
            resource,
            [("k8s.deployment.name".to_owned(), "cart".to_owned())]
        );
    }
}
