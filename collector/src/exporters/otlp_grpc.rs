//! The `otlp` exporter: OTLP over gRPC.

use async_trait::async_trait;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::grpc_client::GrpcClient;
use super::retry::{AttemptError, Jitter, RetryPolicy, Verdict, with_retries};
use crate::grpc::{Code, ExportResponse, Status};
use crate::pipeline::{Batch, Exporter};
use crate::reason::{Failure, Reason};

/// Sends batches to one destination.
pub struct OtlpGrpcExporter {
    client: GrpcClient,
    policy: RetryPolicy,
    jitter: Jitter,
    stop: CancellationToken,
}

impl OtlpGrpcExporter {
    /// An exporter; `stop` ends waiting between attempts.
    pub const fn new(
        client: GrpcClient,
        policy: RetryPolicy,
        jitter: Jitter,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            policy,
            jitter,
            stop,
        }
    }
}

#[async_trait]
impl Exporter for OtlpGrpcExporter {
    async fn export(&self, batch: &Batch) -> Result<u64, Failure> {
        let attempt = || async {
            let response = self
                .client
                .call(batch.request.clone())
                .await
                .map_err(judged)?;
            if response.is_empty() {
                return Ok(0);
            }
            Ok(n_rejected(&response))
        };
        with_retries(
            &self.policy,
            &self.jitter,
            batch.deadline,
            &self.stop,
            attempt,
        )
        .await
    }
}

/// How many spans a response rejects, which are never to be sent again. A response that cannot be
/// read still says that the request arrived.
pub(super) fn n_rejected(response: &[u8]) -> u64 {
    let Ok(ExportResponse {
        partial_success: Some(partial),
    }) = ExportResponse::decode(response)
    else {
        return 0;
    };
    let n_rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    if n_rejected > 0 || !partial.error_message.is_empty() {
        let said = Failure::new(Reason::PartialSuccess, partial.error_message).message;
        tracing::warn!(n_rejected, "the destination says: {said}");
    }
    n_rejected
}

/// Which codes may be tried again (OTLP specification, "Failures"): `RESOURCE_EXHAUSTED` only when
/// the server says when, since without that it means that trying again is of no use.
fn judged(status: Status) -> AttemptError {
    let Status {
        code,
        message,
        retry_delay,
    } = status;
    let verdict = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Retry(retry_delay),
        Code::ResourceExhausted if retry_delay.is_some() => Verdict::Retry(retry_delay),
        Code::InvalidArgument => Verdict::FinalInvalid,
        _ => Verdict::Final,
    };
    AttemptError {
        message: format!("the destination answered {code:?}: {message}"),
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn codes_are_retried_as_the_specification_has_it() {
        let verdict = |code| judged(Status::new(code, "")).verdict;
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert_eq!(verdict(code), Verdict::Retry(None), "{code:?}");
        }
        for code in [
            Code::Unknown,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::Unimplemented,
            Code::Internal,
            Code::Unauthenticated,
        ] {
            assert_eq!(verdict(code), Verdict::Final, "{code:?}");
        }
        assert_eq!(verdict(Code::InvalidArgument), Verdict::FinalInvalid);
    }

    #[test]
    fn exhaustion_with_a_delay_is_throttling() {
        let delay = Some(Duration::from_secs(3));
        let status = Status {
            retry_delay: delay,
            ..Status::new(Code::ResourceExhausted, "")
        };
        assert_eq!(judged(status).verdict, Verdict::Retry(delay));
    }

    #[test]
    fn a_partial_success_is_read_and_nonsense_is_a_success() {
        let response = ExportResponse {
            partial_success: Some(crate::grpc::PartialSuccess {
                rejected_spans: 3,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(n_rejected(&response.encode_to_vec()), 3);
        assert_eq!(n_rejected(b""), 0);
        assert_eq!(n_rejected(b"\xff\xff"), 0);
    }
}
