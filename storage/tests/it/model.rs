//! The embedded store, restarted at any time, answers as the memory store does.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::prelude::*;
use spanloom_storage::{
    EmbeddedStore, EmbeddedStoreConfig, MemoryStore, TimeRange, TraceQuery, TraceReader,
    TraceWriter,
};
use spanloom_wire::Timestamp;
use spanloom_wire::otlp::SpanKind;

use crate::fixtures::{THEN, config, read, request_of, span, spans_in, text};

const TRACES: std::ops::RangeInclusive<u64> = 1..=6;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Write(Bytes),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    // Several resources in a request: the request concatenates.
    let requests = prop::collection::vec(resource_spans(), 1..3);
    prop_oneof![
        5 => requests.prop_map(|parts| Step::Write(parts.concat().into())),
        1 => Just(Step::Restart),
    ]
}

fn resource_spans() -> impl Strategy<Value = Bytes> {
    let name = prop::sample::select(&NAMES[..]);
    let service = prop::option::weighted(0.9, name.clone());
    let spans = prop::collection::vec(a_span(), 0..5);
    (service, name, spans).prop_map(|(service, scope, spans)| {
        let attributes = service.map(|name| text("service.name", name));
        let attributes = attributes.into_iter().collect();
        let resource = Resource {
            attributes,
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: scope.to_owned(),
            ..Default::default()
        };
        request_of(resource, scope, spans)
    })
}

fn a_span() -> impl Strategy<Value = Span> {
    let name = || prop::sample::select(&NAMES[..]);
    let times = (0..20_u64, 0..5_u64);
    (TRACES, 1..4_u64, name(), times, 0..6, 0..3, name()).prop_map(
        |(trace, id, name, (start, duration), kind, code, value)| Span {
            start_time_unix_nano: THEN + start,
            end_time_unix_nano: THEN + start + duration,
            kind,
            status: Some(Status {
                code,
                ..Status::default()
            }),
            attributes: vec![text("key", value)],
            ..span(trace, id, name)
        },
    )
}

fn query() -> impl Strategy<Value = TraceQuery> {
    let name = || prop::option::weighted(0.4, prop::sample::select(&NAMES[..]));
    let attribute = prop_oneof![
        prop::sample::select(&NAMES[..]).prop_map(|value| ("key", value)),
        prop::sample::select(&NAMES[..]).prop_map(|value| ("scope.name", value)),
        prop::sample::select(&["server", "client"][..]).prop_map(|value| ("span.kind", value)),
        prop::sample::select(&["true", "false"][..]).prop_map(|value| ("error", value)),
    ];
    let attributes = prop::collection::vec(attribute, 0..3);
    let duration = || prop::option::weighted(0.3, (0..5_u64).prop_map(Duration::from_nanos));
    let range = prop::option::weighted(0.5, (0..20_u64, 0..20_u64));
    (
        name(),
        name(),
        attributes,
        range,
        duration(),
        duration(),
        0..8_usize,
    )
        .prop_map(
            |(service, operation, attributes, range, duration_min, duration_max, n_traces_max)| {
                let attributes = attributes.into_iter();
                let at = |time| Timestamp::from_nanos(THEN + time);
                TraceQuery {
                    service: service.map(str::to_owned),
                    operation: operation.map(str::to_owned),
                    attributes: attributes
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .collect(),
                    start: range.map_or(TimeRange::ALL, |(start, end)| TimeRange {
                        start: at(start),
                        end: at(end),
                    }),
                    duration_min,
                    duration_max,
                    n_traces_max,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_stores_give_the_same_answers(
        steps in prop::collection::vec(step(), 1..12),
        queries in prop::collection::vec(query(), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            // So small that a few requests fill a segment.
            let config = || EmbeddedStoreConfig {
                bytes_max: 256 << 10,
                segment_bytes_max: 700,
                ..config(directory.path())
            };
            let memory = MemoryStore::new(1000);
            let mut embedded = EmbeddedStore::open(config()).unwrap();
            for step in steps {
                match step {
                    Step::Write(request) => {
                        memory.write(request.clone()).await.unwrap();
                        embedded.write(request).await.unwrap();
                    }
                    Step::Restart => {
                        drop(embedded);
                        embedded = EmbeddedStore::open(config()).unwrap();
                    }
                }
            }
            for query in &queries {
                compare_search(&memory, &embedded, query).await;
            }
            compare_lists(&memory, &embedded).await;
            for trace in TRACES {
                assert_eq!(read(&embedded, trace).await, read(&memory, trace).await);
            }
        });
    }
}

proptest! {
    /// Stores are given what was validated. If something else slips through, they may show what
    /// can be read of it, but they do not panic, and they agree.
    #[test]
    fn bytes_that_nobody_validated_harm_neither(
        mut request in prop_oneof![resource_spans().prop_map(|bytes| bytes.to_vec()), any_bytes()],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
        queries in prop::collection::vec(query(), 1..5),
    ) {
        for (place, byte) in edits {
            if !request.is_empty() {
                let at = place.index(request.len());
                request[at] = byte;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new(1000);
            let embedded = EmbeddedStore::open(config(directory.path())).unwrap();
            memory.write(request.clone().into()).await.unwrap();
            embedded.write(request.into()).await.unwrap();
            for query in &queries {
                compare_search(&memory, &embedded, query).await;
            }
            compare_lists(&memory, &embedded).await;
        });
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

async fn compare_search(memory: &MemoryStore, embedded: &EmbeddedStore, query: &TraceQuery) {
    let expected = memory.find_traces(query).await.unwrap();
    let found = embedded.find_traces(query).await.unwrap();
    assert_eq!(found.len(), expected.len(), "{query:?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.id, expected.id, "{query:?}");
        assert_eq!(
            spans_in(&found.traces_data),
            spans_in(&expected.traces_data)
        );
    }
}

async fn compare_lists(memory: &MemoryStore, embedded: &EmbeddedStore) {
    let services = memory.services().await.unwrap();
    assert_eq!(embedded.services().await.unwrap(), services);
    for service in &services {
        for kind in [None, Some(SpanKind::Server), Some(SpanKind::Unspecified)] {
            let expected = memory.operations(service, kind).await.unwrap();
            assert_eq!(embedded.operations(service, kind).await.unwrap(), expected);
        }
    }
}
