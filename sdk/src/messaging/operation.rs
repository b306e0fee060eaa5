//! What is done with a message, in the words of the conventions.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanBuilder, SpanContext, SpanKind};

use super::Tracing;

/// One operation on one message.
#[derive(Debug)]
pub struct Operation {
    destination: Option<String>,
    attributes: Vec<KeyValue>,
    name: &'static str,
}

impl Operation {
    /// Hands a message to a broker; `name` is the library's word for that.
    pub(crate) fn send(system: &'static str, name: &'static str) -> Self {
        Self::new(system, name, "send")
    }

    /// Works on a message from a broker.
    pub(crate) fn process(system: &'static str) -> Self {
        Self::new(system, "process", "process")
    }

    fn new(system: &'static str, name: &'static str, kind: &'static str) -> Self {
        // Room for the messages with the most to tell.
        let mut attributes = Vec::with_capacity(10);
        attributes.push(KeyValue::new("messaging.system", system));
        attributes.push(KeyValue::new("messaging.operation.name", name));
        attributes.push(KeyValue::new("messaging.operation.type", kind));
        Self {
            destination: None,
            attributes,
            name,
        }
    }

    /// Where the message goes, or came from.
    pub(crate) fn destination(mut self, name: String) -> Self {
        self.destination = Some(name.clone());
        self.attribute("messaging.destination.name", name)
    }

    /// Where the message goes, with a name that was made for one use, and so is none for spans.
    pub(crate) fn temporary_destination(self, name: String) -> Self {
        self.attribute("messaging.destination.name", name)
            .attribute("messaging.destination.temporary", true)
    }

    pub(crate) fn body_size(self, n_bytes: usize) -> Self {
        self.attribute("messaging.message.body.size", size(n_bytes))
    }

    pub(crate) fn attribute(
        mut self,
        key: &'static str,
        value: impl Into<opentelemetry::Value>,
    ) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    pub(crate) fn attribute_if_any(
        self,
        key: &'static str,
        value: Option<impl Into<opentelemetry::Value>>,
    ) -> Self {
        match value {
            Some(value) => self.attribute(key, value),
            None => self,
        }
    }

    /// `{operation} {destination}`, as far as the destination is one of few.
    pub(super) fn into_builder(
        self,
        tracing: &Tracing,
        kind: SpanKind,
        link: Option<SpanContext>,
    ) -> SpanBuilder {
        let Self {
            destination,
            mut attributes,
            name,
        } = self;
        attributes.extend(tracing.attributes.iter().cloned());
        if let Some(template) = &tracing.template {
            let template = KeyValue::new("messaging.destination.template", template.clone());
            attributes.push(template);
        }
        let builder = match tracing.template.as_ref().or(destination.as_ref()) {
            Some(destination) => SpanBuilder::from_name(format!("{name} {destination}")),
            None => SpanBuilder::from_name(name),
        };
        let builder = builder.with_kind(kind).with_attributes(attributes);
        match link {
            Some(link) => builder.with_links(vec![Link::new(link, Vec::new(), 0)]),
            None => builder,
        }
    }
}

/// A length as an attribute wants it; none is longer than memory.
fn size(n_bytes: usize) -> i64 {
    i64::try_from(n_bytes).unwrap_or(i64::MAX)
}
