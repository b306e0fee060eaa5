//! Jaeger's `jaeger_storage_exporter`: writes to a backend of the `jaeger_storage` extension.

use std::sync::Arc;

use async_trait::async_trait;
use spanloom_storage::{StorageError, TraceWriter};

use crate::health::Health;
use crate::pipeline::{Batch, Exporter};
use crate::reason::{Failure, Reason, chain};

/// Writes batches to one store, and tells the health endpoint when the store fails.
pub struct StoreExporter {
    writer: Arc<dyn TraceWriter>,
    backend: String,
    health: Arc<Health>,
}

impl StoreExporter {
    /// An exporter into the backend of this name.
    pub const fn new(writer: Arc<dyn TraceWriter>, backend: String, health: Arc<Health>) -> Self {
        Self {
            writer,
            backend,
            health,
        }
    }
}

#[async_trait]
impl Exporter for StoreExporter {
    async fn export(&self, batch: &Batch) -> Result<u64, Failure> {
        match self.writer.write(batch.request.clone()).await {
            Ok(()) => {
                self.health.store_works(&self.backend);
                Ok(0)
            }
            Err(error @ StorageError::TooLarge { .. }) => Err(Failure::new(
                Reason::TooLarge,
                format!("store {}: {error}", self.backend),
            )),
            Err(error) => {
                let message = format!("store {}: {}", self.backend, chain(&error));
                self.health.store_failed(&self.backend, message.clone());
                Err(Failure::new(Reason::StoreFailed, message))
            }
        }
    }
}
