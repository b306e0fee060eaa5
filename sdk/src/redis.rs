//! CLIENT spans for [`redis`]: one more word where the connection is made.
//!
//! ```no_run
//! # async fn example() -> redis::RedisResult<()> {
//! use redis::AsyncCommands;
//! use spanloom::redis::IntoTraced;
//!
//! let client = redis::Client::open("redis://cache/")?;
//! let connection = client.get_multiplexed_async_connection().await?;
//! let mut connection = connection.traced().with_address_of(&client);
//!
//! // What follows is the same with and without it.
//! let _: () = connection.set("orders:7", "tea").await?;
//! let (_, _): (i64, String) = redis::pipe()
//!     .atomic()
//!     .incr("orders", 1)
//!     .get("orders:7")
//!     .query_async(&mut connection)
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! It works for whatever redis takes commands with: multiplexed connections, a `ConnectionManager`,
//! those of a cluster, and the blocking ones. A command's span is named after it, `GET`; that of a
//! pipeline `PIPELINE GET` if its commands are all the same, else `PIPELINE`, and with `MULTI`
//! instead if it is a transaction. They follow the stable [conventions for Redis].
//!
//! **What leaves the process.** `db.query.text` has a command with a question mark for each
//! argument, `SET ? ?`, of a pipeline the first of them. In a trace that is not sampled nothing of
//! this is worked out.
//!
//! **Where it stops.** What is called on the connection itself, such as `subscribe`, is reached
//! through [`Traced::inner_mut`] and has no span.
//!
//! [conventions for Redis]: https://opentelemetry.io/docs/specs/semconv/database/redis/

mod describe;

use std::sync::{Arc, LazyLock};

use ::redis::{Cmd, ConnectionAddr, Pipeline, RedisFuture, RedisResult, Value};
use opentelemetry::trace::FutureExt;

use crate::db::{Call, Target};
use crate::trace::{SpanSource, TracerProvider};
use describe::{Request, on_answers, on_error};

/// Makes an asynchronous connection traced; for a blocking one there is [`Traced::new`].
pub trait IntoTraced: Sized {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    fn traced(self) -> Traced<Self>;

    /// Spans go to this provider instead.
    fn traced_by(self, provider: &TracerProvider) -> Traced<Self>;
}

impl<C: ::redis::aio::ConnectionLike> IntoTraced for C {
    fn traced(self) -> Traced<C> {
        Traced::new(self)
    }

    fn traced_by(self, provider: &TracerProvider) -> Traced<C> {
        Traced::new(self).with_tracer_provider(provider)
    }
}

/// A connection whose commands have spans. A clone of it shares what the connection's clone
/// shares.
#[derive(Clone, Debug)]
pub struct Traced<C> {
    inner: C,
    tracing: Arc<Tracing>,
}

/// What the clones of a connection share.
#[derive(Clone, Debug)]
struct Tracing {
    spans: SpanSource,
    target: Target,
}

impl Tracing {
    fn new() -> Self {
        Self {
            spans: SpanSource::installed("spanloom::redis"),
            target: Target::system("redis"),
        }
    }
}

impl<C> Traced<C> {
    /// Spans go to the provider that [`init`](crate::init) installs, before or after this call.
    pub fn new(connection: C) -> Self {
        static UNKNOWN: LazyLock<Arc<Tracing>> = LazyLock::new(|| Arc::new(Tracing::new()));
        Self {
            inner: connection,
            tracing: Arc::clone(&UNKNOWN),
        }
    }

    /// Spans go to this provider instead.
    #[must_use]
    pub fn with_tracer_provider(mut self, provider: &TracerProvider) -> Self {
        Arc::make_mut(&mut self.tracing).spans.fix(provider);
        self
    }

    /// Adds `server.address` and `server.port`, which a connection does not know of itself: those
    /// that the client was told, which in a cluster or behind a sentinel are not where every
    /// command goes.
    #[must_use]
    pub fn with_address_of(mut self, client: &::redis::Client) -> Self {
        let server = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), Some(*port))
            }
            ConnectionAddr::Unix(path) => (path.display().to_string(), None),
            // More kinds may come.
            _ => return self,
        };
        Arc::make_mut(&mut self.tracing).target.server = Some(server);
        self
    }

    /// redis's own, for what is not a command.
    pub fn inner_mut(&mut self) -> &mut C {
        &mut self.inner
    }

    /// redis's own, without spans.
    pub fn into_inner(self) -> C {
        self.inner
    }
}

impl<C: ::redis::aio::ConnectionLike> ::redis::aio::ConnectionLike for Traced<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let call = self
            .tracing
            .start(Request::One(command), self.inner.get_db());
        let answer = self.inner.req_packed_command(command);
        traced(call, answer, |value| std::slice::from_ref(value))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let call = self
            .tracing
            .start(Request::Many(pipeline), self.inner.get_db());
        let answers = self.inner.req_packed_commands(pipeline, offset, count);
        traced(call, answers, |values| values)
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

fn traced<'a, T: Send + 'a>(
    call: Option<Call>,
    answer: RedisFuture<'a, T>,
    values: fn(&T) -> &[Value],
) -> RedisFuture<'a, T> {
    let Some(mut call) = call else {
        return answer;
    };
    Box::pin(async move {
        let answer = answer.with_context(call.context().clone()).await;
        finish(&mut call, &answer, values);
        answer
    })
}

fn finish<T>(call: &mut Call, answer: &RedisResult<T>, values: fn(&T) -> &[Value]) {
    match answer {
        Ok(answer) => on_answers(call, values(answer)),
        Err(error) => on_error(call, error),
    }
}

impl<C: ::redis::ConnectionLike> ::redis::ConnectionLike for Traced<C> {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let request = Request::Packed(packed, 1);
        let db = self.inner.get_db();
        let run = |inner: &mut C| inner.req_packed_command(packed);
        self.block(request, db, run, |value| std::slice::from_ref(value))
    }

    fn req_packed_commands(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        // A transaction is answered once, after the answers that its commands are queued.
        let n_commands = if offset > 0 {
            offset.saturating_sub(1)
        } else {
            count
        };
        let request = Request::Packed(packed, n_commands);
        let db = self.inner.get_db();
        let run = |inner: &mut C| inner.req_packed_commands(packed, offset, count);
        self.block(request, db, run, |values| values)
    }

    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        let db = self.inner.get_db();
        let run = |inner: &mut C| inner.req_command(command);
        self.block(Request::One(command), db, run, |value| {
            std::slice::from_ref(value)
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }

    fn supports_pipelining(&self) -> bool {
        self.inner.supports_pipelining()
    }

    fn check_connection(&mut self) -> bool {
        self.inner.check_connection()
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }
}

impl<C> Traced<C> {
    fn block<T>(
        &mut self,
        request: Request<'_>,
        db: i64,
        run: impl FnOnce(&mut C) -> RedisResult<T>,
        values: fn(&T) -> &[Value],
    ) -> RedisResult<T> {
        let Some(mut call) = self.tracing.start(request, db) else {
            return run(&mut self.inner);
        };
        let attached = call.context().clone().attach();
        let answer = run(&mut self.inner);
        drop(attached);
        finish(&mut call, &answer, values);
        answer
    }
}
