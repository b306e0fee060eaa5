//! The shop in its mesh: a collector, four services, and an Envoy with the filter beside each.
//!
//! ```text
//! client -> [Envoy] frontend [Envoy] -> [Envoy] checkout [Envoy] -> [Envoy] delivery [Envoy]
//!              in               out        in               out        in               out
//!                                                                        -> [Envoy] stock
//!                                                                              in
//! ```
//!
//! The inbound and the outbound listener of a service live in one Envoy process, as in a sidecar.
//! Every port is a free one of the loopback interface. A service must know its Envoy's outbound
//! port and its Envoy must know the service's port; endpoints therefore reach Envoy late, by files
//! that it watches, and everything may start in any order.

mod collector;
mod leash;
mod process;
mod service;
mod sidecar;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::artifacts::Artifacts;
use crate::http::{self, Response};
use crate::jaeger::{Jaeger, Maker, Trace};

pub use collector::Collector;
pub use leash::Leash;
pub use process::Process;
pub use sidecar::Sidecar;

use service::Service;

/// The services, in the order in which a request passes them.
pub const SERVICES: [&str; 4] = ["frontend", "checkout", "delivery", "stock"];

/// A request that passes all services.
pub const ORDER: &str = "/checkout/tea";

/// A request that the last service fails, with 500, and those before it therefore with 502.
pub const FAILING_ORDER: &str = "/checkout/broken";

/// Whether a trace shows all of [`ORDER`]: one connected tree, with what the filter saw at each
/// listener that the request passed, with spans of the SDK, and with those of the program that
/// nobody edited.
pub fn is_order_whole(trace: &Trace) -> bool {
    let filter_saw = |service: &str, kind: &str| {
        trace.spans.iter().any(|span| {
            span.maker() == Maker::Filter && span.service == service && span.kind() == kind
        })
    };
    trace.is_whole()
        && SERVICES.iter().all(|service| filter_saw(service, "server"))
        && SERVICES[..SERVICES.len() - 1]
            .iter()
            .all(|service| filter_saw(service, "client"))
        && [Maker::Sdk, Maker::Auto]
            .into_iter()
            .all(|maker| trace.spans.iter().any(|span| span.maker() == maker))
}

/// A running mesh. Dropping it stops everything that it started and removes what it wrote, unless
/// [`keep_logs`](Self::keep_logs) was called or the thread panics.
///
/// Fields are dropped in this order: proxies first, since they tell the collector their last spans.
pub struct Mesh {
    sidecars: Vec<Sidecar>,
    services: Vec<Service>,
    collector: Collector,
    leash: Arc<Leash>,
}

impl Mesh {
    /// Starts everything, and returns when a request would pass through all of it.
    ///
    /// # Errors
    /// A part did not come up; the message holds the end of its log, and the logs are kept.
    pub fn start(artifacts: &Artifacts, envoy: &Path) -> Result<Self> {
        let leash = Leash::new()?;
        Self::start_on(&leash, artifacts, envoy)
            .inspect_err(|_| leash.keep_folder())
            .with_context(|| {
                format!(
                    "the mesh did not start; its logs are in {}",
                    leash.folder().display()
                )
            })
    }

    fn start_on(leash: &Arc<Leash>, artifacts: &Artifacts, envoy: &Path) -> Result<Self> {
        let collector = Collector::start(leash, &artifacts.spanloom)?;
        let mut sidecars = Vec::new();
        for name in SERVICES {
            sidecars.push(Sidecar::spawn(
                leash,
                envoy,
                name,
                &artifacts.filter_module,
                &collector,
            )?);
        }
        let mut services = Vec::new();
        for sidecar in &mut sidecars {
            sidecar.wait_until_ready()?;
            // The last service calls nobody.
            let calls = Some(&sidecar.name()) != SERVICES.last();
            let outbound = calls.then(|| sidecar.outbound()).transpose()?;
            let name = sidecar.name();
            services.push(Service::spawn(
                leash,
                &artifacts.service(name),
                name,
                outbound,
                &collector,
            )?);
        }
        for (position, service) in services.iter_mut().enumerate() {
            sidecars[position].connect_app(service.address()?)?;
            if position > 0 {
                let inbound = sidecars[position].inbound()?;
                sidecars[position - 1].connect_next(inbound)?;
            }
        }
        Ok(Self {
            sidecars,
            services,
            collector,
            leash: Arc::clone(leash),
        })
    }

    /// Sends a request to the mesh's front door, the inbound listener of the first service.
    ///
    /// # Errors
    /// There is no answer.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        http::get(&format!("http://{}{path}", self.entry()?), headers)
    }

    /// Where clients of the shop connect to.
    ///
    /// # Errors
    /// Its Envoy does not answer.
    pub fn entry(&self) -> Result<SocketAddr> {
        self.sidecars[0].inbound()
    }

    /// The Jaeger API of the collector.
    pub fn jaeger(&self) -> Jaeger {
        Jaeger::new(self.collector.query())
    }

    /// The Envoy beside a service.
    ///
    /// # Panics
    /// If `service` is not one of [`SERVICES`].
    pub fn sidecar(&self, service: &str) -> &Sidecar {
        self.sidecars
            .iter()
            .find(|sidecar| sidecar.name() == service)
            .expect("one of SERVICES")
    }

    /// Fails when something that should run has ended.
    ///
    /// # Errors
    /// Names what ended, with the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        self.collector.check_alive()?;
        for service in &mut self.services {
            service.check_alive()?;
        }
        for sidecar in &mut self.sidecars {
            sidecar.check_alive()?;
        }
        Ok(())
    }

    /// Where all that runs keeps its logs and data.
    pub fn folder(&self) -> &Path {
        self.leash.folder()
    }

    /// The same folder, which stays from now on.
    pub fn keep_logs(&self) -> PathBuf {
        self.leash.keep_folder();
        self.leash.folder().to_owned()
    }

    /// Stops everything in order, proxies, services, collector, and fails unless all of them end by
    /// themselves and well.
    ///
    /// # Errors
    /// Names what had to be killed or ended with a failure.
    pub fn stop(self) -> Result<()> {
        let Self {
            sidecars,
            services,
            collector,
            leash,
        } = self;
        let stopped = (|| {
            for sidecar in sidecars {
                sidecar.stop()?;
            }
            for service in services {
                service.stop()?;
            }
            collector.stop()
        })();
        stopped
            .inspect_err(|_| leash.keep_folder())
            .with_context(|| {
                format!(
                    "the mesh did not stop well; its logs are in {}",
                    leash.folder().display()
                )
            })
    }
}
