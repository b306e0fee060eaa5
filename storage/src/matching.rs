//! Does this span meet that query? The rules that every store of ours shares.
//!
//! They are those of Jaeger's own memory store: one span is one matching unit, and an attribute may
//! be found in the span, its scope, its resource, any one of its events or any one of its links.
//! Six kinds of key are reserved: `error`, `span.status`, `span.kind`, `scope.name` and
//! `scope.version` ask for fields, and the prefix `resource.` asks for the resource alone.
//!
//! Conditions on fields are kept apart from those on attributes, so that a store can settle the
//! first with an index and needs the span's bytes only for the second.

mod value;

use spanloom_wire::otlp::{Attributes, SpanInContext, SpanKind, StatusCode};
use spanloom_wire::{Timestamp, TraceId};

use self::value::WantedValue;
use crate::{TimeRange, TraceQuery};

/// A [`TraceQuery`] made ready to be asked of many spans.
pub(crate) struct SpanMatcher<'q> {
    pub(crate) fields: FieldConditions<'q>,
    scope_name: Option<&'q str>,
    scope_version: Option<&'q str>,
    /// Found in the resource, each.
    resource_attributes: Vec<(&'q str, WantedValue<'q>)>,
    /// Found anywhere in the span, each.
    attributes: Vec<(&'q str, WantedValue<'q>)>,
}

/// The conditions on what an index knows of a span.
pub(crate) struct FieldConditions<'q> {
    pub(crate) service: Option<&'q str>,
    pub(crate) operation: Option<&'q str>,
    kinds: Vec<SpanKind>,
    statuses: Vec<WantedStatus>,
    pub(crate) start: TimeRange,
    duration_nanos_min: u64,
    duration_nanos_max: u64,
}

/// What a query may say of a span's status.
enum WantedStatus {
    Is(StatusCode),
    IsNot(StatusCode),
    /// `error` with a value that is no truth value: no span has it.
    Impossible,
}

impl<'q> SpanMatcher<'q> {
    pub(crate) fn new(query: &'q TraceQuery) -> Self {
        let mut matcher = Self {
            fields: FieldConditions::new(query),
            scope_name: None,
            scope_version: None,
            resource_attributes: Vec::new(),
            attributes: Vec::new(),
        };
        for (key, value) in &query.attributes {
            matcher.add(key, value);
        }
        matcher
    }

    fn add(&mut self, key: &'q str, value: &'q str) {
        match key {
            "error" => self.fields.statuses.push(match value {
                // What Go's `strconv.ParseBool` takes, which is what Jaeger asks.
                "true" | "TRUE" | "True" | "t" | "T" | "1" => WantedStatus::Is(StatusCode::Error),
                "false" | "FALSE" | "False" | "f" | "F" | "0" => {
                    WantedStatus::IsNot(StatusCode::Error)
                }
                _ => WantedStatus::Impossible,
            }),
            "span.status" => {
                let code = match value.to_ascii_uppercase().as_str() {
                    "OK" => StatusCode::Ok,
                    "ERROR" => StatusCode::Error,
                    _ => StatusCode::Unset,
                };
                self.fields.statuses.push(WantedStatus::Is(code));
            }
            "span.kind" => {
                let kind = SpanKind::from_name(&value.to_ascii_lowercase()).unwrap_or_default();
                self.fields.kinds.push(kind);
            }
            "scope.name" => self.scope_name = Some(value),
            "scope.version" => self.scope_version = Some(value),
            _ => match key.strip_prefix("resource.") {
                Some(key) => self
                    .resource_attributes
                    .push((key, WantedValue::new(value))),
                None => self.attributes.push((key, WantedValue::new(value))),
            },
        }
    }

    /// Whether [`Self::fields`] are all that there is to ask.
    pub(crate) fn needs_only_fields(&self) -> bool {
        self.scope_name.is_none()
            && self.scope_version.is_none()
            && self.resource_attributes.is_empty()
            && self.attributes.is_empty()
    }

    /// Whether the span meets every condition.
    pub(crate) fn matches(&self, span: &SpanInContext<'_>) -> bool {
        self.fields.matches(span) && self.matches_attributes(span)
    }

    fn matches_attributes(&self, context: &SpanInContext<'_>) -> bool {
        let SpanInContext {
            resource,
            scope,
            span,
        } = context;
        self.scope_name.is_none_or(|name| name == scope.name)
            && self
                .scope_version
                .is_none_or(|version| version == scope.version)
            && self
                .resource_attributes
                .iter()
                .all(|(key, wanted)| has(&resource.attributes(), key, wanted))
            && self.attributes.iter().all(|(key, wanted)| {
                has(&span.attributes(), key, wanted)
                    || has(&scope.attributes(), key, wanted)
                    || has(&resource.attributes(), key, wanted)
                    || span
                        .events()
                        .any(|event| has(&event.attributes(), key, wanted))
                    || span
                        .links()
                        .any(|link| has(&link.attributes(), key, wanted))
            })
    }
}

fn has(attributes: &Attributes<'_>, key: &str, wanted: &WantedValue<'_>) -> bool {
    attributes.get(key).is_some_and(|value| wanted.is(&value))
}

impl<'q> FieldConditions<'q> {
    fn new(query: &'q TraceQuery) -> Self {
        let nanos =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            service: query.service.as_deref(),
            operation: query.operation.as_deref(),
            kinds: Vec::new(),
            statuses: Vec::new(),
            start: query.start,
            duration_nanos_min: query.duration_min.map_or(0, nanos),
            duration_nanos_max: query.duration_max.map_or(u64::MAX, nanos),
        }
    }

    fn matches(&self, context: &SpanInContext<'_>) -> bool {
        let SpanInContext { resource, span, .. } = context;
        self.operation
            .is_none_or(|operation| operation == span.name)
            && self.matches_times(span.start, duration_nanos(span.start, span.end))
            && self.matches_kind_and_status(span.kind, span.status_code)
            && self
                .service
                .is_none_or(|service| resource.service_name() == Some(service))
    }

    /// Whether a span with this start and duration may be one.
    pub(crate) fn matches_times(&self, start: Timestamp, duration_nanos: u64) -> bool {
        self.start.contains(start)
            && self.duration_nanos_min <= duration_nanos
            && duration_nanos <= self.duration_nanos_max
    }

    /// Whether a span of this kind and status may be one.
    pub(crate) fn matches_kind_and_status(&self, kind: SpanKind, status: StatusCode) -> bool {
        self.kinds.iter().all(|&wanted| wanted == kind)
            && self.statuses.iter().all(|wanted| match *wanted {
                WantedStatus::Is(code) => status == code,
                WantedStatus::IsNot(code) => status != code,
                WantedStatus::Impossible => false,
            })
    }
}

/// How long a span took; zero where its end lies before its start.
pub(crate) fn duration_nanos(start: Timestamp, end: Timestamp) -> u64 {
    end.as_nanos().saturating_sub(start.as_nanos())
}

/// The order of found traces: the latest matching span first, and by trace id where two are equal,
/// so that the same question has the same answer in every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// When the latest matching span started.
    pub(crate) start: Timestamp,
    /// Its trace.
    pub(crate) trace_id: TraceId,
}

#[cfg(test)]
mod tests;
