//! The service, written by hand as `protoc` would from
//!
//! ```proto
//! package shop;
//! service Stock { rpc Count(Article) returns (Number); }
//! message Article { string name = 1; }
//! message Number { uint32 left = 1; }
//! ```

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, StdError, http};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const METHOD: &str = "/shop.Stock/Count";

/// What is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Article {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Number {
    /// How many are left.
    #[prost(uint32, tag = "1")]
    pub left: u32,
}

/// Calls the service over anything that carries gRPC, such as a channel inside a layer.
#[derive(Debug)]
pub struct Client<T>(Grpc<T>);

impl<T> Client<T>
where
    T: GrpcService<Body, Error: Into<StdError>>,
    T::ResponseBody:
        tonic::transport::Body<Data: Send, Error: Into<StdError> + Send> + Send + 'static,
{
    /// A client over this transport.
    pub fn new(transport: T) -> Self {
        Self(Grpc::new(transport))
    }

    /// How many are left of an article.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for an article that there is none of, and what the transport says.
    pub async fn count(&mut self, article: &str) -> Result<u32, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.into().to_string()))?;
        let request = Request::new(Article {
            name: article.to_owned(),
        });
        let codec = ProstCodec::<Article, Number>::default();
        let path = PathAndQuery::from_static(METHOD);
        let response = self.0.unary(request, path, codec).await?;
        Ok(response.into_inner().left)
    }
}

/// Answers calls as a function says.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    count: Count,
}

/// How many are left of an article of this name.
type Count = fn(&str) -> Result<u32, Status>;

impl Service {
    /// A service that answers as `count` does.
    #[must_use]
    pub fn new(count: Count) -> Self {
        Self { count }
    }
}

impl NamedService for Service {
    const NAME: &'static str = "shop.Stock";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = *self;
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Number, Article>::default());
            Ok(grpc.unary(method, request).await)
        })
    }
}

impl UnaryService<Article> for Service {
    type Response = Number;
    type Future = Ready<Result<Response<Number>, Status>>;

    fn call(&mut self, request: Request<Article>) -> Self::Future {
        let left = (self.count)(&request.get_ref().name);
        ready(left.map(|left| Response::new(Number { left })))
    }
}
