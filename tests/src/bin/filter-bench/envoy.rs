//! One Envoy process of a case: its configuration, its start, its CPU time.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// What makes spans in an Envoy.
#[derive(Clone, Copy)]
pub(crate) enum Tracing {
    None,
    Filter { percent: f64 },
    Native { percent: f64 },
}

/// A running Envoy with one inbound listener; killed on drop.
pub(crate) struct Envoy {
    child: Child,
    listener: SocketAddr,
    cpu_at_ready_ms: f64,
    _directory: tempfile::TempDir,
}

impl Envoy {
    /// Starts one and waits until its listener takes requests.
    pub(crate) async fn start(
        binary: &Path,
        module: &Path,
        tracing: Tracing,
        upstream: SocketAddr,
        sink: SocketAddr,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("envoy.json");
        let admin = directory.path().join("admin");
        let config_json = configuration(module, tracing, upstream, sink);
        std::fs::write(&config, serde_json::to_vec_pretty(&config_json)?)?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let child = Command::new(binary)
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warn",
            ])
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut envoy = Self {
            child,
            listener: SocketAddr::from(([127, 0, 0, 1], 0)),
            cpu_at_ready_ms: 0.0,
            _directory: directory,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(listener) = ready_listener(&admin).await {
                envoy.listener = listener;
                envoy.cpu_at_ready_ms = envoy.cpu_us()? / 1_000.0;
                return Ok(envoy);
            }
            if envoy.child.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read(envoy._directory.path().join("log")).unwrap_or_default();
                bail!(
                    "envoy did not become ready:\n{}",
                    String::from_utf8_lossy(&log)
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// What the process had used when it was ready.
    pub(crate) fn cpu_at_ready_ms(&self) -> f64 {
        self.cpu_at_ready_ms
    }

    /// CPU time of all its threads so far, by the scheduler's own nanosecond account; the clock
    /// ticks of /proc/PID/stat are too coarse for a round.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanos = 0;
        for task in std::fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
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

    /// Resident memory.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        std::fs::read_to_string(status)
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

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may be gone already; either way nothing is left to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The listener's address once the admin interface says that the server is live.
async fn ready_listener(admin: &Path) -> Option<SocketAddr> {
    let admin = std::fs::read_to_string(admin).ok()?;
    let get = |path: &str| reqwest::get(format!("http://{}{path}", admin.trim()));
    if !get("/ready").await.ok()?.status().is_success() {
        return None;
    }
    let listeners: Value = get("/listeners?format=json")
        .await
        .ok()?
        .json()
        .await
        .ok()?;
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn configuration(module: &Path, tracing: Tracing, upstream: SocketAddr, sink: SocketAddr) -> Value {
    let mut filters = Vec::new();
    let mut native = Value::Null;
    match tracing {
        Tracing::None => {}
        Tracing::Filter { percent } => filters.push(filter(module, percent)),
        Tracing::Native { percent } => native = native_tracing(percent),
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        }
    }));
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "http_filters": filters,
        "route_config": {
            "name": "inbound|8080||",
            "virtual_hosts": [{
                "name": "inbound|http|8080",
                "domains": ["*"],
                "routes": [{
                    "name": "default",
                    "match": { "prefix": "/" },
                    "route": { "cluster": "inbound|8080||" }
                }]
            }]
        }
    });
    if !native.is_null() {
        manager["tracing"] = native;
    }
    json!({
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
            "listeners": [{
                "name": "virtualInbound",
                "traffic_direction": "INBOUND",
                "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
                "filter_chains": [{
                    "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager
                    }]
                }]
            }],
            "clusters": [
                cluster("inbound|8080||", upstream, false),
                cluster("otel_collector", sink, true)
            ]
        }
    })
}

fn filter(module: &Path, percent: f64) -> Value {
    let configuration = json!({
        "service_name": "orders",
        "exporter": { "protocol": "grpc", "cluster": "otel_collector" },
        "sampling": { "ratio": percent / 100.0 }
    });
    json!({
        "name": "spanloom",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "spanloom",
                "root_id": "spanloom",
                "fail_open": true,
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration.to_string()
                },
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module } }
                }
            }
        }
    })
}

fn native_tracing(percent: f64) -> Value {
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
