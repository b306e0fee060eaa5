//! Answers calls on `grpc::ADDRESS` until Ctrl-C.

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::signal::ctrl_c;

#[tokio::main]
async fn main() -> Result<()> {
    let _tracing = spanloom::development().service_name("stock").init()?;
    let listener = TcpListener::bind(grpc::ADDRESS).await?;
    tracing::info!("listening on {}, until Ctrl-C", grpc::ADDRESS);
    grpc::serve(listener, ctrl_c()).await
}
