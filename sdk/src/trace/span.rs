//! A span: while it lasts a box that is written to, and before and after only a context.

use std::borrow::Cow;
use std::mem::replace;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanBuilder, SpanContext, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, time};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLimits, SpanLinks};

use super::Tracer;

/// A span of a [`Tracer`]. It ends when it is told to, or when it is dropped.
#[derive(Debug)]
pub struct Span(State);

#[derive(Debug)]
enum State {
    Recorded(Box<Recorded>),
    /// Never recorded, or ended.
    Unrecorded(SpanContext),
}

/// What is recorded of a span, and who recorded it.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Without its scope until it is exported.
    data: SpanData,
    tracer: Tracer,
}

impl Recorded {
    /// The span as exporters want it. Called on the export thread, which pays for the scope.
    pub(crate) fn into_data(self) -> SpanData {
        let Self { mut data, tracer } = self;
        data.instrumentation_scope = tracer.inner.scope.clone();
        data
    }

    fn limits(&self) -> &SpanLimits {
        &self.tracer.inner.core.limits
    }

    fn add_event(&mut self, mut event: Event) {
        if self.data.events.events.len() >= self.limits().max_events_per_span as usize {
            self.data.events.dropped_count += 1;
            return;
        }
        let n_max = self.limits().max_attributes_per_event;
        event.dropped_attributes_count += shorten(&mut event.attributes, n_max);
        self.data.events.events.push(event);
    }

    fn add_link(&mut self, mut link: Link) {
        if self.data.links.links.len() >= self.limits().max_links_per_span as usize {
            self.data.links.dropped_count += 1;
            return;
        }
        let n_max = self.limits().max_attributes_per_link;
        link.dropped_attributes_count += shorten(&mut link.attributes, n_max);
        self.data.links.links.push(link);
    }
}

/// Cuts a list to a length, and returns how much was cut off.
fn shorten(attributes: &mut Vec<KeyValue>, n_max: u32) -> u32 {
    let n_dropped = attributes.len().saturating_sub(n_max as usize);
    attributes.truncate(n_max as usize);
    u32::try_from(n_dropped).unwrap_or(u32::MAX)
}

impl Span {
    pub(super) fn unrecorded(context: SpanContext) -> Self {
        Self(State::Unrecorded(context))
    }

    /// A span that starts now, unless the builder says when.
    pub(super) fn record(
        tracer: Tracer,
        builder: SpanBuilder,
        parent: &SpanContext,
        context: SpanContext,
    ) -> Self {
        let start_time = builder.start_time.unwrap_or_else(time::now);
        let mut attributes = builder.attributes.unwrap_or_default();
        let n_max = tracer.inner.core.limits.max_attributes_per_span;
        let dropped_attributes_count = shorten(&mut attributes, n_max);
        let mut recorded = Box::new(Recorded {
            data: SpanData {
                span_context: context,
                parent_span_id: parent.span_id(),
                parent_span_is_remote: parent.is_valid() && parent.is_remote(),
                span_kind: builder.span_kind.unwrap_or(SpanKind::Internal),
                name: builder.name,
                start_time,
                end_time: start_time,
                attributes,
                dropped_attributes_count,
                events: SpanEvents::default(),
                links: SpanLinks::default(),
                status: Status::Unset,
                instrumentation_scope: InstrumentationScope::default(),
            },
            tracer,
        });
        builder
            .events
            .into_iter()
            .flatten()
            .for_each(|event| recorded.add_event(event));
        builder
            .links
            .into_iter()
            .flatten()
            .for_each(|link| recorded.add_link(link));
        Self(State::Recorded(recorded))
    }

    fn recorded(&mut self) -> Option<&mut Recorded> {
        match &mut self.0 {
            State::Recorded(recorded) => Some(recorded),
            State::Unrecorded(_) => None,
        }
    }

    /// Ends the span, of which `context` is left.
    fn finish(&mut self, context: SpanContext, time: Option<SystemTime>) {
        if let State::Recorded(mut recorded) = replace(&mut self.0, State::Unrecorded(context)) {
            recorded.data.end_time = time.unwrap_or_else(time::now);
            // A span may be recorded without being sampled; only sampled ones may be exported.
            if recorded.data.span_context.is_sampled() {
                let tracer = recorded.tracer.clone();
                if let Some(export) = &tracer.inner.core.export {
                    export.push(recorded);
                }
            }
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let State::Recorded(_) = self.0 {
            self.finish(SpanContext::NONE, None);
        }
    }
}

impl opentelemetry::trace::Span for Span {
    fn add_event_with_timestamp<T>(&mut self, name: T, time: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(recorded) = self.recorded() {
            recorded.add_event(Event::new(name, time, attributes, 0));
        }
    }

    fn span_context(&self) -> &SpanContext {
        match &self.0 {
            State::Recorded(recorded) => &recorded.data.span_context,
            State::Unrecorded(context) => context,
        }
    }

    fn is_recording(&self) -> bool {
        matches!(self.0, State::Recorded(_))
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        let Some(recorded) = self.recorded() else {
            return;
        };
        let n_max = recorded.limits().max_attributes_per_span as usize;
        let data = &mut recorded.data;
        // Upstream keeps both values of a key; the specification wants the last.
        if let Some(known) = data
            .attributes
            .iter_mut()
            .find(|known| known.key == attribute.key)
        {
            known.value = attribute.value;
        } else if data.attributes.len() < n_max {
            data.attributes.push(attribute);
        } else {
            data.dropped_attributes_count += 1;
        }
    }

    fn set_status(&mut self, status: Status) {
        if let Some(recorded) = self.recorded()
            // Ok is final, and Unset changes nothing: they are ordered so.
            && status > recorded.data.status
        {
            recorded.data.status = status;
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(recorded) = self.recorded() {
            recorded.data.name = name.into();
        }
    }

    fn add_link(&mut self, context: SpanContext, attributes: Vec<KeyValue>) {
        if let Some(recorded) = self.recorded() {
            recorded.add_link(Link::new(context, attributes, 0));
        }
    }

    fn end(&mut self) {
        // Not through the default, which reads the clock before it asks who wants the time.
        if let State::Recorded(recorded) = &self.0 {
            self.finish(recorded.data.span_context.clone(), None);
        }
    }

    fn end_with_timestamp(&mut self, time: SystemTime) {
        if let State::Recorded(recorded) = &self.0 {
            self.finish(recorded.data.span_context.clone(), Some(time));
        }
    }
}
