//! Spans for messages that JetStream keeps.
//!
//! ```no_run
//! use async_nats::jetstream;
//! use futures::TryStreamExt;
//! use spanloom::messaging::ProcessTraced;
//! use spanloom::nats::jetstream::PublishTraced;
//!
//! # async fn example(stream: jetstream::Context, consumer: jetstream::consumer::PullConsumer) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let stored = stream.publish_traced("orders", "tea".into()).await?;
//! stored.await?;
//!
//! let mut messages = consumer.messages().await?;
//! while let Some(message) = messages.try_next().await? {
//!     message.process_traced(|message| async move { message.ack().await }).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `publish orders` lasts until the stream has stored the message, where somebody waits for that.

use std::pin::Pin;

use ::async_nats::jetstream::context::{PublishAckFuture, PublishError};
use ::async_nats::jetstream::publish::PublishAck;
use ::async_nats::jetstream::{Context, Message as JetStreamMessage};
use ::async_nats::{HeaderMap, ToSubject};
use bytes::Bytes;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::FutureExt;

use super::{finish, send};
use crate::messaging::{Message, Operation, Sending, Tracing};

/// Publishes messages to streams with a span around them.
pub trait PublishTraced {
    /// Publishes a message, its context in its headers, in a PRODUCER span that ends with what it
    /// returns: the stream's word, which may be waited for or dropped.
    ///
    /// # Errors
    ///
    /// As for [`Context::publish`].
    fn publish_traced<S: ToSubject>(
        &self,
        subject: S,
        payload: Bytes,
    ) -> impl Future<Output = Result<TracedAck, PublishError>> {
        self.publish_with_headers_traced(subject, HeaderMap::new(), payload)
    }

    /// The same, with headers of the program's own.
    ///
    /// # Errors
    ///
    /// As for [`Context::publish_with_headers`].
    fn publish_with_headers_traced<S: ToSubject>(
        &self,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<TracedAck, PublishError>> {
        self.publish_traced_by(Tracing::installed(), subject, headers, payload)
    }

    /// The same, with settings.
    ///
    /// # Errors
    ///
    /// As for [`Context::publish_with_headers`].
    fn publish_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<TracedAck, PublishError>>;
}

impl PublishTraced for Context {
    async fn publish_traced_by<S: ToSubject>(
        &self,
        tracing: &Tracing,
        subject: S,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<TracedAck, PublishError> {
        let subject = subject.to_subject();
        let (mut sending, headers) =
            send(tracing, "publish", &subject, Some(headers), payload.len());
        let context = sending.context().clone();
        let publish = self.publish_with_headers(subject, headers.unwrap_or_default(), payload);
        match publish.with_context(context).await {
            Ok(ack) => {
                sending.take_over();
                Ok(TracedAck { ack, sending })
            }
            Err(error) => {
                sending.fail(error_type(&error), &error);
                Err(error)
            }
        }
    }
}

/// A [`PublishAckFuture`] with the span of its message, which ends when the stream answers or when
/// this is dropped.
#[derive(Debug)]
pub struct TracedAck {
    ack: PublishAckFuture,
    sending: Sending,
}

impl IntoFuture for TracedAck {
    type Output = Result<PublishAck, PublishError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { ack, mut sending } = self;
        Box::pin(async move {
            let stored = ack.await;
            finish(&mut sending, &stored, error_type);
            stored
        })
    }
}

impl Message for JetStreamMessage {
    fn extractor(&self) -> Option<impl Extractor> {
        self.message.extractor()
    }

    fn describe(&self) -> Operation {
        self.message.describe()
    }
}

/// What `error.type` says: the library's name of the kind, such as `StreamNotFound`.
fn error_type(error: &PublishError) -> String {
    format!("{:?}", error.kind())
}
