//! What is measured, and how it is told to others.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanBuilder;

use super::histogram::Bounds;
use crate::http::Role;

/// One histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Instrument {
    Request(Role),
    /// A query or a command.
    Database,
    /// A message on its way to a broker.
    Send,
    /// A message from a broker, in work.
    Process,
}

/// How a histogram is told.
pub(super) struct Description {
    pub(super) instrument: Instrument,
    pub(super) name: &'static str,
    pub(super) words: &'static str,
    /// A counter with the same attributes, which has the histogram's count.
    pub(super) counter: Option<(&'static str, &'static str)>,
}

pub(super) const DESCRIPTIONS: [Description; 7] = [
    Description {
        instrument: Instrument::Request(Role::HttpServer),
        name: "http.server.request.duration",
        words: "Duration of HTTP server requests.",
        counter: None,
    },
    Description {
        instrument: Instrument::Request(Role::HttpClient),
        name: "http.client.request.duration",
        words: "Duration of HTTP client requests.",
        counter: None,
    },
    Description {
        instrument: Instrument::Request(Role::GrpcServer),
        name: "rpc.server.call.duration",
        words: "Duration of inbound remote procedure calls.",
        counter: None,
    },
    Description {
        instrument: Instrument::Request(Role::GrpcClient),
        name: "rpc.client.call.duration",
        words: "Duration of outbound remote procedure calls.",
        counter: None,
    },
    Description {
        instrument: Instrument::Database,
        name: "db.client.operation.duration",
        words: "Duration of database client operations.",
        counter: None,
    },
    Description {
        instrument: Instrument::Send,
        name: "messaging.client.operation.duration",
        words: "Duration of messaging operations of a producer.",
        counter: Some((
            "messaging.client.sent.messages",
            "Number of messages that a producer attempted to send.",
        )),
    },
    Description {
        instrument: Instrument::Process,
        name: "messaging.process.duration",
        words: "Duration of the processing of messages.",
        counter: Some((
            "messaging.client.consumed.messages",
            "Number of messages that the application was given.",
        )),
    },
];

impl Instrument {
    pub(super) fn bounds(self) -> Bounds {
        match self {
            Self::Database => Bounds::DATABASE,
            _ => Bounds::REQUEST,
        }
    }

    pub(super) fn role(self) -> Option<Role> {
        match self {
            Self::Request(role) => Some(role),
            _ => None,
        }
    }

    pub(super) fn is_grpc(self) -> bool {
        self.role().is_some_and(Role::is_grpc)
    }

    /// What of a span's attributes a call is counted under, by the conventions: few values.
    pub(super) fn labels(self, span: &SpanBuilder) -> Vec<KeyValue> {
        let keys: &[&str] = match self {
            Self::Request(_) => &[],
            Self::Database => &[
                "db.system.name",
                "db.collection.name",
                "db.namespace",
                "db.operation.name",
                "db.query.summary",
                "db.stored_procedure.name",
                "server.address",
                "server.port",
            ],
            Self::Send | Self::Process => &[
                "messaging.system",
                "messaging.operation.name",
                "messaging.operation.type",
                "messaging.consumer.group.name",
                "messaging.destination.name",
                "messaging.destination.template",
                "messaging.destination.subscription.name",
                "server.address",
                "server.port",
            ],
        };
        let all = span.attributes.as_deref().unwrap_or_default();
        let has = |key: &str| all.iter().any(|known| known.key.as_str() == key);
        // A name that was made for one use has too many values, as has one of a template.
        let is_one_of_many =
            has("messaging.destination.temporary") || has("messaging.destination.template");
        let is_label = |known: &&KeyValue| match known.key.as_str() {
            "messaging.destination.name" if is_one_of_many => false,
            key => keys.contains(&key),
        };
        all.iter().filter(is_label).cloned().collect()
    }
}
