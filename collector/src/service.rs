//! A running collector: everything that the configuration names, opened, joined, and stopped in the
//! right order.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spanloom_query::Options;
use spanloom_storage::{
    EmbeddedStore, EmbeddedStoreConfig, MemoryStore, StorageError, TraceReader, TraceWriter,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::admission::Budget;
use crate::config::{self, Config, ExporterKind, StoreKind};
use crate::exporters::debug::DebugExporter;
use crate::exporters::grpc_client::GrpcClient;
use crate::exporters::otlp_grpc::OtlpGrpcExporter;
use crate::exporters::otlp_http::OtlpHttpExporter;
use crate::exporters::retry::Jitter;
use crate::exporters::store::StoreExporter;
use crate::grpc;
use crate::health::{Health, Phase};
use crate::pipeline::{Exporter, Intake, Outlet};
use crate::receivers::otlp_grpc::OtlpGrpc;
use crate::receivers::otlp_http::OtlpHttp;
use crate::serve::Listener;
use crate::workers::Workers;

/// After the stop's time is over, what still waits gets this long to tell its sender so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be bound.
    #[error("cannot listen on {endpoint} for {what}")]
    Listen {
        /// Which listener, by its key in the addresses file.
        what: String,
        /// What the configuration says.
        endpoint: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The threads that serve connections could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// A store could not be opened.
    #[error("cannot open the store {name}")]
    Store {
        /// The backend's name.
        name: String,
        /// What the store said.
        #[source]
        source: StorageError,
    },
    /// The addresses file could not be written.
    #[error("cannot write {path}")]
    AddressesFile {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A collector that runs.
pub struct Service {
    addresses: BTreeMap<String, SocketAddr>,
    intakes: Vec<Arc<Intake>>,
    outlets: Vec<Arc<Outlet>>,
    health: Arc<Health>,
    servers: JoinSet<()>,
    workers: Arc<Workers>,
    stores: Vec<Arc<EmbeddedStore>>,
    /// Ends accepting.
    stop: CancellationToken,
    /// Ends waiting between attempts to export.
    give_up: CancellationToken,
    /// Ends the health endpoint, last of all.
    end: CancellationToken,
}

struct Stored {
    writer: Arc<dyn TraceWriter>,
    reader: Arc<dyn TraceReader>,
    /// To close it, where it is the embedded store.
    embedded: Option<Arc<EmbeddedStore>>,
}

impl Service {
    /// Opens the stores, then the receivers, then the query port: a sender that is let in finds
    /// everything behind it ready.
    ///
    /// # Errors
    /// What could not be opened, by name.
    pub async fn start(config: Config, request_bytes_max: usize) -> Result<Self, StartError> {
        let mut service = Self {
            addresses: BTreeMap::new(),
            intakes: Vec::new(),
            outlets: Vec::new(),
            health: Arc::new(Health::default()),
            servers: JoinSet::new(),
            workers: Arc::new(start_workers()?),
            stores: Vec::new(),
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            end: CancellationToken::new(),
        };
        // Health first: it says "starting" while stores recover.
        if let Some(endpoint) = &config.health_endpoint {
            service.serve_health(endpoint).await?;
        }
        let stores = open_stores(&config.stores).await?;
        let outlets = service.build_outlets(&config.exporters, &stores);
        let budget = Budget::new(request_bytes_max);
        for receiver in &config.receivers {
            let joined = outlets_of(&receiver.id, &config.pipelines, &outlets);
            service.serve_receiver(receiver, joined, &budget).await?;
        }
        if let Some(query) = &config.query {
            let reader = Arc::clone(&stores[&query.store].reader);
            service.serve_query(query, reader).await?;
        }
        service.stores = stores
            .into_values()
            .filter_map(|stored| stored.embedded)
            .collect();
        service.health.enter(Phase::Running);
        Ok(service)
    }

    /// What listens where: `otlp_grpc`, `otlp_http`, `query` and `health`; the listeners of a
    /// receiver `otlp/name` end in `/name`.
    pub const fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// The receivers' books and the exporters'.
    pub fn accounts(&self) -> impl Iterator<Item = (&'static str, &str, &crate::ledger::Account)> {
        let intakes = self
            .intakes
            .iter()
            .map(|intake| ("receiver", intake.id(), intake.account()));
        let outlets = self
            .outlets
            .iter()
            .map(|outlet| ("exporter", outlet.id(), outlet.account()));
        intakes.chain(outlets)
    }

    /// Stops accepting, lets what was accepted finish for at most `timeout`, and logs the books.
    /// Returns whether everything finished.
    pub async fn stop(mut self, timeout: Duration) -> bool {
        self.health.enter(Phase::Stopping);
        self.stop.cancel();
        let mut servers = std::mem::take(&mut self.servers);
        let finish = async { while servers.join_next().await.is_some() {} };
        tokio::pin!(finish);
        let mut has_finished = tokio::time::timeout(timeout, &mut finish).await.is_ok();
        if !has_finished {
            self.give_up.cancel();
            has_finished = tokio::time::timeout(LAST_WORDS, &mut finish).await.is_ok();
        }
        let stores = std::mem::take(&mut self.stores);
        let closing = tokio::task::spawn_blocking(move || {
            for store in stores {
                store.close();
            }
        });
        has_finished &= closing.await.is_ok();
        self.end.cancel();
        for (kind, id, account) in self.accounts() {
            tracing::info!("{kind} {id}: {}", account.balance());
        }
        has_finished
    }

    async fn bind(&mut self, key: String, endpoint: &str) -> Result<Listener, StartError> {
        match Listener::bind(endpoint).await {
            Ok(listener) => {
                self.addresses.insert(key, listener.address());
                Ok(listener)
            }
            Err(source) => Err(StartError::Listen {
                what: key,
                endpoint: endpoint.to_owned(),
                source,
            }),
        }
    }

    async fn serve_health(&mut self, endpoint: &str) -> Result<(), StartError> {
        let listener = self.bind("health".to_owned(), endpoint).await?;
        let health = Arc::clone(&self.health);
        let answer = move |request| Arc::clone(&health).answer(request);
        // Not among the servers that a stop waits for: it says "stopping" until the end.
        tokio::spawn(listener.serve(None, answer, self.end.clone()));
        Ok(())
    }

    async fn serve_receiver(
        &mut self,
        receiver: &config::OtlpReceiver,
        outlets: Vec<Arc<Outlet>>,
        budget: &Budget,
    ) -> Result<(), StartError> {
        let intake = Arc::new(Intake::new(receiver.id.clone(), outlets));
        self.intakes.push(Arc::clone(&intake));
        let name = receiver
            .id
            .strip_prefix("otlp")
            .unwrap_or(&receiver.id)
            .to_owned();
        if let Some(grpc) = &receiver.grpc {
            let listener = self
                .bind(format!("otlp_grpc{name}"), &grpc.endpoint)
                .await?;
            let receiver = Arc::new(OtlpGrpc::new(
                Arc::clone(&intake),
                budget.clone(),
                grpc.message_bytes_max,
            ));
            let answer = move |request| Arc::clone(&receiver).answer(request);
            let workers = Some(Arc::clone(&self.workers));
            self.servers
                .spawn(listener.serve(workers, answer, self.stop.clone()));
        }
        if let Some(http) = &receiver.http {
            let listener = self
                .bind(format!("otlp_http{name}"), &http.endpoint)
                .await?;
            let receiver = Arc::new(OtlpHttp::new(
                intake,
                budget.clone(),
                http.traces_path.clone(),
                http.body_bytes_max,
            ));
            let answer = move |request| Arc::clone(&receiver).answer(request);
            let workers = Some(Arc::clone(&self.workers));
            self.servers
                .spawn(listener.serve(workers, answer, self.stop.clone()));
        }
        Ok(())
    }

    async fn serve_query(
        &mut self,
        query: &config::Query,
        reader: Arc<dyn TraceReader>,
    ) -> Result<(), StartError> {
        let listener = self.bind("query".to_owned(), &query.endpoint).await?;
        let router = spanloom_query::router(reader, Options::default());
        let answer = move |request| router.clone().call(request);
        self.servers
            .spawn(listener.serve(None, answer, self.stop.clone()));
        Ok(())
    }

    fn build_outlets(
        &mut self,
        exporters: &[config::Exporter],
        stores: &HashMap<String, Stored>,
    ) -> HashMap<String, Arc<Outlet>> {
        let mut outlets = HashMap::new();
        for exporter in exporters {
            let built = self.build_exporter(exporter, stores);
            let outlet = Arc::new(Outlet::new(exporter.id.clone(), built));
            self.outlets.push(Arc::clone(&outlet));
            outlets.insert(exporter.id.clone(), outlet);
        }
        outlets
    }

    fn build_exporter(
        &self,
        exporter: &config::Exporter,
        stores: &HashMap<String, Stored>,
    ) -> Box<dyn Exporter> {
        match &exporter.kind {
            ExporterKind::OtlpGrpc { authority, sending } => {
                let client = GrpcClient::new(
                    authority.clone(),
                    grpc::EXPORT_PATH,
                    sending.headers.clone(),
                    sending.timeout,
                    self.workers.len(),
                );
                let give_up = self.give_up.clone();
                Box::new(OtlpGrpcExporter::new(
                    client,
                    sending.retry,
                    jitter(),
                    give_up,
                ))
            }
            ExporterKind::OtlpHttp { uri, sending } => Box::new(OtlpHttpExporter::new(
                uri.clone(),
                sending.headers.clone(),
                sending.timeout,
                sending.retry,
                jitter(),
                self.give_up.clone(),
            )),
            ExporterKind::Debug(verbosity) => {
                Box::new(DebugExporter::new(exporter.id.clone(), *verbosity))
            }
            ExporterKind::Store { backend } => {
                let writer = Arc::clone(&stores[backend].writer);
                Box::new(StoreExporter::new(
                    writer,
                    backend.clone(),
                    Arc::clone(&self.health),
                ))
            }
        }
    }
}

/// The outlets of every pipeline that the receiver feeds, in order; an exporter in two of its
/// pipelines gets the spans once for each, as in the OpenTelemetry Collector.
fn outlets_of(
    receiver: &str,
    pipelines: &[config::Pipeline],
    outlets: &HashMap<String, Arc<Outlet>>,
) -> Vec<Arc<Outlet>> {
    pipelines
        .iter()
        .filter(|pipeline| pipeline.receivers.iter().any(|id| id == receiver))
        .flat_map(|pipeline| &pipeline.exporters)
        .map(|id| Arc::clone(&outlets[id]))
        .collect()
}

async fn open_stores(stores: &[config::Store]) -> Result<HashMap<String, Stored>, StartError> {
    let mut opened = HashMap::new();
    for store in stores {
        let stored = match &store.kind {
            StoreKind::Embedded {
                directory,
                retention,
                bytes_max,
            } => {
                let config = EmbeddedStoreConfig {
                    directory: directory.clone(),
                    retention: *retention,
                    bytes_max: *bytes_max,
                    ..EmbeddedStoreConfig::default()
                };
                // Opening reads all that is there; the health endpoint answers meanwhile.
                let opening = tokio::task::spawn_blocking(|| EmbeddedStore::open(config));
                let result = opening.await.unwrap_or_else(|_| {
                    Err(StorageError::Closed(
                        "it panicked while it was opened".to_owned(),
                    ))
                });
                let store = result.map(Arc::new).map_err(|source| StartError::Store {
                    name: store.name.clone(),
                    source,
                })?;
                Stored {
                    writer: Arc::<EmbeddedStore>::clone(&store),
                    reader: Arc::<EmbeddedStore>::clone(&store),
                    embedded: Some(store),
                }
            }
            StoreKind::Memory { n_traces_max } => {
                let store = Arc::new(MemoryStore::new(*n_traces_max));
                Stored {
                    writer: Arc::<MemoryStore>::clone(&store),
                    reader: store,
                    embedded: None,
                }
            }
        };
        opened.insert(store.name.clone(), stored);
    }
    Ok(opened)
}

/// A worker for each processor that we may use.
fn start_workers() -> Result<Workers, StartError> {
    let n_workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    Workers::start(n_workers).map_err(StartError::Threads)
}

/// Seeded by the standard library's hasher: all that matters is that two collectors differ.
fn jitter() -> Jitter {
    Jitter::new(RandomState::new().build_hasher().finish())
}

/// Writes the addresses as JSON, whole or not at all: into a file beside it, then renamed.
///
/// # Errors
/// [`StartError::AddressesFile`].
pub fn write_addresses(
    path: &Path,
    addresses: &BTreeMap<String, SocketAddr>,
) -> Result<(), StartError> {
    let json = serde_json::to_string(addresses).expect("texts and addresses are always JSON");
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, json)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|source| StartError::AddressesFile {
            path: path.display().to_string(),
            source,
        })
}
