//! Request bodies: read whole, inflated, never beyond a limit and never outside the budget.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body::Body;
use http_body_util::BodyExt;

use crate::admission::Charge;
use crate::reason::{Failure, Reason};

/// How long a body may take to arrive. It holds its charge meanwhile, so a sender that trickles
/// must not do so for ever.
pub const ARRIVAL_MAX: Duration = Duration::from_secs(30);

/// Inflating grows its output and its charge by at most this much at a time.
const INFLATE_STEP_BYTES: usize = 64 * 1024;

/// Above this, inflating or reading JSON takes a millisecond or more.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// The next piece of the body's data; `None` at its end.
///
/// # Errors
/// [`Reason::Incomplete`] when the sender hung up.
pub async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(
                Reason::Incomplete,
                format!("the request broke off: {error}"),
            )
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The rest of a body that began with `first`, of at most `n_bytes_max` together. A body of one
/// piece is not copied.
///
/// # Errors
/// [`Reason::TooLarge`] or [`Reason::Incomplete`].
pub async fn read_rest<B>(
    body: &mut B,
    first: Bytes,
    n_bytes_expected: usize,
    n_bytes_max: usize,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if first.len() > n_bytes_max {
        return Err(too_large(n_bytes_max));
    }
    let Some(mut data) = next_data(body).await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(n_bytes_expected.max(first.len() + data.len()));
    whole.extend_from_slice(&first);
    drop(first);
    loop {
        if whole.len() + data.len() > n_bytes_max {
            return Err(too_large(n_bytes_max));
        }
        whole.extend_from_slice(&data);
        match next_data(body).await? {
            Some(next) => data = next,
            None => return Ok(whole.freeze()),
        }
    }
}

/// The failure of a body that is larger than a receiver takes.
pub fn too_large(n_bytes_max: usize) -> Failure {
    let message = format!("the request is larger than the limit of {n_bytes_max} bytes");
    Failure::new(Reason::TooLarge, message)
}

/// Reads and forgets the rest of a refused body, of at most `n_bytes_max`.
pub async fn discard<B>(body: &mut B, n_bytes_max: usize)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let _ = in_time(async {
        let mut n_bytes = 0;
        while n_bytes < n_bytes_max
            && let Some(data) = next_data(body).await?
        {
            n_bytes += data.len();
        }
        Ok(())
    })
    .await;
}

/// Runs `read` for at most [`ARRIVAL_MAX`].
///
/// # Errors
/// Those of `read`, or [`Reason::Incomplete`] when it takes too long.
pub async fn in_time<T>(read: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ARRIVAL_MAX, read)
        .await
        .unwrap_or_else(|_| {
            let message = format!(
                "the request did not arrive within {} s",
                ARRIVAL_MAX.as_secs()
            );
            Err(Failure::new(Reason::Incomplete, message))
        })
}

/// Runs `work` on a body of `n_bytes`: here when it is small, on a thread of its own when it would
/// hold up other requests.
///
/// # Errors
/// Those of `work`.
pub async fn off_thread<T: Send + 'static>(
    n_bytes: usize,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if n_bytes <= INLINE_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Reason::Stopping,
            "the collector stopped while it read the request",
        ))
    })
}

/// Inflates gzip, growing `charge` step by step, and leaves it at the inflated size.
///
/// # Errors
/// [`Reason::Malformed`], [`Reason::TooLarge`] or [`Reason::Overloaded`].
pub async fn gunzip(
    compressed: Bytes,
    n_bytes_max: usize,
    mut charge: Charge,
) -> Result<(Bytes, Charge), Failure> {
    off_thread(compressed.len(), move || {
        let inflated = gunzip_now(&compressed, n_bytes_max, &mut charge)?;
        Ok((inflated, charge))
    })
    .await
}

fn gunzip_now(
    compressed: &[u8],
    n_bytes_max: usize,
    charge: &mut Charge,
) -> Result<Bytes, Failure> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut inflated = Vec::new();
    let step = (8 * compressed.len()).clamp(1024, INFLATE_STEP_BYTES);
    loop {
        charge.grow(step)?;
        let filled = inflated.len();
        inflated.resize(filled + step, 0);
        let n_bytes = read_full(&mut decoder, &mut inflated[filled..]).map_err(|error| {
            Failure::new(
                Reason::Malformed,
                format!("the body is not valid gzip: {error}"),
            )
        })?;
        inflated.truncate(filled + n_bytes);
        if inflated.len() > n_bytes_max {
            return Err(too_large(n_bytes_max));
        }
        if n_bytes < step {
            charge.shrink_to(inflated.len());
            return Ok(inflated.into());
        }
    }
}

/// Reads until `out` is full or the input ends.
fn read_full(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(n_bytes) => filled += n_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::admission::Budget;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit_and_gives_its_room_back() {
        let budget = Budget::new(4 << 20);
        let bomb = gzip(&vec![0; 64 << 20]);
        let charge = budget.charge(bomb.len()).unwrap();
        let failure = gunzip(bomb, 1 << 20, charge).await.unwrap_err();
        assert_eq!(failure.reason, Reason::TooLarge);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn inflating_never_leaves_the_budget() {
        let budget = Budget::new(1 << 20);
        let bomb = gzip(&vec![0; 64 << 20]);
        let charge = budget.charge(bomb.len()).unwrap();
        let failure = gunzip(bomb, usize::MAX, charge).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Overloaded);
        assert_eq!(budget.used_bytes(), 0);
    }

    proptest! {
        #[test]
        fn gzip_comes_back_and_is_charged_at_its_inflated_size(
            pattern in prop::collection::vec(any::<u8>(), 1..50), n_times in 0usize..5000
        ) {
            let bytes = pattern.repeat(n_times);
            let budget = Budget::new(1 << 20);
            let compressed = gzip(&bytes);
            let mut charge = budget.charge(compressed.len()).unwrap();
            let inflated = gunzip_now(&compressed, bytes.len(), &mut charge).unwrap();
            prop_assert_eq!(&inflated[..], &bytes[..]);
            prop_assert_eq!(budget.used_bytes(), bytes.len());
        }

        #[test]
        fn arbitrary_bytes_are_refused_and_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 1..400)
        ) {
            let budget = Budget::new(1 << 20);
            let mut charge = budget.charge(bytes.len()).unwrap();
            let _ = gunzip_now(&bytes, 1 << 16, &mut charge);
        }
    }
}
