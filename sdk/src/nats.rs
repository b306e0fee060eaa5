//! Spans for messages over NATS, with [`async_nats`].
//!
//! ```no_run
//! use futures::StreamExt;
//! use spanloom::messaging::ProcessTraced;
//! use spanloom::nats::PublishTraced;
//!
//! # async fn cook(_message: async_nats::Message) -> Result<(), std::io::Error> { Ok(()) }
//! # async fn example(client: async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
//! client.publish_traced("orders", "tea".into()).await?;
//! let answer = client.request_traced("stock", "tea".into()).await?;
//!
//! let mut orders = client.subscribe("orders").await?;
//! while let Some(message) = orders.next().await {
//!     message.process_traced(cook).await?;
//! }
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```
//!
//! `publish orders` lasts until the client has taken the message, since NATS confirms nothing;
//! `request stock` until its answer is there. [`messaging`](crate::messaging) says how they are
//! connected to `process orders`. An answer that is published to a message's `reply` is named
//! `publish`, for its subject is made for one use.

mod headers;
#[cfg(feature = "jetstream")]
pub mod jetstream;

use std::fmt::{Debug, Display};

use ::async_nats::error::Error;
use ::async_nats::{
    Client, HeaderMap, Message as NatsMessage, PublishError, Request, RequestError, Subject,
    ToSubject,
};
use bytes::Bytes;
use opentelemetry::Value;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::FutureExt;

use crate::messaging::{Message, Operation, Sending, Tracing};

use headers::{HeaderExtractor, HeaderInjector};

/// Publishes messages and sends requests with a span around them.
pub trait PublishTraced {
    /// Publishes a message, its context in its headers, in a PRODUCER span.
    ///
    /// # Errors
    ///
    /// As for [`Client::publish`].
    fn publish_traced<S: ToSubject>(
        &self,
        subject: S,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), PublishError>> {
        self.publish_with_headers_traced(subject, HeaderMap::new(), payload)
    }

    /// The same, with headers of the program's own.
    ///
    /// # Errors
    ///
    /// As for [`Client::publish_with_headers`].
    fn publish_with_headers_traced<S: ToSubject>(
        &self,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), PublishError>> {
        self.publish_traced_by(Tracing::installed(), subject, headers, payload)
    }

    /// The same, with settings.
    ///
    /// # Errors
    ///
    /// As for [`Client::publish_with_headers`].
    fn publish_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), PublishError>>;

    /// Sends a request, its context in its headers, in a PRODUCER span that lasts until the answer.
    ///
    /// # Errors
    ///
    /// As for [`Client::request`].
    fn request_traced<S: ToSubject>(
        &self,
        subject: S,
        payload: Bytes,
    ) -> impl Future<Output = Result<NatsMessage, RequestError>> {
        self.send_request_traced(subject, Request::new().payload(payload))
    }

    /// The same, with headers, an inbox or a timeout of the program's own.
    ///
    /// # Errors
    ///
    /// As for [`Client::send_request`].
    fn send_request_traced<S: ToSubject>(
        &self,
        subject: S,
        request: Request,
    ) -> impl Future<Output = Result<NatsMessage, RequestError>> {
        self.send_request_traced_by(Tracing::installed(), subject, request)
    }

    /// The same, with settings.
    ///
    /// # Errors
    ///
    /// As for [`Client::send_request`].
    fn send_request_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        request: Request,
    ) -> impl Future<Output = Result<NatsMessage, RequestError>>;
}

impl PublishTraced for Client {
    async fn publish_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let subject = subject.to_subject();
        let (mut sending, headers) =
            send(tracing, "publish", &subject, Some(headers), payload.len());
        let context = sending.context().clone();
        let headers = headers.unwrap_or_default();
        let published = match headers.is_empty() {
            // Nothing to carry: a server without headers can have it, too.
            true => self.publish(subject, payload).with_context(context).await,
            false => {
                let publish = self.publish_with_headers(subject, headers, payload);
                publish.with_context(context).await
            }
        };
        finish(&mut sending, &published, error_type);
        published
    }

    async fn send_request_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        mut request: Request,
    ) -> Result<NatsMessage, RequestError> {
        let subject = subject.to_subject();
        let n_bytes = request.payload.as_ref().map_or(0, Bytes::len);
        let headers = request.headers.take();
        let (mut sending, headers) = send(tracing, "request", &subject, headers, n_bytes);
        request.headers = headers;
        let context = sending.context().clone();
        let answer = self
            .send_request(subject, request)
            .with_context(context)
            .await;
        finish(&mut sending, &answer, error_type);
        answer
    }
}

/// Starts the span of a message, and returns it with the headers that the message is to have.
fn send(
    tracing: &Tracing,
    name: &'static str,
    subject: &Subject,
    headers: Option<HeaderMap>,
    n_bytes: usize,
) -> (Sending, Option<HeaderMap>) {
    let extractor = headers.as_ref().filter(|headers| !headers.is_empty());
    let extractor = extractor.map(HeaderExtractor);
    let extractor = extractor.as_ref().map(|headers| headers as &dyn Extractor);
    let sending = tracing.send(extractor, || {
        describe(Operation::send("nats", name), subject).body_size(n_bytes)
    });
    let mut injector = HeaderInjector(headers);
    tracing.inject(&sending, &mut injector);
    (sending, injector.0)
}

fn finish<T, E: Display, N: Into<Value>>(
    sending: &mut Sending,
    result: &Result<T, E>,
    error_type: impl FnOnce(&E) -> N,
) {
    match result {
        Ok(_) => sending.succeed(),
        Err(error) => sending.fail(error_type(error), error),
    }
}

impl Message for NatsMessage {
    fn extractor(&self) -> Option<impl Extractor> {
        self.headers.as_ref().map(HeaderExtractor)
    }

    fn describe(&self) -> Operation {
        describe(Operation::process("nats"), &self.subject).body_size(self.payload.len())
    }
}

fn describe(operation: Operation, subject: &Subject) -> Operation {
    // Where answers go, unless the client was given another prefix.
    match subject.starts_with("_INBOX.") {
        true => operation.temporary_destination(subject.to_string()),
        false => operation.destination(subject.to_string()),
    }
}

/// What `error.type` says: the library's name of the kind, such as `NoResponders`.
fn error_type<K: Clone + Debug + Display + PartialEq>(error: &Error<K>) -> String {
    format!("{:?}", error.kind())
}
