//! The requests and who answers them: as little work as HTTP/1.1 keep-alive allows, so that the
//! machine's two cores are the Envoy's.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a browser behind a gateway roughly sends. The request id's first eight digits change with
/// each request: the native tracer samples by them.
const REQUEST: &[u8] = b"GET /api/orders/4711?expand=items HTTP/1.1\r\n\
    host: orders.shop.svc.cluster.local:8080\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64) spanloom-bench/1.0\r\n\
    accept: application/json\r\n\
    accept-language: en\r\n\
    x-forwarded-proto: https\r\n\
    x-request-id: 7b0c6f0e-3b0f-4f4e-9b53-6f7e5d3f2a10\r\n\
    \r\n";

/// The body of every answer; its end is how a client tells that the answer is whole.
pub const ANSWER: &str = "{\"id\":4711,\"items\":[{\"sku\":\"a-1\",\"n\":2}]}\r\n";

/// Starts a server that answers every request alike, until its runtime ends.
///
/// # Errors
/// There is no free port.
pub async fn start_upstream() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    loop {
        let n = stream.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        // One request at a time is what Envoy sends on an HTTP/1.1 connection.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            stream.write_all(response.as_bytes()).await?;
        }
    }
}

/// Sends `n_requests` over `n_connections`, each with one request in flight, and waits for all
/// answers.
///
/// # Errors
/// A connection breaks, or an answer is not 200.
pub async fn run(target: SocketAddr, n_connections: usize, n_requests: usize) -> Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    for i in 0..n_connections {
        let share = n_requests / n_connections + usize::from(i < n_requests % n_connections);
        connections.spawn(requests(target, share));
    }
    while let Some(done) = connections.join_next().await {
        done??;
    }
    Ok(())
}

async fn requests(target: SocketAddr, n_requests: usize) -> Result<()> {
    let mut stream = TcpStream::connect(target)
        .await
        .context("connect to envoy")?;
    stream.set_nodelay(true)?;
    let mut request = REQUEST.to_vec();
    let id_at = REQUEST
        .windows(8)
        .position(|window| window == b"7b0c6f0e")
        .context("request id")?;
    let mut buffer = vec![0; 16 * 1024];
    for i in 0..n_requests {
        // Knuth's multiplicative hash spreads consecutive numbers over the whole range.
        let id = (i as u32).wrapping_add(u32::from(stream.local_addr()?.port()) << 16);
        let digits = format!("{:08x}", id.wrapping_mul(2_654_435_761));
        request[id_at..id_at + 8].copy_from_slice(digits.as_bytes());
        stream.write_all(&request).await?;
        let mut filled = 0;
        loop {
            let n = stream.read(&mut buffer[filled..]).await?;
            if n == 0 {
                bail!("envoy closed the connection");
            }
            filled += n;
            if buffer[..filled].ends_with(ANSWER.as_bytes()) {
                break;
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            bail!(
                "envoy answered {}",
                String::from_utf8_lossy(&buffer[..filled])
            );
        }
    }
    Ok(())
}
