//! The Envoy beside a service: `examples/shop/envoy/sidecar.yaml` filled in and running.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::collector::Collector;
use super::leash::Leash;
use super::process::Process;
use crate::{http, wait, workspace};

/// A running Envoy with an inbound and an outbound listener.
pub struct Sidecar {
    name: &'static str,
    folder: PathBuf,
    process: Process,
    admin: Option<SocketAddr>,
}

impl Sidecar {
    /// Starts it; [`wait_until_ready`](Self::wait_until_ready) must follow.
    pub(super) fn spawn(
        leash: &Arc<Leash>,
        envoy: &Path,
        name: &'static str,
        filter_module: &Path,
        collector: &Collector,
    ) -> Result<Self> {
        let folder = leash.folder().join(format!("{name}-envoy"));
        fs::create_dir(&folder)?;
        for cluster in ["app", "next"] {
            write_endpoints(&folder, cluster, None)?;
        }
        let configuration = fill_in(&[
            ("SERVICE", name),
            ("DIRECTORY", &folder.display().to_string()),
            ("FILTER_MODULE", &filter_module.display().to_string()),
            ("EXPORT_PROTOCOL", export_protocol(name)),
            ("OTLP_GRPC_PORT", &collector.otlp_grpc().port().to_string()),
            ("OTLP_HTTP_PORT", &collector.otlp_http().port().to_string()),
        ])?;
        let configuration_file = folder.join("envoy.yaml");
        fs::write(&configuration_file, configuration)?;

        let mut command = Command::new(envoy);
        command.arg("--config-path").arg(&configuration_file);
        command
            .arg("--admin-address-path")
            .arg(folder.join("admin"));
        command.args(["--concurrency", "1", "--disable-hot-restart"]);
        // Tests read the access log.
        command.args(["--file-flush-interval-msec", "50"]);
        let process = Process::spawn(leash, &format!("{name}-envoy"), &mut command)?;
        Ok(Self {
            name,
            folder,
            process,
            admin: None,
        })
    }

    /// The service that it stands beside.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where other services connect to.
    ///
    /// # Errors
    /// Envoy does not answer, or it is not ready yet.
    pub fn inbound(&self) -> Result<SocketAddr> {
        self.listener("inbound")?
            .context("the inbound listener has no port")
    }

    /// Where its own service connects to.
    ///
    /// # Errors
    /// Envoy does not answer, or it is not ready yet.
    pub fn outbound(&self) -> Result<SocketAddr> {
        self.listener("outbound")?
            .context("the outbound listener has no port")
    }

    /// Asks Envoy's admin interface.
    ///
    /// # Errors
    /// Envoy does not answer, or not with 200.
    pub fn admin(&self, path: &str) -> Result<String> {
        let admin = self.admin.context("Envoy has no admin interface yet")?;
        let response = http::get(&format!("http://{admin}{path}"), &[])?;
        if response.status != 200 {
            bail!(
                "the Envoy of {} answered {} to {path}",
                self.name,
                response.status
            );
        }
        Ok(response.body)
    }

    /// The lines of the access log, oldest first: both listeners write the same one.
    ///
    /// # Errors
    /// It is not there, or not JSON.
    pub fn access_log(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("access.log"))?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).context("the access log is not JSON"))
            .collect()
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let address_file = self.folder.join("admin");
        let admin = self.process.wait_for("the admin address", || {
            let text = fs::read_to_string(&address_file).unwrap_or_default();
            Ok(text.trim().parse().ok())
        })?;
        self.admin = Some(admin);
        self.process.wait_for("readiness", || {
            let ready = http::get(&format!("http://{admin}/ready"), &[]);
            Ok(ready
                .is_ok_and(|response| response.status == 200)
                .then_some(()))
        })
    }

    /// Tells Envoy where its service listens, and waits until it knows.
    pub(super) fn connect_app(&mut self, app: SocketAddr) -> Result<()> {
        self.connect("app", app)
    }

    /// Tells Envoy where the next service's Envoy listens, and waits until it knows.
    pub(super) fn connect_next(&mut self, next: SocketAddr) -> Result<()> {
        self.connect("next", next)
    }

    fn connect(&self, cluster: &str, endpoint: SocketAddr) -> Result<()> {
        write_endpoints(&self.folder, cluster, Some(endpoint))?;
        let gauge = format!("cluster.{cluster}.membership_healthy: 1");
        wait::until(
            &format!("the endpoint of {cluster} in the Envoy of {}", self.name),
            || {
                Ok(self
                    .admin("/stats?filter=membership_healthy")?
                    .contains(&gauge)
                    .then_some(()))
            },
        )
    }

    fn listener(&self, name: &str) -> Result<Option<SocketAddr>> {
        let answer: Value = serde_json::from_str(&self.admin("/listeners?format=json")?)?;
        let statuses = answer["listener_statuses"]
            .as_array()
            .context("no listener statuses")?;
        let port = statuses
            .iter()
            .find(|status| status["name"] == name)
            .and_then(|status| status["local_address"]["socket_address"]["port_value"].as_u64())
            .filter(|port| *port != 0);
        Ok(match port {
            Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?))),
            None => None,
        })
    }

    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    pub(super) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}

/// The filter exports over either protocol; one service uses the other one, so that every run of
/// the mesh shows both.
fn export_protocol(service: &str) -> &'static str {
    if service == "stock" { "http" } else { "grpc" }
}

fn fill_in(values: &[(&str, &str)]) -> Result<String> {
    let template = workspace::root().join("examples/shop/envoy/sidecar.yaml");
    let mut text = fs::read_to_string(&template)
        .with_context(|| format!("cannot read {}", template.display()))?;
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    Ok(text)
}

/// Writes what istiod would send: the endpoints of one cluster. Envoy looks at the folder and takes
/// a file that was moved into it.
fn write_endpoints(folder: &Path, cluster: &str, endpoint: Option<SocketAddr>) -> Result<()> {
    let endpoints: Vec<Value> = endpoint
        .map(|address| {
            json!({ "endpoint": { "address": { "socket_address": {
                "address": address.ip().to_string(), "port_value": address.port() } } } })
        })
        .into_iter()
        .collect();
    let response = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{ "lb_endpoints": endpoints }],
    }] });
    let draft = folder.join(format!("{cluster}.json.draft"));
    fs::write(&draft, response.to_string())?;
    fs::rename(&draft, folder.join(format!("{cluster}.json")))?;
    Ok(())
}
