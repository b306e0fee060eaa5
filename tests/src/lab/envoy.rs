//! One Envoy process of a lab: its configuration, its start, its statistics.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xtask::mesh::{Leash, Process};
use xtask::{http, wait};

use super::load;

/// What makes spans in an Envoy.
#[derive(Clone, Debug)]
pub enum Tracing {
    /// Nothing.
    None,
    /// Our filter, in both listeners.
    Filter {
        /// The built module.
        module: PathBuf,
        /// Its configuration; `exporter` is filled in where it is missing.
        configuration: Value,
        /// How the module gets there.
        delivery: Delivery,
    },
    /// Envoy's own OpenTelemetry tracer with its defaults.
    Native {
        /// How many requests of a hundred are sampled where the caller says nothing.
        percent: f64,
        /// Whether spans bear the tags that Istio configures for each proxy.
        has_istio_tags: bool,
    },
}

/// How the filter gets into the chain.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Written into the listener.
    Inline,
    /// As istiod and its agent deliver it: the listener names a resource, and the resource comes by
    /// extension configuration discovery (ECDS), here from a file, under this name.
    Discovered {
        /// Such as `extensions.istio.io/wasmplugin/istio-system.spanloom`.
        resource: String,
    },
}

/// What an Envoy does.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    /// What makes its spans.
    pub tracing: Tracing,
    /// Where spans go, over gRPC (cluster `otel_collector`) or HTTP (`otel_collector_http`).
    pub sink: SocketAddr,
    /// Where the inbound listener sends requests.
    pub app: SocketAddr,
    /// Where the outbound listener sends requests.
    pub next: SocketAddr,
    /// Whether the inbound listener answers by itself, as `load::run` wants it, without an upstream.
    pub answers_itself: bool,
    /// How many worker threads.
    pub n_workers: usize,
}

impl EnvoyOptions {
    /// One worker; `app` and `next` lead nowhere until they are set.
    pub fn new(tracing: Tracing, sink: SocketAddr) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Self {
            tracing,
            sink,
            app: nowhere,
            next: nowhere,
            answers_itself: false,
            n_workers: 1,
        }
    }
}

/// The clusters of the application and of what it calls, as Istio names them.
const INBOUND_CLUSTER: &str = "inbound|8080||";
const OUTBOUND_CLUSTER: &str = "outbound|8080||stock.shop.svc.cluster.local";

/// A running Envoy with an inbound and an outbound listener; stopped when dropped.
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts one and waits until its listeners take requests.
    ///
    /// # Errors
    /// It did not come up; the message holds the end of its log.
    pub fn start(binary: &Path, options: &EnvoyOptions) -> Result<Self> {
        let leash = Leash::new()?;
        let folder = leash.folder().to_owned();
        let config = folder.join("envoy.json");
        let admin_file = folder.join("admin");
        std::fs::write(
            &config,
            serde_json::to_vec_pretty(&configuration(options, &folder)?)?,
        )?;
        let mut command = Command::new(binary);
        command
            .args(["--disable-hot-restart", "--log-level", "warn"])
            .args(["--concurrency", &options.n_workers.to_string()])
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file);
        let mut process = Process::spawn(&leash, "envoy", &mut command)?;
        let admin: SocketAddr = process.wait_for("the admin address", || {
            Ok(std::fs::read_to_string(&admin_file)
                .unwrap_or_default()
                .trim()
                .parse()
                .ok())
        })?;
        process.wait_for("readiness", || {
            let ready = http::get(&format!("http://{admin}/ready"), &[]);
            Ok(ready
                .is_ok_and(|response| response.status == 200)
                .then_some(()))
        })?;
        Ok(Self { process, admin })
    }

    /// Where the listener of this name takes connections.
    ///
    /// # Errors
    /// Envoy does not answer, or has no such listener.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let listeners: Value = serde_json::from_str(&self.admin("/listeners?format=json")?)?;
        listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|status| status["name"] == name)
            .and_then(|status| status["local_address"]["socket_address"]["port_value"].as_u64())
            .and_then(|port| u16::try_from(port).ok())
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .with_context(|| format!("envoy has no listener {name}"))
    }

    /// Asks the admin interface.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub fn admin(&self, path: &str) -> Result<String> {
        Ok(http::get(&format!("http://{}{path}", self.admin), &[])?.body)
    }

    /// The counters and gauges whose names hold `filter`, a regular expression.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub fn stats(&self, filter: &str) -> Result<Vec<(String, u64)>> {
        let text = self.admin(&format!("/stats?filter={filter}"))?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect())
    }

    /// Waits until a counter or gauge is as wanted, and returns it.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_for_stat(&self, name: &str, wanted: impl Fn(u64) -> bool) -> Result<u64> {
        wait::until(&format!("the statistic {name}"), || {
            let stats = self.stats(name)?;
            Ok(stats
                .into_iter()
                .find(|(n, value)| n == name && wanted(*value))
                .map(|(_, v)| v))
        })
    }

    /// CPU time of all its threads so far, by the scheduler's own nanosecond account; the clock
    /// ticks of /proc/PID/stat are too coarse for short measurements.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu_us(&self) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let mut nanos = 0;
        for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            // A thread may end between the listing and the reading.
            let Ok(stat) = std::fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            nanos += stat
                .split(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(nanos as f64 / 1_000.0)
    }

    /// Resident memory; 0 if the process is gone.
    pub fn rss_kib(&self) -> u64 {
        std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))
            .unwrap_or_default()
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
    }
}

fn configuration(options: &EnvoyOptions, folder: &Path) -> Result<Value> {
    let listeners = [
        listener(options, folder, "inbound", "INBOUND", INBOUND_CLUSTER)?,
        listener(options, folder, "outbound", "OUTBOUND", OUTBOUND_CLUSTER)?,
    ];
    Ok(json!({
        "node": {
            "id": "sidecar~10.0.0.7~orders-7d4b9c-x2x4q.shop~shop.svc.cluster.local",
            "cluster": "orders.shop",
            "metadata": {
                "NAME": "orders-7d4b9c-x2x4q",
                "NAMESPACE": "shop",
                "WORKLOAD_NAME": "orders",
                "MESH_ID": "cluster.local",
                "CLUSTER_ID": "Kubernetes",
                "LABELS": { "app": "orders", "version": "v1",
                            "service.istio.io/canonical-name": "orders",
                            "service.istio.io/canonical-revision": "v1" }
            }
        },
        "admin": { "address": address(SocketAddr::from(([127, 0, 0, 1], 0))) },
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                cluster(INBOUND_CLUSTER, options.app, false),
                cluster(OUTBOUND_CLUSTER, options.next, false),
                cluster("otel_collector", options.sink, true),
                cluster("otel_collector_http", options.sink, false),
            ]
        }
    }))
}

fn listener(
    options: &EnvoyOptions,
    folder: &Path,
    name: &str,
    direction: &str,
    cluster: &str,
) -> Result<Value> {
    let mut filters = Vec::new();
    if let Tracing::Filter {
        module,
        configuration,
        delivery,
    } = &options.tracing
    {
        filters.push(match delivery {
            Delivery::Inline => json!({
                "name": "spanloom", "typed_config": wasm(module, configuration, "spanloom")
            }),
            Delivery::Discovered { resource } => {
                discovered(folder, resource, &wasm(module, configuration, resource))?
            }
        });
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        }
    }));
    let mut route = json!({ "name": "default", "match": { "prefix": "/" } });
    if options.answers_itself {
        let body = json!({ "inline_string": load::ANSWER });
        route["direct_response"] = json!({ "status": 200, "body": body });
    } else {
        route["route"] = json!({ "cluster": cluster });
    }
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "max_request_headers_kb": 96,
        "common_http_protocol_options": { "max_headers_count": 1024 },
        "http_filters": filters,
        "route_config": {
            "name": name,
            "virtual_hosts": [{
                "name": name,
                "domains": ["*"],
                "routes": [route]
            }]
        }
    });
    if let Tracing::Native {
        percent,
        has_istio_tags,
    } = options.tracing
    {
        manager["tracing"] = native(percent);
        if has_istio_tags {
            manager["tracing"]["custom_tags"] = istio_tags();
        }
    }
    Ok(json!({
        "name": name,
        "traffic_direction": direction,
        "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager
            }]
        }]
    }))
}

fn wasm(module: &Path, configuration: &Value, name: &str) -> Value {
    let mut configuration = configuration.clone();
    if configuration.is_object() && configuration.get("exporter").is_none() {
        configuration["exporter"] = json!({ "protocol": "grpc", "cluster": "otel_collector" });
    }
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": name,
            "root_id": "spanloom",
            "failure_policy": "FAIL_OPEN",
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string()
            },
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": module } }
            }
        }
    })
}

/// A filter that is named in the listener and comes from a discovery response in a file.
fn discovered(folder: &Path, resource: &str, filter: &Value) -> Result<Value> {
    let file = folder.join("ecds.json");
    let response = json!({
        "version_info": "1",
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": resource,
            "typed_config": filter
        }]
    });
    std::fs::write(&file, response.to_string())?;
    Ok(json!({
        "name": resource,
        "config_discovery": {
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": { "path": file },
                // As Istio has it: the listener waits for the module, however long it takes.
                "initial_fetch_timeout": "0s"
            },
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]
        }
    }))
}

fn native(percent: f64) -> Value {
    json!({
        "client_sampling": { "value": 100.0 },
        "random_sampling": { "value": percent },
        "overall_sampling": { "value": 100.0 },
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "orders",
                "grpc_service": {
                    "envoy_grpc": { "cluster_name": "otel_collector" },
                    "timeout": "10s"
                }
            }
        }
    })
}

/// What istiod writes for a proxy unless `enableIstioTags` is false (istio 1.29,
/// `pilot/pkg/networking/core/tracing.go`).
fn istio_tags() -> Value {
    let tags = [
        ("istio.canonical_revision", "v1"),
        ("istio.canonical_service", "orders"),
        ("istio.cluster_id", "Kubernetes"),
        ("istio.mesh_id", "cluster.local"),
        ("istio.namespace", "shop"),
    ];
    let tag = |(tag, value)| json!({ "tag": tag, "literal": { "value": value } });
    tags.map(tag).into_iter().collect()
}

fn cluster(name: &str, endpoint: SocketAddr, http2: bool) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(endpoint) } }] }]
        }
    });
    if http2 {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} }
            }
        });
    }
    cluster
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
