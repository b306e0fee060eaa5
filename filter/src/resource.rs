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

    // The environment is that of the VM: Istio's WasmPlugin can hand these two through.
    let pod = metadata(host, &["NAME"]).or_else(|| host.environment("POD_NAME"));
    let namespace = metadata(host, &["NAMESPACE"]).or_else(|| host.environment("POD_NAMESPACE"));
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
    use crate::fake_host::FakeHost;

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

    fn resource_of(metadata: &[(&str, &str)], environment: &[(&str, &str)], json: &str) -> String {
        let mut host = FakeHost::default();
        for (path, value) in metadata {
            host.properties
                .insert(format!("xds.node.{path}"), value.as_bytes().to_vec());
        }
        for (name, value) in environment {
            host.environment
                .insert((*name).to_owned(), (*value).to_owned());
        }
        let settings = Settings::parse(json.as_bytes()).unwrap();
        let attributes = attributes(&mut host, &settings);
        let is_ours = |key: &str| key.starts_with("telemetry.") || key == "envoy.node_id";
        let lines = attributes.iter().filter(|(key, _)| !is_ours(key));
        lines
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn an_istio_pod_is_named_by_its_workload() {
        let metadata = [
            ("id", "sidecar~10.0.0.1~cart-1.shop~shop.svc"),
            ("cluster", "cart.shop"),
            ("metadata.NAME", "cart-1"),
            ("metadata.NAMESPACE", "shop"),
            ("metadata.WORKLOAD_NAME", "cart"),
            ("metadata.APP_CONTAINERS", "app"),
            (
                "metadata.OWNER",
                "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart",
            ),
            ("metadata.LABELS.version", "v1"),
            ("metadata.MESH_ID", "cluster.local"),
        ];
        assert_eq!(
            resource_of(&metadata, &[], ""),
            "service.name=cart service.namespace=shop service.version=v1 \
             service.instance.id=shop.cart-1.app k8s.namespace.name=shop k8s.pod.name=cart-1 \
             k8s.container.name=app k8s.deployment.name=cart istio.namespace=shop \
             istio.mesh_id=cluster.local"
        );
    }

    #[test]
    fn a_plain_envoy_is_named_by_its_node() {
        let node = [
            ("id", "edge-1"),
            ("cluster", "edge"),
            ("locality.zone", "z1"),
        ];
        assert_eq!(
            resource_of(&node, &[], ""),
            "service.name=edge service.instance.id=edge-1 cloud.availability_zone=z1"
        );
        assert_eq!(resource_of(&[], &[], ""), "service.name=unknown_service");
    }

    #[test]
    fn configuration_wins_over_the_environment_and_that_over_the_pod() {
        let metadata = [
            ("metadata.WORKLOAD_NAME", "workload"),
            ("metadata.LABELS.app.kubernetes.io/name", "label"),
            (
                "metadata.ANNOTATIONS.resource.opentelemetry.io/service.name",
                "annotation",
            ),
        ];
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=listed,team=a%2Cb");
        let name = ("OTEL_SERVICE_NAME", "environment");
        let json = r#"{"service_name": "configured", "resource_attributes": {"team": "c"}}"#;
        for (expected, n_metadata, environment, json) in [
            ("service.name=workload", 1, &[][..], ""),
            ("service.name=label", 2, &[], ""),
            ("service.name=annotation", 3, &[], ""),
            ("service.name=listed team=a,b", 3, &[attributes], ""),
            (
                "service.name=environment team=a,b",
                3,
                &[attributes, name],
                "",
            ),
            (
                "team=c service.name=configured",
                3,
                &[attributes, name],
                json,
            ),
        ] {
            assert_eq!(
                resource_of(&metadata[..n_metadata], environment, json),
                expected
            );
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
