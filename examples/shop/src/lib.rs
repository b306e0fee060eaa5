//! What the services share and what has nothing to do with tracing: a command line, a
//! listener, and the order to stop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where a service listens.
#[derive(Debug, Parser)]
pub struct Listen {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// File to write the address to once the service listens, for whoever started it.
    #[arg(long)]
    pub address_file: Option<PathBuf>,
}

/// Where a service listens, and where it sends its own requests.
#[derive(Debug, Parser)]
pub struct ListenAndCall {
    /// Where to listen.
    #[command(flatten)]
    pub listen: Listen,
    /// The next service; in the mesh, the outbound listener of the own sidecar.
    #[arg(long)]
    pub upstream: String,
}

/// Serves until an interrupt or a termination signal, then lets open requests finish.
///
/// # Errors
///
/// When the address cannot be had or the file cannot be written.
pub async fn serve(app: Router, listen: &Listen) -> Result<()> {
    let listener = TcpListener::bind(listen.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", listen.listen))?;
    let address = listener.local_addr()?;
    announce(address, listen.address_file.as_deref())?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stopped()?)
        .await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the first line on standard output is the address"
)]
fn announce(address: SocketAddr, file: Option<&Path>) -> Result<()> {
    println!("listening on {address}");
    if let Some(file) = file {
        // Renamed into place, so that a reader never sees half an address.
        let unfinished = file.with_extension("unfinished");
        fs::write(&unfinished, address.to_string())?;
        fs::rename(&unfinished, file)
            .with_context(|| format!("cannot write --address-file {}", file.display()))?;
    }
    Ok(())
}

/// Resolves at the first signal to stop. The handlers are set up at once, before the address is
/// of use to anybody.
fn stopped() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
