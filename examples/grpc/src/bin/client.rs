//! Asks the server on `grpc::ADDRESS` for three articles, of which it has two.

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let _tracing = spanloom::development().service_name("shop").init()?;
    let server = format!("http://{}", grpc::ADDRESS);
    let counts = grpc::ask(server, &["tea", "cake", "gold"]).await?;
    tracing::info!(?counts, "tea, cake and gold");
    Ok(())
}
