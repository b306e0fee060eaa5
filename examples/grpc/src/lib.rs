//! A client and a server of tonic in one trace.
//!
//! The stock counts what is left of an article. A call for an article that it does not have is
//! answered with `NOT_FOUND`: an error of the client's span, and none of the server's, which has
//! done its work.

pub mod stock;

use std::io;

use anyhow::Result;
use spanloom::grpc::{ClientLayer, ServerLayer};
use spanloom::opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use spanloom::opentelemetry::{Context, global};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tower::Layer;

use crate::stock::{Client, Service};

/// Where the server listens unless it is told otherwise.
pub const ADDRESS: &str = "127.0.0.1:50051";

/// Answers calls until `end` resolves, each in a SERVER span.
///
/// # Errors
///
/// When the transport breaks down.
pub async fn serve(listener: TcpListener, end: impl Future<Output = io::Result<()>>) -> Result<()> {
    let server = Server::builder()
        .layer(ServerLayer::new())
        .add_service(Service::new(count));
    let end = async { end.await.unwrap_or_default() };
    let incoming = TcpListenerStream::new(listener);
    server.serve_with_incoming_shutdown(incoming, end).await?;
    Ok(())
}

fn count(article: &str) -> Result<u32, Status> {
    global::tracer("stock").in_span("look on the shelf", |_| match article {
        "tea" => Ok(7),
        "cake" => Ok(1),
        _ => Err(Status::not_found(format!("there is no {article}"))),
    })
}

/// Asks for every article in one span, each call in a CLIENT span below it.
///
/// # Errors
///
/// When the server cannot be reached, or breaks down.
pub async fn ask(server: String, articles: &[&str]) -> Result<Vec<Option<u32>>> {
    let channel = Channel::from_shared(server)?.connect_lazy();
    let mut client = Client::new(ClientLayer::new().layer(channel));
    let context = Context::current_with_span(global::tracer("shop").start("take stock"));
    let calls = async {
        let mut counts = Vec::new();
        for article in articles {
            counts.push(match client.count(article).await {
                Ok(count) => Some(count),
                Err(status) if status.code() == Code::NotFound => None,
                Err(status) => return Err(status.into()),
            });
        }
        Ok(counts)
    };
    calls.with_context(context).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom::testing::{self, Sink};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn calls_are_one_trace_through_both_programs_with_the_status_of_each() {
        let sink = Sink::default();
        let builder = testing::builder(&sink).without_subscriber();
        let _tracing = builder.init().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let end = async { stopped.await.map_err(io::Error::other) };
        let serving = tokio::spawn(serve(listener, end));

        let counts = ask(server, &["tea", "gold"]).await.unwrap();

        assert_eq!(counts, [Some(7), None]);
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
        let status = "rpc.response.status_code";
        assert_eq!(
            sink.tree(&[status]),
            format!(
                "INTERNAL take stock\n  \
                 CLIENT shop.Stock/Count {status}=OK\n    \
                 SERVER shop.Stock/Count {status}=OK\n      \
                 INTERNAL look on the shelf\n  \
                 CLIENT shop.Stock/Count {status}=NOT_FOUND ERROR: there is no gold\n    \
                 SERVER shop.Stock/Count {status}=NOT_FOUND\n      \
                 INTERNAL look on the shelf\n"
            )
        );
        let spans = sink.spans();
        let trace = spans[0].span_context.trace_id();
        assert!(
            spans
                .iter()
                .all(|span| span.span_context.trace_id() == trace)
        );
    }
}
