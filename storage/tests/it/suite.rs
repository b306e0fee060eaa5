//! What both stores must do.

use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use prost::Message as _;
use spanloom_storage::{
    MemoryStore, Operation, StorageError, TimeRange, TraceQuery, TraceReader, TraceWriter,
};
use spanloom_wire::Timestamp;
use spanloom_wire::otlp::{SpanKind, TracesView, validate};

use crate::find_traces;
use crate::fixtures::{
    SECOND, THEN, any, ids, open, read, request, request_of, resource_of, span, spans_in, text,
    trace_id,
};

pub(crate) trait Store: TraceReader + TraceWriter {}
impl<S: TraceReader + TraceWriter> Store for S {}

/// Each of these functions is a test of each store.
macro_rules! both_stores {
    ($($path:ident :: $test:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                $path::$test(Arc::new(MemoryStore::new(100_000))).await;
            })*
        }

        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                let directory = tempfile::tempdir().unwrap();
                $path::$test(Arc::new(open(directory.path()))).await;
            })*
        }
    };
}

both_stores! {
    find_traces::jaegers_25_cases,
    find_traces::one_span_must_meet_every_condition,
    find_traces::the_latest_come_first_and_no_more_than_asked_for,
    find_traces::reserved_keys_ask_for_fields,
    cases::an_absent_trace_is_none,
    cases::services_and_operations_are_sorted_and_have_kinds,
    cases::a_trace_has_its_own_spans_with_resource_and_scope,
    cases::a_large_trace_in_small_requests_comes_back_whole,
    cases::duplicate_span_ids_survive,
    cases::a_trace_of_several_days_is_whole,
    cases::unknown_fields_and_late_scopes_are_kept,
    cases::writers_and_readers_do_not_disturb_each_other,
    cases::an_empty_request_is_nothing,
}

mod cases {
    use super::*;

    pub(super) async fn an_absent_trace_is_none(store: Arc<impl Store>) {
        assert!(
            store
                .trace(trace_id(1), TimeRange::ALL)
                .await
                .unwrap()
                .is_none()
        );
        assert!(store.services().await.unwrap().is_empty());
        assert!(store.operations("cart", None).await.unwrap().is_empty());
        assert!(store.find_traces(&any()).await.unwrap().is_empty());
        store
            .write(request("cart", vec![span(2, 1, "get")]))
            .await
            .unwrap();
        assert!(
            store
                .trace(trace_id(1), TimeRange::ALL)
                .await
                .unwrap()
                .is_none()
        );
        assert!(store.operations("car", None).await.unwrap().is_empty());
    }

    pub(super) async fn an_empty_request_is_nothing(store: Arc<impl Store>) {
        store.write(bytes::Bytes::new()).await.unwrap();
        store.write(request("cart", Vec::new())).await.unwrap();
        assert!(store.find_traces(&any()).await.unwrap().is_empty());
        store
            .write(request("cart", vec![span(2, 1, "get")]))
            .await
            .unwrap();
        assert_eq!(store.find_traces(&any()).await.unwrap().len(), 1);
    }

    pub(super) async fn services_and_operations_are_sorted_and_have_kinds(store: Arc<impl Store>) {
        let of = |kind: Kind, name| Span {
            kind: kind.into(),
            ..span(1, 1, name)
        };
        let spans = vec![
            of(Kind::Client, "b"),
            of(Kind::Unspecified, "a"),
            of(Kind::Server, "b"),
            of(Kind::Server, "b"),
            of(Kind::Internal, "a"),
        ];
        store.write(request("stock", spans)).await.unwrap();
        store
            .write(request("cart", vec![of(Kind::Producer, "b")]))
            .await
            .unwrap();
        store
            .write(request("cart", vec![of(Kind::Consumer, "b")]))
            .await
            .unwrap();
        let no_service = request_of(
            opentelemetry_proto::tonic::resource::v1::Resource::default(),
            InstrumentationScope::default(),
            vec![of(Kind::Server, "lost")],
        );
        store.write(no_service).await.unwrap();

        assert_eq!(store.services().await.unwrap(), ["cart", "stock"]);
        let operation = |name: &str, kind| Operation {
            name: name.to_owned(),
            kind,
        };
        let all = [
            operation("a", ""),
            operation("a", "internal"),
            operation("b", "client"),
            operation("b", "server"),
        ];
        assert_eq!(store.operations("stock", None).await.unwrap(), all);
        let servers = store
            .operations("stock", Some(SpanKind::Server))
            .await
            .unwrap();
        assert_eq!(servers, [operation("b", "server")]);
        let unspecified = store
            .operations("stock", Some(SpanKind::Unspecified))
            .await
            .unwrap();
        assert_eq!(unspecified, [operation("a", "")]);
        let cart = [operation("b", "consumer"), operation("b", "producer")];
        assert_eq!(store.operations("cart", None).await.unwrap(), cart);
    }

    pub(super) async fn a_trace_has_its_own_spans_with_resource_and_scope(store: Arc<impl Store>) {
        let scope = |name: &str| InstrumentationScope {
            name: name.to_owned(),
            attributes: vec![text("scope", name)],
            ..InstrumentationScope::default()
        };
        let zone = |zone| resource_of("cart", vec![text("zone", zone)]);
        // Two traces, mixed in every request.
        let mut parts = Vec::new();
        for (i, (resource, scope)) in [
            (zone("a"), scope("x")),
            (zone("a"), scope("y")),
            (zone("b"), scope("x")),
        ]
        .into_iter()
        .enumerate()
        {
            let id = i as u64 + 1;
            let spans = vec![
                span(1, id, "one"),
                span(2, id, "two"),
                span(1, id + 10, "three"),
            ];
            parts.push(request_of(resource, scope, spans));
        }
        let everything = parts.concat();
        store.write(everything.clone().into()).await.unwrap();

        for trace in [1, 2] {
            let of_trace = |row: &[Vec<u8>; 3]| {
                Span::decode(row[2].as_slice()).unwrap().trace_id == trace_id(trace).to_bytes()
            };
            let mut expected = spans_in(&everything);
            expected.retain(of_trace);
            assert_eq!(read(&*store, trace).await, expected);
        }
        // The answer itself is good OTLP.
        let trace = store
            .trace(trace_id(1), TimeRange::ALL)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(validate(&trace.traces_data).unwrap().n_spans, 6);
    }

    pub(super) async fn a_large_trace_in_small_requests_comes_back_whole(store: Arc<impl Store>) {
        let spans: Vec<Span> = (1..=10_008).map(|id| span(1, id, "large")).collect();
        let mut writes = tokio::task::JoinSet::new();
        for chunk in spans.chunks(5) {
            let (store, request) = (Arc::clone(&store), request("large", chunk.to_vec()));
            writes.spawn(async move { store.write(request).await });
        }
        while let Some(written) = writes.join_next().await {
            written.unwrap().unwrap();
        }
        assert_eq!(read(&*store, 1).await, spans_in(&request("large", spans)));
        assert_eq!(store.find_traces(&any()).await.unwrap().len(), 1);
    }

    pub(super) async fn duplicate_span_ids_survive(store: Arc<impl Store>) {
        let spans: Vec<Span> = (0..200)
            .map(|i| {
                let id = if i % 20 == 0 { 1_000 } else { i + 1 };
                Span {
                    start_time_unix_nano: THEN + i,
                    ..span(1, id, "duplicate")
                }
            })
            .collect();
        for chunk in spans.chunks(5) {
            store
                .write(request("duplicates", chunk.to_vec()))
                .await
                .unwrap();
        }
        // The very same request once more: the sender did not see the ack.
        store
            .write(request("duplicates", spans[..5].to_vec()))
            .await
            .unwrap();
        let mut expected = spans.clone();
        expected.extend_from_slice(&spans[..5]);
        assert_eq!(
            read(&*store, 1).await,
            spans_in(&request("duplicates", expected))
        );
    }

    pub(super) async fn a_trace_of_several_days_is_whole(store: Arc<impl Store>) {
        const DAY: u64 = 24 * 60 * 60 * SECOND;
        let on_day = |day: u64| Span {
            start_time_unix_nano: THEN + day * DAY,
            ..span(1, day + 1, "day")
        };
        for day in [2, 0, 1, 3] {
            store
                .write(request("days", vec![on_day(day)]))
                .await
                .unwrap();
        }
        let start = Timestamp::from_nanos(THEN + DAY - 1);
        let end = Timestamp::from_nanos(THEN + DAY + 1);
        let query = TraceQuery {
            start: TimeRange { start, end },
            ..any()
        };
        let found = store.find_traces(&query).await.unwrap();
        assert_eq!(ids(&found), [trace_id(1)]);
        let all = request("days", (0..4).map(on_day).collect());
        assert_eq!(spans_in(&found[0].traces_data), spans_in(&all));
    }

    pub(super) async fn unknown_fields_and_late_scopes_are_kept(store: Arc<impl Store>) {
        // A span with a field that OTLP does not have (yet), and a `ScopeSpans` whose scope stands
        // behind its spans: both are legal protobuf.
        let mut span_bytes = span(1, 1, "get").encode_to_vec();
        span_bytes.extend_from_slice(b"\xfa\x3e\x03new");
        let scope = InstrumentationScope {
            name: "late".to_owned(),
            ..Default::default()
        };
        let field = |number: u8, bytes: &[u8]| {
            let mut field = vec![number << 3 | 2, bytes.len() as u8];
            field.extend_from_slice(bytes);
            field
        };
        let scope_spans = [field(2, &span_bytes), field(1, &scope.encode_to_vec())].concat();
        let resource = resource_of("cart", Vec::new()).encode_to_vec();
        let resource_spans = [field(2, &scope_spans), field(1, &resource)].concat();
        let mut request = vec![1 << 3 | 2];
        spanloom_wire::otlp::put_varint(&mut request, resource_spans.len() as u64);
        request.extend_from_slice(&resource_spans);
        validate(&request).unwrap();

        store.write(request.into()).await.unwrap();
        let expected = vec![[resource, scope.encode_to_vec(), span_bytes]];
        assert_eq!(read(&*store, 1).await, expected);
        let query = TraceQuery {
            service: Some("cart".to_owned()),
            attributes: vec![("scope.name".to_owned(), "late".to_owned())],
            ..any()
        };
        assert_eq!(store.find_traces(&query).await.unwrap().len(), 1);
    }

    pub(super) async fn writers_and_readers_do_not_disturb_each_other(store: Arc<impl Store>) {
        const WRITERS: u64 = 8;
        const TRACES_EACH: u64 = 40;
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for i in 0..TRACES_EACH {
                    let trace = 1 + writer * TRACES_EACH + i;
                    let part = |id| request("busy", vec![span(trace, id, "work")]);
                    let (first, second) = tokio::join!(store.write(part(1)), store.write(part(2)));
                    first.and(second)?;
                    // What is acked can be read at once.
                    assert_eq!(read(&*store, trace).await.len(), 2, "trace {trace}");
                }
                Ok::<(), StorageError>(())
            });
        }
        for _ in 0..2 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut n_found = 0;
                while n_found < (WRITERS * TRACES_EACH) as usize {
                    let query = TraceQuery {
                        service: Some("busy".to_owned()),
                        ..any()
                    };
                    let found = store.find_traces(&query).await?;
                    assert!(found.len() >= n_found, "an acked trace is gone");
                    n_found = found.len();
                    for trace in &found {
                        let mut spans = TracesView::new(&trace.traces_data).spans();
                        assert!(spans.all(|span| span.span.trace_id == Some(trace.id)));
                    }
                    assert_eq!(
                        ids(&found).into_iter().collect::<HashSet<_>>().len(),
                        n_found
                    );
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_full_memory_store_forgets_the_oldest_trace() {
    let store = MemoryStore::new(2);
    store
        .write(request("first", vec![span(1, 1, "a")]))
        .await
        .unwrap();
    store
        .write(request("second", vec![span(2, 1, "b")]))
        .await
        .unwrap();
    // More of the first does not make it younger.
    store
        .write(request("first", vec![span(1, 2, "a")]))
        .await
        .unwrap();
    store
        .write(request("third", vec![span(3, 1, "c"), span(4, 1, "d")]))
        .await
        .unwrap();
    assert_eq!(store.services().await.unwrap(), ["third"]);
    assert!(store.operations("first", None).await.unwrap().is_empty());
    assert!(read(&store, 1).await.is_empty());
    assert!(read(&store, 2).await.is_empty());
    assert_eq!(store.find_traces(&any()).await.unwrap().len(), 2);
}
